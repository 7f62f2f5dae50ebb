//! A Deployment's status and conditions (pkg/controller/deployment/{sync,progress}.go@v1.37.2).

use std::time::Duration;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetCondition, ReplicaSetStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::model::{has_progress_deadline, max_unavailable, name, replicas, set_name, spec, wanted};
use crate::common::pods::seconds;

pub(crate) const PROGRESSING: &str = "Progressing";
pub(crate) const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(crate) const NEW_SET: &str = "NewReplicaSetCreated";
pub(crate) const FOUND_SET: &str = "FoundNewReplicaSet";
pub(crate) const SET_FAILED: &str = "ReplicaSetCreateError";
pub(crate) const PAUSED: &str = "DeploymentPaused";
pub(crate) const RESUMED: &str = "DeploymentResumed";
pub(crate) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const UPDATED: &str = "ReplicaSetUpdated";
const SET_AVAILABLE: &str = "NewReplicaSetAvailable";

pub(crate) fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_.as_deref() == Some(kind))
}

/// The reason of a condition, empty when it is absent.
pub(crate) fn reason<'a>(status: &'a DeploymentStatus, kind: &str) -> &'a str {
    condition(status, kind).and_then(|condition| condition.reason.as_deref()).unwrap_or("")
}

pub(crate) fn new_condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: impl Into<String>,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(kind.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Sets a condition, unless status and reason stay; the transition time moves only with the status.
pub(crate) fn set_condition(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    let kind = new.type_.clone().unwrap_or_default();
    if let Some(current) = condition(status, &kind)
        && current.status == new.status
    {
        if current.reason == new.reason {
            return;
        }
        new.last_transition_time = current.last_transition_time.clone();
    }
    remove_condition(status, &kind);
    status.conditions.get_or_insert_default().push(new);
}

pub(crate) fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    if let Some(all) = &mut status.conditions {
        all.retain(|condition| condition.type_.as_deref() != Some(kind));
        if all.is_empty() {
            status.conditions = None;
        }
    }
}

fn some_count(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Counts and the Available condition, from the ReplicaSets; other conditions are kept.
pub(crate) fn calculate(
    deployment: &Deployment,
    all: &[ReplicaSet],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let sum = |count: fn(&ReplicaSetStatus) -> i32| -> i32 {
        all.iter().filter_map(|set| set.status.as_ref()).map(count).sum()
    };
    let available = sum(|status| status.available_replicas.unwrap_or(0));
    let total: i32 = all.iter().map(replicas).sum();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some_count(sum(|status| status.replicas)),
        updated_replicas: new.and_then(|set| set.status.as_ref()).and_then(|status| some_count(status.replicas)),
        ready_replicas: some_count(sum(|status| status.ready_replicas.unwrap_or(0))),
        available_replicas: some_count(available),
        unavailable_replicas: some_count((total - available).max(0)),
        terminating_replicas: terminating(all),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let enough = available >= wanted(deployment) - max_unavailable(deployment);
    let condition = if enough {
        new_condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    } else {
        new_condition(
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now,
        )
    };
    set_condition(&mut status, condition);
    status
}

/// The sum of terminating pods; unknown as long as one ReplicaSet does not say.
fn terminating(all: &[ReplicaSet]) -> Option<i32> {
    let mut sum = 0;
    for status in all.iter().map(|set| set.status.clone().unwrap_or_default()) {
        match status.terminating_replicas {
            Some(count) => sum += count,
            None if status.observed_generation.unwrap_or(0) == 0 => {}
            None => return None,
        }
    }
    Some(sum)
}

pub(crate) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let all = Some(wanted(deployment)).filter(|count| *count != 0);
    let generation = deployment.metadata.generation.unwrap_or(0);
    [status.updated_replicas, status.replicas, status.available_replicas]
        .iter()
        .all(|count| count.filter(|n| *n != 0) == all)
        && status.observed_generation.unwrap_or(0) >= generation
}

fn is_progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let of_old_sets = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || of_old_sets(new) < of_old_sets(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

/// When the progress deadline passes, counted from the last progress.
fn deadline(deployment: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let limit = spec(deployment).progress_deadline_seconds.filter(|_| has_progress_deadline(deployment))?;
    let since = condition(status, PROGRESSING)?.last_update_time.as_ref()?.0;
    Some(since + seconds(limit.into()))
}

fn is_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    match reason(status, PROGRESSING) {
        SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => deadline(deployment, status).is_some_and(|at| at < now),
    }
}

/// The status of a rollout: [`calculate`] plus Progressing and ReplicaFailure.
pub(crate) fn rollout(
    deployment: &Deployment,
    all: &[ReplicaSet],
    new: Option<&ReplicaSet>,
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = calculate(deployment, all, new, now);
    if has_progress_deadline(deployment) {
        set_progress(deployment, new, &mut status, now);
    } else {
        remove_condition(&mut status, PROGRESSING);
    }
    match replica_failure(all, new) {
        Some(failure) => set_condition(&mut status, failure),
        None => remove_condition(&mut status, REPLICA_FAILURE),
    }
    status
}

fn set_progress(deployment: &Deployment, new: Option<&ReplicaSet>, status: &mut DeploymentStatus, now: Timestamp) {
    let old = deployment.status.clone().unwrap_or_default();
    let was_complete = status.replicas == status.updated_replicas && reason(&old, PROGRESSING) == SET_AVAILABLE;
    if was_complete {
        return;
    }
    let subject = match new {
        Some(set) => format!("ReplicaSet {:?}", set_name(set)),
        None => format!("Deployment {:?}", name(deployment)),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set_condition(status, new_condition(PROGRESSING, "True", SET_AVAILABLE, message, now));
    } else if is_progressing(&old, status) {
        let message = format!("{subject} is progressing.");
        let mut condition_now = new_condition(PROGRESSING, "True", UPDATED, message, now);
        // Each step counts as progress, so the update time moves though the reason stays.
        if let Some(current) = condition(&old, PROGRESSING).filter(|current| current.status.as_deref() == Some("True"))
        {
            condition_now.last_transition_time = current.last_transition_time.clone();
        }
        remove_condition(status, PROGRESSING);
        status.conditions.get_or_insert_default().push(condition_now);
    } else if is_timed_out(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(status, new_condition(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

/// The first ReplicaFailure of the new ReplicaSet, else of any.
fn replica_failure(all: &[ReplicaSet], new: Option<&ReplicaSet>) -> Option<DeploymentCondition> {
    let failures = |set: &ReplicaSet| -> Option<ReplicaSetCondition> {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE)).cloned()
    };
    let failure = new.into_iter().chain(all).find_map(failures)?;
    Some(DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time,
        reason: failure.reason,
        message: failure.message,
    })
}

/// How long until the progress deadline is to be looked at again.
pub(crate) fn next_progress_check(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    if is_complete(deployment, status) || reason(status, PROGRESSING) == TIMED_OUT {
        return None;
    }
    let left = Duration::try_from(deadline(deployment, status)?.duration_since(now)).unwrap_or_default();
    Some(left + Duration::from_secs(1))
}
