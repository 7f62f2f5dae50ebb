//! Scheduling without an API server: which node each of some pods would get, one after another.
//!
//! Invariant: the very plugins, cache and algorithm of the real scheduler decide; nothing is bound,
//! but each placed pod counts for those after it. For capacity questions, tests and measurements.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::algorithm::{Algorithm, Failure};
use crate::cache::Cache;
use crate::config::{Config, profiles};
use crate::framework::profile::Profile;
use crate::framework::state::CycleState;
use crate::handle::Handle;
use crate::nominator::Nominated;
use crate::pod_info::PodInfo;
use crate::{Error, pod_info};

/// A made-up cluster.
pub struct Simulation {
    cache: Cache,
    algorithm: Algorithm,
    profiles: std::collections::BTreeMap<String, Profile>,
    handle: Handle,
}

impl Simulation {
    /// A cluster of these nodes, without pods.
    pub fn new(config: &Config, nodes: impl IntoIterator<Item = Node>) -> Result<Self, Error> {
        let handle = Handle::detached();
        let profiles = profiles::make(config, &handle)?;
        let mut cache = Cache::default();
        nodes.into_iter().for_each(|node| cache.set_node(&Arc::new(node)));
        let algorithm = Algorithm::new(config.percentage_of_nodes_to_score, config.seed);
        Ok(Simulation { cache, algorithm, profiles, handle })
    }

    /// Adds a Service, by which pods without constraints of their own are spread.
    pub fn add_service(&self, service: k8s_openapi::api::core::v1::Service) {
        self.handle.listers.services.insert(Arc::new(service));
    }

    /// Places the pod (which must have a uid): the node's name, or the reason why there is none. A pod
    /// that names its node already is put there.
    pub fn schedule(&mut self, pod: Pod) -> Result<String, String> {
        let pod = Arc::new(pod);
        if !pod_info::node_name(&pod).is_empty() {
            self.cache.set_pod(&pod);
            return Ok(pod_info::node_name(&pod).into());
        }
        let info = Arc::new(PodInfo::new(pod));
        let unknown = || format!("profile not found for scheduler name {:?}", info.scheduler_name());
        let profile = self.profiles.get(info.scheduler_name()).ok_or_else(unknown)?;
        self.cache.update_snapshot(&mut self.algorithm.snapshot);
        let mut state = CycleState::default();
        match self.algorithm.schedule(profile, &Nominated::default(), &mut state, &info) {
            Ok(node) => {
                self.cache.assume(&info, &node);
                Ok(node.to_string())
            }
            Err(Failure::NoNodes) => Err("no nodes available to schedule pods".into()),
            Err(Failure::Fit(error)) => Err(error.message()),
            Err(Failure::Error(status)) => Err(status.message()),
        }
    }
}
