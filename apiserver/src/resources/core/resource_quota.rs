//! ResourceQuota (pkg/registry/core/resourcequota/strategy.go,
//! pkg/apis/core/validation/validation.go@v1.37.2: ValidateResourceQuota).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use super::pod::resources;
use crate::resources::check;
use crate::resources::common;
use crate::resources::common::internal;
use crate::resources::common::internal::Plain;
use crate::resources::simple::Simple;

pub(in crate::resources) const RESOURCE_QUOTA: Simple = Simple {
    returns_deleted: true,
    default: |object| {
        for list in [["spec", "hard"], ["status", "hard"], ["status", "used"]] {
            resources::round_up_at(object, &list);
        }
    },
    check: |object| {
        let mut errors = Errors::new();
        spec(object.map("spec").unwrap_or(Map::EMPTY), &mut errors);
        errors
    },
    check_change,
    check_status,
    warn,
    ..Simple::BASE
};

const STANDARD: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const POD_COMPUTE: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || resources::is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// The scope narrows what such a resource counts.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => resource == "pods" || POD_COMPUTE.contains(&resource),
        _ => true,
    }
}

fn list(map: &Map, name: &'static str, path: &Path, errors: &mut Errors) {
    for (resource, value) in map.map(name).into_iter().flat_map(Map::iter) {
        let path = path.child(name).key(resource);
        resources::resource_name(resource, &path, errors);
        if !resource.contains('/') && !is_standard(resource) {
            errors.push(field::invalid(&path, resource.as_str(), "must be a standard resource for quota"));
        }
        check::amount(resource, value, &path, errors);
    }
}

fn spec(spec: &Map, errors: &mut Errors) {
    let path = Path::new("spec");
    list(spec, "hard", &path, errors);
    let mut hard: Vec<&str> =
        spec.map("hard").into_iter().flat_map(Map::keys).map(|name| name.as_str()).filter(|n| is_standard(n)).collect();
    hard.sort_unstable();
    let unfit = |scope: &str| hard.iter().filter(|name| !fits(scope, name)).count();
    let scopes: Vec<&str> = spec.list("scopes").iter().filter_map(Value::as_str).collect();
    let (at, shown) = (path.child("scopes"), || spec.get("scopes").cloned().unwrap_or_default());
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.push(field::invalid(&at, shown(), "unsupported scope"));
        }
        let unfit = (0..unfit(scope)).map(|_| field::invalid(&at, shown(), "unsupported scope applied to resource"));
        errors.extend(unfit);
    }
    conflicts(&scopes, &at, &shown, errors);
    let Some(selector) = spec.map("scopeSelector") else { return };
    let at = path.child("scopeSelector").child("matchExpressions");
    for requirement in selector.maps("matchExpressions") {
        let scope = requirement.str("scopeName");
        if !SCOPES.contains(&scope) {
            errors.push(field::invalid(&at.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..unfit(scope) {
            let shown = Plain(internal::shown(selector, "core.v1.ScopeSelector"));
            errors.push(field::invalid(&at, shown, "unsupported scope applied to resource"));
        }
        self::requirement(requirement, &at, errors);
    }
    let selected: Vec<&str> = selector.maps("matchExpressions").map(|one| one.str("scopeName")).collect();
    conflicts(&selected, &at, &shown, errors);
}

fn conflicts(scopes: &[&str], path: &Path, shown: &dyn Fn() -> Value, errors: &mut Errors) {
    for _ in CONFLICTS.iter().filter(|pair| pair.iter().all(|scope| scopes.contains(scope))) {
        errors.push(field::invalid(path, shown(), "conflicting scopes"));
    }
}

fn requirement(requirement: &Map, path: &Path, errors: &mut Errors) {
    let (scope, operator, values) =
        (requirement.str("scopeName"), requirement.str("operator"), requirement.list("values"));
    let classes = matches!(scope, "PriorityClass" | "VolumeAttributesClass");
    if SCOPES.contains(&scope) && !classes && operator != "Exists" {
        let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(field::invalid(&path.child("operator"), operator, why));
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(field::required(&path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(field::invalid(&path.child("values"), Value::List(values.to_vec()), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(field::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
}

/// Scopes stay.
fn check_change(object: &Map, old: &Map) -> Errors {
    let scopes = |object: &Map| {
        let list = object.map("spec").map(|spec| spec.list("scopes").to_vec()).unwrap_or_default();
        let mut names: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_string).collect();
        names.sort_unstable();
        names.dedup();
        (names, list)
    };
    let (new, shown) = scopes(object);
    if new == scopes(old).0 {
        return Errors::new();
    }
    let shown = if shown.is_empty() { Value::Null } else { Value::List(shown) };
    vec![field::invalid(&Path::new("spec").child("scopes"), shown, common::IMMUTABLE)]
}

fn check_status(object: &Map, _: &Map) -> Errors {
    let mut errors = Errors::new();
    let status = object.map("status").unwrap_or(Map::EMPTY);
    for name in ["hard", "used"] {
        list(status, name, &Path::new("status"), &mut errors);
    }
    errors
}

/// Requests of more than the limits are worth a word on create.
fn warn(object: &Map, old: Option<&Map>) -> Vec<String> {
    let hard = resources::amounts(object.map("spec").filter(|_| old.is_none()), "hard");
    let mut warnings = Vec::new();
    for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let mut asked = format!("requests.{name}");
        if !hard.contains_key(&asked) && matches!(name, "cpu" | "memory") {
            asked = name.to_string();
        }
        let limited = format!("limits.{name}");
        if let (Some(request), Some(limit)) = (hard.get(&asked), hard.get(&limited))
            && request > limit
        {
            warnings.push(format!("ResourceQuota {asked} ({request}) should be less than {limited} ({limit})"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    #[test]
    fn amounts_are_in_thousandths() {
        let mut quota = map(r#"{"spec":{"hard":{"cpu":"1.0005"}},"status":{"used":{"cpu":"0.0001"}}}"#);
        (RESOURCE_QUOTA.default)(&mut quota);
        assert_eq!(quota, map(r#"{"spec":{"hard":{"cpu":"1001m"}},"status":{"used":{"cpu":"1m"}}}"#));
    }
}
