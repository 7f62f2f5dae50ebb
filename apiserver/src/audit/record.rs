//! What is noted of one request while it is answered (k8s.io/apiserver/pkg/audit/{context,request}.go,
//! pkg/endpoints/filters/audit.go@v0.37.2).
//!
//! Invariant: each stage is told once, the last one at the latest when nobody holds the record any more: whoever goes on
//! answering after the head was sent (a body, an upgraded connection) holds it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use api::object::Meta;
use api::value::Map;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::Audit;
use super::annotations::Annotations;
use super::answer::{self, Wanted};
use super::event::{Event, Level, Reference, Stage};
use super::policy::Verdict;
use crate::authn::User;
use crate::respond::{Body, BoxError};

/// Requests that take longer say where the time went (audit.go: writeLatencyToAnnotation).
const SLOW: Duration = Duration::from_millis(500);
const LATENCY_PREFIX: &str = "apiserver.latency.k8s.io/";

/// Where a request's time goes; names are those of annotations
/// (k8s.io/apiserver/pkg/endpoints/request/webhook_duration.go@v0.37.2).
pub(crate) mod layer {
    pub(crate) const AUTHENTICATION: &str = "authentication";
    pub(crate) const AUTHORIZATION: &str = "authorization";
    pub(crate) const IMPERSONATION: &str = "impersonation";
    pub(crate) const QUEUE: &str = "apf-queue-wait";
    pub(crate) const STORE: &str = "etcd";
    pub(crate) const SERIALIZATION: &str = "serialize-response-object";
    pub(crate) const MUTATING_WEBHOOK: &str = "mutating-webhook";
    pub(crate) const VALIDATING_WEBHOOK: &str = "validating-webhook";
}

pub(crate) struct Record {
    audit: Arc<Audit>,
    verdict: Verdict,
    is_long_running: bool,
    started: Instant,
    event: Mutex<Event>,
    latencies: Mutex<BTreeMap<&'static str, Duration>>,
    /// The answer was looked at, or is not to be.
    looked: AtomicBool,
    /// The last stage was told.
    over: AtomicBool,
}

impl Record {
    pub(super) fn new(
        audit: Arc<Audit>,
        verdict: Verdict,
        is_long_running: bool,
        started: Instant,
        event: Event,
    ) -> Arc<Self> {
        Arc::new(Record {
            audit,
            verdict,
            is_long_running,
            started,
            event: Mutex::new(event),
            latencies: Mutex::default(),
            looked: AtomicBool::new(false),
            over: AtomicBool::new(false),
        })
    }

    pub(crate) fn level(&self) -> Level {
        self.verdict.level
    }

    /// Keeps the first value of each key.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        let mut event = self.event.lock();
        let known = event.annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        if known != value {
            tracing::warn!("Failed to set annotations[{key:?}] to {value:?}, it has already been set to {known:?}");
        }
    }

    /// What plugins have to tell, and how long they waited.
    pub(crate) fn absorb(&self, annotations: Annotations) {
        for (key, value) in annotations.wanted {
            self.annotate(&key, &value);
        }
        for (layer, took) in annotations.waits {
            self.took(layer, took);
        }
    }

    /// Time went by.
    pub(crate) fn took(&self, layer: &'static str, time: Duration) {
        let mut latencies = self.latencies.lock();
        let sum = latencies.entry(layer).or_default();
        // Of what runs side by side the longest counts.
        *sum = if layer == layer::VALIDATING_WEBHOOK { time.max(*sum) } else { *sum + time };
    }

    pub(crate) fn impersonated(&self, user: &User, constraint: String) {
        let mut event = self.event.lock();
        event.impersonated = Some(Arc::new(user.clone()));
        event.constraint = constraint;
    }

    /// The object that a request brought. `object` is how it is told, when it is.
    pub(crate) fn requested(&self, meta: Option<&Map>, object: impl FnOnce() -> Map) {
        let told = (self.level() >= Level::Request).then(|| {
            let mut object = object();
            if self.verdict.omit_managed_fields && object.contains("metadata") {
                object.meta_mut().remove("managedFields");
            }
            let mut json = api::json::encode(&object);
            json.pop();
            Bytes::from(json)
        });
        let mut event = self.event.lock();
        if let Some(meta) = meta {
            event.object.get_or_insert_default().complete(meta);
        }
        if told.is_some() {
            event.request_object = told;
        }
    }

    /// The patch that a request brought, as JSON.
    pub(crate) fn patched(&self, json: &[u8]) {
        self.event.lock().request_object = Some(super::event::compact(json));
    }

    /// The answer is somebody else's, or has no end: nothing of it is told but its code.
    pub(crate) fn passed_on(&self) {
        self.looked.store(true, Ordering::Relaxed);
    }

    /// Notes what the answer says, once.
    pub(crate) async fn look(&self, response: Response<Body>) -> Response<Body> {
        if self.looked.swap(true, Ordering::Relaxed) {
            return response;
        }
        let verb = self.event.lock().verb;
        let wanted = Wanted {
            object: self.level() == Level::RequestResponse,
            status: matches!(verb, "create" | "delete"),
            omit_managed_fields: self.verdict.omit_managed_fields,
        };
        let begun = Instant::now();
        let (response, told) = answer::look(response, wanted).await;
        self.took(layer::SERIALIZATION, begun.elapsed());
        let mut event = self.event.lock();
        if told.status.is_some() {
            event.status = told.status;
        }
        event.response_object = told.object;
        drop(event);
        response
    }

    /// Tells a stage; false when the request may not go on because of it.
    pub(super) async fn stage(&self, stage: Stage) -> bool {
        match self.at(stage) {
            Some(event) => self.audit.sink.process(event).await,
            None => true,
        }
    }

    /// The event of a stage, unless it is omitted.
    fn at(&self, stage: Stage) -> Option<Event> {
        let mut event = self.event.lock();
        if self.verdict.omitted.has(stage) {
            return None;
        }
        event.stage = stage;
        event.at = if stage == Stage::RequestReceived { event.received } else { Timestamp::now() };
        Some(event.clone())
    }

    /// Tells of the head of an answer, and sees to it that its end is told.
    pub(crate) async fn answered(self: &Arc<Self>, response: Response<Body>) -> Response<Body> {
        let response = self.look(response).await;
        let code = response.status();
        self.coded(code);
        if self.is_long_running {
            self.stage(Stage::ResponseStarted).await;
        }
        let is_whole = response.body().size_hint().exact().is_some();
        // What is upgraded goes on elsewhere.
        if is_whole && code != StatusCode::SWITCHING_PROTOCOLS {
            self.complete().await;
            return response;
        }
        let record = Some(self.clone());
        response.map(|inner| Held { inner, record }.boxed_unsync())
    }

    fn coded(&self, code: StatusCode) {
        let mut event = self.event.lock();
        let status = event.status.take();
        event.status = Some(answer::with_code(status, code.as_u16()));
    }

    async fn complete(&self) {
        if !self.over.swap(true, Ordering::Relaxed) {
            self.explain();
            self.stage(Stage::ResponseComplete).await;
        }
    }

    /// Says where the time of a slow request went.
    fn explain(&self) {
        let total = self.started.elapsed();
        if total <= SLOW || self.event.lock().verb == "watch" {
            return;
        }
        let shown = |time: Duration| api::duration::format(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        let latencies = std::mem::take(&mut *self.latencies.lock());
        for (layer, time) in latencies.into_iter().filter(|(_, time)| !time.is_zero()).chain([("total", total)]) {
            self.annotate(&format!("{LATENCY_PREFIX}{layer}"), &shown(time));
        }
    }

    /// The request may not be answered: its beginning could not be told.
    pub(super) fn dismiss(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Tells of a request that nobody is known to have sent: of the head of its refusal alone.
    pub(super) async fn refused(&self, response: Response<Body>) -> Response<Body> {
        self.dismiss();
        let response = self.look(response).await;
        self.coded(response.status());
        self.stage(Stage::ResponseStarted).await;
        response
    }

    /// Tells of a panic.
    pub(crate) async fn panicked(&self, why: &str) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        self.event.lock().status = Some(api::map! {
            "metadata" => Map::new(),
            "status" => "Failure",
            "message" => format!("APIServer panic'd: {why}"),
            "reason" => "InternalError",
            "code" => 500i64,
        });
        self.stage(Stage::Panic).await;
    }

    /// The events that are still to be told when a request ends without having been answered to its end.
    fn rest(&self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.event.lock().status.is_none() {
            let early = api::map! { "metadata" => Map::new(), "status" => "Success", "message" => "Connection closed early", "code" => 200i64 };
            self.event.lock().status = Some(early);
            events.extend(self.is_long_running.then(|| self.at(Stage::ResponseStarted)).flatten());
        }
        self.explain();
        events.extend(self.at(Stage::ResponseComplete));
        events
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.over.swap(true, Ordering::Relaxed) {
            let (audit, events) = (self.audit.clone(), self.rest());
            self.audit.finish(async move {
                for event in events {
                    audit.sink.process(event).await;
                }
            });
        }
    }
}

impl Reference {
    /// Takes from an object's metadata what is not known yet.
    fn complete(&mut self, meta: &Map) {
        let parts = [
            (&mut self.namespace, "namespace"),
            (&mut self.name, "name"),
            (&mut self.uid, "uid"),
            (&mut self.resource_version, "resourceVersion"),
        ];
        for (known, name) in parts {
            if known.is_empty() {
                *known = meta.str(name).to_owned();
            }
        }
    }
}

/// An answer whose end is told.
struct Held {
    inner: Body,
    record: Option<Arc<Record>>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let own = self.get_mut();
        let frame = Pin::new(&mut own.inner).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            own.record = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
