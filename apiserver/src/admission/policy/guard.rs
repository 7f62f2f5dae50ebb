//! Who may write a policy or binding that reads parameters: whoever may read them
//! (pkg/registry/admissionregistration/{validating,mutating}admissionpolicy{,binding}/authz.go@v1.37.2).
//!
//! Upstream has it in the registry; here it is a plugin that cannot be switched off and judges after all changes are
//! made, and after validation.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::facts::split_api_version;
use api::field::{self, Path};
use api::object::Meta;
use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use crate::admission::{Attributes, Operation, Plugin, Reader};
use crate::authn::{SYSTEM_PRIVILEGED_GROUP, User};
use crate::authz::{Attributes as Wanted, Authorizers, ResourceAttributes};
use crate::registry::Registry;

pub(crate) struct ParamGuard(pub(crate) Arc<Authorizers>);

impl Plugin for ParamGuard {
    fn name(&self) -> &'static str {
        "policyparameters"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let ours = attributes.group == "admissionregistration.k8s.io" && attributes.subresource.is_empty();
            let Some(object) = attributes.object.as_deref().filter(|_| ours) else { return Ok(()) };
            if attributes.user.in_group(SYSTEM_PRIVILEGED_GROUP) {
                return Ok(());
            }
            let (field, refused) = match attributes.resource {
                "validatingadmissionpolicies" | "mutatingadmissionpolicies" => {
                    ("paramKind", self.policy(attributes, object, objects.registry()))
                }
                "validatingadmissionpolicybindings" => {
                    ("paramRef", self.binding(attributes, object, objects, "validatingadmissionpolicies").await?)
                }
                "mutatingadmissionpolicybindings" => {
                    ("paramRef", self.binding(attributes, object, objects, "mutatingadmissionpolicies").await?)
                }
                _ => return Ok(()),
            };
            let Some(why) = refused else { return Ok(()) };
            let error = field::forbidden(&Path::new("spec").child(field), why);
            Err(Status::invalid(attributes.group, attributes.kind, object.name(), &[error]))
        })
    }
}

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

/// Group, version and resource of a kind; what cannot be told is everything. `false` when the resource is unknown.
fn resource_of<'a>(kind: &'a Map, registry: &Registry) -> ((&'a str, &'a str, &'static str), bool) {
    let (group, version) = split_api_version(kind.str("apiVersion"));
    let name = kind.str("kind");
    let entries = registry.entries();
    let found = entries.iter().map(|entry| entry.facts);
    let mut found = found.filter(|facts| (facts.group, facts.version, facts.kind) == (group, version, name));
    match found.next() {
        Some(facts) => ((group, version, facts.plural), true),
        None => ((group, version, "*"), false),
    }
}

/// As Go prints a user: `&{name uid [groups] map[extra]}`.
fn shown(user: &User) -> String {
    let list = |texts: &[String]| format!("[{}]", texts.join(" "));
    let extra: BTreeMap<_, _> = user.extra.iter().collect();
    let extra: Vec<String> = extra.into_iter().map(|(key, values)| format!("{key}:{}", list(values))).collect();
    format!("&{{{} {} {} map[{}]}}", user.name, user.uid, list(&user.groups), extra.join(" "))
}

impl ParamGuard {
    fn allows(&self, user: &User, verb: &str, resource: ResourceAttributes<'_>) -> bool {
        self.0.decide(&Wanted { user, verb, resource: Some(resource), path: "" }).is_allow()
    }

    fn policy(&self, attributes: &Attributes<'_>, object: &Map, registry: &Registry) -> Option<String> {
        let kind = spec(object).map("paramKind")?;
        if attributes.old.and_then(|old| spec(old).map("paramKind")) == Some(kind) {
            return None;
        }
        let ((group, version, resource), _) = resource_of(kind, registry);
        let all = ResourceAttributes { group, version, resource, namespace: "*", name: "*", ..Default::default() };
        (!self.allows(attributes.user, "get", all)).then(|| {
            format!(
                "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
                shown(attributes.user),
                kind.str("kind"),
                kind.str("apiVersion")
            )
        })
    }

    async fn binding(
        &self,
        attributes: &Attributes<'_>,
        object: &Map,
        objects: &dyn Reader,
        policies: &str,
    ) -> Result<Option<String>, Status> {
        let own = spec(object);
        let Some(reference) = own.map("paramRef") else { return Ok(None) };
        let name = own.str("policyName");
        // Upstream compares the pointers in a paramRef: one with a selector or an action is never the same.
        let policy = objects.live(attributes.group, policies, "", name).await?;
        let kind = policy.as_ref().and_then(|policy| spec(policy).map("paramKind"));
        let ((group, version, resource), resolved) =
            kind.map_or((("*", "*", "*"), true), |kind| resource_of(kind, objects.registry()));
        let param = reference.str("name");
        let verb = if param.is_empty() { "list" } else { "get" };
        let namespace = reference.str("namespace");
        let wanted = ResourceAttributes { group, version, resource, namespace, name: param, ..Default::default() };
        if self.allows(attributes.user, verb, wanted) {
            return Ok(None);
        }
        let user = shown(attributes.user);
        let everything =
            format!("user {user} does not have \"{verb}\" permission for all groups, versions and resources");
        Ok(Some(match (&policy, kind) {
            (None, _) => {
                format!("unable to get policy {name} to determine minimum required permissions and {everything}")
            }
            (Some(_), Some(kind)) if !resolved => {
                let shown = format!("&ParamKind{{APIVersion:{},Kind:{},}}", kind.str("apiVersion"), kind.str("kind"));
                format!(
                    "unable to resolve paramKind {shown} to determine minimum required permissions and {everything}"
                )
            }
            _ => format!("user {user} does not have \"{verb}\" permission on the object referenced by paramRef"),
        }))
    }
}
