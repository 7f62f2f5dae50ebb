//! Event recorder: `events.k8s.io/v1`-compatible core Events, correlated as upstream does it: the
//! same event seen again only raises its count
//! (k8s.io/client-go/tools/record/event.go, events_cache.go@v0.37.2).
//!
//! Invariant: recording never blocks and never fails its caller; a full queue drops the event.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

use crate::task::Tasks;

/// Events waiting to be written; more are dropped.
const PENDING_EVENTS_MAX: usize = 1000;
/// Correlated events remembered (upstream: maxLruCacheEntries).
const REMEMBERED_EVENTS_MAX: usize = 4096;

/// Writes events in the name of one component; clones share its queue.
#[derive(Clone)]
pub struct Recorder {
    source: Arc<EventSource>,
    sender: mpsc::Sender<Event>,
}

impl Recorder {
    /// `component` is upstream's name of the reporter (`default-scheduler`, `kubelet`, ...).
    pub fn new(tasks: &Tasks, client: Client, component: &str, host: Option<&str>) -> Self {
        let (sender, receiver) = mpsc::channel(PENDING_EVENTS_MAX);
        tasks.run("event recorder", write_all(client, receiver));
        let source = EventSource { component: Some(component.into()), host: host.map(Into::into) };
        Recorder { source: Arc::new(source), sender }
    }

    /// Records an event of `kind` `Normal` or `Warning` about `object`.
    pub fn event<K>(&self, object: &K, kind: &str, reason: &str, message: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.about(object.object_ref(&()), kind, reason, message);
    }

    /// Records an event about a reference (with a fieldPath, say).
    pub fn about(&self, about: ObjectReference, kind: &str, reason: &str, message: impl Into<String>) {
        let now = Timestamp::now();
        let namespace = about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or("default".into());
        let name = format!("{}.{:x}", about.name.as_deref().unwrap_or(""), now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
            involved_object: about,
            type_: Some(kind.into()),
            reason: Some(reason.into()),
            message: Some(message.into()),
            source: Some((*self.source).clone()),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        };
        if self.sender.try_send(event).is_err() {
            tracing::debug!("event queue full, event dropped");
        }
    }
}

async fn write_all(client: Client, mut events: mpsc::Receiver<Event>) {
    let mut seen: HashMap<String, (String, i32)> = HashMap::new();
    while let Some(event) = events.recv().await {
        if seen.len() >= REMEMBERED_EVENTS_MAX {
            seen.clear();
        }
        if let Err(error) = write(&client, &mut seen, event).await {
            tracing::debug!(%error, "event not written");
        }
    }
}

/// Raises the count of an event already written, or creates it.
async fn write(client: &Client, seen: &mut HashMap<String, (String, i32)>, event: Event) -> kube::Result<()> {
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let key = correlation_key(&event);
    if let Some((name, count)) = seen.get_mut(&key) {
        let patch = serde_json::json!({"count": *count + 1, "lastTimestamp": event.last_timestamp});
        match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                *count += 1;
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let created = api.create(&PostParams::default(), &event).await?;
    seen.insert(key, (created.metadata.name.unwrap_or_default(), 1));
    Ok(())
}

fn correlation_key(event: &Event) -> String {
    let about = &event.involved_object;
    format!("{:?}", (&event.source, about, &event.type_, &event.reason, &event.message))
}
