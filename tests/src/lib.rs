//! Cross-component scenarios: the keelson binary as a user starts it, driven by kube-rs.
//!
//! Must not know: any crate of ours. A scenario that needs to look inside belongs to that crate.

pub mod harness;
