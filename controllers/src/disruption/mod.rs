//! disruption-controller: how many pods of a PodDisruptionBudget may be evicted now (pkg/controller/disruption@v1.37.2).
//!
//! Invariant: when it cannot be told, none may. [`plan`] decides, [`scale`] asks the pods' controllers, this file
//! watches and writes.

mod plan;
mod scale;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

use self::scale::Scales;
use crate::Context;
use crate::common::owner::controller_of;
use crate::common::selector;
use crate::error::{Error, Result, is_conflict};

const NAME: &str = "disruption-controller";
/// The name its events carry.
const COMPONENT: &str = "controllermanager";
/// --concurrent-disruption-syncs (fixed upstream)
const WORKERS: usize = 5;

pub(crate) fn start(context: &Context) {
    let client = context.client(NAME);
    let informers = &context.informers;
    let all = Arc::new(Budgets {
        recorder: context.recorder(client.clone(), COMPONENT),
        budgets: informers.of(),
        pods: informers.of(),
        scales: Scales {
            client: client.clone(),
            controllers: informers.of(),
            sets: informers.of(),
            deployments: informers.of(),
            stateful: informers.of(),
        },
        client,
    });
    let (queue, stale): (Queue<Key>, Queue<Key>) = (Queue::new(), Queue::new());
    let to = queue.clone();
    all.budgets.on_change(move |old, new| new.or(old).into_iter().for_each(|budget| to.add(Key::of(&**budget))));
    let (to, later, watch) = (queue.clone(), stale.clone(), all.clone());
    all.pods.on_change(move |old, new| {
        let Some(pod) = new.or(old) else { return };
        watch.budget_of(pod).into_iter().for_each(|key| to.add(key));
        if let Some(wait) = new.and_then(|pod| plan::stale_in(pod, Timestamp::now())) {
            later.add_after(Key::of(&**pod), wait);
        }
    });
    let scales = &all.scales;
    let workloads =
        (scales.controllers.clone(), scales.sets.clone(), scales.deployments.clone(), scales.stateful.clone());
    let caches = (all.budgets.clone(), all.pods.clone(), workloads);
    let sync = all.clone();
    context.controller("disruption-controller stale", stale, 1, all.pods.clone(), move |key, _| {
        let all = sync.clone();
        async move { all.sync_stale(&key).await }
    });
    context.controller(NAME, queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(&key).await }
    });
}

struct Budgets {
    client: Client,
    recorder: Recorder,
    budgets: Cache<PodDisruptionBudget>,
    pods: Cache<Pod>,
    scales: Scales,
}

/// An empty selector selects every pod, none selects no pod.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let wanted = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let parsed = wanted.and_then(|wanted| selector::parse(wanted).ok());
    parsed.is_some_and(|parsed| selector::matches(&parsed, pod.metadata.labels.as_ref()))
}

impl Budgets {
    /// The pod's budget; more than one is a mistake, of which the pod tells.
    fn budget_of(&self, pod: &Pod) -> Option<Key> {
        let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
        let mut budgets = self.budgets.list_namespace(namespace.unwrap_or(""));
        budgets.retain(|budget| selects(budget, pod));
        let first = Key::of(&**budgets.first()?);
        if budgets.len() > 1 {
            let (namespace, name) = (namespace.unwrap_or(""), name.unwrap_or(""));
            let message = format!(
                "Pod {namespace:?}/{name:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                first.name
            );
            self.recorder.event(pod, "Warning", "MultiplePodDisruptionBudgets", message);
        }
        Some(first)
    }

    async fn sync(&self, key: &Key) -> Result<Again> {
        let Some(budget) = self.budgets.by_key(key) else { return Ok(None) };
        match self.try_sync(&budget).await {
            Ok(again) => Ok(again),
            Err(error) if matches!(&error, Error::Api(error) if is_conflict(error)) => Err(error),
            Err(error) => {
                let status = plan::fail_safe(&budget, &error.to_string(), Timestamp::now());
                self.write(&budget, status).await.map(|()| None)
            }
        }
    }

    async fn try_sync(&self, budget: &PodDisruptionBudget) -> Result<Again> {
        let Some(spec) = &budget.spec else { return Ok(None) };
        let mut pods = self.pods.list_namespace(budget.metadata.namespace.as_deref().unwrap_or(""));
        pods.retain(|pod| selects(budget, pod));
        if pods.is_empty() {
            self.recorder.event(budget, "Normal", "NoPods", "No matching pods found");
        }
        let counts = match plan::needs_scale(spec) {
            true => self.scale(budget, &pods).await.and_then(|scale| plan::expected(spec, pods.len(), Some(scale))),
            false => plan::expected(spec, pods.len(), None),
        };
        let counts = counts.inspect_err(|error| {
            let message = format!("Failed to calculate the number of expected pods: {error}");
            self.recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", message);
        })?;
        let now = Timestamp::now();
        let (waiting, again, late) = plan::disrupted(budget, &pods, now);
        for pod in late {
            let namespace = budget.metadata.namespace.as_deref().unwrap_or("");
            // Upstream names the namespace twice.
            let message = format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
            self.recorder.event(&*pod, "Warning", "NotDeleted", message);
        }
        if let Some(status) = plan::status(budget, &pods, waiting, counts, now) {
            self.write(budget, status).await?;
        }
        // A little later, as the time of an eviction is kept in whole seconds.
        Ok(again.map(|wait| wait + Duration::from_secs(1)))
    }

    /// The pods that the controllers of these ask for.
    async fn scale(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<i32> {
        let mut controllers: HashMap<String, (String, i32)> = HashMap::new();
        let mut unmanaged = false;
        for pod in pods {
            let Some(reference) = controller_of(&pod.metadata) else {
                unmanaged = true;
                continue;
            };
            if controllers.contains_key(&reference.uid) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
            let found = self.scales.of(namespace, reference).await?.ok_or_else(|| {
                let name = pod.metadata.name.as_deref().unwrap_or("");
                Error::other(format!("found no controllers for pod {name:?}"))
            })?;
            controllers.insert(reference.uid.clone(), found);
        }
        if unmanaged {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                selector::in_go(&selector)
            );
            self.recorder.event(budget, "Warning", "UnmanagedPods", message);
        }
        let by_owner: HashMap<String, i32> = controllers.into_values().collect();
        Ok(by_owner.into_values().sum())
    }

    async fn write(&self, budget: &PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> Result<()> {
        let key = Key::of(budget);
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), &key.namespace);
        let changed = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        Ok(())
    }

    /// Takes back the announcement that a pod is about to be disrupted, when nothing came of it.
    async fn sync_stale(&self, key: &Key) -> Result<Again> {
        let Some(pod) = self.pods.by_key(key) else { return Ok(None) };
        let now = Timestamp::now();
        match plan::stale_in(&pod, now) {
            None => return Ok(None),
            Some(wait) if !wait.is_zero() => return Ok(Some(wait)),
            Some(_) => {}
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        api.replace_status(&key.name, &PostParams::default(), &plan::without_disruption(&pod, now)).await?;
        Ok(None)
    }
}
