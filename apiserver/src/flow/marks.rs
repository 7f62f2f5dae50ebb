//! How many reads and changes wait and are executed, over all levels.

use flow::histogram::Histogram;
use flow::{Nanos, SECOND};

const SHARES: &[f64] = &[0.0, 0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];

/// Requests of one kind in one phase.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    count: u64,
    limit: f64,
    /// Shares of the limit, at the end of every nanosecond.
    pub(super) shares: Histogram,
    /// The greatest count in this second, and in the one before.
    high: u64,
    last_high: u64,
}

/// By phase, each with reads first.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    pub(super) waiting: [Mark; 2],
    pub(super) executing: [Mark; 2],
    last: Nanos,
}

impl Mark {
    fn new(limit: f64) -> Self {
        Mark { count: 0, limit, shares: Histogram::new(SHARES), high: 0, last_high: 0 }
    }

    fn pass(&mut self, time: Nanos, seconds: u64) {
        self.shares.observe_often(self.count as f64 / self.limit, time);
        if seconds > 0 {
            self.last_high = if seconds == 1 { self.high } else { self.count };
            self.high = self.count;
        }
    }

    fn change(&mut self, change: i64) {
        self.count = self.count.saturating_add_signed(change);
        self.high = self.high.max(self.count);
    }

    /// The greatest count in the last second.
    pub(super) fn watermark(&self) -> u64 {
        self.last_high
    }
}

impl Marks {
    pub(super) fn new(reads: usize, writes: usize) -> Self {
        let limit = |limit: usize| Mark::new(limit.max(1) as f64);
        Marks { waiting: [Mark::new(1.0), Mark::new(1.0)], executing: [limit(reads), limit(writes)], last: 0 }
    }

    /// The limits of a new configuration.
    pub(super) fn set_limits(&mut self, now: Nanos, waiting: u64, executing: u64) {
        self.pass(now);
        self.waiting.iter_mut().for_each(|mark| mark.limit = waiting.max(1) as f64);
        self.executing.iter_mut().for_each(|mark| mark.limit = executing.max(1) as f64);
    }

    pub(super) fn pass(&mut self, now: Nanos) {
        let time = now.saturating_sub(self.last);
        let seconds = (self.last + time) / SECOND - self.last / SECOND;
        self.last += time;
        self.waiting.iter_mut().chain(&mut self.executing).for_each(|mark| mark.pass(time, seconds));
    }

    pub(super) fn waiting(&mut self, now: Nanos, mutating: bool, change: i64) {
        self.pass(now);
        self.waiting[usize::from(mutating)].change(change);
    }

    pub(super) fn executing(&mut self, now: Nanos, mutating: bool, change: i64) {
        self.pass(now);
        self.executing[usize::from(mutating)].change(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_are_of_the_last_second() {
        let mut marks = Marks::new(400, 200);
        for (now, change, expect) in [
            (0, 1, 0),
            (1, 1, 0),
            (2, -1, 0),
            (SECOND, 0, 2),
            (SECOND + 1, -1, 2),
            (2 * SECOND, 0, 1),
            (5 * SECOND, 0, 0),
        ] {
            marks.executing(now, true, change);
            assert_eq!(marks.executing[1].watermark(), expect, "{now}");
        }
        let shares = marks.executing[1].shares;
        assert_eq!(shares.count, 5 * SECOND);
        assert_eq!(marks.executing[0].watermark(), 0);
    }
}
