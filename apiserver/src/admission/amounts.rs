//! Resource lists of pods and quotas as numbers: sums, maxima, comparisons
//! (k8s.io/component-helpers/resource/helpers.go@v0.37.2, k8s.io/apiserver/pkg/quota/v1/resources.go@v0.37.2).

use api::quantity::Quantity;
use api::value::{Map, Value};

use crate::resources::common::quantity;
use crate::resources::core::pod::resources::{Amounts, add, raise};

/// The amounts of a resource list; what is no quantity is left out.
pub(crate) fn of(list: Option<&Map>) -> Amounts {
    let entries = list.into_iter().flat_map(Map::iter);
    entries.filter_map(|(name, value)| Some((name.to_string(), quantity(value)?))).collect()
}

/// `list` as a value of an object.
pub(crate) fn value(list: &Amounts) -> Map {
    list.iter().map(|(name, amount)| (name.as_str().into(), Value::from(amount.to_string()))).collect()
}

/// `list` less `other`, never below zero.
pub(crate) fn less(list: &Amounts, other: &Amounts) -> Amounts {
    let rest = |name: &String, amount: &Quantity| {
        let mut rest = amount.clone();
        if let Some(other) = other.get(name) {
            rest.sub(other);
        }
        if rest.sign() < 0 { Quantity::from_i64(0, rest.format()) } else { rest }
    };
    list.iter().map(|(name, amount)| (name.clone(), rest(name, amount))).collect()
}

/// Which of a pod's lists is summed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Requests,
    Limits,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Requests => "requests",
            Part::Limits => "limits",
        }
    }
}

/// Whether what runs now counts as well as what is wanted, and the overhead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The spec alone (LimitRanger).
    Spec,
    /// The spec, what the kubelet gave, and the overhead (quota).
    Whole,
}

pub(crate) fn of_container(container: &Map, part: Part) -> Amounts {
    of(container.at(&["resources", part.name()]))
}

pub(crate) fn is_sidecar(container: &Map) -> bool {
    container.str("restartPolicy") == "Always"
}

/// Containers together, but for init containers, which run one after the other beside the sidecars started before them.
pub(crate) fn of_pod(pod: &Map, part: Part, view: View) -> Amounts {
    let spec = pod.map("spec").unwrap_or(Map::EMPTY);
    let mut sum = Amounts::new();
    for container in spec.maps("containers") {
        add(&mut sum, &counted(pod, container, "containerStatuses", part, view));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for container in spec.maps("initContainers") {
        let mut own = counted(pod, container, "initContainerStatuses", part, view);
        if is_sidecar(container) {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut init, &own);
    }
    raise(&mut sum, &init);
    for (name, amount) in of(spec.at(&["resources", part.name()])) {
        if is_pod_level(&name, view) {
            sum.insert(name, amount);
        }
    }
    if view == View::Whole {
        overhead(&mut sum, spec, part);
    }
    sum
}

fn is_pod_level(name: &str, view: View) -> bool {
    matches!(name, "cpu" | "memory") || (view == View::Whole && name.starts_with("hugepages-"))
}

/// True when the pod as a whole asks for resources.
pub(crate) fn has_pod_level(spec: &Map) -> bool {
    let set = |part| of(spec.at(&["resources", part])).keys().any(|name| is_pod_level(name, View::Whole));
    set("requests") || set("limits")
}

fn overhead(sum: &mut Amounts, spec: &Map, part: Part) {
    let mut extra = of(spec.map("overhead"));
    if part == Part::Limits {
        extra.retain(|name, _| sum.get(name).is_some_and(|limit| !limit.is_zero()));
    }
    add(sum, &extra);
}

/// What a container wants, or has while a resize is under way, whichever is more.
fn counted(pod: &Map, container: &Map, statuses: &str, part: Part, view: View) -> Amounts {
    let mut amounts = of_container(container, part);
    let status = pod.map("status").into_iter().flat_map(|status| status.maps(statuses));
    let Some(status) = status.into_iter().find(|s| view == View::Whole && s.str("name") == container.str("name"))
    else {
        return amounts;
    };
    if status.map("resources").is_some() {
        raise(&mut amounts, &of(status.at(&["resources", part.name()])));
    }
    if part == Part::Requests {
        raise(&mut amounts, &of(status.map("allocatedResources")));
    }
    amounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Map {
        let (value, _) = api::json::decode_any(json.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
        value.as_map().expect("object").clone()
    }

    fn check(spec: &str, view: View, requests: &[(&str, &str)]) {
        let pod = parse(&format!(r#"{{"spec":{spec}}}"#));
        let got: Vec<_> =
            of_pod(&pod, Part::Requests, view).into_iter().map(|(name, amount)| (name, amount.to_string())).collect();
        let expect: Vec<_> = requests.iter().map(|row| (row.0.to_string(), row.1.to_string())).collect();
        assert_eq!(got, expect, "{spec}");
    }

    #[test]
    fn pods_ask_for_the_most_they_need_at_a_time() {
        let container =
            |cpu: &str, rest: &str| format!(r#"{{"name":"a","resources":{{"requests":{{"cpu":"{cpu}"}}}}{rest}}}"#);
        let (one, two) = (container("1", ""), container("500m", ""));
        check(&format!(r#"{{"containers":[{one},{two}]}}"#), View::Spec, &[("cpu", "1500m")]);
        let big = container("4", "");
        check(&format!(r#"{{"containers":[{one}],"initContainers":[{big},{two}]}}"#), View::Spec, &[("cpu", "4")]);
        let sidecar = container("2", r#","restartPolicy":"Always""#);
        check(&format!(r#"{{"containers":[{one}],"initContainers":[{sidecar},{big}]}}"#), View::Spec, &[("cpu", "6")]);
        check(
            &format!(
                r#"{{"containers":[{one}],"resources":{{"requests":{{"cpu":"3"}}}},"overhead":{{"cpu":"100m"}}}}"#
            ),
            View::Whole,
            &[("cpu", "3100m")],
        );
    }
}
