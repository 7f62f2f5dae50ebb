//! What a transaction asks and answers: comparisons, then the operations of the branch they choose, all at one revision.
//!
//! Shaped as etcd's `TxnRequest` (`api/etcdserverpb/rpc.proto@v3.7.3`). Invariant: plain data; what it does is in `transact`.

use bytes::Bytes;

use crate::{KeyValue, Range, Ranged, Revision};

/// Compares, then performs one of two lists of operations.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// All of them must hold for `success`.
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

impl Txn {
    /// A transaction without conditions.
    pub fn always(op: Op) -> Txn {
        Txn { success: vec![op], ..Txn::default() }
    }

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.success.iter().chain(&self.failure)
    }

    /// Whether either branch may store something.
    pub(crate) fn puts(&self) -> bool {
        self.ops().any(|op| match op {
            Op::Put(_) => true,
            Op::Txn(inner) => inner.puts(),
            Op::Range(_) | Op::Delete { .. } => false,
        })
    }

    /// Keys and values to be stored, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let size = |op: &Op| match op {
            Op::Put(put) => put.key.len() + put.value.as_ref().map_or(0, Bytes::len),
            Op::Txn(inner) => inner.bytes(),
            Op::Range(_) | Op::Delete { .. } => 0,
        };
        self.ops().map(size).sum()
    }

    /// Whether a put has no key.
    pub(crate) fn lacks_key(&self) -> bool {
        self.ops().any(|op| match op {
            Op::Put(put) => put.key.is_empty(),
            Op::Txn(inner) => inner.lacks_key(),
            Op::Range(_) | Op::Delete { .. } => false,
        })
    }
}

/// A comparison of every key of a range (ends as in [`Range`]) as it is before the transaction.
///
/// A range without keys is compared as one key with every number 0; its value compares with nothing.
#[derive(Clone, Debug)]
pub struct Compare {
    pub start: Bytes,
    pub end: Bytes,
    pub relation: Relation,
    pub operand: Operand,
}

/// How what is stored has to be to the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Equal,
    Greater,
    Less,
    NotEqual,
}

/// What is compared, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    Version(i64),
    Create(i64),
    Modified(i64),
    Lease(i64),
    Value(Bytes),
}

#[derive(Clone, Debug)]
pub enum Op {
    /// Sees what the operations before it did.
    Range(Range),
    Put(Put),
    /// Deletes the keys from `start` to `end`, as in [`Range`].
    Delete {
        start: Bytes,
        end: Bytes,
    },
    Txn(Txn),
}

#[derive(Clone, Debug, Default)]
pub struct Put {
    pub key: Bytes,
    /// `None` keeps the value, of a key that must exist before the transaction.
    pub value: Option<Bytes>,
    /// 0 is none; `None` keeps the lease, of a key that must exist before the transaction.
    pub lease: Option<i64>,
}

/// What became of a transaction. If anything changed, it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transacted {
    /// Its own revision if it changed anything, else the store's.
    pub revision: Revision,
    pub succeeded: bool,
    /// One for each operation of the branch taken.
    pub answers: Vec<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Range(Ranged),
    Put {
        revision: Revision,
        previous: Option<KeyValue>,
    },
    /// The keys that lived, in order.
    Delete {
        revision: Revision,
        previous: Vec<KeyValue>,
    },
    Txn(Transacted),
}
