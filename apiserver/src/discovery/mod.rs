//! Discovery: the groups, versions and resources that are served, from the registry
//! (k8s.io/apiserver/pkg/endpoints/discovery@v0.37.2, k8s.io/kube-aggregator/pkg/apiserver/handler_apis.go@v0.37.2).
//!
//! Invariant: every name, verb and order comes from the facts of what the registry holds.
//! Non-goal: peers' resources (the UnknownVersionInteroperabilityProxy feature is off upstream too).

mod aggregated;
mod index;
mod order;
mod plain;

use api::status::Status;
use api::value::Map;
use api::{facts, object, proto};
use http::{HeaderMap, Response, header};

use crate::chain::Asked;
use crate::negotiate::{self, Accepted, Format, Offer};
use crate::registry::Registry;
use crate::respond::{self, Body, full};

/// Answers what no other path took.
pub(crate) fn answer(asked: &Asked<'_>, path: &str) -> Result<Response<Body>, Status> {
    let registry = &asked.core.api.hub.registry;
    let table = asked.core.aggregation.table();
    if path == "/" {
        let hooks = asked.core.health.hooks();
        return Ok(respond::response(200, "application/json", full(index::document(registry, &table, hooks))));
    }
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["api"] => match aggregated::negotiated(asked.headers) {
            Some(format) => Ok(aggregated::answer(asked, format, &aggregated::core_document(registry))),
            None => restful(asked, "", "APIVersions", plain::api_versions(&own_address(asked))),
        },
        ["apis"] => match aggregated::negotiated(asked.headers) {
            // Upstream's handler of "/apis/" is not the one that aggregates.
            Some(format) if path == "/apis" => {
                Ok(aggregated::answer(asked, format, &aggregated::document(registry, &asked.core.aggregation)))
            }
            _ => negotiated(asked, "v1", "APIGroupList", plain::group_list(registry, &table)),
        },
        ["api", "v1"] => match plain::resource_list(registry, "", "v1") {
            // Kept without a version since release 1.1.
            Some(list) => restful(asked, "", "APIResourceList", list),
            None => Ok(not_found()),
        },
        ["apis", group] => match plain::group(registry, &table, group) {
            Some(object) => negotiated(asked, "v1", "APIGroup", object),
            None => unserved(registry, path),
        },
        ["apis", group, version] => match plain::resource_list(registry, group, version) {
            Some(list) => restful(asked, "v1", "APIResourceList", list),
            None => unserved(registry, path),
        },
        _ => unserved(registry, path),
    }
}

/// What an unserved path gets: below a served group or version the API's Status, elsewhere the mux's plain text
/// (k8s.io/apiserver/pkg/server/handler.go@v0.37.2).
pub(crate) fn unserved(registry: &Registry, path: &str) -> Result<Response<Body>, Status> {
    let mut segments = path.trim_start_matches('/').split('/');
    let api = match (segments.next(), segments.next()) {
        (Some("api"), Some(_)) | (Some("version"), Some(_)) => true,
        (Some("apis"), Some(group)) => !plain::versions(registry, group).is_empty(),
        _ => false,
    };
    if api { Err(Status::no_such_path()) } else { Ok(not_found()) }
}

fn not_found() -> Response<Body> {
    respond::text(404, "404 page not found\n")
}

/// A document of a go-restful route, which refuses an Accept header in words of its own.
fn restful(asked: &Asked<'_>, api_version: &str, kind: &str, document: Map) -> Result<Response<Body>, Status> {
    negotiate::routed(asked.headers, &negotiate::MEDIA_TYPES)?;
    negotiated(asked, api_version, kind, document)
}

fn negotiated(asked: &Asked<'_>, api_version: &str, kind: &str, document: Map) -> Result<Response<Body>, Status> {
    let accepted =
        negotiate::accepted(asked.headers, &asked.info.query, Offer { partial: false, table: false, stream: false })?;
    Ok(respond::response(200, accepted.format.media_type(), full(encode(&document, api_version, kind, &accepted))))
}

/// The bytes of a document of meta.k8s.io/v1, under the version that upstream writes: "v1", or none.
fn encode(document: &Map, api_version: &str, kind: &str, accepted: &Accepted) -> Vec<u8> {
    let ty = facts::structure(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
    if let (Format::Protobuf, Some(ty)) = (accepted.format, ty) {
        return proto::wrap(api_version, kind, &proto::encode(document, ty));
    }
    let mut whole = document.clone();
    object::set_kind(&mut whole, api_version, kind);
    if api_version.is_empty() {
        whole.remove("apiVersion");
    }
    respond::encode(&whole, accepted)
}

fn accept(headers: &HeaderMap) -> &str {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// Where this server says it is: what it published in default/kubernetes.
fn own_address(asked: &Asked<'_>) -> String {
    let published = || {
        let storage = asked.core.api.hub.registry.storage_of("", "endpoints")?;
        let endpoints = storage.cache.get("default/kubernetes")?.object(&storage);
        let subset = endpoints.maps("subsets").next()?;
        let ip: std::net::IpAddr = subset.maps("addresses").next()?.str("ip").parse().ok()?;
        let port = subset.maps("ports").next()?.i64("port")?;
        Some(std::net::SocketAddr::new(ip, u16::try_from(port).ok()?).to_string())
    };
    published().unwrap_or_default()
}

#[cfg(test)]
mod tests;
