//! What is counted of APIServices, with upstream's names
//! (k8s.io/kube-aggregator/pkg/controllers/status/metrics/metrics.go@v0.37.2).

use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, Opts};

#[derive(Clone)]
pub(crate) struct Metrics {
    unavailable: GaugeVec,
    became_unavailable: CounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let gauge = Opts::new(
            "aggregator_unavailable_apiservice",
            "[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name.",
        );
        let counter = Opts::new(
            "aggregator_unavailable_apiservice_total",
            "[ALPHA] Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
        );
        Metrics {
            unavailable: GaugeVec::new(gauge, &["name"]).expect("a name and labels that are valid"),
            became_unavailable: CounterVec::new(counter, &["name", "reason"])
                .expect("a name and labels that are valid"),
        }
    }
}

impl Metrics {
    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [Box::new(self.unavailable.clone()), Box::new(self.became_unavailable.clone())]
    }

    pub(super) fn set(&self, name: &str, available: bool) {
        self.unavailable.with_label_values(&[name]).set(if available { 0.0 } else { 1.0 });
    }

    /// It was available, and is not any more.
    pub(super) fn lost(&self, name: &str, reason: &str) {
        self.became_unavailable.with_label_values(&[name, reason]).inc();
    }

    pub(super) fn forget(&self, name: &str) {
        // One that never was there needs no forgetting.
        let _ = self.unavailable.remove_label_values(&[name]);
    }
}
