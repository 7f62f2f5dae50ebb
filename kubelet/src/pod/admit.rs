//! Whether a pod may run here at all (pkg/kubelet/lifecycle/predicate.go@v1.37.2,
//! k8s.io/kubernetes/pkg/scheduler/eventhandlers.go, AdmissionCheck).
//!
//! Invariant: the scheduler asked the same; this only guards against races and hand-bound pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};

use super::{guard, shape};
use crate::kubelet::Kubelet;
use crate::resources::{self, Amounts};

/// Reason and message.
pub(crate) type Refusal = (String, String);

pub(crate) fn admit(kubelet: &Kubelet, pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    if !kubelet.runtime.is_fake() {
        guard::check(pod, &kubelet.config.allowed_unsafe_sysctls, guard::host_has_apparmor())?;
    }
    check(&kubelet.node.node(), pod, others)
}

fn check(node: &Node, pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    let spec = shape::spec(pod);
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let os = pod.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/os"));
    if os.is_some_and(|os| os != "linux") {
        let text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Err(("PodOSSelectorNodeLabelDoesNotMatch".into(), text.into()));
    }
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        let text = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(("PodOSNotSupported".into(), text.into()));
    }
    fits(node, pod, others)?;
    let failed = |name: &str, why: &str| Err((name.to_owned(), format!("Predicate {name} failed: {why}")));
    if !affine(pod, &labels, node.metadata.name.as_deref().unwrap_or("")) {
        return failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    }
    if spec.node_name.as_deref().is_some_and(|name| !name.is_empty() && Some(name) != node.metadata.name.as_deref()) {
        return failed("NodeName", "node(s) didn't match the requested node name");
    }
    let taken: Vec<Port> = others.iter().flat_map(|other| ports(other)).collect();
    if ports(pod).iter().any(|port| taken.iter().any(|other| conflict(port, other))) {
        return failed("NodePorts", "node(s) didn't have free ports for the requested pod ports");
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or(&[]);
    let tolerations = spec.tolerations.as_deref().unwrap_or(&[]);
    let untolerated = |taint: &Taint| {
        taint.effect == "NoExecute" && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    };
    if !shape::is_static(pod) && taints.iter().any(untolerated) {
        return failed("TaintToleration", "node(s) had taints that the pod didn't tolerate");
    }
    Ok(())
}

fn fits(node: &Node, pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    let status = node.status.as_ref();
    let capacity = resources::amounts(status.and_then(|status| status.allocatable.as_ref()));
    let of = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(0);
    let refuse = |name: &str, requested: i128, used: i128, capacity: i128| {
        let text = format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        Err((format!("OutOf{name}"), text))
    };
    let (count, allowed) = (others.len() as i128, of(&capacity, "pods") / 1000);
    if count + 1 > allowed {
        return refuse("pods", 1, count, allowed);
    }
    let wanted = resources::pod_requests(pod);
    let mut used = Amounts::new();
    for other in others {
        resources::pod_requests(other).into_iter().for_each(|(name, amount)| *used.entry(name).or_default() += amount);
    }
    for (name, amount) in wanted.iter().filter(|(_, amount)| **amount > 0) {
        // An extended resource that the node does not have is a matter of the cluster.
        if name.contains('/') && !capacity.contains_key(name) {
            continue;
        }
        let unit = if name == "cpu" { 1 } else { 1000 };
        let (wanted, used, has) = (amount / unit, of(&used, name) / unit, of(&capacity, name) / unit);
        if wanted > has - used {
            return refuse(name, wanted, used, has);
        }
    }
    Ok(())
}

fn affine(pod: &Pod, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let spec = shape::spec(pod);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = required.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required
            .is_none_or(|selector| selector.node_selector_terms.iter().any(|term| term_matches(term, labels, name)))
}

fn term_matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    let by_field = |one: &NodeSelectorRequirement| requirement(one, (one.key == "metadata.name").then_some(name));
    // A term that asks nothing matches nothing.
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|one| requirement(one, labels.get(&one.key).map(String::as_str)))
        && fields.iter().all(by_field)
}

fn requirement(one: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = one.values.as_deref().unwrap_or(&[]);
    let listed = || value.is_some_and(|value| values.iter().any(|other| other == value));
    let compare = |test: fn(&i64, &i64) -> bool| {
        let numbers = (value.and_then(|v| v.parse().ok()), values.first().and_then(|v| v.parse().ok()));
        matches!(numbers, (Some(a), Some(b)) if test(&a, &b))
    };
    match one.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

/// Protocol, address and number.
type Port = (String, String, i32);

fn ports(pod: &Pod) -> Vec<Port> {
    let sidecars = shape::init_containers(pod).iter().filter(|c| shape::is_sidecar(c));
    let all = shape::spec(pod).containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let used = all.filter(|port| port.host_port.unwrap_or(0) > 0);
    used.map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
        (protocol, ip, port.host_port.unwrap_or(0))
    })
    .collect()
}

fn conflict(a: &Port, b: &Port) -> bool {
    let any = |ip: &str| ip == "0.0.0.0";
    a.0 == b.0 && a.2 == b.2 && (a.1 == b.1 || any(&a.1) || any(&b.1))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let effect = text(&toleration.effect);
    let key = text(&toleration.key);
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            _ => text(&toleration.value) == text(&taint.value) && !key.is_empty(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, yaml};

    fn node() -> Node {
        yaml(
            "{metadata: {name: n, labels: {zone: a}}, spec: {taints: [{key: k, effect: NoExecute}, {key: s, effect: NoSchedule}]}, \
             status: {allocatable: {cpu: '1', memory: 1Gi, pods: '2'}}}",
        )
    }

    #[test]
    fn refusals() {
        let tolerant = "tolerations: [{operator: Exists}]";
        let other = Arc::new(pod(
            "{containers: [{name: b, ports: [{containerPort: 1, hostPort: 80}], resources: {requests: {cpu: 600m}}}]}",
        ));
        let check = |spec: &str, count: usize, expect: Option<&str>| {
            let others = vec![other.clone(); count];
            let found =
                check(&node(), &pod(spec), &others).err().map(|(reason, message)| format!("{reason}: {message}"));
            assert_eq!(found.as_deref(), expect, "{spec}");
        };
        check(&format!("{{{tolerant}, containers: [{{name: a}}]}}"), 1, None);
        let full = "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2";
        check(&format!("{{{tolerant}, containers: [{{name: a}}]}}"), 2, Some(full));
        let cpu = "OutOfcpu: Node didn't have enough resource: cpu, requested: 500, used: 600, capacity: 1000";
        check(
            &format!("{{{tolerant}, containers: [{{name: a, resources: {{requests: {{cpu: 500m}}}}}}]}}"),
            1,
            Some(cpu),
        );
        let ports = "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        check(
            &format!("{{{tolerant}, containers: [{{name: a, ports: [{{containerPort: 1, hostPort: 80}}]}}]}}"),
            1,
            Some(ports),
        );
        let affinity = "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        check(&format!("{{{tolerant}, nodeSelector: {{zone: b}}, containers: [{{name: a}}]}}"), 0, Some(affinity));
        check(&format!("{{{tolerant}, nodeSelector: {{zone: a}}, containers: [{{name: a}}]}}"), 0, None);
        let taint =
            "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
        check("{containers: [{name: a}]}", 0, Some(taint));
        check("{tolerations: [{key: k, operator: Exists}], containers: [{name: a}]}", 0, None);
    }
}
