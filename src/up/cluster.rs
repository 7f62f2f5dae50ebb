//! The running cluster: the API server and every component in this process, each with its own identity.
//!
//! Invariant: components start as soon as the server can be asked, side by side; they stop before the
//! server does, and the store is closed last.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use apiserver::{AnonymousAuth, RequestHeader, Server};
use client::connector::Connector;
use client::health::Health;
use client::task::{OnError, Tasks};
use store::{EmbeddedConfig, EtcdConfig, Store};

use super::identities::Identities;
use super::pki::Identity;
use super::plan::{CLUSTER_DOMAIN, Nodes, Plan, SERVICE_RANGE, Storage};
use super::transport;
use crate::cli::Part;
use crate::failure::Failure;

/// How long components may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Cluster {
    pub(crate) plan: Arc<Plan>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) tasks: Tasks,
    server: Option<(Server, Store)>,
}

impl Cluster {
    /// Starts the API server, when it is one of the components.
    pub(crate) async fn start(plan: Arc<Plan>, identities: Arc<Identities>) -> Result<Self> {
        let server = match plan.has(Part::KubeApiserver) {
            true => {
                let store = open_store(&plan).await?;
                let server = Server::start(server_config(&plan, &identities)?, store.clone()).await;
                Some((server.map_err(|error| server_failure(error, &plan))?, store))
            }
            false => None,
        };
        Ok(Cluster { plan, identities, tasks: Tasks::new(), server })
    }

    /// How a component reaches the API server: in memory, or by the kubeconfig of that name.
    pub(crate) async fn connector(&self, identity: &Identity, file: &str) -> Result<Connector> {
        match &self.server {
            Some((server, _)) => transport::connector(server, identity),
            None => {
                let path = self.plan.place.at(file);
                Ok(Connector::from_kubeconfig(&path.display().to_string()).await?)
            }
        }
    }

    /// The administrator's client, for what `up` itself does.
    pub(crate) async fn admin(&self) -> Result<kube::Client> {
        Ok(self.connector(&self.identities.admin, "admin.kubeconfig").await?.client())
    }

    pub(crate) async fn ready(&self) {
        if let Some((server, _)) = &self.server {
            server.ready().await;
        }
    }

    /// Starts scheduler and controllers.
    pub(crate) async fn start_control(&self) -> Result<()> {
        if self.plan.has(Part::KubeControllerManager) {
            let connector = self.connector(&self.identities.controller_manager, "controller-manager.conf").await?;
            let election = self.elects().then(|| controllers::LeaderElection { identity: self.candidate() });
            let (config, tasks) = (controllers_config(&self.plan, &self.identities), self.tasks.clone());
            let run = controllers::run(config, connector, tasks, election, Health::default());
            self.tasks.run("kube-controller-manager", run);
        }
        if self.plan.has(Part::KubeScheduler) {
            let connector = self.connector(&self.identities.scheduler, "scheduler.conf").await?;
            let mut config = scheduler::config::Config::default();
            config.leader_election.leader_elect = self.elects();
            let run = scheduler::run(config, connector, self.tasks.clone(), Health::default());
            self.tasks.spawn("kube-scheduler", OnError::Shutdown, run);
        }
        Ok(())
    }

    /// Whether others could do the same work: not on a store of our own, which only one process can open.
    fn elects(&self) -> bool {
        self.server.is_none() || matches!(self.plan.storage, Storage::Etcd(_))
    }

    /// The same for each process of this cluster, so that after a crash the lease is still ours.
    fn candidate(&self) -> String {
        format!("{}_{}", super::plan::host_name(), self.plan.place.label())
    }

    /// Starts the fake nodes.
    pub(crate) async fn start_fake_nodes(&self) -> Result<()> {
        let Nodes::Fake(_) = self.plan.nodes else { return Ok(()) };
        for (number, name) in self.plan.node_names().iter().enumerate() {
            let identity = self.identities.nodes.get(name).context("each node has an identity")?;
            let connector = transport_of_fake(self, identity).await?;
            let config = fake_config(&self.plan, name);
            let options = cri::fake::Options {
                pod_cidr: format!("10.244.{}.0/24", number % 256),
                absent_images: cri::fake::Options::absent(
                    self.plan.options.fake_absent_images.as_deref().unwrap_or_default(),
                ),
            };
            let runtime = Arc::new(cri::fake::Fake::new(options).map_err(|error| Failure::new(109, error))?);
            let run = kubelet::run(config, connector, runtime, self.tasks.child());
            self.tasks.spawn("kubelet", OnError::Log, run);
        }
        Ok(())
    }

    /// Stops everything in this process.
    pub(crate) async fn stop(self) {
        self.tasks.cancel();
        if tokio::time::timeout(STOP_LIMIT, self.tasks.join()).await.is_err() {
            tracing::warn!("some tasks did not stop in time");
        }
        if let Some((server, store)) = self.server {
            server.stop();
            if let Err(error) = store.close().await {
                tracing::warn!(%error, "the store did not close well");
            }
        }
    }
}

/// Fake nodes beside an API server that is not ours have no kubeconfig of their own: one is made.
async fn transport_of_fake(cluster: &Cluster, identity: &Identity) -> Result<Connector> {
    if let Some((server, _)) = &cluster.server {
        return transport::connector(server, identity);
    }
    let dir = cluster.plan.place.run();
    let (name, server) = (cluster.plan.place.label(), cluster.plan.server());
    let ca = &cluster.identities.pki.ca.cert;
    let text = super::kubeconfig::Access { name: &name, server: &server, ca, identity }.file()?;
    let path = dir.join("fake.conf");
    super::files::write(&path, text.as_bytes(), 0o600, false)?;
    Ok(Connector::from_kubeconfig(&path.display().to_string()).await?)
}

async fn open_store(plan: &Plan) -> Result<Store> {
    let opened = match &plan.storage {
        Storage::Memory => return Ok(Store::memory()),
        Storage::Embedded => Store::embedded(EmbeddedConfig { dir: plan.place.store() }).await,
        Storage::Etcd(endpoints) => {
            let file = |path: &Option<std::path::PathBuf>| {
                let read = |path: &std::path::PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
                path.as_ref().map(read).transpose()
            };
            let options = &plan.options;
            let (ca, cert, key) =
                (file(&options.etcd_cafile)?, file(&options.etcd_certfile)?, file(&options.etcd_keyfile)?);
            Store::etcd(EtcdConfig { endpoints: endpoints.clone(), ca, cert, key }).await
        }
    };
    Ok(opened.map_err(|error| store_failure(&error))?)
}

fn store_failure(error: &store::Error) -> Failure {
    match error {
        store::Error::Damaged(_) => Failure::new(120, error),
        store::Error::Locked { .. } => Failure::new(106, error),
        _ => Failure::new(100, format!("the store: {error}")),
    }
}

fn server_failure(error: apiserver::Error, plan: &Plan) -> Failure {
    match &error {
        apiserver::Error::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            Failure::new(104, &error).fix(format!("keelson up --api-port {}", plan.port.saturating_add(1)))
        }
        apiserver::Error::Store(error) => store_failure(error),
        _ => Failure::new(100, error),
    }
}

fn server_config(plan: &Plan, identities: &Identities) -> Result<apiserver::Config> {
    let pki = &identities.pki;
    let strings = |list: &[&str]| list.iter().map(|text| (*text).to_string()).collect::<Vec<_>>();
    Ok(apiserver::Config {
        bind_address: plan.bind,
        secure_port: plan.port,
        advertise_address: plan.advertise,
        tls_cert_file: pki.path("apiserver.crt"),
        tls_private_key_file: pki.path("apiserver.key"),
        client_ca: Some(pki.ca.cert.clone().into_bytes()),
        request_header: Some(RequestHeader {
            client_ca: pki.front_proxy_ca.cert.clone().into_bytes(),
            allowed_names: strings(&["front-proxy-client"]),
            username_headers: strings(&["X-Remote-User"]),
            uid_headers: vec![],
            group_headers: strings(&["X-Remote-Group"]),
            extra_header_prefixes: strings(&["X-Remote-Extra-"]),
        }),
        service_account_keys: vec![pki.service_accounts.public_key_pem().into_bytes()],
        service_account_signing_key: Some(pki.service_accounts.serialize_pem().into_bytes()),
        service_account_issuers: vec![format!("https://kubernetes.default.svc.{CLUSTER_DOMAIN}")],
        enable_bootstrap_token_auth: true,
        anonymous_auth: AnonymousAuth::HealthPaths,
        authorization_modes: strings(&["Node", "RBAC"]),
        service_cidrs: vec![SERVICE_RANGE.parse()?],
        enable_admission_plugins: strings(&["NodeRestriction"]),
        kubelet_client: Some((
            identities.kubelet_client.cert.clone().into(),
            identities.kubelet_client.key.clone().into(),
        )),
        kubelet_ca: Some(pki.ca.cert.clone().into_bytes()),
        kubelet_address_types: strings(&["InternalIP", "ExternalIP", "Hostname"]),
        allow_privileged: true,
        aggregator: apiserver::AggregatorConfig {
            proxy_client: Some((pki.path("front-proxy-client.crt"), pki.path("front-proxy-client.key"))),
            ..Default::default()
        },
        ..apiserver::Config::default()
    })
}

fn controllers_config(plan: &Plan, identities: &Identities) -> controllers::Config {
    let ca = &identities.pki.ca;
    controllers::Config {
        cluster_cidrs: vec![plan.pods.to_string()],
        allocate_node_cidrs: true,
        service_cluster_ip_range: Some(SERVICE_RANGE.into()),
        root_ca: Some(ca.cert.clone()),
        cluster_signing: Some((ca.cert.clone(), ca.key.clone())),
        use_service_account_credentials: true,
    }
}

fn fake_config(plan: &Plan, name: &str) -> kubelet::config::Config {
    let mut config = kubelet::config::Config::new(name);
    config.node_ips = vec![plan.advertise.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into())];
    config.root_dir = plan.place.at("kubelet").join(name);
    config.pod_logs_dir = plan.place.logs().join("pods");
    config.container_logs_dir = None;
    config.cluster_dns = vec![super::plan::DNS_ADDRESS.to_string()];
    config.cluster_domain = CLUSTER_DOMAIN.into();
    // There is no server of a fake node to reach.
    config.port = 0;
    config
}
