//! What several controllers need, written once: pods, owners, expectations, hashes, selectors, discovery.
//!
//! Must not know any one controller.

pub(crate) mod discovery;
pub(crate) mod expectations;
pub(crate) mod hash;
pub(crate) mod history;
pub(crate) mod node_affinity;
pub(crate) mod owned_pods;
pub(crate) mod owner;
pub(crate) mod pod_control;
pub(crate) mod pods;
pub(crate) mod ranking;
pub(crate) mod selector;
pub(crate) mod taints;
