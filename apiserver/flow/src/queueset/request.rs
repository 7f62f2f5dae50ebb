//! One request of a queue set.

use std::sync::Arc;

use super::SERVICE_TIME;
use crate::Nanos;
use crate::estimate::Work;
use crate::seats::SeatSeconds;

/// A request as it comes in.
#[derive(Clone, Debug)]
pub struct Arrival<T> {
    pub work: Work,
    /// Of the flow.
    pub hash: u64,
    pub schema: Arc<str>,
    pub is_watch: bool,
    /// For a change: the watches that it is of interest to.
    pub watches: Option<u64>,
    pub about: T,
}

#[derive(Debug)]
pub(super) enum Phase<W> {
    Waiting(Option<W>),
    Executing {
        since: Nanos,
    },
    /// Executed, but it keeps its seats for a while.
    Lingering,
}

#[derive(Debug)]
pub(super) struct Request<T, W> {
    pub(super) work: Work,
    pub(super) total_work: SeatSeconds,
    pub(super) queue: Option<usize>,
    pub(super) tally: usize,
    pub(super) arrived: Nanos,
    pub(super) arrival_r: SeatSeconds,
    pub(super) phase: Phase<W>,
    pub(super) is_watch: bool,
    schema: Arc<str>,
    about: T,
}

/// A request as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a, T> {
    pub queue: Option<usize>,
    /// Its place among those that wait.
    pub place: Option<usize>,
    pub schema: &'a Arc<str>,
    pub arrived: Nanos,
    pub started: Option<Nanos>,
    pub work: Work,
    pub about: &'a T,
}

fn final_work(work: &Work) -> SeatSeconds {
    SeatSeconds::of(work.final_seats as f64, work.additional_latency)
}

impl<T, W> Request<T, W> {
    pub(super) fn new(
        arrival: Arrival<T>,
        queue: Option<usize>,
        tally: usize,
        now: Nanos,
        current_r: SeatSeconds,
    ) -> Self {
        let initial = SeatSeconds::of(arrival.work.initial_seats as f64, SERVICE_TIME);
        Request {
            total_work: SeatSeconds(initial.0 + final_work(&arrival.work).0),
            work: arrival.work,
            queue,
            tally,
            arrived: now,
            arrival_r: current_r,
            phase: Phase::Waiting(None),
            is_watch: arrival.is_watch,
            schema: arrival.schema,
            about: arrival.about,
        }
    }

    /// Makes the seats at the end fit, for longer: the work stays the same.
    pub(super) fn narrow(&mut self, seats: u64) {
        if self.work.final_seats > seats && seats > 0 {
            self.work.additional_latency = final_work(&self.work).per_seat(seats as f64);
            self.work.final_seats = seats;
        }
    }

    pub(super) fn executes(&self) -> bool {
        matches!(self.phase, Phase::Executing { .. })
    }

    pub(super) fn show(&self, queue: Option<usize>, place: Option<usize>) -> Shown<'_, T> {
        let started = match self.phase {
            Phase::Executing { since } => Some(since),
            _ => None,
        };
        let (schema, about, work) = (&self.schema, &self.about, self.work);
        Shown { queue, place, schema, arrived: self.arrived, started, work, about }
    }
}
