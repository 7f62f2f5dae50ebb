//! What a kubelet keeps beside its node and pods: its lease, CSINode, slices, certificates, and claims' sizes.

use api::field::go_quote;
use api::object::Meta;
use api::status::Status;
use api::value::Map;

use super::{NODE_PREFIX, Request, operation, spec};
use crate::admission::{Operation, certificates};
use crate::authz;

const LEASE_NAMESPACE: &str = "kube-node-lease";
const KUBELET_SIGNERS: &[&str] = &["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

pub(super) fn lease(request: &Request<'_>) -> Result<(), Status> {
    if request.attributes.namespace != LEASE_NAMESPACE {
        let namespace = go_quote(LEASE_NAMESPACE);
        return request.refuse(&format!("can only access leases in the {namespace} system namespace"));
    }
    if request.name() == request.node {
        return Ok(());
    }
    request.refuse("can only access node lease with the same name as the requesting node")
}

pub(super) fn csi_node(request: &Request<'_>) -> Result<(), Status> {
    if request.name() != request.node {
        return request.refuse("can only access CSINode with the same name as the requesting node");
    }
    if request.attributes.subresource == "status" {
        return request.refuse("CSIVolumeHealth feature gate is disabled");
    }
    Ok(())
}

pub(super) fn slice(request: &Request<'_>) -> Result<(), Status> {
    let (slice, verb) = match request.attributes.operation {
        Operation::Create => (request.attributes.object.as_deref(), "create"),
        Operation::Delete => (request.attributes.old, "delete"),
        _ => return Ok(()),
    };
    if slice.is_some_and(|slice| spec(slice).str("nodeName") == request.node) {
        return Ok(());
    }
    request.refuse(&format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
}

pub(super) fn csr(request: &Request<'_>) -> Result<(), Status> {
    let csr = request.attributes.object.as_deref().filter(|_| request.attributes.operation == Operation::Create);
    let Some(csr) = csr.filter(|csr| KUBELET_SIGNERS.contains(&spec(csr).str("signerName"))) else { return Ok(()) };
    match certificates::subject(csr) {
        Err(why) => request.refuse(&format!("unable to parse csr: {why}")),
        Ok(subject) if subject.common_name == format!("{NODE_PREFIX}{}", request.node) => Ok(()),
        Ok(_) => request.refuse(&format!("can only create a node CSR with CN={NODE_PREFIX}{}", request.node)),
    }
}

/// Only sizes and conditions of a claim are the kubelet's.
pub(super) fn claim_status(request: &Request<'_>) -> Result<(), Status> {
    if request.attributes.operation != Operation::Update {
        return request.unexpected_operation();
    }
    let (Some(new), Some(old)) = (request.attributes.object.as_deref(), request.attributes.old) else {
        return Ok(());
    };
    let rest = |claim: &Map| {
        let mut claim = claim.clone();
        for name in ["resourceVersion", "managedFields"] {
            claim.meta_mut().remove(name);
        }
        for name in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            claim.map_mut("status").remove(name);
        }
        claim
    };
    if rest(new) == rest(old) {
        return Ok(());
    }
    let node = go_quote(request.node);
    request.refuse(&format!(
        "node {node} is not allowed to update fields other than status.quantity and status.conditions: "
    ))
}

/// Certificates only for pods that run here, as what they run.
pub(super) async fn pod_certificate(request: &Request<'_>) -> Result<(), Status> {
    let attributes = request.attributes;
    if attributes.operation != Operation::Create {
        return request.refuse(&format!("unexpected operation {}", operation(attributes.operation)));
    }
    if !attributes.subresource.is_empty() {
        return request.refuse(&format!("unexpected subresource {}", attributes.subresource));
    }
    let Some(asked) = attributes.object.as_deref().map(spec) else { return Ok(()) };
    let named = asked.str("nodeName");
    if named != request.node {
        let (named, node) = (go_quote(named), go_quote(request.node));
        return request
            .refuse(&format!("PodCertificateRequest.Spec.NodeName={named}, which is not the requesting node {node}"));
    }
    let name = asked.str("podName");
    let pod = request.pod(name).await?;
    let full = go_quote(&format!("{}/{name}", attributes.namespace));
    let node = request.find("nodes", "", named).await?.ok_or_else(|| Status::not_found("", "nodes", named))?;
    let account = asked.str("serviceAccountName");
    let service_account = request.find("serviceaccounts", attributes.namespace, account).await?;
    let service_account = service_account.ok_or_else(|| Status::not_found("", "serviceaccounts", account))?;
    let uids = [("nodeUID", node.uid()), ("podUID", pod.uid()), ("serviceAccountUID", service_account.uid())];
    for (field, uid) in uids {
        if asked.str(field) != uid {
            let (asked, is) = (go_quote(asked.str(field)), go_quote(uid));
            return request.refuse(&format!(
                "PodCertificateRequest for pod {full} names {field} {asked}, which differs from {is}"
            ));
        }
    }
    if spec(&pod).str("nodeName") != named {
        let node = go_quote(named);
        return request.refuse(&format!("pod {full} is not running on node {node} named in the PodCertificateRequest"));
    }
    if pod.annotation(MIRROR_ANNOTATION).is_some() {
        return request.refuse(&format!("pod {full} is a mirror pod"));
    }
    let running = spec(&pod).str("serviceAccountName");
    if account != running {
        let (account, running) = (go_quote(account), go_quote(running));
        return request.refuse(&format!(
            "PodCertificateRequest for pod {full} contains serviceAccountName ({account}) that differs from running pod ({running})"
        ));
    }
    signer(request, asked, &pod, &full)
}

fn signer(request: &Request<'_>, asked: &Map, pod: &Map, full: &str) -> Result<(), Status> {
    let signer = asked.str("signerName");
    let mut sources = spec(pod).maps("volumes").filter_map(|v| v.map("projected")).flat_map(|p| p.maps("sources"));
    let mounts = |source: &Map| source.map("podCertificate").is_some_and(|c| c.str("signerName") == signer);
    let resource = authz::ResourceAttributes {
        group: request.attributes.group,
        version: request.attributes.version,
        resource: &signer.replace('/', ":"),
        subresource: "",
        namespace: request.attributes.namespace,
        name: asked.str("serviceAccountName"),
        field_selector: &[],
        label_selector: &[],
    };
    let verb = "request-serviceaccounts-podcertificate-signer";
    let may = authz::Attributes { user: request.attributes.user, verb, resource: Some(resource), path: "" };
    if sources.any(mounts) || request.authorizers.decide(&may).is_allow() {
        return Ok(());
    }
    let signer = go_quote(signer);
    request.refuse(&format!("pod {full} does not mount a podCertificate projected volume for signer {signer}"))
}
