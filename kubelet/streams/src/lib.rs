//! The wire protocols of exec, attach and port-forward: SPDY/3.1, the WebSocket channel protocols, and
//! what turns one into the other (k8s.io/streaming, k8s.io/cri-streaming@v0.37.2).
//!
//! Must not know: pods, nodes, authentication. Invariant: nothing here spawns; whoever calls drives the
//! futures, and dropping one ends what it did.

pub mod channel;
pub mod exec;
pub mod http1;
pub mod spdy;
pub mod tunnel;
pub mod upgrade;
pub mod websocket;

use tokio::io::{AsyncRead, AsyncWrite};

/// A connection of bytes.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// Any connection of bytes.
pub type AnyIo = Box<dyn Io>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] ::http::Error),
    #[error("{0}")]
    WebSocket(#[from] tokio_tungstenite::tungstenite::Error),
    /// The peer broke a protocol, or ended it.
    #[error("{0}")]
    Protocol(String),
}

impl Error {
    pub(crate) fn protocol(why: impl Into<String>) -> Self {
        Error::Protocol(why.into())
    }
}
