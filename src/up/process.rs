//! The cluster's process, in the background or the foreground: start, tell, serve until told to end.
//!
//! Invariant: a start that fails takes down what it made and keeps the data and the logs. Being told to
//! end (SIGTERM) stops the control plane only: pods live on, as after a crash; `keelson down` stops them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::cluster::Cluster;
use super::identities::Identities;
use super::journal::{Entry, Journal};
use super::kubeconfig::{self, Access};
use super::lock::{self, Running};
use super::names;
use super::node::Host;
use super::pki::Pki;
use super::plan::{DNS_ADDRESS, Nodes, Plan};
use super::steps::{self, Event, Reporter};
use super::{undo, wait};
use crate::cli::Part;
use crate::failure::Failure;

/// How long until the first pod can run, at most.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// Runs the cluster until the process is told to end.
pub(crate) fn run(plan: Plan, report: Reporter) -> Result<()> {
    let outcome = lock::take(&plan.place).and_then(|lock| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(serve(Arc::new(plan), &report));
        runtime.shutdown_timeout(Duration::from_secs(1));
        drop(lock);
        outcome
    });
    outcome.map_err(|error| {
        let failure = Failure::of(error);
        tracing::error!(code = failure.entry.number, %failure, "the cluster ended");
        // In the background the waiting process prints it; in the foreground our caller does.
        if report.is_json() {
            report.failed(&failure);
        }
        failure.into()
    })
}

async fn serve(plan: Arc<Plan>, report: &Reporter) -> Result<()> {
    lock::tell(&plan.place, None)?;
    let alive = super::journal::read(&plan.place.at("state/journal"))?.iter().any(Entry::ends_with_down);
    let journal = Arc::new(Journal::open(&plan.place.at("state/journal"))?);
    let mut up = Up { plan: plan.clone(), journal, report, cluster: None, ready: false };
    let outcome = tokio::select! {
        started = tokio::time::timeout(READY_LIMIT, up.start()) => match started {
            Ok(outcome) => outcome.map(|()| true),
            Err(_) => Err(Failure::new(105, format!("not within {} s", READY_LIMIT.as_secs())).into()),
        },
        () = crate::signals::terminated() => Ok(false),
    };
    let outcome = match outcome {
        Ok(true) => {
            up.ready = true;
            up.stay().await
        }
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    lock::tell(&plan.place, None)?;
    if let Some(cluster) = up.cluster.take() {
        cluster.stop().await;
    }
    // What an earlier start made and a crash left lives on, as its pods do.
    let half_work = outcome.is_err() && !up.ready && !alive;
    if half_work && let Err(error) = undo::replay(&plan.place, false).await {
        tracing::error!(%error, "the failed start was not taken down in full");
    }
    outcome
}

struct Up<'a> {
    plan: Arc<Plan>,
    journal: Arc<Journal>,
    report: &'a Reporter,
    cluster: Option<Cluster>,
    ready: bool,
}

impl Up<'_> {
    async fn start(&mut self) -> Result<()> {
        let (plan, report) = (self.plan.clone(), self.report);
        let identities = Identities::make(Pki::open(&plan.place.pki(), Timestamp::now())?, &plan)?;
        identities.write_kubeconfigs(&plan)?;
        report.step("identity", format!("certificates in {}", plan.place.pki().display()));
        // The runtime takes longer than the API server, so both start at once.
        let host = self.host();
        let control = async {
            let cluster = Cluster::start(plan.clone(), Arc::new(identities)).await?;
            // Who asks before the roles are there is refused and comes back late.
            cluster.ready().await;
            report.step("api", plan.server());
            cluster.start_control().await?;
            cluster.start_fake_nodes().await?;
            Ok::<_, anyhow::Error>(cluster)
        };
        let (host, cluster) = tokio::join!(host, control);
        let cluster = self.cluster.insert(cluster?);
        let (host, admin) = (host?, cluster.admin().await?);
        let control = self::control(&plan, &admin, report);
        let nodes = self::nodes(&plan, host.as_ref(), cluster, &admin, report);
        tokio::try_join!(control, nodes)?;
        self.tell().await
    }

    async fn host(&self) -> Result<Option<Host>> {
        let (plan, report) = (&self.plan, self.report);
        if !plan.is_real() {
            return Ok(None);
        }
        let host = Host::prepare(plan, &self.journal).await?;
        report.step("runtime", format!("containerd serves, {} image files of --images", host.images()));
        Ok(Some(host))
    }

    /// Merges the kubeconfig and says that all is ready.
    async fn tell(&self) -> Result<()> {
        let (plan, report) = (&self.plan, self.report);
        let kubeconfig = match self.merge().await {
            Ok(path) => path,
            Err(error) => {
                let failure = Failure::of(error);
                report.note(format!("KEEL-{}: {failure}; help: {}", failure.entry.number, failure.fix_text()));
                plan.place.admin_kubeconfig()
            }
        };
        let seconds = report.seconds();
        let running = Running {
            pid: std::process::id(),
            version: crate::VERSION.into(),
            server: plan.server(),
            nodes: plan.nodes_text(),
            context: plan.place.label(),
            seconds,
            started: Timestamp::now().to_string(),
            options: plan.options.clone(),
        };
        lock::tell(&plan.place, Some(&running))?;
        report.show(&Event::Ready {
            seconds,
            memory_bytes: steps::memory_of(std::process::id()),
            server: plan.server(),
            context: plan.place.label(),
            kubeconfig: kubeconfig.display().to_string(),
        });
        Ok(())
    }

    async fn merge(&self) -> Result<std::path::PathBuf> {
        let Some((path, owner)) = kubeconfig::of_user() else { return Ok(self.plan.place.admin_kubeconfig()) };
        let cluster = self.cluster.as_ref().context("the cluster has started")?;
        let (name, server) = (self.plan.place.label(), self.plan.server());
        let access = Access {
            name: &name,
            server: &server,
            ca: &cluster.identities.pki.ca.cert,
            identity: &cluster.identities.admin,
        };
        let existed = path.exists();
        // A file that we made earlier is still ours.
        let known = super::journal::read(&self.plan.place.at("state/journal"))?;
        let ours = |entry: &Entry| matches!(entry, Entry::Kubeconfig { path: known, .. } if *known == path);
        if !known.iter().any(ours) {
            self.journal.will_make(Entry::Kubeconfig { path: path.clone(), name: name.clone(), existed })?;
        }
        kubeconfig::merge(&path, owner, &access).await?;
        Ok(path)
    }

    /// Serves until told to end, or until something that cannot be missed has ended.
    async fn stay(&self) -> Result<()> {
        let cluster = self.cluster.as_ref().context("the cluster has started")?;
        let token = cluster.tasks.token();
        tokio::select! {
            () = crate::signals::terminated() => Ok(()),
            () = token.cancelled() => Err(Failure::new(110, "a component ended").into()),
        }
    }
}

/// Returns when pods can be made.
async fn control(plan: &Plan, admin: &kube::Client, report: &Reporter) -> Result<()> {
    if !plan.has(Part::KubeControllerManager) {
        return Ok(());
    }
    wait::default_service_account(admin).await?;
    let scheduler = if plan.has(Part::KubeScheduler) { " and the scheduler" } else { "" };
    report.step("control", format!("{} controllers{scheduler} at work", controllers::CONTROLLERS.len()));
    Ok(())
}

/// Returns when pods can run.
async fn nodes(
    plan: &Plan,
    host: Option<&Host>,
    cluster: &Cluster,
    admin: &kube::Client,
    report: &Reporter,
) -> Result<()> {
    let names = plan.node_names();
    let (Some(host), Some(name)) = (host, names.first()) else {
        if plan.nodes != Nodes::None {
            wait::nodes_ready(admin, &names).await?;
            report.step("node", format!("{} Ready", plan.nodes_text()));
        }
        return Ok(());
    };
    host.start(cluster, name).await?;
    let range = host.network(plan, admin, name).await?;
    let node = async {
        wait::nodes_ready(admin, &names).await?;
        report.step("node", format!("{name} Ready, pods {range}"));
        Ok::<_, anyhow::Error>(())
    };
    let dns = async {
        if host.services(cluster, admin, name, range).await? {
            names::answers().await?;
            report.step("dns", format!("{DNS_ADDRESS} answers"));
        }
        Ok(())
    };
    tokio::try_join!(node, dns).map(drop)
}
