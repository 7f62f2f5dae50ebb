//! Shared caches: one list+watch a kind and selector, any number of readers.
//!
//! Invariant (the contract of k8s.io/client-go/tools/cache/shared_informer.go@v0.37.2): a reader sees
//! a subsequence of the object's true states, in order; the cache is updated before handlers are
//! told; a handler is told of (old, new) with `None` for absent. The first list never asks for
//! resourceVersion 0, so a restart cannot go back in time.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::Key;
use crate::task::Tasks;

/// What a cache holds.
pub trait Object: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static {}
impl<K> Object for K where K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static {}

type Handler<K> = Box<dyn Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync>;
type IndexFn<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// A cache of one kind; clones share it.
pub struct Cache<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Cache { shared: self.shared.clone() }
    }
}

struct Shared<K> {
    state: RwLock<State<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

struct State<K> {
    objects: BTreeMap<Key, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
}

struct Index<K> {
    of: IndexFn<K>,
    keys: HashMap<String, HashSet<Key>>,
}

impl<K: Object> Cache<K> {
    fn new() -> Self {
        let state = State { objects: BTreeMap::new(), indexes: HashMap::new() };
        Cache {
            shared: Arc::new(Shared {
                state: RwLock::new(state),
                handlers: RwLock::new(Vec::new()),
                synced: watch::channel(false).0,
            }),
        }
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.by_key(&Key::new(namespace, name))
    }

    pub fn by_key(&self, key: &Key) -> Option<Arc<K>> {
        self.shared.state.read().objects.get(key).cloned()
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.state.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = Key::new(namespace, "");
        let state = self.shared.state.read();
        let range = state.objects.range(from..).take_while(|(key, _)| key.namespace == namespace);
        range.map(|(_, object)| object.clone()).collect()
    }

    /// The objects that the index `name` files under `value`; unordered. The index must have been
    /// added by [`Cache::add_index`].
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let keys = state.indexes.get(name).and_then(|index| index.keys.get(value));
        keys.into_iter().flatten().filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// Files every object under the values that `of` gives. Adding the same name twice keeps the first.
    pub fn add_index(&self, name: &'static str, of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        let mut state = self.shared.state.write();
        if state.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { of: Box::new(of), keys: HashMap::new() };
        for (key, object) in &state.objects {
            index.insert(key, object);
        }
        state.indexes.insert(name, index);
    }

    /// Calls `handler(old, new)` for each change from now on, and `(None, Some(object))` for what is
    /// there already. Handlers run on the watch task: they must only enqueue.
    pub fn on_change(&self, handler: impl Fn(Option<&Arc<K>>, Option<&Arc<K>>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.write();
        for object in self.list() {
            handler(None, Some(&object));
        }
        handlers.push(Box::new(handler));
    }

    /// Returns once the first complete list is in the cache.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives in `self`, so waiting can only end with true.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// True once the first complete list is in the cache.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    fn set(&self, key: Key, new: Option<Arc<K>>) {
        let handlers = self.shared.handlers.read();
        let old = self.shared.state.write().set(key, new.clone());
        if old.is_some() || new.is_some() {
            for handler in handlers.iter() {
                handler(old.as_ref(), new.as_ref());
            }
        }
    }

    fn replace(&self, objects: BTreeMap<Key, Arc<K>>) {
        let gone: Vec<Key> = {
            let state = self.shared.state.read();
            state.objects.keys().filter(|key| !objects.contains_key(*key)).cloned().collect()
        };
        for key in gone {
            self.set(key, None);
        }
        for (key, object) in objects {
            self.set(key, Some(object));
        }
        self.shared.synced.send_replace(true);
    }

    async fn follow(self, events: impl Stream<Item = watcher::Result<Event<K>>>) {
        let mut events = std::pin::pin!(events);
        let mut listing = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(object)) => {
                    listing.insert(Key::of(&object), Arc::new(object));
                }
                Ok(Event::InitDone) => self.replace(std::mem::take(&mut listing)),
                Ok(Event::Apply(object)) => self.set(Key::of(&object), Some(Arc::new(object))),
                Ok(Event::Delete(object)) => self.set(Key::of(&object), None),
                Err(error) => tracing::debug!(kind = %K::kind(&()), %error, "watch failed, will retry"),
            }
        }
    }
}

impl<K> State<K> {
    fn set(&mut self, key: Key, new: Option<Arc<K>>) -> Option<Arc<K>> {
        let old = match &new {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(&key),
        };
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            if let Some(new) = &new {
                index.insert(&key, new);
            }
        }
        old
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Key, object: &K) {
        for value in (self.of)(object) {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for value in (self.of)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

/// By type and selector.
type Caches = HashMap<(TypeId, String), Box<dyn Any + Send + Sync>>;

/// The caches of one identity: asking twice for the same kind and selector gives the same cache.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    tasks: Tasks,
    caches: Arc<Mutex<Caches>>,
}

impl Informers {
    pub fn new(client: Client, tasks: Tasks) -> Self {
        Informers { client, tasks, caches: Arc::default() }
    }

    /// The cache of all objects of kind `K`, started on first use.
    pub fn of<K: Object>(&self) -> Cache<K> {
        self.selected(watcher::Config::default())
    }

    /// The cache of the objects that a field selector matches, as a kubelet's of its own pods.
    pub fn with_fields<K: Object>(&self, selector: &str) -> Cache<K> {
        self.selected(watcher::Config::default().fields(selector))
    }

    /// The cache of the objects that a label selector matches.
    pub fn with_labels<K: Object>(&self, selector: &str) -> Cache<K> {
        self.selected(watcher::Config::default().labels(selector))
    }

    fn selected<K: Object>(&self, config: watcher::Config) -> Cache<K> {
        let selectors = format!("{:?} {:?}", config.label_selector, config.field_selector);
        let mut caches = self.caches.lock();
        let entry = caches.entry((TypeId::of::<K>(), selectors)).or_insert_with(|| {
            let cache = Cache::<K>::new();
            let api = Api::<K>::all_with(self.client.clone(), &());
            let events = watcher::watcher(api, config.streaming_lists());
            let events = kube::runtime::WatchStreamExt::default_backoff(events);
            self.tasks.run("informer", cache.clone().follow(events));
            Box::new(cache)
        });
        entry.downcast_ref::<Cache<K>>().cloned().unwrap_or_else(Cache::new)
    }
}
