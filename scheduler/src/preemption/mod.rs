//! Preemption: making room for a pod by evicting less important ones.
//!
//! Invariant: choosing is pure (`candidates`); acting on the choice is the executor's
//! (pkg/scheduler/framework/preemption/*.go, plugins/defaultpreemption/default_preemption.go@v1.37.2).
//! Non-goal: victims that are pod groups.

pub(crate) mod candidates;
pub(crate) mod executor;
