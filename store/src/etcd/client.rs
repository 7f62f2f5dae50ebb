//! Calls to an etcd cluster: connections, failover, what an error means.
//!
//! Invariant: a call that may have reached a member is repeated only if it reads; a write is repeated only when it certainly
//! was never sent. Non-goal: what the calls say.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, ConnectError, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::{Error, EtcdConfig, Result};

/// As kube-apiserver's (`pkg/storage/storagebackend/factory/etcd3.go@v0.37.2`).
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A member that does not take a connection for this long is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// etcd gives up a request after about 7 s itself; a member that does not even say so is passed over.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer, in bytes, as of etcd's own client; tonic's default of 4 MiB is less than one page of a range.
const MAX_ANSWER_BYTES: usize = i32::MAX as usize;

/// How much of an answer may be on its way unread, in bytes. A watch nobody reads fills its stream and no more, and a
/// thousand of them leave room in the connection. (Adaptive windows are no choice: they are measured with pings, which etcd
/// takes for an attack.)
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Whether a call may be sent again after it may have reached a member.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Call {
    Read,
    Write,
}

pub(crate) struct Client {
    endpoints: Vec<String>,
    channels: Vec<Channel>,
    /// The index of the channel that answered last.
    preferred: AtomicUsize,
}

impl Client {
    pub(crate) fn new(config: &EtcdConfig) -> Result<Client> {
        if config.endpoints.is_empty() {
            return Err(Error::Config("no etcd endpoint given".into()));
        }
        let channels = config.endpoints.iter().map(|endpoint| channel(endpoint, config)).collect::<Result<_>>()?;
        Ok(Client { endpoints: config.endpoints.clone(), channels, preferred: AtomicUsize::new(0) })
    }

    pub(crate) async fn call<Q, A>(&self, path: &'static str, call: Call, request: Q) -> Result<A>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let first = self.preferred();
        // One more than there are members: the first failure may just tell that a connection was lost.
        for attempt in 0..=self.channels.len() {
            let member = (first + attempt) % self.channels.len();
            let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.unary(member, path, request.clone())).await;
            let status = match answer {
                Ok(Ok(answer)) => {
                    self.preferred.store(member, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(Err(status)) => status,
                Err(_) => Status::unavailable("etcd did not answer in time"),
            };
            let again =
                never_sent(&status) || (call == Call::Read && (status.code() == Code::Unavailable || broken(&status)));
            if !again || attempt == self.channels.len() {
                return Err(meaning(&self.endpoints[member], &status));
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn unary<Q, A>(&self, member: usize, path: &'static str, request: Q) -> std::result::Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc(member);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let path = PathAndQuery::from_static(path);
        Ok(grpc.unary(Request::new(request), path, ProstCodec::default()).await?.into_inner())
    }

    /// Opens a stream to the preferred member; see [`Client::pass_over`] for when it fails.
    pub(crate) async fn stream<Q, A>(
        &self,
        path: &'static str,
        requests: impl futures::Stream<Item = Q> + Send + 'static,
    ) -> std::result::Result<Streaming<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc(self.preferred());
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(requests);
        // A member that lost its leader ends the stream instead of going silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let path = PathAndQuery::from_static(path);
        Ok(grpc.streaming(request, path, ProstCodec::default()).await?.into_inner())
    }

    fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed) % self.channels.len()
    }

    /// What a failed stream means.
    pub(crate) fn meaning(&self, status: &Status) -> Error {
        meaning(&self.endpoints[self.preferred()], status)
    }

    pub(crate) fn members(&self) -> usize {
        self.channels.len()
    }

    /// Prefers another member from now on.
    pub(crate) fn pass_over(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }

    fn grpc(&self, member: usize) -> Grpc<Channel> {
        Grpc::new(self.channels[member].clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }
}

fn channel(endpoint: &str, config: &EtcdConfig) -> Result<Channel> {
    let bad = |error: tonic::transport::Error| {
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        Error::Config(format!("etcd endpoint {endpoint:?}: {why}"))
    };
    let secure = config.ca.is_some() || config.cert.is_some();
    let url = match (endpoint.contains("://"), secure) {
        (true, _) => endpoint.to_owned(),
        (false, true) => format!("https://{endpoint}"),
        (false, false) => format!("http://{endpoint}"),
    };
    let mut built = Endpoint::from_shared(url.clone())
        .map_err(bad)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_TIME)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if url.starts_with("https://") {
        built = built.tls_config(tls(config)?).map_err(bad)?;
    }
    Ok(built.connect_lazy())
}

fn tls(config: &EtcdConfig) -> Result<ClientTlsConfig> {
    let mut tls = ClientTlsConfig::new();
    tls = match &config.ca {
        Some(ca) => tls.ca_certificate(Certificate::from_pem(ca)),
        None => tls.with_native_roots(),
    };
    match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => Ok(tls.identity(Identity::from_pem(cert, key))),
        (None, None) => Ok(tls),
        _ => Err(Error::Config("an etcd client certificate needs its key, and a key its certificate".into())),
    }
}

/// Whether the call failed before anything of it was sent.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Whether it was not the member that said so, but its connection that broke.
fn broken(status: &Status) -> bool {
    status.source().is_some()
}

/// Errors etcd tells by text (`api/v3rpc/rpctypes/error.go@v3.7.3`); the rest means that the result is unknown.
fn meaning(endpoint: &str, status: &Status) -> Error {
    let known = [
        // etcd does not say what was compacted.
        Error::Compacted { compact_revision: 0 },
        Error::FutureRevision,
        Error::Full,
        Error::LeaseNotFound,
        Error::LeaseTtlTooLarge,
        Error::TooLarge,
        Error::EmptyKey,
    ];
    let unknown = || {
        let mut cause: &dyn std::error::Error = status;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let cause = if status.source().is_some() { format!(": {cause}") } else { String::new() };
        Error::Unavailable(format!("etcd {endpoint}: {}{cause}", status.message()))
    };
    known.into_iter().find(|error| error.to_string() == status.message()).unwrap_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_tried_elsewhere_only_when_the_connection_broke() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(broken(&Status::from_error(Box::new(reset))));
        assert!(!broken(&Status::out_of_range("etcdserver: mvcc: required revision has been compacted")));
    }
}
