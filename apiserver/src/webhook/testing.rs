//! A webhook on loopback, and objects to find it by.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use api::json::{Strictness, decode_any};
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::admission::Reader;
use crate::registry::Registry;

pub(crate) fn object(text: &str) -> Map {
    match decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON").0 {
        Value::Map(map) => map,
        _ => Map::new(),
    }
}

/// How a webhook serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Of a CA.
    Issued,
    /// Its own CA, and a CA indeed.
    Own,
}

/// A webhook; the answers are the test's.
pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    /// PEM.
    pub(crate) ca: String,
    /// What was asked: path, query and object.
    pub(crate) asked: Arc<Mutex<Vec<(String, Map)>>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

fn certificate(names: &[&str], how: Certificate) -> (String, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("names");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    if how == Certificate::Own {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        return (certificate.pem(), certificate.der().clone(), private);
    }
    let mut ca = CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).expect("a certificate");
    (ca_pem, certificate.der().clone(), private)
}

/// What a test answers to an object: code and body.
pub(crate) type Answers = Arc<dyn Fn(&Map) -> (u16, String) + Send + Sync>;
/// What a test answers to a request.
pub(crate) type Pages = Arc<dyn Fn(&http::request::Parts, &Map) -> (u16, String) + Send + Sync>;

impl Webhook {
    pub(crate) async fn start(names: &[&str], how: Certificate, answers: Answers) -> Self {
        Webhook::serve(names, how, Arc::new(move |_: &http::request::Parts, asked: &Map| answers(asked))).await
    }

    pub(crate) async fn serve(names: &[&str], how: Certificate, answers: Pages) -> Self {
        let (ca, certificate, key) = certificate(names, how);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key);
        let acceptor = TlsAcceptor::from(Arc::new(tls.expect("a certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let webhook = Webhook {
            address: listener.local_addr().expect("an address"),
            ca,
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let (asked, connections) = (webhook.asked.clone(), webhook.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, answers) = (asked.clone(), answers.clone());
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                connections.fetch_add(1, Ordering::Relaxed);
                let service = service_fn(move |request| answer(request, asked.clone(), answers.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        webhook
    }

    /// A clientConfig that names the service `webhook` in the namespace `test`.
    pub(crate) fn by_service(&self) -> Map {
        let port = self.address.port();
        let mut config =
            object(&format!(r#"{{"service":{{"name":"webhook","namespace":"test","path":"/hook","port":{port}}}}}"#));
        config.set("caBundle", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &self.ca));
        config
    }

    pub(crate) fn service(&self) -> Map {
        let port = self.address.port();
        object(&format!(
            r#"{{"kind":"Service","apiVersion":"v1","metadata":{{"name":"webhook","namespace":"test"}},
            "spec":{{"type":"ClusterIP","clusterIP":"127.0.0.1","ports":[{{"port":{port}}}]}}}}"#
        ))
    }
}

async fn answer(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<(String, Map)>>>,
    answers: Pages,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.to_string();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = if body.is_empty() { Map::new() } else { object(&String::from_utf8_lossy(&body)) };
    let (code, text) = answers(&parts, &body);
    asked.lock().push((path, body));
    if code == 0 {
        // Never.
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a code");
    Ok(response)
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::new(|_| true));

/// Objects by plural, namespace and name.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) all: Vec<(&'static str, Arc<Map>)>,
}

impl Reader for Objects {
    fn registry(&self) -> &Registry {
        &REGISTRY
    }

    fn cached(&self, _: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Map>> {
        let is = |(plural, object): &&(&str, Arc<Map>)| {
            *plural == resource && object.namespace() == namespace && object.name() == name
        };
        self.all.iter().find(is).map(|(_, object)| object.clone())
    }

    fn live<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Map>, Status>> {
        let found = self.cached(group, resource, namespace, name);
        Box::pin(async move { Ok(found.map(|object| (*object).clone())) })
    }

    fn list(&self, _: &str, _: &str, _: &str) -> Vec<Arc<Map>> {
        Vec::new()
    }

    fn update<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: &'a str,
        _: &'a mut (dyn FnMut(&mut Map) -> Result<bool, Status> + Send),
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async { Ok(()) })
    }
}
