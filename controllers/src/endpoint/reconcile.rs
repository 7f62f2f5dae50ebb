//! Which EndpointSlices a Service should have: `reconcile(service, pods, existing)` is pure
//! (k8s.io/endpointslice/{reconciler,utils}.go@v0.37.2).
//!
//! Invariant: at most [`MAX_ENDPOINTS`] endpoints a slice, and as few slices rewritten as possible: changed
//! slices are filled first, then one that is not full, then new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::hints::Distribution;
use super::pods::{addresses, belongs, find_port, hostname, is_headless, spec};
use crate::common::owner::controller_ref;
use crate::common::pods::{is_ready, node_name};
use crate::common::selector::Labels;

/// --max-endpoints-per-slice
pub(super) const MAX_ENDPOINTS: usize = 100;
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const CONTROLLER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Longest name of a slice, in bytes.
pub(super) const NAME_MAX: usize = 253;

/// What to write. Slices to create have no name.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<EndpointSlice>,
    /// Pods left out because their nodes are not known (yet).
    pub(super) errors: Vec<String>,
}

/// What tells endpoints apart (k8s.io/endpointslice/util/endpointset.go): addresses, host name, pod.
pub(super) type EndpointKey = (Vec<String>, Option<String>, Option<String>, Option<String>);
type EndpointSet = BTreeMap<EndpointKey, Endpoint>;
/// Ports in a fixed order, as text.
pub(super) type PortKey = String;

pub(super) fn reconcile(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    existing: &[Arc<EndpointSlice>],
) -> Plan {
    let types = address_types(service);
    let mut plan = Plan::default();
    let (of_type, other): (Vec<_>, Vec<_>) = existing.iter().partition(|slice| types.contains(&*slice.address_type));
    plan.delete.extend(other.into_iter().map(|slice| (**slice).clone()));
    for kind in types {
        let slices =
            of_type.iter().filter(|slice| slice.address_type == kind).map(|slice| (***slice).clone()).collect();
        let by_ports = desired(service, pods, &node, kind, &mut plan.errors);
        let part = of_address_type(service, kind, slices, by_ports);
        plan.create.extend(part.create);
        plan.update.extend(part.update);
        plan.delete.extend(part.delete);
    }
    plan.errors.sort();
    plan.errors.dedup();
    plan
}

fn address_types(service: &Service) -> BTreeSet<&'static str> {
    let spec = spec(service);
    let families = spec.ip_families.iter().flatten();
    let known: BTreeSet<&'static str> = families.map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    if !known.is_empty() {
        return known;
    }
    match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => BTreeSet::from(["IPv4", "IPv6"]),
        Some(ip) => BTreeSet::from([if ip.contains(':') { "IPv6" } else { "IPv4" }]),
    }
}

/// The endpoints wanted, by the ports that the pods have for the Service.
fn desired(
    service: &Service,
    pods: &[Arc<Pod>],
    node: &impl Fn(&str) -> Option<Arc<Node>>,
    kind: &str,
    errors: &mut Vec<String>,
) -> BTreeMap<PortKey, (Vec<EndpointPort>, EndpointSet)> {
    let mut by_ports: BTreeMap<PortKey, (Vec<EndpointPort>, EndpointSet)> = BTreeMap::new();
    let publish = spec(service).publish_not_ready_addresses == Some(true);
    for pod in pods.iter().filter(|pod| belongs(pod, true)) {
        let ports = ports_of(service, pod);
        let (_, endpoints) = by_ports.entry(port_key(&ports)).or_insert_with(|| (ports, EndpointSet::new()));
        let node = node(node_name(pod));
        if node.is_none() && !publish {
            let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
            errors.push(format!(
                "skipping Pod {} for Service {}/{}: Node {} Not Found",
                pod.metadata.name.as_deref().unwrap_or(""),
                namespace.as_deref().unwrap_or(""),
                name.as_deref().unwrap_or(""),
                node_name(pod)
            ));
            continue;
        }
        let endpoint = endpoint_of(service, pod, node.as_deref(), kind);
        if !endpoint.addresses.is_empty() {
            endpoints.insert(endpoint_key(&endpoint), endpoint);
        }
    }
    by_ports
}

fn ports_of(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let spec = spec(service);
    let mut ports: Vec<EndpointPort> = spec
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(find_port(pod, port)?),
                protocol: port.protocol.clone(),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort_by_key(|port| format!("{port:?}"));
    ports
}

pub(super) fn port_key(ports: &[EndpointPort]) -> PortKey {
    let mut texts: Vec<String> = ports.iter().map(|port| format!("{port:?}")).collect();
    texts.sort();
    texts.concat()
}

fn endpoint_of(service: &Service, pod: &Pod, node: Option<&Node>, kind: &str) -> Endpoint {
    let (serving, terminating) = (is_ready(pod), pod.metadata.deletion_timestamp.is_some());
    let publish = spec(service).publish_not_ready_addresses == Some(true);
    let of_kind = addresses(pod).filter(|ip| ip.is_ipv6() == (kind == "IPv6"));
    let zone = node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE)).filter(|zone| !zone.is_empty());
    Endpoint {
        addresses: of_kind.map(|ip| ip.to_string()).collect(),
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        node_name: Some(node_name(pod)).filter(|name| !name.is_empty()).map(Into::into),
        zone: zone.cloned(),
        hostname: hostname(pod, service).map(Into::into),
        ..Endpoint::default()
    }
}

pub(super) fn endpoint_key(endpoint: &Endpoint) -> EndpointKey {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    let target = endpoint.target_ref.clone().unwrap_or_default();
    (addresses, endpoint.hostname.clone(), target.namespace, target.name)
}

/// Equal in what the key does not hold. Hints are set later.
pub(super) fn same_beyond_key(a: &Endpoint, b: &Endpoint) -> bool {
    let target = |endpoint: &Endpoint| {
        endpoint.target_ref.clone().map(|target| ObjectReference { resource_version: None, ..target })
    };
    a.node_name == b.node_name && a.zone == b.zone && a.conditions == b.conditions && target(a) == target(b)
}

fn of_address_type(
    service: &Service,
    kind: &'static str,
    existing: Vec<EndpointSlice>,
    desired: BTreeMap<PortKey, (Vec<EndpointPort>, EndpointSet)>,
) -> Plan {
    let total = existing.len();
    let mut plan = Plan::default();
    let mut by_ports: BTreeMap<PortKey, Vec<EndpointSlice>> = BTreeMap::new();
    for slice in existing {
        if is_owned_by(&slice, service) {
            by_ports.entry(port_key(slice.ports.as_deref().unwrap_or_default())).or_default().push(slice);
        } else {
            plan.delete.push(slice);
        }
    }
    let mut unchanged = Vec::new();
    for (key, (ports, endpoints)) in desired {
        let slices = by_ports.remove(&key).unwrap_or_default();
        let part = of_ports(service, kind, slices, ports, endpoints);
        plan.create.extend(part.create);
        plan.update.extend(part.update);
        plan.delete.extend(part.delete);
        unchanged.extend(part.unchanged);
    }
    plan.delete.extend(by_ports.into_values().flatten());
    if plan.delete.len() == total && plan.create.is_empty() {
        keep_placeholder(service, kind, &mut plan);
    }
    let distribution = Distribution::of(service);
    for slice in plan.create.iter_mut().chain(&mut plan.update) {
        distribution.apply(slice);
    }
    for mut slice in unchanged {
        if distribution.apply(&mut slice) {
            plan.update.push(slice);
        }
    }
    reuse(service, &mut plan);
    plan
}

/// A Service without endpoints has one empty slice.
fn keep_placeholder(service: &Service, kind: &str, plan: &mut Plan) {
    let placeholder = new_slice(service, kind, Vec::new());
    let is_it = |slice: &EndpointSlice| {
        slice.endpoints.as_ref().is_none_or(Vec::is_empty)
            && slice.ports.as_ref().is_none_or(Vec::is_empty)
            && slice.metadata.labels == placeholder.metadata.labels
            && slice.metadata.owner_references == placeholder.metadata.owner_references
    };
    match plan.delete.as_slice() {
        [only] if is_it(only) => plan.delete.clear(),
        _ => plan.create.push(placeholder),
    }
}

/// Turns a deletion and a creation into one update.
fn reuse(service: &Service, plan: &mut Plan) {
    let mut index = 0;
    while index < plan.delete.len() && !plan.create.is_empty() {
        if !is_owned_by(&plan.delete[index], service) {
            index += 1;
            continue;
        }
        let old = plan.delete.remove(index);
        if let Some(mut slice) = plan.create.pop() {
            slice.metadata.name = old.metadata.name;
            slice.metadata.generate_name = None;
            plan.update.push(slice);
        }
    }
}

#[derive(Default)]
struct OfPorts {
    create: Vec<EndpointSlice>,
    update: Vec<EndpointSlice>,
    delete: Vec<EndpointSlice>,
    unchanged: Vec<EndpointSlice>,
}

fn of_ports(
    service: &Service,
    kind: &str,
    existing: Vec<EndpointSlice>,
    ports: Vec<EndpointPort>,
    mut desired: EndpointSet,
) -> OfPorts {
    let mut part = OfPorts::default();
    for mut slice in existing {
        let before = slice.endpoints.take().unwrap_or_default();
        let (mut kept, mut changed) = (Vec::new(), false);
        for endpoint in &before {
            if let Some(mut wanted) = desired.remove(&endpoint_key(endpoint)) {
                changed |= !same_beyond_key(&wanted, endpoint);
                wanted.hints = endpoint.hints.clone();
                kept.push(wanted);
            }
        }
        changed |= kept.len() != before.len();
        let labels = labels_of(service);
        let relabelled = slice.metadata.labels.as_ref() != Some(&labels);
        if changed && kept.is_empty() {
            part.delete.push(EndpointSlice { endpoints: Some(before), ..slice });
        } else if changed || relabelled {
            slice.endpoints = Some(kept);
            slice.metadata.labels = Some(labels);
            part.update.push(slice);
        } else {
            slice.endpoints = Some(before);
            part.unchanged.push(slice);
        }
    }
    part.update.sort_by_key(|slice| std::cmp::Reverse(len(slice)));
    for slice in &mut part.update {
        fill(slice, &mut desired);
    }
    while !desired.is_empty() {
        match slice_to_fill(&part.unchanged, desired.len()) {
            Some(index) => {
                let mut slice = part.unchanged.remove(index);
                fill(&mut slice, &mut desired);
                part.update.push(slice);
            }
            None => {
                let mut slice = new_slice(service, kind, ports.clone());
                fill(&mut slice, &mut desired);
                part.create.push(slice);
            }
        }
    }
    part
}

fn len(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

fn fill(slice: &mut EndpointSlice, endpoints: &mut EndpointSet) {
    while len(slice) < MAX_ENDPOINTS
        && let Some((_, endpoint)) = endpoints.pop_first()
    {
        slice.endpoints.get_or_insert_default().push(endpoint);
    }
}

/// The slice that `count` more endpoints fill best without overflowing.
fn slice_to_fill(slices: &[EndpointSlice], count: usize) -> Option<usize> {
    let fits = |slice: &EndpointSlice| len(slice) + count <= MAX_ENDPOINTS && len(slice) + count > 0;
    let candidates = slices.iter().enumerate().filter(|(_, slice)| count < MAX_ENDPOINTS && fits(slice));
    candidates.max_by_key(|(index, slice)| (len(slice), std::cmp::Reverse(*index))).map(|(index, _)| index)
}

pub(super) fn is_owned_by(slice: &EndpointSlice, service: &Service) -> bool {
    slice.metadata.owner_references.iter().flatten().any(|owner| {
        Some(&owner.uid) == service.metadata.uid.as_ref() && owner.kind == "Service" && owner.api_version == "v1"
    })
}

fn new_slice(service: &Service, kind: &str, ports: Vec<EndpointPort>) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or("");
    let prefix = format!("{name}-");
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(if prefix.len() > NAME_MAX { name.into() } else { prefix }),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels_of(service)),
            owner_references: Some(vec![controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: kind.into(),
        endpoints: Some(Vec::new()),
        ports: Some(ports),
    }
}

/// The Service's labels and those that make the slice findable.
fn labels_of(service: &Service) -> Labels {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if is_headless(&spec(service)) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(more: &str) -> Service {
        let text = format!(
            r#"{{"metadata":{{"name":"s","namespace":"ns","uid":"s"}},"spec":{{"clusterIP":"10.0.0.9","selector":{{}},"ports":[{{"port":80,"targetPort":"http","protocol":"TCP"}}]{more}}}}}"#
        );
        serde_json::from_str(&text).expect("service")
    }

    fn pod(number: usize, ready: bool) -> Arc<Pod> {
        let (ip, status) = (format!("10.1.{}.{}", number / 250, number % 250), if ready { "True" } else { "False" });
        let text = format!(
            r#"{{"metadata":{{"name":"p{number}","namespace":"ns","uid":"p{number}"}},"spec":{{"nodeName":"n","containers":[{{"name":"c","ports":[{{"name":"http","containerPort":8080,"protocol":"TCP"}}]}}]}},
              "status":{{"podIPs":[{{"ip":"{ip}"}}],"conditions":[{{"type":"Ready","status":"{status}"}}]}}}}"#
        );
        Arc::new(serde_json::from_str(&text).expect("pod"))
    }

    fn node(name: &str) -> Option<Arc<Node>> {
        let text = r#"{"metadata":{"labels":{"topology.kubernetes.io/zone":"z"}}}"#;
        (name == "n").then(|| Arc::new(serde_json::from_str(text).expect("node")))
    }

    /// Applies a plan as an API server would.
    fn apply(existing: &[Arc<EndpointSlice>], plan: Plan) -> Vec<Arc<EndpointSlice>> {
        let mut slices: BTreeMap<String, EndpointSlice> =
            existing.iter().map(|slice| (slice.metadata.name.clone().unwrap_or_default(), (**slice).clone())).collect();
        for slice in plan.delete {
            slices.remove(slice.metadata.name.as_deref().unwrap_or(""));
        }
        for mut slice in plan.create {
            slice.metadata.name = Some(format!("s-{}", slices.len()));
            slices.insert(slice.metadata.name.clone().unwrap_or_default(), slice);
        }
        for slice in plan.update {
            slices.insert(slice.metadata.name.clone().unwrap_or_default(), slice);
        }
        slices.into_values().map(Arc::new).collect()
    }

    fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
        slices.iter().map(|slice| len(slice)).collect()
    }

    #[test]
    fn slices_hold_a_hundred_and_are_rewritten_as_little_as_possible() {
        let service = service("");
        let pods: Vec<Arc<Pod>> = (0..250).map(|number| pod(number, true)).collect();
        let slices = apply(&[], reconcile(&service, &pods, node, &[]));
        assert_eq!(sizes(&slices), [100, 100, 50]);
        let again = reconcile(&service, &pods, node, &slices);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(), "{again:?}");
        let more: Vec<Arc<Pod>> = (0..260).map(|number| pod(number, true)).collect();
        let plan = reconcile(&service, &more, node, &slices);
        assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
        let slices = apply(&slices, plan);
        assert_eq!(sizes(&slices), [100, 100, 60]);
        let none = apply(&slices, reconcile(&service, &[], node, &slices));
        assert_eq!(sizes(&none), [0], "the placeholder");
        let again = reconcile(&service, &[], node, &none);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(), "{again:?}");
    }

    #[test]
    fn an_endpoint_as_upstream_writes_it() {
        let plan = reconcile(&service(""), &[pod(1, false)], node, &[]);
        let value = serde_json::to_value(&plan.create[0]).expect("json");
        assert_eq!(value["ports"], serde_json::json!([{"name": "", "port": 8080, "protocol": "TCP"}]));
        let expected = serde_json::json!([{"addresses": ["10.1.0.1"], "nodeName": "n", "zone": "z",
            "conditions": {"ready": false, "serving": false, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "ns", "name": "p1", "uid": "p1"}}]);
        assert_eq!(value["endpoints"], expected);
        assert_eq!(value["metadata"]["generateName"], "s-");
        let expected = serde_json::json!({MANAGED_BY: CONTROLLER, SERVICE_NAME: "s"});
        assert_eq!(value["metadata"]["labels"], expected);
    }

    #[test]
    fn families_unknown_nodes_and_publishing() {
        let both = reconcile(&service(r#","ipFamilies":["IPv4","IPv6"]"#), &[pod(1, true)], node, &[]);
        let kinds: Vec<(&str, usize)> = both.create.iter().map(|s| (s.address_type.as_str(), len(s))).collect();
        assert_eq!(kinds, [("IPv4", 1), ("IPv6", 0)]);
        let lost = reconcile(&service(""), &[pod(1, true)], |_| None, &[]);
        assert_eq!(lost.errors, ["skipping Pod p1 for Service ns/s: Node n Not Found"]);
        let published = reconcile(&service(r#","publishNotReadyAddresses":true"#), &[pod(1, false)], |_| None, &[]);
        let endpoint = published.create[0].endpoints.clone().expect("endpoints").remove(0);
        assert_eq!(endpoint.conditions.and_then(|c| c.ready), Some(true));
        assert!(published.errors.is_empty());
    }
}
