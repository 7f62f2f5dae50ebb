//! How many objects of a kind each namespace has, for the kinds that quotas count and only as long as they do
//! (pkg/controller/resourcequota/resource_quota_monitor.go@v1.37.2, which watches every kind).
//!
//! Watches metadata of the kinds that discovery shows under the name. Non-goal: kinds of which more than the number
//! counts; those come from the shared caches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::task::Tasks;
use futures::StreamExt;
use kube::api::PartialObjectMeta;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::usage::Kind;
use crate::common::discovery::{Discovered, discover};
use crate::error::{Error, Result};

/// How long a sync waits for the first list of a kind; the key comes back.
const FIRST_LIST_LIMIT: Duration = Duration::from_secs(30);
/// What a kind must support to be counted (upstream: GetQuotableResources).
const QUOTABLE: [&str; 4] = ["create", "list", "watch", "delete"];
/// Kinds that come in masses and were never counted (pkg/quota/v1/install/registry.go@v1.37.2; the virtual kinds that
/// it names besides cannot be listed).
const IGNORED: [Kind<'static>; 2] =
    [Kind { group: "", resource: "events" }, Kind { group: "events.k8s.io", resource: "events" }];

type Metadata = PartialObjectMeta<DynamicObject>;
/// Told of a kind's group and name, and the namespace that lost an object.
type Gone = Box<dyn Fn(Kind<'_>, &str) + Send + Sync>;

pub(super) struct Counts {
    client: Client,
    tasks: Tasks,
    discovered: Mutex<Option<Arc<Discovered>>>,
    monitors: Mutex<BTreeMap<(String, String), Monitor>>,
    gone: Gone,
}

/// The watch of one kind.
struct Monitor {
    tasks: Tasks,
    names: Arc<Mutex<Names>>,
    synced: watch::Receiver<bool>,
}

/// Names by namespace.
#[derive(Default)]
struct Names(HashMap<String, HashSet<String>>);

impl Names {
    fn insert(&mut self, key: Key) {
        self.0.entry(key.namespace).or_default().insert(key.name);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(names) = self.0.get_mut(&key.namespace) {
            names.remove(&key.name);
            if names.is_empty() {
                self.0.remove(&key.namespace);
            }
        }
    }

    fn count(&self, namespace: &str) -> usize {
        self.0.get(namespace).map_or(0, HashSet::len)
    }

    /// Namespaces that have an object which `now` has not.
    fn lost(&self, now: &Names) -> Vec<String> {
        let gone = |(namespace, names): &(&String, &HashSet<String>)| {
            now.0.get(*namespace).is_none_or(|left| !names.is_subset(left))
        };
        self.0.iter().filter(gone).map(|(namespace, _)| namespace.clone()).collect()
    }
}

impl Counts {
    pub(super) fn new(client: Client, tasks: Tasks, gone: Gone) -> Self {
        Counts { client, tasks, discovered: Mutex::default(), monitors: Mutex::default(), gone }
    }

    /// What is served may have changed: ask again when next needed.
    pub(super) fn forget_discovery(&self) {
        *self.discovered.lock() = None;
    }

    /// Ends the watches of kinds that no quota counts any more.
    pub(super) fn retain(&self, wanted: &HashSet<(String, String)>) {
        self.monitors.lock().retain(|kind, monitor| {
            let keep = wanted.contains(kind);
            if !keep {
                monitor.tasks.cancel();
            }
            keep
        });
    }

    /// How many there are in the namespace; `None` for a kind that is not served or not counted.
    pub(super) async fn of(self: &Arc<Self>, kind: Kind<'_>, namespace: &str) -> Result<Option<usize>> {
        let Some(api) = self.resolve(kind).await? else { return Ok(None) };
        let (names, mut synced) = {
            let mut monitors = self.monitors.lock();
            let entry = monitors.entry((kind.group.into(), kind.resource.into()));
            let monitor = entry.or_insert_with(|| self.monitor(api));
            (monitor.names.clone(), monitor.synced.clone())
        };
        let first = tokio::time::timeout(FIRST_LIST_LIMIT, synced.wait_for(|synced| *synced)).await;
        match first {
            Ok(Ok(_)) => Ok(Some(names.lock().count(namespace))),
            _ => Err(Error::other(format!("{} are not listed yet", kind.count_name()))),
        }
    }

    async fn resolve(&self, kind: Kind<'_>) -> Result<Option<ApiResource>> {
        let known = self.discovered.lock().clone();
        let discovered = match known {
            Some(discovered) => discovered,
            None => {
                let fresh = Arc::new(discover(&self.client).await?);
                self.discovered.lock().get_or_insert(fresh).clone()
            }
        };
        let mut all = discovered.all.iter().filter(|served| served.namespaced && served.supports(&QUOTABLE));
        let found = all.find(|served| served.api.group == kind.group && served.api.plural == kind.resource);
        Ok(found.filter(|_| !IGNORED.contains(&kind)).map(|served| served.api.clone()))
    }

    fn monitor(self: &Arc<Self>, api: ApiResource) -> Monitor {
        let tasks = self.tasks.child();
        let (synced, receiver) = watch::channel(false);
        let names: Arc<Mutex<Names>> = Arc::default();
        let (all, into) = (self.clone(), names.clone());
        tasks.run("quota monitor", async move { all.follow(api, &into, synced).await });
        Monitor { tasks, names, synced: receiver }
    }

    async fn follow(&self, api: ApiResource, names: &Mutex<Names>, synced: watch::Sender<bool>) {
        let objects: Api<Metadata> = Api::all_with(self.client.clone(), &api);
        let events = watcher::watcher(objects, watcher::Config::default().streaming_lists());
        let mut events = std::pin::pin!(kube::runtime::WatchStreamExt::default_backoff(events));
        let kind = Kind { group: &api.group, resource: &api.plural };
        let mut listing = Names::default();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing = Names::default(),
                Ok(Event::InitApply(object)) => listing.insert(key_of(&object)),
                Ok(Event::InitDone) => {
                    let listed = std::mem::take(&mut listing);
                    let lost = names.lock().lost(&listed);
                    *names.lock() = listed;
                    lost.iter().for_each(|namespace| (self.gone)(kind, namespace));
                    synced.send_replace(true);
                }
                Ok(Event::Apply(object)) => names.lock().insert(key_of(&object)),
                Ok(Event::Delete(object)) => {
                    let key = key_of(&object);
                    names.lock().remove(&key);
                    (self.gone)(kind, &key.namespace);
                }
                Err(error) => tracing::debug!(kind = api.kind, %error, "watch failed, will retry"),
            }
        }
    }
}

fn key_of(object: &Metadata) -> Key {
    Key::new(object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_losses_noticed() {
        let mut names = Names::default();
        for (namespace, name) in [("a", "x"), ("a", "x"), ("a", "y"), ("b", "x")] {
            names.insert(Key::new(namespace, name));
        }
        assert_eq!((names.count("a"), names.count("b"), names.count("c")), (2, 1, 0));
        let mut fresh = Names::default();
        fresh.insert(Key::new("a", "y"));
        fresh.insert(Key::new("b", "x"));
        assert_eq!(names.lost(&fresh), ["a"]);
        names.remove(&Key::new("b", "x"));
        assert_eq!(names.count("b"), 0);
        assert_eq!(fresh.lost(&names), ["b"]);
    }
}
