//! What other servers serve below their group versions, for the aggregated document
//! (k8s.io/kube-aggregator/pkg/apiserver/handler_discovery.go@v0.37.2).
//!
//! Invariant: every group version of another server is in the document, stale when its server did not answer. One
//! document of a server serves all of its group versions that were marked before it was fetched.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api::facts::{self, Struct};
use api::json::{self, Strictness};
use api::map;
use api::value::{Map, Value};
use arc_swap::ArcSwap;
use http::{StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::available::aggregator;
use super::remote::{Ask, Fetched, Remote};
use super::service::ServiceRef;
use super::work::{self, Backoff, Next, Touched};
use crate::authn::User;
use crate::chain::Core;

/// A server's document is fetched again this often, and after failures no later.
const AGAIN: Duration = Duration::from_secs(60);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: AGAIN };
const FETCH_TIME: Duration = Duration::from_secs(5);
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const KIND: &str = "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList";
const LEGACY_KIND: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";

type GroupVersion = (String, String);

/// A group version of another server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) group: String,
    pub(crate) version: String,
    /// The group's and its own.
    pub(crate) priorities: (i64, i64),
    /// The version as the document has it.
    pub(crate) document: Map,
}

/// A document of a server.
struct Cached {
    versions: HashMap<GroupVersion, Map>,
    etag: String,
    /// Before it was asked for.
    asked: Instant,
}

/// What is known of other servers' resources.
#[derive(Default)]
pub(crate) struct Documents {
    found: ArcSwap<BTreeMap<GroupVersion, Found>>,
    /// When APIServices were marked.
    marked: Mutex<HashMap<String, Instant>>,
    /// Those that were asked of once; from then on their availability is not waited for.
    known: Mutex<HashSet<String>>,
    cached: Mutex<HashMap<ServiceRef, Arc<Cached>>>,
}

impl Documents {
    /// Every group version of another server.
    pub(crate) fn all(&self) -> arc_swap::Guard<Arc<BTreeMap<GroupVersion, Found>>> {
        self.found.load()
    }

    /// What was fetched before now is too old for an APIService.
    pub(super) fn mark(&self, name: &str) {
        self.marked.lock().insert(name.to_owned(), Instant::now());
    }

    fn set(&self, key: GroupVersion, found: Option<Found>) {
        self.found.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            match &found {
                Some(found) => all.insert(key.clone(), found.clone()),
                None => all.remove(&key),
            };
            all
        });
    }

    /// Forgets the documents of services that no APIService names any more.
    fn forget_unused(&self, core: &Core) {
        let remotes = core.aggregation.remotes.load();
        let named = |key: &ServiceRef| {
            remotes.iter().flat_map(|all| all.iter()).any(|remote| remote.service.service.as_ref() == Some(key))
        };
        self.cached.lock().retain(|key, _| named(key));
    }
}

/// Fetches documents for as long as the server runs.
pub(super) async fn run(core: Arc<Core>, touched: Touched) {
    // Every group version is in the document before the server is ready.
    let first = core.aggregation.names().into_iter().map(|name| sync(core.clone(), name));
    futures::future::join_all(first).await;
    core.health.done("poststarthook/apiservice-discovery-controller");
    work::run(touched, BACKOFF, |name| sync(core.clone(), name)).await;
}

async fn sync(core: Arc<Core>, name: String) -> Next {
    let documents = &core.aggregation.discovered;
    let Some((version, group)) = name.split_once('.') else { return Next::Done };
    let key = (group.to_owned(), version.to_owned());
    let Some(remote) = core.aggregation.named(&name) else {
        documents.marked.lock().remove(&name);
        documents.known.lock().remove(&name);
        documents.forget_unused(&core);
        documents.set(key, None);
        return Next::Done;
    };
    let outcome = fresh(&core, &remote, &key).await;
    let own = outcome.as_ref().ok().and_then(|cached| cached.versions.get(&key)).cloned();
    let mut document = own.unwrap_or_else(|| map! { "version" => version });
    document.set("freshness", if outcome.is_ok() { "Current" } else { "Stale" });
    let service = &remote.service;
    let priorities = (service.group_priority, service.version_priority);
    documents.set(key, Some(Found { group: group.into(), version: version.into(), priorities, document }));
    match outcome {
        Ok(_) => {
            documents.mark(&name);
            Next::After(AGAIN)
        }
        Err(error) => {
            tracing::debug!(apiservice = name, error, "discovery not fetched");
            Next::Retry
        }
    }
}

/// A document that was fetched after the APIService was marked.
async fn fresh(core: &Core, remote: &Remote, key: &GroupVersion) -> Result<Arc<Cached>, String> {
    let documents = &core.aggregation.discovered;
    let of = remote.service.service.clone().ok_or("no service")?;
    let marked = documents.marked.lock().get(&remote.service.name).copied();
    let known = documents.cached.lock().get(&of).cloned();
    if let Some(known) = known.as_ref().filter(|known| marked.is_none_or(|marked| known.asked > marked)) {
        return Ok(known.clone());
    }
    let anyway = !documents.known.lock().insert(remote.service.name.clone());
    let etag = known.as_ref().map(|known| known.etag.as_str()).filter(|etag| !etag.is_empty());
    let asked = Instant::now();
    let ask = |path, accept, etag, user| Ask { path, accept: Some(accept), etag, user, time: FETCH_TIME, anyway };
    let (objects, resolver) = (&*core.api.hub, &core.aggregation.resolver);
    let answer = remote.fetch(objects, resolver, ask("/apis", ACCEPT, etag, aggregator())).await;
    let keep = |versions, etag: String| {
        let cached = Arc::new(Cached { versions, etag, asked });
        documents.cached.lock().insert(of.clone(), cached.clone());
        Ok(cached)
    };
    match known {
        Some(known) if answer.is(StatusCode::NOT_MODIFIED) => return keep(known.versions.clone(), known.etag.clone()),
        _ if answer.is(StatusCode::SERVICE_UNAVAILABLE) => {
            return Err("service returned non-success response code: 503".into());
        }
        _ if answer.is(StatusCode::OK) && is_aggregated(&answer) => {
            return keep(of_groups(&answer.body)?, answer.header(header::ETAG).to_owned());
        }
        _ => {}
    }
    // A server that does not know the aggregated document is asked for its version alone, which is not kept.
    let user = User { groups: Vec::new(), ..aggregator() };
    let path = remote.service.discovery_path();
    let answer = remote.fetch(objects, resolver, ask(&path, "application/json", None, user)).await;
    if !answer.is(StatusCode::OK) {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(format!("failed to download legacy discovery for {path}: {} {text}", answer.code));
    }
    let versions = HashMap::from([(key.clone(), of_resources(&answer.body, &key.1)?)]);
    Ok(Arc::new(Cached { versions, etag: String::new(), asked }))
}

/// k8s.io/client-go/discovery/discovery_client.go@v0.37.2: ContentTypeIsGVK.
fn is_aggregated(answer: &Fetched) -> bool {
    let wanted = ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"];
    let has: Vec<&str> = answer.header(header::CONTENT_TYPE).split(';').map(str::trim).collect();
    wanted.iter().all(|wanted| has.contains(wanted))
}

fn decoded(body: &[u8], kind: &str) -> Result<Map, String> {
    let ty: &'static Struct = facts::structure(kind).ok_or("an unknown kind")?;
    json::decode(body, ty, Strictness::Lenient).map(|decoded| decoded.value).map_err(|error| error.to_string())
}

/// The versions of an APIGroupDiscoveryList.
fn of_groups(body: &[u8]) -> Result<HashMap<GroupVersion, Map>, String> {
    let list = decoded(body, KIND)?;
    let mut versions = HashMap::new();
    for group in list.maps("items") {
        let name = group.map("metadata").map_or("", |meta| meta.str("name"));
        for version in group.maps("versions") {
            let resources = version.maps("resources").map(|resource| Value::Map(resource_of(resource))).collect();
            let key = (name.to_owned(), version.str("version").to_owned());
            versions.insert(key, document(version.str("version"), resources));
        }
    }
    Ok(versions)
}

fn document(version: &str, resources: Vec<Value>) -> Map {
    let mut document = map! { "version" => version };
    if !resources.is_empty() {
        document.set("resources", resources);
    }
    document
}

/// A resource with what Go always writes, in its order; old clients fall over a kind that is not there.
fn resource_of(told: &Map) -> Map {
    let mut resource = map! {
        "resource" => told.str("resource"),
        "responseKind" => kind_of(told.map("responseKind")),
        "scope" => told.str("scope"),
        "singularResource" => told.str("singularResource"),
        "verbs" => told.list("verbs").to_vec(),
    };
    for name in ["shortNames", "categories"] {
        if !told.list(name).is_empty() {
            resource.set(name, told.list(name).to_vec());
        }
    }
    let subresources = told.maps("subresources").map(|sub| {
        let mut subresource =
            map! { "subresource" => sub.str("subresource"), "responseKind" => kind_of(sub.map("responseKind")) };
        if !sub.list("acceptedTypes").is_empty() {
            let types = sub.maps("acceptedTypes").map(|kind| Value::Map(kind_of(Some(kind))));
            subresource.set("acceptedTypes", types.collect::<Vec<_>>());
        }
        subresource.set("verbs", sub.list("verbs").to_vec());
        Value::Map(subresource)
    });
    let subresources: Vec<Value> = subresources.collect();
    if !subresources.is_empty() {
        resource.set("subresources", subresources);
    }
    resource
}

fn kind_of(told: Option<&Map>) -> Map {
    let text = |name: &str| told.map_or("", |told| told.str(name));
    map! { "group" => text("group"), "version" => text("version"), "kind" => text("kind") }
}

/// The version of an APIResourceList (k8s.io/apiserver/pkg/endpoints/installer.go@v0.37.2:
/// ConvertGroupVersionIntoToDiscovery).
fn of_resources(body: &[u8], version: &str) -> Result<Map, String> {
    let list = decoded(body, LEGACY_KIND)?;
    let mut resources: Vec<Map> = Vec::new();
    let scope = |row: &Map| if row.bool("namespaced") == Some(true) { "Namespaced" } else { "Cluster" };
    for row in list.maps("resources").filter(|row| !row.str("name").contains('/')) {
        let mut told = row.clone();
        told.set("resource", row.str("name"));
        told.set("responseKind", kind_of(Some(row)));
        told.set("scope", scope(row));
        told.set("singularResource", row.str("singularName"));
        resources.push(resource_of(&told));
    }
    for row in list.maps("resources") {
        let Some((parent, name)) = row.str("name").split_once('/') else { continue };
        let at = resources.iter().position(|resource| resource.str("resource") == parent).unwrap_or_else(|| {
            resources.push(resource_of(&map! { "resource" => parent, "scope" => scope(row) }));
            resources.len() - 1
        });
        let (of_parent, own) = (resources[at].str("scope"), scope(row));
        if of_parent != own {
            return Err(format!(
                "Error: Parent {parent} (scope: {of_parent}) and subresource {name} (scope: {own}) scope do not match"
            ));
        }
        let kind = kind_of(Some(row).filter(|row| !row.str("kind").is_empty()));
        let subresource = map! { "subresource" => name, "responseKind" => kind, "verbs" => row.list("verbs").to_vec() };
        resources[at].list_mut("subresources").push(Value::Map(subresource));
    }
    Ok(document(version, resources.into_iter().map(Value::Map).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &Map) -> String {
        String::from_utf8_lossy(&json::encode(document)).trim().to_owned()
    }

    #[test]
    fn old_lists_become_versions() {
        let list = r#"{"kind":"APIResourceList","groupVersion":"g/v1","resources":[
            {"name":"as/status","namespaced":true,"kind":"A","verbs":["get"]},
            {"name":"as","singularName":"a","namespaced":true,"kind":"A","verbs":["get","list"],"shortNames":["x"]},
            {"name":"bs/scale","namespaced":false,"kind":"","verbs":["get"]}]}"#;
        let expect = concat!(
            r#"{"version":"v1","resources":[{"resource":"as","responseKind":{"group":"","version":"","kind":"A"},"#,
            r#""scope":"Namespaced","singularResource":"a","verbs":["get","list"],"shortNames":["x"],"subresources":["#,
            r#"{"subresource":"status","responseKind":{"group":"","version":"","kind":"A"},"verbs":["get"]}]},"#,
            r#"{"resource":"bs","responseKind":{"group":"","version":"","kind":""},"scope":"Cluster","#,
            r#""singularResource":"","verbs":[],"subresources":[{"subresource":"scale","#,
            r#""responseKind":{"group":"","version":"","kind":""},"verbs":["get"]}]}]}"#,
        );
        assert_eq!(text(&of_resources(list.as_bytes(), "v1").expect("a list")), expect);
        let mixed = r#"{"resources":[{"name":"as","namespaced":true},{"name":"as/x","namespaced":false}]}"#;
        let why = "Error: Parent as (scope: Namespaced) and subresource x (scope: Cluster) scope do not match";
        assert_eq!(of_resources(mixed.as_bytes(), "v1"), Err(why.into()));
    }

    #[test]
    fn kinds_are_never_missing() {
        let list = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":
            {"name":"g"},"versions":[{"version":"v1","freshness":"Current","resources":[{"resource":"as","scope":
            "Cluster","verbs":["get"],"subresources":[{"subresource":"status","verbs":["get"]}]}]},{"version":"v2"}]}]}"#;
        let versions = of_groups(list.as_bytes()).expect("a list");
        let of = |version: &str| text(&versions[&("g".to_owned(), version.to_owned())]);
        let kind = r#""responseKind":{"group":"","version":"","kind":""}"#;
        let expect = format!(
            r#"{{"version":"v1","resources":[{{"resource":"as",{kind},"scope":"Cluster","singularResource":"","verbs":["get"],"subresources":[{{"subresource":"status",{kind},"verbs":["get"]}}]}}]}}"#
        );
        assert_eq!(of("v1"), expect);
        assert_eq!(of("v2"), r#"{"version":"v2"}"#);
    }
}
