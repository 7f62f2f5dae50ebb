//! replicaset-controller and replicationcontroller-controller: as many pods as asked for
//! (pkg/controller/replicaset/replica_set.go, pkg/controller/replication@v1.37.2).
//!
//! One code for both kinds, which differ only in how they spell selector and status ([`kinds`]).
//! Non-goal: which pods are good ones; that is the Deployment's business.

mod kinds;
mod status;

use std::sync::Arc;

use client::Key;
use client::controller::Again;
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::Selector;
use kube::{Api, Client};

use self::kinds::Replicated;
use crate::Context;
use crate::common::owned_pods::Owners;
use crate::common::owner::{claim_all, controller_of, controller_ref, is_controlled_by};
use crate::common::pod_control::{PodControl, slow_start};
use crate::common::pods;
use crate::common::ranking::pods_to_delete;
use crate::common::selector;
use crate::error::{Error, Result};

/// The most pods created or deleted in one sync.
const BURST_REPLICAS: usize = 500;
/// --concurrent-replicaset-syncs, --concurrent-rc-syncs
const WORKERS: usize = 5;
/// Index of the sets by the uid of their controller.
const BY_CONTROLLER: &str = "controllerUID";

pub(crate) fn start(context: &Context) {
    Sets::<ReplicaSet>::start(context, "replicaset-controller", "replicaset-controller");
}

pub(crate) fn start_replication(context: &Context) {
    Sets::<ReplicationController>::start(context, "replicationcontroller-controller", "replication-controller");
}

struct Sets<K> {
    client: Client,
    owners: Arc<Owners<K>>,
    control: PodControl,
}

impl<K: Replicated> Sets<K> {
    fn start(context: &Context, name: &'static str, account: &str) {
        let client = context.client(account);
        let recorder = context.recorder(client.clone(), account);
        let sets = context.informers.of::<K>();
        sets.add_index(BY_CONTROLLER, |set: &K| {
            controller_of(set.meta()).map(|owner| owner.uid.clone()).into_iter().collect()
        });
        let owners =
            Owners::new(sets, context.informers.of::<Pod>(), |set: &K| selector::parse(&set.view().spec.selector).ok());
        let (queue, caches) = (owners.queue.clone(), (owners.cache.clone(), owners.pods.clone()));
        let control = PodControl { client: client.clone(), recorder };
        let all = Arc::new(Sets { client, owners, control });
        context.controller(name, queue, WORKERS, caches, move |key, _| {
            let all = all.clone();
            async move { all.sync(key).await }
        });
    }

    async fn sync(&self, key: Key) -> Result<Again> {
        let Some(set) = self.owners.cache.by_key(&key) else {
            self.owners.expectations.forget(&key);
            return Ok(None);
        };
        let satisfied = self.owners.expectations.satisfied(&key);
        let view = set.view();
        let spec = view.spec.clone();
        // The API server validates selectors: one that does not parse is not ours to retry.
        let Ok(selector) = selector::parse(&spec.selector) else { return Ok(None) };
        let all = self.owners.pods_of(&key, &set);
        let active: Vec<Arc<Pod>> = all.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
        let selects = |pod: &Pod| selector::matches(&selector, pod.metadata.labels.as_ref());
        let (owners, api) = (self.api(&key.namespace), Api::namespaced(self.client.clone(), &key.namespace));
        let active = claim_all(&*set, &owners, &api, active, selects).await?;
        let uid = set.meta().uid.as_deref();
        let terminating =
            all.iter().filter(|pod| pods::is_terminating(pod) && is_controlled_by(&pod.metadata, uid) && selects(pod));
        let terminating = K::COUNTS_TERMINATING.then(|| terminating.count());

        let mut failure = None;
        if satisfied && set.meta().deletion_timestamp.is_none() {
            failure = self.manage(&key, &set, &spec, &active).await.err();
        }
        let now = Timestamp::now();
        let status = status::calculate(&view, &active, terminating, failure.as_ref(), now);
        let unfinished = status.ready_replicas != status.available_replicas;
        self.write_status(&key, &view, status).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        Ok((min_ready > 0 && unfinished).then(|| pods::next_availability(&active, min_ready, now)).flatten())
    }

    fn api(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates the pods that are missing, or deletes those that are too many.
    async fn manage(&self, key: &Key, set: &K, spec: &ReplicaSetSpec, active: &[Arc<Pod>]) -> Result<()> {
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        if active.len() < wanted {
            let missing = (wanted - active.len()).min(BURST_REPLICAS);
            self.create(key, set, spec, missing).await
        } else if active.len() > wanted {
            let surplus = (active.len() - wanted).min(BURST_REPLICAS);
            let chosen = pods_to_delete(active.to_vec(), &self.related_pods(set), surplus, Timestamp::now());
            self.delete(key, set, chosen).await
        } else {
            Ok(())
        }
    }

    async fn create(&self, key: &Key, set: &K, spec: &ReplicaSetSpec, count: usize) -> Result<()> {
        let template = spec.template.clone().unwrap_or_default();
        self.owners.expectations.expect_creations(key, count);
        let (created, outcome) = slow_start(count, |_| async {
            if self.control.create(set, &template, controller_ref(set)).await?.is_none() {
                // The namespace goes away and its event never comes: nothing to wait for.
                self.owners.expectations.creation_observed(key);
            }
            Ok(())
        })
        .await;
        for _ in created..count {
            self.owners.expectations.creation_observed(key);
        }
        outcome
    }

    async fn delete(&self, key: &Key, set: &K, chosen: Vec<Arc<Pod>>) -> Result<()> {
        self.owners.expectations.expect_deletions(key, chosen.iter().map(|pod| Key::of(&**pod)));
        let deletions = chosen.iter().map(|pod| async {
            let outcome = self.control.delete(set, pod).await;
            if outcome.is_err() {
                self.owners.expectations.deletion_observed(key, &Key::of(&**pod));
            }
            outcome
        });
        let failed = join_all(deletions).await.into_iter().filter_map(Result::err);
        failed.filter(|error| !error.is_not_found()).map(Err).next().unwrap_or(Ok(()))
    }

    /// The pods of all sets that have the same controller as this one.
    fn related_pods(&self, set: &K) -> Vec<Arc<Pod>> {
        let Some(owner) = controller_of(set.meta()) else { return Vec::new() };
        let sets = self.owners.cache.by_index(BY_CONTROLLER, &owner.uid);
        let parse = |set: &Arc<K>| selector::parse(&set.view().spec.selector).ok();
        let selectors: Vec<Selector> = sets.iter().filter_map(parse).collect();
        let selected = |pod: &Arc<Pod>| selectors.iter().any(|s| selector::matches(s, pod.metadata.labels.as_ref()));
        let all = self.owners.pods.list_namespace(set.meta().namespace.as_deref().unwrap_or(""));
        all.into_iter().filter(selected).collect()
    }

    /// Writes the status if it changed, once more on a fresh object when the cached one was old.
    async fn write_status(
        &self,
        key: &Key,
        view: &ReplicaSet,
        status: k8s_openapi::api::apps::v1::ReplicaSetStatus,
    ) -> Result<()> {
        if view.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api = self.api(&key.namespace);
        let mut set = K::from_view(ReplicaSet { status: Some(status.clone()), ..view.clone() });
        match api.replace_status(&key.name, &PostParams::default(), &set).await {
            Ok(_) => return Ok(()),
            Err(error) if crate::error::is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let fresh = api.get(&key.name).await?.view();
        if fresh.metadata.uid != view.metadata.uid {
            return Err(Error::other(format!("{} {key} was replaced", K::kind(&()))));
        }
        set = K::from_view(ReplicaSet { status: Some(status), ..fresh });
        api.replace_status(&key.name, &PostParams::default(), &set).await?;
        Ok(())
    }
}
