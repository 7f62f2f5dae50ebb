//! What an object counts for in a quota (pkg/quota/v1/evaluator/core@v1.37.2).

use std::collections::{BTreeMap, BTreeSet};

use api::object::Meta;
use api::quantity::{Format, Quantity};
use api::value::{Map, Value};

use crate::admission::amounts::{self, Part, View};
use crate::admission::{Attributes, Operation};
use crate::resources::common::quantity;
use crate::resources::core::pod::qos;
use crate::resources::core::pod::resources::{Amounts, add, is_extended};

/// Names that kinds counted before `count/` names came.
const ALIASES: &[(&str, &str)] = &[
    ("configmaps", "configmaps"),
    ("resourcequotas", "resourcequotas"),
    ("replicationcontrollers", "replicationcontrollers"),
    ("secrets", "secrets"),
];
const POD_NAMES: &[&str] = &[
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// What each container must name when a quota bounds it.
const MUST_NAME: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const SERVICE_NAMES: &[&str] = &["count/services", "services", "services.nodeports", "services.loadbalancers"];
const CLAIM_NAMES: &[&str] = &["persistentvolumeclaims", "requests.storage"];
const CLASS_INFIX: &str = ".storageclass.storage.k8s.io/";
const DEVICE_CLASS_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";
const IMPLICIT_DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";
const BETA_CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// Devices of a request for all there are (resource.k8s.io: AllocationResultsMaxSize).
const ALL_DEVICES: i64 = 32;

/// True when such a request changes what is used.
pub(super) fn handles(attributes: &Attributes<'_>) -> bool {
    let create = attributes.operation == Operation::Create;
    match (attributes.group, attributes.resource, attributes.subresource) {
        ("", "pods", "") if !create => {
            let terminating = |pod: Option<&Map>| pod.is_some_and(is_terminating);
            terminating(attributes.old) != terminating(attributes.object.as_deref())
        }
        ("", "pods", "resize") => !create,
        ("", "services" | "persistentvolumeclaims", "") | ("resource.k8s.io", "resourceclaims", "") => true,
        ("", "persistentvolumeclaims", "status") => true,
        (_, _, "") => create,
        _ => false,
    }
}

fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") }
}

/// True when the quota resource `name` counts objects of this kind.
pub(super) fn counts(group: &str, resource: &str, name: &str) -> bool {
    match (group, resource) {
        ("", "pods") => {
            let extended = name.strip_prefix("requests.").is_some_and(|rest| {
                (name.contains('/') && !name.contains("kubernetes.io/")) || rest.starts_with(IMPLICIT_DEVICE_CLASS)
            });
            let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
            POD_NAMES.contains(&name) || huge || extended
        }
        ("", "services") => SERVICE_NAMES.contains(&name),
        ("", "persistentvolumeclaims") => {
            let of_class = |plain: &&str| name.strip_suffix(*plain).is_some_and(|rest| rest.ends_with(CLASS_INFIX));
            name == "count/persistentvolumeclaims" || CLAIM_NAMES.contains(&name) || CLAIM_NAMES.iter().any(of_class)
        }
        ("resource.k8s.io", "resourceclaims") => {
            name == count_name(group, resource) || name.ends_with(DEVICE_CLASS_SUFFIX)
        }
        _ => {
            let alias = ALIASES.iter().any(|row| group.is_empty() && row.0 == resource && row.1 == name);
            alias || name == count_name(group, resource)
        }
    }
}

fn number(value: i64) -> Quantity {
    Quantity::from_i64(value, Format::DecimalSI)
}

/// What an object uses.
pub(super) fn of(group: &str, resource: &str, object: &Map, now: jiff::Timestamp) -> Amounts {
    let mut usage = Amounts::from([(count_name(group, resource), number(1))]);
    match (group, resource) {
        ("", "pods") => pod(&mut usage, object, now),
        ("", "services") => service(&mut usage, object),
        ("", "persistentvolumeclaims") => claim(&mut usage, object),
        ("resource.k8s.io", "resourceclaims") => devices(&mut usage, object),
        ("", _) => {
            if let Some(row) = ALIASES.iter().find(|row| row.0 == resource) {
                usage.insert(row.1.into(), number(1));
            }
        }
        _ => {}
    }
    usage
}

/// A pod counts with its resources until it is over, or should be.
fn pod(usage: &mut Amounts, pod: &Map, now: jiff::Timestamp) {
    let over = matches!(pod.map("status").map_or("", |status| status.str("phase")), "Failed" | "Succeeded");
    if over || is_overdue(pod, now) {
        return;
    }
    let requests = amounts::of_pod(pod, Part::Requests, View::Whole);
    let limits = amounts::of_pod(pod, Part::Limits, View::Whole);
    usage.extend(pod_names(&requests, &limits));
}

fn is_overdue(pod: &Map, now: jiff::Timestamp) -> bool {
    let meta = pod.meta();
    let at: Option<jiff::Timestamp> = meta.str("deletionTimestamp").parse().ok();
    match (at, meta.i64("deletionGracePeriodSeconds")) {
        (Some(at), Some(grace)) => now.as_second() > at.as_second().saturating_add(grace),
        _ => false,
    }
}

fn pod_names(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut names = Amounts::from([("pods".to_string(), number(1))]);
    for (name, amount) in requests {
        let native = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
        if native {
            names.insert(name.clone(), amount.clone());
        }
        if native || is_extended(name) || name.starts_with(IMPLICIT_DEVICE_CLASS) {
            names.insert(format!("requests.{name}"), amount.clone());
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            names.insert(format!("limits.{name}"), amount.clone());
        }
    }
    names
}

/// Each container must name what a quota bounds.
pub(super) fn constraints(required: &[&str], pod: &Map) -> Result<(), String> {
    let spec = pod.map("spec").unwrap_or(Map::EMPTY);
    if amounts::has_pod_level(spec) {
        return Ok(());
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in spec.maps("containers").chain(spec.maps("initContainers")) {
        let requests = amounts::of_container(container, Part::Requests);
        let named = pod_names(&requests, &amounts::of_container(container, Part::Limits));
        for name in required.iter().filter(|name| MUST_NAME.contains(name) && !named.contains_key(**name)) {
            missing.entry(name).or_default().insert(container.str("name"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = |containers: &BTreeSet<&str>| containers.iter().copied().collect::<Vec<_>>().join(",");
    let parts: Vec<_> = missing.iter().map(|(name, containers)| format!("{name} for: {}", list(containers))).collect();
    Err(format!("must specify {}", parts.join("; ")))
}

fn service(usage: &mut Amounts, service: &Map) {
    let spec = service.map("spec").unwrap_or(Map::EMPTY);
    let ports = spec.maps("ports").count() as i64;
    let (mut node_ports, mut balancers) = (0, 0);
    match spec.str("type") {
        "NodePort" => node_ports = ports,
        "LoadBalancer" => {
            balancers = 1;
            node_ports = match spec.bool("allocateLoadBalancerNodePorts") {
                Some(false) => spec.maps("ports").filter(|port| port.i64("nodePort").unwrap_or(0) != 0).count() as i64,
                _ => ports,
            };
        }
        _ => {}
    }
    usage.insert("services".into(), number(1));
    usage.insert("services.nodeports".into(), number(node_ports));
    usage.insert("services.loadbalancers".into(), number(balancers));
}

/// The class that a claim asks for, by annotation or field.
pub(in crate::admission) fn class_of(claim: &Map) -> &str {
    match claim.annotation(BETA_CLASS_ANNOTATION) {
        Some(class) => class,
        None => claim.map("spec").map_or("", |spec| spec.str("storageClassName")),
    }
}

fn claim(usage: &mut Amounts, claim: &Map) {
    let class = class_of(claim);
    let mut both = |name: &str, amount: Quantity| {
        if !class.is_empty() {
            usage.insert(format!("{class}{CLASS_INFIX}{name}"), amount.clone());
        }
        usage.insert(name.into(), amount);
    };
    both("persistentvolumeclaims", number(1));
    let asked = claim.value_at(&["spec", "resources", "requests", "storage"]).and_then(quantity);
    let given = claim.value_at(&["status", "allocatedResources", "storage"]).and_then(quantity);
    if let Some(asked) = asked {
        both("requests.storage", given.filter(|given| *given > asked).unwrap_or(asked));
    }
}

fn devices(usage: &mut Amounts, claim: &Map) {
    let count = |request: &Map| match request.str("allocationMode") {
        "ExactCount" => request.i64("count").unwrap_or(0),
        "All" => ALL_DEVICES,
        _ => 0,
    };
    let requests = claim.at(&["spec", "devices"]).into_iter().flat_map(|devices| devices.maps("requests"));
    for request in requests {
        let mut most: BTreeMap<&str, i64> = BTreeMap::new();
        for wanted in request.maps("firstAvailable").chain(request.map("exactly")) {
            let entry = most.entry(wanted.str("deviceClassName")).or_default();
            *entry = count(wanted).max(*entry);
        }
        for (class, devices) in most {
            add(usage, &Amounts::from([(format!("{class}{DEVICE_CLASS_SUFFIX}"), number(devices))]));
        }
    }
}

fn is_terminating(pod: &Map) -> bool {
    pod.map("spec").and_then(|spec| spec.i64("activeDeadlineSeconds")).is_some_and(|seconds| seconds >= 0)
}

/// True when an object is in a scope that a quota names.
pub(super) fn in_scope(
    group: &str,
    resource: &str,
    scope: &str,
    operator: &str,
    values: &[Value],
    object: &Map,
) -> bool {
    let spec = object.map("spec").unwrap_or(Map::EMPTY);
    match (group, resource, scope) {
        ("", "pods", "Terminating") => is_terminating(object),
        ("", "pods", "NotTerminating") => !is_terminating(object),
        ("", "pods", "BestEffort") => qos::class(spec) == "BestEffort",
        ("", "pods", "NotBestEffort") => qos::class(spec) != "BestEffort",
        ("", "pods", "PriorityClass") => selects(operator, values, &[spec.str("priorityClassName")]),
        ("", "pods", "CrossNamespacePodAffinity") => crosses_namespaces(spec),
        ("", "persistentvolumeclaims", "VolumeAttributesClass") => {
            let status = object.map("status").unwrap_or(Map::EMPTY);
            let target = status.map("modifyVolumeStatus").map_or("", |m| m.str("targetVolumeAttributesClassName"));
            let named = [spec.str("volumeAttributesClassName"), status.str("currentVolumeAttributesClassName"), target];
            selects(operator, values, &named)
        }
        _ => false,
    }
}

/// A selector over the names that an object has; "" is none.
fn selects(operator: &str, values: &[Value], named: &[&str]) -> bool {
    let named: Vec<&str> = named.iter().copied().filter(|name| !name.is_empty()).collect();
    let listed = |name: &&str| values.iter().any(|value| value.as_str() == Some(*name));
    match operator {
        "Exists" => !named.is_empty(),
        "DoesNotExist" => named.is_empty(),
        "In" => named.iter().any(listed),
        "NotIn" => named.is_empty() || named.iter().any(|name| !listed(name)),
        _ => false,
    }
}

fn crosses_namespaces(spec: &Map) -> bool {
    let crosses = |term: &Map| !term.list("namespaces").is_empty() || term.contains("namespaceSelector");
    ["podAffinity", "podAntiAffinity"].iter().filter_map(|name| spec.at(&["affinity", name])).any(|affinity| {
        affinity.maps("requiredDuringSchedulingIgnoredDuringExecution").any(crosses)
            || affinity
                .maps("preferredDuringSchedulingIgnoredDuringExecution")
                .filter_map(|weighted| weighted.map("podAffinityTerm"))
                .any(crosses)
    })
}
