//! Ordered keys with revisions: compare-and-write, range at a revision, watch, lease, compact.
//!
//! Shaped by what Kubernetes sends to etcd and answering as etcd does. Knows bytes, never kinds: it must not name a
//! resource, decode a value, or depend on any other crate of the workspace. Invariants: revisions are dense, the published
//! revision only grows and has one writer, an [`Outcome`] is durable before it is given back, a [`Watch`] delivers every
//! event of its range once and in order or ends with an error. Non-goals: authorisation, encryption,
//! transactions on an etcd.

mod embedded;
mod error;
mod etcd;
mod index;
mod local;
mod memory;
mod transact;
mod txn;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::embedded::Embedded;
pub use crate::error::{Damage, Error, Result};
use crate::etcd::Etcd;
pub use crate::etcd::messages as etcdserverpb;
use crate::index::LeaseAsk;
use crate::memory::Memory;
pub use crate::txn::{Answer, Compare, Op, Operand, Put, Relation, Transacted, Txn};

/// A point in the history of the store. A fresh store is at 1; every commit adds one. 0 means "now" in requests.
pub type Revision = u64;

/// Largest key plus value a write may carry, in bytes: etcd's `--max-request-bytes`
/// (`server/embed/config.go@v3.7.3`, DefaultMaxRequestBytes).
pub const MAX_REQUEST_BYTES: usize = 1536 * 1024;

/// Largest keys plus values of a transaction, both branches together, in bytes: what one commit may well hold in memory.
pub const MAX_TRANSACTION_BYTES: usize = 64 << 20;

/// One version of a key, with etcd's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    /// The revision of the last creation of the key.
    pub create_revision: Revision,
    /// The revision of this version.
    pub mod_revision: Revision,
    /// 1 at creation, one more with every write.
    pub version: u64,
    /// The lease that deletes the key when it expires; 0 is none.
    pub lease: i64,
}

/// The answer to a get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The revision of the store when it served the request.
    pub revision: Revision,
    pub kv: Option<KeyValue>,
}

/// A request for the keys from `start` (inclusive) to `end` (exclusive), in key order.
///
/// As in etcd an empty `end` means the key `start` alone, and the single byte 0 means every key from `start` on.
#[derive(Clone, Debug, Default)]
pub struct Range {
    pub start: Bytes,
    pub end: Bytes,
    /// The revision to read at; 0 is now.
    pub at: Revision,
    /// How many items to give back; 0 is all.
    pub limit: usize,
    /// Leaves the values empty.
    pub keys_only: bool,
}

/// The answer to a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranged {
    /// The revision of the store when it served the request, never the requested one. With `at` 0 the items are of it.
    pub revision: Revision,
    pub items: Vec<KeyValue>,
    /// The limit cut the items short.
    pub more: bool,
    /// All keys of the range at the revision read, the limit notwithstanding.
    pub count: u64,
}

/// A put or a delete of one key, conditional or not.
#[derive(Clone, Debug, Default)]
pub struct Write {
    pub key: Bytes,
    /// `None` deletes.
    pub value: Option<Bytes>,
    /// `Some(0)`: the key must be absent; `Some(r)`: its mod_revision must be r; `None`: unconditional.
    pub expect: Option<Revision>,
    /// The lease the key is attached to; 0 is none.
    pub lease: i64,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable. `revision` is its own; the delete of an absent key changes nothing and has the store's revision.
    Done { revision: Revision, previous: Option<KeyValue> },
    /// The expectation did not hold; `revision` is the store's.
    Conflict { revision: Revision, current: Option<KeyValue> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// The key as written; of a delete only the key and the mod_revision of the delete are set.
    pub kv: KeyValue,
    /// The key before, if it lived. etcd leaves it out when a compaction has removed it.
    pub previous: Option<KeyValue>,
}

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Events in order; all events of one revision are in one batch.
    Events(Vec<Event>),
    /// Every event of the range up to and including this revision has been delivered.
    Progress(Revision),
}

/// Where and how the embedded store keeps its files.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The directory; made with mode 0700 when absent. One process at a time may have it open.
    pub dir: PathBuf,
}

/// How to reach etcd.
#[derive(Clone, Debug, Default)]
pub struct EtcdConfig {
    /// `http://host:port` or `https://host:port`; tried in turn when one does not answer.
    pub endpoints: Vec<String>,
    /// PEM of the authority that signed the servers' certificates (`--etcd-cafile`).
    pub ca: Option<Vec<u8>>,
    /// PEM of the client certificate (`--etcd-certfile`).
    pub cert: Option<Vec<u8>>,
    /// PEM of the client key (`--etcd-keyfile`).
    pub key: Option<Vec<u8>>,
}

/// A lease as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// Its whole length.
    pub ttl_seconds: i64,
    pub remaining: Duration,
    /// What is deleted with it, in order.
    pub keys: Vec<Bytes>,
}

/// A store, cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store(Backend);

#[derive(Clone)]
enum Backend {
    Memory(Memory),
    Embedded(Embedded),
    Etcd(Etcd),
}

/// Runs the same call on whichever backend the store has.
macro_rules! each {
    ($store:expr, $backend:ident => $call:expr) => {
        match &$store.0 {
            Backend::Memory($backend) => $call,
            Backend::Embedded($backend) => $call,
            Backend::Etcd($backend) => $call,
        }
    };
}

impl Store {
    /// A store that lives as long as the process.
    pub fn memory() -> Store {
        Store(Backend::Memory(Memory::new()))
    }

    /// Opens (or makes) the durable store of a directory.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a file is not what was written, [`Error::Locked`] when another process has it open.
    pub async fn embedded(config: EmbeddedConfig) -> Result<Store> {
        Ok(Store(Backend::Embedded(Embedded::open(config).await?)))
    }

    /// A store kept by an etcd cluster. Connects when first used, as etcd may start later.
    ///
    /// # Errors
    /// [`Error::Config`] when an endpoint or a PEM cannot be used.
    pub async fn etcd(config: EtcdConfig) -> Result<Store> {
        Ok(Store(Backend::Etcd(Etcd::new(&config)?)))
    }

    /// Returns when the store answers: an etcd that starts beside us may be a moment later.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no member answers in 20 s.
    pub async fn wait(&self) -> Result<()> {
        match &self.0 {
            Backend::Etcd(etcd) => etcd.wait().await,
            _ => Ok(()),
        }
    }

    /// The current revision, linearizable.
    pub async fn revision(&self) -> Result<Revision> {
        each!(self, backend => backend.revision().await)
    }

    /// One key at a revision (0 is now).
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`] for a revision that is not held (any more, yet).
    pub async fn get(&self, key: &[u8], at: Revision) -> Result<Got> {
        each!(self, backend => backend.get(key, at).await)
    }

    /// A range of keys at one revision.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn range(&self, range: Range) -> Result<Ranged> {
        each!(self, backend => backend.range(range).await)
    }

    /// Writes or deletes one key.
    ///
    /// # Errors
    /// After [`Error::Unavailable`], [`Error::Io`] or [`Error::Closed`] the result is unknown: the write may have
    /// happened. After any other error it has not.
    pub async fn write(&self, write: Write) -> Result<Outcome> {
        check(&write)?;
        each!(self, backend => backend.write(write).await)
    }

    /// Watches the keys from `start` to `end` (as in [`Range`]), from the first revision wanted on (0: from now).
    ///
    /// A revision that is compacted is told by [`Watch::next`].
    pub async fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<Watch> {
        Ok(Watch(match &self.0 {
            Backend::Memory(memory) => Source::Local(memory.watch(start, end, from)?),
            Backend::Embedded(embedded) => Source::Local(embedded.watch(start, end, from)?),
            Backend::Etcd(etcd) => Source::Etcd(Box::new(etcd.watch(start, end, from).await?)),
        }))
    }

    /// A lease of `ttl_seconds` (at least 2, as etcd's default election timeout makes it); its keys are deleted when it
    /// expires.
    pub async fn grant_lease(&self, ttl_seconds: i64) -> Result<i64> {
        match &self.0 {
            Backend::Etcd(etcd) => etcd.grant_lease(ttl_seconds).await,
            _ => self.grant_lease_as(0, ttl_seconds).await.map(|(id, _)| id),
        }
    }

    /// As [`Store::grant_lease`], of an identity of the caller's choice, or any if that is 0; gives the identity and the
    /// length in seconds.
    ///
    /// # Errors
    /// [`Error::LeaseExists`]; [`Error::Unsupported`] on an etcd, as all that follows on leases.
    pub async fn grant_lease_as(&self, id: i64, ttl_seconds: i64) -> Result<(i64, i64)> {
        let ask = LeaseAsk::Grant { id, ttl: ttl_seconds };
        each!(self, backend => backend.ask_lease(ask).await).map(|done| (done.id, done.ttl))
    }

    /// Gives a lease its whole length again, durably; tells it, in seconds.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`]
    pub async fn renew_lease(&self, id: i64) -> Result<i64> {
        each!(self, backend => backend.ask_lease(LeaseAsk::Renew(id)).await).map(|done| done.ttl)
    }

    /// Ends a lease and deletes its keys, all at one revision, which is given back.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`]
    pub async fn revoke_lease(&self, id: i64) -> Result<Revision> {
        each!(self, backend => backend.ask_lease(LeaseAsk::Revoke(id)).await).map(|done| done.revision)
    }

    /// A lease as it is now.
    pub fn lease(&self, id: i64) -> Result<Option<LeaseState>> {
        match &self.0 {
            Backend::Memory(memory) => memory.local().lease(id),
            Backend::Embedded(embedded) => embedded.local().lease(id),
            Backend::Etcd(_) => Err(Error::Unsupported),
        }
    }

    /// The identities of all leases, that which expires first first.
    pub fn leases(&self) -> Result<Vec<i64>> {
        match &self.0 {
            Backend::Memory(memory) => memory.local().leases(),
            Backend::Embedded(embedded) => embedded.local().leases(),
            Backend::Etcd(_) => Err(Error::Unsupported),
        }
    }

    /// Compares and changes any number of keys as one step, at one revision.
    ///
    /// # Errors
    /// As [`Store::write`] and [`Store::get`]; [`Error::KeyNotFound`] for a put that keeps what there is not;
    /// [`Error::TooLarge`] beyond [`MAX_TRANSACTION_BYTES`]; [`Error::Unsupported`] on an etcd.
    pub async fn transact(&self, txn: Txn) -> Result<Transacted> {
        if txn.lacks_key() {
            return Err(Error::EmptyKey);
        }
        if txn.bytes() > MAX_TRANSACTION_BYTES {
            return Err(Error::TooLarge);
        }
        each!(self, backend => backend.transact(txn).await)
    }

    /// Forgets what is older than `revision`.
    ///
    /// # Errors
    /// [`Error::Compacted`] when that has been done, [`Error::FutureRevision`] when `revision` is not there yet.
    pub async fn compact(&self, revision: Revision) -> Result<()> {
        each!(self, backend => backend.compact(revision).await)
    }

    /// Whether the store can serve, for `readyz`'s and `livez`'s `etcd`.
    pub async fn health(&self) -> Result<()> {
        each!(self, backend => backend.health().await)
    }

    /// Ends the store: watches end with [`Error::Closed`]; of the embedded store all files are closed when this returns.
    pub async fn close(&self) -> Result<()> {
        each!(self, backend => backend.close().await)
    }
}

/// What etcd refuses in a put before it looks at the store (`server/etcdserver/api/v3rpc/key.go@v3.7.3`).
fn check(write: &Write) -> Result<()> {
    if write.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    match write.key.len() + write.value.as_ref().map_or(0, Bytes::len) > MAX_REQUEST_BYTES {
        true => Err(Error::TooLarge),
        false => Ok(()),
    }
}

/// A watch of a range of keys. Dropping it ends it.
pub struct Watch(Source);

enum Source {
    Local(watch::LocalWatch),
    Etcd(Box<etcd::EtcdWatch>),
}

impl Watch {
    /// The next events or progress. Cancel-safe: what a dropped call did not give back, the next one does.
    ///
    /// # Errors
    /// [`Error::Compacted`] when events still to be delivered are gone (too slow, or started too far back); the watch is
    /// over then, as it is after every error.
    pub async fn next(&mut self) -> Result<Watched> {
        match &mut self.0 {
            Source::Local(watch) => watch.next().await,
            Source::Etcd(watch) => watch.next().await,
        }
    }

    /// Asks for a [`Watched::Progress`], which comes after the events that were due before it.
    pub fn request_progress(&self) {
        match &self.0 {
            Source::Local(watch) => watch.request_progress(),
            Source::Etcd(watch) => watch.request_progress(),
        }
    }
}
