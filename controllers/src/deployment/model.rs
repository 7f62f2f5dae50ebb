//! A Deployment and its ReplicaSets as the planner sees them: names, numbers, order
//! (pkg/controller/deployment/util/deployment_util.go@v1.37.2).

use std::cmp::Ordering;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use crate::common::selector::scaled;
use crate::error::Result;

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(crate) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// apps.DeprecatedRollbackTo: the rollback of extensions/v1beta1, kept as an annotation.
pub(crate) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

pub(crate) fn spec(deployment: &Deployment) -> &DeploymentSpec {
    &deployment.spec
}

pub(crate) fn name(deployment: &Deployment) -> &str {
    deployment.metadata.name.as_deref().unwrap_or("")
}

pub(crate) fn wanted(deployment: &Deployment) -> i32 {
    spec(deployment).replicas.unwrap_or(1)
}

pub(crate) fn set_name(set: &ReplicaSet) -> &str {
    set.metadata.name.as_deref().unwrap_or("")
}

pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

pub(crate) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub(crate) fn annotation<'a>(set: &'a ReplicaSet, key: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = spec(deployment).strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("RollingUpdate")
}

/// (maxSurge, maxUnavailable) as numbers; never both 0.
fn fenceposts(deployment: &Deployment) -> Result<(i32, i32)> {
    let rolling = spec(deployment).strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone());
    let rolling = rolling.unwrap_or_default();
    let zero = IntOrString::Int(0);
    let total = wanted(deployment);
    let surge = scaled(rolling.max_surge.as_ref().unwrap_or(&zero), total, true)?;
    let unavailable = scaled(rolling.max_unavailable.as_ref().unwrap_or(&zero), total, false)?;
    Ok(if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) })
}

pub(crate) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { fenceposts(deployment).map_or(0, |(surge, _)| surge) } else { 0 }
}

pub(crate) fn max_unavailable(deployment: &Deployment) -> i32 {
    if !is_rolling(deployment) || wanted(deployment) == 0 {
        return 0;
    }
    fenceposts(deployment).map_or(0, |(_, unavailable)| unavailable.min(wanted(deployment)))
}

/// The size that the new ReplicaSet may grow to now, given the size of all.
pub(crate) fn new_set_replicas(deployment: &Deployment, total: i32, current: i32) -> Result<i32> {
    let wanted = wanted(deployment);
    if !is_rolling(deployment) {
        return Ok(wanted);
    }
    let rolling = spec(deployment).strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = match rolling.and_then(|rolling| rolling.max_surge.as_ref()) {
        Some(surge) => scaled(surge, wanted, true)?,
        None => 0,
    };
    let max = wanted + surge;
    Ok(if total >= max { current } else { current + (max - total).min(wanted - current) })
}

/// The share of `set` in adding `to_add` replicas, of which `added` are given already.
pub(crate) fn proportion(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if replicas(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let (fraction, allowed) = (fraction(deployment, set), to_add - added);
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    if wanted(deployment) == 0 {
        return -replicas(set);
    }
    let max = wanted(deployment) + max_surge(deployment);
    let before = count_annotation(set, MAX_REPLICAS).filter(|count| *count != 0);
    let observed = || deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let before = before.unwrap_or_else(observed);
    if before == 0 {
        return 0;
    }
    let size = f64::from(replicas(set)) * f64::from(max) / f64::from(before);
    // Half away from zero, as upstream rounds.
    size.round() as i32 - replicas(set)
}

/// A non-negative number kept in an annotation.
pub(crate) fn count_annotation(set: &ReplicaSet, key: &str) -> Option<i32> {
    annotation(set, key)?.parse::<u32>().ok()?.try_into().ok()
}

/// The revision of a ReplicaSet: 0 when it has none, `None` when it is not a number.
pub(crate) fn revision(set: &ReplicaSet) -> Option<i64> {
    annotation(set, REVISION).map_or(Some(0), |text| text.parse().ok())
}

fn created(set: &ReplicaSet) -> Option<Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

pub(crate) fn by_creation(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    created(a).cmp(&created(b)).then_with(|| set_name(a).cmp(set_name(b)))
}

pub(crate) fn by_size_older(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    replicas(b).cmp(&replicas(a)).then_with(|| by_creation(a, b))
}

pub(crate) fn by_size_newer(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    replicas(b).cmp(&replicas(a)).then_with(|| by_creation(b, a))
}

pub(crate) fn by_revision(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    match (revision(a), revision(b)) {
        (Some(a_revision), Some(b_revision)) if a_revision != b_revision => a_revision.cmp(&b_revision),
        _ => by_creation(a, b),
    }
}

pub(crate) fn has_progress_deadline(deployment: &Deployment) -> bool {
    spec(deployment).progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
}

/// The revision that a rollback annotation asks for.
pub(crate) fn rollback_to(deployment: &Deployment) -> Option<i64> {
    deployment.metadata.annotations.as_ref()?.get(ROLLBACK_TO)?.parse().ok()
}
