//! pod-garbage-collector-controller: deletes pods that nobody else will
//! (pkg/controller/podgc/gc_controller.go@v1.37.2): on nodes that are gone or out of service, deleted
//! before they were scheduled, and finished ones beyond a number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client};
use parking_lot::Mutex;

use super::health::ready_status;
use super::{disruption_target, is_gone, patch_condition};
use crate::Context;
use crate::common::pods::{self, BY_NODE, is_terminal, node_name};
use crate::common::taints::{OUT_OF_SERVICE, of_node};
use crate::error::{Error, Result, is_not_found};

const NAME: &str = "pod-garbage-collector-controller";
const ACCOUNT: &str = "pod-garbage-collector";
const WORKERS: usize = 4;
/// How long a node must be gone before its pods are (upstream: quarantineTime).
const QUARANTINE: Duration = Duration::from_secs(40);
/// --terminated-pod-gc-threshold
const TERMINATED_MAX: usize = 12500;
/// Index of finished pods, under one value.
const BY_TERMINATED: &str = "terminated";
/// The key that stands for the number of finished pods.
const COUNT: &str = "";

pub(crate) fn start(context: &Context) {
    let all = Arc::new(PodGc {
        client: context.client(ACCOUNT),
        nodes: context.informers.of::<Node>(),
        pods: context.informers.of::<Pod>(),
        missing: Mutex::default(),
    });
    pods::index_by_node(&all.pods);
    all.pods.add_index(BY_TERMINATED, |pod: &Pod| is_terminal(pod).then(|| COUNT.into()).into_iter().collect());
    let queue: Queue<Key> = Queue::new();
    let (to, cache) = (queue.clone(), all.pods.clone());
    all.nodes.on_change(move |old, new| {
        let facts = |node: Option<&Arc<Node>>| node.map(|node| is_out_of_service(node));
        if facts(old) != facts(new)
            && let Some(node) = new.or(old)
        {
            let name = node.metadata.name.as_deref().unwrap_or("");
            cache.by_index(BY_NODE, name).iter().for_each(|pod| to.add(Key::of(&**pod)));
        }
    });
    let to = queue.clone();
    all.pods.on_change(move |old, new| {
        let Some(pod) = new.or(old) else { return };
        let facts = |pod: &Arc<Pod>| (pod.metadata.deletion_timestamp.is_some(), node_name(pod).to_owned());
        if old.map(facts) != new.map(facts) {
            to.add(Key::of(&**pod));
        }
        if is_terminal(pod) && !old.is_some_and(|old| is_terminal(old)) {
            to.add(Key::new("", COUNT));
        }
    });
    let caches = (all.nodes.clone(), all.pods.clone());
    context.controller(NAME, queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { if key.name == COUNT { all.trim().await.map(|()| None) } else { all.sync(key).await } }
    });
}

fn is_out_of_service(node: &Node) -> bool {
    ready_status(node) != Some("True") && of_node(node).iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

#[derive(Debug, PartialEq)]
enum Decision {
    Keep,
    Delete,
    /// Its node is unknown: ask the API server after the quarantine.
    Doubt,
}

/// `node` is what the cache has of the pod's node.
fn decide(pod: &Pod, node: Option<&Node>) -> Decision {
    let deleting = pod.metadata.deletion_timestamp.is_some();
    match node {
        _ if node_name(pod).is_empty() => {
            if deleting {
                Decision::Delete
            } else {
                Decision::Keep
            }
        }
        None => Decision::Doubt,
        Some(node) if deleting && is_out_of_service(node) => Decision::Delete,
        Some(_) => Decision::Keep,
    }
}

/// The finished pods beyond `max`: evicted ones first, then the oldest.
fn surplus(mut finished: Vec<Arc<Pod>>, max: usize) -> Vec<Arc<Pod>> {
    let count = finished.len().saturating_sub(max);
    let evicted = |pod: &Pod| {
        let status = pod.status.as_ref();
        status.is_some_and(|s| s.phase.as_deref() == Some("Failed") && s.reason.as_deref() == Some("Evicted"))
    };
    finished.sort_by_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (!evicted(pod), created, pod.metadata.name.clone())
    });
    finished.truncate(count);
    finished
}

struct PodGc {
    client: Client,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    /// Since when the nodes of pods have been missing.
    missing: Mutex<HashMap<String, Timestamp>>,
}

impl PodGc {
    async fn sync(&self, key: Key) -> Result<Again> {
        let Some(pod) = self.pods.by_key(&key) else { return Ok(None) };
        let name = node_name(&pod);
        let node = self.nodes.get("", name);
        if node.is_some() {
            self.missing.lock().remove(name);
        }
        match decide(&pod, node.as_deref()) {
            Decision::Keep => Ok(None),
            Decision::Delete => self.delete(&pod, None).await.map(|()| None),
            Decision::Doubt => self.delete_after_quarantine(&pod, name).await,
        }
    }

    async fn delete_after_quarantine(&self, pod: &Pod, node: &str) -> Result<Again> {
        let now = Timestamp::now();
        let since = *self.missing.lock().entry(node.into()).or_insert(now);
        let waited = now.duration_since(since).unsigned_abs();
        if waited < QUARANTINE {
            return Ok(Some(QUARANTINE - waited));
        }
        if !is_gone(&self.client, node).await? {
            return Ok(None);
        }
        let condition = disruption_target(pod, "DeletionByPodGC", "PodGC: node no longer exists");
        self.delete(pod, Some(condition)).await?;
        if self.pods.by_index(BY_NODE, node).len() <= 1 {
            self.missing.lock().remove(node);
        }
        Ok(None)
    }

    /// Fails the pod if it has not finished, and deletes it at once.
    async fn delete(&self, pod: &Pod, condition: Option<PodCondition>) -> Result<()> {
        if !is_terminal(pod) {
            match patch_condition(&self.client, pod, Some("Failed"), condition).await {
                Err(error) if error.is_not_found() => return Ok(()),
                other => other?,
            }
        }
        let mut params = DeleteParams::default().grace_period(0);
        params.preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
        let api: Api<Pod> = Api::namespaced(self.client.clone(), pod.metadata.namespace.as_deref().unwrap_or(""));
        match api.delete(pod.metadata.name.as_deref().unwrap_or(""), &params).await {
            Err(error) if !is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn trim(&self) -> Result<()> {
        let mut errors = Vec::new();
        for pod in surplus(self.pods.by_index(BY_TERMINATED, COUNT), TERMINATED_MAX) {
            errors.extend(self.delete(&pod, None).await.err());
        }
        Error::all(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).expect("pod")
    }

    #[test]
    fn which_pods_nobody_else_deletes() {
        let node = |ready: &str, taint: bool| -> Node {
            let taints = if taint {
                serde_json::json!([{"key": OUT_OF_SERVICE, "effect": "NoExecute"}])
            } else {
                serde_json::json!([])
            };
            serde_json::from_value(serde_json::json!({"spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": ready}]}})).expect("node")
        };
        let on = |node: &str, deleting: bool| {
            let at = deleting.then_some("2026-01-01T00:00:00Z");
            pod(
                serde_json::json!({"metadata": {"deletionTimestamp": at}, "spec": {"nodeName": node, "containers": []}}),
            )
        };
        for (pod, node, expected) in [
            (on("", false), None, Decision::Keep),
            (on("", true), None, Decision::Delete),
            (on("n", false), None, Decision::Doubt),
            (on("n", true), Some(node("False", false)), Decision::Keep),
            (on("n", true), Some(node("Unknown", true)), Decision::Delete),
            (on("n", true), Some(node("True", true)), Decision::Keep),
            (on("n", false), Some(node("Unknown", true)), Decision::Keep),
        ] {
            assert_eq!(decide(&pod, node.as_ref()), expected);
        }
    }

    #[test]
    fn evicted_then_oldest() {
        let finished = |name: &str, day: u8, reason: &str| {
            Arc::new(pod(
                serde_json::json!({"metadata": {"name": name, "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")},
                "status": {"phase": "Failed", "reason": reason}}),
            ))
        };
        let all = vec![finished("old", 1, ""), finished("new", 3, ""), finished("evicted", 2, "Evicted")];
        let names = |max| {
            surplus(all.clone(), max)
                .iter()
                .map(|pod| pod.metadata.name.clone().unwrap_or_default())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["evicted", "old"]);
        assert!(names(3).is_empty());
    }
}
