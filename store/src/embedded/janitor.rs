//! What follows a compaction, in the background: a snapshot when it pays, the files it supersedes, the memory.
//!
//! Invariants: a file is removed only when a durable snapshot has what it had; the snapshot reads the index before the
//! memory it needs is freed; nothing here holds a lock for longer than a chunk. A snapshot that fails changes nothing, the log
//! just stays longer.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::committer::clock;
use super::files;
use super::log::{self, Files};
use super::record::{Change, Grant, SnapshotHead};
use crate::index::Span;
use crate::local::Local;
use crate::{KeyValue, Revision};

pub(crate) struct Janitor {
    pub(crate) local: Arc<Local>,
    pub(crate) dir: PathBuf,
    pub(crate) files: Arc<Mutex<Files>>,
    /// See `log::Options`.
    pub(crate) gain: u64,
}

impl Janitor {
    /// Runs until the other end is gone.
    pub(crate) fn run(&self, compactions: &mpsc::Receiver<Revision>) {
        while let Ok(revision) = compactions.recv() {
            let revision = compactions.try_iter().last().unwrap_or(revision);
            if let Err(error) = self.supersede(revision) {
                tracing::warn!(%error, revision, "cannot write a snapshot; the log stays as long as it is");
            }
            let mut after = None;
            while self.local.scrub(revision, &mut after) {}
        }
    }

    /// Writes a snapshot and removes what it supersedes, if that is worth it.
    fn supersede(&self, compacted: Revision) -> io::Result<()> {
        let (old, count, segment) = {
            let files = self.files.lock();
            let count = files.ended.partition_point(|ended| ended.revision <= compacted);
            let freed: u64 = files.ended[..count].iter().map(|ended| ended.bytes).sum();
            if count == 0 || freed < self.gain.max(files.snapshot.map_or(0, |(_, bytes)| bytes)) {
                return Ok(());
            }
            (files.snapshot, count, files.ended[count - 1].sequence + 1)
        };
        let head = SnapshotHead { compacted, changes: self.changes(compacted), segment, leases: self.leases() };
        let bytes = log::snapshot(&self.dir, &head, self.chunks(compacted - 1))?;
        let superseded: Vec<_> = {
            let mut files = self.files.lock();
            files.snapshot = Some((compacted, bytes));
            files.ended.drain(..count).collect()
        };
        for ended in superseded {
            fs::remove_file(self.dir.join(files::segment(ended.sequence)))?;
        }
        old.map_or(Ok(()), |(compacted, _)| fs::remove_file(self.dir.join(files::snapshot(compacted))))
    }

    /// What happened at a revision.
    fn changes(&self, at: Revision) -> Vec<Change> {
        let (events, _) = self.local.state().index.events(&Span::all(), at, 1);
        events.iter().filter(|event| event.kv.mod_revision == at).map(Change::from).collect()
    }

    fn leases(&self) -> Vec<Grant> {
        let clock = clock();
        self.local.state().index.leases().map(|lease| Grant::new(lease, clock)).collect()
    }

    fn chunks(&self, at: Revision) -> impl Iterator<Item = Vec<KeyValue>> {
        let mut rest = Some(None);
        std::iter::from_fn(move || {
            let after: Option<Bytes> = rest.take()?;
            let (kvs, next) = self.local.lived(at, after.as_deref());
            rest = next.map(Some);
            Some(kvs)
        })
    }
}
