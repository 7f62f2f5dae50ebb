//! The levels that a namespace's labels name (k8s.io/pod-security-admission/api/helpers.go@v0.37.2).

use std::fmt::{self, Display};

use api::field::{self, Errors, Path};
use api::value::Map;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// The minor version of the standard, or the latest there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Minor(u32),
    Latest,
}

impl Version {
    /// `latest`, or `v1.` and a number without leading zeros.
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Version::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let digits = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
        let canonical = digits && (minor == "0" || !minor.starts_with('0'));
        minor.parse().ok().filter(|_| canonical).map(Version::Minor)
    }

    pub(super) fn at_least(self, minor: u32) -> bool {
        self >= Version::Minor(minor)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.text();
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

pub(super) const DEFAULT: LevelVersion = LevelVersion { level: Level::Privileged, version: Version::Latest };

/// What is enforced, what the audit log is told of, and what is warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: LevelVersion,
    pub(super) audit: LevelVersion,
    pub(super) warn: LevelVersion,
}

impl Policy {
    /// The policy of a namespace, with what is wrong with its labels.
    pub(super) fn of(labels: &Map) -> (Policy, Errors) {
        let mut errors = Errors::new();
        // A level that cannot be read enforces the strictest, and warns of nothing.
        let enforce = mode(labels, "enforce", Level::Restricted, &mut errors);
        let audit = mode(labels, "audit", Level::Privileged, &mut errors);
        let mut warn = mode(labels, "warn", Level::Privileged, &mut errors);
        let has = |mode: &str| labels.contains(&label(mode));
        let enforce_read = Level::parse(labels.str(&label("enforce"))).is_some();
        if !has("warn") && enforce_read && enforce.level > warn.level {
            warn.level = enforce.level;
            if !has("warn-version") {
                warn.version = enforce.version;
            }
        }
        (Policy { enforce, audit, warn }, errors)
    }

    pub(super) fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }
}

fn label(mode: &str) -> String {
    format!("pod-security.kubernetes.io/{mode}")
}

fn mode(labels: &Map, name: &str, unreadable: Level, errors: &mut Errors) -> LevelVersion {
    let mut mode = DEFAULT;
    let mut refuse = |label: &str, value: &str, why: &str| {
        errors.push(field::invalid(&Path::new("metadata").child("labels").key(label), value, why));
    };
    let (level, version) = (label(name), label(&format!("{name}-version")));
    if labels.contains(&level) {
        mode.level = Level::parse(labels.str(&level)).unwrap_or_else(|| {
            refuse(&level, labels.str(&level), "must be one of privileged, baseline, restricted");
            unreadable
        });
    }
    if labels.contains(&version) {
        mode.version = Version::parse(labels.str(&version)).unwrap_or_else(|| {
            refuse(&version, labels.str(&version), "must be \"latest\" or \"v1.x\"");
            Version::Latest
        });
    }
    mode
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[(&str, &str)], expect: &str, wrong: usize) {
        let labels: Map = labels.iter().map(|row| (label(row.0).into(), row.1.into())).collect();
        let (policy, errors) = Policy::of(&labels);
        assert_eq!(format!("{} {}", policy.enforce, policy.warn), expect, "{labels:?}");
        assert_eq!(errors.len(), wrong);
    }

    #[test]
    fn labels_name_levels() {
        check(&[], "privileged:latest privileged:latest", 0);
        check(&[("enforce", "baseline"), ("enforce-version", "v1.30")], "baseline:v1.30 baseline:v1.30", 0);
        check(&[("enforce", "restricted"), ("warn", "baseline")], "restricted:latest baseline:latest", 0);
        check(&[("enforce", "x"), ("warn-version", "v1.01")], "restricted:latest privileged:latest", 2);
    }
}
