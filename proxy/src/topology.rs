//! Which endpoints a node sends traffic to, by traffic policy, readiness and topology hints.
//!
//! Pure; the decision of pkg/proxy/topology.go@v1.37.2. Usable are ready endpoints; if there are
//! none, those that still serve while terminating (for each policy on its own).

use std::collections::BTreeMap;

use crate::endpoint::Endpoint;
use crate::service::ServicePort;

/// The endpoints of one service port, sorted out for one node.
#[derive(Default)]
pub(crate) struct Categorized<'a> {
    /// By policy Cluster; empty if the port never uses it.
    pub(crate) cluster: Vec<&'a Endpoint>,
    /// By policy Local; empty if the port never uses it.
    pub(crate) local: Vec<&'a Endpoint>,
    /// The union of both.
    pub(crate) reachable: Vec<&'a Endpoint>,
    /// True if any node has a usable endpoint.
    pub(crate) any: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Everywhere,
    SameZone,
    SameNode,
}

pub(crate) fn categorize<'a>(
    endpoints: &'a [Endpoint],
    port: &ServicePort,
    node: &str,
    zone: Option<&str>,
) -> Categorized<'a> {
    let mut result = Categorized::default();
    if port.uses_cluster_endpoints() {
        let mode = mode_from_hints(endpoints, node, zone);
        result.cluster = select(endpoints, |e| e.ready && available(e, mode, node, zone));
        if result.cluster.is_empty() {
            result.cluster = select(endpoints, Endpoint::serves_while_terminating);
        }
        result.any = !result.cluster.is_empty();
    }
    if !port.uses_local_endpoints() {
        result.reachable = result.cluster.clone();
        return result;
    }
    result.any |= endpoints.iter().any(|e| e.ready || e.serves_while_terminating());
    result.local = select(endpoints, |e| e.local && e.ready);
    if result.local.is_empty() {
        result.local = select(endpoints, |e| e.local && e.serves_while_terminating());
    }
    result.reachable = union(&result.cluster, &result.local);
    result
}

fn select(endpoints: &[Endpoint], wanted: impl Fn(&Endpoint) -> bool) -> Vec<&Endpoint> {
    endpoints.iter().filter(|endpoint| wanted(endpoint)).collect()
}

fn union<'a>(one: &[&'a Endpoint], other: &[&'a Endpoint]) -> Vec<&'a Endpoint> {
    let by_address: BTreeMap<String, &Endpoint> = one.iter().chain(other).map(|e| (e.address(), *e)).collect();
    by_address.into_values().collect()
}

/// Hints count only if every ready endpoint has one and one of them is for us.
fn mode_from_hints(endpoints: &[Endpoint], node: &str, zone: Option<&str>) -> Mode {
    let ready = select(endpoints, |e| e.ready);
    if ready.is_empty() {
        return Mode::Everywhere;
    }
    let hinted = |all: &dyn Fn(&Endpoint) -> bool, ours: &dyn Fn(&Endpoint) -> bool| {
        ready.iter().all(|e| all(e)) && ready.iter().any(|e| ours(e))
    };
    if hinted(&|e| !e.node_hints.is_empty(), &|e| e.node_hints.contains(node)) {
        return Mode::SameNode;
    }
    let zone = zone.unwrap_or("");
    if hinted(&|e| !e.zone_hints.is_empty(), &|e| e.zone_hints.contains(zone)) {
        return Mode::SameZone;
    }
    Mode::Everywhere
}

fn available(endpoint: &Endpoint, mode: Mode, node: &str, zone: Option<&str>) -> bool {
    match mode {
        Mode::Everywhere => true,
        Mode::SameNode => endpoint.node_hints.contains(node),
        Mode::SameZone => endpoint.zone_hints.contains(zone.unwrap_or("")),
    }
}
