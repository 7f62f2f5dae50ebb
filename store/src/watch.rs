//! Watches on the shared index.
//!
//! A watcher has no queue of its own: the writer only marks the first revision it has not read, and the watcher reads the
//! shared history from there at its own pace. So a slow watcher costs nothing, blocks nobody, and loses events only to a
//! compaction, which it is told. Invariant: progress is given only when nothing is due, so it never runs ahead of what was
//! delivered. Non-goal: reconnecting (see `etcd`).

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::index::Span;
use crate::local::Local;
use crate::{Error, Event, Result, Revision, Watched};

/// Events in one batch, unless one revision has more.
const BATCH: usize = 1000;

/// What the writer knows of a watcher.
pub(crate) struct Slot {
    span: Span,
    from: Revision,
    due: Mutex<Due>,
    wake: Notify,
}

struct Due {
    /// The first revision with an event not read yet.
    events: Option<Revision>,
    progress: bool,
}

impl Slot {
    /// A watcher's slot, to be registered under the lock that `now` was read under.
    pub(crate) fn new(span: Span, from: Revision, now: Revision) -> Slot {
        let events = (from != 0 && from <= now).then_some(from);
        Slot { span, from, due: Mutex::new(Due { events, progress: false }), wake: Notify::new() }
    }

    /// Notes an event; true if the watcher must be woken for it.
    pub(crate) fn mark(&self, event: &Event) -> bool {
        let revision = event.kv.mod_revision;
        if revision < self.from || !self.span.contains(&event.kv.key) {
            return false;
        }
        let mut due = self.due.lock();
        let first = due.events.is_none();
        due.events.get_or_insert(revision);
        first
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

pub(crate) struct LocalWatch {
    local: Arc<Local>,
    slot: Arc<Slot>,
}

impl LocalWatch {
    pub(crate) fn new(local: Arc<Local>, slot: Arc<Slot>) -> LocalWatch {
        LocalWatch { local, slot }
    }

    pub(crate) fn request_progress(&self) {
        self.slot.due.lock().progress = true;
        self.slot.wake();
    }

    pub(crate) async fn next(&mut self) -> Result<Watched> {
        loop {
            match self.take()? {
                Taken::Some(watched) => return Ok(watched),
                Taken::Nothing => self.slot.wake.notified().await,
                Taken::More => tokio::task::yield_now().await,
            }
        }
    }

    fn take(&self) -> Result<Taken> {
        let state = self.local.state();
        if state.closed {
            return Err(Error::Closed);
        }
        let mut due = self.slot.due.lock();
        if let Some(from) = due.events {
            let compact_revision = state.index.compacted();
            if from < compact_revision {
                return Err(Error::Compacted { compact_revision });
            }
            let (events, rest) = state.index.events(&self.slot.span, from, BATCH);
            due.events = rest;
            match (events.is_empty(), rest) {
                (false, _) => return Ok(Taken::Some(Watched::Events(events))),
                (true, Some(_)) => return Ok(Taken::More),
                (true, None) => (),
            }
        }
        let revision = state.index.revision();
        if due.progress && revision + 1 >= self.slot.from {
            due.progress = false;
            return Ok(Taken::Some(Watched::Progress(revision)));
        }
        Ok(Taken::Nothing)
    }
}

enum Taken {
    Some(Watched),
    /// Looked at a part of the history; there is more to look at.
    More,
    Nothing,
}

impl Drop for LocalWatch {
    fn drop(&mut self) {
        self.local.unwatch(&self.slot);
    }
}
