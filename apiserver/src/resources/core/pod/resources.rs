//! Compute resources of containers and pods (pkg/apis/core/validation/validation.go@v1.37.2:
//! validateResourceRequirements, validatePodResources; pkg/apis/core/helper/helpers.go,
//! k8s.io/component-helpers/resource/helpers.go).

use std::collections::BTreeMap;

use api::field::{self, Errors, Kind, Path};
use api::names;
use api::quantity::{Format, Quantity};
use api::value::{Map, Value};

use super::options::Options;
use super::security;
use crate::resources::common;

const HUGE_PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";
const POD_LEVEL: [&str; 3] = ["cpu", "hugepages-", "memory"];
const CONTAINER_STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const STANDARD: [&str; 20] = [
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
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Amounts by resource name.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Named by Kubernetes, not by a device plugin or an administrator.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with(REQUESTS) && names::is_qualified_name(&format!("{REQUESTS}{name}")).is_empty()
}

pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

pub(crate) fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// validateResourceName; false when there was an error.
pub(crate) fn resource_name(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let wrong = names::is_qualified_name(name);
    if !wrong.is_empty() {
        common::each(path, name, wrong, errors);
        return false;
    }
    if !name.contains('/') && !is_standard(name) {
        errors.push(field::invalid(path, name, "must be a standard resource type or fully qualified"));
        return false;
    }
    true
}

/// ValidateContainerResourceName.
pub(crate) fn container_resource_name(name: &str, path: &Path, errors: &mut Errors) {
    resource_name(name, path, errors);
    if !name.contains('/') {
        if !CONTAINER_STANDARD.contains(&name) && !is_huge_page(name) {
            errors.push(field::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(field::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

fn pod_resource_name(name: &str, path: &Path, errors: &mut Errors) {
    if resource_name(name, path, errors) && !is_pod_level(name) {
        errors.push(field::not_supported(path, name, &POD_LEVEL));
    }
}

/// ValidateResourceQuantityValue.
pub(crate) fn quantity_value(name: &str, quantity: &Quantity, path: &Path, errors: &mut Errors) {
    if quantity.sign() < 0 {
        errors.push(field::invalid(path, quantity.to_string(), common::NEGATIVE));
    }
    if (COUNTED.contains(&name) || is_extended(name)) && quantity.milli_value() % 1000 != 0 {
        errors.push(field::invalid(path, quantity.to_string(), "must be an integer"));
    }
}

fn is_divisible(name: &str, quantity: &Quantity) -> bool {
    let size = name.strip_prefix(HUGE_PAGES).and_then(|size| Quantity::parse(size).ok());
    size.is_some_and(|size| size.sign() > 0 && size.milli_value() % 1000 == 0 && quantity.value() % size.value() == 0)
}

fn huge_pages(name: &str, quantity: &Quantity, path: &Path, options: &Options, errors: &mut Errors) {
    if is_huge_page(name) && !options.any_huge_page_size && !is_divisible(name, quantity) {
        let why = format!("{quantity} is not positive integer multiple of {name}");
        errors.push(field::invalid(path, quantity.to_string(), why));
    }
}

pub(super) fn has_indivisible_pages(container: &Map) -> bool {
    ["limits", "requests"].iter().any(|part| {
        amounts(container.map("resources"), part).iter().any(|(name, q)| is_huge_page(name) && !is_divisible(name, q))
    })
}

/// The amounts in `limits` or `requests`.
pub(crate) fn amounts(resources: Option<&Map>, part: &str) -> Amounts {
    let list = resources.and_then(|resources| resources.map(part)).into_iter().flat_map(Map::iter);
    list.filter_map(|(name, value)| Some((name.to_string(), common::quantity(value)?))).collect()
}

/// Requirements of a container (or, with only limits, an overhead).
pub(crate) fn container(resources: &Map, claims: &[&str], path: &Path, options: &Options, errors: &mut Errors) {
    requirements(resources, container_resource_name, claims, path, options, errors);
}

fn requirements(
    resources: &Map,
    name_rule: fn(&str, &Path, &mut Errors),
    claims: &[&str],
    path: &Path,
    options: &Options,
    errors: &mut Errors,
) {
    let (limits, requests) = (amounts(Some(resources), "limits"), amounts(Some(resources), "requests"));
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    for (name, quantity) in &limits {
        let at = limits_path.key(name);
        name_rule(name, &at, errors);
        quantity_value(name, quantity, &at, errors);
        huge_pages(name, quantity, &at, options, errors);
    }
    for (name, quantity) in &requests {
        let at = requests_path.key(name);
        name_rule(name, &at, errors);
        quantity_value(name, quantity, &at, errors);
        match limits.get(name) {
            Some(limit) if quantity != limit && !may_overcommit(name) => {
                let why = format!("must be equal to {name} limit of {limit}");
                errors.push(field::invalid(&requests_path, quantity.to_string(), why));
            }
            Some(limit) if quantity > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(field::invalid(&requests_path, quantity.to_string(), why));
            }
            None if !may_overcommit(name) => {
                errors.push(field::required(&limits_path, "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
        huge_pages(name, quantity, &at, options, errors);
    }
    let mut all = limits.keys().chain(requests.keys());
    let computes = limits.keys().chain(requests.keys()).any(|name| name == "cpu" || name == "memory");
    if !computes && all.any(|name| is_huge_page(name)) {
        errors.push(field::forbidden(path, "HugePages require cpu or memory"));
    }
    claim_names(resources, claims, &path.child("claims"), errors);
}

fn claim_names(resources: &Map, claims: &[&str], path: &Path, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for (at, claim) in resources.maps("claims").enumerate() {
        let at = path.index(at);
        let (name, request) = (claim.str("name"), claim.str("request"));
        if name.is_empty() {
            errors.push(field::required(&at, ""));
            continue;
        }
        if seen.iter().any(|key| key == name) {
            errors.push(field::duplicate(&at, name));
        } else {
            let mut key = name.to_string();
            if !request.is_empty() {
                common::dns_label(request, &at.child("request"), errors);
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errors.push(field::duplicate(&at, key.as_str()));
            } else if request.is_empty() {
                let of_claim = seen.iter().filter(|key| key.split_once('/').is_some_and(|(claim, _)| claim == name));
                errors.extend(of_claim.map(|_| field::duplicate(&at, name)));
            }
            seen.push(key);
        }
        if !claims.contains(&name) {
            errors.push(unknown_claim(&at, name, claims));
        }
    }
}

fn unknown_claim(path: &Path, name: &str, claims: &[&str]) -> field::Error {
    let known = if claims.is_empty() { " which is empty".to_string() } else { format!(": {}", claims.join(", ")) };
    let body =
        format!("Not found: {}: must be one of the names in pod.spec.resourceClaims{known}", field::go_quote(name));
    field::Error { kind: Kind::NotFound, field: path.to_string(), body }
}

/// validatePodResources.
pub(super) fn pod(spec: &Map, claims: &[&str], path: &Path, options: &Options, errors: &mut Errors) {
    let Some(resources) = spec.map("resources") else { return };
    let path = path.child("resources");
    if security::is_windows(spec) {
        errors.push(field::forbidden(&path, "may not be set for a windows pod"));
        return;
    }
    if resources.contains("claims") {
        errors.push(field::forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level"));
    }
    requirements(resources, pod_resource_name, claims, &path, options, errors);
    consistency(spec, resources, &path, errors);
}

fn consistency(spec: &Map, resources: &Map, path: &Path, errors: &mut Errors) {
    let (limits, requests) = (amounts(Some(resources), "limits"), amounts(Some(resources), "requests"));
    for (name, needed) in &aggregate(spec, "requests") {
        if let Some(request) = requests.get(name).filter(|request| needed > *request) {
            let why = format!("must be greater than or equal to aggregate container requests of {needed}");
            errors.push(field::invalid(&path.child("requests").key(name), request.to_string(), why));
        }
    }
    for (name, needed) in aggregate(spec, "limits").iter().filter(|(name, _)| is_huge_page(name)) {
        if let Some(limit) = limits.get(name).filter(|limit| needed > *limit) {
            let why = format!("must be greater than or equal to aggregate container limits of {needed}");
            errors.push(field::invalid(&path.child("limits").key(name), limit.to_string(), why));
        }
    }
    for (at, container) in spec.maps("containers").enumerate() {
        for (name, own) in &amounts(container.map("resources"), "limits") {
            if let Some(limit) = limits.get(name).filter(|limit| own > *limit) {
                let at = path.child("containers").index(at).key(name).child("limits");
                let why = format!("must be less than or equal to pod limits of {limit}");
                errors.push(field::invalid(&at, own.to_string(), why));
            }
        }
    }
}

pub(crate) fn add(total: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        match total.get_mut(name) {
            Some(sum) => sum.add(quantity),
            None => drop(total.insert(name.clone(), quantity.clone())),
        }
    }
}

/// Raises `total` to at least `other`.
pub(crate) fn raise(total: &mut Amounts, other: &Amounts) {
    for (name, quantity) in other {
        if total.get(name).is_none_or(|most| quantity > most) {
            total.insert(name.clone(), quantity.clone());
        }
    }
}

/// What the containers need together: those that run at the same time are added up, of those that run
/// one after the other the greatest counts.
pub(crate) fn aggregate(spec: &Map, part: &str) -> Amounts {
    let mut total = Amounts::new();
    for container in spec.maps("containers") {
        add(&mut total, &amounts(container.map("resources"), part));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for container in spec.maps("initContainers") {
        let mut own = amounts(container.map("resources"), part);
        if container.str("restartPolicy") == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut init, &own);
    }
    raise(&mut total, &init);
    total
}

/// Resources of the pod as a whole that follow from what is said (DefaultPodLevelResources).
pub(super) fn default_pod_level(spec: &mut Map) {
    let Some(resources) = spec.map("resources") else { return };
    let (mut limits, mut requests) = (amounts(Some(resources), "limits"), amounts(Some(resources), "requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let needed = aggregate(spec, "limits");
    for (name, amount) in needed.iter().filter(|(name, _)| is_huge_page(name) && !requests.contains_key(*name)) {
        limits.entry(name.clone()).or_insert_with(|| amount.clone());
    }
    for (name, amount) in aggregate(spec, "requests") {
        if is_pod_level(&name) && may_overcommit(&name) {
            requests.entry(name).or_insert(amount);
        }
    }
    for (name, limit) in limits.iter().filter(|(name, _)| is_pod_level(name)) {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    let limited = |name: &str| {
        super::containers_of(spec).all(|(_, _, c)| c.at(&["resources", "limits"]).is_some_and(|l| l.contains(name)))
    };
    let candidates = requests.iter().filter(|(name, _)| is_pod_level(name) && !limits.contains_key(*name));
    let more: Vec<(String, Quantity)> = candidates
        .filter(|(name, _)| limited(name))
        .filter_map(|(name, request)| Some((name.clone(), needed.get(name)?.clone().max(request.clone()))))
        .collect();
    limits.extend(more);
    let resources = spec.map_mut("resources");
    for (part, amounts) in [("limits", limits), ("requests", requests)] {
        if !amounts.is_empty() {
            resources.set(part, list(&amounts));
        }
    }
    resources.sort_by_key(|name| ["limits", "requests", "claims"].iter().position(|part| *part == name));
}

fn list(amounts: &Amounts) -> Map {
    amounts.iter().map(|(name, quantity)| (name.as_str().into(), Value::from(quantity.to_string()))).collect()
}

/// As [`round_up`] for the amounts at a path, if there are any.
pub(crate) fn round_up_at(object: &mut Map, path: &[&str]) {
    match path {
        [] => round_up(object),
        [first, rest @ ..] => {
            if let Some(inner) = object.get_mut(first).and_then(Value::as_map_mut) {
                round_up_at(inner, rest);
            }
        }
    }
}

/// Amounts are kept in thousandths; finer ones are rounded up (SetDefaults_ResourceList).
pub(crate) fn round_up(list: &mut Map) {
    for (_, value) in list.iter_mut() {
        let Some(quantity) = common::quantity(value) else { continue };
        let nanos = quantity.as_nanos();
        // An amount that has no billionths, for it is too large, is whole.
        if !matches!(nanos, i128::MIN | i128::MAX) && nanos % 1_000_000 != 0 {
            let milli = i64::try_from(nanos.div_euclid(1_000_000) + 1).unwrap_or(i64::MAX);
            let format = if quantity.format() == Format::BinarySI { Format::DecimalSI } else { quantity.format() };
            *value = Value::from(Quantity::from_milli(milli, format).to_string());
        }
    }
}
