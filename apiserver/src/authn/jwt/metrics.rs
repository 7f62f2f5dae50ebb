//! What is counted of JWT authenticators (k8s.io/apiserver/plugin/pkg/authenticator/token/oidc/metrics.go@v0.37.2).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, Opts};

use crate::configuration::metrics::{hash, now};

/// Upper bounds in seconds.
const SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const RESULTS: [&str; 2] = ["failure", "success"];

/// Of all authenticators; clones count together.
#[derive(Clone)]
pub(crate) struct Metrics {
    latency: HistogramVec,
    fetched: GaugeVec,
    info: GaugeVec,
    /// The digest of an issuer's key set, by that of the issuer.
    sets: Arc<Mutex<HashMap<String, String>>>,
    server: String,
}

impl Metrics {
    /// `server`: the API server's identity.
    pub(crate) fn new(server: &str) -> Self {
        let name = |last: &str| format!("apiserver_authentication_jwt_authenticator_{last}");
        let gauge = |last: &str, help: &str, labels: &[&str]| {
            GaugeVec::new(Opts::new(name(last), help), labels).expect("a name and labels that are valid")
        };
        let latency = HistogramOpts::new(
            name("latency_seconds"),
            "[ALPHA] Latency of jwt authentication operations in seconds. This is the time spent authenticating a token for cache miss only (i.e. when the token is not found in the cache).",
        );
        let latency = HistogramVec::new(latency.buckets(SECONDS.to_vec()), &["jwt_issuer_hash", "result"]);
        Metrics {
            latency: latency.expect("a name and labels that are valid"),
            fetched: gauge(
                "jwks_fetch_last_timestamp_seconds",
                "[ALPHA] Timestamp of the last successful or failed JWKS fetch split by result, api server identity and jwt issuer for the JWT authenticator.",
                &["apiserver_id_hash", "jwt_issuer_hash", "result"],
            ),
            info: gauge(
                "jwks_fetch_last_key_set_info",
                "[ALPHA] Information about the last JWKS fetched by the JWT authenticator with hash as label, split by api server identity and jwt issuer.",
                &["apiserver_id_hash", "hash", "jwt_issuer_hash"],
            ),
            sets: Arc::default(),
            server: hash(server.as_bytes()),
        }
    }

    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [Box::new(self.latency.clone()), Box::new(self.fetched.clone()), Box::new(self.info.clone())]
    }

    /// Of one issuer.
    pub(super) fn issuer(&self, url: &str) -> Issuer {
        Issuer { metrics: self.clone(), issuer: hash(url.as_bytes()) }
    }
}

/// Counts for one issuer.
#[derive(Clone)]
pub(super) struct Issuer {
    metrics: Metrics,
    issuer: String,
}

impl Issuer {
    pub(super) fn authenticated(&self, success: bool, took: Duration) {
        let result = RESULTS[usize::from(success)];
        self.metrics.latency.with_label_values(&[self.issuer.as_str(), result]).observe(took.as_secs_f64());
    }

    pub(super) fn fetch_failed(&self) {
        self.fetch(RESULTS[0]);
    }

    pub(super) fn fetched(&self, set: &[u8]) {
        self.replace(Some(hash(set)));
        self.fetch(RESULTS[1]);
    }

    /// The issuer is not configured any more.
    pub(super) fn forget(&self) {
        self.replace(None);
        for result in RESULTS {
            // One that never was is no matter.
            let _ = self.metrics.fetched.remove_label_values(&[&*self.metrics.server, &*self.issuer, result]);
        }
    }

    fn fetch(&self, result: &str) {
        self.metrics.fetched.with_label_values(&[&*self.metrics.server, &*self.issuer, result]).set(now());
    }

    fn replace(&self, set: Option<String>) {
        let Metrics { info, sets, server, .. } = &self.metrics;
        let mut sets = sets.lock();
        if let Some(old) = sets.remove(&self.issuer) {
            let _ = info.remove_label_values(&[&**server, &*old, &*self.issuer]);
        }
        if let Some(set) = set {
            info.with_label_values(&[&**server, &*set, &*self.issuer]).set(1.0);
            sets.insert(self.issuer.clone(), set);
        }
    }
}
