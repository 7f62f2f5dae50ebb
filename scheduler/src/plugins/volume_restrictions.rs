//! VolumeRestrictions: disks that only one pod may have, and claims that only one pod may use
//! (pkg/scheduler/framework/plugins/volumerestrictions/volume_restrictions.go@v1.37.2).

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Volume;

use super::volumes::{claim, volumes};
use crate::framework::event::{Action, Change, ClusterEvent, Resource, holds_place};
use crate::framework::plugin::{NodeNames, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::handle::{Handle, Listers};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "VolumeRestrictions";

pub(crate) struct VolumeRestrictions {
    listers: Listers,
}

/// The pod's claims that one pod alone may use, and how many pods use them already.
#[derive(Clone)]
struct Exclusive {
    claims: Arc<BTreeSet<String>>,
    users: i64,
}

impl VolumeRestrictions {
    pub(crate) fn new(handle: &Handle) -> Self {
        VolumeRestrictions { listers: handle.listers.clone() }
    }

    fn exclusive_claims(&self, pod: &PodInfo) -> Outcome<BTreeSet<String>> {
        let mut exclusive = BTreeSet::new();
        for source in volumes(&pod.pod).iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()) {
            let claim = claim(&self.listers, &pod.pod, &source.claim_name).map_err(Status::unresolvable)?;
            let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
            if modes.iter().any(|mode| mode == "ReadWriteOncePod") {
                exclusive.insert(source.claim_name.clone());
            }
        }
        Ok(exclusive)
    }
}

fn is_disk(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

/// True when both volumes are one disk that cannot be mounted twice.
fn conflict(a: &Volume, b: &Volume) -> bool {
    let both_read = |a: Option<bool>, b: Option<bool>| a == Some(true) && b == Some(true);
    if let (Some(a), Some(b)) = (&a.gce_persistent_disk, &b.gce_persistent_disk) {
        return a.pd_name == b.pd_name && !both_read(a.read_only, b.read_only);
    }
    if let (Some(a), Some(b)) = (&a.aws_elastic_block_store, &b.aws_elastic_block_store) {
        return a.volume_id == b.volume_id;
    }
    if let (Some(a), Some(b)) = (&a.iscsi, &b.iscsi) {
        return a.iqn == b.iqn && !both_read(a.read_only, b.read_only);
    }
    if let (Some(a), Some(b)) = (&a.rbd, &b.rbd) {
        let pool = |pool: &Option<String>| pool.clone().unwrap_or_else(|| "rbd".into());
        return a.monitors.iter().any(|monitor| b.monitors.contains(monitor))
            && pool(&a.pool) == pool(&b.pool)
            && a.image == b.image
            && !both_read(a.read_only, b.read_only);
    }
    false
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(Resource::AssignedPod, Action::DELETE),
            ClusterEvent::new(Resource::Node, Action::ADD),
            ClusterEvent::new(Resource::PersistentVolumeClaim, Action::ADD),
        ]
    }

    fn may_help(&self, pod: &PodInfo, _: ClusterEvent, change: &Change) -> bool {
        match change {
            Change::Pod(Some(deleted), None) => {
                let disks = volumes(deleted);
                let shares_disk = volumes(&pod.pod).iter().any(|a| disks.iter().any(|b| conflict(a, b)));
                let theirs = PodInfo::new(deleted.clone());
                let same_place = theirs.namespace() == pod.namespace();
                let shares_claim = same_place && theirs.claims.iter().any(|claim| pod.claims.contains(claim));
                holds_place(deleted) && (shares_disk || shares_claim)
            }
            Change::Claim(Some(claim)) => {
                let name = claim.metadata.name.as_deref().unwrap_or_default();
                let here = claim.metadata.namespace.as_deref() == Some(pod.namespace());
                here && pod.claims.iter().any(|known| known == name)
            }
            _ => true,
        }
    }

    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, all: &Snapshot) -> Outcome<Option<NodeNames>> {
        let claims = self.exclusive_claims(pod)?;
        let users = claims.iter().filter(|claim| all.is_claim_used(pod.namespace(), claim)).count() as i64;
        if users == 0 && !volumes(&pod.pod).iter().any(is_disk) {
            return Err(Status::skip());
        }
        state.put(Exclusive { claims: Arc::new(claims), users });
        Ok(None)
    }

    fn adjust(&self, state: &mut CycleState, pod: &PodInfo, other: &PodInfo, _: &NodeInfo, sign: i64) {
        let Some(exclusive) = state.get_mut::<Exclusive>().filter(|_| other.namespace() == pod.namespace()) else {
            return;
        };
        let shared = other.claims.iter().filter(|claim| exclusive.claims.contains(*claim)).count();
        exclusive.users += sign * shared as i64;
    }

    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        let mine = volumes(&pod.pod).iter().filter(|volume| is_disk(volume));
        let taken = |mine: &Volume| node.pods.iter().any(|other| volumes(&other.pod).iter().any(|v| conflict(mine, v)));
        if mine.into_iter().any(taken) {
            return Err(Status::unschedulable("node(s) had no available disk"));
        }
        if state.get::<Exclusive>().is_some_and(|exclusive| exclusive.users > 0) {
            return Err(Status::unschedulable(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by \
                 another pod",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::verdicts;
    use crate::testing::{object, pod_info, snapshot};

    #[test]
    fn one_disk_one_pod() {
        let with = |volume: &str| {
            format!(r#"{{"metadata":{{"namespace":"d"}},"spec":{{"volumes":[{{"name":"v",{volume}}}]}}}}"#)
        };
        let handle = Handle::for_test();
        let claim = r#"{"metadata":{"namespace":"d","name":"c"},"spec":{"accessModes":["ReadWriteOncePod"]}}"#;
        handle.listers.claims.insert(Arc::new(object(claim)));
        let disk = "Unschedulable: node(s) had no available disk";
        let used = "Unschedulable: node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode \
                    already in-use by another pod";
        let gce = r#""gcePersistentDisk":{"pdName":"x"}"#;
        let gce_read = r#""gcePersistentDisk":{"pdName":"x","readOnly":true}"#;
        let claimed = r#""persistentVolumeClaim":{"claimName":"c"}"#;
        for (existing, new, expected) in [
            (gce, gce, disk),
            (gce_read, gce, disk),
            (gce_read, gce_read, ""),
            (r#""awsElasticBlockStore":{"volumeID":"x"}"#, r#""awsElasticBlockStore":{"volumeID":"x"}"#, disk),
            (claimed, claimed, used),
            (gce, claimed, ""),
        ] {
            let existing = with(existing);
            let all = snapshot(&[(r#"{"metadata":{"name":"n"}}"#, &[&existing])]);
            let plugin = VolumeRestrictions::new(&handle);
            assert_eq!(verdicts(&plugin, &pod_info(&with(new)), &all), [expected], "{existing} {new}");
        }
    }
}
