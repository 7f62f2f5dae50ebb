//! Encryption at rest: what an EncryptionConfiguration says, and the bytes that follow from it
//! (k8s.io/apiserver/pkg/{server/options/encryptionconfig,storage/value}@v0.37.2).
//!
//! Invariant: bytes are those of upstream, prefix by prefix, with the store's key as authenticated data; what one of the two wrote
//! the other reads. Must not know: HTTP, the store, kinds, sockets, tasks. Time and a KMS plugin come in from outside.

mod cipher;
pub mod config;
mod error;
pub mod kms;
pub mod metrics;
pub mod transform;
mod validate;

use std::sync::Arc;

pub use error::Error;
use jiff::Timestamp;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// `sha256:` and the hexadecimal digest; empty for empty text.
pub fn hash(text: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    if text.is_empty() {
        return String::new();
    }
    let mut out = String::from("sha256:");
    for byte in Sha256::digest(text) {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}
