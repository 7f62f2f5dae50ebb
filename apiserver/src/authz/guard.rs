//! The guard on RBAC writes: [`super::escalation`] asked for each create and update of a role or binding.
//!
//! Upstream has it in the registry (`pkg/registry/rbac/*/policybased/storage.go@v1.37.2`); here it is a
//! plugin that cannot be switched off and judges after all changes are made.

use std::sync::Arc;

use api::object::Meta;
use api::status::Status;
use api::value::Map;
use api::view;
use futures::future::BoxFuture;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::de::DeserializeOwned;

use super::Authorizers;
use super::escalation::{BindingRefusal, Checker};
use crate::admission::{Attributes, Operation, Plugin, Reader};
use crate::chain::refused;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) struct Guard(pub(crate) Arc<Authorizers>);

impl Plugin for Guard {
    fn name(&self) -> &'static str {
        "rbac"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            match &attributes.object {
                Some(object) if attributes.group == GROUP && !only_bookkeeping(object, attributes.old) => {
                    self.check(attributes, object)
                }
                _ => Ok(()),
            }
        })
    }
}

/// Changes of owners, finalizers and managers grant nothing (rest.IsOnlyMutatingGCFields).
fn only_bookkeeping(object: &Map, old: Option<&Map>) -> bool {
    let Some(old) = old else { return false };
    let bare = |object: &Map| {
        let mut bare = object.clone();
        let meta = bare.meta_mut();
        for name in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            meta.remove(name);
        }
        bare
    };
    bare(object) == bare(old)
}

fn typed<T: DeserializeOwned>(object: &Map) -> Result<T, Status> {
    view::of(object).map_err(|error| Status::internal(&error.to_string()))
}

impl Guard {
    fn check(&self, attributes: &Attributes<'_>, object: &Map) -> Result<(), Status> {
        let index = self.0.rbac();
        let decide = |asked: &super::Attributes<'_>| self.0.decide(asked);
        let checker = Checker { user: attributes.user, index: &index, decide };
        let (namespace, name) = (attributes.namespace, object.name());
        let request_name = if attributes.operation == Operation::Create { "" } else { attributes.name };
        match attributes.resource {
            "clusterroles" => {
                let old = attributes.old.map(typed::<ClusterRole>).transpose()?;
                checker.cluster_role(request_name, &typed(object)?, old.as_ref()).map_err(refused)
            }
            "roles" => {
                let role: Role = typed(object)?;
                let rules = role.rules.unwrap_or_default();
                checker.role("roles", (namespace, request_name, name), &rules).map_err(refused)
            }
            "clusterrolebindings" => {
                let binding: ClusterRoleBinding = typed(object)?;
                checker.binding("clusterrolebindings", ("", name), &binding.role_ref).map_err(refusal)
            }
            "rolebindings" => {
                let binding: RoleBinding = typed(object)?;
                checker.binding("rolebindings", (namespace, name), &binding.role_ref).map_err(refusal)
            }
            _ => Ok(()),
        }
    }
}

fn refusal(refusal: BindingRefusal) -> Status {
    match refusal {
        BindingRefusal::RoleNotFound { resource, name } => Status::not_found(GROUP, &resource, &name),
        BindingRefusal::Unsupported(text) => Status::bad_request(text),
        BindingRefusal::Forbidden(forbidden) => refused(forbidden),
    }
}
