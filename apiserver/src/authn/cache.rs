//! A small map whose entries live for seconds: what was verified and need not be verified again on every request.
//!
//! Invariant: keys are SHA-256 digests, so no credential stays in memory, and the map never holds more than
//! [`MAX_ENTRIES`]. Values must not depend on any object of the store.
//!
//! Upstream: `k8s.io/apiserver/pkg/authentication/token/cache/cached_token_authenticator.go@v0.37.2`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// How long a verification counts (upstream's TokenSuccessCacheTTL).
pub(super) const TTL: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);
/// The most entries kept: upstream plans for 5,000 nodes and 10,000 namespaces, times two.
const MAX_ENTRIES: usize = 32 * 1024;

type Digest32 = [u8; 32];

/// Verified values by the digest of what was verified.
pub(super) struct Verified<T> {
    entries: Mutex<HashMap<Digest32, (Arc<T>, jiff::Timestamp), foldhash::fast::RandomState>>,
}

impl<T> Verified<T> {
    pub(super) fn new() -> Self {
        Verified { entries: Mutex::new(HashMap::default()) }
    }

    /// The value, unless it is older than its time.
    pub(super) fn get(&self, key: &Digest32, now: jiff::Timestamp) -> Option<Arc<T>> {
        let entries = self.entries.lock();
        let (value, until) = entries.get(key)?;
        (now < *until).then(|| value.clone())
    }

    /// Keeps the value until `now + TTL`, or until `not_after` when that is earlier.
    pub(super) fn put(&self, key: Digest32, value: Arc<T>, now: jiff::Timestamp, not_after: Option<jiff::Timestamp>) {
        let until = now.saturating_add(TTL).expect("a signed duration has no calendar units");
        self.put_until(key, value, now, not_after.map_or(until, |limit| limit.min(until)));
    }

    /// Keeps the value until a time.
    pub(super) fn put_until(&self, key: Digest32, value: Arc<T>, now: jiff::Timestamp, until: jiff::Timestamp) {
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, (_, until)| now < *until);
        }
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key, (value, until));
    }
}

/// The digest of byte strings, unambiguous about where one ends and the next begins.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest32 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_expire_and_are_bounded() {
        let cache = Verified::new();
        let start = jiff::Timestamp::from_second(1_000).unwrap();
        let at = |s: i64| jiff::Timestamp::from_second(1_000 + s).unwrap();
        cache.put(digest([&b"a"[..]]), Arc::new(1), start, None);
        cache.put(digest([&b"b"[..]]), Arc::new(2), start, Some(at(3)));
        for (key, second, want) in
            [("a", 0, Some(1)), ("a", 9, Some(1)), ("a", 10, None), ("b", 2, Some(2)), ("b", 3, None)]
        {
            let got = cache.get(&digest([key.as_bytes()]), at(second)).map(|v| *v);
            assert_eq!(got, want, "{key} after {second} s");
        }
        for i in 0..MAX_ENTRIES + 1 {
            cache.put(digest([&i.to_be_bytes()[..]]), Arc::new(0), at(5), None);
        }
        assert!(cache.entries.lock().len() <= MAX_ENTRIES);
    }

    #[test]
    fn digest_knows_where_parts_end() {
        assert_ne!(digest([&b"ab"[..], b"c"]), digest([&b"a"[..], b"bc"]));
    }
}
