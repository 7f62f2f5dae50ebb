//! Arguments of the plugins, with upstream's defaults
//! (k8s.io/kube-scheduler/config/v1/types_pluginargs.go@v0.37.2).

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::{Deserialize, Deserializer};

use crate::resources::{CPU, MEMORY};

/// The arguments of all plugins that have any.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PluginArgs {
    pub(crate) default_preemption: DefaultPreemptionArgs,
    pub(crate) inter_pod_affinity: InterPodAffinityArgs,
    pub(crate) node_affinity: NodeAffinityArgs,
    pub(crate) node_resources_fit: NodeResourcesFitArgs,
    pub(crate) node_resources_balanced_allocation: BalancedAllocationArgs,
    pub(crate) pod_topology_spread: PodTopologySpreadArgs,
}

/// How many nodes preemption looks at.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DefaultPreemptionArgs {
    pub(crate) min_candidate_nodes_percentage: i64,
    pub(crate) min_candidate_nodes_absolute: i64,
}

impl Default for DefaultPreemptionArgs {
    fn default() -> Self {
        DefaultPreemptionArgs { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct InterPodAffinityArgs {
    /// What a required affinity of an existing pod counts for in scoring.
    pub(crate) hard_pod_affinity_weight: i32,
    pub(crate) ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArgs {
    fn default() -> Self {
        InterPodAffinityArgs { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NodeAffinityArgs {
    /// Holds for every pod of the profile, beside its own.
    pub(crate) added_affinity: Option<NodeAffinity>,
}

/// A resource and its weight in scoring.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceSpec {
    pub(crate) name: String,
    #[serde(default = "one", deserialize_with = "at_least_one")]
    pub(crate) weight: i64,
}

fn one() -> i64 {
    1
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(i64::deserialize(deserializer)?.max(1))
}

fn cpu_and_memory() -> Vec<ResourceSpec> {
    [CPU, MEMORY].map(|name| ResourceSpec { name: name.into(), weight: 1 }).into()
}

fn resources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ResourceSpec>, D::Error> {
    let listed = Vec::deserialize(deserializer)?;
    Ok(if listed.is_empty() { cpu_and_memory() } else { listed })
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NodeResourcesFitArgs {
    pub(crate) ignored_resources: Vec<String>,
    /// Names before the slash.
    pub(crate) ignored_resource_groups: Vec<String>,
    pub(crate) scoring_strategy: ScoringStrategy,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ScoringStrategy {
    #[serde(rename = "type")]
    pub(crate) type_: ScoringStrategyType,
    #[serde(deserialize_with = "resources")]
    pub(crate) resources: Vec<ResourceSpec>,
    pub(crate) requested_to_capacity_ratio: Ratio,
}

impl Default for ScoringStrategy {
    fn default() -> Self {
        ScoringStrategy {
            type_: ScoringStrategyType::default(),
            resources: cpu_and_memory(),
            requested_to_capacity_ratio: Ratio::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum ScoringStrategyType {
    #[default]
    LeastAllocated,
    MostAllocated,
    RequestedToCapacityRatio,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ratio {
    pub(crate) shape: Vec<ShapePoint>,
}

/// A point of the function from use to score.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShapePoint {
    /// Percent.
    pub(crate) utilization: i32,
    /// 0 to 10.
    pub(crate) score: i32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BalancedAllocationArgs {
    #[serde(deserialize_with = "resources")]
    pub(crate) resources: Vec<ResourceSpec>,
}

impl Default for BalancedAllocationArgs {
    fn default() -> Self {
        BalancedAllocationArgs { resources: cpu_and_memory() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PodTopologySpreadArgs {
    /// For pods without constraints of their own.
    pub(crate) default_constraints: Vec<TopologySpreadConstraint>,
    pub(crate) defaulting_type: DefaultingType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum DefaultingType {
    /// The built-in constraints.
    #[default]
    System,
    /// The listed constraints.
    List,
}
