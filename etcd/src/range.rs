//! What a range request asks of the store, and what becomes of the keys found (`server/etcdserver/txn/range.go@v3.7.3`).
//!
//! Invariant: pure. The store gives keys in order; any other order and the limits by revision are made here, after which the limit of
//! the request counts.

use std::cmp::Ordering;

use bytes::Bytes;
use store::etcdserverpb as pb;
use store::{KeyValue, Range, Ranged};
use tonic::Status;

use crate::server::{revision, signed};
use crate::status::{self, refuse};

pub(crate) fn check(request: &pb::RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(refuse(status::EMPTY_KEY));
    }
    let known = pb::SortOrder::is_valid(request.sort_order) && pb::SortTarget::is_valid(request.sort_target);
    if known { Ok(()) } else { Err(refuse(status::INVALID_SORT_OPTION)) }
}

/// What to ask of the store.
pub(crate) fn query(request: &pb::RangeRequest) -> Range {
    let whole = !in_key_order(request.sort_target(), request.sort_order()) || has_filters(request);
    let limit = match usize::try_from(request.limit) {
        _ if request.count_only => 1,
        // One more, as etcd: of an order by default the one too many takes part in the sorting.
        Ok(limit) if limit > 0 && !whole => limit.saturating_add(1),
        _ => 0,
    };
    Range {
        start: Bytes::copy_from_slice(&request.key),
        end: Bytes::copy_from_slice(&request.range_end),
        at: revision(request.revision),
        limit,
        keys_only: request.count_only || bare(request),
    }
}

/// Whether the keys alone are wanted, for which etcd reads neither value nor lease.
fn bare(request: &pb::RangeRequest) -> bool {
    request.keys_only && request.sort_target() != pb::SortTarget::Value
}

pub(crate) fn in_key_order(target: pb::SortTarget, order: pb::SortOrder) -> bool {
    order == pb::SortOrder::None || (target == pb::SortTarget::Key && order == pb::SortOrder::Ascend)
}

pub(crate) fn has_filters(request: &pb::RangeRequest) -> bool {
    let bounds = [request.min_mod_revision, request.max_mod_revision];
    bounds.iter().chain(&[request.min_create_revision, request.max_create_revision]).any(|bound| *bound != 0)
}

/// The answer, with the store's revision alone in its header.
pub(crate) fn answer(request: &pb::RangeRequest, ranged: Ranged) -> pb::RangeResponse {
    let header = Some(pb::Header { revision: signed(ranged.revision), ..pb::Header::default() });
    let count = signed(ranged.count);
    if request.count_only {
        return pb::RangeResponse { header, count, ..pb::RangeResponse::default() };
    }
    let mut items = ranged.items;
    items.retain(|kv| wanted(request, kv));
    sort(request, &mut items);
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    pb::RangeResponse { header, kvs: items.into_iter().map(|kv| strip(request, kv)).collect(), more, count }
}

fn wanted(request: &pb::RangeRequest, kv: &KeyValue) -> bool {
    let within = |revision: u64, min: i64, max: i64| {
        (max == 0 || signed(revision) <= max) && (min == 0 || signed(revision) >= min)
    };
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

fn sort(request: &pb::RangeRequest, items: &mut [KeyValue]) {
    let target = request.sort_target();
    let order = match request.sort_order() {
        pb::SortOrder::None if target != pb::SortTarget::Key => pb::SortOrder::Ascend,
        order => order,
    };
    if in_key_order(target, order) {
        return;
    }
    let compare = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match target {
            pb::SortTarget::Key => a.key.cmp(&b.key),
            pb::SortTarget::Version => a.version.cmp(&b.version),
            pb::SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            pb::SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            pb::SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match order {
        pb::SortOrder::Descend => items.sort_by(|a, b| compare(b, a)),
        _ => items.sort_by(compare),
    }
}

fn strip(request: &pb::RangeRequest, kv: KeyValue) -> pb::KeyValue {
    let mut kv = pb::KeyValue::from(kv);
    if request.keys_only {
        kv.value = Bytes::new();
    }
    if bare(request) {
        kv.lease = 0;
    }
    kv
}
