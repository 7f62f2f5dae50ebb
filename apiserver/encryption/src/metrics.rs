//! What is counted, with upstream's names (k8s.io/apiserver/pkg/storage/value/metrics.go,
//! pkg/storage/value/encrypt/envelope/metrics/metrics.go, pkg/server/options/encryptionconfig/metrics/metrics.go@v0.37.2).
//!
//! Invariant: key IDs and the server's name are shown as hashes, and only the last hundred of them are kept.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts, exponential_buckets};

use crate::{Clock, Error, hash};

/// Sets of labels with a key ID that are kept (envelope/metrics.go: cacheSize).
const KEY_IDS_MAX: usize = 100;

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    FromStorage,
    ToStorage,
}

impl Way {
    fn text(self) -> &'static str {
        match self {
            Way::FromStorage => "from_storage",
            Way::ToStorage => "to_storage",
        }
    }
}

/// The sets of labels used last; what falls out is forgotten by its metrics.
#[derive(Default)]
struct Recent(Mutex<VecDeque<Vec<String>>>);

impl Recent {
    /// Notes a use; gives what has fallen out.
    fn used(&self, labels: &[&str]) -> Option<Vec<String>> {
        let mut recent = self.0.lock();
        let at = recent.iter().position(|one| one.iter().eq(labels.iter()));
        let entry = at.and_then(|at| recent.remove(at));
        recent.push_back(entry.unwrap_or_else(|| labels.iter().map(ToString::to_string).collect()));
        if recent.len() > KEY_IDS_MAX { recent.pop_front() } else { None }
    }
}

/// All of them; registered whether or not anything is encrypted.
pub struct Metrics {
    clock: Clock,
    /// Of the server's name.
    server_hash: String,
    values: Values,
    plugins: Plugins,
    files: Files,
}

/// Values on their way.
struct Values {
    seconds: HistogramVec,
    operations: CounterVec,
    cache_misses: prometheus::Counter,
    key_seconds: Histogram,
    key_failures: prometheus::Counter,
}

/// KMS plugins.
struct Plugins {
    /// Of KMS v1, which is off: shown, never set.
    cache_fill: Gauge,
    calls: HistogramVec,
    key_ids: CounterVec,
    key_id_times: GaugeVec,
    status_times: GaugeVec,
    invalid_key_ids: CounterVec,
    sources: GaugeVec,
    recent_key_ids: Recent,
    recent_status: Recent,
}

/// Configurations.
struct Files {
    reloads: CounterVec,
    reload_times: GaugeVec,
    configuration: GaugeVec,
}

fn counters(name: &str, help: &str, labels: &[&str]) -> CounterVec {
    CounterVec::new(Opts::new(name, help), labels).expect("a name and labels that are valid")
}

fn counter(name: &str, help: &str) -> prometheus::Counter {
    prometheus::Counter::new(name, help).expect("a name that is valid")
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), labels).expect("a name and labels that are valid")
}

/// `count` buckets from `start` seconds on, each twice as wide as the one before.
fn options(name: &str, help: &str, start: f64, count: usize) -> HistogramOpts {
    let buckets = exponential_buckets(start, 2.0, count).expect("a start above zero");
    HistogramOpts::new(name, help).buckets(buckets)
}

fn histograms(options: HistogramOpts, labels: &[&str]) -> HistogramVec {
    HistogramVec::new(options, labels).expect("a name and labels that are valid")
}

impl Values {
    fn new() -> Self {
        Values {
            seconds: histograms(
                options(
                    "apiserver_storage_transformation_duration_seconds",
                    "[ALPHA] Latencies in seconds of value transformation operations.",
                    5e-6,
                    25,
                ),
                &["transformation_type", "transformer_prefix"],
            ),
            operations: counters(
                "apiserver_storage_transformation_operations_total",
                "[ALPHA] Total number of transformations. Successful transformation will have a status 'OK' and a varied status string when the transformation fails. The status, resource, and transformation_type fields can be used for alerting purposes. For example, you can monitor for encryption/decryption failures using the transformation_type (e.g., from_storage for decryption and to_storage for encryption). Additionally, these fields can be used to ensure that the correct transformers are applied to each resource.",
                &["resource", "transformation_type", "transformer_prefix", "status"],
            ),
            cache_misses: counter(
                "apiserver_storage_envelope_transformation_cache_misses_total",
                "[ALPHA] Total number of cache misses while accessing key decryption key(KEK).",
            ),
            key_seconds: Histogram::with_opts(options(
                "apiserver_storage_data_key_generation_duration_seconds",
                "[ALPHA] Latencies in seconds of data encryption key(DEK) generation operations.",
                5e-6,
                14,
            ))
            .expect("a name that is valid"),
            key_failures: counter(
                "apiserver_storage_data_key_generation_failures_total",
                "[ALPHA] Total number of failed data encryption key(DEK) generation operations.",
            ),
        }
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.seconds.clone()),
            Box::new(self.operations.clone()),
            Box::new(self.cache_misses.clone()),
            Box::new(self.key_seconds.clone()),
            Box::new(self.key_failures.clone()),
        ]
    }
}

impl Plugins {
    fn new() -> Self {
        let key_labels = ["transformation_type", "provider_name", "key_id_hash", "apiserver_id_hash"];
        let cache_fill = Gauge::new(
            "apiserver_envelope_encryption_dek_cache_fill_percent",
            "[ALPHA] Percent of the cache slots currently occupied by cached DEKs.",
        );
        Plugins {
            cache_fill: cache_fill.expect("a name that is valid"),
            calls: histograms(
                options(
                    "apiserver_envelope_encryption_kms_operations_latency_seconds",
                    "[ALPHA] KMS operation duration with gRPC error code status total.",
                    0.0001,
                    20,
                ),
                &["provider_name", "method_name", "grpc_status_code"],
            ),
            key_ids: counters(
                "apiserver_envelope_encryption_key_id_hash_total",
                "[ALPHA] Number of times a keyID is used split by transformation type, provider, and apiserver identity.",
                &key_labels,
            ),
            key_id_times: gauges(
                "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds",
                "[ALPHA] The last time in seconds when a keyID was used.",
                &key_labels,
            ),
            status_times: gauges(
                "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
                "[ALPHA] The last time in seconds when a keyID was returned by the Status RPC call.",
                &key_labels[1..],
            ),
            invalid_key_ids: counters(
                "apiserver_envelope_encryption_invalid_key_id_from_status_total",
                "[ALPHA] Number of times an invalid keyID is returned by the Status RPC call split by error.",
                &["provider_name", "error"],
            ),
            sources: gauges(
                "apiserver_envelope_encryption_dek_source_cache_size",
                "[ALPHA] Number of records in data encryption key (DEK) source cache. On a restart, this value is an approximation of the number of decrypt RPC calls the server will make to the KMS plugin.",
                &["provider_name"],
            ),
            recent_key_ids: Recent::default(),
            recent_status: Recent::default(),
        }
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.cache_fill.clone()),
            Box::new(self.calls.clone()),
            Box::new(self.key_ids.clone()),
            Box::new(self.key_id_times.clone()),
            Box::new(self.status_times.clone()),
            Box::new(self.invalid_key_ids.clone()),
            Box::new(self.sources.clone()),
        ]
    }
}

impl Files {
    fn new() -> Self {
        let labels = ["status", "apiserver_id_hash"];
        Files {
            reloads: counters(
                "apiserver_encryption_config_controller_automatic_reloads_total",
                "[ALPHA] Total number of reload successes and failures of encryption configuration split by apiserver identity.",
                &labels,
            ),
            reload_times: gauges(
                "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
                "[ALPHA] Timestamp of the last successful or failed automatic reload of encryption configuration split by apiserver identity.",
                &labels,
            ),
            configuration: gauges(
                "apiserver_encryption_config_controller_last_config_info",
                "[ALPHA] Information about the last applied encryption configuration with hash as label, split by apiserver identity.",
                &["apiserver_id_hash", "hash"],
            ),
        }
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.reloads.clone()), Box::new(self.reload_times.clone()), Box::new(self.configuration.clone())]
    }
}

impl Metrics {
    /// `server`: the name that this server has among its like.
    pub fn new(server: &str, clock: Clock) -> Self {
        let server_hash = hash(server.as_bytes());
        Metrics { clock, server_hash, values: Values::new(), plugins: Plugins::new(), files: Files::new() }
    }

    /// For a registry.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        [self.values.collectors(), self.plugins.collectors(), self.files.collectors()].into_iter().flatten().collect()
    }

    fn now_seconds(&self) -> f64 {
        (self.clock)().as_microsecond() as f64 / 1e6
    }

    pub(crate) fn transformed(&self, resource: &str, way: Way, prefix: &str, took: Duration, failure: Option<&Error>) {
        let code = failure.map_or("OK", Error::code);
        self.values.operations.with_label_values(&[resource, way.text(), prefix, code]).inc();
        if failure.is_none() {
            self.values.seconds.with_label_values(&[way.text(), prefix]).observe(took.as_secs_f64());
        }
    }

    pub(crate) fn missed(&self) {
        self.values.cache_misses.inc();
    }

    pub(crate) fn key_made(&self, took: Duration, failed: bool) {
        match failed {
            true => self.values.key_failures.inc(),
            false => self.values.key_seconds.observe(took.as_secs_f64()),
        }
    }

    /// A call to a plugin is over; `method` as gRPC has it: `/v2.KeyManagementService/Status`.
    pub(crate) fn called(&self, provider: &str, method: &str, took: Duration, failure: Option<&Error>) {
        let code = failure.map_or("OK", Error::code);
        self.plugins.calls.with_label_values(&[provider, method, code]).observe(took.as_secs_f64());
    }

    pub(crate) fn key_id(&self, way: Way, provider: &str, key_id: &str) {
        let key_hash = hash(key_id.as_bytes());
        let labels = [way.text(), provider, &key_hash, &self.server_hash];
        if let Some(gone) = self.plugins.recent_key_ids.used(&labels) {
            let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
            // One that was never counted is as good as forgotten.
            let _ =
                (self.plugins.key_ids.remove_label_values(&gone), self.plugins.key_id_times.remove_label_values(&gone));
        }
        self.plugins.key_ids.with_label_values(&labels).inc();
        self.plugins.key_id_times.with_label_values(&labels).set(self.now_seconds());
    }

    pub(crate) fn status_key_id(&self, provider: &str, key_id: &str) {
        let key_hash = hash(key_id.as_bytes());
        let labels = [provider, &key_hash, &self.server_hash];
        if let Some(gone) = self.plugins.recent_status.used(&labels) {
            let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
            let _ = self.plugins.status_times.remove_label_values(&gone);
        }
        self.plugins.status_times.with_label_values(&labels).set(self.now_seconds());
    }

    pub(crate) fn invalid_key_id(&self, provider: &str, why: &str) {
        self.plugins.invalid_key_ids.with_label_values(&[provider, why]).inc();
    }

    pub(crate) fn sources(&self, provider: &str, count: usize) {
        self.plugins.sources.with_label_values(&[provider]).set(count as f64);
    }

    /// A changed configuration was taken or refused.
    pub fn reloaded(&self, success: bool) {
        let labels = [if success { "success" } else { "failure" }, &self.server_hash];
        self.files.reloads.with_label_values(&labels).inc();
        self.files.reload_times.with_label_values(&labels).set(self.now_seconds());
    }

    /// The hash of the configuration that is used from now on.
    pub fn applied(&self, hash: &str) {
        self.files.configuration.reset();
        self.files.configuration.with_label_values(&[&*self.server_hash, hash]).set(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::sync::Arc;

    #[test]
    fn only_the_last_hundred_key_ids_are_shown() {
        let metrics = Metrics::new("apiserver-x", Arc::new(|| Timestamp::UNIX_EPOCH));
        for id in 0..=KEY_IDS_MAX {
            metrics.key_id(Way::FromStorage, "kms", &id.to_string());
        }
        // The one that was about to fall out is used again.
        metrics.key_id(Way::FromStorage, "kms", "1");
        metrics.key_id(Way::FromStorage, "kms", "new");
        let families = metrics.plugins.key_ids.collect();
        let shown: Vec<&str> = families[0]
            .get_metric()
            .iter()
            .map(|metric| {
                let label = metric.get_label().iter().find(|label| label.name() == "key_id_hash");
                label.map_or("", |label| label.value())
            })
            .collect();
        assert_eq!(shown.len(), KEY_IDS_MAX);
        let shows = |id: &str| shown.contains(&hash(id.as_bytes()).as_str());
        assert!(shows("new") && shows("1") && shows("3"));
        assert!(!shows("0") && !shows("2"));
    }
}
