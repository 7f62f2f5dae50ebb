//! Takes out of an answer what may differ between two servers that do the same: uids, times, resourceVersions,
//! generated names, allocated addresses and ports, continue tokens, signed tokens.
//!
//! Invariant: what stood in the request stays, and what is taken out leaves a mark, so that set on one side only is
//! still a difference.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::sequence::Step;
use super::wire::Answer;

struct Rule {
    pattern: Regex,
    mark: &'static str,
}

/// What is replaced in any text that the request does not have.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |pattern, mark| Rule { pattern: Regex::new(pattern).expect("a constant"), mark };
    vec![
        rule(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uid>"),
        rule(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "<microtime>"),
        rule(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
        rule(r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [-+]\d{4} [A-Z]+( m=\S+)?", "<go time>"),
        // Which file upstream names there depends on how it was built.
        rule(r#"in scheme "[^"]*""#, "in scheme <file>"),
        rule(r"\b10\.0\.\d+\.\d+\b", "<address>"),
        // The volume with a service account's token (plugin/pkg/admission/serviceaccount@v1.37.2).
        rule(r"\bkube-api-access-[a-z0-9]{5}\b", "kube-api-access-<generated>"),
    ]
});

/// resourceVersions in messages.
static REVISIONS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"((?:ResourceVersion in (?:precondition|object meta)|resource version|current): |in (?:record|the precondition) \(|resourceVersion: "|\\?"resourceVersion\\?":\\?")\d+"#,
    )
        .expect("a constant")
});

/// Allocated ports in YAML, in cells of tables, and in objects that a message quotes, as JSON or as Go prints a map.
static PORTS_IN_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"((?:nodePort|healthCheckNodePort)(?:\\*")?: ?|\b\d+:)(3[0-2]\d{3})\b"#).expect("a constant")
});

/// The age of an object in a cell of a table: a step takes less than a minute.
static AGE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\d{1,2}s$").expect("a constant"));

const PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;

/// The answer with what may differ replaced by marks.
pub(super) fn normal(step: &Step, answer: &Answer) -> Answer {
    let request = format!("{} {}", step.target, step.body.as_deref().unwrap_or_default());
    let normaliser = Normaliser { request, generated: generated_name(step) };
    let mut sent = answer.body.clone();
    sort_managers(&mut sent);
    let mut body = normaliser.value("", &sent);
    sort_rules(&mut body);
    sort_conflicts(&mut body);
    Answer {
        status: answer.status,
        content_type: answer.content_type.clone(),
        warnings: answer.warnings.iter().map(|warning| normaliser.text(warning)).collect(),
        body,
    }
}

/// A text, such as one of kubectl, with what may differ replaced by marks; `request` is what was sent before.
pub(super) fn text(request: &str, text: &str) -> String {
    Normaliser { request: request.to_owned(), generated: None }.text(text)
}

/// Upstream looks through a user's bindings in the order of a Go map, another one each time
/// (k8s.io/client-go/tools/cache/thread_safe_store.go@v0.37.2: List).
fn sort_rules(body: &mut Value) {
    if body["kind"] != "SelfSubjectRulesReview" {
        return;
    }
    for rules in ["resourceRules", "nonResourceRules"] {
        if let Some(rules) = body.pointer_mut(&format!("/status/{rules}")).and_then(Value::as_array_mut) {
            rules.sort_by_cached_key(Value::to_string);
        }
    }
}

/// Upstream tells conflicts manager by manager, in the order of a Go map
/// (sigs.k8s.io/structured-merge-diff/v6/merge/conflict.go@v6.4.2: ConflictsFromManagers).
fn sort_conflicts(body: &mut Value) {
    let Some(causes) = body.pointer_mut("/details/causes").and_then(Value::as_array_mut) else { return };
    if causes.iter().all(|cause| cause["reason"] == "FieldManagerConflict") {
        causes.sort_by_cached_key(Value::to_string);
    }
}

/// Entries of managedFields are in the order of their seconds, in which two servers need not agree: where they are,
/// they are put in the order that those of one second have
/// (k8s.io/apimachinery/pkg/util/managedfields/internal/managedfields.go@v0.37.2: sortEncodedManagedFields).
fn sort_managers(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(sort_managers),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::Array(entries) if name == "managedFields" => {
                        let text = |entry: &Value, of: &str| entry[of].as_str().unwrap_or_default().to_owned();
                        let when = |entry: &Value| (text(entry, "operation"), text(entry, "time"));
                        if entries.is_sorted_by_key(when) {
                            entries.sort_by_cached_key(|entry| {
                                ["operation", "manager", "apiVersion", "subresource"].map(|of| text(entry, of))
                            });
                        }
                    }
                    value => sort_managers(value),
                }
            }
        }
        _ => {}
    }
}

struct Normaliser {
    /// Path and body as they were sent.
    request: String,
    /// The name that the server makes of the request's generateName.
    generated: Option<Regex>,
}

/// Bytes of a generateName that stand in the name (k8s.io/apiserver/pkg/storage/names/generate.go@v0.37.2).
const GENERATED_FROM_BYTES: usize = 58;

fn generated_name(step: &Step) -> Option<Regex> {
    let body: Value = serde_json::from_str(step.body.as_deref()?).ok()?;
    let metadata = body.get("metadata")?;
    let prefix = metadata["generateName"].as_str().filter(|prefix| !prefix.is_empty())?;
    if metadata["name"].as_str().is_some_and(|name| !name.is_empty()) {
        return None;
    }
    let kept = prefix.get(..GENERATED_FROM_BYTES).unwrap_or(prefix);
    Regex::new(&format!(r"\b({})[a-z0-9]{{5}}\b", regex::escape(kept))).ok()
}

impl Normaliser {
    fn value(&self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => self.named(key, text).into(),
            Value::Number(number) if key == "nodePort" || key == "healthCheckNodePort" => {
                if self.is_allocated(&number.to_string()) { "<port>".into() } else { value.clone() }
            }
            Value::Array(items) => items.iter().map(|item| self.value(key, item)).collect(),
            Value::Object(fields) => Value::Object(self.object(fields)),
            other => other.clone(),
        }
    }

    fn object(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        let mut normal: Map<String, Value> =
            fields.iter().map(|(key, value)| (key.clone(), self.value(key, value))).collect();
        if let (Some(Value::String(prefix)), Some(Value::String(name))) =
            (fields.get("generateName"), fields.get("name"))
            && name.len() > prefix.len()
            && !self.asked(name)
        {
            let kept = &name[..name.len().saturating_sub(5)];
            normal.insert("name".into(), format!("{}<generated>", self.text(kept)).into());
        }
        normal
    }

    fn named(&self, key: &str, text: &str) -> String {
        let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match key {
            "cells" if AGE.is_match(text) => "<age>".into(),
            "resourceVersion" if numeric && text != "0" => "<revision>".into(),
            "continue" if !text.is_empty() => "<continue>".into(),
            "token" if text.matches('.').count() == 2 && !self.asked(text) => "<token>".into(),
            _ => self.text(text),
        }
    }

    fn is_allocated(&self, port: &str) -> bool {
        port.parse().is_ok_and(|number| PORTS.contains(&number)) && !self.asked(port)
    }

    fn text(&self, text: &str) -> String {
        let text = RULES.iter().fold(text.to_owned(), |text, rule| {
            let replaced = rule.pattern.replace_all(&text, |found: &Captures<'_>| {
                if self.asked(&found[0]) { found[0].to_owned() } else { rule.mark.to_owned() }
            });
            replaced.into_owned()
        });
        let text = REVISIONS.replace_all(&text, "${1}<revision>");
        let text = PORTS_IN_TEXT.replace_all(&text, |found: &Captures<'_>| {
            let port = if self.is_allocated(&found[2]) { "<port>" } else { &found[2] };
            format!("{}{port}", &found[1])
        });
        match &self.generated {
            // What was sent stays where it stands alone.
            Some(name) if !self.asked(&text) => name.replace_all(&text, "${1}<generated>").into_owned(),
            _ => text.into_owned(),
        }
    }

    fn asked(&self, text: &str) -> bool {
        // Not as a part of a longer one: 10.0.0.1 was not asked for by 10.0.0.12.
        let word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
        self.request.match_indices(text).any(|(at, _)| {
            let (before, after) = (&self.request[..at], &self.request[at + text.len()..]);
            !word(before.chars().next_back()) && !word(after.chars().next())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(request: Value, answer: Value, expect: Value) {
        let step = Step::new("POST", "/x", "").json(&request);
        let answer = Answer { status: 201, content_type: String::new(), warnings: Vec::new(), body: answer };
        assert_eq!(normal(&step, &answer).body, expect);
    }

    #[test]
    fn what_the_server_chose_is_marked() {
        check(
            json!({}),
            json!({
                "metadata": {"uid": "0b2bdf6c-6ef1-4b7a-9b5a-9a3c5a3c5f10", "resourceVersion": "12", "generateName": "a-",
                    "name": "a-x2b4c", "creationTimestamp": "2026-01-02T03:04:05Z"},
                "spec": {"clusterIP": "10.0.7.9", "ports": [{"nodePort": 31234}], "renewTime": "2026-01-02T03:04:05.000001Z"},
            }),
            json!({
                "metadata": {"uid": "<uid>", "resourceVersion": "<revision>", "generateName": "a-",
                    "name": "a-<generated>", "creationTimestamp": "<time>"},
                "spec": {"clusterIP": "<address>", "ports": [{"nodePort": "<port>"}], "renewTime": "<microtime>"},
            }),
        );
    }

    #[test]
    fn a_revision_in_a_quoted_object_is_marked() {
        let shown = |number: u8| json!({"message": format!("patch: \\\"resourceVersion\\\":\\\"{number}\\\"")});
        check(json!({}), shown(7), json!({"message": "patch: \\\"resourceVersion\\\":\\\"<revision>\\\""}));
    }

    #[test]
    fn an_allocated_port_in_a_quoted_object_is_marked() {
        for (request, before, port, expect) in [
            (json!({}), r#"\\"nodePort\\":"#, "31234", "<port>"),
            (json!({}), r#""healthCheckNodePort":"#, "30000", "<port>"),
            (json!({}), "map[nodePort:", "32767", "<port>"),
            (json!({}), "  healthCheckNodePort: ", "31234", "<port>"),
            (json!({}), "53:", "31234", "<port>"),
            (json!({}), "map[nodePort:", "32768", "32768"),
            (json!({}), "map[port:", "31234", "31234"),
            (json!({"nodePort": 31234}), "map[nodePort:", "31234", "31234"),
        ] {
            let shown = |port: &str| json!({"message": format!("patch: {before}{port},")});
            check(request, shown(port), shown(expect));
        }
    }

    #[test]
    fn an_age_in_a_cell_is_marked() {
        check(json!({}), json!({"cells": ["3s", "3m", "x 3s"]}), json!({"cells": ["<age>", "3m", "x 3s"]}));
        check(json!({}), json!({"spec": "3s"}), json!({"spec": "3s"}));
    }

    #[test]
    fn names_that_the_server_made_are_marked_everywhere() {
        let long = "a".repeat(70);
        for (prefix, kept) in [("Made_", "Made_"), (&*long, &long[..GENERATED_FROM_BYTES])] {
            let answer = |made: &str| {
                json!({"message": format!("Thing \"{kept}{made}\" is invalid: metadata.generateName: {prefix:?}"),
                    "details": {"name": format!("{kept}{made}")}, "labels": {"name": format!("{kept}{made}")}})
            };
            check(json!({"metadata": {"generateName": prefix}}), answer("x2b4c"), answer("<generated>"));
            let named = json!({"metadata": {"generateName": prefix, "name": "n"}});
            check(named, answer("x2b4c"), answer("x2b4c"));
        }
    }

    #[test]
    fn revisions_in_messages_are_marked() {
        let told = |version: &str| {
            let asked = format!("the ResourceVersion in the precondition ({version}) does not match");
            json!({"message": format!("{asked} the ResourceVersion in record ({version}). The")})
        };
        check(json!({}), told("429"), told("<revision>"));
    }

    #[test]
    fn conflicts_have_no_order() {
        let told = |reason: &str, fields: [&str; 2]| {
            let causes: Vec<_> = fields.iter().map(|field| json!({"field": field, "reason": reason})).collect();
            json!({"details": {"causes": causes}})
        };
        let conflict = "FieldManagerConflict";
        check(json!({}), told(conflict, ["b", "a"]), told(conflict, ["a", "b"]));
        check(json!({}), told("Other", ["b", "a"]), told("Other", ["b", "a"]));
    }

    #[test]
    fn managers_have_the_order_of_one_second() {
        let entry = |manager: &str, second: u8| {
            let time = format!("2026-01-01T00:00:0{second}Z");
            json!({"manager": manager, "operation": "Update", "time": time})
        };
        let fields = |entries: [Value; 2]| json!({"metadata": {"managedFields": entries}});
        let marked = |manager: &str| json!({"manager": manager, "operation": "Update", "time": "<time>"});
        let sorted = fields([marked("a"), marked("b")]);
        check(json!({}), fields([entry("b", 1), entry("a", 2)]), sorted.clone());
        check(json!({}), fields([entry("a", 1), entry("b", 2)]), sorted);
        check(json!({}), fields([entry("b", 2), entry("a", 1)]), fields([marked("b"), marked("a")]));
    }

    #[test]
    fn rules_of_a_user_have_no_order() {
        let review = |kind: &str, verbs: [&str; 2]| {
            let rules: Vec<_> = verbs.iter().map(|verb| json!({"verbs": [verb]})).collect();
            json!({"kind": kind, "status": {"resourceRules": rules, "nonResourceRules": rules}})
        };
        let kind = "SelfSubjectRulesReview";
        check(json!({}), review(kind, ["list", "get"]), review(kind, ["get", "list"]));
        check(json!({}), review("Other", ["list", "get"]), review("Other", ["list", "get"]));
    }

    #[test]
    fn what_was_asked_for_stays() {
        let spec = json!({"clusterIP": "10.0.7.9", "ports": [{"nodePort": 31234}], "time": "2020-01-02T03:04:05Z"});
        check(spec.clone(), spec.clone(), spec);
        check(json!({"ip": "10.0.7.99"}), json!({"clusterIP": "10.0.7.9"}), json!({"clusterIP": "<address>"}));
        check(json!({}), json!({"metadata": {"resourceVersion": ""}}), json!({"metadata": {"resourceVersion": ""}}));
    }
}
