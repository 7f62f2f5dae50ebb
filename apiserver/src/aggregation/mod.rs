//! Aggregation: group versions that other servers serve, in one API with this server's own
//! (k8s.io/kube-aggregator@v0.37.2).
//!
//! Invariant: what is handed on follows from the stored APIServices alone, and the feed tells of them in order. While
//! no APIService names a service, a request costs one load to find that out.
//! Non-goal: what is served below a group version of another server; its requests are handed on as they are.

mod auto_register;
mod available;
mod discovery;
mod metrics;
mod openapi;
pub(crate) mod priorities;
mod proxy;
mod remote;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use api::object::Meta;
use api::value::Map;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use tokio::sync::mpsc;

use crate::cache::Item;
use crate::chain::Core;
use crate::hub::Observer;
use crate::registry::Storage;
use crate::resources::apiextensions;
use crate::webhook::resolve::Resolver;

pub(crate) use discovery::Found;
pub(crate) use metrics::Metrics;
pub(crate) use openapi::{Merging, Owner};
pub(crate) use proxy::{Rest, answer, answer_document};
pub(crate) use remote::Remote;
pub(crate) use table::Table;

use service::ApiService;
use work::{Touch, Touched};

pub(crate) const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");
const SERVICES: (&str, &str) = ("", "services");
const SLICES: (&str, &str) = ("discovery.k8s.io", "endpointslices");
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What the aggregator is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// --proxy-client-cert-file, --proxy-client-key-file: PEM files, read again when they change.
    pub proxy_client: Option<(PathBuf, PathBuf)>,
    /// --enable-aggregator-routing: services are reached at their endpoints, not at their cluster addresses.
    pub routes_to_endpoints: bool,
    /// --aggregator-reject-forwarding-redirect
    pub rejects_redirects: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { proxy_client: None, routes_to_endpoints: false, rejects_redirects: true }
    }
}

/// What tells the controllers which APIServices to look at.
struct Touches {
    register: Touch,
    available: Touch,
    discovery: Touch,
    openapi_v2: Touch,
    openapi_v3: Touch,
}

/// The other ends of [`Touches`].
struct Queues {
    register: Touched,
    available: Touched,
    discovery: Touched,
    openapi_v2: Touched,
    openapi_v3: Touched,
}

/// The versions of a definition: group, version, and whether it is served.
type Versions = Vec<(String, String, bool)>;

/// The APIServices and what is known of the servers behind them.
pub(crate) struct Aggregation {
    table: ArcSwap<Table>,
    /// Those that name a service; none at all when there is none.
    remotes: ArcSwapOption<Vec<Arc<Remote>>>,
    /// The versions of every CustomResourceDefinition, by its name.
    definitions: Mutex<BTreeMap<String, Versions>>,
    touches: Touches,
    queues: Mutex<Option<Queues>>,
    identity: Option<Arc<dyn ResolvesClientCert>>,
    resolver: Arc<Resolver>,
    rejects_redirects: bool,
    pub(crate) metrics: Metrics,
    pub(crate) discovered: discovery::Documents,
    pub(crate) specs: openapi::Specs,
}

/// Keeps [`Aggregation`] current.
pub(crate) struct Views(pub(crate) Arc<Aggregation>);

impl Observer for Views {
    fn changed(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        match (storage.group, storage.plural) {
            (GROUP, PLURAL) => self.0.set(key, item.map(|item| item.object(storage))),
            DEFINITIONS => self.0.define(key, item.map(|item| versions(&apiextensions::served(item, storage)))),
            SERVICES => self.0.service_changed(key),
            SLICES => self.0.slice_changed(storage, key, item),
            _ => {}
        }
    }
}

fn versions(definition: &Map) -> Versions {
    let spec = definition.map("spec").unwrap_or(Map::EMPTY);
    let group = spec.str("group");
    let of = |version: &Map| (group.to_owned(), version.str("name").to_owned(), version.bool("served") == Some(true));
    spec.maps("versions").map(of).collect()
}

fn queues() -> (Touches, Queues) {
    let [register, available, discovery, openapi_v2, openapi_v3] = [(); 5].map(|()| mpsc::unbounded_channel());
    let touches = Touches {
        register: register.0,
        available: available.0,
        discovery: discovery.0,
        openapi_v2: openapi_v2.0,
        openapi_v3: openapi_v3.0,
    };
    let queues = Queues {
        register: register.1,
        available: available.1,
        discovery: discovery.1,
        openapi_v2: openapi_v2.1,
        openapi_v3: openapi_v3.1,
    };
    (touches, queues)
}

/// Nobody listens any more when the server stops.
fn touch(to: &Touch, name: &str) {
    let _ = to.send(name.to_owned());
}

impl Aggregation {
    /// # Errors
    /// The client certificate cannot be read.
    pub(crate) fn new(config: &Config, resolver: Arc<Resolver>) -> Result<Self, String> {
        let (touches, queues) = queues();
        let pair = config.proxy_client.clone();
        let identity = pair.map(|(cert, key)| tls::client_identity(cert, key)).transpose()?;
        Ok(Aggregation {
            table: ArcSwap::default(),
            remotes: ArcSwapOption::empty(),
            definitions: Mutex::default(),
            touches,
            queues: Mutex::new(Some(queues)),
            identity,
            resolver,
            rejects_redirects: config.rejects_redirects,
            metrics: Metrics::default(),
            discovered: discovery::Documents::default(),
            specs: openapi::Specs::default(),
        })
    }

    /// Every APIService as the caches have them.
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    /// Who else serves a path.
    pub(crate) fn of_path(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        let remotes = remotes.as_ref()?;
        let mut segments = path.trim_start_matches('/').split('/');
        let (group, version) = match (segments.next()?, segments.next(), segments.next()) {
            ("api", _, _) => ("", "v1"),
            ("apis", Some(group), Some(version)) if group != GROUP => (group, version),
            _ => return None,
        };
        remotes.iter().find(|remote| remote.service.is(group, version)).cloned()
    }

    /// Who else serves the group version of an APIService.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        remotes.as_ref()?.iter().find(|remote| remote.service.name == name).cloned()
    }

    fn names(&self) -> Vec<String> {
        let remotes = self.remotes.load();
        remotes.iter().flat_map(|remotes| remotes.iter()).map(|remote| remote.service.name.clone()).collect()
    }

    /// An APIService is there or has changed, or is gone. The feed is the only one who says so.
    fn set(&self, name: &str, object: Option<Map>) {
        let service = object.map(|object| Arc::new(ApiService::of(object)));
        let old = self.named(name);
        let remote = service.as_ref().filter(|service| service.service.is_some());
        let remote = remote.map(|service| Arc::new(Remote::new(service.clone(), old.as_deref(), &self.identity)));
        self.table.store(Arc::new(self.table.load().with(name, service)));
        if old.is_some() || remote.is_some() {
            let others = self.remotes.load();
            let others = others.iter().flat_map(|all| all.iter()).filter(|other| other.service.name != name).cloned();
            let all: Vec<Arc<Remote>> = others.chain(remote).collect();
            self.remotes.store((!all.is_empty()).then(|| Arc::new(all)));
            self.discovered.mark(name);
            for to in [&self.touches.discovery, &self.touches.openapi_v2, &self.touches.openapi_v3] {
                touch(to, name);
            }
        }
        touch(&self.touches.register, name);
        touch(&self.touches.available, name);
    }

    /// The APIServices of the versions that a definition has, or had, are looked at.
    fn define(&self, name: &str, versions: Option<Versions>) {
        let mut definitions = self.definitions.lock();
        let old = match &versions {
            Some(versions) => definitions.insert(name.to_owned(), versions.clone()),
            None => definitions.remove(name),
        };
        drop(definitions);
        let changed = old.into_iter().chain(versions).flatten();
        let names: BTreeSet<String> = changed.map(|(group, version, _)| format!("{version}.{group}")).collect();
        for name in names {
            touch(&self.touches.register, &name);
        }
    }

    /// Whether a definition has the version, and serves it.
    fn is_defined(&self, group: &str, version: &str) -> bool {
        let definitions = self.definitions.lock();
        definitions.values().flatten().any(|known| known.2 && known.0 == group && known.1 == version)
    }

    fn touch_those_of(&self, namespace: &str, name: Option<&str>) {
        let remotes = self.remotes.load();
        for remote in remotes.iter().flat_map(|remotes| remotes.iter()) {
            let of = remote.service.service.as_ref();
            if of.is_some_and(|of| of.namespace == namespace && name.is_none_or(|name| of.name == name)) {
                touch(&self.touches.available, &remote.service.name);
            }
        }
    }

    fn has_remotes(&self) -> bool {
        self.remotes.load().is_some()
    }

    fn service_changed(&self, key: &str) {
        if let Some((namespace, name)) = key.split_once('/').filter(|_| self.has_remotes()) {
            self.touch_those_of(namespace, Some(name));
        }
    }

    /// Of a slice that is gone it is not known whose it was.
    fn slice_changed(&self, storage: &Storage, key: &str, item: Option<&Item>) {
        let Some((namespace, _)) = key.split_once('/').filter(|_| self.has_remotes()) else { return };
        match item.map(|item| item.object(storage)) {
            Some(slice) => {
                if let Some(name) = slice.label(SERVICE_NAME_LABEL) {
                    self.touch_those_of(namespace, Some(name));
                }
            }
            None => self.touch_those_of(namespace, None),
        }
    }
}

/// Runs the controllers until the server stops. Once only.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(queues) = core.aggregation.queues.lock().take() else { return };
    // The feed has told of every APIService before anything runs.
    core.health.done("poststarthook/start-kube-aggregator-informers");
    core.health.done("poststarthook/apiservice-registration-controller");
    tokio::join!(
        auto_register::run(core.clone(), queues.register),
        available::run(core.clone(), queues.available),
        discovery::run(core.clone(), queues.discovery),
        openapi::run(core.clone(), queues.openapi_v2, queues.openapi_v3),
    );
}
