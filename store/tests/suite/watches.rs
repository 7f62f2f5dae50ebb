//! Watches: history, order, progress, races, slowness, ends.

use std::time::Duration;

use bytes::Bytes;
use store::{Error, Event, EventKind, Revision, Store, Watch, Watched};
use tokio::time::timeout;

use crate::writes::{delete, done, put};

const LONG: Duration = Duration::from_secs(60);

async fn watch(store: &Store, prefix: &str, from: Revision) -> Watch {
    let end = format!("{prefix}\u{7f}");
    store.watch(Bytes::from(prefix.to_owned()), Bytes::from(end), from).await.unwrap()
}

/// The next `count` events.
pub(crate) async fn events(watch: &mut Watch, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        match timeout(LONG, watch.next()).await.expect("an event in time").unwrap() {
            Watched::Events(batch) => events.extend(batch),
            Watched::Progress(_) => (),
        }
    }
    assert_eq!(events.len(), count, "{events:?}");
    events
}

/// `key=value (was value)`, deletes as `-key`.
pub(crate) fn show(event: &Event) -> String {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let previous = event.previous.as_ref().map_or(String::new(), |kv| format!(" (was {})", text(&kv.value)));
    match event.kind {
        EventKind::Put => format!("{}={}{previous}", text(&event.kv.key), text(&event.kv.value)),
        EventKind::Delete => format!("-{}{previous}", text(&event.kv.key)),
    }
}

fn shown(events: &[Event]) -> Vec<String> {
    events.iter().map(show).collect()
}

pub(crate) async fn history_comes_first_then_what_happens(store: Store) {
    done(&store, put("a/1", "x")).await;
    let second = done(&store, put("a/2", "x")).await;
    done(&store, delete("a/1")).await;
    let mut watch = watch(&store, "a/", second).await;
    done(&store, put("a/1", "y")).await;
    done(&store, put("a/1", "z")).await;
    done(&store, delete("a/1")).await;
    let events = events(&mut watch, 5).await;
    assert_eq!(shown(&events), ["a/2=x", "-a/1 (was x)", "a/1=y", "a/1=z (was y)", "-a/1 (was z)"]);
    let revisions: Vec<_> = events.iter().map(|event| event.kv.mod_revision).collect();
    assert_eq!(revisions, [second, second + 1, second + 2, second + 3, second + 4]);
    let put = &events[3].kv;
    assert_eq!((put.create_revision, put.version), (second + 2, 2));
    let delete = &events[4].kv;
    assert_eq!((delete.create_revision, delete.version, delete.value.len()), (0, 0, 0));
}

pub(crate) async fn from_now_and_from_the_future(store: Store) {
    let first = done(&store, put("a", "1")).await;
    let mut now = watch(&store, "a", 0).await;
    let mut future = watch(&store, "a", first + 3).await;
    for value in ["2", "3", "4", "5"] {
        done(&store, put("a", value)).await;
    }
    assert_eq!(shown(&events(&mut now, 4).await), ["a=2 (was 1)", "a=3 (was 2)", "a=4 (was 3)", "a=5 (was 4)"]);
    assert_eq!(shown(&events(&mut future, 2).await), ["a=4 (was 3)", "a=5 (was 4)"]);
}

pub(crate) async fn a_watch_sees_only_its_range(store: Store) {
    let mut prefix = watch(&store, "b/", 0).await;
    let mut single = store.watch("b/2".into(), Bytes::new(), 0).await.unwrap();
    let mut all = store.watch("\0".into(), "\0".into(), 0).await.unwrap();
    for key in ["a", "b", "b/1", "b/2", "b/22", "c"] {
        done(&store, put(key, "v")).await;
    }
    assert_eq!(shown(&events(&mut prefix, 3).await), ["b/1=v", "b/2=v", "b/22=v"]);
    assert_eq!(shown(&events(&mut single, 1).await), ["b/2=v"]);
    assert_eq!(events(&mut all, 6).await.len(), 6);
    single.request_progress();
    let progress = timeout(LONG, single.next()).await.unwrap().unwrap();
    assert_eq!(progress, Watched::Progress(store.revision().await.unwrap()));
}

pub(crate) async fn a_compacted_start_is_told(store: Store) {
    let first = done(&store, put("a", "1")).await;
    for value in ["2", "3", "4"] {
        done(&store, put("a", value)).await;
    }
    let mut idle = watch(&store, "b", first).await;
    idle.request_progress();
    assert!(matches!(timeout(LONG, idle.next()).await.unwrap(), Ok(Watched::Progress(_))));
    store.compact(first + 2).await.unwrap();
    let mut old = watch(&store, "a", first + 1).await;
    match timeout(LONG, old.next()).await.unwrap() {
        Err(Error::Compacted { compact_revision }) => assert_eq!(compact_revision, first + 2),
        other => panic!("{other:?}"),
    }
    let mut held = watch(&store, "a", first + 2).await;
    let events_held = events(&mut held, 2).await;
    assert_eq!(events_held[0].kv.value, "3");
    assert_eq!(show(&events_held[1]), "a=4 (was 3)");
    // A watch with nothing left to deliver outlives the compaction.
    done(&store, put("b", "1")).await;
    assert_eq!(shown(&events(&mut idle, 1).await), ["b=1"]);
}

pub(crate) async fn progress_is_never_ahead(store: Store) {
    const WRITES: u64 = 600;
    let mut watch = watch(&store, "a/", 0).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..WRITES {
                // Every third is of the watch, so progress moves without events too.
                let key = if n % 3 == 0 { format!("a/{n}") } else { format!("b/{n}") };
                assert_eq!(done(&store, put(&key, "v")).await, n + 2);
            }
        })
    };
    let (mut seen, mut progress, mut last) = (0, 0, 0);
    while last < WRITES + 1 {
        watch.request_progress();
        match timeout(LONG, watch.next()).await.unwrap().unwrap() {
            Watched::Events(events) => {
                for event in events {
                    assert!(event.kv.mod_revision > last, "progress {last} came before {event:?}");
                    last = event.kv.mod_revision;
                    seen += 1;
                }
            }
            Watched::Progress(revision) => {
                assert!(revision >= last, "progress went back");
                // Revision r is write r-2; of the writes up to it every third was of the watch.
                assert_eq!(seen, (revision - 1).div_ceil(3), "progress {revision} without its events");
                last = revision;
                progress += 1;
            }
        }
    }
    writer.await.unwrap();
    assert!(progress > 0);
    assert_eq!(seen, WRITES / 3);
}

pub(crate) async fn every_event_exactly_once(store: Store) {
    const WRITERS: usize = 8;
    const EACH: usize = 100;
    let collect = |mut watch: Watch, from: Revision| async move {
        let last = (WRITERS * EACH) as u64 + 1;
        let mut next = from;
        while next <= last {
            let Watched::Events(batch) = timeout(LONG, watch.next()).await.unwrap().unwrap() else { continue };
            for event in batch {
                assert_eq!(event.kv.mod_revision, next, "in order, none missing, none twice");
                next += 1;
            }
        }
    };
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                done(&store, put(&format!("k{}", (writer + n) % 16), &format!("{writer} {n}"))).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut watchers = Vec::new();
    while !writers.iter().all(|writer| writer.is_finished()) || watchers.len() < 4 {
        // From the beginning, and from right after a read.
        watchers.push(tokio::spawn(collect(watch(&store, "k", 2).await, 2)));
        let now = store.revision().await.unwrap();
        watchers.push(tokio::spawn(collect(watch(&store, "k", now + 1).await, now + 1)));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    futures::future::try_join_all(writers).await.unwrap();
    futures::future::try_join_all(watchers).await.unwrap();
}

pub(crate) async fn a_watcher_that_does_not_read_blocks_nobody(store: Store) {
    const WRITES: usize = 200;
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(watch(&store, "k", 0).await);
    }
    let value = "v".repeat(50_000);
    for n in 0..WRITES {
        timeout(LONG, done(&store, put(&format!("k{n}"), &value))).await.expect("the writer is not held up");
        timeout(LONG, store.get(b"k0", 0)).await.expect("nor is a reader").unwrap();
    }
    for watch in &mut slow {
        let events = events(watch, WRITES).await;
        assert!(events.iter().enumerate().all(|(n, event)| event.kv.key == format!("k{n}")));
    }
}

pub(crate) async fn dropping_a_call_to_next_loses_nothing(store: Store) {
    let mut watch = watch(&store, "k", 0).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                done(&store, put(&format!("k{n}"), "v")).await;
            }
        })
    };
    let mut next = 2;
    while next < 202 {
        // Ready at once: the call is dropped wherever it is, most often while it waits.
        let Ok(watched) = timeout(Duration::from_micros(200), watch.next()).await else { continue };
        let Watched::Events(batch) = watched.unwrap() else { continue };
        for event in batch {
            assert_eq!(event.kv.mod_revision, next);
            next += 1;
        }
    }
    writer.await.unwrap();
}

pub(crate) async fn closing_ends_watches(store: Store) {
    let mut watch = watch(&store, "a", 0).await;
    let waiting = tokio::spawn(async move { watch.next().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.close().await.unwrap();
    let ended = timeout(LONG, waiting).await.unwrap().unwrap();
    assert!(matches!(ended, Err(Error::Closed)), "{ended:?}");
    assert!(matches!(store.get(b"a", 0).await, Err(Error::Closed)));
    assert!(matches!(store.write(put("a", "v")).await, Err(Error::Closed)));
    assert!(matches!(store.health().await, Err(Error::Closed)));
    store.close().await.unwrap();
}
