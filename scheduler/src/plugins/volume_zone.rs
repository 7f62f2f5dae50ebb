//! VolumeZone: a volume that names its zone or region ties the pod to it
//! (pkg/scheduler/framework/plugins/volumezone/volume_zone.go@v1.37.2).

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};

use super::volumes::{WAIT_FOR_FIRST_CONSUMER, claim, claim_name, class_name, not_found, volume_name, volumes};
use crate::framework::event::{Action, Change, ClusterEvent, Resource};
use crate::framework::plugin::{NodeNames, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::handle::{Handle, Listers};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::selector::labels;
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "VolumeZone";

/// Old and new name of the zone and region labels.
const TOPOLOGY_LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];
/// Between the zones of a volume that is in several.
const ZONES_SEPARATOR: &str = "__";

pub(crate) struct VolumeZone {
    listers: Listers,
}

/// Label, its current name and the values it may have.
#[derive(Clone)]
struct Tie {
    label: &'static str,
    current: &'static str,
    values: BTreeSet<String>,
}

#[derive(Clone)]
struct Ties(Arc<Vec<Tie>>);

fn ties(volume: &PersistentVolume) -> impl Iterator<Item = Tie> + '_ {
    TOPOLOGY_LABELS.iter().filter_map(|(label, current)| {
        let value = labels(&volume.metadata).get(*label)?;
        let values: BTreeSet<String> = value.split(ZONES_SEPARATOR).map(|zone| zone.trim().to_string()).collect();
        (!values.contains("")).then_some(Tie { label, current, values })
    })
}

impl VolumeZone {
    pub(crate) fn new(handle: &Handle) -> Self {
        VolumeZone { listers: handle.listers.clone() }
    }

    fn ties(&self, pod: &Pod) -> Outcome<Vec<Tie>> {
        let mut all = Vec::new();
        for (name, _) in volumes(pod).iter().filter_map(|volume| claim_name(pod, volume)).filter(|(_, e)| !e) {
            if name.is_empty() {
                return Err(Status::unresolvable("PersistentVolumeClaim had no name"));
            }
            let claim = claim(&self.listers, pod, &name).map_err(Status::unresolvable)?;
            let volume = volume_name(&claim);
            if volume.is_empty() {
                self.check_waits(class_name(&claim))?;
                continue;
            }
            let found = self.listers.volumes.get("", volume);
            let volume = found.ok_or_else(|| Status::unresolvable(not_found("persistentvolume", volume)))?;
            all.extend(ties(&volume));
        }
        Ok(all)
    }

    /// A claim without a volume is fine only while it waits for its first consumer.
    fn check_waits(&self, class: &str) -> Outcome {
        if class.is_empty() {
            return Err(Status::unresolvable("PersistentVolumeClaim had no pv name and storageClass name"));
        }
        let found = self.listers.storage_classes.get("", class);
        let object = found.ok_or_else(|| Status::unresolvable(not_found("storageclass.storage.k8s.io", class)))?;
        match object.volume_binding_mode.as_deref() {
            Some(WAIT_FOR_FIRST_CONSUMER) => Ok(()),
            Some(_) => Err(Status::unresolvable("PersistentVolume had no name")),
            None => Err(Status::unresolvable(format!("VolumeBindingMode not set for StorageClass {class:?}"))),
        }
    }
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        let changed = Action::ADD.or(Action::UPDATE);
        vec![
            ClusterEvent::new(Resource::StorageClass, Action::ADD),
            ClusterEvent::new(Resource::Node, Action::ADD.or(Action::NODE_LABEL)),
            ClusterEvent::new(Resource::PersistentVolumeClaim, changed),
            ClusterEvent::new(Resource::PersistentVolume, changed),
        ]
    }

    fn may_help(&self, pod: &PodInfo, _: ClusterEvent, change: &Change) -> bool {
        match change {
            Change::Claim(Some(claim)) => {
                let name = claim.metadata.name.as_deref().unwrap_or_default();
                let here = claim.metadata.namespace.as_deref() == Some(pod.namespace());
                here && pod.claims.iter().any(|known| known == name)
            }
            Change::StorageClass(Some(class)) => class.volume_binding_mode.as_deref() == Some(WAIT_FOR_FIRST_CONSUMER),
            _ => true,
        }
    }

    fn pre_filter(&self, state: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Outcome<Option<NodeNames>> {
        let ties = self.ties(&pod.pod)?;
        if ties.is_empty() {
            return Err(Status::skip());
        }
        state.put(Ties(Arc::new(ties)));
        Ok(None)
    }

    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> Outcome {
        let Some(Ties(ties)) = state.get() else { return Ok(()) };
        let labels = node.labels();
        if !TOPOLOGY_LABELS.iter().any(|(label, _)| labels.contains_key(*label)) {
            return Ok(());
        }
        let held = |tie: &Tie| {
            let value = labels.get(tie.label).or_else(|| labels.get(tie.current));
            value.is_some_and(|value| tie.values.contains(value))
        };
        if ties.iter().all(held) { Ok(()) } else { Err(Status::unresolvable("node(s) had no available volume zone")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::verdicts;
    use crate::testing::{object, pod_info, snapshot};

    #[test]
    fn the_zone_of_the_volume_decides() {
        let handle = Handle::for_test();
        let claim = r#"{"metadata":{"namespace":"d","name":"c"},"spec":{"volumeName":"pv"}}"#;
        let volume = r#"{"metadata":{"name":"pv","labels":{"topology.kubernetes.io/zone":"a__b"}}}"#;
        handle.listers.claims.insert(Arc::new(object(claim)));
        let pod = pod_info(
            r#"{"metadata":{"namespace":"d","name":"p"},"spec":{"volumes":[
            {"name":"v","persistentVolumeClaim":{"claimName":"c"}}]}}"#,
        );
        let zoned = |name: &str, zone: &str| {
            format!(r#"{{"metadata":{{"name":"{name}","labels":{{"topology.kubernetes.io/zone":"{zone}"}}}}}}"#)
        };
        let (a, c) = (zoned("a", "a"), zoned("c", "c"));
        let all = snapshot(&[(&a, &[]), (&c, &[]), (r#"{"metadata":{"name":"x"}}"#, &[])]);
        let plugin = VolumeZone::new(&handle);
        let missing = r#"UnschedulableAndUnresolvable: persistentvolume "pv" not found"#;
        assert_eq!(verdicts(&plugin, &pod, &all), [missing; 3]);
        handle.listers.volumes.insert(Arc::new(object(volume)));
        let refused = "UnschedulableAndUnresolvable: node(s) had no available volume zone";
        assert_eq!(verdicts(&plugin, &pod, &all), ["", refused, ""]);
    }
}
