//! The node's heartbeat: a Lease in kube-node-lease, renewed every quarter of its duration
//! (k8s.io/component-helpers/apimachinery/lease/controller.go@v0.37.2).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;

use crate::kubelet::Kubelet;

pub(crate) const NAMESPACE: &str = "kube-node-lease";
/// Part of the duration after which a lease is renewed (nodeLeaseRenewIntervalFraction).
const RENEW_FRACTION: f64 = 0.25;
const JITTER: f64 = 0.04;
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// Attempts of one renewal before the next is waited for (maxUpdateRetries).
const ATTEMPTS_MAX: u32 = 5;

pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    let api: Api<Lease> = Api::namespaced(kubelet.client.clone(), NAMESPACE);
    let mut known: Option<Lease> = None;
    let interval = kubelet.config.node_lease_duration.mul_f64(RENEW_FRACTION);
    loop {
        let mut pause = FIRST_RETRY;
        for _ in 0..ATTEMPTS_MAX {
            // An API server that does not answer must not hold up the next attempt.
            match tokio::time::timeout(interval, renew(&kubelet, &api, known.take())).await {
                Ok(Ok(lease)) => {
                    known = Some(lease);
                    break;
                }
                Ok(Err(error)) => tracing::debug!(%error, "node lease not renewed, will retry"),
                Err(_) => tracing::debug!("node lease not renewed in time, will retry"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(interval);
        }
        tokio::time::sleep(interval.mul_f64(1.0 + JITTER * rand::random::<f64>())).await;
    }
}

async fn renew(kubelet: &Kubelet, api: &Api<Lease>, known: Option<Lease>) -> client::Result<Lease> {
    let name = &kubelet.config.node_name;
    let current = match known {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    match current {
        Some(mut lease) => {
            claim(kubelet, &mut lease);
            Ok(api.replace(name, &PostParams::default(), &lease).await?)
        }
        None => {
            let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
            let mut lease = Lease { metadata, spec: None };
            claim(kubelet, &mut lease);
            Ok(api.create(&PostParams::default(), &lease).await?)
        }
    }
}

fn claim(kubelet: &Kubelet, lease: &mut Lease) {
    let spec = lease.spec.take().unwrap_or_default();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(kubelet.config.node_name.clone()),
        lease_duration_seconds: i32::try_from(kubelet.config.node_lease_duration.as_secs()).ok(),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..spec
    });
    let uid = kubelet.node.node().metadata.uid.clone();
    if lease.metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
        && let Some(uid) = uid
    {
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: kubelet.config.node_name.clone(),
            uid,
            ..OwnerReference::default()
        };
        lease.metadata.owner_references = Some(vec![owner]);
    }
}
