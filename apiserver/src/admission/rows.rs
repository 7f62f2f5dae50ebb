//! Rows of what upstream's API server did with requests, its default plugins on, against our chain: the objects that
//! were there, the body that was sent, and the object, the refusal or the warnings that came back (v1.37.2).
//!
//! Non-goal: storage and the checks of strategies; what the generic verbs do around a plugin is done here in short.

use std::sync::{Arc, LazyLock};

use api::facts::{self, Resource};
use api::json::{Strictness, decode, decode_any, encode};
use api::object::{self, Meta};
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;

use super::{Attributes, Chain, Operation, Parts, Reader, plugins};
use crate::authn::User;
use crate::authz::Authorizers;
use crate::registry::{Entry, Registry};
use crate::resources;
use crate::resources::common::rows::pretty;
use crate::strategy::Context;

/// Objects that are there.
struct World(Vec<Arc<Map>>);

fn facts_of(api_version: &str, kind: &str) -> &'static Resource {
    let wanted = |r: &&Resource| r.kind == kind && r.api_version() == api_version;
    facts::resources().iter().find(wanted).expect("a known kind")
}

impl World {
    fn of<'a>(&'a self, group: &'a str, resource: &'a str, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Map>> {
        self.0.iter().filter(move |object| {
            let facts = facts_of(object.str("apiVersion"), object.str("kind"));
            facts.group == group && facts.plural == resource && object.namespace() == namespace
        })
    }
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::new(|_| true));

impl Reader for World {
    fn registry(&self) -> &Registry {
        &REGISTRY
    }

    fn cached(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Map>> {
        self.of(group, resource, namespace).find(|object| object.name() == name).cloned()
    }

    fn live<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Map>, Status>> {
        Box::pin(async move { Ok(self.cached(group, resource, namespace, name).map(|object| (*object).clone())) })
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Map>> {
        self.of(group, resource, namespace).cloned().collect()
    }

    fn update<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        change: &'a mut (dyn FnMut(&mut Map) -> Result<bool, Status> + Send),
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let found = self.cached(group, resource, namespace, name);
            change(&mut found.map(|object| (*object).clone()).unwrap_or_default()).map(drop)
        })
    }
}

fn typed(object: &Map, facts: &Resource) -> Map {
    let mut object = decode(&encode(object), facts.ty, Strictness::Lenient).expect("an object").value;
    object::set_kind(&mut object, &facts.api_version(), facts.kind);
    object
}

fn part(row: &Map, name: &str, facts: &Resource) -> Option<Map> {
    row.map(name).map(|object| typed(object, facts))
}

fn attributes<'a>(
    row: &'a Map,
    entry: &'a Arc<Entry>,
    user: &'a User,
    name: &'a str,
    object: &'a mut Map,
    old: Option<&'a Map>,
) -> Attributes<'a> {
    let facts = entry.facts;
    let namespace = if facts.namespaced { row.str("ns") } else { "" };
    Attributes {
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        user,
        entry,
        group: facts.group,
        version: facts.version,
        resource: facts.plural,
        kind: facts.kind,
        subresource: row.str("sub"),
        namespace: if facts.kind == "Namespace" { name } else { namespace },
        name,
        object: Some(object),
        old,
        dry_run: true,
        options: Value::Null,
        warnings: Default::default(),
        annotations: Default::default(),
        reinvocation: Default::default(),
    }
}

/// What we make of a row: the object and the warnings, or the refusal.
async fn answer(chain: &Chain, world: &World, row: &Map, entry: &Arc<Entry>) -> Result<(Map, Vec<String>), Status> {
    let facts = entry.facts;
    let strategy = resources::strategy(facts.group, facts.plural);
    let (user, old) = (User::default(), part(row, "old", facts));
    let mut object = part(row, "body", facts).expect("a body");
    let namespace = if facts.namespaced { row.str("ns") } else { "" };
    object.meta_mut().set("namespace", namespace);
    api::defaults::apply(&mut object, facts.ty);
    strategy.default(&mut object);
    let name = object.name().to_string();
    let mut asked = attributes(row, entry, &user, &name, &mut object, old.as_ref());
    chain.admit(&mut asked, world).await?;
    let mut warnings = asked.warnings.into_inner();
    let cx = Context { user: &user, now: "2026-01-01T00:00:00Z" };
    match &old {
        None => strategy.prepare_for_create(&cx, &mut object),
        Some(old) => strategy.prepare_for_update(&cx, &mut object, old),
    }
    let judged = attributes(row, entry, &user, &name, &mut object, old.as_ref());
    chain.validate(&judged, world).await?;
    warnings.extend(judged.warnings.into_inner());
    warnings.extend(strategy.warnings(&object, old.as_ref()));
    Ok((object, warnings))
}

/// What plugins may change.
fn shown(object: &Map) -> String {
    let mut whole = Map::new();
    for name in ["annotations", "finalizers", "labels"] {
        whole.set(name, object.meta().get(name).cloned().unwrap_or_default());
    }
    whole.set("spec", object.get("spec").cloned().unwrap_or_default());
    pretty(&whole)
}

#[tokio::test]
async fn requests_as_upstream_admits_them() {
    let (data, _) = decode_any(include_bytes!("testdata.json"), Strictness::Lenient).expect("JSON");
    let data = data.as_map().expect("an object").clone();
    let authorizers = Arc::new(Authorizers::new(Vec::new()));
    let parts = Parts { authorizers, webhooks: Arc::default() };
    let chain = Chain::new(plugins(&[], &[], &parts).expect("plugins"));
    let worlds = data.map("worlds").expect("worlds");
    let mut wrong = Vec::new();
    for row in data.maps("rows") {
        let there = worlds.maps("*").chain(worlds.maps(row.str("ns")));
        let there = there.map(|object| Arc::new(typed(object, facts_of(object.str("apiVersion"), object.str("kind")))));
        let world = World(there.collect());
        let facts = facts_of(row.str("api"), row.str("kind"));
        let entry = REGISTRY.get(facts.group, facts.version, facts.plural).expect("an entry");
        let got = match answer(&chain, &world, row, &entry).await {
            Ok((object, warnings)) => format!("{}\n   {warnings:?}", shown(&object)),
            Err(status) => format!("{} {}", status.code, status.message),
        };
        let want = match part(row, "result", facts) {
            Some(object) => {
                let warnings: Vec<&str> = row.list("warnings").iter().filter_map(Value::as_str).collect();
                format!("{}\n   {warnings:?}", shown(&object))
            }
            None => format!("{} {}", row.i64("code").unwrap_or(0), row.str("message")),
        };
        if got != want {
            wrong.push(format!("{}:\n   {got}\n   instead of\n   {want}", row.str("name")));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
