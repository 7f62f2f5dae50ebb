//! kill -9 while many clients write: what was acknowledged is there afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tests::harness::{CONDITION_LIMIT, Cluster, Nodes, until};
use tests::{image, machine};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const CLIENTS: usize = 50;
const ROUNDS: &str = "KEELSON_KILL_ROUNDS";
const DEFAULT_ROUNDS: u64 = 3;
/// How long clients of a server that is gone are waited for.
const END_LIMIT: Duration = Duration::from_secs(5);
const SELECTOR: &str = "written=true";

/// What the server has acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// The newest counter of each object.
    counters: Mutex<BTreeMap<String, u64>>,
    grown: Notify,
}

impl Acknowledged {
    fn add(&self, name: &str, counter: u64) {
        self.counters.lock().unwrap().insert(name.to_owned(), counter);
        self.grown.notify_one();
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.lock().unwrap().clone()
    }

    /// Waits until there are so many objects.
    async fn at_least(&self, objects: usize) {
        while self.counters.lock().unwrap().len() < objects {
            self.grown.notified().await;
        }
    }
}

fn config_map(name: &str, counter: u64) -> Result<ConfigMap> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"written": "true"}},
        "data": {"counter": counter.to_string()},
    });
    Ok(serde_json::from_value(object)?)
}

/// Creates objects and rewrites each once, until the server does not answer.
async fn write(client: Client, prefix: String, acknowledged: Arc<Acknowledged>) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    for number in 0.. {
        let name = format!("{prefix}-{number}");
        for counter in [1, 2] {
            let object = config_map(&name, counter)?;
            let answer = match counter {
                1 => api.create(&PostParams::default(), &object).await,
                _ => api.replace(&name, &PostParams::default(), &object).await,
            };
            match answer {
                Ok(_) => acknowledged.add(&name, counter),
                // An answer that is an error is not what is tested; the end of the server is.
                Err(error @ kube::Error::Api(_)) => return Err(error).context(name),
                Err(_) => return Ok(()),
            }
        }
    }
    Ok(())
}

/// Objects whose acknowledged state is not there: absent, or older than acknowledged.
async fn lost(client: Client, acknowledged: &BTreeMap<String, u64>) -> Result<Vec<String>> {
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let found = api.list(&ListParams::default().labels(SELECTOR)).await?;
    let counter = |object: &ConfigMap| object.data.as_ref()?.get("counter")?.parse::<u64>().ok();
    let stored: BTreeMap<String, u64> =
        found.items.iter().filter_map(|object| Some((object.name_any(), counter(object)?))).collect();
    let missing = acknowledged.iter().filter(|(name, counter)| stored.get(*name).is_none_or(|found| found < counter));
    Ok(missing.map(|(name, counter)| format!("{name} at {counter}, found {:?}", stored.get(name))).collect())
}

/// Kills a cluster under load and starts it again, many times; `check` looks at it after each.
async fn kill_often(cluster: &mut Cluster, check: impl AsyncFn(Client) -> Result<()>) -> Result<()> {
    let rounds = std::env::var(ROUNDS).ok().map_or(Ok(DEFAULT_ROUNDS), |text| text.parse()).context(ROUNDS)?;
    let acknowledged = Arc::new(Acknowledged::default());
    for round in 0..rounds {
        let before = acknowledged.counters().len();
        let mut writers = JoinSet::new();
        for client in 0..CLIENTS {
            writers.spawn(write(cluster.client(), format!("w-{round}-{client}"), acknowledged.clone()));
        }
        let writing = acknowledged.at_least(before + CLIENTS);
        tokio::time::timeout(CONDITION_LIMIT, writing).await.with_context(|| format!("round {round}: few writes"))?;
        // Another moment each round.
        tokio::time::sleep(Duration::from_millis(round * 137 % 600)).await;
        cluster.kill().await?;
        let ended = tokio::time::timeout(END_LIMIT, async {
            while let Some(ended) = writers.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        });
        match ended.await {
            Ok(ended) => ended?,
            // hyper's pool may wait forever for a connection of a server that is gone: nothing was acknowledged.
            Err(_) => writers.shutdown().await,
        }
        let time = cluster.restart().await?;
        let acknowledged = acknowledged.counters();
        println!("round {round}: {} acknowledged objects, a pod can run after {time:.2?}", acknowledged.len());
        let lost = lost(cluster.client(), &acknowledged).await?;
        ensure!(lost.is_empty(), "round {round}: {} acknowledged writes lost: {lost:?}", lost.len());
        check(cluster.client()).await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_kill_9() -> Result<()> {
    let mut cluster = Cluster::start(Nodes::Fake(1)).await?;
    kill_often(&mut cluster, async |_| Ok(())).await
}

/// The containers of a pod: id, when it was started, how often restarted.
fn containers(pod: &Pod) -> Vec<(Option<String>, Option<String>, i32)> {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let started = |status: &ContainerStatus| {
        let running = status.state.as_ref()?.running.as_ref()?;
        Some(running.started_at.as_ref()?.0.to_string())
    };
    statuses.map(|status| (status.container_id.clone(), started(status), status.restart_count)).collect()
}

fn is_ready(pod: Option<&Pod>) -> bool {
    let status = pod.and_then(|pod| pod.status.as_ref());
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_go_on_over_kill_9() -> Result<()> {
    if !machine::has_real_nodes()? {
        return Ok(());
    }
    let images = tempfile::tempdir()?;
    let image = image::web(images.path(), "web", "1", "one")?;
    let mut cluster = Cluster::start(Nodes::Real(images.path().into())).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": image}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let before = until(&pods, "web", is_ready).await?.as_ref().map(containers).unwrap_or_default();
    ensure!(before.iter().all(|one| one.0.is_some() && one.1.is_some()), "running: {before:?}");
    kill_often(&mut cluster, async |client| {
        let pods: Api<Pod> = Api::namespaced(client, "default");
        let after = until(&pods, "web", is_ready).await?.as_ref().map(containers).unwrap_or_default();
        ensure!(before == after, "another container: {before:?}, then {after:?}");
        Ok(())
    })
    .await?;
    cluster.reset()
}
