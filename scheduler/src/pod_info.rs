//! A pod with everything the scheduling cycle asks of it computed once, when the pod is seen.
//!
//! Invariant: a `PodInfo` never changes; a changed pod gets a new one
//! (pkg/scheduler/framework/types.go@v1.37.2, PodInfo).

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Affinity, Container, Pod, PodAffinityTerm, Toleration, WeightedPodAffinityTerm};

use crate::resources::{self, RequestOptions, Resource};
use crate::selector::{Labels, Selector, labels};

/// The unique id of a pod, shared by all who hold it.
pub(crate) type Uid = Arc<str>;

/// The topology every node is its own domain of.
pub(crate) const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// A compiled pod (anti-)affinity term.
#[derive(Clone, Debug)]
pub(crate) struct AffinityTerm {
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) selector: Selector,
    pub(crate) topology_key: String,
    pub(crate) namespace_selector: Selector,
}

impl AffinityTerm {
    fn compile(pod: &Pod, term: &PodAffinityTerm) -> Result<Self, String> {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace(pod).into());
        }
        Ok(AffinityTerm {
            namespaces,
            selector: Selector::compile(term.label_selector.as_ref())?,
            topology_key: term.topology_key.clone(),
            namespace_selector: Selector::compile(term.namespace_selector.as_ref())?,
        })
    }

    /// True when the term selects the pod; `namespace_labels` are those of the pod's namespace.
    pub(crate) fn matches(&self, pod: &Pod, namespace_labels: &Labels) -> bool {
        let here = self.namespaces.contains(namespace(pod)) || self.namespace_selector.matches(namespace_labels);
        here && self.selector.matches(labels(&pod.metadata))
    }
}

/// A wish with its weight.
#[derive(Clone, Debug)]
pub(crate) struct WeightedTerm {
    pub(crate) term: AffinityTerm,
    pub(crate) weight: i64,
}

/// A port that a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub(crate) ip: String,
    pub(crate) protocol: String,
    pub(crate) port: i32,
}

/// The address that stands for every address of the node.
const ANY_ADDRESS: &str = "0.0.0.0";

impl HostPort {
    /// True when both cannot be taken on one node.
    pub(crate) fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY_ADDRESS || other.ip == ANY_ADDRESS)
    }
}

/// A pod and what is computed from it.
#[derive(Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) uid: Uid,
    pub(crate) priority: i32,
    /// What the pod takes on a node it runs on.
    pub(crate) requests: Resource,
    /// Thousandths of a CPU, missing requests counted with the default.
    pub(crate) non_zero_cpu: i64,
    /// Bytes, missing requests counted with the default.
    pub(crate) non_zero_memory: i64,
    pub(crate) required_affinity: Vec<AffinityTerm>,
    pub(crate) required_anti_affinity: Vec<AffinityTerm>,
    pub(crate) preferred_affinity: Vec<WeightedTerm>,
    pub(crate) preferred_anti_affinity: Vec<WeightedTerm>,
    /// Why a term could not be compiled; such terms are left out above.
    pub(crate) invalid: Option<String>,
    pub(crate) host_ports: Vec<HostPort>,
    /// Names of the claims the pod uses, those of generic ephemeral volumes included.
    pub(crate) claims: Vec<String>,
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let options = RequestOptions { use_status: true, ..RequestOptions::default() };
        let list = resources::pod_requests(&pod, options);
        let whole = resources::has_pod_level_requests(&pod);
        let defaulted = RequestOptions {
            default_cpu: !whole || !list.contains_key(resources::CPU),
            default_memory: !whole || !list.contains_key(resources::MEMORY),
            ..options
        };
        let non_zero = Resource::of(&resources::pod_requests(&pod, defaulted));
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let mut invalid = None;
        PodInfo {
            uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
            priority: priority(&pod),
            requests: Resource::of(&list),
            non_zero_cpu: non_zero.milli_cpu,
            non_zero_memory: non_zero.memory,
            required_affinity: compile(&pod, required_affinity(affinity), &mut invalid),
            required_anti_affinity: compile(&pod, required_anti_affinity(affinity), &mut invalid),
            preferred_affinity: weighted(&pod, preferred_affinity(affinity), &mut invalid),
            preferred_anti_affinity: weighted(&pod, preferred_anti_affinity(affinity), &mut invalid),
            invalid,
            host_ports: host_ports(&pod),
            claims: claims(&pod),
            pod,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        namespace(&self.pod)
    }

    pub(crate) fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn labels(&self) -> &Labels {
        labels(&self.pod.metadata)
    }

    pub(crate) fn tolerations(&self) -> &[Toleration] {
        self.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
    }

    pub(crate) fn scheduler_name(&self) -> &str {
        scheduler_name(&self.pod)
    }

    /// The node that preemption has made room on for this pod; empty when there is none.
    pub(crate) fn nominated_node(&self) -> &str {
        nominated_node(&self.pod)
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    pub(crate) fn has_affinity(&self) -> bool {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        affinity.is_some_and(|a| a.pod_affinity.is_some() || a.pod_anti_affinity.is_some())
    }
}

pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

pub(crate) fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

pub(crate) fn nominated_node(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref()).unwrap_or_default()
}

pub(crate) fn scheduler_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or_default()
}

pub(crate) fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

pub(crate) fn required_affinity(affinity: Option<&Affinity>) -> &[PodAffinityTerm] {
    let affinity = affinity.and_then(|a| a.pod_affinity.as_ref());
    affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
}

pub(crate) fn required_anti_affinity(affinity: Option<&Affinity>) -> &[PodAffinityTerm] {
    let affinity = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
}

fn preferred_affinity(affinity: Option<&Affinity>) -> &[WeightedPodAffinityTerm] {
    let affinity = affinity.and_then(|a| a.pod_affinity.as_ref());
    affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
}

fn preferred_anti_affinity(affinity: Option<&Affinity>) -> &[WeightedPodAffinityTerm] {
    let affinity = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
}

fn compile(pod: &Pod, terms: &[PodAffinityTerm], invalid: &mut Option<String>) -> Vec<AffinityTerm> {
    terms.iter().filter_map(|term| keep(AffinityTerm::compile(pod, term), invalid)).collect()
}

fn weighted(pod: &Pod, terms: &[WeightedPodAffinityTerm], invalid: &mut Option<String>) -> Vec<WeightedTerm> {
    let compiled = terms.iter().filter_map(|wish| {
        let term = keep(AffinityTerm::compile(pod, &wish.pod_affinity_term), invalid)?;
        Some(WeightedTerm { term, weight: i64::from(wish.weight) })
    });
    compiled.collect()
}

fn keep(compiled: Result<AffinityTerm, String>, invalid: &mut Option<String>) -> Option<AffinityTerm> {
    compiled.map_err(|error| invalid.get_or_insert(error).clone()).ok()
}

/// The host ports of all containers that run for the life of the pod.
fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| resources::is_restartable(c));
    sidecars.chain(&spec.containers).flat_map(ports_of).collect()
}

fn ports_of(container: &Container) -> impl Iterator<Item = HostPort> + '_ {
    container.ports.iter().flatten().filter_map(|port| {
        let or = |text: &Option<String>, default: &str| {
            text.as_deref().filter(|text| !text.is_empty()).unwrap_or(default).to_string()
        };
        let number = port.host_port.filter(|port| *port > 0)?;
        Some(HostPort { ip: or(&port.host_ip, ANY_ADDRESS), protocol: or(&port.protocol, "TCP"), port: number })
    })
}

fn claims(pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| match &volume.persistent_volume_claim {
        Some(claim) => Some(claim.claim_name.clone()),
        None => volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name)),
    };
    volumes.filter_map(claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod_info;

    #[test]
    fn requests_missing_count_with_the_default_in_scoring_only() {
        let info =
            pod_info(r#"{"spec":{"containers":[{"name":"a"},{"name":"b","resources":{"requests":{"cpu":"1"}}}]}}"#);
        assert_eq!((info.requests.milli_cpu, info.requests.memory), (1000, 0));
        assert_eq!((info.non_zero_cpu, info.non_zero_memory), (1100, 2 * resources::DEFAULT_MEMORY_REQUEST));
    }

    #[test]
    fn host_ports_conflict_by_address() {
        let port = |ip: &str, protocol: &str| HostPort { ip: ip.into(), protocol: protocol.into(), port: 80 };
        for (one, other, expected) in [
            (port("0.0.0.0", "TCP"), port("10.0.0.1", "TCP"), true),
            (port("10.0.0.1", "TCP"), port("0.0.0.0", "TCP"), true),
            (port("10.0.0.1", "TCP"), port("10.0.0.2", "TCP"), false),
            (port("0.0.0.0", "TCP"), port("0.0.0.0", "UDP"), false),
        ] {
            assert_eq!(one.conflicts(&other), expected, "{one:?} {other:?}");
        }
    }
}
