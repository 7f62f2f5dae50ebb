//! statefulset-controller: pods with names and storage of their own (pkg/controller/statefulset@v1.37.2).
//!
//! [`plan`] decides, [`revisions`] keeps the templates, this file watches and writes. Invariant: a set is not synced
//! while a pod that we made or deleted does not show so in the cache.

mod claims;
mod plan;
mod pods;
mod revisions;

use std::sync::Arc;

use client::Key;
use client::controller::Again;
use client::events::Recorder;
use client::informer::Cache;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};

use self::plan::{Plan, Step, View};
use self::pods::{name_of, ordinal};
use self::revisions::Revisions;
use crate::Context;
use crate::common::expectations::EXPECTATIONS_TIMEOUT;
use crate::common::owned_pods::Owners;
use crate::common::owner::claim_all;
use crate::common::pod_control::slow_start;
use crate::common::pods::next_availability;
use crate::common::selector;
use crate::error::{Error, Result, is_already_exists, is_conflict, is_not_found, text};

const NAME: &str = "statefulset-controller";
/// --concurrent-statefulset-syncs
const WORKERS: usize = 5;
/// Attempts of a pod's update that meets conflicts (client-go's retry.DefaultBackoff).
const UPDATE_ATTEMPTS: usize = 4;

pub(crate) fn start(context: &Context) {
    let client = context.client(NAME);
    let select = |set: &StatefulSet| selector::parse(&set.spec.selector).ok();
    let all = Arc::new(StatefulSets {
        recorder: context.recorder(client.clone(), NAME),
        owners: Owners::new(context.informers.of(), context.informers.of(), select),
        claims: context.informers.of(),
        revisions: context.informers.of(),
        client,
    });
    let caches = (all.owners.cache.clone(), all.owners.pods.clone(), all.claims.clone(), all.revisions.clone());
    context.controller(NAME, all.owners.queue.clone(), WORKERS, caches, move |key, _| {
        let all = all.clone();
        async move { all.sync(key).await }
    });
}

struct StatefulSets {
    client: Client,
    recorder: Recorder,
    owners: Arc<Owners<StatefulSet>>,
    claims: Cache<PersistentVolumeClaim>,
    revisions: Cache<ControllerRevision>,
}

impl StatefulSets {
    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn sync(&self, key: Key) -> Result<Again> {
        let Some(set) = self.owners.cache.by_key(&key) else {
            self.owners.expectations.forget(&key);
            return Ok(None);
        };
        let spec = &set.spec;
        // The API server validates selectors: one that does not parse is not ours to retry.
        let Ok(parsed) = selector::parse(&spec.selector) else { return Ok(None) };
        if !self.owners.expectations.satisfied(&key) {
            return Ok(Some(EXPECTATIONS_TIMEOUT));
        }
        let revisions = Revisions { client: &self.client, cache: &self.revisions, set: &set, spec };
        let selects =
            |pod: &Pod| selector::matches(&parsed, pod.metadata.labels.as_ref()) && pods::is_member(&set, pod);
        let mine = self.owners.pods_of(&key, &set);
        let pods = claim_all(&*set, &self.api(&key.namespace), &self.api(&key.namespace), mine, selects).await?;
        let found = revisions.find().await?;
        let now = Timestamp::now();
        let claim = |name: &str| self.claims.get(&key.namespace, name);
        let view =
            View { set: &set, spec, pods: &pods, current: &found.current, update: &found.update, claim: &claim, now };
        if spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return Err(self.unknown_strategy(&key, &set));
        }
        let mut updated = 0;
        let outcome = match plan::plan(&view) {
            Ok(plan) => self.execute(&key, &view, plan, &mut updated).await,
            Err(error) => Err(error),
        };
        let status = plan::status(&view, found.collisions, updated);
        let waits = status.ready_replicas != status.available_replicas;
        let written = self.write_status(&key, &set, status).await;
        let truncated = revisions.truncate(&found, &pods).await;
        let errors = [outcome, written, truncated].into_iter().filter_map(Result::err);
        Error::all(errors.collect())?;
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        Ok((min_ready > 0 && waits).then(|| next_availability(&pods, min_ready, now)).flatten())
    }

    /// The strategy is behind a feature gate that is off.
    fn unknown_strategy(&self, key: &Key, set: &StatefulSet) -> Error {
        let message = format!(
            "statefulset {key} uses Recreate strategy but feature gate StatefulSetRecreateStrategy is disabled"
        );
        self.recorder.event(set, "Warning", "UnknownStrategy", message.clone());
        Error::other(message)
    }

    async fn execute(&self, key: &Key, view: &View<'_>, plan: Plan, updated: &mut i32) -> Result<()> {
        let parallel = view.spec.pod_management_policy.as_deref() == Some("Parallel");
        for steps in plan.phases {
            if parallel {
                slow_start(steps.len(), |place| self.take(key, view, &steps[place])).await.1?;
            } else {
                for step in &steps {
                    self.take(key, view, step).await?;
                }
            }
        }
        for pod in plan.update {
            self.delete(key, view.set, &pod).await?;
            *updated += i32::from(pods::revision(&pod) == view.current.name);
        }
        Ok(())
    }

    async fn take(&self, key: &Key, view: &View<'_>, step: &Step) -> Result<()> {
        let set = view.set;
        match step {
            Step::Create(pod) => self.create(key, set, pod).await,
            Step::Delete(pod) => self.delete(key, set, pod).await,
            Step::MakeClaims(pod) => {
                self.make_claims(set, pod).await?;
                self.own_claims_or_say(set, pod).await
            }
            Step::OwnClaims(pod) => self.own_claims(set, pod).await,
            Step::Conform(pod) => self.conform(set, pod).await,
        }
    }

    async fn create(&self, key: &Key, set: &StatefulSet, pod: &Pod) -> Result<()> {
        if let Err(error) = self.make_claims(set, pod).await {
            self.say(set, "Create", pod, Some(&error));
            return Err(error);
        }
        let api: Api<Pod> = self.api(&key.namespace);
        self.owners.expectations.also(key, None);
        let created = api.create(&PostParams::default(), pod).await;
        if created.is_err() {
            self.owners.expectations.creation_observed(key);
        }
        match created {
            Err(error) if is_already_exists(&error) => Err(error.into()),
            created => {
                self.own_claims_or_say(set, pod).await?;
                let outcome = created.map(drop).map_err(Error::from);
                self.say(set, "Create", pod, outcome.as_ref().err());
                outcome
            }
        }
    }

    async fn delete(&self, key: &Key, set: &StatefulSet, pod: &Pod) -> Result<()> {
        let api: Api<Pod> = self.api(&key.namespace);
        // Another pod may have the name by now.
        let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
        self.owners.expectations.also(key, Some(Key::of(pod)));
        let deleted = api.delete(name_of(pod), &DeleteParams { preconditions, ..DeleteParams::default() }).await;
        let outcome = match deleted {
            Ok(_) => Ok(()),
            Err(error) => {
                self.owners.expectations.deletion_observed(key, &Key::of(pod));
                if is_not_found(&error) { Ok(()) } else { Err(Error::from(error)) }
            }
        };
        self.say(set, "Delete", pod, outcome.as_ref().err());
        outcome
    }

    /// Creates the claims that are missing.
    async fn make_claims(&self, set: &StatefulSet, pod: &Pod) -> Result<()> {
        let mut errors = Vec::new();
        for claim in ordinal(pod).into_iter().flat_map(|ordinal| claims::make(set, ordinal)) {
            let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
            let (namespace, name) = (namespace.unwrap_or(""), name.unwrap_or(""));
            if let Some(existing) = self.claims.get(namespace, name) {
                if existing.metadata.deletion_timestamp.is_some() {
                    errors.push(Error::other(format!("pvc {name} is being deleted")));
                }
                continue;
            }
            let (pod, set_name) = (name_of(pod), set.metadata.name.as_deref().unwrap_or(""));
            match self.api(namespace).create(&PostParams::default(), &claim).await {
                Ok(_) => {
                    let message = format!("Create Claim {name} Pod {pod} in StatefulSet {set_name} success");
                    self.recorder.event(set, "Normal", "SuccessfulCreate", message);
                }
                Err(error) => {
                    let why = text(&error);
                    if !is_already_exists(&error) {
                        let message =
                            format!("Create Claim {name} for Pod {pod} in StatefulSet {set_name} failed error: {why}");
                        self.recorder.event(set, "Warning", "FailedCreate", message);
                    }
                    errors.push(Error::other(format!("failed to create PVC {name}: {why}")));
                }
            }
        }
        Error::all(errors)
    }

    async fn own_claims_or_say(&self, set: &StatefulSet, pod: &Pod) -> Result<()> {
        let outcome = self.own_claims(set, pod).await;
        if let Err(error) = &outcome {
            self.say(set, "Update", pod, Some(error));
        }
        outcome
    }

    /// Brings the owners of the pod's claims in line with the retention policy.
    async fn own_claims(&self, set: &StatefulSet, pod: &Pod) -> Result<()> {
        let namespace = set.metadata.namespace.as_deref().unwrap_or("");
        for (_, name) in ordinal(pod).into_iter().flat_map(|ordinal| claims::names(set, ordinal)) {
            let Some(claim) = self.claims.get(namespace, &name) else { continue };
            if claims::has_other_controller(&claim, set, pod) {
                let message = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"
                );
                self.recorder.event(set, "Warning", "ConflictingController", message);
            }
            if claims::is_up_to_date(&claim, set, pod) {
                continue;
            }
            let changed = claims::updated(&claim, set, pod);
            let written = self.api(namespace).replace(&name, &PostParams::default(), &changed).await;
            written.map_err(|error| {
                Error::other(format!("could not update claim {name} for delete policy ownerRefs: {}", text(&error)))
            })?;
        }
        Ok(())
    }

    async fn conform(&self, set: &StatefulSet, pod: &Pod) -> Result<()> {
        self.own_claims_or_say(set, pod).await?;
        let Some(ordinal) = ordinal(pod).filter(|ordinal| !pods::conforms(set, pod, *ordinal)) else { return Ok(()) };
        self.make_claims(set, pod).await?;
        let api: Api<Pod> = self.api(set.metadata.namespace.as_deref().unwrap_or(""));
        let mut fresh = pod.clone();
        for attempt in 1.. {
            let changed = pods::conformed(set, &fresh, ordinal);
            match api.replace(name_of(pod), &PostParams::default(), &changed).await {
                Ok(_) => break,
                Err(error) if is_conflict(&error) && attempt < UPDATE_ATTEMPTS => fresh = api.get(name_of(pod)).await?,
                Err(error) => {
                    let error = Error::from(error);
                    self.say(set, "Update", pod, Some(&error));
                    return Err(error);
                }
            }
        }
        self.say(set, "Update", pod, None);
        Ok(())
    }

    /// The event of a write to a pod.
    fn say(&self, set: &StatefulSet, verb: &str, pod: &Pod, error: Option<&Error>) {
        let subject =
            format!("{verb} Pod {} in StatefulSet {}", name_of(pod), set.metadata.name.as_deref().unwrap_or(""));
        let (kind, reason, message) = match error {
            None => ("Normal", format!("Successful{verb}"), format!("{subject} successful")),
            Some(error) => ("Warning", format!("Failed{verb}"), format!("{subject} failed error: {error}")),
        };
        self.recorder.event(set, kind, &reason, message);
    }

    async fn write_status(&self, key: &Key, set: &StatefulSet, status: StatefulSetStatus) -> Result<()> {
        if !plan::differs(set, &status) {
            return Ok(());
        }
        let api: Api<StatefulSet> = self.api(&key.namespace);
        let changed = StatefulSet { status: Some(status.clone()), ..set.clone() };
        match api.replace_status(&key.name, &PostParams::default(), &changed).await {
            Ok(_) => return Ok(()),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let fresh = api.get(&key.name).await?;
        if fresh.metadata.uid != set.metadata.uid {
            return Err(Error::other(format!("StatefulSet {key} was replaced")));
        }
        let changed = StatefulSet { status: Some(status), ..fresh };
        api.replace_status(&key.name, &PostParams::default(), &changed).await?;
        Ok(())
    }
}
