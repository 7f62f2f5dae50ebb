//! /pods: what this node is to run; /runningpods: what the runtime runs.

use std::collections::BTreeMap;

use cri::v1::{ContainerState, ListContainersRequest, ListPodSandboxRequest};
use http::Response;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::respond::{self, Body};
use crate::access::Access;
use crate::pod::observe::{CONTAINER_NAME_LABEL, POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL};

pub(super) fn list(pods: &[Pod]) -> Value {
    // Items of a list have no kind of their own.
    let bare = |pod: &Pod| {
        let mut pod = json!(pod);
        if let Value::Object(fields) = &mut pod {
            fields.retain(|name, _| name != "kind" && name != "apiVersion");
        }
        pod
    };
    let items: Vec<Value> = pods.iter().map(bare).collect();
    json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })
}

pub(super) async fn running(access: &Access) -> Response<Body> {
    match gather(access).await {
        Ok(items) => respond::json(&json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items })),
        Err(error) => respond::text(500, error.to_string()),
    }
}

async fn gather(access: &Access) -> cri::Result<Vec<Value>> {
    let runtime = access.runtime();
    let sandboxes = runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
    let containers = runtime.list_containers(ListContainersRequest::default()).await?.containers;
    let mut pods: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    let label =
        |labels: &std::collections::HashMap<String, String>, name: &str| labels.get(name).cloned().unwrap_or_default();
    for sandbox in &sandboxes {
        let labels = &sandbox.labels;
        let uid = label(labels, POD_UID_LABEL);
        let meta = json!({
            "name": label(labels, POD_NAME_LABEL),
            "namespace": label(labels, POD_NAMESPACE_LABEL),
            "uid": uid,
        });
        pods.entry(uid).or_insert_with(|| (meta, vec![]));
    }
    let running = containers.iter().filter(|one| one.state == ContainerState::ContainerRunning as i32);
    for container in running {
        let Some((_, list)) = pods.get_mut(&label(&container.labels, POD_UID_LABEL)) else { continue };
        let image = container.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
        list.push(json!({ "name": label(&container.labels, CONTAINER_NAME_LABEL), "image": image, "resources": {} }));
    }
    let running = pods.into_values().filter(|(_, containers)| !containers.is_empty());
    Ok(running
        .map(|(meta, containers)| json!({ "metadata": meta, "spec": { "containers": containers }, "status": {} }))
        .collect())
}
