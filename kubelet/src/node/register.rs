//! Registration of the Node object and what is reconciled when it exists already
//! (pkg/kubelet/kubelet_node_status.go@v1.37.2, registerWithAPIServer).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::status;
use crate::config::Config;
use crate::kubelet::Kubelet;
use crate::pod::shape;

const ATTACH_ANNOTATION: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(7);
/// Labels that a registration corrects on a Node that exists.
const DEFAULT_LABELS: [&str; 5] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

pub(crate) fn labels(config: &Config) -> BTreeMap<String, String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let values = [config.hostname(), "linux", arch, "linux", arch];
    let defaults = DEFAULT_LABELS.iter().zip(values).map(|(key, value)| ((*key).to_owned(), value.to_owned()));
    defaults.chain(config.node_labels.clone()).collect()
}

/// The Node object as first created, without status.
pub(crate) fn initial(config: &Config) -> Node {
    let attach = [(ATTACH_ANNOTATION.to_owned(), "true".to_owned())].into();
    let metadata = ObjectMeta {
        name: Some(config.node_name.clone()),
        labels: Some(labels(config)),
        annotations: config.enable_controller_attach_detach.then_some(attach),
        ..ObjectMeta::default()
    };
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let spec = NodeSpec {
        taints: Some(config.register_with_taints.clone()).filter(|taints| !taints.is_empty()),
        provider_id: some(&config.provider_id),
        ..NodeSpec::default()
    };
    Node { metadata, spec: Some(spec), status: None }
}

/// Returns once the Node object is there and right.
pub(crate) async fn run(kubelet: &Arc<Kubelet>) {
    let mut pause = FIRST_RETRY;
    loop {
        match once(kubelet).await {
            Ok(node) => {
                tracing::info!(node = kubelet.config.node_name, "Successfully registered node");
                kubelet.node.learn_node(Arc::new(node));
                // Static pods waited for the node to show up as their owner.
                kubelet.workers.active().iter().for_each(|pod| kubelet.workers.kick(shape::uid(pod)));
                return;
            }
            Err(error) => tracing::warn!(%error, "Unable to register node with API server"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

async fn once(kubelet: &Kubelet) -> client::Result<Node> {
    let api: Api<Node> = Api::all(kubelet.client.clone());
    let mut node = initial(&kubelet.config);
    node.status = Some(status::compute(&Default::default(), &status::inputs(kubelet).await));
    match api.create(&PostParams::default(), &node).await {
        Ok(node) => return Ok(node),
        Err(kube::Error::Api(answer)) if answer.code == 409 || answer.code == 403 => {}
        Err(error) => return Err(error.into()),
    }
    let existing = api.get(&kubelet.config.node_name).await?;
    let Some(patch) = correction(&node, &existing) else { return Ok(existing) };
    Ok(api.patch_status(&kubelet.config.node_name, &PatchParams::default(), &Patch::Strategic(patch)).await?)
}

/// What must change on an existing Node: default labels, the attach annotation, missing resources.
fn correction(initial: &Node, existing: &Node) -> Option<serde_json::Value> {
    let of = |node: &Node, key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let wrong = DEFAULT_LABELS.iter().filter(|key| of(initial, key) != of(existing, key));
    let labels: BTreeMap<&str, Option<String>> = wrong.map(|key| (*key, of(initial, key))).collect();
    let annotation = |node: &Node| node.metadata.annotations.as_ref().and_then(|a| a.get(ATTACH_ANNOTATION)).cloned();
    let mut metadata = serde_json::Map::new();
    if !labels.is_empty() {
        metadata.insert("labels".into(), json!(labels));
    }
    if annotation(initial) != annotation(existing) {
        metadata.insert("annotations".into(), json!({ ATTACH_ANNOTATION: annotation(initial) }));
    }
    (!metadata.is_empty()).then(|| json!({ "metadata": metadata }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_node_is_corrected() {
        let mut config = Config::new("n");
        config.node_labels.insert("zone".into(), "a".into());
        let node = initial(&config);
        assert_eq!(node.metadata.labels.as_ref().and_then(|l| l.get("zone")).map(String::as_str), Some("a"));
        assert_eq!(correction(&node, &node), None);
        let mut other = node.clone();
        other.metadata.labels.as_mut().expect("labels").insert("kubernetes.io/os".into(), "plan9".into());
        other.metadata.annotations = None;
        let expect =
            json!({"metadata": {"labels": {"kubernetes.io/os": "linux"}, "annotations": {ATTACH_ANNOTATION: "true"}}});
        assert_eq!(correction(&node, &other), Some(expect));
    }
}
