//! garbage-collector-controller: objects go when all their owners are gone
//! (pkg/controller/garbagecollector@v1.37.2).
//!
//! Watches the metadata of every deletable kind that discovery lists; new kinds are noticed because CRDs
//! and APIServices are watched. [`graph`] remembers, [`collect`] judges with live reads and writes.

mod collect;
mod graph;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::events::Recorder;
use client::informer::Cache;
use client::queue::Queue;
use client::task::Tasks;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::PartialObjectMeta;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;

use self::collect::{Collector, Outcome};
use self::graph::{Effects, Graph, Identity};
use crate::Context;
use crate::common::discovery::{Discovered, discover};
use crate::error::{Error, Result};

const NAME: &str = "garbage-collector-controller";
const ACCOUNT: &str = "generic-garbage-collector";
/// --concurrent-gc-syncs
const WORKERS: usize = 20;
/// How long the first lists are waited for before work starts (upstream: initialSyncTimeout).
const INITIAL_SYNC_TIMEOUT: Duration = Duration::from_secs(30);
/// Kinds that nobody owns and that come in masses (upstream: ignoredResources).
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

type Metadata = PartialObjectMeta<DynamicObject>;

pub(crate) fn start(context: &Context) {
    let client = context.client(ACCOUNT);
    let all = Arc::new(Garbage {
        recorder: context.recorder(client.clone(), "garbage-collector-controller"),
        collector: Collector {
            client: client.clone(),
            graph: Mutex::new(Graph::default()),
            discovered: Mutex::default(),
        },
        delete: Queue::new(),
        orphan: Queue::new(),
        resync: Queue::new(),
        monitors: Mutex::default(),
        tasks: context.tasks.clone(),
        client,
    });
    let definitions = context.informers.of::<CustomResourceDefinition>();
    let services = context.informers.of::<APIService>();
    let to = all.resync.clone();
    definitions.on_change(move |_, _| to.add(Key::new("", "")));
    let to = all.resync.clone();
    services.on_change(move |_, _| to.add(Key::new("", "")));
    all.resync.add(Key::new("", ""));
    let (first, started) = watch::channel(false);
    let resync = all.clone();
    context.controller(NAME, all.resync.clone(), 1, (definitions, services), move |_, caches| {
        let (all, first) = (resync.clone(), first.clone());
        async move {
            let outcome = all.clone().resync(&caches.0, &caches.1).await;
            first.send_replace(true);
            outcome.map(|()| None)
        }
    });
    let tasks = context.tasks.clone();
    context.tasks.run(NAME, async move { all.work(&tasks, started).await });
}

struct Garbage {
    client: Client,
    recorder: Recorder,
    collector: Collector,
    delete: Queue<Key>,
    orphan: Queue<Key>,
    /// One key: look at discovery again.
    resync: Queue<Key>,
    monitors: Mutex<BTreeMap<String, Monitor>>,
    tasks: Tasks,
}

/// The watch of one kind.
struct Monitor {
    tasks: Tasks,
    api_version: String,
    synced: watch::Receiver<bool>,
}

impl Garbage {
    /// Starts the workers when the first lists are complete, or after [`INITIAL_SYNC_TIMEOUT`].
    async fn work(self: Arc<Self>, tasks: &Tasks, mut started: watch::Receiver<bool>) {
        let synced = async {
            // An ended sender means shutdown, which cancels this task too.
            let _ = started.wait_for(|started| *started).await;
            let receivers: Vec<_> = self.monitors.lock().values().map(|monitor| monitor.synced.clone()).collect();
            for mut receiver in receivers {
                let _ = receiver.wait_for(|synced| *synced).await;
            }
        };
        if tokio::time::timeout(INITIAL_SYNC_TIMEOUT, synced).await.is_err() {
            tracing::info!("not all resource monitors could be synced, proceeding anyways");
        }
        let all = self.clone();
        client::controller::spawn(tasks, "gc delete", self.delete.clone(), WORKERS, move |key| {
            let all = all.clone();
            async move { all.attempt_to_delete(&key.name).await.map(|()| None) }
        });
        let all = self.clone();
        client::controller::spawn(tasks, "gc orphan", self.orphan.clone(), WORKERS, move |key| {
            let all = all.clone();
            async move { all.collector.attempt_to_orphan(&key.name).await.map(|()| None) }
        });
    }

    async fn attempt_to_delete(&self, uid: &str) -> Result<()> {
        match self.collector.attempt_to_delete(uid).await? {
            Outcome::Done => {}
            Outcome::Look(uids) => uids.into_iter().for_each(|uid| self.delete.add(Key::new("", uid))),
            Outcome::Absent => {
                let effects = {
                    let mut graph = self.collector.graph.lock();
                    let identity = graph.get(uid).map(|node| node.identity.clone());
                    identity.map(|identity| graph.delete_virtual(&identity))
                };
                self.apply(effects.unwrap_or_default());
                return Ok(());
            }
        }
        match self.collector.graph.lock().get(uid) {
            Some(node) if node.is_virtual => {
                Err(Error::other(format!("{} exists but no watch has seen it", node.identity)))
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, effects: Effects) {
        effects.delete.into_iter().for_each(|uid| self.delete.add(Key::new("", uid)));
        effects.delete_later.into_iter().for_each(|uid| self.delete.add_rate_limited(Key::new("", uid)));
        effects.orphan.into_iter().for_each(|uid| self.orphan.add(Key::new("", uid)));
        for (dependent, owner) in effects.invalid {
            let message = format!("ownerRef {owner} does not exist in namespace {:?}", dependent.namespace);
            self.recorder.about(reference(dependent), "Warning", "OwnerRefInvalidNamespace", message);
        }
    }

    /// Brings the watches in line with what is served.
    async fn resync(
        self: Arc<Self>,
        definitions: &Cache<CustomResourceDefinition>,
        services: &Cache<APIService>,
    ) -> Result<()> {
        let discovered = discover(&self.client).await?;
        let missing = missing(&discovered, definitions, services);
        let wanted: BTreeMap<String, ApiResource> = monitored(&discovered);
        *self.collector.discovered.lock() = Arc::new(discovered.clone());
        {
            let mut monitors = self.monitors.lock();
            monitors.retain(|gvr, monitor| {
                // A group whose server does not answer is not gone.
                let keep = wanted.contains_key(gvr) || discovered.stale.contains(&monitor.api_version);
                if !keep {
                    monitor.tasks.cancel();
                }
                keep
            });
            for (gvr, api) in wanted {
                monitors.entry(gvr).or_insert_with(|| self.clone().monitor(api));
            }
        }
        match missing {
            Some(what) => Err(Error::other(format!("{what} is not in discovery yet"))),
            None => Ok(()),
        }
    }

    fn monitor(self: Arc<Self>, api: ApiResource) -> Monitor {
        let tasks = self.tasks.child();
        let (synced, receiver) = watch::channel(false);
        let objects: Api<Metadata> = Api::all_with(self.client.clone(), &api);
        let events = watcher::watcher(objects, watcher::Config::default().streaming_lists());
        let events = kube::runtime::WatchStreamExt::default_backoff(events);
        let api_version = api.api_version.clone();
        tasks.run("gc monitor", async move { self.follow(api, events, synced).await });
        Monitor { tasks, api_version, synced: receiver }
    }

    /// Tells the graph of each change of one kind.
    async fn follow(
        &self,
        api: ApiResource,
        events: impl Stream<Item = watcher::Result<Event<Metadata>>>,
        synced: watch::Sender<bool>,
    ) {
        let mut events = std::pin::pin!(events);
        let mut known: HashMap<Key, Identity> = HashMap::new();
        let mut listing: HashMap<Key, Identity> = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(object)) => {
                    let (key, identity) = self.observe(&api, &object, &known);
                    listing.insert(key, identity);
                }
                Ok(Event::InitDone) => {
                    let before = std::mem::replace(&mut known, std::mem::take(&mut listing));
                    before.iter().filter(|(key, _)| !known.contains_key(key)).for_each(|(_, gone)| self.gone(gone));
                    synced.send_replace(true);
                }
                Ok(Event::Apply(object)) => {
                    let (key, identity) = self.observe(&api, &object, &known);
                    known.insert(key, identity);
                }
                Ok(Event::Delete(object)) => {
                    known.remove(&key_of(&object));
                    self.gone(&Identity::observed(&api, &object.metadata));
                }
                Err(error) => tracing::debug!(kind = api.kind, %error, "watch failed, will retry"),
            }
        }
    }

    fn observe(&self, api: &ApiResource, object: &Metadata, known: &HashMap<Key, Identity>) -> (Key, Identity) {
        let (key, identity) = (key_of(object), Identity::observed(api, &object.metadata));
        // Deleted and made anew while nobody watched.
        if let Some(before) = known.get(&key).filter(|before| before.uid != identity.uid) {
            self.gone(before);
        }
        let effects = self.collector.graph.lock().observe(identity.clone(), &object.metadata);
        self.apply(effects);
        (key, identity)
    }

    fn gone(&self, identity: &Identity) {
        let effects = self.collector.graph.lock().delete(identity);
        self.apply(effects);
    }
}

fn key_of(object: &Metadata) -> Key {
    Key::new(object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default())
}

fn reference(identity: Identity) -> ObjectReference {
    ObjectReference {
        kind: Some(identity.kind),
        api_version: Some(identity.api_version),
        namespace: Some(identity.namespace),
        name: Some(identity.name),
        uid: Some(identity.uid),
        ..ObjectReference::default()
    }
}

/// The kinds to watch: deletable ones, each at its preferred version.
fn monitored(discovered: &Discovered) -> BTreeMap<String, ApiResource> {
    let ignored = |api: &ApiResource| IGNORED.contains(&(api.group.as_str(), api.plural.as_str()));
    let all = discovered.preferred().into_iter();
    all.filter(|served| served.supports(&["delete", "list", "watch"]) && !ignored(&served.api))
        .map(|served| (served.gvr(), served.api.clone()))
        .collect()
}

/// A kind or group that its CRD or APIService says is served, but discovery does not show yet.
fn missing(
    discovered: &Discovered,
    definitions: &Cache<CustomResourceDefinition>,
    services: &Cache<APIService>,
) -> Option<String> {
    let definition = definitions.list().into_iter().find(|definition| {
        is_established(definition)
            && definition.spec.versions.iter().filter(|version| version.served).any(|version| {
                let api_version = format!("{}/{}", definition.spec.group, version.name);
                !discovered.stale.contains(&api_version)
                    && discovered.by_kind(&api_version, &definition.spec.names.kind).is_none()
            })
    });
    let service = services.list().into_iter().find(|service| {
        let Some(spec) = service.spec.as_ref().filter(|spec| spec.service.is_some()) else { return false };
        let group_version =
            format!("{}/{}", spec.group.as_deref().unwrap_or(""), spec.version.as_deref().unwrap_or(""));
        let known = discovered.all.iter().any(|served| served.api.api_version == group_version);
        is_available(service) && !known && !discovered.stale.contains(&group_version)
    });
    let name = |name: Option<String>| name.unwrap_or_default();
    definition
        .map(|definition| name(definition.metadata.name.clone()))
        .or_else(|| service.map(|service| name(service.metadata.name.clone())))
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    definition.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

fn is_available(service: &APIService) -> bool {
    let mut conditions = service.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Available" && condition.status == "True")
}
