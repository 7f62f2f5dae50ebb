//! What is counted of configuration files that are loaded again
//! (k8s.io/apiserver/pkg/server/options/{authenticationconfig,authorizationconfig}/metrics@v0.37.2).

use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, Opts};
use sha2::{Digest, Sha256};

/// The counters of one file's controller; clones count together.
#[derive(Clone)]
pub(crate) struct Reloads {
    total: CounterVec,
    last: GaugeVec,
    info: GaugeVec,
    server: String,
}

/// `sha256:` and the digest, or nothing of nothing.
pub(crate) fn hash(text: &[u8]) -> String {
    if text.is_empty() {
        return String::new();
    }
    let hex: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

impl Reloads {
    /// Of `authentication` or `authorization`; `server` is the API server's identity.
    pub(crate) fn new(what: &str, server: &str) -> Self {
        let name = |last: &str| format!("apiserver_{what}_config_controller_{last}");
        let labels = &["apiserver_id_hash", "status"];
        let gauge = |last: &str, help: String, labels: &[&str]| {
            GaugeVec::new(Opts::new(name(last), help), labels).expect("a name and labels that are valid")
        };
        let split = "split by status and apiserver identity.";
        let total = Opts::new(
            name("automatic_reloads_total"),
            format!("[BETA] Total number of automatic reloads of {what} configuration {split}"),
        );
        Reloads {
            total: CounterVec::new(total, labels).expect("a name and labels that are valid"),
            last: gauge(
                "automatic_reload_last_timestamp_seconds",
                format!("[BETA] Timestamp of the last automatic reload of {what} configuration {split}"),
                labels,
            ),
            info: gauge(
                "last_config_info",
                format!(
                    "[ALPHA] Information about the last applied {what} configuration with hash as label, split by apiserver identity."
                ),
                &["apiserver_id_hash", "hash"],
            ),
            server: hash(server.as_bytes()),
        }
    }

    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [Box::new(self.total.clone()), Box::new(self.last.clone()), Box::new(self.info.clone())]
    }

    /// A configuration is in use.
    pub(crate) fn applied(&self, text: &[u8]) {
        self.info.reset();
        self.info.with_label_values(&[self.server.as_str(), hash(text).as_str()]).set(1.0);
    }

    /// A changed file was loaded.
    pub(crate) fn loaded(&self, text: &[u8]) {
        self.count("success");
        self.applied(text);
    }

    /// A changed file could not be used.
    pub(crate) fn failed(&self) {
        self.count("failure");
    }

    fn count(&self, status: &str) {
        let labels = [self.server.as_str(), status];
        self.total.with_label_values(&labels).inc();
        self.last.with_label_values(&labels).set(now());
    }
}
