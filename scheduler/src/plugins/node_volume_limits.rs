//! NodeVolumeLimits: a node can attach only so many volumes of a CSI driver
//! (pkg/scheduler/framework/plugins/nodevolumelimits/csi.go@v1.37.2).
//!
//! Non-goal: volumes of the old in-tree drivers, which upstream translates to their CSI successors.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::CSINode;

use super::volumes::{check_owner, claim, claim_name, class_name, volume_name, volumes};
use crate::framework::event::{Action, Change, ClusterEvent, Resource, holds_place};
use crate::framework::plugin::{NodeNames, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::handle::{Handle, Listers};
use crate::node_info::NodeInfo;
use crate::pod_info::{PodInfo, namespace};
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "NodeVolumeLimits";

pub(crate) struct NodeVolumeLimits {
    listers: Listers,
}

/// Driver by unique volume.
type Attached = HashMap<String, String>;

impl NodeVolumeLimits {
    pub(crate) fn new(handle: &Handle) -> Self {
        NodeVolumeLimits { listers: handle.listers.clone() }
    }

    /// Adds the CSI volumes of a pod. The claims of a new pod must be there.
    fn collect(&self, pod: &Pod, is_new: bool, attached: &mut Attached) -> Outcome {
        for volume in volumes(pod) {
            let Some((name, ephemeral)) = claim_name(pod, volume) else { continue };
            let claim = match claim(&self.listers, pod, &name) {
                Ok(claim) => claim,
                Err(_) if !is_new => continue,
                Err(e) => return Err(Status::unresolvable(format!("looking up PVC {}/{name}: {e}", namespace(pod)))),
            };
            if ephemeral {
                check_owner(pod, &claim).map_err(Status::error)?;
            }
            if let Some((driver, handle)) = self.driver_of(&claim) {
                attached.insert(format!("{driver}/{handle}"), driver);
            }
        }
        Ok(())
    }

    /// Driver and volume handle behind a claim; an unbound claim counts as a volume of its class's driver.
    fn driver_of(&self, claim: &PersistentVolumeClaim) -> Option<(String, String)> {
        let volume = Some(volume_name(claim)).filter(|name| !name.is_empty());
        if let Some(volume) = volume.and_then(|name| self.listers.volumes.get("", name)) {
            let source = volume.spec.as_ref()?.csi.as_ref()?;
            return Some((source.driver.clone(), source.volume_handle.clone()));
        }
        let class = self.listers.storage_classes.get("", class_name(claim))?;
        let meta = &claim.metadata;
        let name = format!("unbound-{}/{}", meta.namespace.as_deref()?, meta.name.as_deref()?);
        Some((class.provisioner.clone(), name))
    }

    /// Volumes that are attached to the node though no pod there is known to use them.
    fn leftover(&self, node: &str, used: &Attached) -> Vec<String> {
        let all = self.listers.attachments.list();
        let here = all.iter().filter(|attachment| attachment.spec.node_name == node);
        let unused = here.filter_map(|attachment| {
            let name = attachment.spec.source.persistent_volume_name.as_deref()?;
            let volume = self.listers.volumes.get("", name)?;
            let source = volume.spec.as_ref()?.csi.as_ref()?.clone();
            (!used.contains_key(&format!("{}/{}", source.driver, source.volume_handle))).then_some(source.driver)
        });
        unused.collect()
    }
}

fn limits(node: &CSINode) -> HashMap<&str, i64> {
    let counted = |driver: &k8s_openapi::api::storage::v1::CSINodeDriver| driver.allocatable.as_ref()?.count;
    let drivers = node.spec.drivers.iter();
    drivers.filter_map(|driver| Some((driver.name.as_str(), i64::from(counted(driver)?)))).collect()
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreFilter, Point::Filter]
    }

    fn events(&self) -> Vec<ClusterEvent> {
        vec![
            ClusterEvent::new(Resource::CsiNode, Action::ADD.or(Action::UPDATE)),
            ClusterEvent::new(Resource::AssignedPod, Action::DELETE),
            ClusterEvent::new(Resource::PersistentVolumeClaim, Action::ADD),
            ClusterEvent::new(Resource::VolumeAttachment, Action::DELETE),
        ]
    }

    fn may_help(&self, pod: &PodInfo, _: ClusterEvent, change: &Change) -> bool {
        match change {
            Change::Pod(Some(deleted), None) => {
                holds_place(deleted) && !PodInfo::new(deleted.clone()).claims.is_empty()
            }
            Change::Claim(Some(claim)) => {
                let name = claim.metadata.name.as_deref().unwrap_or_default();
                let here = claim.metadata.namespace.as_deref() == Some(pod.namespace());
                here && pod.claims.iter().any(|known| known == name)
            }
            Change::CsiNode(Some(old), Some(new)) => {
                let before = limits(old);
                limits(new).iter().any(|(driver, limit)| before.get(driver).is_none_or(|old| old < limit))
            }
            _ => true,
        }
    }

    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> Outcome<Option<NodeNames>> {
        if pod.claims.is_empty() { Err(Status::skip()) } else { Ok(None) }
    }

    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Outcome {
        let mut new = Attached::new();
        self.collect(&pod.pod, true, &mut new)?;
        let Some(csi_node) = self.listers.csi_nodes.get("", &node.name).filter(|_| !new.is_empty()) else {
            return Ok(());
        };
        let limits = limits(&csi_node);
        if limits.is_empty() {
            return Ok(());
        }
        let mut used = Attached::new();
        for other in &node.pods {
            self.collect(&other.pod, false, &mut used)?;
        }
        let mut counts: HashMap<String, i64> = HashMap::new();
        let more = new.iter().filter(|(volume, _)| !used.contains_key(*volume)).map(|(_, driver)| driver.clone());
        let more: Vec<String> = more.collect();
        for driver in used.values().cloned().chain(self.leftover(&node.name, &used)).chain(more.iter().cloned()) {
            *counts.entry(driver).or_default() += 1;
        }
        if more.iter().any(|driver| limits.get(driver.as_str()).is_some_and(|limit| counts[driver] > *limit)) {
            return Err(Status::unschedulable("node(s) exceed max volume count"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plugins::testing::verdicts;
    use crate::testing::{object, pod_info, snapshot};

    #[test]
    fn volumes_are_counted_once_each() {
        let handle = Handle::for_test();
        let csi = |limit: i64| {
            let driver = format!(r#"{{"name":"d","nodeID":"n","allocatable":{{"count":{limit}}}}}"#);
            Arc::new(object(&format!(r#"{{"metadata":{{"name":"n"}},"spec":{{"drivers":[{driver}]}}}}"#)))
        };
        for name in ["a", "b"] {
            let claim =
                format!(r#"{{"metadata":{{"namespace":"d","name":"{name}"}},"spec":{{"volumeName":"{name}"}}}}"#);
            handle.listers.claims.insert(Arc::new(object(&claim)));
            let source = format!(r#"{{"driver":"d","volumeHandle":"{name}"}}"#);
            let volume = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"csi":{source}}}}}"#);
            handle.listers.volumes.insert(Arc::new(object(&volume)));
        }
        let using = |claim: &str| {
            let volume = format!(r#"{{"name":"v","persistentVolumeClaim":{{"claimName":"{claim}"}}}}"#);
            format!(r#"{{"metadata":{{"namespace":"d"}},"spec":{{"volumes":[{volume}]}}}}"#)
        };
        let existing = using("a");
        let all = snapshot(&[(r#"{"metadata":{"name":"n"}}"#, &[&existing])]);
        let plugin = NodeVolumeLimits::new(&handle);
        for (limit, claim, expected) in [
            (1, "a", ""),
            (1, "b", "Unschedulable: node(s) exceed max volume count"),
            (2, "b", ""),
            (2, "x", "UnschedulableAndUnresolvable: looking up PVC d/x: persistentvolumeclaim \"x\" not found"),
        ] {
            handle.listers.csi_nodes.insert(csi(limit));
            assert_eq!(verdicts(&plugin, &pod_info(&using(claim)), &all), [expected], "{limit} {claim}");
        }
    }
}
