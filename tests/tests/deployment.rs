//! The life of a Deployment, from the first apply to the last pod gone, with every component in it.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tests::harness::{Cluster, Nodes, until};

const NAME: &str = "web";
const SELECTOR: &str = "app=web";

fn web(replicas: i32) -> Result<Deployment> {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}], "terminationGracePeriodSeconds": 1},
            },
        },
    });
    Ok(serde_json::from_value(deployment)?)
}

/// True when the controller has seen the last change and exactly `replicas` pods are ready.
fn settled(replicas: i32) -> impl Fn(Option<&Deployment>) -> bool {
    move |deployment: Option<&Deployment>| {
        let Some(deployment) = deployment else { return false };
        let Some(status) = &deployment.status else { return false };
        status.observed_generation == deployment.metadata.generation
            && status.replicas.unwrap_or_default() == replicas
            && status.ready_replicas.unwrap_or_default() == replicas
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_becomes_ready_scales_and_goes() -> Result<()> {
    let cluster = Cluster::start(Nodes::Fake(2)).await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let of_web = ListParams::default().labels(SELECTOR);

    deployments.create(&PostParams::default(), &web(3)?).await?;
    until(&deployments, NAME, settled(3)).await.context("deploy")?;
    let running = pods.list(&of_web).await?;
    assert_eq!(running.items.len(), 3);
    for pod in &running.items {
        let spec = pod.spec.as_ref().context("a pod has a spec")?;
        let status = pod.status.as_ref().context("a running pod has a status")?;
        assert!(spec.node_name.is_some(), "{} is on no node", pod.name_any());
        assert_eq!(status.phase.as_deref(), Some("Running"), "{}", pod.name_any());
        assert!(status.pod_ip.is_some(), "{} has no address", pod.name_any());
    }

    for replicas in [5, 1] {
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        deployments.patch_scale(NAME, &PatchParams::default(), &scale).await?;
        until(&deployments, NAME, settled(replicas)).await.with_context(|| format!("scale to {replicas}"))?;
    }

    // In the foreground the Deployment goes last: when it is gone, all it owned is.
    deployments.delete(NAME, &DeleteParams::foreground()).await?;
    until(&deployments, NAME, |deployment: Option<&Deployment>| deployment.is_none()).await.context("delete")?;
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client(), "default");
    assert_eq!(sets.list(&of_web).await?.items.len(), 0);
    assert_eq!(pods.list(&of_web).await?.items.len(), 0);
    Ok(())
}
