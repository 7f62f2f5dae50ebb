//! TLS as the servers of a cluster do it: certificates reloaded when their files change, client certificates
//! asked for and judged per request or in the handshake, and clients that are told not to verify.
//!
//! Must not know: requests, identities, any other crate of ours.

mod choice;
mod serving;
mod signatures;

pub use choice::Choice;
pub use serving::{chosen_server_config, client_identity, made_server_config, server_config, verifying_server_config};
pub use signatures::unverified;
