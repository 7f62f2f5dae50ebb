//! The built-in plugins: one file each, one list, in the order in which they run.
//!
//! Invariant: order and weights are upstream's defaults
//! (pkg/scheduler/apis/config/v1/default_plugins.go@v1.37.2). Not here yet, of upstream's default
//! list: DynamicResources, GangScheduling, NodeDeclaredFeatures.

mod default_binder;
pub(crate) mod default_preemption;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;
mod volumes;

use std::sync::Arc;

use crate::config::args::PluginArgs;
use crate::framework::plugin::Plugin;
use crate::handle::Handle;

/// A built-in plugin: its name, its default weight and how to make it.
pub(crate) struct BuiltIn {
    pub(crate) name: &'static str,
    /// The weight of its score; 0 for a plugin that does not score.
    pub(crate) weight: i64,
    make: fn(&Handle, &PluginArgs) -> Arc<dyn Plugin>,
}

const fn built_in(name: &'static str, weight: i64, make: fn(&Handle, &PluginArgs) -> Arc<dyn Plugin>) -> BuiltIn {
    BuiltIn { name, weight, make }
}

/// All built-in plugins, in their default order.
pub(crate) const BUILT_IN: [BuiltIn; 18] = [
    built_in(scheduling_gates::NAME, 0, |_, _| Arc::new(scheduling_gates::SchedulingGates)),
    built_in(priority_sort::NAME, 0, |_, _| Arc::new(priority_sort::PrioritySort)),
    built_in(node_name::NAME, 0, |_, _| Arc::new(node_name::NodeName)),
    built_in(node_unschedulable::NAME, 0, |_, _| Arc::new(node_unschedulable::NodeUnschedulable)),
    built_in(taint_toleration::NAME, 3, |_, _| Arc::new(taint_toleration::TaintToleration)),
    built_in(node_affinity::NAME, 2, |_, args| Arc::new(node_affinity::NodeAffinity::new(&args.node_affinity))),
    built_in(node_ports::NAME, 0, |_, _| Arc::new(node_ports::NodePorts)),
    built_in(node_resources::fit::NAME, 1, |_, args| Arc::new(node_resources::fit::Fit::new(&args.node_resources_fit))),
    built_in(volume_restrictions::NAME, 0, |h, _| Arc::new(volume_restrictions::VolumeRestrictions::new(h))),
    built_in(node_volume_limits::NAME, 0, |h, _| Arc::new(node_volume_limits::NodeVolumeLimits::new(h))),
    built_in(volume_binding::NAME, 0, |h, _| Arc::new(volume_binding::VolumeBinding::new(h))),
    built_in(volume_zone::NAME, 0, |h, _| Arc::new(volume_zone::VolumeZone::new(h))),
    built_in(pod_topology_spread::NAME, 2, |h, args| {
        Arc::new(pod_topology_spread::PodTopologySpread::new(h, &args.pod_topology_spread))
    }),
    built_in(inter_pod_affinity::NAME, 2, |h, args| {
        Arc::new(inter_pod_affinity::InterPodAffinity::new(h, &args.inter_pod_affinity))
    }),
    built_in(default_preemption::NAME, 0, |h, args| {
        Arc::new(default_preemption::DefaultPreemption::new(h, &args.default_preemption))
    }),
    built_in(node_resources::balanced::NAME, 1, |_, args| {
        Arc::new(node_resources::balanced::BalancedAllocation::new(&args.node_resources_balanced_allocation))
    }),
    built_in(image_locality::NAME, 1, |_, _| Arc::new(image_locality::ImageLocality)),
    built_in(default_binder::NAME, 0, |h, _| Arc::new(default_binder::DefaultBinder::new(h))),
];

/// Makes every built-in plugin.
pub(crate) fn make_all(handle: &Handle, args: &PluginArgs) -> Vec<Arc<dyn Plugin>> {
    BUILT_IN.iter().map(|plugin| (plugin.make)(handle, args)).collect()
}

#[cfg(test)]
pub(crate) mod testing;
