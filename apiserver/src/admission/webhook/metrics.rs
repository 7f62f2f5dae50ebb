//! What is counted of webhooks, with upstream's names (k8s.io/apiserver/pkg/admission/metrics/metrics.go@v0.37.2).

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{CounterVec, HistogramOpts, HistogramVec};

use crate::metrics::counter;

/// Upper bounds in seconds.
const SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Higher codes are counted as this one.
const CODE_MAX: u16 = 600;

#[derive(Clone)]
pub(crate) struct Metrics {
    seconds: HistogramVec,
    requests: CounterVec,
    rejections: CounterVec,
    fail_open: CounterVec,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The webhook could not be asked.
    Calling,
    /// The server failed.
    Server,
    /// The webhook said no.
    Webhook,
}

/// A call that is over: the webhook's name, the step (`admit`, `validating`), the operation and the code.
pub(super) struct Over<'a> {
    pub(super) name: &'a str,
    pub(super) step: &'static str,
    pub(super) operation: &'a str,
    pub(super) code: u16,
    pub(super) took: Duration,
}

impl Default for Metrics {
    fn default() -> Self {
        let options = HistogramOpts::new(
            "apiserver_admission_webhook_admission_duration_seconds",
            "[STABLE] Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
        );
        let seconds = HistogramVec::new(options.buckets(SECONDS.to_vec()), &["name", "operation", "rejected", "type"]);
        Metrics {
            seconds: seconds.expect("a name and labels that are valid"),
            requests: counter(
                "apiserver_admission_webhook_request_total",
                "[ALPHA] Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
                &["code", "name", "operation", "rejected", "type"],
            ),
            rejections: counter(
                "apiserver_admission_webhook_rejection_count",
                "[ALPHA] Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
                &["error_type", "name", "operation", "rejection_code", "type"],
            ),
            fail_open: counter(
                "apiserver_admission_webhook_fail_open_count",
                "[ALPHA] Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit).",
                &["name", "type"],
            ),
        }
    }
}

impl Metrics {
    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 4] {
        [
            Box::new(self.seconds.clone()),
            Box::new(self.requests.clone()),
            Box::new(self.rejections.clone()),
            Box::new(self.fail_open.clone()),
        ]
    }

    pub(super) fn observe(&self, over: &Over<'_>, rejection: Option<Rejection>) {
        let Over { name, step, operation, code, took } = *over;
        let rejected = if rejection.is_some() { "true" } else { "false" };
        let code = code.min(CODE_MAX).to_string();
        self.seconds.with_label_values(&[name, operation, rejected, step]).observe(took.as_secs_f64());
        self.requests.with_label_values(&[code.as_str(), name, operation, rejected, step]).inc();
        if let Some(rejection) = rejection {
            let why = match rejection {
                Rejection::Calling => "calling_webhook_error",
                Rejection::Server => "apiserver_internal_error",
                Rejection::Webhook => "no_error",
            };
            self.rejections.with_label_values(&[why, name, operation, code.as_str(), step]).inc();
        }
    }

    pub(super) fn failed_open(&self, name: &str, step: &str) {
        self.fail_open.with_label_values(&[name, step]).inc();
    }
}
