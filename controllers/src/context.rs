//! What every controller is given: configuration, caches, clients, and the loop that feeds it.

use std::future::Future;
use std::sync::Arc;

use client::Key;
use client::connector::Connector;
use client::controller::Again;
use client::events::Recorder;
use client::informer::{Cache, Informers, Object};
use client::queue::Queue;
use client::task::Tasks;
use kube::Client;

use crate::error::Result;

/// What kube-controller-manager's flags say, as far as controllers need it; names and defaults are upstream's
/// (cmd/kube-controller-manager/app/options@v1.37.2).
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// --cluster-cidr, --allocate-node-cidrs
    pub cluster_cidrs: Vec<String>,
    pub allocate_node_cidrs: bool,
    /// --service-cluster-ip-range
    pub service_cluster_ip_range: Option<String>,
    /// --root-ca-file: PEM text published as kube-root-ca.crt in each namespace.
    pub root_ca: Option<String>,
    /// --cluster-signing-cert-file and -key-file, PEM texts.
    pub cluster_signing: Option<(String, String)>,
    /// --use-service-account-credentials
    pub use_service_account_credentials: bool,
}

/// What a controller is given to start.
#[derive(Clone)]
pub struct Context {
    pub config: Arc<Config>,
    pub tasks: Tasks,
    pub informers: Informers,
    connector: Connector,
}

/// A controller: upstream's name (as `--controllers` and /healthz know it) and what starts it.
pub struct Controller {
    pub name: &'static str,
    pub start: fn(&Context),
}

impl Context {
    pub fn new(config: Config, tasks: Tasks, connector: Connector) -> Self {
        let informers = Informers::new(connector.client(), tasks.clone());
        Context { config: Arc::new(config), tasks, informers, connector }
    }

    /// The client a controller writes with: its own service account in kube-system
    /// (`system:serviceaccount:kube-system:NAME`) with --use-service-account-credentials, else the component's.
    pub fn client(&self, service_account: &str) -> Client {
        if self.config.use_service_account_credentials {
            self.connector.client_as("kube-system", service_account)
        } else {
            self.connector.client()
        }
    }

    /// An event recorder that reports as `component` with that controller's client.
    pub fn recorder(&self, client: Client, component: &str) -> Recorder {
        Recorder::new(&self.tasks, client, component, None)
    }

    /// Runs `sync` on the keys of `queue` once every cache of `caches` has its first list.
    pub(crate) fn controller<C, F, Fut>(
        &self,
        name: &'static str,
        queue: Queue<Key>,
        workers: usize,
        caches: C,
        sync: F,
    ) where
        C: Caches,
        F: Fn(Key, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Again>> + Send + 'static,
    {
        let tasks = self.tasks.clone();
        self.tasks.run(name, async move {
            caches.synced().await;
            client::controller::spawn(&tasks, name, queue, workers, move |key| sync(key, caches.clone()));
        });
    }
}

/// The caches that a controller reads; cheap to clone.
pub(crate) trait Caches: Clone + Send + Sync + 'static {
    fn synced(&self) -> impl Future<Output = ()> + Send;
}

impl<A: Object> Caches for Cache<A> {
    async fn synced(&self) {
        Cache::synced(self).await;
    }
}

macro_rules! caches_of_tuples {
    ($($name:ident $index:tt),+) => {
        impl<$($name: Caches),+> Caches for ($($name,)+) {
            async fn synced(&self) {
                $(self.$index.synced().await;)+
            }
        }
    };
}

caches_of_tuples!(A 0, B 1);
caches_of_tuples!(A 0, B 1, C 2);
caches_of_tuples!(A 0, B 1, C 2, D 3);
caches_of_tuples!(A 0, B 1, C 2, D 3, E 4);

impl<T: Caches> Caches for Arc<T> {
    async fn synced(&self) {
        T::synced(self).await;
    }
}
