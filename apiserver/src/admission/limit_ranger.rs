//! LimitRanger: the namespace's defaults are given to containers that name no resources, and what they
//! or claims ask for must lie within its bounds (plugin/pkg/admission/limitranger/admission.go@v1.37.2).

use std::collections::BTreeSet;

use api::quantity::Quantity;
use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use super::amounts::{self, Part, View};
use super::{Attributes, Operation, Plugin, Reader};
use crate::resources::core::pod::resources::Amounts;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// The largest value that has an exact number of thousandths (resource.MaxMilliValue).
const MAX_MILLI_VALUE: i64 = i64::MAX / 1000;

pub(crate) struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if attributes.resource != "pods" || !concerns(attributes) {
                return Ok(());
            }
            let ranges = objects.list("", "limitranges", attributes.namespace);
            if let Some(pod) = attributes.object.as_deref_mut() {
                ranges.iter().for_each(|range| fill(pod, range));
            }
            Ok(())
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let Some(object) = attributes.object.as_deref().filter(|_| concerns(attributes)) else { return Ok(()) };
            for range in objects.list("", "limitranges", attributes.namespace) {
                let wrong = violations(attributes.resource, object, &range);
                if !wrong.is_empty() {
                    return Err(attributes.forbidden(&aggregate(wrong)));
                }
            }
            Ok(())
        })
    }
}

/// New pods and resized ones, new and changed claims; nothing that is going away.
fn concerns(attributes: &Attributes<'_>) -> bool {
    use api::object::Meta;
    if attributes.old.is_some_and(Meta::is_deleting) || !attributes.group.is_empty() {
        return false;
    }
    let what = (attributes.resource, attributes.subresource, attributes.operation);
    matches!(
        what,
        ("pods", "resize", Operation::Update) | ("pods", "", Operation::Create) | ("persistentvolumeclaims", "", _)
    )
}

/// Several messages as one (k8s.io/apimachinery/pkg/util/errors: Aggregate).
fn aggregate(messages: Vec<String>) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for message in messages {
        if !distinct.contains(&message) {
            distinct.push(message);
        }
    }
    match distinct.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn limits(range: &Map) -> impl Iterator<Item = &Map> {
    range.map("spec").into_iter().flat_map(|spec| spec.maps("limits"))
}

/// Gives a pod's containers what the range has as defaults.
fn fill(pod: &mut Map, range: &Map) {
    let mut defaults: [(&str, &str, Map); 2] = [("requests", "request", Map::new()), ("limits", "limit", Map::new())];
    for limit in limits(range).filter(|limit| limit.str("type") == "Container") {
        for (into, from) in [(0, "defaultRequest"), (1, "default")] {
            for (name, value) in limit.map(from).into_iter().flat_map(Map::iter) {
                defaults[into].2.set(name.clone(), value.clone());
            }
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod.map_mut("spec").maps_mut(list) {
            for (part, word, values) in &defaults {
                let set = fill_one(container, part, values);
                if !set.is_empty() {
                    let names: Vec<_> = set.into_iter().collect();
                    notes.push(format!("{} {word} for {what} {}", names.join(", "), container.str("name")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let annotations = pod.map_mut("metadata").map_mut("annotations");
        annotations.set(ANNOTATION, format!("LimitRanger plugin set: {}", notes.join("; ")));
        annotations.sort();
    }
}

fn fill_one(container: &mut Map, part: &'static str, values: &Map) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    let has = |container: &Map, name: &str| container.at(&["resources", part]).is_some_and(|list| list.contains(name));
    for (name, value) in values.iter() {
        if !has(container, name) {
            let list = container.map_mut("resources").map_mut(part);
            list.set(name.clone(), value.clone());
            list.sort();
            set.insert(name.to_string());
        }
    }
    set
}

fn violations(resource: &str, object: &Map, range: &Map) -> Vec<String> {
    let mut wrong = Vec::new();
    for limit in limits(range) {
        match (resource, limit.str("type")) {
            ("pods", "Container") => {
                let spec = object.map("spec").unwrap_or(Map::EMPTY);
                for container in spec.maps("containers").chain(spec.maps("initContainers")) {
                    let requests = amounts::of_container(container, Part::Requests);
                    wrong.extend(bounds(limit, &requests, &amounts::of_container(container, Part::Limits)));
                }
            }
            ("pods", "Pod") => {
                let requests = amounts::of_pod(object, Part::Requests, View::Spec);
                wrong.extend(bounds(limit, &requests, &amounts::of_pod(object, Part::Limits, View::Spec)));
            }
            ("persistentvolumeclaims", "PersistentVolumeClaim") => wrong.extend(claim_bounds(limit, object)),
            _ => {}
        }
    }
    wrong
}

fn bounds(limit: &Map, requests: &Amounts, limits: &Amounts) -> Vec<String> {
    let kind = limit.str("type");
    let mut wrong = Vec::new();
    for (check, part) in [(min as Check, "min"), (max as Check, "max"), (ratio as Check, "maxLimitRequestRatio")] {
        for (name, bound) in amounts::of(limit.map(part)) {
            wrong.extend(check(kind, &name, &bound, requests.get(&name), limits.get(&name)));
        }
    }
    wrong
}

fn claim_bounds(limit: &Map, claim: &Map) -> Vec<String> {
    let kind = limit.str("type");
    let requests = amounts::of(claim.at(&["spec", "resources", "requests"]));
    let mut wrong = Vec::new();
    for (name, bound) in amounts::of(limit.map("min")) {
        wrong.extend(min(kind, &name, &bound, requests.get(&name), None));
    }
    for (name, bound) in amounts::of(limit.map("max")) {
        let why = format!("maximum {name} usage per {kind} is {bound}");
        match requests.get(&name) {
            None => wrong.push(format!("{why}.  No request is specified")),
            Some(asked) if more(asked, &bound) => wrong.push(format!("{why}, but request is {asked}")),
            Some(_) => {}
        }
    }
    wrong
}

/// Limit type, resource, bound, request, limit.
type Check = fn(&str, &str, &Quantity, Option<&Quantity>, Option<&Quantity>) -> Option<String>;

/// Compares in thousandths when both have them, else in whole units.
fn more(left: &Quantity, right: &Quantity) -> bool {
    let (a, b) = (left.value(), right.value());
    if a <= MAX_MILLI_VALUE && b <= MAX_MILLI_VALUE { left.milli_value() > right.milli_value() } else { a > b }
}

fn min(
    kind: &str,
    name: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let why = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{why}.  No request is specified")),
        (Some(request), _) if more(bound, request) => Some(format!("{why}, but request is {request}")),
        (_, Some(limit)) if more(bound, limit) => Some(format!("{why}, but limit is {limit}")),
        _ => None,
    }
}

fn max(
    kind: &str,
    name: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let why = format!("maximum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (_, None) => Some(format!("{why}.  No limit is specified")),
        (_, Some(limit)) if more(limit, bound) => Some(format!("{why}, but limit is {limit}")),
        (Some(request), _) if more(request, bound) => Some(format!("{why}, but request is {request}")),
        _ => None,
    }
}

fn ratio(
    kind: &str,
    name: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let why = format!("{name} max limit to request ratio per {kind} is {bound}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{why}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{why}, but no limit is specified or limit is 0"));
    };
    let whole = [request, limit, bound].iter().any(|quantity| quantity.value() > MAX_MILLI_VALUE);
    let number = |quantity: &Quantity| if whole { quantity.value() } else { quantity.milli_value() } as f64;
    let observed = number(limit) / number(request);
    let allowed =
        if bound.value() <= MAX_MILLI_VALUE { bound.milli_value() as f64 / 1000.0 } else { bound.value() as f64 };
    (observed > allowed).then(|| format!("{why}, but provided ratio is {observed:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::map;
    use api::value::Value;

    fn parse(json: &str) -> Map {
        let (value, _) = api::json::decode_any(json.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
        value.as_map().expect("object").clone()
    }

    const RANGE: &str = r#"{"spec":{"limits":[{"type":"Container","min":{"cpu":"50m"},"max":{"cpu":"500m"},
        "default":{"cpu":"500m"},"defaultRequest":{"cpu":"100m"},"maxLimitRequestRatio":{"cpu":"5"}}]}}"#;

    fn check(resources: &str, expect: &[&str]) {
        let pod = parse(&format!(r#"{{"spec":{{"containers":[{{"name":"a","resources":{resources}}}]}}}}"#));
        assert_eq!(violations("pods", &pod, &parse(RANGE)), expect, "{resources}");
    }

    #[test]
    fn bounds_in_upstreams_words() {
        check(r#"{"requests":{"cpu":"100m"},"limits":{"cpu":"500m"}}"#, &[]);
        check(
            r#"{"requests":{"cpu":"10m"},"limits":{"cpu":"600m"}}"#,
            &[
                "minimum cpu usage per Container is 50m, but request is 10m",
                "maximum cpu usage per Container is 500m, but limit is 600m",
                "cpu max limit to request ratio per Container is 5, but provided ratio is 60.000000",
            ],
        );
        check(
            "{}",
            &[
                "minimum cpu usage per Container is 50m.  No request is specified",
                "maximum cpu usage per Container is 500m.  No limit is specified",
                "cpu max limit to request ratio per Container is 5, but no request is specified or request is 0",
            ],
        );
    }

    #[test]
    fn defaults_are_given_and_noted() {
        let mut pod = parse(
            r#"{"spec":{"containers":[{"name":"a"}],"initContainers":[{"name":"i","resources":{"requests":{"cpu":"60m"}}}]}}"#,
        );
        fill(&mut pod, &parse(RANGE));
        let note = pod.at(&["metadata", "annotations"]).map_or("", |annotations| annotations.str(ANNOTATION));
        assert_eq!(
            note,
            "LimitRanger plugin set: cpu request for container a; cpu limit for container a; cpu limit for init container i"
        );
        assert_eq!(
            violations("pods", &pod, &parse(RANGE)),
            ["cpu max limit to request ratio per Container is 5, but provided ratio is 8.333333"]
        );
        let containers: Vec<_> = pod.map("spec").expect("spec").maps("containers").cloned().collect();
        let expect = map! { "limits" => map! { "cpu" => "500m" }, "requests" => map! { "cpu" => "100m" } };
        assert_eq!(containers[0].get("resources"), Some(&Value::Map(expect)));
    }
}
