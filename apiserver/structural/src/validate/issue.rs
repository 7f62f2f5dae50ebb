//! What the validator finds, and how it becomes field errors
//! (k8s.io/kube-openapi/pkg/validation/errors/schema.go, kubeOpenAPIResultToFieldErrors in
//! k8s.io/apiextensions-apiserver/pkg/apiserver/validation/validation.go@v0.37.2).

use api::field::{self, Path};
use api::value::Value;

/// One finding.
#[derive(Debug)]
pub(super) struct Issue {
    /// Where, from the value validated; `None` for those that only speak of it.
    place: Option<String>,
    /// Findings with the same words are one.
    message: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Required,
    NotEnumerated { value: Value, allowed: Vec<String> },
    TooLong(i64),
    TooMany { actual: i64, max: i64 },
    Type(String),
    Other(Value),
    Unplaced,
}

/// Findings of a value and those below it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) issues: Vec<Issue>,
    /// How many checks were made: of failed alternatives the one with most is reported.
    pub(super) matches: usize,
}

impl Tally {
    pub(super) fn of(issue: Issue) -> Tally {
        Tally { issues: vec![issue], matches: 0 }
    }

    /// Nothing wrong.
    pub(super) fn matching() -> Tally {
        Tally { issues: Vec::new(), matches: 1 }
    }

    pub(super) fn add(&mut self, issue: Issue) {
        if self.issues.iter().all(|known| known.message != issue.message) {
            self.issues.push(issue);
        }
    }

    pub(super) fn merge(&mut self, other: Tally) {
        self.matches += other.matches;
        other.issues.into_iter().for_each(|issue| self.add(issue));
    }

    /// Of a check that is itself one.
    pub(super) fn merge_counted(&mut self, other: Tally) {
        self.merge(other);
        self.matches += 1;
    }
}

impl Issue {
    pub(super) fn other(place: &str, value: impl Into<Value>, why: &str) -> Issue {
        let message = format!("{place} in body {why}");
        Issue { place: Some(place.into()), message, kind: Kind::Other(value.into()) }
    }

    /// With words of its own.
    pub(super) fn worded(place: &str, value: Value, message: String) -> Issue {
        Issue { place: Some(place.into()), message, kind: Kind::Other(value) }
    }

    pub(super) fn unplaced(message: String) -> Issue {
        Issue { place: None, message, kind: Kind::Unplaced }
    }

    pub(super) fn wrong_type(place: &str, wanted: &str, found: &str) -> Issue {
        let message = format!("{place} in body must be of type {wanted}: {}", field::go_quote(found));
        Issue { place: Some(place.into()), message, kind: Kind::Type(found.into()) }
    }

    pub(super) fn required(place: &str, name: &str) -> Issue {
        let place = format!("{place}.{name}");
        Issue { message: format!("{place} in body is required"), place: Some(place), kind: Kind::Required }
    }

    pub(super) fn forbidden_property(place: &str, name: &str) -> Issue {
        let message = format!("{place}.{name} in body is a forbidden property");
        Issue { place: Some(place.into()), message, kind: Kind::Other(Value::from(name)) }
    }

    pub(super) fn too_long(place: &str, max: i64) -> Issue {
        let message = format!("{place} in body should be at most {max} chars long");
        Issue { place: Some(place.into()), message, kind: Kind::TooLong(max) }
    }

    pub(super) fn too_many(place: &str, actual: i64, max: i64, of: &str) -> Issue {
        let message = format!("{place} in body should have at most {max} {of}");
        Issue { place: Some(place.into()), message, kind: Kind::TooMany { actual, max } }
    }

    pub(super) fn not_enumerated(place: &str, value: &Value, allowed: &[Value]) -> Issue {
        let shown = allowed.iter().map(crate::go::print).collect::<Vec<_>>().join(" ");
        let allowed = allowed.iter().map(|allowed| match allowed {
            Value::String(text) => text.to_string(),
            other => crate::go::json(other),
        });
        Issue {
            place: Some(place.into()),
            message: format!("{place} in body should be one of [{shown}]"),
            kind: Kind::NotEnumerated { value: value.clone(), allowed: allowed.collect() },
        }
    }

    pub(super) fn field_error(&self, root: &Path) -> field::Error {
        let path = match self.place.as_deref() {
            Some(place) if !place.is_empty() && place != "." => root.child(place.strip_prefix('.').unwrap_or(place)),
            _ => root.clone(),
        };
        match &self.kind {
            Kind::Required => field::required(&path, ""),
            Kind::NotEnumerated { value, allowed } => {
                let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                field::not_supported(&path, crate::go::sorted(value), &allowed)
            }
            Kind::TooLong(max) => match usize::try_from(*max) {
                Ok(max) => field::too_long(&path, max),
                Err(_) => worded(field::Kind::TooLong, &path, "Too long: value is too long".into()),
            },
            Kind::TooMany { actual, max } => match usize::try_from(*max) {
                Ok(max) => field::too_many(&path, usize::try_from(*actual).unwrap_or(0), max),
                Err(_) => worded(field::Kind::TooMany, &path, format!("Too many: {actual}: has too many items")),
            },
            Kind::Type(found) => field::type_invalid(&path, found, &self.message),
            Kind::Other(value) => field::invalid(&path, value, &self.message),
            Kind::Unplaced => field::invalid(&path, "", &self.message),
        }
    }
}

/// Limits below zero have words of their own.
fn worded(kind: field::Kind, path: &Path, body: String) -> field::Error {
    field::Error { kind, field: path.to_string(), body }
}
