//! The one writer: a thread that drains the queue, makes one durable commit of it, then publishes and answers all.
//!
//! Invariants: nothing is published or answered before it is durable; after the disk has failed nothing is acknowledged for
//! good; on a full disk puts are refused while deletes, expiries and compactions go on in the space kept aside. Non-goals:
//! reads (they never come here), snapshots (see `janitor`).

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::files::Reserve;
use super::log::Log;
use super::record::{Batch, Clock};
use crate::index::{Index, LeaseAsk, LeaseDone, Stage};
use crate::local::{Local, unix_now};
use crate::{Error, Outcome, Result, Revision, Transacted, Txn, Write};

/// Requests waiting for the writer; more wait in their callers.
pub(crate) const QUEUE: usize = 1024;
/// Values in one commit, in bytes, before it is cut.
const BATCH_BYTES: usize = 16 << 20;

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

pub(crate) enum Job {
    Write(Write, Reply<Outcome>),
    Transact(Txn, Reply<Transacted>),
    Lease(LeaseAsk, Reply<LeaseDone>),
    /// A lease that is due at a moment.
    Expire(i64, Instant, Reply<()>),
    Compact(Revision, Reply<()>),
    Close(oneshot::Sender<()>),
}

/// What was decided about a job, to be told when it is durable.
enum Decision {
    Outcome(Result<Outcome>),
    Transacted(Result<Transacted>),
    Lease(Result<LeaseDone>),
    Done(Result<()>),
}

pub(crate) struct Committer {
    pub(crate) local: Arc<Local>,
    pub(crate) log: Log,
    pub(crate) reserve: Reserve,
    /// The disk is full: puts are refused until the reserve can be filled again.
    pub(crate) full: bool,
    /// Why nothing is acknowledged any more.
    pub(crate) failed: Arc<Mutex<Option<Error>>>,
    /// Told of each compaction; dropped to end the janitor.
    pub(crate) compactions: std_mpsc::Sender<Revision>,
    /// Held while the files are open.
    pub(crate) lock: File,
}

/// Runs until the store is closed or nobody can reach it; gives who wants to know when all files are closed.
pub(crate) fn run(committer: &mut Committer, jobs: &mut mpsc::Receiver<Job>) -> Option<oneshot::Sender<()>> {
    while let Some(job) = jobs.blocking_recv() {
        let mut bytes = size(&job);
        let mut round = vec![job];
        while bytes < BATCH_BYTES && round.len() < QUEUE && !matches!(round.last(), Some(Job::Close(_))) {
            let Ok(job) = jobs.try_recv() else { break };
            bytes += size(&job);
            round.push(job);
        }
        let close = match round.pop() {
            Some(Job::Close(reply)) => Some(reply),
            last => {
                round.extend(last);
                None
            }
        };
        committer.round(round);
        if close.is_some() {
            return close;
        }
    }
    None
}

fn size(job: &Job) -> usize {
    match job {
        Job::Write(write, _) => write.key.len() + write.value.as_ref().map_or(0, |value| value.len()),
        Job::Transact(txn, _) => txn.bytes(),
        _ => 0,
    }
}

impl Committer {
    fn round(&mut self, jobs: Vec<Job>) {
        self.full = self.full && !self.reserve.fill();
        let mut round = Round::decide(&self.local, &jobs, self.full);
        let mut result = self.commit(&mut round);
        if let (Err(Error::Full), false) = (&result, self.full) {
            tracing::warn!("the disk is full: writes are refused, deletes go on in the reserved space");
            self.full = true;
            self.reserve.release();
            round = Round::decide(&self.local, &jobs, true);
            result = self.commit(&mut round);
        }
        for (job, decision) in jobs.into_iter().zip(round.decisions) {
            answer(job, decision, &result);
        }
    }

    fn commit(&mut self, round: &mut Round) -> Result<()> {
        if let Some(error) = &*self.failed.lock() {
            return Err(error.clone());
        }
        let Some(stage) = round.stage.take().filter(|stage| !stage.is_empty() || round.compacted != 0) else {
            return Ok(());
        };
        let batch = Batch::new(&stage, round.compacted, clock());
        let logged = self.log.append(&batch, stage.revision);
        if matches!(logged, Err(Error::Full)) {
            return logged;
        }
        logged.map_err(|error| self.fail(error))?;
        self.local.publish(stage);
        if round.compacted != 0 {
            self.local.compact(round.compacted);
        }
        // What is durable is acknowledged, even if the next segment cannot be begun.
        if let Err(error) = self.log.rotate(round.compacted != 0) {
            self.fail(error);
        }
        if round.compacted != 0 {
            // The janitor ends only after this.
            let _ = self.compactions.send(round.compacted);
        }
        Ok(())
    }

    fn fail(&self, error: Error) -> Error {
        tracing::error!(%error, "the store can make nothing durable any more and refuses all writes");
        self.failed.lock().get_or_insert(error).clone()
    }
}

pub(crate) fn clock() -> Clock {
    Clock { now: Instant::now(), unix: unix_now() }
}

/// The decisions about a drained queue.
struct Round {
    stage: Option<Stage>,
    /// 0 is none.
    compacted: Revision,
    decisions: Vec<Decision>,
}

impl Round {
    fn decide(local: &Local, jobs: &[Job], full: bool) -> Round {
        let state = local.state();
        let mut stage = Stage::on(&state.index);
        let mut compacted = 0;
        let decisions = jobs.iter().map(|job| decide(&state.index, &mut stage, &mut compacted, job, full)).collect();
        Round { stage: Some(stage), compacted, decisions }
    }
}

fn decide(index: &Index, stage: &mut Stage, compacted: &mut Revision, job: &Job, full: bool) -> Decision {
    match job {
        Job::Write(write, _) if full && write.value.is_some() => Decision::Outcome(Err(Error::Full)),
        Job::Write(write, _) => Decision::Outcome(stage.write(index, write.clone())),
        Job::Transact(txn, _) if full && txn.puts() => Decision::Transacted(Err(Error::Full)),
        Job::Transact(txn, _) => Decision::Transacted(stage.transact(index, txn)),
        Job::Lease(LeaseAsk::Grant { .. } | LeaseAsk::Renew(_), _) if full => Decision::Lease(Err(Error::Full)),
        Job::Lease(ask, _) => Decision::Lease(stage.lease(index, ask, Instant::now(), unix_now())),
        Job::Expire(id, now, _) => {
            stage.expire(index, *id, *now);
            Decision::Done(Ok(()))
        }
        Job::Compact(revision, _) => Decision::Done(match *revision <= *compacted {
            true => Err(Error::Compacted { compact_revision: *compacted }),
            false => index.may_compact(*revision).inspect(|()| *compacted = *revision),
        }),
        Job::Close(_) => Decision::Done(Ok(())),
    }
}

/// Tells the decision, or why it could not be made true. A caller that went away does not hear it.
fn answer(job: Job, decision: Decision, result: &Result<()>) {
    fn both<T>(decided: Result<T>, result: &Result<()>) -> Result<T> {
        decided.and_then(|value| result.clone().map(|()| value))
    }
    match (job, decision) {
        (Job::Write(_, reply), Decision::Outcome(decided)) => drop(reply.send(both(decided, result))),
        (Job::Transact(_, reply), Decision::Transacted(decided)) => drop(reply.send(both(decided, result))),
        (Job::Lease(_, reply), Decision::Lease(decided)) => drop(reply.send(both(decided, result))),
        (Job::Expire(_, _, reply) | Job::Compact(_, reply), Decision::Done(decided)) => {
            drop(reply.send(both(decided, result)));
        }
        _ => unreachable!("each job has a decision of its kind"),
    }
}
