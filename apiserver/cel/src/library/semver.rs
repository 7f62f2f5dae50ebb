//! Semantic versions.
//!
//! Invariant: overloads of `k8s.io/apiserver/pkg/cel/library/semverlib.go@v0.37.2` (version 1); reading, comparing and errors of
//! `github.com/blang/semver/v4`.

use std::any::Any;
use std::cmp::Ordering;

use super::strings::text;
use crate::functions::{Compute, Library};
use crate::types::Type;
use crate::value::{Fault, Object, Outcome, Value, go_quote};

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
semver string_to_semver (string) -> kubernetes.Semver
semver string_bool_to_semver (string, bool) -> kubernetes.Semver
isSemver is_semver_string (string) -> bool
isSemver is_semver_string_bool (string, bool) -> bool
isGreaterThan semver_is_greater_than kubernetes.Semver.(kubernetes.Semver) -> bool
isLessThan semver_is_less_than kubernetes.Semver.(kubernetes.Semver) -> bool
compareTo semver_compare_to kubernetes.Semver.(kubernetes.Semver) -> int
major semver_major kubernetes.Semver.() -> int
minor semver_minor kubernetes.Semver.() -> int
patch semver_patch kubernetes.Semver.() -> int
";

#[derive(Debug, Clone)]
struct Semver {
    /// Major, minor, patch.
    numbers: [u64; 3],
    prerelease: Vec<Identifier>,
    build: Vec<String>,
}

/// A part of a prerelease; numbers come before texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

impl Semver {
    fn compare(&self, other: &Semver) -> Ordering {
        let release = |version: &Semver| version.prerelease.is_empty();
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| release(self).cmp(&release(other)))
            .then_with(|| self.prerelease.cmp(&other.prerelease))
    }
}

impl Object for Semver {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object("kubernetes.Semver")
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        let other = other.downcast::<Semver>().ok_or_else(Fault::no_overload)?;
        Ok(self.compare(other) == Ordering::Equal)
    }

    fn text(&self) -> String {
        let [major, minor, patch] = self.numbers;
        let prerelease = self.prerelease.iter().map(|part| match part {
            Identifier::Number(number) => number.to_string(),
            Identifier::Text(text) => text.clone(),
        });
        let joined = |sign: &str, parts: Vec<String>| {
            if parts.is_empty() { String::new() } else { format!("{sign}{}", parts.join(".")) }
        };
        format!("{major}.{minor}.{patch}{}{}", joined("-", prerelease.collect()), joined("+", self.build.clone()))
    }
}

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "string_to_semver" => |args| parse(text(args, 0)?).map(Value::object).map_err(Fault::new),
        "string_bool_to_semver" => |args| read(args).map(Value::object).map_err(Fault::new),
        "is_semver_string" => |args| Ok(Value::Bool(parse(text(args, 0)?).is_ok())),
        "is_semver_string_bool" => |args| Ok(Value::Bool(read(args).is_ok())),
        "semver_is_greater_than" => |args| Ok(Value::Bool(compared(args)? == Ordering::Greater)),
        "semver_is_less_than" => |args| Ok(Value::Bool(compared(args)? == Ordering::Less)),
        "semver_compare_to" => |args| Ok(Value::Int(compared(args)? as i64)),
        "semver_major" => |args| number(args, 0),
        "semver_minor" => |args| number(args, 1),
        "semver_patch" => |args| number(args, 2),
        _ => return None,
    })
}

fn version(args: &[Value], at: usize) -> Result<&Semver, Fault> {
    args.get(at).and_then(Value::downcast::<Semver>).ok_or_else(Fault::no_overload)
}

fn compared(args: &[Value]) -> Result<Ordering, Fault> {
    Ok(version(args, 0)?.compare(version(args, 1)?))
}

fn number(args: &[Value], at: usize) -> Outcome {
    Ok(Value::Int(version(args, 0)?.numbers[at] as i64))
}

/// With the second argument saying whether to make the text a proper version first.
fn read(args: &[Value]) -> Result<Semver, String> {
    let text = args[0].as_str().unwrap_or_default();
    if args[1].as_bool() == Some(true) { parse(&normalized(text)?) } else { parse(text) }
}

/// Without a leading `v` and leading zeros, and with all three numbers.
fn normalized(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let without_zeros = |part: &str| {
        if part.len() < 2 {
            return part.to_owned();
        }
        let rest = part.trim_start_matches('0');
        if rest.starts_with(|char: char| char.is_ascii_digit()) { rest.to_owned() } else { format!("0{rest}") }
    };
    let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3, "0".to_owned());
    Ok(parts.join("."))
}

fn parse(text: &str) -> Result<Semver, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts.as_slice() else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let major = numeric(major, "Major")?;
    let minor = numeric(minor, "Minor")?;
    let (rest, build) = cut(rest, '+');
    let (patch, prerelease) = cut(rest, '-');
    let patch = numeric(patch, "Patch")?;
    let prerelease = prerelease.into_iter().map(identifier).collect::<Result<_, _>>()?;
    for part in &build {
        if part.is_empty() {
            return Err("Build meta data is empty".to_owned());
        }
        if !part.chars().all(is_identifier_char) {
            return Err(format!("Invalid character(s) found in build meta data {}", go_quote(part)));
        }
    }
    let build = build.into_iter().map(str::to_owned).collect();
    Ok(Semver { numbers: [major, minor, patch], prerelease, build })
}

fn cut(text: &str, sign: char) -> (&str, Vec<&str>) {
    text.split_once(sign).map_or((text, Vec::new()), |(before, after)| (before, after.split('.').collect()))
}

fn is_identifier_char(char: char) -> bool {
    char == '-' || char.is_ascii_alphanumeric()
}

fn has_leading_zeros(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0')
}

fn numeric(text: &str, name: &str) -> Result<u64, String> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let name = name.to_lowercase();
        return Err(format!("Invalid character(s) found in {name} number {}", go_quote(text)));
    }
    if has_leading_zeros(text) {
        return Err(format!("{name} number must not contain leading zeroes {}", go_quote(text)));
    }
    parse_uint(text)
}

fn parse_uint(text: &str) -> Result<u64, String> {
    let problem = if text.is_empty() { "invalid syntax" } else { "value out of range" };
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {}: {problem}", go_quote(text)))
}

fn identifier(text: &str) -> Result<Identifier, String> {
    if text.is_empty() {
        return Err("Prerelease is empty".to_owned());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        if has_leading_zeros(text) {
            let message = "Numeric PreRelease version must not contain leading zeroes";
            return Err(format!("{message} {}", go_quote(text)));
        }
        return parse_uint(text).map(Identifier::Number);
    }
    if text.chars().all(is_identifier_char) {
        return Ok(Identifier::Text(text.to_owned()));
    }
    Err(format!("Invalid character(s) found in prerelease {}", go_quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let ascending = [
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-beta",
            "1.0.0",
            "1.0.1",
            "1.10.0",
        ];
        for pair in ascending.windows(2) {
            let (a, b) = (parse(pair[0]).unwrap(), parse(pair[1]).unwrap());
            assert_eq!(a.compare(&b), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn normalizing() {
        let cases = [("v1.0", "1.0.0"), ("01.02.03", "1.2.3"), ("1", "1.0.0"), ("1.2.0-a+b", "1.2.0-a+b")];
        for (text, want) in cases {
            assert_eq!(normalized(text).as_deref(), Ok(want));
        }
        assert!(normalized("1.0-a").is_err());
    }
}
