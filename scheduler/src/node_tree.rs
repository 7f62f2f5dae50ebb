//! The order in which nodes are visited: one of each zone in turn, so that neighbours in the order
//! are not neighbours in the cluster (pkg/scheduler/backend/cache/node_tree.go@v1.37.2).

use k8s_openapi::api::core::v1::Node;

use crate::selector::labels;

/// Node names by zone, both in order of arrival.
#[derive(Default)]
pub(crate) struct NodeTree {
    zones: Vec<(String, Vec<String>)>,
}

impl NodeTree {
    pub(crate) fn add(&mut self, name: &str, zone: &str) {
        let at = self.zones.iter().position(|(key, _)| key == zone).unwrap_or_else(|| {
            self.zones.push((zone.into(), Vec::new()));
            self.zones.len() - 1
        });
        let names = &mut self.zones[at].1;
        if !names.iter().any(|known| known == name) {
            names.push(name.into());
        }
    }

    pub(crate) fn remove(&mut self, name: &str, zone: &str) {
        let Some(at) = self.zones.iter().position(|(key, _)| key == zone) else { return };
        self.zones[at].1.retain(|known| known != name);
        if self.zones[at].1.is_empty() {
            self.zones.remove(at);
        }
    }

    /// All names, zone by zone in turn.
    pub(crate) fn list(&self) -> Vec<&str> {
        let longest = self.zones.iter().map(|(_, names)| names.len()).max().unwrap_or(0);
        let round = |at: usize| self.zones.iter().filter_map(move |(_, names)| names.get(at));
        (0..longest).flat_map(round).map(String::as_str).collect()
    }
}

/// Region and zone of a node; empty when it has neither.
pub(crate) fn zone_of(node: &Node) -> String {
    let labels = labels(&node.metadata);
    let first = |old: &str, new: &str| labels.get(old).or(labels.get(new)).map_or("", String::as_str);
    let zone = first("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
    let region = first("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
    if zone.is_empty() && region.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_take_turns() {
        let mut tree = NodeTree::default();
        for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("c2", "c")] {
            tree.add(name, zone);
        }
        assert_eq!(tree.list(), ["a1", "b1", "c1", "a2", "c2", "a3"]);
        tree.remove("b1", "b");
        assert_eq!(tree.list(), ["a1", "c1", "a2", "c2", "a3"]);
    }
}
