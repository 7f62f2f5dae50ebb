//! The hub: the store, the table of what is served, and the feed that keeps the caches at the store's heels.
//!
//! Invariant: caches are written by the feed alone, in the store's order; `applied` says up to which
//! revision every cache is complete, and only grows.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use api::value::Map;
use bytes::Bytes;
use futures::future::BoxFuture;
use store::{Outcome, Range, Store, Watched, Write};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::admission::Reader;
use crate::authn::{Found, Lookup};
use crate::cache::Item;
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
    applied: watch::Sender<u64>,
    /// Somebody waits for a revision that the feed has heard nothing of.
    behind: Notify,
    observers: Vec<Box<dyn Observer>>,
    /// Storages that the feed is to fill and keep from now on.
    joins: (mpsc::UnboundedSender<Join>, tokio::sync::Mutex<mpsc::UnboundedReceiver<Join>>),
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
    fn changed(&self, storage: &Storage, key: &str, item: Option<&Item>);
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
        let joins = (sender, tokio::sync::Mutex::new(receiver));
        Hub { store, registry, network, applied: watch::channel(0).0, behind: Notify::new(), observers, joins }
    }

    fn observe(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        for observer in &self.observers {
            observer.changed(storage, key, item);
        }
    }

    /// Fills every cache from the store; returns the revision they are complete at.
    pub(crate) async fn fill(&self) -> Result<u64, store::Error> {
        let mut items: std::collections::HashMap<String, Vec<Arc<Item>>> = std::collections::HashMap::new();
        let (mut start, mut at) = (Bytes::from_static(b"/registry/"), 0);
        let end = Bytes::from_static(b"/registry0");
        loop {
            let range = Range { start: start.clone(), end: end.clone(), at, limit: FILL_PAGE_KEYS, keys_only: false };
            let page = self.store.range(range).await?;
            at = if at == 0 { page.revision } else { at };
            for kv in &page.items {
                if let Some((storage, key)) =
                    std::str::from_utf8(&kv.key).ok().and_then(|k| self.registry.storage_of_key(k))
                {
                    let item = Arc::new(Item::new(key, kv.mod_revision, kv.value.clone(), storage.plain_version()));
                    self.observe(&storage, key, Some(&item));
                    items.entry(storage.prefix.clone()).or_default().push(item);
                }
            }
            match page.items.last() {
                Some(last) if page.more => start = [&last.key[..], b"\0"].concat().into(),
                _ => break,
            }
        }
        for storage in self.registry.storages() {
            let gone = storage.cache.fill(items.remove(&storage.prefix).unwrap_or_default(), at);
            gone.iter().for_each(|key| self.observe(&storage, key, None));
        }
        self.applied.send_replace(at);
        Ok(at)
    }

    /// Follows the store from `revision` until it fails.
    pub(crate) async fn follow(&self, revision: u64) -> Result<(), store::Error> {
        let end = Bytes::from_static(b"/registry0");
        let mut watch = self.store.watch(Bytes::from_static(b"/registry/"), end, revision + 1).await?;
        let mut joins = self.joins.1.lock().await;
        loop {
            let next = tokio::select! {
                next = watch.next() => next?,
                Some(join) = joins.recv() => {
                    self.join(join).await?;
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
                        self.apply(event);
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
        let mut items = Vec::new();
        loop {
            let range = Range { start, end: end.clone(), at, limit: FILL_PAGE_KEYS, keys_only: false };
            let page = self.store.range(range).await?;
            for kv in &page.items {
                let key = std::str::from_utf8(&kv.key).ok().and_then(|key| key.strip_prefix(&storage.prefix));
                items.extend(
                    key.map(|key| Arc::new(Item::new(key, kv.mod_revision, kv.value.clone(), storage.plain_version()))),
                );
            }
            match page.items.last() {
                Some(last) if page.more => start = [&last.key[..], b"\0"].concat().into(),
                _ => break,
            }
        }
        storage.cache.fill(items, at);
        self.registry.replace_custom(storage.group, storage.plural, join.entries);
        // Whoever asked may have gone.
        let _ = join.done.send(());
        Ok(())
    }

    /// Serves a custom resource, in place of what was served under its name; returns when its cache is complete.
    pub(crate) async fn serve(&self, storage: Arc<Storage>, entries: Vec<Arc<Entry>>) {
        let (done, ready) = oneshot::channel();
        let _ = self.joins.0.send(Join { entries, storage, done });
        let _ = ready.await;
    }

    fn apply(&self, event: store::Event) {
        let Some((storage, key)) =
            std::str::from_utf8(&event.kv.key).ok().and_then(|k| self.registry.storage_of_key(k))
        else {
            return;
        };
        let revision = event.kv.mod_revision;
        let item = match event.kind {
            store::EventKind::Put => Some(Arc::new(Item::new(key, revision, event.kv.value, storage.plain_version()))),
            store::EventKind::Delete => None,
        };
        self.observe(&storage, key, item.as_deref());
        storage.cache.apply(key, revision, item);
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
        let key = storage.key(namespace, name);
        let got = self.store.get(&key, 0).await.map_err(|error| store_failure(&error))?;
        let Some(kv) = got.kv else { return Ok(None) };
        let object =
            storage.decode(&kv.value, kv.mod_revision).map_err(|error| Status::internal(&error.to_string()))?;
        Ok(Some((object, kv.mod_revision)))
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
        let value = Bytes::from(storage.encode(&stored));
        let write = Write { key: storage.key(namespace, name), value: Some(value), expect: Some(expect), lease };
        self.commit(write).await
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

    fn hub() -> Arc<Hub> {
        let registry = Registry::new(|resource| resource.served_by_default());
        Arc::new(Hub::new(Store::memory(), registry, Network::default(), Vec::new()))
    }

    #[tokio::test]
    async fn a_read_does_not_wait_for_revisions_that_no_cache_hears_of() {
        let hub = hub();
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
