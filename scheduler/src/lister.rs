//! Read access to the objects that plugins look up by name while they decide.
//!
//! Invariant: filled from a shared cache in the cloud of one informer, or by hand in a test; a
//! reader never waits for the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Key;
use client::informer::{Cache, Object};
use parking_lot::RwLock;

/// The objects of one kind; clones share them.
pub(crate) struct Lister<K> {
    objects: Arc<RwLock<BTreeMap<Key, Arc<K>>>>,
}

impl<K> Clone for Lister<K> {
    fn clone(&self) -> Self {
        Lister { objects: self.objects.clone() }
    }
}

impl<K> Default for Lister<K> {
    fn default() -> Self {
        Lister { objects: Arc::default() }
    }
}

impl<K: Object> Lister<K> {
    /// A lister that follows a shared cache.
    pub(crate) fn follow(cache: &Cache<K>) -> Self {
        let lister = Lister::default();
        let target = lister.clone();
        cache.on_change(move |old, new| match (old, new) {
            (_, Some(object)) => target.insert(object.clone()),
            (Some(object), None) => drop(target.objects.write().remove(&Key::of(&**object))),
            (None, None) => {}
        });
        lister
    }

    pub(crate) fn insert(&self, object: Arc<K>) {
        self.objects.write().insert(Key::of(&*object), object);
    }
}

impl<K> Lister<K> {
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.objects.read().get(&Key::new(namespace, name)).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Arc<K>> {
        self.objects.read().values().cloned().collect()
    }

    pub(crate) fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read();
        let range = objects.range(Key::new(namespace, "")..).take_while(|(key, _)| key.namespace == namespace);
        range.map(|(_, object)| object.clone()).collect()
    }
}
