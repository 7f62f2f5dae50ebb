//! Objects from JSON for the tests of this crate.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde::de::DeserializeOwned;

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub(crate) fn object<K: DeserializeOwned>(text: &str) -> K {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A pod; a spec without containers may leave them out.
pub(crate) fn pod(text: &str) -> Pod {
    let mut value: serde_json::Value = object(text);
    let spec = value.as_object_mut().unwrap().entry("spec").or_insert_with(|| serde_json::json!({}));
    spec.as_object_mut().unwrap().entry("containers").or_insert_with(|| serde_json::json!([]));
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(crate) fn pod_info(text: &str) -> Arc<PodInfo> {
    Arc::new(PodInfo::new(Arc::new(pod(text))))
}

pub(crate) fn node(text: &str) -> Node {
    object(text)
}

/// A node with pods on it.
pub(crate) fn node_info(text: &str, pods: &[&str]) -> Arc<NodeInfo> {
    let mut info = NodeInfo::of(&Arc::new(node(text)));
    for (at, text) in pods.iter().enumerate() {
        let mut pod = pod(text);
        pod.metadata.uid.get_or_insert(format!("{}/{at}", info.name));
        info.add_pod(Arc::new(PodInfo::new(Arc::new(pod))));
    }
    Arc::new(info)
}

pub(crate) fn snapshot(nodes: &[(&str, &[&str])]) -> Snapshot {
    Snapshot::of(nodes.iter().map(|(node, pods)| node_info(node, pods)).collect())
}
