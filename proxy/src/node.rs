//! What the proxy learns from its Node object.
//!
//! Pure. Unlike upstream, which exits when addresses or pod ranges change
//! (pkg/proxy/node.go@v1.37.2), the rules follow the change: a restart would do the same, later.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use crate::config::{Config, DetectLocal, NodePortAddress};
use crate::family::{Family, parse_cidr, parse_ip};
use crate::render::LocalDetector;

/// The cluster autoscaler's announcement that the node goes away.
const TO_BE_DELETED_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// The node's address of each family; loopback where it has none.
    pub(crate) ips: BTreeMap<Family, IpAddr>,
    pub(crate) pod_cidrs: Vec<IpNet>,
    pub(crate) zone: Option<String>,
    /// False if a load balancer should no longer send traffic here.
    pub(crate) eligible: bool,
}

impl NodeFacts {
    pub(crate) fn of(node: Option<&Node>, config: &Config) -> Self {
        let labels = node.and_then(|node| node.metadata.labels.as_ref());
        let pod_cidrs = node.and_then(|node| node.spec.as_ref()).and_then(|spec| spec.pod_cidrs.as_ref());
        NodeFacts {
            ips: node_ips(node, config.bind_address),
            pod_cidrs: pod_cidrs.into_iter().flatten().filter_map(|cidr| parse_cidr(cidr)).collect(),
            zone: labels.and_then(|labels| labels.get(ZONE_LABEL)).cloned(),
            eligible: node.is_some_and(is_eligible),
        }
    }

    pub(crate) fn ip(&self, family: Family) -> IpAddr {
        self.ips[&family]
    }
}

fn is_eligible(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    node.metadata.deletion_timestamp.is_none() && !taints.into_iter().flatten().any(|t| t.key == TO_BE_DELETED_TAINT)
}

fn node_ips(node: Option<&Node>, bind_address: IpAddr) -> BTreeMap<Family, IpAddr> {
    let loopback =
        [(Family::IPv4, IpAddr::from(Ipv4Addr::LOCALHOST)), (Family::IPv6, IpAddr::from(Ipv6Addr::LOCALHOST))];
    let mut ips = BTreeMap::from(loopback);
    let status = node.and_then(|node| node.status.as_ref());
    let addresses = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let of_type = |kind| addresses.iter().filter(move |a| a.type_ == kind).filter_map(|a| parse_ip(&a.address));
    let all: Vec<IpAddr> = of_type("InternalIP").chain(of_type("ExternalIP")).collect();
    for family in Family::ALL {
        if let Some(ip) = all.iter().find(|ip| Family::of(ip) == family) {
            ips.insert(family, *ip);
        }
    }
    if !bind_address.is_unspecified() {
        ips.insert(Family::of(&bind_address), bind_address);
    }
    ips
}

/// The match for local pods of one family, if the configuration gives one.
pub(crate) fn local_detector(config: &Config, node: &NodeFacts, family: Family) -> Option<LocalDetector> {
    let by_cidr = |cidrs: &[IpNet]| {
        let cidr = cidrs.iter().find(|cidr| Family::of_net(cidr) == family)?;
        Some(matching(&format!("{} saddr", family.nft()), &cidr.to_string()))
    };
    match &config.detect_local {
        DetectLocal::ClusterCidr(cidrs) => by_cidr(cidrs),
        DetectLocal::NodeCidr => by_cidr(&node.pod_cidrs),
        DetectLocal::BridgeInterface(name) => Some(matching("iifname", name)),
        DetectLocal::InterfaceNamePrefix(prefix) => Some(matching("iifname", &format!("{prefix}*"))),
    }
}

fn matching(what: &str, value: &str) -> LocalDetector {
    LocalDetector { if_local: format!("{what} {value}"), if_not_local: format!("{what} != {value}") }
}

/// The addresses that accept node ports of one family; `None` means all.
pub(crate) fn node_port_ips(
    config: &Config,
    node: &NodeFacts,
    family: Family,
    interface_ips: &[IpAddr],
) -> Option<Vec<IpAddr>> {
    let mut cidrs: Vec<IpNet> = Vec::new();
    for address in &config.node_port_addresses {
        match address {
            NodePortAddress::All => return None,
            NodePortAddress::Cidr(cidr) => cidrs.push(*cidr),
            NodePortAddress::Localhost => cidrs.extend([IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST))]),
            // A family whose node address is loopback has nothing to pin node ports to.
            NodePortAddress::Primary => cidrs
                .extend(Family::ALL.map(|f| node.ip(f)).into_iter().filter(|ip| !ip.is_loopback()).map(IpNet::from)),
        }
    }
    if config.node_port_addresses.contains(&NodePortAddress::Localhost) {
        cidrs.extend(IpNet::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8));
    }
    cidrs.retain(|cidr| Family::of_net(cidr) == family);
    // Without a word about this family, all its addresses count.
    if cidrs.is_empty() || cidrs.iter().any(|cidr| cidr.prefix_len() == 0) {
        return None;
    }
    let mut ips: Vec<IpAddr> =
        interface_ips.iter().filter(|ip| cidrs.iter().any(|cidr| cidr.contains(*ip))).copied().collect();
    ips.sort();
    ips.dedup();
    Some(ips)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(addresses: Vec<NodePortAddress>) -> Config {
        Config { node_port_addresses: addresses, ..Config::new("n") }
    }

    fn node() -> Node {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n", "labels": {ZONE_LABEL: "z1"}},
            "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n"},
                {"type": "ExternalIP", "address": "2001:db8::1"},
                {"type": "InternalIP", "address": "192.168.0.2"},
                {"type": "InternalIP", "address": "192.168.1.2"},
            ]},
        }))
        .expect("a node")
    }

    #[test]
    fn facts_of_a_node() {
        let facts = NodeFacts::of(Some(&node()), &config(vec![]));
        assert_eq!(facts.ip(Family::IPv4).to_string(), "192.168.0.2");
        assert_eq!(facts.ip(Family::IPv6).to_string(), "2001:db8::1");
        assert_eq!(facts.zone.as_deref(), Some("z1"));
        assert!(facts.eligible);
        let none = NodeFacts::of(None, &config(vec![]));
        assert!(!none.eligible && none.ip(Family::IPv4).is_loopback());
    }

    #[test]
    fn a_taint_or_a_deletion_makes_a_node_ineligible() {
        let mut tainted = node();
        let taint = serde_json::json!([{"key": TO_BE_DELETED_TAINT, "effect": "NoSchedule"}]);
        tainted.spec.as_mut().expect("spec").taints = serde_json::from_value(taint).expect("taints");
        assert!(!NodeFacts::of(Some(&tainted), &config(vec![])).eligible);
    }

    #[test]
    fn node_ports_by_address() {
        let all: Vec<IpAddr> = ["127.0.0.1", "192.168.0.2", "192.168.1.2", "2001:db8::1"]
            .iter()
            .map(|ip| ip.parse().expect("ip"))
            .collect();
        let facts = NodeFacts::of(Some(&node()), &config(vec![]));
        let cases: [(Vec<NodePortAddress>, Family, Option<&[&str]>); 6] = [
            (vec![NodePortAddress::Primary], Family::IPv4, Some(&["192.168.0.2"])),
            (vec![NodePortAddress::Primary], Family::IPv6, Some(&["2001:db8::1"])),
            (vec![NodePortAddress::All], Family::IPv4, None),
            (vec![NodePortAddress::Localhost], Family::IPv4, Some(&["127.0.0.1"])),
            (
                vec![NodePortAddress::Cidr("192.168.0.0/16".parse().expect("cidr"))],
                Family::IPv4,
                Some(&["192.168.0.2", "192.168.1.2"]),
            ),
            (vec![NodePortAddress::Cidr("192.168.0.0/16".parse().expect("cidr"))], Family::IPv6, None),
        ];
        for (addresses, family, expect) in cases {
            let found = node_port_ips(&config(addresses.clone()), &facts, family, &all);
            let found: Option<Vec<String>> = found.map(|ips| ips.iter().map(ToString::to_string).collect());
            let expect: Option<Vec<String>> = expect.map(|ips| ips.iter().map(ToString::to_string).collect());
            assert_eq!(found, expect, "{addresses:?} {family}");
        }
    }
}
