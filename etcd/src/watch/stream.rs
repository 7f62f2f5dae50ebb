//! The task of one stream of watches.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use store::etcdserverpb as pb;
use store::{Error, Event, EventKind, Revision, Watch, Watched};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, Instant, interval_at};
use tonic::{Status, Streaming};

use super::fragment::fragments;
use crate::server::{Server, revision, signed};
use crate::status::{self, refuse};

/// The number of no watch (`client/v3/watch.go@v3.7.3`, InvalidWatchID).
const NO_WATCH: i64 = -1;
/// Texts of `server/storage/mvcc/watcher.go@v3.7.3`.
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
/// What a request of gRPC may have more than etcd's own limit (`server/config/config.go@v3.7.3`, grpcOverheadBytes).
pub(crate) const OVERHEAD_BYTES: usize = 512 * 1024;

type Out = mpsc::Sender<Result<pb::WatchResponse, Status>>;

/// The client is gone.
struct Gone;

/// What a watch had to tell: its number, its serial number, itself.
type Told = Result<(i64, u64, Watch, store::Result<Watched>), Aborted>;

/// A watch of the stream.
struct Watcher {
    /// Tells watches of the same number apart.
    serial: u64,
    /// Asks the store for progress.
    ask: Arc<Notify>,
    task: AbortHandle,
    request: pb::WatchCreateRequest,
    /// The store's revision when it was made: events up to it are of the past.
    made: Revision,
    /// Progress is due at the next tick: no event was told since the last one.
    idle: bool,
    /// Progress of its own was asked for.
    asked: bool,
    /// A compaction ended it; the client still has to cancel it.
    ended: bool,
}

/// Progress of all watches, being gathered.
struct Gathering {
    missing: BTreeSet<i64>,
    revision: Revision,
    /// It was asked for once more meanwhile.
    again: bool,
}

struct Stream {
    server: Arc<Server>,
    out: Out,
    watchers: HashMap<i64, Watcher>,
    told: FuturesUnordered<BoxFuture<'static, Told>>,
    next_id: i64,
    serial: u64,
    gathering: Option<Gathering>,
}

/// Serves a stream until the client or the server ends it.
pub(super) async fn run(server: Arc<Server>, requests: Streaming<pb::WatchRequest>, out: Out) {
    server.metrics.watch_streams.inc();
    let stop = server.stop.clone();
    let mut stream = Stream {
        server: server.clone(),
        out: out.clone(),
        watchers: HashMap::new(),
        told: FuturesUnordered::new(),
        next_id: 0,
        serial: 0,
        gathering: None,
    };
    tokio::select! {
        _ = stream.serve(requests) => {}
        () = out.closed() => {}
        () = stop.cancelled() => {
            // A client that does not read learns it from its connection.
            let _ = out.try_send(Err(refuse(status::STOPPED)));
        }
    }
    let live = stream.watchers.values().filter(|watcher| !watcher.ended).count();
    server.metrics.watchers.sub(signed(live as u64));
    server.metrics.watch_streams.dec();
}

/// etcd's period with up to a tenth more, so that streams begun together do not tell progress together.
fn period(server: &Server) -> Duration {
    let period = server.progress_interval.max(Duration::from_millis(100));
    period + period.mul_f64(rand::random::<f64>() / 10.0)
}

impl Stream {
    async fn serve(&mut self, mut requests: Streaming<pb::WatchRequest>) -> Result<(), Gone> {
        let period = period(&self.server);
        let mut ticks = interval_at(Instant::now() + period, period);
        loop {
            tokio::select! {
                request = requests.next() => match request {
                    Some(Ok(request)) => self.request(request).await?,
                    Some(Err(_)) | None => return Ok(()),
                },
                Some(told) = self.told.next(), if !self.told.is_empty() => self.tell(told).await?,
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    async fn request(&mut self, request: pb::WatchRequest) -> Result<(), Gone> {
        match request.request {
            Some(pb::WatchUnion::Create(create)) => self.create(create).await,
            Some(pb::WatchUnion::Cancel(cancel)) => self.cancel(cancel.watch_id).await,
            Some(pb::WatchUnion::Progress(_)) => {
                self.gather();
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn send(&mut self, response: pb::WatchResponse) -> Result<(), Gone> {
        self.out.send(Ok(response)).await.map_err(|_| Gone)
    }

    /// The response of now for a watch.
    async fn response(&mut self, watch_id: i64) -> Result<pb::WatchResponse, Gone> {
        let header = self.server.header_now().await.map_err(|_| Gone)?;
        Ok(pb::WatchResponse { header, watch_id, ..Default::default() })
    }

    async fn create(&mut self, mut request: pb::WatchCreateRequest) -> Result<(), Gone> {
        if request.key.is_empty() {
            request.key = vec![0];
        }
        let refused = if request.start_revision < 0 {
            Some(status::COMPACTED.1)
        } else if !matches!(&request.range_end[..], b"" | b"\0") && request.key >= request.range_end {
            Some(EMPTY_RANGE)
        } else if request.watch_id != 0 && self.watchers.contains_key(&request.watch_id) {
            Some(DUPLICATE_ID)
        } else {
            None
        };
        if let Some(reason) = refused {
            let response = self.response(NO_WATCH).await?;
            let cancel_reason = reason.to_owned();
            return self.send(pb::WatchResponse { created: true, canceled: true, cancel_reason, ..response }).await;
        }
        let (start, end) = (Bytes::copy_from_slice(&request.key), Bytes::copy_from_slice(&request.range_end));
        let watch = self.server.store.watch(start, end, revision(request.start_revision)).await.map_err(|_| Gone)?;
        let id = self.number(request.watch_id);
        let response = self.response(id).await?;
        let made = response.header.map_or(0, |header| revision(header.revision));
        self.send(pb::WatchResponse { created: true, ..response }).await?;
        self.add(id, request, made, watch);
        Ok(())
    }

    /// The number asked for, or the next free one.
    fn number(&mut self, asked: i64) -> i64 {
        if asked != 0 {
            return asked;
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn add(&mut self, id: i64, request: pb::WatchCreateRequest, made: Revision, watch: Watch) {
        let (task, _) = AbortHandle::new_pair();
        self.serial += 1;
        let (serial, ask) = (self.serial, Arc::default());
        let watcher = Watcher { serial, ask, task, request, made, idle: true, asked: false, ended: false };
        self.watchers.insert(id, watcher);
        self.server.metrics.watchers.inc();
        self.read(id, watch);
        // What is being gathered is told for this one as well.
        if let (Some(gathering), Some(watcher)) = (&mut self.gathering, self.watchers.get(&id)) {
            gathering.missing.insert(id);
            watcher.ask.notify_one();
        }
    }

    /// Waits for what a watch tells next.
    fn read(&mut self, id: i64, mut watch: Watch) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        let (ask, serial) = (watcher.ask.clone(), watcher.serial);
        let next = async move {
            loop {
                tokio::select! {
                    told = watch.next() => return (id, serial, watch, told),
                    () = ask.notified() => watch.request_progress(),
                }
            }
        };
        let (handle, registration) = AbortHandle::new_pair();
        watcher.task = handle;
        self.told.push(Box::pin(Abortable::new(next, registration)));
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        let Some(watcher) = self.watchers.remove(&id) else { return Ok(()) };
        watcher.task.abort();
        if !watcher.ended {
            self.server.metrics.watchers.dec();
        }
        let response = self.response(id).await?;
        self.send(pb::WatchResponse { canceled: true, ..response }).await?;
        self.gathered(id, Revision::MAX).await
    }

    async fn tell(&mut self, told: Told) -> Result<(), Gone> {
        let Ok((id, serial, watch, told)) = told else { return Ok(()) };
        if self.watchers.get(&id).is_none_or(|watcher| watcher.serial != serial) {
            return Ok(());
        }
        match told {
            Ok(Watched::Events(events)) => self.events(id, events).await?,
            Ok(Watched::Progress(revision)) => self.progress(id, revision).await?,
            Err(Error::Compacted { compact_revision }) => return self.compacted(id, compact_revision).await,
            Err(_) => return Err(Gone),
        }
        self.read(id, watch);
        Ok(())
    }

    async fn events(&mut self, id: i64, events: Vec<Event>) -> Result<(), Gone> {
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
        let last = events.last().map_or(0, |event| event.kv.mod_revision);
        let request = &watcher.request;
        let events: Vec<_> = events.into_iter().filter_map(|event| wanted(request, event)).collect();
        if events.is_empty() {
            return Ok(());
        }
        watcher.idle = false;
        self.server.metrics.events.inc_by(events.len() as u64);
        let (fragmented, past) = (request.fragment, last <= watcher.made);
        // As etcd: a watch that catches up is told the revision of now, one that follows that of the events.
        let header = if past { self.response(id).await?.header } else { self.server.header(last) };
        let response = pb::WatchResponse { header, watch_id: id, events, ..Default::default() };
        if !fragmented {
            return self.send(response).await;
        }
        for part in fragments(response, self.server.max_request_bytes + OVERHEAD_BYTES) {
            self.send(part).await?;
        }
        Ok(())
    }

    /// A compaction took events that the watch still had to tell.
    async fn compacted(&mut self, id: i64, compact_revision: Revision) -> Result<(), Gone> {
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.ended = true;
            self.server.metrics.watchers.dec();
        }
        let compact_revision = signed(compact_revision);
        let header = self.server.header(0);
        let response =
            pb::WatchResponse { header, watch_id: id, canceled: true, compact_revision, ..Default::default() };
        self.send(response).await?;
        self.gathered(id, Revision::MAX).await
    }

    async fn progress(&mut self, id: i64, revision: Revision) -> Result<(), Gone> {
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
        let begun = signed(revision) >= watcher.request.start_revision;
        if std::mem::take(&mut watcher.asked) && begun {
            let header = self.server.header(revision);
            self.send(pb::WatchResponse { header, watch_id: id, ..Default::default() }).await?;
        }
        // As etcd: a watch that begins later keeps all from being told.
        self.gathered(id, if begun { revision } else { 0 }).await
    }

    /// Asks all watches for their progress, to tell what all have.
    fn gather(&mut self) {
        if let Some(gathering) = &mut self.gathering {
            gathering.again = true;
            return;
        }
        // etcd tells nothing while a watch is not up to date, and one that was compacted away never is.
        if self.watchers.is_empty() || self.watchers.values().any(|watcher| watcher.ended) {
            return;
        }
        self.watchers.values().for_each(|watcher| watcher.ask.notify_one());
        let missing = self.watchers.keys().copied().collect();
        self.gathering = Some(Gathering { missing, revision: Revision::MAX, again: false });
    }

    /// Notes how far a watch is; tells when all are known.
    async fn gathered(&mut self, id: i64, revision: Revision) -> Result<(), Gone> {
        let Some(gathering) = &mut self.gathering else { return Ok(()) };
        if gathering.missing.remove(&id) {
            gathering.revision = gathering.revision.min(revision);
        }
        if !gathering.missing.is_empty() {
            return Ok(());
        }
        let (revision, again) = (gathering.revision, gathering.again);
        self.gathering = None;
        if revision != 0 && revision != Revision::MAX {
            let header = self.server.header(revision);
            self.send(pb::WatchResponse { header, watch_id: NO_WATCH, ..Default::default() }).await?;
        }
        if again {
            self.gather();
        }
        Ok(())
    }

    /// Asks watches that had nothing to tell since the last tick for their progress.
    fn tick(&mut self) {
        for watcher in self.watchers.values_mut().filter(|watcher| watcher.request.progress_notify && !watcher.ended) {
            if watcher.idle {
                watcher.asked = true;
                watcher.ask.notify_one();
            }
            watcher.idle = true;
        }
    }
}

/// An event as a watch tells it, if it does.
fn wanted(request: &pb::WatchCreateRequest, event: Event) -> Option<pb::Event> {
    let (kind, filter) = match event.kind {
        EventKind::Put => (pb::EventType::Put, pb::FilterType::NoPut),
        EventKind::Delete => (pb::EventType::Delete, pb::FilterType::NoDelete),
    };
    if request.filters.contains(&filter.into()) {
        return None;
    }
    let prev_kv = event.previous.filter(|_| request.prev_kv).map(Into::into);
    Some(pb::Event { kind: kind.into(), kv: Some(event.kv.into()), prev_kv })
}
