//! Transactions: what is refused before the store is asked, and the way there and back
//! (`server/etcdserver/api/v3rpc/key.go@v3.7.3`, `server/etcdserver/txn/txn.go@v3.7.3`).

use bytes::Bytes;
use store::etcdserverpb as pb;
use store::{Answer, Compare, Op, Operand, Put, Relation, Transacted, Txn};
use tonic::Status;

use crate::server::signed;
use crate::status::{self, refuse};
use crate::{intervals, range};

pub(crate) fn check(request: &pb::TxnRequest, most: usize) -> Result<(), Status> {
    check_ops(request, most)?;
    intervals::check(&request.success)?;
    intervals::check(&request.failure)
}

fn check_ops(request: &pb::TxnRequest, most: usize) -> Result<(), Status> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = most.checked_sub(ops).ok_or_else(|| refuse(status::TOO_MANY_OPS))?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(refuse(status::EMPTY_KEY));
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| match &op.request {
        Some(pb::Request::Range(request)) => range::check(request),
        Some(pb::Request::Put(request)) => check_put(request),
        Some(pb::Request::DeleteRange(request)) => check_delete(request),
        Some(pb::Request::Txn(request)) => check_ops(request, left),
        None => Err(refuse(status::KEY_NOT_FOUND)),
    })
}

pub(crate) fn check_put(request: &pb::PutRequest) -> Result<(), Status> {
    let wrong = if request.key.is_empty() {
        status::EMPTY_KEY
    } else if request.ignore_value && !request.value.is_empty() {
        status::VALUE_PROVIDED
    } else if request.ignore_lease && request.lease != 0 {
        status::LEASE_PROVIDED
    } else {
        return Ok(());
    };
    Err(refuse(wrong))
}

pub(crate) fn check_delete(request: &pb::DeleteRangeRequest) -> Result<(), Status> {
    if request.key.is_empty() { Err(refuse(status::EMPTY_KEY)) } else { Ok(()) }
}

/// What to ask of the store.
pub(crate) fn ask(request: &pb::TxnRequest) -> Txn {
    let ops = |ops: &[pb::RequestOp]| ops.iter().filter_map(|op| op.request.as_ref().map(op_of)).collect();
    Txn {
        compare: request.compare.iter().filter_map(compare).collect(),
        success: ops(&request.success),
        failure: ops(&request.failure),
    }
}

fn op_of(request: &pb::Request) -> Op {
    match request {
        pb::Request::Range(request) => Op::Range(range::query(request)),
        pb::Request::Put(request) => put(request),
        pb::Request::DeleteRange(request) => delete(request),
        pb::Request::Txn(request) => Op::Txn(ask(request)),
    }
}

/// Bytes are copied: they are slices of the whole request, which one kept value would keep.
pub(crate) fn put(request: &pb::PutRequest) -> Op {
    Op::Put(Put {
        key: Bytes::copy_from_slice(&request.key),
        value: (!request.ignore_value).then(|| Bytes::copy_from_slice(&request.value)),
        lease: (!request.ignore_lease).then_some(request.lease),
    })
}

pub(crate) fn delete(request: &pb::DeleteRangeRequest) -> Op {
    Op::Delete { start: Bytes::copy_from_slice(&request.key), end: Bytes::copy_from_slice(&request.range_end) }
}

/// A comparison; one that a later etcd may know is left out, as it holds for this one.
fn compare(request: &pb::Compare) -> Option<Compare> {
    let union = request.target_union.as_ref();
    // A value of another target counts as none.
    let operand = match request.target() {
        pb::CompareTarget::Version => Operand::Version(match union {
            Some(pb::TargetUnion::Version(number)) => *number,
            _ => 0,
        }),
        pb::CompareTarget::Create => Operand::Create(match union {
            Some(pb::TargetUnion::CreateRevision(number)) => *number,
            _ => 0,
        }),
        pb::CompareTarget::Mod => Operand::Modified(match union {
            Some(pb::TargetUnion::ModRevision(number)) => *number,
            _ => 0,
        }),
        pb::CompareTarget::Lease => Operand::Lease(match union {
            Some(pb::TargetUnion::Lease(number)) => *number,
            _ => 0,
        }),
        pb::CompareTarget::Value => Operand::Value(match union {
            Some(pb::TargetUnion::Value(value)) => Bytes::copy_from_slice(value),
            _ => Bytes::new(),
        }),
    };
    let relation = match pb::CompareResult::try_from(request.result).ok()? {
        pb::CompareResult::Equal => Relation::Equal,
        pb::CompareResult::Greater => Relation::Greater,
        pb::CompareResult::Less => Relation::Less,
        pb::CompareResult::NotEqual => Relation::NotEqual,
    };
    let (start, end) = (Bytes::copy_from_slice(&request.key), Bytes::copy_from_slice(&request.range_end));
    Some(Compare { start, end, relation, operand })
}

/// The answer to a transaction; `header` is its own, those inside have a revision at most.
pub(crate) fn answer(request: &pb::TxnRequest, done: Transacted, header: Option<pb::Header>) -> pb::TxnResponse {
    let ops = if done.succeeded { &request.success } else { &request.failure };
    let requests = ops.iter().filter_map(|op| op.request.as_ref());
    let responses =
        requests.zip(done.answers).map(|(request, answer)| pb::ResponseOp { response: response(request, answer) });
    pb::TxnResponse { header, succeeded: done.succeeded, responses: responses.collect() }
}

fn response(request: &pb::Request, answer: Answer) -> Option<pb::Response> {
    Some(match (request, answer) {
        (pb::Request::Range(request), Answer::Range(ranged)) => pb::Response::Range(range::answer(request, ranged)),
        (pb::Request::Put(request), Answer::Put { revision, previous }) => {
            let prev_kv = previous.filter(|_| request.prev_kv).map(Into::into);
            pb::Response::Put(pb::PutResponse { header: bare_header(revision), prev_kv })
        }
        (pb::Request::DeleteRange(request), Answer::Delete { revision, previous }) => {
            pb::Response::DeleteRange(deleted(request, previous, bare_header(revision)))
        }
        (pb::Request::Txn(request), Answer::Txn(done)) => {
            pb::Response::Txn(self::answer(request, done, Some(pb::Header::default())))
        }
        _ => return None,
    })
}

fn bare_header(revision: u64) -> Option<pb::Header> {
    Some(pb::Header { revision: signed(revision), ..pb::Header::default() })
}

pub(crate) fn deleted(
    request: &pb::DeleteRangeRequest,
    previous: Vec<store::KeyValue>,
    header: Option<pb::Header>,
) -> pb::DeleteRangeResponse {
    let deleted = signed(previous.len() as u64);
    let prev_kvs = if request.prev_kv { previous.into_iter().map(Into::into).collect() } else { Vec::new() };
    pb::DeleteRangeResponse { header, deleted, prev_kvs }
}
