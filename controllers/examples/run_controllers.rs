//! Runs all controllers against any API server: `run_controllers KUBECONFIG ROOT_CA_FILE [CLUSTER_CIDR]`.
//!
//! For swap tests against upstream's kube-apiserver. Non-goal: flags; that is the binary's business.

use client::connector::Connector;
use client::health::Health;
use client::task::Tasks;
use controllers::{Config, LeaderElection};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(kubeconfig), Some(root_ca)) = (args.next(), args.next()) else {
        return Err("usage: run_controllers KUBECONFIG ROOT_CA_FILE [CLUSTER_CIDR]".into());
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let cluster_cidrs: Vec<String> = args.next().into_iter().collect();
    let signing = std::fs::read_to_string(std::path::Path::new(&root_ca).with_extension("key")).ok();
    let root_ca = std::fs::read_to_string(&root_ca)?;
    let config = Config {
        allocate_node_cidrs: !cluster_cidrs.is_empty(),
        cluster_cidrs,
        cluster_signing: signing.map(|key| (root_ca.clone(), key)),
        root_ca: Some(root_ca),
        use_service_account_credentials: true,
        ..Config::default()
    };
    let connector = Connector::from_kubeconfig(&kubeconfig).await?;
    let tasks = Tasks::new();
    let stop = tasks.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    let election = LeaderElection { identity: format!("example_{}", std::process::id()) };
    controllers::run(config, connector, tasks, Some(election), Health::default()).await;
    Ok(())
}
