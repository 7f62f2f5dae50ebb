//! Candidates for one lease, as components elect their leader: whoever writes over the revision that it read holds it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::PostParams;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::history::Won;
use super::{Answer, Shared, revision};

const NAME: &str = "leader";
/// Between two tries, in milliseconds: short, so that candidates meet.
const PAUSE: std::ops::Range<u64> = 10..60;

pub(super) async fn prepare(shared: &Shared) -> Result<()> {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}});
    let leases: Api<Lease> = shared.api(&shared.client()?);
    leases.create(&PostParams::default(), &serde_json::from_value(lease)?).await?;
    Ok(())
}

pub(super) async fn run(shared: Arc<Shared>, number: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while shared.pause(Duration::from_millis(random.random_range(PAUSE))).await {
        let Ok(client) = shared.client() else { return };
        let leases: Api<Lease> = shared.api(&client);
        // Several tries on one connection, as long as it lasts.
        for _ in 0..random.random_range(1..20) {
            if shared.stopped() || !stand(&shared, &leases, number).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE))).await;
        }
    }
}

/// Tries to take or to keep the lease; false when a request was lost.
async fn stand(shared: &Shared, leases: &Api<Lease>, number: u64) -> bool {
    let mut lease = match shared.ask(leases.get(NAME)).await {
        Answer::Done(lease) => lease,
        Answer::Refused(status) => {
            shared.notes().lost.push(format!("the lease: {status}"));
            return false;
        }
        Answer::Lost => return false,
    };
    let over = revision(lease.metadata.resource_version.as_ref());
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(format!("candidate-{number}"));
    spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
    match shared.ask(leases.replace(NAME, &PostParams::default(), &lease)).await {
        Answer::Done(lease) => {
            let revision = revision(lease.metadata.resource_version.as_ref());
            shared.notes().won.push(Won { over, revision });
        }
        // Somebody else was faster.
        Answer::Refused(status) if status.is_conflict() => {}
        Answer::Refused(status) => shared.notes().lost.push(format!("the lease: {status}")),
        Answer::Lost => return false,
    }
    true
}
