//! deployment-controller: rolls a Deployment's template out over ReplicaSets
//! (pkg/controller/deployment@v1.37.2).
//!
//! [`plan`] decides, this file watches and writes.

mod history;
mod model;
mod plan;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use client::Key;
use client::controller::Again;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};

use self::plan::{Action, Plan, View};
use crate::Context;
use crate::common::hash::same_template;
use crate::common::owner::{claim_all, controller_of, controller_ref, is_controlled_by};
use crate::common::pods::{self, BY_OWNER, owner_index_key};
use crate::common::selector;
use crate::error::{Result, is_already_exists, is_namespace_terminating, is_not_found, text};

const NAME: &str = "deployment-controller";
/// --concurrent-deployment-syncs
const WORKERS: usize = 5;

pub(crate) fn start(context: &Context) {
    let client = context.client(NAME);
    let all = Arc::new(Deployments {
        deployments: context.informers.of::<Deployment>(),
        sets: context.informers.of::<ReplicaSet>(),
        pods: context.informers.of::<Pod>(),
        recorder: context.recorder(client.clone(), NAME),
        queue: Queue::new(),
        client,
    });
    pods::index_by_owner(&all.pods);
    let to = all.queue.clone();
    all.deployments.on_change(move |old, new| new.or(old).into_iter().for_each(|d| to.add(Key::of(&**d))));
    let watch = all.clone();
    all.sets.on_change(move |old, new| watch.on_set(old.map(|set| &**set), new.map(|set| &**set)));
    let watch = all.clone();
    all.pods.on_change(move |old, new| {
        if let (Some(old), None) = (old, new) {
            watch.on_pod_gone(old);
        }
    });
    let caches = (all.deployments.clone(), all.sets.clone(), all.pods.clone());
    context.controller(NAME, all.queue.clone(), WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(key).await }
    });
}

struct Deployments {
    client: Client,
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    recorder: Recorder,
    queue: Queue<Key>,
}

impl Deployments {
    fn on_set(&self, old: Option<&ReplicaSet>, new: Option<&ReplicaSet>) {
        let Some(set) = new.or(old) else { return };
        let namespace = set.metadata.namespace.as_deref().unwrap_or("");
        let owner = controller_of(&set.metadata);
        let previous = old.and_then(|old| controller_of(&old.metadata));
        for owner in previous.into_iter().chain(owner) {
            self.resolve(namespace, owner).into_iter().for_each(|key| self.queue.add(key));
        }
        let labels_changed = old.is_none_or(|old| old.metadata.labels != set.metadata.labels || previous != owner);
        if owner.is_none() && labels_changed && set.metadata.deletion_timestamp.is_none() {
            self.selecting(set).into_iter().for_each(|key| self.queue.add(key));
        }
    }

    /// With Recreate, the last old pod's end is what a rollout waits for.
    fn on_pod_gone(&self, pod: &Pod) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
        let Some(owner) = owner else { return };
        let set = self.sets.get(namespace, &owner.name).filter(|set| set.metadata.uid.as_ref() == Some(&owner.uid));
        let key = set.and_then(|set| controller_of(&set.metadata).and_then(|owner| self.resolve(namespace, owner)));
        let Some(key) = key else { return };
        if self.deployments.by_key(&key).is_some_and(|deployment| !model::is_rolling(&deployment)) {
            self.queue.add(key);
        }
    }

    fn resolve(&self, namespace: &str, owner: &OwnerReference) -> Option<Key> {
        let deployment = self.deployments.get(namespace, &owner.name).filter(|_| owner.kind == "Deployment")?;
        (deployment.metadata.uid.as_ref() == Some(&owner.uid)).then(|| Key::of(&*deployment))
    }

    /// The Deployments whose selectors select an orphan ReplicaSet.
    fn selecting(&self, set: &ReplicaSet) -> Vec<Key> {
        let all = self.deployments.list_namespace(set.metadata.namespace.as_deref().unwrap_or(""));
        let selects = |deployment: &Deployment| {
            let parsed = selector::parse(&deployment.spec.selector);
            matches!(parsed, Ok(s) if !s.selects_all() && selector::matches(&s, set.metadata.labels.as_ref()))
        };
        all.iter().filter(|deployment| selects(deployment)).map(|deployment| Key::of(&**deployment)).collect()
    }

    async fn sync(&self, key: Key) -> Result<Again> {
        let Some(deployment) = self.deployments.by_key(&key) else { return Ok(None) };
        let selector = selector::parse(&model::spec(&deployment).selector)?;
        let sets = self.sets.list_namespace(&key.namespace);
        let sets = if selector.selects_all() {
            Vec::new()
        } else {
            let selects = |set: &ReplicaSet| selector::matches(&selector, set.metadata.labels.as_ref());
            claim_all(&*deployment, &self.api(&key), &self.api(&key), sets, selects).await?
        };
        let running = if model::is_rolling(&deployment) { Vec::new() } else { self.running(&key, &sets) };
        let sets = sets.iter().map(|set| (**set).clone()).collect();
        let view = View { deployment: (*deployment).clone(), sets, running };
        let plan = plan::plan(view, Timestamp::now())?;
        self.execute(&key, &deployment, plan).await
    }

    fn api<K>(&self, key: &Key) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// The uids of the sets that have a pod which is not finished.
    fn running(&self, key: &Key, sets: &[Arc<ReplicaSet>]) -> Vec<String> {
        let runs = |set: &&Arc<ReplicaSet>| {
            let owner = owner_index_key(&key.namespace, Some(&controller_ref(&***set)));
            self.pods.by_index(BY_OWNER, &owner).iter().any(|pod| !pods::is_terminal(pod))
        };
        sets.iter().filter(runs).filter_map(|set| set.metadata.uid.clone()).collect()
    }

    async fn execute(&self, key: &Key, deployment: &Deployment, plan: Plan) -> Result<Again> {
        let sets: Api<ReplicaSet> = self.api(key);
        let deployments: Api<Deployment> = self.api(key);
        let params = PostParams::default();
        // What this sync wrote is newer than what it read.
        let mut versions: HashMap<String, Option<String>> = HashMap::new();
        for action in plan.actions {
            match action {
                Action::CreateSet(set) => {
                    if !self.create(&sets, &deployments, deployment, *set).await? {
                        return Ok(None);
                    }
                }
                Action::UpdateSet(mut set) => {
                    let name = model::set_name(&set).to_owned();
                    if let Some(version) = versions.get(&name) {
                        set.metadata.resource_version = version.clone();
                    }
                    let written = sets.replace(&name, &params, &set).await?;
                    versions.insert(name, written.metadata.resource_version);
                }
                Action::DeleteSet(name) => match sets.delete(&name, &DeleteParams::default()).await {
                    Err(error) if !is_not_found(&error) => return Err(error.into()),
                    _ => {}
                },
                Action::UpdateDeployment(new) => drop(deployments.replace(&key.name, &params, &new).await?),
                Action::UpdateStatus(new) => drop(deployments.replace_status(&key.name, &params, &new).await?),
                Action::Event { kind, reason, message } => self.recorder.event(deployment, kind, reason, message),
            }
        }
        Ok(plan.again)
    }

    /// Creates a ReplicaSet. False when the namespace is going away.
    async fn create(
        &self,
        sets: &Api<ReplicaSet>,
        deployments: &Api<Deployment>,
        deployment: &Deployment,
        set: ReplicaSet,
    ) -> Result<bool> {
        let (name, count) = (model::set_name(&set), model::replicas(&set));
        let error = match sets.create(&PostParams::default(), &set).await {
            Ok(_) if count > 0 => {
                let message = format!("Scaled up replica set {name} from 0 to {count}");
                self.recorder.event(deployment, "Normal", "ScalingReplicaSet", message);
                return Ok(true);
            }
            Ok(_) => return Ok(true),
            Err(error) if is_namespace_terminating(&error) => return Ok(false),
            Err(error) => error,
        };
        let mut changed = deployment.clone();
        let status = changed.status.get_or_insert_default();
        if is_already_exists(&error) {
            let existing = sets.get(name).await?;
            if is_same_set(deployment, &existing) {
                return Ok(true);
            }
            // Another template with the same hash: the count makes the next hash differ.
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        } else {
            let message = format!("Failed to create new replica set {name:?}: {}", text(&error));
            self.recorder.event(deployment, "Warning", status::SET_FAILED, message.clone());
            if !model::has_progress_deadline(deployment) {
                return Err(error.into());
            }
            let now = Timestamp::now();
            let failed = status::new_condition(status::PROGRESSING, "False", status::SET_FAILED, message, now);
            status::set_condition(status, failed);
        }
        if changed.status != deployment.status {
            deployments.replace_status(model::name(deployment), &PostParams::default(), &changed).await?;
        }
        Err(error.into())
    }
}

/// True when the ReplicaSet is this Deployment's, with its template: only the cache was behind.
fn is_same_set(deployment: &Deployment, existing: &ReplicaSet) -> bool {
    let template = existing.spec.template.as_ref();
    is_controlled_by(&existing.metadata, deployment.metadata.uid.as_deref())
        && template.is_some_and(|template| same_template(template, &model::spec(deployment).template))
}
