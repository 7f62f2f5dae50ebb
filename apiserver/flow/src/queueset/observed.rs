//! What metrics say of a queue set (k8s.io/apiserver/pkg/util/flowcontrol/metrics/metrics.go@v0.37.2).

use std::sync::Arc;

use super::Totals;
use crate::histogram::Histogram;
use crate::seats::SeatSeconds;
use crate::{Nanos, SECOND};

const QUEUE_LENGTHS: &[f64] = &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SECONDS: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const WATCHES: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0];
const SEATS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
const SEAT_SHARES: &[f64] = &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
const REQUEST_SHARES: &[f64] = &[0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0];
const DEMAND_SHARES: &[f64] = &[0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0, 6.0];

/// The requests of one FlowSchema.
#[derive(Clone, Debug)]
pub struct Tally {
    pub schema: Arc<str>,
    /// By [`super::Refusal`].
    pub rejected: [u64; 3],
    pub dispatched: u64,
    pub waiting_requests: u64,
    pub waiting_seats: u64,
    pub executing_requests: u64,
    pub executing_seats: u64,
    /// Dispatches that had to be put off.
    pub unaccommodated: u64,
    pub queue_length: Histogram,
    /// Not executed, executed.
    pub wait: [Histogram; 2],
    /// Regular requests, watches.
    pub execution: [Histogram; 2],
    pub watches: Histogram,
    pub estimated_seats: Histogram,
}

impl Tally {
    pub(super) fn new(schema: Arc<str>) -> Self {
        Tally {
            schema,
            rejected: [0; 3],
            dispatched: 0,
            waiting_requests: 0,
            waiting_seats: 0,
            executing_requests: 0,
            executing_seats: 0,
            unaccommodated: 0,
            queue_length: Histogram::new(QUEUE_LENGTHS),
            wait: [Histogram::new(SECONDS); 2],
            execution: [Histogram::new(SECONDS); 2],
            watches: Histogram::new(WATCHES),
            estimated_seats: Histogram::new(SEATS),
        }
    }

    pub(super) fn waited(&mut self, executed: bool, time: Nanos) {
        self.wait[usize::from(executed)].observe(time as f64 / SECOND as f64);
    }

    pub(super) fn executed(&mut self, is_watch: bool, time: Nanos) {
        self.execution[usize::from(is_watch)].observe(time as f64 / SECOND as f64);
    }
}

/// The whole set.
#[derive(Clone, Debug)]
pub struct Gauges {
    /// Shares of what there is, at the end of every nanosecond.
    pub waiting: Histogram,
    pub executing: Histogram,
    pub seats: Histogram,
    pub demand: Histogram,
    denominators: (f64, f64),
    pub dispatch_r: SeatSeconds,
    pub latest_s: SeatSeconds,
    /// Least and greatest, over the queues that have something to dispatch.
    pub next_s: (SeatSeconds, SeatSeconds),
    pub next_discounted_s: (SeatSeconds, SeatSeconds),
    /// Times that the meters were set back: with an error, and without.
    pub epochs: [u64; 2],
}

impl Gauges {
    pub(super) fn new() -> Self {
        let none = SeatSeconds(0);
        Gauges {
            waiting: Histogram::new(REQUEST_SHARES),
            executing: Histogram::new(REQUEST_SHARES),
            seats: Histogram::new(SEAT_SHARES),
            demand: Histogram::new(DEMAND_SHARES),
            denominators: (1.0, 1.0),
            dispatch_r: none,
            latest_s: none,
            next_s: (none, none),
            next_discounted_s: (none, none),
            epochs: [0; 2],
        }
    }

    pub(super) fn set_denominators(&mut self, waiting: f64, seats: f64) {
        self.denominators = (waiting, seats.max(1.0));
    }

    pub(super) fn pass(&mut self, time: Nanos, totals: &Totals) {
        let (waiting, seats) = self.denominators;
        self.waiting.observe_often(totals.waiting as f64 / waiting, time);
        self.executing.observe_often(totals.executing as f64 / seats, time);
        self.seats.observe_often(totals.seats_in_use as f64 / seats, time);
        self.demand.observe_often((totals.seats_in_use + totals.seats_waiting) as f64 / seats, time);
    }

    pub(super) fn begin_bounds(&mut self) {
        self.next_s = (SeatSeconds::MAX, SeatSeconds(0));
        self.next_discounted_s = self.next_s;
    }

    pub(super) fn note_bounds(&mut self, next: SeatSeconds, seats: u64, service: Nanos) {
        let widen = |bounds: &mut (SeatSeconds, SeatSeconds), value| {
            *bounds = (bounds.0.min(value), bounds.1.max(value));
        };
        widen(&mut self.next_s, next);
        let in_progress = SeatSeconds::of(seats as f64, service);
        widen(&mut self.next_discounted_s, SeatSeconds(next.0.saturating_sub(in_progress.0)));
    }
}
