//! NodeRestriction: a kubelet writes its own node and the pods bound to it, nothing else
//! (plugin/pkg/admission/noderestriction/admission.go@v1.37.2).

mod node;
mod owned;
mod pods;
mod token;

use std::sync::Arc;

use api::field::go_quote;
use api::object::Meta;
use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, Reader};
use crate::authn::{NODES_GROUP, User};
use crate::authz::Authorizers;

const NODE_PREFIX: &str = "system:node:";

pub(crate) struct NodeRestriction(pub(crate) Arc<Authorizers>);

/// The node that a user is, when it is one.
fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix(NODE_PREFIX).filter(|_| user.in_group(NODES_GROUP))
}

/// One request of one node.
struct Request<'a> {
    attributes: &'a Attributes<'a>,
    objects: &'a dyn Reader,
    authorizers: &'a Authorizers,
    node: &'a str,
}

impl Request<'_> {
    fn refuse(&self, why: &str) -> Result<(), Status> {
        Err(self.attributes.forbidden(why))
    }

    fn unexpected_operation(&self) -> Result<(), Status> {
        self.refuse(&format!("unexpected operation {}", go_quote(operation(self.attributes.operation))))
    }

    /// The name of the object, also when it is new.
    fn name(&self) -> &str {
        match (self.attributes.name, self.attributes.object.as_deref()) {
            ("", Some(object)) => object.name(),
            (name, _) => name,
        }
    }

    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Result<Option<Map>, Status> {
        match self.objects.cached("", resource, namespace, name) {
            Some(object) => Ok(Some((*object).clone())),
            None => self.objects.live("", resource, namespace, name).await,
        }
    }

    async fn pod(&self, name: &str) -> Result<Map, Status> {
        let pod = self.find("pods", self.attributes.namespace, name).await?;
        pod.ok_or_else(|| Status::not_found("", "pods", name))
    }
}

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let Some(node) = node_of(attributes.user) else { return Ok(()) };
            let request = Request { attributes, objects, authorizers: &self.0, node };
            if node.is_empty() {
                let user = go_quote(&attributes.user.name);
                return request.refuse(&format!("could not determine node from user {user}"));
            }
            match (attributes.group, attributes.resource, attributes.subresource) {
                ("", "pods", "") => pods::pod(&request).await,
                ("", "pods", "status") => pods::status(&request),
                ("", "pods", "eviction") => pods::eviction(&request).await,
                ("", "pods", other) => request.refuse(&format!(
                    "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
                    go_quote(other)
                )),
                ("", "nodes", _) => node::own_node(&request),
                ("", "persistentvolumeclaims", "status") => owned::claim_status(&request),
                ("", "persistentvolumeclaims", _) => request.refuse("may only update PVC status"),
                ("", "serviceaccounts", "token") => token::request(&request).await,
                ("certificates.k8s.io", "certificatesigningrequests", _) => owned::csr(&request),
                ("certificates.k8s.io", "podcertificaterequests", _) => owned::pod_certificate(&request).await,
                ("coordination.k8s.io", "leases", _) => owned::lease(&request),
                ("resource.k8s.io", "resourceslices", _) => owned::slice(&request),
                ("storage.k8s.io", "csinodes", _) => owned::csi_node(&request),
                _ => Ok(()),
            }
        })
    }
}
