//! What a claim got
//! (pkg/apis/resource/validation/validation.go, pkg/registry/resource/resourceclaim/strategy.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::claim::{CONFIG_MAX, REQUESTS_MAX, Requests};
use super::shared;
use crate::resources::common;
use crate::resources::core::pod::affinity::node_selector;
use crate::resources::policy::pod_disruption_budget::conditions;

const RESERVED_FOR_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const DATA_BYTES_MAX: usize = 10 * 1024;
const IPS_MAX: usize = 16;

/// A device that may be shared, by its names.
fn id(device: &Map) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|name| device.str(name))
}

fn results(status: Option<&Map>) -> impl Iterator<Item = &Map> {
    let devices = status.and_then(|status| status.at(&["allocation", "devices"]));
    devices.into_iter().flat_map(|devices| devices.maps("results"))
}

/// What is reported of devices that the claim had and no longer has goes with them (dropDeallocatedStatusDevices).
pub(super) fn drop_deallocated(object: &mut Map, old: &Map) {
    if object.map("status").is_none_or(|status| status.list("devices").is_empty()) {
        return;
    }
    let had: Vec<[String; 4]> = results(old.map("status")).map(|result| id(result).map(str::to_string)).collect();
    let kept: Vec<[String; 4]> = results(object.map("status")).map(|result| id(result).map(str::to_string)).collect();
    let gone = |device: &Value| {
        let device = device.as_map().map(|device| id(device).map(str::to_string));
        device.is_some_and(|device| had.contains(&device) && !kept.contains(&device))
    };
    let status = object.map_mut("status");
    status.list_mut("devices").retain(|device| !gone(device));
    if status.list("devices").is_empty() {
        status.remove("devices");
    }
}

/// validateResourceClaimStatusUpdate.
pub(super) fn check(object: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let [status, was] = [object, old].map(|claim| claim.map("status").unwrap_or(Map::EMPTY));
    let path = Path::new("status");
    let requests = Requests::of(object.at(&["spec", "devices"]).unwrap_or(Map::EMPTY));
    for (at, consumer) in shared::within(status, "reservedFor", RESERVED_FOR_MAX) {
        for name in ["resource", "name", "uid"] {
            common::required(consumer, name, &path.child("reservedFor").index(at), &mut errors);
        }
    }
    for (at, reported) in status.maps("devices").enumerate() {
        device(reported, status, &path.child("devices").index(at), &mut errors);
    }
    let deleted = object.is_deleting();
    reserved(status, was, deleted, &path, &mut errors);
    if let (Some(allocation), false) = (status.map("allocation"), was.contains("allocation")) {
        allocated(allocation, &requests, &path.child("allocation"), &mut errors);
    }
    errors
}

/// Consumers are of an allocated claim, and none comes while it is being deleted.
fn reserved(status: &Map, was: &Map, deleted: bool, path: &Path, errors: &mut Errors) {
    let (consumers, path) = (status.list("reservedFor"), path.child("reservedFor"));
    if consumers.is_empty() {
        return;
    }
    if !status.contains("allocation") {
        errors.push(field::forbidden(&path, "may not be specified when `allocated` is not set"));
    } else if deleted && consumers.iter().any(|consumer| !was.list("reservedFor").contains(consumer)) {
        let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(field::forbidden(&path, why));
    }
}

/// validateDeviceStatus.
fn device(device: &Map, status: &Map, path: &Path, errors: &mut Errors) {
    shared::driver(device.str("driver"), &path.child("driver"), errors);
    shared::pool_name(device.str("pool"), &path.child("pool"), errors);
    common::dns_label(device.str("device"), &path.child("device"), errors);
    let id = id(device);
    if !results(Some(status)).any(|result| self::id(result) == id) {
        let why = "must be an allocated device in the claim";
        let shown = api::map! { "Driver" => id[0], "Pool" => id[1], "Device" => id[2], "ShareID" => id[3] };
        errors.push(field::invalid(path, Value::Map(shown), why));
    }
    let count = device.list("conditions").len();
    if count > CONDITIONS_MAX {
        errors.push(field::too_many(&path.child("conditions"), count, CONDITIONS_MAX));
    }
    conditions(device, &path.child("conditions"), errors);
    if let Some(data) = device.get("data").filter(|data| !data.is_null()) {
        shared::raw_extension(Some(data), &path.child("data"), DATA_BYTES_MAX, errors);
    }
    if let Some(network) = device.map("networkData") {
        for (at, ip) in shared::texts(network, "ips", IPS_MAX) {
            let path = path.child("networkData").child("ips").index(at);
            common::each(&path, ip, names::is_valid_interface_address(ip), errors);
        }
    }
}

/// validateAllocationResult.
fn allocated(allocation: &Map, requests: &Requests, path: &Path, errors: &mut Errors) {
    let (devices, at) = (allocation.map("devices").unwrap_or(Map::EMPTY), path.child("devices"));
    for (index, result) in shared::within(devices, "results", REQUESTS_MAX) {
        let path = at.child("results").index(index);
        requests.named(result.str("request"), &path.child("request"), errors);
        common::dns_label(result.str("device"), &path.child("device"), errors);
        shared::binding_conditions(result, &path, errors);
        shared::tolerations(result, &path, errors);
        shared::skipped(result, &path, errors);
    }
    // A claim's configuration and its class's.
    for (index, config) in shared::within(devices, "config", 2 * CONFIG_MAX) {
        let path = at.child("config").index(index);
        requests.all_named(config, &path, errors);
        shared::configuration(config, false, &path, errors);
    }
    if let Some(selector) = allocation.map("nodeSelector") {
        node_selector(selector, false, &path.child("nodeSelector"), errors);
    }
}
