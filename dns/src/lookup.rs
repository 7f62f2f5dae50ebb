//! From what is asked to what there is: the Services, endpoints and pods behind a name.
//!
//! Pure but for the lookups. Facts: CoreDNS's plugin/kubernetes (findServices, findPods, nsAddrs,
//! serviceRecordForIP), pod mode `insecure` as kubeadm configures it.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::objects::{Objects, cluster_ips, is_ready, service_of};
use crate::question::{Asked, Part};

/// One thing behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) host: Host,
    /// `None` if no port is declared.
    pub(crate) port: Option<u16>,
    /// Labels, left of the zone, of the name that stands for the host alone.
    pub(crate) labels: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// The target of an ExternalName Service.
    Name(String),
}

/// The name does not exist (NXDOMAIN); an empty list means that it does, without such records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSuchName;

type Found = Result<Vec<Item>, NoSuchName>;

pub(crate) fn find(objects: &dyn Objects, asked: &Asked) -> Found {
    match asked {
        Asked::Nothing => Ok(Vec::new()),
        Asked::Invalid => Err(NoSuchName),
        Asked::Namespace { namespace } => exists(objects, namespace).map(|()| Vec::new()),
        Asked::Pod { namespace, name } => exists(objects, namespace).and_then(|()| find_pod(namespace, name)),
        Asked::Service { namespace, name, part } => {
            exists(objects, namespace)?;
            let service = objects.service(namespace, name).ok_or(NoSuchName)?;
            find_service(objects, &service, namespace, name, part)
        }
    }
}

fn exists(objects: &dyn Objects, namespace: &str) -> Result<(), NoSuchName> {
    if objects.has_namespace(namespace) { Ok(()) } else { Err(NoSuchName) }
}

/// The name of a pod is its address, and is believed.
fn find_pod(namespace: &str, name: &str) -> Found {
    let four = name.matches('-').count() == 3 && !name.contains("--");
    let ip: IpAddr = name.replace('-', if four { "." } else { ":" }).parse().map_err(|_| NoSuchName)?;
    let labels = vec![name.to_owned(), namespace.to_owned(), "pod".to_owned()];
    Ok(vec![Item { host: Host::Ip(ip), port: Some(0), labels }])
}

fn find_service(objects: &dyn Objects, service: &Service, namespace: &str, name: &str, part: &Part) -> Found {
    let spec = service.spec.as_ref().ok_or(NoSuchName)?;
    let labels = service_labels(namespace, name);
    if spec.type_.as_deref() == Some("ExternalName") {
        let target = spec.external_name.clone().unwrap_or_default();
        // An address is no target of a CNAME.
        let usable = *part == Part::Whole && target.parse::<IpAddr>().is_err();
        return if usable { Ok(vec![Item { host: Host::Name(target), port: None, labels }]) } else { Err(NoSuchName) };
    }
    if is_headless(service) || matches!(part, Part::Endpoint(_)) {
        return some(endpoint_items(&objects.slices(namespace, name), namespace, name, part));
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    let wanted = |name: &str, protocol: &str| matches(part, name, protocol);
    let of_protocol = |protocol: Option<&String>| protocol.map_or("TCP", String::as_str).to_owned();
    let mut numbers: Vec<Option<u16>> = ports
        .iter()
        .filter(|port| wanted(port.name.as_deref().unwrap_or(""), &of_protocol(port.protocol.as_ref())))
        .map(|port| u16::try_from(port.port).ok())
        .collect();
    if ports.is_empty() && wanted("", "") {
        numbers.push(None);
    }
    let ips: Vec<IpAddr> = cluster_ips(service).iter().filter_map(|ip| ip.parse().ok()).collect();
    if numbers.is_empty() {
        return Err(NoSuchName);
    }
    let item = |port, ip| Item { host: Host::Ip(ip), port, labels: labels.clone() };
    Ok(numbers.into_iter().flat_map(|port| ips.iter().map(move |ip| (port, *ip))).map(|(p, ip)| item(p, ip)).collect())
}

fn some(items: Vec<Item>) -> Found {
    if items.is_empty() { Err(NoSuchName) } else { Ok(items) }
}

pub(crate) fn service_labels(namespace: &str, name: &str) -> Vec<String> {
    vec![name.to_owned(), namespace.to_owned(), "svc".to_owned()]
}

fn is_headless(service: &Service) -> bool {
    cluster_ips(service).first().is_some_and(|ip| ip == "None")
}

fn matches(part: &Part, name: &str, protocol: &str) -> bool {
    match part {
        Part::Whole | Part::Endpoint(_) => true,
        Part::Port { port, protocol: wanted } => {
            (port.is_empty() || port.eq_ignore_ascii_case(name))
                && (wanted.is_empty() || wanted.eq_ignore_ascii_case(protocol))
        }
    }
}

fn endpoint_items(slices: &[Arc<EndpointSlice>], namespace: &str, service: &str, part: &Part) -> Vec<Item> {
    let mut items = Vec::new();
    for slice in slices {
        let ports = slice_ports(slice, part);
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint)) {
            for address in &endpoint.addresses {
                let Ok(ip) = address.parse::<IpAddr>() else { continue };
                let host = hostname(endpoint, address);
                if matches!(part, Part::Endpoint(wanted) if !wanted.eq_ignore_ascii_case(&host)) {
                    continue;
                }
                let mut labels = service_labels(namespace, service);
                labels.insert(0, host);
                let item = |port: &Option<u16>| Item { host: Host::Ip(ip), port: *port, labels: labels.clone() };
                items.extend(ports.iter().map(item));
            }
        }
    }
    items
}

fn slice_ports(slice: &EndpointSlice, part: &Part) -> Vec<Option<u16>> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.is_empty() {
        return if matches(part, "", "") { vec![None] } else { Vec::new() };
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let wanted = ports.iter().filter(|port| matches(part, &text(&port.name), &text(&port.protocol)));
    wanted.map(|port| port.port.and_then(|number| u16::try_from(number).ok())).collect()
}

/// The label of an endpoint: its hostname, or its address with dashes.
fn hostname(endpoint: &Endpoint, address: &str) -> String {
    if let Some(hostname) = endpoint.hostname.as_ref().filter(|hostname| !hostname.is_empty()) {
        return hostname.clone();
    }
    let dashed = address.replace(['.', ':'], "-");
    // A label must not end with a dash.
    if dashed.ends_with('-') { dashed + "0" } else { dashed }
}

/// The names, as labels left of the zone, that an address has: a Service's, or all its endpoints'.
pub(crate) fn names_of_ip(objects: &dyn Objects, ip: IpAddr) -> Vec<Vec<String>> {
    let ip = ip.to_string();
    if let Some(service) = objects.services_of_ip(&ip).first() {
        let meta = &service.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        return vec![service_labels(&text(&meta.namespace), &text(&meta.name))];
    }
    let mut names = Vec::new();
    for slice in objects.slices_of_ip(&ip) {
        let (Some(service), Some(namespace)) = (service_of(&slice), &slice.metadata.namespace) else { continue };
        for endpoint in slice.endpoints.iter().flatten().filter(|e| is_ready(e) && e.addresses.contains(&ip)) {
            let mut labels = service_labels(namespace, service);
            labels.insert(0, hostname(endpoint, &ip));
            if !names.contains(&labels) {
                names.push(labels);
            }
        }
    }
    names
}

/// The nameservers of the zone: the Services that lead to our own addresses, or those addresses
/// under the name `ns.dns`.
pub(crate) fn nameservers(objects: &dyn Objects, own: &[IpAddr]) -> Vec<Item> {
    let mut found = Vec::new();
    for slice in own.iter().flat_map(|ip| objects.slices_of_ip(&ip.to_string())) {
        let (Some(name), Some(namespace)) = (service_of(&slice), &slice.metadata.namespace) else { continue };
        let Some(service) = objects.service(namespace, name) else { continue };
        if is_headless(&service) {
            found.extend(endpoint_items(std::slice::from_ref(&slice), namespace, name, &Part::Whole));
        } else {
            let labels = service_labels(namespace, name);
            let ips = cluster_ips(&service).into_iter().filter_map(|ip| ip.parse().ok());
            found.extend(ips.map(|ip| Item { host: Host::Ip(ip), port: None, labels: labels.clone() }));
        }
    }
    if found.is_empty() {
        let labels = vec!["ns".to_owned(), "dns".to_owned()];
        found.extend(own.iter().map(|ip| Item { host: Host::Ip(*ip), port: None, labels: labels.clone() }));
    }
    found
}
