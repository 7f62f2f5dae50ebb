//! The listener: TLS, HTTP/1.1 and HTTP/2, upgrades, graceful end; and the in-memory transport.
//!
//! Invariant: both transports hand the request to the same chain with the peer's certificates.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authn::Peer;
use crate::chain::Core;
use crate::connection::{self, Requests};
use crate::flow::Gone;
use crate::negotiate::Accepted;
use crate::respond::{self, Body, BoxError};
use crate::stream::Stream;

/// A handshake, and then the headers of a request, that take longer are given up
/// (k8s.io/apiserver/pkg/server/secure_serving.go@v0.37.2: ReadHeaderTimeout; Go's server holds handshakes to it, too).
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Largest headers of a request, its line included (secure_serving.go: MaxHeaderBytes).
const HEADER_BYTES_MAX: u32 = 1 << 20;
/// Lines of an HTTP/1.1 request's headers. Upstream counts their bytes alone; for each that there may be, memory is set
/// aside while a request is read.
const HEADERS_MAX: usize = 1000;
/// Streams of one HTTP/2 connection (--http2-max-streams-per-connection: upstream's default for a secure port).
const STREAMS_MAX: u32 = 1000;
/// Bytes buffered for one HTTP/2 stream: thousands of watchers share the memory.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// How long requests under way may go on after the end was asked for (k8s.io/apiserver/pkg/server/config.go@v0.37.2:
/// ShutdownTimeout).
const DRAIN: Duration = Duration::from_secs(60);

/// Serves until `stop`; then no connection is taken any more, watches end, idle connections are closed, and this returns
/// when the requests under way have been answered.
pub(crate) async fn serve(core: Arc<Core>, listener: TcpListener, tls: ServerConfig, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors: wait for some to come back instead of spinning.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (core, acceptor, watcher) = (core.clone(), acceptor.clone(), graceful.watcher());
        let (stop, writes) = (stop.clone(), tasks.clone());
        tasks.spawn(async move {
            let Some((peer, stream)) = handshake(acceptor, stream).await else { return };
            tokio::select! {
                () = connection(core, peer, stream, watcher, writes) => {}
                _ = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => {}
            }
        });
    }
    drop(listener);
    core.api.hub.end_watches();
    tasks.close();
    let drained = async { tokio::join!(graceful.shutdown(), tasks.wait()) };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("requests under way were given up");
    }
}

/// Serves one connection to its end.
fn connection(
    core: Arc<Core>,
    peer: Arc<Peer>,
    stream: Stream,
    watcher: Watcher,
    writes: TaskTracker,
) -> BoxFuture<'static, ()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let answer = answer(core.clone(), peer.clone(), request, writes.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let (requests, begun) = connection::requests();
    let builder = connection_builder(requests);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    connection::run(watcher.watch(connection).map(drop).boxed(), begun).boxed()
}

/// Reads are answered by the connection's task. A write is a task of its own: it takes longer, and once
/// begun it is brought to its end, even if the client is gone meanwhile.
async fn answer(core: Arc<Core>, peer: Arc<Peer>, mut request: Request<Body>, writes: TaskTracker) -> Response<Body> {
    if request.method().is_safe() {
        return core.answer(&peer, request).await;
    }
    // One that still waits for its turn has not begun.
    let gone = CancellationToken::new();
    request.extensions_mut().insert(Gone(gone.clone()));
    let _gone = gone.drop_guard();
    let answering = writes.spawn(async move { core.answer(&peer, request).await });
    answering.await.unwrap_or_else(|_| {
        // Panics are caught inside; the process is ending.
        respond::failure(&Status::internal("the server is stopping"), &Accepted::json())
    })
}

fn connection_builder(requests: Requests) -> auto::Builder<Requests> {
    let mut builder = auto::Builder::new(requests);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15));
    builder
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> Option<(Arc<Peer>, Stream)> {
    let _ = stream.set_nodelay(true);
    let address = stream.peer_addr().ok().map(|address| address.ip());
    let accepted = async {
        // Nothing is kept for who says nothing.
        stream.readable().await?;
        acceptor.accept(stream).await
    };
    match tokio::time::timeout(HEADER_TIMEOUT, accepted).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let certificates = certificates.iter().map(|certificate| certificate.clone().into_owned()).collect();
            Some((Arc::new(Peer { certificates, address }), Stream::new(stream)))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake error");
            None
        }
        Err(_) => None,
    }
}

/// The chain as a service in this process: `certificates` stand for what a TLS client would have proved.
#[derive(Clone)]
pub struct InProcess {
    core: Arc<Core>,
    peer: Arc<Peer>,
}

impl InProcess {
    pub(crate) fn new(core: Arc<Core>, certificates: Vec<CertificateDer<'static>>) -> Self {
        // Who is in this process is on this machine.
        let address = Some(Ipv4Addr::LOCALHOST.into());
        InProcess { core, peer: Arc::new(Peer { certificates, address }) }
    }

    /// Answers one request.
    pub async fn call<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        self.core.answer(&self.peer, request).await
    }
}
