//! The keys of an issuer, fetched when a token needs them (`github.com/coreos/go-oidc/jwks.go@v2.5.0`).
//!
//! Invariant: keys that are known are tried first, so that tokens are verified while the issuer is away; of several
//! tokens that need new keys at once one fetches. Keys are fetched anew only once the issuer's own time for them is up.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::fetch::Fetcher;
use super::keys;
use super::metrics::Issuer as Counted;
use crate::authn::jws::{Compact, PublicKey};

/// Keys may be fetched this long before their time is up (jwks.go: keysExpiryDelta).
const DELTA: SignedDuration = SignedDuration::from_secs(30);
const UNVERIFIED: &str = "failed to verify id token signature";

type Keys = Arc<[PublicKey]>;
type Fetching = Shared<BoxFuture<'static, Result<Keys, String>>>;

/// A key set at a URL.
pub(super) struct KeySet {
    fetcher: Fetcher,
    url: String,
    /// Where fetches are counted, if they are.
    counted: Option<Counted>,
    known: Mutex<(Keys, Timestamp)>,
    fetching: Mutex<Option<Fetching>>,
    tasks: TaskTracker,
}

impl KeySet {
    pub(super) fn new(fetcher: Fetcher, url: String, counted: Option<Counted>) -> Arc<Self> {
        let known = Mutex::new((Keys::from([]), Timestamp::UNIX_EPOCH));
        Arc::new(KeySet { fetcher, url, counted, known, fetching: Mutex::default(), tasks: TaskTracker::new() })
    }

    /// Verifies the signature of a token.
    ///
    /// # Errors
    /// No key fits; keys that cannot be fetched.
    pub(super) async fn verify(self: &Arc<Self>, token: &Compact<'_>, now: Timestamp) -> Result<(), String> {
        let (known, until) = self.known.lock().clone();
        if fits(&known, token) {
            return Ok(());
        }
        if now.saturating_add(DELTA).is_ok_and(|soon| soon <= until) {
            return Err(UNVERIFIED.into());
        }
        let keys = self.fetch(now).await.map_err(|why| format!("fetching keys {why}"))?;
        if fits(&keys, token) { Ok(()) } else { Err(UNVERIFIED.into()) }
    }

    /// The fetch under way, or a new one, which goes on when nobody waits for it any more.
    fn fetch(self: &Arc<Self>, now: Timestamp) -> Fetching {
        let mut fetching = self.fetching.lock();
        if let Some(under_way) = fetching.as_ref() {
            return under_way.clone();
        }
        let set = self.clone();
        let task = self.tasks.spawn(async move {
            let outcome = set.update(now).await;
            if let Ok((keys, until)) = &outcome {
                *set.known.lock() = (keys.clone(), *until);
            }
            set.fetching.lock().take();
            outcome.map(|(keys, _)| keys)
        });
        let started = async move { task.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed().shared();
        *fetching = Some(started.clone());
        started
    }

    async fn update(&self, now: Timestamp) -> Result<(Keys, Timestamp), String> {
        let failed = |why: String| {
            self.counted.iter().for_each(Counted::fetch_failed);
            why
        };
        let fetched = self.fetcher.get(&self.url, "").await;
        let fetched = fetched.map_err(|why| failed(format!("oidc: get keys failed {why}")))?;
        let text = String::from_utf8_lossy(&fetched.body);
        if fetched.status != http::StatusCode::OK {
            return Err(failed(format!("oidc: get keys failed: {} {text}", fetched.status_text())));
        }
        let keys =
            keys::read(&fetched.body).map_err(|why| failed(format!("oidc: failed to decode keys: {why} {text}")))?;
        self.counted.iter().for_each(|counted| counted.fetched(&fetched.body));
        Ok((keys.into(), expiry(&fetched.headers, now)))
    }
}

fn fits(keys: &[PublicKey], token: &Compact<'_>) -> bool {
    let named = |key: &&PublicKey| token.key_id().is_empty() || key.id() == token.key_id();
    keys.iter().filter(named).any(|key| key.verify(token).is_ok())
}

/// Until when an answer holds by its own account; at once when it does not say
/// (`github.com/pquerna/cachecontrol`).
fn expiry(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let directives = || text(header::CACHE_CONTROL).split(',').map(str::trim);
    if directives().any(|directive| directive.eq_ignore_ascii_case("no-store")) {
        return now;
    }
    let seconds = |wanted: &str| {
        directives().find_map(|directive| {
            let (name, value) = directive.split_once('=')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim_matches('"').parse::<i64>().ok())?
        })
    };
    let told = seconds("s-maxage").or_else(|| seconds("max-age")).or_else(|| {
        let at = |name| jiff::fmt::rfc2822::parse(text(name)).ok().map(|time| time.timestamp().as_second());
        Some(at(header::EXPIRES)? - at(header::DATE).unwrap_or(now.as_second()))
    });
    now.saturating_add(SignedDuration::from_secs(told.unwrap_or(0).max(0))).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_keys_hold() {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let check = |pairs: &[(header::HeaderName, &str)], expect: i64| {
            let headers: HeaderMap =
                pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect();
            assert_eq!(expiry(&headers, now).as_second() - now.as_second(), expect, "{pairs:?}");
        };
        check(&[], 0);
        check(&[(header::CACHE_CONTROL, "public, max-age=600")], 600);
        check(&[(header::CACHE_CONTROL, "no-store, max-age=600")], 0);
        check(&[(header::CACHE_CONTROL, "max-age=600, s-maxage=30")], 30);
        let date = (header::DATE, "Tue, 14 Nov 2023 22:13:20 GMT");
        check(&[date.clone(), (header::EXPIRES, "Tue, 14 Nov 2023 22:14:20 GMT")], 60);
        check(&[date, (header::EXPIRES, "0")], 0);
    }
}
