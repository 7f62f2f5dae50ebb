//! The proxy subresource: any request, to any path, of a pod, a node or a service
//! (k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go@v0.37.2; net/http/httputil: ReverseProxy).
//!
//! Invariant: headers that concern one connection go no further than that connection, and a backend
//! cannot open the API server's origin to other sites.

use std::io::{Read, Write};

use api::status::Status;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use streams::upgrade::{How, is_wanted};

pub(crate) use super::rewrite::Links;
use super::target::{Target, clean};
use super::upgrade;
use crate::chain::Asked;
use crate::respond::{self, Body, BoxError};
use crate::rest::Call;
use crate::subresource::Incoming;

/// Largest page whose links are changed, in bytes.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// Headers between two neighbours (net/http/httputil: hopHeaders).
const HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What a backend may not say (removeCORSHeaders).
const CORS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

pub(super) async fn answer(
    asked: &Asked<'_>,
    call: &Call<'_>,
    incoming: Incoming<'_>,
    mut target: Target,
) -> Result<Response<Body>, Status> {
    if is_wanted(asked.headers) && incoming.upgrade.is_some() {
        return upgrade(asked, incoming, target, How::AsIs).await;
    }
    let path = &call.info.path;
    let raw_query = incoming.uri.query().unwrap_or_default();
    if target.path.is_empty() && matches!(*incoming.method, Method::GET | Method::HEAD) {
        return redirect(path, raw_query);
    }
    target.query = raw_query.into();
    let prefix = prefix(path, &target.path);
    let host = asked.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(incoming.uri.authority().map(|authority| authority.as_str())).unwrap_or_default().to_owned();
    let request = outgoing(asked.headers, incoming, &target, &host, &prefix)?;
    let unreachable =
        |error: &dyn std::fmt::Display| Status::service_unavailable(format!("error trying to reach service: {error}"));
    let io = asked.core.backends.dialer(&target)().await.map_err(|error| unreachable(&error))?;
    let response = streams::http1::send(io, request).await.map_err(|error| unreachable(&error))?;
    let backend = target.authority();
    let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
    answered(response, &Links { prefix: &prefix, backend: &backend, asked: &host, origin: "" }).await
}

/// A browser resolves relative links against the last slash, so there has to be one.
fn redirect(path: &str, query: &str) -> Result<Response<Body>, Status> {
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    let location = HeaderValue::try_from(format!("{path}/{query}"));
    let mut response = Response::new(respond::full(Bytes::new()));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = location.map_err(|error| Status::internal(&error.to_string()))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The path of the request without the proxied path.
fn prefix(path: &str, proxied: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    decoded.strip_suffix(proxied).unwrap_or(&decoded).to_owned()
}

/// Takes away what one connection alone is about.
pub(crate) fn remove_hop_headers(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP) {
        headers.remove(name);
    }
}

fn outgoing(
    headers: &HeaderMap,
    incoming: Incoming<'_>,
    target: &Target,
    host: &str,
    prefix: &str,
) -> Result<Request<Body>, Status> {
    let internal = |error: &dyn std::fmt::Display| Status::internal(&error.to_string());
    let mut request = Request::builder()
        .method(incoming.method.clone())
        .uri(target.path_and_query())
        .body(incoming.body)
        .map_err(|error| internal(&error))?;
    let to = request.headers_mut();
    *to = headers.clone();
    remove_hop_headers(to);
    let host = if host.is_empty() { target.authority() } else { host.to_owned() };
    to.insert(header::HOST, HeaderValue::try_from(host).map_err(|error| internal(&error))?);
    let mut forwarded = clean(&format!("{prefix}{}", target.escaped_path()));
    if target.path.ends_with('/') && !forwarded.ends_with('/') {
        forwarded.push('/');
    }
    let forwarded = HeaderValue::try_from(forwarded).map_err(|error| internal(&error))?;
    to.insert(HeaderName::from_static("x-forwarded-uri"), forwarded);
    Ok(request)
}

/// The answer as a client of the proxy is to see it.
pub(crate) async fn answered(response: Response<Body>, links: &Links<'_>) -> Result<Response<Body>, Status> {
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    remove_hop_headers(&mut headers);
    for name in CORS {
        headers.remove(name);
    }
    let text = |headers: &HeaderMap, name: HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let location = text(&headers, header::LOCATION);
    let kind = text(&headers, header::CONTENT_TYPE);
    let is_page = kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html");
    let encoding = text(&headers, header::CONTENT_ENCODING);
    let body = if !location.is_empty() {
        let location = HeaderValue::try_from(links.rewrite(&location));
        headers.insert(header::LOCATION, location.map_err(|error| Status::internal(&error.to_string()))?);
        body
    } else if is_page && matches!(encoding.as_str(), "" | "gzip" | "deflate") {
        headers.remove(header::CONTENT_LENGTH);
        let page = whole(body).await.map_err(|error| Status::internal(&error.to_string()))?;
        respond::full(rewritten(page, &encoding, links))
    } else {
        body
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

/// A page to its end.
fn whole(body: Body) -> BoxFuture<'static, Result<Bytes, BoxError>> {
    Limited::new(body, PAGE_BYTES_MAX).collect().map_ok(|page| page.to_bytes()).boxed()
}

/// The page with its links changed; one that cannot be read stays as it is.
fn rewritten(page: Bytes, encoding: &str, links: &Links<'_>) -> Bytes {
    let unpacked = match encoding {
        "" => Some(page.to_vec()),
        "gzip" => unpack(flate2::read::GzDecoder::new(&page[..])),
        _ => unpack(flate2::read::DeflateDecoder::new(&page[..])),
    };
    let Some(text) = unpacked.and_then(|bytes| String::from_utf8(bytes).ok()) else { return page };
    let changed = links.page(&text).into_bytes();
    let level = flate2::Compression::default();
    let packed = match encoding {
        "" => Ok(changed),
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&changed).and_then(|()| encoder.finish())
        }
        _ => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(&changed).and_then(|()| encoder.finish())
        }
    };
    packed.map_or(page, Bytes::from)
}

fn unpack(from: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more byte than allowed tells that it is too much.
    from.take(PAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= PAGE_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_stay_there() {
        let mut headers: HeaderMap = [
            ("connection", "X-Mine, keep-alive"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
        remove_hop_headers(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn prefixes() {
        assert_eq!(prefix("/api/v1/nodes/n/proxy/a%20b/", "/a b/"), "/api/v1/nodes/n/proxy");
        assert_eq!(prefix("/api/v1/nodes/n/proxy/", "/"), "/api/v1/nodes/n/proxy");
    }

    #[test]
    fn packed_pages_are_changed_and_packed_again() {
        let links = Links { prefix: "/p", backend: "b", asked: "a", origin: "" };
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"<a href=\"/x\">").expect("written");
        let packed = Bytes::from(encoder.finish().expect("packed"));
        let changed = rewritten(packed, "gzip", &links);
        let unpacked = unpack(flate2::read::GzDecoder::new(&changed[..])).expect("gzip");
        assert_eq!(unpacked, b"<a href=\"/p/x\">");
        assert_eq!(rewritten(Bytes::from_static(b"\xff"), "", &links), b"\xff"[..]);
    }
}
