//! Says how two answers to the same request differ, as pairs of a field and a cause that can be counted.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::normal::normal;
use super::sequence::Step;
use super::servers::Both;
use super::wire::Answer;

/// One request adds at most so many differences; more of them say nothing new.
const LIMIT: usize = 12;
const CAUSE_LETTERS: usize = 200;

/// Field and cause, both without what is particular to one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) cause: String,
}

/// Every difference once; none when both did the same.
pub(super) fn differences(step: &Step, answers: &Both<Answer>) -> Vec<Difference> {
    let theirs = normal(step, &answers.upstream);
    let ours = normal(step, &answers.keelson);
    let mut found = Found::default();
    if theirs.status != ours.status {
        found.outcomes(&theirs, &ours);
    } else if theirs.body["kind"] == "Status" && ours.body["kind"] == "Status" {
        found.statuses(&theirs.body, &ours.body);
    } else {
        found.values("", &theirs.body, &ours.body);
    }
    found.warnings(&theirs.warnings, &ours.warnings);
    if theirs.status == ours.status && theirs.content_type != ours.content_type {
        found.add("(content type)", format!("{} instead of {}", ours.content_type, theirs.content_type));
    }
    found.set.into_iter().take(LIMIT).collect()
}

#[derive(Default)]
struct Found {
    set: BTreeSet<Difference>,
}

impl Found {
    fn add(&mut self, field: &str, cause: impl AsRef<str>) {
        self.set.insert(Difference { field: field_of(field), cause: masked(cause.as_ref()) });
    }

    /// Of a cause whose texts are masked already, and whose codes must stay.
    fn add_masked(&mut self, field: &str, cause: String) {
        self.set.insert(Difference { field: field.to_owned(), cause });
    }

    /// One refuses and the other does not, or for another reason.
    fn outcomes(&mut self, theirs: &Answer, ours: &Answer) {
        let (verdict, refused) = match (theirs.ok(), ours.ok()) {
            (false, true) => ("accepted, upstream refuses", theirs),
            (true, false) => ("refused, upstream accepts", ours),
            _ => return self.add_masked("(status)", format!("{} instead of {}", told(ours), told(theirs))),
        };
        let causes = causes(&refused.body);
        if causes.is_empty() {
            self.add_masked("(status)", format!("{verdict}: {}", told(refused)));
        }
        for (field, cause) in causes {
            self.add(&field, format!("{verdict}: {cause}"));
        }
    }

    /// Two errors with the same code, or two successes that are a Status.
    fn statuses(&mut self, theirs: &Value, ours: &Value) {
        let before = self.set.len();
        let (their_causes, our_causes) = (causes(theirs), causes(ours));
        for (field, cause) in their_causes.iter().filter(|cause| !our_causes.contains(cause)) {
            self.add(field, format!("missing: {cause}"));
        }
        for (field, cause) in our_causes.iter().filter(|cause| !their_causes.contains(cause)) {
            self.add(field, format!("extra: {cause}"));
        }
        if self.set.len() > before {
            return;
        }
        if their_causes != our_causes {
            self.add("(causes)", "other order or number");
        } else if theirs["message"] != ours["message"] {
            self.add("(message)", messages(theirs, ours));
        }
        self.values("", &without_texts(theirs), &without_texts(ours));
    }

    fn warnings(&mut self, theirs: &[String], ours: &[String]) {
        let before = self.set.len();
        theirs
            .iter()
            .filter(|one| !ours.contains(one))
            .for_each(|one| self.add("(warning)", format!("missing: {one}")));
        ours.iter().filter(|one| !theirs.contains(one)).for_each(|one| self.add("(warning)", format!("extra: {one}")));
        if self.set.len() == before && theirs != ours {
            self.add("(warning)", "other order or number");
        }
    }

    fn values(&mut self, path: &str, theirs: &Value, ours: &Value) {
        match (theirs, ours) {
            _ if theirs == ours => {}
            (Value::Object(their_fields), Value::Object(our_fields)) => {
                for (key, value) in their_fields {
                    let below = join(path, key);
                    match our_fields.get(key) {
                        Some(other) => self.values(&below, value, other),
                        None => self.leaf(&below, &format!("absent, upstream has {}", shown(value))),
                    }
                }
                for (key, value) in our_fields.iter().filter(|(key, _)| !their_fields.contains_key(*key)) {
                    self.leaf(&join(path, key), &format!("extra {}", shown(value)));
                }
            }
            (Value::Array(their_items), Value::Array(our_items)) => {
                if their_items.len() != our_items.len() {
                    self.leaf(path, &format!("{} items instead of {}", our_items.len(), their_items.len()));
                }
                let pairs = their_items.iter().zip(our_items);
                pairs.for_each(|(theirs, ours)| self.values(&format!("{path}[0]"), theirs, ours));
            }
            _ => self.leaf(path, &format!("{} instead of {}", shown(ours), shown(theirs))),
        }
    }

    /// A managed field is named by the cause: its path would make a group of each.
    fn leaf(&mut self, path: &str, cause: &str) {
        match path.split_once("fieldsV1") {
            Some((before, inside)) => self.add(&format!("{before}fieldsV1"), format!("{inside} {cause}")),
            None => self.add(path, cause),
        }
    }
}

fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.contains(['.', '/'])) {
        (_, true) => format!("{path}[{key}]"),
        (true, false) => key.to_owned(),
        (false, false) => format!("{path}.{key}"),
    }
}

/// The causes of a Status as field and text, in their order.
fn causes(status: &Value) -> Vec<(String, String)> {
    let listed = status["details"]["causes"].as_array().into_iter().flatten();
    let text = |cause: &Value, field: &str| cause[field].as_str().unwrap_or_default().to_owned();
    listed
        .map(|cause| (text(cause, "field"), format!("{}: {}", text(cause, "reason"), text(cause, "message"))))
        .collect()
}

fn without_texts(status: &Value) -> Value {
    let mut status = status.clone();
    status["message"] = Value::Null;
    if let Some(details) = status["details"].as_object_mut() {
        details.remove("causes");
    }
    status
}

/// Code, reason and message of an answer.
fn told(answer: &Answer) -> String {
    let text = |field: &str| answer.body[field].as_str().unwrap_or_default();
    if answer.status == 0 {
        return "no answer".into();
    }
    if answer.ok() {
        answer.status.to_string()
    } else {
        format!("{} {} ({})", answer.status, text("reason"), masked(text("message")))
    }
}

/// Two messages from where they part, with a few words before.
fn messages(theirs: &Value, ours: &Value) -> String {
    const BEFORE: usize = 4;
    const WORDS: usize = 12;
    let text = |status: &Value| masked_whole(status["message"].as_str().unwrap_or_default());
    let (theirs, ours) = (text(theirs), text(ours));
    let same = theirs.split(' ').zip(ours.split(' ')).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.split(' ').skip(same.saturating_sub(BEFORE)).take(WORDS).collect::<Vec<_>>().join(" ");
    format!("{} instead of {}", part(&ours), part(&theirs))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(items) if items.is_empty() => "[]".into(),
        Value::Array(_) => "a list".into(),
        other => other.to_string(),
    }
}

/// A field's path without indexes, keys and names.
fn field_of(path: &str) -> String {
    static INDEX: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[[^\]]*\]").expect("a constant"));
    let path = INDEX.replace_all(path, "[*]");
    let path = names(&path);
    if path.is_empty() { "(object)".into() } else { path }
}

/// A cause without quoted texts, numbers and names, and not too long.
fn masked(cause: &str) -> String {
    masked_whole(cause).chars().take(CAUSE_LETTERS).collect()
}

fn masked_whole(cause: &str) -> String {
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""(?:[^"\\]|\\.)*""#).expect("a constant"));
    static DIGITS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+").expect("a constant"));
    let quoted = |found: &regex::Captures<'_>| {
        // A short word is what the difference is about: an enumerated value, a field.
        if found[0].len() <= 24 { found[0].to_owned() } else { "\"...\"".to_owned() }
    };
    let cause = names(cause);
    let cause = QUOTED.replace_all(&cause, quoted);
    DIGITS.replace_all(&cause, "#").into_owned()
}

/// The names that sequences give their objects and namespaces.
pub(super) fn names(text: &str) -> String {
    static NAMES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[dn][0-9a-f]{8}\b").expect("a constant"));
    NAMES.replace_all(text, "$$ID").into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, content_type: "application/json".into(), warnings: Vec::new(), body }
    }

    fn check(upstream: Answer, keelson: Answer, expect: &[(&str, &str)]) {
        let step = Step::new("POST", "/x", "");
        let found = differences(&step, &Both { upstream, keelson });
        let found: Vec<_> = found.iter().map(|one| (one.field.as_str(), one.cause.as_str())).collect();
        assert_eq!(found, expect);
    }

    fn invalid(causes: &[(&str, &str)]) -> Value {
        let causes: Vec<_> = causes
            .iter()
            .map(|(field, message)| json!({"reason": "FieldValueInvalid", "message": message, "field": field}))
            .collect();
        json!({"kind": "Status", "reason": "Invalid", "message": "x", "details": {"causes": causes}})
    }

    #[test]
    fn the_same_is_the_same_and_uids_do_not_count() {
        let object = |uid: &str| json!({"metadata": {"uid": uid}});
        let uids = ["0b2bdf6c-6ef1-4b7a-9b5a-9a3c5a3c5f10", "1b2bdf6c-6ef1-4b7a-9b5a-9a3c5a3c5f10"];
        check(answer(200, object(uids[0])), answer(200, object(uids[1])), &[]);
        check(
            answer(200, object(uids[0])),
            answer(200, json!({"metadata": {}})),
            &[("metadata.uid", "absent, upstream has \"<uid>\"")],
        );
    }

    #[test]
    fn an_outcome_is_told_by_the_causes_of_who_refuses() {
        check(
            answer(422, invalid(&[("spec.a[3].b", "must be 7")])),
            answer(201, json!({})),
            &[("spec.a[*].b", "accepted, upstream refuses: FieldValueInvalid: must be #")],
        );
    }

    #[test]
    fn causes_are_missing_or_extra() {
        let theirs = answer(422, invalid(&[("a", "p"), ("b", "q")]));
        let ours = answer(422, invalid(&[("a", "p"), ("b", "other")]));
        check(
            theirs.clone(),
            ours,
            &[("b", "extra: FieldValueInvalid: other"), ("b", "missing: FieldValueInvalid: q")],
        );
        check(theirs, answer(422, invalid(&[("b", "q"), ("a", "p")])), &[("(causes)", "other order or number")]);
    }

    #[test]
    fn warnings_and_managed_fields_are_compared() {
        let mut theirs = answer(200, json!({"managedFields": [{"fieldsV1": {"f:a": {"f:b": {}}}}]}));
        theirs.warnings.push("299 - \"old\"".into());
        let ours = answer(200, json!({"managedFields": [{"fieldsV1": {"f:a": {}}}]}));
        check(
            theirs,
            ours,
            &[
                ("(warning)", "missing: # - \"old\""),
                ("managedFields[*].fieldsV1", ".f:a.f:b absent, upstream has an object"),
            ],
        );
    }
}
