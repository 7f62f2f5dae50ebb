//! What `/metrics` tells, under etcd's names (`server/etcdserver/metrics.go`, `server/storage/mvcc/metrics.go` @v3.7.3).
//!
//! Only what is measured is told. Non-goal: etcd's disk, raft and peer metrics, which have no counterpart.

use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result, TextEncoder};

pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) puts: IntCounter,
    pub(crate) deletes: IntCounter,
    pub(crate) ranges: IntCounter,
    pub(crate) txns: IntCounter,
    pub(crate) events: IntCounter,
    pub(crate) watchers: IntGauge,
    pub(crate) watch_streams: IntGauge,
    pub(crate) leases_granted: IntCounter,
    pub(crate) leases_revoked: IntCounter,
    pub(crate) leases_renewed: IntCounter,
    pub(crate) health_success: IntCounter,
    pub(crate) health_failures: IntCounter,
    pub(crate) checks: IntCounterVec,
    /// By type, service, method.
    pub(crate) started: IntCounterVec,
    /// By type, service, method, code.
    pub(crate) handled: IntCounterVec,
    revision: IntGauge,
    size: IntGauge,
    size_in_use: IntGauge,
    quota: IntGauge,
}

struct Maker(Registry);

impl Maker {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    /// A gauge that is 1 for one value of a label.
    fn fact(&self, name: &str, help: &str, label: &str, value: &str) -> Result<()> {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &[label])?;
        gauge.with_label_values(&[value]).set(1);
        self.0.register(Box::new(gauge))
    }

    fn facts(&self, member: u64) -> Result<()> {
        self.fact(
            "etcd_server_version",
            "Which version is running. 1 for 'server_version' label with current version.",
            "server_version",
            crate::VERSION,
        )?;
        self.fact(
            "etcd_cluster_version",
            "Which version is running. 1 for 'cluster_version' label with current cluster version",
            "cluster_version",
            "3.7",
        )?;
        self.fact(
            "etcd_server_id",
            "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
            "server_id",
            &format!("{member:x}"),
        )?;
        self.gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.")?.set(1);
        self.gauge("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.")?.set(1);
        self.gauge("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.")?;
        Ok(())
    }
}

impl Metrics {
    pub(crate) fn new(member: u64) -> Result<Metrics> {
        let m = Maker(Registry::new());
        m.facts(member)?;
        let size = "Total size of the underlying database physically allocated in bytes.";
        let in_use = "Total size of the underlying database logically in use in bytes.";
        let rpc = ["grpc_type", "grpc_service", "grpc_method"];
        let coded = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
        Ok(Metrics {
            puts: m.counter("etcd_mvcc_put_total", "Total number of puts seen by this member.")?,
            deletes: m.counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member.")?,
            ranges: m.counter("etcd_mvcc_range_total", "Total number of ranges seen by this member.")?,
            txns: m.counter("etcd_mvcc_txn_total", "Total number of txns seen by this member.")?,
            events: m.counter("etcd_debugging_mvcc_events_total", "Total number of events sent by this member.")?,
            watchers: m.gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.")?,
            watch_streams: m.gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.")?,
            leases_granted: m.counter("etcd_debugging_lease_granted_total", "The total number of granted leases.")?,
            leases_revoked: m.counter("etcd_debugging_lease_revoked_total", "The total number of revoked leases.")?,
            leases_renewed: m
                .counter("etcd_debugging_lease_renewed_total", "The number of renewed leases seen by the leader.")?,
            health_success: m.counter("etcd_server_health_success", "The total number of successful health checks")?,
            health_failures: m.counter("etcd_server_health_failures", "The total number of failed health checks")?,
            checks: m.counters(
                "etcd_server_healthchecks_total",
                "The total number of each kind of healthcheck.",
                &["type", "name", "status"],
            )?,
            started: m.counters("grpc_server_started_total", "Total number of RPCs started on the server.", &rpc)?,
            handled: m.counters(
                "grpc_server_handled_total",
                "Total number of RPCs completed on the server, regardless of success or failure.",
                &coded,
            )?,
            revision: m.gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.")?,
            size: m.gauge("etcd_mvcc_db_total_size_in_bytes", size)?,
            size_in_use: m.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", in_use)?,
            quota: m.gauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.")?,
            registry: m.0,
        })
    }

    /// The text of all metrics, with what is told of the store.
    pub(crate) fn text(&self, revision: i64, size: i64, quota: i64) -> Vec<u8> {
        self.revision.set(revision);
        self.size.set(size);
        self.size_in_use.set(size);
        self.quota.set(quota);
        let mut text = Vec::new();
        // A vector takes everything.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}
