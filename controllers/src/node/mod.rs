//! node-lifecycle-controller: notices nodes that no longer report and taints them
//! (pkg/controller/nodelifecycle/node_lifecycle_controller.go@v1.37.2).
//!
//! Upstream looks at every node each 5 s; here each node has one timer that fires when its grace period
//! would end, and events in between. [`health`] judges one node, [`zones`] the whole.

mod health;
pub(crate) mod ipam;
pub(crate) mod pod_gc;
pub(crate) mod taint_eviction;
mod zones;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;

use self::health::{Health, READY, Verdict, ready_status};
use self::zones::{Limiters, Zones};
use crate::Context;
use crate::common::pods::{self, BY_NODE, node_name};
use crate::common::taints::{self, NOT_READY, TaintKey, UNREACHABLE};
use crate::error::{Error, Result, is_not_found};

const NAME: &str = "node-lifecycle-controller";
/// The service account of all controllers of nodes.
pub(crate) const ACCOUNT: &str = "node-controller";
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Upstream: UpdateWorkerSize.
const WORKERS: usize = 8;
const POD_WORKERS: usize = 4;
/// Deprecated labels and the labels whose values they repeat.
const REPEATED_LABELS: [(&str, &str); 2] =
    [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

pub(crate) fn start(context: &Context) {
    let client = context.client(ACCOUNT);
    let all = Arc::new(Lifecycle {
        recorder: context.recorder(client.clone(), ACCOUNT),
        nodes: context.informers.of::<Node>(),
        pods: context.informers.of::<Pod>(),
        leases: context.informers.of::<Lease>(),
        queue: Queue::new(),
        pod_queue: Queue::new(),
        health: Mutex::default(),
        zones: Mutex::default(),
        limiters: Mutex::default(),
        client,
    });
    pods::index_by_node(&all.pods);
    let watch = all.clone();
    all.nodes.on_change(move |old, new| watch.on_node(old.map(|node| &**node), new.map(|node| &**node)));
    let watch = all.clone();
    all.leases.on_change(move |_, new| new.into_iter().for_each(|lease| watch.on_lease(lease)));
    let watch = all.clone();
    all.pods.on_change(move |old, new| {
        if let Some(new) = new
            && !node_name(new).is_empty()
            && old.is_none_or(|old| node_name(old) != node_name(new))
        {
            watch.pod_queue.add(Key::of(&**new));
        }
    });
    let caches = (all.nodes.clone(), all.pods.clone(), all.leases.clone());
    let sync = all.clone();
    context.controller(NAME, all.queue.clone(), WORKERS, caches.clone(), move |key, _| {
        let all = sync.clone();
        async move { all.sync(key).await }
    });
    let sync = all.clone();
    context.controller("node-lifecycle-controller pods", all.pod_queue.clone(), POD_WORKERS, caches, move |key, _| {
        let all = sync.clone();
        async move { all.sync_pod(key).await.map(|()| None) }
    });
}

struct Lifecycle {
    client: Client,
    recorder: Recorder,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    leases: Cache<Lease>,
    queue: Queue<Key>,
    pod_queue: Queue<Key>,
    health: Mutex<HashMap<String, Health>>,
    zones: Mutex<Zones>,
    limiters: Mutex<Limiters>,
}

impl Lifecycle {
    fn on_node(&self, old: Option<&Node>, new: Option<&Node>) {
        let Some(node) = new.or(old) else { return };
        let key = Key::of(node);
        let changed = match (old, new) {
            (Some(old), Some(new)) => ready_status(old) != ready_status(new),
            _ => true,
        };
        if let Some(new) = new {
            let now = Timestamp::now();
            let mut all = self.health.lock();
            all.entry(key.name.clone()).or_insert_with(|| Health::new(new, now)).observe(new, now);
        }
        self.queue.add(key);
        if changed && self.zones_changed() {
            self.nodes.list().iter().for_each(|node| self.queue.add(Key::of(&**node)));
        }
    }

    /// Recomputes the zones' states. True when entering or leaving full disruption, or a zone changed.
    fn zones_changed(&self) -> bool {
        let new = Zones::of(self.nodes.list().iter().map(|node| &**node));
        let mut current = self.zones.lock();
        if new == *current {
            return false;
        }
        if current.all_disrupted && !new.all_disrupted {
            tracing::info!("some Nodes are Ready. Exiting master disruption mode");
            let now = Timestamp::now();
            self.health.lock().values_mut().for_each(|health| health.probed(now));
        }
        if !current.all_disrupted && new.all_disrupted {
            tracing::info!("all Nodes are not-Ready. Entering master disruption mode");
        }
        *current = new;
        true
    }

    fn on_lease(&self, lease: &Lease) {
        if lease.metadata.namespace.as_deref() == Some(LEASE_NAMESPACE) {
            let name = lease.metadata.name.as_deref().unwrap_or("");
            if let Some(health) = self.health.lock().get_mut(name) {
                health.renewed(lease, Timestamp::now());
            }
        }
    }

    async fn sync(&self, key: Key) -> Result<Again> {
        let Some(node) = self.nodes.by_key(&key) else {
            if let Some(health) = self.health.lock().remove(&key.name).filter(|health| health.registered) {
                let text = format!("Node {0} event: Removing Node {0} from Controller", key.name);
                self.recorder.about(reference(&key.name, &health.uid), "Normal", "RemovingNode", text);
            }
            return Ok(None);
        };
        self.register(&key, &node);
        self.taint_by_conditions(&key, &node).await?;
        self.repeat_labels(&key, &node).await?;
        let now = Timestamp::now();
        let Some(verdict) = self.health.lock().get(&key.name).map(|health| health.judge(&node, now)) else {
            return Ok(None);
        };
        match verdict {
            Verdict::Silent { conditions, was_ready } => {
                self.mark_unknown(&key, &node, conditions, was_ready).await?;
                // The changed node comes back by its watch, tainted then.
                Ok(None)
            }
            Verdict::Alive { check_in } => {
                self.retry_pods(&key).await?;
                let taint = self.taint_no_execute(&key, &node).await?;
                Ok([check_in, taint].into_iter().flatten().min())
            }
        }
    }

    fn register(&self, key: &Key, node: &Node) {
        let mut all = self.health.lock();
        let Some(health) = all.get_mut(&key.name).filter(|health| !health.registered) else { return };
        health.registered = true;
        let text = format!("Node {0} event: Registered Node {0} in Controller", key.name);
        let uid = node.metadata.uid.clone().unwrap_or_default();
        self.recorder.about(reference(&key.name, &uid), "Normal", "RegisteredNode", text);
    }

    async fn taint_by_conditions(&self, key: &Key, node: &Node) -> Result<()> {
        let (add, remove) = health::no_schedule_changes(node);
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        taints::swap(&self.client, &key.name, &add, &remove).await
    }

    async fn repeat_labels(&self, key: &Key, node: &Node) -> Result<()> {
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let missing: HashMap<&str, &String> = REPEATED_LABELS
            .iter()
            .filter_map(|(primary, copy)| labels.get(*primary).map(|value| (*copy, value)))
            .filter(|(copy, value)| labels.get(*copy) != Some(value))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let patch = json!({"metadata": {"labels": missing}});
        let api: Api<Node> = Api::all(self.client.clone());
        api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }

    /// Writes that nobody knows how the node is, after a live read shows that its lease is old too.
    async fn mark_unknown(
        &self,
        key: &Key,
        node: &Node,
        conditions: Vec<k8s_openapi::api::core::v1::NodeCondition>,
        was_ready: bool,
    ) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let cached = self.leases.get(LEASE_NAMESPACE, &key.name);
        let cached = cached.and_then(|lease| lease.metadata.resource_version.clone());
        if let Some(live) = leases.get_opt(&key.name).await?
            && live.metadata.resource_version != cached
        {
            return Err(Error::other(format!("lease of node {key} is newer than the cache")));
        }
        let mut changed = node.clone();
        changed.status.get_or_insert_default().conditions = Some(conditions);
        let api: Api<Node> = Api::all(self.client.clone());
        api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        if was_ready {
            let text = format!("Node {} status is now: NodeNotReady", key.name);
            let uid = node.metadata.uid.clone().unwrap_or_default();
            self.recorder.about(reference(&key.name, &uid), "Normal", "NodeNotReady", text);
            if let Some(health) = self.health.lock().get_mut(&key.name) {
                health.pods_to_mark = true;
            }
            self.retry_pods(key).await?;
        }
        Ok(())
    }

    /// Marks the pods of a node that went silent, until that has worked for all.
    async fn retry_pods(&self, key: &Key) -> Result<()> {
        if !self.health.lock().get(&key.name).is_some_and(|health| health.pods_to_mark) {
            return Ok(());
        }
        let mut errors = Vec::new();
        for pod in self.pods.by_index(BY_NODE, &key.name) {
            errors.extend(self.mark_not_ready(&pod).await.err());
        }
        Error::all(errors)?;
        if let Some(health) = self.health.lock().get_mut(&key.name) {
            health.pods_to_mark = false;
        }
        Ok(())
    }

    async fn mark_not_ready(&self, pod: &Pod) -> Result<()> {
        let Some(ready) = pods::condition(pod, READY).filter(|ready| ready.status != "False") else { return Ok(()) };
        let condition = PodCondition {
            status: "False".into(),
            last_transition_time: Some(Time(Timestamp::now())),
            ..ready.clone()
        };
        match patch_condition(&self.client, pod, None, Some(condition)).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        }
        self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready");
        Ok(())
    }

    /// A pod that came to a node which is not ready is not ready.
    async fn sync_pod(&self, key: Key) -> Result<()> {
        let Some(pod) = self.pods.by_key(&key) else { return Ok(()) };
        let node = self.nodes.get("", node_name(&pod));
        match node.as_deref().and_then(ready_status) {
            None | Some("True") => Ok(()),
            Some(_) => self.mark_not_ready(&pod).await,
        }
    }

    /// Taints a node that is not ready, as fast as its zone allows; says when to look again.
    async fn taint_no_execute(&self, key: &Key, node: &Node) -> Result<Again> {
        let (not_ready, unreachable) = (TaintKey::no_execute(NOT_READY), TaintKey::no_execute(UNREACHABLE));
        let disrupted = self.zones.lock().all_disrupted;
        let (add, remove) = match ready_status(node) {
            Some("False") if !disrupted => (not_ready, unreachable),
            Some("Unknown") if !disrupted => (unreachable, not_ready),
            Some("True" | "False" | "Unknown") => {
                let present: Vec<TaintKey<'_>> =
                    [not_ready, unreachable].into_iter().filter(|taint| taints::has(node, *taint)).collect();
                if !present.is_empty() {
                    taints::swap(&self.client, &key.name, &[], &present).await?;
                }
                return Ok(None);
            }
            _ => return Ok(None),
        };
        if taints::has(node, add) && !taints::has(node, remove) {
            return Ok(None);
        }
        // Swapping one taint for the other evicts nobody new: no limit.
        if !taints::has(node, remove) {
            let wait = {
                let zones = self.zones.lock();
                self.limiters.lock().take(&zones, &zones::key(node), Timestamp::now())
            };
            match wait {
                Some(Duration::ZERO) => {}
                // With a rate of 0 the zone's next change brings the node back.
                None => return Ok(None),
                Some(wait) => return Ok(Some(wait)),
            }
        }
        taints::swap(&self.client, &key.name, &[add], &[remove]).await?;
        Ok(None)
    }
}

pub(crate) fn reference(node: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: Some(node.into()),
        uid: Some(uid.into()),
        ..ObjectReference::default()
    }
}

/// Sets phase and one condition of a pod's status, only if it is still the same pod.
pub(crate) async fn patch_condition(
    client: &Client,
    pod: &Pod,
    phase: Option<&str>,
    condition: Option<PodCondition>,
) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or(""));
    let mut status = json!({});
    if let Some(phase) = phase {
        status["phase"] = phase.into();
        status["observedGeneration"] = json!(pod.metadata.generation);
    }
    if let Some(condition) = condition {
        status["conditions"] = json!([condition]);
    }
    let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    let name = pod.metadata.name.as_deref().unwrap_or("");
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}

/// The condition that tells who ended a pod early.
pub(crate) fn disruption_target(pod: &Pod, reason: &str, message: &str) -> PodCondition {
    let before = pods::condition(pod, "DisruptionTarget").filter(|condition| condition.status == "True");
    PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        observed_generation: pod.metadata.generation,
        last_transition_time: before
            .and_then(|condition| condition.last_transition_time.clone())
            .or_else(|| Some(Time(Timestamp::now()))),
        last_probe_time: None,
    }
}

/// True when there is no such node, by a live read.
pub(crate) async fn is_gone(client: &Client, node: &str) -> Result<bool> {
    let api: Api<Node> = Api::all(client.clone());
    match api.get_metadata(node).await {
        Ok(_) => Ok(false),
        Err(error) if is_not_found(&error) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
