//! The Watch service: many watches in one stream (`server/etcdserver/api/v3rpc/watch.go@v3.7.3`).
//!
//! A stream is one task that owns its watches and reads the store for one response at a time, so a client that does not read holds
//! up nothing but itself. Invariants: a watch is announced before its events; progress is told only after every event up to its
//! revision, of all watches of the stream if it is told for all.

mod fragment;
mod stream;

use std::sync::Arc;

use futures::Stream;
use store::etcdserverpb as pb;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

pub(crate) use self::stream::OVERHEAD_BYTES;
use crate::server::Server;

/// Responses made and not sent yet.
const QUEUE: usize = 16;

/// Serves one stream.
pub(crate) fn watch(
    server: Arc<Server>,
    requests: Streaming<pb::WatchRequest>,
) -> impl Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static {
    let (out, mut responses) = mpsc::channel(QUEUE);
    server.tasks.spawn(stream::run(server.clone(), requests, out));
    futures::stream::poll_fn(move |context| responses.poll_recv(context))
}
