//! The quality-of-service class of a pod (pkg/apis/core/v1/helper/qos/qos.go@v1.37.2).

use api::quantity::Quantity;
use api::value::{Map, Value};

const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn class(spec: &Map) -> &'static str {
    if let Some(resources) = spec.map("resources").filter(|r| r.contains("requests") || r.contains("limits")) {
        return judge(&[resources]);
    }
    let containers = spec.maps("containers").chain(spec.maps("initContainers"));
    let resources: Vec<&Map> = containers.map(|container| container.map("resources").unwrap_or(Map::EMPTY)).collect();
    judge(&resources)
}

fn positive(resources: &Map, part: &str, name: &str) -> Option<Quantity> {
    let text = resources.map(part)?.get(name).and_then(Value::as_str)?;
    Quantity::parse(text).ok().filter(|quantity| quantity.sign() > 0)
}

fn judge(all: &[&Map]) -> &'static str {
    let any = |part: &str| all.iter().any(|r| RESOURCES.iter().any(|name| positive(r, part, name).is_some()));
    if !any("requests") && !any("limits") {
        return "BestEffort";
    }
    let guaranteed = all.iter().all(|resources| {
        RESOURCES.iter().all(|name| {
            match (positive(resources, "limits", name), positive(resources, "requests", name)) {
                (Some(limit), Some(request)) => limit == request,
                (Some(_), None) => resources.map("requests").is_none_or(|requests| !requests.contains(name)),
                _ => false,
            }
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
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
        let full = r#""resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1000m","memory":"1Gi"}}"#;
        check(&format!(r#"{{"containers":[{{"name":"a",{full}}}]}}"#), "Guaranteed");
        check(&format!(r#"{{"containers":[{{"name":"a",{full}}},{{"name":"b"}}]}}"#), "Burstable");
        check(&format!(r#"{{"containers":[{{"name":"a",{full}}}],"initContainers":[{{"name":"i"}}]}}"#), "Burstable");
    }
}
