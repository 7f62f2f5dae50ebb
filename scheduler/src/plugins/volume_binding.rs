//! VolumeBinding: the claims of a pod must be bound, and their volumes reachable from the node
//! (pkg/scheduler/framework/plugins/volumebinding/*.go@v1.37.2).
//!
//! Thin for now: claims are bound by the volume controller alone. A claim that waits for its first
//! consumer is refused with upstream's reason for "no volume found", until binding and provisioning
//! by the scheduler are here.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};

use super::volumes::{
    WAIT_FOR_FIRST_CONSUMER, check_owner, claim, claim_name, class_name, is_bound, volume_name, volumes,
};
use crate::framework::event::{Action, Change, ClusterEvent, Resource};
use crate::framework::plugin::{NodeNames, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Code, Outcome, Status};
use crate::handle::{Handle, Listers};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::selector::NodeTerms;
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "VolumeBinding";

pub(crate) struct VolumeBinding {
    listers: Listers,
}

/// What a pod's claims need of a node.
#[derive(Clone, Default)]
struct Needs {
    affinities: Arc<Vec<NodeTerms>>,
    /// A claim waits for a node to be chosen.
    waits: bool,
    /// A claim is bound to a volume that is not there.
    lost: bool,
}

impl VolumeBinding {
    pub(crate) fn new(handle: &Handle) -> Self {
        VolumeBinding { listers: handle.listers.clone() }
    }

    fn waits_for_consumer(&self, class: &str) -> Result<bool, String> {
        if class.is_empty() {
            return Ok(false);
        }
        let Some(class_object) = self.listers.storage_classes.get("", class) else { return Ok(false) };
        match class_object.volume_binding_mode.as_deref() {
            Some(mode) => Ok(mode == WAIT_FOR_FIRST_CONSUMER),
            None => Err(format!("VolumeBindingMode not set for StorageClass {class:?}")),
        }
    }

    fn needs(&self, pod: &Pod) -> Outcome<Needs> {
        let (mut needs, mut affinities, mut unbound) = (Needs::default(), Vec::new(), false);
        for volume in volumes(pod) {
            let Some((name, ephemeral)) = claim_name(pod, volume) else { continue };
            let claim = self.usable_claim(pod, &name, ephemeral).map_err(Status::unresolvable)?;
            let bound_to = volume_name(&claim);
            if is_bound(&claim) {
                match self.listers.volumes.get("", bound_to) {
                    Some(volume) => affinities.extend(required(&volume)),
                    None => needs.lost = true,
                }
            } else if bound_to.is_empty() && self.waits_for_consumer(class_name(&claim)).map_err(Status::error)? {
                needs.waits = true;
            } else {
                unbound = true;
            }
        }
        if unbound {
            return Err(Status::unresolvable("pod has unbound immediate PersistentVolumeClaims"));
        }
        needs.affinities = Arc::new(affinities);
        Ok(needs)
    }

    fn usable_claim(
        &self,
        pod: &Pod,
        name: &str,
        ephemeral: bool,
    ) -> Result<Arc<k8s_openapi::api::core::v1::PersistentVolumeClaim>, String> {
        let waiting =
            || format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}");
        let claim = claim(&self.listers, pod, name).map_err(|error| if ephemeral { waiting() } else { error })?;
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
            let volume = volume_name(&claim);
            return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if ephemeral {
            check_owner(pod, &claim)?;
        }
        Ok(claim)
    }
}

fn required(volume: &PersistentVolume) -> Option<NodeTerms> {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    affinity.and_then(|affinity| affinity.required.as_ref()).map(NodeTerms::compile)
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        let changed = Action::ADD.or(Action::UPDATE);
        vec![
            ClusterEvent::new(Resource::StorageClass, changed),
            ClusterEvent::new(Resource::PersistentVolumeClaim, changed),
            ClusterEvent::new(Resource::PersistentVolume, changed),
            ClusterEvent::new(Resource::Node, Action::ADD.or(Action::NODE_LABEL)),
        ]
    }

    fn may_help(&self, pod: &PodInfo, _: ClusterEvent, change: &Change) -> bool {
        let Change::Claim(Some(claim)) = change else { return true };
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        claim.metadata.namespace.as_deref() == Some(pod.namespace()) && pod.claims.iter().any(|known| known == name)
    }

    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Outcome<Option<NodeNames>> {
        if pod.claims.is_empty() {
            return Err(Status::skip());
        }
        state.put(self.needs(&pod.pod)?);
        Ok(None)
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Outcome {
        let Some(needs) = state.get::<Needs>() else { return Ok(()) };
        let unreachable = needs.affinities.iter().any(|terms| !terms.matches(node.node()));
        let reasons: Vec<_> = [
            (unreachable && !needs.lost, "node(s) didn't match PersistentVolume's node affinity"),
            (needs.waits, "node(s) didn't find available persistent volumes to bind"),
            (needs.lost, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
        ]
        .into_iter()
        .filter_map(|(holds, reason)| holds.then_some(reason.into()))
        .collect();
        if reasons.is_empty() { Ok(()) } else { Err(Status::new(Code::UnschedulableAndUnresolvable, reasons)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::verdicts;
    use crate::testing::{object, pod_info, snapshot};

    #[test]
    fn claims_must_be_bound_to_a_volume_the_node_can_reach() {
        let pod = pod_info(
            r#"{"metadata":{"namespace":"d","name":"p"},"spec":{"volumes":[
            {"name":"v","persistentVolumeClaim":{"claimName":"c"}}]}}"#,
        );
        let all = snapshot(&[(r#"{"metadata":{"name":"n","labels":{"zone":"a"}}}"#, &[])]);
        let claim = |meta: &str, spec: &str, status: &str| {
            format!(r#"{{"metadata":{{"namespace":"d","name":"c",{meta}}},"spec":{spec},"status":{status}}}"#)
        };
        let bound = r#""annotations":{"pv.kubernetes.io/bind-completed":"yes"}"#;
        let volume = |zone: &str| {
            format!(
                r#"{{"metadata":{{"name":"pv"}},"spec":{{"nodeAffinity":{{"required":{{"nodeSelectorTerms":[
                {{"matchExpressions":[{{"key":"zone","operator":"In","values":["{zone}"]}}]}}]}}}}}}}}"#
            )
        };
        let refused = |reason: &str| format!("UnschedulableAndUnresolvable: {reason}");
        let none = r#""labels":{}"#;
        for (claim_text, volume_text, expected) in [
            (String::new(), String::new(), refused(r#"persistentvolumeclaim "c" not found"#)),
            (claim(none, r#"{}"#, "{}"), String::new(), refused("pod has unbound immediate PersistentVolumeClaims")),
            (
                claim(none, r#"{"storageClassName":"late"}"#, "{}"),
                String::new(),
                refused("node(s) didn't find available persistent volumes to bind"),
            ),
            (
                claim(none, r#"{"volumeName":"pv"}"#, r#"{"phase":"Lost"}"#),
                String::new(),
                refused(r#"persistentvolumeclaim "c" bound to non-existent persistentvolume "pv""#),
            ),
            (
                claim(bound, r#"{"volumeName":"pv"}"#, "{}"),
                String::new(),
                refused("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
            ),
            (claim(bound, r#"{"volumeName":"pv"}"#, "{}"), volume("a"), String::new()),
            (
                claim(bound, r#"{"volumeName":"pv"}"#, "{}"),
                volume("b"),
                refused("node(s) didn't match PersistentVolume's node affinity"),
            ),
        ] {
            let handle = Handle::for_test();
            let class = r#"{"metadata":{"name":"late"},"provisioner":"x","volumeBindingMode":"WaitForFirstConsumer"}"#;
            handle.listers.storage_classes.insert(Arc::new(object(class)));
            if !claim_text.is_empty() {
                handle.listers.claims.insert(Arc::new(object(&claim_text)));
            }
            if !volume_text.is_empty() {
                handle.listers.volumes.insert(Arc::new(object(&volume_text)));
            }
            assert_eq!(verdicts(&VolumeBinding::new(&handle), &pod, &all), [expected]);
        }
    }
}
