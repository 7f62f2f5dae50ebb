//! The store that lives in memory: the shared index, written under a lock.
//!
//! Invariant: a write is decided and published under one lock, so revisions are dense. Its only clock is tokio's, so a test
//! with paused time stays deterministic. Non-goal: durability.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::index::{Index, LeaseAsk, LeaseDone, Stage};
use crate::local::{Local, next_due, unix_now};
use crate::watch::LocalWatch;
use crate::{Got, Outcome, Range, Ranged, Result, Revision, Transacted, Txn, Write};

#[derive(Clone)]
pub(crate) struct Memory(Arc<Inner>);

struct Inner {
    local: Arc<Local>,
    /// Held from deciding a change to publishing it.
    writer: Arc<Mutex<()>>,
    /// The task that ends leases, from the first lease on.
    expiry: OnceLock<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(expiry) = self.expiry.get() {
            expiry.abort();
        }
    }
}

/// Decides and publishes as one step.
fn commit<T>(local: &Local, writer: &Mutex<()>, decide: impl FnOnce(&mut Stage, &Index) -> T) -> T {
    let _writer = writer.lock();
    let (decision, stage) = {
        let state = local.state();
        let mut stage = Stage::on(&state.index);
        (decide(&mut stage, &state.index), stage)
    };
    if !stage.is_empty() {
        local.publish(stage);
    }
    decision
}

impl Memory {
    pub(crate) fn new() -> Memory {
        let local = Local::new(Index::new());
        Memory(Arc::new(Inner { local, writer: Arc::default(), expiry: OnceLock::new() }))
    }

    pub(crate) async fn revision(&self) -> Result<Revision> {
        self.0.local.revision()
    }

    pub(crate) async fn get(&self, key: &[u8], at: Revision) -> Result<Got> {
        self.0.local.get(key, at)
    }

    pub(crate) async fn range(&self, range: Range) -> Result<Ranged> {
        self.0.local.range(range).await
    }

    pub(crate) async fn write(&self, write: Write) -> Result<Outcome> {
        self.health().await?;
        commit(&self.0.local, &self.0.writer, |stage, index| stage.write(index, write))
    }

    pub(crate) fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<LocalWatch> {
        self.0.local.watch(start, end, from)
    }

    pub(crate) async fn transact(&self, txn: Txn) -> Result<Transacted> {
        self.health().await?;
        commit(&self.0.local, &self.0.writer, |stage, index| stage.transact(index, &txn))
    }

    pub(crate) fn local(&self) -> &Local {
        &self.0.local
    }

    pub(crate) async fn ask_lease(&self, ask: LeaseAsk) -> Result<LeaseDone> {
        self.health().await?;
        let decide = |stage: &mut Stage, index: &Index| stage.lease(index, &ask, Instant::now(), unix_now());
        let done = commit(&self.0.local, &self.0.writer, decide)?;
        self.0.expiry.get_or_init(|| {
            let (local, writer) = (self.0.local.clone(), self.0.writer.clone());
            tokio::spawn(async move {
                while let Some(id) = next_due(&local).await {
                    commit(&local, &writer, |stage, index| stage.expire(index, id, Instant::now()));
                }
            })
        });
        Ok(done)
    }

    pub(crate) async fn compact(&self, revision: Revision) -> Result<()> {
        let local = &self.0.local;
        {
            let _writer = self.0.writer.lock();
            local.state().index.may_compact(revision)?;
            local.compact(revision);
        }
        let mut after = None;
        while local.scrub(revision, &mut after) {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    pub(crate) async fn health(&self) -> Result<()> {
        self.0.local.revision().map(|_| ())
    }

    pub(crate) async fn close(&self) -> Result<()> {
        self.0.local.close();
        Ok(())
    }
}
