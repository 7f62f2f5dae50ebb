//! node.k8s.io: RuntimeClass (pkg/registry/node/runtimeclass, pkg/apis/node/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;

use super::check::{self, said};
use super::common::internal::{self, Plain};
use super::core::pod::options::Options;
use super::core::pod::resources::container_resource_name;
use super::core::pod::tolerations;
use super::simple::Simple;

pub(super) const RUNTIME_CLASS: Simple = Simple {
    knows_finalizers: false,
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
        let (path, options) = (path.child("tolerations"), Options::default());
        tolerations::check(scheduling.maps("tolerations"), &path, &options, &mut errors);
        let all: Vec<&Map> = scheduling.maps("tolerations").collect();
        for (at, toleration) in all.iter().enumerate().filter(|(at, one)| all[..*at].contains(one)) {
            let shown = Plain(internal::shown(toleration, "core.v1.Toleration"));
            errors.push(field::duplicate(&path.index(at), shown));
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
