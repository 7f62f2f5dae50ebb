//! The quality-of-service class of a pod (pkg/apis/core/helper/qos/qos.go@v1.37.2).

use api::quantity::{Format, Quantity};
use api::value::Map;

use super::resources::{self, Amounts};

const BEST_EFFORT: &str = "BestEffort";
const BURSTABLE: &str = "Burstable";
const GUARANTEED: &str = "Guaranteed";

/// `Guaranteed`, `Burstable` or `BestEffort`: of the pod's own resources if it has any, else what all containers agree on.
pub(crate) fn class(spec: &Map) -> &'static str {
    if let Some(own) = spec.map("resources").filter(|own| has_pod_level(own)) {
        return of_requirements(Some(own));
    }
    let containers = spec.maps("initContainers").chain(spec.maps("containers"));
    agreed(containers.map(|container| of_requirements(container.map("resources")))).unwrap_or(BEST_EFFORT)
}

fn has_pod_level(own: &Map) -> bool {
    ["requests", "limits"]
        .iter()
        .any(|part| resources::amounts(Some(own), part).keys().any(|n| resources::is_pod_level(n)))
}

/// The class that all have, else `Burstable`.
fn agreed(mut classes: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let first = classes.next()?;
    Some(if classes.all(|class| class == first) { first } else { BURSTABLE })
}

fn of_requirements(own: Option<&Map>) -> &'static str {
    let (requests, limits) = (resources::amounts(own, "requests"), resources::amounts(own, "limits"));
    if requests.is_empty() && limits.is_empty() {
        return BEST_EFFORT;
    }
    agreed(["cpu", "memory"].into_iter().map(|name| of_resource(&requests, &limits, name))).unwrap_or(BEST_EFFORT)
}

fn of_resource(requests: &Amounts, limits: &Amounts, name: &str) -> &'static str {
    let zero = Quantity::from_i64(0, Format::DecimalSI);
    let (request, limit) = (requests.get(name).unwrap_or(&zero), limits.get(name).unwrap_or(&zero));
    match request == limit {
        false => BURSTABLE,
        true if request.is_zero() => BEST_EFFORT,
        true => GUARANTEED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, expect: &str) {
        let (value, _) = api::json::decode_any(spec.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
        assert_eq!(class(value.as_map().expect("object")), expect, "{spec}");
    }

    #[test]
    fn classes() {
        check(r#"{"containers":[{"name":"a"}]}"#, "BestEffort");
        check(r#"{"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}]}"#, "Burstable");
        check(r#"{"containers":[{"name":"a","resources":{"requests":{"example.com/x":"1"}}}]}"#, "BestEffort");
        let full = r#""resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1000m","memory":"1Gi"}}"#;
        check(&format!(r#"{{"containers":[{{"name":"a",{full}}}]}}"#), "Guaranteed");
        check(&format!(r#"{{{full},"containers":[{{"name":"a"}}]}}"#), "Guaranteed");
        check(&format!(r#"{{"containers":[{{"name":"a",{full}}},{{"name":"b"}}]}}"#), "Burstable");
        check(&format!(r#"{{"containers":[{{"name":"a",{full}}}],"initContainers":[{{"name":"i"}}]}}"#), "Burstable");
    }
}
