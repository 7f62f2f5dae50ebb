//! The server behind an APIService: connections that are kept, and what it is told of who asks
//! (k8s.io/kube-aggregator/pkg/controllers/status/remote/remote_available_controller.go: BuildTransportConfig,
//! k8s.io/client-go/transport/round_trippers.go: SetAuthProxyHeaders@v0.37.2).
//!
//! Invariant: connections are shared for as long as the service, its CA and its verification stay the same.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;

use super::service::ApiService;
use crate::admission::Reader;
use crate::authn::User;
use crate::respond::{Body, full};
use crate::webhook::resolve::Resolver;
use crate::webhook::trust;
use crate::webhook::trust::Shown;
use crate::webhook::wire::{Connector, pool, root_of};

/// Bytes of a document that another server publishes.
const DOCUMENT_BYTES_MAX: usize = 128 << 20;
const EXTRA_PREFIX: &str = "x-remote-extra-";

/// An APIService that names a service.
pub(crate) struct Remote {
    pub(crate) service: Arc<ApiService>,
    transport: Arc<Transport>,
}

/// How it is spoken to, or why it cannot be.
type Transport = Result<Connections, String>;

struct Connections {
    pool: Pool<Connector, Body>,
    tls: Arc<ClientConfig>,
}

/// What a document is asked for with.
pub(super) struct Ask<'a> {
    pub(super) path: &'a str,
    pub(super) accept: Option<&'static str>,
    /// What is known of it already.
    pub(super) etag: Option<&'a str>,
    pub(super) user: User,
    pub(super) time: Duration,
    /// Even while it counts as unavailable.
    pub(super) anyway: bool,
}

/// A whole answer; what keeps one from coming is told as 503, as clients are told it.
pub(super) struct Fetched {
    pub(super) code: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Fetched {
    fn failed(why: impl Into<Bytes>) -> Self {
        Fetched { code: 503, headers: HeaderMap::new(), body: why.into() }
    }

    pub(super) fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

impl Remote {
    pub(super) fn new(
        service: Arc<ApiService>,
        old: Option<&Remote>,
        identity: &Option<Arc<dyn ResolvesClientCert>>,
    ) -> Self {
        let key = |service: &ApiService| (service.service.clone(), service.ca.clone(), service.insecure);
        let kept = old.filter(|old| key(&old.service) == key(&service)).map(|old| old.transport.clone());
        let transport = kept.unwrap_or_else(|| Arc::new(transport(&service, identity)));
        Remote { service, transport }
    }

    /// Why it cannot be spoken to at all.
    pub(super) fn unusable(&self) -> Option<&str> {
        self.transport.as_ref().as_ref().err().map(String::as_str)
    }

    /// Where it is now.
    pub(super) fn address(&self, objects: &dyn Reader, resolver: &Resolver) -> Result<String, String> {
        let of = self.service.service.as_ref().ok_or("no service")?;
        resolver.resolve(objects, &of.namespace, &of.name, of.port)
    }

    /// What dials it without the kept connections, and whose certificate it has to have.
    pub(super) fn dialled(&self) -> Result<(Arc<ClientConfig>, String), String> {
        let connections = self.transport.as_ref().as_ref().map_err(Clone::clone)?;
        Ok((connections.tls.clone(), self.service.host()))
    }

    /// Sends a request and waits for the head of its answer; errors are in Go's words.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        let connections = self.transport.as_ref().as_ref().map_err(Clone::clone)?;
        connections.pool.request(request).await.map_err(|error| root_of(&error))
    }

    /// Fetches a document for the server's own sake, as if a client had asked for it.
    pub(super) async fn fetch(&self, objects: &dyn Reader, resolver: &Resolver, ask: Ask<'_>) -> Fetched {
        match tokio::time::timeout(ask.time, self.fetched(objects, resolver, &ask)).await {
            Ok(Ok(fetched)) => fetched,
            Ok(Err(why)) => Fetched::failed(why),
            Err(_) => Fetched::failed("request timed out"),
        }
    }

    async fn fetched(&self, objects: &dyn Reader, resolver: &Resolver, ask: &Ask<'_>) -> Result<Fetched, String> {
        if !self.service.available && !ask.anyway {
            return Err("service unavailable".into());
        }
        let to = self.address(objects, resolver).map_err(|_| "service unavailable")?;
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::ACCEPT, ask.accept), (header::IF_NONE_MATCH, ask.etag)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        identify(&mut headers, &ask.user);
        let request = request(&Method::GET, &to, ask.path, headers, full(""))?;
        let (parts, body) = self.send(request).await?.into_parts();
        let body = Limited::new(body, DOCUMENT_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok(Fetched { code: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() })
    }
}

impl Fetched {
    pub(super) fn is(&self, code: StatusCode) -> bool {
        self.code == code.as_u16()
    }
}

fn transport(service: &ApiService, identity: &Option<Arc<dyn ResolvesClientCert>>) -> Transport {
    let shown = identity.clone().map_or(Shown::Nothing, Shown::Found);
    let made = if service.insecure { trust::careless(shown) } else { trust::client(&service.ca, shown) };
    let tls = made.inspect_err(|error| tracing::warn!(apiservice = service.name, error, "no transport"))?;
    Ok(Connections { pool: pool(Connector { tls: tls.clone(), host: Some(service.host()) }), tls })
}

/// A request to where a server is, by path and query.
pub(super) fn request(
    method: &Method,
    to: &str,
    path_and_query: &str,
    mut headers: HeaderMap,
    body: Body,
) -> Result<Request<Body>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    headers.insert(header::HOST, HeaderValue::from_str(to).map_err(|error| text(&error))?);
    let uri: Uri = format!("https://{to}{path_and_query}").parse().map_err(|error| text(&error))?;
    let request = Request::builder().method(method).uri(uri).body(body);
    let mut request = request.map_err(|error| text(&error))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Tells who asks; nobody else's word for it stays.
pub(super) fn identify(headers: &mut HeaderMap, user: &User) {
    for name in ["x-remote-user", "x-remote-uid", "x-remote-group"] {
        headers.remove(name);
    }
    let extra = headers.keys().filter(|name| name.as_str().starts_with(EXTRA_PREFIX)).cloned().collect::<Vec<_>>();
    for name in extra {
        headers.remove(name);
    }
    let mut tell = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    tell("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        tell("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        tell("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("{EXTRA_PREFIX}{}", escaped(key));
        for value in values {
            tell(&name, value);
        }
    }
}

/// A key of what else is known of a user, as the name of a header; the counterpart is in `authn/front_proxy.rs`.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => out.push(byte.into()),
            b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => {
                out.push(byte.into());
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::unescape_extra_key;

    #[test]
    fn keys_are_escaped_so_that_they_come_back() {
        for (key, name) in [("a-b", "a-b"), ("example.com/x", "example.com%2Fx"), ("50%", "50%25"), ("ü", "%C3%BC")] {
            assert_eq!(escaped(key), name);
            assert_eq!(unescape_extra_key(name), key);
        }
    }

    #[test]
    fn only_the_server_says_who_asks() {
        let mut headers = HeaderMap::new();
        for name in ["x-remote-user", "x-remote-group", "x-remote-uid", "x-remote-extra-scopes", "accept"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("forged"));
        }
        let extra = [("example.com/x".to_owned(), vec!["1".to_owned(), "2".to_owned()])].into();
        let user = User { name: "alice".into(), groups: vec!["a".into(), "b".into()], extra, ..User::default() };
        identify(&mut headers, &user);
        let told = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().expect("text")).collect::<Vec<_>>();
        assert_eq!(told("x-remote-user"), ["alice"]);
        assert_eq!(told("x-remote-group"), ["a", "b"]);
        assert_eq!(told("x-remote-uid"), Vec::<&str>::new());
        assert_eq!(told("x-remote-extra-scopes"), Vec::<&str>::new());
        assert_eq!(told("x-remote-extra-example.com%2fx"), ["1", "2"]);
        assert_eq!(told("accept"), ["forged"]);
    }
}
