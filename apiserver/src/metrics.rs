//! /metrics with upstream's names, types, labels and buckets
//! (k8s.io/apiserver/pkg/endpoints/metrics/metrics.go@v0.37.2).

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, Encoder, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

use crate::request::Info;

/// Upper bounds in seconds of the request duration histograms.
const SLI_SECONDS: &[f64] =
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];

/// A counter whose name and labels are constants.
pub(crate) fn counter(name: &str, help: &str, labels: &[&str]) -> CounterVec {
    CounterVec::new(Opts::new(name, help), labels).expect("a name and labels that are valid")
}

/// This server's metrics, in a registry of their own.
pub(crate) struct Metrics {
    registry: Registry,
    requests: CounterVec,
    durations: HistogramVec,
    terminations: CounterVec,
}

impl Metrics {
    /// With what others count.
    pub(crate) fn new(others: impl IntoIterator<Item = Box<dyn Collector>>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        for collector in others {
            registry.register(collector)?;
        }
        let requests = CounterVec::new(
            Opts::new(
                "apiserver_request_total",
                "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
            ),
            &["code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "apiserver_request_sli_duration_seconds",
                "[BETA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
            )
            .buckets(SLI_SECONDS.to_vec()),
            &["component", "group", "resource", "scope", "subresource", "verb", "version"],
        )?;
        let terminations = CounterVec::new(
            Opts::new(
                "apiserver_request_terminations_total",
                "[ALPHA] Number of requests which apiserver terminated in self-defense.",
            ),
            &["code", "component", "group", "resource", "scope", "subresource", "verb", "version"],
        )?;
        registry.register(Box::new(terminations.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Metrics { registry, requests, durations, terminations })
    }

    pub(crate) fn observe(&self, info: &Info, method: &http::Method, code: u16, took: Duration) {
        let verb = verb(info, method);
        let scope = scope(info);
        let dry_run = if info.query.has("dryRun") { "All" } else { "" };
        let (group, resource, version, sub) = (&*info.group, &*info.resource, &*info.version, &*info.subresource);
        let digits = [b'0' + (code / 100) as u8, b'0' + (code / 10 % 10) as u8, b'0' + (code % 10) as u8];
        let code = std::str::from_utf8(&digits).unwrap_or("");
        self.requests
            .with_label_values(&[code, "apiserver", dry_run, group, resource, scope, sub, verb, version])
            .inc();
        if verb != "WATCH" && verb != "CONNECT" {
            let histogram =
                self.durations.with_label_values(&["apiserver", group, resource, scope, sub, verb, version]);
            histogram.observe(took.as_secs_f64());
        }
    }

    /// The server refused a request to protect itself; `component` is the part of it that did.
    pub(crate) fn terminated(&self, component: &str, info: &Info, method: &http::Method, code: u16) {
        let (group, resource, version) = (&*info.group, &*info.resource, &*info.version);
        let sub = if info.is_resource { &*info.subresource } else { &*info.path };
        let labels = [&*code.to_string(), component, group, resource, scope(info), sub, verb(info, method), version];
        self.terminations.with_label_values(&labels).inc();
    }

    /// The text exposition, with families that are made elsewhere.
    pub(crate) fn text(&self, more: Vec<MetricFamily>) -> Vec<u8> {
        let mut text = Vec::new();
        let mut families = self.registry.gather();
        families.extend(more);
        families.sort_by(|one, other| one.name().cmp(other.name()));
        // Writing to a Vec cannot fail; an inconsistent family would only cut the text short.
        let _ = TextEncoder::new().encode(&families, &mut text);
        text
    }
}

/// metrics.go: CleanScope.
fn scope(info: &Info) -> &'static str {
    match (info.is_resource, info.namespace.is_empty(), info.name.is_empty()) {
        (false, _, _) => "",
        (true, _, false) => "resource",
        (true, false, true) => "namespace",
        (true, true, true) => "cluster",
    }
}

/// metrics.go: CanonicalVerb and cleanVerb.
fn verb<'a>(info: &Info, method: &'a http::Method) -> &'a str {
    match info.verb {
        "list" => "LIST",
        "watch" => "WATCH",
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        "deletecollection" => "DELETE",
        _ if matches!(info.subresource.as_str(), "proxy" | "exec" | "attach" | "portforward" | "log") => "CONNECT",
        _ => method.as_str(),
    }
}
