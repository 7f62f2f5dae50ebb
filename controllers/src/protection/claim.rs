//! persistentvolumeclaim-protection-controller: a claim that a scheduled pod uses stays; also the condition `Unused`
//! of bound claims (pkg/controller/volume/pvcprotection@v1.37.2).
//!
//! Invariant: a finalizer goes only after a live list of the namespace's pods shows no user. The claims of a namespace
//! that wait together share one list, so the queue holds namespaces.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use client::Key;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, PersistentVolumeClaimCondition, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::{Step, decide, write};
use crate::Context;
use crate::common::owner::is_controlled_by;
use crate::common::pods::{is_terminal, node_name};
use crate::error::{Error, Result, text};

const NAME: &str = "persistentvolumeclaim-protection-controller";
const ACCOUNT: &str = "pvc-protection-controller";
const FINALIZER: &str = "kubernetes.io/pvc-protection";
/// The condition that says since when no pod refers to a bound claim.
const UNUSED: &str = "Unused";
const WORKERS: usize = 2;
/// Index of pods by the claims they refer to, `namespace/claim` (upstream: common.PodPVCIndex).
const BY_CLAIM: &str = "pod-pvc-index";

pub(crate) fn start(context: &Context) {
    let all = Arc::new(Claims {
        client: context.client(ACCOUNT),
        claims: context.informers.of::<PersistentVolumeClaim>(),
        pods: context.informers.of::<Pod>(),
        waiting: Mutex::default(),
        namespaces: Queue::new(),
    });
    all.pods.add_index(BY_CLAIM, |pod: &Pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        claims_of(pod).into_iter().map(|name| Key::new(namespace, name).to_string()).collect()
    });
    let watch = all.clone();
    all.claims.on_change(move |_, new| {
        let concerned = |claim: &&Arc<PersistentVolumeClaim>| {
            unused_condition(claim).is_none() || decide(&claim.metadata, FINALIZER) != Step::Nothing
        };
        if let Some(claim) = new.filter(concerned) {
            watch.add(Key::of(&**claim));
        }
    });
    let watch = all.clone();
    all.pods.on_change(move |old, new| {
        // A pod deleted and made anew may show up as one change.
        let replaced = old.filter(|old| new.is_none_or(|new| new.metadata.uid != old.metadata.uid));
        for pod in replaced.into_iter().chain(new) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
            claims_of(pod).into_iter().for_each(|name| watch.add(Key::new(namespace, name)));
        }
    });
    let caches = (all.claims.clone(), all.pods.clone());
    context.controller(NAME, all.namespaces.clone(), WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync_namespace(&key.namespace).await.map(|()| None) }
    });
}

struct Claims {
    client: Client,
    claims: Cache<PersistentVolumeClaim>,
    pods: Cache<Pod>,
    /// The claims to look at, by namespace.
    waiting: Mutex<HashMap<String, BTreeSet<String>>>,
    namespaces: Queue<Key>,
}

impl Claims {
    fn add(&self, claim: Key) {
        self.waiting.lock().entry(claim.namespace.clone()).or_default().insert(claim.name);
        self.namespaces.add(Key::new(claim.namespace, ""));
    }

    async fn sync_namespace(&self, namespace: &str) -> Result<()> {
        let names = self.waiting.lock().remove(namespace).unwrap_or_default();
        let live = OnceCell::new();
        let mut errors = Vec::new();
        for name in names {
            let Some(claim) = self.claims.get(namespace, &name) else { continue };
            if let Err(error) = self.sync(&claim, &live).await {
                self.waiting.lock().entry(namespace.into()).or_default().insert(name);
                errors.push(error);
            }
        }
        Error::all(errors)
    }

    async fn sync(&self, claim: &PersistentVolumeClaim, live: &OnceCell<Vec<Pod>>) -> Result<()> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), claim.metadata.namespace.as_deref().unwrap_or(""));
        let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        if bound && claim.metadata.deletion_timestamp.is_none() {
            let used = self.is_used(claim, live, refers_to).await?;
            if let Some(condition) = unused(claim, used, Timestamp::now()) {
                let changed = with_condition(claim, condition);
                api.replace_status(claim.metadata.name.as_deref().unwrap_or(""), &PostParams::default(), &changed)
                    .await?;
            }
        }
        let step = decide(&claim.metadata, FINALIZER);
        if step == Step::Release && self.is_used(claim, live, keeps).await? {
            return Ok(());
        }
        write(&api, claim, FINALIZER, step).await
    }

    /// Asks the cache first, which can only show a use early, then the API server.
    async fn is_used(
        &self,
        claim: &PersistentVolumeClaim,
        live: &OnceCell<Vec<Pod>>,
        uses: fn(&Pod, &PersistentVolumeClaim) -> bool,
    ) -> Result<bool> {
        let key = Key::of(claim);
        if self.pods.by_index(BY_CLAIM, &key.to_string()).iter().any(|pod| uses(pod, claim)) {
            return Ok(true);
        }
        let list = || async {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
            let pods = api.list(&ListParams::default()).await;
            pods.map(|list| list.items)
                .map_err(|error| Error::other(format!("live list of pods failed: {}", text(&error))))
        };
        Ok(live.get_or_try_init(list).await?.iter().any(|pod| uses(pod, claim)))
    }
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

/// The claim behind a volume and whether it is the pod's own, made from a template
/// (k8s.io/component-helpers/storage/ephemeral@v0.37.2).
fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    match &volume.persistent_volume_claim {
        Some(source) => Some((source.claim_name.clone(), false)),
        None => volume
            .ephemeral
            .as_ref()
            .map(|_| (format!("{}-{}", pod.metadata.name.as_deref().unwrap_or(""), volume.name), true)),
    }
}

fn claims_of(pod: &Pod) -> Vec<String> {
    volumes(pod).iter().filter_map(|volume| claim_of(pod, volume)).map(|(name, _)| name).collect()
}

/// Whether one of the pod's volumes is this claim; `own` says whether claims made for the pod count.
fn has_volume(pod: &Pod, claim: &PersistentVolumeClaim, own: bool) -> bool {
    let made_for = || is_controlled_by(&claim.metadata, pod.metadata.uid.as_deref());
    volumes(pod)
        .iter()
        .filter_map(|volume| claim_of(pod, volume))
        .any(|(name, ephemeral)| Some(&name) == claim.metadata.name.as_ref() && (!ephemeral || (own && made_for())))
}

/// A scheduled pod keeps its claims: the kubelet may be about to mount them. One that has shut down does not keep
/// its own, which could be waiting for it to go.
fn keeps(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let meta = &pod.metadata;
    let shut_down = meta.deletion_timestamp.is_some() && meta.deletion_grace_period_seconds == Some(0);
    !node_name(pod).is_empty() && has_volume(pod, claim, !shut_down)
}

/// Any pod that has not ended counts as a user, scheduled or not.
fn refers_to(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    !is_terminated(pod) && has_volume(pod, claim, true)
}

/// Finished, or being deleted with no container running (pkg/volume/util/util.go@v1.37.2, IsPodTerminated).
fn is_terminated(pod: &Pod) -> bool {
    let stopped = |statuses: Option<&Vec<ContainerStatus>>| {
        statuses.into_iter().flatten().all(|status| {
            status.state.as_ref().is_some_and(|state| state.terminated.is_some() || state.waiting.is_some())
        })
    };
    let status = pod.status.as_ref();
    is_terminal(pod)
        || (pod.metadata.deletion_timestamp.is_some()
            && stopped(status.and_then(|status| status.init_container_statuses.as_ref()))
            && stopped(status.and_then(|status| status.container_statuses.as_ref()))
            && stopped(status.and_then(|status| status.ephemeral_container_statuses.as_ref())))
}

fn unused_condition(claim: &PersistentVolumeClaim) -> Option<&PersistentVolumeClaimCondition> {
    claim.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == UNUSED)
}

/// The condition to write, `None` when the claim says so already.
fn unused(claim: &PersistentVolumeClaim, used: bool, now: Timestamp) -> Option<PersistentVolumeClaimCondition> {
    let status = unused_condition(claim).map(|condition| condition.status.as_str());
    let (wanted, reason, message) = match used {
        true if status.is_none_or(|status| status == "True") => {
            ("False", "PodUsingPVC", "A pod is currently referencing this PVC")
        }
        false if status != Some("True") => ("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC"),
        _ => return None,
    };
    Some(PersistentVolumeClaimCondition {
        type_: UNUSED.into(),
        status: wanted.into(),
        last_transition_time: Some(Time(now)),
        last_probe_time: None,
        reason: Some(reason.into()),
        message: Some(message.into()),
    })
}

fn with_condition(claim: &PersistentVolumeClaim, condition: PersistentVolumeClaimCondition) -> PersistentVolumeClaim {
    let mut changed = claim.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    match conditions.iter_mut().find(|existing| existing.type_ == condition.type_) {
        Some(existing) => *existing = condition,
        None => conditions.push(condition),
    }
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DELETED: &str = "2026-01-01T00:00:00Z";

    /// Whether a pod keeps, and refers to, the claim `ns/c`, which pod uid `p` controls.
    #[track_caller]
    fn check(pod: Value, keeps_it: bool, refers: bool) {
        let claim: PersistentVolumeClaim =
            serde_json::from_value(json!({"metadata": {"name": "c-v", "namespace": "ns",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "c", "uid": "p", "controller": true}]}}))
            .expect("claim");
        let parsed: Pod = serde_json::from_value(pod.clone()).expect("pod");
        assert_eq!((keeps(&parsed, &claim), refers_to(&parsed, &claim)), (keeps_it, refers), "{pod}");
    }

    #[test]
    fn users_of_a_claim() {
        let pod = |meta: Value, node: &str, volume: Value, status: Value| {
            let mut meta = meta;
            meta["namespace"] = "ns".into();
            json!({"metadata": meta, "spec": {"nodeName": node, "containers": [], "volumes": [volume]}, "status": status})
        };
        let by_name = || json!({"name": "v", "persistentVolumeClaim": {"claimName": "c-v"}});
        let own = || json!({"name": "v", "ephemeral": {}});
        check(pod(json!({"name": "a"}), "n", by_name(), json!({})), true, true);
        check(pod(json!({"name": "a"}), "", by_name(), json!({})), false, true);
        check(pod(json!({"name": "a"}), "n", by_name(), json!({"phase": "Succeeded"})), true, false);
        check(pod(json!({"name": "a"}), "n", json!({"name": "v", "emptyDir": {}}), json!({})), false, false);
        check(pod(json!({"name": "c", "uid": "p"}), "n", own(), json!({})), true, true);
        check(pod(json!({"name": "c", "uid": "other"}), "n", own(), json!({})), false, false);
        let gone = json!({"name": "c", "uid": "p", "deletionTimestamp": DELETED, "deletionGracePeriodSeconds": 0});
        check(pod(gone.clone(), "n", own(), json!({})), false, false);
        check(pod(gone, "n", by_name(), json!({})), true, false);
        let running = json!({"containerStatuses": [{"name": "x", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]});
        let stopping = json!({"name": "a", "deletionTimestamp": DELETED});
        check(pod(stopping, "n", by_name(), running), true, true);
    }

    #[test]
    fn the_unused_condition_follows() {
        let claim = |status: Option<&str>| -> PersistentVolumeClaim {
            let conditions: Vec<Value> =
                status.map(|status| json!({"type": "Unused", "status": status})).into_iter().collect();
            serde_json::from_value(json!({"status": {"conditions": conditions}})).expect("claim")
        };
        for (status, used, expected) in [
            (None, true, Some("False")),
            (None, false, Some("True")),
            (Some("True"), true, Some("False")),
            (Some("True"), false, None),
            (Some("False"), true, None),
            (Some("False"), false, Some("True")),
        ] {
            let condition = unused(&claim(status), used, Timestamp::UNIX_EPOCH);
            assert_eq!(condition.as_ref().map(|c| c.status.as_str()), expected, "{status:?} {used}");
            if let Some(condition) = condition {
                let changed = with_condition(&claim(status), condition);
                assert_eq!(changed.status.and_then(|s| s.conditions).map(|all| all.len()), Some(1));
            }
        }
    }
}
