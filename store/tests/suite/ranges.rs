//! Ranges: ends, limits, counts, the past, compaction, one state.

use futures::StreamExt;
use store::{Error, Range, Ranged, Revision, Store};

use crate::writes::{delete, done, put};

/// All keys of a range at a revision, as `key=value`.
async fn read(store: &Store, start: &str, end: &str, at: Revision) -> Result<Vec<String>, Error> {
    let range = Range { start: start.to_owned().into(), end: end.to_owned().into(), at, ..Range::default() };
    Ok(show(&store.range(range).await?))
}

fn show(ranged: &Ranged) -> Vec<String> {
    let text = |bytes| str::from_utf8(bytes).unwrap();
    ranged.items.iter().map(|kv| format!("{}={}", text(&kv.key[..]), text(&kv.value[..]))).collect()
}

pub(crate) async fn a_range_has_etcds_ends(store: Store) {
    for key in ["a", "b", "b/1", "b/2", "c"] {
        done(&store, put(key, key)).await;
    }
    let table: [(&str, &str, &[&str]); 9] = [
        ("b", "", &["b=b"]),
        ("x", "", &[]),
        ("b/", "b0", &["b/1=b/1", "b/2=b/2"]),
        ("b", "c", &["b=b", "b/1=b/1", "b/2=b/2"]),
        ("b/1", "\0", &["b/1=b/1", "b/2=b/2", "c=c"]),
        ("\0", "\0", &["a=a", "b=b", "b/1=b/1", "b/2=b/2", "c=c"]),
        ("c", "b", &[]),
        ("b", "b", &[]),
        ("d", "e", &[]),
    ];
    for (start, end, want) in table {
        assert_eq!(read(&store, start, end, 0).await.unwrap(), want, "{start:?} {end:?}");
    }
}

pub(crate) async fn limit_count_and_more(store: Store) {
    for n in 0..10 {
        done(&store, put(&format!("k{n}"), "v")).await;
    }
    done(&store, delete("k3")).await;
    let revision = store.revision().await.unwrap();
    // start, revision, limit -> items, more, count
    let table: [(&str, Revision, usize, usize, bool, u64); 6] = [
        ("k", 0, 0, 9, false, 9),
        ("k", 0, 4, 4, true, 9),
        ("k", 0, 9, 9, false, 9),
        ("k5", 0, 2, 2, true, 5),
        ("k", revision - 1, 4, 4, true, 10),
        ("k", 6, 0, 5, false, 5),
    ];
    for (start, at, limit, items, more, count) in table {
        let range = Range { start: start.into(), end: "l".into(), at, limit, keys_only: true };
        let ranged = store.range(range).await.unwrap();
        assert_eq!((ranged.items.len(), ranged.more, ranged.count), (items, more, count), "{start} {at} {limit}");
        assert_eq!(ranged.revision, revision, "the header has the store's revision, not the requested one");
        assert!(ranged.items.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
    }
}

pub(crate) async fn the_past_can_be_read_until_it_is_compacted(store: Store) {
    let first = done(&store, put("a", "1")).await;
    done(&store, put("b", "1")).await;
    let third = done(&store, put("a", "2")).await;
    let fourth = done(&store, delete("b")).await;
    done(&store, put("c", "1")).await;
    let table: [(Revision, &[&str]); 4] =
        [(first, &["a=1"]), (third, &["a=2", "b=1"]), (fourth, &["a=2"]), (0, &["a=2", "c=1"])];
    for (at, want) in table {
        assert_eq!(read(&store, "a", "z", at).await.unwrap(), want, "at {at}");
    }
    store.compact(third).await.unwrap();
    for (at, want) in &table[1..] {
        assert_eq!(read(&store, "a", "z", *at).await.unwrap(), *want, "at {at}, compacted to {third}");
    }
    let error = read(&store, "a", "z", third - 1).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { .. }), "{error:?}");
    assert_eq!(error.to_string(), "etcdserver: mvcc: required revision has been compacted");
    assert!(matches!(store.get(b"a", third - 1).await, Err(Error::Compacted { .. })));
    assert!(matches!(store.compact(third).await, Err(Error::Compacted { .. })));
    assert!(matches!(store.compact(fourth + 100).await, Err(Error::FutureRevision)));
    store.compact(store.revision().await.unwrap()).await.unwrap();
    assert_eq!(read(&store, "a", "z", 0).await.unwrap(), ["a=2", "c=1"]);
}

/// More keys than are read at a time, moved about by a writer meanwhile: always the same number of them.
pub(crate) async fn a_large_range_is_one_state(store: Store) {
    const KEYS: usize = 10_500;
    let fill = futures::stream::iter(0..KEYS).map(|n| {
        let store = store.clone();
        async move { done(&store, put(&format!("k{n:05}"), "v")).await }
    });
    fill.buffer_unordered(256).collect::<Vec<_>>().await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                // A key is made at one end before one is deleted at the other.
                done(&store, put(&format!("k{:05}", KEYS + n), "v")).await;
                done(&store, delete(&format!("k{n:05}"))).await;
            }
        })
    };
    let mut finished = false;
    while !finished {
        finished = writer.is_finished();
        let range = Range { start: "k".into(), end: "l".into(), ..Range::default() };
        let ranged = store.range(range).await.unwrap();
        let expected = KEYS + usize::from((ranged.revision as usize - 1 - KEYS) % 2 == 1);
        assert_eq!(ranged.items.len(), expected, "at {}", ranged.revision);
        assert_eq!(ranged.count, expected as u64);
        assert!(ranged.items.iter().map(|kv| kv.mod_revision).max() <= Some(ranged.revision));
        assert!(ranged.items.is_sorted_by(|a, b| a.key < b.key));
    }
    writer.await.unwrap();
}
