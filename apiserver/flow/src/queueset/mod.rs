//! The queues of one priority level, served in turn by virtual time
//! (k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset@v0.37.2).
//!
//! Every queue with requests is given the same share of the seats in a virtual world; `current_r` counts
//! the seat-seconds given to each, and the request is dispatched that would be done first there.
//!
//! Invariant: each operation first brings the set up to its time, releasing seats that lingering
//! requests held until then, so that the outcome does not depend on when it is called. Whoever waits
//! is told through its waker, handed out by [`QueueSet::woken`].

mod observed;
mod request;
mod slab;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

pub use observed::{Gauges, Tally};
pub use request::{Arrival, Shown};
use request::{Phase, Request};
use slab::Slab;

use crate::Nanos;
use crate::dealer::Dealer;
use crate::demand::{Integrator, Observed};
use crate::seats::SeatSeconds;

/// How long a request is thought to be executed.
const SERVICE_TIME: Nanos = 3_000_000;
/// By how much the progress meter is set back when it gets near its end.
const R_DECREMENT: u64 = u64::MAX / 2;
const R_HIGH: u64 = R_DECREMENT + R_DECREMENT / 2;

/// How a level treats what cannot be executed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// Everything is executed at once.
    Exempt,
    Reject,
    Queue {
        dealer: Dealer,
        queues: usize,
        length: usize,
    },
}

/// Seats that a level may use now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub seats: u64,
    /// What metrics are relative to: the seats, unless there are none.
    pub denominator: u64,
}

/// A request of the set, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    ConcurrencyLimit,
    TimeOut,
}

impl Refusal {
    pub const ALL: [Refusal; 3] = [Refusal::QueueFull, Refusal::ConcurrencyLimit, Refusal::TimeOut];

    pub fn text(self) -> &'static str {
        match self {
            Refusal::QueueFull => "queue-full",
            Refusal::ConcurrencyLimit => "concurrency-limit",
            Refusal::TimeOut => "time-out",
        }
    }
}

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Execute(Key),
    /// Its waker is to be left with [`QueueSet::wait`].
    Wait(Key),
    Refused(Refusal),
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Key>,
    executing: usize,
    seats_in_use: u64,
    next_dispatch_r: SeatSeconds,
    /// Sums over the waiting requests.
    initial_seats: u64,
    max_seats: u64,
    work: u64,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0
    }
}

/// A queue as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownQueue {
    pub waiting: usize,
    pub executing: usize,
    pub seats_in_use: u64,
    pub next_dispatch_r: SeatSeconds,
    pub initial_seats: u64,
    pub max_seats: u64,
    pub work: SeatSeconds,
}

/// How many requests had which end, and where the others are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub waiting: usize,
    pub executing: usize,
    pub seats_in_use: u64,
    pub seats_waiting: u64,
    pub dispatched: u64,
    pub rejected: u64,
    pub cancelled: u64,
}

/// `T` says what a request is about, `W` wakes who waits for it.
#[derive(Debug)]
pub struct QueueSet<T, W> {
    discipline: Discipline,
    limit: Limit,
    queues: Vec<Queue>,
    requests: Slab<Request<T, W>>,
    current_r: SeatSeconds,
    last: Nanos,
    /// The queue that is looked at first.
    first: usize,
    enqueued: usize,
    totals: Totals,
    /// Queues with requests, and the seats in use of requests that came through queues.
    active: usize,
    queued_seats: u64,
    lingering: BinaryHeap<Reverse<(Nanos, Key)>>,
    woken: Vec<W>,
    demand: Integrator,
    gauges: Gauges,
    tallies: Vec<Tally>,
}

impl<T, W> QueueSet<T, W> {
    pub fn new(discipline: Discipline, limit: Limit, now: Nanos) -> Self {
        let mut set = QueueSet {
            discipline,
            limit,
            queues: Vec::new(),
            requests: Slab::default(),
            current_r: SeatSeconds(0),
            last: now,
            first: 1,
            enqueued: 0,
            totals: Totals::default(),
            active: 0,
            queued_seats: 0,
            lingering: BinaryHeap::new(),
            woken: Vec::new(),
            demand: Integrator::default(),
            gauges: Gauges::new(),
            tallies: Vec::new(),
        };
        set.configure(now, discipline, limit);
        set
    }

    /// Takes a new configuration. Queues that are too many stay until they are empty.
    pub fn configure(&mut self, now: Nanos, discipline: Discipline, limit: Limit) {
        self.advance(now);
        if let Discipline::Queue { queues, .. } = discipline
            && queues > self.queues.len()
        {
            self.queues.resize_with(queues, Queue::default);
        }
        let waiting = match discipline {
            Discipline::Queue { queues, length, .. } => queues.max(1) * length.max(1),
            _ => 1,
        };
        (self.discipline, self.limit) = (discipline, limit);
        self.gauges.set_denominators(waiting as f64, limit.denominator as f64);
        self.dispatch_all();
    }

    /// A request arrives.
    pub fn start(&mut self, now: Nanos, arrival: Arrival<T>) -> Start {
        self.advance(now);
        let tally = self.tally(&arrival.schema);
        self.tallies[tally].estimated_seats.observe(arrival.work.max_seats() as f64);
        arrival.watches.iter().for_each(|watches| self.tallies[tally].watches.observe(*watches as f64));
        let Discipline::Queue { dealer, length, .. } = self.discipline else {
            if !self.fits(arrival.work.max_seats()) {
                return self.refuse(tally, Refusal::ConcurrencyLimit);
            }
            let key = self.requests.insert(Request::new(arrival, None, tally, self.last, self.current_r));
            self.execute(Key(key));
            return Start::Execute(Key(key));
        };
        let at = self.choose(&dealer, arrival.hash);
        if self.totals.seats_in_use >= self.limit.seats && self.queues[at].waiting.len() >= length {
            self.bound(at);
            self.tallies[tally].waited(false, 0);
            return self.refuse(tally, Refusal::QueueFull);
        }
        let key = self.enqueue(at, tally, arrival);
        self.dispatch_all();
        match self.requests.get(key.0).phase {
            Phase::Waiting(_) => Start::Wait(key),
            Phase::Executing { .. } | Phase::Lingering => Start::Execute(key),
        }
    }

    fn refuse(&mut self, tally: usize, refusal: Refusal) -> Start {
        self.totals.rejected += 1;
        self.tallies[tally].rejected[refusal as usize] += 1;
        Start::Refused(refusal)
    }

    /// Leaves what wakes a request that waits.
    pub fn wait(&mut self, key: Key, waker: W) {
        if let Phase::Waiting(own) = &mut self.requests.get_mut(key.0).phase {
            *own = Some(waker);
        }
    }

    /// A request that waits waits no longer; false when it does not wait, as it is executed.
    pub fn cancel(&mut self, now: Nanos, key: Key) -> bool {
        self.advance(now);
        if !matches!(self.requests.get(key.0).phase, Phase::Waiting(_)) {
            return false;
        }
        self.dequeue(key);
        let request = self.requests.remove(key.0);
        // Upstream counts the wait of a request that timed out among those that were executed.
        self.tallies[request.tally].waited(true, self.last - request.arrived);
        self.totals.cancelled += 1;
        self.refuse(request.tally, Refusal::TimeOut);
        if let Some(at) = request.queue {
            self.bound(at);
            self.drop_if_surplus(at);
        }
        // What it kept from being dispatched may fit now.
        self.dispatch_all();
        true
    }

    /// A request was executed.
    pub fn finish(&mut self, now: Nanos, key: Key) {
        self.advance(now);
        let request = self.requests.get_mut(key.0);
        let Phase::Executing { since } = std::mem::replace(&mut request.phase, Phase::Lingering) else { return };
        let (queue, initial, latency) = (request.queue, request.work.initial_seats, request.work.additional_latency);
        let took = self.last - since;
        let tally = &mut self.tallies[request.tally];
        tally.executing_requests -= 1;
        tally.executed(request.is_watch, took);
        self.totals.executing -= 1;
        if let Some(at) = queue {
            let queue = &mut self.queues[at];
            queue.executing -= 1;
            self.active -= usize::from(queue.is_empty());
            let error = i128::from(SERVICE_TIME) - i128::from(took);
            queue.next_dispatch_r = queue.next_dispatch_r.plus(-SeatSeconds::change(initial as f64, error));
            self.bound(at);
        }
        match latency {
            0 => self.release(key),
            latency => self.lingering.push(Reverse((self.last + latency, key))),
        }
        self.dispatch_all();
    }

    /// Brings the set up to `now`.
    pub fn advance(&mut self, now: Nanos) {
        while let Some(Reverse((at, key))) = self.lingering.peek().copied()
            && at <= now
        {
            self.lingering.pop();
            self.pass_until(at);
            self.release(key);
            self.dispatch_all();
        }
        self.pass_until(now);
    }

    /// When the set has to be advanced for those that wait.
    pub fn alarm(&self) -> Option<Nanos> {
        self.lingering.peek().filter(|_| self.totals.waiting > 0).map(|Reverse((at, _))| *at)
    }

    /// The wakers of what was dispatched meanwhile.
    pub fn woken(&mut self) -> Vec<W> {
        std::mem::take(&mut self.woken)
    }

    pub fn is_idle(&self) -> bool {
        self.totals.waiting == 0 && self.totals.executing == 0
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    pub fn current_r(&self) -> SeatSeconds {
        self.current_r
    }

    pub fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// The demand of the time since this was asked last.
    pub fn take_demand(&mut self, now: Nanos) -> Observed {
        self.advance(now);
        self.demand.take()
    }

    /// The demand since it was taken last.
    pub fn demand(&self) -> Observed {
        self.demand.observed()
    }

    pub fn queues(&self) -> impl Iterator<Item = ShownQueue> {
        self.queues.iter().map(|queue| ShownQueue {
            waiting: queue.waiting.len(),
            executing: queue.executing,
            seats_in_use: queue.seats_in_use,
            next_dispatch_r: queue.next_dispatch_r,
            initial_seats: queue.initial_seats,
            max_seats: queue.max_seats,
            work: SeatSeconds(queue.work),
        })
    }

    /// The requests that wait or are executed; their queue, and where they wait in it.
    pub fn shown(&self) -> Vec<Shown<'_, T>> {
        let mut shown = Vec::new();
        for (at, queue) in self.queues.iter().enumerate() {
            let waiting = queue.waiting.iter().enumerate();
            shown.extend(waiting.map(|(place, key)| self.requests.get(key.0).show(Some(at), Some(place))));
            let executing = self.requests.iter().filter(|request| request.queue == Some(at) && request.executes());
            shown.extend(executing.map(|request| request.show(Some(at), None)));
        }
        let others = self.requests.iter().filter(|request| request.queue.is_none() && request.executes());
        shown.extend(others.map(|request| request.show(None, None)));
        shown
    }
}

/// The inside.
impl<T, W> QueueSet<T, W> {
    fn tally(&mut self, schema: &Arc<str>) -> usize {
        let same = |tally: &Tally| Arc::ptr_eq(&tally.schema, schema) || tally.schema == *schema;
        self.tallies.iter().position(same).unwrap_or_else(|| {
            self.tallies.push(Tally::new(schema.clone()));
            self.tallies.len() - 1
        })
    }

    /// Time passes in which nothing changes.
    fn pass_until(&mut self, now: Nanos) {
        // Clocks are read before the lock is taken: one that is behind stands still.
        let time = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        if time == 0 {
            return;
        }
        self.demand.pass(time);
        self.gauges.pass(time, &self.totals);
        if self.active == 0 {
            return;
        }
        let wanted = (self.queued_seats + self.totals.seats_waiting).min(self.limit.seats);
        let passed = SeatSeconds::of(wanted as f64 / self.active as f64, time);
        self.current_r = SeatSeconds(self.current_r.0.wrapping_add(passed.0));
        if self.current_r.0 >= R_HIGH {
            self.begin_epoch();
        }
    }

    /// Sets every meter back, so that none runs over.
    fn begin_epoch(&mut self) {
        let mut sound = true;
        let mut back = |meter: &mut SeatSeconds| {
            sound &= meter.0 >= R_DECREMENT;
            meter.0 = meter.0.wrapping_sub(R_DECREMENT);
        };
        back(&mut self.current_r);
        for queue in &mut self.queues {
            if queue.is_empty() {
                queue.next_dispatch_r = SeatSeconds(0);
                continue;
            }
            back(&mut queue.next_dispatch_r);
            queue.waiting.iter().for_each(|key| back(&mut self.requests.get_mut(key.0).arrival_r));
        }
        self.gauges.epochs[usize::from(sound)] += 1;
    }

    /// Of the flow's hand the queue with the least work.
    fn choose(&mut self, dealer: &Dealer, hash: u64) -> usize {
        let hand = dealer.deal(hash);
        let cards = hand.cards();
        // Hands that overlap are not always looked at in the order of the deal.
        let offset = self.enqueued % cards.len();
        self.enqueued = self.enqueued.wrapping_add(1);
        let queues = (0..cards.len()).map(|at| cards[(offset + at) % cards.len()] as usize);
        queues.min_by_key(|at| self.queues[*at].work).unwrap_or(0)
    }

    fn enqueue(&mut self, at: usize, tally: usize, arrival: Arrival<T>) -> Key {
        let request = Request::new(arrival, Some(at), tally, self.last, self.current_r);
        let (work, total) = (request.work, request.total_work);
        let key = Key(self.requests.insert(request));
        let queue = &mut self.queues[at];
        if queue.is_empty() {
            queue.next_dispatch_r = self.current_r;
            self.active += 1;
        }
        queue.waiting.push_back(key);
        queue.initial_seats += work.initial_seats;
        queue.max_seats += work.max_seats();
        queue.work += total.0;
        self.totals.waiting += 1;
        self.totals.seats_waiting += work.max_seats();
        self.demand.note((self.totals.seats_in_use + self.totals.seats_waiting) as f64);
        self.bound(at);
        let tally = &mut self.tallies[tally];
        tally.queue_length.observe(self.queues[at].waiting.len() as f64);
        tally.waiting_requests += 1;
        tally.waiting_seats += work.max_seats();
        key
    }

    /// Takes a request out of its queue.
    fn dequeue(&mut self, key: Key) {
        let request = self.requests.get(key.0);
        let (work, total, tally) = (request.work, request.total_work, request.tally);
        let Some(at) = request.queue else { return };
        let queue = &mut self.queues[at];
        if let Some(place) = queue.waiting.iter().position(|own| *own == key) {
            queue.waiting.remove(place);
        }
        self.active -= usize::from(queue.is_empty());
        queue.initial_seats -= work.initial_seats;
        queue.max_seats -= work.max_seats();
        queue.work -= total.0;
        self.totals.waiting -= 1;
        self.totals.seats_waiting -= work.max_seats();
        self.demand.note((self.totals.seats_in_use + self.totals.seats_waiting) as f64);
        let tally = &mut self.tallies[tally];
        tally.waiting_requests -= 1;
        tally.waiting_seats -= work.max_seats();
    }

    fn dispatch_all(&mut self) {
        while self.totals.waiting > 0 && self.totals.seats_in_use < self.limit.seats && self.dispatch() {}
    }

    /// Dispatches the request whose virtual end comes first; false when it does not fit yet.
    fn dispatch(&mut self) -> bool {
        let Some((at, key)) = self.next() else { return false };
        let request = self.requests.get(key.0);
        if !self.fits(request.work.max_seats()) {
            self.tallies[request.tally].unaccommodated += 1;
            return false;
        }
        self.first = at + 1;
        self.gauges.dispatch_r = self.current_r;
        self.gauges.latest_s = self.queues[at].next_dispatch_r;
        self.dequeue(key);
        let request = self.requests.get_mut(key.0);
        request.narrow(self.limit.seats);
        let (work, tally, arrived) = (request.total_work, request.tally, request.arrived);
        self.tallies[tally].waited(true, self.last - arrived);
        self.execute(key);
        let queue = &mut self.queues[at];
        queue.next_dispatch_r = SeatSeconds(queue.next_dispatch_r.0.wrapping_add(work.0));
        self.bound(at);
        true
    }

    /// The queue whose first request would be done first in the virtual world, and that request; looks at
    /// the queues in turn, so that equals win in turn.
    fn next(&mut self) -> Option<(usize, Key)> {
        let mut best: Option<(SeatSeconds, usize, Key)> = None;
        self.gauges.begin_bounds();
        for step in 0..self.queues.len() {
            let at = (self.first + step) % self.queues.len();
            let queue = &self.queues[at];
            let Some(key) = queue.waiting.front().copied() else { continue };
            self.gauges.note_bounds(queue.next_dispatch_r, queue.seats_in_use, SERVICE_TIME);
            let end = SeatSeconds(queue.next_dispatch_r.0.wrapping_add(self.requests.get(key.0).total_work.0));
            if best.is_none_or(|best| end < best.0) {
                best = Some((end, at, key));
            }
            if queue.waiting.len() == self.totals.waiting {
                break;
            }
        }
        best.map(|(_, at, key)| (at, key))
    }

    fn fits(&self, seats: u64) -> bool {
        match self.discipline {
            Discipline::Exempt => true,
            // One that never fits is executed alone.
            _ if seats > self.limit.seats => self.totals.executing == 0,
            _ => self.totals.seats_in_use + seats <= self.limit.seats,
        }
    }

    /// The request begins to be executed.
    fn execute(&mut self, key: Key) {
        let request = self.requests.get_mut(key.0);
        let executing = Phase::Executing { since: self.last };
        if let Phase::Waiting(Some(waker)) = std::mem::replace(&mut request.phase, executing) {
            self.woken.push(waker);
        }
        let seats = request.work.max_seats();
        if let Some(at) = request.queue {
            let queue = &mut self.queues[at];
            self.active += usize::from(queue.is_empty());
            queue.executing += 1;
            queue.seats_in_use += seats;
            self.queued_seats += seats;
        }
        let tally = &mut self.tallies[request.tally];
        tally.dispatched += 1;
        tally.executing_requests += 1;
        tally.executing_seats += seats;
        self.totals.dispatched += 1;
        self.totals.executing += 1;
        self.totals.seats_in_use += seats;
        self.demand.note((self.totals.seats_in_use + self.totals.seats_waiting) as f64);
    }

    /// The request gives its seats back and is gone.
    fn release(&mut self, key: Key) {
        let request = self.requests.remove(key.0);
        let seats = request.work.max_seats();
        self.totals.seats_in_use -= seats;
        self.tallies[request.tally].executing_seats -= seats;
        self.demand.note((self.totals.seats_in_use + self.totals.seats_waiting) as f64);
        if let Some(at) = request.queue {
            self.queues[at].seats_in_use -= seats;
            self.queued_seats -= seats;
            self.drop_if_surplus(at);
        }
    }

    /// Nothing is dispatched before it arrived: a queue that could not use its share does not save it up.
    fn bound(&mut self, at: usize) {
        let queue = &mut self.queues[at];
        if let Some(key) = queue.waiting.front() {
            queue.next_dispatch_r = queue.next_dispatch_r.max(self.requests.get(key.0).arrival_r);
        }
    }

    /// Removes an empty queue that is not wanted any more.
    fn drop_if_surplus(&mut self, at: usize) {
        let wanted = match self.discipline {
            Discipline::Queue { queues, .. } => queues,
            _ => 0,
        };
        if self.queues.len() <= wanted || !self.queues[at].is_empty() {
            return;
        }
        let gone = self.queues.remove(at);
        self.queued_seats -= gone.seats_in_use;
        self.first -= usize::from(self.first > at);
        for request in self.requests.iter_mut() {
            request.queue = match request.queue {
                Some(own) if own == at => None,
                Some(own) if own > at => Some(own - 1),
                own => own,
            };
        }
    }
}

#[cfg(test)]
mod tests;
