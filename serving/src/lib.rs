//! A component's own server: TLS, who calls and what they may by the API server's word, health and metrics.
//!
//! Must not know: what any component does; it asks `client::health`. Invariant: nothing is answered before the caller
//! was authenticated and authorised, or the path is one that all may ask.

mod authn;
mod certificate;
mod component;
mod front_proxy;
mod health;
mod listen;
mod page;
pub mod respond;
mod reviews;
mod trust;

pub use authn::{Authenticator, User};
pub use certificate::{made, own_files};
pub use component::{Access, Component, bind};
pub use front_proxy::Headers;
pub use listen::{Bound, Handler, Peer};
pub use page::{Labels, Page};
pub use reviews::{Asked, Reviews};
pub use rustls::ServerConfig;
pub use trust::Trust;

/// Why a server does not come up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Config(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
}
