//! The `--audit-*` flags (k8s.io/apiserver/pkg/server/options/audit.go@v0.37.2).
//!
//! Invariant: defaults and texts are upstream's. Non-goal: reading files.

use std::path::PathBuf;
use std::time::Duration;

use super::event::GROUP_VERSION;

/// Modes in upstream's order.
const MODES: [&str; 3] = [BATCH, "blocking", BLOCKING_STRICT];
/// Events are told later, several at once.
pub(super) const BATCH: &str = "batch";
/// Events are told before the request goes on, which is refused when its beginning cannot be told.
pub(super) const BLOCKING_STRICT: &str = "blocking-strict";
/// Formats of the log.
const FORMATS: [&str; 2] = [LEGACY, "json"];
pub(super) const LEGACY: &str = "legacy";

/// Everything about audit that kube-apiserver is told.
#[derive(Clone, Debug, Default)]
pub struct AuditOptions {
    /// --audit-policy-file; without one nothing is told
    pub policy_file: Option<PathBuf>,
    pub log: AuditLogOptions,
    pub webhook: AuditWebhookOptions,
}

/// The `--audit-log-*` flags.
#[derive(Clone, Debug)]
pub struct AuditLogOptions {
    /// --audit-log-path; `-` is standard output, nothing is no log
    pub path: String,
    /// --audit-log-maxage, days; 0: for ever
    pub max_age: i64,
    /// --audit-log-maxbackup, files; 0: all
    pub max_backups: i64,
    /// --audit-log-maxsize, megabytes; 0: the file is never rotated
    pub max_size: i64,
    /// --audit-log-compress
    pub compress: bool,
    /// --audit-log-format
    pub format: String,
    /// --audit-log-version
    pub version: String,
    pub batch: AuditBatchOptions,
    pub truncate: AuditTruncateOptions,
}

/// The `--audit-webhook-*` flags.
#[derive(Clone, Debug)]
pub struct AuditWebhookOptions {
    /// --audit-webhook-config-file; nothing is no webhook
    pub config_file: String,
    /// --audit-webhook-initial-backoff
    pub initial_backoff: Duration,
    /// --audit-webhook-version
    pub version: String,
    pub batch: AuditBatchOptions,
    pub truncate: AuditTruncateOptions,
}

/// `--audit-*-mode` and `--audit-*-batch-*`.
#[derive(Clone, Debug)]
pub struct AuditBatchOptions {
    pub mode: String,
    /// Events that wait; more are lost.
    pub buffer_size: i64,
    /// Events told at once.
    pub max_size: i64,
    pub max_wait: Duration,
    pub throttle_enable: bool,
    /// Batches in a second, and how many of a quiet time may go at once.
    pub throttle_qps: f32,
    pub throttle_burst: i64,
}

/// `--audit-*-truncate-*`; sizes in bytes.
#[derive(Clone, Debug)]
pub struct AuditTruncateOptions {
    pub enabled: bool,
    pub max_batch_size: i64,
    pub max_event_size: i64,
}

impl Default for AuditTruncateOptions {
    fn default() -> Self {
        AuditTruncateOptions { enabled: false, max_batch_size: 10 * 1024 * 1024, max_event_size: 100 * 1024 }
    }
}

impl Default for AuditLogOptions {
    fn default() -> Self {
        AuditLogOptions {
            path: String::new(),
            max_age: 366,
            max_backups: 100,
            max_size: 100,
            compress: false,
            format: "json".into(),
            version: GROUP_VERSION.into(),
            batch: AuditBatchOptions {
                mode: "blocking".into(),
                buffer_size: 10_000,
                max_size: 1,
                max_wait: Duration::ZERO,
                throttle_enable: false,
                throttle_qps: 0.0,
                throttle_burst: 0,
            },
            truncate: AuditTruncateOptions::default(),
        }
    }
}

impl Default for AuditWebhookOptions {
    fn default() -> Self {
        AuditWebhookOptions {
            config_file: String::new(),
            initial_backoff: Duration::from_secs(10),
            version: GROUP_VERSION.into(),
            batch: AuditBatchOptions {
                mode: BATCH.into(),
                buffer_size: 10_000,
                max_size: 400,
                max_wait: Duration::from_secs(30),
                throttle_enable: true,
                throttle_qps: 10.0,
                throttle_burst: 15,
            },
            truncate: AuditTruncateOptions::default(),
        }
    }
}

impl AuditOptions {
    /// What is wrong, in upstream's words; options of what is off are not looked at.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.log.problems();
        problems.extend(self.webhook.problems());
        problems
    }
}

impl AuditLogOptions {
    fn problems(&self) -> Vec<String> {
        if self.path.is_empty() {
            return Vec::new();
        }
        let mut problems: Vec<String> = self.batch.problem("log").into_iter().collect();
        problems.extend(self.truncate.problem("log"));
        problems.extend(version_problem(&self.version));
        if !FORMATS.contains(&self.format.as_str()) {
            let (format, known) = (&self.format, FORMATS.join(","));
            problems.push(format!("invalid audit log format {format}, allowed formats are \"{known}\""));
        }
        let limits = [("maxage", self.max_age), ("maxbackup", self.max_backups), ("maxsize", self.max_size)];
        let negative = limits.into_iter().filter(|(_, value)| *value < 0);
        problems.extend(negative.map(|(name, value)| format!("--audit-log-{name} {value} can't be a negative number")));
        problems
    }
}

impl AuditWebhookOptions {
    fn problems(&self) -> Vec<String> {
        if self.config_file.is_empty() {
            return Vec::new();
        }
        let mut problems: Vec<String> = self.batch.problem("webhook").into_iter().collect();
        problems.extend(self.truncate.problem("webhook"));
        problems.extend(version_problem(&self.version));
        problems
    }
}

impl AuditBatchOptions {
    fn problem(&self, plugin: &str) -> Option<String> {
        let positive = |what: &str, value: String| {
            Some(format!("invalid audit batch {plugin} {what} {value}, must be a positive number"))
        };
        if !MODES.contains(&self.mode.as_str()) {
            let (mode, known) = (&self.mode, MODES.join(","));
            return Some(format!("invalid audit {plugin} mode {mode}, allowed modes are \"{known}\""));
        }
        match () {
            // What is not used is not looked at.
            _ if self.mode != BATCH => None,
            _ if self.buffer_size <= 0 => positive("buffer size", self.buffer_size.to_string()),
            _ if self.max_size <= 0 => positive("max batch size", self.max_size.to_string()),
            _ if !self.throttle_enable => None,
            _ if self.throttle_qps <= 0.0 => {
                positive("throttle QPS", api::field::go_float(f64::from(self.throttle_qps)))
            }
            _ if self.throttle_burst <= 0 => positive("throttle burst", self.throttle_burst.to_string()),
            _ => None,
        }
    }
}

impl AuditTruncateOptions {
    fn problem(&self, plugin: &str) -> Option<String> {
        let (batch, event) = (self.max_batch_size, self.max_event_size);
        if event <= 0 {
            return Some(format!("invalid audit truncate {plugin} max event size {event}, must be a positive number"));
        }
        (batch < event).then(|| {
            format!(
                "invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"
            )
        })
    }
}

/// validateGroupVersionString.
fn version_problem(text: &str) -> Option<String> {
    if text == GROUP_VERSION {
        return None;
    }
    if text.matches('/').count() > 1 {
        return Some(format!("unexpected GroupVersion string: {text}"));
    }
    Some(format!("invalid group version, allowed versions are [\"{GROUP_VERSION}\"]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut AuditOptions), expect: &[&str]) {
        let mut options = AuditOptions::default();
        options.log.path = "/audit".into();
        options.webhook.config_file = "/webhook".into();
        change(&mut options);
        assert_eq!(options.problems(), expect);
    }

    #[test]
    fn options_are_checked_as_upstream_checks_them() {
        check(|_| {}, &[]);
        check(
            |options| {
                options.log.path.clear();
                options.log.batch.mode = "nope".into();
                options.webhook.config_file.clear();
                options.webhook.version = "nope".into();
            },
            &[],
        );
        let modes = "allowed modes are \"batch,blocking,blocking-strict\"";
        check(|options| options.log.batch.mode = "x".into(), &[&format!("invalid audit log mode x, {modes}")]);
        check(|options| options.webhook.batch.mode.clear(), &[&format!("invalid audit webhook mode , {modes}")]);
        check(|options| options.log.batch.buffer_size = -1, &[]);
        check(
            |options| {
                options.log.batch.mode = BATCH.into();
                options.log.batch.buffer_size = -1;
                options.log.format = "xml".into();
            },
            &[
                "invalid audit batch log buffer size -1, must be a positive number",
                "invalid audit log format xml, allowed formats are \"legacy,json\"",
            ],
        );
        check(
            |options| options.webhook.batch.max_size = 0,
            &["invalid audit batch webhook max batch size 0, must be a positive number"],
        );
        check(
            |options| options.webhook.batch.throttle_qps = -1.5,
            &["invalid audit batch webhook throttle QPS -1.5, must be a positive number"],
        );
        check(
            |options| options.webhook.batch.throttle_burst = 0,
            &["invalid audit batch webhook throttle burst 0, must be a positive number"],
        );
        check(
            |options| {
                options.webhook.batch.throttle_burst = 0;
                options.webhook.batch.throttle_enable = false;
            },
            &[],
        );
        check(
            |options| options.log.truncate.max_event_size = 0,
            &["invalid audit truncate log max event size 0, must be a positive number"],
        );
        check(
            |options| options.webhook.truncate.max_batch_size = 5,
            &["invalid audit truncate webhook max batch size 5, must be greater than max event size (102400)"],
        );
        check(
            |options| options.log.version = "audit.k8s.io/v1beta1".into(),
            &["invalid group version, allowed versions are [\"audit.k8s.io/v1\"]"],
        );
        check(|options| options.webhook.version = "a/b/c".into(), &["unexpected GroupVersion string: a/b/c"]);
        check(
            |options| (options.log.max_age, options.log.max_backups, options.log.max_size) = (-1, -2, -3),
            &[
                "--audit-log-maxage -1 can't be a negative number",
                "--audit-log-maxbackup -2 can't be a negative number",
                "--audit-log-maxsize -3 can't be a negative number",
            ],
        );
    }
}
