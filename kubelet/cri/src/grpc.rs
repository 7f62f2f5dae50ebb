//! CRI v1 over a unix socket.
//!
//! Invariant: the connection is made on first use and made again after a loss, so a restarted
//! runtime needs no new client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::runtime::{Answer, Events, Runtime, seconds, unary_calls};
use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;
use crate::v1::*;
use crate::{Error, Result};

/// Largest message, in bytes (k8s.io/cri-client/pkg/utils.go@v0.37.2, maxMsgSize).
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Upstream's runtimeRequestTimeout.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// A runtime behind a socket; clones share the connection.
#[derive(Clone)]
pub struct Grpc {
    channel: Channel,
    timeout: Duration,
}

impl Grpc {
    /// A client of the runtime at `endpoint`: `unix:///run/containerd/containerd.sock` or a path.
    /// Must be called within a tokio runtime; does not connect yet.
    pub fn new(endpoint: &str, timeout: Duration) -> Result<Self> {
        let path = socket_path(endpoint)?;
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The authority is never used on a unix socket, but HTTP/2 wants one.
        let endpoint = Endpoint::from_static("http://localhost");
        Ok(Grpc { channel: endpoint.connect_with_connector_lazy(connector), timeout })
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn image(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn socket_path(endpoint: &str) -> Result<PathBuf> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.contains("://") || !Path::new(path).is_absolute() {
        return Err(Error::new(Code::InvalidArgument, format!("protocol of {endpoint:?} not supported")));
    }
    Ok(PathBuf::from(path))
}

async fn within<T>(deadline: Option<Duration>, call: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(deadline) = deadline else { return call.await };
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::new(Code::DeadlineExceeded, "context deadline exceeded")),
    }
}

macro_rules! implement {
    ($($service:ident $name:ident($request:ident) -> $response:ident, $deadline:expr;)*) => {
        impl Runtime for Grpc {
            $(fn $name(&self, request: $request) -> Answer<'_, $response> {
                let deadline: fn(&$request, Duration) -> Option<Duration> = $deadline;
                let deadline = deadline(&request, self.timeout);
                let mut client = self.$service();
                Box::pin(within(deadline, async move { Ok(client.$name(request).await?.into_inner()) }))
            })*

            fn container_events(&self) -> Answer<'_, Events> {
                let mut client = self.runtime();
                Box::pin(async move {
                    let stream = client.get_container_events(GetEventsRequest {}).await?.into_inner();
                    Ok(stream.map(|event| event.map_err(Error::from)).boxed())
                })
            }
        }
    };
}

unary_calls!(implement);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let path = |endpoint| socket_path(endpoint).ok().map(|p| p.display().to_string());
        assert_eq!(path("unix:///run/c.sock").as_deref(), Some("/run/c.sock"));
        assert_eq!(path("/run/c.sock").as_deref(), Some("/run/c.sock"));
        assert_eq!(path("tcp://127.0.0.1:1"), None);
        assert_eq!(path("c.sock"), None);
    }

    #[tokio::test]
    async fn a_missing_socket_is_unavailable_and_later_works_without_a_new_client() {
        let dir = std::env::temp_dir().join(format!("cri-grpc-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let socket = dir.join("c.sock");
        let _ = std::fs::remove_file(&socket);
        let client = Grpc::new(&socket.display().to_string(), Duration::from_secs(5)).expect("client");
        let error = client.version(VersionRequest::default()).await.expect_err("nobody listens");
        assert_eq!(error.code, Code::Unavailable, "{error}");
        let listener = tokio::net::UnixListener::bind(&socket).expect("listen");
        let call = tokio::spawn(async move { client.version(VersionRequest::default()).await });
        // It came to us although the first connection failed; what is said next does not matter.
        tokio::time::timeout(Duration::from_secs(5), listener.accept()).await.expect("in time").expect("accepted");
        call.abort();
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
