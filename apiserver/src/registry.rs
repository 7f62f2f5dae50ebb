//! The table of what is served: one [`Entry`] a group, version and resource, one [`Storage`] a stored resource.
//!
//! Invariant: an entry is made from a row of facts and an optional strategy, nothing else; routes,
//! discovery, OpenAPI and caches follow from the table. What custom resources add is replaced as a whole,
//! so that a request sees one state of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::facts::{self, Resource, Struct, Subresource};
use api::json;
use api::status::Status;
use api::value::Map;
use api::{object, proto};
use bytes::Bytes;
use parking_lot::RwLock;

use crate::admission::Reader;
use crate::cache::Cache;
use crate::codec::Expected;
use crate::custom::Converter;
use crate::resources;
use crate::strategy::Strategy;

/// Converts an object between the entry's version and the storage version, when their shapes differ.
pub(crate) struct Conversion {
    pub(crate) to_storage: fn(&Map) -> Map,
    pub(crate) from_storage: fn(&Map) -> Map,
}

/// The strategy of a built-in kind, or of one version of a custom resource.
#[derive(Clone)]
pub(crate) enum Hooks {
    Fixed(&'static dyn Strategy),
    Custom(Arc<dyn Strategy>),
}

impl Deref for Hooks {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            Hooks::Fixed(strategy) => *strategy,
            Hooks::Custom(strategy) => strategy.as_ref(),
        }
    }
}

/// A served resource of one version.
pub(crate) struct Entry {
    pub(crate) facts: &'static Resource,
    pub(crate) api_version: String,
    /// Where its objects are kept; kinds that are only asked (reviews) have none.
    pub(crate) storage: Option<Arc<Storage>>,
    pub(crate) strategy: Hooks,
    conversion: Option<&'static Conversion>,
    /// The webhook that converts between the versions of a custom resource.
    converter: Option<Arc<Converter>>,
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
    pub(crate) strategy: Hooks,
    /// The versions that objects may be stored in, when only a webhook converts them.
    versions: Vec<(String, Hooks)>,
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
        self.full_key(&relative_key(namespace, name))
    }

    /// The prefix without what every key begins with: `/pods/`.
    pub(crate) fn short_prefix(&self) -> &str {
        &self.prefix[self.prefix.len() - self.stored.storage_prefix.len() - "//".len()..]
    }

    /// The key of an object as an error about a precondition shows it: a dry run does not come to the whole one.
    pub(crate) fn precondition_key(&self, namespace: &str, name: &str, dry_run: bool) -> String {
        let prefix = if dry_run { self.short_prefix() } else { &self.prefix };
        format!("{prefix}{}", relative_key(namespace, name))
    }

    /// The key that is `relative` below the prefix.
    pub(crate) fn full_key(&self, relative: &str) -> Bytes {
        Bytes::from(format!("{}{relative}", self.prefix))
    }

    /// Bytes as upstream stores them; resourceVersion is not among what is stored.
    pub(crate) fn encode(&self, stored: &Map) -> Vec<u8> {
        if self.stored.ty.open {
            return json::encode(stored);
        }
        proto::wrap(&self.api_version, self.stored.kind, &proto::encode(stored, self.stored.ty))
    }

    /// The object of stored bytes in the storage version, with its resourceVersion; when a webhook converts, in the
    /// version that it was stored in.
    pub(crate) fn decode(&self, bytes: &[u8], revision: u64) -> Result<Map, Undecodable> {
        let decoded = self.decode_any_version(bytes).map_err(|why| Undecodable { key: self.prefix.clone(), why });
        let mut object = decoded?;
        set_resource_version(&mut object, revision);
        if self.versions.is_empty() {
            object::set_kind(&mut object, &self.api_version, self.stored.kind);
            if self.strategy.completes_on_read() {
                self.strategy.default(&mut object);
            }
            self.strategy.read(&mut object);
        } else if let Some((_, strategy)) =
            self.versions.iter().find(|(version, _)| version == object.str("apiVersion"))
        {
            strategy.read(&mut object);
        }
        Ok(object)
    }

    /// The version of stored objects whose bytes are shown as they are; `None` when all are decoded first.
    pub(crate) fn plain_version(&self) -> Option<&str> {
        (!self.strategy.completes_on_read()).then_some(&self.api_version)
    }

    /// Another server may have stored it in a version that it preferred.
    fn decode_any_version(&self, bytes: &[u8]) -> Result<Map, String> {
        match proto::unwrap(bytes).map_err(|error| error.to_string())? {
            Some(unknown) if unknown.api_version == self.api_version => from_proto(unknown.raw, self.stored.ty),
            Some(unknown) => self.decode_version(unknown.api_version, |ty| from_proto(unknown.raw, ty)),
            None => {
                let object = from_json(bytes, self.stored.ty)?;
                if self.stored.ty.open || object.str("apiVersion") == self.api_version {
                    return Ok(object);
                }
                self.decode_version(object.str("apiVersion"), |ty| from_json(bytes, ty))
            }
        }
    }

    fn decode_version(
        &self,
        api_version: &str,
        decode: impl FnOnce(&'static Struct) -> Result<Map, String>,
    ) -> Result<Map, String> {
        let (group, version) = facts::split_api_version(api_version);
        let kind = self.stored.kind;
        let ty = facts::kind(group, version, kind)
            .ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
        let object = decode(ty)?;
        match resources::conversion(group, version, self.plural) {
            Some(conversion) => Ok((conversion.to_storage)(&object)),
            None => reshaped(&object, self.stored.ty),
        }
    }
}

fn from_proto(raw: &[u8], ty: &'static Struct) -> Result<Map, String> {
    proto::decode(raw, ty).map_err(|error| error.to_string())
}

fn from_json(text: &[u8], ty: &'static Struct) -> Result<Map, String> {
    let decoded = json::decode(text, ty, json::Strictness::Lenient);
    decoded.map(|decoded| decoded.value).map_err(|error| error.to_string())
}

/// Between versions of one shape: fields that only one of them has are dropped.
fn reshaped(object: &Map, ty: &'static Struct) -> Result<Map, String> {
    from_json(&json::encode(object), ty)
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
            _ if self.converter.is_some() => false,
            Some(storage) => storage.stored.group == self.facts.group && storage.stored.version == self.facts.version,
            None => true,
        }
    }

    /// True when a webhook has to be asked for objects in other versions.
    pub(crate) fn asks(&self) -> bool {
        self.converter.is_some()
    }

    /// Stored objects in this version, in their order.
    ///
    /// # Errors
    /// What keeps a webhook from converting them; nothing else does.
    pub(crate) async fn shown(&self, stored: Vec<Map>, objects: &dyn Reader) -> Result<Vec<Map>, Status> {
        match &self.converter {
            None => Ok(stored.into_iter().map(|object| self.from_storage(object)).collect()),
            Some(converter) => converter.convert(stored, &self.api_version, &*self.strategy, objects).await,
        }
    }

    /// As [`Entry::shown`] for one object.
    pub(crate) async fn read(&self, stored: Map, objects: &dyn Reader) -> Result<Map, Status> {
        match &self.converter {
            None => Ok(self.from_storage(stored)),
            Some(_) => Ok(self.shown(vec![stored], objects).await?.pop().unwrap_or_default()),
        }
    }

    /// An object of this version as it is stored.
    ///
    /// # Errors
    /// As [`Entry::shown`].
    pub(crate) async fn stored<'o>(&self, object: &'o Map, objects: &dyn Reader) -> Result<Cow<'o, Map>, Status> {
        let (Some(converter), Some(storage)) = (&self.converter, &self.storage) else {
            return Ok(self.to_storage(object));
        };
        let object = vec![object.clone()];
        let converted = converter.convert(object, &storage.api_version, &*storage.strategy, objects).await?;
        Ok(Cow::Owned(converted.into_iter().next().unwrap_or_default()))
    }

    /// What was stored, if a client of this version is not shown what it sent: a webhook need not give back what it was
    /// given.
    pub(crate) fn unlike_sent(&self, stored: Cow<'_, Map>) -> Option<Map> {
        self.asks().then(|| stored.into_owned())
    }

    /// True when a stored object is not in the version that it would be stored in now.
    pub(crate) fn is_outdated(&self, stored: &Map) -> bool {
        self.asks() && self.storage.as_ref().is_some_and(|storage| storage.api_version != stored.str("apiVersion"))
    }

    /// An object of this version in the storage version, where no webhook converts.
    pub(crate) fn to_storage<'o>(&self, object: &'o Map) -> Cow<'o, Map> {
        let Some(storage) = self.storage.as_ref().filter(|_| !self.is_storage_version()) else {
            return Cow::Borrowed(object);
        };
        let stored = self.convert(Cow::Borrowed(object), storage.stored.ty, |conversion| conversion.to_storage);
        let mut stored = stored.into_owned();
        object::set_kind(&mut stored, &storage.api_version, storage.stored.kind);
        Cow::Owned(stored)
    }

    /// An object of the storage version in this version, where no webhook converts.
    #[allow(clippy::wrong_self_convention, reason = "the counterpart of to_storage")]
    pub(crate) fn from_storage(&self, stored: Map) -> Map {
        let converted = self.convert(Cow::Owned(stored), self.facts.ty, |conversion| conversion.from_storage);
        let mut object = converted.into_owned();
        object::set_kind(&mut object, &self.api_version, self.facts.kind);
        object
    }

    fn convert<'o>(
        &self,
        object: Cow<'o, Map>,
        ty: &'static Struct,
        way: impl Fn(&Conversion) -> fn(&Map) -> Map,
    ) -> Cow<'o, Map> {
        match self.conversion {
            Some(conversion) => Cow::Owned(way(conversion)(&object)),
            None if self.is_storage_version() => object,
            None => reshaped(&object, ty).map_or_else(
                |error| {
                    tracing::error!(kind = self.facts.kind, %error, "object does not fit its other version");
                    object
                },
                Cow::Owned,
            ),
        }
    }

    /// An object of this entry in another that shares its storage.
    pub(crate) async fn converted(&self, to: &Entry, object: &Map, objects: &dyn Reader) -> Result<Map, Status> {
        match &to.converter {
            None => Ok(to.from_storage(self.to_storage(object).into_owned())),
            Some(_) => to.read(object.clone(), objects).await,
        }
    }

    /// As [`Entry::converted`] where nothing can be awaited; `None` for what only a webhook could convert.
    pub(crate) fn converted_here(&self, to: &Entry, object: &Map) -> Option<Map> {
        (!to.asks()).then(|| to.from_storage(self.to_storage(object).into_owned()))
    }

    /// The kind that a request about the subresource (or, with none, the resource) carries.
    pub(crate) fn expected(&self, subresource: &str) -> Expected<'_> {
        let (facts, hooks) = (self.facts, &*self.strategy);
        match self.subresource(subresource) {
            Some(sub) if sub.kind != facts.kind => {
                let ty = sub.ty.unwrap_or(facts.ty);
                Expected { group: sub.group, version: sub.version, kind: sub.kind, ty, hooks }
            }
            _ => Expected { group: facts.group, version: facts.version, kind: facts.kind, ty: facts.ty, hooks },
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

/// Entries and storages, looked up by their names.
struct Table {
    /// What every key begins with: `/registry/`.
    root: String,
    /// By group/version/plural.
    entries: HashMap<String, Arc<Entry>>,
    ordered: Vec<Arc<Entry>>,
    /// By prefix.
    storages: HashMap<String, Arc<Storage>>,
}

impl Table {
    fn new(root: &str) -> Self {
        Table { root: root.into(), entries: HashMap::new(), ordered: Vec::new(), storages: HashMap::new() }
    }

    fn add(&mut self, entry: Arc<Entry>) {
        let facts = entry.facts;
        self.entries.insert(name(facts.group, facts.version, facts.plural), entry.clone());
        self.ordered.push(entry);
    }

    fn storage_of_key<'k>(&self, key: &'k str) -> Option<(Arc<Storage>, &'k str)> {
        let rest = key.strip_prefix(self.root.as_str())?;
        let one = rest.find('/')?;
        let two = rest[one + 1..].find('/').map(|at| one + 1 + at);
        for end in [two, Some(one)].into_iter().flatten() {
            if let Some(storage) = self.storages.get(&key[..self.root.len() + end + 1]) {
                return Some((storage.clone(), &rest[end + 1..]));
            }
        }
        None
    }
}

/// The default of --etcd-prefix.
pub(crate) const DEFAULT_ROOT: &str = "/registry";

fn name(group: &str, version: &str, plural: &str) -> String {
    format!("{group}/{version}/{plural}")
}

/// What is served now.
pub(crate) struct Registry {
    /// In the order of the facts.
    fixed: Table,
    custom: RwLock<Arc<Table>>,
    /// Grows with every change of what is served.
    generation: AtomicU64,
}

impl Registry {
    /// Every resource of the versions that are served, stored below the default prefix.
    #[cfg(test)]
    pub(crate) fn new(served: impl Fn(&Resource) -> bool) -> Self {
        Registry::below(DEFAULT_ROOT, served)
    }

    /// Every resource of the versions that are served, stored below a prefix (--etcd-prefix), which is made a path as
    /// upstream makes it (k8s.io/apiserver/pkg/storage/etcd3/store.go@v0.37.2: New).
    pub(crate) fn below(prefix: &str, served: impl Fn(&Resource) -> bool) -> Self {
        let steps: Vec<_> = prefix.split('/').filter(|step| !step.is_empty()).collect();
        let root = if steps.is_empty() { "/".to_owned() } else { format!("/{}/", steps.join("/")) };
        let mut fixed = Table::new(&root);
        for facts in facts::resources().iter().filter(|resource| served(resource)) {
            let strategy = Hooks::Fixed(resources::strategy(facts.group, facts.plural));
            let storage = (!facts.storage_prefix.is_empty()).then(|| fixed_storage(&mut fixed, facts));
            let conversion = resources::conversion(facts.group, facts.version, facts.plural);
            let api_version = facts.api_version();
            fixed.add(Arc::new(Entry { facts, api_version, storage, strategy, conversion, converter: None }));
        }
        let custom = RwLock::new(Arc::new(Table::new(&root)));
        Registry { fixed, custom, generation: AtomicU64::new(0) }
    }

    /// The key of what is no object of a resource: `/registry/` and `relative`.
    pub(crate) fn key(&self, relative: &str) -> String {
        format!("{}{relative}", self.fixed.root)
    }

    /// Every key, as the range from the first to before the second.
    pub(crate) fn range(&self) -> (Bytes, Bytes) {
        let root = &self.fixed.root;
        (Bytes::from(root.clone()), Bytes::from(format!("{}0", &root[..root.len() - 1])))
    }

    /// A version of a custom resource.
    pub(crate) fn custom_entry(
        facts: &'static Resource,
        storage: Arc<Storage>,
        strategy: Arc<dyn Strategy>,
        converter: Option<Arc<Converter>>,
    ) -> Entry {
        let strategy = Hooks::Custom(strategy);
        let api_version = facts.api_version();
        Entry { facts, api_version, storage: Some(storage), strategy, conversion: None, converter }
    }

    /// The storage of a custom resource; nothing is in it yet. `versions` are those that objects may be stored in when
    /// only a webhook converts them.
    pub(crate) fn custom_storage(
        &self,
        stored: &'static Resource,
        strategy: Arc<dyn Strategy>,
        versions: Vec<(String, Arc<dyn Strategy>)>,
    ) -> Arc<Storage> {
        let versions = versions.into_iter().map(|(version, strategy)| (version, Hooks::Custom(strategy))).collect();
        let prefix = self.key(&format!("{}/", stored.storage_prefix));
        Arc::new(Storage { versions, ..new_storage(stored, prefix, Hooks::Custom(strategy)) })
    }

    /// Takes the entries of a custom resource; those of its old state go, whatever their versions.
    pub(crate) fn replace_custom(&self, group: &str, plural: &str, entries: Vec<Arc<Entry>>) {
        let mut custom = self.custom.write();
        let mut table = Table::new(&self.fixed.root);
        let others = |entry: &&Arc<Entry>| (entry.facts.group, entry.facts.plural) != (group, plural);
        for gone in custom.ordered.iter().filter(|entry| !others(entry)) {
            gone.storage.iter().for_each(|storage| storage.cache.close());
        }
        let all: Vec<Arc<Entry>> = custom.ordered.iter().filter(others).cloned().chain(entries).collect();
        for entry in all {
            if let Some(storage) = &entry.storage {
                table.storages.insert(storage.prefix.clone(), storage.clone());
            }
            table.add(entry);
        }
        *custom = Arc::new(table);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Grows with every change of what is served.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn custom(&self) -> Arc<Table> {
        self.custom.read().clone()
    }

    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Entry>> {
        let name = name(group, version, plural);
        self.fixed.entries.get(&name).or(self.custom().entries.get(&name)).cloned()
    }

    /// The built-in entries first.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.fixed.ordered.iter().chain(&self.custom().ordered).cloned().collect()
    }

    /// The built-in entries.
    pub(crate) fn fixed_entries(&self) -> &[Arc<Entry>] {
        &self.fixed.ordered
    }

    /// What custom resources add.
    pub(crate) fn custom_entries(&self) -> Vec<Arc<Entry>> {
        self.custom().ordered.clone()
    }

    /// The entry of the preferred version of a resource.
    pub(crate) fn preferred(&self, group: &str, plural: &str) -> Option<Arc<Entry>> {
        let fits = |entry: &&Arc<Entry>| entry.facts.group == group && entry.facts.plural == plural;
        self.fixed.ordered.iter().find(fits).or(self.custom().ordered.iter().find(fits)).cloned()
    }

    pub(crate) fn storages(&self) -> Vec<Arc<Storage>> {
        self.fixed.storages.values().chain(self.custom().storages.values()).cloned().collect()
    }

    /// The entries that serve the objects of a storage.
    pub(crate) fn sharing(&self, storage: &Arc<Storage>) -> Vec<Arc<Entry>> {
        let shares = |entry: &&Arc<Entry>| entry.storage.as_ref().is_some_and(|has| Arc::ptr_eq(has, storage));
        self.fixed.ordered.iter().chain(&self.custom().ordered).filter(shares).cloned().collect()
    }

    /// The storage of a resource by its storage group, or any group it is served in.
    pub(crate) fn storage_of(&self, group: &str, plural: &str) -> Option<Arc<Storage>> {
        self.preferred(group, plural)?.storage.clone()
    }

    /// The storage that a key belongs to, and the key relative to it.
    pub(crate) fn storage_of_key<'k>(&self, key: &'k str) -> Option<(Arc<Storage>, &'k str)> {
        self.fixed.storage_of_key(key).or_else(|| self.custom().storage_of_key(key))
    }
}

fn fixed_storage(table: &mut Table, facts: &'static Resource) -> Arc<Storage> {
    let prefix = format!("{}{}/", table.root, facts.storage_prefix);
    let made = table.storages.entry(prefix.clone()).or_insert_with(|| {
        let stored = facts::storage_version(facts);
        let strategy = Hooks::Fixed(resources::strategy(stored.group, stored.plural));
        Arc::new(new_storage(stored, prefix, strategy))
    });
    made.clone()
}

fn new_storage(stored: &'static Resource, prefix: String, strategy: Hooks) -> Storage {
    Storage {
        group: stored.group,
        plural: stored.plural,
        prefix,
        stored,
        api_version: stored.api_version(),
        strategy,
        versions: Vec::new(),
        cache: Cache::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the storage of a resource reads of an object that another server stored.
    fn check(group: &str, plural: &str, api_version: &str, stored: &str, expect: &str) {
        let registry = Registry::new(Resource::served_by_default);
        let storage = registry.storage_of(group, plural).expect("a resource");
        let (of_group, version) = facts::split_api_version(api_version);
        let ty = facts::kind(of_group, version, storage.stored.kind).expect("a kind");
        let object = from_json(stored.as_bytes(), ty).expect("JSON");
        let as_json = json::encode(&from_json(expect.as_bytes(), storage.stored.ty).expect("JSON"));
        let wrapped = proto::wrap(api_version, storage.stored.kind, &proto::encode(&object, ty));
        for bytes in [wrapped, stored.into()] {
            let mut read = storage.decode(&bytes, 1).expect("decoded");
            read.map_mut("metadata").remove("resourceVersion");
            assert_eq!(json::encode(&read), as_json);
        }
    }

    #[test]
    fn keys_begin_with_the_prefix_of_all() {
        for (given, root) in [("/registry", "/registry/"), ("a//b/", "/a/b/"), ("/", "/")] {
            let registry = Registry::below(given, Resource::served_by_default);
            let storage = registry.storage_of("", "secrets").expect("a resource");
            let key = format!("{root}secrets/n/x");
            assert_eq!(storage.key("n", "x"), key);
            let (found, relative) = registry.storage_of_key(&key).expect("a storage");
            assert_eq!((found.plural, relative, found.short_prefix()), ("secrets", "n/x", "/secrets/"));
            let (first, end) = registry.range();
            assert!(first[..] <= *key.as_bytes() && *key.as_bytes() < end[..], "{given}");
        }
    }

    #[test]
    fn objects_in_versions_that_others_preferred_are_read() {
        let conversion = r#""conversion":{"strategy":"None"}"#;
        check(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "apiextensions.k8s.io/v1",
            &format!(
                r#"{{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{{"name":"x"}},"spec":{{"group":"g","names":{{"plural":"p","kind":"K"}},"scope":"Cluster","versions":[{{"name":"v1","served":true,"storage":true,"subresources":{{"status":{{}}}}}}],{conversion}}},"status":{{}}}}"#
            ),
            &format!(
                r#"{{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1","metadata":{{"name":"x"}},"spec":{{"group":"g","version":"v1","names":{{"plural":"p","kind":"K"}},"scope":"Cluster","subresources":{{"status":{{}}}},"versions":[{{"name":"v1","served":true,"storage":true}}],{conversion},"preserveUnknownFields":false}},"status":{{}}}}"#
            ),
        );
        check(
            "discovery.k8s.io",
            "endpointslices",
            "discovery.k8s.io/v1beta1",
            r#"{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1beta1","metadata":{"name":"x","namespace":"n"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{}}],"ports":null}"#,
            r#"{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"name":"x","namespace":"n"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{}}],"ports":null}"#,
        );
    }
}
