//! kube-controller-manager's controllers: one file or folder each, one list.
//!
//! Must not know: HTTP, any store, any other component. A controller reads caches, computes what to
//! write as a pure function where it can, and writes through its own client. Adding a controller
//! is one file and one line in [`CONTROLLERS`].

mod bootstrap;
mod certificates;
mod common;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoint;
mod error;
mod garbage;
mod job;
mod namespace;
mod node;
mod protection;
mod quota;
mod replicaset;
mod role_aggregation;
mod root_ca;
mod run;
mod serviceaccount;
mod statefulset;
mod ttl_after_finished;

pub use context::{Config, Context, Controller};
pub use error::Error;
pub use run::{ENDPOINTS, LeaderElection, run};

/// Every controller, in the order they start (cmd/kube-controller-manager/names@v1.37.2).
pub const CONTROLLERS: &[Controller] = &[
    Controller { name: "serviceaccount-controller", start: serviceaccount::start },
    Controller { name: "root-ca-certificate-publisher-controller", start: root_ca::start },
    Controller { name: "namespace-controller", start: namespace::start },
    Controller { name: "replicaset-controller", start: replicaset::start },
    Controller { name: "replicationcontroller-controller", start: replicaset::start_replication },
    Controller { name: "job-controller", start: job::start },
    Controller { name: "cronjob-controller", start: cronjob::start },
    Controller { name: "deployment-controller", start: deployment::start },
    Controller { name: "endpoints-controller", start: endpoint::start_endpoints },
    Controller { name: "endpointslice-controller", start: endpoint::start_slices },
    Controller { name: "endpointslice-mirroring-controller", start: endpoint::start_mirroring },
    Controller { name: "resourcequota-controller", start: quota::start },
    Controller { name: "garbage-collector-controller", start: garbage::start },
    Controller { name: "node-ipam-controller", start: node::ipam::start },
    Controller { name: "node-lifecycle-controller", start: node::start },
    Controller { name: "taint-eviction-controller", start: node::taint_eviction::start },
    Controller { name: "pod-garbage-collector-controller", start: node::pod_gc::start },
    Controller { name: "clusterrole-aggregation-controller", start: role_aggregation::start },
    Controller { name: "ttl-after-finished-controller", start: ttl_after_finished::start },
    Controller { name: "daemonset-controller", start: daemonset::start },
    Controller { name: "statefulset-controller", start: statefulset::start },
    Controller { name: "disruption-controller", start: disruption::start },
    Controller { name: "certificatesigningrequest-signing-controller", start: certificates::start_signer },
    Controller { name: "certificatesigningrequest-approving-controller", start: certificates::start_approver },
    Controller { name: "certificatesigningrequest-cleaner-controller", start: certificates::start_cleaner },
    Controller { name: "bootstrap-signer-controller", start: bootstrap::start_signer },
    Controller { name: "token-cleaner-controller", start: bootstrap::start_cleaner },
    Controller { name: "persistentvolumeclaim-protection-controller", start: protection::start_claims },
    Controller { name: "persistentvolume-protection-controller", start: protection::start_volumes },
    Controller { name: "volumeattributesclass-protection-controller", start: protection::start_classes },
];
