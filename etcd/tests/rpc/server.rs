//! The server as a whole: restarts, ends, TLS, watches that are slow or many.

use std::time::Duration;

use etcd_server::{Config, Etcd, Place, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use store::Store;
use store::etcdserverpb as pb;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::client::{Watches, call, ours, ours_with};

fn put(key: &str, value: impl Into<Vec<u8>>) -> pb::PutRequest {
    pb::PutRequest { key: key.as_bytes().to_vec(), value: value.into().into(), ..Default::default() }
}

fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.as_bytes().to_vec(), ..Default::default() }
}

fn watch(request: pb::WatchCreateRequest) -> pb::WatchRequest {
    let all = pb::WatchCreateRequest { key: b"\0".to_vec(), range_end: b"\0".to_vec(), ..request };
    pb::WatchRequest { request: Some(pb::WatchUnion::Create(all)) }
}

async fn stored(channel: &Channel, request: pb::PutRequest) -> i64 {
    let answer: pb::PutResponse = call(channel, "KV/Put", request).await.unwrap();
    answer.header.unwrap().revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let (store, store_dir) = etcd_server::open(dir.path()).await.unwrap();
        let config = Config { store_dir: Some(store_dir), ..Config::default() };
        let (etcd, channel) = ours_with(config, store).await;
        let answer: pb::RangeResponse = call(&channel, "KV/Range", get("a")).await.unwrap();
        assert_eq!(answer.kvs.first().map_or(0, |kv| kv.version), round);
        assert_eq!(stored(&channel, put("a", "v")).await, round + 2);
        let status: pb::StatusResponse = call(&channel, "Maintenance/Status", pb::Empty {}).await.unwrap();
        assert!(status.db_size > 0 && status.header.unwrap().member_id == 0x8e9e_05c5_2164_694d, "{status:?}");
        etcd.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_of_an_etcd_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("member/wal")).unwrap();
    let error = etcd_server::open(dir.path()).await.err().expect("refused");
    assert!(error.to_string().ends_with("member/wal is of an etcd: its data cannot be read"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_watches() {
    let (etcd, channel) = ours(Store::memory()).await;
    let mut watches = Watches::open(&channel, "Watch/Watch", watch(Default::default())).await;
    assert!(watches.next().await.unwrap().created);
    let (stopped, ended) = tokio::join!(etcd.stop(), watches.next());
    stopped.unwrap();
    let status = ended.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "etcdserver: server stopped"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_of_idle_watches_in_time() {
    let config = Config { watch_progress_notify_interval: Duration::from_millis(200), ..Config::default() };
    let (etcd, channel) = ours_with(config, Store::memory()).await;
    let wanted = pb::WatchCreateRequest { progress_notify: true, ..Default::default() };
    let mut watches = Watches::open(&channel, "Watch/Watch", watch(wanted)).await;
    watches.send(watch(pb::WatchCreateRequest::default()));
    for _ in 0..2 {
        assert!(watches.next().await.unwrap().created);
    }
    let revision = stored(&channel, put("a", "v")).await;
    for _ in 0..2 {
        assert_eq!(watches.next().await.unwrap().events.len(), 1);
    }
    for _ in 0..2 {
        let told = watches.next().await.unwrap();
        assert_eq!((told.watch_id, told.header.unwrap().revision, told.events.len()), (0, revision, 0));
    }
    etcd.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_of_all_never_runs_ahead() {
    let (etcd, channel) = ours(Store::memory()).await;
    let mut watches = Watches::open(&channel, "Watch/Watch", watch(Default::default())).await;
    for _ in 1..20 {
        watches.send(watch(Default::default()));
    }
    let writer = {
        let channel = channel.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                stored(&channel, put(&format!("k{n}"), "v")).await;
            }
        })
    };
    let mut seen = std::collections::HashMap::new();
    let mut told = 0;
    while seen.values().filter(|revision| **revision == 201).count() < 20 || told == 0 {
        watches.send(pb::WatchRequest { request: Some(pb::WatchUnion::Progress(pb::Empty {})) });
        let response = watches.next().await.unwrap();
        if response.watch_id == -1 {
            told += 1;
            let progress = response.header.unwrap().revision;
            assert!(seen.values().all(|revision| *revision >= progress), "{progress} is ahead of {seen:?}");
            continue;
        }
        let last = response.events.last().and_then(|event| event.kv.as_ref()).map(|kv| kv.mod_revision);
        let revision = seen.entry(response.watch_id).or_insert(response.header.unwrap().revision);
        *revision = last.unwrap_or(*revision);
    }
    writer.await.unwrap();
    etcd.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_come_in_parts_and_to_slow_readers() {
    let (etcd, channel) = ours(Store::memory()).await;
    let wanted = pb::WatchCreateRequest { fragment: true, start_revision: 2, ..Default::default() };
    let mut watches = Watches::open(&channel, "Watch/Watch", watch(wanted)).await;
    assert!(watches.next().await.unwrap().created);
    for n in 0..8 {
        stored(&channel, put(&format!("k{n}"), vec![n; 1 << 20])).await;
    }
    let mut again = Watches::open(&channel, "Watch/Watch", watch(wanted_from(2))).await;
    assert!(again.next().await.unwrap().created);
    for watches in [&mut watches, &mut again] {
        let mut keys = Vec::new();
        while keys.len() < 8 {
            let response = watches.next().await.unwrap();
            assert!(prost::Message::encoded_len(&response) < 3 << 20);
            keys.extend(response.events.into_iter().map(|event| event.kv.unwrap().key));
        }
        assert!(keys.is_sorted());
    }
    etcd.stop().await.unwrap();
}

fn wanted_from(start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { fragment: true, start_revision, ..Default::default() }
}

/// An authority, a certificate of it for the server and one for a client.
struct Certificates {
    ca: String,
    server: (String, String),
    client: (String, String),
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, &ca_key);
    let signed = |names: &[&str], purpose| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    };
    Certificates {
        ca: ca.pem(),
        server: signed(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth),
        client: signed(&["someone"], ExtendedKeyUsagePurpose::ClientAuth),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_needs_a_certificate_when_it_is_asked_for_one() {
    let made = certificates();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (file("cert", &made.server.0), file("key", &made.server.1));
    let tls = Some(TlsFiles { cert, key, client_ca: Some(file("ca", &made.ca)) });
    let listen_client = vec![Place::parse("https://127.0.0.1:0").unwrap()];
    let etcd = Etcd::start(Config { listen_client, tls, ..Config::default() }, Store::memory()).await.unwrap();
    let url = format!("https://localhost:{}", etcd.addresses()[0].port());
    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&made.ca));
    let known = trusting.clone().identity(Identity::from_pem(&made.client.0, &made.client.1));
    let open = |config: ClientTlsConfig| Endpoint::from_shared(url.clone()).unwrap().tls_config(config).unwrap();
    let channel = open(known).connect().await.unwrap();
    assert_eq!(stored(&channel, put("a", "v")).await, 2);
    // TLS 1.3 tells a client of its refusal only after the handshake.
    let refused = match open(trusting).connect().await {
        Ok(channel) => call::<_, pb::RangeResponse>(&channel, "KV/Range", get("a")).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    etcd.stop().await.unwrap();
}
