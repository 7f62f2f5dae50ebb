//! What a StatefulSet's pods call for: pure functions of a view
//! (pkg/controller/statefulset/stateful_set_control.go@v1.37.2).
//!
//! A plan is phases of steps. With OrderedReady they are taken one by one, and the plan ends at the first pod that must
//! be waited for; with Parallel each phase's steps are taken together.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::jiff::Timestamp;

use super::claims;
use super::pods::{self, conforms, first_ordinal, in_range, is_running_and_ready, is_unavailable, ordinal, revision};
use crate::common::pods::{is_available, is_terminal, phase};
use crate::common::selector::scaled;
use crate::error::Result;

/// A template and the name of the ControllerRevision that keeps it.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

/// What is looked at.
pub(super) struct View<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) spec: &'a StatefulSetSpec,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) current: &'a Revision,
    pub(super) update: &'a Revision,
    /// The set's claims by name.
    pub(super) claim: &'a (dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>> + Sync),
    pub(super) now: Timestamp,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The claims, then the pod.
    Create(Box<Pod>),
    Delete(Arc<Pod>),
    /// Claims that are missing, for a pod that waits for them.
    MakeClaims(Arc<Pod>),
    /// Identity, storage and the owners of the claims.
    Conform(Arc<Pod>),
    /// The owners of the claims.
    OwnClaims(Arc<Pod>),
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) phases: Vec<Vec<Step>>,
    /// Pods to delete, one after the other, to have them made anew from the update revision.
    pub(super) update: Vec<Arc<Pod>>,
}

/// A pod that is there, or the one that is missing.
enum Replica {
    Have(Arc<Pod>),
    Missing(Box<Pod>),
}

impl Replica {
    fn pod(&self) -> &Pod {
        match self {
            Replica::Have(pod) => pod,
            Replica::Missing(pod) => pod,
        }
    }
}

/// The steps of one pod, and whether the next pods must wait.
type Steps = (Vec<Step>, bool);

impl View<'_> {
    fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn monotonic(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn available(&self, pod: &Pod) -> bool {
        is_available(pod, self.min_ready(), self.now)
    }

    fn unavailable(&self, pod: &Pod) -> bool {
        is_unavailable(pod, self.min_ready(), self.now)
    }

    fn strategy(&self) -> &str {
        self.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
    }

    /// Ordinals below this, counted from the first, keep the current revision.
    fn partition(&self) -> i32 {
        let rolling = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        match (self.strategy(), rolling) {
            ("RollingUpdate", Some(rolling)) => rolling.partition.unwrap_or(0),
            ("RollingUpdate", None) => self.set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0),
            (_, Some(rolling)) => rolling.partition.unwrap_or(0),
            _ => 0,
        }
    }

    fn missing(&self, ordinal: i32) -> Replica {
        let old = ordinal < first_ordinal(self.set).saturating_add(self.partition());
        let revision = if old { self.current } else { self.update };
        Replica::Missing(Box::new(pods::make(self.set, &revision.template, &revision.name, ordinal)))
    }

    /// One entry an ordinal of the set.
    fn replicas(&self) -> Vec<Replica> {
        let first = first_ordinal(self.set);
        let last = first.saturating_add(pods::replicas(self.set));
        let have = |wanted: i32| self.pods.iter().find(|pod| ordinal(pod) == Some(wanted)).cloned();
        (first..last).map(|ordinal| have(ordinal).map_or_else(|| self.missing(ordinal), Replica::Have)).collect()
    }

    /// Pods beyond the set's ordinals, the highest first.
    fn condemned(&self) -> Vec<Arc<Pod>> {
        let mut all: Vec<Arc<Pod>> = self.pods.to_vec();
        all.retain(|pod| ordinal(pod).is_some_and(|ordinal| !in_range(self.set, ordinal)));
        all.sort_by_key(|pod| std::cmp::Reverse(ordinal(pod)));
        all
    }

    fn claims_of(&self, pod: &Pod) -> Vec<Arc<PersistentVolumeClaim>> {
        let names = ordinal(pod).into_iter().flat_map(|ordinal| claims::names(self.set, ordinal));
        names.filter_map(|(_, name)| (self.claim)(&name)).collect()
    }

    fn claims_conform(&self, pod: &Pod) -> bool {
        self.claims_of(pod).iter().all(|claim| claims::is_up_to_date(claim, self.set, pod))
    }
}

/// What to do with the pods now.
pub(super) fn plan(view: &View<'_>) -> Result<Plan> {
    let mut plan = Plan::default();
    if view.set.metadata.deletion_timestamp.is_some() {
        return Ok(plan);
    }
    let (replicas, condemned) = (view.replicas(), view.condemned());
    let stop = phase_of(view, replicas.iter().map(|one| replica(view, one)), &mut plan);
    if stop {
        return Ok(plan);
    }
    let owned = condemned.iter().filter(|pod| !view.claims_conform(pod)).map(|pod| Step::OwnClaims(pod.clone()));
    plan.phases.push(owned.collect());
    let below = replicas.iter().map(Replica::pod).chain(condemned.iter().rev().map(|pod| &**pod));
    let first_unavailable = below.into_iter().find(|pod| view.unavailable(pod)).map(pods::name_of);
    let stop = phase_of(view, condemned.iter().map(|pod| scale_down(view, pod, first_unavailable)), &mut plan);
    if !stop && view.strategy() == "RollingUpdate" {
        plan.update = outdated(view, &replicas)?;
    }
    Ok(plan)
}

/// Adds a phase; true when the plan ends with it.
fn phase_of(view: &View<'_>, all: impl Iterator<Item = Steps>, plan: &mut Plan) -> bool {
    let mut steps = Vec::new();
    let mut stopped = false;
    for (more, stop) in all {
        steps.extend(more);
        if stop && view.monotonic() {
            stopped = true;
            break;
        }
    }
    plan.phases.push(steps);
    stopped
}

fn replica(view: &View<'_>, replica: &Replica) -> Steps {
    let pod = match replica {
        Replica::Missing(pod) => {
            let blocked = view.claims_of(pod).iter().any(|claim| claims::blocks(claim, view.set, pod));
            return (if blocked { Vec::new() } else { vec![Step::Create(pod.clone())] }, true);
        }
        Replica::Have(pod) => pod,
    };
    let terminating = pod.metadata.deletion_timestamp.is_some();
    if is_terminal(pod) {
        // Whatever its exit code: a new one comes when this one is gone.
        return (if terminating { Vec::new() } else { vec![Step::Delete(pod.clone())] }, true);
    }
    let mut steps = Vec::new();
    if phase(pod) == "Pending" {
        steps.push(Step::MakeClaims(pod.clone()));
    }
    if view.monotonic() && (terminating || !is_running_and_ready(pod) || !view.available(pod)) {
        return (steps, true);
    }
    let conforms = ordinal(pod).is_some_and(|ordinal| conforms(view.set, pod, ordinal));
    if !conforms || !view.claims_conform(pod) {
        steps.push(Step::Conform(pod.clone()));
    }
    (steps, false)
}

/// A pod beyond the set goes when all others are available; the first that is not may go itself.
fn scale_down(view: &View<'_>, pod: &Arc<Pod>, first_unavailable: Option<&str>) -> Steps {
    if pod.metadata.deletion_timestamp.is_some() {
        return (Vec::new(), true);
    }
    let healthy = is_running_and_ready(pod) && view.available(pod);
    if view.monotonic() && !healthy && first_unavailable != Some(pods::name_of(pod)) {
        return (Vec::new(), true);
    }
    (vec![Step::Delete(pod.clone())], true)
}

/// The pods to delete for an update, the highest ordinals first, within maxUnavailable.
fn outdated(view: &View<'_>, replicas: &[Replica]) -> Result<Vec<Arc<Pod>>> {
    let rolling = view.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let limit = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let limit = limit.map_or(Ok(1), |limit| scaled(limit, pods::replicas(view.set), false))?.max(1) as usize;
    let lowest = usize::try_from(rolling.and_then(|rolling| rolling.partition).unwrap_or(0)).unwrap_or(0);
    let unavailable = replicas.iter().filter(|one| view.unavailable(one.pod())).count();
    let budget = limit.saturating_sub(unavailable);
    let old = replicas.iter().skip(lowest).rev().filter_map(|one| match one {
        Replica::Have(pod) if revision(pod) != view.update.name && pod.metadata.deletion_timestamp.is_none() => {
            Some(pod.clone())
        }
        _ => None,
    });
    if view.monotonic() {
        return Ok(old.take(budget).collect());
    }
    // What is unavailable already costs nothing.
    let (mut broken, working): (Vec<Arc<Pod>>, Vec<Arc<Pod>>) = old.partition(|pod| view.unavailable(pod));
    broken.extend(working.into_iter().take(budget));
    Ok(broken)
}

/// The status as the pods are; `updated` counts pods just deleted for an update.
pub(super) fn status(view: &View<'_>, collisions: i32, updated: i32) -> StatefulSetStatus {
    let listed = |pod: &&Arc<Pod>| ordinal(pod).is_some() && !phase(pod).is_empty();
    let pods: Vec<&Arc<Pod>> = view.pods.iter().filter(listed).collect();
    let count = |test: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| test(pod)).count() as i32;
    let at = |name: &str| count(&|pod: &Pod| pod.metadata.deletion_timestamp.is_none() && revision(pod) == name);
    let old = view.set.status.as_ref();
    let mut status = StatefulSetStatus {
        observed_generation: view.set.metadata.generation,
        replicas: pods.len() as i32,
        ready_replicas: Some(count(&is_running_and_ready)),
        available_replicas: Some(count(&|pod| is_running_and_ready(pod) && view.available(pod))),
        current_replicas: Some((at(&view.current.name) - updated).max(0)),
        updated_replicas: Some(at(&view.update.name)),
        current_revision: Some(view.current.name.clone()),
        update_revision: Some(view.update.name.clone()),
        collision_count: Some(collisions),
        conditions: old.and_then(|status| status.conditions.clone()),
    };
    let wanted = Some(pods::replicas(view.set));
    if status.updated_replicas == wanted && status.ready_replicas == wanted && Some(status.replicas) == wanted {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

/// True when the status says something that the set's does not.
pub(super) fn differs(set: &StatefulSet, status: &StatefulSetStatus) -> bool {
    let Some(old) = &set.status else { return true };
    let counts = |status: &StatefulSetStatus| {
        let all = [status.ready_replicas, status.available_replicas, status.current_replicas, status.updated_replicas];
        (status.replicas, all.map(|count| count.unwrap_or(0)))
    };
    let names = |status: &StatefulSetStatus| {
        [&status.current_revision, &status.update_revision].map(|name| name.clone().unwrap_or_default())
    };
    status.observed_generation.unwrap_or(0) > old.observed_generation.unwrap_or(0)
        || counts(status) != counts(old)
        || names(status) != names(old)
        || status.conditions.clone().unwrap_or_default() != old.conditions.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    /// `ORDINAL REVISION [ready|pending|failed] [deleting]`; ready since an hour.
    fn pod(text: &str) -> Arc<Pod> {
        let words: Vec<&str> = text.split(' ').collect();
        let has = |word| words.contains(&word);
        let phase = if has("pending") {
            "Pending"
        } else if has("failed") {
            "Failed"
        } else {
            "Running"
        };
        let name = format!("web-{}", words[0]);
        let ready = if has("ready") { "True" } else { "False" };
        let mut value = json!({"metadata": {"name": name, "labels": {"controller-revision-hash": words[1], "statefulset.kubernetes.io/pod-name": name}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        if has("deleting") {
            value["metadata"]["deletionTimestamp"] = NOW.into();
        }
        Arc::new(serde_json::from_value(value).expect("pod"))
    }

    fn shown(plan: &Plan) -> String {
        let step = |step: &Step| match step {
            Step::Create(pod) => format!("create {}@{}", pods::name_of(pod), revision(pod)),
            Step::Delete(pod) => format!("delete {}", pods::name_of(pod)),
            Step::MakeClaims(pod) => format!("claims {}", pods::name_of(pod)),
            Step::Conform(pod) => format!("conform {}", pods::name_of(pod)),
            Step::OwnClaims(pod) => format!("own {}", pods::name_of(pod)),
        };
        let mut said: Vec<String> = plan.phases.iter().flatten().map(step).collect();
        said.extend(plan.update.iter().map(|pod| format!("update {}", pods::name_of(pod))));
        said.join(", ")
    }

    #[track_caller]
    fn check(spec: Value, pods: &[&str], expected: &str) {
        let mut full = json!({"replicas": 3, "selector": {}, "template": {}, "serviceName": "s",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}});
        full.as_object_mut().expect("spec").extend(spec.as_object().expect("spec").clone());
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": full})).expect("set");
        let pods: Vec<Arc<Pod>> = pods.iter().map(|text| pod(text)).collect();
        let named = |name: &str| Revision { name: name.into(), template: PodTemplateSpec::default() };
        let (current, update) = (named("old"), named("new"));
        let view = View {
            set: &set,
            spec: &set.spec,
            pods: &pods,
            current: &current,
            update: &update,
            claim: &|_| None,
            now: NOW.parse().expect("time"),
        };
        assert_eq!(shown(&plan(&view).expect("plan")), expected, "{spec} {pods:?}");
    }

    #[test]
    fn ordered() {
        check(json!({}), &[], "create web-0@new");
        check(json!({}), &["0 new"], "");
        check(json!({}), &["0 new pending"], "claims web-0");
        check(json!({}), &["0 new ready"], "create web-1@new");
        check(json!({"minReadySeconds": 7200}), &["0 new ready"], "");
        check(json!({}), &["0 new ready", "1 new failed"], "delete web-1");
        check(json!({}), &["0 new ready", "1 new ready", "2 new ready deleting"], "");
        check(json!({"ordinals": {"start": 5}}), &["5 new ready"], "create web-6@new");
        check(json!({"replicas": 1}), &["0 new ready", "1 new ready", "2 new ready"], "delete web-2");
        check(json!({"replicas": 1}), &["0 new ready", "1 new", "2 new ready"], "delete web-2");
        check(json!({"replicas": 1}), &["0 new ready", "1 new ready", "2 new"], "delete web-2");
        check(json!({"replicas": 1}), &["0 new ready", "1 new", "2 new"], "");
        check(json!({"replicas": 1}), &["0 new", "1 new ready"], "");
    }

    #[test]
    fn parallel() {
        let parallel = |replicas: i32| json!({"replicas": replicas, "podManagementPolicy": "Parallel"});
        check(parallel(2), &[], "create web-0@new, create web-1@new");
        check(parallel(1), &["0 new", "1 new", "2 new ready", "3 new deleting"], "delete web-2, delete web-1");
        check(parallel(2), &["0 old", "1 old ready"], "update web-0");
        check(parallel(2), &["0 old ready", "1 old ready"], "update web-1");
    }

    #[test]
    fn rolling_updates() {
        let all = ["0 old ready", "1 old ready", "2 old ready"];
        let strategy = |partition: i32, most: Value| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition, "maxUnavailable": most}}});
        check(json!({}), &all, "update web-2");
        check(json!({}), &["0 old ready", "1 old ready", "2 new"], "");
        check(json!({}), &["0 old ready", "1 old ready", "2 new ready"], "update web-1");
        check(strategy(2, Value::Null), &["0 old ready", "1 old ready", "2 new ready"], "");
        check(strategy(2, Value::Null), &["1 old ready", "2 new ready"], "create web-0@old");
        check(strategy(0, 2.into()), &all, "update web-2, update web-1");
        check(strategy(0, "34%".into()), &all, "update web-2");
        check(json!({"updateStrategy": {"type": "OnDelete"}}), &all, "");
        check(json!({"updateStrategy": {"type": "OnDelete"}}), &all[1..], "create web-0@new");
    }
}
