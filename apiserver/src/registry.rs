//! The table of what is served: one [`Entry`] a group, version and resource, one [`Storage`] a stored resource.
//!
//! Invariant: an entry is made from a row of facts and an optional strategy, nothing else; routes,
//! discovery, OpenAPI and caches follow from the table.

use std::collections::HashMap;
use std::sync::Arc;

use api::facts::{self, Resource, Struct, Subresource};
use api::json;
use api::value::Map;
use api::{object, proto};
use bytes::Bytes;

use crate::cache::Cache;
use crate::resources;
use crate::strategy::Strategy;

/// Converts an object between the entry's version and the storage version, when their shapes differ.
pub(crate) struct Conversion {
    pub(crate) to_storage: fn(&Map) -> Map,
    pub(crate) from_storage: fn(&Map) -> Map,
}

/// A served resource of one version.
pub(crate) struct Entry {
    pub(crate) facts: &'static Resource,
    pub(crate) api_version: String,
    /// Where its objects are kept; kinds that are only asked (reviews) have none.
    pub(crate) storage: Option<Arc<Storage>>,
    pub(crate) strategy: &'static dyn Strategy,
    conversion: Option<&'static Conversion>,
}

/// Where the objects of a resource are kept, whatever the version they are asked in.
pub(crate) struct Storage {
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    /// Key prefix with a slash at the end: `/registry/pods/`.
    pub(crate) prefix: String,
    /// The storage version's facts.
    pub(crate) stored: &'static Resource,
    api_version: String,
    pub(crate) strategy: &'static dyn Strategy,
    pub(crate) cache: Cache,
}

/// What is wrong with stored bytes.
#[derive(Debug, thiserror::Error)]
#[error("unable to decode {key}: {why}")]
pub(crate) struct Undecodable {
    pub(crate) key: String,
    pub(crate) why: String,
}

impl Storage {
    /// The key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Bytes {
        Bytes::from(format!("{}{}", self.prefix, relative_key(namespace, name)))
    }

    /// Bytes as upstream stores them; resourceVersion is not among what is stored.
    pub(crate) fn encode(&self, stored: &Map) -> Vec<u8> {
        proto::wrap(&self.api_version, self.stored.kind, &proto::encode(stored, self.stored.ty))
    }

    /// The object of stored bytes in the storage version, with its resourceVersion.
    pub(crate) fn decode(&self, bytes: &[u8], revision: u64) -> Result<Map, Undecodable> {
        let failed = |why: String| Undecodable { key: self.prefix.clone(), why };
        let mut object = match proto::unwrap(bytes).map_err(|error| failed(error.to_string()))? {
            Some(unknown) => proto::decode(unknown.raw, self.stored.ty).map_err(|error| failed(error.to_string()))?,
            None => {
                let decoded = api::json::decode(bytes, self.stored.ty, api::json::Strictness::Lenient);
                decoded.map_err(|error| failed(error.to_string()))?.value
            }
        };
        object::set_kind(&mut object, &self.api_version, self.stored.kind);
        set_resource_version(&mut object, revision);
        Ok(object)
    }
}

/// `namespace/name`, or `name`.
pub(crate) fn relative_key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_string() } else { format!("{namespace}/{name}") }
}

pub(crate) fn set_resource_version(object: &mut Map, revision: u64) {
    let meta = object.map_mut("metadata");
    meta.set("resourceVersion", revision.to_string());
}

impl Entry {
    /// True when stored objects are served as they are.
    pub(crate) fn is_storage_version(&self) -> bool {
        match &self.storage {
            Some(storage) => storage.stored.group == self.facts.group && storage.stored.version == self.facts.version,
            None => true,
        }
    }

    /// An object of this version in the storage version.
    pub(crate) fn to_storage(&self, object: &Map) -> Map {
        let ty = self.storage.as_ref().map_or(self.facts.ty, |storage| storage.stored.ty);
        self.convert(object, ty, |conversion| conversion.to_storage)
    }

    /// An object of the storage version in this version.
    #[allow(clippy::wrong_self_convention, reason = "the counterpart of to_storage")]
    pub(crate) fn from_storage(&self, stored: &Map) -> Map {
        let mut object = self.convert(stored, self.facts.ty, |conversion| conversion.from_storage);
        object::set_kind(&mut object, &self.api_version, self.facts.kind);
        object
    }

    fn convert(&self, object: &Map, ty: &'static Struct, way: impl Fn(&Conversion) -> fn(&Map) -> Map) -> Map {
        match self.conversion {
            Some(conversion) => way(conversion)(object),
            None if self.is_storage_version() => object.clone(),
            // Versions of one shape: fields that only one of them has are dropped.
            None => match json::decode(&json::encode(object), ty, json::Strictness::Lenient) {
                Ok(decoded) => decoded.value,
                Err(error) => {
                    tracing::error!(kind = self.facts.kind, %error, "object does not fit its other version");
                    object.clone()
                }
            },
        }
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.facts.subresource(name)
    }

    pub(crate) fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// `PodList`.
    pub(crate) fn list_kind(&self) -> String {
        format!("{}List", self.facts.kind)
    }
}

/// What is served now.
pub(crate) struct Registry {
    entries: HashMap<(&'static str, &'static str, &'static str), Arc<Entry>>,
    /// In the order of the facts.
    ordered: Vec<Arc<Entry>>,
    storages: HashMap<String, Arc<Storage>>,
}

impl Registry {
    /// Every resource of the versions that are served.
    pub(crate) fn new(served: impl Fn(&Resource) -> bool) -> Self {
        let mut registry = Registry { entries: HashMap::new(), ordered: Vec::new(), storages: HashMap::new() };
        for resource in facts::resources().iter().filter(|resource| served(resource)) {
            let entry = Arc::new(registry.entry(resource));
            registry.entries.insert((resource.group, resource.version, resource.plural), entry.clone());
            registry.ordered.push(entry);
        }
        registry
    }

    fn entry(&mut self, facts: &'static Resource) -> Entry {
        let strategy = resources::strategy(facts.group, facts.plural);
        let storage = (!facts.storage_prefix.is_empty()).then(|| self.storage(facts));
        let conversion = resources::conversion(facts.group, facts.version, facts.plural);
        Entry { facts, api_version: facts.api_version(), storage, strategy, conversion }
    }

    fn storage(&mut self, facts: &'static Resource) -> Arc<Storage> {
        let prefix = format!("/registry/{}/", facts.storage_prefix);
        let made = self.storages.entry(prefix.clone()).or_insert_with(|| {
            let stored = storage_version(facts);
            Arc::new(Storage {
                group: stored.group,
                plural: stored.plural,
                prefix,
                stored,
                api_version: stored.api_version(),
                strategy: resources::strategy(stored.group, stored.plural),
                cache: Cache::new(),
            })
        });
        made.clone()
    }

    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Entry>> {
        // Keys are static; looking up by borrowed text needs an iteration-free detour through the facts.
        let facts =
            facts::resources().iter().find(|r| r.plural == plural && r.group == group && r.version == version)?;
        self.entries.get(&(facts.group, facts.version, facts.plural))
    }

    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.ordered
    }

    /// The entry of the preferred version of a resource.
    pub(crate) fn preferred(&self, group: &str, plural: &str) -> Option<&Arc<Entry>> {
        self.ordered.iter().find(|entry| entry.facts.group == group && entry.facts.plural == plural)
    }

    pub(crate) fn storages(&self) -> impl Iterator<Item = &Arc<Storage>> {
        self.storages.values()
    }

    /// The storage of a resource by its storage group, or any group it is served in.
    pub(crate) fn storage_of(&self, group: &str, plural: &str) -> Option<&Arc<Storage>> {
        self.preferred(group, plural)?.storage.as_ref()
    }

    /// The storage that a key belongs to, and the key relative to it.
    pub(crate) fn storage_of_key<'k>(&self, key: &'k str) -> Option<(&Arc<Storage>, &'k str)> {
        let rest = key.strip_prefix("/registry/")?;
        let one = rest.find('/')?;
        let two = rest[one + 1..].find('/').map(|at| one + 1 + at);
        let base = "/registry/".len();
        for end in [two, Some(one)].into_iter().flatten() {
            if let Some(storage) = self.storages.get(&key[..base + end + 1]) {
                return Some((storage, &rest[end + 1..]));
            }
        }
        None
    }
}

/// The facts of the version that upstream stores; the row's own when that version is not in the facts.
fn storage_version(facts: &'static Resource) -> &'static Resource {
    let wanted = |r: &&Resource| {
        r.plural == facts.plural && r.group == facts.storage_group && r.version == facts.storage_version
    };
    facts::resources().iter().find(wanted).unwrap_or(facts)
}
