//! KMS v2: objects are encrypted with keys derived from a seed that a plugin has encrypted
//! (k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2, pkg/server/options/encryptionconfig/config.go@v0.37.2).
//!
//! Invariant: a write needs no call, it uses the seed of the last good state; a read asks the plugin once for each encrypted seed.
//! Non-goal: when the plugin is asked for its status; sockets.

pub mod messages;
mod object;
pub mod plugin;
mod sources;

use futures::future::BoxFuture;

use crate::Error;
use messages::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusResponse};

/// A plugin's three calls; each has a deadline of its own.
pub trait Service: Send + Sync {
    fn status(&self) -> BoxFuture<'_, Result<StatusResponse, Error>>;
    fn encrypt(&self, request: EncryptRequest) -> BoxFuture<'_, Result<EncryptResponse, Error>>;
    fn decrypt(&self, request: DecryptRequest) -> BoxFuture<'_, Result<DecryptResponse, Error>>;
}
