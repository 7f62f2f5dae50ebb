//! etcd's v3 API on the store, for who speaks to an etcd: an upstream kube-apiserver, etcdctl, tools that start both.
//!
//! One member, no raft, no users: what needs them is refused in etcd's words, or as not implemented. Invariants: answers, errors
//! and events are etcd's (`server/etcdserver/api/v3rpc@v3.7.3`); nothing is answered before it is durable. Must not know:
//! Kubernetes, any crate of ours but `store` and `tls`. Non-goals: etcd's files, its peers' protocol, the JSON gateway, snapshots.

mod auth;
mod cluster;
mod compactor;
mod grpc;
mod http;
mod identity;
mod intervals;
mod kv;
mod lease;
mod listen;
mod maintenance;
mod metrics;
mod range;
mod server;
mod status;
mod txn;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use store::{EmbeddedConfig, Store};

pub use crate::compactor::{Compaction, duration};
use crate::listen::Serves;
pub use crate::listen::{Place, TlsFiles};
use crate::server::Server;

/// The version whose API and behaviour this is (`api/version/version.go@v3.7.3`).
pub const VERSION: &str = "3.7.3";
/// The version of the cluster and of what is stored, as etcd tells them.
const CLUSTER_VERSION: &str = "3.7.0";
/// `--quota-backend-bytes` when it is not given (`server/storage/quota.go@v3.7.3`).
const DEFAULT_QUOTA_BYTES: i64 = 2 << 30;
/// How long requests under way may go on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What is asked for cannot be.
    #[error("{0}")]
    Config(String),
    #[error("listen {place}: {source}")]
    Listen { place: String, source: std::io::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

/// What etcd's flags say; the fields are named after them.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: String,
    /// Where clients are served gRPC, and HTTP if `listen_client_http` is empty.
    pub listen_client: Vec<Place>,
    /// Where clients are served HTTP alone.
    pub listen_client_http: Vec<Place>,
    /// Where `/metrics` and the health endpoints are served.
    pub listen_metrics: Vec<Place>,
    pub advertise_client: Vec<String>,
    pub initial_advertise_peer: Vec<String>,
    pub initial_cluster_token: String,
    /// For places with https.
    pub tls: Option<TlsFiles>,
    pub auto_compaction: Option<Compaction>,
    /// 0 is the default.
    pub quota_backend_bytes: i64,
    pub max_request_bytes: usize,
    pub max_txn_ops: usize,
    pub watch_progress_notify_interval: Duration,
    pub grpc_keepalive_interval: Duration,
    pub grpc_keepalive_timeout: Duration,
    /// The directory of the store, to tell its size; none in memory.
    pub store_dir: Option<PathBuf>,
}

impl Default for Config {
    /// etcd's defaults (`server/embed/config.go@v3.7.3`), listening nowhere.
    fn default() -> Config {
        Config {
            name: "default".into(),
            listen_client: Vec::new(),
            listen_client_http: Vec::new(),
            listen_metrics: Vec::new(),
            advertise_client: Vec::new(),
            initial_advertise_peer: vec!["http://localhost:2380".into()],
            initial_cluster_token: "etcd-cluster".into(),
            tls: None,
            auto_compaction: None,
            quota_backend_bytes: 0,
            max_request_bytes: store::MAX_REQUEST_BYTES,
            max_txn_ops: 128,
            watch_progress_notify_interval: Duration::from_secs(600),
            grpc_keepalive_interval: Duration::from_secs(2 * 3600),
            grpc_keepalive_timeout: Duration::from_secs(20),
            store_dir: None,
        }
    }
}

/// Opens the store of a `--data-dir` and tells its own directory in it.
///
/// # Errors
/// [`Error::Config`] when the directory is an etcd's; as [`Store::embedded`].
pub async fn open(data_dir: &Path) -> Result<(Store, PathBuf)> {
    let member = data_dir.join("member");
    if let Some(found) = ["wal", "snap"].iter().map(|name| member.join(name)).find(|path| path.exists()) {
        return Err(Error::Config(format!("{} is of an etcd: its data cannot be read", found.display())));
    }
    let dir = member.join("store");
    Ok((Store::embedded(EmbeddedConfig { dir: dir.clone() }).await?, dir))
}

/// A server that runs.
pub struct Etcd {
    server: Arc<Server>,
    store: Store,
    addresses: Vec<SocketAddr>,
}

impl Etcd {
    /// Listens and serves a store.
    ///
    /// # Errors
    /// [`Error::Listen`] and [`Error::Config`].
    pub async fn start(config: Config, store: Store) -> Result<Etcd> {
        let server = Arc::new(Server::new(&config, store.clone())?);
        let mut addresses = Vec::new();
        let client = if config.listen_client_http.is_empty() { Serves::Both } else { Serves::Grpc };
        let places = [
            (&config.listen_client, client),
            (&config.listen_client_http, Serves::Http),
            (&config.listen_metrics, Serves::Probes),
        ];
        for (places, serves) in places {
            for place in places {
                let listener = listen::bind(place, &config, serves).await?;
                addresses.push(listener.address);
                server.tasks.spawn(listener.run(server.clone()));
            }
        }
        if let Some(compaction) = config.auto_compaction {
            server.tasks.spawn(compactor::run(compaction, store.clone(), server.stop.clone()));
        }
        tracing::info!("ready to serve client requests");
        Ok(Etcd { server, store, addresses })
    }

    /// Where it listens: the places of clients, of clients over HTTP alone, of metrics, in the order given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends streams and connections, then closes the store.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub async fn stop(self) -> Result<()> {
        self.server.stop.cancel();
        self.server.tasks.close();
        let _ = tokio::time::timeout(DRAIN, self.server.tasks.wait()).await;
        Ok(self.store.close().await?)
    }
}
