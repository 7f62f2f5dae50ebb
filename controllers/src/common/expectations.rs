//! What a controller has written and not yet seen in its cache
//! (pkg/controller/controller_utils.go@v1.37.2, UIDTrackingControllerExpectations).
//!
//! Invariant: while expectations of a key are open, its controller creates and deletes nothing, so a
//! stale cache cannot make it write the same thing twice. They expire, so a lost event only delays.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use client::Key;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long to wait for an event that may never come.
pub(crate) const EXPECTATIONS_TIMEOUT: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
pub(crate) struct Expectations {
    open: Mutex<HashMap<Key, Open>>,
}

struct Open {
    creations: usize,
    /// Keys of the objects whose deletion is awaited.
    deletions: HashSet<Key>,
    since: Instant,
}

impl Expectations {
    pub(crate) fn satisfied(&self, key: &Key) -> bool {
        self.open.lock().get(key).is_none_or(|open| {
            (open.creations == 0 && open.deletions.is_empty()) || open.since.elapsed() > EXPECTATIONS_TIMEOUT
        })
    }

    pub(crate) fn expect_creations(&self, key: &Key, creations: usize) {
        self.expect(key, creations, []);
    }

    pub(crate) fn expect_deletions(&self, key: &Key, deletions: impl IntoIterator<Item = Key>) {
        self.expect(key, 0, deletions);
    }

    /// Replaces what was expected of `key`.
    pub(crate) fn expect(&self, key: &Key, creations: usize, deletions: impl IntoIterator<Item = Key>) {
        let deletions = deletions.into_iter().collect();
        self.open.lock().insert(key.clone(), Open { creations, deletions, since: Instant::now() });
    }

    /// Adds one deletion, or one creation, to what is expected of `key`.
    pub(crate) fn also(&self, key: &Key, deletion: Option<Key>) {
        let mut all = self.open.lock();
        let none = || Open { creations: 0, deletions: HashSet::new(), since: Instant::now() };
        let open = all.entry(key.clone()).or_insert_with(none);
        open.since = Instant::now();
        match deletion {
            Some(deletion) => drop(open.deletions.insert(deletion)),
            None => open.creations += 1,
        }
    }

    pub(crate) fn creation_observed(&self, key: &Key) {
        if let Some(open) = self.open.lock().get_mut(key) {
            open.creations = open.creations.saturating_sub(1);
        }
    }

    pub(crate) fn deletion_observed(&self, key: &Key, deleted: &Key) {
        if let Some(open) = self.open.lock().get_mut(key) {
            open.deletions.remove(deleted);
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.open.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn open_until_seen_or_expired() {
        let (all, key, pod) = (Expectations::default(), Key::new("ns", "a"), Key::new("ns", "p"));
        assert!(all.satisfied(&key));
        all.expect_creations(&key, 2);
        all.creation_observed(&key);
        assert!(!all.satisfied(&key));
        all.creation_observed(&key);
        assert!(all.satisfied(&key));
        all.expect_deletions(&key, [pod.clone()]);
        all.deletion_observed(&key, &Key::new("ns", "another"));
        assert!(!all.satisfied(&key), "only the awaited deletion counts");
        all.deletion_observed(&key, &pod);
        assert!(all.satisfied(&key));
        all.expect_creations(&key, 1);
        tokio::time::advance(EXPECTATIONS_TIMEOUT + Duration::from_secs(1)).await;
        assert!(all.satisfied(&key), "expired");
    }
}
