//! Small HTTP servers for health and metrics: one synchronous handler a port, no TLS.
//!
//! Invariant: a server ends with the tasks it was started on, its connections too.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::task::Tasks;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;

use crate::netns::listen;

/// How long to wait before a port that could not be bound is tried again, as upstream does.
const RETRY_PERIOD: Duration = Duration::from_secs(5);
/// A client that takes longer to send its headers is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) type Handler = Arc<dyn Fn(&str) -> Response<String> + Send + Sync>;

/// A response as the proxy's health handlers give.
pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(crate) fn not_found() -> Response<String> {
    reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".into())
}

/// Listens and serves; tries again while the port cannot be bound.
pub(crate) async fn serve_at(address: SocketAddr, netns: Option<PathBuf>, tasks: Tasks, handler: Handler) {
    loop {
        match listen(address, netns.as_deref()) {
            Ok(listener) => match serve(listener, tasks.clone(), handler.clone()).await {
                Ok(()) => return,
                Err(error) => tracing::error!(%address, %error, "server failed, will retry"),
            },
            Err(error) => tracing::error!(%address, %error, "cannot listen, will retry"),
        }
        tokio::time::sleep(RETRY_PERIOD).await;
    }
}

/// Serves a listening socket until it fails.
pub(crate) async fn serve(listener: TcpListener, tasks: Tasks, handler: Handler) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => tasks.run("http connection", connection(stream, handler.clone())),
            // Out of file descriptors, say: the next connection may fare better.
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, handler: Handler) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = handler(request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection ended");
    }
}
