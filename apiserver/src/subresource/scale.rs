//! `scale`: replicas of any kind that has spec.replicas, as autoscaling/v1 Scale
//! (pkg/registry/apps/deployment/storage/storage.go@v1.37.2 and its siblings).

use api::map;
use api::object::Meta;
use api::selector::labels::Selector;
use api::status::Status;
use api::value::{Map, Value};
use api::{field, view};
use futures::future::BoxFuture;
use http::Response;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Incoming, Special};
use crate::chain::Asked;
use crate::respond::{self, Body};
use crate::rest::write::Existing;
use crate::rest::{Call, options};

pub(crate) struct Scale;

impl Special for Scale {
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
    Ok(respond::object(200, &scale_of(&call.entry.from_storage(&stored)), &call.accepted))
}

async fn update(call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
    let (scale, _) = call.body(body).await?;
    if scale.name() != call.info.name {
        let text = format!("the name of the object ({}) does not match the name on the URL ({})", scale.name(), call.info.name);
        return Err(Status::bad_request(text));
    }
    write(call, &mut |existing| scaled(call, existing, &scale)).await
}

async fn patch(call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
    let ty = call.entry.subresource("scale").and_then(|sub| sub.ty).ok_or_else(|| call.not_allowed())?;
    let patch = call.read_patch(body).await?;
    write(call, &mut |existing| {
        let (scale, _) = call.patched_object(&patch, &scale_of(&existing.object), ty)?;
        scaled(call, existing, &scale)
    })
    .await
}

async fn write(
    call: &Call<'_>,
    make: &mut (dyn FnMut(&Existing) -> Result<Map, Status> + Send),
) -> Result<Response<Body>, Status> {
    let dry_run = options::dry_run(&call.info.query, "UpdateOptions")?;
    let done = call.change(make, dry_run).await?;
    Ok(respond::object(200, &scale_of(&done.object), &call.accepted))
}

/// The object with the replicas of a Scale.
fn scaled(call: &Call<'_>, existing: &Existing, scale: &Map) -> Result<Map, Status> {
    if existing.object.is_empty() {
        return Err(call.not_found());
    }
    let replicas = scale.map("spec").and_then(|spec| spec.i64("replicas")).unwrap_or(0);
    if replicas < 0 {
        let path = field::Path::new("spec.replicas");
        let error = field::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", &call.info.name, &[error]));
    }
    let mut object = existing.object.clone();
    object.map_mut("spec").set("replicas", replicas);
    let version = scale.resource_version().to_string();
    object.meta_mut().set("resourceVersion", version);
    Ok(object)
}

/// The Scale of an object.
fn scale_of(object: &Map) -> Map {
    let meta = object.meta();
    let mut scale_meta = Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta.get(name) {
            scale_meta.set(name, value.clone());
        }
    }
    let number = |part: &str| object.map(part).and_then(|part| part.i64("replicas")).unwrap_or(0);
    let mut spec = Map::new();
    if number("spec") != 0 {
        spec.set("replicas", number("spec"));
    }
    let mut status = map! { "replicas" => number("status") };
    let selector = selector_text(object);
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
