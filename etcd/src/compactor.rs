//! Automatic compaction (`server/etcdserver/api/v3compactor@v3.7.3`): what is older than a time, or than a number of revisions.
//!
//! Invariant: of a time, nothing younger than it is forgotten, also right after a start.

use std::collections::VecDeque;
use std::time::Duration;

use store::{Error, Revision, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often compaction by revisions looks.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);
/// Longer periods are compacted every hour.
const HOUR: Duration = Duration::from_secs(3600);
/// How many times a revision is recorded in a period.
const SAMPLES: u32 = 10;

/// What `--auto-compaction-mode` and `--auto-compaction-retention` ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// Keep this long.
    Periodic(Duration),
    /// Keep so many revisions.
    Revision(u64),
}

impl Compaction {
    /// Reads the two flags; a retention of 0 is none. A periodic number without a unit is of hours.
    ///
    /// # Errors
    /// etcd's texts (`server/embed/etcd.go@v3.7.3`, parseCompactionRetention; `server/embed/config.go@v3.7.3`, Validate).
    pub fn parse(mode: &str, retention: &str) -> Result<Option<Compaction>, String> {
        let found = match (mode, retention.parse::<u64>()) {
            ("revision", Ok(number)) => Compaction::Revision(number),
            ("periodic", Ok(hours)) => {
                Compaction::Periodic(HOUR.saturating_mul(u32::try_from(hours).unwrap_or(u32::MAX)))
            }
            ("revision" | "periodic", Err(_)) => match (duration(retention), mode) {
                (Some(length), "periodic") => Compaction::Periodic(length),
                (Some(length), _) => Compaction::Revision(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)),
                (None, _) => {
                    return Err(format!("error parsing CompactionRetention: time: invalid duration {retention:?}"));
                }
            },
            ("", _) => return Err("undefined auto-compaction-mode".into()),
            _ => return Err(format!("unknown auto-compaction-mode {mode:?}")),
        };
        Ok(Some(found).filter(|found| !matches!(found, Compaction::Periodic(Duration::ZERO) | Compaction::Revision(0))))
    }
}

/// Reads a Go duration of one or more parts, as `1h30m`; `None` if it is none.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        let seconds = match &rest[end..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

/// Compacts until `stop`.
pub(crate) async fn run(compaction: Compaction, store: Store, stop: CancellationToken) {
    let compacting = async {
        match compaction {
            Compaction::Periodic(period) => periodic(period, &store).await,
            Compaction::Revision(retention) => by_revision(retention, &store).await,
        }
    };
    tokio::select! {
        () = compacting => {}
        () = stop.cancelled() => {}
    }
}

/// Ends when the store is closed.
async fn periodic(period: Duration, store: &Store) {
    let every = period.min(HOUR) / SAMPLES;
    let kept = usize::try_from(period.as_nanos() / every.as_nanos().max(1)).unwrap_or(usize::MAX).saturating_add(1);
    let mut revisions = VecDeque::new();
    let (mut done, mut wait, mut last) = (Instant::now(), period, 0);
    while let Ok(revision) = store.revision().await {
        revisions.push_back(revision);
        if revisions.len() > kept {
            revisions.pop_front();
        }
        tokio::time::sleep(every).await;
        let oldest = revisions.front().copied().unwrap_or(revision);
        if done.elapsed() < wait || oldest == last {
            continue;
        }
        wait = period.min(HOUR);
        if compact(store, oldest, "periodic").await {
            (last, done) = (oldest, Instant::now());
        }
    }
}

async fn by_revision(retention: u64, store: &Store) {
    let mut last = 0;
    loop {
        tokio::time::sleep(REVISION_INTERVAL).await;
        let Ok(now) = store.revision().await else { return };
        let revision = now.saturating_sub(retention);
        if revision != 0 && revision != last && compact(store, revision, "revision").await {
            last = revision;
        }
    }
}

/// Whether it is done, by us or by someone else.
async fn compact(store: &Store, revision: Revision, mode: &str) -> bool {
    match store.compact(revision).await {
        Ok(()) | Err(Error::Compacted { .. }) => {
            tracing::info!(revision, "completed auto {mode} compaction");
            true
        }
        Err(error) => {
            tracing::warn!(revision, %error, "failed auto {mode} compaction");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_flags_are_read() {
        let check = |mode: &str, retention: &str, expect: &str| {
            let found = match Compaction::parse(mode, retention) {
                Ok(found) => found.map_or("none".into(), |found| format!("{found:?}")),
                Err(error) => error,
            };
            assert_eq!(found, expect, "{mode} {retention}");
        };
        check("periodic", "0", "none");
        check("periodic", "2", "Periodic(7200s)");
        check("periodic", "1h30m", "Periodic(5400s)");
        check("periodic", "500ms", "Periodic(500ms)");
        check("periodic", "x", "error parsing CompactionRetention: time: invalid duration \"x\"");
        check("revision", "1000", "Revision(1000)");
        check("revision", "0", "none");
        check("", "1", "undefined auto-compaction-mode");
        check("often", "1", "unknown auto-compaction-mode \"often\"");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_period_goes() {
        let store = Store::memory();
        let put = |n: u32| store::Write { key: "a".into(), value: Some(n.to_string().into()), ..Default::default() };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(Compaction::Periodic(Duration::from_secs(100)), store.clone(), stop.clone()));
        for n in 0..30 {
            store.write(put(n)).await.expect("written");
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        // 300 s: the revisions of the last 100 s and a little more are there, the first ones are not.
        assert!(store.get(b"a", 2).await.is_err());
        assert!(store.get(b"a", 20).await.is_ok());
        stop.cancel();
        running.await.expect("ended");
    }
}
