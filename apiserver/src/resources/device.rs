//! resource.k8s.io: claims, classes and slices of devices
//! (pkg/registry/resource, pkg/apis/resource/{v1/defaults.go,validation}@v1.37.2).
//!
//! Invariant: checks see the shape of v1, whatever version a client writes, and name v1's places, as upstream's internal
//! types do.

pub(crate) mod access;
mod capacity;
mod claim;
pub(super) mod convert;
mod drop;
mod expression;
mod shared;
mod slice;
mod status;

use std::borrow::Cow;

use api::field::{Errors, Path};
use api::object::Meta;
use api::value::{Map, Value};

use super::check;
use super::common;
use super::policy::pod_disruption_budget::conditions;
use super::simple::Simple;
use crate::registry::Conversion;
use crate::strategy::{MetaCheck, StatusMetadata};

/// Of a feature that is off: DRAPartitionableDevicesType.
const PARTITION_TYPE: &str = "defaultPartitionTypeAttribute";
const RULE_CONDITIONS_MAX: usize = 8;

const BASE: Simple = Simple { returns_deleted: true, ..Simple::BASE };

pub(super) const CLAIM: Simple = Simple {
    status_metadata: StatusMetadata::Kept,
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    default: |object| requests(object, &["spec"]),
    create: |_, object| drop::claim(object.map_mut("spec"), None),
    update: |_, object, old| drop::claim(object.map_mut("spec"), old.map("spec")),
    update_status: |_, object, old| {
        drop::status(object, old);
        status::drop_deallocated(object, old);
    },
    check: |object| {
        let mut errors = Errors::new();
        let object = canonical(object, &convert::CLAIM);
        claim::spec(object.map("spec").unwrap_or(Map::EMPTY), &Path::new("spec"), &mut errors);
        errors
    },
    // A spec is fixed, which its rules say; nothing else of an update can be wrong.
    recheck: false,
    check_status: |object, old| status::check(&canonical(object, &convert::CLAIM), &canonical(old, &convert::CLAIM)),
    ..BASE
};
pub(super) const CLAIM_TEMPLATE: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    default: |object| requests(object, &["spec", "spec"]),
    create: |_, object| drop::claim(object.map_mut("spec").map_mut("spec"), None),
    update: |_, object, old| drop::claim(object.map_mut("spec").map_mut("spec"), old.at(&["spec", "spec"])),
    check: template,
    check_change: |new, old| {
        let mut errors = Errors::new();
        let [new, old] = [new, old].map(|object| canonical(object, &convert::CLAIM_TEMPLATE));
        let name = "resource.v1.ResourceClaimTemplateSpec";
        check::fixed_struct(&Path::new("spec"), new.get("spec"), old.get("spec"), name, &mut errors);
        errors
    },
    ..BASE
};
pub(super) const TAINT_RULE: Simple = Simple {
    generation: true,
    unconditional: false,
    lenient_in: &["v1beta2", "v1alpha3"],
    default: |object| stamp(object.map_mut("spec").map_mut("taint")),
    update: |cx, object, old| restart(object, old, cx.now),
    check: taint_rule,
    check_status: |object, _| {
        let (mut errors, path) = (Errors::new(), Path::new("status").child("conditions"));
        let status = object.map("status").unwrap_or(Map::EMPTY);
        conditions(status, &path, &mut errors);
        let count = status.list("conditions").len();
        if count > RULE_CONDITIONS_MAX {
            errors.push(api::field::too_many(&path, count, RULE_CONDITIONS_MAX));
        }
        errors
    },
    ..Simple::OWN_STATUS
};
pub(super) const POOL_REQUEST: Simple = Simple {
    status_metadata: StatusMetadata::Kept,
    unconditional: false,
    create: |_, object| drop(object.map_mut("spec").remove(PARTITION_TYPE)),
    update: |_, object, old| {
        if !old.map("spec").is_some_and(|spec| spec.contains(PARTITION_TYPE)) {
            object.map_mut("spec").remove(PARTITION_TYPE);
        }
    },
    check_status: |new, old| {
        let (mut errors, path) = (Errors::new(), Path::new("status"));
        // A request that was answered is complete.
        match (new.map("status"), old.map("status")) {
            (_, Some(_)) => check::fixed(&path, new.get("status"), old.get("status"), &mut errors),
            (Some(status), None) => conditions(status, &path.child("conditions"), &mut errors),
            (None, None) => {}
        }
        errors
    },
    ..BASE
};
pub(super) const DEVICE_CLASS: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    generation: true,
    name: Simple::generated,
    check: |object| class(object, None),
    recheck: false,
    check_change: |new, old| class(new, Some(old)),
    ..BASE
};
pub(super) const SLICE: Simple = Simple {
    generation: true,
    fields: &["spec.driver", "spec.nodeName", "spec.pool.name"],
    default: stamp_devices,
    create: |_, object| drop::slice(object, None),
    update: |_, object, old| {
        // A change counts even when it is of a field that is dropped then.
        let changed = object.get("spec") != old.get("spec");
        drop::slice(object, Some(old));
        if changed && object.get("spec") == old.get("spec") {
            object.meta_mut().set("generation", old.generation() + 1);
        }
    },
    check: |object| slice::spec(&canonical(object, &convert::SLICE), None),
    recheck: false,
    check_change: |new, old| {
        let [new, old] = [new, old].map(|object| canonical(object, &convert::SLICE));
        slice::spec(&new, Some(&old))
    },
    warn: |object, _| {
        let driver = object.map("spec").map_or("", |spec| spec.str("driver"));
        let upper = driver != driver.to_lowercase();
        let quoted = api::field::go_quote(driver);
        let why = || format!("spec.driver: driver names should be lowercase; {quoted} contains uppercase characters");
        upper.then(why).into_iter().collect()
    },
    ..BASE
};

/// An object in the shape of v1.
fn canonical<'m>(object: &'m Map, conversion: &Conversion) -> Cow<'m, Map> {
    match object.str("apiVersion") {
        convert::OTHER_SHAPE => Cow::Owned((conversion.to_storage)(object)),
        _ => Cow::Borrowed(object),
    }
}

/// validateResourceClaimTemplateSpec.
fn template(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let object = canonical(object, &convert::CLAIM_TEMPLATE);
    let (spec, path) = (object.map("spec").unwrap_or(Map::EMPTY), Path::new("spec"));
    if let Some(meta) = spec.map("metadata") {
        let path = path.child("metadata");
        super::core::pod::claim::template_meta(meta, &path, &mut errors);
    }
    claim::spec(spec.map("spec").unwrap_or(Map::EMPTY), &path.child("spec"), &mut errors);
    errors
}

/// validateDeviceClassSpec; what is as it was is as good as it was.
fn class(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (object.map("spec").unwrap_or(Map::EMPTY), Path::new("spec"));
    let was = old.map(|old| old.map("spec").unwrap_or(Map::EMPTY));
    let stored = |name: &str| was.is_some_and(|was| common::same(was.get(name), spec.get(name)));
    claim::selectors(spec, stored("selectors"), &path, &mut errors);
    for (at, config) in shared::within(spec, "config", claim::CONFIG_MAX) {
        shared::configuration(config, stored("config"), &path.child("config").index(at), &mut errors);
    }
    errors
}

/// validateDeviceTaintRuleSpec.
fn taint_rule(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (object.map("spec").unwrap_or(Map::EMPTY), Path::new("spec"));
    if let Some(selector) = spec.map("deviceSelector") {
        let path = path.child("deviceSelector");
        let mut ask = |name: &str, rule: fn(&str, &Path, &mut Errors)| {
            if let Some(text) = selector.get(name).and_then(Value::as_str) {
                rule(text, &path.child(name), &mut errors);
            }
        };
        ask("driver", shared::driver);
        ask("pool", shared::pool_name);
        ask("device", common::dns_label);
    }
    shared::taint(spec.map("taint").unwrap_or(Map::EMPTY), &path.child("taint"), &mut errors);
    errors
}

/// A taint is as old as the object unless it says otherwise.
fn stamp(taint: &mut Map) {
    check::set_absent(taint, "timeAdded", crate::system::now());
}

/// A new effect begins now, unless the client says since when.
fn restart(object: &mut Map, old: &Map, now: &str) {
    let taint =
        |object: &Map, name: &str| object.at(&["spec", "taint"]).map_or("", |taint| taint.str(name)).to_string();
    if taint(object, "effect") != taint(old, "effect") && taint(object, "timeAdded") == taint(old, "timeAdded") {
        object.map_mut("spec").map_mut("taint").set("timeAdded", now);
    }
}

fn stamp_devices(slice: &mut Map) {
    if slice.map("spec").is_none_or(|spec| spec.list("devices").is_empty()) {
        return;
    }
    let devices = slice.map_mut("spec").maps_mut("devices");
    // In v1beta1 a device's fields may be inside `basic`.
    let inner = devices.map(|device| if device.contains("basic") { device.map_mut("basic") } else { device });
    for device in inner.filter(|device| !device.list("taints").is_empty()) {
        device.maps_mut("taints").for_each(stamp);
    }
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
        // In v1beta1 a request may be what `exactly` is in others.
        if !request.str("deviceClassName").is_empty() {
            one(request);
        }
    }
}

fn one(request: &mut Map) {
    check::set_absent(request, "allocationMode", "ExactCount");
    if request.str("allocationMode") == "ExactCount" {
        check::set_absent(request, "count", 1i64);
    }
}
