//! coordination.k8s.io: Lease (pkg/registry/coordination/lease, pkg/apis/coordination/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::value::Map;

use super::check;
use super::simple::Simple;

pub(super) const LEASE: Simple = Simple {
    knows_finalizers: false,
    creates: true,
    unconditional: false,
    create: |_, object| drop_gated(object, Map::EMPTY),
    update: |_, object, old| drop_gated(object, old),
    check: lease,
    ..Simple::BASE
};

/// Coordinated leader election is behind a gate that is off.
fn drop_gated(object: &mut Map, old: &Map) {
    for name in ["strategy", "preferredHolder"] {
        if object.map("spec").is_some() && !old.map("spec").is_some_and(|spec| spec.contains(name)) {
            object.map_mut("spec").remove(name);
        }
    }
}

fn lease(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (object.map("spec").unwrap_or(Map::EMPTY), Path::new("spec"));
    if let Some(seconds) = spec.i64("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(field::invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    check::not_negative(spec.i64("leaseTransitions"), &path.child("leaseTransitions"), &mut errors);
    errors
}
