//! Differences that are known, with the reasons why they stay: conformance/diff-reasons.txt.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::compare::Difference;

/// A line: kind, field and cause, in which `*` stands for anything, and the reason.
#[derive(Debug)]
struct Reason {
    kind: String,
    field: String,
    cause: String,
    why: String,
}

#[derive(Debug, Default)]
pub(super) struct Reasons(Vec<Reason>);

impl Reasons {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let reason = |line: &str| {
            let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
            ensure!(parts.len() == 4 && !parts[3].is_empty(), "not `kind | field | cause | reason`: {line}");
            let [kind, field, cause, why] = [0, 1, 2, 3].map(|at| parts[at].to_owned());
            Ok(Reason { kind, field, cause, why })
        };
        lines.map(reason).collect::<Result<_>>().map(Reasons)
    }

    /// Why this difference stays; none when nobody has said.
    pub(super) fn of(&self, kind: &str, difference: &Difference) -> Option<&str> {
        let known = |reason: &&Reason| {
            like(&reason.kind, kind) && like(&reason.field, &difference.field) && like(&reason.cause, &difference.cause)
        };
        self.0.iter().find(known).map(|reason| reason.why.as_str())
    }
}

/// `*` in the pattern stands for any text.
fn like(pattern: &str, text: &str) -> bool {
    // A field has [*] in it, which stands for itself.
    let pattern = pattern.replace("[*]", "[]");
    let text = text.replace("[*]", "[]");
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_for_what_its_patterns_match() {
        let reasons = Reasons::parse("# words\n\nv1.Pod | spec.a[*].b | extra* | because\n").unwrap();
        let difference = |field: &str, cause: &str| Difference { field: field.into(), cause: cause.into() };
        assert_eq!(reasons.of("v1.Pod", &difference("spec.a[*].b", "extra 1")), Some("because"));
        assert_eq!(reasons.of("v1.Pod", &difference("spec.a[*].b", "absent")), None);
        assert_eq!(reasons.of("v1.Node", &difference("spec.a[*].b", "extra 1")), None);
    }

    #[test]
    fn a_line_without_a_reason_is_refused() {
        assert!(Reasons::parse("v1.Pod | a | b | ").is_err());
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expect) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("a*b*", "xab", false),
            ("*b*d", "abcd", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(like(pattern, text), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn the_committed_file_can_be_read() {
        Reasons::read(&crate::paths::conformance().join("diff-reasons.txt")).unwrap();
    }
}
