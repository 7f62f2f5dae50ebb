//! The hub: the store, the table of what is served, and the feed that keeps the caches at the store's heels.
//!
//! Invariant: caches are written by the feed alone, in the store's order; `applied` says up to which
//! revision every cache is complete, and only grows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use api::value::Map;
use bytes::Bytes;
use encryption::transform::{Plain, unencrypted};
use futures::future::BoxFuture;
use store::{KeyValue, Outcome, Range, Store, Watched, Write};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::admission::Reader;
use crate::authn::{Found, Lookup};
use crate::cache::{Item, Unreadable};
use crate::encryptionconfig::Encryption;
use crate::registry::{Entry, Registry, Storage, relative_key, set_resource_version};

/// How long a consistent read waits for the caches (k8s.io/apiserver/pkg/storage/cacher@v0.37.2: blockTimeout).
const FRESHNESS_WAIT: Duration = Duration::from_secs(3);
/// A read that waits for so long asks how far the store is
/// (k8s.io/apiserver/pkg/storage/cacher/progress/watch_progress.go@v0.37.2: progressRequestPeriod).
const PROGRESS_AFTER: Duration = Duration::from_millis(100);
/// Retries of a bookkeeping update that meets conflicts.
const CONFLICT_RETRIES_MAX: usize = 20;
/// Keys read from the store in one page when the caches are filled.
const FILL_PAGE_KEYS: usize = 10_000;

pub(crate) struct Hub {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    /// What Services are given addresses and ports from.
    pub(crate) network: Network,
    /// --encryption-provider-config
    pub(crate) encryption: Option<Arc<Encryption>>,
    applied: watch::Sender<u64>,
    /// Somebody waits for a revision that the feed has heard nothing of.
    behind: Notify,
    observers: Vec<Box<dyn Observer>>,
    /// What the feed is to do between two batches of events.
    wishes: (mpsc::UnboundedSender<Wish>, tokio::sync::Mutex<mpsc::UnboundedReceiver<Wish>>),
}

enum Wish {
    /// Fill a storage, and keep it from now on.
    Join(Join),
    /// Try again what could not be decrypted.
    Reread,
}

/// A custom resource that begins to be served: its storage, and what serves it.
struct Join {
    entries: Vec<Arc<Entry>>,
    storage: Arc<Storage>,
    done: oneshot::Sender<()>,
}

/// --service-cluster-ip-range, --service-node-port-range (first and last).
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    pub(crate) service_cidrs: Vec<ipnet::IpNet>,
    pub(crate) node_ports: (u16, u16),
}

/// Keeps a view of some resources (RBAC rules, what runs on which node). Told by the feed in order,
/// before the change is visible as applied: whoever reads fresh state decides on it as well.
pub(crate) trait Observer: Send + Sync {
    /// An object is there or has changed, or is gone (`None`); `key` is relative to the resource.
    fn changed(&self, _storage: &Storage, _key: &str, _item: Option<&Item>) {}

    /// The same, once the cache has it, too: for those who tell others to look there.
    fn applied(&self, _storage: &Storage, _key: &str, _gone: bool) {}
}

/// An object as the store has it now.
pub(crate) struct Current {
    /// In the storage version.
    pub(crate) object: Map,
    pub(crate) revision: u64,
    /// It would be encrypted in another way now.
    pub(crate) stale: bool,
}

/// Why an object was not read.
pub(crate) enum Unread {
    Failed(Status),
    /// It cannot be decrypted.
    Encrypted(encryption::Error),
}

/// What upstream says of an object that it cannot decrypt
/// (k8s.io/apiserver/pkg/storage/etcd3/corrupt_obj_deleter.go@v0.37.2: untransformable).
pub(crate) fn untransformable(why: impl std::fmt::Display) -> String {
    format!("data from the storage is not transformable revision=0: {why}")
}

impl From<Unread> for Status {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Failed(status) => status,
            Unread::Encrypted(error) => Status::internal(&untransformable(error)),
        }
    }
}

/// The store's failure as an answer.
pub(crate) fn store_failure(error: &store::Error) -> Status {
    match error {
        store::Error::Compacted { .. } => Status::expired("The provided resource version is too old: it was compacted"),
        store::Error::Full => Status::internal("etcdserver: mvcc: database space exceeded"),
        other => Status::internal(&other.to_string()),
    }
}

impl Hub {
    pub(crate) fn new(store: Store, registry: Registry, network: Network, observers: Vec<Box<dyn Observer>>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let wishes = (sender, tokio::sync::Mutex::new(receiver));
        let (applied, behind) = (watch::channel(0).0, Notify::new());
        Hub { store, registry, network, encryption: None, applied, behind, observers, wishes }
    }

    /// Decrypts what is stored under a key.
    pub(crate) async fn open(&self, storage: &Storage, key: &[u8], stored: Bytes) -> Result<Plain, encryption::Error> {
        match &self.encryption {
            None => unencrypted(stored),
            Some(encryption) => encryption.open(storage, key, stored).await,
        }
    }

    /// What the store has, as a cache holds it; `key` is relative to the storage.
    pub(crate) async fn item(&self, storage: &Storage, key: &str, kv: &KeyValue) -> Result<Arc<Item>, Unreadable> {
        let revision = kv.mod_revision;
        match self.open(storage, &kv.key, kv.value.clone()).await {
            Ok(plain) => Ok(Arc::new(Item::new(key, revision, plain.bytes, storage.plain_version()))),
            Err(error) => {
                Err(Unreadable { key: key.into(), revision, value: kv.value.clone(), why: error.to_string() })
            }
        }
    }

    /// As [`Hub::item`], for the feed: what cannot be read is tried again later.
    async fn fed(&self, storage: &Storage, key: &str, kv: &KeyValue) -> Result<Arc<Item>, Unreadable> {
        let item = self.item(storage, key, kv).await;
        if let Err(unreadable) = &item {
            tracing::error!(resource = storage.plural, key, why = unreadable.why, "stored object cannot be decrypted");
            if let Some(encryption) = &self.encryption {
                encryption.spoiled.notify_one();
            }
        }
        item
    }

    fn tell_applied(&self, storage: &Storage, key: &str, gone: bool) {
        for observer in &self.observers {
            observer.applied(storage, key, gone);
        }
    }

    fn observe(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        for observer in &self.observers {
            observer.changed(storage, key, item);
        }
    }

    /// Fills every cache from the store; returns the revision they are complete at.
    pub(crate) async fn fill(&self) -> Result<u64, store::Error> {
        let mut found: HashMap<String, (Vec<Arc<Item>>, Vec<Unreadable>)> = HashMap::new();
        let ((mut start, end), mut at) = (self.registry.range(), 0);
        loop {
            let range = Range { start: start.clone(), end: end.clone(), at, limit: FILL_PAGE_KEYS, keys_only: false };
            let page = self.store.range(range).await?;
            at = if at == 0 { page.revision } else { at };
            for kv in &page.items {
                if let Some((storage, key)) =
                    std::str::from_utf8(&kv.key).ok().and_then(|k| self.registry.storage_of_key(k))
                {
                    let found = found.entry(storage.prefix.clone()).or_default();
                    match self.fed(&storage, key, kv).await {
                        Ok(item) => {
                            self.observe(&storage, key, Some(&item));
                            found.0.push(item);
                        }
                        Err(unreadable) => found.1.push(unreadable),
                    }
                }
            }
            match page.items.last() {
                Some(last) if page.more => start = [&last.key[..], b"\0"].concat().into(),
                _ => break,
            }
        }
        for storage in self.registry.storages() {
            let (items, unreadable) = found.remove(&storage.prefix).unwrap_or_default();
            let keys: Vec<Arc<str>> = items.iter().map(|item| item.key.clone()).collect();
            let gone = storage.cache.fill(items, unreadable, at);
            gone.iter().for_each(|key| self.observe(&storage, key, None));
            keys.iter().for_each(|key| self.tell_applied(&storage, key, false));
            gone.iter().for_each(|key| self.tell_applied(&storage, key, true));
        }
        self.applied.send_replace(at);
        Ok(at)
    }

    /// Follows the store from `revision` until it fails.
    pub(crate) async fn follow(&self, revision: u64) -> Result<(), store::Error> {
        let (start, end) = self.registry.range();
        let mut watch = self.store.watch(start, end, revision + 1).await?;
        let mut wishes = self.wishes.1.lock().await;
        loop {
            let next = tokio::select! {
                next = watch.next() => next?,
                Some(wish) = wishes.recv() => {
                    match wish {
                        Wish::Join(join) => self.join(join).await?,
                        Wish::Reread => self.reread().await,
                    }
                    continue;
                }
                () = self.behind.notified() => {
                    watch.request_progress();
                    continue;
                }
            };
            let applied = match next {
                Watched::Events(events) => {
                    let mut last = 0;
                    for event in events {
                        last = event.kv.mod_revision;
                        self.apply(event).await;
                    }
                    last
                }
                Watched::Progress(revision) => revision,
            };
            self.applied.send_if_modified(|current| {
                let newer = applied > *current;
                *current = applied.max(*current);
                newer
            });
        }
    }

    /// Between two batches of events the feed is the only one that knows at which revision a new cache begins.
    async fn join(&self, join: Join) -> Result<(), store::Error> {
        let storage = &join.storage;
        let end = Bytes::from(format!("{}0", storage.prefix.trim_end_matches('/')));
        let (mut start, at) = (Bytes::from(storage.prefix.clone()), self.applied());
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        loop {
            let range = Range { start, end: end.clone(), at, limit: FILL_PAGE_KEYS, keys_only: false };
            let page = self.store.range(range).await?;
            for kv in &page.items {
                let key = std::str::from_utf8(&kv.key).ok().and_then(|key| key.strip_prefix(&storage.prefix));
                let Some(key) = key else { continue };
                match self.fed(storage, key, kv).await {
                    Ok(item) => items.push(item),
                    Err(one) => unreadable.push(one),
                }
            }
            match page.items.last() {
                Some(last) if page.more => start = [&last.key[..], b"\0"].concat().into(),
                _ => break,
            }
        }
        storage.cache.fill(items, unreadable, at);
        self.registry.replace_custom(storage.group, storage.plural, join.entries);
        // Whoever asked may have gone.
        let _ = join.done.send(());
        Ok(())
    }

    /// Serves a custom resource, in place of what was served under its name; returns when its cache is complete.
    pub(crate) async fn serve(&self, storage: Arc<Storage>, entries: Vec<Arc<Entry>>) {
        let (done, ready) = oneshot::channel();
        let _ = self.wishes.0.send(Wish::Join(Join { entries, storage, done }));
        let _ = ready.await;
    }

    /// True when there is something that nobody here can read.
    pub(crate) fn has_unreadable(&self) -> bool {
        self.registry.storages().iter().any(|storage| !storage.cache.is_readable())
    }

    /// Tries to read again what could not be read. First beside the feed, so that it need not wait for a plugin.
    pub(crate) async fn retry_unreadable(&self) {
        for storage in self.registry.storages() {
            for one in storage.cache.unreadable() {
                // What the plugin answers is remembered.
                let _ = self.open(&storage, &storage.full_key(&one.key), one.value.clone()).await;
            }
        }
        let _ = self.wishes.0.send(Wish::Reread);
    }

    async fn reread(&self) {
        for storage in self.registry.storages() {
            let mut items = Vec::new();
            for one in storage.cache.unreadable() {
                let key = storage.full_key(&one.key);
                if let Ok(plain) = self.open(&storage, &key, one.value.clone()).await {
                    let item = Item::new(&one.key, one.revision, plain.bytes, storage.plain_version());
                    self.observe(&storage, &one.key, Some(&item));
                    items.push(Arc::new(item));
                }
            }
            if !items.is_empty() {
                let keys: Vec<Arc<str>> = items.iter().map(|item| item.key.clone()).collect();
                storage.cache.restore(items, self.applied());
                keys.iter().for_each(|key| self.tell_applied(&storage, key, false));
            }
        }
    }

    async fn apply(&self, event: store::Event) {
        let Some((storage, key)) =
            std::str::from_utf8(&event.kv.key).ok().and_then(|k| self.registry.storage_of_key(k))
        else {
            return;
        };
        let revision = event.kv.mod_revision;
        let item = match event.kind {
            store::EventKind::Put => match self.fed(&storage, key, &event.kv).await {
                Ok(item) => Some(item),
                // Observers keep what they know: an object is not gone because it cannot be read.
                Err(unreadable) => return storage.cache.spoil(unreadable),
            },
            store::EventKind::Delete => None,
        };
        self.observe(&storage, key, item.as_deref());
        let gone = item.is_none();
        storage.cache.apply(key, revision, item);
        self.tell_applied(&storage, key, gone);
    }

    /// The revision up to which the caches are complete.
    pub(crate) fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Waits until the caches are complete up to what the store has now; returns that revision.
    pub(crate) async fn fresh(&self) -> Result<u64, Status> {
        let revision = self.store.revision().await.map_err(|error| store_failure(&error))?;
        self.wait(revision).await
    }

    /// Waits until the caches are complete up to `revision`. Revisions of keys that are not watched come with no event:
    /// for them the store is asked how far the watch is.
    pub(crate) async fn wait(&self, revision: u64) -> Result<u64, Status> {
        let mut applied = self.applied.subscribe();
        for limit in [PROGRESS_AFTER, FRESHNESS_WAIT - PROGRESS_AFTER] {
            let waited = tokio::time::timeout(limit, applied.wait_for(|applied| *applied >= revision)).await;
            if let Ok(Ok(applied)) = waited {
                return Ok(*applied);
            }
            self.behind.notify_one();
        }
        Err(Status::too_large_resource_version(revision, self.applied(), 1))
    }

    /// Ends every watch, and those to come.
    pub(crate) fn end_watches(&self) {
        self.registry.storages().iter().for_each(|storage| storage.cache.close());
    }

    /// An object as the store has it now, in the storage version, with its revision.
    pub(crate) async fn read(
        &self,
        storage: &Storage,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(Map, u64)>, Status> {
        let current = self.current(storage, namespace, name).await?;
        Ok(current.map(|current| (current.object, current.revision)))
    }

    /// As [`Hub::read`], with what a write has to know.
    pub(crate) async fn current(
        &self,
        storage: &Storage,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Current>, Unread> {
        let key = storage.key(namespace, name);
        let got = self.store.get(&key, 0).await.map_err(|error| Unread::Failed(store_failure(&error)))?;
        let Some(kv) = got.kv else { return Ok(None) };
        let (revision, opened) = (kv.mod_revision, self.open(storage, &key, kv.value).await);
        let plain = opened.map_err(Unread::Encrypted)?;
        let object = storage.decode(&plain.bytes, revision);
        let object = object.map_err(|error| Unread::Failed(Status::internal(&error.to_string())))?;
        Ok(Some(Current { object, revision, stale: plain.stale }))
    }

    /// An object as the store has it now, as the cache holds it.
    pub(crate) async fn stored_item(&self, storage: &Storage, key: &str) -> Result<Option<Arc<Item>>, Unread> {
        let got = self.store.get(&storage.full_key(key), 0).await;
        let got = got.map_err(|error| Unread::Failed(store_failure(&error)))?;
        let Some(kv) = got.kv else { return Ok(None) };
        let (revision, opened) = (kv.mod_revision, self.open(storage, &kv.key, kv.value).await);
        let plain = opened.map_err(Unread::Encrypted)?;
        // The cached one has its wire bytes already.
        let cached = storage.cache.get(key).filter(|item| item.revision == revision);
        let made = || Arc::new(Item::new(key, revision, plain.bytes, storage.plain_version()));
        Ok(Some(cached.unwrap_or_else(made)))
    }

    /// Writes an object of the storage version; `expect` 0 creates. Gives the new revision, or `None` on a conflict.
    pub(crate) async fn write(
        &self,
        storage: &Storage,
        namespace: &str,
        name: &str,
        object: &Map,
        expect: u64,
        lease: i64,
    ) -> Result<Option<u64>, Status> {
        let mut stored = object.clone();
        stored.map_mut("metadata").remove("resourceVersion");
        let (key, mut value) = (storage.key(namespace, name), storage.encode(&stored));
        if let Some(encryption) = &self.encryption {
            value = encryption.seal(storage, &key, value).map_err(|error| Status::internal(&error.to_string()))?;
        }
        self.commit(Write { key, value: Some(value.into()), expect: Some(expect), lease }).await
    }

    /// Deletes an object if its revision is still `expect`.
    pub(crate) async fn remove(
        &self,
        storage: &Storage,
        namespace: &str,
        name: &str,
        expect: u64,
    ) -> Result<Option<u64>, Status> {
        let key = storage.key(namespace, name);
        self.commit(Write { key, value: None, expect: Some(expect), lease: 0 }).await
    }

    async fn commit(&self, write: Write) -> Result<Option<u64>, Status> {
        match self.store.write(write).await.map_err(|error| store_failure(&error))? {
            Outcome::Done { revision, .. } => Ok(Some(revision)),
            Outcome::Conflict { .. } => Ok(None),
        }
    }
}

impl Reader for Hub {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn cached(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Map>> {
        let storage = self.registry.storage_of(group, resource)?;
        let item = storage.cache.get(&relative_key(namespace, name))?;
        Some(Arc::new(item.object(&storage)))
    }

    fn live<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Map>, Status>> {
        Box::pin(async move {
            match self.registry.storage_of(group, resource) {
                Some(storage) => Ok(self.read(&storage, namespace, name).await?.map(|(object, _)| object)),
                None => Ok(None),
            }
        })
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Map>> {
        let Some(storage) = self.registry.storage_of(group, resource) else { return Vec::new() };
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let (items, _) = storage.cache.list(&prefix);
        items.iter().map(|item| Arc::new(item.object(&storage))).collect()
    }

    fn update<'a>(
        &'a self,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
        change: &'a mut (dyn FnMut(&mut Map) -> Result<bool, Status> + Send),
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let storage = self.registry.storage_of(group, resource).ok_or_else(Status::no_such_path)?;
            for _ in 0..CONFLICT_RETRIES_MAX {
                let found = self.read(&storage, namespace, name).await?;
                let (mut object, revision) = found.ok_or_else(|| Status::not_found(group, resource, name))?;
                if !change(&mut object)? || self.write(&storage, namespace, name, &object, revision, 0).await?.is_some()
                {
                    return Ok(());
                }
            }
            Err(Status::conflict(
                group,
                resource,
                name,
                "the object has been modified; please apply your changes to the latest version and try again",
            ))
        })
    }
}

impl Lookup for Hub {
    fn object<'a>(&'a self, resource: &'static str, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<Found>> {
        Box::pin(async move {
            let object = self.live("", resource, namespace, name).await.ok()??;
            let meta = object.map("metadata")?;
            let deletion_timestamp = meta.get("deletionTimestamp").and_then(|t| t.as_str()?.parse().ok());
            let raw = serde_json::from_slice(&api::json::encode(&object)).ok()?;
            Some(Found { uid: meta.str("uid").into(), deletion_timestamp, raw })
        })
    }
}

/// The object as it is after a write at `revision`.
pub(crate) fn written(mut object: Map, revision: u64) -> Map {
    set_resource_version(&mut object, revision);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(observers: Vec<Box<dyn Observer>>) -> Arc<Hub> {
        let registry = Registry::new(|resource| resource.served_by_default());
        Arc::new(Hub::new(Store::memory(), registry, Network::default(), observers))
    }

    /// Notes what it is told of one key, and whether the cache has it then.
    struct Witness(mpsc::UnboundedSender<(&'static str, bool)>);

    const WITNESSED: &str = "default/witnessed";

    impl Witness {
        fn note(&self, what: &'static str, storage: &Storage, key: &str) {
            if key == WITNESSED {
                // The test may have ended.
                let _ = self.0.send((what, storage.cache.get(key).is_some()));
            }
        }
    }

    impl Observer for Witness {
        fn changed(&self, storage: &Storage, key: &str, item: Option<&Item>) {
            self.note(if item.is_some() { "changed" } else { "gone" }, storage, key);
        }

        fn applied(&self, storage: &Storage, key: &str, gone: bool) {
            self.note(if gone { "gone, applied" } else { "applied" }, storage, key);
        }
    }

    #[tokio::test]
    async fn observers_are_told_before_and_after_the_cache_changes() {
        let (sender, mut told) = mpsc::unbounded_channel();
        let hub = hub(vec![Box::new(Witness(sender))]);
        let filled = hub.fill().await.expect("filled");
        let following = hub.clone();
        let feed = async move { following.follow(filled).await };
        let writes = async {
            let storage = hub.registry.storages().into_iter().find(|one| one.plural == "configmaps").expect("served");
            let key = storage.full_key(WITNESSED);
            let put = Write { key: key.clone(), value: Some(Bytes::from_static(b"k8s\0")), ..Write::default() };
            hub.store.write(put).await.expect("written");
            hub.store.write(Write { key, ..Write::default() }).await.expect("deleted");
            let mut notes = Vec::new();
            while notes.len() < 4 {
                notes.push(told.recv().await.expect("told"));
            }
            notes
        };
        tokio::select! {
            ended = feed => panic!("the feed ended: {ended:?}"),
            notes = writes => assert_eq!(
                notes,
                [("changed", false), ("applied", true), ("gone", true), ("gone, applied", false)]
            ),
        }
    }

    #[tokio::test]
    async fn a_read_does_not_wait_for_revisions_that_no_cache_hears_of() {
        let hub = hub(Vec::new());
        let filled = hub.fill().await.expect("filled");
        let following = hub.clone();
        let feed = async move { following.follow(filled).await };
        let reads = async {
            let key = Bytes::from_static(b"compact_rev_key");
            hub.store.write(Write { key, value: Some(Bytes::new()), ..Write::default() }).await.expect("written");
            hub.fresh().await.expect("the caches are told")
        };
        tokio::select! {
            ended = feed => panic!("the feed ended: {ended:?}"),
            fresh = reads => assert!(fresh > filled, "{fresh}"),
        }
    }
}
