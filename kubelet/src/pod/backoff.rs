//! Exponential back-off by key: of restarts and of pulls
//! (k8s.io/client-go/util/flowcontrol/backoff.go@v0.37.2).
//!
//! Invariant: a key that was quiet for twice the longest wait starts over.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// First wait of restarts and pulls (pkg/kubelet/kubelet.go@v1.37.2: initialNodeStatus..., backOffPeriod).
pub(crate) const INITIAL: Duration = Duration::from_secs(10);
/// Longest wait of a pull (MaxImageBackOff).
pub(crate) const IMAGE_MAX: Duration = Duration::from_secs(300);
/// Entries kept before those long quiet are dropped.
const ENTRIES_MAX: usize = 10_000;

/// Time here is nanoseconds since the epoch, as the runtime counts it.
#[derive(Clone, Copy)]
struct Entry {
    wait: Duration,
    updated: i64,
}

pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    entries: Mutex<HashMap<String, Entry>>,
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Backoff { initial: initial.min(max), max, entries: Mutex::new(HashMap::new()) }
    }

    /// The wait that an event at `since` has to respect, if it is not over at `now`.
    pub(crate) fn waiting_since(&self, key: &str, since: i64, now: i64) -> Option<Duration> {
        let entries = self.entries.lock();
        let entry = entries.get(key)?;
        let quiet = since.saturating_sub(entry.updated) > 2 * nanos(self.max);
        (!quiet && now.saturating_sub(since) < nanos(entry.wait)).then_some(entry.wait)
    }

    /// The wait of a pull: counted from the last failure.
    pub(crate) fn waiting(&self, key: &str, now: i64) -> Option<Duration> {
        let updated = self.entries.lock().get(key)?.updated;
        self.waiting_since(key, updated, now)
    }

    /// Doubles the wait, because it happened again at `now`.
    pub(crate) fn next(&self, key: &str, now: i64) {
        let mut entries = self.entries.lock();
        if entries.len() > ENTRIES_MAX {
            let limit = 2 * nanos(self.max);
            entries.retain(|_, entry| now.saturating_sub(entry.updated) <= limit);
        }
        let entry = entries.get(key).filter(|entry| now.saturating_sub(entry.updated) <= 2 * nanos(self.max));
        let wait = entry.map_or(self.initial, |entry| (entry.wait * 2).min(self.max));
        entries.insert(key.to_owned(), Entry { wait, updated: now });
    }
}

/// `10s`, `1m20s`, `5m0s`: as Go prints a duration.
pub(crate) fn go_duration(duration: Duration) -> String {
    let (seconds, milliseconds) = (duration.as_secs(), duration.subsec_millis());
    let fraction = match milliseconds {
        0 => String::new(),
        other => format!(".{other:03}").trim_end_matches('0').to_owned(),
    };
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) if milliseconds > 0 => format!("{milliseconds}ms"),
        (0, 0, s) => format!("{s}{fraction}s"),
        (0, m, s) => format!("{m}m{s}{fraction}s"),
        (h, m, s) => format!("{h}h{m}m{s}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn doubles_to_the_longest_and_starts_over_after_quiet() {
        let backoff = Backoff::new(INITIAL, Duration::from_secs(300));
        let mut now = 0;
        let mut waits = Vec::new();
        assert_eq!(backoff.waiting_since("a", 0, 0), None);
        for _ in 0..7 {
            backoff.next("a", now);
            let wait = backoff.waiting_since("a", now, now).expect("waiting");
            waits.push(wait.as_secs());
            now += wait.as_secs() as i64 * SECOND;
            assert_eq!(backoff.waiting_since("a", now - wait.as_secs() as i64 * SECOND, now), None);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        now += 601 * SECOND;
        backoff.next("a", now);
        assert_eq!(backoff.waiting("a", now), Some(INITIAL));
    }

    #[test]
    fn prints_as_go() {
        for (milliseconds, text) in [
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (500, "500ms"),
            (1500, "1.5s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), text);
        }
    }
}
