//! resource.k8s.io between v1beta1 and v1, which is stored: what v1beta1 has in a request itself v1 has in `exactly`, and
//! what it has in a device's `basic` v1 has in the device (pkg/apis/resource/v1beta1/conversion.go@v1.37.2).

use api::facts;
use api::value::{Map, Value};

use crate::registry::Conversion;
use crate::resources::common::versions::shaped;

/// The version whose shape is another.
pub(super) const OTHER_SHAPE: &str = "resource.k8s.io/v1beta1";

const V1: &str = "io.k8s.api.resource.v1";
const V1BETA1: &str = "io.k8s.api.resource.v1beta1";

pub(in crate::resources) const CLAIM: Conversion = Conversion {
    to_storage: |object| to_v1(object, "ResourceClaim", &["spec"]),
    from_storage: |object| to_v1beta1(object, "ResourceClaim", &["spec"]),
};
pub(in crate::resources) const CLAIM_TEMPLATE: Conversion = Conversion {
    to_storage: |object| to_v1(object, "ResourceClaimTemplate", &["spec", "spec"]),
    from_storage: |object| to_v1beta1(object, "ResourceClaimTemplate", &["spec", "spec"]),
};
pub(in crate::resources) const SLICE: Conversion = Conversion {
    to_storage: |object| {
        let mut object = object.clone();
        for device in devices(&mut object) {
            if let Some(Value::Map(basic)) = device.remove("basic") {
                move_all(basic, device);
            }
        }
        shaped(object, &format!("{V1}.ResourceSlice"))
    },
    from_storage: |object| {
        let mut object = object.clone();
        for device in devices(&mut object) {
            let basic = take(device, &format!("{V1BETA1}.BasicDevice"));
            device.set("basic", basic);
        }
        shaped(object, &format!("{V1BETA1}.ResourceSlice"))
    },
};

fn to_v1(object: &Map, kind: &str, place: &[&'static str]) -> Map {
    let mut object = object.clone();
    for request in requests(&mut object, place) {
        let mut exactly = take(request, &format!("{V1}.ExactDeviceRequest"));
        if exactly.str("deviceClassName").is_empty() {
            exactly.remove("deviceClassName");
        }
        // It might be invalid, but that is found by validation.
        if !exactly.is_empty() {
            request.set("exactly", exactly);
        }
    }
    shaped(object, &format!("{V1}.{kind}"))
}

fn to_v1beta1(object: &Map, kind: &str, place: &[&'static str]) -> Map {
    let mut object = object.clone();
    for request in requests(&mut object, place) {
        if let Some(Value::Map(exactly)) = request.remove("exactly") {
            move_all(exactly, request);
        }
    }
    shaped(object, &format!("{V1BETA1}.{kind}"))
}

fn requests<'m>(object: &'m mut Map, place: &[&'static str]) -> impl Iterator<Item = &'m mut Map> {
    let spec = place.iter().try_fold(object, |map, name| map.get_mut(name)?.as_map_mut());
    let devices = spec.and_then(|spec| spec.get_mut("devices")?.as_map_mut());
    maps(devices.and_then(|devices| devices.get_mut("requests")))
}

fn devices(slice: &mut Map) -> impl Iterator<Item = &mut Map> {
    let spec = slice.get_mut("spec").and_then(Value::as_map_mut);
    maps(spec.and_then(|spec| spec.get_mut("devices")))
}

fn maps(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map> {
    let values: &mut [Value] = match list {
        Some(Value::List(values)) => values,
        _ => &mut [],
    };
    values.iter_mut().filter_map(Value::as_map_mut)
}

/// Takes the fields of a type out of a map.
fn take(map: &mut Map, name: &str) -> Map {
    let ty = facts::structure(name).expect("the facts have every version");
    let mut taken = Map::new();
    for field in ty.json_fields() {
        map.remove(field.name).into_iter().for_each(|value| taken.set(field.name, value));
    }
    taken
}

fn move_all(from: Map, to: &mut Map) {
    for (name, value) in from {
        to.set(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(conversion: &Conversion, kind: &str, v1beta1: &str, v1: &str) {
        let read = |text: &str, package: &str| {
            let (object, _) = api::json::decode_any(text.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
            shaped(object.as_map().expect("an object").clone(), &format!("{package}.{kind}"))
        };
        let (v1beta1, v1) = (read(v1beta1, V1BETA1), read(v1, V1));
        assert_eq!((conversion.to_storage)(&v1beta1), v1);
        assert_eq!((conversion.from_storage)(&v1), v1beta1);
    }

    #[test]
    fn requests_and_devices_change_their_place() {
        check(
            &CLAIM,
            "ResourceClaim",
            r#"{"metadata":{"name":"a"},"spec":{"devices":{"requests":[{"name":"r","deviceClassName":"c","count":2},{"name":"s","deviceClassName":"","firstAvailable":[{"name":"t","deviceClassName":"d"}]}]}}}"#,
            r#"{"metadata":{"name":"a"},"spec":{"devices":{"requests":[{"name":"r","exactly":{"deviceClassName":"c","count":2}},{"name":"s","firstAvailable":[{"name":"t","deviceClassName":"d"}]}]}}}"#,
        );
        check(
            &CLAIM_TEMPLATE,
            "ResourceClaimTemplate",
            r#"{"spec":{"spec":{"devices":{"requests":[{"name":"r","deviceClassName":"c","allocationMode":"All"}]}}}}"#,
            r#"{"spec":{"spec":{"devices":{"requests":[{"name":"r","exactly":{"deviceClassName":"c","allocationMode":"All"}}]}}}}"#,
        );
        check(
            &SLICE,
            "ResourceSlice",
            r#"{"spec":{"driver":"d","nodeName":"n","pool":{"name":"p"},"devices":[{"name":"x","basic":{"attributes":{"a":{"int":1}},"capacity":{"m":{"value":"1Gi"}}}},{"name":"y","basic":{}}]}}"#,
            r#"{"spec":{"driver":"d","nodeName":"n","pool":{"name":"p"},"devices":[{"name":"x","attributes":{"a":{"int":1}},"capacity":{"m":{"value":"1Gi"}}},{"name":"y"}]}}"#,
        );
    }
}
