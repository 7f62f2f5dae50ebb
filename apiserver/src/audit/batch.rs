//! Events that are told later, several at once (k8s.io/apiserver/plugin/pkg/audit/buffered/buffered.go@v0.37.2).
//!
//! Invariant: whoever puts an event in never waits; what is in the buffer at the end is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::event::Event;
use super::metrics::Metrics;
use super::options::AuditBatchOptions;
use super::sink::{Backend, tell};

/// As metrics name it.
const NAME: &str = "buffered";

pub(super) struct Batch {
    buffer: mpsc::Sender<Event>,
    stop: CancellationToken,
    /// True once everything was told.
    over: watch::Receiver<bool>,
    /// The worker.
    _working: TaskTracker,
}

struct Worker {
    events: mpsc::Receiver<Event>,
    backend: Arc<dyn Backend>,
    metrics: Arc<Metrics>,
    size_max: usize,
    wait_max: Duration,
    throttle: Option<Throttle>,
    /// Batches under way, when the next one need not wait for them.
    sending: Option<TaskTracker>,
}

impl Batch {
    /// Begins to take events. `at_once`: a batch does not wait until the one before it was told.
    pub(super) fn start(
        backend: Arc<dyn Backend>,
        options: &AuditBatchOptions,
        at_once: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        let positive = |number: i64| usize::try_from(number).unwrap_or(1).max(1);
        let (buffer, events) = mpsc::channel(positive(options.buffer_size));
        let (ended, over) = watch::channel(false);
        let stop = CancellationToken::new();
        let throttle = || Throttle::new(options.throttle_qps, options.throttle_burst, std::time::Instant::now());
        let mut worker = Worker {
            events,
            backend,
            metrics,
            size_max: positive(options.max_size),
            wait_max: options.max_wait,
            throttle: options.throttle_enable.then(throttle),
            sending: at_once.then(TaskTracker::new),
        };
        let stopped = stop.clone();
        let working = TaskTracker::new();
        working.spawn(async move {
            worker.run(&stopped).await;
            ended.send_replace(true);
        });
        Batch { buffer, stop, over, _working: working }
    }

    pub(super) fn put(&self, event: Event, metrics: &Metrics) {
        let (event, why) = match self.buffer.try_send(event) {
            Ok(()) => return,
            Err(TrySendError::Full(event)) => (event, "audit buffer queue blocked"),
            Err(TrySendError::Closed(event)) => (event, "audit backend shut down"),
        };
        metrics.lost(NAME, why, std::slice::from_ref(&event));
    }

    /// Returns once everything that was put in was told.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        // Its sender is gone only when the runtime is.
        let _ = self.over.clone().wait_for(|over| *over).await;
    }
}

impl Worker {
    async fn run(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let batch = self.collect(Some(stop)).await;
            self.tell(batch).await;
        }
        self.events.close();
        loop {
            let batch = self.collect(None).await;
            if batch.is_empty() {
                break;
            }
            self.tell(batch).await;
        }
        if let Some(sending) = &self.sending {
            sending.close();
            sending.wait().await;
        }
    }

    /// A full batch, or what is there after the wait, at `stop`, or at the end of a closed buffer.
    async fn collect(&mut self, stop: Option<&CancellationToken>) -> Vec<Event> {
        let deadline = Instant::now() + self.wait_max;
        let is_timed = self.size_max > 1 && stop.is_some();
        let mut batch = Vec::new();
        while batch.len() < self.size_max {
            let event = tokio::select! {
                biased;
                event = self.events.recv() => event,
                () = tokio::time::sleep_until(deadline), if is_timed => None,
                () = stopped(stop) => None,
            };
            match event {
                Some(event) => batch.push(event),
                None => break,
            }
        }
        batch
    }

    async fn tell(&mut self, batch: Vec<Event>) {
        if batch.is_empty() {
            return;
        }
        if let Some(throttle) = &mut self.throttle {
            let wait = throttle.take(std::time::Instant::now());
            tokio::time::sleep(wait).await;
        }
        let (backend, metrics) = (self.backend.clone(), self.metrics.clone());
        // Whether it went well is counted there.
        let telling = async move {
            let _ = tell(backend.as_ref(), &metrics, &batch).await;
        };
        match &self.sending {
            Some(sending) => drop(sending.spawn(telling)),
            None => telling.await,
        }
    }
}

async fn stopped(stop: Option<&CancellationToken>) {
    match stop {
        Some(stop) => stop.cancelled().await,
        None => std::future::pending().await,
    }
}

/// A bucket of tokens that fills with time (golang.org/x/time/rate, as client-go's flowcontrol sets it up).
struct Throttle {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: std::time::Instant,
}

impl Throttle {
    fn new(qps: f32, burst: i64, now: std::time::Instant) -> Self {
        Throttle { per_second: qps.into(), burst: burst as f64, tokens: burst as f64, at: now }
    }

    /// Takes a token; how long one has to wait for it.
    fn take(&mut self, now: std::time::Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst) - 1.0;
        self.at = now;
        match self.tokens < 0.0 {
            true => Duration::from_secs_f64(-self.tokens / self.per_second),
            false => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_with_time() {
        let start = std::time::Instant::now();
        let mut throttle = Throttle::new(10.0, 2, start);
        // Milliseconds since the start, and milliseconds to wait.
        for (at, expect) in
            [(0, 0), (0, 0), (0, 100), (0, 200), (300, 0), (300, 100), (10_000, 0), (10_000, 0), (10_000, 100)]
        {
            let waits = throttle.take(start + Duration::from_millis(at));
            assert_eq!((waits.as_secs_f64() * 1000.0).round() as u64, expect, "at {at}");
        }
    }
}
