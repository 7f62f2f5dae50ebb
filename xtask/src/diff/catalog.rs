//! What is served: kinds and their schemas, read from upstream's own discovery and OpenAPI v3 documents.
//!
//! Non-goal: comparing the documents themselves.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::schema::Schemas;
use super::wire::Connection;

/// A kind at one version, as a resource with its verbs and subresources.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) resource: String,
    pub(super) namespaced: bool,
    pub(super) verbs: Vec<String>,
    pub(super) subresources: Vec<Subresource>,
}

#[derive(Clone, Debug)]
pub(super) struct Subresource {
    pub(super) name: String,
    pub(super) verbs: Vec<String>,
}

impl Kind {
    /// `apps.v1.Deployment`; the core group has no name.
    pub(super) fn name(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!("{}.", self.group) };
        format!("{group}{}.{}", self.version, self.kind)
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of its objects; `namespace` counts when it is namespaced.
    pub(super) fn collection(&self, namespace: &str) -> String {
        let root = root(&self.api_version());
        if self.namespaced {
            format!("{root}/namespaces/{namespace}/{}", self.resource)
        } else {
            format!("{root}/{}", self.resource)
        }
    }

    pub(super) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    pub(super) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

/// The path of a group's version.
fn root(api_version: &str) -> String {
    let prefix = if api_version.contains('/') { "/apis" } else { "/api" };
    format!("{prefix}/{api_version}")
}

#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) kinds: Vec<Kind>,
    schemas: BTreeMap<String, Schemas>,
}

#[derive(Deserialize)]
struct ResourceList {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
}

impl Catalog {
    pub(super) async fn read(server: &mut Connection) -> Result<Self> {
        let mut catalog = Catalog::default();
        for api_version in versions(server).await? {
            let path = root(&api_version);
            let list: ResourceList =
                serde_json::from_value(server.document(&path).await?).with_context(|| path.clone())?;
            catalog.add(&api_version, list);
            let document = server.document(&format!("/openapi/v3{path}")).await?;
            catalog.schemas.insert(api_version, Schemas::new(document));
        }
        Ok(catalog)
    }

    fn add(&mut self, api_version: &str, list: ResourceList) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let first = self.kinds.len();
        for resource in list.resources {
            match resource.name.split_once('/') {
                None => self.kinds.push(Kind {
                    group: group.into(),
                    version: version.into(),
                    kind: resource.kind,
                    resource: resource.name,
                    namespaced: resource.namespaced,
                    verbs: resource.verbs,
                    subresources: Vec::new(),
                }),
                Some((parent, name)) => {
                    let of = self.kinds[first..].iter_mut().find(|kind| kind.resource == parent);
                    let subresource = Subresource { name: name.into(), verbs: resource.verbs };
                    of.into_iter().for_each(|kind| kind.subresources.push(subresource.clone()));
                }
            }
        }
    }

    pub(super) fn find(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.kinds.iter().find(|known| known.kind == kind && known.api_version() == api_version)
    }

    /// The schemas of a version's document.
    pub(super) fn schemas(&self, api_version: &str) -> Option<&Schemas> {
        self.schemas.get(api_version)
    }
}

/// Every version served, core first, preferred versions not first.
async fn versions(server: &mut Connection) -> Result<Vec<String>> {
    let groups = server.document("/apis").await?;
    let listed = groups["groups"].as_array().into_iter().flatten();
    let names = listed.flat_map(|group| group["versions"].as_array().into_iter().flatten());
    let mut versions: Vec<String> =
        names.filter_map(|version: &Value| version["groupVersion"].as_str().map(str::to_owned)).collect();
    versions.sort();
    versions.insert(0, "v1".into());
    Ok(versions)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A catalog of ConfigMap and its like with one status subresource.
    pub(in crate::diff) fn small() -> Catalog {
        let list = json!({"resources": [
            {"name": "things", "kind": "Thing", "namespaced": true, "verbs": ["create", "get", "update", "patch", "delete", "list"]},
            {"name": "things/status", "kind": "Thing", "namespaced": true, "verbs": ["get", "update", "patch"]},
        ]});
        let mut catalog = Catalog::default();
        catalog.add("g.io/v1", serde_json::from_value(list).unwrap());
        let document = json!({"components": {"schemas": {"io.g.v1.Thing": {
            "type": "object",
            "x-kubernetes-group-version-kind": [{"group": "g.io", "version": "v1", "kind": "Thing"}],
            "properties": {
                "spec": {"type": "object", "properties": {"size": {"type": "integer"}, "word": {"type": "string"}}},
                "status": {"type": "object", "properties": {"seen": {"type": "boolean"}}},
            },
        }}}});
        catalog.schemas.insert("g.io/v1".into(), Schemas::new(document));
        catalog
    }

    #[test]
    fn subresources_belong_to_their_kind() {
        let catalog = small();
        let kind = catalog.find("g.io/v1", "Thing").unwrap();
        assert_eq!((kind.name(), kind.subresources.len()), ("g.io.v1.Thing".into(), 1));
        assert_eq!(kind.collection("x"), "/apis/g.io/v1/namespaces/x/things");
        assert!(kind.subresource("status").is_some() && kind.can("list") && !kind.can("watch"));
    }
}
