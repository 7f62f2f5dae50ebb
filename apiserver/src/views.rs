//! The authorisers' views of the store: RBAC objects and the graph of what runs on which node.

use std::sync::Arc;

use api::value::Map;
use api::view;
use serde::de::DeserializeOwned;

use crate::authz::Authorizers;
use crate::authz::graph::Kind;
use crate::authz::rbac::{RbacKind, RbacObject};
use crate::cache::Item;
use crate::hub::Observer;
use crate::registry::Storage;

pub(crate) struct AuthorizerViews(pub(crate) Arc<Authorizers>);

impl Observer for AuthorizerViews {
    fn changed(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        match (storage.group, storage.plural) {
            ("rbac.authorization.k8s.io", plural) => self.rbac(plural, storage, key, item),
            ("", "pods" | "nodes" | "persistentvolumes") | ("storage.k8s.io", "volumeattachments") => {
                self.graph(storage, key, item);
            }
            _ => {}
        }
    }
}

fn typed<T: DeserializeOwned>(storage: &Storage, item: &Item) -> Option<T> {
    let object: Map = item.object(storage);
    view::of(&object).inspect_err(|error| tracing::error!(key = %item.key, %error, "object has no typed view")).ok()
}

fn split(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

impl AuthorizerViews {
    fn rbac(&self, plural: &str, storage: &Storage, key: &str, item: Option<&Item>) {
        let kind = match plural {
            "clusterroles" => RbacKind::ClusterRole,
            "clusterrolebindings" => RbacKind::ClusterRoleBinding,
            "roles" => RbacKind::Role,
            "rolebindings" => RbacKind::RoleBinding,
            _ => return,
        };
        let Some(item) = item else {
            let (namespace, name) = split(key);
            return self.0.update_rbac(|index| index.remove(kind, namespace, name));
        };
        let object = match kind {
            RbacKind::ClusterRole => typed(storage, item).map(RbacObject::ClusterRole),
            RbacKind::ClusterRoleBinding => typed(storage, item).map(RbacObject::ClusterRoleBinding),
            RbacKind::Role => typed(storage, item).map(RbacObject::Role),
            RbacKind::RoleBinding => typed(storage, item).map(RbacObject::RoleBinding),
        };
        if let Some(object) = object {
            self.0.update_rbac(|index| index.set(object));
        }
    }

    fn graph(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        let (namespace, name) = split(key);
        match (storage.plural, item) {
            // A pod that no node was chosen for is nobody's: most pods are seen so once, and need no decoding.
            ("pods", Some(item)) if item.peek(storage, &["spec", "nodeName"]).is_some_and(str::is_empty) => {}
            ("pods", Some(item)) => {
                if let Some(pod) = typed(storage, item) {
                    self.0.update_graph(|graph| graph.set_pod(&pod));
                }
            }
            ("pods", None) => self.0.update_graph(|graph| graph.remove_pod(namespace, name)),
            ("persistentvolumes", Some(item)) => {
                if let Some(volume) = typed(storage, item) {
                    self.0.update_graph(|graph| graph.set_volume(&volume));
                }
            }
            ("persistentvolumes", None) => self.0.update_graph(|graph| graph.remove_volume(name)),
            ("volumeattachments", Some(item)) => {
                let object = item.object(storage);
                let node = object.map("spec").map_or("", |spec| spec.str("nodeName"));
                self.0.update_graph(|graph| graph.set_node(Kind::VolumeAttachment, "", name, node));
            }
            ("volumeattachments", None) => {
                self.0.update_graph(|graph| graph.remove_node(Kind::VolumeAttachment, "", name));
            }
            _ => {}
        }
    }
}
