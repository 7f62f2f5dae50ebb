//! Events in the events.k8s.io/v1 API, which is the one the scheduler writes
//! (k8s.io/client-go/tools/events/*.go@v0.37.2).
//!
//! Invariant: an event like one of the last minutes becomes the series of that one; recording never
//! blocks and never fails its caller. Other components write core events by `client::events`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::task::Tasks;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// Events waiting to be written; more are dropped.
const PENDING_EVENTS_MAX: usize = 1000;
/// Writes at one time.
const WRITERS_MAX: usize = 16;
/// Tries of one write, and the pause between two.
const TRIES_MAX: usize = 12;
const PAUSE: Duration = Duration::from_secs(10);
/// A series without a new event for this long has ended.
const SERIES_END: Duration = Duration::from_secs(6 * 60);

/// Takes events; clones share the queue.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Event>,
}

/// What an event says, apart from whom it is about.
pub(crate) struct Note<'a> {
    /// `Normal` or `Warning`.
    pub(crate) kind: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) action: &'a str,
    pub(crate) text: &'a str,
}

impl Recorder {
    /// A recorder whose events come out of the receiver.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(PENDING_EVENTS_MAX);
        (Recorder { sender }, receiver)
    }

    /// A recorder that writes to the API server.
    pub(crate) fn new(tasks: &Tasks, client: Client) -> Self {
        let (recorder, receiver) = Recorder::channel();
        tasks.run("event recorder", write_all(tasks.clone(), client, receiver));
        recorder
    }

    /// Records an event about a pod in the name of its scheduler.
    pub(crate) fn event(&self, about: &Pod, related: Option<&Pod>, controller: &str, note: &Note<'_>) {
        let now = Timestamp::now();
        let regarding = about.object_ref(&());
        let namespace = regarding.namespace.clone().filter(|n| !n.is_empty()).unwrap_or("default".into());
        let name = format!("{}.{:x}", regarding.name.as_deref().unwrap_or_default(), now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(controller.into()),
            reporting_instance: Some(format!("{controller}-{}", crate::host_name())),
            action: Some(note.action.into()),
            reason: Some(note.reason.into()),
            regarding: Some(regarding),
            related: related.map(|pod| pod.object_ref(&())),
            note: Some(note.text.into()),
            type_: Some(note.kind.into()),
            ..Event::default()
        };
        if self.sender.try_send(event).is_err() {
            tracing::debug!("event queue full, event dropped");
        }
    }
}

/// Events that a later one may belong to.
#[derive(Default)]
struct Series {
    known: HashMap<String, (Event, Instant)>,
}

impl Series {
    /// What is to be written for a new event: itself, the start of a series, or nothing.
    fn add(&mut self, event: Event, now: Instant) -> Option<Event> {
        let key = key_of(&event);
        let Some((first, seen)) = self.known.get_mut(&key) else {
            self.known.insert(key, (event.clone(), now));
            return Some(event);
        };
        *seen = now;
        let last_observed_time = MicroTime(Timestamp::now());
        match &mut first.series {
            Some(series) => {
                series.count += 1;
                series.last_observed_time = last_observed_time;
                None
            }
            none => {
                *none = Some(EventSeries { count: 2, last_observed_time });
                Some(first.clone())
            }
        }
    }

    /// Forgets what has ended; the series among it, to write their final count.
    fn finish(&mut self, now: Instant) -> Vec<Event> {
        let ended = self.known.extract_if(|_, (_, seen)| now.duration_since(*seen) >= SERIES_END);
        ended.map(|(_, (event, _))| event).filter(|event| event.series.is_some()).collect()
    }
}

fn key_of(event: &Event) -> String {
    let who = (&event.reporting_controller, &event.reporting_instance);
    format!("{:?}", (&event.type_, &event.action, &event.reason, who, &event.regarding, &event.related))
}

async fn write_all(tasks: Tasks, client: Client, mut events: mpsc::Receiver<Event>) {
    let mut series = Series::default();
    let writers = Arc::new(Semaphore::new(WRITERS_MAX));
    let mut tidy = tokio::time::interval(SERIES_END);
    loop {
        let due: Vec<Event> = tokio::select! {
            event = events.recv() => match event {
                Some(event) => series.add(event, Instant::now()).into_iter().collect(),
                None => return,
            },
            now = tidy.tick() => series.finish(now),
        };
        for event in due {
            let Ok(permit) = writers.clone().acquire_owned().await else { return };
            let client = client.clone();
            tasks.run("event", async move {
                write_with_retries(&client, &event).await;
                drop(permit);
            });
        }
    }
}

async fn write_with_retries(client: &Client, event: &Event) {
    for _ in 0..TRIES_MAX {
        match write(client, event).await {
            Err(kube::Error::Api(status)) => {
                return tracing::debug!(%status, "event refused");
            }
            Err(error) => tracing::debug!(%error, "event not written, will retry"),
            Ok(()) => return,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn write(client: &Client, event: &Event) -> kube::Result<()> {
    let api: Api<Event> = Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or("default"));
    if let Some(series) = &event.series {
        let patch = Patch::Strategic(serde_json::json!({"series": series}));
        let name = event.metadata.name.as_deref().unwrap_or_default();
        match api.patch(name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            outcome => return outcome.map(drop),
        }
    }
    api.create(&PostParams::default(), event).await.map(drop)
}

/// A reference as events carry it, for tests.
#[cfg(test)]
pub(crate) fn about(event: &Event) -> &k8s_openapi::api::core::v1::ObjectReference {
    event.regarding.as_ref().expect("events are about something")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[tokio::test(start_paused = true)]
    async fn alike_events_become_a_series() {
        let (recorder, mut events) = Recorder::channel();
        let note = Note { kind: "Warning", reason: "FailedScheduling", action: "Scheduling", text: "no" };
        for name in ["a", "a", "a", "b"] {
            let pod = pod(&format!(r#"{{"metadata":{{"name":"{name}","namespace":"d"}}}}"#));
            recorder.event(&pod, None, "default-scheduler", &note);
        }
        let (mut series, mut written) = (Series::default(), Vec::new());
        while let Ok(event) = events.try_recv() {
            written.extend(series.add(event, Instant::now()));
        }
        let count = |event: &Event| event.series.as_ref().map(|series| series.count);
        let told: Vec<_> = written.iter().map(|event| (about(event).name.clone().unwrap(), count(event))).collect();
        assert_eq!(told, [("a".into(), None), ("a".into(), Some(2)), ("b".into(), None)]);
        tokio::time::advance(SERIES_END).await;
        let finished = series.finish(Instant::now());
        assert_eq!(finished.iter().map(count).collect::<Vec<_>>(), [Some(3)]);
        assert!(series.known.is_empty());
    }
}
