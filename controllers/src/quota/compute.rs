//! What a pod asks for in all, requests and limits (k8s.io/component-helpers/resource/helpers.go@v0.37.2): containers
//! add up, init containers set a floor, sidecars count for both, pod-level amounts stand for the sum, overhead comes on
//! top; of a pod that runs, the larger of what is asked and what the kubelet reports.
//!
//! Non-goal: amounts that DRA claims give a pod.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};

use super::amounts::{Amounts, Texts, add, parse, raise};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Requests,
    Limits,
}

/// Whose figure of a container counts.
#[derive(Clone, Copy)]
enum Figure {
    Desired,
    Allocated,
    Actuated,
}

pub(super) fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

pub(super) fn of_pod(pod: &Pod, part: Part) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut total = of_containers(pod, spec, part);
    let own = parse(spec.resources.as_ref().and_then(|own| part_of(own, part)));
    total.extend(own.into_iter().filter(|(name, _)| is_pod_level(name)));
    let mut overhead = parse(spec.overhead.as_ref());
    if part == Part::Limits {
        // No limit stays no limit.
        overhead.retain(|name, _| total.get(name).is_some_and(|value| !value.is_zero()));
    }
    add(&mut total, &overhead);
    total
}

fn part_of(resources: &ResourceRequirements, part: Part) -> Option<&Texts> {
    match part {
        Part::Requests => resources.requests.as_ref(),
        Part::Limits => resources.limits.as_ref(),
    }
}

fn of_containers(pod: &Pod, spec: &PodSpec, part: Part) -> Amounts {
    let sum = |figure| aggregate(pod, spec, part, figure);
    let mut total = sum(Figure::Actuated);
    if part == Part::Requests {
        raise(&mut total, &sum(Figure::Allocated));
    }
    if !is_resize_infeasible(pod) {
        raise(&mut total, &sum(Figure::Desired));
    }
    total
}

fn aggregate(pod: &Pod, spec: &PodSpec, part: Part, figure: Figure) -> Amounts {
    let (mut total, mut sidecars, mut highest) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in &spec.containers {
        add(&mut total, &of_container(pod, container, part, figure));
    }
    for container in spec.init_containers.iter().flatten() {
        let own = of_container(pod, container, part, figure);
        let mut running = sidecars.clone();
        add(&mut running, &own);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &own);
            sidecars.clone_from(&running);
        }
        raise(&mut highest, &running);
    }
    raise(&mut total, &highest);
    total
}

fn of_container(pod: &Pod, container: &Container, part: Part, figure: Figure) -> Amounts {
    let desired = container.resources.as_ref().and_then(|resources| part_of(resources, part));
    if let Figure::Desired = figure {
        return parse(desired);
    }
    let status = status_of(pod, &container.name);
    let reported = status.and_then(|status| status.resources.as_ref()).and_then(|resources| part_of(resources, part));
    let allocated = status.filter(|_| part == Part::Requests).and_then(|status| status.allocated_resources.as_ref());
    let reported = if let Figure::Actuated = figure { reported } else { None };
    parse(reported.or(allocated).or(desired.filter(|_| !is_resize_infeasible(pod))))
}

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.into_iter().find(|status| status.name == name)
}

fn is_resize_infeasible(pod: &Pod) -> bool {
    let condition = crate::common::pods::condition(pod, "PodResizePending");
    condition.is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"))
}

/// True when nothing of the pod asks for CPU or memory, as its status says or, before it has one, its spec
/// (pkg/apis/core/v1/helper/qos/qos.go@v1.37.2).
pub(super) fn is_best_effort(pod: &Pod) -> bool {
    let class = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()).filter(|class| !class.is_empty());
    if let Some(class) = class {
        return class == "BestEffort";
    }
    let Some(spec) = &pod.spec else { return true };
    let asks = |resources: Option<&ResourceRequirements>| {
        let parts = [Part::Requests, Part::Limits].into_iter().filter_map(|part| part_of(resources?, part));
        parts
            .flat_map(|part| parse(Some(part)))
            .any(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero())
    };
    let names = |resources: &ResourceRequirements| {
        [Part::Requests, Part::Limits]
            .into_iter()
            .filter_map(|part| part_of(resources, part))
            .any(|part| part.keys().any(|name| is_pod_level(name)))
    };
    match spec.resources.as_ref().filter(|own| names(own)) {
        Some(own) => !asks(Some(own)),
        None => {
            let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
            !all.any(|container| asks(container.resources.as_ref()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pod: &str, requests: &str, limits: &str) {
        let pod: Pod = serde_json::from_str(pod).expect("pod");
        let shown = |part| {
            let amounts = of_pod(&pod, part);
            amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
        };
        assert_eq!((shown(Part::Requests).as_str(), shown(Part::Limits).as_str()), (requests, limits));
    }

    #[test]
    fn what_a_pod_asks_for() {
        check(
            r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1","memory":"1Gi"},"limits":{"cpu":"2"}}},
              {"name":"b","resources":{"requests":{"cpu":"500m"}}}]}}"#,
            "cpu=1500m,memory=1Gi",
            "cpu=2",
        );
        check(
            r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}],"overhead":{"cpu":"250m","memory":"1Mi"},
              "initContainers":[{"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"1"}}},
              {"name":"i","resources":{"requests":{"cpu":"3"}}}]}}"#,
            "cpu=4250m,memory=1Mi",
            "",
        );
        check(
            r#"{"spec":{"resources":{"requests":{"cpu":"5"}},"containers":[{"name":"a","resources":{"requests":{"cpu":"1","x/y":"2"}}}]}}"#,
            "cpu=5,x/y=2",
            "",
        );
        check(
            r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1"},"limits":{"cpu":"1"}}}]},
              "status":{"containerStatuses":[{"name":"a","image":"","imageID":"","ready":true,"restartCount":0,
              "allocatedResources":{"cpu":"2"},"resources":{"requests":{"cpu":"1500m"},"limits":{"cpu":"3"}}}]}}"#,
            "cpu=2",
            "cpu=3",
        );
    }
}
