//! Pods: a kubelet makes mirror pods, reports on its pods, and deletes and evicts them.

use api::field::go_quote;
use api::object::Meta;
use api::status::Status;
use api::value::Map;

use super::{Request, operation, spec};
use crate::admission::Operation;

const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

pub(super) async fn pod(request: &Request<'_>) -> Result<(), Status> {
    let node = go_quote(request.node);
    match request.attributes.operation {
        Operation::Create => mirror_pod(request).await,
        Operation::Delete => {
            let pod = match request.attributes.old {
                Some(pod) => pod.clone(),
                // Of a collection there is no object.
                None => request.pod(request.attributes.name).await?,
            };
            if spec(&pod).str("nodeName") == request.node {
                return Ok(());
            }
            request.refuse(&format!("node {node} can only delete pods with spec.nodeName set to itself"))
        }
        other => request.refuse(&format!(
            "unexpected operation {}, node {node} can only create and delete mirror pods",
            go_quote(operation(other))
        )),
    }
}

async fn mirror_pod(request: &Request<'_>) -> Result<(), Status> {
    let Some(pod) = request.attributes.object.as_deref() else { return Ok(()) };
    let node = go_quote(request.node);
    if pod.annotation(MIRROR_ANNOTATION).is_none() {
        return request.refuse(&format!(
            "pod does not have {} annotation, node {node} can only create mirror pods",
            go_quote(MIRROR_ANNOTATION)
        ));
    }
    if spec(pod).str("nodeName") != request.node {
        return request.refuse(&format!("node {node} can only create pods with spec.nodeName set to itself"));
    }
    if let Err(why) = owner(pod, request.node) {
        return request.refuse(&why);
    }
    let owner_uid = pod.meta().maps("ownerReferences").next().map_or("", |owner| owner.str("uid"));
    let Some(found) = request.find("nodes", "", request.node).await? else {
        return Err(Status::not_found("", "nodes", request.node));
    };
    if found.uid() != owner_uid {
        let why = format!("node {} UID mismatch: expected {owner_uid} got {}", request.node, found.uid());
        return request.refuse(&why);
    }
    match reference(spec(pod)) {
        Some(resource) => request.refuse(&format!("node {node} can not create pods that reference {resource}")),
        None => Ok(()),
    }
}

/// The pod must be owned by its node.
fn owner(pod: &Map, name: &str) -> Result<(), String> {
    let node = go_quote(name);
    let owners: Vec<&Map> = pod.meta().maps("ownerReferences").collect();
    let owner = match owners.as_slice() {
        [] => return Err(format!("node {node} can only create pods with an owner reference set to itself")),
        [owner] => owner,
        _ => return Err(format!("node {node} can only create pods with a single owner reference set to itself")),
    };
    if owner.str("apiVersion") != "v1" || owner.str("kind") != "Node" || owner.str("name") != name {
        return Err(format!("node {node} can only create pods with an owner reference set to itself"));
    }
    if owner.bool("controller") != Some(true) {
        return Err(format!("node {node} can only create pods with a controller owner reference set to itself"));
    }
    if owner.bool("blockOwnerDeletion") == Some(true) {
        return Err(format!("node {node} must not set blockOwnerDeletion on an owner reference"));
    }
    Ok(())
}

/// Sources of projected volumes, and of volumes, that need an object of the API.
const PROJECTED: &[(&str, &str)] = &[
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];
const VOLUMES: &[(&str, &str)] = &[
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
];
/// Volume sources whose secrets have a field of their own.
const SECRET_SOURCES: &[&str] =
    &["azureFile", "cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"];

/// What of the API a pod's spec needs (pkg/api/pod/util.go: HasAPIObjectReference).
fn reference(spec: &Map) -> Option<&'static str> {
    if !spec.str("serviceAccountName").is_empty() {
        return Some("serviceaccounts");
    }
    if reads(spec, "secret", "secretKeyRef", "secretRef")
        || !spec.list("imagePullSecrets").is_empty()
        || secret_volume(spec)
    {
        return Some("secrets");
    }
    if reads(spec, "configMap", "configMapKeyRef", "configMapRef") {
        return Some("configmaps");
    }
    if !spec.list("resourceClaims").is_empty() {
        return Some("resourceclaims");
    }
    spec.maps("volumes").find_map(|volume| {
        let plain = VOLUMES.iter().find(|row| volume.contains(row.0)).map(|row| row.1);
        let sources = volume.map("projected").into_iter().flat_map(|projected| projected.maps("sources"));
        let projected = || sources.into_iter().find_map(|source| PROJECTED.iter().find(|row| source.contains(row.0)));
        plain.or_else(|| projected().map(|row| row.1))
    })
}

/// True when a volume or a container's environment reads objects of a kind.
fn reads(spec: &Map, volume: &str, key_ref: &str, whole_ref: &str) -> bool {
    let of_volume = |v: &Map| {
        v.contains(volume)
            || v.map("projected").is_some_and(|p| p.maps("sources").any(|source| source.contains(volume)))
    };
    let of_container = |container: &Map| {
        container.maps("env").any(|env| env.at(&["valueFrom", key_ref]).is_some())
            || container.maps("envFrom").any(|from| from.contains(whole_ref))
    };
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    spec.maps("volumes").any(of_volume) || lists.iter().any(|list| spec.maps(list).any(of_container))
}

fn secret_volume(spec: &Map) -> bool {
    spec.maps("volumes").any(|volume| {
        let named = |source: &Map| source.map("secretRef").is_some() || !source.str("secretName").is_empty();
        SECRET_SOURCES.iter().any(|name| volume.map(name).is_some_and(named))
            || volume.map("csi").is_some_and(|csi| csi.contains("nodePublishSecretRef"))
    })
}

pub(super) fn status(request: &Request<'_>) -> Result<(), Status> {
    let attributes = request.attributes;
    if attributes.operation != Operation::Update {
        return request.unexpected_operation();
    }
    let (Some(pod), Some(old)) = (attributes.object.as_deref(), attributes.old) else { return Ok(()) };
    let node = go_quote(request.node);
    if spec(old).str("nodeName") != request.node {
        return request
            .refuse(&format!("node {node} can only update pod status for pods with spec.nodeName set to itself"));
    }
    let labels = |pod: &Map| pod.meta().map("labels").cloned().unwrap_or_default();
    if labels(pod) != labels(old) {
        return request.refuse(&format!("node {node} cannot update labels through pod status"));
    }
    let claims = [
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
        ("nodeAllocatableResourceClaimStatuses", "node allocatable resource claim statuses"),
    ];
    for (name, words) in claims {
        let part = |pod: &Map| pod.value_at(&["status", name]).filter(|value| !value.is_zero()).cloned();
        if part(pod) != part(old) {
            return request.refuse(&format!("node {node} cannot update {words}"));
        }
    }
    Ok(())
}

pub(super) async fn eviction(request: &Request<'_>) -> Result<(), Status> {
    if request.attributes.operation != Operation::Create {
        return request.refuse(&format!("unexpected operation {}", operation(request.attributes.operation)));
    }
    if request.name().is_empty() {
        return request.refuse("could not determine pod from request data");
    }
    let pod = request.pod(request.name()).await?;
    if spec(&pod).str("nodeName") == request.node {
        return Ok(());
    }
    request.refuse(&format!("node {} can only evict pods with spec.nodeName set to itself", request.node))
}

#[cfg(test)]
mod tests {
    use super::reference;

    #[test]
    fn mirror_pods_need_nothing_of_the_api() {
        for (spec, expect) in [
            (
                r#"{"volumes":[{"name":"a","hostPath":{}},{"name":"b","projected":{"sources":[{"downwardAPI":{}}]}}]}"#,
                None,
            ),
            (r#"{"serviceAccountName":"x"}"#, Some("serviceaccounts")),
            (r#"{"containers":[{"env":[{"valueFrom":{"secretKeyRef":{}}}]}]}"#, Some("secrets")),
            (r#"{"containers":[{"envFrom":[{"configMapRef":{}}]}]}"#, Some("configmaps")),
            (
                r#"{"volumes":[{"projected":{"sources":[{"serviceAccountToken":{}}]}}]}"#,
                Some("serviceaccounts (via projected volumes)"),
            ),
            (r#"{"volumes":[{"persistentVolumeClaim":{}}]}"#, Some("persistentvolumeclaims")),
        ] {
            let (value, _) = api::json::decode_any(spec.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
            assert_eq!(reference(value.as_map().expect("object")), expect, "{spec}");
        }
    }
}
