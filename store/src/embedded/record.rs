//! What frames hold: protobuf messages, so that a later version may add fields.
//!
//! Invariant: field numbers never change their meaning; what an older version cannot read gets a new file version (see
//! `log`). Non-goal: framing.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::index::{Lease, Stage};
use crate::{Event, EventKind, KeyValue};

/// The first frame of a log segment.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SegmentHead {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    /// The store's revision when the segment was begun.
    #[prost(uint64, tag = "2")]
    pub(crate) revision: u64,
}

/// One group commit.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Batch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) granted: Vec<Grant>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) changes: Vec<Change>,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) revoked: Vec<i64>,
    #[prost(uint64, tag = "4")]
    pub(crate) compacted: u64,
}

impl Batch {
    pub(crate) fn new(stage: &Stage, compacted: u64, clock: Clock) -> Batch {
        Batch {
            granted: stage.granted.iter().map(|lease| Grant::new(lease, clock)).collect(),
            changes: stage.events.iter().map(Change::from).collect(),
            revoked: stage.revoked.clone(),
            compacted,
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Change {
    #[prost(uint64, tag = "1")]
    pub(crate) revision: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) key: Bytes,
    /// Absent in a delete.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) value: Option<Bytes>,
    #[prost(int64, tag = "4")]
    pub(crate) lease: i64,
}

impl From<&Event> for Change {
    fn from(event: &Event) -> Change {
        let Event { kind, kv, .. } = event;
        let value = (*kind == EventKind::Put).then(|| kv.value.clone());
        Change { revision: kv.mod_revision, key: kv.key.clone(), value, lease: kv.lease }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Grant {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    /// Seconds.
    #[prost(int64, tag = "2")]
    pub(crate) ttl: i64,
    /// Milliseconds since 1970 by the wall clock.
    #[prost(uint64, tag = "3")]
    pub(crate) expires: u64,
}

/// The same moment by both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) now: Instant,
    pub(crate) unix: Duration,
}

impl Grant {
    pub(crate) fn new(lease: &Lease, clock: Clock) -> Grant {
        let left = lease.expires.saturating_duration_since(clock.now);
        Grant { id: lease.id, ttl: lease.ttl, expires: (clock.unix + left).as_millis() as u64 }
    }

    /// The lease, with the time left by the wall clock, but never more than a whole length: clocks are set back.
    pub(crate) fn lease(&self, clock: Clock) -> Lease {
        let left = Duration::from_millis(self.expires).saturating_sub(clock.unix);
        let left = left.min(Duration::from_secs(self.ttl.unsigned_abs()));
        Lease { id: self.id, ttl: self.ttl, expires: clock.now + left }
    }
}

/// The first frame of a snapshot. The entries after it are the state before `compacted`, the changes here lead to the state
/// at it: so a watch from there on still gets its events, with what was before.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotHead {
    #[prost(uint64, tag = "1")]
    pub(crate) compacted: u64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) changes: Vec<Change>,
    /// The segment to go on with.
    #[prost(uint64, tag = "3")]
    pub(crate) segment: u64,
    #[prost(message, repeated, tag = "4")]
    pub(crate) leases: Vec<Grant>,
}

/// The frames of a snapshot after the first; the last one has no entries and the count of all.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) entries: Vec<Entry>,
    #[prost(uint64, tag = "2")]
    pub(crate) count: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
    #[prost(uint64, tag = "3")]
    create_revision: u64,
    #[prost(uint64, tag = "4")]
    mod_revision: u64,
    #[prost(uint64, tag = "5")]
    version: u64,
    #[prost(int64, tag = "6")]
    lease: i64,
}

impl From<KeyValue> for Entry {
    fn from(kv: KeyValue) -> Entry {
        let KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
        Entry { key, value, create_revision, mod_revision, version, lease }
    }
}

impl From<Entry> for KeyValue {
    fn from(entry: Entry) -> KeyValue {
        let Entry { key, value, create_revision, mod_revision, version, lease } = entry;
        KeyValue { key, value, create_revision, mod_revision, version, lease }
    }
}
