//! Transactions of many keys, and all of leases: on the backends that are the store's own.

use std::time::Duration;

use store::{
    Answer, Compare, Error, KeyValue, Op, Operand, Put, Range, Relation, Revision, Store, Transacted, Txn, Watched,
};
use tokio::time::timeout;

use crate::watches::show;
use crate::writes::{done, put};

fn op_put(key: &str, value: &str) -> Op {
    Op::Put(Put { key: key.to_owned().into(), value: Some(value.to_owned().into()), lease: Some(0) })
}

fn op_delete(start: &str, end: &str) -> Op {
    Op::Delete { start: start.to_owned().into(), end: end.to_owned().into() }
}

fn op_range(start: &str, end: &str, at: Revision) -> Op {
    Op::Range(Range { start: start.to_owned().into(), end: end.to_owned().into(), at, ..Range::default() })
}

fn when(key: &str, relation: Relation, operand: Operand) -> Compare {
    Compare { start: key.to_owned().into(), end: "".into(), relation, operand }
}

fn txn(compare: Vec<Compare>, success: Vec<Op>, failure: Vec<Op>) -> Txn {
    Txn { compare, success, failure }
}

fn always(ops: Vec<Op>) -> Txn {
    txn(Vec::new(), ops, Vec::new())
}

/// `key=value create/mod/version`.
fn kv(kv: &KeyValue) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let KeyValue { key, value, create_revision, mod_revision, version, .. } = kv;
    format!("{}={} {create_revision}/{mod_revision}/{version}", text(key), text(value))
}

fn kvs(items: &[KeyValue]) -> String {
    items.iter().map(kv).collect::<Vec<_>>().join(",")
}

fn shown(done: &Transacted) -> String {
    let answers = done.answers.iter().map(|answer| match answer {
        Answer::Range(ranged) => format!("range@{} {} [{}]", ranged.revision, ranged.count, kvs(&ranged.items)),
        Answer::Put { revision, previous } => format!("put@{revision} was [{}]", kvs(previous.as_slice())),
        Answer::Delete { revision, previous } => format!("delete@{revision} was [{}]", kvs(previous)),
        Answer::Txn(inner) => format!("({})", shown(inner)),
    });
    let branch = if done.succeeded { "then" } else { "else" };
    format!("@{} {branch}: {}", done.revision, answers.collect::<Vec<_>>().join("; "))
}

pub(crate) async fn operations_are_one_step(store: Store) {
    let steps = [
        (
            always(vec![op_put("a", "1"), op_put("b", "1"), op_range("a", "z", 0)]),
            "@2 then: put@2 was []; put@2 was []; range@2 2 [a=1 2/2/1,b=1 2/2/1]",
        ),
        (
            txn(
                vec![when("a", Relation::Equal, Operand::Version(1))],
                vec![op_put("a", "2")],
                vec![op_delete("a", "")],
            ),
            "@3 then: put@3 was [a=1 2/2/1]",
        ),
        (
            txn(vec![when("a", Relation::Equal, Operand::Version(1))], vec![], vec![op_range("a", "", 0)]),
            "@3 else: range@3 1 [a=2 2/3/2]",
        ),
        (
            always(vec![
                op_range("a", "z", 0),
                op_put("c", "1"),
                op_range("a", "z", 0),
                op_delete("a", "c"),
                op_range("a", "z", 0),
                op_range("a", "z", 2),
            ]),
            "@4 then: range@3 2 [a=2 2/3/2,b=1 2/2/1]; put@4 was []; range@4 3 [a=2 2/3/2,b=1 2/2/1,c=1 4/4/1]; \
             delete@4 was [a=2 2/3/2,b=1 2/2/1]; range@4 1 [c=1 4/4/1]; range@4 2 [a=1 2/2/1,b=1 2/2/1]",
        ),
        (always(vec![op_delete("x", "z"), op_range("c", "", 0)]), "@4 then: delete@4 was []; range@4 1 [c=1 4/4/1]"),
        (
            always(vec![
                Op::Txn(txn(
                    // The state before counts, not what the outer one did.
                    vec![when("d", Relation::Equal, Operand::Create(0))],
                    vec![op_put("e", "1")],
                    vec![],
                )),
                op_put("d", "1"),
                Op::Txn(always(vec![op_range("d", "f", 0)])),
            ]),
            "@5 then: (@5 then: put@5 was []); put@5 was []; (@5 then: range@5 2 [d=1 5/5/1,e=1 5/5/1])",
        ),
        (always(vec![]), "@5 then: "),
    ];
    for (txn, expect) in steps {
        let done = store.transact(txn.clone()).await.unwrap();
        assert_eq!(shown(&done), expect, "{txn:?}");
        assert_eq!(store.revision().await.unwrap(), done.revision);
    }
}

pub(crate) async fn comparisons_are_etcds(store: Store) {
    let lease = store.grant_lease(60).await.unwrap();
    store.write(store::Write { lease, ..put("a", "m") }).await.unwrap();
    done(&store, put("b", "n")).await;
    done(&store, put("b", "o")).await;
    let value = |text: &str| Operand::Value(text.to_owned().into());
    let range = |start: &str, end: &str, relation, operand| Compare {
        start: start.to_owned().into(),
        end: end.to_owned().into(),
        relation,
        operand,
    };
    use Relation::{Equal, Greater, Less, NotEqual};
    let cases = [
        (when("b", Equal, Operand::Create(3)), true),
        (when("b", Equal, Operand::Modified(4)), true),
        (when("b", Greater, Operand::Modified(4)), false),
        (when("b", Less, Operand::Version(3)), true),
        (when("b", NotEqual, Operand::Version(2)), false),
        (when("b", Equal, value("o")), true),
        (when("b", Greater, value("n")), true),
        (when("b", Less, value("n")), false),
        (when("a", Equal, Operand::Lease(lease)), true),
        (when("b", Equal, Operand::Lease(0)), true),
        // What is not there has every number 0 and no value.
        (when("x", Equal, Operand::Modified(0)), true),
        (when("x", Greater, Operand::Modified(-1)), true),
        (when("x", NotEqual, value("o")), false),
        // All keys of a range.
        (range("a", "c", Greater, Operand::Version(0)), true),
        (range("a", "c", Greater, Operand::Version(1)), false),
        (range("a", "\0", Less, Operand::Create(4)), true),
        (range("x", "z", Equal, Operand::Version(0)), true),
    ];
    for (compare, expect) in cases {
        let done = store.transact(txn(vec![compare.clone()], vec![], vec![])).await.unwrap();
        assert_eq!(done.succeeded, expect, "{compare:?}");
    }
}

pub(crate) async fn a_refused_transaction_leaves_no_trace(store: Store) {
    done(&store, put("a", "1")).await;
    let keep = |value: Option<&str>, lease| {
        Op::Put(Put { key: "b".into(), value: value.map(|value| value.to_owned().into()), lease })
    };
    let cases = [
        (vec![op_put("a", "2"), keep(Some("x"), Some(77))], "etcdserver: requested lease not found"),
        (vec![op_put("a", "2"), keep(None, Some(0))], "etcdserver: key not found"),
        (vec![op_put("a", "2"), keep(Some("x"), None)], "etcdserver: key not found"),
        // Even if the key is made before.
        (vec![op_put("b", "2"), Op::Txn(always(vec![keep(None, Some(0))]))], "etcdserver: key not found"),
        (vec![op_put("a", "2"), op_range("a", "", 9)], "etcdserver: mvcc: required revision is a future revision"),
        (vec![op_put("", "2")], "etcdserver: key is not provided"),
    ];
    for (ops, expect) in cases {
        let error = store.transact(always(ops.clone())).await.unwrap_err();
        assert_eq!(error.to_string(), expect, "{ops:?}");
    }
    assert_eq!(store.revision().await.unwrap(), 2);
    store.compact(2).await.unwrap();
    done(&store, put("a", "2")).await;
    let old = store.transact(always(vec![op_put("a", "3"), op_range("a", "", 1)])).await;
    assert!(matches!(old, Err(Error::Compacted { .. })), "{old:?}");
    // What is kept is kept.
    let lease = store.grant_lease(60).await.unwrap();
    let attached = Op::Put(Put { key: "a".into(), value: None, lease: Some(lease) });
    store.transact(always(vec![attached])).await.unwrap();
    let renamed = Op::Put(Put { key: "a".into(), value: Some("4".into()), lease: None });
    store.transact(always(vec![renamed])).await.unwrap();
    let kv = store.get(b"a", 0).await.unwrap().kv.unwrap();
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"4"[..], lease, 4));
}

pub(crate) async fn all_events_of_a_transaction_come_together(store: Store) {
    let mut watch = store.watch("k".into(), "l".into(), 1).await.unwrap();
    let many = (0..3000).map(|n| op_put(&format!("k{n:04}"), "v")).chain([op_put("other", "v")]);
    store.transact(always(many.collect())).await.unwrap();
    store.transact(always(vec![op_delete("k0", "k0002"), op_put("k0000", "w")])).await.unwrap();
    let batch = async |watch: &mut store::Watch| loop {
        if let Watched::Events(events) = watch.next().await.unwrap() {
            return events;
        }
    };
    let events = timeout(Duration::from_secs(30), batch(&mut watch)).await.unwrap();
    let first: Vec<_> = events.iter().filter(|event| event.kv.mod_revision == 2).collect();
    assert_eq!(first.len(), 3000);
    let mut second = events[3000..].to_vec();
    if second.is_empty() {
        second = timeout(Duration::from_secs(30), batch(&mut watch)).await.unwrap();
    }
    let shown: Vec<_> = second.iter().map(show).collect();
    assert_eq!(shown, ["-k0000 (was v)", "-k0001 (was v)", "k0000=w"]);
    assert!(second.iter().all(|event| event.kv.mod_revision == 3));
}

pub(crate) async fn concurrent_transactions_are_serial(store: Store) {
    const KEYS: usize = 4;
    let keys: Vec<String> = (0..KEYS).map(|n| format!("account{n}")).collect();
    store.transact(always(keys.iter().map(|key| op_put(key, "100")).collect())).await.unwrap();
    let tasks = (0..8).map(|task| {
        let (store, keys) = (store.clone(), keys.clone());
        tokio::spawn(async move {
            for round in 0..25 {
                transfer(&store, &keys[(task + round) % KEYS], &keys[(task * 3 + round + 1) % KEYS]).await;
            }
        })
    });
    futures::future::try_join_all(tasks).await.unwrap();
    let range = Range { start: "account".into(), end: "b".into(), ..Range::default() };
    let items = store.range(range).await.unwrap().items;
    let sum: i64 = items.iter().map(number).sum();
    assert_eq!(sum, 400, "{items:?}");
}

fn number(kv: &KeyValue) -> i64 {
    str::from_utf8(&kv.value).unwrap().parse().unwrap()
}

/// Moves 1 from an account to another, trying until nobody came between.
async fn transfer(store: &Store, from: &str, to: &str) {
    if from == to {
        return;
    }
    loop {
        let read = store.transact(always(vec![op_range(from, "", 0), op_range(to, "", 0)])).await.unwrap();
        let items: Vec<&KeyValue> = read
            .answers
            .iter()
            .filter_map(|answer| match answer {
                Answer::Range(ranged) => ranged.items.first(),
                _ => None,
            })
            .collect();
        let unchanged = items.iter().map(|kv| {
            let key = str::from_utf8(&kv.key).unwrap();
            when(key, Relation::Equal, Operand::Modified(kv.mod_revision as i64))
        });
        let moved =
            vec![op_put(from, &(number(items[0]) - 1).to_string()), op_put(to, &(number(items[1]) + 1).to_string())];
        if store.transact(txn(unchanged.collect(), moved, vec![])).await.unwrap().succeeded {
            return;
        }
    }
}

pub(crate) async fn leases_are_named_revoked_and_renewed(store: Store) {
    assert_eq!(store.grant_lease_as(7, 1).await.unwrap(), (7, 2), "the least length");
    assert!(matches!(store.grant_lease_as(7, 60).await, Err(Error::LeaseExists)));
    assert_eq!(store.grant_lease_as(8, 60).await.unwrap(), (8, 60));
    let attach = |key: &str, lease| store::Write { lease, ..put(key, "v") };
    for key in ["b", "a", "c"] {
        done(&store, attach(key, 8)).await;
    }
    done(&store, put("c", "free")).await;
    assert_eq!(store.leases().unwrap(), [7, 8]);
    let state = store.lease(8).unwrap().unwrap();
    assert_eq!((state.ttl_seconds, state.keys), (60, vec!["a".into(), "b".into()]));
    assert!(state.remaining > Duration::from_secs(50) && state.remaining <= Duration::from_secs(60));
    assert_eq!(store.lease(9).unwrap(), None);

    // Renewed every second, a lease of two seconds outlives three.
    done(&store, attach("kept", 7)).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.renew_lease(7).await.unwrap(), 2);
    }
    assert!(store.get(b"kept", 0).await.unwrap().kv.is_some());
    let before = store.revision().await.unwrap();
    assert_eq!(store.revoke_lease(8).await.unwrap(), before + 1);
    for (key, lives) in [("a", false), ("b", false), ("c", true), ("kept", true)] {
        assert_eq!(store.get(key.as_bytes(), 0).await.unwrap().kv.is_some(), lives, "{key}");
    }
    assert!(matches!(store.revoke_lease(8).await, Err(Error::LeaseNotFound)));
    assert!(matches!(store.renew_lease(8).await, Err(Error::LeaseNotFound)));
    // Many at once, so that some are decided together: what is granted again has nothing of what was.
    let churn = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let _ = store.grant_lease_as(9, 60).await;
            let _ = store.write(store::Write { lease: 9, ..put("churn", "v") }).await;
            let _ = store.revoke_lease(9).await;
        })
    });
    futures::future::try_join_all(churn).await.unwrap();
    let held = store.lease(9).unwrap();
    let kv = store.get(b"churn", 0).await.unwrap().kv;
    assert_eq!(held.is_some_and(|held| !held.keys.is_empty()), kv.is_some());
}
