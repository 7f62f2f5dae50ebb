//! Which requests are executed when: priority and fairness, or a plain limit, around everything after
//! authentication (k8s.io/apiserver/pkg/server/filters/{priority-and-fairness,maxinflight}.go@v0.37.2).
//!
//! Invariant: a request that was let in gives its seats back however it ends; no lock is held while
//! anything is awaited. Non-goal: who is first, which is the `flow` crate's.

mod body;
mod estimate;
mod inflight;
mod keeper;
mod marks;
mod metrics;
mod pages;
mod views;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::value::Str;
use flow::Nanos;
use flow::control::{After, Control, Level, Outcome, Route, Wake};
use flow::dropped::Dropped;
use flow::matching;
use flow::queueset::Key;
use flow::schema::Distinguisher;
use flow::watches::{Watched, Watches};
use http::{HeaderValue, Response, header};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::authn::User;
use crate::config::Config;
use crate::hub::Hub;
use crate::request::Info;
use crate::respond::{self, Body};
use inflight::{InFlight, Permit};
pub(crate) use keeper::{ensure, run};
use marks::Marks;
pub(crate) use metrics::families;
pub(crate) use pages::{PREFIX as PAGES_PREFIX, answer as page};
pub(crate) use views::Views;

/// The longest that a request may take (--request-timeout); it may wait for a quarter of its own time.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
const WAIT_SHARE: u32 = 4;
/// No request waits longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

const SCHEMA_HEADER: &str = "X-Kubernetes-PF-FlowSchema-UID";
const LEVEL_HEADER: &str = "X-Kubernetes-PF-PriorityLevel-UID";

/// Wakes a request whose turn has come.
pub(crate) struct Turn(oneshot::Sender<()>);

impl Wake for Turn {
    fn wake(self) {
        // Whoever waited may just have given up; then it finds that it is executed.
        let _ = self.0.send(());
    }
}

/// A request as the debug pages show it.
pub(crate) struct About {
    info: Arc<Info>,
    user: Str,
    by: Option<Distinguisher>,
}

type OwnRoute = Route<About, Turn>;
type OwnLevel = Level<About, Turn>;

/// The server's gate.
pub(crate) struct Flow {
    gate: Gate,
    clock: Clock,
    marks: Mutex<Marks>,
    answers: Mutex<body::Answers>,
    alarms: mpsc::UnboundedSender<Alarm>,
    alarmed: Mutex<Option<mpsc::UnboundedReceiver<Alarm>>>,
}

enum Gate {
    Fair(Box<Fair>),
    InFlight(InFlight),
}

/// Priority and fairness.
struct Fair {
    control: Control<About, Turn>,
    watches: Mutex<Watches>,
    dropped: Mutex<Dropped>,
    views: views::Objects,
    /// The configuration is to be digested.
    changed: Notify,
    /// The configuration is to be compared with what the server keeps.
    kept: Notify,
}

/// A level that is to be looked at again, and when.
type Alarm = (Nanos, Arc<OwnLevel>);

/// Time since the start, and what time that was.
struct Clock {
    start: Instant,
    wall: jiff::Timestamp,
}

impl Clock {
    fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }

    fn wall(&self, at: Nanos) -> jiff::Timestamp {
        self.wall.checked_add(Duration::from_nanos(at)).unwrap_or(self.wall)
    }

    fn unix_seconds(&self) -> i64 {
        self.wall(self.now()).as_second()
    }
}

/// Verbs and subresources whose requests are connections rather than work.
pub(crate) fn is_long_running(info: &Info) -> bool {
    matches!(info.verb, "watch" | "proxy")
        || (info.is_resource
            && matches!(info.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward"))
        || (!info.is_resource && info.path.starts_with("/debug/pprof/"))
}

fn is_mutating(info: &Info) -> bool {
    !matches!(info.verb, "get" | "list" | "watch")
}

/// Whoever sent a request, and when.
pub(crate) struct Caller {
    pub(crate) received: Instant,
    /// Cancelled when nobody waits for the answer any more; unknown where the request ends with its client.
    pub(crate) gone: Option<Gone>,
}

#[derive(Clone)]
pub(crate) struct Gone(pub(crate) CancellationToken);

impl Caller {
    async fn goes(&self) {
        match &self.gone {
            Some(gone) => gone.0.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// What is let in: its seats, and what its answer says.
#[derive(Default)]
pub(crate) struct Pass {
    route: Option<Arc<OwnRoute>>,
    seat: Option<Seat>,
    watch: Option<Watch>,
}

enum Seat {
    Fair(#[expect(dead_code, reason = "held for its end")] Ticket),
    InFlight(#[expect(dead_code, reason = "held for its end")] Permit),
}

/// Seats of a request that is executed.
struct Ticket {
    flow: Arc<Flow>,
    route: Arc<OwnRoute>,
    key: Key,
    mutating: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let now = self.flow.clock.now();
        self.flow.marks.lock().executing(now, self.mutating, -1);
        let after = self.route.level.finish(now, self.key);
        self.flow.follow(&self.route.level, after);
    }
}

/// A place in a queue.
struct Place {
    flow: Arc<Flow>,
    route: Arc<OwnRoute>,
    key: Key,
    mutating: bool,
    given_up: bool,
}

impl Place {
    /// Its turn has come.
    fn take(mut self) -> Ticket {
        self.given_up = true;
        self.flow.marks.lock().waiting(self.flow.clock.now(), self.mutating, -1);
        self.flow.ticket(self.route.clone(), self.key, self.mutating)
    }

    /// Gives the place up; `None` when its turn came meanwhile.
    fn give_up(mut self) -> Option<Ticket> {
        match self.leave() {
            true => None,
            false => Some(self.take()),
        }
    }

    fn leave(&mut self) -> bool {
        let now = self.flow.clock.now();
        let (left, after) = self.route.level.cancel(now, self.key);
        if left {
            self.given_up = true;
            self.flow.marks.lock().waiting(now, self.mutating, -1);
        }
        self.flow.follow(&self.route.level, after);
        left
    }
}

/// A client that goes leaves its place.
impl Drop for Place {
    fn drop(&mut self) {
        if self.given_up || self.leave() {
            return;
        }
        let now = self.flow.clock.now();
        self.flow.marks.lock().waiting(now, self.mutating, -1);
        let after = self.route.level.finish(now, self.key);
        self.flow.follow(&self.route.level, after);
    }
}

/// A watch that counts among those that changes are told to.
pub(crate) struct Watch {
    flow: Arc<Flow>,
    watched: Option<Watched>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let (Gate::Fair(fair), Some(watched)) = (&self.flow.gate, self.watched) {
            fair.watches.lock().forget(watched);
        }
    }
}

impl Flow {
    pub(crate) fn new(config: &Config) -> Self {
        let (reads, writes) = (config.max_requests_inflight, config.max_mutating_requests_inflight);
        let clock = Clock { start: Instant::now(), wall: jiff::Timestamp::now() };
        let gate = match config.enable_priority_and_fairness {
            true => Gate::Fair(Box::new(Fair::new((reads + writes) as u64, clock.now()))),
            false => Gate::InFlight(InFlight::new(reads, writes)),
        };
        let (alarms, alarmed) = mpsc::unbounded_channel();
        let (marks, alarmed) = (Mutex::new(Marks::new(reads, writes)), Mutex::new(Some(alarmed)));
        Flow { gate, clock, marks, answers: Mutex::default(), alarms, alarmed }
    }

    /// Lets the request in when its turn comes, or answers it.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        hub: &Hub,
        user: &User,
        info: &Arc<Info>,
        caller: &Caller,
    ) -> Result<Pass, Response<Body>> {
        let is_watch = info.verb == "watch";
        match &self.gate {
            Gate::Fair(_) if !is_watch && is_long_running(info) => Ok(Pass::default()),
            Gate::Fair(fair) => self.admit_fair(fair, hub, user, info, caller).await,
            Gate::InFlight(_) if is_long_running(info) => Ok(Pass::default()),
            Gate::InFlight(limits) => match limits.admit(self, user, is_mutating(info)) {
                Some(permit) => Ok(Pass { seat: Some(Seat::InFlight(permit)), ..Pass::default() }),
                None => Err(too_many(inflight::RETRY_AFTER_SECONDS)),
            },
        }
    }

    async fn admit_fair(
        self: &Arc<Self>,
        fair: &Fair,
        hub: &Hub,
        user: &User,
        info: &Arc<Info>,
        caller: &Caller,
    ) -> Result<Pass, Response<Body>> {
        let request = digest(user, info);
        let mutating = is_mutating(info);
        let (route, ticket) = loop {
            let route = fair.control.route(&request);
            let (work, watches) = estimate::work(&fair.watches, hub, info, route.level.max_seats);
            let about = About { info: info.clone(), user: (&*user.name).into(), by: route.schema.spec.distinguisher };
            let arrival = route.arrival(&request, work, watches, about);
            let mut turn = None;
            let waker = || {
                let (sender, receiver) = oneshot::channel();
                turn = Some(receiver);
                Turn(sender)
            };
            let (outcome, after) = route.level.start(self.clock.now(), arrival, waker);
            self.follow(&route.level, after);
            let ticket = match (outcome, turn) {
                (Outcome::Execute(key), _) => Some(self.ticket(route.clone(), key, mutating)),
                (Outcome::Wait(key), Some(turn)) => {
                    self.wait(route.clone(), key, mutating, turn, (wait_limit(info), caller)).await
                }
                (Outcome::Gone, _) => continue,
                _ => None,
            };
            break (route, ticket);
        };
        let Some(ticket) = ticket else {
            let seconds = fair.dropped.lock().record(&route.level.config.name, self.clock.unix_seconds());
            let mut response = too_many(seconds);
            name(&mut response, &route);
            return Err(response);
        };
        let watch = (info.verb == "watch").then(|| self.watch(fair, info));
        Ok(Pass { route: Some(route), seat: Some(Seat::Fair(ticket)), watch })
    }

    /// Waits for the request's turn, or for as long as it may.
    async fn wait(
        self: &Arc<Self>,
        route: Arc<OwnRoute>,
        key: Key,
        mutating: bool,
        turn: oneshot::Receiver<()>,
        (limit, caller): (Duration, &Caller),
    ) -> Option<Ticket> {
        self.marks.lock().waiting(self.clock.now(), mutating, 1);
        let place = Place { flow: self.clone(), route, key, mutating, given_up: false };
        tokio::select! {
            biased;
            _ = turn => Some(place.take()),
            () = tokio::time::sleep_until((caller.received + limit).into()) => place.give_up(),
            () = caller.goes() => place.give_up(),
        }
    }

    fn ticket(self: &Arc<Self>, route: Arc<OwnRoute>, key: Key, mutating: bool) -> Ticket {
        self.marks.lock().executing(self.clock.now(), mutating, 1);
        Ticket { flow: self.clone(), route, key, mutating }
    }

    fn watch(self: &Arc<Self>, fair: &Fair, info: &Info) -> Watch {
        let counts = flow::watches::counts(&info.resource, |field| estimate::exact_field(info, field));
        let register = || fair.watches.lock().register(&info.group, &info.resource, &info.namespace, &info.name);
        Watch { flow: self.clone(), watched: counts.then(register) }
    }

    /// Ties the seats to the answer: they are given back when it was written, or, for a watch, once what it
    /// begins with was.
    pub(crate) fn attach(self: &Arc<Self>, pass: Pass, mut response: Response<Body>) -> Response<Body> {
        if let Some(route) = &pass.route {
            name(&mut response, route);
        }
        body::hold(self, response, pass.seat, pass.watch)
    }

    fn follow(&self, level: &Arc<OwnLevel>, after: After) {
        if let Some(at) = after.alarm {
            // The receiver is gone only when the server ends.
            let _ = self.alarms.send((at, level.clone()));
        }
        if let Gate::Fair(fair) = &self.gate
            && after.reap
        {
            fair.changed.notify_one();
        }
    }
}

impl Fair {
    fn new(seats: u64, now: Nanos) -> Self {
        Fair {
            control: Control::new(seats, now),
            watches: Mutex::default(),
            dropped: Mutex::default(),
            views: views::Objects::default(),
            changed: Notify::new(),
            kept: Notify::new(),
        }
    }
}

/// Names the FlowSchema and the level that decided.
fn name(response: &mut Response<Body>, route: &OwnRoute) {
    let headers = response.headers_mut();
    for (header, uid) in [(SCHEMA_HEADER, &route.schema.uid), (LEVEL_HEADER, &route.level.config.uid)] {
        if let Ok(value) = HeaderValue::from_maybe_shared(uid.clone()) {
            headers.insert(header, value);
        }
    }
}

fn too_many(seconds: i64) -> Response<Body> {
    let mut response = respond::text(429, "Too many requests, please try again later.\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn digest<'a>(user: &'a User, info: &'a Info) -> matching::Request<'a> {
    let resource = matching::Resource {
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
    };
    matching::Request {
        user: &user.name,
        groups: &user.groups,
        verb: info.verb,
        path: &info.path,
        resource: info.is_resource.then_some(resource),
    }
}

/// How long after it was received a request may wait.
fn wait_limit(info: &Info) -> Duration {
    let own = match info.verb {
        // A watch may last; what it may wait for is its beginning.
        "watch" => None,
        _ => api::duration::parse(info.query.get("timeout")).ok(),
    };
    let own = own.and_then(|own| u64::try_from(own).ok()).filter(|own| *own > 0).map(Duration::from_nanos);
    let time = own.filter(|own| *own < REQUEST_TIME_MAX).unwrap_or(REQUEST_TIME_MAX);
    (time / WAIT_SHARE).min(WAIT_MAX)
}

#[cfg(test)]
mod tests;
