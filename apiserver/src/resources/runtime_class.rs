//! node.k8s.io: RuntimeClass (pkg/registry/node/runtimeclass, pkg/apis/node/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;

use super::check::{self, said};
use super::core::pod::resources::container_resource_name;
use super::simple::Simple;

pub(super) const RUNTIME_CLASS: Simple = Simple {
    creates: true,
    unconditional: false,
    check: class,
    check_change: |new, old| {
        let mut errors = Errors::new();
        check::fixed(&Path::new("handler"), new.get("handler"), old.get("handler"), &mut errors);
        errors
    },
    ..Simple::BASE
};

fn class(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("overhead").child("limits");
    for (name, value) in object.at(&["overhead", "podFixed"]).into_iter().flat_map(Map::iter) {
        let path = path.key(name);
        container_resource_name(name, &path, &mut errors);
        check::amount(name, value, &path, &mut errors);
    }
    if let Some(scheduling) = object.map("scheduling") {
        let path = Path::new("scheduling");
        let selector = path.child("nodeSelector");
        crate::rest::metadata::validate_labels(scheduling.map("nodeSelector"), &selector, &mut errors);
        for (at, toleration) in scheduling.maps("tolerations").enumerate() {
            one_toleration(toleration, &path.child("tolerations").index(at), &mut errors);
        }
    }
    let handler = object.str("handler");
    if handler.is_empty() {
        errors.push(field::required(&Path::new("handler"), ""));
    } else {
        errors.extend(said(&Path::new("handler"), handler, &names::is_dns1123_label(handler)));
    }
    errors
}

fn one_toleration(toleration: &Map, path: &Path, errors: &mut Errors) {
    let (key, value, operator) = (toleration.str("key"), toleration.str("value"), toleration.str("operator"));
    let at = path.child("operator");
    if !key.is_empty() {
        errors.extend(said(&path.child("key"), key, &names::is_qualified_name(key)));
    } else if operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(field::invalid(&at, operator, why));
    }
    match operator {
        "" | "Equal" => errors.extend(said(&at, value, &names::is_valid_label_value(value))),
        "Exists" if !value.is_empty() => {
            errors.push(field::invalid(&at, value, "value must be empty when `operator` is 'Exists'"));
        }
        "Exists" => {}
        other => errors.push(field::not_supported(&at, other, &["Equal", "Exists"])),
    }
}
