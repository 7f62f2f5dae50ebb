//! Whether the puts and deletes of a transaction overlap, which etcd refuses (`server/etcdserver/api/v3rpc/key.go@v3.7.3`,
//! checkIntervals).
//!
//! Branches of a nested transaction exclude each other, so both may put the same key. As in etcd a delete without an upper end (a
//! range end of one zero byte) overlaps nothing here.

use std::collections::BTreeSet;

use store::etcdserverpb as pb;
use tonic::Status;

use crate::status::{self, refuse};

/// What a list of operations changes.
#[derive(Default)]
struct Changes<'t> {
    puts: BTreeSet<&'t [u8]>,
    deletes: Vec<(&'t [u8], &'t [u8])>,
}

impl<'t> Changes<'t> {
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|(start, end)| match *end {
            b"" => key == *start,
            end => key >= *start && key < end,
        })
    }

    /// Takes in the keys that one branch puts; those in `other` may be there already.
    fn put(&mut self, puts: &BTreeSet<&'t [u8]>, other: &BTreeSet<&'t [u8]>) -> Result<(), Status> {
        for key in puts {
            if (self.puts.contains(key) && !other.contains(key)) || self.deletes(key) {
                return Err(refuse(status::DUPLICATE_KEY));
            }
        }
        self.puts.extend(puts);
        Ok(())
    }
}

/// Refuses operations of which two change the same key.
pub(crate) fn check(ops: &[pb::RequestOp]) -> Result<(), Status> {
    changes(ops).map(drop)
}

fn changes(ops: &[pb::RequestOp]) -> Result<Changes<'_>, Status> {
    let mut all = Changes::default();
    let requests = || ops.iter().filter_map(|op| op.request.as_ref());
    for request in requests() {
        if let pb::Request::DeleteRange(delete) = request {
            all.deletes.push((&delete.key, &delete.range_end));
        }
    }
    for request in requests() {
        if let pb::Request::Txn(txn) = request {
            let (then, otherwise) = (changes(&txn.success)?, changes(&txn.failure)?);
            all.put(&then.puts, &BTreeSet::new())?;
            all.put(&otherwise.puts, &then.puts)?;
            all.deletes.extend(then.deletes);
            all.deletes.extend(otherwise.deletes);
        }
    }
    for request in requests() {
        if let pb::Request::Put(put) = request {
            all.put(&BTreeSet::from([&put.key[..]]), &BTreeSet::new())?;
        }
    }
    Ok(all)
}
