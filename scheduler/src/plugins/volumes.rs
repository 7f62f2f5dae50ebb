//! What the volume plugins share: finding the claims of a pod and what they are bound to.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};

use crate::handle::Listers;
use crate::pod_info::namespace;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const BIND_COMPLETED_ANNOTATION: &str = "pv.kubernetes.io/bind-completed";
pub(super) const WAIT_FOR_FIRST_CONSUMER: &str = "WaitForFirstConsumer";

/// The volumes of a pod.
pub(super) fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

/// The name of the claim behind a volume, and whether it was made for this pod alone.
pub(super) fn claim_name(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some((claim.claim_name.clone(), false));
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    volume.ephemeral.as_ref().map(|_| (format!("{name}-{}", volume.name), true))
}

/// The claim, or upstream's sentence that there is none.
pub(super) fn claim(listers: &Listers, pod: &Pod, name: &str) -> Result<Arc<PersistentVolumeClaim>, String> {
    listers.claims.get(namespace(pod), name).ok_or_else(|| not_found("persistentvolumeclaim", name))
}

/// What a lister says of an object that is not there.
pub(super) fn not_found(kind: &str, name: &str) -> String {
    format!("{kind} {name:?} not found")
}

/// The volume a claim is bound to, or to be bound to; empty when none.
pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

/// The storage class a claim asks for; empty when none.
pub(super) fn class_name(claim: &PersistentVolumeClaim) -> &str {
    let annotated = claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CLASS_ANNOTATION));
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotated.or(named).map_or("", String::as_str)
}

/// True when both sides of the binding are done.
pub(super) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let annotations = claim.metadata.annotations.as_ref();
    !volume_name(claim).is_empty() && annotations.is_some_and(|all| all.contains_key(BIND_COMPLETED_ANNOTATION))
}

/// An error unless the claim of a generic ephemeral volume belongs to the pod.
pub(super) fn check_owner(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
    if controller.is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref()) {
        return Ok(());
    }
    let claim_name = claim.metadata.name.as_deref().unwrap_or_default();
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    Err(format!(
        "PVC {namespace}/{claim_name} was not created for pod {namespace}/{pod_name} (pod is not owner)",
        namespace = namespace(pod)
    ))
}
