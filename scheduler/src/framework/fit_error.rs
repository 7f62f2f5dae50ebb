//! Why a pod fits on no node, and the sentence that says so.
//!
//! Invariant: the sentence is upstream's, word for word (pkg/scheduler/framework/types.go@v1.37.2,
//! FitError: "0/X nodes are available: <PreFilter>. <Filter>. <PostFilter>").

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::status::{Code, Status};

/// The status of each node that was looked at, by its place in the snapshot, and of all the others.
#[derive(Clone, Debug)]
pub(crate) struct NodeStatuses {
    by_node: BTreeMap<usize, Status>,
    absent: Status,
}

impl Default for NodeStatuses {
    fn default() -> Self {
        let absent = Status::new(Code::UnschedulableAndUnresolvable, Vec::new());
        NodeStatuses { by_node: BTreeMap::new(), absent }
    }
}

impl NodeStatuses {
    /// The status of a node, or that of the nodes not looked at.
    pub(crate) fn get(&self, node: Option<usize>) -> &Status {
        node.and_then(|node| self.by_node.get(&node)).unwrap_or(&self.absent)
    }

    pub(crate) fn set(&mut self, node: usize, status: Status) {
        self.by_node.insert(node, status);
    }

    pub(crate) fn set_absent(&mut self, status: Status) {
        self.absent = status;
    }

    pub(crate) fn len(&self) -> usize {
        self.by_node.len()
    }

    /// The nodes, out of `all`, whose status has this code.
    pub(crate) fn with_code(&self, code: Code, all: usize) -> Vec<usize> {
        (0..all).filter(|node| self.get(Some(*node)).code == code).collect()
    }
}

/// Everything known about why a pod fits nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct FitError {
    pub(crate) all_nodes: usize,
    pub(crate) statuses: NodeStatuses,
    /// The plugins that refused the pod: an event that interests one of them brings it back.
    pub(crate) unschedulable_plugins: BTreeSet<&'static str>,
    pub(crate) pre_filter_message: String,
    pub(crate) post_filter_message: String,
}

impl FitError {
    /// Files the plugin of a refusal.
    pub(crate) fn note(&mut self, status: &Status) {
        if let Some(plugin) = status.plugin.filter(|_| status.is_rejected()) {
            self.unschedulable_plugins.insert(plugin);
        }
    }

    pub(crate) fn message(&self) -> String {
        let mut text = format!("0/{} nodes are available:", self.all_nodes);
        if self.pre_filter_message.is_empty() {
            let histogram = self.histogram();
            if !histogram.is_empty() {
                text += &format!(" {}.", histogram.join(", "));
            }
        } else {
            text += &format!(" {}.", self.pre_filter_message);
        }
        if !self.post_filter_message.is_empty() {
            text += &format!(" {}", self.post_filter_message);
        }
        text
    }

    /// How many nodes gave each reason, sorted as texts.
    fn histogram(&self) -> Vec<String> {
        let mut counts: BTreeMap<&Cow<'static, str>, usize> = BTreeMap::new();
        for reason in self.statuses.by_node.values().flat_map(|status| &status.reasons) {
            *counts.entry(reason).or_default() += 1;
        }
        let absent = self.all_nodes.saturating_sub(self.statuses.len());
        for reason in self.statuses.absent.reasons.iter().filter(|_| absent > 0) {
            *counts.entry(reason).or_default() += absent;
        }
        let mut lines: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        lines.sort();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence() {
        let mut error = FitError { all_nodes: 4, ..FitError::default() };
        error.statuses.set(0, Status::unschedulable("Insufficient cpu"));
        error.statuses.set(1, Status::unschedulable("Insufficient cpu"));
        let both = vec!["Insufficient memory".into(), "Too many pods".into()];
        error.statuses.set(2, Status::new(Code::Unschedulable, both));
        assert_eq!(
            error.message(),
            "0/4 nodes are available: 1 Insufficient memory, 1 Too many pods, 2 Insufficient cpu."
        );
        error.statuses.set_absent(Status::unresolvable("node(s) didn't satisfy plugin(s) [NodeAffinity]"));
        error.post_filter_message = "preemption: nothing".into();
        assert_eq!(
            error.message(),
            "0/4 nodes are available: 1 Insufficient memory, 1 Too many pods, 1 node(s) didn't satisfy plugin(s) \
             [NodeAffinity], 2 Insufficient cpu. preemption: nothing"
        );
        error.pre_filter_message = "pod has unbound immediate PersistentVolumeClaims".into();
        assert_eq!(
            error.message(),
            "0/4 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: nothing"
        );
    }
}
