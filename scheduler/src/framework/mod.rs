//! The scheduling framework: named extension points, the one trait that plugins implement, and the
//! profile that runs a chosen list of plugins at each point.
//!
//! Invariant: a plugin is called at a point only if it declares the point; what a plugin computes for
//! one pod lives in the cycle state, never in the plugin. Upstream splits the points over some
//! fifteen interfaces (k8s.io/kube-scheduler/framework/interface.go@v0.37.2); here they are methods
//! of one trait. Non-goal: the pod group points (placement), which come with gang scheduling.

pub(crate) mod event;
pub(crate) mod fit_error;
pub(crate) mod plugin;
pub(crate) mod profile;
pub(crate) mod state;
pub(crate) mod status;
