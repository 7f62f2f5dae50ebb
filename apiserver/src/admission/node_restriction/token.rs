//! Tokens: only for pods that run here, and for audiences that they ask for.

use api::field::go_quote;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};

use super::{Request, spec};
use crate::admission::Operation;
use crate::authz;

pub(super) async fn request(request: &Request<'_>) -> Result<(), Status> {
    let asked = request.attributes.object.as_deref().filter(|_| request.attributes.operation == Operation::Create);
    let Some(asked) = asked.map(spec) else { return Ok(()) };
    let bound = asked.map("boundObjectRef").unwrap_or(Map::EMPTY);
    if bound.str("kind") != "Pod" || bound.str("apiVersion") != "v1" || bound.str("name").is_empty() {
        return request.refuse("node requested token not bound to a pod");
    }
    if bound.str("uid").is_empty() {
        return request.refuse("node requested token with a pod binding without a uid");
    }
    let pod = request.pod(bound.str("name")).await?;
    if pod.uid() != bound.str("uid") {
        return request.refuse(&format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            bound.str("uid")
        ));
    }
    if spec(&pod).str("nodeName") != request.node {
        return request.refuse("node requested token bound to a pod scheduled on a different node");
    }
    audience(request, asked, &pod)
}

fn audience(request: &Request<'_>, asked: &Map, pod: &Map) -> Result<(), Status> {
    let audience = match asked.list("audiences") {
        [] => "",
        [one] => one.as_str().unwrap_or(""),
        _ => return request.refuse("node may only request 0 or 1 audiences"),
    };
    if projects(pod, audience) || drivers(request, pod).iter().any(|driver| wants(request, driver, audience)) {
        return Ok(());
    }
    let attributes = request.attributes;
    let resource = authz::ResourceAttributes {
        group: attributes.group,
        version: attributes.version,
        resource: audience,
        subresource: "",
        namespace: attributes.namespace,
        name: attributes.name,
        field_selector: &[],
        label_selector: &[],
    };
    let verb = "request-serviceaccounts-token-audience";
    let may = authz::Attributes { user: attributes.user, verb, resource: Some(resource), path: "" };
    if request.authorizers.decide(&may).is_allow() {
        return Ok(());
    }
    let (user, audience) = (&attributes.user.name, go_quote(audience));
    request.refuse(&format!("{user} is not authorized to request tokens for audience {audience}"))
}

fn projects(pod: &Map, audience: &str) -> bool {
    let mut sources = spec(pod).maps("volumes").filter_map(|v| v.map("projected")).flat_map(|p| p.maps("sources"));
    sources.any(|source| source.map("serviceAccountToken").is_some_and(|token| token.str("audience") == audience))
}

/// The CSI drivers of a pod's volumes.
fn drivers(request: &Request<'_>, pod: &Map) -> Vec<String> {
    let of_claim = |name: &str| {
        let claim = request.objects.cached("", "persistentvolumeclaims", request.attributes.namespace, name)?;
        let volume = request.objects.cached("", "persistentvolumes", "", spec(&claim).str("volumeName"))?;
        volume.value_at(&["spec", "csi", "driver"]).and_then(Value::as_str).map(str::to_string)
    };
    let of_volume = |volume: &Map| {
        if let Some(claim) = volume.map("persistentVolumeClaim") {
            of_claim(claim.str("claimName"))
        } else if volume.contains("ephemeral") {
            of_claim(&format!("{}-{}", pod.name(), volume.str("name")))
        } else {
            volume.map("csi").map(|csi| csi.str("driver").to_string())
        }
    };
    spec(pod).maps("volumes").filter_map(of_volume).collect()
}

fn wants(request: &Request<'_>, driver: &str, audience: &str) -> bool {
    let driver = request.objects.cached("storage.k8s.io", "csidrivers", "", driver);
    driver.is_some_and(|driver| spec(&driver).maps("tokenRequests").any(|token| token.str("audience") == audience))
}
