//! WATCH: from the cache's history and live events, bookmarks computed from what this watcher was sent
//! (k8s.io/apiserver/pkg/storage/cacher/{cacher,cache_watcher}.go, endpoints/handlers/watch.go@v0.37.2).
//!
//! Invariant: events in revision order, each once; a bookmark never promises more than was delivered;
//! a watcher that lags too far is ended, never skipped ahead.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use api::value::{Map, Value};
use api::{map, object, proto};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, Sleep};

use super::list::unlistable;
use super::options::{self, Match};
use super::select::Selection;
use super::unreadable::reinitializing;
use super::{Call, show};
use crate::cache::{Change, Event, Item, Registration, Seen, json_frame, proto_frame};
use crate::hub::Hub;
use crate::negotiate::{Accepted, Format, Shape};
use crate::registry::{Entry, Storage};
use crate::respond::{self, Body, BoxError};
use crate::table;

/// Time between bookmarks (cacher.go: bookmarkFrequency).
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// As good as never.
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Bytes of events sent at once.
const CHUNK_BYTES: usize = 32 * 1024;
/// The end of the initial events of a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What it costs to wake one watcher and to send it something.
const WAKE_COST: Duration = Duration::from_micros(50);
/// A crowd of watchers rests between two sendings for as long as a sending to all of them takes, so that what happens
/// meanwhile goes out together: not when that is not worth a timer, and never for longer than nobody notices.
const REST_MIN: Duration = Duration::from_millis(2);
const REST_MAX: Duration = Duration::from_millis(20);

/// Events that wait for a conversion webhook at the most.
const AHEAD_EVENTS_MAX: usize = 500;

/// What is to be sent once a conversion webhook was asked.
enum Ahead {
    Frame(Bytes),
    Event(Seen, Arc<Item>),
}

/// One watcher.
struct Watcher {
    hub: Arc<Hub>,
    entry: Arc<Entry>,
    storage: Arc<Storage>,
    selection: Selection,
    accepted: Accepted,
    now: String,
    table_header: bool,
    include_object: String,
    pending: VecDeque<Bytes>,
    /// What comes after `pending`; used when a webhook converts.
    ahead: VecDeque<Ahead>,
    registration: Registration,
    past: VecDeque<Arc<Event>>,
    /// Everything up to here was delivered.
    delivered: u64,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    /// Until when it rests once it has sent all there was.
    rests: Option<Instant>,
    /// Rings at the next bookmark or at the end; kept, as setting it up anew costs more than an event.
    alarm: Pin<Box<Sleep>>,
    done: bool,
}

impl Call<'_> {
    pub(crate) async fn watch(&self) -> Result<Response<Body>, Status> {
        let storage = self.storage()?.clone();
        let options = options::List::of(&self.info.query, true)?;
        let selection = Selection::of(self.entry, self.info)?;
        let initial = match (options.send_initial, options.revision) {
            (Some(send), _) => send,
            // Without a resourceVersion, or with 0, a watch starts with the state as it is.
            (None, None | Some(0)) => true,
            (None, Some(_)) => false,
        };
        let mark_end = options.send_initial == Some(true) && options.bookmarks;
        let at = match options.revision {
            Some(revision) if revision > 0 && (initial || options.matching == Match::NotOlderThan) => {
                self.hub().wait(revision).await?
            }
            Some(0) if options.send_initial.is_none() => self.hub().applied(),
            Some(revision) if revision > 0 => revision,
            _ => self.hub().fresh().await?,
        };
        let (items, registration) = if initial {
            storage.cache.snapshot(&selection.prefix)
        } else {
            match storage.cache.register(at) {
                Ok(registration) => (Vec::new(), registration),
                Err(oldest) => return Ok(self.too_old(at, oldest)),
            }
        };
        // Asked last: whoever is registered by now is ended when something unreadable comes.
        if !storage.cache.is_readable() {
            return Err(reinitializing(&storage));
        }
        let mut watcher = self.watcher(storage, selection, &options, registration, at);
        let first = items.first().cloned();
        watcher.start(items, mark_end);
        if !watcher.ahead.is_empty()
            && let Err(status) = watcher.convert_ahead().await
        {
            return Err(unlistable(self.entry, &watcher.storage, first.as_ref(), status));
        }
        Ok(self.stream(watcher))
    }

    fn watcher(
        &self,
        storage: Arc<Storage>,
        selection: Selection,
        options: &options::List,
        mut registration: Registration,
        at: u64,
    ) -> Watcher {
        let timeout = options.timeout.unwrap_or_else(|| some_time(self.api.times.min_request));
        let now = Instant::now();
        Watcher {
            hub: self.api.hub.clone(),
            entry: self.entry.clone(),
            storage,
            selection,
            accepted: self.accepted.clone(),
            now: self.now.clone(),
            table_header: self.accepted.shape != Shape::Whole && !self.info.query.flag("noHeaders"),
            include_object: self.info.query.get("includeObject").to_string(),
            pending: VecDeque::new(),
            ahead: VecDeque::new(),
            past: std::mem::take(&mut registration.past).into(),
            registration,
            delivered: at,
            bookmarks: options.bookmarks,
            next_bookmark: now
                + BOOKMARK_PERIOD.min(timeout.saturating_sub(Duration::from_secs(2)).max(Duration::from_secs(1))),
            ends: now + timeout,
            rests: None,
            alarm: Box::pin(tokio::time::sleep_until(now)),
            done: false,
        }
    }

    /// A watch from a revision that is gone: one ERROR event, as upstream's watch cache answers.
    fn too_old(&self, at: u64, oldest: u64) -> Response<Body> {
        let status = Status::expired(format!("too old resource version: {at} ({oldest})"));
        let frame = error_frame(&status, self.accepted.format);
        respond::response(200, &self.accepted.content_type(true), respond::full(frame))
    }

    fn stream(&self, watcher: Watcher) -> Response<Body> {
        let frames = stream::unfold(watcher, |mut watcher| async move {
            let frame = watcher.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(frame)), watcher))
        });
        respond::response(200, &self.accepted.content_type(true), StreamBody::new(frames).boxed_unsync())
    }
}

impl Watcher {
    /// Queues the initial events and, for a streaming list, the bookmark that ends them.
    fn start(&mut self, items: Vec<Arc<Item>>, mark_end: bool) {
        for item in items {
            self.delivered = self.delivered.max(item.revision);
            if self.selection.matches(&item, &self.storage) {
                self.show(Seen::Added, &item);
            }
        }
        if mark_end {
            let frame = self.bookmark(true);
            self.queue(frame);
        }
    }

    fn queue(&mut self, frame: Bytes) {
        match self.ahead.is_empty() {
            true => self.pending.push_back(frame),
            false => self.ahead.push_back(Ahead::Frame(frame)),
        }
    }

    fn show(&mut self, seen: Seen, item: &Arc<Item>) {
        if self.entry.asks() {
            return self.ahead.push_back(Ahead::Event(seen, item.clone()));
        }
        let frame = self.encode(seen, item);
        self.pending.push_back(frame);
    }

    /// Asks the conversion webhook once for all that waits.
    async fn convert_ahead(&mut self) -> Result<(), Status> {
        let ahead: Vec<Ahead> = self.ahead.drain(..).collect();
        let stored = ahead.iter().filter_map(|ahead| match ahead {
            Ahead::Event(_, item) => Some(item.object(&self.storage)),
            Ahead::Frame(_) => None,
        });
        let stored: Vec<Map> = stored.collect();
        let mut objects = self.entry.shown(stored, &*self.hub).await?.into_iter();
        for ahead in ahead {
            let frame = match ahead {
                Ahead::Frame(frame) => Some(frame),
                Ahead::Event(seen, item) => objects.next().map(|whole| shaped(self, seen, item.revision, whole)),
            };
            self.pending.extend(frame);
        }
        Ok(())
    }

    /// The next bytes; `None` ends the watch. Everything that is ready goes out at once: a busy watch
    /// costs one write for many events, a quiet one still gets each event immediately.
    async fn next(&mut self) -> Option<Bytes> {
        while self.pending.is_empty() {
            if !self.ahead.is_empty() {
                self.gather();
                // A failure ends the watch, and is told.
                if let Err(status) = self.convert_ahead().await {
                    self.pending.push_back(error_frame(&status, self.accepted.format));
                    self.done = true;
                }
                continue;
            }
            if self.done {
                return None;
            }
            match self.past.pop_front() {
                Some(event) => self.deliver(&event),
                None => match self.live().await? {
                    Live::Event(event) => self.deliver(&event),
                    Live::Bookmark => self.due_bookmark(),
                },
            }
        }
        if !self.entry.asks() {
            self.gather();
        }
        self.rests = rest(self.registration.crowd()).map(|rest| Instant::now() + rest);
        Some(self.joined())
    }

    /// Takes in what else is ready, up to a chunk.
    fn gather(&mut self) {
        let mut bytes: usize = self.pending.iter().map(Bytes::len).sum();
        while bytes < CHUNK_BYTES && self.ahead.len() < AHEAD_EVENTS_MAX && !self.done {
            let event = match self.past.pop_front() {
                Some(event) => event,
                None => match self.registration.live.try_recv() {
                    Ok(event) => event,
                    // A lag shows again at the next receive, after what is pending was sent.
                    Err(TryRecvError::Empty) => return,
                    Err(_) => {
                        self.done = true;
                        return;
                    }
                },
            };
            let before = self.pending.len();
            self.deliver(&event);
            bytes += self.pending.iter().skip(before).map(Bytes::len).sum::<usize>();
        }
    }

    /// Pending frames as one piece of at most a chunk (or one frame).
    fn joined(&mut self) -> Bytes {
        let first = self.pending.pop_front().unwrap_or_default();
        if self.pending.is_empty() {
            return first;
        }
        let mut joined = BytesMut::with_capacity(CHUNK_BYTES);
        joined.put_slice(&first);
        while let Some(frame) = self.pending.front()
            && joined.len() + frame.len() <= CHUNK_BYTES
        {
            joined.put_slice(frame);
            self.pending.pop_front();
        }
        joined.freeze()
    }

    async fn live(&mut self) -> Option<Live> {
        if let Some(until) = self.rests.take() {
            match self.registration.live.try_recv() {
                Ok(event) => return Some(Live::Event(event)),
                Err(TryRecvError::Empty) => {}
                Err(_) => return None,
            }
            self.alarm.as_mut().reset(until);
            self.alarm.as_mut().await;
        }
        let wake = if self.bookmarks { self.next_bookmark.min(self.ends) } else { self.ends };
        if self.alarm.deadline() != wake {
            self.alarm.as_mut().reset(wake);
        }
        tokio::select! {
            biased;
            event = self.registration.live.recv() => match event {
                Ok(event) => Some(Live::Event(event)),
                Err(RecvError::Lagged(_) | RecvError::Closed) => None,
            },
            () = &mut self.alarm => {
                if Instant::now() >= self.ends { None } else { Some(Live::Bookmark) }
            }
        }
    }

    fn deliver(&mut self, event: &Arc<Event>) {
        if event.revision <= self.delivered && event.revision != 0 {
            return;
        }
        self.delivered = event.revision;
        let Some(seen) = self.seen(event) else { return };
        if self.entry.asks() {
            return self.show(seen, &event.shown(seen));
        }
        let shared = self.accepted.shape == Shape::Whole && self.entry.is_storage_version();
        let frame = match self.accepted.format {
            Format::Json | Format::Protobuf if shared => {
                let protobuf = self.accepted.format == Format::Protobuf;
                event.frame(seen, protobuf, || self.encode(seen, &event.shown(seen)))
            }
            _ => self.encode(seen, &event.shown(seen)),
        };
        self.pending.push_back(frame);
    }

    /// What this watcher sees of an event: an object may enter or leave its selection.
    fn seen(&self, event: &Event) -> Option<Seen> {
        let is = |item: &Arc<Item>| self.selection.matches(item, &self.storage);
        if self.selection.is_plain() {
            return is(&event.item).then(|| event.plain());
        }
        let was = event.previous.as_ref().is_some_and(is);
        match (event.change, was, event.change == Change::Put && is(&event.item)) {
            (Change::Delete, true, _) | (Change::Put, true, false) => Some(Seen::Deleted),
            (Change::Put, false, true) => Some(Seen::Added),
            (Change::Put, true, true) => Some(Seen::Modified),
            _ => None,
        }
    }

    fn encode(&mut self, seen: Seen, item: &Item) -> Bytes {
        encode(self, seen, item)
    }

    /// Sends a bookmark of what the caches are complete at, once everything up to there was delivered.
    fn due_bookmark(&mut self) {
        let applied = self.hub.applied();
        loop {
            match self.registration.live.try_recv() {
                Ok(event) => self.deliver(&event),
                Err(TryRecvError::Empty) => break,
                Err(_) => {
                    self.done = true;
                    return;
                }
            }
        }
        self.delivered = self.delivered.max(applied);
        self.next_bookmark = Instant::now() + BOOKMARK_PERIOD;
        let frame = self.bookmark(false);
        self.queue(frame);
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let mut meta = map! { "resourceVersion" => self.delivered.to_string() };
        if initial_end {
            meta.set("annotations", map! { INITIAL_EVENTS_END => "true" });
        }
        let mut object = Map::new();
        let (api_version, kind) = match &self.accepted.shape {
            Shape::Whole => (self.entry.api_version.clone(), self.entry.facts.kind),
            Shape::Table(version) => (format!("meta.k8s.io/{version}"), "Table"),
            Shape::Partial(version) | Shape::PartialList(version) => {
                (format!("meta.k8s.io/{version}"), "PartialObjectMetadata")
            }
        };
        object::set_kind(&mut object, &api_version, kind);
        object.set("metadata", meta);
        if let Shape::Table(_) = self.accepted.shape {
            object.set("columnDefinitions", Value::Null);
            object.set("rows", Vec::new());
        }
        frame_of("BOOKMARK", &object, &self.accepted)
    }
}

/// How long a watcher rests that is one of so many.
fn rest(crowd: usize) -> Option<Duration> {
    let rest = WAKE_COST * u32::try_from(crowd).unwrap_or(u32::MAX);
    (rest >= REST_MIN).then_some(rest.min(REST_MAX))
}

enum Live {
    Event(Arc<Event>),
    Bookmark,
}

/// The frame of one event for one watcher.
fn encode(watcher: &mut Watcher, seen: Seen, item: &Item) -> Bytes {
    let (entry, storage) = (&watcher.entry, &watcher.storage);
    let plain = watcher.accepted.shape == Shape::Whole && entry.is_storage_version();
    match watcher.accepted.format {
        Format::Json if plain => json_frame(seen.text(), &entry.api_version, entry.facts.kind, item.json(storage)),
        Format::Protobuf if plain => {
            proto_frame(seen.text(), &proto::wrap(&entry.api_version, entry.facts.kind, &item.message(storage)))
        }
        _ => {
            let whole = entry.from_storage(item.object(storage));
            shaped(watcher, seen, item.revision, whole)
        }
    }
}

/// The frame of one event, in the shape that the watcher asked for.
fn shaped(watcher: &mut Watcher, seen: Seen, revision: u64, whole: Map) -> Bytes {
    let entry = &watcher.entry;
    let object = match &watcher.accepted.shape {
        Shape::Whole => whole,
        Shape::Partial(version) | Shape::PartialList(version) => show::partial(entry, &whole, version),
        Shape::Table(version) => {
            let meta = map! { "resourceVersion" => revision.to_string() };
            let (include, headers) = (watcher.include_object.clone(), watcher.table_header);
            let options = table::Options { include, headers, list: false };
            watcher.table_header = false;
            table::of(entry, std::slice::from_ref(&whole), meta, version, options, &watcher.now)
        }
    };
    frame_of(seen.text(), &object, &watcher.accepted)
}

fn frame_of(seen: &str, object: &Map, accepted: &Accepted) -> Bytes {
    let plain = Accepted { pretty: false, ..accepted.clone() };
    match accepted.format {
        Format::Protobuf => proto_frame(seen, &respond::encode(object, &plain)),
        Format::Yaml => {
            let event = map! { "type" => seen, "object" => object.clone() };
            let text = api::yaml::from_json(&api::json::encode(&event)).unwrap_or_default();
            Bytes::from(format!("{text}---\n"))
        }
        Format::Json => Bytes::from(api::json::encode(&map! { "type" => seen, "object" => object.clone() })),
    }
}

fn error_frame(status: &Status, format: Format) -> Bytes {
    frame_of("ERROR", &status.to_object(), &Accepted { format, ..Accepted::json() })
}
/// How long a watch without timeoutSeconds lasts: between this and twice this, so that not all begin anew at once
/// (k8s.io/apiserver/pkg/endpoints/handlers/get.go@v0.37.2); for ever when it is zero.
fn some_time(min: Duration) -> Duration {
    if min.is_zero() { YEARS } else { min.mul_f64(1.0 + rand::random::<f64>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowds_rest() {
        let check = |crowd, millis: Option<u64>| assert_eq!(rest(crowd), millis.map(Duration::from_millis), "{crowd}");
        check(1, None);
        check(39, None);
        check(40, Some(2));
        check(200, Some(10));
        check(10_000, Some(20));
        check(usize::MAX, Some(20));
    }
}
