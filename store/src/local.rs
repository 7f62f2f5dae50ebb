//! The index shared by readers, watchers and one writer: what the memory and the embedded store have in common.
//!
//! Invariant: [`Local::publish`] is the only way a change becomes visible; under one lock it moves the revision, extends the
//! history and marks the watchers, so a watcher that registers under the same lock misses nothing and sees nothing twice.
//! Long reads let go of the lock between chunks. Non-goals: durability, deciding writes (see `index::Stage`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::index::{Index, Span, Stage};
use crate::watch::{LocalWatch, Slot};
use crate::{Error, Got, KeyValue, LeaseState, Range, Ranged, Result, Revision};

/// Keys looked at under one hold of the lock: about a millisecond.
const CHUNK: usize = 4096;

pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) closed: bool,
    slots: Vec<Arc<Slot>>,
}

pub(crate) struct Local {
    state: RwLock<State>,
    /// Told when the first expiry of a lease changed, and at the end.
    changed: Notify,
}

impl Local {
    pub(crate) fn new(index: Index) -> Arc<Local> {
        let state = RwLock::new(State { index, closed: false, slots: Vec::new() });
        Arc::new(Local { state, changed: Notify::new() })
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    fn open(&self) -> Result<RwLockReadGuard<'_, State>> {
        let state = self.state.read();
        if state.closed { Err(Error::Closed) } else { Ok(state) }
    }

    pub(crate) fn revision(&self) -> Result<Revision> {
        Ok(self.open()?.index.revision())
    }

    pub(crate) fn get(&self, key: &[u8], at: Revision) -> Result<Got> {
        let state = self.open()?;
        let at = state.index.readable(at)?;
        Ok(Got { revision: state.index.revision(), kv: state.index.get(key, at) })
    }

    pub(crate) fn lease(&self, id: i64) -> Result<Option<LeaseState>> {
        Ok(self.open()?.index.lease(id, Instant::now()))
    }

    pub(crate) fn leases(&self) -> Result<Vec<i64>> {
        Ok(self.open()?.index.lease_ids())
    }

    pub(crate) async fn range(&self, range: Range) -> Result<Ranged> {
        let span = Span { start: range.start, end: range.end };
        loop {
            match self.read(&span, range.at, range.limit, range.keys_only).await {
                // A reader of "now" that a compaction overtook starts again at the new now.
                Err(Error::Compacted { .. }) if range.at == 0 => continue,
                answer => return answer,
            }
        }
    }

    async fn read(&self, span: &Span, at: Revision, limit: usize, keys_only: bool) -> Result<Ranged> {
        let mut ranged = Ranged::default();
        let mut pinned = at;
        let mut after: Option<Bytes> = None;
        let limit = if limit == 0 { usize::MAX } else { limit };
        loop {
            {
                let state = self.open()?;
                pinned = state.index.readable(pinned)?;
                if ranged.revision == 0 {
                    ranged.revision = state.index.revision();
                }
                after = state.index.visit(span, after.as_deref(), pinned, CHUNK, |key, version| {
                    ranged.count += 1;
                    if ranged.items.len() < limit {
                        ranged.items.extend(version.kv(key).map(|kv| strip(kv, keys_only)));
                    }
                });
            }
            if after.is_none() {
                ranged.more = ranged.count > ranged.items.len() as u64;
                return Ok(ranged);
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn watch(self: &Arc<Self>, start: Bytes, end: Bytes, from: Revision) -> Result<LocalWatch> {
        let mut state = self.state.write();
        if state.closed {
            return Err(Error::Closed);
        }
        let slot = Arc::new(Slot::new(Span { start, end }, from, state.index.revision()));
        state.slots.push(slot.clone());
        Ok(LocalWatch::new(self.clone(), slot))
    }

    pub(crate) fn unwatch(&self, slot: &Arc<Slot>) {
        self.state.write().slots.retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// Makes what was staged visible to readers and due for watchers.
    pub(crate) fn publish(&self, stage: Stage) {
        let earlier = stage.granted.iter().map(|lease| lease.expires).min();
        let mut woken = Vec::new();
        let mut state = self.state.write();
        for event in &stage.events {
            woken.extend(state.slots.iter().filter(|slot| slot.mark(event)).cloned());
        }
        let next = state.index.next_expiry();
        state.index.apply(stage);
        drop(state);
        woken.iter().for_each(|slot| slot.wake());
        if earlier.is_some_and(|earlier| next.is_none_or(|(next, _)| earlier < next)) {
            self.changed.notify_one();
        }
    }

    pub(crate) fn compact(&self, revision: Revision) {
        self.state.write().index.compact(revision);
    }

    /// Frees a chunk of what a compaction to `below` made unreachable; `after` says where to go on. False when all is done.
    pub(crate) fn scrub(&self, below: Revision, after: &mut Option<Bytes>) -> bool {
        let mut state = self.state.write();
        if state.index.scrub_history(below, CHUNK) {
            return true;
        }
        *after = state.index.scrub_keys(below, after.as_deref(), CHUNK);
        after.is_some()
    }

    /// The keys that lived at a revision, a chunk after `after`, also those a compaction hides; for snapshots.
    pub(crate) fn lived(&self, at: Revision, after: Option<&[u8]>) -> (Vec<KeyValue>, Option<Bytes>) {
        let mut kvs = Vec::new();
        let state = self.state.read();
        let rest = state.index.visit(&Span::all(), after, at, CHUNK, |key, version| kvs.extend(version.kv(key)));
        (kvs, rest)
    }

    /// Ends reads and watches.
    pub(crate) fn close(&self) {
        let mut state = self.state.write();
        state.closed = true;
        let slots = std::mem::take(&mut state.slots);
        drop(state);
        slots.iter().for_each(|slot| slot.wake());
        self.changed.notify_one();
    }
}

fn strip(kv: KeyValue, keys_only: bool) -> KeyValue {
    if keys_only { KeyValue { value: Bytes::new(), ..kv } } else { kv }
}

/// The time since 1970 by the wall clock.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Waits until a lease is due and gives its identity; nothing when the store is closed.
pub(crate) async fn next_due(local: &Local) -> Option<i64> {
    loop {
        let next = {
            let state = local.state();
            if state.closed {
                return None;
            }
            state.index.next_expiry()
        };
        match next {
            Some((at, id)) if at <= Instant::now() => return Some(id),
            Some((at, _)) => {
                let _ = tokio::time::timeout_at(at, local.changed.notified()).await;
            }
            None => local.changed.notified().await,
        }
    }
}
