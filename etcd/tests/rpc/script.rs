//! What is asked of a fresh server, in order.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use etcd_server::Config;
use store::Store;
use store::etcdserverpb as pb;

use crate::client::{Transcript, Watches, connect, ours_with};

/// An etcd to ask, found as the store's suite finds it.
fn binary() -> PathBuf {
    let given = std::env::var_os("KEELSON_ETCD").map(PathBuf::from);
    let built = std::env::home_dir().map(|home| home.join(".cache/keelson-upstream/bin/etcd"));
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/bin/etcd");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|dir| dir.join("etcd"));
    let mut places = given.into_iter().chain(built).chain([beside]).chain(installed);
    places.find(|place| place.is_file()).expect("this test needs a real etcd and found none; name one in KEELSON_ETCD")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_etcds() {
    let expect = etcds(&binary()).await;
    let dir = tempfile::tempdir().unwrap();
    for store in [Store::memory(), etcd_server::open(dir.path()).await.unwrap().0] {
        let config = Config { advertise_client: vec!["http://localhost:2379".into()], ..Config::default() };
        let (etcd, channel) = ours_with(config, store).await;
        let text = run(channel).await;
        let mut label = "";
        for (number, (found, expect)) in text.lines().zip(expect.lines()).enumerate() {
            assert_eq!(found, expect, "line {} after {label:?}", number + 1);
            label = found;
        }
        assert_eq!(text.lines().count(), expect.lines().count());
        etcd.stop().await.unwrap();
    }
}

/// What a real etcd answers.
async fn etcds(binary: &Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    let free = || {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        format!("http://127.0.0.1:{port}")
    };
    let (client, peer) = (free(), free());
    let cluster = format!("--initial-cluster=default={peer}");
    let mut command = tokio::process::Command::new(binary);
    command.arg("--data-dir").arg(dir.path().join("data")).args(["--listen-client-urls", &client]);
    command.args(["--advertise-client-urls", "http://localhost:2379", "--listen-peer-urls", &peer]);
    command.args(["--initial-advertise-peer-urls", &peer, &cluster, "--unsafe-no-fsync", "--log-level", "error"]);
    let mut child = command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let text = run(connect(&client).await).await;
    child.kill().await.unwrap();
    // Where it listens for peers is told differently, and patch releases differ in nothing else.
    text.replace(&peer, "http://localhost:2380").replace(" version: \"3.7.0\"", " version: \"3.7.3\"")
}

async fn run(channel: tonic::transport::Channel) -> String {
    let mut t = Transcript::new(channel);
    kv(&mut t).await;
    ranges(&mut t).await;
    txns(&mut t).await;
    nested(&mut t).await;
    leases(&mut t).await;
    watches(&mut t).await;
    compaction(&mut t).await;
    admin(&mut t).await;
    t.text
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn range(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value).into(), ..Default::default() }
}

fn delete(key: &str, end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: true }
}

impl Transcript {
    async fn range(&mut self, label: &str, request: pb::RangeRequest) {
        self.call::<_, pb::RangeResponse>(&format!("range {label}"), "KV/Range", request).await;
    }

    async fn put(&mut self, label: &str, request: pb::PutRequest) {
        self.call::<_, pb::PutResponse>(&format!("put {label}"), "KV/Put", request).await;
    }

    async fn delete(&mut self, label: &str, request: pb::DeleteRangeRequest) {
        self.call::<_, pb::DeleteRangeResponse>(&format!("delete {label}"), "KV/DeleteRange", request).await;
    }

    async fn txn(&mut self, label: &str, request: pb::TxnRequest) {
        self.call::<_, pb::TxnResponse>(&format!("txn {label}"), "KV/Txn", request).await;
    }
}

async fn kv(t: &mut Transcript) {
    t.range("nothing", range("a", "")).await;
    t.put("a=1", put("a", "1")).await;
    t.put("a=2 with the previous", pb::PutRequest { prev_kv: true, ..put("a", "2") }).await;
    t.put("a, value kept", pb::PutRequest { ignore_value: true, prev_kv: true, ..put("a", "") }).await;
    t.put("a, value kept and given", pb::PutRequest { ignore_value: true, ..put("a", "x") }).await;
    t.put("a, lease kept and given", pb::PutRequest { ignore_lease: true, lease: 3, ..put("a", "x") }).await;
    t.put("b, value kept of nothing", pb::PutRequest { ignore_value: true, ..put("b", "") }).await;
    t.put("b, lease kept of nothing", pb::PutRequest { ignore_lease: true, ..put("b", "x") }).await;
    t.put("b with a lease that is not", pb::PutRequest { lease: 99, ..put("b", "x") }).await;
    t.put("no key", put("", "x")).await;
    t.put("too large", put("b", &"x".repeat(1_600_000))).await;
    t.put("larger than a message", put("b", &"x".repeat(2_200_000))).await;
    t.delete("nothing", delete("b", "")).await;
    t.delete("no key", delete("", "")).await;
    for (key, value) in [("b", "9"), ("c", "8"), ("d", "7"), ("c", "6")] {
        t.put(key, put(key, value)).await;
    }
    t.delete("b to d", delete("b", "d")).await;
    t.delete("d without the previous", pb::DeleteRangeRequest { prev_kv: false, ..delete("d", "") }).await;
    t.delete("all", delete("\0", "\0")).await;
}

async fn ranges(t: &mut Transcript) {
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("b", "5"), ("aa", "4")] {
        t.put(key, put(key, value)).await;
    }
    t.range("one", range("b", "")).await;
    t.range("a to c", range("a", "c")).await;
    t.range("from b", range("b", "\0")).await;
    t.range("all", range("\0", "\0")).await;
    t.range("backwards", range("c", "a")).await;
    t.range("no key", range("", "")).await;
    let all = || range("\0", "\0");
    t.range("limit 2", pb::RangeRequest { limit: 2, ..all() }).await;
    t.range("limit 4", pb::RangeRequest { limit: 4, ..all() }).await;
    t.range("count", pb::RangeRequest { count_only: true, ..all() }).await;
    t.range("count with limit 1", pb::RangeRequest { count_only: true, limit: 1, ..all() }).await;
    t.range("keys", pb::RangeRequest { keys_only: true, ..all() }).await;
    t.range("serializable", pb::RangeRequest { serializable: true, ..range("a", "") }).await;
    t.range("the past", pb::RangeRequest { revision: 3, ..all() }).await;
    t.range("the future", pb::RangeRequest { revision: 1000, ..all() }).await;
    t.range("below zero", pb::RangeRequest { revision: -1, ..range("a", "") }).await;
    for (order, name) in [(0, "none"), (1, "ascend"), (2, "descend")] {
        for (target, by) in [(0, "key"), (1, "version"), (2, "create"), (3, "mod"), (4, "value")] {
            let sorted = pb::RangeRequest { sort_order: order, sort_target: target, limit: 3, ..all() };
            t.range(&format!("3 by {by} {name}"), sorted.clone()).await;
            if order == 2 {
                let keys = pb::RangeRequest { keys_only: true, limit: 0, ..sorted };
                t.range(&format!("keys by {by} {name}"), keys).await;
            }
        }
    }
    t.range("unknown order", pb::RangeRequest { sort_order: 7, ..all() }).await;
    t.range("unknown target", pb::RangeRequest { sort_target: 7, ..all() }).await;
    t.range("min mod", pb::RangeRequest { min_mod_revision: 16, ..all() }).await;
    t.range("max mod, limit 1", pb::RangeRequest { max_mod_revision: 16, limit: 1, ..all() }).await;
    t.range("min create", pb::RangeRequest { min_create_revision: 15, ..all() }).await;
    t.range("max create", pb::RangeRequest { max_create_revision: 15, ..all() }).await;
    let stream = "KV/RangeStream";
    t.stream::<_, pb::RangeStreamResponse>("stream all", stream, all()).await;
    t.stream::<_, pb::RangeStreamResponse>("stream 2", stream, pb::RangeRequest { limit: 2, ..all() }).await;
    let count = pb::RangeRequest { count_only: true, ..all() };
    t.stream::<_, pb::RangeStreamResponse>("stream count", stream, count).await;
    let sorted = pb::RangeRequest { sort_order: 2, ..all() };
    t.stream::<_, pb::RangeStreamResponse>("stream sorted", stream, sorted).await;
    let filtered = pb::RangeRequest { min_mod_revision: 2, ..all() };
    t.stream::<_, pb::RangeStreamResponse>("stream filtered", stream, filtered).await;
    t.stream::<_, pb::RangeStreamResponse>("stream no key", stream, range("", "")).await;
}

fn op(request: pb::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn op_put(key: &str, value: &str) -> pb::RequestOp {
    op(pb::Request::Put(pb::PutRequest { prev_kv: true, ..put(key, value) }))
}

fn op_range(key: &str, end: &str) -> pb::RequestOp {
    op(pb::Request::Range(range(key, end)))
}

fn op_delete(key: &str, end: &str) -> pb::RequestOp {
    op(pb::Request::DeleteRange(delete(key, end)))
}

fn compare(key: &str, target: pb::CompareTarget, result: pb::CompareResult, with: pb::TargetUnion) -> pb::Compare {
    pb::Compare {
        key: bytes(key),
        target: target.into(),
        result: result.into(),
        target_union: Some(with),
        range_end: Vec::new(),
    }
}

fn txn(compare: Vec<pb::Compare>, success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { compare, success, failure }
}

async fn txns(t: &mut Transcript) {
    use pb::CompareResult::{Equal, Greater, Less, NotEqual};
    use pb::CompareTarget::{Create, Lease, Mod, Value, Version};
    use pb::TargetUnion as With;
    let absent = || compare("t1", Mod, Equal, With::ModRevision(0));
    let create = || txn(vec![absent()], vec![op_put("t1", "1")], vec![op_range("t1", "")]);
    t.txn("create t1", create()).await;
    t.txn("create t1 again", create()).await;
    let comparisons = [
        ("version", compare("t1", Version, Equal, With::Version(1))),
        ("version of nothing", compare("no", Version, Equal, With::Version(0))),
        ("create greater", compare("t1", Create, Greater, With::CreateRevision(1))),
        ("mod less", compare("t1", Mod, Less, With::ModRevision(1))),
        ("lease", compare("t1", Lease, Equal, With::Lease(0))),
        ("value", compare("t1", Value, Equal, With::Value(bytes("1")))),
        ("value not equal", compare("t1", Value, NotEqual, With::Value(bytes("1")))),
        ("value of nothing", compare("no", Value, NotEqual, With::Value(bytes("1")))),
        ("another number", compare("t1", Version, Greater, With::ModRevision(50))),
    ];
    for (label, compare) in comparisons {
        t.txn(&format!("if {label}"), txn(vec![compare], vec![], vec![])).await;
    }
    let all = pb::Compare { range_end: bytes("z"), ..compare("a", Version, Greater, With::Version(0)) };
    t.txn("if all of a range", txn(vec![all], vec![], vec![])).await;
    let steps = vec![op_put("t2", "1"), op_range("t", "u"), op_delete("t1", ""), op_range("t", "u"), op_put("t3", "1")];
    t.txn("steps", txn(vec![], steps, vec![])).await;
    t.txn("that changes nothing", txn(vec![], vec![op_delete("no", ""), op_range("t", "u")], vec![])).await;
    t.txn("empty", txn(vec![], vec![], vec![])).await;
    let limited = pb::RangeRequest { limit: 1, sort_order: 2, keys_only: true, ..range("t", "u") };
    t.txn("of a sorted range", txn(vec![], vec![op(pb::Request::Range(limited))], vec![])).await;
    refused_txns(t).await;
}

async fn refused_txns(t: &mut Transcript) {
    let many = |count| (0..count).map(|n| op_put(&format!("many{n}"), "1")).collect::<Vec<_>>();
    t.txn("of 129", txn(vec![], many(129), vec![])).await;
    let cases = [
        ("two puts of a key", vec![op_put("x", "1"), op_put("x", "2")]),
        ("a put and a delete of a key", vec![op_put("x", "1"), op_delete("x", "")]),
        ("a put in a deleted range", vec![op_delete("a", "z"), op_put("x", "1")]),
        ("no operation", vec![pb::RequestOp { request: None }]),
        ("a put without a key", vec![op_put("", "1")]),
        ("a range without a key", vec![op_range("", "")]),
        ("a delete without a key", vec![op_delete("", "")]),
        (
            "a lease that is not",
            vec![op_put("x", "1"), op(pb::Request::Put(pb::PutRequest { lease: 99, ..put("y", "1") }))],
        ),
        (
            "a value kept of nothing",
            vec![op_put("x", "1"), op(pb::Request::Put(pb::PutRequest { ignore_value: true, ..put("y", "") }))],
        ),
        (
            "a range of the future",
            vec![op_put("x", "1"), op(pb::Request::Range(pb::RangeRequest { revision: 1000, ..range("x", "") }))],
        ),
    ];
    for (label, ops) in cases {
        t.txn(&format!("with {label}"), txn(vec![], ops, vec![])).await;
    }
    let nameless = compare("", pb::CompareTarget::Mod, pb::CompareResult::Equal, pb::TargetUnion::ModRevision(0));
    t.txn("that compares no key", txn(vec![nameless], vec![], vec![])).await;
    t.range("what the refused ones left", range("x", "")).await;
}

async fn nested(t: &mut Transcript) {
    let inner = |request| op(pb::Request::Txn(request));
    let absent = compare("n1", pb::CompareTarget::Mod, pb::CompareResult::Equal, pb::TargetUnion::ModRevision(0));
    let both = txn(vec![absent.clone()], vec![op_put("n1", "then")], vec![op_put("n1", "else")]);
    t.txn("nested", txn(vec![], vec![op_put("n0", "1"), inner(both), op_range("n", "o")], vec![])).await;
    let twice = vec![
        inner(txn(vec![absent], vec![op_put("n2", "1")], vec![])),
        inner(txn(vec![], vec![op_put("n2", "2")], vec![])),
    ];
    t.txn("nested puts of a key", txn(vec![], twice, vec![])).await;
    let deep = (0..3).fold(txn(vec![], vec![op_range("n0", "")], vec![]), |txn, _| pb::TxnRequest {
        success: vec![inner(txn)],
        ..Default::default()
    });
    t.txn("nested deep", deep).await;
}

async fn leases(t: &mut Transcript) {
    let grant = |id, ttl| pb::LeaseGrantRequest { id, ttl };
    t.call::<_, pb::LeaseGrantResponse>("grant 7", "Lease/LeaseGrant", grant(7, 1000)).await;
    t.call::<_, pb::LeaseGrantResponse>("grant 7 again", "Lease/LeaseGrant", grant(7, 1000)).await;
    t.call::<_, pb::LeaseGrantResponse>("grant 8 for 0 s", "Lease/LeaseGrant", grant(8, 0)).await;
    t.call::<_, pb::LeaseGrantResponse>("grant too long", "Lease/LeaseGrant", grant(9, i64::MAX)).await;
    let named = |id| pb::LeaseKeepAliveRequest { id };
    t.call::<_, pb::HeaderResponse>("revoke 8", "Lease/LeaseRevoke", named(8)).await;
    t.put("l1 of 7", pb::PutRequest { lease: 7, ..put("l1", "1") }).await;
    t.put("l2 of 7", pb::PutRequest { lease: 7, ..put("l2", "1") }).await;
    t.put("l2, lease kept", pb::PutRequest { ignore_lease: true, ..put("l2", "2") }).await;
    t.put("l3 of 7", pb::PutRequest { lease: 7, ..put("l3", "1") }).await;
    t.put("l3 of none", put("l3", "2")).await;
    t.range("of 7", range("l", "m")).await;
    t.range("keys of 7", pb::RangeRequest { keys_only: true, ..range("l", "m") }).await;
    let left = |id| pb::LeaseTimeToLiveRequest { id, keys: false };
    t.call::<_, pb::LeaseTimeToLiveResponse>("left of 7", "Lease/LeaseTimeToLive", left(7)).await;
    t.call::<_, pb::LeaseTimeToLiveResponse>("left of nothing", "Lease/LeaseTimeToLive", left(99)).await;
    t.call::<_, pb::LeaseLeasesResponse>("leases", "Lease/LeaseLeases", pb::Empty {}).await;
    let method = "Lease/LeaseKeepAlive";
    let mut alive: crate::client::Both<pb::LeaseKeepAliveRequest, pb::LeaseKeepAliveResponse> =
        crate::client::Both::open(&t.channel, method, named(7)).await;
    for id in [99, 7] {
        alive.send(named(id));
    }
    for _ in 0..3 {
        let answer = alive.next().await;
        t.note("keep alive", answer.as_ref().map(|answer| answer as &dyn std::fmt::Debug));
    }
    t.call::<_, pb::HeaderResponse>("revoke 7", "Lease/LeaseRevoke", named(7)).await;
    t.range("of 7, revoked", range("l", "m")).await;
    t.call::<_, pb::HeaderResponse>("revoke 7 again", "Lease/LeaseRevoke", named(7)).await;
}

fn watch(key: &str, end: &str, start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), range_end: bytes(end), start_revision, ..Default::default() }
}

fn create(request: pb::WatchCreateRequest) -> pb::WatchRequest {
    pb::WatchRequest { request: Some(pb::WatchUnion::Create(request)) }
}

fn cancel(watch_id: i64) -> pb::WatchRequest {
    pb::WatchRequest { request: Some(pb::WatchUnion::Cancel(pb::WatchCancelRequest { watch_id })) }
}

fn progress() -> pb::WatchRequest {
    pb::WatchRequest { request: Some(pb::WatchUnion::Progress(pb::Empty {})) }
}

async fn watches(t: &mut Transcript) {
    let mut w = Watches::open(&t.channel, "Watch/Watch", create(watch("w", "x", 0))).await;
    t.watched("watch w", &mut w, 1).await;
    t.put("w1", put("w1", "1")).await;
    t.watched("watch w", &mut w, 1).await;
    w.send(create(pb::WatchCreateRequest { prev_kv: true, watch_id: 5, ..watch("w1", "", 0) }));
    t.watched("watch w1 as 5 with the previous", &mut w, 1).await;
    w.send(create(pb::WatchCreateRequest { watch_id: 5, ..watch("w1", "", 0) }));
    t.watched("watch as 5 again", &mut w, 1).await;
    w.send(create(watch("x", "w", 0)));
    t.watched("watch backwards", &mut w, 1).await;
    w.send(create(watch("w", "x", -1)));
    t.watched("watch from below zero", &mut w, 1).await;
    w.send(progress());
    t.watched("progress", &mut w, 1).await;
    w.send(cancel(0));
    t.watched("cancel 0", &mut w, 1).await;
    w.send(cancel(77));
    t.put("w1", put("w1", "2")).await;
    t.watched("watch 5", &mut w, 1).await;
    t.delete("w1", delete("w1", "")).await;
    t.watched("watch 5", &mut w, 1).await;
    w.send(cancel(5));
    t.watched("cancel 5", &mut w, 1).await;
    filtered_watches(t).await;
}

async fn filtered_watches(t: &mut Transcript) {
    let no_put = pb::WatchCreateRequest { filters: vec![0], prev_kv: true, ..watch("f", "g", 0) };
    let mut w = Watches::open(&t.channel, "Watch/Watch", create(no_put)).await;
    t.watched("watch deletes", &mut w, 1).await;
    let three = vec![op_put("f1", "1"), op_put("f2", "1"), op_put("f3", "1")];
    t.txn("f1 to f3", txn(vec![], three, vec![])).await;
    t.delete("f1 and f2", delete("f1", "f3")).await;
    t.watched("watch deletes", &mut w, 1).await;
    drop(w);
    let past = pb::WatchCreateRequest { filters: vec![1], ..watch("", "\0", 2) };
    let mut w = Watches::open(&t.channel, "Watch/Watch", create(past)).await;
    t.watched("watch puts of all from 2", &mut w, 2).await;
    w.send(create(watch("f", "g", 1000)));
    t.watched("watch the future", &mut w, 1).await;
    w.send(progress());
    assert!(w.silent().await, "a watch of the future keeps progress from being told");
}

async fn compaction(t: &mut Transcript) {
    let compact = |revision| pb::CompactionRequest { revision, physical: true };
    t.call::<_, pb::HeaderResponse>("compact the future", "KV/Compact", compact(10_000)).await;
    t.call::<_, pb::HeaderResponse>("compact below zero", "KV/Compact", compact(-5)).await;
    t.call::<_, pb::HeaderResponse>("compact 20", "KV/Compact", compact(20)).await;
    t.call::<_, pb::HeaderResponse>("compact 20 again", "KV/Compact", compact(20)).await;
    t.range("at 20", pb::RangeRequest { revision: 20, ..range("\0", "\0") }).await;
    t.range("at 19", pb::RangeRequest { revision: 19, ..range("a", "") }).await;
    let old = pb::RangeRequest { revision: 19, ..range("a", "") };
    t.txn("of a range at 19", txn(vec![], vec![op(pb::Request::Range(old))], vec![])).await;
    let mut w = Watches::open(&t.channel, "Watch/Watch", create(watch("a", "b", 3))).await;
    t.watched("watch from 3", &mut w, 2).await;
    w.send(cancel(0));
    t.watched("cancel the compacted one", &mut w, 1).await;
}

async fn admin(t: &mut Transcript) {
    let empty = pb::Empty {};
    t.call::<_, pb::StatusResponse>("status", "Maintenance/Status", empty).await;
    let alarm = |action, alarm| pb::AlarmRequest { action, alarm, member_id: 0 };
    t.call::<_, pb::AlarmResponse>("alarms", "Maintenance/Alarm", alarm(0, 0)).await;
    t.call::<_, pb::AlarmResponse>("disarm", "Maintenance/Alarm", alarm(2, 1)).await;
    t.call::<_, pb::HeaderResponse>("defragment", "Maintenance/Defragment", empty).await;
    let member = |id| pb::MemberRequest { id };
    t.call::<_, pb::HeaderResponse>("move the leader to 5", "Maintenance/MoveLeader", member(5)).await;
    let downgrade = |action, version: &str| pb::DowngradeRequest { action, version: version.into() };
    for (label, request) in [
        ("validate 3.6.0", downgrade(0, "3.6.0")),
        ("validate 3.5.0", downgrade(0, "3.5.0")),
        ("validate x", downgrade(0, "x")),
        ("cancel", downgrade(2, "")),
    ] {
        let label = format!("downgrade {label}");
        t.call::<_, pb::DowngradeResponse>(&label, "Maintenance/Downgrade", request).await;
    }
    t.call::<_, pb::MemberListResponse>("members", "Cluster/MemberList", empty).await;
    t.call::<_, pb::MemberListResponse>("remove 5", "Cluster/MemberRemove", member(5)).await;
    t.call::<_, pb::MemberListResponse>("promote 5", "Cluster/MemberPromote", member(5)).await;
    t.call::<_, pb::AuthStatusResponse>("auth status", "Auth/AuthStatus", empty).await;
    t.call::<_, pb::NamesResponse>("users", "Auth/UserList", empty).await;
    t.call::<_, pb::NamesResponse>("roles", "Auth/RoleList", empty).await;
    let named = |name: &str| pb::NameRequest { name: name.into() };
    for method in ["AuthEnable", "AuthDisable", "Authenticate"] {
        t.call::<_, pb::HeaderResponse>(method, &format!("Auth/{method}"), empty).await;
    }
    for method in ["UserGet", "UserDelete", "UserChangePassword", "UserGrantRole", "UserRevokeRole"] {
        t.call::<_, pb::HeaderResponse>(method, &format!("Auth/{method}"), named("nobody")).await;
    }
    for method in ["RoleGet", "RoleDelete", "RoleRevokePermission", "RoleGrantPermission"] {
        t.call::<_, pb::HeaderResponse>(method, &format!("Auth/{method}"), named("nobody")).await;
    }
    t.call::<_, pb::HeaderResponse>("a user without a name", "Auth/UserAdd", named("")).await;
    t.call::<_, pb::HeaderResponse>("a role without a name", "Auth/RoleAdd", named("")).await;
    t.call::<_, pb::HeaderResponse>("an unknown method", "KV/Nothing", empty).await;
    t.call::<_, pb::HeaderResponse>("an unknown service", "Nothing/Nothing", empty).await;
}
