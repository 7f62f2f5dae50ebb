//! Fields of features that are off in v1.37, dropped unless the old object has them
//! (pkg/registry/resource/resourceslice/strategy.go, pkg/api/resourceclaimspec/util.go@v1.37.2: dropDisabledFields).

use api::value::{Map, Value};

use super::slice::LIST_ATTRIBUTES;

/// One feature's fields: whether an object has any of them, and how they go.
struct Feature {
    used: fn(&Map) -> bool,
    drop: fn(&mut Map),
}

fn devices(slice: &Map) -> impl Iterator<Item = &Map> {
    slice.map("spec").into_iter().flat_map(|spec| spec.maps("devices"))
}

fn each_device(slice: &mut Map, change: impl FnMut(&mut Map)) {
    let spec = slice.get_mut("spec").and_then(Value::as_map_mut);
    let devices = spec.and_then(|spec| spec.get_mut("devices")).and_then(Value::as_list_mut);
    devices.into_iter().flatten().filter_map(Value::as_map_mut).for_each(change);
}

fn attributes(device: &Map) -> impl Iterator<Item = &Map> {
    device.map("attributes").into_iter().flat_map(Map::iter).filter_map(|(_, value)| value.as_map())
}

fn consumptions(device: &Map) -> impl Iterator<Item = &Map> {
    device.maps("consumesCounters")
}

/// DRADeviceCompatibilityGroups, DRANodeAllocatableResources, DRAListTypeAttributes, DRAPartitionableDevicesType,
/// DRAOptionalNodeOperations.
const SLICE: [Feature; 5] = [
    Feature {
        used: |slice| devices(slice).flat_map(consumptions).any(|one| !one.list("compatibilityGroups").is_empty()),
        drop: |slice| {
            each_device(slice, |device| {
                let all = device.get_mut("consumesCounters").and_then(Value::as_list_mut);
                all.into_iter().flatten().filter_map(Value::as_map_mut).for_each(|one| {
                    one.remove("compatibilityGroups");
                });
            });
        },
    },
    Feature {
        used: |slice| {
            devices(slice).any(|device| device.map("nodeAllocatableResources").is_some_and(|m| !m.is_empty()))
        },
        drop: |slice| each_device(slice, |device| drop(device.remove("nodeAllocatableResources"))),
    },
    Feature {
        used: |slice| {
            devices(slice).flat_map(attributes).any(|one| LIST_ATTRIBUTES.iter().any(|name| one.contains(name)))
        },
        drop: |slice| {
            each_device(slice, |device| {
                let all = device.get_mut("attributes").and_then(Value::as_map_mut);
                for attribute in all.into_iter().flat_map(Map::iter_mut).filter_map(|(_, value)| value.as_map_mut()) {
                    attribute.retain(|name, _| !LIST_ATTRIBUTES.contains(&name));
                }
            });
        },
    },
    Feature {
        used: |slice| slice.map("spec").is_some_and(|spec| spec.contains("partitionTypeAttribute")),
        drop: |slice| drop(slice.map_mut("spec").remove("partitionTypeAttribute")),
    },
    Feature {
        used: |slice| slice.map("spec").is_some_and(|spec| !spec.list("skipNodeOperations").is_empty()),
        drop: |slice| drop(slice.map_mut("spec").remove("skipNodeOperations")),
    },
];

/// What a slice may not have.
pub(super) fn slice(slice: &mut Map, old: Option<&Map>) {
    for feature in &SLICE {
        if !old.is_some_and(feature.used) && (feature.used)(slice) {
            (feature.drop)(slice);
        }
    }
}

/// The requests of a claim's spec, and their subrequests: whoever selects devices.
fn selecting(spec: &mut Map) -> impl Iterator<Item = &mut Map> {
    let devices = spec.get_mut("devices").and_then(Value::as_map_mut);
    let requests = devices.and_then(|devices| devices.get_mut("requests")).and_then(Value::as_list_mut);
    requests.into_iter().flatten().filter_map(Value::as_map_mut)
}

fn derives(spec: Option<&Map>) -> bool {
    const NAME: &str = "derivedAttributes";
    let requests = spec.and_then(|spec| spec.map("devices")).into_iter().flat_map(|devices| devices.maps("requests"));
    requests.into_iter().any(|request| {
        let in_parts = request.maps("firstAvailable").chain(request.map("exactly"));
        in_parts.chain([request]).any(|part| !part.list(NAME).is_empty())
    })
}

/// What the spec of a claim may not have: DRADerivedAttributes.
pub(super) fn claim(spec: &mut Map, old: Option<&Map>) {
    if derives(old) || !derives(Some(spec)) {
        return;
    }
    for request in selecting(spec) {
        request.remove("derivedAttributes");
        if let Some(exactly) = request.get_mut("exactly").and_then(Value::as_map_mut) {
            exactly.remove("derivedAttributes");
        }
        let subs = request.get_mut("firstAvailable").and_then(Value::as_list_mut);
        subs.into_iter().flatten().filter_map(Value::as_map_mut).for_each(|sub| drop(sub.remove("derivedAttributes")));
    }
}

/// What an allocation may not have: DRAOptionalNodeOperations.
pub(super) fn status(object: &mut Map, old: &Map) {
    const NAME: &str = "skipNodeOperations";
    let results = |claim: &Map| {
        let devices = claim.at(&["status", "allocation", "devices"]).cloned().unwrap_or_default();
        devices.maps("results").any(|result| !result.list(NAME).is_empty())
    };
    if results(old) || !results(object) {
        return;
    }
    let devices = object.map_mut("status").map_mut("allocation").map_mut("devices");
    devices.maps_mut("results").for_each(|result| drop(result.remove(NAME)));
}
