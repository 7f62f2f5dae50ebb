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
        r#"((?:ResourceVersion in (?:precondition|object meta)|resource version|current): |in record \(|resourceVersion: "|\\?"resourceVersion\\?":\\?")\d+"#,
    )
        .expect("a constant")
});

const PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;

/// The answer with what may differ replaced by marks.
pub(super) fn normal(step: &Step, answer: &Answer) -> Answer {
    let request = format!("{} {}", step.target, step.body.as_deref().unwrap_or_default());
    let normaliser = Normaliser { request, generated: generated_name(step) };
    let mut body = normaliser.value("", &answer.body);
    sort_rules(&mut body);
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
    if metadata.get("name").is_some_and(|name| name != "") {
        return None;
    }
    let kept = prefix.get(..GENERATED_FROM_BYTES).unwrap_or(prefix);
    Regex::new(&format!(r"\b({})[a-z0-9]{{5}}\b", regex::escape(kept))).ok()
}

impl Normaliser {
    fn value(&self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => self.named(key, text).into(),
            Value::Number(number) if key == "nodePort" || key == "healthCheckNodePort" => match number.as_u64() {
                Some(port) if PORTS.contains(&port) && !self.asked(&port.to_string()) => "<port>".into(),
                _ => value.clone(),
            },
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
            "resourceVersion" if numeric && text != "0" => "<revision>".into(),
            "continue" if !text.is_empty() => "<continue>".into(),
            "token" if text.matches('.').count() == 2 && !self.asked(text) => "<token>".into(),
            _ => self.text(text),
        }
    }

    fn text(&self, text: &str) -> String {
        let text = RULES.iter().fold(text.to_owned(), |text, rule| {
            let replaced = rule.pattern.replace_all(&text, |found: &Captures<'_>| {
                if self.asked(&found[0]) { found[0].to_owned() } else { rule.mark.to_owned() }
            });
            replaced.into_owned()
        });
        let text = REVISIONS.replace_all(&text, "${1}<revision>");
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
        let told = |version: &str| json!({"message": format!("(1) does not match the ResourceVersion in record ({version}). The")});
        check(json!({}), told("429"), told("<revision>"));
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
