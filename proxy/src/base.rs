//! The part of the ruleset that is there without any Service, and the assembly of the whole.
//!
//! Pure. Facts: pkg/proxy/nftables/proxier.go@v1.37.2 (setupNFTables). Each chain is one entry of a
//! table below, so that the order of rules in a chain is visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::family::Family;
use crate::names::{
    CLUSTER_IPS_CHECK_CHAIN, CLUSTER_IPS_SET, FIREWALL_CHECK_CHAIN, FIREWALL_IPS_MAP, HAIRPIN_CONNECTIONS_SET,
    MASQUERADING_CHAIN, NO_ENDPOINT_NODE_PORTS_MAP, NO_ENDPOINT_SERVICES_MAP, NODE_PORT_ENDPOINTS_CHECK_CHAIN,
    NODE_PORT_IPS_SET, REJECT_CHAIN, SERVICE_ENDPOINTS_CHECK_CHAIN, SERVICE_IPS_MAP, SERVICE_NODE_PORTS_MAP,
    SERVICES_CHAIN,
};
use crate::render::{Context, Fragment};
use crate::ruleset::{Chain, Container, Element, Kind, Ruleset, Shape};

/// Base chains: name, hook and the rules that jump out of them.
const BASE_CHAINS: [(&str, &str, &[&str]); 8] = [
    // Source ranges of load balancers are checked before the destination is rewritten.
    ("filter-prerouting-pre-dnat", "type filter hook prerouting priority -110", &["ct state new jump firewall-check"]),
    ("filter-output-pre-dnat", "type filter hook output priority -110", &["ct state new jump firewall-check"]),
    (
        "filter-input",
        "type filter hook input priority 0",
        &["ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"],
    ),
    (
        "filter-forward",
        "type filter hook forward priority 0",
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
    (
        "filter-output",
        "type filter hook output priority 0",
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
    ("nat-prerouting", "type nat hook prerouting priority -100", &["jump services"]),
    ("nat-output", "type nat hook output priority -100", &["jump services"]),
    ("nat-postrouting", "type nat hook postrouting priority 100", &["jump masquerading"]),
];

/// A frontend by address, and by node port; both lead to a verdict.
const FRONTEND: &str = "inet_proto . inet_service : verdict";

/// The whole table: what is always there, plus one fragment a service port. Where two Services
/// claim the same frontend, the first by name has it.
pub(crate) fn assemble<'a>(context: &Context, fragments: impl Iterator<Item = &'a Fragment>) -> Ruleset {
    let mut ruleset = Ruleset {
        family: context.family,
        table: context.table.clone(),
        chains: chains(context),
        containers: containers(context),
    };
    for fragment in fragments {
        ruleset.chains.extend(fragment.chains.iter().cloned());
        for (name, seconds) in &fragment.affinity_sets {
            ruleset.containers.insert(name.clone(), Container::empty(affinity_shape(context, *seconds)));
        }
        for (container, key, element) in &fragment.elements {
            if let Some(container) = ruleset.containers.get_mut(*container)
                && !container.elements.contains_key(key)
            {
                container.elements.insert(key.clone(), element.clone());
            }
        }
    }
    ruleset
}

fn affinity_shape(context: &Context, seconds: u32) -> Shape {
    let of = context.family.address_type().to_owned();
    Shape { kind: Kind::Set, of, comment: None, timeout: Some(seconds) }
}

fn chains(context: &Context) -> BTreeMap<String, Arc<Chain>> {
    let base = BASE_CHAINS.iter().map(|(name, hook, rules)| {
        let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
        ((*name).to_owned(), Arc::new(Chain { hook: Some(hook), comment: None, rules }))
    });
    let reject = Chain {
        comment: Some("helper for @no-endpoint-services / @no-endpoint-nodeports"),
        rules: vec!["reject".into()],
        ..Chain::default()
    };
    let by_frontend = |map: &str| format!("{} daddr . meta l4proto . th dport vmap @{map}", context.family.nft());
    let plain = [
        (SERVICES_CHAIN, services_rules(context)),
        (MASQUERADING_CHAIN, masquerading_rules(context)),
        (CLUSTER_IPS_CHECK_CHAIN, cluster_ips_check_rules(context)),
        (SERVICE_ENDPOINTS_CHECK_CHAIN, vec![by_frontend(NO_ENDPOINT_SERVICES_MAP)]),
        (NODE_PORT_ENDPOINTS_CHECK_CHAIN, vec![node_port_rule(context, NO_ENDPOINT_NODE_PORTS_MAP, "")]),
        (FIREWALL_CHECK_CHAIN, vec![by_frontend(FIREWALL_IPS_MAP)]),
    ];
    let plain = plain.map(|(name, rules)| (name.to_owned(), Arc::new(Chain { rules, ..Chain::default() })));
    base.chain(plain).chain([(REJECT_CHAIN.to_owned(), Arc::new(reject))]).collect()
}

fn services_rules(context: &Context) -> Vec<String> {
    let (ip, masquerade) = (context.family.nft(), context.masquerade_rule());
    let mut rules = Vec::new();
    if context.masquerade_all {
        let why = "masquerade all clusterIP traffic";
        rules.push(format!("{ip} daddr @{CLUSTER_IPS_SET} {masquerade} comment \"{why}\""));
    } else if let Some(local) = &context.local {
        // Who routes the service range to this node gets its answers through this node.
        let why = "masquerade clusterIP traffic from outside cluster";
        let outside = &local.if_not_local;
        rules.push(format!("{ip} daddr @{CLUSTER_IPS_SET} {outside} {masquerade} comment \"{why}\""));
    }
    rules.push(format!("{ip} daddr . meta l4proto . th dport vmap @{SERVICE_IPS_MAP}"));
    rules.push(node_port_rule(context, SERVICE_NODE_PORTS_MAP, "fib daddr type local "));
    rules
}

/// Looks node ports up; `any_local` goes before the match if every local address accepts them.
fn node_port_rule(context: &Context, map: &str, any_local: &str) -> String {
    let ip = context.family.nft();
    let accepting = match (&context.node_port_ips, context.family) {
        (Some(_), _) => format!("{ip} daddr @{NODE_PORT_IPS_SET}"),
        (None, Family::IPv4) => format!("{any_local}ip daddr != 127.0.0.0/8"),
        (None, Family::IPv6) => format!("{any_local}ip6 daddr != ::1"),
    };
    format!("{accepting} meta l4proto . th dport vmap @{map}")
}

fn masquerading_rules(context: &Context) -> Vec<String> {
    let (ip, mark) = (context.family.nft(), &context.masquerade_mark);
    let connection = format!("{ip} saddr . {ip} daddr . meta l4proto . th dport");
    vec![
        format!("mark and {mark} != 0 mark set mark xor {mark} masquerade fully-random"),
        format!("ct status dnat {connection} @{HAIRPIN_CONNECTIONS_SET} masquerade fully-random"),
    ]
}

fn cluster_ips_check_rules(context: &Context) -> Vec<String> {
    let ip = context.family.nft();
    let why = "Reject traffic to invalid ports of ClusterIPs";
    let mut rules = vec![format!("{ip} daddr @{CLUSTER_IPS_SET} reject comment \"{why}\"")];
    if !context.service_cidrs.is_empty() {
        let why = "Drop traffic to unallocated ClusterIPs";
        rules.push(format!("{ip} daddr {{ {} }} drop comment \"{why}\"", context.service_cidrs.join(",")));
    }
    rules
}

fn containers(context: &Context) -> BTreeMap<String, Container> {
    use Kind::{Map, Set};
    let address = context.family.address_type();
    let (by_address, by_port) = (format!("{address} . {FRONTEND}"), FRONTEND.to_owned());
    let connection = format!("{address} . {address} . inet_proto . inet_service");
    let all = [
        (Set, CLUSTER_IPS_SET, address.to_owned(), "Active ClusterIPs"),
        (Set, HAIRPIN_CONNECTIONS_SET, connection, "service hairpin connections"),
        (Map, SERVICE_IPS_MAP, by_address.clone(), "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
        (Map, SERVICE_NODE_PORTS_MAP, by_port.clone(), "NodePort traffic"),
        (
            Map,
            NO_ENDPOINT_SERVICES_MAP,
            by_address.clone(),
            "vmap to drop or reject packets to services with no endpoints",
        ),
        (
            Map,
            NO_ENDPOINT_NODE_PORTS_MAP,
            by_port,
            "vmap to drop or reject packets to service nodeports with no endpoints",
        ),
        (Map, FIREWALL_IPS_MAP, by_address, "destinations that are subject to LoadBalancerSourceRanges"),
    ];
    let container = |kind, of, comment| Container::empty(Shape { kind, of, comment: Some(comment), timeout: None });
    let mut all: BTreeMap<String, Container> =
        all.into_iter().map(|(kind, name, of, comment)| (name.to_owned(), container(kind, of, comment))).collect();
    if let Some(ips) = &context.node_port_ips {
        let mut set = container(Set, address.to_owned(), "IPs that accept NodePort traffic");
        let accepted = ips.iter().filter(|ip| !ip.is_loopback());
        set.elements = accepted.map(|ip| (ip.to_string(), Element::default())).collect();
        all.insert(NODE_PORT_IPS_SET.to_owned(), set);
    }
    all
}
