//! `keelson kube-controller-manager` (cmd/kube-controller-manager/app/options@v1.37.2).

use anyhow::{Result, bail};
use client::health::Health;
use client::task::Tasks;
use controllers::{Config, LeaderElection};

use super::{connector, file_text, secure};
use crate::flags::Values;

pub(super) const HONOURED: &[&str] = &[
    "allocate-node-cidrs",
    "cluster-cidr",
    "cluster-signing-cert-file",
    "cluster-signing-key-file",
    "kubeconfig",
    "leader-elect",
    "logging-format",
    "root-ca-file",
    "service-cluster-ip-range",
    "use-service-account-credentials",
    "v",
];

/// pkg/cluster/ports/ports.go@v1.37.2
const SERVER: secure::Server = secure::Server { component: "kube-controller-manager", port: 10257 };

/// Runs until told to end, or until leadership is lost.
pub(super) async fn run(values: &Values) -> Result<()> {
    let signing = (file_text(values, "cluster-signing-cert-file")?, file_text(values, "cluster-signing-key-file")?);
    let config = Config {
        cluster_cidrs: values.list("cluster-cidr"),
        allocate_node_cidrs: values.flag("allocate-node-cidrs", false),
        service_cluster_ip_range: values.get("service-cluster-ip-range").map(Into::into),
        root_ca: file_text(values, "root-ca-file")?,
        cluster_signing: signing.0.zip(signing.1),
        use_service_account_credentials: values.flag("use-service-account-credentials", false),
    };
    let connector = connector(values, "").await?;
    let identity = format!("{}_{}", crate::up::plan::host_name(), random_id()?);
    let election = values.flag("leader-elect", true).then_some(LeaderElection { identity });
    let (tasks, health) = (Tasks::new(), Health::new(&controllers::ENDPOINTS));
    secure::serve(values, &SERVER, health.clone(), &tasks).await?;
    let run = controllers::run(config, connector, tasks.clone(), election, health);
    let mut run = std::pin::pin!(run);
    tokio::select! {
        () = &mut run => bail!("leaderelection lost"),
        () = crate::signals::terminated() => {}
    }
    tasks.cancel();
    // It gives the lease back.
    run.await;
    tasks.join().await;
    Ok(())
}

/// The kernel's: a candidate is another one at each start.
fn random_id() -> Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_string())
}
