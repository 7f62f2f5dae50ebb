//! Decrypted sources by what they are encrypted as (kmsv2/cache.go).
//!
//! Invariant: a source stays as long as it is used for writes, and a day after. What a plugin has just refused is refused again
//! without a call, for a moment: a thousand objects under one lost key cost one deadline, not a thousand.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::object::SourceId;
use crate::Error;
use crate::cipher::{Gcm, Seed};

/// envelope.go: cacheTTL.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Between two looks for what is too old.
const SWEEP: SignedDuration = SignedDuration::from_mins(1);
/// How long a refusal counts.
const REFUSED: SignedDuration = SignedDuration::from_secs(1);

/// What a decrypted source does.
pub(super) enum Source {
    Seed(Seed),
    Key(Gcm),
}

impl Source {
    pub(super) fn new(is_seed: bool, secret: Vec<u8>) -> Result<Self, Error> {
        match is_seed {
            true => Seed::new(secret).map(Source::Seed),
            false => Gcm::new(&secret).map(Source::Key),
        }
    }

    pub(super) fn open(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Source::Seed(seed) => seed.open(key, stored),
            Source::Key(gcm) => gcm.open(key, stored),
        }
    }

    /// Only seeds write: nobody knows what nonces a key of another process has used.
    pub(super) fn seal(&self, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Source::Seed(seed) => seed.seal(key, plain),
            Source::Key(_) => Err(Error::new("a key that was decrypted is not used for encryption")),
        }
    }
}

#[derive(Default)]
pub(super) struct Sources(Mutex<Held>);

#[derive(Default)]
struct Held {
    known: HashMap<SourceId, (Arc<Source>, Timestamp)>,
    refused: HashMap<SourceId, (Error, Timestamp)>,
    swept: Timestamp,
}

impl Sources {
    /// The source, or the refusal that still counts.
    pub(super) fn get(&self, id: &SourceId, now: Timestamp) -> Option<Result<Arc<Source>, Error>> {
        let held = self.0.lock();
        if let Some((source, _)) = held.known.get(id) {
            return Some(Ok(source.clone()));
        }
        let (error, at) = held.refused.get(id)?;
        (now.duration_since(*at) < REFUSED).then(|| Err(error.clone()))
    }

    /// Keeps a source; gives how many there are.
    pub(super) fn put(&self, id: SourceId, source: Arc<Source>, now: Timestamp) -> usize {
        let mut held = self.0.lock();
        held.refused.remove(&id);
        held.known.insert(id, (source, now));
        if now.duration_since(held.swept) >= SWEEP {
            held.swept = now;
            held.known.retain(|_, (_, at)| now.duration_since(*at) < KEPT);
            held.refused.retain(|_, (_, at)| now.duration_since(*at) < REFUSED);
        }
        held.known.len()
    }

    pub(super) fn refuse(&self, id: SourceId, error: Error, now: Timestamp) {
        self.0.lock().refused.insert(id, (error, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_sources_go_and_refusals_are_short() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).expect("a time");
        let source = || Arc::new(Source::new(true, vec![1; 32]).expect("a seed"));
        let sources = Sources::default();
        assert_eq!(sources.put([1; 32], source(), at(0)), 1);
        assert_eq!(sources.put([2; 32], source(), at(3600)), 2);
        sources.refuse([3; 32], Error::new("no"), at(3600));
        assert!(matches!(sources.get(&[3; 32], at(3600)), Some(Err(_))));
        assert!(sources.get(&[3; 32], at(3601)).is_none());
        // A day after the first, an hour before the second is that old.
        assert_eq!(sources.put([4; 32], source(), at(24 * 3600)), 2);
        assert!(sources.get(&[1; 32], at(24 * 3600)).is_none());
        assert!(sources.get(&[2; 32], at(24 * 3600)).is_some());
    }
}
