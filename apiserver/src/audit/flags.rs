//! The values of the `--audit-*` flags (k8s.io/apiserver/pkg/server/options/audit.go@v0.37.2).
//!
//! Invariant: a flag that is not given has upstream's default; a value that is none is told as pflag tells it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::options::{AuditBatchOptions, AuditLogOptions, AuditOptions, AuditTruncateOptions, AuditWebhookOptions};

impl AuditOptions {
    /// The options that flags stand for; `get` gives the value of a flag that was given.
    ///
    /// # Errors
    /// A value that is no number or duration: pflag's texts.
    pub fn of_flags<'v>(get: impl Fn(&str) -> Option<&'v str>) -> Result<Self, String> {
        let flags = Flags { get: &get };
        let AuditOptions { log, webhook, .. } = AuditOptions::default();
        Ok(AuditOptions {
            policy_file: get("audit-policy-file").filter(|path| !path.is_empty()).map(PathBuf::from),
            log: AuditLogOptions {
                path: flags.text("audit-log-path", log.path),
                max_age: flags.integer("audit-log-maxage", log.max_age)?,
                max_backups: flags.integer("audit-log-maxbackup", log.max_backups)?,
                max_size: flags.integer("audit-log-maxsize", log.max_size)?,
                compress: flags.switch("audit-log-compress", log.compress),
                format: flags.text("audit-log-format", log.format),
                version: flags.text("audit-log-version", log.version),
                batch: flags.batch("log", log.batch)?,
                truncate: flags.truncate("log", log.truncate)?,
            },
            webhook: AuditWebhookOptions {
                config_file: flags.text("audit-webhook-config-file", webhook.config_file),
                initial_backoff: flags.duration("audit-webhook-initial-backoff", webhook.initial_backoff)?,
                version: flags.text("audit-webhook-version", webhook.version),
                batch: flags.batch("webhook", webhook.batch)?,
                truncate: flags.truncate("webhook", webhook.truncate)?,
            },
        })
    }
}

struct Flags<'g, 'v> {
    get: &'g dyn Fn(&str) -> Option<&'v str>,
}

impl Flags<'_, '_> {
    fn batch(&self, plugin: &str, default: AuditBatchOptions) -> Result<AuditBatchOptions, String> {
        let flag = |name: &str| format!("audit-{plugin}-batch-{name}");
        Ok(AuditBatchOptions {
            mode: self.text(&format!("audit-{plugin}-mode"), default.mode),
            buffer_size: self.integer(&flag("buffer-size"), default.buffer_size)?,
            max_size: self.integer(&flag("max-size"), default.max_size)?,
            max_wait: self.duration(&flag("max-wait"), default.max_wait)?,
            throttle_enable: self.switch(&flag("throttle-enable"), default.throttle_enable),
            throttle_qps: self.parsed(&flag("throttle-qps"), default.throttle_qps, "ParseFloat")?,
            throttle_burst: self.integer(&flag("throttle-burst"), default.throttle_burst)?,
        })
    }

    fn truncate(&self, plugin: &str, default: AuditTruncateOptions) -> Result<AuditTruncateOptions, String> {
        let flag = |name: &str| format!("audit-{plugin}-truncate-{name}");
        Ok(AuditTruncateOptions {
            enabled: self.switch(&flag("enabled"), default.enabled),
            max_batch_size: self.integer(&flag("max-batch-size"), default.max_batch_size)?,
            max_event_size: self.integer(&flag("max-event-size"), default.max_event_size)?,
        })
    }

    fn text(&self, flag: &str, default: String) -> String {
        (self.get)(flag).map_or(default, str::to_owned)
    }

    fn switch(&self, flag: &str, default: bool) -> bool {
        (self.get)(flag).map_or(default, |text| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    fn integer(&self, flag: &str, default: i64) -> Result<i64, String> {
        self.parsed(flag, default, "ParseInt")
    }

    fn parsed<T: FromStr>(&self, flag: &str, default: T, function: &str) -> Result<T, String> {
        let Some(text) = (self.get)(flag) else { return Ok(default) };
        text.parse().map_err(|_| wrong(flag, text, &format!("strconv.{function}: parsing {text:?}: invalid syntax")))
    }

    fn duration(&self, flag: &str, default: Duration) -> Result<Duration, String> {
        let Some(text) = (self.get)(flag) else { return Ok(default) };
        let nanos = api::duration::parse(text).map_err(|error| wrong(flag, text, &error.to_string()))?;
        Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
    }
}

fn wrong(flag: &str, text: &str, why: &str) -> String {
    format!("invalid argument {text:?} for \"--{flag}\" flag: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[(&str, &'static str)], expect: Result<&str, &str>) {
        let get = |flag: &str| given.iter().find(|(name, _)| *name == flag).map(|(_, value)| *value);
        let got = AuditOptions::of_flags(get).map(|AuditOptions { policy_file, log, webhook }| {
            let size = log.truncate.max_event_size;
            let (wait, qps) = (webhook.batch.max_wait, webhook.batch.throttle_qps);
            format!(
                "{policy_file:?} {} {} {} {} {size} {} {:?} {} {wait:?} {qps}",
                log.path,
                log.max_size,
                log.format,
                log.batch.mode,
                log.compress,
                webhook.initial_backoff,
                webhook.batch.max_size,
            )
        });
        assert_eq!(got.as_deref().map_err(String::as_str), expect, "{given:?}");
    }

    #[test]
    fn flags_and_their_defaults() {
        check(&[], Ok("None  100 json blocking 102400 false 10s 400 30s 10"));
        let given = [
            ("audit-policy-file", "p"),
            ("audit-log-path", "-"),
            ("audit-log-maxsize", "0"),
            ("audit-log-format", "legacy"),
            ("audit-log-mode", "batch"),
            ("audit-log-compress", "true"),
            ("audit-log-truncate-max-event-size", "5"),
            ("audit-webhook-initial-backoff", "1m"),
            ("audit-webhook-batch-max-size", "7"),
            ("audit-webhook-batch-max-wait", "500ms"),
            ("audit-webhook-batch-throttle-qps", "0.5"),
        ];
        check(&given, Ok("Some(\"p\") - 0 legacy batch 5 true 60s 7 500ms 0.5"));
        check(
            &[("audit-webhook-batch-max-wait", "x")],
            Err("invalid argument \"x\" for \"--audit-webhook-batch-max-wait\" flag: time: invalid duration \"x\""),
        );
        check(
            &[("audit-log-maxage", "x")],
            Err(
                "invalid argument \"x\" for \"--audit-log-maxage\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
        );
    }
}
