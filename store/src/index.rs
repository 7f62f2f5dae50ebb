//! The multi-version index: every version of every key since the last compaction, the events in order, the leases.
//!
//! Pure data, no locks, no IO. A change is first staged (decided against the index and what is staged before it), then
//! applied whole: what was staged and not applied leaves no trace. Invariant: revisions are dense and only [`Index::apply`]
//! moves them. Non-goal: who is told (see `local`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque, hash_map};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{Error, Event, EventKind, KeyValue, LeaseState, Outcome, Result, Revision, Write};

/// The revision of a store nothing was written to, as etcd's.
const FIRST_REVISION: Revision = 1;
/// Lease lengths etcd allows, in seconds (`server/lease/lessor.go@v3.7.3`; the least is 3/2 of the default election timeout).
const MIN_LEASE_TTL: i64 = 2;
const MAX_LEASE_TTL: i64 = 9_000_000_000;

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A range of keys with etcd's conventions for the end.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) start: Bytes,
    pub(crate) end: Bytes,
}

impl Span {
    pub(crate) fn all() -> Span {
        Span { start: Bytes::new(), end: Bytes::from_static(b"\0") }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match &self.end[..] {
            b"" => key == self.start,
            b"\0" => key >= &self.start[..],
            end => key >= &self.start[..] && key < end,
        }
    }

    /// The bounds of what comes after `after`, or nothing if that is empty.
    fn bounds<'a>(&'a self, after: Option<&'a [u8]>) -> Option<Bounds<'a>> {
        let start = &self.start[..];
        let lower = after.map_or(Bound::Included(start), Bound::Excluded);
        let floor = after.unwrap_or(start);
        match &self.end[..] {
            b"" => after.is_none().then_some((lower, Bound::Included(start))),
            b"\0" => Some((lower, Bound::Unbounded)),
            end => (floor < end).then_some((lower, Bound::Excluded(end))),
        }
    }
}

/// One version of a key; a tombstone has no value.
#[derive(Debug)]
pub(crate) struct Version {
    create: Revision,
    modified: Revision,
    version: u64,
    lease: i64,
    value: Option<Bytes>,
}

impl Version {
    fn of(event: &Event) -> Version {
        let kv = &event.kv;
        let value = (event.kind == EventKind::Put).then(|| kv.value.clone());
        Version { create: kv.create_revision, modified: kv.mod_revision, version: kv.version, lease: kv.lease, value }
    }

    pub(crate) fn kv(&self, key: &Bytes) -> Option<KeyValue> {
        Some(KeyValue {
            key: key.clone(),
            value: self.value.clone()?,
            create_revision: self.create,
            mod_revision: self.modified,
            version: self.version,
            lease: self.lease,
        })
    }
}

/// The version to see at a revision.
fn visible(versions: &[Version], at: Revision) -> Option<&Version> {
    versions.iter().rev().find(|version| version.modified <= at)
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    /// Seconds.
    pub(crate) ttl: i64,
    pub(crate) expires: Instant,
}

/// What is asked of a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseAsk {
    /// An identity of 0 lets the store choose; the length is in seconds.
    Grant {
        id: i64,
        ttl: i64,
    },
    Renew(i64),
    Revoke(i64),
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseDone {
    pub(crate) id: i64,
    /// Seconds.
    pub(crate) ttl: i64,
    pub(crate) revision: Revision,
}

#[derive(Debug)]
struct Leased {
    lease: Lease,
    keys: HashSet<Bytes>,
}

#[derive(Debug)]
pub(crate) struct Index {
    revision: Revision,
    compacted: Revision,
    keys: BTreeMap<Bytes, Vec<Version>>,
    history: VecDeque<Event>,
    leases: HashMap<i64, Leased>,
    expiries: BTreeSet<(Instant, i64)>,
}

impl Index {
    pub(crate) fn new() -> Index {
        Index {
            revision: FIRST_REVISION,
            compacted: 0,
            keys: BTreeMap::new(),
            history: VecDeque::new(),
            leases: HashMap::new(),
            expiries: BTreeSet::new(),
        }
    }

    /// The index as it was at a revision, from the keys that lived then, in order.
    pub(crate) fn restore(revision: Revision, kvs: Vec<KeyValue>) -> Index {
        let keys = kvs.into_iter().map(|kv| {
            let KeyValue { key, value, create_revision: create, mod_revision: modified, version, lease } = kv;
            (key, vec![Version { create, modified, version, lease, value: Some(value) }])
        });
        Index { revision: revision.max(FIRST_REVISION), keys: keys.collect(), ..Index::new() }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The revision a request for `at` reads.
    pub(crate) fn readable(&self, at: Revision) -> Result<Revision> {
        match at {
            0 => Ok(self.revision),
            at if at > self.revision => Err(Error::FutureRevision),
            at if at < self.compacted => Err(Error::Compacted { compact_revision: self.compacted }),
            at => Ok(at),
        }
    }

    pub(crate) fn get(&self, key: &[u8], at: Revision) -> Option<KeyValue> {
        let (key, versions) = self.keys.get_key_value(key)?;
        visible(versions, at)?.kv(key)
    }

    /// Visits at most `most` keys of the span after `after`, alive at `at` or not, and tells where to go on, if there is more.
    pub(crate) fn visit(
        &self,
        span: &Span,
        after: Option<&[u8]>,
        at: Revision,
        most: usize,
        mut each: impl FnMut(&Bytes, &Version),
    ) -> Option<Bytes> {
        let bounds = span.bounds(after)?;
        let mut last = None;
        for (key, versions) in self.keys.range::<[u8], _>(bounds).take(most) {
            if let Some(version) = visible(versions, at).filter(|version| version.value.is_some()) {
                each(key, version);
            }
            last = Some(key);
        }
        last.filter(|last| {
            span.bounds(Some(last)).is_some_and(|rest| self.keys.range::<[u8], _>(rest).next().is_some())
        })
        .cloned()
    }

    /// Events of the span from revision `from` on, whole revisions, about `most`; and where to go on, if there is more.
    pub(crate) fn events(&self, span: &Span, from: Revision, most: usize) -> (Vec<Event>, Option<Revision>) {
        let first = self.history.partition_point(|event| event.kv.mod_revision < from);
        let mut events = Vec::new();
        let mut at = from;
        for (seen, event) in self.history.range(first..).enumerate() {
            let revision = event.kv.mod_revision;
            // A scan without a hit ends too, so that a reader holds the lock only so long.
            if revision != at && (events.len() >= most || seen >= most * 4) {
                return (events, Some(revision));
            }
            at = revision;
            if span.contains(&event.kv.key) {
                events.push(event.clone());
            }
        }
        (events, None)
    }

    /// Makes everything staged true.
    pub(crate) fn apply(&mut self, stage: Stage) {
        // One writer, dense revisions: held in release builds too, as everything rests on it.
        assert!(stage.revision >= self.revision, "the revision went back");
        for lease in stage.granted {
            self.grant(lease);
        }
        for event in stage.events {
            self.record(event);
        }
        for id in stage.revoked {
            self.revoke(id);
        }
        self.revision = stage.revision;
    }

    /// Makes a lease, or gives one a new length.
    pub(crate) fn grant(&mut self, lease: Lease) {
        self.expiries.insert((lease.expires, lease.id));
        match self.leases.entry(lease.id) {
            hash_map::Entry::Vacant(vacant) => _ = vacant.insert(Leased { lease, keys: HashSet::new() }),
            hash_map::Entry::Occupied(mut held) => {
                let before = std::mem::replace(&mut held.get_mut().lease, lease);
                if before.expires != held.get().lease.expires {
                    self.expiries.remove(&(before.expires, before.id));
                }
            }
        }
    }

    pub(crate) fn revoke(&mut self, id: i64) {
        if let Some(leased) = self.leases.remove(&id) {
            self.expiries.remove(&(leased.lease.expires, id));
        }
    }

    fn record(&mut self, event: Event) {
        let kv = &event.kv;
        if let Some(leased) = event.previous.as_ref().and_then(|previous| self.leases.get_mut(&previous.lease)) {
            leased.keys.remove(&kv.key);
        }
        if let Some(leased) = self.leases.get_mut(&kv.lease) {
            leased.keys.insert(kv.key.clone());
        }
        match self.keys.entry(kv.key.clone()) {
            // Most keys have one version, and a vector that grows makes room for four.
            Entry::Vacant(vacant) => _ = vacant.insert(vec![Version::of(&event)]),
            Entry::Occupied(mut versions) => versions.get_mut().push(Version::of(&event)),
        }
        self.history.push_back(event);
    }

    /// Makes a change again that was decided before.
    pub(crate) fn replay(&mut self, revision: Revision, key: Bytes, value: Option<Bytes>, lease: i64) {
        let previous = self.get(&key, Revision::MAX);
        self.record(event(revision, key, value, lease, previous));
        self.revision = revision;
    }

    /// Attaches the living keys to their leases: once, after a restore.
    pub(crate) fn attach(&mut self) {
        for (key, versions) in &self.keys {
            let lease = versions.last().filter(|version| version.value.is_some()).map_or(0, |version| version.lease);
            if let Some(leased) = self.leases.get_mut(&lease) {
                leased.keys.insert(key.clone());
            }
        }
    }

    pub(crate) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().map(|leased| &leased.lease)
    }

    /// A lease with what is left of it at `now` and its keys, in order.
    pub(crate) fn lease(&self, id: i64, now: Instant) -> Option<LeaseState> {
        let Leased { lease, keys } = self.leases.get(&id)?;
        let mut keys: Vec<_> = keys.iter().cloned().collect();
        keys.sort_unstable();
        let remaining = lease.expires.saturating_duration_since(now);
        Some(LeaseState { ttl_seconds: lease.ttl, remaining, keys })
    }

    /// All leases, that which expires first first.
    pub(crate) fn lease_ids(&self) -> Vec<i64> {
        self.expiries.iter().map(|(_, id)| *id).collect()
    }

    /// The lease that expires first.
    pub(crate) fn next_expiry(&self) -> Option<(Instant, i64)> {
        self.expiries.first().copied()
    }

    /// Whether a compaction to `revision` may be, as etcd decides it (`server/storage/mvcc/kvstore.go@v3.7.3`).
    pub(crate) fn may_compact(&self, revision: Revision) -> Result<()> {
        match revision {
            revision if revision <= self.compacted => Err(Error::Compacted { compact_revision: self.compacted }),
            revision if revision > self.revision => Err(Error::FutureRevision),
            _ => Ok(()),
        }
    }

    /// From here on what is older than `revision` is not served; [`Index::scrub`] frees it.
    pub(crate) fn compact(&mut self, revision: Revision) {
        self.compacted = self.compacted.max(revision);
    }

    /// Frees at most `most` events that a compaction to `below` made unreachable; tells whether there is more.
    pub(crate) fn scrub_history(&mut self, below: Revision, most: usize) -> bool {
        let stale = self.history.partition_point(|event| event.kv.mod_revision < below);
        self.history.drain(..stale.min(most));
        if self.history.len() * 4 < self.history.capacity() {
            self.history.shrink_to(self.history.len() * 2);
        }
        stale > most
    }

    /// Frees the versions a compaction to `below` made unreachable, of `most` keys after `after`; tells where to go on,
    /// if there is more.
    pub(crate) fn scrub_keys(&mut self, below: Revision, after: Option<&[u8]>, most: usize) -> Option<Bytes> {
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut gone = Vec::new();
        let mut last = None;
        for (key, versions) in self.keys.range_mut::<[u8], _>((lower, Bound::Unbounded)).take(most) {
            prune(versions, below);
            if versions.is_empty() {
                gone.push(key.clone());
            }
            last = Some(key.clone());
        }
        for key in gone {
            self.keys.remove(&key);
        }
        last
    }
}

/// Keeps the newest version a read at `compacted` sees, unless it is a tombstone, and all later ones.
fn prune(versions: &mut Vec<Version>, compacted: Revision) {
    let later = versions.partition_point(|version| version.modified <= compacted);
    let keep = later > 0 && versions[later - 1].value.is_some();
    versions.drain(..later - usize::from(keep));
    versions.shrink_to_fit();
}

/// What a change of a key makes of it.
fn event(mod_revision: Revision, key: Bytes, value: Option<Bytes>, lease: i64, previous: Option<KeyValue>) -> Event {
    let key = previous.as_ref().map_or(key, |previous| previous.key.clone());
    let (kind, kv) = match value {
        Some(value) => {
            let create_revision = previous.as_ref().map_or(mod_revision, |previous| previous.create_revision);
            let version = previous.as_ref().map_or(1, |previous| previous.version + 1);
            (EventKind::Put, KeyValue { key, value, create_revision, mod_revision, version, lease })
        }
        None => (EventKind::Delete, KeyValue { key, mod_revision, ..KeyValue::default() }),
    };
    Event { kind, kv, previous }
}

/// Changes decided and not yet made.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Event>,
    pub(crate) granted: Vec<Lease>,
    pub(crate) revoked: Vec<i64>,
    overlay: HashMap<Bytes, Option<KeyValue>>,
}

impl Stage {
    pub(crate) fn on(index: &Index) -> Stage {
        let (events, granted, revoked) = (Vec::new(), Vec::new(), Vec::new());
        Stage { revision: index.revision, events, granted, revoked, overlay: HashMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.granted.is_empty() && self.revoked.is_empty()
    }

    pub(crate) fn current(&self, index: &Index, key: &[u8]) -> Option<KeyValue> {
        match self.overlay.get(key) {
            Some(staged) => staged.clone(),
            None => index.get(key, Revision::MAX),
        }
    }

    /// Decides a write.
    pub(crate) fn write(&mut self, index: &Index, write: Write) -> Result<Outcome> {
        let previous = self.current(index, &write.key);
        if write.expect.is_some_and(|expected| expected != previous.as_ref().map_or(0, |kv| kv.mod_revision)) {
            return Ok(Outcome::Conflict { revision: self.revision, current: previous });
        }
        if write.value.is_some() && write.lease != 0 && !self.holds(index, write.lease) {
            return Err(Error::LeaseNotFound);
        }
        if write.value.is_some() || previous.is_some() {
            self.revision += 1;
            self.change(write.key, write.value, write.lease, previous.clone());
        }
        Ok(Outcome::Done { revision: self.revision, previous })
    }

    pub(crate) fn change(&mut self, key: Bytes, value: Option<Bytes>, lease: i64, previous: Option<KeyValue>) {
        let event = event(self.revision, key, value, lease, previous);
        let current = (event.kind == EventKind::Put).then(|| event.kv.clone());
        self.overlay.insert(event.kv.key.clone(), current);
        self.events.push(event);
    }

    pub(crate) fn holds(&self, index: &Index, lease: i64) -> bool {
        let granted = index.leases.contains_key(&lease) || self.granted.iter().any(|granted| granted.id == lease);
        granted && !self.revoked.contains(&lease)
    }

    /// Decides what is asked of a lease.
    pub(crate) fn lease(&mut self, index: &Index, ask: &LeaseAsk, now: Instant, unix: Duration) -> Result<LeaseDone> {
        let (id, ttl) = match *ask {
            LeaseAsk::Grant { id, ttl } => self.grant(index, id, ttl, now, unix)?,
            LeaseAsk::Renew(id) => self.renew(index, id, now)?,
            LeaseAsk::Revoke(id) if self.holds(index, id) => {
                self.end(index, id);
                (id, 0)
            }
            LeaseAsk::Revoke(_) => return Err(Error::LeaseNotFound),
        };
        Ok(LeaseDone { id, ttl, revision: self.revision })
    }

    /// Grants a lease of the identity asked for; if that is 0, of one that no other has had: the time in microseconds, or the
    /// next free number.
    fn grant(&mut self, index: &Index, id: i64, ttl: i64, now: Instant, unix: Duration) -> Result<(i64, i64)> {
        if ttl > MAX_LEASE_TTL {
            return Err(Error::LeaseTtlTooLarge);
        }
        if id != 0 && self.holds(index, id) {
            return Err(Error::LeaseExists);
        }
        let ttl = ttl.max(MIN_LEASE_TTL);
        let mut granted = if id == 0 { i64::try_from(unix.as_micros()).unwrap_or(1) } else { id };
        while id == 0 && (self.holds(index, granted) || self.revoked.contains(&granted)) {
            granted += 1;
        }
        // Revoked and granted in one batch: its keys have been deleted, so a new length is all that is left to do.
        self.revoked.retain(|revoked| *revoked != granted);
        self.granted.push(Lease { id: granted, ttl, expires: now + seconds(ttl) });
        Ok((granted, ttl))
    }

    /// Gives a lease its whole length again.
    fn renew(&mut self, index: &Index, id: i64, now: Instant) -> Result<(i64, i64)> {
        let lease = self.held(index, id).filter(|lease| lease.expires > now).ok_or(Error::LeaseNotFound)?;
        let renewed = Lease { expires: now + seconds(lease.ttl), ..lease.clone() };
        let ttl = renewed.ttl;
        self.granted.push(renewed);
        Ok((id, ttl))
    }

    fn held<'s>(&'s self, index: &'s Index, id: i64) -> Option<&'s Lease> {
        let staged = self.granted.iter().rev().find(|lease| lease.id == id);
        let held = staged.or_else(|| index.leases.get(&id).map(|leased| &leased.lease));
        held.filter(|_| !self.revoked.contains(&id))
    }

    /// Ends a lease that is due at `now`: it may have been renewed meanwhile.
    pub(crate) fn expire(&mut self, index: &Index, id: i64, now: Instant) {
        if self.held(index, id).is_some_and(|lease| lease.expires <= now) {
            self.end(index, id);
        }
    }

    /// Ends a lease and deletes its keys, all at one revision.
    fn end(&mut self, index: &Index, id: i64) {
        let attached = index.leases.get(&id).into_iter().flat_map(|leased| &leased.keys);
        let staged = self.overlay.keys();
        let keys: BTreeSet<Bytes> = attached.chain(staged).cloned().collect();
        let keys = keys.into_iter().filter(|key| self.current(index, key).is_some_and(|kv| kv.lease == id));
        let keys: Vec<Bytes> = keys.collect();
        self.revoked.push(id);
        self.revision += u64::from(!keys.is_empty());
        for key in keys {
            let previous = self.current(index, &key);
            self.change(key, None, 0, previous);
        }
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.unsigned_abs())
}
