//! apiserver_audit_* (k8s.io/apiserver/pkg/audit/metrics.go@v0.37.2), and what is said of events that are lost.

use jiff::tz::TimeZone;
use prometheus::core::Collector;
use prometheus::{Counter, CounterVec, Opts};

use super::event::{Event, Level};

/// Counters of a server.
pub(crate) struct Metrics {
    events: Counter,
    errors: CounterVec,
    levels: CounterVec,
    rejected: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(format!("apiserver_audit_{name}"), format!("[ALPHA] {help}"));
        let errors = "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.";
        let rejected = "Counter of apiserver requests rejected due to an error in audit logging backend.";
        let levels = "Counter of policy levels for audit events (1 per request).";
        let events = "Counter of audit events generated and sent to the audit backend.";
        Ok(Metrics {
            events: Counter::with_opts(opts("event_total", events))?,
            errors: CounterVec::new(opts("error_total", errors), &["plugin"])?,
            levels: CounterVec::new(opts("level_total", levels), &["level"])?,
            rejected: Counter::with_opts(opts("requests_rejected_total", rejected))?,
        })
    }

    pub(crate) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.events.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.levels.clone()),
            Box::new(self.rejected.clone()),
        ]
    }

    pub(super) fn event(&self) {
        self.events.inc();
    }

    pub(super) fn level(&self, level: Level) {
        self.levels.with_label_values(&[level.text()]).inc();
    }

    pub(super) fn rejected(&self) {
        self.rejected.inc();
    }

    /// Events were lost by a plugin: they are counted, and told in the server's own log (HandlePluginError).
    pub(super) fn lost(&self, plugin: &str, why: &str, events: &[Event]) {
        self.errors.with_label_values(&[plugin]).inc_by(events.len() as f64);
        let (zone, count) = (TimeZone::system(), events.len());
        let lines: String = events.iter().map(|event| event.line(&zone) + "\n").collect();
        tracing::error!(
            "Error in audit plugin '{plugin}' affecting {count} audit events: {why}\nImpacted events:\n{lines}"
        );
    }
}
