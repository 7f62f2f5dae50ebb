//! kube-apiserver: request chain, REST verbs for every kind from the facts, watch cache, discovery,
//! OpenAPI, authentication, authorisation, admission.
//!
//! Must not know: `client` or any other component. Only this crate names `store`.

mod admission;
mod aggregation;
mod audit;
mod authn;
mod authz;
mod bootstrap;
mod cache;
mod chain;
mod codec;
mod compaction;
mod compress;
mod config;
mod configuration;
mod connection;
mod custom;
mod declarative;
mod discovery;
mod encryptionconfig;
mod flow;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod hub;
mod identity;
mod metrics;
mod negotiate;
mod nonresource;
mod openapi;
mod options;
mod patch;
mod registry;
mod request;
mod resources;
mod respond;
mod rest;
mod server;
mod server_id;
mod strategy;
mod stream;
mod subresource;
mod system;
mod table;
mod views;
mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use aggregation::Config as AggregatorConfig;
pub use audit::{AuditBatchOptions, AuditLogOptions, AuditOptions, AuditTruncateOptions, AuditWebhookOptions};
pub use config::{AnonymousAuth, Config, EncryptionConfig, RequestHeader};
pub use options::{AuthenticationOptions, AuthorizationOptions, OidcOptions, Times, TokenWebhookOptions};
pub use respond::Body;
pub use server::InProcess;

/// The endpoints of default/kubernetes are renewed this often (pkg/controlplane: EndpointReconciler interval).
const ENDPOINTS_PERIOD: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Config(String),
    #[error("failed to create listener: failed to listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A running API server; clones are the same server.
#[derive(Clone)]
pub struct Server {
    core: Arc<chain::Core>,
    config: Arc<Config>,
    stop: CancellationToken,
    /// Cancelled before `stop` when the end is announced: what the server does unasked.
    duties: CancellationToken,
    tasks: TaskTracker,
    address: SocketAddr,
}

impl Server {
    /// Fills the caches, listens and starts the server's own duties. Serves until [`Server::stop`].
    ///
    /// # Errors
    /// A certificate, key or flag that cannot be used; an address in use; a store that cannot be read.
    pub async fn start(config: Config, store: Store) -> Result<Server, Error> {
        let (core, definitions, reloaders) = assemble::core(&config, store)?;
        let core = Arc::new(core);
        let choice = tls::Choice {
            min_version: config.tls_min_version.clone(),
            cipher_suites: config.tls_cipher_suites.clone(),
        };
        let (cert, key) = (config.tls_cert_file.clone(), config.tls_private_key_file.clone());
        let tls = tls::chosen_server_config(cert, key, &choice).map_err(Error::Config)?;
        let wanted = SocketAddr::new(config.bind_address, config.secure_port);
        let failed = |source| Error::Listen { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if let Some(encryption) = &core.api.hub.encryption {
            encryption.prime().await;
        }
        let revision = core.api.hub.fill().await?;
        let stop = CancellationToken::new();
        let server = Server {
            core,
            config: Arc::new(config),
            duties: stop.child_token(),
            stop,
            tasks: TaskTracker::new(),
            address,
        };
        let served = CancellationToken::new();
        server.spawn_feed(revision, served.clone());
        let serving = server::serve(server.core.clone(), listener, tls, server.stop.clone());
        server.tasks.spawn(async move {
            let _served = served.drop_guard();
            serving.await;
        });
        server.spawn_duties(definitions);
        server.spawn_reloaders(reloaders);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server as a service in this process, for a peer with these certificates (the client's first).
    pub fn in_process(&self, certificates: Vec<CertificateDer<'static>>) -> InProcess {
        InProcess::new(self.core.clone(), certificates)
    }

    /// Returns once every start-up duty is done.
    pub async fn ready(&self) {
        self.core.health.ready().await;
    }

    /// Ends serving as kube-apiserver does when it is told to (k8s.io/apiserver/pkg/server/genericapiserver.go@v0.37.2:
    /// RunWithContext): /readyz fails at once; when --shutdown-delay-duration is over and this server has left
    /// the endpoints of default/kubernetes, no connection is taken any more and watches end; requests under way are
    /// answered. Returns when all has ended.
    pub async fn shut_down(&self) {
        self.core.health.stopping.store(true, Ordering::Relaxed);
        self.duties.cancel();
        let delay = self.config.times.shutdown_delay;
        let left = tokio::time::timeout(ENDPOINTS_PERIOD * 2, bootstrap::leave(&self.core, &self.config));
        let (left, ()) = tokio::join!(left, tokio::time::sleep(delay));
        if !matches!(left, Ok(Ok(()))) {
            tracing::warn!("this server is still among the endpoints of default/kubernetes");
        }
        self.stop();
        self.stopped().await;
    }

    /// Ends serving: new connections are refused, watches end, requests under way are answered.
    pub fn stop(&self) {
        self.core.health.stopping.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    /// Returns once [`Server::stop`] was called and everything under way has ended; then tells the rest of what audit
    /// has to tell, and closes the store.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
        self.audited().await;
        if let Err(error) = self.core.api.hub.store.close().await {
            tracing::warn!(%error, "the store did not close");
        }
    }

    /// Tells what audit still has to tell, and nothing after that.
    pub async fn audited(&self) {
        if let Some(audit) = &self.core.audit {
            audit.close().await;
        }
    }

    /// The feed goes on for the requests that are still answered.
    fn spawn_feed(&self, revision: u64, served: CancellationToken) {
        let (core, stop) = (self.core.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let mut revision = revision;
            while let Some(Err(error)) = served.run_until_cancelled(core.api.hub.follow(revision)).await {
                if stop.is_cancelled() && matches!(error, store::Error::Closed) {
                    return;
                }
                tracing::warn!(%error, "the watch of the store ended, resuming");
                tokio::time::sleep(Duration::from_millis(100)).await;
                revision = core.api.hub.applied();
                if matches!(error, store::Error::Compacted { .. }) {
                    match core.api.hub.fill().await {
                        Ok(filled) => revision = filled,
                        Err(error) => tracing::error!(%error, "the caches could not be filled again"),
                    }
                }
            }
        });
    }

    fn spawn_reloaders(&self, reloaders: assemble::Reloaders) {
        if let Some(reloader) = reloaders.authentication {
            self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(reloader.run()));
        }
        if let Some(reloader) = reloaders.authorization {
            let authorizers = self.core.authz.clone();
            self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(reloader.run(authorizers)));
        }
    }

    fn spawn_duties(&self, definitions: custom::controller::Queue) {
        if let Some(encryption) = &self.core.api.hub.encryption {
            let tasks = encryptionconfig::Tasks { tracker: self.tasks.clone(), stop: self.stop.clone() };
            encryption.start(&self.core.api.hub, &tasks);
        }
        let (core, stop) = (self.core.clone(), self.stop.clone());
        self.tasks.spawn(stop.run_until_cancelled_owned(async move {
            let served = || core.health.done("poststarthook/crd-informer-synced");
            custom::controller::run(core.clone(), definitions, served).await;
        }));
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(flow::run(self.core.clone())));
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(aggregation::run(self.core.clone())));
        let (core, config, stop) = (self.core.clone(), self.config.clone(), self.duties.clone());
        self.tasks.spawn(stop.run_until_cancelled_owned(async move {
            bootstrap::run(core.clone(), config.clone()).await;
            tokio::join!(compaction::run(core.api.hub.store.clone()), bootstrap::keep(core, config, ENDPOINTS_PERIOD),);
        }));
    }
}

mod assemble;
