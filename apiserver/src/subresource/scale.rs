//! `scale`: replicas of any kind that has spec.replicas, as autoscaling/v1 Scale
//! (pkg/registry/apps/deployment/storage/storage.go@v1.37.2 and its siblings).

use api::facts::{self, Struct};
use api::map;
use api::object::Meta;
use api::selector::labels::Selector;
use api::status::Status;
use api::value::{Map, Value};
use api::{field, view};
use apply::manager::{self, FieldManager};
use apply::path::Path;
use apply::scale::Handler;
use futures::future::BoxFuture;
use http::Response;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Incoming, Special, View};
use crate::chain::Asked;
use crate::custom::ScalePaths;
use crate::registry::Entry;
use crate::respond::{self, Body};
use crate::rest::managed::{self, One};
use crate::rest::write::Existing;
use crate::rest::{Call, metadata, options};

pub(crate) struct Scale;

impl View for Scale {
    fn of(&self, entry: &Entry, object: &Map) -> Map {
        scale_of(object, entry.strategy.scale())
    }

    fn take(&self, entry: &Entry, object: &mut Map, view: &Map) {
        set_replicas(object, entry.strategy.scale(), replicas(view));
    }
}

impl Special for Scale {
    fn view(&self) -> Option<&dyn View> {
        Some(self)
    }

    fn answer<'a>(
        &'a self,
        _: &'a Asked<'_>,
        call: &'a Call<'_>,
        incoming: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>> {
        Box::pin(async move {
            match call.info.verb {
                "get" => get(call).await,
                "update" => update(call, incoming.body).await,
                "patch" => patch(call, incoming.body).await,
                _ => Err(call.not_allowed()),
            }
        })
    }
}

async fn get(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let storage = call.storage()?;
    let found = call.hub().read(storage, call.namespace(), &call.info.name).await?;
    let (stored, _) = found.ok_or_else(|| call.not_found())?;
    let object = call.entry.read(stored, call.hub()).await?;
    Ok(respond::object(200, &scale_of(&object, call.entry.strategy.scale()), &call.accepted))
}

async fn update(call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
    let mut scale = call.body(body).await?;
    check_place(call, &mut scale)?;
    call.warn(metadata::drop_repeated_owners(&mut scale, false));
    let ty = scale_type(call)?;
    let dry_run = options::dry_run(&call.info.query);
    write(call, &mut |existing| {
        call.check_uid(&scale, existing, dry_run)?;
        let mut scale = scale.clone();
        track(call, ty, &owned_scale(call, existing)?, &mut scale);
        scaled(call, existing, &scale)
    })
    .await
}

/// The Scale is that of the object that the path names.
fn check_place(call: &Call<'_>, scale: &mut Map) -> Result<(), Status> {
    metadata::match_namespace(scale, call.namespace())?;
    call.check_name(scale)
}

/// The type of Scale.
fn scale_type(call: &Call<'_>) -> Result<&'static Struct, Status> {
    call.entry.subresource("scale").and_then(|sub| sub.ty).ok_or_else(|| call.not_allowed())
}

/// Who owns the replicas, in the object's terms and in those of its Scale.
fn owners<T>(call: &Call<'_>, existing: &Existing, act: impl FnOnce(&Handler<'_>) -> T) -> T {
    let registry = &call.hub().registry;
    let replicas = |version: &str| {
        let (group, version) = facts::split_api_version(version);
        let entry = registry.get(group, version, call.entry.facts.plural)?;
        let path = entry.strategy.scale().map_or(SPEC_REPLICAS, |paths| &paths.spec_replicas);
        Some(Path::fields(&names(path)))
    };
    let parent = existing.object.meta().list("managedFields");
    act(&Handler { parent, version: &call.entry.api_version, replicas: &replicas })
}

fn undecodable(error: impl std::fmt::Display) -> Status {
    Status { code: 500, message: error.to_string(), ..Status::default() }
}

/// The Scale of the existing object, with the managedFields that concern it.
fn owned_scale(call: &Call<'_>, existing: &Existing) -> Result<Map, Status> {
    if existing.object.is_empty() {
        return Err(call.not_found());
    }
    let mut scale = scale_of(&existing.object, call.entry.strategy.scale());
    manager::set_managed(&mut scale, owners(call, existing, |owners| owners.to_scale()).map_err(undecodable)?);
    Ok(scale)
}

fn with_manager<T>(call: &Call<'_>, ty: &'static Struct, act: impl FnOnce(&FieldManager<'_>) -> T) -> T {
    let versions = One { version: "autoscaling/v1", ty };
    act(&FieldManager {
        versions: &versions,
        version: versions.version,
        kind: "Scale",
        subresource: "scale",
        ignored: None,
        now: &call.now,
    })
}

fn track(call: &Call<'_>, ty: &'static Struct, live: &Map, scale: &mut Map) {
    let manager = managed::manager_name(&call.info.query, call.headers);
    with_manager(call, ty, |fields| fields.update(live, scale, &manager));
}

/// The Scale that a configuration makes of the existing one.
fn applied(call: &Call<'_>, ty: &'static Struct, live: &Map, config: &Map) -> Result<Map, Status> {
    let (manager, force) = (call.info.query.get("fieldManager"), call.info.query.flag("force"));
    let applied = with_manager(call, ty, |fields| fields.apply(live, config, manager, force))?;
    let mut scale = applied.object.unwrap_or_else(|| live.clone());
    manager::set_managed(&mut scale, applied.managed);
    Ok(scale)
}

async fn patch(call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
    let ty = scale_type(call)?;
    let patch = call.read_patch(body).await?;
    if patch.is_apply() {
        let config = patch.config()?;
        return write(call, &mut |existing| {
            let mut scale = applied(call, ty, &owned_scale(call, existing)?, &config)?;
            check_place(call, &mut scale)?;
            call.warn(metadata::drop_repeated_owners(&mut scale, true));
            scaled(call, existing, &scale)
        })
        .await;
    }
    write(call, &mut |existing| {
        let live = owned_scale(call, existing)?;
        let (mut scale, _) = call.patched_object(&patch, &live, ty)?;
        track(call, ty, &live, &mut scale);
        check_place(call, &mut scale)?;
        call.warn(metadata::drop_repeated_owners(&mut scale, true));
        scaled(call, existing, &scale)
    })
    .await
}

async fn write(
    call: &Call<'_>,
    make: &mut (dyn FnMut(&Existing) -> Result<Map, Status> + Send),
) -> Result<Response<Body>, Status> {
    let dry_run = options::dry_run(&call.info.query);
    let done = call.change(make, dry_run).await?;
    Ok(respond::object(200, &scale_of(&done.object, call.entry.strategy.scale()), &call.accepted))
}

/// The object with the replicas of a Scale.
fn scaled(call: &Call<'_>, existing: &Existing, scale: &Map) -> Result<Map, Status> {
    if existing.object.is_empty() {
        return Err(call.not_found());
    }
    metadata::match_namespace(&mut scale.clone(), call.namespace())?;
    let replicas = replicas(scale);
    if replicas < 0 {
        let path = field::Path::new("spec.replicas");
        let error = field::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", &call.info.name, &[error]));
    }
    // Upstream looks at a UID in the Scale of a built-in kind.
    let (uid, was) = (scale.uid(), existing.object.uid());
    if call.entry.strategy.scale().is_none() && !uid.is_empty() && uid != was {
        let facts = call.entry.facts;
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {was}");
        return Err(Status::conflict(facts.group, &format!("{}/scale", facts.plural), &call.info.name, &why));
    }
    let mut object = existing.object.clone();
    set_replicas(&mut object, call.entry.strategy.scale(), replicas);
    let version = scale.resource_version().to_string();
    object.meta_mut().set("resourceVersion", version);
    let entries = owners(call, existing, |owners| owners.to_parent(scale.meta().list("managedFields")));
    manager::set_managed(&mut object, entries.map_err(undecodable)?);
    Ok(object)
}

fn replicas(scale: &Map) -> i64 {
    scale.map("spec").and_then(|spec| spec.i64("replicas")).unwrap_or(0)
}

fn set_replicas(object: &mut Map, paths: Option<&ScalePaths>, replicas: i64) {
    let path = paths.map_or(SPEC_REPLICAS, |paths| &paths.spec_replicas);
    if let Some((last, parents)) = names(path).split_last() {
        parents.iter().fold(object, |map, name| map.map_mut(name)).set(*last, replicas);
    }
}

/// Where built-in kinds have their replicas.
const SPEC_REPLICAS: &str = ".spec.replicas";
const STATUS_REPLICAS: &str = ".status.replicas";

/// The value at a path such as `.spec.replicas`.
fn at<'o>(object: &'o Map, path: &str) -> Option<&'o Value> {
    object.value_at(&names(path))
}

fn names(path: &str) -> Vec<&str> {
    path.trim_start_matches('.').split('.').collect()
}

/// The Scale of an object.
fn scale_of(object: &Map, paths: Option<&ScalePaths>) -> Map {
    let meta = object.meta();
    let mut scale_meta = Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta.get(name) {
            scale_meta.set(name, value.clone());
        }
    }
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let (wanted, is) = paths.map_or((SPEC_REPLICAS, STATUS_REPLICAS), |p| (&p.spec_replicas, &p.status_replicas));
    let mut spec = Map::new();
    if number(wanted) != 0 {
        spec.set("replicas", number(wanted));
    }
    let mut status = map! { "replicas" => number(is) };
    let selector = match paths {
        None => selector_text(object),
        Some(paths) => {
            let found = paths.label_selector.as_deref().and_then(|path| at(object, path)?.as_str());
            found.unwrap_or_default().to_string()
        }
    };
    if !selector.is_empty() {
        status.set("selector", selector);
    }
    map! { "kind" => "Scale", "apiVersion" => "autoscaling/v1", "metadata" => scale_meta, "spec" => spec, "status" => status }
}

/// The selector of the object's pods as text: spec.selector is a LabelSelector, or a plain map of labels.
fn selector_text(object: &Map) -> String {
    let Some(selector) = object.at(&["spec", "selector"]) else { return String::new() };
    if selector.iter().all(|(_, value)| matches!(value, Value::String(_))) {
        let mut pairs: Vec<_> = selector.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
        pairs.sort();
        return pairs.join(",");
    }
    let typed: Option<LabelSelector> = view::of(selector).ok();
    Selector::from_label_selector(typed.as_ref()).map(|selector| selector.to_string()).unwrap_or_default()
}
