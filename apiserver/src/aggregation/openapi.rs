//! The OpenAPI documents of other servers
//! (k8s.io/kube-aggregator/pkg/controllers/{openapi,openapiv3}@v0.37.2).
//!
//! Invariant: what was fetched last stays until there is something newer, or its APIService goes. Documents of v3 are
//! not kept: requests for one are handed on, except of servers that publish v2 alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api::json::{Strictness, decode_any};
use api::value::{Map, Value};
use arc_swap::ArcSwap;
use http::{StatusCode, header};
use parking_lot::Mutex;
use sha2::{Digest, Sha512};

use super::remote::{Ask, Fetched, Remote};
use super::work::{self, Backoff, Next, Touched};
use crate::authn::User;
use crate::chain::Core;
use crate::openapi::{Document, converted, with_paths};

/// A server is asked again this often, and later the more often it failed.
const AGAIN: Duration = Duration::from_secs(60);
const BACKOFF: Backoff = Backoff { first: AGAIN, max: Duration::from_secs(3600) };
/// A new APIService is given so long to become available.
const FIRST: Duration = Duration::from_secs(1);
const FETCH_TIME: Duration = Duration::from_secs(60);
const V2: &str = "/openapi/v2";
const V3: &str = "/openapi/v3";
const NOT_THERE: &str = "resource not found";

/// A v2 document, and what tells it from its next state.
struct Spec {
    etag: Etag,
    /// Its own paths alone.
    document: Arc<Map>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Etag {
    /// Of the server, which can say that nothing changed.
    Given(String),
    /// Of a server that gives none.
    Hash([u8; 64]),
}

/// What a server publishes of v3.
struct Root {
    /// Names of documents and where they are, as its index tells them.
    paths: Vec<(String, Value)>,
    /// The one document of a server that has no index.
    converted: Option<(Etag, Arc<Document>)>,
}

/// The v2 documents of other servers, best first; they change when `generation` does.
#[derive(Default)]
pub(crate) struct Merging {
    pub(crate) generation: u64,
    pub(crate) documents: Vec<Arc<Map>>,
}

/// Who has a document of v3.
pub(crate) enum Owner {
    /// The server of an APIService.
    Server(Arc<Remote>),
    Document(Arc<Document>),
}

/// What is known of other servers' documents.
#[derive(Default)]
pub(crate) struct Specs {
    v2: Mutex<HashMap<String, Spec>>,
    merging: ArcSwap<Merging>,
    v3: ArcSwap<BTreeMap<String, Arc<Root>>>,
}

impl Specs {
    pub(crate) fn merging(&self) -> arc_swap::Guard<Arc<Merging>> {
        self.merging.load()
    }

    /// What other servers' indexes list.
    pub(crate) fn index(&self) -> Vec<(String, Value)> {
        self.v3.load().values().flat_map(|root| root.paths.iter().cloned()).collect()
    }

    fn set_v3(&self, name: &str, root: Option<Root>) {
        let root = root.map(Arc::new);
        self.v3.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            match &root {
                Some(root) => all.insert(name.to_owned(), root.clone()),
                None => all.remove(name),
            };
            all
        });
    }

    /// Puts the v2 documents into the order of their APIServices (openapi/aggregator/priority.go).
    fn order(&self, core: &Core) {
        let specs = self.v2.lock();
        let services: Vec<_> = specs.keys().filter_map(|name| core.aggregation.named(name)).collect();
        let mut groups: HashMap<&str, i64> = HashMap::new();
        for remote in &services {
            let best = groups.entry(&remote.service.group).or_insert(0);
            *best = remote.service.group_priority.max(*best);
        }
        let mut sorted: Vec<_> = services.iter().map(|remote| &remote.service).collect();
        sorted.sort_by_key(|service| (Reverse(groups.get(&*service.group).copied()), &service.name));
        let documents = sorted.iter().filter_map(|service| Some(specs.get(&service.name)?.document.clone()));
        let generation = self.merging.load().generation + 1;
        self.merging.store(Arc::new(Merging { generation, documents: documents.collect() }));
    }
}

impl super::Aggregation {
    /// Who has the v3 document of that name.
    pub(crate) fn owner(&self, document: &str) -> Option<Owner> {
        let all = self.specs.v3.load();
        let (name, root) = all.iter().find(|(_, root)| root.paths.iter().any(|known| known.0 == document))?;
        match &root.converted {
            Some((_, converted)) => Some(Owner::Document(converted.clone())),
            None => self.named(name).map(Owner::Server),
        }
    }
}

/// Fetches documents for as long as the server runs.
pub(super) async fn run(core: Arc<Core>, v2: Touched, v3: Touched) {
    core.health.done("poststarthook/apiservice-openapi-controller");
    core.health.done("poststarthook/apiservice-openapiv3-controller");
    let known: Arc<[Mutex<HashSet<String>>; 2]> = Arc::default();
    tokio::join!(
        work::run(v2, BACKOFF, |name| {
            let (core, known) = (core.clone(), known.clone());
            async move { sync_v2(&core, &known[0], &name).await }
        }),
        work::run(v3, BACKOFF, |name| {
            let (core, known) = (core.clone(), known.clone());
            async move { sync_v3(&core, &known[1], &name).await }
        }),
    );
}

fn outcome(name: &str, fetched: Result<(), String>) -> Next {
    match fetched {
        Ok(()) => Next::After(AGAIN),
        Err(error) => {
            tracing::debug!(apiservice = name, error, "OpenAPI document not fetched");
            Next::Retry
        }
    }
}

async fn sync_v2(core: &Core, known: &Mutex<HashSet<String>>, name: &str) -> Next {
    let specs = &core.aggregation.specs;
    let Some(remote) = core.aggregation.named(name) else {
        known.lock().remove(name);
        if specs.v2.lock().remove(name).is_some() {
            specs.order(core);
        }
        return Next::Done;
    };
    if known.lock().insert(name.to_owned()) {
        return Next::After(FIRST);
    }
    let old = specs.v2.lock().get(name).map(|spec| spec.etag.clone());
    let fetched = fetch_v2(core, &remote, old).await.map(|changed| {
        if let Some((etag, document)) = changed {
            let prefix = format!("{}/", remote.service.path());
            let document = Arc::new(with_paths(&document, |path| path.starts_with(&prefix)));
            specs.v2.lock().insert(name.to_owned(), Spec { etag, document });
            specs.order(core);
        }
    });
    outcome(name, fetched)
}

async fn get(core: &Core, remote: &Remote, path: &str, accept: Option<&'static str>, etag: Option<&str>) -> Fetched {
    let user = User { name: "system:aggregator".into(), ..User::default() };
    let ask = Ask { path, accept, etag, user, time: FETCH_TIME, anyway: false };
    remote.fetch(&*core.api.hub, &core.aggregation.resolver, ask).await
}

fn parsed(body: &[u8]) -> Result<Map, String> {
    match decode_any(body, Strictness::Lenient) {
        Ok((Value::Map(document), _)) => Ok(document),
        Ok(_) => Err("not an object".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The v2 document, unless it is still the one of `old`.
async fn fetch_v2(core: &Core, remote: &Remote, old: Option<Etag>) -> Result<Option<(Etag, Map)>, String> {
    let given = match &old {
        Some(Etag::Given(etag)) => Some(etag.as_str()),
        _ => None,
    };
    let answer = get(core, remote, V2, Some("application/json"), given).await;
    if answer.is(StatusCode::NOT_MODIFIED) && given.is_some() {
        return Ok(None);
    }
    if answer.is(StatusCode::NOT_FOUND) {
        return Err(NOT_THERE.into());
    }
    if !answer.is(StatusCode::OK) {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(format!("failed to retrieve openAPI spec, http error: {} {text}", answer.code));
    }
    let etag = match answer.header(header::ETAG) {
        "" => Etag::Hash(Sha512::digest(&answer.body).into()),
        given => Etag::Given(given.to_owned()),
    };
    if old.as_ref() == Some(&etag) {
        return Ok(None);
    }
    parsed(&answer.body).map(|document| Some((etag, document)))
}

async fn sync_v3(core: &Core, known: &Mutex<HashSet<String>>, name: &str) -> Next {
    let specs = &core.aggregation.specs;
    let Some(remote) = core.aggregation.named(name) else {
        known.lock().remove(name);
        specs.set_v3(name, None);
        return Next::Done;
    };
    if known.lock().insert(name.to_owned()) {
        return Next::After(FIRST);
    }
    outcome(name, fetch_v3(core, &remote, name).await)
}

async fn fetch_v3(core: &Core, remote: &Remote, name: &str) -> Result<(), String> {
    let specs = &core.aggregation.specs;
    let old = specs.v3.load().get(name).and_then(|root| root.converted.as_ref().map(|known| known.0.clone()));
    if old.is_none() {
        let answer = get(core, remote, V3, None, None).await;
        if answer.is(StatusCode::OK) {
            let index = parsed(&answer.body)?;
            let paths = index.map("paths").unwrap_or(Map::EMPTY).iter();
            let paths = paths.map(|(path, place)| (path.to_string(), place.clone())).collect();
            specs.set_v3(name, Some(Root { paths, converted: None }));
            return Ok(());
        }
        if !answer.is(StatusCode::NOT_FOUND) {
            return Err("Error, could not get list of group versions for APIService".into());
        }
    }
    if let Some((etag, document)) = fetch_v2(core, remote, old).await? {
        let path = remote.service.path().trim_start_matches('/').to_owned();
        let (document, place) = converted(&document, &path);
        let converted = Some((etag, Arc::new(document)));
        specs.set_v3(name, Some(Root { paths: vec![(path, place)], converted }));
    }
    Ok(())
}
