//! Starts every controller, after leader election when asked
//! (cmd/kube-controller-manager/app/controllermanager.go@v1.37.2).
//!
//! Invariant: without the lease no controller runs; when it is lost, all of them stop before this returns.

use client::connector::Connector;
use client::health::Health;
use client::lease::Election;
use client::task::Tasks;

use crate::{CONTROLLERS, Config, Context};

/// --leader-elect-resource-namespace and --leader-elect-resource-name.
const LEASE_NAMESPACE: &str = "kube-system";
const LEASE_NAME: &str = "kube-controller-manager";

/// The endpoint at which controllers say how they are (k8s.io/controller-manager/app/serve.go@v0.37.2).
pub const ENDPOINTS: [&str; 1] = ["healthz"];

/// Who stands for election.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    /// Unique among all candidates (upstream: host name, `_`, a UUID).
    pub identity: String,
}

/// Runs all controllers until `tasks` is cancelled or the lease is lost; the controllers have ended then.
pub async fn run(
    config: Config,
    connector: Connector,
    tasks: Tasks,
    leader_election: Option<LeaderElection>,
    health: Health,
) {
    let token = tasks.token();
    let mut election =
        leader_election.map(|elect| Election::new(connector.client(), LEASE_NAMESPACE, LEASE_NAME, &elect.identity));
    if let Some(election) = &election {
        health.stands(&ENDPOINTS, election.watch_dog());
    }
    if let Some(election) = &mut election
        && token.run_until_cancelled(election.acquire()).await.is_none()
    {
        return;
    }
    let own = Tasks::new();
    let context = Context::new(config, own.clone(), connector);
    for controller in CONTROLLERS {
        tracing::info!(controller = controller.name, "Starting controller");
        (controller.start)(&context);
        health.well("healthz", controller.name);
    }
    match &mut election {
        Some(election) => {
            if token.run_until_cancelled(election.hold()).await.is_some() {
                tracing::error!("leaderelection lost");
            }
        }
        None => token.cancelled().await,
    }
    own.cancel();
    own.join().await;
    if let Some(election) = &mut election
        && let Err(error) = election.release().await
    {
        tracing::debug!(%error, "lease not released");
    }
}
