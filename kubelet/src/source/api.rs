//! Pods that the API server binds to this node (pkg/kubelet/config/apiserver.go@v1.37.2).
//!
//! Invariant: pods come to the workers in the order of their creation, so that after a restart the
//! older ones are admitted first.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use super::mirror;
use crate::kubelet::Kubelet;
use crate::pod::shape;

type Change = (Option<Arc<Pod>>, Option<Arc<Pod>>);

/// Hands every change to the workers, for as long as the kubelet runs; `ready` is told after the
/// first list.
pub(crate) async fn run(kubelet: Arc<Kubelet>, ready: tokio::sync::oneshot::Sender<()>) {
    let cache = kubelet.informers.with_fields::<Pod>(&format!("spec.nodeName={}", kubelet.config.node_name));
    cache.synced().await;
    let (sender, mut changes) = mpsc::unbounded_channel::<Change>();
    let mut first = cache.list();
    first.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
    // What was there comes again with this registration; a worker takes the same pod twice in stride.
    cache.on_change(move |old, new| {
        let _ = sender.send((old.cloned(), new.cloned()));
    });
    first.into_iter().for_each(|pod| change(&kubelet, None, Some(pod)));
    let _ = ready.send(());
    while let Some((old, new)) = changes.recv().await {
        change(&kubelet, old, new);
    }
}

fn change(kubelet: &Arc<Kubelet>, old: Option<Arc<Pod>>, new: Option<Arc<Pod>>) {
    let replaced = |old: &Arc<Pod>| new.as_ref().is_none_or(|new| shape::uid(new) != shape::uid(old));
    if let Some(gone) = old.filter(replaced) {
        match shape::is_mirror(&gone) {
            true => mirror::gone(kubelet, &gone),
            false => kubelet.workers.remove(kubelet, &gone),
        }
    }
    match new {
        Some(pod) if shape::is_mirror(&pod) => mirror::seen(kubelet, pod),
        Some(pod) => kubelet.workers.apply(kubelet, pod),
        None => {}
    }
}
