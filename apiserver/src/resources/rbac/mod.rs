//! rbac.authorization.k8s.io: roles and bindings (pkg/registry/rbac, pkg/apis/rbac/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::check;
use super::simple::Simple;
use crate::strategy::MetaCheck;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Any path segment is a name, and PUT may create.
const BASE: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    creates: true,
    deletes_unread: false,
    name: |name, _| names::is_path_segment_name(name),
    ..Simple::BASE
};

pub(super) const CLUSTER_ROLE: Simple = Simple { check: |role| rules(role, false), ..BASE };
pub(super) const ROLE: Simple = Simple { check: |role| rules(role, true), ..BASE };
pub(super) const CLUSTER_ROLE_BINDING: Simple = Simple {
    default: default_binding,
    check: |b| binding(b, &["ClusterRole"], false),
    check_change: same_role,
    ..BASE
};
pub(super) const ROLE_BINDING: Simple = Simple {
    default: default_binding,
    check: |b| binding(b, &["Role", "ClusterRole"], true),
    check_change: same_role,
    ..BASE
};

fn rules(role: &Map, namespaced: bool) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("rules");
    for (at, rule) in role.maps("rules").enumerate() {
        one_rule(rule, namespaced, &path.index(at), &mut errors);
    }
    if let Some(aggregation) = role.map("aggregationRule") {
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        if aggregation.list("clusterRoleSelectors").is_empty() {
            let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(field::required(&path, why));
        }
        for (at, selector) in aggregation.maps("clusterRoleSelectors").enumerate() {
            let wrong = check::label_selector(Some(selector), &path.index(at));
            let broken = !wrong.is_empty();
            errors.extend(wrong);
            if broken {
                errors.push(field::invalid(&path.index(at), Value::Null, "invalid label selector."));
            }
        }
    }
    errors
}

fn one_rule(rule: &Map, namespaced: bool, path: &Path, errors: &mut Errors) {
    let urls = rule.list("nonResourceURLs");
    if !urls.is_empty() {
        let path = path.child("nonResourceURLs");
        let shown = || Value::List(urls.to_vec());
        if namespaced {
            errors.push(field::invalid(&path, shown(), "namespaced rules cannot apply to non-resource URLs"));
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|name| !rule.list(name).is_empty()) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(field::invalid(&path, shown(), why));
        }
        return;
    }
    for (name, words) in [("apiGroups", "api group"), ("resources", "resource")] {
        if rule.list(name).is_empty() {
            let why = format!("resource rules must supply at least one {words}");
            errors.push(field::required(&path.child(name), why));
        }
    }
}

fn default_binding(object: &mut Map) {
    check::set_absent(object.map_mut("roleRef"), "apiGroup", GROUP);
    if object.list("subjects").is_empty() {
        return;
    }
    for subject in object.maps_mut("subjects") {
        if matches!(subject.str("kind"), "User" | "Group") {
            check::set_absent(subject, "apiGroup", GROUP);
        }
    }
}

fn binding(object: &Map, kinds: &[&str], namespaced: bool) -> Errors {
    let mut errors = Errors::new();
    let (role, path) = (object.map("roleRef").unwrap_or(Map::EMPTY), Path::new("roleRef"));
    if role.str("apiGroup") != GROUP {
        errors.push(field::not_supported(&path.child("apiGroup"), role.str("apiGroup"), &[GROUP]));
    }
    if !kinds.contains(&role.str("kind")) {
        errors.push(field::not_supported(&path.child("kind"), role.str("kind"), kinds));
    }
    let name = role.str("name");
    if name.is_empty() {
        errors.push(field::required(&path.child("name"), ""));
    } else {
        errors.extend(check::said(&path.child("name"), name, &names::is_path_segment_name(name)));
    }
    let path = Path::new("subjects");
    for (at, subject) in object.maps("subjects").enumerate() {
        one_subject(subject, namespaced, &path.index(at), &mut errors);
    }
    errors
}

fn one_subject(subject: &Map, namespaced: bool, path: &Path, errors: &mut Errors) {
    let (name, group) = (subject.str("name"), subject.str("apiGroup"));
    if name.is_empty() {
        errors.push(field::required(&path.child("name"), ""));
    }
    match subject.str("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.extend(check::said(&path.child("name"), name, &names::name_is_dns_subdomain(name, false)));
            }
            if !group.is_empty() {
                errors.push(field::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && subject.str("namespace").is_empty() {
                errors.push(field::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(field::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(field::not_supported(&path.child("kind"), other, &kinds));
        }
    }
}

/// A binding is to one role for good.
fn same_role(object: &Map, old: &Map) -> Errors {
    let role = |object: &Map| object.map("roleRef").cloned().unwrap_or_default();
    if role(object) == role(old) {
        return Errors::new();
    }
    let role = role(object);
    let shown =
        api::map! { "APIGroup" => role.str("apiGroup"), "Kind" => role.str("kind"), "Name" => role.str("name") };
    vec![field::invalid(&Path::new("roleRef"), Value::Map(shown), super::common::IMMUTABLE)]
}
