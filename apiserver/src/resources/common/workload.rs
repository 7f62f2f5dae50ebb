//! Kinds that make pods from a template: what they do alike (pkg/registry/apps/*/strategy.go,
//! pkg/apis/apps/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::internal::{self, Plain};
use crate::resources::common;
use crate::resources::core::pod::options::Options;
use crate::resources::core::pod::{defaults, prepare, spec, warnings};

/// Where most kinds keep their template.
pub(crate) const TEMPLATE: [&str; 2] = ["spec", "template"];

/// The template of an object.
pub(crate) fn template<'o>(object: &'o Map, at: &[&str]) -> &'o Map {
    object.at(at).unwrap_or(Map::EMPTY)
}

pub(crate) fn spec_of(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

pub(crate) fn status_of(object: &Map) -> &Map {
    object.map("status").unwrap_or(Map::EMPTY)
}

/// The template, to change; made where the object has none.
pub(crate) fn template_mut<'o>(object: &'o mut Map, at: &[&str]) -> &'o mut Map {
    at.iter().fold(object, |map, name| map.map_mut(name))
}

pub(crate) fn path(at: &[&str]) -> Path {
    at.iter().fold(Path::default(), |path, name| path.child(name))
}

pub(crate) fn default_template(object: &mut Map, at: &[&str]) {
    defaults::pod_spec(template_mut(object, at).map_mut("spec"));
}

/// Drops what is behind gates that are off and not in the old object's template either.
pub(crate) fn prepare(object: &mut Map, old: Option<&Map>, at: &[&str]) {
    if object.at(at).is_some() {
        prepare::drop_gated(template_mut(object, at), old.and_then(|old| old.at(at)));
    }
}

/// Warnings on create and, when the generation went up, on update.
pub(crate) fn warnings(object: &Map, old: Option<&Map>, at: &[&str]) -> Vec<String> {
    if old.is_some_and(|old| old.generation() == object.generation()) {
        return Vec::new();
    }
    warnings::of(template(object, at), &path(at))
}

/// On create, a name that pods cannot have as a host name is worth a word.
pub(crate) fn name_advice(object: &Map, old: Option<&Map>) -> Option<String> {
    match old {
        None => common::host_name_advice(object.name(), "Pod names and hostnames"),
        Some(_) => None,
    }
}

/// A selector must be there, say something, and match the pods that the template makes.
/// `kind` is how upstream calls the kind in its error about empty selectors.
pub(crate) fn selector(spec: &Map, path: &Path, kind: &str, why_broken: &str, errors: &mut Errors) -> bool {
    let at = path.child("selector");
    match spec.map("selector") {
        None => errors.push(field::required(&at, "")),
        Some(selector) => {
            common::label_selector(Some(selector), false, &at, errors);
            if common::is_empty_selector(selector) {
                let why = format!("empty selector is invalid for {kind}");
                errors.push(field::invalid(&at, Value::Map(selector.clone()), why));
            }
        }
    }
    let broken = common::selector(spec.map("selector")).is_none();
    if broken {
        errors.push(field::invalid(&at, spec.get("selector").cloned().unwrap_or_default(), why_broken));
    }
    !broken
}

/// The template's labels match the selector.
pub(crate) fn matches_template(spec: &Map, template: &Map, path: &Path, errors: &mut Errors) {
    let Some(selector) = common::selector(spec.map("selector")) else { return };
    let labels = template.map("metadata").and_then(|meta| meta.map("labels"));
    if !selector.is_empty() && !common::matches(&selector, labels) {
        let at = path.child("metadata").child("labels");
        errors.push(field::invalid(&at, common::labels_shown(template), "`selector` does not match template `labels`"));
    }
}

/// Pods that are always restarted and have no deadline.
pub(crate) fn always_restarted(template: &Map, path: &Path, kind: &str, errors: &mut Errors) {
    let (spec, path) = (spec_of(template), path.child("spec"));
    if spec.str("restartPolicy") != "Always" {
        let at = path.child("restartPolicy");
        errors.push(field::not_supported(&at, spec.str("restartPolicy"), &["Always"]));
    }
    if spec.contains("activeDeadlineSeconds") {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(field::forbidden(&path.child("activeDeadlineSeconds"), why));
    }
}

/// ValidatePodTemplateSpecForReplicaSet and the selector before it.
pub(crate) fn replicated(object: &Map, old: Option<&Map>, errors: &mut Errors) {
    let spec = spec_of(object);
    let path = Path::new("spec");
    if !selector(spec, &path, "deployment", "invalid label selector", errors) {
        return;
    }
    let (template, path) = (template(object, &TEMPLATE), path.child("template"));
    matches_template(spec, template, &path, errors);
    let options = Options::template(old.map(|old| self::template(old, &TEMPLATE)));
    spec::template(template, &path, &options, errors);
    always_restarted(template, &path, "ReplicaSet", errors);
}

/// Percent and count of a rolling update.
pub(crate) fn rolling(rolling: &Map, fields: &[&str], path: &Path, errors: &mut Errors) {
    for name in fields {
        if let Some(value) = rolling.get(name) {
            common::int_or_percent(value, &path.child(name), errors);
        }
    }
}

/// A struct as upstream's internal type shows it.
pub(crate) fn shown(map: Option<&Map>, name: &str) -> Plain {
    Plain(internal::shown(map.unwrap_or(Map::EMPTY), name))
}

/// Names of one label each, as pods of a stateful set carry them.
pub(crate) fn label_name(name: &str, prefix: bool) -> Vec<String> {
    names::name_is_dns_label(name, prefix)
}
