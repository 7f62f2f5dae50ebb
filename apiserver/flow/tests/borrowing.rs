//! Levels that lend and borrow, as upstream's borrowing_test.go@v0.37.2 has them, in simulated time.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;

use flow::control::{Control, Outcome, Route, Wake};
use flow::estimate::Work;
use flow::matching::Request;
use flow::queueset::Key;
use flow::schema::{
    Distinguisher, LevelConfig, LevelSpec, Names, PathRule, Queuing, Rule, Schema, SchemaSpec, Subject,
};
use flow::{Nanos, SECOND};

const SERVER: u64 = 24;
const CLIENTS: [usize; 2] = [24, 6];
const EXECUTION: Nanos = SECOND / 4;

/// A request that waits or is executed.
type Pending = (Arc<Route<(), Waker>>, Key);
type Woken = Rc<RefCell<Vec<usize>>>;

struct Waker(usize, Woken);

impl Wake for Waker {
    fn wake(self) {
        self.1.borrow_mut().push(self.0);
    }
}

fn level(flow: usize, lendable_percent: i64, borrowing: i64) -> LevelConfig {
    let queuing = Some(Queuing { queues: 10, hand: 2, length: 10 });
    let borrowing_percent = Some(borrowing);
    let spec = LevelSpec { exempt: false, shares: 100, lendable_percent, borrowing_percent, queuing };
    LevelConfig { name: format!("test-pl{flow}").into(), uid: Default::default(), spec }
}

fn schema(flow: usize) -> Schema {
    let user = Names::These(vec![format!("test-user{flow}").into()]);
    let paths = vec![PathRule { verbs: Names::All, paths: vec!["*".into()] }];
    let rule = Rule { subjects: vec![Subject::User(user)], resources: Vec::new(), paths };
    let level = format!("test-pl{flow}").into();
    let spec = SchemaSpec { precedence: 100, level, distinguisher: Some(Distinguisher::User), rules: vec![rule] };
    Schema { name: format!("test-fs{flow}").into(), uid: Default::default(), spec, dangling: Default::default() }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Adjust,
    Arrive(usize),
    End(usize),
}

/// Clients that send their next request when the last has ended.
struct Simulation {
    control: Control<(), Waker>,
    events: BinaryHeap<Reverse<(Nanos, Event)>>,
    under_way: Vec<Option<Pending>>,
    woken: Woken,
    executing: [u64; 2],
}

fn flow_of(client: usize) -> usize {
    usize::from(client >= CLIENTS[0])
}

impl Simulation {
    fn arrive(&mut self, now: Nanos, client: usize) {
        let user = format!("test-user{}", flow_of(client));
        let request = Request { user: &user, groups: &[], verb: "get", path: "/foobar", resource: None };
        let route = self.control.route(&request);
        let arrival = route.arrival(&request, Work::seats(1), None, ());
        let waker = || Waker(client, self.woken.clone());
        let (outcome, _) = route.level.start(now, arrival, waker);
        let key = match outcome {
            Outcome::Execute(key) => {
                self.begin(now, client);
                key
            }
            Outcome::Wait(key) => key,
            other => panic!("{other:?}"),
        };
        self.under_way[client] = Some((route, key));
    }

    fn begin(&mut self, now: Nanos, client: usize) {
        self.executing[flow_of(client)] += 1;
        self.events.push(Reverse((now + EXECUTION, Event::End(client))));
    }

    fn step(&mut self, now: Nanos, event: Event) {
        match event {
            Event::Adjust => {
                self.control.rebalance(now);
                self.events.push(Reverse((now + 10 * SECOND, Event::Adjust)));
            }
            Event::Arrive(client) => self.arrive(now, client),
            Event::End(client) => {
                self.executing[flow_of(client)] -= 1;
                let (route, key) = self.under_way[client].take().expect("it is under way");
                route.level.finish(now, key);
                self.events.push(Reverse((now, Event::Arrive(client))));
            }
        }
        let woken = self.woken.take();
        woken.into_iter().for_each(|client| self.begin(now, client));
    }

    /// Runs to `until`; the requests of each flow that were executed on average.
    fn run(&mut self, from: Nanos, until: Nanos) -> [f64; 2] {
        let (mut last, mut sums) = (from, [0.0; 2]);
        while let Some(Reverse((now, event))) = self.events.peek().copied()
            && now < until
        {
            self.events.pop();
            for (sum, executing) in sums.iter_mut().zip(self.executing) {
                *sum += executing as f64 * (now - last) as f64;
            }
            last = now;
            self.step(now, event);
        }
        sums.map(|sum| sum / (last - from) as f64)
    }
}

#[test]
fn busy_levels_borrow_what_others_lend() {
    for (name, constraints) in [("lendable", [(50, 67), (33, 50)]), ("borrowing", [(50, 33), (67, 50)])] {
        let control = Control::new(SERVER, 0);
        let levels = constraints.iter().enumerate().map(|(flow, (lend, borrow))| level(flow, *lend, *borrow)).collect();
        let news = control.digest(0, levels, vec![schema(0), schema(1)]);
        assert!(news.iter().all(|(_, dangling)| dangling.reason == "Found"));
        let clients = CLIENTS[0] + CLIENTS[1];
        let mut events: BinaryHeap<_> =
            (0..clients).map(|client| Reverse((client as u64, Event::Arrive(client)))).collect();
        events.push(Reverse((10 * SECOND, Event::Adjust)));
        let (woken, under_way) = (Woken::default(), (0..clients).map(|_| None).collect());
        let mut simulation = Simulation { control, events, under_way, woken, executing: [0; 2] };
        simulation.run(0, 10 * SECOND);
        let averages = simulation.run(10 * SECOND, 25 * SECOND);
        for (got, range) in averages.iter().zip([15.5..16.1, 5.5..6.1]) {
            assert!(range.contains(got), "{name}: {averages:?}");
        }
    }
}

#[test]
fn what_is_not_wanted_is_served_to_its_end() {
    let control: Control<(), Waker> = Control::new(SERVER, 0);
    control.digest(0, vec![level(0, 0, 0)], vec![schema(0)]);
    let request = Request { user: "test-user0", groups: &[], verb: "get", path: "/x", resource: None };
    let begin = |route: &Arc<Route<(), Waker>>| {
        let arrival = route.arrival(&request, Work::seats(1), None, ());
        route.level.start(1, arrival, || unreachable!("there are seats")).0
    };
    let old = control.route(&request);
    let Outcome::Execute(key) = begin(&old) else { panic!("not executed") };
    let names = || control.report(2).into_iter().map(|report| report.name.to_string()).collect::<Vec<_>>();
    let news = control.digest(2, Vec::new(), vec![schema(0)]);
    assert_eq!(
        news[0].1.message,
        "This FlowSchema references the PriorityLevelConfiguration object named \"test-pl0\" but there is no such object"
    );
    assert_eq!(names(), ["catch-all", "exempt", "test-pl0"]);
    assert_eq!(&*control.route(&request).schema.name, "catch-all");
    assert!(old.level.finish(3, key).reap);
    control.digest(4, Vec::new(), vec![schema(0)]);
    assert_eq!(names(), ["catch-all", "exempt"]);
    assert_eq!(begin(&old), Outcome::Gone);
}
