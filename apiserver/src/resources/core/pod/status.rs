//! What a pod's status may say (pkg/apis/core/validation/validation.go@v1.37.2: ValidatePodStatusUpdate).

use std::net::IpAddr;

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::options::Options;
use super::{annotations, container_status};
use crate::resources::common;
use crate::resources::common::internal::Plain;

const GENERATION: &str = "must be a non-negative integer";
const SYSTEM_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

pub(super) fn check(pod: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, was_spec) = (pod.map("spec").unwrap_or(Map::EMPTY), old.map("spec").unwrap_or(Map::EMPTY));
    let (status, was) = (pod.map("status").unwrap_or(Map::EMPTY), old.map("status").unwrap_or(Map::EMPTY));
    let (notes, old_notes) = (pod.meta().map("annotations"), old.meta().map("annotations"));
    let at = Path::new("metadata").child("annotations");
    annotations::update(notes, old_notes, &at, &mut errors);
    annotations::check(notes, spec, &at, &Options::pod(Some(old)), &mut errors);
    let path = Path::new("status");
    conditions(status, &path.child("conditions"), &mut errors);
    nominated(status, was, was_spec, &path.child("nominatedNodeName"), &mut errors);
    if let Some(generation) = status.i64("observedGeneration").filter(|generation| *generation < 0) {
        errors.push(field::invalid(&path.child("observedGeneration"), generation, GENERATION));
    }
    if status.str("qosClass") != was.str("qosClass") {
        errors.push(field::invalid(&path.child("qosClass"), status.str("qosClass"), common::IMMUTABLE));
    }
    container_status::transitions(status, was, was_spec, &path, &mut errors);
    claims(status, spec, &path.child("resourceClaimStatuses"), &mut errors);
    extended_claim(status, spec, &path.child("extendedResourceClaimStatus"), &mut errors);
    pod_ips(status, was, &path.child("podIPs"), &mut errors);
    host_ips(status, was, &path.child("hostIPs"), &mut errors);
    container_status::check(status, spec, &path, &mut errors);
    errors
}

fn conditions(status: &Map, path: &Path, errors: &mut Errors) {
    for (at, condition) in status.maps("conditions").enumerate() {
        let path = path.index(at);
        if let Some(generation) = condition.i64("observedGeneration").filter(|generation| *generation < 0) {
            errors.push(field::invalid(&path.child("observedGeneration"), generation, GENERATION));
        }
        let kind = condition.str("type");
        if !SYSTEM_CONDITIONS.contains(&kind) {
            common::qualified_name(kind, &path.child("Type"), errors);
        }
    }
}

fn nominated(status: &Map, was: &Map, spec: &Map, path: &Path, errors: &mut Errors) {
    let name = status.str("nominatedNodeName");
    if name.is_empty() || name == was.str("nominatedNodeName") {
        return;
    }
    common::each(path, name, names::name_is_dns_subdomain(name, false), errors);
    if !spec.str("nodeName").is_empty() {
        errors.push(field::forbidden(path, "may not be set on pods that are already bound to a node"));
    }
}

fn claims(status: &Map, spec: &Map, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, claim) in status.maps("resourceClaimStatuses").enumerate() {
        let (path, name) = (path.index(at), claim.str("name"));
        if !spec.maps("resourceClaims").any(|wanted| wanted.str("name") == name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(field::invalid(&path.child("name"), name, why));
        }
        if seen.contains(&name) {
            errors.push(field::duplicate(&path.child("name"), name));
        }
        seen.push(name);
        if let Some(made) = claim.get("resourceClaimName").and_then(Value::as_str) {
            common::each(&path.child("resourceClaimName"), made, names::name_is_dns_subdomain(made, false), errors);
        }
    }
}

fn extended_claim(status: &Map, spec: &Map, path: &Path, errors: &mut Errors) {
    let Some(claim) = status.map("extendedResourceClaimStatus") else { return };
    let list = path.child("requestMappings");
    if claim.list("requestMappings").is_empty() {
        errors.push(field::required(&list, "at least one request mapping is required"));
    }
    let mut seen: Vec<[&str; 3]> = Vec::new();
    for (at, mapping) in claim.maps("requestMappings").enumerate() {
        let at = list.index(at);
        let fields = ["containerName", "resourceName", "requestName"];
        let key @ [container, resource, request] = fields.map(|name| mapping.str(name));
        let mut all = spec.maps("containers").chain(spec.maps("initContainers"));
        match all.find(|other| other.str("name") == container) {
            None => {
                let why = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(field::invalid(&at.child("containerName"), container, why));
            }
            Some(found) if found.value_at(&["resources", "requests", resource]).is_none() => {
                let why = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(field::invalid(&at.child("resourceName"), resource, why));
            }
            Some(_) => {}
        }
        common::dns_label(request, &path.child("requestName"), errors);
        if seen.contains(&key) {
            errors.extend(fields.iter().zip(key).map(|(name, value)| field::duplicate(&at.child(name), value)));
        }
        seen.push(key);
    }
    let name = claim.str("resourceClaimName");
    let at = path.child("resourceClaimName");
    if name.is_empty() {
        errors.push(field::required(&at, ""));
    } else {
        common::each(&at, name, names::name_is_dns_subdomain(name, false), errors);
    }
}

fn texts<'a>(status: &'a Map, list: &str) -> Vec<&'a str> {
    status.maps(list).map(|entry| entry.str("ip")).collect()
}

/// Addresses that are new must be in order; old ones may stay as they are.
fn ips(all: &[&str], old: &[&str], path: &Path, errors: &mut Errors) {
    for (at, ip) in all.iter().enumerate().filter(|(_, ip)| !old.contains(ip)) {
        common::each(&path.index(at), ip, names::is_valid_ip_for_legacy_field(ip), errors);
    }
    if all.len() < 2 {
        return;
    }
    let parsed: Vec<Option<IpAddr>> = all.iter().map(|ip| names::parse_ip_sloppy(ip)).collect();
    let family = |v4: bool| parsed.iter().flatten().any(|ip| ip.is_ipv4() == v4);
    if all.len() > 2 || !family(true) || !family(false) {
        let entries: Vec<String> = all.iter().map(|ip| format!("{{\"IP\":{}}}", field::go_quote(ip))).collect();
        let why = "may specify no more than one IP for each IP family";
        errors.push(field::invalid(path, Plain(format!("[{}]", entries.join(","))), why));
    }
}

fn pod_ips(status: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    let all = texts(status, "podIPs");
    ips(&all, &texts(was, "podIPs"), path, errors);
    let ip = status.str("podIP");
    match all.first() {
        Some(first) if !ip.is_empty() && ip != *first => {
            errors.push(field::invalid(&path.index(0).child("ip"), *first, "must be equal to `podIP`"));
        }
        first if first.is_some() == ip.is_empty() => {
            let shown = if first.is_some() { status.get("podIPs").cloned().unwrap_or_default() } else { Value::Null };
            let why = "podIP and podIPs must either both be set or both be unset";
            errors.push(field::invalid(path, shown, why));
        }
        _ => {}
    }
}

fn host_ips(status: &Map, was: &Map, path: &Path, errors: &mut Errors) {
    let all = texts(status, "hostIPs");
    let Some(first) = all.first() else { return };
    if status.str("hostIP") != *first {
        errors.push(field::invalid(&path.index(0).child("ip"), *first, "must be equal to `hostIP`"));
    }
    ips(&all, &texts(was, "hostIPs"), path, errors);
}
