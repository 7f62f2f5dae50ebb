//! Requests for a group version of another server
//! (k8s.io/kube-aggregator/pkg/apiserver/handler_proxy.go, k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go@v0.37.2).
//!
//! Invariant: a request comes here authenticated and authorised; what the other server hears of its user is this
//! server's word alone. Failures are plain text, as upstream writes them.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use streams::upgrade::{self, Asked as Wanted, How, is_wanted};
use tokio_rustls::TlsConnector;

use super::remote::{self, Remote};
use crate::chain::Asked;
use crate::respond::{self, Body, full};
use crate::subresource::connect::backends::dial;
use crate::subresource::connect::proxy::{Links, answered, remove_hop_headers};
use crate::subresource::connect::target::{escaped_path, query};

/// Discovery is cheap, so it has to be quick (k8s.io/apiserver/pkg/util/proxy/proxy.go: aggregatedDiscoveryTimeout).
const DISCOVERY_TIME: Duration = Duration::from_secs(5);
/// `/apis/GROUP/VERSION` has so many segments.
const DISCOVERY_SEGMENTS: usize = 3;
const UNREACHABLE: &str = "error trying to reach service: ";

/// What of a request is handed on beside its path, query and headers.
pub(crate) struct Rest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) body: Body,
    pub(crate) upgrade: Option<hyper::upgrade::OnUpgrade>,
}

/// A failure as http.Error of Go writes it.
fn failure(code: u16, why: &str) -> Response<Body> {
    respond::text(code, format!("{why}\n"))
}

/// Hands a request on, or says why it is not.
pub(crate) async fn answer(asked: &Asked<'_>, remote: &Remote, rest: Rest<'_>) -> Response<Body> {
    let refuse = |code: u16, why: &str| {
        asked.core.metrics.terminated("aggregator", asked.info, rest.method, code);
        failure(code, why)
    };
    if !remote.service.available {
        return refuse(503, "service unavailable");
    }
    if let Some(why) = remote.unusable() {
        return refuse(500, why);
    }
    let to = match remote.address(&*asked.core.api.hub, &asked.core.aggregation.resolver) {
        Ok(to) => to,
        Err(error) => {
            tracing::warn!(apiservice = remote.service.name, error, "error resolving");
            return refuse(503, "service unavailable");
        }
    };
    let mut headers = asked.headers.clone();
    remote::identify(&mut headers, asked.user);
    let outgoing = Outgoing { asked, remote, path: path(asked), to, headers };
    match rest.upgrade.filter(|_| is_wanted(asked.headers)) {
        Some(on_upgrade) => outgoing.upgrade(rest.method, on_upgrade).await,
        None => outgoing.send(rest.method, rest.body).await,
    }
}

/// Hands on a request for a document that is only read.
pub(crate) async fn answer_document(asked: &Asked<'_>, remote: &Remote) -> Response<Body> {
    answer(asked, remote, Rest { method: &Method::GET, body: full(""), upgrade: None }).await
}

/// Path and query as Go writes them: the path encoded anew, the parameters sorted by name.
fn path(asked: &Asked<'_>) -> String {
    let decoded = percent_encoding::percent_decode_str(&asked.info.path).decode_utf8_lossy();
    let path = escaped_path(&decoded);
    match query(asked.info.query.pairs().map(|(name, value)| (name, value.into())).collect()) {
        query if query.is_empty() => path,
        query => format!("{path}?{query}"),
    }
}

struct Outgoing<'a> {
    asked: &'a Asked<'a>,
    remote: &'a Remote,
    /// With the query.
    path: String,
    /// `host:port`
    to: String,
    headers: HeaderMap,
}

impl Outgoing<'_> {
    async fn send(mut self, method: &Method, body: Body) -> Response<Body> {
        remove_hop_headers(&mut self.headers);
        self.tell_forwarded();
        let headers = std::mem::take(&mut self.headers);
        let request = match remote::request(method, &self.to, &self.path, headers, body) {
            Ok(request) => request,
            Err(why) => return failure(500, &why),
        };
        let sending = self.remote.send(request);
        let sent = match self.is_discovery() {
            true => tokio::time::timeout(DISCOVERY_TIME, sending)
                .await
                .unwrap_or_else(|_| Err("context deadline exceeded".into())),
            false => sending.await,
        };
        let response = match sent {
            Ok(response) => response,
            Err(why) => return failure(503, &format!("{UNREACHABLE}{why}")),
        };
        if self.asked.core.aggregation.rejects_redirects && redirects(&response) {
            return refused_redirect();
        }
        let origin = format!("https://{}", self.to);
        let links = Links { prefix: "", backend: &self.to, asked: &self.to, origin: &origin };
        let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
        match answered(response, &links).await {
            Ok(response) => with_own_headers(response),
            Err(status) => failure(503, &status.message),
        }
    }

    fn is_discovery(&self) -> bool {
        let info = self.asked.info;
        !info.is_resource && info.path.trim_matches('/').split('/').count() == DISCOVERY_SEGMENTS
    }

    /// k8s.io/apimachinery/pkg/util/proxy/transport.go@v0.37.2: RoundTrip.
    fn tell_forwarded(&mut self) {
        let path = self.path.split('?').next().unwrap_or("").to_owned();
        for (name, value) in
            [("x-forwarded-uri", path.as_str()), ("x-forwarded-host", &self.to), ("x-forwarded-proto", "https")]
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                self.headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    async fn upgrade(mut self, method: &Method, on_upgrade: hyper::upgrade::OnUpgrade) -> Response<Body> {
        let prepared = HeaderValue::from_str(&self.to).map_err(|error| error.to_string()).and_then(|host| {
            self.headers.insert(header::HOST, host);
            let uri = Uri::try_from(&self.path).map_err(|error| error.to_string())?;
            Ok((uri, self.remote.dialled()?))
        });
        let (uri, (tls, host)) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return failure(503, &why),
        };
        let wanted = Wanted { method, headers: &self.headers, upgrade: on_upgrade };
        let to = self.to.clone();
        let dialling = move || dial(Some(TlsConnector::from(tls)), to, host);
        match upgrade::serve(wanted, uri, How::AsIs, dialling).await {
            Ok(served) => {
                if let Some(work) = served.work {
                    self.asked.core.backends.run(work);
                }
                served.response.map(full)
            }
            Err(error) => failure(503, &error.to_string()),
        }
    }
}

fn redirects<B>(response: &Response<B>) -> bool {
    let location = response.headers().get(header::LOCATION);
    response.status().is_redirection() && location.is_some_and(|location| !location.is_empty())
}

fn refused_redirect() -> Response<Body> {
    let mut response = Response::new(full("the backend attempted to redirect this request, which is not permitted"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    with_own_headers(response)
}

/// The header that every answer of this server has stands before the other server's.
fn with_own_headers(mut response: Response<Body>) -> Response<Body> {
    let theirs: Vec<HeaderValue> = response.headers().get_all(header::CACHE_CONTROL).iter().cloned().collect();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    for value in theirs {
        headers.append(header::CACHE_CONTROL, value);
    }
    response
}
