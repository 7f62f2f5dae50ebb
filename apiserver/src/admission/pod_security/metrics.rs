//! What is counted of evaluations (k8s.io/pod-security-admission/metrics/metrics.go@v0.37.2).

use prometheus::CounterVec;
use prometheus::core::Collector;

use super::policy::{Level, LevelVersion, Version};
use crate::admission::{Attributes, Operation};
use crate::metrics::counter;

/// This server's minor version; newer ones of the standard are counted as `future`.
const MINOR: u32 = 37;

/// How a level is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Enforce,
    Audit,
    Warn,
}

impl Mode {
    fn text(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
            Mode::Warn => "warn",
        }
    }
}

#[derive(Clone)]
pub(crate) struct Metrics {
    evaluations: CounterVec,
    /// Nobody is exempt: there is no configuration that says so.
    exemptions: CounterVec,
    errors: CounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let evaluations = counter(
            "pod_security_evaluations_total",
            "[ALPHA] Number of policy evaluations that occurred, not counting ignored or exempt requests.",
            &["decision", "mode", "policy_level", "policy_version", "request_operation", "resource", "subresource"],
        );
        let exemptions = counter(
            "pod_security_exemptions_total",
            "[ALPHA] Number of exempt requests, not counting ignored or out of scope requests.",
            &["request_operation", "resource", "subresource"],
        );
        let errors = counter(
            "pod_security_errors_total",
            "[ALPHA] Number of errors preventing normal evaluation. Non-fatal errors may result in the latest restricted profile being used for evaluation.",
            &["fatal", "request_operation", "resource", "subresource"],
        );
        // These are shown before anything is counted.
        for operation in ["create", "update"] {
            evaluations.with_label_values(&["allow", "enforce", "privileged", "latest", operation, "pod", ""]);
            for resource in ["pod", "controller"] {
                exemptions.with_label_values(&[operation, resource, ""]);
            }
        }
        Metrics { evaluations, exemptions, errors }
    }
}

impl Metrics {
    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [Box::new(self.evaluations.clone()), Box::new(self.exemptions.clone()), Box::new(self.errors.clone())]
    }

    pub(super) fn evaluated(&self, allowed: bool, mode: Mode, at: LevelVersion, attributes: &Attributes<'_>) {
        let decision = if allowed { "allow" } else { "deny" };
        let version = version(at);
        let [operation, resource, subresource] = request(attributes);
        let level = at.level.text();
        self.evaluations
            .with_label_values(&[decision, mode.text(), level, &*version, operation, resource, subresource])
            .inc();
    }

    pub(super) fn failed(&self, fatal: bool, attributes: &Attributes<'_>) {
        let [operation, resource, subresource] = request(attributes);
        let fatal = if fatal { "true" } else { "false" };
        self.errors.with_label_values(&[fatal, operation, resource, subresource]).inc();
    }
}

fn version(at: LevelVersion) -> std::borrow::Cow<'static, str> {
    match at.version {
        _ if at.level == Level::Privileged => "latest".into(),
        Version::Latest => "latest".into(),
        Version::Minor(minor) if minor <= MINOR => format!("v1.{minor}").into(),
        Version::Minor(_) => "future".into(),
    }
}

/// The labels of a request: operation, resource and subresource.
fn request<'a>(attributes: &Attributes<'a>) -> [&'a str; 3] {
    let operation = if attributes.operation == Operation::Update { "update" } else { "create" };
    let resource = match (attributes.group, attributes.resource) {
        ("", "pods") => "pod",
        ("", "namespaces") => "namespace",
        _ => "controller",
    };
    [operation, resource, attributes.subresource]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(level: Level, at: Version, expect: &str) {
        assert_eq!(version(LevelVersion { level, version: at }), expect);
    }

    #[test]
    fn versions_that_are_not_yet_known_are_the_future() {
        check(Level::Baseline, Version::Minor(37), "v1.37");
        check(Level::Restricted, Version::Minor(38), "future");
        check(Level::Restricted, Version::Latest, "latest");
        check(Level::Privileged, Version::Minor(20), "latest");
    }

    #[test]
    fn what_is_cached_upstream_is_shown_from_the_beginning() {
        let metrics = Metrics::default();
        let families: Vec<_> = metrics.collectors().iter().flat_map(|collector| collector.collect()).collect();
        let shown: Vec<_> = families.iter().map(|family| (family.name(), family.get_metric().len())).collect();
        let expect = [("pod_security_evaluations_total", 2), ("pod_security_exemptions_total", 4)];
        assert_eq!(shown.into_iter().filter(|(_, samples)| *samples > 0).collect::<Vec<_>>(), expect);
    }
}
