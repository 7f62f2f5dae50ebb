//! Create, compare-and-write, compare-and-delete.

use bytes::Bytes;
use store::{Error, KeyValue, MAX_REQUEST_BYTES, Outcome, Revision, Store, Write};

pub(crate) fn put(key: &str, value: &str) -> Write {
    Write { key: key.to_owned().into(), value: Some(value.to_owned().into()), ..Write::default() }
}

pub(crate) fn delete(key: &str) -> Write {
    Write { key: key.to_owned().into(), ..Write::default() }
}

pub(crate) fn expect(revision: Revision, write: Write) -> Write {
    Write { expect: Some(revision), ..write }
}

/// Does a write that must succeed; gives its revision.
pub(crate) async fn done(store: &Store, write: Write) -> Revision {
    match store.write(write).await.unwrap() {
        Outcome::Done { revision, .. } => revision,
        conflict => panic!("{conflict:?}"),
    }
}

/// `value create_revision mod_revision version`, with revisions counted from `base`.
fn show(kv: Option<&KeyValue>, base: Revision) -> String {
    kv.map_or("-".into(), |kv| {
        let (create, modified) = (kv.create_revision - base, kv.mod_revision - base);
        format!("{} {create} {modified} {}", str::from_utf8(&kv.value).unwrap(), kv.version)
    })
}

pub(crate) async fn conditions_hold_and_conflicts_show_the_current_key(store: Store) {
    let base = store.revision().await.unwrap();
    assert_eq!(base, 1, "a fresh store is at revision 1");
    let absent = |write| expect(0, write);
    let at = |revision: Revision, write| expect(base + revision, write);
    let steps = [
        // what is asked, what comes of it, the key afterwards
        (absent(put("a", "one")), "done 1, was -", "one 1 1 1"),
        (absent(put("a", "two")), "conflict 1, is one 1 1 1", "one 1 1 1"),
        (at(1, put("a", "two")), "done 2, was one 1 1 1", "two 1 2 2"),
        (at(1, put("a", "three")), "conflict 2, is two 1 2 2", "two 1 2 2"),
        (at(1, delete("a")), "conflict 2, is two 1 2 2", "two 1 2 2"),
        (put("a", "three"), "done 3, was two 1 2 2", "three 1 3 3"),
        (at(3, delete("a")), "done 4, was three 1 3 3", "-"),
        (at(3, put("a", "four")), "conflict 4, is -", "-"),
        (delete("a"), "done 4, was -", "-"),
        (absent(delete("a")), "done 4, was -", "-"),
        (absent(put("a", "five")), "done 5, was -", "five 5 5 1"),
        (put("a", ""), "done 6, was five 5 5 1", " 5 6 2"),
        (delete("a"), "done 7, was  5 6 2", "-"),
    ];
    for (write, outcome, after) in steps {
        let got = match store.write(write.clone()).await.unwrap() {
            Outcome::Done { revision, previous } => {
                format!("done {}, was {}", revision - base, show(previous.as_ref(), base))
            }
            Outcome::Conflict { revision, current } => {
                format!("conflict {}, is {}", revision - base, show(current.as_ref(), base))
            }
        };
        assert_eq!(got, outcome, "{write:?}");
        let now = store.get(b"a", 0).await.unwrap();
        assert_eq!(show(now.kv.as_ref(), base), after, "after {write:?}");
        assert_eq!(now.revision, store.revision().await.unwrap());
    }
}

pub(crate) async fn one_of_many_concurrent_creates_wins(store: Store) {
    for round in 0..20 {
        let key = format!("key{round}");
        let creates = (0..16).map(|task| {
            let (store, write) = (store.clone(), expect(0, put(&key, &format!("{task}"))));
            tokio::spawn(async move { store.write(write).await.unwrap() })
        });
        let outcomes = futures::future::join_all(creates).await;
        let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Done { .. }))).count();
        assert_eq!(won, 1, "{outcomes:?}");
    }
}

pub(crate) async fn compare_and_write_loses_no_increment(store: Store) {
    const TASKS: u64 = 8;
    const EACH: u64 = 25;
    let tasks = (0..TASKS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..EACH {
                loop {
                    let kv = store.get(b"n", 0).await.unwrap().kv.unwrap_or_default();
                    let n: u64 = str::from_utf8(&kv.value).unwrap().parse().unwrap_or(0);
                    let write = expect(kv.mod_revision, put("n", &format!("{}", n + 1)));
                    if matches!(store.write(write).await.unwrap(), Outcome::Done { .. }) {
                        break;
                    }
                }
            }
        })
    });
    futures::future::try_join_all(tasks).await.unwrap();
    let kv = store.get(b"n", 0).await.unwrap().kv.unwrap();
    assert_eq!(kv.value, format!("{}", TASKS * EACH));
    assert_eq!(kv.version, TASKS * EACH);
    assert_eq!(kv.mod_revision, 1 + TASKS * EACH, "revisions are dense");
}

pub(crate) async fn bad_requests_are_refused(store: Store) {
    let large = Write { value: Some(Bytes::from(vec![1; MAX_REQUEST_BYTES])), ..put("a", "") };
    let error = store.write(large).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: request is too large");
    let error = store.write(put("", "x")).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: key is not provided");
    let error = store.get(b"a", 1000).await.unwrap_err();
    assert!(matches!(error, Error::FutureRevision), "{error:?}");
    assert_eq!(error.to_string(), "etcdserver: mvcc: required revision is a future revision");
    assert_eq!(store.revision().await.unwrap(), 1);
}
