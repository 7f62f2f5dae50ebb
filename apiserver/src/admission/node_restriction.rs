//! NodeRestriction: a kubelet writes its own node and the pods bound to it, nothing else
//! (plugin/pkg/admission/noderestriction/admission.go@v1.37.2).

use std::collections::BTreeSet;

use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, Reader};
use crate::authn::{NODES_GROUP, User};

const NODE_PREFIX: &str = "system:node:";
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Labels below these domains that a kubelet may set on its node, and exact names.
const ALLOWED_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
const ALLOWED_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
];

pub(crate) struct NodeRestriction;

/// The node that a user is, when it is one.
fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix(NODE_PREFIX).filter(|_| user.in_group(NODES_GROUP))
}

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let Some(node) = node_of(attributes.user) else { return Ok(()) };
            if node.is_empty() {
                return Err(
                    attributes.forbidden(&format!("could not determine node from user {:?}", attributes.user.name))
                );
            }
            match (attributes.group, attributes.resource, attributes.subresource) {
                ("", "pods", "") => pod(attributes, node),
                ("", "pods", "status" | "eviction") => pod_part(attributes, node, objects).await,
                ("", "pods", _) => Err(attributes.forbidden(&format!(
                    "unexpected pod subresource {:?}, only 'status' and 'eviction' are allowed",
                    attributes.subresource
                ))),
                ("", "nodes", "" | "status") => own_node(attributes, node),
                ("", "serviceaccounts", "token") => token(attributes, node, objects).await,
                ("coordination.k8s.io", "leases", "") => lease(attributes, node),
                ("storage.k8s.io", "csinodes", "") => csi_node(attributes, node),
                _ => Ok(()),
            }
        })
    }
}

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

fn pod(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    match attributes.operation {
        Operation::Create => mirror_pod(attributes, node),
        Operation::Delete => {
            let bound = attributes.old.map_or("", |pod| spec(pod).str("nodeName"));
            if bound == node {
                Ok(())
            } else {
                Err(attributes
                    .forbidden(&format!("node {node:?} can only delete pods with spec.nodeName set to itself")))
            }
        }
        _ => Err(attributes.forbidden(&format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            "UPDATE"
        ))),
    }
}

fn mirror_pod(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let Some(pod) = attributes.object.as_deref() else { return Ok(()) };
    let refuse = |why: String| Err(attributes.forbidden(&why));
    if pod.annotation(MIRROR_ANNOTATION).is_none() {
        return refuse(format!(
            "pod does not have {MIRROR_ANNOTATION:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if spec(pod).str("nodeName") != node {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners: Vec<&Map> = pod.meta().maps("ownerReferences").collect();
    let owned = matches!(owners.as_slice(), [owner] if owner.str("kind") == "Node" && owner.str("apiVersion") == "v1" && owner.str("name") == node && owner.bool("controller") == Some(true));
    if !owned {
        return refuse(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if !matches!(spec(pod).str("serviceAccountName"), "") {
        return refuse(format!("node {node:?} can not create pods that reference a service account"));
    }
    let refers = |volume: &Map| {
        ["secret", "configMap", "persistentVolumeClaim", "projected"].iter().any(|name| volume.contains(name))
    };
    if spec(pod).maps("volumes").any(refers) || !spec(pod).list("resourceClaims").is_empty() {
        return refuse(format!(
            "node {node:?} can not create pods that reference secrets, configmaps, persistentvolumeclaims or resourceclaims"
        ));
    }
    Ok(())
}

/// Status and eviction of a pod that is bound to this node.
async fn pod_part(attributes: &Attributes<'_>, node: &str, objects: &dyn Reader) -> Result<(), Status> {
    let bound = match attributes.old {
        Some(pod) => spec(pod).str("nodeName").to_string(),
        None => {
            let pod = objects.live("", "pods", attributes.namespace, attributes.name).await?;
            pod.map_or(String::new(), |pod| spec(&pod).str("nodeName").to_string())
        }
    };
    if bound != node {
        let what = if attributes.subresource == "status" { "update pod status for" } else { "evict" };
        return Err(
            attributes.forbidden(&format!("node {node:?} can only {what} pods with spec.nodeName set to itself"))
        );
    }
    let labels = |object: Option<&Map>| {
        object.and_then(|object| object.at(&["metadata", "labels"])).cloned().unwrap_or_default()
    };
    if attributes.subresource == "status" && labels(attributes.object.as_deref()) != labels(attributes.old) {
        return Err(attributes.forbidden(&format!("node {node:?} cannot update labels through pod status")));
    }
    Ok(())
}

fn own_node(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(attributes.forbidden(&why));
    let named = match (attributes.name, attributes.object.as_deref()) {
        ("", Some(object)) => object.name(),
        (name, _) => name,
    };
    if named != node {
        return refuse(format!("node {node:?} is not allowed to modify node {named:?}"));
    }
    let Some(object) = attributes.object.as_deref() else { return Ok(()) };
    let changed = changed_labels(object, attributes.old);
    let bad: Vec<_> = changed.iter().filter(|label| !may_set(label)).map(String::as_str).collect();
    match attributes.operation {
        Operation::Create => {
            if spec(object).map("configSource").is_some() {
                return refuse(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
            }
            if !bad.is_empty() {
                return refuse(format!("node {node:?} is not allowed to set the following labels: {}", bad.join(", ")));
            }
        }
        Operation::Update => {
            let taints = |object: &Map| spec(object).list("taints").to_vec();
            if attributes.old.is_some_and(|old| taints(old) != taints(object)) {
                return refuse(format!("node {node:?} is not allowed to modify taints"));
            }
            if !bad.is_empty() {
                return refuse(format!("is not allowed to modify labels: {}", bad.join(", ")));
            }
            if attributes
                .old
                .is_some_and(|old| old.meta().list("ownerReferences") != object.meta().list("ownerReferences"))
            {
                return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
        }
        _ => {}
    }
    Ok(())
}

fn changed_labels(object: &Map, old: Option<&Map>) -> BTreeSet<String> {
    let labels = |object: &Map| object.meta().map("labels").cloned().unwrap_or_default();
    let (new, was) = (labels(object), old.map(labels).unwrap_or_default());
    let differs = |key: &str| new.get(key).and_then(Value::as_str) != was.get(key).and_then(Value::as_str);
    new.keys().chain(was.keys()).filter(|key| differs(key)).map(|key| key.to_string()).collect()
}

/// Labels of the project's own domains belong to others, but for a list.
fn may_set(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return true };
    let below = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    if ALLOWED_LABELS.contains(&label) || ALLOWED_DOMAINS.iter().any(|allowed| below(allowed)) {
        return true;
    }
    !(below("kubernetes.io") || below("k8s.io"))
}

/// Tokens only for pods that run here.
async fn token(attributes: &Attributes<'_>, node: &str, objects: &dyn Reader) -> Result<(), Status> {
    let refuse = |why: String| Err(attributes.forbidden(&why));
    let Some(request) = attributes.object.as_deref() else { return Ok(()) };
    let bound = spec(request).map("boundObjectRef").unwrap_or(Map::EMPTY);
    if bound.str("kind") != "Pod" || bound.str("apiVersion") != "v1" {
        return refuse(format!("node requested token not bound to a pod"));
    }
    if bound.str("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid".into());
    }
    let name = bound.str("name");
    let pod = match objects.cached("", "pods", attributes.namespace, name) {
        Some(pod) => Some((*pod).clone()),
        None => objects.live("", "pods", attributes.namespace, name).await?,
    };
    let Some(pod) = pod else { return Err(Status::not_found("", "pods", name)) };
    if pod.uid() != bound.str("uid") {
        return refuse(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            bound.str("uid")
        ));
    }
    if spec(&pod).str("nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node".into());
    }
    Ok(())
}

fn lease(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    if attributes.namespace != LEASE_NAMESPACE {
        return Err(
            attributes.forbidden(&format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"))
        );
    }
    let name = if attributes.name.is_empty() {
        attributes.object.as_deref().map_or("", |object| object.name())
    } else {
        attributes.name
    };
    if name == node {
        Ok(())
    } else {
        Err(attributes.forbidden("can only access node lease with the same name as the requesting node"))
    }
}

fn csi_node(attributes: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let name = if attributes.name.is_empty() {
        attributes.object.as_deref().map_or("", |object| object.name())
    } else {
        attributes.name
    };
    if name == node {
        Ok(())
    } else {
        Err(attributes.forbidden("can only access CSINode with the same name as the requesting node"))
    }
}

#[cfg(test)]
mod tests {
    use super::may_set;

    #[test]
    fn labels_of_the_projects_domains_are_not_the_kubelets() {
        for (label, may) in [
            ("team", true),
            ("example.com/x", true),
            ("kubernetes.io/hostname", true),
            ("node.kubernetes.io/x", true),
            ("foo.kubelet.kubernetes.io/x", true),
            ("node-restriction.kubernetes.io/x", false),
            ("kubernetes.io/x", false),
            ("x.k8s.io/y", false),
            ("notk8s.io/y", true),
        ] {
            assert_eq!(may_set(label), may, "{label}");
        }
    }
}
