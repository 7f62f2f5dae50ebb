//! node.k8s.io: RuntimeClass (pkg/registry/node/runtimeclass, pkg/apis/node/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;

use super::check::{self, said};
use super::common::internal::{self, Plain};
use super::core::pod::options::Options;
use super::core::pod::resources;
use super::core::pod::tolerations;
use super::core::pod::warnings::node_label;
use super::simple::Simple;
use crate::strategy::MetaCheck;

pub(super) const RUNTIME_CLASS: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    knows_finalizers: false,
    creates: true,
    unconditional: false,
    check: class,
    check_change: |new, old| {
        let mut errors = Errors::new();
        check::fixed(&Path::new("handler"), new.get("handler"), old.get("handler"), &mut errors);
        errors
    },
    warn: |object, _| {
        let selector = object.at(&["scheduling", "nodeSelector"]);
        let old = selector.into_iter().flat_map(Map::keys).filter_map(|key| node_label(key));
        old.map(|why| format!("scheduling.nodeSelector: {why}")).collect()
    },
    ..Simple::BASE
};

fn class(object: &Map) -> Errors {
    let mut errors = Errors::new();
    match object.str("handler") {
        "" => errors.push(field::required(&Path::new("handler"), "")),
        handler => errors.extend(said(&Path::new("handler"), handler, &names::is_short_name(handler))),
    }
    if let Some(overhead) = object.map("overhead") {
        let limits = overhead.map("podFixed").cloned().unwrap_or_default();
        let (limits, options) = (api::map! { "limits" => limits }, Options::default());
        resources::container(&limits, &[], &Path::new("overhead"), &options, &mut errors);
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
    errors
}
