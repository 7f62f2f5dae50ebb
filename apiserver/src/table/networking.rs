//! networking.k8s.io and discovery.k8s.io.

use api::object::Meta;
use api::value::{Map, Value};

use super::cells::{NONE, Now, joined, list, maps, name, selector_or_none, some_of, text, text_or};
use super::column::{AGE, Column, NAME, column, of};
use super::core::load_balancers;
use super::{Printer, printer};

/// At most this many hosts, ports or addresses are shown.
const SHOWN_MAX: usize = 3;

pub(super) const PRINTERS: &[Printer] = &[
    printer("networking.k8s.io", "ingresses", INGRESSES, |object, now| {
        let ports = if list(object, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
        vec![
            name(object),
            text_or(object, &["spec", "ingressClassName"], NONE).into(),
            hosts(object).into(),
            load_balancers(object).into(),
            ports.into(),
            now.age(object),
        ]
    }),
    printer("networking.k8s.io", "ingressclasses", INGRESS_CLASSES, ingress_class),
    printer("networking.k8s.io", "networkpolicies", NETWORK_POLICIES, |object, now| {
        vec![name(object), selector_or_none(object.at(&["spec", "podSelector"])), now.age(object)]
    }),
    printer("networking.k8s.io", "servicecidrs", SERVICE_CIDRS, |object, now| {
        vec![name(object), joined(object, &["spec", "cidrs"], ",").into(), now.age(object)]
    }),
    // Upstream's cells are one more than its columns.
    printer("networking.k8s.io", "ipaddresses", IP_ADDRESSES, |object, now| {
        vec![name(object), parent(object).into(), now.age(object)]
    }),
    printer("discovery.k8s.io", "endpointslices", ENDPOINT_SLICES, endpoint_slice),
];

fn hosts(object: &Map) -> String {
    let rules = list(object, &["spec", "rules"]).len();
    let hosts: Vec<&str> =
        maps(object, &["spec", "rules"]).map(|rule| rule.str("host")).filter(|host| !host.is_empty()).collect();
    if hosts.is_empty() {
        return "*".into();
    }
    let shown = hosts[..hosts.len().min(SHOWN_MAX)].join(",");
    // Whatever rules follow the last host that is shown are more, with a host or without.
    let mut seen = 0;
    let full_at = maps(object, &["spec", "rules"]).position(|rule| {
        seen += usize::from(!rule.str("host").is_empty());
        seen == SHOWN_MAX
    });
    match full_at {
        Some(at) if at + 1 < rules => format!("{shown} + {} more...", rules - SHOWN_MAX),
        _ => shown,
    }
}

fn ingress_class(object: &Map, now: Now) -> Vec<Value> {
    let default = object.annotation("ingressclass.kubernetes.io/is-default-class") == Some("true");
    let name = format!("{}{}", object.name(), if default { " (default)" } else { "" });
    let parameters = match object.at(&["spec", "parameters"]) {
        Some(of) => {
            let kind = api::status::qualified(of.str("apiGroup"), of.str("kind"));
            format!("{kind}/{}", of.str("name"))
        }
        None => NONE.into(),
    };
    vec![name.into(), text(object, &["spec", "controller"]).into(), parameters.into(), now.age(object)]
}

fn parent(object: &Map) -> String {
    let Some(parent) = object.at(&["spec", "parentRef"]) else { return NONE.into() };
    let resource = api::status::qualified(parent.str("group"), parent.str("resource")).to_lowercase();
    match parent.str("namespace") {
        "" => format!("{resource}/{}", parent.str("name")),
        namespace => format!("{resource}/{namespace}/{}", parent.str("name")),
    }
}

fn endpoint_slice(object: &Map, now: Now) -> Vec<Value> {
    let port = |port: &Map| match (port.i64("port"), port.get("name").and_then(Value::as_str)) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.into(),
        (None, None) => "*".into(),
    };
    let ports: Vec<String> = object.maps("ports").map(port).collect();
    let addresses = object.maps("endpoints").flat_map(|endpoint| endpoint.list("addresses"));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(String::from).collect();
    vec![
        name(object),
        object.str("addressType").into(),
        some_of(&ports, SHOWN_MAX).into(),
        some_of(&addresses, SHOWN_MAX).into(),
        now.age(object),
    ]
}

const INGRESSES: &[Column] = &[
    NAME,
    column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
    column("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
    column("Address", "Address is a list containing ingress points for the load-balancer"),
    column("Ports", "Ports of TLS configurations that open"),
    AGE,
];

const INGRESS_CLASSES: &[Column] = &[
    NAME,
    column("Controller", "Controller that is responsible for handling this class"),
    column("Parameters", "A reference to a resource with additional parameters"),
    AGE,
];

const NETWORK_POLICIES: &[Column] =
    &[NAME, of("Pod-Selector", "io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector"), AGE];

const SERVICE_CIDRS: &[Column] = &[NAME, of("CIDRs", "io.k8s.api.networking.v1.ServiceCIDRSpec", "cidrs"), AGE];

const IP_ADDRESSES: &[Column] = &[NAME, of("ParentRef", "io.k8s.api.networking.v1.IPAddressSpec", "parentRef")];

const ENDPOINT_SLICES: &[Column] = &[
    NAME,
    of("AddressType", "io.k8s.api.discovery.v1.EndpointSlice", "addressType"),
    of("Ports", "io.k8s.api.discovery.v1.EndpointSlice", "ports"),
    of("Endpoints", "io.k8s.api.discovery.v1.EndpointSlice", "endpoints"),
    AGE,
];
