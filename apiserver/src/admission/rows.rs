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

use super::policy::source::Policies;
use super::{Attributes, Chain, Operation, Parts, Reader, plugins};
use crate::authn::User;
use crate::authz::Authorizers;
use crate::options::Times;
use crate::registry::{Entry, Registry};
use crate::request::Query;
use crate::resources;
use crate::resources::common::rows::pretty;
use crate::rest::options;
use crate::strategy::Context;

/// Objects that are there.
struct World(Vec<Arc<Map>>);

fn facts_of(api_version: &str, kind: &str) -> &'static Resource {
    let wanted = |r: &&Resource| r.kind == kind && r.api_version() == api_version;
    facts::resources().iter().find(wanted).expect("a known kind")
}

impl World {
    /// The default plugins, with the policies that are there.
    fn chain(&self) -> Chain {
        let policies: Arc<Policies> = Arc::default();
        for object in &self.0 {
            let facts = facts_of(object.str("apiVersion"), object.str("kind"));
            policies.set(facts.plural, object.name(), Some(object));
        }
        let authorizers = Arc::new(Authorizers::new(&[]));
        let (times, pod_security) = (Times::default(), Default::default());
        let parts = Parts { authorizers, policies, webhooks: Arc::default(), times, pod_security };
        Chain::new(plugins(&[], &[], &parts).expect("plugins"))
    }

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
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    Attributes {
        operation,
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
        options: options::of(operation, &Query::default(), true),
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
    let cx = Context { user: &user, now: "2026-01-01T00:00:00Z", labels_defaulted: false };
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
    for name in ["spec", "data"] {
        whole.set(name, object.get(name).cloned().unwrap_or_default());
    }
    pretty(&whole)
}

/// A refusal, with its reason and causes where the row has them.
fn refused(row: &Map, code: i64, message: &str, reason: &str, causes: &[&str]) -> String {
    match row.contains("reason") {
        true => format!("{code} {reason} {message} {causes:?}"),
        false => format!("{code} {message}"),
    }
}

fn wanted(row: &Map, facts: &Resource) -> String {
    let texts = |name| row.list(name).iter().filter_map(Value::as_str).collect::<Vec<&str>>();
    match part(row, "result", facts) {
        Some(object) => format!("{}\n   {:?}", shown(&object), texts("warnings")),
        None => refused(row, row.i64("code").unwrap_or(0), row.str("message"), row.str("reason"), &texts("causes")),
    }
}

async fn check(data: &[u8]) {
    let (data, _) = decode_any(data, Strictness::Lenient).expect("JSON");
    let data = data.as_map().expect("an object").clone();
    let worlds = data.map("worlds").expect("worlds");
    let mut wrong = Vec::new();
    for row in data.maps("rows") {
        let there = worlds.maps("*").chain(worlds.maps(row.str("ns")));
        let there = there.map(|object| Arc::new(typed(object, facts_of(object.str("apiVersion"), object.str("kind")))));
        let world = World(there.collect());
        let facts = facts_of(row.str("api"), row.str("kind"));
        let entry = REGISTRY.get(facts.group, facts.version, facts.plural).expect("an entry");
        let got = match answer(&world.chain(), &world, row, &entry).await {
            Ok((object, warnings)) => format!("{}\n   {warnings:?}", shown(&object)),
            Err(status) => {
                let causes: Vec<&str> = status.causes.iter().map(|cause| cause.message.as_str()).collect();
                refused(row, status.code.into(), &status.message, status.reason, &causes)
            }
        };
        let want = wanted(row, facts);
        if got != want {
            wrong.push(format!("{}:\n   {got}\n   instead of\n   {want}", row.str("name")));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn requests_as_upstream_admits_them() {
    check(include_bytes!("testdata.json")).await;
}

#[tokio::test]
async fn requests_as_upstream_s_policies_have_them() {
    check(include_bytes!("policy/testdata.json")).await;
}
