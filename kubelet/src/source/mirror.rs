//! Mirror pods: how the API shows a static pod (pkg/kubelet/pod/mirror_client.go@v1.37.2).
//!
//! Invariant: the file is the truth; a mirror that differs is deleted and made again.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::kubelet::Kubelet;
use crate::pod::shape;

fn key(pod: &Pod) -> String {
    format!("{}/{}", shape::namespace(pod), shape::name(pod))
}

/// The static pod that a mirror shows.
fn shown(kubelet: &Kubelet, mirror: &Pod) -> Option<Arc<Pod>> {
    kubelet.workers.all().into_iter().find(|pod| shape::is_static(pod) && key(pod) == key(mirror))
}

pub(crate) fn seen(kubelet: &Arc<Kubelet>, mirror: Arc<Pod>) {
    kubelet.mirrors.write().insert(key(&mirror), mirror.clone());
    match shown(kubelet, &mirror) {
        Some(pod) => kubelet.reporter.touch(shape::uid(&pod)),
        None => {
            let kubelet = kubelet.clone();
            kubelet.tasks.clone().run("mirror pod", async move { delete(&kubelet, &mirror).await });
        }
    }
}

pub(crate) fn gone(kubelet: &Arc<Kubelet>, mirror: &Pod) {
    kubelet.mirrors.write().remove(&key(mirror));
    if let Some(pod) = shown(kubelet, mirror) {
        kubelet.workers.kick(shape::uid(&pod));
    }
}

/// Makes the mirror if it is missing; a stale one is deleted first.
pub(crate) async fn ensure(kubelet: &Kubelet, pod: &Pod) {
    let hash = shape::annotation(pod, shape::HASH_ANNOTATION).unwrap_or("");
    let present = kubelet.mirrors.read().get(&key(pod)).cloned();
    match present {
        Some(mirror)
            if !shape::is_deleted(&mirror) && shape::annotation(&mirror, shape::MIRROR_ANNOTATION) == Some(hash) =>
        {
            return;
        }
        Some(mirror) => delete(kubelet, &mirror).await,
        None => {}
    }
    let node = kubelet.node.node();
    if node.metadata.uid.is_none() {
        // Not registered yet: the owner of the mirror is not known.
        return;
    }
    let mut mirror = pod.clone();
    mirror.metadata.uid = None;
    mirror.metadata.owner_references = Some(vec![owner(&node)]);
    mirror.metadata.annotations.get_or_insert_default().insert(shape::MIRROR_ANNOTATION.into(), hash.into());
    let api: Api<Pod> = Api::namespaced(kubelet.client.clone(), shape::namespace(pod));
    match api.create(&PostParams::default(), &mirror).await {
        Ok(made) => drop(kubelet.mirrors.write().insert(key(pod), Arc::new(made))),
        Err(kube::Error::Api(answer)) if answer.code == 409 => {}
        Err(error) => tracing::warn!(pod = shape::display(pod), %error, "Failed creating a mirror pod"),
    }
}

fn owner(node: &Node) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    }
}

pub(crate) async fn delete(kubelet: &Kubelet, pod: &Pod) {
    let api: Api<Pod> = Api::namespaced(kubelet.client.clone(), shape::namespace(pod));
    let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    match api.delete(shape::name(pod), &params).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        Err(error) => tracing::warn!(pod = shape::display(pod), %error, "Failed deleting a mirror pod"),
        Ok(_) => {}
    }
}
