//! kube-scheduler: binds each pod to the node that suits it best.
//!
//! Must not know: any store, any request chain, any other component. It reads and writes through
//! `client` alone, as the identity `system:kube-scheduler`. The walk of a pod: `handlers` puts it
//! into the `queue`; `scheduler` takes it out, `algorithm` filters and scores nodes by `plugins` on
//! a `snapshot` of the `cache`; the choice is assumed in the cache and bound in the background.

mod algorithm;
mod cache;
pub mod config;
mod framework;
mod handle;
mod handlers;
mod lister;
mod node_info;
mod node_tree;
mod nominator;
mod plugins;
mod pod_info;
mod pod_status;
mod preemption;
mod quantity;
mod queue;
mod recorder;
mod resources;
mod scheduler;
mod selector;
pub mod simulate;
mod snapshot;
#[cfg(test)]
mod testing;
mod tolerations;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::connector::Connector;
use client::health::Health;
use client::informer::Informers;
use client::lease::Election;
use client::task::Tasks;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::mpsc;

use algorithm::Algorithm;
use cache::Cache;
use config::Config;
use handle::{Handle, Listers};
use queue::{Delays, Queue};
use recorder::Recorder;
use scheduler::Scheduler;
use writer::ApiWriter;

/// Why the scheduler does not run (any more).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid configuration: {0}")]
    Config(String),
    #[error("leaderelection lost")]
    LeadershipLost,
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// The endpoints at which a scheduler says how it is (cmd/kube-scheduler/app/server.go@v1.37.2, newEndpointsHandler).
pub const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// Runs the scheduler until `tasks` are cancelled or leadership is lost.
pub async fn run(config: Config, connector: Connector, tasks: Tasks, health: Health) -> Result<(), Error> {
    let mine = tasks.child();
    let served = serve(&config, connector, &mine, &health).await;
    mine.cancel();
    served
}

async fn serve(config: &Config, connector: Connector, tasks: &Tasks, health: &Health) -> Result<(), Error> {
    let (client, stop) = (connector.client(), tasks.token());
    let election = config.leader_election.leader_elect.then(|| stand(config, client.clone(), health));
    let stopping = stop.clone();
    health.add("readyz", "shutdown", move || match stopping.is_cancelled() {
        true => Err("process is shutting down".into()),
        false => Ok(()),
    });
    let ready = Arc::new(AtomicBool::new(false));
    let seen = ready.clone();
    health.add("readyz", "sched-handler-sync", move || match seen.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("handlers are not fully synchronized".into()),
    });
    let informers = Informers::new(client.clone(), tasks.clone());
    let (activate, activated) = mpsc::unbounded_channel();
    let handle = Handle {
        listers: Listers::follow(&informers),
        writer: Arc::new(ApiWriter::new(client.clone())),
        recorder: Recorder::new(tasks, client.clone()),
        nominator: Arc::default(),
        tasks: tasks.clone(),
        activate,
    };
    let scheduler = Arc::new(assemble(config, handle)?);
    handlers::register(&scheduler, &informers);
    let synced = async {
        Listers::synced(&informers).await;
        informers.of::<Node>().synced().await;
    };
    if stop.run_until_cancelled(synced).await.is_none() {
        return Ok(());
    }
    ready.store(true, Ordering::Relaxed);
    tasks.run("activation", activate_all(scheduler.clone(), activated));
    let work = scheduler.run(Algorithm::new(config.percentage_of_nodes_to_score, config.seed));
    if let Some((election, identity)) = election {
        return lead(election, &identity, work, tasks).await;
    }
    stop.run_until_cancelled(work).await;
    Ok(())
}

fn assemble(config: &Config, handle: Handle) -> Result<Scheduler, Error> {
    let made = config::profiles::make(config, &handle)?;
    let profiles = Arc::new(made.into_iter().map(|(name, profile)| (name, Arc::new(profile))).collect());
    let delays = Delays {
        initial_backoff: config.pod_initial_backoff,
        max_backoff: config.pod_max_backoff,
        max_unschedulable: config.pod_max_in_unschedulable,
    };
    let queue = Queue::new(Arc::clone(&profiles), handle.nominator.clone(), delays);
    Ok(Scheduler { profiles, cache: parking_lot::Mutex::new(Cache::default()), queue, handle })
}

async fn activate_all(scheduler: Arc<Scheduler>, mut pods: mpsc::UnboundedReceiver<pod_info::Uid>) {
    while let Some(uid) = pods.recv().await {
        scheduler.queue.activate(&uid);
    }
}

/// A candidate for the lease, and who it is.
fn stand(config: &Config, client: kube::Client, health: &Health) -> (Election, String) {
    let lease = &config.leader_election;
    let identity = format!("{}_{:016x}", host_name(), rand::random::<u64>());
    let election = Election::new(client, &lease.resource_namespace, &lease.resource_name, &identity);
    health.stands(&["healthz", "readyz"], election.watch_dog());
    (election, identity)
}

/// Does `work` while holding the lease, which is given back when the tasks are cancelled.
async fn lead(
    mut election: Election,
    identity: &str,
    work: impl Future<Output = ()>,
    tasks: &Tasks,
) -> Result<(), Error> {
    let stop = tasks.token();
    if stop.run_until_cancelled(election.acquire()).await.is_none() {
        return Ok(());
    }
    tracing::info!(identity, "leading");
    tokio::select! {
        () = work => {}
        () = election.hold() => return Err(Error::LeadershipLost),
        () = stop.cancelled() => {}
    }
    Ok(election.release().await?)
}

/// The name of this host.
fn host_name() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
        read.map(|name| name.trim().to_string()).unwrap_or_else(|_| "localhost".into())
    })
}
