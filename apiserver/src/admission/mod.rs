//! Admission: an ordered list of plugins, first those that may change the object, then those that
//! only judge it (k8s.io/apiserver/pkg/admission/{attributes,chain}.go@v0.37.2).
//!
//! Invariant: first error wins; a plugin that does not handle an operation is not asked.

mod amounts;
pub(crate) mod certificates;
pub(crate) mod expression;
mod limit_ranger;
mod namespace_lifecycle;
mod network;
mod node_restriction;
pub(crate) mod pod_security;
pub(crate) mod policy;
mod priority;
mod quota;
pub(crate) mod reinvocation;
#[cfg(test)]
mod rows;
mod runtime_class;
mod service_account;
mod storage;
mod tolerations;
mod topology_labels;
pub(crate) mod webhook;

use std::sync::Arc;

use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::audit::{Annotations, Level};
use crate::authn::User;
use crate::authz::Authorizers;
use crate::options::Times;
use crate::registry::{Entry, Registry};
use policy::source::Policies;
use reinvocation::Reinvocation;
use webhook::{MutatingAdmissionWebhook, ValidatingAdmissionWebhook, Webhooks};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As reviews, rules and metrics have it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// What is asked of a plugin. `object` is absent on delete, `old` on create; both are in the request's version.
pub(crate) struct Attributes<'a> {
    pub(crate) operation: Operation,
    pub(crate) user: &'a User,
    /// The resource that is served, for what is not told below.
    pub(crate) entry: &'a Arc<Entry>,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) object: Option<&'a mut Map>,
    pub(crate) old: Option<&'a Map>,
    pub(crate) dry_run: bool,
    /// CreateOptions, UpdateOptions or DeleteOptions; null for a connection.
    pub(crate) options: Value,
    /// What plugins tell the client beside the answer.
    pub(crate) warnings: Mutex<Vec<String>>,
    /// What plugins have to tell the audit log.
    pub(crate) annotations: Mutex<Annotations>,
    pub(crate) reinvocation: Mutex<Reinvocation>,
}

impl Attributes<'_> {
    pub(crate) fn warn(&self, text: String) {
        self.warnings.lock().push(text);
    }

    /// Keeps the first value of each key.
    pub(crate) fn annotate(&self, key: String, value: String) {
        self.annotations.lock().add(Level::Metadata, key, value);
    }

    /// As [`Attributes::annotate`], for what is told from a level on.
    pub(crate) fn annotate_at(&self, level: Level, key: impl FnOnce() -> String, value: impl FnOnce() -> String) {
        let mut annotations = self.annotations.lock();
        if annotations.wants(level) {
            annotations.add(level, key(), value());
        }
    }

    /// True when the object is of the resource's own kind, not of a subresource's.
    pub(crate) fn is_own_kind(&self) -> bool {
        let expected = self.entry.expected(self.subresource);
        (expected.group, expected.kind) == (self.entry.facts.group, self.entry.facts.kind)
    }

    /// True for this resource of this group, on the resource itself or on any of the subresources named.
    pub(crate) fn is(&self, group: &str, resource: &str, subresources: &[&str]) -> bool {
        self.group == group && self.resource == resource && subresources.contains(&self.subresource)
    }

    /// `Status::forbidden` about this object, in upstream's form for admission.
    pub(crate) fn forbidden(&self, why: &str) -> Status {
        let name = match (&self.object, self.name) {
            (Some(object), "") => {
                let meta = object.map("metadata");
                let name = meta.map_or("", |meta| meta.str("name"));
                if name.is_empty() {
                    meta.map_or("", |meta| meta.str("generateName")).to_string()
                } else {
                    name.to_string()
                }
            }
            (_, name) => name.to_string(),
        };
        let name = if name.is_empty() { "Unknown/Unknown" } else { &name };
        Status::forbidden(self.group, self.resource, name, why)
    }
}

/// Read access to objects, by group, plural, namespace and name, in the storage version's form.
pub(crate) trait Reader: Send + Sync {
    /// What is served.
    fn registry(&self) -> &Registry;

    /// From the watch cache: may lag behind.
    fn cached(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<std::sync::Arc<Map>>;

    /// From the store.
    fn live<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Map>, Status>>;

    /// All objects of a namespace ("" for cluster-scoped kinds) from the watch cache.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<std::sync::Arc<Map>>;

    /// Reads, changes and writes an object without admission, as a plugin's own bookkeeping does (quota status).
    /// `change` may be called again after a conflict; `None` leaves the object as it is.
    fn update<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        change: &'a mut (dyn FnMut(&mut Map) -> Result<bool, Status> + Send),
    ) -> BoxFuture<'a, Result<(), Status>>;
}

/// One admission plugin.
pub(crate) trait Plugin: Send + Sync {
    /// Upstream's name, as --enable-admission-plugins knows it.
    fn name(&self) -> &'static str;

    fn handles(&self, operation: Operation) -> bool;

    /// May change `attributes.object`; runs in the first pass.
    fn admit<'a>(
        &'a self,
        _attributes: &'a mut Attributes<'_>,
        _objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async { Ok(()) })
    }

    /// Judges; runs in the second pass, after all changes.
    fn validate<'a>(
        &'a self,
        _attributes: &'a Attributes<'_>,
        _objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async { Ok(()) })
    }
}

/// The plugins that are on, in order.
pub(crate) struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Chain {
    pub(crate) fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Chain { plugins }
    }

    /// Runs the plugins that may change the object, a second time when one of them asks for it.
    pub(crate) async fn admit(&self, attributes: &mut Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
        self.admit_once(attributes, objects).await?;
        if attributes.reinvocation.get_mut().begin_again() {
            self.admit_once(attributes, objects).await?;
        }
        Ok(())
    }

    async fn admit_once(&self, attributes: &mut Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
        let operation = attributes.operation;
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(operation)) {
            plugin.admit(attributes, objects).await?;
        }
        Ok(())
    }

    pub(crate) async fn validate(&self, attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(attributes.operation)) {
            plugin.validate(attributes, objects).await?;
        }
        Ok(())
    }
}

/// Reviews that neither webhooks nor policies may stand in the way of
/// (pkg/kubeapiserver/admission/exclusion/resources.go@v1.37.2).
const EXCLUDED: &[(&str, &str)] = &[
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

fn is_excluded(group: &str, resource: &str) -> bool {
    EXCLUDED.contains(&(group, resource))
}

/// What plugins share with the rest of the server.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) authorizers: Arc<Authorizers>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) times: Times,
    pub(crate) pod_security: pod_security::Metrics,
}

/// A plugin, and whether it is on unless --disable-admission-plugins names it.
type Row = (fn(&Parts) -> Box<dyn Plugin>, bool);

/// Every plugin, in upstream's order (pkg/kubeapiserver/options/plugins.go@v1.37.2: AllOrderedPlugins).
const PLUGINS: &[Row] = &[
    (|_| Box::new(namespace_lifecycle::NamespaceLifecycle::default()), true),
    (|_| Box::new(limit_ranger::LimitRanger), true),
    (|_| Box::new(service_account::ServiceAccount), true),
    (|parts| Box::new(node_restriction::NodeRestriction(parts.authorizers.clone())), false),
    (|_| Box::new(tolerations::TaintNodesByCondition), true),
    (|parts| Box::new(pod_security::PodSecurity(parts.pod_security.clone())), true),
    (|_| Box::new(priority::Priority), true),
    (|parts| Box::new(tolerations::DefaultTolerationSeconds::new(&parts.times)), true),
    (|_| Box::new(tolerations::ExtendedResourceToleration), false),
    (|_| Box::new(storage::DefaultStorageClass), true),
    (|_| Box::new(storage::StorageObjectInUseProtection), true),
    (|_| Box::new(storage::PersistentVolumeClaimResize), true),
    (|_| Box::new(runtime_class::RuntimeClass), true),
    (|parts| Box::new(certificates::CertificateApproval(parts.authorizers.clone())), true),
    (|parts| Box::new(certificates::CertificateSigning(parts.authorizers.clone())), true),
    (|parts| Box::new(certificates::ClusterTrustBundleAttest(parts.authorizers.clone())), true),
    (|_| Box::new(certificates::CertificateSubjectRestriction), true),
    (|_| Box::new(network::DefaultIngressClass), true),
    (|_| Box::new(network::DenyServiceExternalIPs), false),
    (|_| Box::new(topology_labels::PodTopologyLabels), true),
    (|parts| Box::new(mutating_policy(parts)), true),
    (|parts| Box::new(mutating_webhook(parts)), true),
    (|parts| Box::new(validating_policy(parts)), true),
    (|parts| Box::new(validating_webhook(parts)), true),
    (|_| Box::new(quota::ResourceQuota), true),
];

fn mutating_policy(parts: &Parts) -> policy::mutating::MutatingAdmissionPolicy {
    let Parts { authorizers, policies, .. } = parts.clone();
    policy::mutating::MutatingAdmissionPolicy { policies, authorizers }
}

fn validating_policy(parts: &Parts) -> policy::validating::ValidatingAdmissionPolicy {
    let Parts { authorizers, policies, .. } = parts.clone();
    policy::validating::ValidatingAdmissionPolicy { policies, authorizers }
}

fn mutating_webhook(parts: &Parts) -> MutatingAdmissionWebhook {
    let Parts { authorizers, webhooks, .. } = parts.clone();
    MutatingAdmissionWebhook { webhooks, authorizers }
}

fn validating_webhook(parts: &Parts) -> ValidatingAdmissionWebhook {
    let Parts { authorizers, webhooks, .. } = parts.clone();
    ValidatingAdmissionWebhook { webhooks, authorizers }
}

/// Upstream's plugins that this version does not have: named in a flag they are accepted, and a warning says so.
const ABSENT: &[&str] = &[
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "EventRateLimit",
    "ImagePolicyWebhook",
    "LimitPodHardAntiAffinityTopology",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeDeclaredFeatureValidator",
    "OwnerReferencesPermissionEnforcement",
    "PodGroupProtection",
    "PodNodeSelector",
    "PodResizeValidator",
    "PodTolerationRestriction",
];

/// The plugins that the flags leave on, in order.
///
/// # Errors
/// A name that is no plugin's, or one that is both enabled and disabled: upstream's texts.
pub(crate) fn plugins(enable: &[String], disable: &[String], parts: &Parts) -> Result<Vec<Box<dyn Plugin>>, String> {
    let all: Vec<(Box<dyn Plugin>, bool)> = PLUGINS.iter().map(|(make, on)| (make(parts), *on)).collect();
    for name in enable.iter().chain(disable) {
        let known = all.iter().any(|(plugin, _)| plugin.name() == name);
        if !known && !ABSENT.contains(&name.as_str()) {
            return Err(format!("enable-admission-plugins plugin {name:?} is unknown"));
        }
        if !known && enable.contains(name) {
            tracing::warn!(plugin = name.as_str(), "admission plugin is not there in this version");
        }
        if enable.contains(name) && disable.contains(name) {
            return Err(format!("{name:?} in enable-admission-plugins and disable-admission-plugins overlapped"));
        }
    }
    let on = |plugin: &dyn Plugin, default: bool| {
        let named = |list: &[String]| list.iter().any(|name| name == plugin.name());
        (default || named(enable)) && !named(disable)
    };
    Ok(all.into_iter().filter(|(plugin, default)| on(plugin.as_ref(), *default)).map(|(plugin, _)| plugin).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{PLUGINS, Parts, plugins};
    use crate::authz::Authorizers;

    /// What the flags leave, as changes of what is on by default.
    fn check(enable: &[&str], disable: &[&str], expect: Result<(&[&str], &[&str]), &str>) {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let authorizers = Arc::new(Authorizers::new(&[]));
        let parts = Parts {
            authorizers,
            policies: Arc::default(),
            webhooks: Arc::default(),
            times: crate::options::Times::default(),
            pod_security: Default::default(),
        };
        let got = plugins(&list(enable), &list(disable), &parts);
        let got = got.map(|plugins| plugins.iter().map(|plugin| plugin.name()).collect::<Vec<_>>());
        let rows = PLUGINS.iter().map(|(make, on)| (make(&parts).name(), *on));
        let wanted = expect.map(|(more, less)| {
            let on = rows.filter(|(name, on)| (*on || more.contains(name)) && !less.contains(name));
            on.map(|(name, _)| name).collect::<Vec<_>>()
        });
        assert_eq!(got.as_ref().map_err(String::as_str), wanted.as_ref().map_err(|why| *why));
    }

    #[test]
    fn flags_choose_plugins_but_not_their_order() {
        check(&[], &[], Ok((&[], &[])));
        check(&["NodeRestriction"], &["Priority"], Ok((&["NodeRestriction"], &["Priority"])));
        check(&["Nope"], &[], Err("enable-admission-plugins plugin \"Nope\" is unknown"));
        check(
            &["Priority"],
            &["Priority"],
            Err("\"Priority\" in enable-admission-plugins and disable-admission-plugins overlapped"),
        );
    }
}
