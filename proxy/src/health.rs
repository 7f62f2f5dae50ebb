//! Is the proxy alive, and should load balancers use this node: /healthz, /livez, and the metrics
//! port. Facts: pkg/proxy/healthcheck/proxy_health.go@v1.37.2.
//!
//! Invariant: unhealthy means that a change has waited longer than the timeout to be programmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::family::Family;
use crate::http::{Handler, not_found, reply};
use crate::metrics::Metrics;

const MODE: &str = "nftables";
const PLAIN: &str = "text/plain; charset=utf-8";

pub(crate) struct ProxyHealth {
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    updated: BTreeMap<Family, Timestamp>,
    /// Since when a change waits.
    queued: BTreeMap<Family, Instant>,
    node_eligible: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<&'static str, FamilyReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyReport {
    last_updated: Timestamp,
    healthy: bool,
}

impl ProxyHealth {
    pub(crate) fn new(timeout: Duration) -> Self {
        ProxyHealth { timeout, state: Mutex::default() }
    }

    /// The rules of the family are up to date.
    pub(crate) fn updated(&self, family: Family, now: Timestamp) {
        let mut state = self.state.lock();
        state.queued.remove(&family);
        state.updated.insert(family, now);
    }

    /// A change of the family waits to be programmed.
    pub(crate) fn queued(&self, family: Family, now: Instant) {
        self.state.lock().queued.entry(family).or_insert(now);
    }

    pub(crate) fn note_node(&self, eligible: bool) {
        self.state.lock().node_eligible = eligible;
    }

    pub(crate) fn is_healthy(&self, now: Instant) -> bool {
        self.state.lock().queued.values().all(|since| now.duration_since(*since) < self.timeout)
    }

    fn report(&self, now: Instant, time: Timestamp) -> Report {
        let state = self.state.lock();
        let late =
            |family: &Family| state.queued.get(family).is_some_and(|since| now.duration_since(*since) >= self.timeout);
        let of = |(family, updated): (&Family, &Timestamp)| {
            (family.name(), FamilyReport { last_updated: *updated, healthy: !late(family) })
        };
        let status: BTreeMap<_, _> = state.updated.iter().map(of).collect();
        let healthy = status.values().all(|family| family.healthy);
        let last_updated = state.updated.values().max().copied().unwrap_or_default();
        Report { last_updated, current_time: time, node_eligible: None, healthy, status }
    }

    fn answer(&self, with_node: bool, now: Instant, time: Timestamp) -> (StatusCode, String) {
        let mut report = self.report(now, time);
        let mut healthy = report.healthy;
        if with_node {
            let eligible = self.state.lock().node_eligible;
            report.node_eligible = Some(eligible);
            healthy &= eligible;
        }
        if healthy {
            // Older releases reported the last run of the loop, which was always recent.
            report.last_updated = time;
        }
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, serde_json::to_string(&report).unwrap_or_default())
    }
}

/// What the health port serves.
pub(crate) fn health_handler(health: Arc<ProxyHealth>, metrics: Metrics) -> Handler {
    Arc::new(move |path| {
        let (with_node, counter) = match path {
            "/healthz" => (true, &metrics.healthz_total),
            "/livez" => (false, &metrics.livez_total),
            _ => return not_found(),
        };
        let (status, body) = health.answer(with_node, Instant::now(), Timestamp::now());
        counter.with_label_values(&[status.as_str()]).inc();
        reply(status, "application/json", body)
    })
}

/// What the metrics port serves.
pub(crate) fn metrics_handler(metrics: Metrics) -> Handler {
    Arc::new(move |path| -> Response<String> {
        match path {
            "/metrics" => reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.text()),
            "/proxyMode" => reply(StatusCode::OK, PLAIN, MODE.into()),
            "/healthz" => reply(StatusCode::OK, PLAIN, "ok".into()),
            _ => not_found(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_the_oldest_waiting_change() {
        let health = ProxyHealth::new(Duration::from_secs(60));
        let (start, time) = (Instant::now(), Timestamp::from_second(1_800_000_000).expect("a time"));
        let at = |seconds| start + Duration::from_secs(seconds);
        health.updated(Family::IPv4, time);
        assert_eq!(health.answer(true, start, time).0, StatusCode::SERVICE_UNAVAILABLE, "no node yet");
        health.note_node(true);
        let (status, body) = health.answer(true, start, time);
        assert_eq!(status, StatusCode::OK);
        let expect = r#"{"lastUpdated":"2027-01-15T08:00:00Z","currentTime":"2027-01-15T08:00:00Z","nodeEligible":true,"healthy":true,"status":{"IPv4":{"lastUpdated":"2027-01-15T08:00:00Z","healthy":true}}}"#;
        assert_eq!(body, expect);
        health.queued(Family::IPv4, start);
        health.queued(Family::IPv4, at(50));
        assert!(health.is_healthy(at(59)) && !health.is_healthy(at(60)));
        let (status, body) = health.answer(false, at(60), time);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains(r#""healthy":false"#) && !body.contains("nodeEligible"), "{body}");
        health.updated(Family::IPv4, time);
        assert!(health.is_healthy(at(1000)));
    }
}
