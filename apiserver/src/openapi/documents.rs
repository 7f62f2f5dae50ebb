//! The documents of what a server serves: made when first asked for, kept compressed.
//!
//! Invariant: a document is a function of the list of what is served, so servers in one process share them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use api::facts::Resource;
use api::json;
use api::map;
use api::value::{Map, Value};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use sha2::{Digest, Sha512};

use super::operation::Path;
use super::schema::value;
use super::words::Words;
use super::{gnostic, paths, v2, v3};
use crate::registry::Registry;

/// Go's gzip default.
const COMPRESSION: Compression = Compression::new(6);

/// One document in its forms.
pub(super) struct Document {
    pub(super) etag: String,
    /// gzip of the JSON.
    json: Bytes,
    /// gzip of the protobuf.
    protobuf: OnceLock<Bytes>,
    to_protobuf: fn(&Map) -> Vec<u8>,
}

impl Document {
    fn new(document: &Map, to_protobuf: fn(&Map) -> Vec<u8>) -> Self {
        let mut text = json::encode(document);
        text.pop();
        let etag = etag(&text);
        Document { etag, json: compress(&text), protobuf: OnceLock::new(), to_protobuf }
    }

    pub(super) fn json(&self) -> Bytes {
        self.json.clone()
    }

    pub(super) fn protobuf(&self) -> Bytes {
        let made = self.protobuf.get_or_init(|| {
            let parsed = serde_json::from_slice(&decompress(&self.json)).expect("our own JSON");
            match value(&parsed) {
                Value::Map(document) => compress(&(self.to_protobuf)(&document)),
                _ => Bytes::new(),
            }
        });
        made.clone()
    }
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
    pub(super) fn of(registry: &Registry) -> Arc<Documents> {
        let served: Vec<&'static Resource> = registry.entries().iter().map(|entry| entry.facts).collect();
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
            v3.insert(name, Document::new(&v3::document(&words, paths, versions), gnostic::v3));
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
    pub(super) fn index(&self) -> Vec<u8> {
        let path = |(name, document): (&String, &Document)| {
            let url = format!("/openapi/v3/{name}?hash={}", document.etag);
            (name.as_str().into(), Value::Map(map! { "serverRelativeURL" => url }))
        };
        let paths: Map = self.v3.iter().map(path).collect();
        let mut text = json::encode(&map! { "paths" => paths });
        text.pop();
        text
    }

    pub(super) fn v2(&self) -> &Document {
        self.v2.get_or_init(|| {
            let mut all = vec![paths::group(None)];
            all.extend(paths::others().into_iter().map(|(_, path)| path));
            let mut known: Vec<Version> = Vec::new();
            for (group, versions) in versions(&self.served) {
                all.push(paths::group(Some(group)));
                for version in versions {
                    all.extend(paths::version(group, version, &of_version(&self.served, group, version)));
                    known.push((group, version));
                }
            }
            known.sort_unstable();
            all.sort_by(|a, b| a.path.cmp(&b.path));
            Document::new(&v2::document(&Words::new(), all, known), gnostic::v2)
        })
    }
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
