//! storagemigration.k8s.io (pkg/registry/storagemigration/storagemigration/strategy.go,
//! pkg/apis/storagemigration/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::check;
use super::policy::pod_disruption_budget::conditions;
use super::simple::Simple;
use crate::strategy::MetaCheck;

pub(super) const MIGRATION: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    unconditional: false,
    check: checked,
    check_change: |new, old| {
        let mut errors = Errors::new();
        let name = "storagemigration.v1.StorageVersionMigrationSpec";
        check::fixed_struct(&Path::new("spec"), new.get("spec"), old.get("spec"), name, &mut errors);
        errors
    },
    check_status: status,
    ..Simple::OWN_STATUS
};

fn checked(migration: &Map) -> Errors {
    let mut errors = Errors::new();
    let resource = migration.at(&["spec", "resource"]).unwrap_or(Map::EMPTY);
    let path = Path::new("spec").child("resource");
    let [name, group] = ["resource", "group"].map(|name| resource.str(name));
    let mut joined = |field: &str, value: &str, wrong: Vec<String>| {
        if !wrong.is_empty() {
            errors.push(field::invalid(&path.child(field), value, wrong.join(",")));
        }
    };
    if !name.is_empty() {
        joined("resource", name, names::is_dns1035_label(name));
    }
    if !group.is_empty() {
        joined("group", group, names::is_dns1123_subdomain(group));
    }
    if name.is_empty() {
        errors.insert(0, field::required(&path.child("resource"), "resource is required to be set"));
    }
    errors
}

fn is(migration: &Map, kind: &str) -> bool {
    let conditions = migration.map("status").into_iter().flat_map(|status| status.maps("conditions"));
    conditions.into_iter().find(|one| one.str("type") == kind).is_some_and(|one| one.str("status") == "True")
}

/// A positive number without leading zeros.
fn is_version(text: &str) -> bool {
    !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn status(migration: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let (status, path) = (migration.map("status").unwrap_or(Map::EMPTY), Path::new("status"));
    let version = status.str("resourceVersion");
    let at = path.child("resourceVersion");
    if !is_version(version) {
        errors.push(field::invalid(&at, version, format!("resource version is not well formed: {version}")));
    }
    let path = path.child("conditions");
    conditions(status, &path, &mut errors);
    let was = old.map("status").map_or("", |status| status.str("resourceVersion"));
    if !was.is_empty() && was != version {
        errors.push(field::invalid(&at, version, super::common::IMMUTABLE));
    }
    let [succeeded, failed] = ["Succeeded", "Failed"].map(|kind| is(migration, kind));
    let wrong = [
        (succeeded && failed, "Both success and failed conditions cannot be true at the same time"),
        (is(old, "Succeeded") && !succeeded, "Success condition cannot be set to false once it is true"),
        (is(old, "Failed") && !failed, "Failed condition cannot be set to false once it is true"),
    ];
    for (_, why) in wrong.iter().filter(|wrong| wrong.0) {
        let shown = status.get("conditions").cloned().unwrap_or(Value::Null);
        errors.push(field::invalid(&path, shown, why));
    }
    errors
}
