//! Endpoints of a Service, gathered from all its EndpointSlices of one IP family.
//!
//! Invariant: each ip:port occurs once a service port, ordered by its text, so that equal slices
//! give equal rules. Facts: pkg/proxy/endpointslicecache.go@v1.37.2.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};

use crate::family::{Family, parse_ip};
use crate::service::{Protocol, ServicePortName};

pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const TRIGGER_TIME_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) local: bool,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    pub(crate) zone_hints: BTreeSet<String>,
    pub(crate) node_hints: BTreeSet<String>,
}

impl Endpoint {
    /// `ip:port`, with brackets around an IPv6 address.
    pub(crate) fn address(&self) -> String {
        SocketAddr::new(self.ip, self.port).to_string()
    }

    /// Neither ready nor gone: the last resort of a Service that has nothing better.
    pub(crate) fn serves_while_terminating(&self) -> bool {
        self.serving && self.terminating
    }
}

/// The Service that a slice belongs to: (namespace, name).
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL).filter(|name| !name.is_empty())?;
    Some((slice.metadata.namespace.as_deref()?, service))
}

/// True if the slice holds addresses of the family.
pub(crate) fn is_of_family(slice: &EndpointSlice, family: Family) -> bool {
    slice.address_type == family.name()
}

/// When the change that led to this slice happened, as the endpointslice controller noted it.
pub(crate) fn trigger_time(slice: &EndpointSlice) -> Option<Timestamp> {
    slice.metadata.annotations.as_ref()?.get(TRIGGER_TIME_ANNOTATION)?.parse().ok()
}

/// The endpoints of all ports of a Service.
pub(crate) fn endpoints_of(
    (namespace, service): (&str, &str),
    slices: &[Arc<EndpointSlice>],
    family: Family,
    node: &str,
) -> BTreeMap<ServicePortName, Vec<Endpoint>> {
    let mut found: BTreeMap<ServicePortName, BTreeMap<String, Endpoint>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| is_of_family(slice, family)) {
        for port in slice.ports.iter().flatten() {
            let number = port.port.and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0);
            let (Some(name), Some(number)) = (&port.name, number) else { continue };
            let Some(protocol) = Protocol::of(port.protocol.as_deref()) else { continue };
            let mut key = ServicePortName::first_of(namespace, service);
            (key.port, key.protocol) = (name.clone(), protocol);
            let of_port = found.entry(key).or_default();
            slice.endpoints.iter().flatten().filter_map(|e| endpoint(e, number, node)).for_each(|e| insert(of_port, e));
        }
    }
    let sorted = found.into_iter().filter(|(_, endpoints)| !endpoints.is_empty());
    sorted.map(|(name, endpoints)| (name, endpoints.into_values().collect())).collect()
}

/// Of two endpoints with one address the one that is not terminating wins: the pod network may
/// have given the address of a dying pod to a new one.
fn insert(endpoints: &mut BTreeMap<String, Endpoint>, endpoint: Endpoint) {
    let address = endpoint.address();
    if !endpoint.terminating || !endpoints.contains_key(&address) {
        endpoints.insert(address, endpoint);
    }
}

fn endpoint(endpoint: &ApiEndpoint, port: u16, node: &str) -> Option<Endpoint> {
    let ip = parse_ip(endpoint.addresses.first()?)?;
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let hints = endpoint.hints.clone().unwrap_or_default();
    Some(Endpoint {
        ip,
        port,
        local: !node.is_empty() && endpoint.node_name.as_deref() == Some(node),
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        zone_hints: hints.for_zones.into_iter().flatten().map(|zone| zone.name).collect(),
        node_hints: hints.for_nodes.into_iter().flatten().map(|node| node.name).collect(),
    })
}
