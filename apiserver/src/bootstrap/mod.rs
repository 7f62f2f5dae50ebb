//! What the server puts into an empty store and keeps right: system namespaces, RBAC policy, priority
//! classes, flow control, the `kubernetes` Service and its endpoints, the authentication ConfigMap
//! (pkg/controlplane@v1.37.2). One list of duties, each with the health check it fulfils.
//!
//! Invariant: every duty is idempotent and runs at each start; several servers may run them at once.

mod authentication;
mod kubernetes;
mod rbac;

use std::sync::Arc;
use std::time::Duration;

use api::map;
use api::status::Status;
use api::value::Map;
use futures::future::{BoxFuture, try_join_all};

use crate::Config;
use crate::chain::Core;
use crate::{flow, system};

/// Between tries of a duty that failed.
const RETRY: Duration = Duration::from_millis(200);

type Duty = fn(Arc<Core>, Arc<Config>) -> BoxFuture<'static, Result<(), Status>>;

/// Health check and duty; namespaces come first, the others run side by side.
const DUTIES: &[(&str, Duty)] = &[
    ("poststarthook/rbac/bootstrap-roles", |core, _| Box::pin(async move { rbac::reconcile(&core).await })),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", |core, _| {
        Box::pin(async move { priorities(&core).await })
    }),
    ("poststarthook/priority-and-fairness-config-producer", |core, _| {
        Box::pin(async move { flow::ensure(&core).await })
    }),
    ("poststarthook/bootstrap-controller", |core, config| {
        Box::pin(async move { kubernetes::reconcile(&core, &config).await })
    }),
    ("poststarthook/start-kubernetes-service-cidr-controller", |core, config| {
        Box::pin(async move { kubernetes::service_cidr(&core, &config).await })
    }),
    ("poststarthook/start-apiserver-admission-initializer", |core, config| {
        Box::pin(async move { authentication::publish(&core, &config).await })
    }),
];

/// Runs every duty until it has succeeded.
pub(crate) async fn run(core: Arc<Core>, config: Arc<Config>) {
    until(&core, "poststarthook/start-system-namespaces-controller", || namespaces(&core)).await;
    let duties = DUTIES.iter().map(|(check, duty)| until(&core, check, || duty(core.clone(), config.clone())));
    futures::future::join_all(duties).await;
}

async fn until<F>(core: &Core, check: &'static str, duty: impl Fn() -> F)
where
    F: Future<Output = Result<(), Status>>,
{
    while let Err(status) = duty().await {
        tracing::warn!(check, %status, "start-up duty failed, will retry");
        tokio::time::sleep(RETRY).await;
    }
    core.health.done(check);
}

/// An object of this kind with just a name.
pub(crate) fn named(api_version: &str, kind: &str, namespace: &str, name: &str) -> Map {
    let mut meta = map! { "name" => name };
    if !namespace.is_empty() {
        meta.set("namespace", namespace);
    }
    map! { "kind" => kind, "apiVersion" => api_version, "metadata" => meta }
}

/// pkg/controlplane/controller/systemnamespaces@v1.37.2.
async fn namespaces(core: &Core) -> Result<(), Status> {
    let names = ["default", "kube-system", "kube-public", "kube-node-lease"];
    try_join_all(names.map(|name| system::ensure(core, named("v1", "Namespace", "", name)))).await.map(drop)
}

/// pkg/apis/scheduling/v1/helpers.go@v1.37.2.
async fn priorities(core: &Core) -> Result<(), Status> {
    let class = |name: &str, value: i64, description: &str| {
        let mut class = named("scheduling.k8s.io/v1", "PriorityClass", "", name);
        class.set("value", value);
        class.set("description", description);
        class.set("preemptionPolicy", "PreemptLowerPriority");
        system::ensure(core, class)
    };
    try_join_all([
        class("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
        class("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
    ])
    .await
    .map(drop)
}

/// Keeps what has to be renewed: this server's lease in the endpoints of default/kubernetes.
pub(crate) async fn keep(core: Arc<Core>, config: Arc<Config>, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        if let Err(status) = kubernetes::reconcile(&core, &config).await {
            tracing::warn!(%status, "default/kubernetes not reconciled");
        }
    }
}

/// Takes this server out of the endpoints of default/kubernetes; what keeps them must have ended.
pub(crate) async fn leave(core: &Core, config: &Config) -> Result<(), Status> {
    kubernetes::leave(core, config).await
}
