//! The documents of what a server serves: made when first asked for, kept compressed.
//!
//! Invariant: a document is a function of the list of what is served, so servers in one process share those of
//! built-in kinds. Those of custom resources are made anew when what is served has changed.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use api::facts::{self, Resource};
use api::json;
use api::map;
use api::value::{Map, Value};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use sha2::{Digest, Sha512};
use structural::publish::{self, Flavor};

use super::operation::Path;
use super::schema::{Given, value};
use super::words::Words;
use super::{gnostic, merge, paths, v2, v3};
use crate::aggregation::Merging;
use crate::registry::{Entry, Registry, Storage};
use crate::resources::apiextensions;

/// Go's gzip default.
const COMPRESSION: Compression = Compression::new(6);

/// One document in its forms.
pub(crate) struct Document {
    pub(super) etag: String,
    /// gzip of the JSON.
    json: Bytes,
    /// gzip of the protobuf.
    protobuf: OnceLock<Bytes>,
    to_protobuf: fn(&Map) -> Vec<u8>,
}

impl Document {
    pub(super) fn new(document: &Map, to_protobuf: fn(&Map) -> Vec<u8>) -> Self {
        let mut text = json::encode(document);
        text.pop();
        let etag = etag(&text);
        Document { etag, json: compress(&text), protobuf: OnceLock::new(), to_protobuf }
    }

    pub(super) fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// The document again.
    fn parsed(&self) -> Map {
        let parsed = serde_json::from_slice(&decompress(&self.json)).expect("our own JSON");
        match value(&parsed) {
            Value::Map(document) => document,
            _ => Map::new(),
        }
    }

    pub(super) fn protobuf(&self) -> Bytes {
        let made = self.protobuf.get_or_init(|| compress(&(self.to_protobuf)(&self.parsed())));
        made.clone()
    }
}

/// Where the index says that a v3 document is.
pub(super) fn place(name: &str, document: &Document) -> Value {
    let url = format!("/openapi/v3/{name}?hash={}", document.etag);
    Value::Map(map! { "serverRelativeURL" => url })
}

pub(super) fn etag(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn compress(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), COMPRESSION);
    encoder.write_all(bytes).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail").into()
}

pub(super) fn decompress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut out).expect("compressed above");
    out
}

type Version = (&'static str, &'static str);

/// All documents of one list of what is served.
pub(super) struct Documents {
    served: Vec<&'static Resource>,
    /// By the path below `/openapi/v3/`.
    v3: BTreeMap<String, Document>,
    v2: OnceLock<Document>,
}

static MADE: Mutex<Vec<(String, Arc<Documents>)>> = Mutex::new(Vec::new());

impl Documents {
    /// The documents of a registry; the first caller waits until they are made.
    fn of(registry: &Registry) -> Arc<Documents> {
        let served: Vec<&'static Resource> = registry.fixed_entries().iter().map(|entry| entry.facts).collect();
        let key: String = served.iter().map(|facts| format!("{}/{},", facts.api_version(), facts.plural)).collect();
        let mut made = MADE.lock();
        if let Some((_, documents)) = made.iter().find(|known| known.0 == key) {
            return documents.clone();
        }
        let documents = Arc::new(Documents::new(served));
        made.push((key, documents.clone()));
        documents
    }

    pub(super) fn new(served: Vec<&'static Resource>) -> Self {
        let words = Words::new();
        let mut v3 = BTreeMap::new();
        let mut add = |name: String, paths: Vec<Path>, versions: Vec<Version>| {
            v3.insert(name, Document::new(&v3::document(&words, paths, versions, Given::new()), gnostic::v3));
        };
        add("apis".into(), vec![paths::group(None)], Vec::new());
        for (name, path) in paths::others() {
            add(name.into(), vec![path], Vec::new());
        }
        for (group, versions) in versions(&served) {
            let name = paths::base(group, "");
            add(name.trim_start_matches('/').into(), vec![paths::group(Some(group))], Vec::new());
            for version in versions {
                let name = paths::base(group, version);
                let resources = of_version(&served, group, version);
                let mut options = vec![("", "v1"), (group, version)];
                options.dedup();
                add(name.trim_start_matches('/').into(), paths::version(group, version, &resources), options);
            }
        }
        Documents { served, v3, v2: OnceLock::new() }
    }

    pub(super) fn v3(&self, name: &str) -> Option<&Document> {
        self.v3.get(name)
    }

    /// What `/openapi/v3` answers.
    fn index<'d>(
        &'d self,
        custom: impl Iterator<Item = (&'d String, &'d Document)>,
        others: Vec<(String, Value)>,
    ) -> Vec<u8> {
        let path = |(name, document): (&String, &Document)| (name.as_str().into(), place(name, document));
        let mut paths: Map = self.v3.iter().chain(custom).map(path).collect();
        for (name, place) in others {
            if !paths.contains(&name) {
                paths.set(name, place);
            }
        }
        paths.sort();
        let mut text = json::encode(&map! { "paths" => paths });
        text.pop();
        text
    }

    pub(super) fn v2(&self) -> &Document {
        self.v2.get_or_init(|| v2_of(&self.served, Vec::new(), Given::new()))
    }
}

/// The one v2 document of all that is served. `custom` and the schemas of its kinds are added to `fixed`.
fn v2_of(fixed: &[&'static Resource], custom: Vec<&'static Resource>, schemas: Given) -> Document {
    let mut all = vec![paths::group(None)];
    all.extend(paths::others().into_iter().map(|(_, path)| path));
    let mut known: Vec<Version> = Vec::new();
    let fixed_groups: Vec<&str> = versions(fixed).into_keys().collect();
    for (served, is_custom) in [(fixed, false), (&custom, true)] {
        for (group, versions) in versions(served) {
            if !is_custom {
                all.push(paths::group(Some(group)));
            }
            for version in versions {
                let paths = paths::version(group, version, &of_version(served, group, version));
                // Upstream documents of a group of custom resources only the resources.
                let listing = if is_custom && !fixed_groups.contains(&group) { 1 } else { 0 };
                all.extend(paths.into_iter().skip(listing));
                known.push((group, version));
            }
        }
    }
    known.extend(facts::option_versions());
    known.sort_unstable();
    known.dedup();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Document::new(&v2::document(&Words::new(), all, known, schemas), gnostic::v2)
}

/// The documents of a server.
pub(super) struct Published {
    generation: u64,
    fixed: Arc<Documents>,
    /// Of versions with custom resources, by the path below `/openapi/v3/`.
    custom: BTreeMap<String, Version3>,
    resources: Vec<&'static Resource>,
    /// Where the definitions are.
    definitions: Option<Arc<Storage>>,
    v2: OnceLock<Document>,
}

/// The v3 document of a version, and what it was made of.
struct Version3 {
    entries: Vec<Arc<Entry>>,
    document: Arc<Document>,
}

/// The documents of what was served last.
#[derive(Default)]
pub(crate) struct Cache {
    published: Mutex<Option<Arc<Published>>>,
    /// With other servers' documents, of the generations of both.
    merged: Mutex<Option<((u64, u64), Arc<Document>)>>,
}

impl Cache {
    /// The documents of a registry as it is now.
    pub(super) fn of(&self, registry: &Registry) -> Arc<Published> {
        let mut kept = self.published.lock();
        // Read first: what changes meanwhile is seen next time.
        let generation = registry.generation();
        if let Some(known) = kept.as_ref().filter(|known| known.generation == generation) {
            return known.clone();
        }
        let made = Arc::new(Published::new(registry, generation, kept.as_deref()));
        *kept = Some(made.clone());
        made
    }

    /// The v2 document with those of other servers.
    pub(super) fn merged(&self, published: &Published, merging: &Merging) -> Arc<Document> {
        let mut kept = self.merged.lock();
        let generations = (published.generation, merging.generation);
        if let Some((_, known)) = kept.as_ref().filter(|known| known.0 == generations) {
            return known.clone();
        }
        let mut merged = published.v2().parsed();
        for document in &merging.documents {
            merge::merge(&mut merged, document);
        }
        let made = Arc::new(Document::new(&merged, gnostic::v2));
        *kept = Some((generations, made.clone()));
        made
    }
}

impl Published {
    /// What `before` has of entries that are still served is kept: an entry never changes.
    fn new(registry: &Registry, generation: u64, before: Option<&Published>) -> Self {
        let entries = registry.custom_entries();
        let mut made = Published {
            generation,
            fixed: Documents::of(registry),
            custom: BTreeMap::new(),
            resources: entries.iter().map(|entry| entry.facts).collect(),
            definitions: registry.storage_of("apiextensions.k8s.io", "customresourcedefinitions"),
            v2: OnceLock::new(),
        };
        let words = LazyCell::new(Words::new);
        for (group, versions) in versions(&made.resources) {
            for version in versions {
                let name = paths::base(group, version).trim_start_matches('/').to_owned();
                let of_version = |entry: &&Arc<Entry>| entry.facts.group == group && entry.facts.version == version;
                let entries: Vec<Arc<Entry>> = entries.iter().filter(of_version).cloned().collect();
                let known =
                    before.and_then(|before| before.custom.get(&name)).filter(|old| same(&old.entries, &entries));
                let document = match known {
                    Some(known) => known.document.clone(),
                    None => Arc::new(made.version(group, version, &words)),
                };
                made.custom.insert(name, Version3 { entries, document });
            }
        }
        made
    }

    /// The v3 document of a version of custom resources.
    fn version(&self, group: &'static str, version: &'static str, words: &Words) -> Document {
        let resources = of_version(&self.resources, group, version);
        let schemas = self.schemas(&resources, Flavor::V3, words);
        // Upstream documents of a group of custom resources only the resources.
        let paths = paths::version(group, version, &resources).into_iter().skip(1).collect();
        Document::new(&v3::document(words, paths, vec![("", "v1"), (group, version)], schemas), gnostic::v3)
    }

    fn schemas(&self, resources: &[&'static Resource], flavor: Flavor, words: &Words) -> Given {
        let of_field = |field| words.of_field("io.k8s.api.core.v1.ConfigMap", field);
        let told = publish::Words {
            api_version: of_field("apiVersion"),
            kind: of_field("kind"),
            metadata: of_field("metadata"),
            list_metadata: words.of_field("io.k8s.api.core.v1.ConfigMapList", "metadata"),
        };
        let schemas = resources.iter().flat_map(|facts| {
            let stored = self.definitions.as_ref().and_then(|storage| {
                let item = storage.cache.get(&format!("{}.{}", facts.plural, facts.group))?;
                Some(apiextensions::served(&item, storage))
            });
            let made = stored.and_then(|found| publish::definitions(&found, facts.version, flavor, told));
            made.unwrap_or_default()
        });
        schemas.filter_map(|(name, schema)| Some((name.to_string(), schema.as_map()?.clone()))).collect()
    }

    pub(super) fn v3(&self, name: &str) -> Option<&Document> {
        self.fixed.v3(name).or_else(|| self.custom.get(name).map(|custom| &*custom.document))
    }

    /// `others` are the places of other servers' documents.
    pub(super) fn index(&self, others: Vec<(String, Value)>) -> Vec<u8> {
        self.fixed.index(self.custom.iter().map(|(name, custom)| (name, &*custom.document)), others)
    }

    pub(super) fn v2(&self) -> &Document {
        if self.resources.is_empty() {
            return self.fixed.v2();
        }
        self.v2.get_or_init(|| {
            let schemas = self.schemas(&self.resources, Flavor::V2, &Words::new());
            v2_of(&self.fixed.served, self.resources.clone(), schemas)
        })
    }
}

fn same(a: &[Arc<Entry>], b: &[Arc<Entry>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Groups and their versions that have something served.
fn versions(served: &[&'static Resource]) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for facts in served {
        let versions = groups.entry(facts.group).or_default();
        if !versions.contains(&facts.version) {
            versions.push(facts.version);
        }
    }
    groups
}

fn of_version(served: &[&'static Resource], group: &str, version: &str) -> Vec<&'static Resource> {
    served.iter().copied().filter(|facts| facts.group == group && facts.version == version).collect()
}
