//! The gRPC client of a KMS plugin behind a unix socket
//! (k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/grpc_service.go, k8s.io/kms/pkg/util/util.go@v0.37.2).
//!
//! Invariant: a call waits for the plugin to appear, and ends at its deadline; the connection is made again after a loss.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream as Plain};
use std::time::Duration;

use encryption::Error;
use encryption::kms::Service;
use encryption::kms::messages::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Status};
use tonic_prost::ProstCodec;

/// Between two tries to connect.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// A plugin; clones share the connection.
#[derive(Clone)]
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
}

impl Client {
    /// Must be called within a tokio runtime; does not connect yet.
    ///
    /// # Errors
    /// Upstream's words for an endpoint that is no unix socket.
    pub(super) fn new(endpoint: &str, timeout: Duration) -> Result<Self, String> {
        let path = socket(endpoint)?;
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { connect(&path).await.map(TokioIo::new) }
        });
        // The authority is never used on a unix socket, but HTTP/2 wants one.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Ok(Client { channel, timeout })
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Error>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let answered = async {
            let mut wait = RETRY_FIRST;
            loop {
                match self.once(path, request.clone()).await {
                    Err(status) if unconnected(&status) => tokio::time::sleep(wait).await,
                    answer => return answer,
                }
                wait = (wait * 2).min(RETRY_MAX);
            }
        };
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(answer) => answer.map_err(|status| Error::call(code(status.code()), status.message())),
            Err(_) => Err(Error::call("DeadlineExceeded", "context deadline exceeded")),
        }
    }

    async fn once<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(request);
        request.set_timeout(self.timeout);
        Ok(grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::default()).await?.into_inner())
    }
}

impl Service for Client {
    fn status(&self) -> BoxFuture<'_, Result<StatusResponse, Error>> {
        self.call("/v2.KeyManagementService/Status", StatusRequest {}).boxed()
    }

    fn encrypt(&self, request: EncryptRequest) -> BoxFuture<'_, Result<EncryptResponse, Error>> {
        self.call("/v2.KeyManagementService/Encrypt", request).boxed()
    }

    fn decrypt(&self, request: DecryptRequest) -> BoxFuture<'_, Result<DecryptResponse, Error>> {
        self.call("/v2.KeyManagementService/Decrypt", request).boxed()
    }
}

/// util.go: ParseEndpoint. A name that begins with `@` is one of the abstract namespace.
fn socket(endpoint: &str) -> Result<String, String> {
    if endpoint.is_empty() {
        return Err("remote KMS provider can't use empty string as endpoint".into());
    }
    let quoted = api::field::go_quote(endpoint);
    let url = api::gourl::parse(endpoint)
        .map_err(|why| format!("invalid endpoint {quoted} for remote KMS provider, error: {why}"))?;
    if url.scheme != "unix" {
        return Err(format!("unsupported scheme {} for remote KMS provider", api::field::go_quote(&url.scheme)));
    }
    let path = String::from_utf8_lossy(&url.path).into_owned();
    Ok(if path.starts_with("/@") { path[1..].to_string() } else { path })
}

async fn connect(path: &str) -> io::Result<UnixStream> {
    let Some(name) = path.strip_prefix('@') else { return UnixStream::connect(path).await };
    let stream = Plain::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Whether there was nobody to call.
fn unconnected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// A code as Go names it (google.golang.org/grpc/codes).
fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_sockets() {
        for (endpoint, expect) in [
            ("unix:///var/run/kms.sock", Ok("/var/run/kms.sock")),
            ("unix:///@kms", Ok("@kms")),
            ("", Err("remote KMS provider can't use empty string as endpoint")),
            ("tcp://x", Err("unsupported scheme \"tcp\" for remote KMS provider")),
        ] {
            assert_eq!(socket(endpoint).as_deref().map_err(String::as_str), expect, "{endpoint}");
        }
    }

    #[tokio::test]
    async fn nobody_is_waited_for_until_the_deadline() {
        let client = Client::new("unix:///nowhere/kms.sock", Duration::from_millis(120)).expect("an endpoint");
        let started = std::time::Instant::now();
        let error = client.status().await.expect_err("nobody is there");
        assert_eq!(error.to_string(), "rpc error: code = DeadlineExceeded desc = context deadline exceeded");
        assert!(started.elapsed() >= Duration::from_millis(120));
    }
}
