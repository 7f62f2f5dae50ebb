//! The core group's other kinds, and events of both groups.

use std::collections::BTreeSet;

use api::object::Meta;
use api::value::{Map, Value};

use super::cells::{
    NONE, Now, UNKNOWN, containers, flag, is_true, joined, labels, list, maps, name, number, or, text, text_or,
};
use super::column::{AGE, CONTAINERS, Column, IMAGES, NAME, column, of};
use super::{Printer, printer};

pub(super) const PRINTERS: &[Printer] = &[
    printer("", "replicationcontrollers", REPLICATION_CONTROLLERS, |object, now| {
        let [names, images] = containers(object.at(&["spec", "template"]));
        vec![
            name(object),
            number(object, &["spec", "replicas"]).into(),
            number(object, &["status", "replicas"]).into(),
            number(object, &["status", "readyReplicas"]).into(),
            now.age(object),
            names,
            images,
            labels(object.at(&["spec", "selector"])).into(),
        ]
    }),
    printer("", "services", SERVICES, service),
    printer("", "endpoints", ENDPOINTS, |object, now| vec![name(object), endpoints(object).into(), now.age(object)]),
    printer("", "nodes", NODES, node),
    printer("", "events", EVENTS, event),
    printer("events.k8s.io", "events", EVENTS, event),
    printer("", "namespaces", NAMESPACES, |object, now| {
        vec![name(object), text(object, &["status", "phase"]).into(), now.age(object)]
    }),
    printer("", "secrets", SECRETS, |object, now| {
        vec![name(object), object.str("type").into(), entries(object, "data").into(), now.age(object)]
    }),
    printer("", "serviceaccounts", SERVICE_ACCOUNTS, |object, now| vec![name(object), now.age(object)]),
    printer("", "configmaps", CONFIG_MAPS, |object, now| {
        let data = entries(object, "data") + entries(object, "binaryData");
        vec![name(object), data.into(), now.age(object)]
    }),
    printer("", "resourcequotas", RESOURCE_QUOTAS, resource_quota),
    printer("", "componentstatuses", COMPONENT_STATUSES, component_status),
];

/// Longest text of load balancers is not cut: the server always answers for `-o wide`.
pub(super) fn load_balancers(object: &Map) -> String {
    let ingresses = maps(object, &["status", "loadBalancer", "ingress"]);
    let sorted: BTreeSet<&str> =
        ingresses.map(|one| or(one.str("ip"), one.str("hostname"))).filter(|one| !one.is_empty()).collect();
    sorted.into_iter().collect::<Vec<_>>().join(",")
}

fn entries(object: &Map, name: &str) -> i64 {
    object.map(name).map_or(0, |map| map.len() as i64)
}

fn service(object: &Map, now: Now) -> Vec<Value> {
    let ports = maps(object, &["spec", "ports"]).map(|port| {
        let (number, protocol) = (number(port, &["port"]), port.str("protocol"));
        match port.i64("nodePort").filter(|node| *node > 0) {
            Some(node) => format!("{number}:{node}/{protocol}"),
            None => format!("{number}/{protocol}"),
        }
    });
    let ports = ports.collect::<Vec<_>>().join(",");
    let ip = list(object, &["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or(NONE);
    vec![
        name(object),
        text(object, &["spec", "type"]).into(),
        ip.into(),
        external_ip(object).into(),
        or(&ports, NONE).into(),
        now.age(object),
        labels(object.at(&["spec", "selector"])).into(),
    ]
}

fn external_ip(object: &Map) -> String {
    let external = joined(object, &["spec", "externalIPs"], ",");
    match text(object, &["spec", "type"]) {
        "ClusterIP" | "NodePort" => or(&external, NONE).into(),
        "LoadBalancer" => {
            let all = [load_balancers(object), external];
            let all: Vec<&str> = all.iter().map(String::as_str).filter(|one| !one.is_empty()).collect();
            or(&all.join(","), "<pending>").into()
        }
        "ExternalName" => text(object, &["spec", "externalName"]).into(),
        _ => UNKNOWN.into(),
    }
}

/// At most this many addresses are shown.
const ENDPOINTS_MAX: usize = 3;

fn endpoints(object: &Map) -> String {
    if list(object, &["subsets"]).is_empty() {
        return NONE.into();
    }
    let mut all = Vec::new();
    for subset in object.maps("subsets") {
        let addresses = || subset.maps("addresses").map(|address| address.str("ip"));
        if subset.list("ports").is_empty() {
            all.extend(addresses().map(String::from));
        }
        for port in subset.maps("ports") {
            let port = number(port, &["port"]);
            all.extend(
                addresses().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    let shown = all[..all.len().min(ENDPOINTS_MAX)].join(",");
    match all.len() {
        more if more > ENDPOINTS_MAX => format!("{shown} + {} more...", more - ENDPOINTS_MAX),
        _ => shown,
    }
}

fn node(object: &Map, now: Now) -> Vec<Value> {
    let ready = super::cells::condition(object, "Ready");
    let mut status = match ready {
        Some(_) if is_true(object, "Ready") => "Ready".to_string(),
        Some(_) => "NotReady".into(),
        None => "Unknown".into(),
    };
    if flag(object, &["spec", "unschedulable"]) {
        status.push_str(",SchedulingDisabled");
    }
    let info = |field: &str| text(object, &["status", "nodeInfo", field]).to_string();
    let kernel = match info("architecture").as_str() {
        "" => or(&info("kernelVersion"), UNKNOWN).to_string(),
        architecture => format!("{} ({architecture})", or(&info("kernelVersion"), UNKNOWN)),
    };
    vec![
        name(object),
        status.into(),
        or(&roles(object), NONE).into(),
        now.age(object),
        info("kubeletVersion").into(),
        address(object, "InternalIP").into(),
        address(object, "ExternalIP").into(),
        or(&info("osImage"), UNKNOWN).into(),
        kernel.into(),
        or(&info("containerRuntimeVersion"), UNKNOWN).into(),
    ]
}

fn address<'m>(node: &'m Map, ty: &str) -> &'m str {
    let found = maps(node, &["status", "addresses"]).find(|address| address.str("type") == ty);
    found.map_or(NONE, |address| address.str("address"))
}

fn roles(node: &Map) -> String {
    let mut roles = BTreeSet::new();
    for (label, value) in node.meta().map("labels").into_iter().flat_map(Map::iter) {
        match label.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => roles.insert(role),
            None if label == "kubernetes.io/role" => {
                value.as_str().filter(|role| !role.is_empty()).is_some_and(|role| roles.insert(role))
            }
            _ => false,
        };
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

/// The value under the name of either group's event.
fn either<'m>(event: &'m Map, core: &str, events: &str) -> Option<&'m Value> {
    event.get(core).or_else(|| event.get(events))
}

fn either_text<'m>(event: &'m Map, core: &str, events: &str) -> &'m str {
    either(event, core, events).and_then(Value::as_str).unwrap_or("")
}

fn event(event: &Map, now: Now) -> Vec<Value> {
    let first = either_text(event, "firstTimestamp", "deprecatedFirstTimestamp");
    let first = now.since(or(first, event.str("eventTime")));
    let last = either_text(event, "lastTimestamp", "deprecatedLastTimestamp");
    let series = event.map("series");
    let last = match series {
        Some(series) => now.since(series.str("lastObservedTime")),
        None if last.is_empty() => first.clone(),
        None => now.since(last),
    };
    let counted = either(event, "count", "deprecatedCount").and_then(Value::as_i64);
    let counted = match series {
        Some(series) => number(series, &["count"]),
        // Singleton events do not count.
        None => counted.filter(|count| *count != 0).unwrap_or(1),
    };
    let about = either(event, "involvedObject", "regarding").and_then(Value::as_map).unwrap_or(Map::EMPTY);
    let kind = about.str("kind").to_lowercase();
    let target = if about.str("name").is_empty() { kind } else { format!("{kind}/{}", about.str("name")) };
    vec![
        last.into(),
        event.str("type").into(),
        event.str("reason").into(),
        target.into(),
        about.str("fieldPath").into(),
        source(event).into(),
        either_text(event, "message", "note").trim().into(),
        first.into(),
        counted.into(),
        name(event),
    ]
}

fn source(event: &Map) -> String {
    let source = either(event, "source", "deprecatedSource").and_then(Value::as_map).unwrap_or(Map::EMPTY);
    let component = or(source.str("component"), either_text(event, "reportingComponent", "reportingController"));
    match or(source.str("host"), event.str("reportingInstance")) {
        "" => component.into(),
        instance => format!("{component}, {instance}"),
    }
}

fn resource_quota(object: &Map, now: Now) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let mut hard: Vec<(&str, &str)> = object
        .at(&["status", "hard"])
        .into_iter()
        .flat_map(Map::iter)
        .map(|(k, v)| (k.as_str(), v.as_str().unwrap_or("0")))
        .collect();
    hard.sort_unstable();
    for (resource, hard) in hard {
        let used = text_or(object, &["status", "used", resource], "0");
        let column = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
        column.push(format!("{resource}: {used}/{hard}"));
    }
    vec![name(object), requests.join(", ").into(), limits.join(", ").into(), now.age(object)]
}

fn component_status(object: &Map, _: Now) -> Vec<Value> {
    let healthy = object.maps("conditions").find(|condition| condition.str("type") == "Healthy");
    let status = match healthy.map(|condition| condition.str("status")) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let of = |field: &str| Value::from(healthy.map_or("", |condition| condition.str(field)));
    vec![name(object), status.into(), of("message"), of("error")]
}

const REPLICATION_CONTROLLERS: &[Column] = &[
    NAME,
    of("Desired", "io.k8s.api.core.v1.ReplicationControllerSpec", "replicas").integer(),
    of("Current", "io.k8s.api.core.v1.ReplicationControllerStatus", "replicas").integer(),
    of("Ready", "io.k8s.api.core.v1.ReplicationControllerStatus", "readyReplicas").integer(),
    AGE,
    CONTAINERS,
    IMAGES,
    of("Selector", "io.k8s.api.core.v1.ReplicationControllerSpec", "selector").wide(),
];

const SERVICES: &[Column] = &[
    NAME,
    of("Type", "io.k8s.api.core.v1.ServiceSpec", "type"),
    of("Cluster-IP", "io.k8s.api.core.v1.ServiceSpec", "clusterIP"),
    of("External-IP", "io.k8s.api.core.v1.ServiceSpec", "externalIPs"),
    of("Port(s)", "io.k8s.api.core.v1.ServiceSpec", "ports"),
    AGE,
    of("Selector", "io.k8s.api.core.v1.ServiceSpec", "selector").wide(),
];

const ENDPOINTS: &[Column] = &[NAME, of("Endpoints", "io.k8s.api.core.v1.Endpoints", "subsets"), AGE];

const NODES: &[Column] = &[
    NAME,
    column("Status", "The status of the node"),
    column("Roles", "The roles of the node"),
    AGE,
    of("Version", "io.k8s.api.core.v1.NodeSystemInfo", "kubeletVersion"),
    of("Internal-IP", "io.k8s.api.core.v1.NodeStatus", "addresses").wide(),
    of("External-IP", "io.k8s.api.core.v1.NodeStatus", "addresses").wide(),
    of("OS-Image", "io.k8s.api.core.v1.NodeSystemInfo", "osImage").wide(),
    of("Kernel-Version", "io.k8s.api.core.v1.NodeSystemInfo", "kernelVersion").wide(),
    of("Container-Runtime", "io.k8s.api.core.v1.NodeSystemInfo", "containerRuntimeVersion").wide(),
];

const EVENTS: &[Column] = &[
    of("Last Seen", "io.k8s.api.core.v1.Event", "lastTimestamp"),
    of("Type", "io.k8s.api.core.v1.Event", "type"),
    of("Reason", "io.k8s.api.core.v1.Event", "reason"),
    of("Object", "io.k8s.api.core.v1.Event", "involvedObject"),
    of("Subobject", "io.k8s.api.core.v1.ObjectReference", "fieldPath").wide(),
    of("Source", "io.k8s.api.core.v1.Event", "source").wide(),
    of("Message", "io.k8s.api.core.v1.Event", "message"),
    of("First Seen", "io.k8s.api.core.v1.Event", "firstTimestamp").wide(),
    of("Count", "io.k8s.api.core.v1.Event", "count").wide(),
    of("Name", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "name").name().wide(),
];

const NAMESPACES: &[Column] = &[NAME, column("Status", "The status of the namespace"), AGE];

const SECRETS: &[Column] =
    &[NAME, of("Type", "io.k8s.api.core.v1.Secret", "type"), of("Data", "io.k8s.api.core.v1.Secret", "data"), AGE];

const SERVICE_ACCOUNTS: &[Column] = &[NAME, AGE];

const CONFIG_MAPS: &[Column] = &[NAME, of("Data", "io.k8s.api.core.v1.ConfigMap", "data"), AGE];

const RESOURCE_QUOTAS: &[Column] = &[
    NAME,
    column("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
    column(
        "Limit",
        "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
    ),
    AGE,
];

const COMPONENT_STATUSES: &[Column] = &[
    NAME,
    column("Status", "Status of the component conditions"),
    column("Message", "Message of the component conditions"),
    column("Error", "Error of the component conditions"),
];
