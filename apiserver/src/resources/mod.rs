//! The strategies: one file a kind, one list.
//!
//! Invariant: nothing here names HTTP or the store. A kind that is not in the list behaves by its facts alone.

pub(crate) mod access;
mod admission_policy;
mod admission_registration;
pub(crate) mod api_registration;
pub(crate) mod apiextensions;
pub(crate) mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod check;
pub(crate) mod common;
mod coordination;
pub(crate) mod core;
pub(crate) mod device;
mod discovery;
mod flow_control;
mod networking;
mod policy;
mod rbac;
mod runtime_class;
mod scheduling;
pub(crate) mod simple;
mod storage;
mod storage_migration;
mod storage_version;

use std::time::Duration;

use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use crate::hub::{Hub, store_failure};
use crate::registry::{Conversion, Entry};
use crate::strategy::{Plain, Strategy};

/// Group, plural, strategy. All versions of a resource share its strategy, on the storage version's values.
pub(crate) const STRATEGIES: &[(&str, &str, &dyn Strategy)] = &[
    ("", "pods", &core::pod::Pod),
    ("", "podtemplates", &core::pod_template::PodTemplate),
    ("", "replicationcontrollers", &core::replication_controller::ReplicationController),
    ("apps", "controllerrevisions", &apps::controller_revision::ControllerRevision),
    ("apps", "daemonsets", &apps::daemon_set::DaemonSet),
    ("apps", "deployments", &apps::deployment::Deployment),
    ("apps", "replicasets", &apps::replica_set::ReplicaSet),
    ("apps", "statefulsets", &apps::stateful_set::StatefulSet),
    ("batch", "cronjobs", &batch::cron_job::CronJob),
    ("batch", "jobs", &batch::job::Job),
    ("autoscaling", "horizontalpodautoscalers", &autoscaling::horizontal_pod_autoscaler::HorizontalPodAutoscaler),
    ("policy", "poddisruptionbudgets", &policy::pod_disruption_budget::PodDisruptionBudget),
    ("", "namespaces", &core::namespace::Namespace),
    ("", "nodes", &core::node::Node),
    ("", "configmaps", &core::data::ConfigMap),
    ("", "secrets", &core::data::Secret),
    ("", "serviceaccounts", &core::service_account::ServiceAccount),
    ("", "services", &core::service::Service),
    ("", "events", &core::event::Event),
    ("events.k8s.io", "events", &core::event::NewEvent),
    ("", "endpoints", &core::endpoints::ENDPOINTS),
    ("", "limitranges", &core::limit_range::LIMIT_RANGE),
    ("", "resourcequotas", &core::resource_quota::RESOURCE_QUOTA),
    ("", "persistentvolumes", &core::persistent_volume::VOLUME),
    ("", "persistentvolumeclaims", &core::persistent_volume_claim::CLAIM),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", &admission_policy::VALIDATING_POLICY),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", &admission_policy::VALIDATING_BINDING),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", &admission_policy::MUTATING_POLICY),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", &admission_policy::MUTATING_BINDING),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", &admission_registration::VALIDATING_WEBHOOKS),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", &admission_registration::MUTATING_WEBHOOKS),
    ("apiextensions.k8s.io", "customresourcedefinitions", &apiextensions::Definition),
    ("apiregistration.k8s.io", "apiservices", &api_registration::API_SERVICE),
    ("certificates.k8s.io", "certificatesigningrequests", &certificates::CertificateSigningRequest),
    ("certificates.k8s.io", "clustertrustbundles", &certificates::bundle::BUNDLE),
    ("certificates.k8s.io", "podcertificaterequests", &certificates::pod_request::REQUEST),
    ("coordination.k8s.io", "leases", &coordination::LEASE),
    ("discovery.k8s.io", "endpointslices", &discovery::ENDPOINT_SLICE),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", &flow_control::FLOW_SCHEMA),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", &flow_control::PRIORITY_LEVEL),
    ("networking.k8s.io", "ingresses", &networking::INGRESS),
    ("networking.k8s.io", "ingressclasses", &networking::INGRESS_CLASS),
    ("networking.k8s.io", "networkpolicies", &networking::NETWORK_POLICY),
    ("networking.k8s.io", "ipaddresses", &networking::IP_ADDRESS),
    ("networking.k8s.io", "servicecidrs", &networking::SERVICE_CIDR),
    ("node.k8s.io", "runtimeclasses", &runtime_class::RUNTIME_CLASS),
    ("resource.k8s.io", "deviceclasses", &device::DEVICE_CLASS),
    ("resource.k8s.io", "devicetaintrules", &device::TAINT_RULE),
    ("resource.k8s.io", "resourceclaims", &device::CLAIM),
    ("resource.k8s.io", "resourceclaimtemplates", &device::CLAIM_TEMPLATE),
    ("resource.k8s.io", "resourcepoolstatusrequests", &device::POOL_REQUEST),
    ("resource.k8s.io", "resourceslices", &device::SLICE),
    ("lifecycle.k8s.io", "evictionrequests", &simple::Simple::OWN_STATUS),
    ("lifecycle.k8s.io", "evictions", &simple::Simple::OWN_STATUS),
    ("scheduling.k8s.io", "compositepodgroups", &simple::Simple::OWN_STATUS),
    ("scheduling.k8s.io", "podgroups", &simple::Simple::OWN_STATUS),
    ("scheduling.k8s.io", "priorityclasses", &scheduling::PriorityClass),
    ("storage.k8s.io", "csidrivers", &storage::CSI_DRIVER),
    ("storage.k8s.io", "csinodes", &storage::CSI_NODE),
    ("storage.k8s.io", "csistoragecapacities", &storage::CSI_STORAGE_CAPACITY),
    ("storage.k8s.io", "storageclasses", &storage::STORAGE_CLASS),
    ("storage.k8s.io", "volumeattachments", &storage::VOLUME_ATTACHMENT),
    ("storage.k8s.io", "volumeattributesclasses", &storage::VOLUME_ATTRIBUTES_CLASS),
    ("storagemigration.k8s.io", "storageversionmigrations", &storage_migration::MIGRATION),
    ("internal.apiserver.k8s.io", "storageversions", &storage_version::VERSION),
    ("rbac.authorization.k8s.io", "clusterroles", &rbac::CLUSTER_ROLE),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &rbac::CLUSTER_ROLE_BINDING),
    ("rbac.authorization.k8s.io", "roles", &rbac::ROLE),
    ("rbac.authorization.k8s.io", "rolebindings", &rbac::ROLE_BINDING),
];

/// The strategy of a resource.
pub(crate) fn strategy(group: &str, plural: &str) -> &'static dyn Strategy {
    STRATEGIES.iter().find(|row| row.0 == group && row.1 == plural).map_or(&Plain, |row| row.2)
}

/// Conversions between a served version and the storage version whose shapes differ: group, version, plural.
const CONVERSIONS: &[(&str, &str, &str, Conversion)] = &[
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        Conversion {
            to_storage: apiextensions::convert::to_storage,
            from_storage: apiextensions::convert::from_storage,
        },
    ),
    (
        "autoscaling",
        "v1",
        "horizontalpodautoscalers",
        Conversion { to_storage: autoscaling::convert::to_v2, from_storage: autoscaling::convert::to_v1 },
    ),
    (
        "events.k8s.io",
        "v1",
        "events",
        Conversion { to_storage: core::event::to_core, from_storage: core::event::from_core },
    ),
    ("resource.k8s.io", "v1beta1", "resourceclaims", device::convert::CLAIM),
    ("resource.k8s.io", "v1beta1", "resourceclaimtemplates", device::convert::CLAIM_TEMPLATE),
    ("resource.k8s.io", "v1beta1", "resourceslices", device::convert::SLICE),
];

/// The conversion of a served version, if it needs one.
pub(crate) fn conversion(group: &str, version: &str, plural: &str) -> Option<&'static Conversion> {
    CONVERSIONS.iter().find(|row| row.0 == group && row.1 == version && row.2 == plural).map(|row| &row.3)
}

/// What a kind does beside its own object while one is written: allocations that must be undone when
/// the write fails (a Service's cluster IPs and node ports).
pub(crate) trait Side: Send + Sync {
    /// Before the write; may change the object. `old` is absent on create.
    fn begin<'a>(
        &'a self,
        hub: &'a Hub,
        object: &'a mut Map,
        old: Option<&'a Map>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Box<dyn Undo>, Status>>;

    /// After the object is gone.
    fn after_delete<'a>(&'a self, hub: &'a Hub, object: &'a Map) -> BoxFuture<'a, ()>;
}

/// Ends what [`Side::begin`] began.
pub(crate) trait Undo: Send {
    /// `done`: the write happened. Otherwise what was allocated is given back.
    fn finish(self: Box<Self>, hub: &Hub, done: bool) -> BoxFuture<'_, ()>;
}

/// Group, plural, side effects.
const SIDES: &[(&str, &str, &dyn Side)] = &[("", "services", &core::service::allocate::Allocator)];

struct Nothing;

impl Undo for Nothing {
    fn finish(self: Box<Self>, _: &Hub, _: bool) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn side(entry: &Entry) -> Option<&'static dyn Side> {
    SIDES.iter().find(|row| row.0 == entry.facts.group && row.1 == entry.facts.plural).map(|row| row.2)
}

pub(crate) async fn begin(
    hub: &Hub,
    entry: &Entry,
    object: &mut Map,
    old: Option<&Map>,
    dry_run: bool,
) -> Result<Box<dyn Undo>, Status> {
    match side(entry) {
        Some(side) => side.begin(hub, object, old, dry_run).await,
        None => Ok(Box::new(Nothing)),
    }
}

pub(crate) async fn after_delete(hub: &Hub, entry: &Entry, object: &Map) {
    if let Some(side) = side(entry) {
        side.after_delete(hub, object).await;
    }
}

/// What of an object is only for servers that allow privileged containers (--allow-privileged).
pub(crate) fn privileges(entry: &Entry, subresource: &str, object: &Map, update: bool) -> api::field::Errors {
    core::pod::privileged::check(entry.facts, subresource, object, update)
}

/// Objects that live only for a while (--event-ttl); all others stay.
const PASSING: &str = "events";

/// Upstream reads them from its store and has no cache of them
/// (pkg/kubeapiserver/default_storage_factory_builder.go@v1.37.2: DefaultWatchCacheSizes).
pub(crate) fn is_passing(entry: &Entry) -> bool {
    entry.facts.plural == PASSING
}

/// The lease a new object is attached to; 0 for none. `events`: how long events live; for ever when it is zero.
pub(crate) async fn lease(hub: &Hub, entry: &Entry, events: Duration) -> Result<i64, Status> {
    let seconds = i64::try_from(events.as_secs()).unwrap_or(i64::MAX);
    if !is_passing(entry) || seconds == 0 {
        return Ok(0);
    }
    hub.store.grant_lease(seconds).await.map_err(|error| store_failure(&error))
}

#[cfg(test)]
mod tests {
    use super::common::rows;

    #[test]
    fn networking_and_the_like_as_upstream_answers() {
        rows::check(include_str!("testdata/networking.json"));
    }

    #[test]
    fn storage_and_the_like_as_upstream_answers() {
        rows::check(include_str!("testdata/storage.json"));
    }

    #[test]
    fn autoscalers_and_jobs_as_upstream_answers() {
        rows::check(include_str!("testdata/workloads.json"));
    }

    #[test]
    fn policies_as_upstream_answers() {
        rows::check(include_str!("testdata/policies.json"));
    }

    #[test]
    fn api_services_as_upstream_answers() {
        rows::check(include_str!("testdata/apiregistration.json"));
    }

    #[test]
    fn core_kinds_as_upstream_answers() {
        rows::check(include_str!("core/testdata.json"));
    }
}
