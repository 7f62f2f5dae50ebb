//! The rules of one service port.
//!
//! Pure: the same port, endpoints and node give the same fragment. The layout is that of
//! pkg/proxy/nftables/proxier.go@v1.37.2 (syncProxyRules) and its README.

use std::net::IpAddr;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::family::Family;
use crate::names::{
    CLUSTER_IPS_SET, EndpointNames, FIREWALL_IPS_MAP, HAIRPIN_CONNECTIONS_SET, NO_ENDPOINT_NODE_PORTS_MAP,
    NO_ENDPOINT_SERVICES_MAP, REJECT_CHAIN, SERVICE_IPS_MAP, SERVICE_NODE_PORTS_MAP, ServiceNames, comment_of,
};
use crate::ruleset::{Chain, Element};
use crate::service::{ServicePort, ServicePortName};
use crate::topology::{Categorized, categorize};

/// What the rules depend on besides Services and endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) node: String,
    pub(crate) node_ip: IpAddr,
    pub(crate) zone: Option<String>,
    /// The match for traffic of this node's (or the cluster's) pods and its negation, if known.
    pub(crate) local: Option<LocalDetector>,
    pub(crate) masquerade_all: bool,
    /// The packet mark that asks for masquerading, as nft text.
    pub(crate) masquerade_mark: String,
    /// The addresses that accept node ports; `None` means every local address.
    pub(crate) node_port_ips: Option<Vec<IpAddr>>,
    /// The service ranges, whose unallocated addresses are dropped.
    pub(crate) service_cidrs: Vec<String>,
}

impl Context {
    pub(crate) fn masquerade_rule(&self) -> String {
        format!("mark set mark or {}", self.masquerade_mark)
    }
}

/// nft text that tells traffic of local pods from the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalDetector {
    pub(crate) if_local: String,
    pub(crate) if_not_local: String,
}

/// The part of a ruleset that belongs to one service port.
#[derive(Debug, Default)]
pub(crate) struct Fragment {
    pub(crate) chains: Vec<(String, Arc<Chain>)>,
    /// Affinity sets with their timeout in seconds.
    pub(crate) affinity_sets: Vec<(String, u32)>,
    /// Elements as (set or map, key, element).
    pub(crate) elements: Vec<(&'static str, String, Element)>,
    /// True if a Local policy leaves internal (external) traffic without an endpoint here.
    pub(crate) no_local_internal: bool,
    pub(crate) no_local_external: bool,
}

/// Renders one service port.
pub(crate) fn render_port(
    context: &Context,
    name: &ServicePortName,
    port: &ServicePort,
    endpoints: &[Endpoint],
) -> Fragment {
    let categorized = categorize(endpoints, port, &context.node, context.zone.as_deref());
    let names = ServiceNames::of(name);
    let renderer = Renderer { context, name, port, names, categorized };
    let mut fragment = Fragment::default();
    renderer.internal(&mut fragment);
    renderer.external(&mut fragment);
    renderer.firewall(&mut fragment);
    renderer.endpoints(&mut fragment);
    fragment
}

struct Renderer<'a> {
    context: &'a Context,
    name: &'a ServicePortName,
    port: &'a ServicePort,
    names: ServiceNames,
    categorized: Categorized<'a>,
}

impl Renderer<'_> {
    fn has_internal(&self) -> bool {
        self.categorized.any && !(self.port.internal_policy_local && self.categorized.local.is_empty())
    }

    fn has_external(&self) -> bool {
        self.categorized.any && !(self.port.external_policy_local && self.categorized.local.is_empty())
    }

    /// Without any endpoint the client is told at once; if only this node has none, the packet is
    /// dropped, so that a load balancer tries another node.
    fn no_endpoint_verdict(&self) -> String {
        if self.categorized.any { "drop".into() } else { format!("goto {REJECT_CHAIN}") }
    }

    fn policy_chain(&self, local: bool) -> String {
        if local { self.names.local() } else { self.names.cluster() }
    }

    fn frontend(&self, ip: &IpAddr) -> String {
        format!("{ip} . {} . {}", self.port.protocol.lower(), self.port.port)
    }

    fn node_port_frontend(&self) -> String {
        format!("{} . {}", self.port.protocol.lower(), self.port.node_port)
    }

    fn dispatch(&self, map: &'static str, key: String, chain: &str) -> (&'static str, String, Element) {
        (map, key, Element { value: Some(format!("goto {chain}")), comment: None })
    }

    fn refuse(&self, map: &'static str, key: String) -> (&'static str, String, Element) {
        let comment = Some(comment_of(self.name));
        (map, key, Element { value: Some(self.no_endpoint_verdict()), comment })
    }

    fn internal(&self, out: &mut Fragment) {
        let ip = &self.port.cluster_ip;
        out.elements.push((CLUSTER_IPS_SET, ip.to_string(), Element::default()));
        if self.has_internal() {
            let chain = self.policy_chain(self.port.internal_policy_local);
            out.elements.push(self.dispatch(SERVICE_IPS_MAP, self.frontend(ip), &chain));
        } else {
            out.elements.push(self.refuse(NO_ENDPOINT_SERVICES_MAP, self.frontend(ip)));
            out.no_local_internal = self.categorized.any;
        }
    }

    fn external(&self, out: &mut Fragment) {
        let chain = self.names.external();
        let ips = || self.port.external_ips.iter().chain(&self.port.load_balancer_vips);
        if self.categorized.any {
            out.elements.extend(ips().map(|ip| self.dispatch(SERVICE_IPS_MAP, self.frontend(ip), &chain)));
            if self.port.node_port != 0 {
                out.elements.push(self.dispatch(SERVICE_NODE_PORTS_MAP, self.node_port_frontend(), &chain));
            }
        }
        if !self.has_external() {
            out.elements.extend(ips().map(|ip| self.refuse(NO_ENDPOINT_SERVICES_MAP, self.frontend(ip))));
            if self.port.node_port != 0 {
                out.elements.push(self.refuse(NO_ENDPOINT_NODE_PORTS_MAP, self.node_port_frontend()));
            }
            out.no_local_external = self.categorized.any;
        }
        if self.categorized.any && self.port.externally_accessible() {
            out.chains.push((chain, self.external_chain()));
        }
    }

    fn external_chain(&self) -> Arc<Chain> {
        let masquerade = self.context.masquerade_rule();
        let mut rules = Vec::new();
        if self.port.external_policy_local {
            let cluster = self.names.cluster();
            if let Some(local) = &self.context.local {
                // As if the packet went out to the load balancer and came back: no policy applies.
                rules.push(format!("{} goto {cluster} comment \"short-circuit pod traffic\"", local.if_local));
            }
            // The chosen source address is the service's own, if that is on a local interface.
            rules.push(format!("fib saddr type local {masquerade} comment \"masquerade local traffic\""));
            rules.push(format!("fib saddr type local goto {cluster} comment \"short-circuit local traffic\""));
        } else {
            // The endpoint may be on another node, and must answer through this one.
            rules.push(format!("{masquerade} comment \"masquerade\""));
        }
        if self.has_external() {
            rules.push(format!("goto {}", self.policy_chain(self.port.external_policy_local)));
        }
        Arc::new(Chain { rules, ..Chain::default() })
    }

    fn firewall(&self, out: &mut Fragment) {
        let (vips, ranges) = (&self.port.load_balancer_vips, &self.port.source_ranges);
        if vips.is_empty() || ranges.is_empty() {
            return;
        }
        let chain = self.names.firewall();
        out.elements.extend(vips.iter().map(|ip| self.dispatch(FIREWALL_IPS_MAP, self.frontend(ip), &chain)));
        let mut sources: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        if ranges.iter().any(|range| range.contains(&self.context.node_ip)) {
            // A request of this node to the address may loop back with that address as its source.
            sources.extend(vips.iter().map(ToString::to_string));
        }
        let ip = self.context.family.nft();
        let rule = format!("{ip} saddr != {{ {} }} drop", sources.join(" , "));
        out.chains.push((chain, Arc::new(Chain { rules: vec![rule], ..Chain::default() })));
    }

    fn endpoints(&self, out: &mut Fragment) {
        let protocol = self.port.protocol.lower();
        for endpoint in self.categorized.reachable.iter().filter(|endpoint| endpoint.local) {
            let key = format!("{0} . {0} . {protocol} . {1}", endpoint.ip, endpoint.port);
            out.elements.push((HAIRPIN_CONNECTIONS_SET, key, Element::default()));
        }
        let cluster = self.port.uses_cluster_endpoints().then_some((self.names.cluster(), &self.categorized.cluster));
        let local = self.port.uses_local_endpoints().then_some((self.names.local(), &self.categorized.local));
        for (chain, endpoints) in cluster.into_iter().chain(local).filter(|(_, endpoints)| !endpoints.is_empty()) {
            let rules = match self.port.affinity_seconds {
                None => vec![self.dnat_rule(endpoints)],
                Some(_) => self.affinity_rules(endpoints),
            };
            out.chains.push((chain, Arc::new(Chain { rules, ..Chain::default() })));
        }
        if let Some(seconds) = self.port.affinity_seconds {
            self.endpoint_chains(seconds, out);
        }
    }

    /// Picks an endpoint at random. A map of one would only cost.
    fn dnat_rule(&self, endpoints: &[&Endpoint]) -> String {
        let protocol = self.port.protocol.lower();
        if let [only] = endpoints {
            return format!("meta l4proto {protocol} dnat to {}", only.address());
        }
        let choice = |(at, endpoint): (usize, &&Endpoint)| format!("{at} : {} . {}", endpoint.ip, endpoint.port);
        let choices: Vec<String> = endpoints.iter().enumerate().map(choice).collect();
        let (ip, count) = (self.context.family.nft(), endpoints.len());
        let choices = choices.join(" , ");
        format!("meta l4proto {protocol} dnat {ip} addr . port to numgen random mod {count} map {{ {choices} }}")
    }

    /// First whoever was there before, then an endpoint at random.
    fn affinity_rules(&self, endpoints: &[&Endpoint]) -> Vec<String> {
        let ip = self.context.family.nft();
        let names: Vec<EndpointNames> = endpoints.iter().map(|e| EndpointNames::of(self.name, e)).collect();
        let bound = |names: &EndpointNames| format!("{ip} saddr @{} goto {}", names.affinity, names.chain);
        let mut rules: Vec<String> = names.iter().map(bound).collect();
        let choice = |(at, names): (usize, &EndpointNames)| format!("{at} : goto {}", names.chain);
        let choices: Vec<String> = names.iter().enumerate().map(choice).collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", names.len(), choices.join(" , ")));
        rules
    }

    fn endpoint_chains(&self, seconds: u32, out: &mut Fragment) {
        let (ip, protocol) = (self.context.family.nft(), self.port.protocol.lower());
        for endpoint in &self.categorized.reachable {
            let names = EndpointNames::of(self.name, endpoint);
            let rules = vec![
                format!("update @{} {{ {ip} saddr }}", names.affinity),
                format!("meta l4proto {protocol} dnat to {}", endpoint.address()),
            ];
            out.chains.push((names.chain, Arc::new(Chain { rules, ..Chain::default() })));
            out.affinity_sets.push((names.affinity, seconds));
        }
    }
}
