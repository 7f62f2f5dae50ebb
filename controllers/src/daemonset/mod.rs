//! daemonset-controller: one pod on every fitting node (pkg/controller/daemon@v1.37.2).
//!
//! [`plan`] decides, [`template`] shapes the pods, this file watches, keeps the revisions and writes.

mod plan;
mod template;

use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::informer::Cache;
use client::queue::Queue;
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;

use self::plan::{Backoff, Changes, View};
use crate::Context;
use crate::common::hash::pod_template_hash;
use crate::common::history::{self, REVISION_HASH, hash_of, holds, number, patch_of};
use crate::common::owned_pods::Owners;
use crate::common::owner::{claim_all, controller_of, controller_ref};
use crate::common::pod_control::{PodControl, slow_start};
use crate::common::pods::{self, BY_NODE};
use crate::common::selector;
use crate::error::{Error, Result, is_already_exists, is_conflict, is_not_found};

const NAME: &str = "daemonset-controller";
const ACCOUNT: &str = "daemon-set-controller";
/// --concurrent-daemonset-syncs
const WORKERS: usize = 2;
/// The most pods created, and deleted, in one sync.
const BURST_REPLICAS: usize = 250;

pub(crate) fn start(context: &Context) {
    let client = context.client(ACCOUNT);
    let recorder = context.recorder(client.clone(), NAME);
    let parse = |set: &DaemonSet| selector::parse(&set.spec.selector).ok();
    let pods = context.informers.of::<Pod>();
    pods::index_by_node(&pods);
    let all = Arc::new(DaemonSets {
        owners: Owners::new(context.informers.of::<DaemonSet>(), pods, parse),
        nodes: context.informers.of::<Node>(),
        revisions: context.informers.of::<ControllerRevision>(),
        control: PodControl { client: client.clone(), recorder },
        backoff: Mutex::default(),
        client,
    });
    let node_queue: Queue<Key> = Queue::new();
    let to = node_queue.clone();
    all.nodes.on_change(move |old, new| {
        let facts =
            |node: &Arc<Node>| (node.metadata.labels.clone(), node.spec.as_ref().and_then(|spec| spec.taints.clone()));
        if old.map(facts) != new.map(facts)
            && let Some(node) = new.or(old)
        {
            to.add(Key::of(&**node));
        }
    });
    let watch = all.clone();
    all.revisions.on_change(move |old, new| {
        let owner = new.or(old).and_then(|revision| {
            let owner = controller_of(&revision.metadata).filter(|owner| owner.kind == "DaemonSet")?;
            Some(Key::new(revision.metadata.namespace.clone()?, owner.name.clone()))
        });
        // Our own writes come back too; a sync that finds nothing to do writes nothing.
        owner.into_iter().for_each(|key| watch.owners.queue.add(key));
    });
    let caches = (all.owners.cache.clone(), all.owners.pods.clone(), all.nodes.clone(), all.revisions.clone());
    let sync = all.clone();
    context.controller("daemonset-controller nodes", node_queue, 1, caches.clone(), move |key, _| {
        let all = sync.clone();
        async move {
            all.sync_node(&key);
            Ok(None)
        }
    });
    context.controller(NAME, all.owners.queue.clone(), WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(key).await }
    });
}

struct DaemonSets {
    client: Client,
    owners: Arc<Owners<DaemonSet>>,
    nodes: Cache<Node>,
    revisions: Cache<ControllerRevision>,
    control: PodControl,
    backoff: Mutex<Backoff>,
}

impl DaemonSets {
    /// Enqueues the DaemonSets that a changed node concerns.
    fn sync_node(&self, key: &Key) {
        let node = self.nodes.by_key(key);
        let on_node: Vec<Key> =
            self.owners.pods.by_index(BY_NODE, &key.name).iter().filter_map(|pod| self.owners.resolve(pod)).collect();
        for set in self.owners.cache.list() {
            let name = Key::of(&*set);
            let scheduled = on_node.contains(&name);
            let misscheduled = set.status.as_ref().is_some_and(|status| status.number_misscheduled > 0);
            let concerned = match &node {
                None => true,
                Some(node) => {
                    let (should, may) = template::should_run(&template::pod_spec(&set), node);
                    if scheduled { !may || misscheduled } else { should }
                }
            };
            if concerned {
                self.owners.queue.add(name);
            }
        }
    }

    fn api<K>(&self, key: &Key) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn sync(&self, key: Key) -> Result<Again> {
        let Some(set) = self.owners.cache.by_key(&key) else {
            self.owners.expectations.forget(&key);
            return Ok(None);
        };
        if set.spec.selector == LabelSelector::default() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.control.recorder.event(&*set, "Warning", "SelectingAll", text);
            return Ok(None);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let parsed = selector::parse(&set.spec.selector)?;
        let selects = |pod: &Pod| selector::matches(&parsed, pod.metadata.labels.as_ref());
        let pods = self.owners.pods_of(&key, &set);
        let pods = claim_all(&*set, &self.api(&key), &self.api(&key), pods, selects).await?;
        let (hash, old) = self.sync_history(&key, &set, &pods).await?;
        let nodes = self.nodes.list();
        let now = Timestamp::now();
        let view = View { set: &set, nodes: &nodes, pods: plan::by_node(&pods), hash: &hash, now };
        if !self.owners.expectations.satisfied(&key) {
            self.write_status(&key, &set, plan::status(&view, false)).await?;
            return Ok(None);
        }
        let outcome = self.update(&key, &view, &old, &pods).await;
        // The pods just written are not in the view: what it shows is what was seen.
        let status = plan::status(&view, true);
        let waits = status.number_available != Some(status.number_ready).filter(|count| *count != 0);
        self.write_status(&key, &set, status).await?;
        let again = outcome?;
        let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
        let next = (min_ready > 0 && waits).then(|| pods::next_availability(&pods, min_ready, now)).flatten();
        Ok([again, next].into_iter().flatten().min())
    }

    async fn update(
        &self,
        key: &Key,
        view: &View<'_>,
        old: &[ControllerRevision],
        pods: &[Arc<Pod>],
    ) -> Result<Option<Duration>> {
        let changes = plan::manage(view, &mut self.backoff.lock());
        let again = changes.again;
        self.execute(key, view, changes).await?;
        let strategy = view.set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        if strategy == Some("RollingUpdate") && self.owners.expectations.satisfied(key) {
            self.execute(key, view, plan::rolling(view)?).await?;
        }
        let label = |pod: &Arc<Pod>| pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION_HASH)).cloned();
        let live: Vec<String> = pods.iter().filter_map(label).collect();
        let live: Vec<&str> = live.iter().map(String::as_str).collect();
        let limit = usize::try_from(view.set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
        let api: Api<ControllerRevision> = self.api(key);
        for revision in history::surplus(old, limit, &live) {
            match api.delete(revision.metadata.name.as_deref().unwrap_or(""), &DeleteParams::default()).await {
                Err(error) if !is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(again)
    }

    async fn execute(&self, key: &Key, view: &View<'_>, mut changes: Changes) -> Result<()> {
        for (kind, reason, text) in changes.events {
            self.control.recorder.event(view.set, kind, reason, text);
        }
        changes.create.truncate(BURST_REPLICAS);
        changes.delete.truncate(BURST_REPLICAS);
        if changes.create.is_empty() && changes.delete.is_empty() {
            return Ok(());
        }
        let expectations = &self.owners.expectations;
        expectations.expect(key, changes.create.len(), changes.delete.iter().map(|pod| Key::of(&**pod)));
        let (created, outcome) = slow_start(changes.create.len(), |index| {
            let template = template::for_node(view.set, view.hash, &changes.create[index]);
            async move {
                if self.control.create(view.set, &template, controller_ref(view.set)).await?.is_none() {
                    expectations.creation_observed(key);
                }
                Ok(())
            }
        })
        .await;
        for _ in created..changes.create.len() {
            expectations.creation_observed(key);
        }
        let deletions = changes.delete.iter().map(|pod| async {
            let outcome = self.control.delete(view.set, pod).await;
            if outcome.is_err() {
                expectations.deletion_observed(key, &Key::of(&**pod));
            }
            outcome
        });
        let deletions = join_all(deletions).await.into_iter().filter_map(Result::err);
        let failed = outcome.err().into_iter().chain(deletions.filter(|error| !error.is_not_found()));
        Error::all(failed.collect())
    }

    /// The hash of the current revision, and the old revisions; makes what is missing.
    async fn sync_history(
        &self,
        key: &Key,
        set: &DaemonSet,
        pods: &[Arc<Pod>],
    ) -> Result<(String, Vec<ControllerRevision>)> {
        let api: Api<ControllerRevision> = self.api(key);
        let parsed = selector::parse(&set.spec.selector)?;
        let all = self.revisions.list_namespace(&key.namespace);
        let selects = |revision: &ControllerRevision| selector::matches(&parsed, revision.metadata.labels.as_ref());
        let mine = claim_all(set, &self.api(key), &api, all, selects).await?;
        let (mut current, old): (Vec<ControllerRevision>, Vec<ControllerRevision>) =
            mine.iter().map(|revision| (**revision).clone()).partition(|revision| holds(revision, &set.spec.template));
        let next = old.iter().map(number).max().unwrap_or(0) + 1;
        current.sort_by_key(number);
        let Some(mut kept) = current.pop() else {
            return Ok((self.snapshot(key, set, next).await?, old));
        };
        let hash = hash_of(&kept).to_owned();
        self.drop_duplicates(&api, &hash, current, pods).await?;
        if number(&kept) < next {
            kept.revision = Some(next);
            api.replace(kept.metadata.name.as_deref().unwrap_or(""), &PostParams::default(), &kept).await?;
        }
        Ok((hash, old))
    }

    /// Two revisions of one template: the pods of the others get the kept one's label.
    async fn drop_duplicates(
        &self,
        api: &Api<ControllerRevision>,
        hash: &str,
        duplicates: Vec<ControllerRevision>,
        pods: &[Arc<Pod>],
    ) -> Result<()> {
        for duplicate in duplicates {
            for pod in pods {
                let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION_HASH));
                if label.map(String::as_str) == Some(hash_of(&duplicate)) {
                    let pods: Api<Pod> = self.api(&Key::of(&**pod));
                    let patch = Patch::Merge(json!({"metadata": {"labels": {REVISION_HASH: hash}}}));
                    pods.patch(pod.metadata.name.as_deref().unwrap_or(""), &PatchParams::default(), &patch).await?;
                }
            }
            api.delete(duplicate.metadata.name.as_deref().unwrap_or(""), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Stores the current template as a revision and returns its hash.
    async fn snapshot(&self, key: &Key, set: &DaemonSet, number: i64) -> Result<String> {
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let hash = pod_template_hash(&set.spec.template, collisions);
        let template_labels = set.spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone());
        let mut labels = template_labels.unwrap_or_default();
        labels.insert(REVISION_HASH.into(), hash.clone());
        let name = format!("{}-{hash}", key.name);
        let revision = ControllerRevision {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(key.namespace.clone()),
                labels: Some(labels),
                annotations: set.metadata.annotations.clone(),
                owner_references: Some(vec![controller_ref(set)]),
                ..ObjectMeta::default()
            },
            data: patch_of(&set.spec.template),
            revision: Some(number),
        };
        let api: Api<ControllerRevision> = self.api(key);
        let error = match api.create(&PostParams::default(), &revision).await {
            Ok(_) => return Ok(hash),
            Err(error) if is_already_exists(&error) => error,
            Err(error) => return Err(error.into()),
        };
        if holds(&api.get(&name).await?, &set.spec.template) {
            return Ok(hash);
        }
        // Another template with the same hash: the count makes the next hash differ.
        let mut status = set.status.clone().unwrap_or_default();
        status.collision_count = Some(collisions.unwrap_or(0) + 1);
        self.write_status(key, set, status).await?;
        Err(error.into())
    }

    async fn write_status(&self, key: &Key, set: &DaemonSet, status: DaemonSetStatus) -> Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<DaemonSet> = self.api(key);
        let changed = DaemonSet { status: Some(status.clone()), ..set.clone() };
        match api.replace_status(&key.name, &PostParams::default(), &changed).await {
            Ok(_) => return Ok(()),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let fresh = api.get(&key.name).await?;
        let changed = DaemonSet { status: Some(status), ..fresh };
        api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        Ok(())
    }
}
