//! Binding a pod to a node (pkg/registry/core/pod/storage/storage.go@v1.37.2: BindingREST).

use api::map;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use api::{field, names};
use futures::future::BoxFuture;
use http::Response;

use super::{Incoming, Special};
use crate::admission::Operation;
use crate::chain::Asked;
use crate::hub::Hub;
use crate::respond::{self, Body};
use crate::rest::{Call, metadata, options, precondition_text};

/// Races lost before a binding gives up.
const RETRIES_MAX: usize = 20;

pub(crate) struct Binding;

impl Special for Binding {
    fn answer<'a>(
        &'a self,
        _: &'a Asked<'_>,
        call: &'a Call<'_>,
        incoming: Incoming<'a>,
    ) -> BoxFuture<'a, Result<Response<Body>, Status>> {
        Box::pin(bind(call, incoming.body))
    }
}

async fn bind(call: &Call<'_>, body: Body) -> Result<Response<Body>, Status> {
    let dry_run = options::dry_run(&call.info.query);
    let mut binding = call.body(body).await?;
    metadata::match_namespace(&mut binding, &call.info.namespace)?;
    call.warn(metadata::drop_repeated_owners(&mut binding, false));
    let name = if call.info.name.is_empty() { binding.name().to_string() } else { call.info.name.clone() };
    if name != binding.name() {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    call.admit(Operation::Create, &name, Some(&mut binding), None, dry_run).await?;
    let errors = validate(&binding);
    if !errors.is_empty() {
        // Upstream gives these no status of their own.
        return Err(Status { code: 500, message: field::aggregate(&errors), ..Status::default() });
    }
    call.judge(Operation::Create, &name, Some(&mut binding), None, dry_run).await?;
    assign(call.hub(), &call.info.namespace, &name, &binding, &call.now, dry_run).await?;
    let answer = map! { "kind" => "Status", "apiVersion" => "v1", "metadata" => Map::new(), "status" => "Success", "code" => 201i64 };
    Ok(respond::object(201, &answer, &call.accepted))
}

/// pkg/apis/core/validation: ValidatePodBinding.
fn validate(binding: &Map) -> field::Errors {
    let mut errors = field::Errors::new();
    let target = binding.map("target").unwrap_or(Map::EMPTY);
    let path = field::Path::new("target");
    if !matches!(target.str("kind"), "" | "Node") {
        errors.push(field::not_supported(&path.child("kind"), target.str("kind"), &["Node", "<empty>"]));
    }
    match target.str("name") {
        "" => errors.push(field::required(&path.child("name"), "")),
        name if matches!(target.str("kind"), "" | "Node") => {
            let wrong = names::name_is_dns_subdomain(name, false);
            errors.extend(wrong.iter().map(|why| field::invalid(&path.child("name"), name, why)));
        }
        _ => {}
    }
    errors
}

async fn assign(hub: &Hub, namespace: &str, name: &str, binding: &Map, now: &str, dry_run: bool) -> Result<(), Status> {
    let storage = hub.registry.storage_of("", "pods").ok_or_else(Status::no_such_path)?;
    metadata::check_key(name)?;
    for _ in 0..RETRIES_MAX {
        let found = hub.read(&storage, namespace, name).await?;
        let (mut pod, revision) = found.ok_or_else(|| Status::not_found("", "pods", name))?;
        let key = storage.precondition_key(namespace, name, dry_run);
        check(&pod, name, binding, &key)?;
        set_node(&mut pod, binding, now);
        if dry_run || hub.write(&storage, namespace, name, &pod, revision, 0).await?.is_some() {
            return Ok(());
        }
    }
    Err(Status::conflict("", "pods/binding", name, crate::rest::OPTIMISTIC_LOCK))
}

fn check(pod: &Map, name: &str, binding: &Map, key: &str) -> Result<(), Status> {
    let conflict = |why: String| Err(Status::conflict("", "pods/binding", name, &why));
    let (uid, version) = (binding.uid(), binding.resource_version());
    for (what, wanted, has) in [("UID", uid, pod.uid()), ("ResourceVersion", version, pod.resource_version())] {
        if !wanted.is_empty() && wanted != has {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {has}");
            return Err(Status::conflict("", "pods", name, &precondition_text(key, &why)));
        }
    }
    if pod.is_deleting() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let spec = pod.map("spec").unwrap_or(Map::EMPTY);
    if !spec.str("nodeName").is_empty() {
        return conflict(format!("pod {name} is already assigned to node {}", field::go_quote(spec.str("nodeName"))));
    }
    if !spec.list("schedulingGates").is_empty() {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    Ok(())
}

fn set_node(pod: &mut Map, binding: &Map, now: &str) {
    let node = binding.map("target").map_or("", |target| target.str("name")).to_string();
    pod.map_mut("spec").set("nodeName", node);
    // It was a hint, and is none any more.
    pod.map_mut("status").remove("nominatedNodeName");
    for part in ["annotations", "labels"] {
        let Some(from) = binding.meta().map(part) else { continue };
        let to = pod.meta_mut().map_mut(part);
        for (key, value) in from.iter() {
            to.set(key.clone(), value.clone());
        }
    }
    let condition = map! { "type" => "PodScheduled", "status" => "True", "lastProbeTime" => Value::Null, "lastTransitionTime" => now };
    let status = pod.map_mut("status");
    let conditions = status.list_mut("conditions");
    match conditions.iter_mut().filter_map(Value::as_map_mut).find(|c| c.str("type") == "PodScheduled") {
        Some(existing) if existing.str("status") == "True" => {}
        Some(existing) => *existing = condition,
        None => conditions.push(Value::Map(condition)),
    }
}
