//! The two plugins that look at resource amounts: one keeps pods off full nodes and fills nodes
//! evenly (or fully), the other keeps the use of a node's resources in balance.

pub(crate) mod balanced;
pub(crate) mod fit;

use crate::config::args::ResourceSpec;
use crate::node_info::NodeInfo;
use crate::resources::{CPU, MEMORY, Resource, is_scalar};

/// Amounts of one resource on a node.
#[derive(Clone, Copy, Debug)]
struct Amounts {
    weight: i64,
    /// Taken by the pods there.
    allocated: i64,
    /// Taken with the new pod.
    requested: i64,
    /// What the node has; never 0.
    allocatable: i64,
}

/// What the pod asks of each resource that is looked at, in the order of the configuration.
fn asked(request: &Resource, specs: &[ResourceSpec]) -> Vec<i64> {
    specs.iter().map(|spec| request.get(&spec.name)).collect()
}

/// The amounts of the resources that the node has. `defaulted` counts missing requests with the
/// defaults. A scalar resource the pod does not ask for says nothing about where it should go.
fn amounts<'a>(
    node: &'a NodeInfo,
    specs: &'a [ResourceSpec],
    asked: &'a [i64],
    defaulted: bool,
) -> impl Iterator<Item = Amounts> + 'a {
    specs.iter().zip(asked).filter_map(move |(spec, &asked)| {
        if asked == 0 && is_scalar(&spec.name) {
            return None;
        }
        let allocatable = node.allocatable.get(&spec.name);
        let allocated = match spec.name.as_str() {
            CPU if defaulted => node.non_zero_cpu,
            MEMORY if defaulted => node.non_zero_memory,
            name => node.requested.get(name),
        };
        let amounts = Amounts { weight: spec.weight, allocated, requested: allocated + asked, allocatable };
        (allocatable != 0).then_some(amounts)
    })
}
