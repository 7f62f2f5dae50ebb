//! What controllers ask of a pod (pkg/api/v1/pod/util.go and pkg/controller/controller_utils.go@v1.37.2).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::owner::controller_of;

/// Index of pods by [`owner_index_key`].
pub(crate) const BY_OWNER: &str = "podController";
/// Index of pods by spec.nodeName.
pub(crate) const BY_NODE: &str = "spec.nodeName";
/// Longest name of a pod (a DNS subdomain), in bytes.
const NAME_MAX: usize = 253;

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

pub(crate) fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("")
}

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// When the pod became ready, if it is.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Ready for at least `min_ready_seconds`.
pub(crate) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds == 0
            || ready_since(pod).is_some_and(|since| since + seconds(min_ready_seconds.into()) <= now))
}

/// How long until the first of the ready pods that are not yet available becomes so.
pub(crate) fn next_availability(pods: &[impl AsRef<Pod>], min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let due =
        pods.iter().filter_map(|pod| ready_since(pod.as_ref())).map(|since| since + seconds(min_ready_seconds.into()));
    let next = due.filter(|due| *due > now).min()?;
    Some(Duration::try_from(next.duration_since(now)).unwrap_or_default())
}

pub(crate) fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Being deleted, but its containers may still run.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_some()
}

/// The key of [`BY_OWNER`]: pods without a controller are filed under their namespace.
pub(crate) fn owner_index_key(namespace: &str, owner: Option<&OwnerReference>) -> String {
    match owner {
        Some(owner) => format!("{namespace}/{}/{}/{}", owner.kind, owner.name, owner.uid),
        None => namespace.into(),
    }
}

/// Adds the index [`BY_OWNER`] to a cache of pods.
pub(crate) fn index_by_owner(cache: &client::informer::Cache<Pod>) {
    cache.add_index(BY_OWNER, |pod: &Pod| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        vec![owner_index_key(namespace, controller_of(&pod.metadata))]
    });
}

/// Adds the index [`BY_NODE`] to a cache of pods.
pub(crate) fn index_by_node(cache: &client::informer::Cache<Pod>) {
    cache.add_index(BY_NODE, |pod: &Pod| {
        Some(node_name(pod)).filter(|name| !name.is_empty()).map(Into::into).into_iter().collect()
    });
}

/// The pod that a controller named `owner_name` makes from its template.
pub(crate) fn from_template(template: &PodTemplateSpec, owner_name: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.as_ref();
    let prefix = format!("{owner_name}-");
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(if prefix.len() > NAME_MAX { owner_name.into() } else { prefix }),
            labels: meta.and_then(|meta| meta.labels.clone()),
            annotations: meta.and_then(|meta| meta.annotations.clone()),
            finalizers: meta.and_then(|meta| meta.finalizers.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}
