//! What to write next for one Deployment: `plan(view, now)` is pure, [`super`] carries it out
//! (pkg/controller/deployment/{sync,rolling,recreate,rollback}.go@v1.37.2).
//!
//! Invariant: the planner works on copies and repeats its own writes on them, so that later decisions of
//! the same sync see the earlier ones; the Deployment's status is written at most once, last.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::history::{annotate_new_set, annotate_replicas, last_revision, max_revision, rolled_back_annotations};
use super::model::{
    DESIRED_REPLICAS, REVISION, ROLLBACK_TO, available, by_creation, by_revision, by_size_newer, by_size_older,
    count_annotation, has_progress_deadline, is_rolling, max_surge, max_unavailable, name, new_set_replicas,
    proportion, replicas, revision, rollback_to, set_name, spec, wanted,
};
use super::status::{
    FOUND_SET, NEW_SET, PAUSED, PROGRESSING, RESUMED, TIMED_OUT, calculate, condition, is_complete, new_condition,
    next_progress_check, reason, rollout, set_condition,
};
use crate::common::hash::{POD_TEMPLATE_HASH, pod_template_hash, same_template};
use crate::common::owner::controller_ref;
use crate::error::{Error, Result};

/// Longest name of a ReplicaSet (a DNS subdomain), in bytes.
const NAME_MAX: usize = 253;

/// What the planner looks at.
pub(crate) struct View {
    pub(crate) deployment: Deployment,
    /// The ReplicaSets it controls.
    pub(crate) sets: Vec<ReplicaSet>,
    /// The uids of those of `sets` that have pods which may still run; needed for Recreate only.
    pub(crate) running: Vec<String>,
}

/// One write. `Event` follows the write it reports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    CreateSet(Box<ReplicaSet>),
    UpdateSet(Box<ReplicaSet>),
    DeleteSet(String),
    UpdateDeployment(Box<Deployment>),
    UpdateStatus(Box<Deployment>),
    Event { kind: &'static str, reason: &'static str, message: String },
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) again: Option<Duration>,
}

pub(crate) fn plan(view: View, now: Timestamp) -> Result<Plan> {
    let mut planner = Planner::new(view, now);
    planner.run()?;
    Ok(planner.finish())
}

struct Planner {
    original: Deployment,
    deployment: Deployment,
    /// Sorted by creation.
    sets: Vec<ReplicaSet>,
    /// Index in `sets` of the one with the Deployment's template.
    new: Option<usize>,
    running: Vec<String>,
    now: Timestamp,
    plan: Plan,
}

impl Planner {
    fn new(view: View, now: Timestamp) -> Self {
        let View { deployment, mut sets, running } = view;
        sets.sort_by(by_creation);
        let same = |set: &ReplicaSet| {
            set.spec.template.as_ref().is_some_and(|template| same_template(template, &spec(&deployment).template))
        };
        let new = sets.iter().position(same);
        Planner { original: deployment.clone(), deployment, sets, new, running, now, plan: Plan::default() }
    }

    fn run(&mut self) -> Result<()> {
        if spec(&self.deployment).selector == LabelSelector::default() {
            self.selecting_all();
            return Ok(());
        }
        if self.deployment.metadata.deletion_timestamp.is_some() {
            self.sync_revision(false)?;
            self.sync_status();
            return Ok(());
        }
        self.check_paused();
        if spec(&self.deployment).paused == Some(true) {
            return self.sync();
        }
        if let Some(revision) = rollback_to(&self.deployment) {
            return self.rollback(revision);
        }
        self.sync_revision(false)?;
        if self.is_scaling() {
            return self.sync();
        }
        let kind = spec(&self.deployment).strategy.as_ref().and_then(|strategy| strategy.type_.clone());
        match kind.as_deref() {
            Some("Recreate") => self.recreate(),
            Some("RollingUpdate") => self.rolling(),
            other => Err(Error::other(format!("unexpected deployment strategy type: {}", other.unwrap_or("")))),
        }
    }

    fn finish(mut self) -> Plan {
        if self.deployment != self.original {
            self.plan.actions.push(Action::UpdateStatus(Box::new(self.deployment)));
        }
        self.plan
    }

    fn event(&mut self, kind: &'static str, reason: &'static str, message: impl Into<String>) {
        self.plan.actions.push(Action::Event { kind, reason, message: message.into() });
    }

    fn new_set(&self) -> Option<&ReplicaSet> {
        self.new.map(|index| &self.sets[index])
    }

    /// Indexes of all but the new one, oldest first.
    fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| Some(*index) != self.new).collect()
    }

    fn total(&self) -> i32 {
        self.sets.iter().map(replicas).sum()
    }

    fn selecting_all(&mut self) {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        self.event("Warning", "SelectingAll", message);
        let generation = self.deployment.metadata.generation;
        let status = self.deployment.status.get_or_insert_default();
        status.observed_generation = status.observed_generation.max(generation);
    }

    fn check_paused(&mut self) {
        if !has_progress_deadline(&self.deployment) {
            return;
        }
        let paused = spec(&self.deployment).paused == Some(true);
        let status = self.deployment.status.get_or_insert_default();
        let (why, text) = match reason(status, PROGRESSING) {
            TIMED_OUT => return,
            PAUSED if !paused => (RESUMED, "Deployment is resumed"),
            current if paused && current != PAUSED => (PAUSED, "Deployment is paused"),
            _ => return,
        };
        set_condition(status, new_condition(PROGRESSING, "Unknown", why, text, self.now));
    }

    fn set_progress(&mut self, why: &'static str, message: String) {
        if has_progress_deadline(&self.deployment) {
            let condition = new_condition(PROGRESSING, "True", why, message, self.now);
            set_condition(self.deployment.status.get_or_insert_default(), condition);
        }
    }

    /// Brings the new ReplicaSet's annotations and the Deployment's revision up to date; makes the
    /// ReplicaSet if asked to.
    fn sync_revision(&mut self, create: bool) -> Result<()> {
        let old = self.old();
        let next = max_revision(old.iter().map(|index| &self.sets[*index])) + 1;
        match self.new {
            Some(index) => self.sync_existing(index, next),
            None if create => self.create_set(next)?,
            None => {}
        }
        Ok(())
    }

    fn sync_existing(&mut self, index: usize, next: i64) {
        let mut set = self.sets[index].clone();
        let mut changed = annotate_new_set(&self.deployment, &mut set, next, true);
        let min_ready = spec(&self.deployment).min_ready_seconds;
        if set.spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            set.spec.min_ready_seconds = min_ready;
            changed = true;
        }
        self.set_revision(set.metadata.annotations.as_ref().and_then(|all| all.get(REVISION)).cloned());
        let status = self.deployment.status.get_or_insert_default();
        if condition(status, PROGRESSING).is_none() {
            self.set_progress(FOUND_SET, format!("Found new replica set {:?}", set_name(&set)));
        }
        if changed {
            self.plan.actions.push(Action::UpdateSet(Box::new(set.clone())));
            self.sets[index] = set;
        }
    }

    fn set_revision(&mut self, revision: Option<String>) {
        let annotations = self.deployment.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.into(), revision.unwrap_or_default());
    }

    fn create_set(&mut self, revision: i64) -> Result<()> {
        let mut set = set_of(&self.deployment);
        let count = new_set_replicas(&self.deployment, self.total(), 0)?;
        set.spec.replicas = Some(count);
        annotate_new_set(&self.deployment, &mut set, revision, false);
        let name = set_name(&set).to_owned();
        self.plan.actions.push(Action::CreateSet(Box::new(set.clone())));
        self.set_revision(Some(revision.to_string()));
        self.set_progress(NEW_SET, format!("Created new replica set {name:?}"));
        self.sets.push(set);
        self.new = Some(self.sets.len() - 1);
        Ok(())
    }

    /// True when the Deployment was scaled since its ReplicaSets were.
    fn is_scaling(&self) -> bool {
        let active = self.sets.iter().filter(|set| replicas(set) > 0);
        active.filter_map(|set| count_annotation(set, DESIRED_REPLICAS)).any(|count| count != wanted(&self.deployment))
    }

    fn scale_set(&mut self, index: usize, size: i32) -> bool {
        self.scale_or_annotate(index, size, false)
    }

    /// Sets a ReplicaSet's size and the annotations that go with it; with `force` the annotations alone.
    fn scale_or_annotate(&mut self, index: usize, size: i32, force: bool) -> bool {
        let before = replicas(&self.sets[index]);
        if !force && before == size {
            return false;
        }
        let mut set = self.sets[index].clone();
        let annotated = annotate_replicas(&self.deployment, &mut set);
        if before == size && !annotated {
            return false;
        }
        set.spec.replicas = Some(size);
        self.plan.actions.push(Action::UpdateSet(Box::new(set.clone())));
        if before != size {
            let direction = if before < size { "up" } else { "down" };
            let text = format!("Scaled {direction} replica set {} from {before} to {size}", set_name(&set));
            self.event("Normal", "ScalingReplicaSet", text);
        }
        self.sets[index] = set;
        before != size
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_revision(false)?;
        self.scale();
        if spec(&self.deployment).paused == Some(true) && rollback_to(&self.deployment).is_none() {
            self.clean_up();
        }
        self.sync_status();
        Ok(())
    }

    fn scale(&mut self) {
        if let Some(index) = self.active_or_latest() {
            self.scale_set(index, wanted(&self.deployment));
            return;
        }
        if self.new_set().is_some_and(|set| self.is_saturated(set)) {
            for index in self.old() {
                self.scale_set(index, 0);
            }
            return;
        }
        if is_rolling(&self.deployment) {
            self.scale_proportionally();
        }
    }

    /// The only ReplicaSet with replicas; with none, the new one or the latest.
    fn active_or_latest(&self) -> Option<usize> {
        let active: Vec<usize> = (0..self.sets.len()).filter(|index| replicas(&self.sets[*index]) > 0).collect();
        match active.as_slice() {
            [] => self.new.or_else(|| self.old().last().copied()),
            [one] => Some(*one),
            _ => None,
        }
    }

    fn is_saturated(&self, set: &ReplicaSet) -> bool {
        let wanted = wanted(&self.deployment);
        replicas(set) == wanted && count_annotation(set, DESIRED_REPLICAS) == Some(wanted) && available(set) == wanted
    }

    fn scale_proportionally(&mut self) {
        let wanted = wanted(&self.deployment);
        let allowed = if wanted > 0 { wanted + max_surge(&self.deployment) } else { 0 };
        let to_add = allowed - self.total();
        let mut active: Vec<usize> = (0..self.sets.len()).filter(|index| replicas(&self.sets[*index]) > 0).collect();
        match to_add {
            1.. => active.sort_by(|a, b| by_size_newer(&self.sets[*a], &self.sets[*b])),
            ..0 => active.sort_by(|a, b| by_size_older(&self.sets[*a], &self.sets[*b])),
            0 => {}
        }
        let mut sizes = Vec::new();
        let mut added = 0;
        for index in &active {
            let share = proportion(&self.deployment, &self.sets[*index], to_add, added);
            sizes.push(replicas(&self.sets[*index]) + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.scale_or_annotate(index, size, true);
        }
    }

    fn clean_up(&mut self) {
        let Some(limit) = spec(&self.deployment).revision_history_limit.filter(|limit| *limit != i32::MAX) else {
            return;
        };
        let mut old: Vec<&ReplicaSet> = self.old().into_iter().map(|index| &self.sets[index]).collect();
        old.retain(|set| set.metadata.deletion_timestamp.is_none());
        old.sort_by(|a, b| by_revision(a, b));
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        let unused = |set: &&ReplicaSet| {
            let status = set.status.clone().unwrap_or_default();
            status.replicas == 0
                && replicas(set) == 0
                && set.metadata.generation.unwrap_or(0) <= status.observed_generation.unwrap_or(0)
        };
        let gone: Vec<Action> = old
            .into_iter()
            .take(surplus)
            .filter(unused)
            .map(|set| Action::DeleteSet(set_name(set).to_owned()))
            .collect();
        self.plan.actions.extend(gone);
    }

    fn clean_up_if_complete(&mut self) {
        if is_complete(&self.deployment, &self.deployment.status.clone().unwrap_or_default()) {
            self.clean_up();
        }
    }

    fn sync_status(&mut self) {
        let status = calculate(&self.deployment, &self.sets, self.new_set(), self.now);
        self.deployment.status = Some(status);
    }

    fn sync_rollout_status(&mut self) {
        let status = rollout(&self.deployment, &self.sets, self.new_set(), self.now);
        self.plan.again = next_progress_check(&self.deployment, &status, self.now);
        self.deployment.status = Some(status);
    }

    fn recreate(&mut self) -> Result<()> {
        let mut scaled_down = false;
        for index in self.old() {
            scaled_down |= self.scale_set(index, 0);
        }
        if scaled_down || self.old_pods_running() {
            self.sync_rollout_status();
            return Ok(());
        }
        self.sync_revision(true)?;
        if let Some(index) = self.new {
            self.scale_set(index, wanted(&self.deployment));
        }
        self.clean_up_if_complete();
        self.sync_rollout_status();
        Ok(())
    }

    fn old_pods_running(&self) -> bool {
        self.old().into_iter().any(|index| {
            let set = &self.sets[index];
            set.status.as_ref().is_some_and(|status| status.replicas > 0)
                || set.metadata.uid.as_ref().is_some_and(|uid| self.running.contains(uid))
        })
    }

    fn rolling(&mut self) -> Result<()> {
        self.sync_revision(true)?;
        if !self.grow_new_set()? && !self.shrink_old_sets() {
            self.clean_up_if_complete();
        }
        self.sync_rollout_status();
        Ok(())
    }

    fn grow_new_set(&mut self) -> Result<bool> {
        let Some(index) = self.new else { return Ok(false) };
        let (current, wanted) = (replicas(&self.sets[index]), wanted(&self.deployment));
        let size = if current >= wanted { wanted } else { new_set_replicas(&self.deployment, self.total(), current)? };
        Ok(self.scale_set(index, size))
    }

    /// Takes down old pods: first those that do not work, then as many as availability allows.
    fn shrink_old_sets(&mut self) -> bool {
        let old: Vec<usize> = self.old().into_iter().filter(|index| replicas(&self.sets[*index]) > 0).collect();
        let Some(new) = self.new_set().filter(|_| !old.is_empty()) else { return false };
        let min_available = wanted(&self.deployment) - max_unavailable(&self.deployment);
        let new_unavailable = replicas(new) - available(new);
        let mut budget = self.total() - min_available - new_unavailable;
        if budget <= 0 {
            return false;
        }
        let mut scaled_down = false;
        for &index in &old {
            let size = replicas(&self.sets[index]);
            let unhealthy = (size - available(&self.sets[index])).clamp(0, budget);
            budget -= unhealthy;
            scaled_down |= self.scale_set(index, size - unhealthy);
        }
        let mut spare = self.sets.iter().map(available).sum::<i32>() - min_available;
        for &index in &old {
            let size = replicas(&self.sets[index]);
            let down = size.min(spare).max(0);
            spare -= down;
            scaled_down |= self.scale_set(index, size - down);
        }
        scaled_down
    }

    fn rollback(&mut self, asked: i64) -> Result<()> {
        self.sync_revision(true)?;
        let to = if asked == 0 { last_revision(self.sets.iter()) } else { asked };
        let not_found = "DeploymentRollbackRevisionNotFound";
        if to == 0 {
            self.event("Warning", not_found, "Unable to find last revision.");
        } else {
            match self.sets.iter().find(|set| revision(set) == Some(to)).cloned() {
                Some(set) => self.roll_back_to(&set, to),
                None => self.event("Warning", not_found, "Unable to find the revision to rollback to."),
            }
        }
        let mut deployment = self.deployment.clone();
        deployment.metadata.annotations.get_or_insert_default().remove(ROLLBACK_TO);
        deployment.status = self.original.status.clone();
        self.plan.actions.push(Action::UpdateDeployment(Box::new(deployment)));
        // The rest follows when the changed Deployment comes back.
        self.deployment = self.original.clone();
        Ok(())
    }

    fn roll_back_to(&mut self, set: &ReplicaSet, revision: i64) {
        let name = name(&self.deployment).to_owned();
        let mut template = set.spec.template.clone().unwrap_or_default();
        if same_template(&template, &spec(&self.deployment).template) {
            let text = format!("The rollback revision contains the same template as current deployment {name:?}");
            self.event("Warning", "DeploymentRollbackTemplateUnchanged", text);
            return;
        }
        if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.remove(POD_TEMPLATE_HASH);
        }
        self.deployment.metadata.annotations = Some(rolled_back_annotations(&self.deployment, set));
        self.deployment.spec.template = template;
        self.event("Normal", "DeploymentRollback", format!("Rolled back deployment {name:?} to revision {revision}"));
    }
}

/// The ReplicaSet of a Deployment's current template, without size and annotations.
fn set_of(deployment: &Deployment) -> ReplicaSet {
    let spec = spec(deployment);
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = pod_template_hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(POD_TEMPLATE_HASH.into(), hash.clone());
    let prefix = name(deployment);
    let prefix = &prefix[..prefix.len().min(NAME_MAX - 1 - hash.len())];
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            owner_references: Some(vec![controller_ref(deployment)]),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}
