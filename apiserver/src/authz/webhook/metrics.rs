//! What is counted of authorization webhooks (k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics/metrics.go,
//! k8s.io/apiserver/pkg/authorization/{cel/metrics,metrics/metrics}.go@v0.37.2).

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{CounterVec, HistogramOpts, HistogramVec, IntCounterVec, Opts};

/// Upper bounds in seconds.
const CONDITION_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];
const WEBHOOK: &str = "Webhook";

/// Of all webhooks; clones count together.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Counted for every request.
    pub(crate) decisions: IntCounterVec,
    calls: CounterVec,
    seconds: HistogramVec,
    fail_open: CounterVec,
    condition_errors: CounterVec,
    exclusions: CounterVec,
    condition_seconds: HistogramVec,
}

fn counter(name: &str, help: &str, labels: &[&str]) -> CounterVec {
    let name = format!("apiserver_authorization_{name}");
    CounterVec::new(Opts::new(name, format!("[ALPHA] {help}")), labels).expect("a name and labels that are valid")
}

fn histogram(name: &str, help: &str, seconds: &[f64], labels: &[&str]) -> HistogramVec {
    let name = format!("apiserver_authorization_{name}");
    let options = HistogramOpts::new(name, format!("[ALPHA] {help}")).buckets(seconds.to_vec());
    HistogramVec::new(options, labels).expect("a name and labels that are valid")
}

impl Default for Metrics {
    fn default() -> Self {
        let (call, condition) = (&["name", "result"], &["name", "type"]);
        Metrics {
            decisions: IntCounterVec::new(
                Opts::new(
                    "apiserver_authorization_decisions_total",
                    "[ALPHA] Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision.",
                ),
                &["decision", "name", "type"],
            )
            .expect("a name and labels that are valid"),
            calls: counter("webhook_evaluations_total", "Round-trips to authorization webhooks.", call),
            seconds: histogram("webhook_duration_seconds", "Request latency in seconds.", prometheus::DEFAULT_BUCKETS, call),
            fail_open: counter(
                "webhook_evaluations_fail_open_total",
                "NoOpinion results due to webhook timeout or error.",
                call,
            ),
            condition_errors: counter(
                "match_condition_evaluation_errors_total",
                "Total number of errors when an authorization webhook encounters a match condition error split by authorizer type and name.",
                condition,
            ),
            exclusions: counter(
                "match_condition_exclusions_total",
                "Total number of exclusions when an authorization webhook is skipped because match conditions exclude it.",
                condition,
            ),
            condition_seconds: histogram(
                "match_condition_evaluation_seconds",
                "Authorization match condition evaluation time in seconds, split by authorizer type and name.",
                CONDITION_SECONDS,
                condition,
            ),
        }
    }
}

impl Metrics {
    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 7] {
        [
            Box::new(self.decisions.clone()),
            Box::new(self.calls.clone()),
            Box::new(self.seconds.clone()),
            Box::new(self.fail_open.clone()),
            Box::new(self.condition_errors.clone()),
            Box::new(self.exclusions.clone()),
            Box::new(self.condition_seconds.clone()),
        ]
    }

    /// A call with its result: success, timeout or error.
    pub(super) fn called(&self, name: &str, result: &str, took: Duration) {
        self.calls.with_label_values(&[name, result]).inc();
        self.seconds.with_label_values(&[name, result]).observe(took.as_secs_f64());
    }

    pub(super) fn failed_open(&self, name: &str, result: &str) {
        self.fail_open.with_label_values(&[name, result]).inc();
    }

    /// Conditions were evaluated.
    pub(super) fn matched(&self, name: &str, outcome: &Result<bool, String>, took: Duration) {
        let labels = [name, WEBHOOK];
        self.condition_seconds.with_label_values(&labels).observe(took.as_secs_f64());
        match outcome {
            Ok(true) => {}
            Ok(false) => self.exclusions.with_label_values(&labels).inc(),
            Err(_) => self.condition_errors.with_label_values(&labels).inc(),
        }
    }
}
