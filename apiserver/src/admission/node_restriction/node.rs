//! The node itself: a kubelet may not move, taint or disguise it.

use std::collections::BTreeSet;

use api::field::go_quote;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};

use super::{Request, spec};
use crate::admission::Operation;

/// Labels below these domains that a kubelet may set on its node, and exact names.
const ALLOWED_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";
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

pub(super) fn own_node(request: &Request<'_>) -> Result<(), Status> {
    let (node, named) = (go_quote(request.node), request.name());
    if named != request.node {
        return request.refuse(&format!("node {node} is not allowed to modify node {}", go_quote(named)));
    }
    let Some(object) = request.attributes.object.as_deref() else { return Ok(()) };
    let changed = changed_labels(object, request.attributes.old);
    let bad: Vec<_> = changed.iter().filter(|label| !may_set(label)).map(String::as_str).collect();
    let source = |object: &Map| spec(object).get("configSource").cloned();
    match (request.attributes.operation, request.attributes.old) {
        (Operation::Create, _) => {
            if source(object).is_some() {
                return request
                    .refuse(&format!("node {node} is not allowed to create pods with a non-nil configSource"));
            }
            if !bad.is_empty() {
                let bad = bad.join(", ");
                return request.refuse(&format!("node {node} is not allowed to set the following labels: {bad}"));
            }
        }
        (Operation::Update, Some(old)) => {
            if source(object).is_some() && source(object) != source(old) {
                return request.refuse(&format!(
                    "node {node} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if spec(object).list("taints") != spec(old).list("taints") {
                return request.refuse(&format!("node {node} is not allowed to modify taints"));
            }
            if object.meta().list("ownerReferences") != old.meta().list("ownerReferences") {
                return request.refuse(&format!("node {node} is not allowed to modify ownerReferences"));
            }
            if !bad.is_empty() {
                return request.refuse(&format!("is not allowed to modify labels: {}", bad.join(", ")));
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
    if below(RESTRICTED_DOMAIN) {
        return false;
    }
    if ALLOWED_LABELS.contains(&label) || ALLOWED_DOMAINS.iter().any(|allowed| below(allowed)) {
        return true;
    }
    !(below("kubernetes.io") || below("k8s.io"))
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
