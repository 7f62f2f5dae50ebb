//! The connections that the API server itself makes: TLS clients, and what runs over them.
//!
//! Invariant: streams that run end with the server.

use std::future::Future;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::target::{Identity, Target};
use crate::config::Config;
use streams::AnyIo;

/// --kubelet-port's default, for nodes that do not tell theirs.
const KUBELET_PORT: u16 = 10250;

pub(crate) struct Backends {
    kubelet: Arc<ClientConfig>,
    kubelet_unverified: Arc<ClientConfig>,
    anyone: Arc<ClientConfig>,
    /// --kubelet-preferred-address-types
    pub(super) address_types: Vec<String>,
    pub(super) kubelet_port: u16,
    running: TaskTracker,
    stop: CancellationToken,
    _stopping: DropGuard,
}

impl Backends {
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let client = config.kubelet_client.as_ref();
        let stop = CancellationToken::new();
        Ok(Backends {
            kubelet: client_config(client, config.kubelet_ca.as_deref())?,
            kubelet_unverified: client_config(client, None)?,
            anyone: client_config(None, None)?,
            address_types: config.kubelet_address_types.clone(),
            kubelet_port: KUBELET_PORT,
            running: TaskTracker::new(),
            _stopping: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Lets a stream run until it ends or the server does.
    pub(super) fn run(&self, work: impl Future<Output = Result<(), streams::Error>> + Send + 'static) {
        let stop = self.stop.clone();
        self.running.spawn(async move {
            if let Some(Err(error)) = stop.run_until_cancelled_owned(work).await {
                tracing::debug!(%error, "stream ended");
            }
        });
    }

    /// Connects with TLS to whoever is there, without a certificate of either side being judged.
    ///
    /// # Errors
    /// As [`dial`].
    pub(crate) async fn anyone(&self, address: String, host: String) -> io::Result<AnyIo> {
        dial(Some(TlsConnector::from(self.anyone.clone())), address, host).await
    }

    /// Connects to a target, when called.
    pub(super) fn dialer(
        &self,
        target: &Target,
    ) -> impl FnOnce() -> futures::future::BoxFuture<'static, io::Result<AnyIo>> + Send + 'static {
        let tls = target.tls.map(|identity| {
            let config = match identity {
                Identity::Kubelet => &self.kubelet,
                Identity::KubeletUnverified => &self.kubelet_unverified,
                Identity::Anyone => &self.anyone,
            };
            TlsConnector::from(config.clone())
        });
        let (address, host) = (target.address(), target.host.clone());
        move || Box::pin(dial(tls, address, host))
    }
}

/// Connects, in Go's words when that fails; `host` is who the certificate has to be of.
pub(crate) async fn dial(tls: Option<TlsConnector>, address: String, host: String) -> io::Result<AnyIo> {
    let port = address.rsplit_once(':').map_or("", |(_, port)| port);
    if port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_err() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("dial tcp: address {port}: invalid port")));
    }
    let failed = |error: io::Error| {
        let text = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            io::ErrorKind::TimedOut => "connect: connection timed out".to_owned(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("dial tcp {address}: {text}"))
    };
    let stream = TcpStream::connect(&address).await.map_err(failed)?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

/// A TLS client with a certificate (PEM) and the CA that it trusts; without a CA it verifies nothing.
fn client_config(client: Option<&(Vec<u8>, Vec<u8>)>, ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match ca {
        None => tls::unverified(&provider),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(ca) {
                roots.add(certificate.map_err(|error| text(&error))?).map_err(|error| text(&error))?;
            }
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            built.map_err(|error| text(&error))?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| text(&error))?;
            let chain = chain.map_err(|error| text(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| text(&error))?
        }
    };
    // What is handed on is HTTP/1.1, because only that can be upgraded.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
