//! All levels: which one a request belongs to, how the server's seats are divided among them, and how a
//! new configuration takes the place of an old one
//! (k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go@v0.37.2).
//!
//! Invariant: there is always a level and a FlowSchema for every request. A level that is not wanted any
//! more serves those that are in it to their end. Configurations are taken one at a time; requests
//! never wait for that.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};

use crate::allocate::{Class, allocate};
use crate::dealer::flow_hash;
use crate::demand::Demand;
use crate::estimate::Work;
pub use crate::level::{Level, Limits};
use crate::level::{State, discipline, max_seats};
use crate::matching::Request;
use crate::queueset::{Arrival, Gauges, Key, Limit, QueueSet, Refusal, Start, Tally};
use crate::schema::{CATCH_ALL, Dangling, EXEMPT, LevelConfig, Schema};
use crate::seats::SeatSeconds;
use crate::{Nanos, bootstrap};

/// How often the seats are divided anew.
pub const ADJUSTMENT_PERIOD_SECONDS: u64 = 10;

/// Wakes what waits for a request's turn.
pub trait Wake {
    fn wake(self);
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Execute(Key),
    Wait(Key),
    Refused(Refusal),
    /// The level went meanwhile: look again.
    Gone,
}

/// What is to be done after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// [`Level::ring`] is to be called then.
    pub alarm: Option<Nanos>,
    /// A level that is not wanted is idle now: the configuration is to be digested again.
    pub reap: bool,
}

/// A FlowSchema and the level of its requests.
pub struct Route<T, W> {
    pub schema: Schema,
    pub level: Arc<Level<T, W>>,
}

struct Routing<T, W> {
    /// In the order in which they are tried.
    routes: Vec<Arc<Route<T, W>>>,
    levels: BTreeMap<Arc<str>, Arc<Level<T, W>>>,
}

/// Sums over the levels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    pub nominal: u64,
    /// Requests that may wait at most.
    pub waiting: u64,
    /// The proportion of its demand that a level gets which meets no bound.
    pub fair_fraction: f64,
}

pub struct Control<T, W> {
    server: u64,
    routing: ArcSwap<Routing<T, W>>,
    /// Held while a configuration is taken or seats are divided.
    sums: Mutex<Sums>,
}

/// A level as metrics see it.
pub struct Report {
    pub name: Arc<str>,
    pub limits: Limits,
    pub current: u64,
    pub demand: Demand,
    pub target: f64,
    pub current_r: SeatSeconds,
    pub gauges: Gauges,
    pub tallies: Vec<Tally>,
}

/// A level of the next configuration.
struct Draft<T, W> {
    config: LevelConfig,
    state: Option<Arc<Mutex<State<T, W>>>>,
    quiescing: bool,
}

impl<T, W: Wake> Level<T, W> {
    /// A request of a flow arrives. The waker is made only if the request has to wait.
    pub fn start(&self, now: Nanos, arrival: Arrival<T>, waker: impl FnOnce() -> W) -> (Outcome, After) {
        let mut state = self.state.lock();
        if state.retired {
            return (Outcome::Gone, After::default());
        }
        let outcome = match state.set.start(now, arrival) {
            Start::Execute(key) => Outcome::Execute(key),
            Start::Wait(key) => {
                state.set.wait(key, waker());
                Outcome::Wait(key)
            }
            Start::Refused(refusal) => Outcome::Refused(refusal),
        };
        (outcome, self.after(state))
    }

    /// A request that was executed ends.
    pub fn finish(&self, now: Nanos, key: Key) -> After {
        let mut state = self.state.lock();
        state.set.finish(now, key);
        self.after(state)
    }

    /// A request that waits gives up; false when it is to be executed after all.
    pub fn cancel(&self, now: Nanos, key: Key) -> (bool, After) {
        let mut state = self.state.lock();
        let cancelled = state.set.cancel(now, key);
        (cancelled, self.after(state))
    }

    /// An alarm is due; when the next one is.
    pub fn ring(&self, now: Nanos) -> Option<Nanos> {
        let mut state = self.state.lock();
        state.alarm = state.alarm.filter(|at| *at > now);
        state.set.advance(now);
        self.after(state).alarm
    }

    fn after(&self, mut state: MutexGuard<'_, State<T, W>>) -> After {
        let set = state.alarm;
        let alarm = state.set.alarm().filter(|at| set.is_none_or(|set| *at < set));
        state.alarm = alarm.or(set);
        let reap = state.quiescing && state.set.is_idle();
        wake(state);
        After { alarm, reap }
    }

    /// Takes new limits.
    fn configure(&self, now: Nanos, current: u64, target: f64, server: u64) {
        let mut state = self.state.lock();
        (state.current, state.target) = (current, target);
        let spare = (server as f64 / 10.0).round().max(1.0) as u64;
        let limit = Limit { seats: current, denominator: if current > 0 { current } else { spare } };
        state.set.configure(now, discipline(&self.config.spec), limit);
        wake(state);
    }
}

/// Wakes what was dispatched. An alarm becomes necessary by what requests do, and is set there.
fn wake<T, W: Wake>(mut state: MutexGuard<'_, State<T, W>>) {
    let woken = state.set.woken();
    drop(state);
    woken.into_iter().for_each(Wake::wake);
}

impl<T, W> Route<T, W> {
    /// The hash of the request's flow; the same for all when there is nothing to choose.
    pub fn hash(&self, request: &Request<'_>) -> u64 {
        match self.level.config.spec.queuing {
            Some(queuing) if queuing.queues > 1 => flow_hash(&self.schema.name, self.schema.spec.distinguish(request)),
            _ => 0,
        }
    }

    /// A request of this route.
    pub fn arrival(&self, request: &Request<'_>, work: Work, watches: Option<u64>, about: T) -> Arrival<T> {
        let (hash, schema) = (self.hash(request), self.schema.name.clone());
        Arrival { work, hash, schema, is_watch: request.verb == "watch", watches, about }
    }
}

impl<T, W: Wake> Control<T, W> {
    /// With what is mandatory alone, until a configuration is digested.
    pub fn new(server: u64, now: Nanos) -> Self {
        let routing = Routing { routes: Vec::new(), levels: BTreeMap::new() };
        let control = Control { server, routing: ArcSwap::from_pointee(routing), sums: Mutex::new(Sums::default()) };
        control.digest(now, Vec::new(), Vec::new());
        control
    }

    /// Where the request belongs.
    pub fn route(&self, request: &Request<'_>) -> Arc<Route<T, W>> {
        let routing = self.routing.load();
        let found = routing.routes.iter().find(|route| route.schema.spec.matches(request));
        // Everybody is authenticated or unauthenticated, which the last one matches; if not, it is used all the same.
        let catch_all = || routing.routes.iter().find(|route| *route.schema.name == *CATCH_ALL);
        found.or_else(catch_all).cloned().expect("digest puts a catch-all in every routing")
    }

    /// Takes a configuration; names of FlowSchemas and what their condition is to say.
    pub fn digest(&self, now: Nanos, levels: Vec<LevelConfig>, schemas: Vec<Schema>) -> Vec<(Arc<str>, Dangling)> {
        let mut sums = self.sums.lock();
        let old = self.routing.load_full();
        let mut drafts: BTreeMap<Arc<str>, Draft<T, W>> = BTreeMap::new();
        for config in levels {
            let state = old.levels.get(&config.name).map(|level| level.state.clone());
            drafts.insert(config.name.clone(), Draft { config, state, quiescing: false });
        }
        let wanted = |schema: &Schema| Dangling::wanted(&schema.spec.level, drafts.contains_key(&*schema.spec.level));
        let news = schemas.iter().map(|schema| (schema, wanted(schema)));
        let news = news.filter(|(schema, wanted)| schema.dangling != *wanted);
        let news = news.map(|(schema, wanted)| (schema.name.clone(), wanted)).collect();
        let schemas = in_order(schemas.into_iter().filter(|schema| drafts.contains_key(&*schema.spec.level)));
        keep_busy(&mut drafts, &old.levels);
        for config in bootstrap::mandatory_levels() {
            let name = config.name.clone();
            drafts.entry(name).or_insert(Draft { config, state: None, quiescing: false });
        }
        let levels = self.settle(now, drafts);
        *sums = Sums { nominal: 0, waiting: 0, fair_fraction: sums.fair_fraction };
        for level in levels.values() {
            sums.nominal += level.state.lock().limits.nominal;
            let queuing = level.config.spec.queuing;
            sums.waiting += queuing.map_or(0, |queuing| (queuing.queues * queuing.length).max(0) as u64);
        }
        self.divide(now, &levels, &mut sums);
        let route = |schema: Schema| {
            let level = levels.get(&*schema.spec.level)?.clone();
            Some(Arc::new(Route { schema, level }))
        };
        let routes = schemas.into_iter().filter_map(route).collect();
        self.routing.store(Arc::new(Routing { routes, levels }));
        news
    }

    /// Levels with their limits, and states for those that are new.
    fn settle(&self, now: Nanos, drafts: BTreeMap<Arc<str>, Draft<T, W>>) -> BTreeMap<Arc<str>, Arc<Level<T, W>>> {
        let share_sum = drafts.values().map(|draft| draft.config.spec.shares as f64).sum();
        let settle = |(name, draft): (Arc<str>, Draft<T, W>)| {
            let spec = draft.config.spec;
            let limits = Limits::of(&spec, share_sum, self.server);
            let fresh = || {
                let current = limits.nominal - (limits.nominal - limits.min) / 2;
                let limit = Limit { seats: current, denominator: current.max(1) };
                let set = QueueSet::new(discipline(&spec), limit, now);
                let (demand, target) = (Demand::default(), 0.0);
                let (quiescing, retired, alarm) = (false, false, None);
                Arc::new(Mutex::new(State { set, limits, current, demand, target, quiescing, retired, alarm }))
            };
            let state = draft.state.unwrap_or_else(fresh);
            let mut own = state.lock();
            (own.limits, own.quiescing) = (limits, draft.quiescing);
            drop(own);
            let max_seats = max_seats(&spec, limits.nominal);
            (name, Arc::new(Level { config: draft.config, max_seats, state }))
        };
        drafts.into_iter().map(settle).collect()
    }

    /// Divides the seats anew, by what was asked for since the last time.
    pub fn rebalance(&self, now: Nanos) {
        let mut sums = self.sums.lock();
        let routing = self.routing.load_full();
        self.divide(now, &routing.levels, &mut sums);
    }

    fn divide(&self, now: Nanos, levels: &BTreeMap<Arc<str>, Arc<Level<T, W>>>, sums: &mut Sums) {
        let shares: Vec<Share> = levels.values().map(|level| level.share(now)).collect();
        let seats = divide(&shares, sums);
        for ((level, share), seats) in levels.values().zip(&shares).zip(seats) {
            level.configure(now, seats, share.class.target, self.server);
        }
    }

    pub fn sums(&self) -> Sums {
        *self.sums.lock()
    }

    /// The levels by name.
    pub(crate) fn levels(&self) -> Vec<Arc<Level<T, W>>> {
        self.routing.load().levels.values().cloned().collect()
    }

    /// Every level as it is now.
    pub fn report(&self, now: Nanos) -> Vec<Report> {
        let report = |level: Arc<Level<T, W>>| {
            let mut state = level.state.lock();
            state.set.advance(now);
            let report = Report {
                name: level.config.name.clone(),
                limits: state.limits,
                current: state.current,
                demand: state.demand,
                target: state.target,
                current_r: state.set.current_r(),
                gauges: state.set.gauges().clone(),
                tallies: state.set.tallies().to_vec(),
            };
            wake(state);
            report
        };
        self.levels().into_iter().map(report).collect()
    }
}

/// By precedence, then name; what is mandatory is there.
fn in_order(schemas: impl Iterator<Item = Schema>) -> Vec<Schema> {
    let mut schemas: Vec<Schema> = schemas.collect();
    schemas.sort_by(|one, other| (one.spec.precedence, &one.name).cmp(&(other.spec.precedence, &other.name)));
    for (place, mandatory) in [(0, EXEMPT), (usize::MAX, CATCH_ALL)] {
        if !schemas.iter().any(|schema| *schema.name == *mandatory) {
            let place = place.min(schemas.len());
            schemas.splice(place..place, bootstrap::mandatory_schema(mandatory));
        }
    }
    schemas
}

/// Old levels that are mandatory or still have requests stay; the others are retired.
fn keep_busy<T, W>(drafts: &mut BTreeMap<Arc<str>, Draft<T, W>>, old: &BTreeMap<Arc<str>, Arc<Level<T, W>>>) {
    for (name, level) in old {
        if drafts.contains_key(name) {
            continue;
        }
        let quiescing = !matches!(&**name, EXEMPT | CATCH_ALL);
        let mut state = level.state.lock();
        if quiescing && state.set.is_idle() {
            state.retired = true;
            continue;
        }
        let draft = Draft { config: level.config.clone(), state: Some(level.state.clone()), quiescing };
        drafts.insert(name.clone(), draft);
    }
}

/// A level that wants seats.
#[derive(Clone, Copy, Debug)]
struct Share {
    exempt: bool,
    min: u64,
    /// What it is to get at least, if there is enough.
    lower: u64,
    current: u64,
    class: Class,
}

impl<T, W> Level<T, W> {
    fn share(&self, now: Nanos) -> Share {
        let mut state = self.state.lock();
        let seen = state.set.take_demand(now);
        state.demand.update(seen);
        let (limits, high) = (state.limits, state.demand.high);
        let exempt = self.config.spec.exempt;
        let lower = limits.min.max(if exempt { high } else { high.min(limits.nominal) });
        let class =
            Class { lower: lower as f64, upper: limits.max as f64, target: state.demand.smoothed.max(lower as f64) };
        Share { exempt, min: limits.min, lower, current: state.current, class }
    }
}

/// The seats of each level.
fn divide(shares: &[Share], sums: &mut Sums) -> Vec<u64> {
    let limited = || shares.iter().filter(|share| !share.exempt);
    let exempt: u64 = shares.iter().filter(|share| share.exempt).map(|share| share.lower).sum();
    let left = sums.nominal.saturating_sub(exempt);
    let min: u64 = limited().map(|share| share.min).sum();
    let lower: u64 = limited().map(|share| share.lower).sum();
    sums.fair_fraction = 0.0;
    if left <= min {
        return shares.iter().map(|share| if share.exempt { share.lower } else { share.min }).collect();
    }
    if left <= lower {
        let fraction = (left - min) as f64 / (lower - min) as f64;
        let part = |share: &Share| ((share.lower - share.min) as f64 * fraction).round() as u64;
        return shares.iter().map(|share| if share.exempt { share.lower } else { share.min + part(share) }).collect();
    }
    let classes: Vec<Class> = limited().map(|share| share.class).collect();
    let found = allocate(sums.nominal, &classes);
    sums.fair_fraction = found.as_ref().map_or(0.0, |found| found.proportion);
    let mut given = found.into_iter().flat_map(|found| found.seats);
    let seats = |share: &Share| match share.exempt {
        true => share.lower,
        false => given.next().map_or(share.current, |seats| seats.round() as u64),
    };
    shares.iter().map(seats).collect()
}
