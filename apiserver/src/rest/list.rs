//! LIST: from the cache, complete up to the revision the client asks for; chunks after the first from
//! the store at the first chunk's revision (k8s.io/apiserver/pkg/storage/{cacher,etcd3}@v0.37.2).
//!
//! Invariant: a list is never built whole in memory; items are streamed from their shared bytes.

use std::sync::Arc;

use api::proto::Head;
use api::status::Status;
use api::value::{Map, Value};
use api::{facts, map, object};
use bytes::{BufMut, Bytes, BytesMut};
use http::Response;
use store::{KeyValue, Range};

use super::list_body::{self, Form};
use super::options::{self, Match, Token};
use super::select::Selection;
use super::{Call, corrupt_text, show, undecodable, unreadable};
use crate::cache::{Item, Unreadable, put_field, put_varint};
use crate::hub::store_failure;
use crate::negotiate::{Format, Shape};
use crate::registry::{Entry, Storage};
use crate::respond::{self, Body};
use crate::table;

/// The field of a protobuf list that holds the items.
pub(super) const ITEMS: u32 = 2;
/// An Unknown's contentEncoding and contentType, both empty.
const PROTO_TAIL: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];
/// Keys read from the store in one page.
const PAGE_KEYS: usize = 1000;

/// Selected objects at one revision.
pub(crate) struct Listed {
    pub(crate) items: Vec<Arc<Item>>,
    pub(crate) revision: u64,
    pub(crate) next: Option<Token>,
    pub(crate) remaining: Option<u64>,
}

impl Call<'_> {
    pub(crate) async fn list(&self) -> Result<Response<Body>, Status> {
        let storage = self.storage()?.clone();
        let options = options::List::of(&self.info.query, false)?;
        let selection = Selection::of(self.entry, self.info)?;
        let listed = self.listed(&storage, &selection, &options).await?;
        self.show_list(storage, listed).await
    }

    pub(crate) async fn listed(
        &self,
        storage: &Arc<Storage>,
        selection: &Selection,
        options: &options::List,
    ) -> Result<Listed, Status> {
        let listed = match (&options.token, options.revision, options.matching) {
            (Some(token), _, _) => {
                return self.listed_from_store(storage, selection, token.clone(), options.limit).await;
            }
            (None, Some(revision), Match::Exact) => {
                let token = Token { revision: Some(revision), start: String::new() };
                return self.listed_from_store(storage, selection, token, options.limit).await;
            }
            (None, Some(0), _) => self.listed_from_cache(storage, selection, self.hub().applied(), 0),
            (None, Some(revision), _) => {
                let at = self.wait(revision).await?;
                self.listed_from_cache(storage, selection, at, options.limit)
            }
            (None, None, _) => {
                let at = self.hub().fresh().await?;
                self.listed_from_cache(storage, selection, at, options.limit)
            }
        };
        match storage.cache.is_readable() {
            true => Ok(listed),
            // As upstream, whose cache is not ready then (cacher/delegator.go: shouldDelegateListOnNotReadyCache).
            false if options.limit > 0 && selection.is_plain() => {
                let token = Token { revision: None, start: String::new() };
                self.listed_from_store(storage, selection, token, options.limit).await
            }
            false => Err(unreadable::reinitializing(storage)),
        }
    }

    fn listed_from_cache(&self, storage: &Storage, selection: &Selection, revision: u64, limit: usize) -> Listed {
        // The cache may be newer than the revision by now.
        let (mut items, newest) = storage.cache.list(&selection.prefix);
        let revision = revision.max(newest);
        let limit = if limit > 0 { limit } else { usize::MAX };
        let plain = selection.is_plain();
        let count = items.len();
        let (mut seen, mut kept) = (0, 0);
        items.retain(|item| {
            let is_asked = kept < limit;
            seen += usize::from(is_asked);
            let is_kept = is_asked && (plain || selection.matches(item, storage));
            kept += usize::from(is_kept);
            is_kept
        });
        // Whether one of the others matches is not looked at (cacher.go: GetList).
        let more = seen < count;
        let after = |last: &Arc<Item>| format!("{}\0", &last.key[selection.prefix.len()..]);
        let token = |last| Token { revision: Some(revision), start: after(last) };
        let next = items.last().filter(|_| more).map(token);
        let remaining = (more && plain).then_some((count - seen) as u64);
        Listed { items, revision, next, remaining }
    }

    /// Reads pages at the token's revision until enough objects match.
    async fn listed_from_store(
        &self,
        storage: &Storage,
        selection: &Selection,
        token: Token,
        limit: usize,
    ) -> Result<Listed, Status> {
        let base = storage.prefix.len();
        let listed = format!("{}{}", storage.prefix, selection.prefix);
        let end = prefix_end(&listed);
        let mut start = format!("{listed}{}", token.start);
        let mut at = token.revision.unwrap_or(0);
        let (mut items, mut unreadable): (Vec<Arc<Item>>, Vec<Unreadable>) = Default::default();
        loop {
            let page = if limit == 0 { PAGE_KEYS } else { limit - items.len() };
            let range = Range { start: start.into(), end: end.clone(), at, limit: page, keys_only: false };
            let read = self.timed(self.hub().store.range(range)).await.map_err(|error| expired(&error, &token))?;
            at = if at == 0 { read.revision } else { at };
            let seen = read.items.len() as u64;
            let last = read.items.last().map(|kv| String::from_utf8_lossy(&kv.key).into_owned());
            for kv in read.items {
                let key = std::str::from_utf8(&kv.key).unwrap_or_default();
                match self.shared(storage, &key[base.min(key.len())..], &kv).await {
                    Ok(item) if selection.matches(&item, storage) => items.push(item),
                    Ok(_) => {}
                    Err(one) => unreadable.push(one),
                }
            }
            if !unreadable.is_empty() {
                return Err(unreadable::unlisted(storage, &unreadable));
            }
            match last {
                Some(last) if read.more => {
                    start = format!("{last}\0");
                    if limit > 0 && items.len() >= limit {
                        let next = Some(Token { revision: Some(at), start: start[listed.len()..].to_string() });
                        let remaining = selection.is_plain().then(|| read.count.saturating_sub(seen));
                        return Ok(Listed { items, revision: at, next, remaining });
                    }
                }
                _ => return Ok(Listed { items, revision: at, next: None, remaining: None }),
            }
        }
    }

    /// The cached item of that revision when there is one, so that its wire bytes are shared.
    async fn shared(&self, storage: &Storage, key: &str, kv: &KeyValue) -> Result<Arc<Item>, Unreadable> {
        match storage.cache.get(key) {
            Some(item) if item.revision == kv.mod_revision => Ok(item),
            _ => self.hub().item(storage, key, kv).await,
        }
    }

    pub(super) async fn show_list(&self, storage: Arc<Storage>, listed: Listed) -> Result<Response<Body>, Status> {
        let accepted = &self.accepted;
        let plain = accepted.shape == Shape::Whole && self.entry.is_storage_version() && !accepted.pretty;
        let (api_version, kind) = (&self.entry.api_version, self.entry.list_kind());
        let body = match accepted.format {
            Format::Json if plain => {
                let head = json_head(api_version, &kind, &listed);
                list_body::list(storage, listed.items, Form::Json, &head, b"]}\n")
            }
            Format::Protobuf if plain => {
                let head = proto_head(api_version, &kind, &storage, &listed);
                list_body::list(storage, listed.items, Form::Protobuf, &head, PROTO_TAIL)
            }
            _ => return self.show_values(&storage, &listed).await,
        };
        Ok(respond::response(200, &accepted.content_type(false), body))
    }

    /// Lists in other shapes, versions and YAML: from values.
    async fn show_values(&self, storage: &Storage, listed: &Listed) -> Result<Response<Body>, Status> {
        let stored = listed.items.iter().map(|item| item.object(storage)).collect();
        let objects = self.entry.shown(stored, self.hub()).await;
        let objects = objects.map_err(|status| unlistable(self.entry, storage, listed.items.first(), status))?;
        Ok(self.list_of(objects, list_meta(listed)))
    }

    /// A list of objects of the entry's version, in the shape and format that the client asked for.
    pub(crate) fn list_of(&self, objects: Vec<Map>, meta: Map) -> Response<Body> {
        let list = match &self.accepted.shape {
            Shape::Table(version) => {
                table::of(self.entry, &objects, meta, version, show::table_options(self, true), &self.now)
            }
            Shape::Partial(version) | Shape::PartialList(version) => {
                let partial = |object| Value::Map(show::partial(self.entry, object, version));
                let items = objects.iter().map(partial).collect::<Vec<_>>();
                // A list that nothing was put in is none in Go (handlers/response.go: asPartialObjectMetadataList).
                let items = if items.is_empty() { Value::Null } else { items.into() };
                let api_version = facts::api_version("meta.k8s.io", version);
                map! { "kind" => "PartialObjectMetadataList", "apiVersion" => api_version, "metadata" => meta, "items" => items }
            }
            Shape::Whole => {
                let items = objects.into_iter().map(|mut object| {
                    object.remove("kind");
                    object.remove("apiVersion");
                    Value::Map(object)
                });
                let mut list = map! { "metadata" => meta, "items" => items.collect::<Vec<_>>() };
                object::set_kind(&mut list, &self.entry.api_version, &self.entry.list_kind());
                list
            }
        };
        respond::object(200, &list, &self.accepted)
    }
}

/// Upstream has a cache for each version, which cannot be filled when a webhook does not convert: what is told is its
/// first error (k8s.io/apiserver/pkg/storage/{cacher/cacher.go,etcd3/corrupt_obj_deleter.go}@v0.37.2).
pub(super) fn unlistable(entry: &Entry, storage: &Storage, first: Option<&Arc<Item>>, status: Status) -> Status {
    let Some(first) = first.filter(|_| entry.asks()) else { return status };
    let text = corrupt_text(&format!("{}{}", storage.prefix, first.key), &undecodable(first.revision, &status));
    unreadable::not_ready(&unreadable::not_read(entry.facts.group, entry.facts.plural, &text, 1))
}

/// The first key after all keys with this prefix.
fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// 410 with a token to go on inconsistently (k8s.io/apiserver/pkg/storage/etcd3/errors.go@v0.37.2).
fn expired(error: &store::Error, token: &Token) -> Status {
    match error {
        store::Error::Compacted { .. } if token.start.is_empty() => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        store::Error::Compacted { .. } => {
            let on = Token { revision: None, start: token.start.clone() };
            let text = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
            Status { continue_token: on.encode(), ..Status::expired(text) }
        }
        other => store_failure(other),
    }
}

fn list_meta(listed: &Listed) -> Map {
    let mut meta = map! { "resourceVersion" => listed.revision.to_string() };
    if let Some(next) = &listed.next {
        meta.set("continue", next.encode());
        if let Some(remaining) = listed.remaining {
            meta.set("remainingItemCount", remaining as i64);
        }
    }
    meta
}

fn json_head(api_version: &str, kind: &str, listed: &Listed) -> Vec<u8> {
    let mut head = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":").into_bytes();
    api::json::encode_value(&mut head, &Value::Map(list_meta(listed)));
    head.extend_from_slice(b",\"items\":[");
    head
}

/// What comes before the items of a protobuf list, Unknown{typeMeta, raw: List{metadata = 1, items = 2}}.
/// The length of the whole is needed here, so messages are measured first and written later.
fn proto_head(api_version: &str, kind: &str, storage: &Storage, listed: &Listed) -> BytesMut {
    let mut meta = BytesMut::new();
    put_field(&mut meta, 1, b"");
    put_field(&mut meta, 2, listed.revision.to_string().as_bytes());
    put_field(&mut meta, 3, listed.next.as_ref().map(Token::encode).unwrap_or_default().as_bytes());
    if let (Some(remaining), true) = (listed.remaining, listed.next.is_some()) {
        meta.put_u8(4 << 3);
        put_varint(&mut meta, remaining);
    }
    let mut list_head = BytesMut::new();
    put_field(&mut list_head, 1, &meta);
    let lengths = listed.items.iter().map(|item| item.message_len(storage));
    let items: usize = lengths.map(|len| Head::new(ITEMS, len).bytes().len() + len).sum();
    let mut type_meta = BytesMut::new();
    put_field(&mut type_meta, 1, api_version.as_bytes());
    put_field(&mut type_meta, 2, kind.as_bytes());
    let mut head = BytesMut::new();
    head.put_slice(api::proto::MAGIC);
    put_field(&mut head, 1, &type_meta);
    head.put_slice(Head::new(2, list_head.len() + items).bytes());
    head.put_slice(&list_head);
    head
}
