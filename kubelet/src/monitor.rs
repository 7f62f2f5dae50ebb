//! Watches over the runtime: is it up, has it a network, who is it
//! (pkg/kubelet/kubelet.go@v1.37.2, updateRuntimeUp).

use std::sync::Arc;
use std::time::Duration;

use cri::v1::{
    NetworkConfig, RuntimeCondition, RuntimeConfig, StatusRequest, UpdateRuntimeConfigRequest, VersionRequest,
};
use k8s_openapi::api::core::v1::Node;

use crate::kubelet::Kubelet;

/// Pause between looks at a runtime that is well, and at one that is not.
const PERIOD: Duration = Duration::from_secs(5);
const EAGER: Duration = Duration::from_millis(100);
/// After this many eager looks a runtime that is ill is looked at as seldom as a well one.
const EAGER_LOOKS: u32 = 300;

/// Looks once; true when pods can run.
pub(crate) async fn look(kubelet: &Kubelet) -> bool {
    let version = kubelet.runtime.version(VersionRequest::default()).await;
    let status = match version {
        Ok(version) => {
            kubelet.node.learn_runtime(version.runtime_name, version.runtime_version);
            kubelet.runtime.status(StatusRequest::default()).await
        }
        Err(error) => Err(error),
    };
    let conditions = match status {
        Ok(status) => status.status.unwrap_or_default().conditions,
        Err(error) => {
            tracing::debug!(%error, "Container runtime sanity check failed");
            kubelet.node.update_health(|health| health.runtime = Some("container runtime is down".into()));
            return false;
        }
    };
    let network = complaint(&conditions, "NetworkReady", "container runtime network not ready");
    let runtime = complaint(&conditions, "RuntimeReady", "container runtime not ready");
    let well = network.is_none() && runtime.is_none();
    kubelet.node.update_health(|health| (health.network, health.runtime) = (network, runtime));
    well
}

fn complaint(conditions: &[RuntimeCondition], kind: &str, text: &str) -> Option<String> {
    match conditions.iter().find(|condition| condition.r#type == kind) {
        Some(condition) if condition.status => None,
        Some(condition) => {
            let (reason, message) = (&condition.reason, &condition.message);
            Some(format!("{text}: {kind}=false reason:{reason} message:{message}"))
        }
        None => Some(format!("{text}: {kind} condition is not set")),
    }
}

pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    let mut eager = 0;
    loop {
        let well = look(&kubelet).await;
        eager = if well { 0 } else { eager + 1 };
        tokio::time::sleep(if well || eager > EAGER_LOOKS { PERIOD } else { EAGER }).await;
    }
}

/// Follows the Node object: others change its labels, taints and CIDR.
pub(crate) async fn follow_node(kubelet: Arc<Kubelet>) {
    let cache = kubelet.informers.with_fields::<Node>(&format!("metadata.name={}", kubelet.config.node_name));
    let (sender, mut changes) = tokio::sync::watch::channel(None);
    cache.on_change(move |_, node| drop(sender.send_replace(node.cloned())));
    let mut told = String::new();
    loop {
        let node = changes.borrow_and_update().clone();
        if let Some(node) = node {
            let cidrs = cidrs(&node);
            if !cidrs.is_empty() && cidrs != told && update_cidr(&kubelet, &cidrs).await {
                told = cidrs;
            }
            kubelet.node.learn_node(node);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn cidrs(node: &Node) -> String {
    let spec = node.spec.clone().unwrap_or_default();
    let many = spec.pod_cidrs.unwrap_or_default();
    if many.is_empty() { spec.pod_cidr.unwrap_or_default() } else { many.join(",") }
}

async fn update_cidr(kubelet: &Kubelet, cidr: &str) -> bool {
    let network_config = Some(NetworkConfig { pod_cidr: cidr.into() });
    let request = UpdateRuntimeConfigRequest { runtime_config: Some(RuntimeConfig { network_config }) };
    match kubelet.runtime.update_runtime_config(request).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "failed to update pod CIDR");
            false
        }
    }
}
