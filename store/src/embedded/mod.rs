//! The durable store: the shared index in memory, an append-only log under it.
//!
//! Writes go to the committer and come back when they are durable; reads and watches are served from the index and never
//! touch a file. A compaction writes a snapshot in the background when that frees enough, so the files stay within a small
//! multiple of what lives plus what was written since the last compaction. Measured against redb before it was chosen: about
//! three times the commits per second, and opening is one read from front to end. Invariants: see `committer` and `log`.
//! Non-goal: values larger than memory.

mod committer;
mod files;
mod frame;
mod janitor;
mod log;
mod record;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::committer::{Committer, Job, Reply};
use self::files::Reserve;
use self::janitor::Janitor;
use self::log::Options;
use crate::index::{LeaseAsk, LeaseDone};
use crate::local::{Local, next_due};
use crate::watch::LocalWatch;
use crate::{EmbeddedConfig, Error, Got, Outcome, Range, Ranged, Result, Revision, Transacted, Txn, Write};

/// How long the end of a lease waits when it could not be written.
const EXPIRY_RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Embedded(Arc<Inner>);

struct Inner {
    local: Arc<Local>,
    jobs: mpsc::Sender<Job>,
    failed: Arc<Mutex<Option<Error>>>,
    expiry: OnceLock<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(expiry) = self.expiry.get() {
            expiry.abort();
        }
    }
}

impl Embedded {
    pub(crate) async fn open(config: EmbeddedConfig) -> Result<Embedded> {
        Embedded::open_with(config, Options::default()).await
    }

    pub(crate) async fn open_with(config: EmbeddedConfig, options: Options) -> Result<Embedded> {
        let opening = tokio::task::spawn_blocking(move || start(&config.dir, options));
        let inner = opening.await.map_err(|error| Error::Io(format!("opening the store: {error}")))??;
        let expiry = tokio::spawn(expire(inner.local.clone(), inner.jobs.clone()));
        inner.expiry.set(expiry).expect("set once");
        Ok(Embedded(Arc::new(inner)))
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
        ask(&self.0.jobs, job).await
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
        self.ask(|reply| Job::Write(write, reply)).await
    }

    pub(crate) fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<LocalWatch> {
        self.0.local.watch(start, end, from)
    }

    pub(crate) async fn transact(&self, txn: Txn) -> Result<Transacted> {
        self.ask(|reply| Job::Transact(txn, reply)).await
    }

    pub(crate) fn local(&self) -> &Local {
        &self.0.local
    }

    pub(crate) async fn ask_lease(&self, ask: LeaseAsk) -> Result<LeaseDone> {
        self.ask(|reply| Job::Lease(ask, reply)).await
    }

    pub(crate) async fn compact(&self, revision: Revision) -> Result<()> {
        self.ask(|reply| Job::Compact(revision, reply)).await
    }

    pub(crate) async fn health(&self) -> Result<()> {
        self.0.local.revision()?;
        if self.0.jobs.is_closed() {
            return Err(Error::Closed);
        }
        self.0.failed.lock().clone().map_or(Ok(()), Err)
    }

    pub(crate) async fn close(&self) -> Result<()> {
        let (reply, closed) = oneshot::channel();
        if self.0.jobs.send(Job::Close(reply)).await.is_ok() {
            // An error means that another close got there first.
            let _ = closed.await;
        }
        self.0.jobs.closed().await;
        Ok(())
    }
}

async fn ask<T>(jobs: &mpsc::Sender<Job>, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    jobs.send(job(reply)).await.map_err(|_| Error::Closed)?;
    answer.await.map_err(|_| Error::Closed)?
}

/// Ends leases when they are due.
async fn expire(local: Arc<Local>, jobs: mpsc::Sender<Job>) {
    while let Some(id) = next_due(&local).await {
        match ask(&jobs, |reply| Job::Expire(id, Instant::now(), reply)).await {
            Ok(()) => (),
            Err(Error::Closed) => return,
            Err(_) => tokio::time::sleep(EXPIRY_RETRY).await,
        }
    }
}

/// Opens the directory and starts the two threads.
fn start(dir: &Path, options: Options) -> Result<Inner> {
    let lock = files::lock(dir)?;
    let (gain, media) = (options.gain, options.media);
    let (index, log) = log::open(dir, options, committer::clock())?;
    let reserve = Reserve::new(dir, media);
    let full = !reserve.fill();
    let local = Local::new(index);
    let (jobs, mut queue) = mpsc::channel(committer::QUEUE);
    let (compactions, compacted) = std_mpsc::channel();
    let failed = Arc::default();
    let janitor = Janitor { local: local.clone(), dir: dir.to_owned(), files: log.files.clone(), gain };
    let mut committer =
        Committer { local: local.clone(), log, reserve, full, failed: Arc::clone(&failed), compactions, lock };
    let spawn = |error| Error::io(dir, &error);
    let janitor = thread::Builder::new().name("store-janitor".into()).spawn(move || janitor.run(&compacted));
    let janitor = janitor.map_err(spawn)?;
    let run = move || {
        let close = committer::run(&mut committer, &mut queue);
        committer.local.close();
        let Committer { compactions, lock, log, .. } = committer;
        drop((compactions, log));
        if janitor.join().is_err() {
            tracing::error!("the store's janitor panicked");
        }
        drop(lock);
        drop(queue);
        if let Some(close) = close {
            // Whoever closed may not be waiting any more.
            let _ = close.send(());
        }
    };
    thread::Builder::new().name("store-committer".into()).spawn(run).map_err(spawn)?;
    Ok(Inner { local, jobs, failed, expiry: OnceLock::new() })
}
