//! What the proxy needs to know of a Service: one [`ServicePort`] a port, of one IP family.
//!
//! Facts: pkg/proxy/serviceport.go@v1.37.2 and pkg/proxy/servicechangetracker.go@v1.37.2.
//! Non-goal: endpoints, and any decision about where traffic goes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServicePort as ApiPort, ServiceSpec};

use crate::family::{Family, parse_cidr, parse_ip};

/// ClientIP affinity when the API server left the timeout out (it never does).
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The protocol of an API field; absent means TCP, unknown means none.
    pub(crate) fn of(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    /// nft's word for it, also the one in chain names.
    pub(crate) fn lower(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// Identifies a load-balanced port. Ordered so that the ports of one Service are adjacent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServicePortName {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: String,
    pub(crate) protocol: Protocol,
}

impl ServicePortName {
    /// The least name that a port of this Service can have.
    pub(crate) fn first_of(namespace: &str, service: &str) -> Self {
        ServicePortName {
            namespace: namespace.into(),
            service: service.into(),
            port: String::new(),
            protocol: Protocol::Tcp,
        }
    }

    pub(crate) fn is_of(&self, namespace: &str, service: &str) -> bool {
        self.namespace == namespace && self.service == service
    }
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)?;
        if self.port.is_empty() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// One port of a Service as seen by one IP family. Zero means "none" for the node ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) cluster_ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) node_port: u16,
    pub(crate) health_check_node_port: u16,
    pub(crate) load_balancer_vips: Vec<IpAddr>,
    pub(crate) external_ips: Vec<IpAddr>,
    pub(crate) source_ranges: Vec<IpNet>,
    /// The timeout of ClientIP affinity, if the Service has that.
    pub(crate) affinity_seconds: Option<u32>,
    pub(crate) external_policy_local: bool,
    pub(crate) internal_policy_local: bool,
}

impl ServicePort {
    /// True if something other than the cluster IP leads to it.
    pub(crate) fn externally_accessible(&self) -> bool {
        self.node_port != 0 || !self.load_balancer_vips.is_empty() || !self.external_ips.is_empty()
    }

    /// True if traffic ever goes to endpoints by the Cluster policy: with policy Local, external
    /// traffic from this node's own pods is still short-circuited to all endpoints.
    pub(crate) fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_policy_local || self.externally_accessible()
    }

    /// True if traffic ever goes to endpoints by the Local policy.
    pub(crate) fn uses_local_endpoints(&self) -> bool {
        self.internal_policy_local || (self.external_policy_local && self.externally_accessible())
    }
}

/// The ports of `service` that `family` serves: none for headless and ExternalName Services.
pub(crate) fn ports_of(service: &Service, family: Family) -> BTreeMap<ServicePortName, ServicePort> {
    let Some(spec) = &service.spec else { return BTreeMap::new() };
    let cluster_ip = spec.cluster_ip.as_deref().unwrap_or("");
    if matches!(cluster_ip, "" | "None") || spec.type_.as_deref() == Some("ExternalName") {
        return BTreeMap::new();
    }
    let Some(cluster_ip) = cluster_ip_of(spec, family).and_then(parse_ip) else { return BTreeMap::new() };
    let meta = &service.metadata;
    let named = |port: &ApiPort| {
        let protocol = Protocol::of(port.protocol.as_deref())?;
        let name = ServicePortName {
            namespace: meta.namespace.clone().unwrap_or_default(),
            service: meta.name.clone().unwrap_or_default(),
            port: port.name.clone().unwrap_or_default(),
            protocol,
        };
        Some((name, port_of(service, spec, port, protocol, cluster_ip)))
    };
    spec.ports.iter().flatten().filter_map(named).collect()
}

fn port_of(service: &Service, spec: &ServiceSpec, port: &ApiPort, protocol: Protocol, ip: IpAddr) -> ServicePort {
    let family = Family::of(&ip);
    let external_policy_local = external_policy_local(spec);
    let needs_health_check = spec.type_.as_deref() == Some("LoadBalancer") && external_policy_local;
    ServicePort {
        cluster_ip: ip,
        port: to_port(Some(port.port)),
        protocol,
        node_port: to_port(port.node_port),
        health_check_node_port: if needs_health_check { to_port(spec.health_check_node_port) } else { 0 },
        load_balancer_vips: vips_of(service, family),
        external_ips: of_family(spec.external_ips.iter().flatten().filter_map(|ip| parse_ip(ip)), family),
        source_ranges: source_ranges_of(spec, family),
        affinity_seconds: affinity_of(spec),
        external_policy_local,
        internal_policy_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
    }
}

fn to_port(number: Option<i32>) -> u16 {
    number.and_then(|n| u16::try_from(n).ok()).unwrap_or(0)
}

fn of_family(ips: impl Iterator<Item = IpAddr>, family: Family) -> Vec<IpAddr> {
    ips.filter(|ip| Family::of(ip) == family).collect()
}

fn cluster_ip_of(spec: &ServiceSpec, family: Family) -> Option<&str> {
    let families = spec.ip_families.as_deref().unwrap_or_default();
    if families.is_empty() {
        let ip = spec.cluster_ip.as_deref()?;
        return (Family::of(&parse_ip(ip)?) == family).then_some(ip);
    }
    let at = families.iter().position(|name| name == family.name())?;
    spec.cluster_ips.as_ref()?.get(at).map(String::as_str)
}

fn external_policy_local(spec: &ServiceSpec) -> bool {
    let accessible = match spec.type_.as_deref().unwrap_or("ClusterIP") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()),
        _ => false,
    };
    accessible && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// The load balancer addresses that the node answers for itself (ipMode VIP, the default).
fn vips_of(service: &Service, family: Family) -> Vec<IpAddr> {
    let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|lb| lb.ingress.as_ref());
    let vip = |ingress: &LoadBalancerIngress| match ingress.ip_mode.as_deref() {
        None | Some("VIP") => ingress.ip.as_deref().and_then(parse_ip),
        Some(_) => None,
    };
    of_family(ingress.into_iter().flatten().filter_map(vip), family)
}

/// The source ranges of the family; one that allows every address is as good as none.
fn source_ranges_of(spec: &ServiceSpec, family: Family) -> Vec<IpNet> {
    let ranges = spec.load_balancer_source_ranges.iter().flatten();
    let ranges: Vec<IpNet> =
        ranges.filter_map(|r| parse_cidr(r.trim())).filter(|r| Family::of_net(r) == family).collect();
    if ranges.iter().any(|range| range.prefix_len() == 0) { Vec::new() } else { ranges }
}

fn affinity_of(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|client| client.timeout_seconds).and_then(|s| u32::try_from(s).ok());
    Some(seconds.unwrap_or(DEFAULT_AFFINITY_SECONDS))
}
