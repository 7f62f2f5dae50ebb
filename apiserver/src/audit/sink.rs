//! Where events go: through each backend's limits, at once or later (k8s.io/apiserver/pkg/audit/union.go,
//! plugin/pkg/audit/truncate/truncate.go, pkg/server/options/audit.go@v0.37.2).
//!
//! Invariant: a request waits for no backend but those that block. Events come one at a time, so that upstream's
//! largest batch of the truncating backend is never reached.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::batch::Batch;
use super::event::{Event, Level};
use super::metrics::Metrics;
use super::options::AuditTruncateOptions;

/// What events are told to.
pub(super) trait Backend: Send + Sync {
    /// As metrics name it.
    fn name(&self) -> &'static str;

    /// Tells events; the error is why they are lost.
    fn tell<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, Result<(), String>>;
}

/// Tells events; those that are lost are counted. False when they are.
pub(super) async fn tell(backend: &dyn Backend, metrics: &Metrics, events: &[Event]) -> bool {
    match backend.tell(events).await {
        Ok(()) => true,
        Err(why) => {
            metrics.lost(backend.name(), &why, events);
            false
        }
    }
}

/// How events get to a backend.
pub(super) enum Way {
    Blocking {
        backend: Arc<dyn Backend>,
        /// A failure is the request's.
        strict: bool,
    },
    Batch(Batch),
}

pub(super) struct Pipeline {
    /// Largest event in bytes.
    event_bytes_max: Option<i64>,
    way: Way,
}

impl Pipeline {
    pub(super) fn new(way: Way, truncate: &AuditTruncateOptions) -> Self {
        Pipeline { event_bytes_max: truncate.enabled.then_some(truncate.max_event_size), way }
    }

    async fn process(&self, event: &mut Event, metrics: &Metrics) -> bool {
        if let Some(max) = self.event_bytes_max
            && !fit(event, max)
        {
            // Lost, and yet no failure.
            metrics.lost("truncate", "event is too large even after truncating", std::slice::from_ref(event));
            return true;
        }
        match &self.way {
            Way::Blocking { backend, strict } => {
                tell(backend.as_ref(), metrics, std::slice::from_ref(event)).await || !strict
            }
            Way::Batch(batch) => {
                batch.put(event.clone(), metrics);
                true
            }
        }
    }
}

/// Makes an event fit; false when it cannot be.
fn fit(event: &mut Event, max: i64) -> bool {
    let is_small = |event: &Event| i64::try_from(event.json().len()).is_ok_and(|size| size <= max);
    if !is_small(event) && event.level >= Level::Request {
        event.truncate();
    }
    is_small(event)
}

/// All backends.
pub(crate) struct Sink {
    pipelines: Vec<Pipeline>,
    pub(super) metrics: Arc<Metrics>,
}

impl Sink {
    pub(super) fn new(pipelines: Vec<Pipeline>, metrics: Arc<Metrics>) -> Self {
        Sink { pipelines, metrics }
    }

    /// False when a request may not go on because of it.
    pub(super) async fn process(&self, mut event: Event) -> bool {
        self.metrics.event();
        let mut all = true;
        for pipeline in &self.pipelines {
            all &= pipeline.process(&mut event, &self.metrics).await;
        }
        all
    }

    /// Tells what waits, and nothing after that.
    pub(super) async fn close(&self) {
        for pipeline in &self.pipelines {
            if let Way::Batch(batch) = &pipeline.way {
                batch.close().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::audit::event::tests::event;
    use crate::audit::options::AuditBatchOptions;
    use crate::audit::options::AuditWebhookOptions;

    /// Keeps what it is told, as `level/truncated`, batch by batch.
    #[derive(Default)]
    struct Kept {
        batches: Mutex<Vec<Vec<String>>>,
        fails: bool,
    }

    impl Backend for Kept {
        fn name(&self) -> &'static str {
            "kept"
        }

        fn tell<'a>(&'a self, events: &'a [Event]) -> BoxFuture<'a, Result<(), String>> {
            let shown = |event: &Event| match event.request_object.is_some() {
                true => event.id.clone(),
                false => format!("{} truncated={}", event.id, event.annotations["audit.k8s.io/truncated"]),
            };
            self.batches.lock().push(events.iter().map(shown).collect());
            Box::pin(async move { if self.fails { Err("broken".into()) } else { Ok(()) } })
        }
    }

    fn counted(metrics: &Metrics) -> String {
        let mut all = Vec::new();
        for collector in metrics.collectors() {
            for family in collector.collect() {
                for metric in family.get_metric() {
                    let labels: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
                    let (name, value) = (family.name().trim_start_matches("apiserver_audit_"), metric.get_counter());
                    all.push(format!("{name}{labels:?}={}", value.get_value()));
                }
            }
        }
        all.join(" ")
    }

    async fn check(fails: bool, strict: bool, max: i64, expect: (bool, &[&str], &str)) {
        let (backend, metrics) =
            (Arc::new(Kept { fails, ..Kept::default() }), Arc::new(Metrics::new().expect("metrics")));
        let truncate = AuditTruncateOptions { enabled: max > 0, max_event_size: max, max_batch_size: max };
        let pipeline = Pipeline::new(Way::Blocking { backend: backend.clone(), strict }, &truncate);
        let sink = Sink::new(vec![pipeline], metrics.clone());
        let went_on = sink.process(event()).await;
        let told: Vec<String> = backend.batches.lock().concat();
        assert_eq!((went_on, told.iter().map(String::as_str).collect::<Vec<_>>().as_slice()), (expect.0, expect.1));
        assert_eq!(counted(&metrics), expect.2);
    }

    #[tokio::test]
    async fn what_fails_and_what_is_too_large() {
        let fine = "event_total[]=1 requests_rejected_total[]=0";
        let lost = |plugin: &str| format!("event_total[]=1 error_total[\"{plugin}\"]=1 requests_rejected_total[]=0");
        check(false, true, 0, (true, &["id-1"], fine)).await;
        check(true, false, 0, (true, &["id-1"], &lost("kept"))).await;
        check(true, true, 0, (false, &["id-1"], &lost("kept"))).await;
        check(false, true, 10_000, (true, &["id-1"], fine)).await;
        let size = event().json().len() as i64;
        check(false, true, size, (true, &["id-1"], fine)).await;
        check(false, true, size - 1, (true, &["id-1 truncated=true"], fine)).await;
        check(false, true, 100, (true, &[], &lost("truncate"))).await;
    }

    fn batched(options: AuditBatchOptions) -> (Arc<Kept>, Arc<Metrics>, Batch) {
        let (backend, metrics) = (Arc::new(Kept::default()), Arc::new(Metrics::new().expect("metrics")));
        let batch = Batch::start(backend.clone(), &options, true, metrics.clone());
        (backend, metrics, batch)
    }

    #[tokio::test]
    async fn batches_are_full_or_over_and_the_rest_goes_at_the_end() {
        let options = AuditBatchOptions { max_size: 2, ..AuditWebhookOptions::default().batch };
        let (backend, metrics, batch) = batched(options);
        for number in 1..=5 {
            batch.put(Event { id: number.to_string(), ..event() }, &metrics);
        }
        batch.close().await;
        let mut batches = backend.batches.lock().clone();
        batches.sort();
        assert_eq!(batches, [vec!["1", "2"], vec!["3", "4"], vec!["5"]]);
        batch.put(event(), &metrics);
        assert!(counted(&metrics).contains("error_total[\"buffered\"]=1"), "nothing goes in after the end");
    }

    #[tokio::test]
    async fn a_batch_does_not_wait_for_ever_and_a_full_buffer_loses_events() {
        let wait = std::time::Duration::from_millis(20);
        let options = AuditBatchOptions { max_wait: wait, buffer_size: 3, ..AuditWebhookOptions::default().batch };
        let (backend, metrics, batch) = batched(options);
        // The worker has not run yet: it shares this thread.
        for number in 1..=5 {
            batch.put(Event { id: number.to_string(), ..event() }, &metrics);
        }
        assert!(counted(&metrics).contains("error_total[\"buffered\"]=2"));
        let told = tokio::time::timeout(std::time::Duration::from_secs(10), async {
            while backend.batches.lock().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        });
        told.await.expect("told in time");
        assert_eq!(*backend.batches.lock(), [["1", "2", "3"]]);
    }
}
