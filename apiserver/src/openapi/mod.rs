//! OpenAPI v2 and v3 documents, from the facts and the registry
//! (k8s.io/kube-openapi/pkg/handler, handler3).
//!
//! Invariant: an ETag is the hash of the JSON document, whatever form is sent.

mod convert;
mod documents;
mod gnostic;
mod merge;
mod operation;
mod parameters;
mod paths;
mod schema;
mod v2;
mod v3;
pub(crate) mod words;

use api::map;
use api::status::Status;
use api::value::{Map, Value};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

pub(crate) use self::documents::{Cache, Document};
use self::documents::{decompress, etag, place};
pub(crate) use self::merge::with_paths;
use self::operation::Operation;
use crate::aggregation::{self, Owner};
use crate::chain::Asked;
use crate::respond::{self, Body, full};
use crate::{compress, negotiate};

/// How long a document that is asked for by its hash may be kept, in days.
const KEEP_DAYS: i64 = 365;

/// The protobuf types, as answered and as some clients still ask.
const V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];
const V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];

/// Answers /openapi/...; `None` for other paths.
pub(crate) async fn answer(asked: &Asked<'_>, path: &str) -> Option<Result<Response<Body>, Status>> {
    let (registry, documents) = (&asked.core.api.hub.registry, &asked.core.openapi);
    let specs = &asked.core.aggregation.specs;
    match path {
        "/openapi/v2" => {
            let (published, merging) = (documents.of(registry), specs.merging());
            Some(Ok(match merging.documents.is_empty() {
                true => document(asked, published.v2(), V2, None),
                false => document(asked, &documents.merged(&published, &merging), V2, None),
            }))
        }
        "/openapi/v3" => Some(Ok(index(asked, documents.of(registry).index(specs.index())))),
        _ => {
            let name = path.strip_prefix("/openapi/v3/")?;
            Some(Ok(match documents.of(registry).v3(name) {
                Some(found) => document(asked, found, V3, Some(name)),
                None => elsewhere(asked, name).await,
            }))
        }
    }
}

/// A document that this server has not made.
async fn elsewhere(asked: &Asked<'_>, name: &str) -> Response<Body> {
    match asked.core.aggregation.owner(name) {
        Some(Owner::Server(remote)) => aggregation::answer_document(asked, &remote).await,
        Some(Owner::Document(found)) => document(asked, &found, V3, Some(name)),
        None => empty(StatusCode::NOT_FOUND),
    }
}

/// The v3 document of a v2 document, and where an index says that it is, which is `name`.
pub(crate) fn converted(v2: &Map, name: &str) -> (Document, Value) {
    let document = Document::new(&convert::v3(v2), gnostic::v3);
    let place = place(name, &document);
    (document, place)
}

/// title and version of every document.
fn info() -> Map {
    let version = env!("CARGO_PKG_VERSION");
    let minor = version.rsplit_once('.').map_or(version, |parts| parts.0);
    map! { "title" => "Kubernetes", "version" => minor }
}

/// The extensions that say what an operation does to what.
fn action(object: &mut Map, operation: &Operation) {
    if !operation.action.is_empty() {
        object.set("x-kubernetes-action", operation.action);
    }
    if let Some((group, version, kind)) = operation.kind {
        object.set("x-kubernetes-group-version-kind", map! { "group" => group, "kind" => kind, "version" => version });
    }
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Upstream's aggregator lets Go guess the type of the index.
fn index(asked: &Asked<'_>, text: Vec<u8>) -> Response<Body> {
    let tag = etag(&text);
    if known(asked.headers, &tag) {
        return tagged(empty(StatusCode::NOT_MODIFIED), &tag);
    }
    tagged(respond::response(200, "text/plain; charset=utf-8", full(text)), &tag)
}

fn known(headers: &HeaderMap, tag: &str) -> bool {
    let text = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or("");
    text.split(',').any(|one| one.trim().trim_start_matches("W/").trim_matches('"') == tag)
}

fn tagged(mut response: Response<Body>, tag: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// True for protobuf, false for JSON, nothing when the client accepts neither.
fn wants_protobuf(headers: &HeaderMap, protobuf: [&str; 2]) -> Option<bool> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    negotiate::clauses(accept).iter().find_map(|clause| match clause.media_type {
        "application/json" | "application/*" | "*/*" => Some(false),
        other => protobuf.contains(&other).then_some(true),
    })
}

/// `name` is that of a v3 document, which may be asked for by its hash.
fn document(asked: &Asked<'_>, found: &Document, protobuf: [&str; 2], name: Option<&str>) -> Response<Body> {
    let mut response = match wants_protobuf(asked.headers, protobuf) {
        None => empty(StatusCode::NOT_ACCEPTABLE),
        Some(wanted) => tagged(represented(asked, found, wanted.then_some(protobuf[0]), name), &found.etag),
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn represented(asked: &Asked<'_>, found: &Document, protobuf: Option<&str>, name: Option<&str>) -> Response<Body> {
    let hash = asked.info.query.get("hash");
    if let Some(name) = name.filter(|_| !hash.is_empty() && hash != found.etag) {
        let mut response = empty(StatusCode::MOVED_PERMANENTLY);
        if let Ok(location) = HeaderValue::from_str(&format!("/openapi/v3/{name}?hash={}", found.etag)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return response;
    }
    let mut response = match known(asked.headers, &found.etag) {
        true => empty(StatusCode::NOT_MODIFIED),
        false => match protobuf {
            Some(media_type) => sent(asked.headers, media_type, found.protobuf()),
            None => sent(asked.headers, "application/json", found.json()),
        },
    };
    if name.is_some() && !hash.is_empty() {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        if let Some(expires) = expires(asked.now) {
            response.headers_mut().insert(header::EXPIRES, expires);
        }
    }
    response
}

fn expires(now: jiff::Timestamp) -> Option<HeaderValue> {
    let then = now.checked_add(jiff::SignedDuration::from_hours(KEEP_DAYS * 24)).ok()?;
    HeaderValue::from_str(&then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

/// A body that is kept compressed.
fn sent(headers: &HeaderMap, content_type: &str, compressed: Bytes) -> Response<Body> {
    if !compress::wanted(headers) {
        return respond::response(200, content_type, full(decompress(&compressed)));
    }
    let mut response = respond::response(200, content_type, full(compressed));
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

#[cfg(test)]
mod tests;
