//! What the parts of one kubelet share. Cheap to reach, no logic of its own.

use std::collections::HashMap;
use std::sync::Arc;

use client::events::Recorder;
use client::informer::{Cache, Informers};
use client::task::Tasks;
use cri::RuntimeHandle;
use cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use parking_lot::RwLock;

use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::images::Images;
use crate::node::state::NodeState;
use crate::objects::Objects;
use crate::pod::backoff::Backoff;
use crate::pod::report::Reporter;
use crate::pod::workers::Workers;
use crate::probe::Prober;
use crate::resources::List;
use crate::tokens::Tokens;
use crate::volumes::Written;

pub(crate) struct Kubelet {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) runtime: RuntimeHandle,
    pub(crate) tasks: Tasks,
    pub(crate) informers: Informers,
    pub(crate) recorder: Recorder,
    pub(crate) node: NodeState,
    pub(crate) allocatable: List,
    /// `None` where nothing is limited: fake nodes, and cgroupsPerQOS off.
    pub(crate) cgroups: Option<Cgroups>,
    pub(crate) services: Cache<Service>,
    pub(crate) host_dns: DnsConfig,
    pub(crate) objects: Objects,
    pub(crate) tokens: Tokens,
    pub(crate) written: Written,
    pub(crate) images: Images,
    pub(crate) restarts: Backoff,
    pub(crate) prober: Prober,
    pub(crate) reporter: Reporter,
    pub(crate) workers: Workers,
    /// Mirror pods by `namespace/name`.
    pub(crate) mirrors: RwLock<HashMap<String, Arc<Pod>>>,
    pub(crate) started: Timestamp,
}

impl Kubelet {
    /// The node as events name it; upstream uses the name for the uid.
    pub(crate) fn node_reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: None,
            kind: Some("Node".into()),
            name: Some(self.config.node_name.clone()),
            uid: Some(self.config.node_name.clone()),
            ..ObjectReference::default()
        }
    }
}
