//! taint-eviction-controller: pods that do not tolerate a NoExecute taint of their node go
//! (pkg/controller/tainteviction/taint_eviction.go@v1.37.2).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Taint, Toleration};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client};
use parking_lot::Mutex;

use super::{ACCOUNT, disruption_target, patch_condition};
use crate::Context;
use crate::common::pods::{self, BY_NODE, node_name, seconds};
use crate::common::taints::{NO_EXECUTE, of_node, tolerates};
use crate::error::{Result, is_not_found};

const NAME: &str = "taint-eviction-controller";
/// Upstream: UpdateWorkerSize.
const WORKERS: usize = 8;

pub(crate) fn start(context: &Context) {
    let client = context.client(ACCOUNT);
    let all = Arc::new(Eviction {
        recorder: context.recorder(client.clone(), NAME),
        nodes: context.informers.of::<Node>(),
        pods: context.informers.of::<Pod>(),
        scheduled: Mutex::default(),
        client,
    });
    pods::index_by_node(&all.pods);
    let queue: Queue<Key> = Queue::new();
    let (to, cache) = (queue.clone(), all.pods.clone());
    all.nodes.on_change(move |old, new| {
        let taints = |node: Option<&Arc<Node>>| node.map(|node| no_execute(node)).unwrap_or_default();
        if taints(old) != taints(new)
            && let Some(node) = new.or(old)
        {
            let name = node.metadata.name.as_deref().unwrap_or("");
            cache.by_index(BY_NODE, name).iter().for_each(|pod| to.add(Key::of(&**pod)));
        }
    });
    let to = queue.clone();
    all.pods.on_change(move |old, new| {
        let Some(pod) = new.or(old) else { return };
        let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
        let same = |old: &Arc<Pod>, new: &Arc<Pod>| {
            old.metadata.uid == new.metadata.uid
                && node_name(old) == node_name(new)
                && tolerations(old) == tolerations(new)
        };
        if !matches!((old, new), (Some(old), Some(new)) if same(old, new)) {
            to.add(Key::of(&**pod));
        }
    });
    let caches = (all.nodes.clone(), all.pods.clone());
    context.controller(NAME, queue, WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(key).await }
    });
}

fn no_execute(node: &Node) -> Vec<Taint> {
    of_node(node).iter().filter(|taint| taint.effect == NO_EXECUTE).cloned().collect()
}

/// An eviction to come.
#[derive(Clone, Debug, PartialEq)]
struct Scheduled {
    uid: Option<String>,
    at: Timestamp,
}

#[derive(Debug, PartialEq)]
enum Decision {
    Stay,
    Evict,
    EvictAt(Timestamp),
}

/// What the taints do to a pod with these tolerations. An eviction already scheduled keeps its time.
fn decide(taints: &[Taint], tolerations: &[Toleration], scheduled: Option<Timestamp>, now: Timestamp) -> Decision {
    let mut used: Vec<&Toleration> = Vec::new();
    for taint in taints {
        match tolerations.iter().find(|toleration| tolerates(toleration, taint)) {
            Some(toleration) => used.push(toleration),
            None => return Decision::Evict,
        }
    }
    let Some(limit) = used.iter().filter_map(|toleration| toleration.toleration_seconds).min() else {
        return Decision::Stay;
    };
    let at = scheduled.unwrap_or(now + seconds(limit.max(0)));
    if at <= now { Decision::Evict } else { Decision::EvictAt(at) }
}

struct Eviction {
    client: Client,
    recorder: Recorder,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    scheduled: Mutex<HashMap<Key, Scheduled>>,
}

impl Eviction {
    async fn sync(&self, key: Key) -> Result<Again> {
        let pod = self.pods.by_key(&key).filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let node = pod.as_ref().and_then(|pod| self.nodes.get("", node_name(pod)));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.scheduled.lock().remove(&key);
            return Ok(None);
        };
        let now = Timestamp::now();
        let scheduled = self.scheduled.lock().get(&key).filter(|s| s.uid == pod.metadata.uid).map(|s| s.at);
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
        match decide(&no_execute(&node), &tolerations, scheduled, now) {
            Decision::Stay => {
                if self.scheduled.lock().remove(&key).is_some() {
                    self.event(&key, format!("Cancelling deletion of Pod {key}"));
                }
                Ok(None)
            }
            Decision::EvictAt(at) => {
                self.scheduled.lock().insert(key, Scheduled { uid: pod.metadata.uid.clone(), at });
                Ok(Some(Duration::try_from(at.duration_since(now)).unwrap_or_default()))
            }
            Decision::Evict => {
                self.evict(&key, &pod).await?;
                self.scheduled.lock().remove(&key);
                Ok(None)
            }
        }
    }

    fn event(&self, key: &Key, message: String) {
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            ..ObjectReference::default()
        };
        self.recorder.about(about, "Normal", "TaintManagerEviction", message);
    }

    async fn evict(&self, key: &Key, pod: &Pod) -> Result<()> {
        self.event(key, format!("Marking for deletion Pod {key}"));
        let message = "Taint manager: deleting due to NoExecute taint";
        let condition = disruption_target(pod, "DeletionByTaintManager", message);
        match patch_condition(&self.client, pod, None, Some(condition)).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        }
        let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.delete(&key.name, &params).await {
            Err(error) if !is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_decide_whether_and_when() {
        let taint = |key: &str| Taint { key: key.into(), effect: NO_EXECUTE.into(), ..Taint::default() };
        let tolerate = |key: &str, limit: Option<i64>| Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            toleration_seconds: limit,
            ..Toleration::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let after = |count: i64| now + seconds(count);
        let table = [
            (vec![], vec![], None, Decision::Stay),
            (vec![taint("a")], vec![], None, Decision::Evict),
            (vec![taint("a")], vec![tolerate("a", None)], None, Decision::Stay),
            (vec![taint("a")], vec![tolerate("a", Some(300))], None, Decision::EvictAt(after(300))),
            (vec![taint("a")], vec![tolerate("a", Some(0))], None, Decision::Evict),
            (
                vec![taint("a"), taint("b")],
                vec![tolerate("a", Some(300)), tolerate("b", Some(10))],
                None,
                Decision::EvictAt(after(10)),
            ),
            (vec![taint("a"), taint("b")], vec![tolerate("a", Some(300))], None, Decision::Evict),
            (vec![taint("a")], vec![tolerate("a", Some(300))], Some(after(20)), Decision::EvictAt(after(20))),
            (vec![taint("a")], vec![tolerate("a", Some(300))], Some(now), Decision::Evict),
        ];
        for (taints, tolerations, scheduled, expected) in table {
            assert_eq!(decide(&taints, &tolerations, scheduled, now), expected, "{taints:?} {tolerations:?}");
        }
    }
}
