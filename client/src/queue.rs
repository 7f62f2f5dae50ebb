//! The keyed work queue: a key is handed to at most one worker at a time, a key added while it is
//! being worked on comes back afterwards, and adding a waiting key again changes nothing.
//!
//! Same contract and same default limits as upstream's
//! (k8s.io/client-go/util/workqueue/{queue,delaying_queue,default_rate_limiters}.go@v0.37.2).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// First delay of a failing key; doubles with each failure.
const RETRY_BASE: Duration = Duration::from_millis(5);
/// Longest delay of a failing key.
const RETRY_MAX: Duration = Duration::from_secs(1000);

/// A keyed work queue; clones share one queue.
pub struct Queue<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue { shared: self.shared.clone() }
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Keys that want work, whether in `ready` or added again while being processed.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    /// Keys that become ready later; `due` holds the earliest time of each.
    delayed: BTreeMap<(Instant, u64), T>,
    due: HashMap<T, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<T, u32>,
    /// First and longest delay of a failing key.
    backoff: (Duration, Duration),
}

impl<T: Clone + Eq + Hash> Default for Queue<T> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    pub fn new() -> Self {
        Queue::with_backoff(RETRY_BASE, RETRY_MAX)
    }

    /// A queue whose failing keys wait `first` at first, twice as long each time, at most `longest`.
    pub fn with_backoff(first: Duration, longest: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            backoff: (first, longest),
        };
        Queue { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// Makes `key` ready now.
    pub fn add(&self, key: T) {
        self.shared.state.lock().add(key);
        self.shared.changed.notify_one();
    }

    /// Makes `key` ready after `delay`; an earlier time already set stays.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.shared.state.lock().add_at(key, Instant::now() + delay);
        self.shared.changed.notify_one();
    }

    /// Makes a failed key ready after its exponential back-off.
    pub fn add_rate_limited(&self, key: T) {
        let delay = {
            let mut state = self.shared.state.lock();
            let (first, longest) = state.backoff;
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = first.saturating_mul(1 << (*failures).min(18)).min(longest);
            *failures += 1;
            delay
        };
        self.add_after(key, delay);
    }

    /// Forgets the failures of `key`.
    pub fn forget(&self, key: &T) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often `key` has failed since it was last forgotten.
    pub fn failures(&self, key: &T) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Keys that are ready but not yet taken.
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// True when no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next key; the caller must call [`Queue::done`] with it. Cancel-safe.
    pub async fn get(&self) -> T {
        loop {
            let notified = self.shared.changed.notified();
            let (next, wake, more) = {
                let mut state = self.shared.state.lock();
                state.promote(Instant::now());
                let next = state.take();
                (next, state.next_due(), !state.ready.is_empty())
            };
            if more {
                self.shared.changed.notify_one();
            }
            if let Some(key) = next {
                return key;
            }
            match wake {
                Some(at) => tokio::select! {
                    _ = notified => {}
                    _ = tokio::time::sleep_until(at) => {}
                },
                None => notified.await,
            }
        }
    }

    /// Ends the work on `key`; if it was added meanwhile, it becomes ready again.
    pub fn done(&self, key: &T) {
        let mut state = self.shared.state.lock();
        state.processing.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.shared.changed.notify_one();
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) {
        if !self.dirty.insert(key.clone()) {
            return;
        }
        if !self.processing.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: T, at: Instant) {
        if let Some(&set) = self.due.get(&key) {
            if set.0 <= at {
                return;
            }
            self.delayed.remove(&set);
        }
        self.sequence += 1;
        let slot = (at, self.sequence);
        self.due.insert(key.clone(), slot);
        self.delayed.insert(slot, key);
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }

    fn next_due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|(slot, _)| slot.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_never_worked_on_twice_at_once() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.get().await, "a");
        queue.add("a");
        assert!(queue.is_empty(), "added while processing: waits for done");
        queue.done(&"a");
        assert_eq!(queue.get().await, "a");
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_wins_and_failures_double() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(5));
        assert_eq!(queue.get().await, "a");
        assert_eq!(start.elapsed().as_secs(), 3);
        queue.done(&"a");
        for expected in [5, 10, 20] {
            let start = Instant::now();
            queue.add_rate_limited("a");
            queue.get().await;
            queue.done(&"a");
            assert_eq!(start.elapsed().as_millis(), expected);
        }
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn every_waiting_worker_is_woken() {
        let queue = Queue::new();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        for key in ["a", "b", "c"] {
            queue.add(key);
        }
        let mut seen = Vec::new();
        for worker in workers {
            seen.push(worker.await.expect("worker"));
        }
        seen.sort_unstable();
        assert_eq!(seen, ["a", "b", "c"]);
    }
}
