//! Aggregated discovery: everything in one APIGroupDiscoveryList, with an ETag
//! (k8s.io/apiserver/pkg/endpoints/discovery/aggregated@v0.37.2). v2beta1 is gone upstream since 1.35:
//! AggregatedDiscoveryRemoveBetaType is locked.
//!
//! Invariant: the ETag is upstream's: SHA-512 of the document's JSON without kind and apiVersion.

use api::facts::Resource;
use api::value::{Map, Value};
use api::{json, map, object};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest, Sha512};

use super::{accept, order, plain};
use crate::aggregation::Aggregation;
use crate::chain::Asked;
use crate::negotiate::{self, Accepted, Clause, Format, MEDIA_TYPES, Offer};
use crate::registry::Registry;
use crate::respond::{self, Body, full};

const GROUP: &str = "apidiscovery.k8s.io";
const VERSION: &str = "v2";
const KIND: &str = "APIGroupDiscoveryList";

/// The format that the client wants the aggregated document in: that of the first clause which asks for it,
/// whatever else the client would take.
pub(super) fn negotiated(headers: &HeaderMap) -> Option<Format> {
    negotiate::clauses(accept(headers)).iter().filter(|clause| is_aggregated(clause)).find_map(format)
}

fn is_aggregated(clause: &Clause<'_>) -> bool {
    let param = |name| clause.param(name).unwrap_or_default();
    // The one stream schema is "watch"; a server version is never offered here.
    let refused = !matches!(param("stream"), "" | "watch") || !param("sv").is_empty();
    param("g") == GROUP && param("v") == VERSION && param("as") == KIND && !refused
}

fn format(clause: &Clause<'_>) -> Option<Format> {
    let formats = [Format::Json, Format::Yaml, Format::Protobuf];
    match clause.media_type {
        "*/*" | "application/*" => Some(Format::Json),
        other => formats.into_iter().zip(MEDIA_TYPES).find(|known| known.1 == other).map(|known| known.0),
    }
}

/// The document of the core group, without kind and apiVersion.
pub(super) fn core_document(registry: &Registry) -> Map {
    let versions = plain::versions(registry, "").into_iter().map(|version| version_of(registry, "", version));
    list(vec![group("", versions.map(Value::Map).collect())])
}

/// The document of all other groups: those of this server and of others.
pub(super) fn document(registry: &Registry, aggregation: &Aggregation) -> Map {
    let found = aggregation.discovered.all();
    let groups = order::groups(registry, &found).into_iter().map(|(name, versions)| {
        let versions = versions.into_iter().map(|version| {
            Value::Map(match version.remote {
                Some(found) => found.document.clone(),
                None => version_of(registry, name, version.version),
            })
        });
        group(name, versions.collect())
    });
    list(groups.collect())
}

fn list(groups: Vec<Value>) -> Map {
    map! { "metadata" => Map::new(), "items" => groups }
}

fn group(name: &str, versions: Vec<Value>) -> Value {
    let metadata = if name.is_empty() {
        Map::new()
    } else {
        map! { "name" => name }
    };
    Value::Map(map! { "metadata" => metadata, "versions" => versions })
}

fn version_of(registry: &Registry, group: &str, version: &str) -> Map {
    let mut entries = plain::entries(registry, group, version);
    entries.sort_by_key(|facts| facts.plural);
    let resources: Vec<Value> = entries.into_iter().map(|facts| Value::Map(resource(facts))).collect();
    map! { "version" => version, "resources" => resources, "freshness" => "Current" }
}

fn resource(facts: &'static Resource) -> Map {
    let mut resource = map! {
        "resource" => facts.plural,
        "responseKind" => kind("", "", facts.kind),
        "scope" => if facts.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource" => facts.singular,
        "verbs" => plain::texts(facts.verbs),
    };
    let lists = [("shortNames", facts.short_names), ("categories", facts.categories)];
    for (name, list) in lists.into_iter().filter(|list| !list.1.is_empty()) {
        resource.set(name, plain::texts(list));
    }
    let subresources = facts.subresources.iter().map(|sub| {
        let own = (sub.group, sub.version) == (facts.group, facts.version);
        let (group, version) = if own { ("", "") } else { (sub.group, sub.version) };
        let kind = kind(group, version, sub.kind);
        let verbs = plain::texts(sub.verbs);
        Value::Map(map! { "subresource" => sub.name, "responseKind" => kind, "verbs" => verbs })
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        resource.set("subresources", subresources);
    }
    resource
}

/// Group and version are empty when they are the document's own, as upstream leaves them.
fn kind(group: &str, version: &str, kind: &str) -> Map {
    map! { "group" => group, "version" => version, "kind" => kind }
}

pub(super) fn etag(document: &Map) -> String {
    let mut text = json::encode(document);
    text.pop();
    Sha512::digest(&text).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The document, or 304 to a client that has it.
pub(super) fn answer(asked: &Asked<'_>, format: Format, document: &Map) -> Response<Body> {
    let etag = format!("\"{}\"", etag(document));
    let known = asked.headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = if known {
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let content_type = format!("{};g={GROUP};v={VERSION};as={KIND}", format.media_type());
        respond::response(200, &content_type, full(bytes(asked, format, document)))
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn bytes(asked: &Asked<'_>, format: Format, document: &Map) -> Vec<u8> {
    let mut whole = document.clone();
    object::set_kind(&mut whole, &format!("{GROUP}/{VERSION}"), KIND);
    // Whether to indent does not depend on what is accepted.
    let mut headers = asked.headers.clone();
    headers.remove(header::ACCEPT);
    let offer = Offer { partial: false, table: false, stream: false };
    let pretty = negotiate::accepted(&headers, &asked.info.query, offer).is_ok_and(|accepted| accepted.pretty);
    respond::encode(&whole, &Accepted { format, pretty, ..Accepted::json() })
}
