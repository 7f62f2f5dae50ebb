//! How many nodes of a zone are down, and how fast its nodes may be tainted therefore
//! (pkg/controller/nodelifecycle/node_lifecycle_controller.go@v1.37.2, handleDisruption).
//!
//! Invariant: when no node at all is ready, the fault is more likely ours than theirs: nobody is evicted.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;

use super::health::ready_status;

/// --node-eviction-rate: nodes a second.
const RATE: f64 = 0.1;
/// --secondary-node-eviction-rate: in a partly disrupted, large zone.
const SECONDARY_RATE: f64 = 0.01;
/// --large-cluster-size-threshold: nodes in a zone.
const LARGE_ZONE: usize = 50;
/// --unhealthy-zone-threshold: share of nodes not ready.
const UNHEALTHY_SHARE: f64 = 0.55;
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Normal,
    Partial,
    Full,
}

/// The state of each zone, and whether all are fully disrupted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Zones {
    zones: BTreeMap<String, (State, usize)>,
    pub(super) all_disrupted: bool,
}

/// A node's zone: region and zone labels (k8s.io/component-helpers/node/topology@v0.37.2).
pub(super) fn key(node: &Node) -> String {
    let label = |names: [&str; 2]| {
        let labels = node.metadata.labels.as_ref();
        names.iter().find_map(|name| labels?.get(*name)).cloned().unwrap_or_default()
    };
    let zone = label(["failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"]);
    let region = label(["failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"]);
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

impl Zones {
    pub(super) fn of<'a>(nodes: impl Iterator<Item = &'a Node>) -> Self {
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let excluded = |node: &&Node| node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED));
        for node in nodes.filter(|node| !excluded(node)) {
            let (ready, not) = counts.entry(key(node)).or_default();
            *(if ready_status(node) == Some("True") { ready } else { not }) += 1;
        }
        let zones: BTreeMap<String, (State, usize)> =
            counts.into_iter().map(|(zone, (ready, not))| (zone, (state(ready, not), ready + not))).collect();
        let all_disrupted = !zones.is_empty() && zones.values().all(|(state, _)| *state == State::Full);
        Zones { zones, all_disrupted }
    }

    /// Nodes a second that may be tainted in a zone.
    fn rate(&self, zone: &str) -> f64 {
        match self.zones.get(zone) {
            _ if self.all_disrupted => 0.0,
            Some((State::Partial, size)) if *size > LARGE_ZONE => SECONDARY_RATE,
            Some((State::Partial, _)) => 0.0,
            _ => RATE,
        }
    }
}

fn state(ready: usize, not_ready: usize) -> State {
    if ready == 0 && not_ready > 0 {
        State::Full
    } else if not_ready > 2 && not_ready as f64 / (ready + not_ready) as f64 >= UNHEALTHY_SHARE {
        State::Partial
    } else {
        State::Normal
    }
}

/// When the next node of each zone may be tainted: token buckets of size 1.
#[derive(Default)]
pub(super) struct Limiters {
    next: HashMap<String, Timestamp>,
}

impl Limiters {
    /// Zero when it may happen now (and counts), else how long to wait; `None` for a rate of 0.
    pub(super) fn take(&mut self, zones: &Zones, zone: &str, now: Timestamp) -> Option<Duration> {
        let rate = zones.rate(zone);
        if rate <= 0.0 {
            return None;
        }
        if let Some(next) = self.next.get(zone).filter(|next| **next > now) {
            return Some(Duration::try_from(next.duration_since(now)).unwrap_or_default());
        }
        self.next.insert(zone.into(), now + Duration::from_secs_f64(1.0 / rate));
        Some(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(zones: &[(&str, usize, usize)]) -> Vec<Node> {
        let node = |zone: &str, status: &str| -> Node {
            let labels = serde_json::json!({"topology.kubernetes.io/zone": zone});
            let conditions = [serde_json::json!({"type": "Ready", "status": status})];
            serde_json::from_value(
                serde_json::json!({"metadata": {"labels": labels}, "status": {"conditions": conditions}}),
            )
            .expect("node")
        };
        let of = |(zone, ready, not): &(&str, usize, usize)| {
            let ready = (0..*ready).map(|_| node(zone, "True"));
            ready.chain((0..*not).map(|_| node(zone, "Unknown"))).collect::<Vec<_>>()
        };
        zones.iter().flat_map(of).collect()
    }

    #[test]
    fn states_and_rates() {
        let table = [
            (vec![("a", 3, 1)], vec![RATE], false),
            (vec![("a", 1, 2)], vec![RATE], false),
            (vec![("a", 2, 3)], vec![0.0], false),
            (vec![("a", 20, 40)], vec![SECONDARY_RATE], false),
            (vec![("a", 0, 2), ("b", 1, 0)], vec![RATE, RATE], false),
            (vec![("a", 0, 2), ("b", 0, 1)], vec![0.0, 0.0], true),
            (vec![], vec![], false),
        ];
        for (spec, rates, all) in table {
            let all_nodes = nodes(&spec);
            let zones = Zones::of(all_nodes.iter());
            let found: Vec<f64> = spec.iter().map(|(zone, _, _)| zones.rate(&format!(":\0:{zone}"))).collect();
            assert_eq!((found, zones.all_disrupted), (rates, all), "{spec:?}");
        }
    }

    #[test]
    fn one_node_in_ten_seconds() {
        let all = nodes(&[("a", 9, 1)]);
        let (zones, mut limiters) = (Zones::of(all.iter()), Limiters::default());
        let zone = key(&all[0]);
        let start = Timestamp::UNIX_EPOCH;
        assert_eq!(limiters.take(&zones, &zone, start), Some(Duration::ZERO));
        assert_eq!(limiters.take(&zones, &zone, start + Duration::from_secs(4)), Some(Duration::from_secs(6)));
        assert_eq!(limiters.take(&zones, &zone, start + Duration::from_secs(10)), Some(Duration::ZERO));
    }
}
