//! A port with TLS: handshakes, HTTP/1.1 and 2, one task a connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::task::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::respond::Body;

/// A handshake that takes longer is given up.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Request headers that take longer are given up.
const HEADERS_MAX: Duration = Duration::from_secs(32);
/// Pause after a failed accept: file descriptors may come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The certificates that the peer of a connection has shown; nobody has judged them.
pub type Peer = [CertificateDer<'static>];

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    fn answer(self: Arc<Self>, peer: &Peer, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// A server whose port is taken but that does not answer yet.
pub struct Bound {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Bound {
    /// Takes the port.
    ///
    /// # Errors
    /// It is taken.
    pub async fn new(address: SocketAddr, config: ServerConfig) -> Result<Self, Error> {
        let failed = |source| Error::Io { what: format!("listen tcp {address}: bind"), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Bound { listener, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for as long as the tasks go on.
    pub async fn run<H: Handler>(self, handler: Arc<H>, tasks: Tasks) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tasks.run("server connection", serve(self.acceptor.clone(), stream, handler.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve<H: Handler>(acceptor: TlsAcceptor, stream: TcpStream, handler: Arc<H>) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake error"),
        Err(_) => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates: Vec<_> = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let peer: Arc<Peer> = certificates.into();
    let service = service_fn(move |request| {
        let (handler, peer) = (handler.clone(), peer.clone());
        async move { Ok::<_, Infallible>(handler.answer(&peer, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_MAX);
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection ended");
    }
}
