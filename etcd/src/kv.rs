//! The KV service: reads and writes (`server/etcdserver/api/v3rpc/key.go@v3.7.3`).

use std::sync::Arc;

use futures::Stream;
use prost::Message;
use store::etcdserverpb as pb;
use store::{Answer, Op, Ranged, Txn};
use tonic::Status;

use crate::server::Server;
use crate::status::{self, refuse};
use crate::{range, txn};

/// What etcd's log puts around a request at most: its tag and length, and a header with the request's number.
const ENVELOPE_BYTES: usize = 20;
/// Keys in the first chunk of a stream (`server/etcdserver/v3_server.go@v3.7.3`, initialStreamChunkLimit).
const FIRST_CHUNK: usize = 10;

type Result<T> = std::result::Result<T, Status>;

/// Refuses what etcd would not put in its log.
fn within(server: &Server, request: &impl Message) -> Result<()> {
    match request.encoded_len() + ENVELOPE_BYTES > server.max_request_bytes {
        true => Err(refuse(status::REQUEST_TOO_LARGE)),
        false => Ok(()),
    }
}

async fn read(server: &Server, request: &pb::RangeRequest) -> Result<Ranged> {
    server.metrics.ranges.inc();
    server.store.range(range::query(request)).await.map_err(|error| status::of(&error))
}

pub(crate) async fn range(server: Arc<Server>, request: pb::RangeRequest) -> Result<pb::RangeResponse> {
    range::check(&request)?;
    let ranged = read(&server, &request).await?;
    let header = server.header(ranged.revision);
    Ok(pb::RangeResponse { header, ..range::answer(&request, ranged) })
}

pub(crate) async fn put(server: Arc<Server>, request: pb::PutRequest) -> Result<pb::PutResponse> {
    txn::check_put(&request)?;
    within(&server, &request)?;
    let done = server.transact(Txn::always(txn::put(&request))).await?;
    server.metrics.puts.inc();
    let previous = done.answers.into_iter().find_map(|answer| match answer {
        Answer::Put { previous, .. } => previous,
        _ => None,
    });
    let prev_kv = previous.filter(|_| request.prev_kv).map(Into::into);
    Ok(pb::PutResponse { header: server.header(done.revision), prev_kv })
}

pub(crate) async fn delete_range(
    server: Arc<Server>,
    request: pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse> {
    txn::check_delete(&request)?;
    within(&server, &request)?;
    let done = server.transact(Txn::always(txn::delete(&request))).await?;
    server.metrics.deletes.inc();
    let previous = done.answers.into_iter().find_map(|answer| match answer {
        Answer::Delete { previous, .. } => Some(previous),
        _ => None,
    });
    Ok(txn::deleted(&request, previous.unwrap_or_default(), server.header(done.revision)))
}

pub(crate) async fn txn(server: Arc<Server>, request: pb::TxnRequest) -> Result<pb::TxnResponse> {
    txn::check(&request, server.max_txn_ops)?;
    let asked = txn::ask(&request);
    if asked.success.iter().chain(&asked.failure).any(|op| !matches!(op, Op::Range(_))) {
        within(&server, &request)?;
    }
    let done = server.transact(asked).await?;
    server.metrics.txns.inc();
    let header = server.header(done.revision);
    Ok(txn::answer(&request, done, header))
}

pub(crate) async fn compact(server: Arc<Server>, request: pb::CompactionRequest) -> Result<pb::HeaderResponse> {
    let revision = u64::try_from(request.revision).map_err(|_| refuse(status::COMPACTED))?;
    server.store.compact(revision).await.map_err(|error| status::of(&error))?;
    Ok(pb::HeaderResponse { header: server.header_now().await? })
}

/// A range in chunks, all of one revision; the last one has the header and the count.
pub(crate) async fn range_stream(
    server: Arc<Server>,
    request: pb::RangeRequest,
) -> Result<impl Stream<Item = Result<pb::RangeStreamResponse>> + Send + 'static> {
    range::check(&request)?;
    if !range::in_key_order(request.sort_target(), request.sort_order()) {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    if range::has_filters(&request) {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    let ranged = read(&server, &request).await?;
    let revision = ranged.revision;
    let whole = pb::RangeResponse { header: server.header(revision), ..range::answer(&request, ranged) };
    let chunks = Chunks { whole: Some(whole), size: FIRST_CHUNK, target: server.max_request_bytes };
    Ok(futures::stream::iter(chunks))
}

/// Cuts an answer into chunks near a size, as etcd's adjustChunkLimit does.
struct Chunks {
    whole: Option<pb::RangeResponse>,
    /// Keys in the next chunk.
    size: usize,
    /// Bytes.
    target: usize,
}

impl Iterator for Chunks {
    type Item = Result<pb::RangeStreamResponse>;

    fn next(&mut self) -> Option<Self::Item> {
        let whole = self.whole.as_mut()?;
        if whole.kvs.len() <= self.size {
            return Some(Ok(pb::RangeStreamResponse { range_response: self.whole.take() }));
        }
        let rest = whole.kvs.split_off(self.size);
        let chunk = pb::RangeResponse { kvs: std::mem::replace(&mut whole.kvs, rest), ..Default::default() };
        let bytes = chunk.encoded_len();
        if bytes < self.target / 2 {
            self.size *= 2;
        } else if bytes > self.target * 2 {
            self.size = (self.size / 2).max(1);
        }
        Some(Ok(pb::RangeStreamResponse { range_response: Some(chunk) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::signed;

    #[test]
    fn chunks_grow_to_the_size_wanted() {
        let kv = |n: u32| pb::KeyValue { key: n.to_be_bytes().to_vec().into(), ..Default::default() };
        let whole = pb::RangeResponse { kvs: (0..100).map(kv).collect(), count: signed(100), ..Default::default() };
        let chunks = Chunks { whole: Some(whole), size: FIRST_CHUNK, target: 400 };
        let chunks: Vec<_> = chunks.map(|chunk| chunk.expect("a chunk").range_response.expect("an answer")).collect();
        let sizes: Vec<_> = chunks.iter().map(|chunk| (chunk.kvs.len(), chunk.count)).collect();
        // A key is 8 bytes: 10 and 20 of them are less than half of what is wanted, 40 are not.
        assert_eq!(sizes, [(10, 0), (20, 0), (40, 0), (30, 100)]);
        let keys: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.kvs).map(|kv| kv.key).collect();
        assert!(keys.is_sorted() && keys.len() == 100);
    }
}
