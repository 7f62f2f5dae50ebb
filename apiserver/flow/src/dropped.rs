//! What Retry-After says: it doubles while a level drops many requests, and goes back by one when not
//! (k8s.io/apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go@v0.37.2).

use std::collections::{BTreeMap, VecDeque};

/// Seconds that are said at most.
const RETRY_AFTER_MAX: i64 = 32;

/// Dropped requests of one level.
#[derive(Debug)]
struct Stats {
    /// Seconds and how many were dropped in each, oldest first.
    history: VecDeque<(i64, i64)>,
    current: (i64, i64),
    retry_after: i64,
    raised: i64,
}

impl Stats {
    fn record(&mut self, second: i64) {
        if self.current.0 == second {
            self.current.1 += 1;
            return;
        }
        let (ended, _) = self.current;
        self.history.push_back(self.current);
        // Older ones never count again.
        let keep = (2 * self.retry_after).min(RETRY_AFTER_MAX);
        while self.history.front().is_some_and(|(at, _)| ended - at > keep) {
            self.history.pop_front();
        }
        self.current = (second, 1);
        self.adjust(second);
    }

    fn adjust(&mut self, second: i64) {
        let retry_after = self.retry_after;
        let counts = self.history.iter().filter(|(at, _)| *at < second && second - at <= retry_after);
        let dropped: i64 = counts.map(|(_, count)| count).sum();
        if second - self.raised >= retry_after && dropped >= 3 * retry_after {
            self.retry_after = (retry_after * 2).min(RETRY_AFTER_MAX);
            self.raised = second;
        } else if dropped < retry_after && retry_after > 1 {
            self.retry_after -= 1;
        }
    }
}

/// Dropped requests by level.
#[derive(Debug, Default)]
pub struct Dropped(BTreeMap<String, Stats>);

impl Dropped {
    /// Notes a dropped request; the seconds after which its client may come again.
    pub fn record(&mut self, level: &str, unix_seconds: i64) -> i64 {
        if !self.0.contains_key(level) {
            let stats = Stats { history: VecDeque::new(), current: (0, 0), retry_after: 1, raised: 0 };
            self.0.insert(level.to_string(), stats);
        }
        let Some(stats) = self.0.get_mut(level) else { return 1 };
        stats.record(unix_seconds);
        stats.retry_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of upstream's TestDroppedRequestsTracker: seconds elapsed, requests dropped then, Retry-After.
    #[test]
    fn retry_after_follows_what_is_dropped() {
        let rows = [
            (0, 5, 1),
            (1, 11, 2),
            (2, 1, 2),
            (3, 11, 4),
            (4, 1, 4),
            (7, 1, 8),
            (11, 1, 8),
            (15, 1, 7),
            (17, 1, 6),
            (21, 14, 5),
            (22, 1, 10),
        ];
        let mut dropped = Dropped::default();
        for (second, count, expect) in rows {
            let last = (0..count).map(|_| dropped.record("pl", 1_700_000_000 + second)).last();
            assert_eq!(last, Some(expect), "{second}");
        }
        assert_eq!(dropped.record("other", 1_700_000_022), 1);
    }
}
