//! Clients that write, read, watch and contend for a lease through one address while what is behind it comes and goes,
//! and a judgement of what they saw.
//!
//! Invariant: a request is answered, refused or lost. A lost one may have had its effect or may still have it; the
//! judgement allows for both and for nothing else. Nothing is sent again but by the clients themselves.
//! Non-goal: how fast the servers are.

mod elect;
mod history;
mod ledger;
mod read;
mod watch;
mod write;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::sync::{Notify, watch as signal};
use tokio::task::JoinSet;

use self::history::{Content, History, Id, Listing, Revision, State, Won};
use self::ledger::Ledger;

const NAMESPACE: &str = "load";
const WRITERS: u32 = 20;
const READERS: u64 = 6;
const WATCHERS: u64 = 8;
const CANDIDATES: u64 = 4;
/// A request that takes longer is given up; its effect is unknown.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// Between tries of what has to succeed.
const RETRY: Duration = Duration::from_millis(50);
/// How long clients may take to come to their end, and watchers to see the last write.
const END_LIMIT: Duration = Duration::from_secs(90);

/// The clients of one run.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
    watchers: JoinSet<history::Seen>,
    finish: signal::Sender<Option<Revision>>,
}

/// What all clients share.
struct Shared {
    config: Config,
    ledger: Mutex<Ledger>,
    notes: Mutex<Notes>,
    stop: signal::Receiver<bool>,
    stopping: signal::Sender<bool>,
    written: Notify,
    reads: AtomicU64,
    failed: AtomicU64,
}

/// What clients note for the judgement.
#[derive(Default)]
struct Notes {
    puts: Vec<State>,
    deletions: u64,
    gets: Vec<State>,
    listings: Vec<Listing>,
    won: Vec<Won>,
    /// What was wrong at once: writes that were lost, and time that went back.
    lost: Vec<String>,
    disorder: Vec<String>,
}

/// What came out of a run.
#[derive(Debug)]
pub struct Summary {
    /// Acknowledged creates, updates, patches, deletes, and updates of the lease.
    pub writes: u64,
    pub reads: u64,
    /// Events that watchers got.
    pub events: u64,
    /// Watches that went on from their last resourceVersion, and those that had to list again.
    pub resumed: u64,
    pub relisted: u64,
    /// Requests whose answer was lost, or that a server could not serve.
    pub failed: u64,
    pub lost: Vec<String>,
    pub disorder: Vec<String>,
}

/// What became of a request.
enum Answer<T> {
    Done(T),
    Refused(Box<kube::core::Status>),
    /// No answer, or one that does not say whether it had its effect.
    Lost,
}

impl Load {
    /// Starts the clients; the same seed chooses the same operations.
    pub async fn start(mut config: Config, seed: u64) -> Result<Self> {
        // What is tried again is for the clients to decide.
        config.default_retry = false;
        let (stopping, stop) = signal::channel(false);
        let shared = Arc::new(Shared {
            config,
            ledger: Mutex::default(),
            notes: Mutex::default(),
            stop,
            stopping,
            written: Notify::new(),
            reads: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        shared.prepare().await?;
        let (finish, finished) = signal::channel(None);
        let mut load = Load { shared: shared.clone(), clients: JoinSet::new(), watchers: JoinSet::new(), finish };
        // Watchers first: what is written is seen from the beginning.
        let begin = shared.list(&shared.client()?, None).await?;
        for at in 0..WATCHERS {
            load.watchers.spawn(watch::run(shared.clone(), begin.revision, seed ^ (at << 8), finished.clone()));
        }
        for writer in 0..WRITERS {
            load.clients.spawn(write::run(shared.clone(), writer, seed ^ (u64::from(writer) << 16)));
        }
        for at in 0..READERS {
            load.clients.spawn(read::run(shared.clone(), seed ^ (at << 24)));
        }
        for at in 0..CANDIDATES {
            load.clients.spawn(elect::run(shared.clone(), at, seed ^ (at << 32)));
        }
        Ok(load)
    }

    /// Waits until one more write of an object is acknowledged.
    pub async fn goes_on(&self) -> Result<()> {
        let written = self.shared.written.notified();
        tokio::time::timeout(END_LIMIT, written).await.context("no write is acknowledged any more")
    }

    /// Ends the clients, waits until every watcher has seen the last write, and judges.
    pub async fn stop(mut self) -> Result<Summary> {
        self.shared.stopping.send_replace(true);
        let ended = async {
            while let Some(client) = self.clients.join_next().await {
                client?;
            }
            let last = write::marker(&self.shared).await;
            self.finish.send_replace(Some(last));
            let mut seen = Vec::new();
            while let Some(watcher) = self.watchers.join_next().await {
                seen.push(watcher?);
            }
            anyhow::Ok(seen)
        };
        let watchers = tokio::time::timeout(END_LIMIT, ended).await.context("clients do not come to their end")??;
        let last = self.shared.config_maps(&self.shared.client()?).list(&ListParams::default()).await?;
        let last = last.items.iter().filter_map(state).collect();
        Ok(self.shared.summary(watchers, last))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes acknowledged, {} lost, ", self.writes, self.lost.len())?;
        write!(f, "{} reads, {} events, {} out of order", self.reads, self.events, self.disorder.len())
    }
}

impl Summary {
    /// Says how much happened and what was wrong.
    ///
    /// # Errors
    /// Anything was.
    pub fn check(&self) -> Result<()> {
        const SHOWN: usize = 20;
        let (resumed, relisted, failed) = (self.resumed, self.relisted, self.failed);
        println!("watches: {resumed} resumed, {relisted} listed again; {failed} requests without an answer");
        let wrong: Vec<_> = self.lost.iter().chain(&self.disorder).take(SHOWN).map(String::as_str).collect();
        anyhow::ensure!(wrong.is_empty(), "{self}\n{}", wrong.join("\n"));
        Ok(())
    }
}

impl Notes {
    fn writes(&self) -> u64 {
        self.puts.len() as u64 + self.deletions + self.won.len() as u64
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client with connections of its own.
    fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config.clone())?)
    }

    fn config_maps(&self, client: &Client) -> Api<ConfigMap> {
        self.api(client)
    }

    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(client.clone(), NAMESPACE)
    }

    /// Waits a while; false when it is time to end.
    async fn pause(&self, time: Duration) -> bool {
        let mut stop = self.stop.clone();
        let stopped = tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await;
        stopped.is_err()
    }

    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    fn acknowledged(&self, state: State) {
        self.ledger().there(state);
        self.notes().puts.push(state);
        self.written.notify_waiters();
    }

    async fn prepare(&self) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let namespaces: Api<Namespace> = Api::all(self.client()?);
        namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
        elect::prepare(self).await
    }

    /// What became of a request that may take [`REQUEST_LIMIT`].
    async fn ask<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Answer<T> {
        let answer = match tokio::time::timeout(REQUEST_LIMIT, request).await {
            Ok(Ok(answer)) => Answer::Done(answer),
            Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) && status.code != 429 => {
                Answer::Refused(status)
            }
            Ok(Err(_)) | Err(_) => Answer::Lost,
        };
        if let Answer::Lost = answer {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// All objects, in chunks if so wanted, each chunk by a new connection.
    async fn list(&self, client: &Client, chunk: Option<u32>) -> kube::Result<Listing> {
        let mut params = ListParams { limit: chunk, ..ListParams::default() };
        let mut client = client.clone();
        let mut content = Content::default();
        loop {
            let list = self.config_maps(&client).list(&params).await?;
            list.items.iter().filter_map(state).for_each(|state| content.add(&state));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(Listing { revision: revision(list.metadata.resource_version.as_ref()), content }),
            }
            client = Client::try_from(self.config.clone())?;
        }
    }

    fn summary(&self, watchers: Vec<history::Seen>, last: Vec<State>) -> Summary {
        let notes = std::mem::take(&mut *self.notes());
        let writes = notes.writes();
        let sum = |of: fn(&history::Seen) -> u64| -> u64 { watchers.iter().map(of).sum() };
        let events = sum(|seen| seen.changes.len() as u64);
        let (resumed, relisted) = (sum(|seen| seen.resumed), sum(|seen| seen.gaps.len() as u64));
        let records = std::mem::take(&mut *self.ledger()).into_records();
        let history = History { puts: notes.puts, records, watchers, listings: notes.listings, gets: notes.gets, last };
        let verdict = history::judge(&history);
        let with = |mut found: Vec<String>, more: Vec<String>| {
            found.extend(more);
            found
        };
        Summary {
            writes,
            reads: self.reads.load(Ordering::Relaxed),
            events,
            resumed,
            relisted,
            failed: self.failed.load(Ordering::Relaxed),
            lost: with(notes.lost, verdict.lost),
            disorder: with(with(notes.disorder, verdict.disorder), history::chain(notes.won)),
        }
    }
}

/// A resourceVersion; 0 is none.
fn revision(text: Option<&String>) -> Revision {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// An object of the load; others of its kind are in the namespace, too.
fn state(object: &ConfigMap) -> Option<State> {
    let counter = object.data.as_ref()?.get("counter")?.parse().ok()?;
    let id = Id::parse(object.metadata.name.as_ref()?)?;
    Some(State { id, revision: revision(object.metadata.resource_version.as_ref()), counter })
}
