//! Clients that send requests at given times; what each gets is compared with what upstream's
//! queueset_test.go@v0.37.2 expects of the same clients.

use super::*;
use crate::SECOND;
use crate::estimate::Work;

/// Sends `calls` requests in each of `threads`: each is executed for `exec`, then comes the next.
#[derive(Clone, Copy)]
struct Client {
    hash: u64,
    threads: u64,
    calls: u64,
    exec: Nanos,
    think: i64,
    /// Half the threads begin with the second half of the scenario, with half the calls.
    split: bool,
    work: Work,
}

const fn client(hash: u64, threads: u64, calls: u64, exec: Nanos, think: i64) -> Client {
    let work = Work { initial_seats: 1, final_seats: 1, additional_latency: 0 };
    Client { hash, threads, calls, exec, think, split: false, work }
}

impl Client {
    const fn wide(mut self, seats: u64) -> Self {
        self.work.initial_seats = seats;
        self
    }

    const fn pad(mut self, seats: u64, time: Nanos) -> Self {
        (self.work.final_seats, self.work.additional_latency) = (seats, time);
        self
    }

    const fn split(mut self) -> Self {
        self.split = true;
        self
    }
}

/// Client, thread, call.
type Call = (usize, u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(Call),
    End(Call, Key),
    Alarm,
}

struct Simulation {
    set: QueueSet<Call, (Call, u64)>,
    clients: Vec<Client>,
    half: Nanos,
    events: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    sent: u64,
    waiting: Vec<(u64, Key)>,
    executing: Vec<Integrator>,
    seats: Vec<u64>,
    last: Nanos,
    executed: u64,
    refused: Vec<Refusal>,
}

impl Simulation {
    fn new(discipline: Discipline, limit: u64, clients: Vec<Client>, length: Nanos) -> Self {
        let mut own = Simulation {
            set: QueueSet::new(discipline, Limit { seats: limit, denominator: limit.max(1) }, 0),
            half: length / 2,
            events: BinaryHeap::new(),
            sent: 0,
            waiting: Vec::new(),
            executing: vec![Integrator::default(); clients.len()],
            seats: vec![0; clients.len()],
            clients,
            last: 0,
            executed: 0,
            refused: Vec::new(),
        };
        for (at, client) in own.clients.clone().iter().enumerate() {
            for thread in 0..client.threads {
                let late = if client.split && thread >= client.threads / 2 { own.half } else { 0 };
                own.after(late + 90 * thread + 20 * at as u64, Event::Arrive((at, thread, 0)));
            }
        }
        own
    }

    fn after(&mut self, at: Nanos, event: Event) {
        self.sent += 1;
        self.events.push(Reverse((at, self.sent, event)));
    }

    fn calls(&self, call: Call) -> u64 {
        let client = self.clients[call.0];
        if client.split && call.1 >= client.threads / 2 { client.calls / 2 } else { client.calls }
    }

    /// Runs to `until`; the seats that each client used on average since the last time.
    fn run(&mut self, until: Nanos) -> Vec<f64> {
        while let Some(Reverse((now, _, event))) = self.events.peek().copied()
            && now <= until
        {
            self.events.pop();
            self.pass(now);
            match event {
                Event::Arrive(call) if call.2 < self.calls(call) => self.arrive(now, call),
                Event::Arrive(_) => {}
                Event::End(call, key) => {
                    self.note(call.0, |seats, own| seats - own);
                    self.set.finish(now, key);
                }
                Event::Alarm => self.set.advance(now),
            }
            for (call, number) in self.set.woken() {
                let at = self.waiting.iter().position(|own| own.0 == number).expect("it waits");
                let (_, key) = self.waiting.swap_remove(at);
                self.begin(now, call, key);
            }
            if let Some(alarm) = self.set.alarm() {
                self.after(alarm, Event::Alarm);
            }
            self.check();
        }
        self.pass(until);
        self.executing.iter_mut().map(|integrator| integrator.take().average).collect()
    }

    fn pass(&mut self, now: Nanos) {
        let time = now - std::mem::replace(&mut self.last, now);
        self.executing.iter_mut().for_each(|integrator| integrator.pass(time));
    }

    fn note(&mut self, client: usize, change: impl Fn(u64, u64) -> u64) {
        self.seats[client] = change(self.seats[client], self.clients[client].work.initial_seats);
        self.executing[client].note(self.seats[client] as f64);
    }

    fn arrive(&mut self, now: Nanos, call: Call) {
        let client = self.clients[call.0];
        let schema = Arc::from(format!("client{}", call.0));
        let arrival =
            Arrival { work: client.work, hash: client.hash, schema, is_watch: false, watches: None, about: call };
        match self.set.start(now, arrival) {
            Start::Execute(key) => self.begin(now, call, key),
            Start::Wait(key) => {
                self.sent += 1;
                self.waiting.push((self.sent, key));
                self.set.wait(key, (call, self.sent));
            }
            Start::Refused(refusal) => self.refused.push(refusal),
        }
    }

    fn begin(&mut self, now: Nanos, call: Call, key: Key) {
        let client = self.clients[call.0];
        self.executed += 1;
        self.note(call.0, |seats, own| seats + own);
        let next = (call.0, call.1, call.2 + 1);
        self.after((now + client.exec).saturating_add_signed(client.think), Event::Arrive(next));
        self.after(now + client.exec, Event::End(call, key));
    }

    /// Sums that are kept are what they are the sums of.
    fn check(&self) {
        let set = &self.set;
        let active = set.queues.iter().filter(|queue| !queue.is_empty()).count();
        assert_eq!(set.active, active);
        assert_eq!(set.queued_seats, set.queues.iter().map(|queue| queue.seats_in_use).sum::<u64>());
        assert_eq!(set.totals.waiting, self.waiting.len());
        assert_eq!(set.totals.seats_waiting, set.queues.iter().map(|queue| queue.max_seats).sum::<u64>());
        for queue in &set.queues {
            let work: u64 = queue.waiting.iter().map(|key| set.requests.get(key.0).total_work.0).sum();
            assert_eq!(queue.work, work);
        }
    }
}

/// What clients get of `capacity` when nobody gets more than it can use, and nobody less than another that gets more.
fn fair(demands: &[f64], mut capacity: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by(|one, other| demands[*one].total_cmp(&demands[*other]));
    let mut given = vec![0.0; demands.len()];
    for (done, at) in order.iter().enumerate() {
        given[*at] = demands[*at].min(capacity / (demands.len() - done) as f64);
        capacity -= given[*at];
    }
    given
}

fn queues(queues: usize, length: usize, hand: i64) -> Discipline {
    Discipline::Queue { dealer: Dealer::new(queues as i64, hand).expect("valid"), queues, length }
}

struct Scenario<'a> {
    name: &'a str,
    discipline: Discipline,
    limit: u64,
    clients: &'a [Client],
    seconds: u64,
    /// Of each half of a scenario that is split: by how much the averages may be off, and whether they are within that.
    margins: &'a [(f64, bool)],
    /// In place of what is fair.
    averages: Option<&'a [f64]>,
    all_executed: bool,
}

fn demands(clients: &[Client], first_half: bool) -> Vec<f64> {
    let demand = |client: &Client| {
        let threads = if client.split && first_half { client.threads / 2 } else { client.threads };
        let (exec, pause) = (client.exec as f64, client.think as f64);
        threads as f64 * client.work.initial_seats as f64 * exec / (exec + pause)
    };
    clients.iter().map(demand).collect()
}

fn exercise(scenario: &Scenario<'_>) -> Simulation {
    let length = scenario.seconds * SECOND;
    let mut simulation = Simulation::new(scenario.discipline, scenario.limit, scenario.clients.to_vec(), length);
    let parts = scenario.margins.len() as u64;
    for (part, (margin, within)) in (1..).zip(scenario.margins) {
        let averages = simulation.run(length * part / parts);
        let fair = fair(&demands(scenario.clients, part < parts), scenario.limit as f64);
        let expected = scenario.averages.map_or(fair, <[f64]>::to_vec);
        for (got, expect) in averages.iter().zip(&expected) {
            let off = ((got - expect) / expect).abs();
            // Clients begin some nanoseconds apart.
            assert_eq!(off <= margin + 1e-6, *within, "{}: {averages:?} {expected:?}", scenario.name);
        }
    }
    simulation.run(u64::MAX / 4);
    simulation.set.advance(u64::MAX / 4);
    assert_eq!(simulation.refused.is_empty(), scenario.all_executed, "{}", scenario.name);
    assert!(simulation.set.is_idle() && simulation.set.totals().seats_in_use == 0, "{}", scenario.name);
    simulation
}

const S: i64 = SECOND as i64;
const ONE: u64 = 1_001_001_001;
const TWO: u64 = 2_002_002_002;

#[test]
fn clients_get_what_is_fair() {
    let base = Scenario {
        name: "baseline",
        discipline: queues(9, 8, 3),
        limit: 1,
        clients: &[client(ONE, 1, 21, SECOND, 0)],
        seconds: 20,
        margins: &[(0.0, true)],
        averages: None,
        all_executed: true,
    };
    exercise(&base);
    let near: &[(f64, bool)] = &[(0.01, true)];
    type Row<'a> = (&'a str, Discipline, u64, &'a [Client], u64, &'a [(f64, bool)]);
    let rows: [Row<'_>; 5] = [
        (
            "hand of 1",
            queues(9, 8, 1),
            4,
            &[client(ONE, 8, 20, SECOND, S - 1), client(TWO, 8, 20, SECOND, S - 1)],
            50,
            near,
        ),
        (
            "hand of 3",
            queues(8, 16, 3),
            4,
            &[client(400_900_100_100, 8, 30, SECOND, S - 1), client(300_900_200_200, 8, 30, SECOND, S - 1)],
            60,
            &[(0.03, true)],
        ),
        ("equal", queues(9, 8, 1), 4, &[client(ONE, 8, 20, SECOND, S), client(TWO, 7, 30, SECOND, S / 2)], 40, near),
        (
            "unequal",
            queues(9, 6, 1),
            3,
            &[client(ONE, 4, 20, SECOND, S - 1), client(TWO, 2, 20, SECOND, S - 1)],
            20,
            near,
        ),
        (
            "widths",
            queues(64, 13, 7),
            6,
            &[
                client(10_010_010_010_010, 13, 10, SECOND, S - 1),
                client(20_020_020_020_020, 7, 10, SECOND, S - 1).wide(2),
            ],
            20,
            &[(0.155, true)],
        ),
    ];
    for (name, discipline, limit, clients, seconds, margins) in rows {
        exercise(&Scenario { name, discipline, limit, clients, seconds, margins, ..base });
    }
}

#[test]
fn requests_wider_than_the_level_are_executed_all_the_same() {
    let narrow = [40_040_040_040_040, 50_050_050_050_050, 60_060_060_060_060, 70_070_070_070_070];
    let mut clients: Vec<Client> = narrow.into_iter().map(|hash| client(hash, 15, 21, SECOND, S - 1).wide(2)).collect();
    clients.push(client(90_090_090_090_090, 15, 21, SECOND, S - 1).wide(7));
    exercise(&Scenario {
        name: "too wide",
        discipline: queues(64, 35, 7),
        limit: 6,
        clients: &clients,
        seconds: 400,
        margins: &[(0.35, true)],
        averages: None,
        all_executed: true,
    });
}

/// A flow that could not use its share in the first half gets more than its share in the second, but not much more.
#[test]
fn shares_are_hardly_saved_up() {
    for margin in [(0.26, true), (0.1, false)] {
        exercise(&Scenario {
            name: "windup",
            discipline: queues(9, 6, 1),
            limit: 3,
            clients: &[client(ONE, 2, 40, SECOND, -1), client(TWO, 2, 40, SECOND, -1).split()],
            seconds: 40,
            margins: &[(0.01, true), margin],
            averages: None,
            all_executed: true,
        });
    }
}

#[test]
fn exempt_requests_are_never_held_up() {
    for limit in [0, 2] {
        exercise(&Scenario {
            name: "exempt",
            discipline: Discipline::Exempt,
            limit,
            clients: &[client(ONE, 5, 20, SECOND, S).wide(3)],
            seconds: 40,
            margins: &[(0.000_000_1, true)],
            averages: Some(&[7.5]),
            all_executed: true,
        });
    }
}

/// Upstream's TestSeparations: think and pad in half seconds, final seats, limit, clients, expected averages.
#[test]
fn seats_are_kept_for_the_time_afterwards() {
    let third: &[f64] = &[1.0 / 3.0; 2];
    type Row<'a> = (i64, u64, u64, u64, usize, Option<&'a [f64]>);
    let rows: [Row<'_>; 24] = [
        (2, 0, 1, 1, 1, None),
        (2, 0, 1, 2, 1, None),
        (2, 0, 2, 2, 1, None),
        (2, 0, 1, 1, 2, None),
        (2, 0, 1, 2, 2, None),
        (2, 0, 2, 2, 2, None),
        (0, 2, 1, 1, 1, Some(&[0.5])),
        (0, 2, 1, 2, 1, None),
        (0, 2, 2, 2, 1, Some(&[0.5])),
        (0, 2, 1, 1, 2, Some(&[0.25; 2])),
        (0, 2, 1, 2, 2, Some(&[0.5; 2])),
        (0, 2, 2, 2, 2, Some(&[0.25; 2])),
        (2, 1, 1, 1, 1, None),
        (2, 1, 1, 2, 1, None),
        (2, 1, 2, 2, 1, None),
        (2, 1, 1, 1, 2, Some(third)),
        (2, 1, 1, 2, 2, None),
        (2, 1, 2, 2, 2, Some(third)),
        (1, 2, 1, 1, 1, Some(&[0.5])),
        (1, 2, 1, 2, 1, None),
        (1, 2, 2, 2, 1, Some(&[0.5])),
        (1, 2, 1, 1, 2, Some(&[0.25; 2])),
        (1, 2, 1, 2, 2, Some(&[0.5; 2])),
        (1, 2, 2, 2, 2, Some(&[0.25; 2])),
    ];
    for (think, pad, seats, limit, count, averages) in rows {
        let one = |hash| client(hash, 1, 25, SECOND, think * S / 2).pad(seats, pad * SECOND / 2);
        exercise(&Scenario {
            name: &format!("think={think},finalSeats={seats},pad={pad},nClients={count},conc={limit}"),
            discipline: queues(9, 8, 3),
            limit,
            clients: &[one(ONE), one(TWO)][..count],
            seconds: 24,
            margins: &[(0.0, true)],
            averages,
            all_executed: true,
        });
    }
}

#[test]
fn meters_are_set_back_before_they_run_over() {
    let quarter = 91 * 24 * 3600 * SECOND;
    let one = client(ONE, 8, 20, quarter, quarter as i64).wide(500);
    let simulation = exercise(&Scenario {
        name: "rollover",
        discipline: queues(9, 8, 1),
        limit: 2000,
        clients: &[one, client(TWO, 7, 30, quarter, quarter as i64 / 2).wide(500)],
        seconds: 40 * 91 * 24 * 3600,
        margins: &[(0.01, true)],
        averages: None,
        all_executed: true,
    });
    assert_eq!(simulation.set.gauges().epochs, [0, 8]);
}

#[test]
fn without_queues_the_excess_is_refused() {
    let simulation = exercise(&Scenario {
        name: "reject",
        discipline: Discipline::Reject,
        limit: 4,
        clients: &[client(ONE, 6, 10, SECOND, S * 57 / 1000), client(TWO, 4, 15, SECOND, S * 3 / 4)],
        seconds: 13,
        margins: &[(0.2, false)],
        averages: None,
        all_executed: false,
    });
    assert!(simulation.refused.iter().all(|refusal| *refusal == Refusal::ConcurrencyLimit));
}

fn arrival(seats: u64, hash: u64) -> Arrival<u64> {
    Arrival { work: Work::seats(seats), hash, schema: "fs".into(), is_watch: false, watches: None, about: hash }
}

fn set(discipline: Discipline, seats: u64) -> QueueSet<u64, u64> {
    QueueSet::new(discipline, Limit { seats, denominator: seats.max(1) }, 0)
}

fn waits(start: Start) -> Key {
    match start {
        Start::Wait(key) => key,
        other => panic!("{other:?}"),
    }
}

fn executes(start: Start) -> Key {
    match start {
        Start::Execute(key) => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_queue_holds_so_many() {
    let mut set = set(queues(4, 2, 1), 1);
    let first = executes(set.start(0, arrival(1, 3)));
    let next = waits(set.start(1, arrival(1, 3)));
    set.wait(next, 1);
    waits(set.start(2, arrival(1, 3)));
    assert_eq!(set.start(3, arrival(1, 3)), Start::Refused(Refusal::QueueFull));
    let other = waits(set.start(4, arrival(1, 2)));
    assert!(set.woken().is_empty() && set.cancel(4, other));
    set.finish(5, first);
    assert_eq!(set.woken(), [1]);
    assert!(!set.cancel(6, next), "it is executed");
    let totals = set.totals();
    assert_eq!((totals.waiting, totals.executing, totals.dispatched, totals.rejected), (1, 1, 2, 2));
}

/// Upstream's TestContextCancel: a request that gives up leaves, and is counted.
#[test]
fn who_gives_up_makes_room() {
    let mut set = set(queues(11, 11, 1), 3);
    let first = executes(set.start(0, arrival(2, 1)));
    let wide = waits(set.start(1, arrival(2, 1)));
    let narrow = waits(set.start(2, arrival(1, 1)));
    set.wait(narrow, 9);
    assert!(set.cancel(SECOND, wide));
    assert_eq!(set.woken(), [9], "what was behind it fits");
    set.finish(SECOND, first);
    set.finish(SECOND, narrow);
    assert!(set.is_idle());
    let tally = &set.tallies()[0];
    assert_eq!(tally.rejected, [0, 0, 1]);
    assert_eq!((tally.dispatched, tally.waiting_requests, tally.waiting_seats, tally.executing_seats), (2, 0, 0, 0));
}

#[test]
fn queues_go_when_they_are_empty() {
    let mut set = set(queues(4, 9, 1), 1);
    let first = executes(set.start(0, arrival(1, 3)));
    let second = waits(set.start(0, arrival(1, 1)));
    set.wait(second, 7);
    set.configure(1, Discipline::Reject, Limit { seats: 1, denominator: 1 });
    assert_eq!(set.start(2, arrival(1, 3)), Start::Refused(Refusal::ConcurrencyLimit));
    set.finish(3, first);
    assert_eq!((set.queues().count(), set.woken()), (3, vec![7]));
    set.finish(4, second);
    executes(set.start(5, arrival(1, 3)));
    assert_eq!(set.queues().count(), 2, "those that never had requests stay until they have");
}

/// A late alarm changes nothing but who is told when: seats are given back at their time.
#[test]
fn seats_are_released_at_their_time() {
    let mut set = set(queues(4, 9, 1), 2);
    let work = Work { initial_seats: 1, final_seats: 9, additional_latency: SECOND };
    let first = executes(set.start(0, Arrival { work, ..arrival(1, 1) }));
    let next = waits(set.start(10, arrival(1, 2)));
    set.wait(next, 1);
    set.finish(20, first);
    let due = SECOND * 9 / 2 + 20;
    assert_eq!(set.alarm(), Some(due), "narrower, so longer");
    set.advance(due - 1);
    assert!(set.woken().is_empty());
    set.advance(due + SECOND);
    assert_eq!(set.woken(), [1]);
    let started: Vec<_> = set.shown().iter().map(|shown| shown.started).collect();
    assert_eq!((started, set.alarm()), (vec![Some(due)], None));
}
