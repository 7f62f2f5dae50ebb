//! Keeps what is served in step with the definitions: names and conditions, entries and storages, and the end of
//! the objects of a definition that is deleted (k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,
//! finalizer,nonstructuralschema,apiapproval}@v0.37.2).
//!
//! Invariant: one task decides, definition by definition, on what the cache has; every step can be done again.

use std::collections::HashMap;
use std::sync::Arc;

use api::facts::api_version;
use api::object::{self, Meta};
use api::status::Status;
use api::value::{Map, Value};
use rules::evaluate::Compiled;
use structural::conditions::{self, Condition};
use structural::schema::Schema;
use structural::{columns, default};
use tokio::sync::mpsc;

use super::conversion::Converter;
use super::owners::Owners;
use super::resource::{Custom, ScalePaths};
use super::served::{Names, intern};
use crate::cache::Item;
use crate::chain::Core;
use crate::hub::Observer;
use crate::registry::{Registry, Storage};
use crate::resources::apiextensions;
use crate::strategy::Strategy;
use crate::{system, table};

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// Removed once the last object is gone (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/types.go).
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Names of definitions to look at.
pub(crate) struct Changes(mpsc::UnboundedSender<String>);

/// What [`Changes`] tells.
pub(crate) type Queue = mpsc::UnboundedReceiver<String>;

pub(crate) fn changes() -> (Changes, Queue) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Changes(sender), receiver)
}

impl Observer for Changes {
    /// The controller looks into the cache, on another thread, as soon as it is told.
    fn applied(&self, storage: &Storage, key: &str, gone: bool) {
        let name = match (storage.group, storage.plural) {
            (GROUP, PLURAL) => key.to_owned(),
            // The last object of a definition that waits for it may be gone.
            (group, plural) if gone && storage.strategy.refuses_new().is_some() => {
                format!("{plural}.{group}")
            }
            _ => return,
        };
        // Nobody listens any more when the server stops.
        let _ = self.0.send(name);
    }
}

/// All that the entries of a definition are made of. The generation counts changes of its spec.
#[derive(PartialEq)]
struct Basis {
    uid: String,
    generation: i64,
    names: Map,
    terminating: bool,
}

/// What is served of a definition.
struct Served {
    group: String,
    plural: String,
    basis: Basis,
}

struct Controller {
    core: Arc<Core>,
    served: HashMap<String, Served>,
}

/// Serves until the queue ends; `ready` is told when every definition that was there at the start is served.
pub(crate) async fn run(core: Arc<Core>, mut queue: Queue, ready: impl FnOnce()) {
    let mut controller = Controller { core, served: HashMap::new() };
    let mut ready = Some(ready);
    loop {
        let name = match queue.try_recv() {
            Ok(name) => name,
            Err(_) => {
                if let Some(ready) = ready.take() {
                    ready();
                }
                match queue.recv().await {
                    Some(name) => name,
                    None => return,
                }
            }
        };
        if let Err(status) = controller.look(&name).await {
            tracing::warn!(definition = name, why = status.message, "definition not reconciled");
        }
    }
}

impl Controller {
    fn storage(&self) -> Result<Arc<Storage>, Status> {
        self.core.api.hub.registry.storage_of(GROUP, PLURAL).ok_or_else(Status::no_such_path)
    }

    async fn look(&mut self, name: &str) -> Result<(), Status> {
        let storage = self.storage()?;
        let Some(item) = storage.cache.get(name) else {
            return self.gone(name).await;
        };
        let found = apiextensions::served(&item, &storage);
        if let Some(status) = wanted_status(&found, &rivals(&storage, &found), &system::now()) {
            self.tell(&found, status).await?;
            // What follows from the new status is done when it comes back as an event.
            return Ok(());
        }
        self.serve(name, &found).await;
        if found.is_deleting() && found.finalizers().any(|finalizer| finalizer == FINALIZER) {
            self.clean(&found).await?;
        }
        Ok(())
    }

    /// A definition that is gone frees its names for others.
    async fn gone(&mut self, name: &str) -> Result<(), Status> {
        if let Some(old) = self.served.remove(name) {
            self.core.api.hub.registry.replace_custom(&old.group, &old.plural, Vec::new());
        }
        let storage = self.storage()?;
        let (_, group) = name.split_once('.').unwrap_or_default();
        for item in in_group(&storage, group) {
            Box::pin(self.look(&item.key)).await?;
        }
        Ok(())
    }

    async fn tell(&self, found: &Map, status: Map) -> Result<(), Status> {
        system::update(&self.core, found, "status", &mut |existing| {
            let unchanged = existing.map("spec") == found.map("spec") && existing.map("status") == found.map("status");
            unchanged.then(|| {
                let mut wanted = existing.clone();
                wanted.set("status", status.clone());
                wanted
            })
        })
        .await
    }

    /// Serves the definition as it is now, if that is not what is served.
    async fn serve(&mut self, name: &str, found: &Map) {
        let (spec, status) = (found.map("spec").unwrap_or(Map::EMPTY), found.map("status").unwrap_or(Map::EMPTY));
        let holds = |condition| conditions::is_true(found, condition);
        if !holds("NamesAccepted") && !holds("Established") {
            return;
        }
        let terminating = found.is_deleting() || holds("Terminating");
        let names = status.map("acceptedNames").unwrap_or(Map::EMPTY);
        let (uid, generation) = (found.uid().to_owned(), found.generation());
        let basis = Basis { uid, generation, names: names.clone(), terminating };
        if self.served.get(name).is_some_and(|served| served.basis == basis) {
            return;
        }
        let versions: Vec<&Map> = spec.maps("versions").collect();
        let Some(stored) = versions.iter().find(|version| version.bool("storage") == Some(true)) else { return };
        let strategy = |version: &Map| -> Arc<dyn Strategy> { Arc::new(strategy(found, version, terminating)) };
        let converter = Converter::of(found, &self.core.clients).map(Arc::new);
        let readable = versions.iter().filter(|_| converter.is_some());
        let readable = readable.map(|version| (api_version(spec.str("group"), version.str("name")), strategy(version)));
        let storage = self.core.api.hub.registry.custom_storage(
            Names::of(found, stored).row(),
            strategy(stored),
            readable.collect(),
        );
        let served = versions.iter().filter(|version| version.bool("served") == Some(true));
        let entries = served.map(|version| {
            let facts = Names::of(found, version).row();
            Arc::new(Registry::custom_entry(facts, storage.clone(), strategy(version), converter.clone()))
        });
        let (group, plural) = (spec.str("group").to_owned(), names.str("plural").to_owned());
        self.core.api.hub.serve(storage.clone(), entries.collect()).await;
        self.served.insert(name.to_owned(), Served { group, plural, basis });
    }

    /// Deletes the objects of a definition that is going; when none is left, lets it go.
    async fn clean(&self, found: &Map) -> Result<(), Status> {
        let (spec, names) = (found.map("spec").unwrap_or(Map::EMPTY), found.at(&["status", "acceptedNames"]));
        let group = spec.str("group");
        let plural = names.map_or("", |names| names.str("plural"));
        let hub = &self.core.api.hub;
        hub.fresh().await?;
        let items = hub.registry.storage_of(group, plural).map(|storage| (storage.cache.list("").0, storage));
        if let Some((items, storage)) = items.filter(|(items, _)| !items.is_empty()) {
            for item in items {
                let mut object = item.object(&storage);
                if !object.is_deleting() {
                    let entries = hub.registry.sharing(&storage);
                    let same = entries.iter().find(|entry| entry.api_version == object.str("apiVersion"));
                    // The version that it is stored in need not be served any more.
                    if let (None, Some(other)) = (same, entries.first()) {
                        object::set_kind(&mut object, &other.api_version, other.facts.kind);
                    }
                    system::remove(&self.core, &object).await?;
                }
            }
            // Each one that goes wakes this definition.
            return Ok(());
        }
        let now = system::now();
        self.tell_cleaned(found, &now).await?;
        system::update(&self.core, found, "", &mut |existing| {
            let mut wanted = existing.clone();
            let left = existing.meta().list("finalizers").iter().filter(|f| f.as_str() != Some(FINALIZER)).cloned();
            let left: Vec<Value> = left.collect();
            wanted.meta_mut().set("finalizers", left);
            Some(wanted)
        })
        .await
    }

    async fn tell_cleaned(&self, found: &Map, now: &str) -> Result<(), Status> {
        system::update(&self.core, found, "status", &mut |existing| {
            let mut wanted = existing.clone();
            let condition = Condition {
                ty: "Terminating".into(),
                status: "False".into(),
                reason: "InstanceDeletionCompleted".into(),
                message: "removed all instances".into(),
            };
            conditions::set(&mut wanted, &condition, now);
            Some(wanted)
        })
        .await
    }
}

/// The definitions of the same group, when it is not settled which names this one has.
fn rivals(storage: &Storage, found: &Map) -> Vec<Map> {
    if conditions::naming(found, std::iter::empty()).is_none() {
        return Vec::new();
    }
    in_group(storage, found.map("spec").map_or("", |spec| spec.str("group")))
        .iter()
        .map(|item| apiextensions::served(item, storage))
        .collect()
}

/// A definition's name is that of its resource, a dot and its group.
fn in_group(storage: &Storage, group: &str) -> Vec<Arc<Item>> {
    let mut items = storage.cache.list("").0;
    items.retain(|item| item.key.split_once('.').is_some_and(|(_, own)| own == group));
    items
}

/// The status that follows from the definition and all others; `None` when it has it.
fn wanted_status(found: &Map, all: &[Map], now: &str) -> Option<Map> {
    let mut next = found.clone();
    if let Some(naming) = conditions::naming(found, all.iter()) {
        next.map_mut("status").set("acceptedNames", naming.accepted);
        conditions::set(&mut next, &naming.names_accepted, now);
        conditions::set(&mut next, &naming.established, now);
    }
    if let Some(established) = conditions::established(&next) {
        conditions::set(&mut next, &established, now);
    }
    for (ty, wanted) in [
        ("NonStructuralSchema", conditions::non_structural(&next)),
        ("KubernetesAPIApprovalPolicyConformant", conditions::approval_condition(&next)),
    ] {
        match wanted {
            Some(condition) => conditions::set(&mut next, &condition, now),
            None if conditions::find(&next, ty).is_some() => conditions::remove(&mut next, ty),
            None => {}
        }
    }
    let status = next.map("status")?;
    (found.map("status") != Some(status)).then(|| status.clone())
}

/// What a version of a definition says about its objects.
fn strategy(found: &Map, version: &Map, terminating: bool) -> Custom {
    let spec = found.map("spec").unwrap_or(Map::EMPTY);
    let json = version.at(&["schema", "openAPIV3Schema"]);
    let schema = json.and_then(|json| {
        let parsed = Schema::parse(json).map(|schema| default::pruned(&schema));
        parsed.inspect_err(|error| tracing::error!(definition = found.name(), %error, "schema cannot be used")).ok()
    });
    let scale = version.at(&["subresources", "scale"]).map(|scale| ScalePaths {
        spec_replicas: scale.str("specReplicasPath").into(),
        status_replicas: scale.str("statusReplicasPath").into(),
        label_selector: Some(scale.str("labelSelectorPath").to_owned()).filter(|path| !path.is_empty()),
    });
    let selectable =
        version.maps("selectableFields").map(|field| intern(field.str("jsonPath").trim_start_matches('.'))).collect();
    Custom {
        api_version: api_version(spec.str("group"), version.str("name")),
        kind: found.at(&["status", "acceptedNames"]).map_or("", |names| names.str("kind")).to_owned(),
        owners: Owners::new(schema.as_ref()),
        rules: schema.as_ref().filter(|schema| schema.has_rules).map(Compiled::of),
        schema,
        scale,
        preserve_unknown_fields: spec.bool("preserveUnknownFields") == Some(true),
        columns: columns::of(version, table::age_description()).0,
        selectable,
        terminating,
    }
}
