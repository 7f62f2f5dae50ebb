//! The proxy's metrics, under upstream's names (pkg/proxy/metrics/metrics.go@v1.37.2).
//!
//! Invariant: each proxy has its own registry, so several can live in one process.

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
    exponential_buckets,
};

#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) sync_seconds: HistogramVec,
    pub(crate) full_sync_seconds: HistogramVec,
    pub(crate) partial_sync_seconds: HistogramVec,
    pub(crate) network_programming_seconds: HistogramVec,
    pub(crate) last_timestamp: GaugeVec,
    pub(crate) last_queued_timestamp: GaugeVec,
    pub(crate) endpoint_changes_pending: Gauge,
    pub(crate) endpoint_changes_total: IntCounter,
    pub(crate) service_changes_pending: Gauge,
    pub(crate) service_changes_total: IntCounter,
    pub(crate) sync_failures_total: IntCounterVec,
    pub(crate) cleanup_failures_total: IntCounterVec,
    pub(crate) no_local_endpoints: GaugeVec,
    pub(crate) healthz_total: IntCounterVec,
    pub(crate) livez_total: IntCounterVec,
    pub(crate) conntrack_seconds: HistogramVec,
    pub(crate) conntrack_deleted_total: IntCounterVec,
}

struct Maker(Registry);

const FAMILY: &[&str] = &["ip_family"];

impl Maker {
    fn kept<T: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<T>) -> T {
        let made = made.expect("the names below are valid");
        self.0.register(Box::new(made.clone())).expect("the names below differ");
        made
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("kubeproxy_{name}"), help)
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> HistogramVec {
        let opts = HistogramOpts::from(Maker::opts(name, help)).buckets(buckets);
        self.kept(HistogramVec::new(opts, FAMILY))
    }

    fn latency(&self, name: &str, help: &str) -> HistogramVec {
        self.histogram(name, help, exponential_buckets(0.001, 2.0, 15).expect("valid buckets"))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.kept(GaugeVec::new(Maker::opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.kept(Gauge::with_opts(Maker::opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.kept(IntCounterVec::new(Maker::opts(name, help), labels))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.kept(IntCounter::with_opts(Maker::opts(name, help)))
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let m = Maker(Registry::new());
        Metrics {
            sync_seconds: m.latency("sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds"),
            full_sync_seconds: m.latency(
                "sync_full_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for full resyncs",
            ),
            partial_sync_seconds: m.latency(
                "sync_partial_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for partial resyncs",
            ),
            network_programming_seconds: m.histogram(
                "network_programming_duration_seconds",
                "In Cluster Network Programming Latency in seconds",
                network_programming_buckets(),
            ),
            last_timestamp: m.gauges(
                "sync_proxy_rules_last_timestamp_seconds",
                "The last time proxy rules were successfully synced",
                FAMILY,
            ),
            last_queued_timestamp: m.gauges(
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "The last time a sync of proxy rules was queued",
                FAMILY,
            ),
            endpoint_changes_pending: m
                .gauge("sync_proxy_rules_endpoint_changes_pending", "Pending proxy rules Endpoint changes"),
            endpoint_changes_total: m
                .counter("sync_proxy_rules_endpoint_changes_total", "Cumulative proxy rules Endpoint changes"),
            service_changes_pending: m
                .gauge("sync_proxy_rules_service_changes_pending", "Pending proxy rules Service changes"),
            service_changes_total: m
                .counter("sync_proxy_rules_service_changes_total", "Cumulative proxy rules Service changes"),
            sync_failures_total: m.counters(
                "sync_proxy_rules_nftables_sync_failures_total",
                "Cumulative proxy nftables sync failures",
                FAMILY,
            ),
            cleanup_failures_total: m.counters(
                "sync_proxy_rules_nftables_cleanup_failures_total",
                "Cumulative proxy nftables cleanup failures",
                FAMILY,
            ),
            no_local_endpoints: m.gauges(
                "sync_proxy_rules_no_local_endpoints_total",
                "Number of services with a Local traffic policy and no endpoints",
                &["traffic_policy", "ip_family"],
            ),
            healthz_total: m.counters("proxy_healthz_total", "Cumulative proxy healthz HTTP status", &["code"]),
            livez_total: m.counters("proxy_livez_total", "Cumulative proxy livez HTTP status", &["code"]),
            conntrack_seconds: m.latency(
                "conntrack_reconciler_sync_duration_seconds",
                "ReconcileConntrackFlowsLatency latency in seconds",
            ),
            conntrack_deleted_total: m.counters(
                "conntrack_reconciler_deleted_entries_total",
                "Cumulative conntrack flows deleted by conntrack reconciler",
                FAMILY,
            ),
            registry: m.0,
        }
    }

    /// All metrics in the text format.
    pub(crate) fn text(&self) -> String {
        let mut text = Vec::new();
        // Encoding fails only if the writer does, and a Vec does not.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn network_programming_buckets() -> Vec<f64> {
    let linear = |start: f64, step: f64, count: u32| (0..count).map(move |n| start + step * f64::from(n));
    linear(0.25, 0.25, 2)
        .chain(linear(1.0, 1.0, 59))
        .chain(linear(60.0, 5.0, 12))
        .chain(linear(120.0, 30.0, 7))
        .collect()
}
