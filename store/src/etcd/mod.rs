//! The store kept by an etcd cluster, over its v3 gRPC API.
//!
//! Reads are linearizable. A write is one transaction; its result is unknown when the answer is lost, and it is never sent
//! again then. Invariant: what is given back has etcd's own numbers. Non-goals: prefixes, authentication by password.

mod client;
pub mod messages;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::client::{Call, Client};
use self::messages as pb;
pub(crate) use self::watch::EtcdWatch;
use crate::index::{LeaseAsk, LeaseDone};
use crate::{Error, EtcdConfig, Got, KeyValue, Outcome, Range, Ranged, Result, Revision, Transacted, Txn, Write};

/// Keys in one page of a range, as the largest page of kube-apiserver (`pkg/storage/etcd3/store.go@v0.37.2`, maxLimit).
const PAGE: usize = 10_000;
/// How long etcd has to prove its health (`pkg/storage/storagebackend/config.go@v0.37.2`, DefaultHealthcheckTimeout).
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long etcd may take to be there at the start (`pkg/storage/storagebackend/factory/etcd3.go@v0.37.2`, dialTimeout).
const START_TIMEOUT: Duration = Duration::from_secs(20);
const START_RETRY: Duration = Duration::from_millis(50);
/// The key kube-apiserver reads to learn whether etcd serves.
const HEALTH_KEY: &[u8] = b"health";

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";

#[derive(Clone)]
pub(crate) struct Etcd {
    client: Arc<Client>,
    closed: tokio::sync::watch::Sender<bool>,
}

impl Etcd {
    pub(crate) fn new(config: &EtcdConfig) -> Result<Etcd> {
        Ok(Etcd { client: Arc::new(Client::new(config)?), closed: tokio::sync::watch::Sender::new(false) })
    }

    /// Returns when a member answers. A connection that is refused has no event to wait for.
    pub(crate) async fn wait(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        loop {
            match self.revision().await {
                Err(Error::Unavailable(_)) if tokio::time::Instant::now() < deadline => {}
                answered => return answered.map(drop),
            }
            tokio::time::sleep(START_RETRY).await;
        }
    }

    async fn call<Q, A>(&self, path: &'static str, call: Call, request: Q) -> Result<A>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        if *self.closed.borrow() {
            return Err(Error::Closed);
        }
        self.client.call(path, call, request).await
    }

    pub(crate) async fn revision(&self) -> Result<Revision> {
        let request = pb::RangeRequest { key: HEALTH_KEY.to_vec(), count_only: true, ..Default::default() };
        let answer: pb::RangeResponse = self.call(RANGE, Call::Read, request).await?;
        Ok(revision(answer.header))
    }

    pub(crate) async fn get(&self, key: &[u8], at: Revision) -> Result<Got> {
        let request = pb::RangeRequest { key: key.to_vec(), revision: signed(at), ..Default::default() };
        let answer: pb::RangeResponse = self.call(RANGE, Call::Read, request).await?;
        Ok(Got { revision: revision(answer.header), kv: answer.kvs.into_iter().next().map(KeyValue::from) })
    }

    pub(crate) async fn range(&self, range: Range) -> Result<Ranged> {
        let mut ranged = Ranged::default();
        let mut request = pb::RangeRequest {
            key: range.start.to_vec(),
            range_end: range.end.to_vec(),
            revision: signed(range.at),
            keys_only: range.keys_only,
            ..Default::default()
        };
        loop {
            let wanted = if range.limit == 0 { PAGE } else { PAGE.min(range.limit - ranged.items.len()) };
            request.limit = wanted as i64;
            let page: pb::RangeResponse = self.call(RANGE, Call::Read, request.clone()).await?;
            if ranged.revision == 0 {
                // The first page fixes what the others read; only it counts all keys.
                ranged.revision = revision(page.header);
                ranged.count = unsigned(page.count);
                request.revision = signed(if range.at == 0 { ranged.revision } else { range.at });
            }
            ranged.items.extend(page.kvs.into_iter().map(KeyValue::from));
            let last = ranged.items.last().filter(|_| page.more);
            let Some(last) = last.filter(|_| range.limit == 0 || ranged.items.len() < range.limit) else {
                ranged.more = page.more;
                return Ok(ranged);
            };
            request.key = [&last.key[..], b"\0"].concat();
        }
    }

    pub(crate) async fn write(&self, write: Write) -> Result<Outcome> {
        match (write.expect, write.value) {
            (Some(expected), value) => self.compare_and_write(write.key.to_vec(), value, write.lease, expected).await,
            (None, Some(value)) => {
                let answer: pb::PutResponse = self.call(PUT, Call::Write, put(&write.key, value, write.lease)).await?;
                Ok(done(answer.header, answer.prev_kv))
            }
            (None, None) => {
                let answer: pb::DeleteRangeResponse = self.call(DELETE_RANGE, Call::Write, delete(&write.key)).await?;
                Ok(done(answer.header, answer.prev_kvs.into_iter().next()))
            }
        }
    }

    async fn compare_and_write(
        &self,
        key: Vec<u8>,
        value: Option<Bytes>,
        lease: i64,
        expected: Revision,
    ) -> Result<Outcome> {
        let change = match value {
            Some(value) => pb::Request::Put(put(&key, value, lease)),
            None => pb::Request::DeleteRange(delete(&key)),
        };
        let read = pb::Request::Range(pb::RangeRequest { key: key.clone(), ..Default::default() });
        let target = pb::CompareTarget::Mod.into();
        let expected = pb::TargetUnion::ModRevision(signed(expected));
        let request = pb::TxnRequest {
            compare: vec![pb::Compare { target, key, target_union: Some(expected), ..Default::default() }],
            success: vec![pb::RequestOp { request: Some(change) }],
            failure: vec![pb::RequestOp { request: Some(read) }],
        };
        let answer: pb::TxnResponse = self.call(TXN, Call::Write, request).await?;
        let kv = answer.responses.into_iter().next().and_then(|op| match op.response? {
            pb::Response::Range(range) => range.kvs.into_iter().next(),
            pb::Response::Put(put) => put.prev_kv,
            pb::Response::DeleteRange(delete) => delete.prev_kvs.into_iter().next(),
            pb::Response::Txn(_) => None,
        });
        Ok(match answer.succeeded {
            true => done(answer.header, kv),
            false => Outcome::Conflict { revision: revision(answer.header), current: kv.map(KeyValue::from) },
        })
    }

    pub(crate) async fn watch(&self, start: Bytes, end: Bytes, from: Revision) -> Result<EtcdWatch> {
        if *self.closed.borrow() {
            return Err(Error::Closed);
        }
        EtcdWatch::start(self.client.clone(), self.closed.subscribe(), start, end, from).await
    }

    pub(crate) async fn grant_lease(&self, ttl: i64) -> Result<i64> {
        let answer: pb::LeaseGrantResponse =
            self.call(LEASE_GRANT, Call::Write, pb::LeaseGrantRequest { ttl, id: 0 }).await?;
        if answer.error.is_empty() { Ok(answer.id) } else { Err(Error::Unavailable(answer.error)) }
    }

    pub(crate) async fn ask_lease(&self, _: LeaseAsk) -> Result<LeaseDone> {
        Err(Error::Unsupported)
    }

    pub(crate) async fn transact(&self, _: Txn) -> Result<Transacted> {
        Err(Error::Unsupported)
    }

    pub(crate) async fn compact(&self, revision: Revision) -> Result<()> {
        let request = pb::CompactionRequest { revision: signed(revision), physical: false };
        self.call(COMPACT, Call::Write, request).await.map(|pb::Empty {}| ())
    }

    pub(crate) async fn health(&self) -> Result<()> {
        let answer = tokio::time::timeout(HEALTH_TIMEOUT, self.get(HEALTH_KEY, 0)).await;
        answer.map_err(|_| Error::Unavailable("etcd: context deadline exceeded".into()))?.map(|_| ())
    }

    pub(crate) async fn close(&self) -> Result<()> {
        self.closed.send_replace(true);
        Ok(())
    }
}

fn put(key: &[u8], value: Bytes, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: key.to_vec(), value, lease, prev_kv: true, ..Default::default() }
}

fn delete(key: &[u8]) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.to_vec(), prev_kv: true, ..Default::default() }
}

fn done(header: Option<pb::Header>, previous: Option<pb::KeyValue>) -> Outcome {
    Outcome::Done { revision: revision(header), previous: previous.map(KeyValue::from) }
}

fn revision(header: Option<pb::Header>) -> Revision {
    unsigned(header.unwrap_or_default().revision)
}

/// etcd's numbers are signed and never negative.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

impl From<pb::KeyValue> for KeyValue {
    fn from(kv: pb::KeyValue) -> KeyValue {
        KeyValue {
            // Copied out: they are slices of the whole answer, which one kept value would keep.
            key: Bytes::copy_from_slice(&kv.key),
            value: Bytes::copy_from_slice(&kv.value),
            create_revision: unsigned(kv.create_revision),
            mod_revision: unsigned(kv.mod_revision),
            version: unsigned(kv.version),
            lease: kv.lease,
        }
    }
}
