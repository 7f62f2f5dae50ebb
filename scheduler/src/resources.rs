//! What a pod asks for and what a node has, as integers the filters can compare.
//!
//! Invariant: the request of a pod follows k8s.io/component-helpers/resource/helpers.go@v0.37.2
//! (containers, init containers, restartable init containers, pod-level resources, overhead, and for
//! running pods the larger of desired, allocated and actuated). Non-goal: limits.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use crate::quantity::{self, Quantity, ResourceList};

/// What a container without a CPU request counts for in scoring, in thousandths of a CPU.
pub(crate) const DEFAULT_MILLI_CPU_REQUEST: i64 = 100;
/// What a container without a memory request counts for in scoring, in bytes.
pub(crate) const DEFAULT_MEMORY_REQUEST: i64 = 200 * 1024 * 1024;

pub(crate) const CPU: &str = "cpu";
pub(crate) const MEMORY: &str = "memory";
pub(crate) const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
const PODS: &str = "pods";
const HUGE_PAGES_PREFIX: &str = "hugepages-";
const ATTACHABLE_VOLUMES_PREFIX: &str = "attachable-volumes-";
const NATIVE_DOMAIN: &str = "kubernetes.io/";
const REQUESTS_PREFIX: &str = "requests.";

/// Amounts of each resource the scheduler counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Thousandths of a CPU.
    pub(crate) milli_cpu: i64,
    /// Bytes.
    pub(crate) memory: i64,
    /// Bytes.
    pub(crate) ephemeral_storage: i64,
    /// The most pods a node may hold (allocatable only).
    pub(crate) allowed_pods: i64,
    /// Extended resources, huge pages and attachable volumes.
    pub(crate) scalar: BTreeMap<String, i64>,
}

impl Resource {
    pub(crate) fn of(list: &ResourceList) -> Self {
        let mut resource = Resource::default();
        for (name, quantity) in list {
            match name.as_str() {
                CPU => resource.milli_cpu = quantity.milli_value(),
                MEMORY => resource.memory = quantity.value(),
                EPHEMERAL_STORAGE => resource.ephemeral_storage = quantity.value(),
                PODS => resource.allowed_pods = quantity.value(),
                _ if is_scalar(name) => {
                    resource.scalar.insert(name.clone(), quantity.value());
                }
                _ => {}
            }
        }
        resource
    }

    /// Adds `other` `sign` times (+1 or -1).
    pub(crate) fn add(&mut self, other: &Resource, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        for (name, amount) in &other.scalar {
            match self.scalar.get_mut(name) {
                Some(sum) => *sum += sign * amount,
                None => drop(self.scalar.insert(name.clone(), sign * amount)),
            }
        }
    }

    /// The amount of the resource `name`, in its own unit.
    pub(crate) fn get(&self, name: &str) -> i64 {
        match name {
            CPU => self.milli_cpu,
            MEMORY => self.memory,
            EPHEMERAL_STORAGE => self.ephemeral_storage,
            _ => self.scalar.get(name).copied().unwrap_or(0),
        }
    }

    /// True when no resource is asked for by name (a named request of zero counts as asked for).
    pub(crate) fn is_empty(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalar.is_empty()
    }
}

/// True for resources outside the native domain that are not quota names.
pub(crate) fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains(NATIVE_DOMAIN) && !name.starts_with(REQUESTS_PREFIX)
}

/// True for the resources kept in [`Resource::scalar`].
pub(crate) fn is_scalar(name: &str) -> bool {
    is_extended(name)
        || name.starts_with(HUGE_PAGES_PREFIX)
        || name.contains(NATIVE_DOMAIN)
        || name.starts_with(ATTACHABLE_VOLUMES_PREFIX)
}

/// How a pod's request is computed.
#[derive(Clone, Copy, Default)]
pub(crate) struct RequestOptions {
    /// Take what the kubelet has allocated and actuated into account (in-place resize).
    pub(crate) use_status: bool,
    /// Count a container without a CPU request with [`DEFAULT_MILLI_CPU_REQUEST`].
    pub(crate) default_cpu: bool,
    /// Count a container without a memory request with [`DEFAULT_MEMORY_REQUEST`].
    pub(crate) default_memory: bool,
    /// Leave pod-level requests out.
    pub(crate) skip_pod_level: bool,
}

/// The total request of a pod, overhead included.
pub(crate) fn pod_requests(pod: &Pod, options: RequestOptions) -> ResourceList {
    let Some(spec) = &pod.spec else { return ResourceList::new() };
    let mut total = container_requests(pod, options);
    let whole = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    if let Some(requests) = whole.filter(|_| !options.skip_pod_level) {
        for (name, quantity) in quantity::list(Some(requests)) {
            if is_pod_level(&name) {
                total.insert(name, quantity);
            }
        }
    }
    add(&mut total, &quantity::list(spec.overhead.as_ref()));
    total
}

/// True when the pod sets a request as a whole.
pub(crate) fn has_pod_level_requests(pod: &Pod) -> bool {
    let requests = pod.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.as_ref());
    requests.is_some_and(|requests| requests.keys().any(|name| is_pod_level(name)))
}

fn is_pod_level(name: &str) -> bool {
    name == CPU || name == MEMORY || name.starts_with(HUGE_PAGES_PREFIX)
}

/// Which figure of a container counts.
#[derive(Clone, Copy)]
enum Figure {
    Desired,
    Allocated,
    Actuated,
}

fn container_requests(pod: &Pod, options: RequestOptions) -> ResourceList {
    if !options.use_status {
        return aggregate(pod, options, Figure::Desired);
    }
    let mut total = aggregate(pod, options, Figure::Allocated);
    raise(&mut total, &aggregate(pod, options, Figure::Actuated));
    if !is_resize_infeasible(pod) {
        raise(&mut total, &aggregate(pod, options, Figure::Desired));
    }
    total
}

fn aggregate(pod: &Pod, options: RequestOptions, figure: Figure) -> ResourceList {
    let mut total = ResourceList::new();
    let Some(spec) = &pod.spec else { return total };
    for container in &spec.containers {
        add(&mut total, &one_container(pod, container, options, figure));
    }
    let (mut sidecars, mut highest) = (ResourceList::new(), ResourceList::new());
    for container in spec.init_containers.iter().flatten() {
        let own = one_container(pod, container, options, figure);
        let mut running = sidecars.clone();
        add(&mut running, &own);
        if is_restartable(container) {
            add(&mut total, &own);
            sidecars = running.clone();
        }
        raise(&mut highest, &running);
    }
    raise(&mut total, &highest);
    total
}

/// True for a sidecar: an init container that keeps running.
pub(crate) fn is_restartable(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn one_container(pod: &Pod, container: &Container, options: RequestOptions, figure: Figure) -> ResourceList {
    let desired = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let texts = match (figure, status_of(pod, &container.name)) {
        (Figure::Desired, _) => desired,
        (Figure::Allocated, status) => {
            let allocated = status.and_then(|s| s.allocated_resources.as_ref());
            allocated.or(desired.filter(|_| !is_resize_infeasible(pod)))
        }
        (Figure::Actuated, status) => {
            let actuated = status.and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.as_ref());
            let allocated = status.and_then(|s| s.allocated_resources.as_ref());
            actuated.or(allocated).or(desired.filter(|_| !is_resize_infeasible(pod)))
        }
    };
    let mut list = quantity::list(texts);
    if options.default_cpu {
        list.entry(CPU.into()).or_insert(Quantity::from_milli(DEFAULT_MILLI_CPU_REQUEST));
    }
    if options.default_memory {
        list.entry(MEMORY.into()).or_insert(Quantity::from_value(DEFAULT_MEMORY_REQUEST));
    }
    list
}

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.into_iter().find(|status| status.name == name)
}

fn is_resize_infeasible(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let pending = conditions.into_iter().find(|condition| condition.type_ == "PodResizePending");
    pending.is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"))
}

fn add(total: &mut ResourceList, more: &ResourceList) {
    for (name, quantity) in more {
        *total.entry(name.clone()).or_default() += *quantity;
    }
}

fn raise(total: &mut ResourceList, floor: &ResourceList) {
    for (name, quantity) in floor {
        let value = total.entry(name.clone()).or_insert(*quantity);
        *value = (*value).max(*quantity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn requests(text: &str) -> Resource {
        Resource::of(&pod_requests(&pod(text), RequestOptions::default()))
    }

    #[test]
    fn the_request_of_a_pod() {
        let cases = [
            ("no request", r#"{"spec":{"containers":[{"name":"a"}]}}"#, (0, 0)),
            (
                "containers add up",
                r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1","memory":"1Gi"}}},
                    {"name":"b","resources":{"requests":{"cpu":"500m"}}}]}}"#,
                (1500, 1 << 30),
            ),
            (
                "an init container counts when larger",
                r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1","memory":"1Gi"}}}],
                    "initContainers":[{"name":"i","resources":{"requests":{"cpu":"2"}}}]}}"#,
                (2000, 1 << 30),
            ),
            (
                "sidecars run beside the containers and beside later init containers",
                r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}],"initContainers":[
                    {"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"500m"}}},
                    {"name":"i","resources":{"requests":{"cpu":"1200m"}}}]}}"#,
                (1700, 0),
            ),
            (
                "pod-level requests replace the sum, overhead comes on top",
                r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1","memory":"1Gi"}}}],
                    "resources":{"requests":{"cpu":"3"}},"overhead":{"cpu":"250m"}}}"#,
                (3250, 1 << 30),
            ),
        ];
        for (name, text, (cpu, memory)) in cases {
            let got = requests(text);
            assert_eq!((got.milli_cpu, got.memory), (cpu, memory), "{name}");
        }
    }

    #[test]
    fn a_resize_counts_the_largest_figure() {
        let text = r#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}]},
            "status":{"containerStatuses":[{"name":"a","image":"","imageID":"","ready":true,"restartCount":0,
                "allocatedResources":{"cpu":"2"},"resources":{"requests":{"cpu":"1500m"}}}]}}"#;
        let options = RequestOptions { use_status: true, ..RequestOptions::default() };
        assert_eq!(Resource::of(&pod_requests(&pod(text), options)).milli_cpu, 2000);
        assert_eq!(requests(text).milli_cpu, 1000);
    }

    #[test]
    fn names_are_classified() {
        for (name, extended, scalar) in [
            ("example.com/gpu", true, true),
            ("hugepages-2Mi", false, true),
            ("attachable-volumes-x", false, true),
            ("kubernetes.io/batch", false, true),
            ("requests.example.com/gpu", false, false),
            ("cpu", false, false),
        ] {
            assert_eq!((is_extended(name), is_scalar(name)), (extended, scalar), "{name}");
        }
    }
}
