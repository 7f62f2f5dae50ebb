//! What every object has: kind, apiVersion and metadata, over the value tree.

use crate::value::{Map, Value};

/// Access to the metadata of an object (or of the objects inside a list).
pub trait Meta {
    fn meta(&self) -> &Map;
    fn meta_mut(&mut self) -> &mut Map;

    fn name(&self) -> &str {
        self.meta().str("name")
    }

    fn namespace(&self) -> &str {
        self.meta().str("namespace")
    }

    fn uid(&self) -> &str {
        self.meta().str("uid")
    }

    fn resource_version(&self) -> &str {
        self.meta().str("resourceVersion")
    }

    fn generation(&self) -> i64 {
        self.meta().i64("generation").unwrap_or(0)
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.meta().map("labels")?.get(name)?.as_str()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.meta().map("annotations")?.get(name)?.as_str()
    }

    fn is_deleting(&self) -> bool {
        self.meta().contains("deletionTimestamp")
    }

    fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.meta().list("finalizers").iter().filter_map(Value::as_str)
    }
}

impl Meta for Map {
    fn meta(&self) -> &Map {
        self.map("metadata").unwrap_or(Map::EMPTY)
    }

    fn meta_mut(&mut self) -> &mut Map {
        self.map_mut("metadata")
    }
}

/// Sets `kind` and `apiVersion`, first in the object as Go writes them.
pub fn set_kind(object: &mut Map, api_version: &str, kind: &str) {
    if object.contains("kind") && object.contains("apiVersion") {
        object.set("kind", kind);
        object.set("apiVersion", api_version);
        return;
    }
    object.remove("kind");
    object.remove("apiVersion");
    let mut whole = Map::with_capacity(object.len() + 2);
    whole.push("kind".into(), kind.into());
    whole.push("apiVersion".into(), api_version.into());
    for (name, value) in std::mem::take(object) {
        whole.push(name, value);
    }
    *object = whole;
}
