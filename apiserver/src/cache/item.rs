//! One object at one revision, with its wire bytes made on first use, and one change of it.

use std::sync::{Arc, OnceLock};

use api::proto::{Revised, Slot};
use api::value::{Map, Value};
use bytes::{BufMut, Bytes, BytesMut};

use crate::registry::Storage;

/// An object as stored, immutable.
pub(crate) struct Item {
    /// Relative to the resource: `namespace/name` or `name`.
    pub(crate) key: Arc<str>,
    pub(crate) revision: u64,
    pub(crate) value: Bytes,
    /// Where the resourceVersion goes; `None` when the stored bytes are not shown as they are.
    slot: Option<Slot>,
    /// JSON of the storage version without kind and apiVersion.
    json: OnceLock<Bytes>,
    /// What selectors look at.
    labels: OnceLock<Map>,
    fields: OnceLock<Vec<(&'static str, String)>>,
}

impl Item {
    /// `plain`: the version of objects whose stored bytes are shown as they are.
    pub(crate) fn new(key: &str, revision: u64, value: Bytes, plain: Option<&str>) -> Self {
        let slot = plain.and_then(|version| Slot::find(&value, version));
        Item {
            key: key.into(),
            revision,
            value,
            slot,
            json: OnceLock::new(),
            labels: OnceLock::new(),
            fields: OnceLock::new(),
        }
    }

    /// The same object with another revision: the last state of one that was deleted.
    pub(crate) fn at_revision(&self, revision: u64) -> Self {
        Item {
            key: self.key.clone(),
            revision,
            value: self.value.clone(),
            slot: self.slot,
            json: OnceLock::new(),
            labels: OnceLock::new(),
            fields: OnceLock::new(),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(crate) fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The object, decoded; an object that cannot be decoded is empty but for its name, and logged.
    pub(crate) fn object(&self, storage: &Storage) -> Map {
        storage.decode(&self.value, self.revision).unwrap_or_else(|error| {
            tracing::error!(key = %self.key, %error, "stored object cannot be decoded");
            let mut object = Map::new();
            let meta = object.map_mut("metadata");
            meta.set("name", self.name());
            meta.set("namespace", self.namespace());
            meta.set("resourceVersion", self.revision.to_string());
            object
        })
    }

    /// `{"metadata":...}`: the object in JSON without kind and apiVersion, no newline; made once.
    pub(crate) fn json(&self, storage: &Storage) -> &Bytes {
        self.json.get_or_init(|| self.transcoded(storage).unwrap_or_else(|| self.encoded(storage)))
    }

    /// Straight from the stored message.
    fn transcoded(&self, storage: &Storage) -> Option<Bytes> {
        let message = self.revised()?.to_vec();
        let mut text = Vec::with_capacity(message.len() * 2);
        api::proto::to_json(&message, storage.stored.ty, &mut text).ok()?;
        // A copy of its own size: the text stays as long as the object.
        Some(Bytes::copy_from_slice(&text))
    }

    /// By way of the value: objects stored as JSON or in another version, and what cannot be decoded.
    fn encoded(&self, storage: &Storage) -> Bytes {
        let mut object = self.object(storage);
        object.remove("kind");
        object.remove("apiVersion");
        let mut text = api::json::encode(&object);
        text.pop();
        Bytes::copy_from_slice(&text)
    }

    pub(crate) fn labels(&self, storage: &Storage) -> &Map {
        const PATH: &[&str] = &["metadata", "labels"];
        self.labels.get_or_init(|| {
            let peeked = self.raw().and_then(|raw| api::proto::peek(raw, storage.stored.ty, PATH));
            match peeked {
                Some(Value::Map(labels)) => labels,
                Some(_) => Map::new(),
                None => self.object(storage).at(PATH).cloned().unwrap_or_default(),
            }
        })
    }

    /// The kind's own selectable fields.
    pub(crate) fn fields(&self, storage: &Storage) -> &[(&'static str, String)] {
        self.fields.get_or_init(|| storage.strategy.fields(&self.object(storage)))
    }

    /// One text field of the object without decoding the rest; `None` when the stored form does not allow it.
    pub(crate) fn peek(&self, storage: &Storage, path: &[&str]) -> Option<&str> {
        api::proto::peek_text(self.raw()?, storage.stored.ty, path)
    }

    /// The stored message without its envelope, if it is shown as it is.
    fn raw(&self) -> Option<&[u8]> {
        self.slot?;
        Some(api::proto::unwrap(&self.value).ok()??.raw)
    }

    /// The stored message with the resourceVersion in place; `None` where there is no slot for it.
    fn revised(&self) -> Option<Revised<'_>> {
        self.slot.map(|slot| Revised::new(&self.value, slot, self.revision))
    }

    /// The protobuf message (without envelope) with the resourceVersion in place.
    pub(crate) fn message(&self, storage: &Storage) -> Vec<u8> {
        match self.revised() {
            Some(revised) => revised.to_vec(),
            None => api::proto::encode(&self.object(storage), storage.stored.ty),
        }
    }

    /// The length of [`Item::message`].
    pub(crate) fn message_len(&self, storage: &Storage) -> usize {
        self.revised().map_or_else(|| self.message(storage).len(), |revised| revised.size())
    }

    /// [`Item::message`] in pieces, not copied where the stored bytes allow it.
    pub(crate) fn message_pieces(&self, storage: &Storage, mut put: impl FnMut(&[u8])) {
        match self.revised() {
            Some(revised) => revised.pieces(put),
            None => put(&self.message(storage)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put,
    Delete,
}

/// One change, shared by all watchers.
pub(crate) struct Event {
    pub(crate) change: Change,
    pub(crate) revision: u64,
    /// The object after the change; for a delete its last state at the delete's revision.
    pub(crate) item: Arc<Item>,
    pub(crate) previous: Option<Arc<Item>>,
    /// Most events are watched by nobody, or in one form only.
    frames: OnceLock<Box<[OnceLock<Bytes>; 6]>>,
}

/// How a watcher sees a change, given its selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Added,
    Modified,
    Deleted,
}

impl Seen {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Seen::Added => "ADDED",
            Seen::Modified => "MODIFIED",
            Seen::Deleted => "DELETED",
        }
    }
}

impl Event {
    pub(crate) fn new(change: Change, revision: u64, item: Arc<Item>, previous: Option<Arc<Item>>) -> Self {
        Event { change, revision, item, previous, frames: OnceLock::new() }
    }

    /// What a watcher sees of the change without selectors.
    pub(crate) fn plain(&self) -> Seen {
        match (self.change, &self.previous) {
            (Change::Delete, _) => Seen::Deleted,
            (Change::Put, None) => Seen::Added,
            (Change::Put, Some(_)) => Seen::Modified,
        }
    }

    /// The watch frame of the plain event, in JSON or protobuf, made once for all watchers.
    pub(crate) fn frame(&self, seen: Seen, protobuf: bool, make: impl FnOnce() -> Bytes) -> Bytes {
        let slot = seen as usize * 2 + usize::from(protobuf);
        self.frames.get_or_init(Box::default)[slot].get_or_init(make).clone()
    }

    /// The item that a watcher is shown: for an object that leaves its selection, the state before, at this revision.
    pub(crate) fn shown(&self, seen: Seen) -> Arc<Item> {
        match (seen, self.change, &self.previous) {
            (Seen::Deleted, Change::Put, Some(previous)) => Arc::new(previous.at_revision(self.revision)),
            _ => self.item.clone(),
        }
    }
}

/// `{"type":"ADDED","object":{"kind":...,"apiVersion":...,` + the rest of `body` + `}\n`.
pub(crate) fn json_frame(seen: &str, api_version: &str, kind: &str, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(body.len() + 96);
    frame.put_slice(b"{\"type\":\"");
    frame.put_slice(seen.as_bytes());
    frame.put_slice(b"\",\"object\":");
    put_object(&mut frame, api_version, kind, body);
    frame.put_slice(b"}\n");
    frame.freeze()
}

/// A JSON object with kind and apiVersion put before its other fields.
pub(crate) fn put_object(out: &mut BytesMut, api_version: &str, kind: &str, body: &[u8]) {
    out.put_slice(b"{\"kind\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"apiVersion\":\"");
    out.put_slice(api_version.as_bytes());
    out.put_slice(b"\"");
    if body.len() > 2 {
        out.put_slice(b",");
    }
    out.put_slice(&body[1..]);
}

/// A length-prefixed protobuf WatchEvent: type = 1, object RawExtension = 2 whose raw = 1 holds the
/// enveloped object (k8s.io/apimachinery/pkg/apis/meta/v1/watch.go@v0.37.2).
pub(crate) fn proto_frame(seen: &str, enveloped: &[u8]) -> Bytes {
    let mut extension = BytesMut::with_capacity(enveloped.len() + 8);
    put_field(&mut extension, 1, enveloped);
    let mut event = BytesMut::with_capacity(extension.len() + 24);
    put_field(&mut event, 1, seen.as_bytes());
    put_field(&mut event, 2, &extension);
    let mut frame = BytesMut::with_capacity(event.len() + 4);
    frame.put_u32(event.len() as u32);
    frame.put_slice(&event);
    frame.freeze()
}

/// A length-delimited protobuf field.
pub(crate) fn put_field(out: &mut BytesMut, number: u8, bytes: &[u8]) {
    out.put_u8(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

pub(crate) fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}
