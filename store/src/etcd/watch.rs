//! A watch on etcd: one stream, read only as fast as it is asked for, taken up again where it broke.
//!
//! Invariants: a stream is resumed after the last revision that was given back, so nothing is lost or repeated; progress is
//! passed on in the order it came in the stream. etcd drops a request for progress while the watch is behind, so it is asked
//! again until it answers. Non-goal: sharing a stream, as progress is then told for all watches of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, Streaming};

use super::client::Client;
use super::messages as pb;
use super::{revision, signed, unsigned};
use crate::{Error, Event, EventKind, KeyValue, Result, Revision, Watched};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// How long to wait for progress before asking again, as kube-apiserver does
/// (`pkg/storage/cacher/progress/watch_progress.go@v0.37.2`, progressRequestPeriod).
const PROGRESS_RETRY: Duration = Duration::from_millis(100);
/// Pauses between attempts to take up a broken stream.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct EtcdWatch {
    client: Arc<Client>,
    closed: watch::Receiver<bool>,
    start: Bytes,
    end: Bytes,
    /// The first revision not given back yet; 0 is not known yet.
    next: Revision,
    live: Option<Live>,
    /// Progress was asked for and has not come.
    wanted: AtomicBool,
}

struct Live {
    requests: UnboundedSender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
    /// The beginning of a response that comes in parts.
    fragments: Vec<Event>,
}

impl EtcdWatch {
    pub(crate) async fn start(
        client: Arc<Client>,
        closed: watch::Receiver<bool>,
        start: Bytes,
        end: Bytes,
        from: Revision,
    ) -> Result<EtcdWatch> {
        let mut watch =
            EtcdWatch { client, closed, start, end, next: from, live: None, wanted: AtomicBool::new(false) };
        for _ in 0..watch.client.members() {
            if watch.attempt().await.is_ok() {
                return Ok(watch);
            }
        }
        watch.attempt().await.map_err(|status| watch.client.meaning(&status))?;
        Ok(watch)
    }

    pub(crate) fn request_progress(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        self.ask();
    }

    fn ask(&self) {
        if let Some(live) = &self.live {
            let request = pb::WatchRequest { request: Some(pb::WatchUnion::Progress(pb::Empty {})) };
            // Of a stream that has ended the next read tells.
            let _ = live.requests.unbounded_send(request);
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Watched> {
        let mut closed = self.closed.clone();
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(Error::Closed),
            watched = self.read() => watched,
        }
    }

    async fn read(&mut self) -> Result<Watched> {
        loop {
            let wanted = self.wanted.load(Ordering::Relaxed);
            let Some(live) = &mut self.live else {
                self.connect().await?;
                continue;
            };
            let message = live.responses.message();
            let message = match wanted {
                true => timeout_at(Instant::now() + PROGRESS_RETRY, message).await,
                false => Ok(message.await),
            };
            match message {
                Err(_) => self.ask(),
                Ok(Ok(Some(response))) => match self.take(response)? {
                    Some(watched) => return Ok(watched),
                    None => continue,
                },
                Ok(Ok(None)) => self.broke(&Status::unavailable("the stream ended"))?,
                Ok(Err(status)) => self.broke(&status)?,
            }
        }
    }

    /// What a response of a created watch tells.
    fn take(&mut self, response: pb::WatchResponse) -> Result<Option<Watched>> {
        if response.canceled {
            self.cancelled(&response)?;
            return Ok(None);
        }
        let live = self.live.as_mut().expect("it was just read from");
        if response.events.is_empty() && !response.fragment && live.fragments.is_empty() {
            let progress = revision(response.header);
            self.next = self.next.max(progress + 1);
            self.wanted.store(false, Ordering::Relaxed);
            return Ok(Some(Watched::Progress(progress)));
        }
        live.fragments.extend(response.events.into_iter().filter_map(event));
        if response.fragment {
            return Ok(None);
        }
        let events = std::mem::take(&mut live.fragments);
        self.next = events.last().map_or(self.next, |event| event.kv.mod_revision + 1);
        Ok(Some(Watched::Events(events)))
    }

    /// etcd ended the watch.
    fn cancelled(&mut self, response: &pb::WatchResponse) -> Result<()> {
        if response.compact_revision > 0 {
            return Err(Error::Compacted { compact_revision: unsigned(response.compact_revision) });
        }
        self.broke(&Status::unavailable(response.cancel_reason.clone()))
    }

    /// Lets go of a stream; an error if another one would fare no better.
    fn broke(&mut self, status: &Status) -> Result<()> {
        self.live = None;
        let lasting = matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument);
        if lasting {
            return Err(self.client.meaning(status));
        }
        tracing::warn!(%status, next = self.next, "the watch on etcd broke; taking it up again");
        Ok(())
    }

    /// Takes up a stream that broke, however long that takes.
    async fn connect(&mut self) -> Result<()> {
        let mut pause = MIN_PAUSE;
        while let Err(status) = self.attempt().await {
            self.broke(&status)?;
            tokio::time::sleep(pause).await;
            pause = MAX_PAUSE.min(pause * 2);
        }
        Ok(())
    }

    async fn attempt(&mut self) -> std::result::Result<(), Status> {
        let created = self.create().await.inspect_err(|_| self.client.pass_over())?;
        let now = created.1;
        self.live = Some(created.0);
        self.next = if self.next == 0 { now + 1 } else { self.next };
        Ok(())
    }

    /// Opens a stream and waits until etcd has registered the watch; gives etcd's revision then.
    async fn create(&self) -> std::result::Result<(Live, Revision), Status> {
        let create = pb::WatchCreateRequest {
            key: self.start.to_vec(),
            range_end: self.end.to_vec(),
            start_revision: signed(self.next),
            progress_notify: true,
            prev_kv: true,
            fragment: true,
            ..Default::default()
        };
        let (requests, queue) = unbounded();
        let _ = requests.unbounded_send(pb::WatchRequest { request: Some(pb::WatchUnion::Create(create)) });
        let mut responses: Streaming<pb::WatchResponse> = self.client.stream(WATCH, queue).await?;
        match responses.message().await? {
            Some(created) if created.created && !created.canceled => {
                Ok((Live { requests, responses, fragments: Vec::new() }, revision(created.header)))
            }
            Some(refused) => Err(Status::unavailable(refused.cancel_reason)),
            None => Err(Status::unavailable("the stream ended")),
        }
    }
}

fn event(event: pb::Event) -> Option<Event> {
    let kind = if event.kind() == pb::EventType::Delete { EventKind::Delete } else { EventKind::Put };
    Some(Event { kind, kv: event.kv?.into(), previous: event.prev_kv.map(KeyValue::from) })
}
