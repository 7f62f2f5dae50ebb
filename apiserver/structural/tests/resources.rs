//! Whole resources: kind, schema, scale, embedded resources, lists and rules on create, update and update of status,
//! against what upstream's strategies answered with CEL (testdata/resources.json); and coercion after decoding.
//!
//! The rules of the rows are few, so that a list of answers stands in for the language.

mod rows;

use api::field::Errors;
use api::json::{self, Strictness};
use api::value::{Map, Value};
use rows::{check, check_file, sorted, texts};
use structural::meta::Malformed;
use structural::resource::{self, Decoding, Scale, Verdict, Version};
use structural::rules::{self, Call, Evaluation, Rules};
use structural::schema::Schema;

struct Answers<'a>(Vec<&'a structural::schema::RuleNode>);

impl<'a> Answers<'a> {
    fn of(schema: &'a Schema) -> Self {
        let mut nodes = Vec::new();
        schema.visit_rules(&mut |_, node| nodes.push(node));
        nodes.sort_by_key(|node| node.id);
        Answers(nodes)
    }
}

/// A message expression that is text in quotes.
fn literal(text: &str) -> String {
    text.trim_matches('\'').replace("\\n", "\n")
}

impl Rules for Answers<'_> {
    fn uses_old_self(&self, node: usize, rule: usize) -> bool {
        self.0[node].rules[rule].rule.contains("oldSelf")
    }

    fn evaluate(&self, call: &Call<'_>) -> Evaluation<bool> {
        let result = match call.node.rules[call.rule].rule.as_str() {
            "true" => Ok(true),
            "false" | "oldSelf == oldSelf && false" => Ok(false),
            "self == oldSelf" => Ok(Some(call.value) == call.old),
            "oldSelf.hasValue()" => Ok(call.old.is_some()),
            "1 / 0 == 1" => Err("division by zero".into()),
            "too dear" => Err("operation cancelled: actual cost limit exceeded".into()),
            "overload" => Err("no such overload".into()),
            other => panic!("no answer to {other}"),
        };
        Evaluation { cost: Some(3), result }
    }

    fn message(&self, call: &Call<'_>) -> Evaluation<Option<String>> {
        let text = &call.node.rules[call.rule].message_expression;
        Evaluation { cost: Some(2), result: Ok(Some(literal(text))) }
    }
}

fn verdict(row: &Map, which: &str) -> Verdict {
    let schema = Schema::parse(row.map("schema").expect("a schema")).expect("a good schema");
    let answers = Answers::of(&schema);
    let scale = row.map("scale").map(|scale| Scale {
        spec_replicas: scale.str("specReplicasPath"),
        status_replicas: scale.str("statusReplicasPath"),
        label_selector: scale.get("labelSelectorPath").and_then(Value::as_str),
    });
    let version = Version { api_version: "g.io/v1", kind: "K", schema: Some(&schema), scale, rules: Some(&answers) };
    let object = row.map("object").expect("an object");
    let old = row.map("old");
    match (which, old) {
        ("create", _) => resource::validate_create(&version, object, Errors::new()),
        ("update" | "updateWarnings", Some(old)) => resource::validate_update(&version, object, old, Errors::new()),
        ("status", Some(old)) => resource::validate_status_update(&version, object, old, Errors::new()),
        other => panic!("unknown answer {other:?}"),
    }
}

fn differences(row: &Map) -> Vec<String> {
    let want = row.map("want").expect("answers");
    let answer = |name: &str| {
        let verdict = verdict(row, name);
        if name == "updateWarnings" {
            return Value::List(verdict.warnings.into_iter().map(Value::from).collect());
        }
        texts(&verdict.errors)
    };
    want.keys().flat_map(|name| check(row, name, &sorted(&answer(name)))).collect()
}

#[test]
fn creates_and_updates() {
    check_file(include_str!("../testdata/resources.json"), 60, differences);
}

fn object(text: &str) -> Map {
    match json::decode_any(text.as_bytes(), Strictness::Lenient).expect(text).0 {
        Value::Map(map) => map,
        other => panic!("not an object: {other:?}"),
    }
}

#[test]
fn the_budget_ends_the_evaluation() {
    let schema = |rule: &str| {
        let rules = format!(r#"[{{"rule":"{rule}"}},{{"rule":"true"}}]"#);
        Schema::parse(&object(&format!(r#"{{"type":"object","x-kubernetes-validations":{rules}}}"#))).unwrap()
    };
    let spent = "validation failed due to running out of cost budget, no further validation rules will be run";
    let cases = [
        ("true", 6, 0, None),
        ("true", 5, -1, Some(spent)),
        ("true", 0, -1, Some(spent)),
        (
            "too dear",
            9,
            -1,
            Some(
                "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: too dear",
            ),
        ),
        (
            "overload",
            9,
            3,
            Some(
                "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: overload",
            ),
        ),
    ];
    for (rule, budget, left, error) in cases {
        let schema = schema(rule);
        let value = Value::Map(Map::new());
        let found = rules::validate(&Answers::of(&schema), &schema, &value, None, budget);
        assert_eq!(found.budget, left, "{rule} {budget}");
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let want: Vec<String> =
            error.iter().map(|error| format!("<nil>: Invalid value: \"object\": {error}")).collect();
        assert_eq!(errors, want, "{rule} {budget}");
    }
}

#[test]
fn coercion_after_decoding() {
    let schema = Schema::parse(&object(
        r#"{"type":"object","properties":{"spec":{"type":"object","properties":{"a":{"type":"string"}}}}}"#,
    ));
    let schema = schema.unwrap();
    let write = Decoding { malformed: Malformed::Refuse, preserve_unknown_fields: false, repair_generation: false };
    let read = Decoding { malformed: Malformed::Drop, repair_generation: true, ..write };
    let cases = [
        (
            write,
            r#"{"apiVersion":"g.io/v1","kind":"K","metadata":{"name":"a","x":1},"spec":{"a":null,"b":1},"c":1}"#,
            Ok(r#"{"apiVersion":"g.io/v1","kind":"K","metadata":{"name":"a"},"spec":{}} metadata.x c spec.b"#),
        ),
        (write, r#"{"kind":5}"#, Err(".kind accessor error: 5 is of the type int64, expected string")),
        (
            write,
            r#"{"kind":"K","metadata":{"name":5}}"#,
            Err("json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"),
        ),
        (read, r#"{"kind":"K","metadata":{"name":5}}"#, Ok(r#"{"kind":"K","metadata":{"generation":1}} "#)),
        (
            Decoding { preserve_unknown_fields: true, ..write },
            r#"{"kind":"K","spec":{"a":null,"b":1}}"#,
            Ok(r#"{"kind":"K","spec":{"a":null,"b":1}} "#),
        ),
    ];
    for (how, text, want) in cases {
        let mut coerced = object(text);
        let unknown = resource::coerce(&mut coerced, Some(&schema), how);
        let shown = unknown.map(|paths| format!("{} {}", rows::shown(&sorted(&Value::Map(coerced))), paths.join(" ")));
        assert_eq!(shown, want.map(String::from).map_err(String::from), "{text}");
    }
}
