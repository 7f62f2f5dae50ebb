//! What only etcd has: several endpoints, restarts, TLS.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use store::{Error, EtcdConfig, Store};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::backends::{EtcdServer, free, ready, spawn_with};
use crate::watches::{events, show};
use crate::writes::{delete, done, expect, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_is_passed_over() {
    let server = EtcdServer::start().await;
    drop(server.store().await);
    let endpoints = vec![free(), server.endpoint().to_owned(), free()];
    let store = Store::etcd(EtcdConfig { endpoints, ..EtcdConfig::default() }).await.unwrap();
    let mut watch = store.watch("a".into(), "b".into(), 0).await.unwrap();
    done(&store, put("a", "1")).await;
    assert_eq!(show(&events(&mut watch, 1).await[0]), "a=1");
    // A client whose first call is a write.
    let endpoints = vec![free(), server.endpoint().to_owned()];
    let other = Store::etcd(EtcdConfig { endpoints, ..EtcdConfig::default() }).await.unwrap();
    assert_eq!(done(&other, put("a", "2")).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_outlives_a_restart() {
    let mut server = EtcdServer::start().await;
    let store = server.store().await;
    let mut watch = store.watch("a".into(), "b".into(), 0).await.unwrap();
    done(&store, put("a", "1")).await;
    assert_eq!(show(&events(&mut watch, 1).await[0]), "a=1");
    done(&store, put("a", "2")).await;
    server.restart().await;
    let lost = store.write(put("a", "lost")).await;
    assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
    let other = server.store().await;
    done(&other, put("a", "3")).await;
    let shown: Vec<_> = events(&mut watch, 2).await.iter().map(show).collect();
    assert_eq!(shown, ["a=2 (was 1)", "a=3 (was 2)"]);
    assert_eq!(store.revision().await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_unavailable() {
    let store = Store::etcd(EtcdConfig { endpoints: vec![free()], ..EtcdConfig::default() }).await.unwrap();
    let error = timeout(Duration::from_secs(10), store.health()).await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("refused")), "{error:?}");
    assert!(matches!(store.watch("a".into(), "b".into(), 0).await, Err(Error::Unavailable(_))));
    let none = Store::etcd(EtcdConfig::default()).await.err();
    assert!(matches!(none, Some(Error::Config(_))), "{none:?}");
}

/// Counts the calls it gets, by path, and answers that it does not know what became of them.
async fn unsure() -> (String, Arc<Mutex<HashMap<String, u32>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(Mutex::new(HashMap::new()));
    let counted = calls.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let calls = counted.clone();
            let serve = service_fn(move |request: Request<Incoming>| {
                *calls.lock().unwrap().entry(request.uri().path().to_owned()).or_default() += 1;
                let answer = Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "14")
                    .header("grpc-message", "etcdserver: request timed out")
                    .body(Empty::<Bytes>::new())
                    .unwrap();
                async move { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve));
        }
    });
    (endpoint, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_unknown_result_is_sent_once_a_read_to_every_member() {
    let (one, calls_of_one) = unsure().await;
    let (two, calls_of_two) = unsure().await;
    let store = Store::etcd(EtcdConfig { endpoints: vec![one, two], ..EtcdConfig::default() }).await.unwrap();
    let writes = [put("a", "1"), expect(0, put("a", "1")), delete("a"), expect(7, delete("a"))];
    for write in writes {
        let error = store.write(write).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable(why) if why.contains("request timed out")), "{error:?}");
    }
    assert!(matches!(store.grant_lease(60).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.get(b"a", 0).await, Err(Error::Unavailable(_))));
    let sum = |path: &str| {
        let of = |calls: &Mutex<HashMap<String, u32>>| calls.lock().unwrap().get(path).copied().unwrap_or(0);
        of(&calls_of_one) + of(&calls_of_two)
    };
    assert_eq!((sum("/etcdserverpb.KV/Put"), sum("/etcdserverpb.KV/DeleteRange")), (1, 1));
    assert_eq!((sum("/etcdserverpb.KV/Txn"), sum("/etcdserverpb.Lease/LeaseGrant")), (2, 1));
    assert!(calls_of_one.lock().unwrap().contains_key("/etcdserverpb.KV/Range"));
    assert!(calls_of_two.lock().unwrap().contains_key("/etcdserverpb.KV/Range"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_needs_both_sides_certificates() {
    let pki = Pki::new();
    let (client, peer) = (free().replace("http:", "https:"), free());
    let dir = TempDir::new().unwrap();
    let file = |name: &str, pem: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = pki.issue(ExtendedKeyUsagePurpose::ServerAuth);
    let (ca, cert, key) = (file("ca.crt", &pki.ca), file("server.crt", &cert), file("server.key", &key));
    let cluster = format!("test={peer}");
    #[rustfmt::skip]
    let flags = [
        "--client-cert-auth", "--trusted-ca-file", &ca, "--cert-file", &cert, "--key-file", &key,
        "--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--initial-cluster", &cluster,
    ];
    let _server = spawn_with(&dir, &client, &flags);
    let (cert, key) = pki.issue(ExtendedKeyUsagePurpose::ClientAuth);
    let config = EtcdConfig {
        endpoints: vec![client.clone()],
        ca: Some(pki.ca.clone().into_bytes()),
        cert: Some(cert.into_bytes()),
        key: Some(key.into_bytes()),
    };
    let store = ready(config.clone()).await;
    assert_eq!(done(&store, put("a", "1")).await, 2);

    let anonymous = Store::etcd(EtcdConfig { cert: None, key: None, ..config.clone() }).await.unwrap();
    assert!(matches!(anonymous.get(b"a", 0).await, Err(Error::Unavailable(_))));
    let wrong_ca = Some(Pki::new().ca.into_bytes());
    let distrusting = Store::etcd(EtcdConfig { ca: wrong_ca, ..config.clone() }).await.unwrap();
    assert!(matches!(distrusting.get(b"a", 0).await, Err(Error::Unavailable(_))));
    let half = Store::etcd(EtcdConfig { key: None, ..config }).await.err();
    assert!(matches!(half, Some(Error::Config(_))), "{half:?}");
}

struct Pki {
    ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        Pki { ca, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}
