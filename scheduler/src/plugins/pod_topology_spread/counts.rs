//! How many pods of each node a selector picks, counted again only on nodes that have changed.
//!
//! Invariant: a count is used only for the very generation of the node it was made for, so it is
//! always what counting afresh would give. Many pods of one controller share one selector; without
//! this each of them would look at every pod of the cluster.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::node_info::NodeInfo;
use crate::selector::Selector;
use crate::snapshot::Snapshot;

/// Selectors remembered; when there are more, all are forgotten.
const SELECTORS_MAX: usize = 256;

type Key = (String, Selector);

#[derive(Default)]
pub(super) struct Counts {
    /// Generation and count by the node's place in the snapshot.
    known: Mutex<HashMap<Key, Vec<(u64, i64)>>>,
}

impl Counts {
    /// The pods of the namespace that the selector picks, node by node; terminating pods do not count.
    pub(super) fn of(&self, namespace: &str, selector: &Selector, all: &Snapshot) -> Vec<i64> {
        if selector.is_empty() {
            return vec![0; all.nodes().len()];
        }
        let mut known = self.known.lock();
        if known.len() >= SELECTORS_MAX {
            known.clear();
        }
        let counts = known.entry((namespace.into(), selector.clone())).or_default();
        counts.resize(all.nodes().len(), (0, 0));
        for (node, slot) in all.nodes().iter().zip(counts.iter_mut()) {
            if slot.0 != node.generation {
                *slot = (node.generation, count(node, namespace, selector));
            }
        }
        counts.iter().map(|(_, count)| *count).collect()
    }
}

fn count(node: &NodeInfo, namespace: &str, selector: &Selector) -> i64 {
    let counted = node.pods.iter().filter(|pod| !pod.is_terminating() && pod.namespace() == namespace);
    counted.filter(|pod| selector.matches(pod.labels())).count() as i64
}
