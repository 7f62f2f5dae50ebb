//! A runtime without processes: containers are records that stay running until told otherwise, or until their command
//! would have ended (`script`).
//!
//! Invariant: it answers as containerd does (states, not-found, idempotence, events), so the kubelet
//! above cannot tell except by [`Runtime::is_fake`]. Everything is in memory: thousands of pods
//! cost a few kilobytes each and no timers.

mod addresses;
mod calls;
mod images;
mod script;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::future::ready;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::task::TaskTracker;
use tonic::Code;

use crate::runtime::{Answer, Events, Runtime};
use crate::v1::*;
use crate::{Error, Result};
use script::End;
use state::State;

/// Container events kept for a slow subscriber.
const EVENTS_MAX: usize = 4096;

/// What a fake runtime is told at start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where pod addresses come from until the kubelet learns the node's own CIDR.
    pub pod_cidr: String,
    /// Images that cannot be pulled, `name:tag` with or without leading path.
    pub absent_images: Vec<String>,
}

impl Options {
    /// Parses `--fake-absent-images`: names separated by commas.
    pub fn absent(list: &str) -> Vec<String> {
        list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

/// A runtime whose containers run nothing.
pub struct Fake {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<ContainerEventResponse>,
    ids: AtomicU64,
    /// Containers that end by themselves; they wait for nothing but time, and for no longer than there is a state.
    ending: TaskTracker,
}

impl Fake {
    pub fn new(options: Options) -> Result<Self> {
        let state = State::new(&options)?;
        Ok(Fake {
            state: Arc::new(Mutex::new(state)),
            events: broadcast::channel(EVENTS_MAX).0,
            ids: AtomicU64::new(1),
            ending: TaskTracker::new(),
        })
    }

    /// Makes a running container exit with `code`.
    pub fn exit(&self, container_id: &str, code: i32) -> Result<()> {
        let event = self.state.lock().exit(container_id, code, now())?;
        self.publish(event);
        Ok(())
    }

    /// The ids of all running containers, for tests and tools.
    pub fn running(&self) -> Vec<String> {
        self.state.lock().running()
    }

    fn next_id(&self) -> String {
        let count = self.ids.fetch_add(1, Ordering::Relaxed);
        images::hex_id(&format!("{count}/{}", now()))
    }

    fn publish(&self, event: Option<ContainerEventResponse>) {
        if let Some(event) = event {
            // No subscriber is no failure: the kubelet also lists.
            let _ = self.events.send(event);
        }
    }

    /// Lets a container that was just started end when its command would.
    fn will_end(&self, id: &str, end: End) {
        let (state, events, id) = (Arc::downgrade(&self.state), self.events.clone(), id.to_owned());
        self.ending.spawn(async move {
            tokio::time::sleep(end.after).await;
            let Some(state) = state.upgrade() else { return };
            // Stopped or removed meanwhile, it has ended already.
            let exited = state.lock().exit(&id, end.code, now());
            if let Ok(Some(event)) = exited {
                let _ = events.send(event);
            }
        });
    }

    fn subscribe(&self) -> Events {
        let stream = BroadcastStream::new(self.events.subscribe());
        stream.map(|event| event.map_err(|e| Error::new(Code::DataLoss, e.to_string()))).boxed()
    }
}

/// Nanoseconds since the epoch, as CRI counts time.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn answer<'a, T: Send + 'a>(result: Result<T>) -> Answer<'a, T> {
    Box::pin(ready(result))
}

#[cfg(test)]
mod tests;
