//! HTTP over connections that are kept, as Go's transport keeps them.
//!
//! Invariant: a connection is to whom the URI names, and over TLS it is the certificate of `host` (or of that name) that
//! counts. Non-goal: HTTP/2 (all calls would go to one backend) and proxies of the environment.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use api::value::Map;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Uri, header, response, uri::Scheme};
use http_body_util::{BodyExt, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use streams::AnyIo;
use tokio_rustls::TlsConnector;

use super::answer::{self, Failure, Lost};
use super::trust;
use crate::subresource::connect::backends::dial;

/// Idle connections to one address, and how long they are kept (Go's transport as client-go sets it up).
const IDLE_MAX: usize = 25;
const IDLE_TIME: Duration = Duration::from_secs(90);
/// Bytes of an answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Connections of one kind.
pub(crate) type Calls = Pool<Connector, Full<Bytes>>;

pub(crate) fn pool<B>(connector: Connector) -> Pool<Connector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Pool::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(IDLE_MAX)
        .build(connector)
}

/// Sends a request and reads the object that is answered; `failed` says of which call an error is.
///
/// # Errors
/// client-go's texts.
pub(super) async fn answered(
    pool: &Calls,
    request: Request<Full<Bytes>>,
    failed: &impl Fn(String) -> Failure,
) -> Result<Map, Failure> {
    let (parts, body) = sent(pool, request, failed).await?;
    answer::object(parts.status.as_u16(), content_type(&parts), &body)
}

/// As [`answered`], when nothing but the code of the answer counts.
pub(super) async fn accepted(
    pool: &Calls,
    request: Request<Full<Bytes>>,
    failed: &impl Fn(String) -> Failure,
) -> Result<(), Failure> {
    let (parts, body) = sent(pool, request, failed).await?;
    answer::accepted(parts.status.as_u16(), content_type(&parts), &body)
}

fn content_type(parts: &response::Parts) -> &str {
    parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("")
}

async fn sent(
    pool: &Calls,
    request: Request<Full<Bytes>>,
    failed: &impl Fn(String) -> Failure,
) -> Result<(response::Parts, Bytes), Failure> {
    let lost = |error| Failure { lost: reset(&error).then_some(Lost::Reset), ..failed(root_of(&error)) };
    let response = pool.request(request).await.map_err(lost)?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        Failure::new(format!("unexpected error when reading response body. Please retry. Original error: {error}"))
    })?;
    Ok((parts, body.to_bytes()))
}

type PoolError = hyper_util::client::legacy::Error;

/// What went wrong at the bottom, in Go's words where they are known.
pub(crate) fn root_of(error: &PoolError) -> String {
    let mut at: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(error) = at.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return "EOF".into();
        }
        if let Some(error) = at.downcast_ref::<rustls::Error>() {
            return trust::go_text(error);
        }
        match deeper(at) {
            Some(source) => at = source,
            None => return at.to_string(),
        }
    }
}

fn deeper<'a>(at: &'a (dyn std::error::Error + 'static)) -> Option<&'a (dyn std::error::Error + 'static)> {
    let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| at.source())
}

/// Whether the other side broke the connection off.
fn reset(error: &PoolError) -> bool {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::ConnectionReset) {
            return true;
        }
        at = deeper(error);
    }
    false
}

/// Connects to where a URI says.
#[derive(Clone)]
pub(crate) struct Connector {
    /// For `https`.
    pub(crate) tls: Arc<ClientConfig>,
    /// Whose certificate is expected, if not that of the URI's host.
    pub(crate) host: Option<String>,
}

/// `host:port` of a URI, and the host without brackets.
fn place(to: &Uri) -> (String, String) {
    let host = to.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = to.port_u16().unwrap_or(if to.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 });
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    (address, host)
}

impl tower::Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Wire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let plain = to.scheme() == Some(&Scheme::HTTP);
        let tls = (!plain).then(|| TlsConnector::from(self.tls.clone()));
        let (address, named) = place(&to);
        let host = self.host.clone().unwrap_or(named);
        Box::pin(async move { Ok(Wire(TokioIo::new(dial(tls, address, host).await?))) })
    }
}

/// A connection as the pool wants it.
pub(crate) struct Wire(TokioIo<AnyIo>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_uris() {
        for (uri, address, host) in [
            ("https://a.test/x", "a.test:443", "a.test"),
            ("http://a.test", "a.test:80", "a.test"),
            ("https://[::1]:9/", "[::1]:9", "::1"),
            ("https://127.0.0.1:8443", "127.0.0.1:8443", "127.0.0.1"),
        ] {
            assert_eq!(place(&uri.parse().expect("a URI")), (address.into(), host.into()), "{uri}");
        }
    }
}
