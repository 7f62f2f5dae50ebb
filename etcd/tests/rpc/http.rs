//! What is served over HTTP, on the port of gRPC and on ports of its own.

use std::net::SocketAddr;

use etcd_server::{Config, Etcd};
use store::Store;
use store::etcdserverpb as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{anywhere, call, connect};

/// The status line's code, the content type and the body.
async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), kind.to_owned(), body.to_owned())
}

const VERSIONS: &str = r#"{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
const VERBOSE: &str =
    "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n";

#[tokio::test]
async fn health_and_version_are_etcds() {
    let (etcd, _) = crate::client::ours(Store::memory()).await;
    let address = etcd.addresses()[0];
    let cases = [
        ("GET", "/health", 200, r#"{"health":"true","reason":""}"#),
        ("GET", "/health?serializable=true&exclude=NOSPACE", 200, r#"{"health":"true","reason":""}"#),
        ("POST", "/health", 405, "Method Not Allowed\n"),
        ("GET", "/version", 200, VERSIONS),
        ("GET", "/livez", 200, "ok\n"),
        ("GET", "/livez?verbose", 200, "[+]serializable_read ok\nok\n"),
        ("GET", "/readyz?verbose", 200, VERBOSE),
        (
            "GET",
            "/readyz?verbose&exclude=non_learner&exclude=linearizable_read&exclude=data_corruption",
            200,
            "[+]serializable_read ok\nok\n",
        ),
        ("GET", "/readyz/linearizable_read", 200, "ok\n"),
        ("GET", "/readyz/nothing", 404, "404 page not found\n"),
        ("POST", "/livez", 405, "Method Not Allowed\n"),
        ("GET", "/nothing", 404, "404 page not found\n"),
    ];
    for (method, path, code, body) in cases {
        let (found, _, text) = ask(address, method, path).await;
        assert_eq!((found, text.as_str()), (code, body), "{method} {path}");
    }
    etcd.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_serve_is_not_healthy() {
    let store = Store::memory();
    let (etcd, _) = crate::client::ours(store.clone()).await;
    store.close().await.unwrap();
    let (code, _, body) = ask(etcd.addresses()[0], "GET", "/health").await;
    assert_eq!((code, body.as_str()), (503, "{\"health\":\"false\",\"reason\":\"RANGE ERROR:the store is closed\"}\n"));
    let (code, _, body) = ask(etcd.addresses()[0], "GET", "/livez").await;
    assert_eq!((code, body.as_str()), (503, "[-]serializable_read failed: the store is closed\n\n"));
}

#[tokio::test]
async fn each_port_serves_what_it_is_for() {
    let config = Config {
        listen_client: vec![anywhere()],
        listen_client_http: vec![anywhere()],
        listen_metrics: vec![anywhere()],
        ..Config::default()
    };
    let etcd = Etcd::start(config, Store::memory()).await.unwrap();
    let [grpc, http, metrics] = etcd.addresses()[..] else { panic!("three places") };
    let channel = connect(&format!("http://{grpc}")).await;
    let put = pb::PutRequest { key: b"a".to_vec(), ..Default::default() };
    call::<_, pb::PutResponse>(&channel, "KV/Put", put).await.unwrap();
    for (address, path, code) in [
        (grpc, "/health", 404),
        (http, "/health", 200),
        (http, "/version", 200),
        (metrics, "/health", 200),
        (metrics, "/version", 404),
    ] {
        assert_eq!(ask(address, "GET", path).await.0, code, "{address} {path}");
    }
    let (_, kind, text) = ask(metrics, "GET", "/metrics").await;
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    for line in [
        "etcd_mvcc_put_total 1",
        "etcd_debugging_mvcc_current_revision 2",
        "etcd_server_has_leader 1",
        "etcd_server_version{server_version=\"3.7.3\"} 1",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let remote = connect(&format!("http://{http}")).await;
    let refused = call::<_, pb::RangeResponse>(&remote, "KV/Range", pb::RangeRequest::default()).await;
    assert!(refused.is_err());
    etcd.stop().await.unwrap();
}
