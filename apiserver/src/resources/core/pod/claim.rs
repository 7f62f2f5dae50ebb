//! The spec of a claim for storage, as ephemeral volumes and stateful sets carry it
//! (pkg/apis/core/validation/validation.go@v1.37.2: ValidatePersistentVolumeClaimTemplate,
//! ValidatePersistentVolumeClaimSpec).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::resources;
use crate::resources::common;
use crate::resources::common::internal::Plain;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const ONCE_POD: &str = "ReadWriteOncePod";

pub(super) fn template(template: &Map, path: &Path, errors: &mut Errors) {
    let meta = template.map("metadata").unwrap_or(Map::EMPTY);
    template_meta(meta, &path.child("metadata"), errors);
    spec(template.map("spec").unwrap_or(Map::EMPTY), &path.child("spec"), errors);
}

/// ValidateTemplateObjectMeta: labels and annotations, nothing else.
pub(crate) fn template_meta(meta: &Map, path: &Path, errors: &mut Errors) {
    crate::rest::metadata::validate_annotations(meta.map("annotations"), &path.child("annotations"), errors);
    crate::rest::metadata::validate_labels(meta.map("labels"), &path.child("labels"), errors);
    // A zero behind a pointer and a list without items are set.
    let is_set = |name: &str, value: &Value| {
        let is_nilable = api::facts::object_meta().field(name).is_some_and(|field| field.nilable);
        !value.is_zero() || is_nilable && !value.is_null()
    };
    for (name, value) in meta.iter() {
        if !matches!(name.as_str(), "annotations" | "labels") && is_set(name, value) {
            // Upstream makes the path of the Go name, whose first letter alone it lowers.
            let name = if name == "uid" { "uID" } else { name.as_str() };
            errors.push(field::forbidden(&path.child(name), "cannot be set"));
        }
    }
}

/// What an old claim had that a new one may not have, so that its successor keeps it
/// (ValidationOptionsForPersistentVolumeClaim).
#[derive(Clone, Copy, Default)]
struct Kept {
    any_group: bool,
    any_selector_value: bool,
}

pub(crate) fn spec(spec: &Map, path: &Path, errors: &mut Errors) {
    checked(spec, Kept::default(), path, errors);
}

/// As [`spec`], for what becomes of the claim of `old`.
pub(crate) fn changed_spec(spec: &Map, old: &Map, path: &Path, errors: &mut Errors) {
    let mut of_selector = Errors::new();
    common::label_selector(old.map("selector"), false, path, &mut of_selector);
    let names_group = |name: &str| old.map(name).is_some_and(|source| source.contains("apiGroup"));
    let any_group = names_group("dataSource") || names_group("dataSourceRef");
    checked(spec, Kept { any_group, any_selector_value: !of_selector.is_empty() }, path, errors);
}

fn checked(spec: &Map, kept: Kept, path: &Path, errors: &mut Errors) {
    let at_modes = path.child("accessModes");
    some_mode(spec, "at least 1 access mode is required", &at_modes, errors);
    common::label_selector(spec.map("selector"), kept.any_selector_value, &path.child("selector"), errors);
    known_modes(spec, &at_modes, errors);
    let storage = path.child("resources").key("storage");
    match spec.value_at(&["resources", "requests", "storage"]).and_then(common::quantity) {
        None => errors.push(field::required(&storage, "")),
        Some(quantity) if quantity.sign() <= 0 => {
            errors.push(field::invalid(&storage, quantity.to_string(), "must be greater than zero"));
        }
        Some(quantity) => resources::quantity_value("storage", &quantity, &storage, errors),
    }
    class_name(spec, "storageClassName", path, errors);
    common::one_of(spec, "volumeMode", &["Block", "Filesystem"], path, errors);
    sources(spec, kept.any_group, path, errors);
    class_name(spec, "volumeAttributesClassName", path, errors);
}

fn class_name(spec: &Map, name: &str, path: &Path, errors: &mut Errors) {
    let class = spec.str(name);
    if !class.is_empty() {
        common::each(&path.child(name), class, names::name_is_dns_subdomain(class, false), errors);
    }
}

/// Access modes; `why` is said when there is none.
pub(crate) fn modes(spec: &Map, why: &str, path: &Path, errors: &mut Errors) {
    some_mode(spec, why, path, errors);
    known_modes(spec, path, errors);
}

fn some_mode(spec: &Map, why: &str, path: &Path, errors: &mut Errors) {
    if spec.list("accessModes").is_empty() {
        errors.push(field::required(path, why));
    }
}

fn known_modes(spec: &Map, path: &Path, errors: &mut Errors) {
    let modes: Vec<&str> = spec.list("accessModes").iter().filter_map(Value::as_str).collect();
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(field::not_supported(path, *mode, &ACCESS_MODES));
    }
    let others = modes.iter().any(|mode| *mode != ONCE_POD && ACCESS_MODES.contains(mode));
    if others && modes.contains(&ONCE_POD) {
        errors.push(field::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn sources(spec: &Map, any_group: bool, path: &Path, errors: &mut Errors) {
    let (source, reference) = (spec.map("dataSource"), spec.map("dataSourceRef"));
    for (name, source) in [("dataSource", source), ("dataSourceRef", reference)] {
        if let Some(source) = source {
            self::source(source, any_group, &path.child(name), errors);
        }
    }
    let Some(reference) = reference else { return };
    let other_namespace = !reference.str("namespace").is_empty();
    let Some(source) = source else { return };
    // Upstream shows a path where the value should be, which as JSON is an empty object.
    let shown = || Plain("{}".to_string());
    if other_namespace {
        errors.push(field::invalid(path, shown(), "may not be specified when dataSourceRef.namespace is specified"));
    } else if ["apiGroup", "kind", "name"].iter().any(|name| source.get(name) != reference.get(name)) {
        errors.push(field::invalid(path, shown(), "must match dataSourceRef"));
    }
}

fn source(source: &Map, any_group: bool, path: &Path, errors: &mut Errors) {
    common::required(source, "name", path, errors);
    common::required(source, "kind", path, errors);
    let (group, kind) = (source.str("apiGroup"), source.str("kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(field::invalid(path, kind, why));
    }
    if !group.is_empty() && !any_group {
        common::dns_subdomain(group, &path.child("apiGroup"), errors);
    }
    let namespace = source.str("namespace");
    if !namespace.is_empty() {
        common::dns_label(namespace, &path.child("namespace"), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    fn check(group: &str, old: Option<&str>, want: usize) {
        let claim = |group: &str| {
            map(&format!(
                r#"{{"accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"1Gi"}}}},
                    "dataSource":{{"apiGroup":"{group}","kind":"A","name":"a"}}}}"#
            ))
        };
        let (mut errors, path) = (Errors::new(), Path::new("spec"));
        match old {
            Some(old) => changed_spec(&claim(group), &claim(old), &path, &mut errors),
            None => spec(&claim(group), &path, &mut errors),
        }
        assert_eq!(errors.len(), want, "{group} after {old:?}: {errors:?}");
    }

    #[test]
    fn a_claim_that_names_a_group_may_name_any() {
        check("UPPER", None, 1);
        check("UPPER", Some("a.b"), 0);
        check("a.b", None, 0);
    }

    #[test]
    fn the_selector_is_looked_at_before_the_modes() {
        let claim = map(r#"{"accessModes":["Odd"],"selector":{"matchExpressions":[{"key":"a","operator":"Odd"}]},
                "resources":{"requests":{"storage":"1Gi"}}}"#);
        let mut errors = Errors::new();
        spec(&claim, &Path::new("spec"), &mut errors);
        let fields: Vec<String> = errors.iter().map(|error| error.field.clone()).collect();
        assert_eq!(fields, ["spec.selector.matchExpressions[0].operator", "spec.accessModes"]);
    }
}
