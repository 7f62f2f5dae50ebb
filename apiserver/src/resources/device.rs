//! resource.k8s.io: claims, classes and slices of devices (pkg/registry/resource, pkg/apis/resource/v1/defaults.go@v1.37.2).

pub(super) mod convert;

use api::field::{Errors, Path};
use api::value::Map;

use super::check;
use super::simple::Simple;

const BASE: Simple = Simple { returns_deleted: true, ..Simple::BASE };

pub(super) const CLAIM: Simple =
    Simple { default: |object| requests(object, &["spec"]), check_change: |new, old| spec_fixed(new, old), ..BASE };
pub(super) const CLAIM_TEMPLATE: Simple = Simple {
    default: |object| requests(object, &["spec", "spec"]),
    check_change: |new, old| spec_fixed(new, old),
    ..BASE
};
pub(super) const TAINT_RULE: Simple = Simple {
    generation: true,
    create: |cx, object| stamp(object.map_mut("spec").map_mut("taint"), cx.now),
    update: |cx, object, _| stamp(object.map_mut("spec").map_mut("taint"), cx.now),
    ..Simple::BASE
};
pub(super) const DEVICE_CLASS: Simple = Simple { generation: true, ..BASE };
pub(super) const SLICE: Simple = Simple {
    generation: true,
    fields: &["spec.driver", "spec.nodeName"],
    create: |cx, object| stamp_devices(object, cx.now),
    update: |cx, object, _| stamp_devices(object, cx.now),
    check_change: |new, old| {
        let mut errors = Errors::new();
        let text = |object: &Map, name: &str| object.map("spec").map_or("", |spec| spec.str(name)).to_string();
        for name in ["driver", "nodeName"] {
            check::fixed_text(&Path::new("spec").child(name), &text(new, name), &text(old, name), &mut errors);
        }
        errors
    },
    ..BASE
};

/// A taint is as old as the object unless it says otherwise.
fn stamp(taint: &mut Map, now: &str) {
    check::set_absent(taint, "timeAdded", now);
}

fn stamp_devices(slice: &mut Map, now: &str) {
    for device in slice.map_mut("spec").maps_mut("devices").filter(|device| !device.list("taints").is_empty()) {
        device.maps_mut("taints").for_each(|taint| stamp(taint, now));
    }
}

fn spec_fixed(new: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    check::fixed(&Path::new("spec"), new.get("spec"), old.get("spec"), &mut errors);
    errors
}

/// A request is for one device unless it says otherwise.
fn requests(object: &mut Map, path: &[&'static str]) {
    if object.at(path).and_then(|spec| spec.map("devices")).is_none_or(|devices| devices.list("requests").is_empty()) {
        return;
    }
    let spec = path.iter().fold(object, |map, name| map.map_mut(name));
    for request in spec.map_mut("devices").maps_mut("requests") {
        if request.map("exactly").is_some() {
            one(request.map_mut("exactly"));
        }
        if !request.list("firstAvailable").is_empty() {
            request.maps_mut("firstAvailable").for_each(one);
        }
    }
}

fn one(request: &mut Map) {
    check::set_absent(request, "allocationMode", "ExactCount");
    if request.str("allocationMode") == "ExactCount" {
        check::set_absent(request, "count", 1i64);
    }
}
