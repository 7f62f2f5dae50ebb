//! The listeners: plain or TLS, HTTP/1.1 and HTTP/2 on one port, gRPC told apart by its content type.
//!
//! Invariant: a client without the certificate that is asked for does not get past the handshake, as in Go's server.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use crate::server::Server;
use crate::{Config, Error, Result, grpc, http as probes};

/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be taken: out of file descriptors, some may come back.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How much of a request may be on its way unread, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub secure: bool,
    pub host: String,
    pub port: u16,
}

impl Place {
    /// Reads one URL of a flag that says where to listen.
    ///
    /// # Errors
    /// Why it cannot be listened on, in etcd's words where etcd has some (`client/pkg/types/urls.go@v3.7.3`,
    /// `server/embed/config.go@v3.7.3`, checkBindURLs).
    pub fn parse(url: &str) -> std::result::Result<Place, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let secure = match scheme {
            "http" => false,
            "https" => true,
            "unix" | "unixs" => return Err(format!("{url}: sockets of the file system are not supported")),
            _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('/') {
            return Err(format!("URL must not contain a path: {url}"));
        }
        let port = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = port.ok_or_else(|| format!("URL address does not have the form \"host:port\": {url}"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let known = host == "localhost" || host.is_empty() || host.parse::<std::net::IpAddr>().is_ok();
        known
            .then(|| Place { secure, host: host.to_owned(), port })
            .ok_or_else(|| format!("expected IP in URL for binding ({url})"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// What https is served with.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// PEM of the authorities that a client's certificate must be of; without it none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// What a place serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    Both,
    Grpc,
    Http,
    /// Metrics and health.
    Probes,
}

pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    serves: Serves,
    keepalive: (Duration, Duration),
}

/// Begins to listen.
///
/// # Errors
/// The address cannot be had, or https has no certificate.
pub(crate) async fn bind(place: &Place, config: &Config, serves: Serves) -> Result<Listener> {
    let failed = |source| Error::Listen { place: place.to_string(), source };
    let tls = match (place.secure, &config.tls) {
        (true, Some(files)) => Some(acceptor(files)?),
        (true, None) => {
            return Err(Error::Config(format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {place} with HTTPS scheme"
            )));
        }
        (false, files) => {
            if files.is_some() {
                tracing::warn!(
                    "scheme is http or unix while key and cert files are present; ignoring key and cert files"
                );
            }
            None
        }
    };
    let listener = listen(place).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "serving client traffic");
    let keepalive = (config.grpc_keepalive_interval, config.grpc_keepalive_timeout);
    Ok(Listener { address, listener, tls, serves, keepalive })
}

/// Of several addresses the one of IPv4, as Go.
async fn listen(place: &Place) -> io::Result<TcpListener> {
    let host = if place.host.is_empty() { "::" } else { place.host.as_str() };
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, place.port)).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(&addresses[..]).await
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let config = match &files.client_ca {
        Some(ca) => tls::verifying_server_config(files.cert.clone(), files.key.clone(), ca),
        None => tls::server_config(files.cert.clone(), files.key.clone()),
    };
    Ok(TlsAcceptor::from(Arc::new(config.map_err(Error::Config)?)))
}

impl Listener {
    /// Serves until the server stops, then ends what is left.
    pub(crate) async fn run(self, server: Arc<Server>) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = server.stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    drop(tasks.spawn(connection(server.clone(), stream, self.tls.clone(), self.serves, self.keepalive)))
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    serves: Serves,
    keepalive: (Duration, Duration),
) {
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else {
        return serve(server, stream, serves, keepalive).await;
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve(server, stream, serves, keepalive).await,
        Ok(Err(error)) => tracing::warn!(%error, "rejected connection on client endpoint"),
        Err(_) => {}
    }
}

async fn serve<S>(server: Arc<Server>, stream: S, serves: Serves, (interval, timeout): (Duration, Duration))
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval((!interval.is_zero()).then_some(interval))
        .keep_alive_timeout(timeout);
    let stop = server.stop.clone();
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(server, request, serves).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // What a client makes of it is not ours.
    let _ = connection.await;
}

async fn answer(server: Arc<Server>, request: Request<Incoming>, serves: Serves) -> Response<Body> {
    match (grpc::is_grpc(&request), serves) {
        (true, Serves::Both | Serves::Grpc) => grpc::answer(server, request).await,
        (_, Serves::Probes) => probes::answer(&server, &request, true).await,
        (false, Serves::Both | Serves::Http) => probes::answer(&server, &request, false).await,
        _ => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_urls_that_can_be_listened_on() {
        let check = |url: &str, expect: &str| {
            let found = Place::parse(url).map_or_else(|error| error, |place| place.to_string());
            assert_eq!(found, expect, "{url}");
        };
        check("http://localhost:2379", "http://localhost:2379");
        check("https://127.0.0.1:0/", "https://127.0.0.1:0");
        check("http://[::1]:2379", "http://[::1]:2379");
        check("http://:2379", "http://:2379");
        check("http://127.0.0.1", "URL address does not have the form \"host:port\": http://127.0.0.1");
        check("127.0.0.1:2379", "URL scheme must be http, https, unix, or unixs: 127.0.0.1:2379");
        check("http://127.0.0.1:1/x", "URL must not contain a path: http://127.0.0.1:1/x");
        check("http://example.test:1", "expected IP in URL for binding (http://example.test:1)");
    }
}
