//! What an object counts for in a quota, and whether a quota's scopes cover it
//! (pkg/quota/v1/evaluator/core, k8s.io/apiserver/pkg/quota/v1/generic@v1.37.2).
//!
//! Non-goal: devices that stand for extended resources (the feature DRAExtendedResource's mapping).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, ResourceQuotaSpec, ScopedResourceSelectorRequirement, Service,
    WeightedPodAffinityTerm,
};
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::jiff::Timestamp;

use super::amounts::{Amounts, add, number, parse};
use super::compute::{Part, is_best_effort, of_pod};
use crate::common::pods::{is_terminal, seconds};

/// A resource by group and plural name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind<'a> {
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
}

pub(super) const PODS: Kind<'_> = Kind { group: "", resource: "pods" };
pub(super) const SERVICES: Kind<'_> = Kind { group: "", resource: "services" };
pub(super) const CLAIMS: Kind<'_> = Kind { group: "", resource: "persistentvolumeclaims" };
pub(super) const DEVICE_CLAIMS: Kind<'_> = Kind { group: "resource.k8s.io", resource: "resourceclaims" };

const COUNT_PREFIX: &str = "count/";
/// Core kinds counted by their own name before `count/` names came.
const ALIASES: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const SERVICE_NAMES: [&str; 3] = ["services", "services.nodeports", "services.loadbalancers"];
const CLAIM_NAMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const CLASS_INFIX: &str = ".storageclass.storage.k8s.io/";
const DEVICE_CLASS_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";
const IMPLICIT_DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";
const BETA_CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// What a request for all devices counts for (resource.k8s.io: AllocationResultsMaxSize).
const ALL_DEVICES: i64 = 32;

impl<'a> Kind<'a> {
    /// The name that counts any objects of this kind.
    pub(super) fn count_name(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("{COUNT_PREFIX}{}{dot}{}", self.resource, self.group)
    }

    /// The kind whose objects a quota's resource name counts, one by one.
    pub(super) fn counted_by(name: &'a str) -> Option<Kind<'a>> {
        match name.strip_prefix(COUNT_PREFIX) {
            Some(counted) => {
                let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
                Some(Kind { group, resource })
            }
            None => ALIASES.contains(&name).then_some(Kind { group: "", resource: name }),
        }
    }

    /// True for kinds of which more than the number counts.
    pub(super) fn is_special(&self) -> bool {
        [PODS, SERVICES, CLAIMS, DEVICE_CLAIMS].contains(self)
    }

    /// True when the quota resource `name` depends on objects of this kind.
    pub(super) fn counts(&self, name: &str) -> bool {
        if Kind::counted_by(name) == Some(*self) {
            return true;
        }
        match *self {
            PODS => is_pod_name(name),
            SERVICES => SERVICE_NAMES.contains(&name),
            CLAIMS => CLAIM_NAMES.iter().any(|plain| {
                name.strip_suffix(plain).is_some_and(|rest| rest.is_empty() || rest.ends_with(CLASS_INFIX))
            }),
            DEVICE_CLAIMS => name.ends_with(DEVICE_CLASS_SUFFIX),
            _ => false,
        }
    }
}

fn is_pod_name(name: &str) -> bool {
    let plain = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    let extended = name.strip_prefix("requests.").is_some_and(|rest| {
        (rest.contains('/') && !rest.contains("kubernetes.io/")) || rest.starts_with(IMPLICIT_DEVICE_CLASS)
    });
    name == "pods" || COMPUTE.contains(&plain) || huge || extended
}

/// True when the pod takes part in quotas of compute: it is not over, nor should be.
pub(super) fn is_charged(pod: &Pod, now: Timestamp) -> bool {
    let deleted = pod.metadata.deletion_timestamp.as_ref();
    let overdue = deleted.zip(pod.metadata.deletion_grace_period_seconds);
    !is_terminal(pod) && overdue.is_none_or(|(at, grace)| now <= at.0 + seconds(grace))
}

/// What a pod uses. `count/pods` counts it whatever its state.
pub(super) fn pod(pod: &Pod, now: Timestamp) -> Amounts {
    let mut usage = Amounts::from([(PODS.count_name(), number(1))]);
    if !is_charged(pod, now) {
        return usage;
    }
    usage.insert("pods".into(), number(1));
    for (name, amount) in of_pod(pod, Part::Requests) {
        let native = COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-");
        let extended = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
        if native || extended || name.starts_with(IMPLICIT_DEVICE_CLASS) {
            usage.insert(format!("requests.{name}"), amount.clone());
        }
        if native {
            usage.insert(name, amount);
        }
    }
    let limits = of_pod(pod, Part::Limits).into_iter().filter(|(name, _)| COMPUTE.contains(&name.as_str()));
    usage.extend(limits.map(|(name, amount)| (format!("limits.{name}"), amount)));
    usage
}

pub(super) fn service(service: &Service) -> Amounts {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let (node_ports, balancers) = match spec.and_then(|spec| spec.type_.as_deref()) {
        Some("NodePort") => (ports.len(), 0),
        Some("LoadBalancer") => match spec.and_then(|spec| spec.allocate_load_balancer_node_ports) {
            Some(false) => (ports.iter().filter(|port| port.node_port.unwrap_or(0) != 0).count(), 1),
            _ => (ports.len(), 1),
        },
        _ => (0, 0),
    };
    Amounts::from([
        (SERVICES.count_name(), number(1)),
        ("services".into(), number(1)),
        ("services.nodeports".into(), number(node_ports as i64)),
        ("services.loadbalancers".into(), number(balancers)),
    ])
}

pub(super) fn claim(claim: &PersistentVolumeClaim) -> Amounts {
    let annotation = claim.metadata.annotations.as_ref().and_then(|all| all.get(BETA_CLASS_ANNOTATION));
    let spec = claim.spec.as_ref();
    let class = annotation.or(spec.and_then(|spec| spec.storage_class_name.as_ref())).map_or("", String::as_str);
    let mut usage = Amounts::from([(CLAIMS.count_name(), number(1))]);
    let mut both = |name: &str, amount: api::quantity::Quantity| {
        if !class.is_empty() {
            usage.insert(format!("{class}{CLASS_INFIX}{name}"), amount.clone());
        }
        usage.insert(name.into(), amount);
    };
    both(CLAIM_NAMES[0], number(1));
    let asked = spec.and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.requests.as_ref());
    let given = claim.status.as_ref().and_then(|status| status.allocated_resources.as_ref());
    if let Some(asked) = parse(asked).remove("storage") {
        let given = parse(given).remove("storage").filter(|given| *given > asked);
        both(CLAIM_NAMES[1], whole(given.unwrap_or(asked)));
    }
    usage
}

/// Storage counts in whole bytes.
fn whole(amount: api::quantity::Quantity) -> api::quantity::Quantity {
    let rounded = api::quantity::Quantity::from_i64(amount.value(), amount.format());
    if rounded == amount { amount } else { rounded }
}

/// Devices by class: of alternatives the one that needs most.
pub(super) fn devices(claim: &ResourceClaim) -> Amounts {
    let mut usage = Amounts::from([(DEVICE_CLAIMS.count_name(), number(1))]);
    let requests =
        claim.spec.as_ref().and_then(|spec| spec.devices.as_ref()).and_then(|devices| devices.requests.as_ref());
    for request in requests.into_iter().flatten() {
        let mut most: BTreeMap<&str, i64> = BTreeMap::new();
        let mut want = |class, mode: Option<&str>, count: Option<i64>| {
            let devices = match mode {
                Some("ExactCount") => count.unwrap_or(0),
                Some("All") => ALL_DEVICES,
                _ => 0,
            };
            let entry = most.entry(class).or_default();
            *entry = devices.max(*entry);
        };
        if let Some(exactly) = &request.exactly {
            want(&exactly.device_class_name, exactly.allocation_mode.as_deref(), exactly.count);
        }
        for one in request.first_available.iter().flatten() {
            want(&one.device_class_name, one.allocation_mode.as_deref(), one.count);
        }
        for (class, devices) in most {
            add(&mut usage, &Amounts::from([(format!("{class}{DEVICE_CLASS_SUFFIX}"), number(devices))]));
        }
    }
    usage
}

pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).is_some_and(|seconds| seconds >= 0)
}

/// The scopes of a quota as selectors.
fn selectors(spec: &ResourceQuotaSpec) -> Vec<ScopedResourceSelectorRequirement> {
    let plain = spec.scopes.iter().flatten().map(|scope| ScopedResourceSelectorRequirement {
        scope_name: scope.clone(),
        operator: "Exists".into(),
        values: None,
    });
    let listed = spec.scope_selector.as_ref().and_then(|selector| selector.match_expressions.clone());
    plain.chain(listed.into_iter().flatten()).collect()
}

/// True when the quota has no scopes: kinds that know none count in no other.
pub(super) fn is_unscoped(spec: &ResourceQuotaSpec) -> bool {
    selectors(spec).is_empty()
}

pub(super) fn covers_pod(spec: &ResourceQuotaSpec, pod: &Pod) -> bool {
    selectors(spec).iter().all(|selector| match selector.scope_name.as_str() {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref());
            selects(selector, class.into_iter())
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    })
}

pub(super) fn covers_claim(spec: &ResourceQuotaSpec, claim: &PersistentVolumeClaim) -> bool {
    selectors(spec).iter().all(|selector| {
        selector.scope_name == "VolumeAttributesClass" && selects(selector, attributes_classes(claim).into_iter())
    })
}

pub(super) fn attributes_classes(claim: &PersistentVolumeClaim) -> Vec<&str> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.as_deref());
    let modify = status.and_then(|status| status.modify_volume_status.as_ref());
    let target = modify.and_then(|modify| modify.target_volume_attributes_class_name.as_deref());
    let mut all: Vec<&str> = [wanted, current, target].into_iter().flatten().filter(|name| !name.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A selector over the names an object has: one of them matching is enough.
fn selects<'a>(selector: &ScopedResourceSelectorRequirement, names: impl Iterator<Item = &'a str>) -> bool {
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    let listed = |name: &&str| selector.values.iter().flatten().any(|value| value == name);
    match selector.operator.as_str() {
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        "In" => names.iter().any(listed),
        "NotIn" => names.is_empty() || names.iter().any(|name| !listed(name)),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else { return false };
    let term = |term: &PodAffinityTerm| {
        term.namespaces.as_ref().is_some_and(|all| !all.is_empty()) || term.namespace_selector.is_some()
    };
    let weighted = |weighted: &WeightedPodAffinityTerm| term(&weighted.pod_affinity_term);
    let near = affinity.pod_affinity.as_ref();
    let far = affinity.pod_anti_affinity.as_ref();
    near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()).into_iter().flatten().any(term)
        || far
            .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
            .into_iter()
            .flatten()
            .any(term)
        || near
            .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
            .into_iter()
            .flatten()
            .any(weighted)
        || far
            .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
            .into_iter()
            .flatten()
            .any(weighted)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(amounts: &Amounts) -> String {
        amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn names_belong_to_kinds() {
        for (name, expected) in [
            ("pods", PODS),
            ("count/pods", PODS),
            ("limits.cpu", PODS),
            ("requests.example.com/gpu", PODS),
            ("hugepages-2Mi", PODS),
            ("services.nodeports", SERVICES),
            ("requests.storage", CLAIMS),
            ("gold.storageclass.storage.k8s.io/persistentvolumeclaims", CLAIMS),
            ("count/persistentvolumeclaims", CLAIMS),
            ("gpu.deviceclass.resource.k8s.io/devices", DEVICE_CLAIMS),
            ("secrets", Kind { group: "", resource: "secrets" }),
            ("count/deployments.apps", Kind { group: "apps", resource: "deployments" }),
        ] {
            assert!(expected.counts(name), "{name}");
            let others = [PODS, SERVICES, CLAIMS, DEVICE_CLAIMS].into_iter().filter(|kind| *kind != expected);
            assert!(others.into_iter().all(|kind| !kind.counts(name)), "{name}");
        }
    }

    #[test]
    fn usage_of_each_kind() {
        let at = "2026-01-01T00:01:00Z".parse().expect("time");
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "x.io/gpu": "2"}, "limits": {"memory": "1Gi"}}}]});
        let all = "count/pods=1,cpu=1,limits.memory=1Gi,pods=1,requests.cpu=1,requests.x.io/gpu=2";
        for (meta, status, expected) in [
            (json!({}), json!({}), all),
            (json!({}), json!({"phase": "Failed"}), "count/pods=1"),
            (
                json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}),
                json!({}),
                "count/pods=1",
            ),
            (json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 60}), json!({}), all),
        ] {
            let object: Pod =
                serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).expect("pod");
            assert_eq!(shown(&pod(&object, at)), expected, "{meta} {status}");
        }
        for (kind, expected) in [
            (json!({"type": "NodePort"}), "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2"),
            (json!({"type": "ClusterIP"}), "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0"),
            (
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false}),
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1",
            ),
        ] {
            let mut spec = kind.clone();
            spec["ports"] = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
            let object: Service = serde_json::from_value(json!({"spec": spec})).expect("service");
            assert_eq!(shown(&service(&object)), expected, "{kind}");
        }
        let object: PersistentVolumeClaim = serde_json::from_value(json!({"spec": {"storageClassName": "gold",
            "resources": {"requests": {"storage": "1500m"}}}, "status": {"allocatedResources": {"storage": "1"}}}))
        .expect("claim");
        assert_eq!(
            shown(&claim(&object)),
            "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
             gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2"
        );
    }

    #[test]
    fn scopes() {
        let covers = |spec: Value, of: Value| {
            let spec: ResourceQuotaSpec = serde_json::from_value(spec).expect("spec");
            let mut of = of;
            if of["containers"].is_null() {
                of["containers"] = json!([]);
            }
            let pod: Pod = serde_json::from_value(json!({"spec": of})).expect("pod");
            covers_pod(&spec, &pod)
        };
        let class = |operator: &str, values: Value| json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": values}]}});
        let asking = json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]});
        for (spec, pod, expected) in [
            (json!({}), json!({}), true),
            (json!({"scopes": ["Terminating"]}), json!({}), false),
            (json!({"scopes": ["Terminating"]}), json!({"activeDeadlineSeconds": 1}), true),
            (json!({"scopes": ["BestEffort"]}), json!({}), true),
            (json!({"scopes": ["BestEffort"]}), asking.clone(), false),
            (json!({"scopes": ["NotBestEffort", "NotTerminating"]}), asking, true),
            (class("In", json!(["high"])), json!({"priorityClassName": "high"}), true),
            (class("In", json!(["high"])), json!({"priorityClassName": "low"}), false),
            (class("NotIn", json!(["high"])), json!({}), true),
            (class("Exists", Value::Null), json!({}), false),
            (
                json!({"scopes": ["CrossNamespacePodAffinity"]}),
                json!({"affinity": {"podAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a", "namespaces": ["x"]}]}}}),
                true,
            ),
            (
                json!({"scopes": ["CrossNamespacePodAffinity"]}),
                json!({"affinity": {"podAffinity":
                {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a"}]}}}),
                false,
            ),
        ] {
            assert_eq!(covers(spec.clone(), pod.clone()), expected, "{spec} {pod}");
        }
    }
}
