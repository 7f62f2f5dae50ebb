//! The pods of a StatefulSet: names, ordinals, identity and storage
//! (pkg/controller/statefulset/stateful_set_utils.go@v1.37.2).

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};
use k8s_openapi::jiff::Timestamp;

use super::claims;
use crate::common::history::REVISION_HASH;
use crate::common::owner::controller_ref;
use crate::common::pods::{from_template, is_available, is_ready, phase};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub(super) fn name_of(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

/// The set's name and the ordinal that a pod's name says.
fn parts(name: &str) -> Option<(&str, i32)> {
    let (parent, digits) = name.rsplit_once('-')?;
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((parent, digits.parse().ok().filter(|_| numeric)?))
}

pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    parts(name_of(pod)).map(|(_, ordinal)| ordinal)
}

pub(super) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    parts(name_of(pod)).map(|(parent, _)| parent) == set.metadata.name.as_deref()
}

pub(super) fn first_ordinal(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
}

pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

pub(super) fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    let first = first_ordinal(set);
    (first..first.saturating_add(replicas(set))).contains(&ordinal)
}

/// The revision that made the pod, by name.
pub(super) fn revision(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(REVISION_HASH)).map_or("", String::as_str)
}

pub(super) fn is_running_and_ready(pod: &Pod) -> bool {
    phase(pod) == "Running" && is_ready(pod)
}

pub(super) fn is_unavailable(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    !is_available(pod, min_ready_seconds, now) || pod.metadata.deletion_timestamp.is_some()
}

pub(super) fn name_for(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or(""))
}

/// The pod of an ordinal, from the template of a revision.
pub(super) fn make(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let name = name_for(set, ordinal);
    let mut pod = from_template(template, set.metadata.name.as_deref().unwrap_or(""), controller_ref(set));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    set_identity(set, &mut pod, ordinal);
    pod.metadata.labels.get_or_insert_default().insert(REVISION_HASH.into(), revision.into());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.service_name.clone();
    set_storage(set, &mut pod, ordinal);
    pod
}

fn set_identity(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let name = name_for(set, ordinal);
    pod.metadata.namespace.clone_from(&set.metadata.namespace);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.into(), name);
    labels.insert(POD_INDEX.into(), ordinal.to_string());
}

/// The volumes of the claims first, then those of the template that no claim replaces.
fn set_storage(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let spec = pod.spec.get_or_insert_default();
    let mut volumes: Vec<Volume> = claims::names(set, ordinal)
        .map(|(volume, claim)| Volume {
            name: volume,
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claim, read_only: None }),
            ..Volume::default()
        })
        .collect();
    for volume in spec.volumes.take().into_iter().flatten() {
        if !volumes.iter().any(|of_claim| of_claim.name == volume.name) {
            volumes.push(volume);
        }
    }
    spec.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
}

/// True when name, labels and volumes are what the set gives this ordinal.
pub(super) fn conforms(set: &StatefulSet, pod: &Pod, ordinal: i32) -> bool {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(POD_NAME));
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let mounted = |name: &str, claim: &str| {
        let volume = volumes.iter().find(|volume| volume.name == name);
        let source = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
        source.is_some_and(|source| source.claim_name == claim)
    };
    pod.metadata.name == Some(name_for(set, ordinal))
        && label == pod.metadata.name.as_ref()
        && claims::names(set, ordinal).all(|(volume, claim)| mounted(&volume, &claim))
}

/// The pod as it should be.
pub(super) fn conformed(set: &StatefulSet, pod: &Pod, ordinal: i32) -> Pod {
    let mut changed = pod.clone();
    set_identity(set, &mut changed, ordinal);
    set_storage(set, &mut changed, ordinal);
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_have_ordinals() {
        for (name, expected) in [
            ("web-0", Some(("web", 0))),
            ("web-1-12", Some(("web-1", 12))),
            ("web-x", None),
            ("web-", None),
            ("web", None),
            ("web-99999999999", None),
        ] {
            assert_eq!(parts(name), expected, "{name}");
        }
    }

    #[test]
    fn a_pod_and_its_storage() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "ns", "uid": "u"},
            "spec": {"selector": {}, "serviceName": "svc", "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [],
                "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}}}))
        .expect("set");
        let template = set.spec.template.clone();
        let mut pod = make(&set, &template, "web-abc", 3);
        assert!(conforms(&set, &pod, 3));
        let spec = pod.spec.clone().expect("spec");
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-3"), Some("svc")));
        let volumes: Vec<String> = spec.volumes.into_iter().flatten().map(|volume| volume.name).collect();
        assert_eq!(volumes, ["data", "tmp"]);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        assert_eq!(
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
            [
                "a=b",
                "apps.kubernetes.io/pod-index=3",
                "controller-revision-hash=web-abc",
                "statefulset.kubernetes.io/pod-name=web-3"
            ]
        );
        pod.metadata.labels = None;
        assert!(!conforms(&set, &pod, 3));
        assert!(conforms(&set, &conformed(&set, &pod, 3), 3));
    }
}
