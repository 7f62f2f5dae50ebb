//! Revisions and annotations that a Deployment leaves on its ReplicaSets
//! (pkg/controller/deployment/util/deployment_util.go@v1.37.2).

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::model::{
    DESIRED_REPLICAS, MAX_REPLICAS, REVISION, REVISION_HISTORY, ROLLBACK_TO, annotation, max_surge, revision, wanted,
};
use crate::common::selector::Labels;

/// Longest value of the revision-history annotation, in bytes.
const REVISION_HISTORY_MAX: usize = 2000;
/// Annotations that belong to one object and are not copied.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    ROLLBACK_TO,
];

pub(crate) fn max_revision<'a>(sets: impl Iterator<Item = &'a ReplicaSet>) -> i64 {
    sets.filter_map(revision).max().unwrap_or(0).max(0)
}

/// The second highest revision, 0 when there is none.
pub(crate) fn last_revision<'a>(sets: impl Iterator<Item = &'a ReplicaSet>) -> i64 {
    let (mut max, mut second) = (0, 0);
    for revision in sets.filter_map(revision) {
        if revision >= max {
            (second, max) = (max, revision);
        } else if revision > second {
            second = revision;
        }
    }
    second
}

/// Sets the annotations that the new ReplicaSet should have; true when one changed.
pub(crate) fn annotate_new_set(deployment: &Deployment, set: &mut ReplicaSet, new_revision: i64, exists: bool) -> bool {
    let mut changed = copy_annotations(deployment, set);
    let old = annotation(set, REVISION).map(str::to_owned);
    let old_revision = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(revision) => revision,
            Err(_) => return false,
        },
    };
    let annotations = set.metadata.annotations.get_or_insert_default();
    if old_revision < new_revision {
        annotations.insert(REVISION.into(), new_revision.to_string());
        changed = true;
        if let Some(old) = old {
            remember_revision(annotations, &old);
        }
    }
    if !exists {
        changed |= annotate_replicas(deployment, set);
    }
    changed
}

/// Appends a revision to the history, dropping the oldest that no longer fit.
fn remember_revision(annotations: &mut Labels, old: &str) {
    let history = annotations.get(REVISION_HISTORY).cloned().unwrap_or_default();
    let mut revisions: Vec<&str> = history.split(',').filter(|revision| !revision.is_empty()).collect();
    revisions.push(old);
    while revisions.len() > 1 && revisions.join(",").len() > REVISION_HISTORY_MAX {
        revisions.remove(0);
    }
    annotations.insert(REVISION_HISTORY.into(), revisions.join(","));
}

/// Notes the size wanted and allowed; true when one changed.
pub(crate) fn annotate_replicas(deployment: &Deployment, set: &mut ReplicaSet) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let wanted = wanted(deployment);
    let mut changed = false;
    for (key, count) in [(DESIRED_REPLICAS, wanted), (MAX_REPLICAS, wanted + max_surge(deployment))] {
        let count = count.to_string();
        changed |= annotations.insert(key.into(), count.clone()).as_ref() != Some(&count);
    }
    changed
}

fn copy_annotations(deployment: &Deployment, set: &mut ReplicaSet) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            changed |= annotations.insert(key.clone(), value.clone()).as_ref() != Some(value);
        }
    }
    changed
}

/// The annotations of a Deployment that is rolled back to `set`.
pub(crate) fn rolled_back_annotations(deployment: &Deployment, set: &ReplicaSet) -> Labels {
    let keep = |(key, _): &(&String, &String)| NOT_COPIED.contains(&key.as_str());
    let own = deployment.metadata.annotations.iter().flatten().filter(keep);
    let theirs = set.metadata.annotations.iter().flatten().filter(|entry| !keep(entry));
    own.chain(theirs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(annotations: serde_json::Value) -> ReplicaSet {
        serde_json::from_value(serde_json::json!({"metadata": {"annotations": annotations}})).expect("set")
    }

    #[test]
    fn revisions_and_their_history() {
        let deployment: Deployment = serde_json::from_value(serde_json::json!({
            "metadata": {"annotations": {"a": "b", REVISION: "9"}},
            "spec": {"replicas": 4, "selector": {}, "template": {},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}},
        }))
        .expect("deployment");
        let mut one = set(serde_json::json!({}));
        assert!(annotate_new_set(&deployment, &mut one, 1, false));
        let expected = serde_json::json!({"a": "b", REVISION: "1", DESIRED_REPLICAS: "4", MAX_REPLICAS: "5"});
        assert_eq!(serde_json::to_value(&one.metadata.annotations).expect("json"), expected);
        assert!(!annotate_new_set(&deployment, &mut one, 1, true), "stable");
        for (revision, history) in [(3, "1"), (5, "1,3")] {
            assert!(annotate_new_set(&deployment, &mut one, revision, true));
            assert_eq!(annotation(&one, REVISION_HISTORY), Some(history));
        }
        let long = (0..600).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        one.metadata.annotations.get_or_insert_default().insert(REVISION_HISTORY.into(), long);
        annotate_new_set(&deployment, &mut one, 7, true);
        let history = annotation(&one, REVISION_HISTORY).expect("history");
        assert!(history.len() <= REVISION_HISTORY_MAX && history.ends_with("599,5"), "{history}");
        let mut odd = set(serde_json::json!({REVISION: "x"}));
        assert!(!annotate_new_set(&deployment, &mut odd, 7, true));
    }

    #[test]
    fn highest_and_second_highest() {
        let sets: Vec<ReplicaSet> =
            ["1", "7", "x", "3"].iter().map(|revision| set(serde_json::json!({REVISION: revision}))).collect();
        assert_eq!((max_revision(sets.iter()), last_revision(sets.iter())), (7, 3));
        assert_eq!((max_revision([].iter()), last_revision(sets[..1].iter())), (0, 0));
    }
}
