//! What all services share: the store, who we are, limits, metrics.
//!
//! Invariant: the header of every answer is made here. There is no raft: the term is that of an etcd's first start, the raft index is
//! the store's revision.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::etcdserverpb as pb;
use store::{Revision, Store, Transacted, Txn};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::{Config, Result, status};

/// The term of a cluster of one that was just made.
pub(crate) const TERM: u64 = 2;

pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
    pub(crate) quota_bytes: i64,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_txn_ops: usize,
    pub(crate) progress_interval: Duration,
    pub(crate) stop: CancellationToken,
    /// Listeners and streams; they end with `stop`.
    pub(crate) tasks: TaskTracker,
    store_dir: Option<PathBuf>,
    /// The last write found the disk full.
    full: AtomicBool,
}

impl Server {
    pub(crate) fn new(config: &Config, store: Store) -> Result<Server> {
        let identity = Identity::new(&config.initial_advertise_peer, &config.initial_cluster_token);
        let quota_bytes =
            if config.quota_backend_bytes == 0 { crate::DEFAULT_QUOTA_BYTES } else { config.quota_backend_bytes };
        Ok(Server {
            store,
            identity,
            metrics: Metrics::new(identity.member).map_err(|error| crate::Error::Config(error.to_string()))?,
            name: config.name.clone(),
            peer_urls: config.initial_advertise_peer.clone(),
            client_urls: config.advertise_client.clone(),
            quota_bytes,
            max_request_bytes: config.max_request_bytes,
            max_txn_ops: config.max_txn_ops,
            progress_interval: config.watch_progress_notify_interval,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            store_dir: config.store_dir.clone(),
            full: AtomicBool::new(false),
        })
    }

    /// The header of an answer of a revision.
    pub(crate) fn header(&self, revision: Revision) -> Option<pb::Header> {
        let Identity { cluster, member } = self.identity;
        Some(pb::Header { cluster_id: cluster, member_id: member, revision: signed(revision), raft_term: TERM })
    }

    /// The header of an answer of now.
    pub(crate) async fn header_now(&self) -> std::result::Result<Option<pb::Header>, Status> {
        Ok(self.header(self.store.revision().await.map_err(|error| status::of(&error))?))
    }

    /// Performs a transaction and notes whether there was room for it.
    pub(crate) async fn transact(&self, txn: Txn) -> std::result::Result<Transacted, Status> {
        let done = self.store.transact(txn).await;
        match &done {
            Err(store::Error::Full) => self.full.store(true, Ordering::Relaxed),
            Ok(_) if self.full.load(Ordering::Relaxed) => self.full.store(false, Ordering::Relaxed),
            _ => {}
        }
        done.map_err(|error| status::of(&error))
    }

    pub(crate) fn alarms(&self) -> Vec<pb::AlarmMember> {
        let alarm = pb::AlarmMember { member_id: self.identity.member, alarm: pb::AlarmType::NoSpace.into() };
        if self.full.load(Ordering::Relaxed) { vec![alarm] } else { Vec::new() }
    }

    /// What the store takes on the disk, in bytes.
    pub(crate) async fn size(&self) -> i64 {
        let Some(dir) = self.store_dir.clone() else { return 0 };
        let sum = move || {
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
            files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum::<u64>()
        };
        tokio::task::spawn_blocking(sum).await.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
    }
}

/// etcd's numbers are signed.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A revision asked for; as in etcd one below 1 is now.
pub(crate) fn revision(asked: i64) -> Revision {
    u64::try_from(asked).unwrap_or(0)
}
