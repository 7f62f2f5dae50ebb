//! Another API server: it serves flunders of wardle.example.com, to who has the front proxy's certificate.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::respond::{Body, full};

pub(super) const PATH: &str = "/apis/wardle.example.com/v1alpha1";

/// A CA that was made for one test.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM and DER.
pub(super) struct Pair {
    pub(super) pem: (String, String),
    der: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    pub(super) fn pair(&self, names: &[&str], user: &str) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Pair { pem: (certificate.pem(), key.serialize_pem()), der: (certificate.der().clone(), der) }
    }
}

impl Pair {
    /// Writes `NAME.crt` and `NAME.key`.
    pub(super) fn write(&self, dir: &Path, name: &str) {
        std::fs::write(dir.join(format!("{name}.key")), &self.pem.1).expect("written");
        std::fs::write(dir.join(format!("{name}.crt")), &self.pem.0).expect("written");
    }
}

/// What it tells of a request: who came, and as whom.
fn told(method: &Method, uri: &http::Uri, headers: &HeaderMap, body: &Bytes) -> String {
    let all =
        |name: &str| -> Vec<&str> { headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect() };
    let names = ["x-remote-user", "x-remote-group", "x-remote-extra-example.com%2fx", "authorization", "host"];
    let headers = names.map(|name| format!("{name}={}", all(name).join(","))).join(" ");
    format!("{method} {uri} {headers} forwarded={} {}", all("x-forwarded-uri").join(","), String::from_utf8_lossy(body))
}

pub(super) struct Extension {
    pub(super) address: SocketAddr,
    /// base64
    pub(super) ca: String,
    /// Lines that watchers are told.
    pub(super) events: mpsc::UnboundedSender<&'static str>,
    stop: CancellationToken,
}

impl Extension {
    pub(super) async fn start(front_proxy: &Authority) -> Self {
        let authority = Authority::new();
        let own = authority.pair(&["api.wardle.svc"], "api");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(front_proxy.pem.as_bytes()).expect("PEM")).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.expect("versions").with_client_cert_verifier(verifier.expect("a verifier"));
        let tls = tls.with_single_cert(vec![own.der.0], own.der.1).expect("a certificate");
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        // An address that a Service can have, unlike that of the kubernetes Service in the same range.
        let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, (events, watched)) = (CancellationToken::new(), mpsc::unbounded_channel());
        let watched = Arc::new(tokio::sync::Mutex::new(watched));
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, watched) = (acceptor.clone(), watched.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(request, watched.clone()));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                });
            }
        }));
        let ca = base64::engine::general_purpose::STANDARD.encode(&authority.pem);
        Extension { address, ca, events, stop }
    }

    /// Ends it with all of its connections.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

type Watched = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<&'static str>>>;

fn json(code: u16, content_type: &str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = StatusCode::from_u16(code).expect("a code");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().expect("a type"));
    response.headers_mut().insert("access-control-allow-origin", "*".parse().expect("a value"));
    response
}

const GROUPS: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[
    {"metadata":{"name":"wardle.example.com"},"versions":[{"version":"v1alpha1","freshness":"Current","resources":[
    {"resource":"flunders","responseKind":{"group":"wardle.example.com","version":"v1alpha1","kind":"Flunder"},
    "scope":"Namespaced","singularResource":"flunder","verbs":["get","list"]}]}]}]}"#;
const RESOURCES: &str = r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"wardle.example.com/v1alpha1",
    "resources":[{"name":"flunders","singularName":"flunder","namespaced":true,"kind":"Flunder","verbs":["get","list"]}]}"#;
/// A path of its own, one that is not, and a definition that this server has in another shape.
const OPENAPI_V2: &str = r##"{"swagger":"2.0","info":{"title":"wardle","version":"1"},"paths":{
    "/apis/wardle.example.com/v1alpha1/flunders":{"get":{"operationId":"listFlunders","responses":{"200":
    {"description":"OK","schema":{"$ref":"#/definitions/io.k8s.api.core.v1.Pod"}}}}},
    "/apis/":{"get":{"responses":{"200":{"description":"mine"}}}}},
    "definitions":{"io.k8s.api.core.v1.Pod":{"type":"object","description":"a flunder's"}}}"##;
const OPENAPI_V3: &str = r#"{"paths":{"apis/wardle.example.com/v1alpha1":{"serverRelativeURL":"/openapi/v3/apis/wardle.example.com/v1alpha1?hash=1"}}}"#;

async fn answer(mut request: Request<Incoming>, watched: Watched) -> Result<Response<Body>, Infallible> {
    let plain = "application/json";
    let accept = request.headers().get(header::ACCEPT).map_or("", |value| value.to_str().expect("text")).to_owned();
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    Ok(match request.uri().path() {
        "/apis" if accept == aggregated => json(200, aggregated, GROUPS),
        PATH => json(200, plain, RESOURCES),
        "/openapi/v2" => json(200, plain, OPENAPI_V2),
        "/openapi/v3" => json(200, plain, OPENAPI_V3),
        path if path.ends_with("/elsewhere") => {
            let mut response = json(302, plain, "");
            response.headers_mut().insert(header::LOCATION, "/apis".parse().expect("a path"));
            response
        }
        path if path.ends_with("/connect") => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgraded.await.expect("upgraded"));
                let mut text = [0; 4];
                io.read_exact(&mut text).await.expect("four bytes");
                text.reverse();
                io.write_all(&text).await.expect("written");
                io.flush().await.expect("flushed");
            });
            let response = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "echo");
            response.body(full("")).expect("a response")
        }
        _ if request.uri().query().is_some_and(|query| query.contains("watch=")) => {
            let lines = stream::unfold(watched.lock_owned().await, |mut watched| async move {
                let line = watched.recv().await?;
                Some((Ok(Frame::data(Bytes::from_static(line.as_bytes()))), watched))
            });
            Response::new(StreamBody::new(lines).boxed_unsync())
        }
        _ => {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let code = if parts.method == Method::POST { 201 } else { 200 };
            json(code, plain, told(&parts.method, &parts.uri, &parts.headers, &body))
        }
    })
}
