//! Configuration of the scheduler: KubeSchedulerConfiguration with upstream's defaults
//! (pkg/scheduler/apis/config/v1/defaults.go@v1.37.2).

pub(crate) mod args;
mod file;
pub(crate) mod profiles;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Error;
use args::PluginArgs;

/// Scheduler name of pods that name none.
pub const DEFAULT_SCHEDULER_NAME: &str = "default-scheduler";

/// The scheduler's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub profiles: Vec<ProfileConfig>,
    /// How many percent of the nodes are scored once found feasible; 0 adapts to the cluster's size.
    pub percentage_of_nodes_to_score: i32,
    /// The first penalty of a refused pod; doubles with each refusal.
    pub pod_initial_backoff: Duration,
    /// The longest penalty of a refused pod.
    pub pod_max_backoff: Duration,
    /// After this long an unschedulable pod is tried without a reason.
    pub pod_max_in_unschedulable: Duration,
    pub leader_election: LeaderElection,
    pub client_connection: ClientConnection,
    /// Makes tie breaks repeatable; random when absent.
    pub seed: Option<u64>,
}

/// One scheduler name and its plugins.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileConfig {
    pub scheduler_name: String,
    /// Overrides the percentage of all profiles.
    pub percentage_of_nodes_to_score: Option<i32>,
    /// Changes to the default plugins, by the point's name or `multiPoint`.
    pub plugins: BTreeMap<String, PluginSet>,
    pub(crate) args: PluginArgs,
}

/// Plugins switched on and off at a point.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginSet {
    pub enabled: Vec<PluginChoice>,
    /// `*` stands for all.
    pub disabled: Vec<PluginChoice>,
}

/// A plugin by name.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginChoice {
    pub name: String,
    /// The weight of its score; 0 stands for 1.
    #[serde(default)]
    pub weight: i64,
}

/// Whether and how one of several schedulers is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaderElection {
    pub leader_elect: bool,
    pub resource_namespace: String,
    pub resource_name: String,
}

/// How to reach the API server. Rates are upstream's defaults; the caller applies them.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConnection {
    pub kubeconfig: String,
    /// Requests a second.
    pub qps: f64,
    /// Requests at once.
    pub burst: i32,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        ProfileConfig {
            scheduler_name: DEFAULT_SCHEDULER_NAME.into(),
            percentage_of_nodes_to_score: None,
            plugins: BTreeMap::new(),
            args: PluginArgs::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            profiles: vec![ProfileConfig::default()],
            percentage_of_nodes_to_score: 0,
            pod_initial_backoff: Duration::from_secs(1),
            pod_max_backoff: Duration::from_secs(10),
            pod_max_in_unschedulable: Duration::from_secs(5 * 60),
            leader_election: LeaderElection {
                leader_elect: true,
                resource_namespace: "kube-system".into(),
                resource_name: "kube-scheduler".into(),
            },
            client_connection: ClientConnection { kubeconfig: String::new(), qps: 50.0, burst: 100 },
            seed: None,
        }
    }
}

impl Config {
    /// Parses a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) in YAML or JSON. Unknown
    /// fields, unknown plugins and what is not supported yet are errors.
    pub fn parse(text: &str) -> Result<Self, Error> {
        file::parse(text)
    }
}
