//! The embedded store over its files: reopening, damage, faults, compaction.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use super::Embedded;
use super::files::Media;
use super::log::Options;
use crate::index::LeaseAsk;
use crate::{EmbeddedConfig, Error, KeyValue, Op, Outcome, Put, Range, Result, Revision, Txn, Watched, Write};

/// Small sizes, so that segments end and snapshots are written all the time; faults on request.
fn small() -> Options {
    Options {
        segment: 8 << 10,
        compacted_segment: 1 << 10,
        gain: 4 << 10,
        media: |file, dir| Box::new(Faulty::new(file, dir)),
    }
}

/// A file that fails as files named `fault-…` in its directory say.
struct Faulty {
    file: File,
    dir: PathBuf,
}

impl Faulty {
    fn new(file: File, dir: &Path) -> Faulty {
        Faulty { file, dir: dir.to_owned() }
    }

    fn asked(&self, fault: &str) -> bool {
        self.dir.join(fault).exists()
    }
}

impl Media for Faulty {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // With the reserve given back there is room for small writes.
        if self.asked("fault-full") && (bytes.len() > 600 || self.asked("reserve")) {
            Media::write_all_at(&mut self.file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Media::write_all_at(&mut self.file, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.asked("fault-sync") { Err(io::Error::from_raw_os_error(5)) } else { self.file.sync() }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}

async fn open(dir: &Path) -> Result<Embedded> {
    Embedded::open_with(EmbeddedConfig { dir: dir.to_owned() }, small()).await
}

async fn put(store: &Embedded, key: &str, value: &str) -> Result<Revision> {
    let write = Write { key: key.to_owned().into(), value: Some(value.to_owned().into()), ..Write::default() };
    match store.write(write).await? {
        Outcome::Done { revision, .. } => Ok(revision),
        conflict => panic!("{conflict:?}"),
    }
}

async fn delete(store: &Embedded, key: &str) -> Result<Outcome> {
    store.write(Write { key: key.to_owned().into(), ..Write::default() }).await
}

async fn grant(store: &Embedded, ttl: i64) -> Result<i64> {
    Ok(store.ask_lease(LeaseAsk::Grant { id: 0, ttl }).await?.id)
}

/// Puts and deletes (`None`) as one transaction; gives its revision.
async fn transact(store: &Embedded, changes: &[(String, Option<String>)]) -> Result<Revision> {
    let op = |(key, value): &(String, Option<String>)| match value {
        Some(value) => Op::Put(Put { key: key.clone().into(), value: Some(value.clone().into()), lease: Some(0) }),
        None => Op::Delete { start: key.clone().into(), end: "".into() },
    };
    Ok(store.transact(Txn { success: changes.iter().map(op).collect(), ..Txn::default() }).await?.revision)
}

async fn all(store: &Embedded, at: Revision) -> Result<Vec<KeyValue>> {
    let range = Range { start: "\0".into(), end: "\0".into(), at, ..Range::default() };
    Ok(store.range(range).await?.items)
}

fn names(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    paths.sort();
    paths
}

/// The error a directory is refused with.
async fn refused(dir: &Path) -> String {
    open(dir).await.err().expect("the directory is refused").to_string()
}

/// A closed store of one segment, and the lengths of the segment after each commit.
async fn closed(commits: usize) -> (TempDir, PathBuf, Vec<u64>) {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    let log = names(dir.path(), "log-").remove(0);
    let mut lengths = Vec::new();
    for n in 0..commits {
        put(&store, &format!("k{n}"), &"v".repeat(300 * n)).await.unwrap();
        lengths.push(fs::metadata(&log).unwrap().len());
    }
    store.close().await.unwrap();
    (dir, log, lengths)
}

#[tokio::test]
async fn a_half_written_last_commit_is_dropped_wherever_it_ends() {
    let (dir, log, lengths) = closed(4).await;
    let bytes = fs::read(&log).unwrap();
    for length in lengths[2]..lengths[3] {
        fs::write(&log, &bytes[..length as usize]).unwrap();
        let store = open(dir.path()).await.unwrap();
        assert_eq!(store.revision().await.unwrap(), 4, "cut at {length}");
        assert_eq!(all(&store, 0).await.unwrap().len(), 3);
        assert_eq!(put(&store, "again", "v").await.unwrap(), 5);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_refused_naming_file_and_place() {
    let (dir, log, lengths) = closed(4).await;
    let bytes = fs::read(&log).unwrap();
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(&log, &flipped).unwrap();
        let text = refused(dir.path()).await;
        assert!(text.contains(log.to_str().unwrap()), "{text}");
        let frame = lengths.iter().rev().find(|end| place as u64 >= **end);
        if let Some(frame) = frame {
            assert!(text.contains(&format!("damaged at byte {frame}: ")), "byte {place}: {text}");
        }
        assert_eq!(fs::read(&log).unwrap(), flipped, "a refused file is left as it is");
    }
    fs::write(&log, &bytes).unwrap();
    assert_eq!(open(dir.path()).await.unwrap().revision().await.unwrap(), 5);
}

#[tokio::test]
async fn missing_and_foreign_files_are_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    for n in 0..40 {
        put(&store, "k", &"v".repeat(10 * n + 700)).await.unwrap();
    }
    store.close().await.unwrap();
    let logs = names(dir.path(), "log-");
    assert!(logs.len() > 3, "{logs:?}");
    let aside = dir.path().join("aside");
    for missing in [0, 1, logs.len() - 2] {
        fs::rename(&logs[missing], &aside).unwrap();
        let text = refused(dir.path()).await;
        assert!(text.contains("the segment is missing") && text.contains(logs[missing].to_str().unwrap()), "{text}");
        fs::rename(&aside, &logs[missing]).unwrap();
    }
    let bytes = fs::read(&logs[1]).unwrap();
    fs::write(&logs[1], &bytes[..bytes.len() - 1]).unwrap();
    assert!(refused(dir.path()).await.contains("cut short and another follows"));
    fs::write(&logs[1], [&bytes[..7], &[9], &bytes[8..]].concat()).unwrap();
    assert!(refused(dir.path()).await.contains("unknown format version 9"));
    fs::write(&logs[1], b"something else").unwrap();
    assert!(refused(dir.path()).await.contains("not a file of the store"));
    fs::write(&logs[1], bytes).unwrap();
    assert_eq!(open(dir.path()).await.unwrap().revision().await.unwrap(), 41);
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    let again = open(dir.path()).await.err();
    assert!(matches!(again, Some(Error::Locked { .. })), "{again:?}");
    store.close().await.unwrap();
    open(dir.path()).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "a", "1").await.unwrap();
    fs::write(dir.path().join("fault-sync"), "").unwrap();
    assert!(matches!(put(&store, "a", "2").await, Err(Error::Io(_))));
    fs::remove_file(dir.path().join("fault-sync")).unwrap();
    assert!(
        matches!(put(&store, "a", "3").await, Err(Error::Io(_))),
        "the disk works again, but who knows what it lost"
    );
    assert!(matches!(delete(&store, "a").await, Err(Error::Io(_))));
    assert!(matches!(store.health().await, Err(Error::Io(_))));
    assert_eq!(store.get(b"a", 0).await.unwrap().kv.unwrap().value, "1", "reads go on, of what is durable");
    assert_eq!(store.revision().await.unwrap(), 2);
}

#[tokio::test]
async fn a_full_disk_refuses_puts_and_lets_deletes_through() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "a", "1").await.unwrap();
    put(&store, "b", "1").await.unwrap();
    fs::write(dir.path().join("fault-full"), "").unwrap();
    assert!(matches!(put(&store, "c", "1").await, Err(Error::Full)));
    assert!(matches!(put(&store, "c", "1").await, Err(Error::Full)));
    assert!(matches!(grant(&store, 10).await, Err(Error::Full)));
    assert_eq!(store.revision().await.unwrap(), 3, "what was refused has no revision");
    let deleted = delete(&store, "a").await.unwrap();
    assert!(matches!(deleted, Outcome::Done { revision: 4, previous: Some(_) }), "{deleted:?}");
    store.compact(4).await.unwrap();
    store.health().await.unwrap();
    fs::remove_file(dir.path().join("fault-full")).unwrap();
    assert_eq!(put(&store, "c", "1").await.unwrap(), 5, "with room again, puts go on");
    store.close().await.unwrap();
    let store = open(dir.path()).await.unwrap();
    let keys: Vec<_> = all(&store, 0).await.unwrap().into_iter().map(|kv| kv.key).collect();
    assert_eq!(keys, ["b", "c"]);
}

#[tokio::test]
async fn a_lease_survives_and_ends_after_reopening() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    let lease = grant(&store, 2).await.unwrap();
    let long = grant(&store, 3600).await.unwrap();
    for (key, lease) in [("short", lease), ("long", long)] {
        let write = Write { key: key.into(), value: Some("v".into()), lease, ..Write::default() };
        store.write(write).await.unwrap();
    }
    store.close().await.unwrap();
    let store = open(dir.path()).await.unwrap();
    let mut watch = store.watch("\0".into(), "\0".into(), 4).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap();
    let Watched::Events(events) = ended else { panic!("{ended:?}") };
    assert_eq!((events[0].kv.key.as_ref(), events.len()), (&b"short"[..], 1));
    store.close().await.unwrap();
    let store = open(dir.path()).await.unwrap();
    assert_eq!(all(&store, 0).await.unwrap().len(), 1, "the end was durable");
    let write = Write { key: "x".into(), value: Some("v".into()), lease: long, ..Write::default() };
    store.write(write).await.unwrap();
}

#[tokio::test]
async fn the_files_stay_small_while_a_key_is_rewritten_and_compacted() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    let mut largest = 0;
    for n in 0..2000 {
        let revision = put(&store, &format!("k{}", n % 5), &"v".repeat(500)).await.unwrap();
        if n % 20 == 0 {
            store.compact(revision).await.unwrap();
        }
        let files = names(dir.path(), "log-").into_iter().chain(names(dir.path(), "snapshot-"));
        largest = largest.max(files.filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum());
    }
    assert!(largest < 100 << 10, "{largest} bytes for 2,500 bytes of values, 1 MB written");
    store.close().await.unwrap();
    assert_eq!(names(dir.path(), "snapshot-").len(), 1);
    let store = open(dir.path()).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), 2001);
}

/// What a store must hold: the state at each revision since the compaction.
struct Model {
    states: BTreeMap<Revision, BTreeMap<String, KeyValue>>,
    compacted: Revision,
}

impl Model {
    async fn check(&self, store: &Embedded) {
        let (last, _) = self.states.last_key_value().unwrap();
        assert_eq!(store.revision().await.unwrap(), *last);
        for (revision, state) in self.states.range(self.compacted..) {
            let want: Vec<_> = state.values().cloned().collect();
            assert_eq!(all(store, *revision).await.unwrap(), want, "at {revision}");
        }
        if self.compacted > 1 {
            let past = all(store, self.compacted - 1).await;
            assert!(matches!(past, Err(Error::Compacted { compact_revision }) if compact_revision == self.compacted));
        }
        let from = self.compacted.max(2);
        let mut watch = store.watch("\0".into(), "\0".into(), from).unwrap();
        let mut next = from;
        while next <= *last {
            let Watched::Events(events) = watch.next().await.unwrap() else { panic!("nothing was asked") };
            for event in events {
                assert_eq!(event.kv.mod_revision, next);
                let key = str::from_utf8(&event.kv.key).unwrap();
                assert_eq!(event.previous.as_ref(), self.states[&(next - 1)].get(key), "before {next}");
                next += 1;
            }
        }
    }
}

#[tokio::test]
async fn random_histories_survive_reopening() {
    let mut rng = SmallRng::seed_from_u64(7);
    for _ in 0..6 {
        let dir = TempDir::new().unwrap();
        let mut store = open(dir.path()).await.unwrap();
        let mut model = Model { states: BTreeMap::from([(1, BTreeMap::new())]), compacted: 0 };
        for _ in 0..300 {
            let key = format!("k{}", rng.random_range(0..12));
            let (last, mut state) = model.states.last_key_value().map(|(last, state)| (*last, state.clone())).unwrap();
            match rng.random_range(0..100) {
                0..65 => {
                    let revision = put(&store, &key, &"v".repeat(rng.random_range(0..800))).await.unwrap();
                    assert_eq!(revision, last + 1);
                    state.insert(key.clone(), store.get(key.as_bytes(), 0).await.unwrap().kv.unwrap());
                    model.states.insert(revision, state);
                }
                65..90 => {
                    if let Outcome::Done { previous: Some(_), revision } = delete(&store, &key).await.unwrap() {
                        state.remove(&key);
                        model.states.insert(revision, state);
                    }
                }
                90..97 => {
                    let revision = rng.random_range(model.compacted..=last);
                    if store.compact(revision).await.is_ok() {
                        model.compacted = revision;
                    }
                }
                _ => {
                    store.close().await.unwrap();
                    store = open(dir.path()).await.unwrap();
                    model.check(&store).await;
                }
            }
        }
        model.check(&store).await;
    }
}

#[tokio::test]
async fn a_half_written_transaction_is_dropped_whole() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    let log = names(dir.path(), "log-").remove(0);
    let changes = |value: &str| -> Vec<_> {
        ["a", "b", "c"].map(|key| (key.to_owned(), Some(value.repeat(300)))).into_iter().collect()
    };
    transact(&store, &changes("1")).await.unwrap();
    let before = fs::metadata(&log).unwrap().len();
    let mut second = changes("2");
    second[1].1 = None;
    assert_eq!(transact(&store, &second).await.unwrap(), 3);
    store.close().await.unwrap();
    let bytes = fs::read(&log).unwrap();
    for length in (before..bytes.len() as u64).step_by(7) {
        fs::write(&log, &bytes[..length as usize]).unwrap();
        let store = open(dir.path()).await.unwrap();
        assert_eq!(store.revision().await.unwrap(), 2, "cut at {length}");
        let kvs = all(&store, 0).await.unwrap();
        assert!(kvs.len() == 3 && kvs.iter().all(|kv| kv.value[0] == b'1'), "cut at {length}: {kvs:?}");
        store.close().await.unwrap();
    }
    fs::write(&log, &bytes).unwrap();
    let store = open(dir.path()).await.unwrap();
    let kvs = all(&store, 0).await.unwrap();
    assert!(kvs.len() == 2 && kvs.iter().all(|kv| kv.value[0] == b'2' && kv.mod_revision == 3), "{kvs:?}");
}

#[tokio::test]
async fn a_full_disk_refuses_transactions_that_put() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    put(&store, "a", "1").await.unwrap();
    fs::write(dir.path().join("fault-full"), "").unwrap();
    let both = [("a".to_owned(), None), ("b".to_owned(), Some("1".to_owned()))];
    assert!(matches!(transact(&store, &both).await, Err(Error::Full)));
    assert_eq!(all(&store, 0).await.unwrap().len(), 1);
    assert_eq!(transact(&store, &both[..1]).await.unwrap(), 3);
    assert_eq!(all(&store, 0).await.unwrap(), []);
}

#[tokio::test]
async fn a_renewed_lease_is_renewed_after_reopening() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path()).await.unwrap();
    let lease = grant(&store, 3).await.unwrap();
    let write = Write { key: "a".into(), value: Some("v".into()), lease, ..Write::default() };
    store.write(write).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    store.ask_lease(LeaseAsk::Renew(lease)).await.unwrap();
    store.close().await.unwrap();
    let store = open(dir.path()).await.unwrap();
    let state = store.local().lease(lease).unwrap().unwrap();
    assert!(state.remaining > Duration::from_secs(1), "{state:?}");
    assert_eq!(state.keys, ["a"], "its keys are still its keys");
    let mut watch = store.watch("\0".into(), "\0".into(), 3).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap();
    assert!(matches!(&ended, Watched::Events(events) if events.len() == 1), "{ended:?}");
    store.ask_lease(LeaseAsk::Revoke(lease)).await.unwrap_err();
}

#[tokio::test]
async fn random_transactions_survive_reopening() {
    type State = BTreeMap<String, String>;
    let mut rng = SmallRng::seed_from_u64(11);
    let dir = TempDir::new().unwrap();
    let mut store = open(dir.path()).await.unwrap();
    let mut states: BTreeMap<Revision, State> = BTreeMap::from([(1, State::new())]);
    let mut compacted = 0;
    for step in 0..400 {
        let (last, mut state) = states.last_key_value().map(|(last, state)| (*last, state.clone())).unwrap();
        let mut changes = BTreeMap::new();
        for _ in 0..rng.random_range(1..5) {
            let value = rng.random_bool(0.7).then(|| format!("{step}").repeat(rng.random_range(1..100)));
            changes.insert(format!("k{}", rng.random_range(0..12)), value);
        }
        let changes: Vec<_> = changes.into_iter().collect();
        let revision = transact(&store, &changes).await.unwrap();
        let before = state.clone();
        for (key, value) in changes {
            match value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
        }
        assert_eq!(revision, last + u64::from(state != before));
        states.insert(revision, state);
        if rng.random_bool(0.1) && store.compact(rng.random_range(compacted..=revision)).await.is_ok() {
            compacted = store.local().state().index.compacted();
        }
        if rng.random_bool(0.05) {
            store.close().await.unwrap();
            store = open(dir.path()).await.unwrap();
            for (revision, state) in states.range(compacted.max(1)..) {
                let found = all(&store, *revision).await.unwrap().into_iter();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let found: State = found.map(|kv| (text(&kv.key), text(&kv.value))).collect();
                assert_eq!(&found, state, "at {revision}");
            }
        }
    }
}
