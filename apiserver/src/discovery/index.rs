//! The list of paths at `/` (k8s.io/apiserver/pkg/server/routes/index.go@v0.37.2).

use std::collections::BTreeSet;

use api::json;
use api::map;
use api::value::Value;

use super::plain;
use crate::aggregation::Table;
use crate::registry::Registry;

/// Paths that are there whatever is served.
const ALWAYS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/api",
    "/api/v1",
    "/apis",
    "/apis/",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/version",
];
const HEALTH: &[&str] = &["/healthz", "/livez", "/readyz"];
/// Checks of every health path, besides the hooks.
const CHECKS: &[&str] = &["etcd", "log", "ping"];
const READY_CHECKS: &[&str] = &["etcd-readiness", "informer-sync", "shutdown"];

/// Always indented JSON, whatever the client accepts.
pub(super) fn document(registry: &Registry, table: &Table, hooks: &[&str]) -> Vec<u8> {
    let paths: Vec<Value> = paths(registry, table, hooks).into_iter().map(Value::from).collect();
    json::encode_pretty(&map! { "paths" => paths })
}

fn paths(registry: &Registry, table: &Table, hooks: &[&str]) -> BTreeSet<String> {
    let mut paths: BTreeSet<String> = ALWAYS.iter().map(|path| (*path).to_string()).collect();
    let own = plain::groups(registry)
        .into_iter()
        .flat_map(|(group, versions)| versions.into_iter().map(move |version| (group.to_owned(), version.to_owned())));
    let registered = table
        .groups()
        .iter()
        .flat_map(|(group, versions)| versions.iter().map(move |version| (group.clone(), version.clone())));
    for (group, version) in own.chain(registered) {
        paths.insert(format!("/apis/{group}/{version}"));
        paths.insert(format!("/apis/{group}"));
    }
    for health in HEALTH {
        let checks = CHECKS.iter().chain(hooks);
        paths.extend(checks.map(|check| format!("{health}/{check}")));
        paths.insert((*health).to_string());
    }
    paths.extend(READY_CHECKS.iter().map(|check| format!("/readyz/{check}")));
    paths
}
