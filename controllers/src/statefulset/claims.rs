//! The PersistentVolumeClaims of a StatefulSet's pods and who owns them: persistentVolumeClaimRetentionPolicy
//! (pkg/controller/statefulset/stateful_set_utils.go@v1.37.2).
//!
//! Invariant: a claim that another controller manages, or that an owner of the same name and another uid left behind,
//! gets no owner of ours.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::pods::{in_range, ordinal};
use crate::common::owner::controller_ref;

const DELETE: &str = "Delete";

/// Volume name and claim name of each template, for one ordinal.
pub(super) fn names(set: &StatefulSet, ordinal: i32) -> impl Iterator<Item = (String, String)> + '_ {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let set = set.metadata.name.as_deref().unwrap_or("");
    templates.map(move |template| {
        let name = template.metadata.name.clone().unwrap_or_default();
        let claim = format!("{name}-{set}-{ordinal}");
        (name, claim)
    })
}

/// The claims of one ordinal, as they are created.
pub(super) fn make(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let selected = set.spec.selector.match_labels.clone().unwrap_or_default();
    let made = templates.zip(names(set, ordinal)).map(|(template, (_, name))| {
        let mut claim = template.clone();
        claim.metadata.name = Some(name);
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        claim.metadata.labels.get_or_insert_default().extend(selected.clone());
        claim
    });
    made.collect()
}

/// Whether claims go when the set is scaled down, and when it is deleted.
fn policy(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |when: Option<&String>| when.is_some_and(|when| when == DELETE);
    policy
        .map_or((false, false), |policy| (deletes(policy.when_scaled.as_ref()), deletes(policy.when_deleted.as_ref())))
}

/// True when the reference names the object by kind and name; the uid may be another's.
fn names_object(reference: &OwnerReference, object: &OwnerReference) -> bool {
    (&reference.api_version, &reference.kind, &reference.name) == (&object.api_version, &object.kind, &object.name)
}

fn references(claim: &PersistentVolumeClaim) -> &[OwnerReference] {
    claim.metadata.owner_references.as_deref().unwrap_or_default()
}

fn is_stale(claim: &PersistentVolumeClaim, owner: &OwnerReference) -> bool {
    let named = references(claim).iter().find(|reference| names_object(reference, owner));
    named.is_some_and(|reference| reference.uid != owner.uid)
}

fn has(claim: &PersistentVolumeClaim, owner: &OwnerReference) -> bool {
    references(claim).iter().any(|reference| reference.uid == owner.uid)
}

/// Another than the set and its pod controls the claim, though the set has a policy for it.
pub(super) fn has_other_controller(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    let (set_reference, pod_reference) = (controller_ref(set), controller_ref(pod));
    let other = |reference: &OwnerReference| {
        for ours in [&set_reference, &pod_reference] {
            if names_object(reference, ours) {
                return reference.uid != ours.uid;
            }
        }
        reference.controller == Some(true)
    };
    policy(set) != (false, false) && references(claim).iter().any(other)
}

/// The owners that the policy wants: the set, the pod.
fn wanted(set: &StatefulSet, pod: &Pod) -> (bool, bool) {
    let gone = !ordinal(pod).is_some_and(|ordinal| in_range(set, ordinal));
    match policy(set) {
        (false, deleted) => (deleted, false),
        (true, deleted) => (deleted && !gone, gone),
    }
}

/// True when the claim's owners are as the policy wants them, or are not ours to change.
pub(super) fn is_up_to_date(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    let (set_reference, pod_reference) = (controller_ref(set), controller_ref(pod));
    if is_stale(claim, &set_reference) || is_stale(claim, &pod_reference) {
        return true;
    }
    let owned = (has(claim, &set_reference), has(claim, &pod_reference));
    if has_other_controller(claim, set, pod) {
        return owned == (false, false);
    }
    let ours = |reference: &&OwnerReference| [&set_reference.uid, &pod_reference.uid].contains(&&reference.uid);
    let controls = references(claim).iter().filter(ours).all(|reference| reference.controller == Some(true));
    controls && owned == wanted(set, pod)
}

/// The claim with the owners that the policy wants.
pub(super) fn updated(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> PersistentVolumeClaim {
    let (set_reference, pod_reference) = (controller_ref(set), controller_ref(pod));
    let other = has_other_controller(claim, set, pod);
    let mut owners: Vec<OwnerReference> = references(claim).to_vec();
    owners.retain(|reference| !names_object(reference, &set_reference) && !names_object(reference, &pod_reference));
    let (set_owns, pod_owns) = wanted(set, pod);
    for (wanted, reference) in [(set_owns, set_reference), (pod_owns, pod_reference)] {
        if wanted && !other && !owners.iter().any(|owner| owner.uid == reference.uid) {
            owners.push(reference);
        }
    }
    let metadata = ObjectMeta { owner_references: Some(owners), ..claim.metadata.clone() };
    PersistentVolumeClaim { metadata, ..claim.clone() }
}

/// True when the claim is left from a pod of the same name that was scaled away: the new pod must wait for its end.
pub(super) fn blocks(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    policy(set).0 && is_stale(claim, &controller_ref(pod))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(scaled: &str, deleted: &str) -> StatefulSet {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "ns", "uid": "s"}, "spec": {"replicas": 2,
            "selector": {"matchLabels": {"a": "b"}}, "template": {}, "persistentVolumeClaimRetentionPolicy": {"whenScaled": scaled, "whenDeleted": deleted},
            "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"own": "1"}}}]}})).expect("set")
    }

    fn owner(kind: &str, name: &str, uid: &str, controller: bool) -> Value {
        let version = if kind == "StatefulSet" { "apps/v1" } else { "v1" };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller})
    }

    fn claim(owners: Vec<Value>) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "data-web-0", "ownerReferences": owners}})).expect("claim")
    }

    #[test]
    fn owners_follow_the_policy() {
        let (of_set, of_pod) = (|| owner("StatefulSet", "web", "s", true), |name| owner("Pod", name, "p", true));
        for (scaled, deleted, pod_name, owners, expected) in [
            ("Retain", "Retain", "web-0", vec![], "up to date"),
            ("Retain", "Retain", "web-0", vec![of_set()], ""),
            ("Retain", "Delete", "web-0", vec![], "web"),
            ("Retain", "Delete", "web-0", vec![of_set()], "up to date"),
            ("Delete", "Retain", "web-0", vec![], "up to date"),
            ("Delete", "Retain", "web-5", vec![], "web-5"),
            ("Delete", "Delete", "web-0", vec![], "web"),
            ("Delete", "Delete", "web-5", vec![of_set()], "web-5"),
            ("Delete", "Delete", "web-5", vec![of_pod("web-5")], "up to date"),
            ("Delete", "Delete", "web-0", vec![owner("StatefulSet", "web", "other", true)], "up to date"),
            ("Delete", "Delete", "web-0", vec![owner("X", "x", "x", true)], "up to date"),
            ("Delete", "Delete", "web-0", vec![owner("X", "x", "x", true), of_set()], "x"),
            ("Delete", "Delete", "web-0", vec![owner("X", "x", "x", false)], "x web"),
            ("Delete", "Delete", "web-0", vec![owner("StatefulSet", "web", "s", false)], "web"),
        ] {
            let (set, claim) = (set(scaled, deleted), claim(owners));
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": pod_name, "uid": "p"}})).expect("pod");
            let said = match is_up_to_date(&claim, &set, &pod) {
                true => "up to date".to_owned(),
                false => {
                    let changed = updated(&claim, &set, &pod);
                    references(&changed).iter().map(|owner| owner.name.clone()).collect::<Vec<_>>().join(" ")
                }
            };
            assert_eq!(said, expected, "{scaled} {deleted} {pod_name} {:?}", claim.metadata.owner_references);
        }
    }

    #[test]
    fn claims_of_an_ordinal() {
        let made = make(&set("Retain", "Retain"), 1);
        let labels = made[0].metadata.labels.clone().unwrap_or_default();
        assert_eq!((made.len(), made[0].metadata.name.as_deref()), (1, Some("data-web-1")));
        assert_eq!((labels["a"].as_str(), labels["own"].as_str()), ("b", "1"));
    }

    #[test]
    fn a_claim_of_a_pod_before_blocks() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web-0"}})).expect("pod");
        let left = claim(vec![owner("Pod", "web-0", "old", true)]);
        assert!(blocks(&left, &set("Delete", "Retain"), &pod));
        assert!(!blocks(&left, &set("Retain", "Retain"), &pod));
        assert!(!blocks(&claim(vec![]), &set("Delete", "Retain"), &pod));
    }
}
