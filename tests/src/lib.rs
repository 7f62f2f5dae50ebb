//! Cross-component scenarios: the keelson binary as a user starts it, driven by kube-rs and stock kubectl.
//!
//! Must not know: any crate of ours but the build tool's library, which starts programs. A scenario that needs to look inside belongs to that crate.

pub mod balancer;
pub mod harness;
pub mod image;
pub mod kubectl;
pub mod load;
pub mod machine;
pub mod raw;
pub mod servers;
