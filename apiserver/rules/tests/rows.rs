//! Rules of schemas, compiled, judged as part of a definition and evaluated on objects, against what upstream's packages
//! answered for the same rows (testdata/rows.json).

use api::field;
use api::json::{self, Strictness};
use api::value::{Map, Value};
use rules::compile::Cel;
use rules::evaluate::Compiled;
use structural::definition::{self, Compilation, Compiler};
use structural::rules::{REQUEST_COST_MAX, validate};
use structural::schema::Schema;

fn texts(texts: impl Iterator<Item = String>) -> Value {
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    Value::List(texts.into_iter().map(Value::from).collect())
}

fn errors(errors: &[field::Error]) -> Value {
    texts(errors.iter().map(|error| format!("{} {error}", error.kind.reason())))
}

fn judged(compiled: definition::Compiled) -> Value {
    let mut shown = api::map! {
        "usesOldSelf" => compiled.uses_old_self,
        "maxCost" => compiled.max_cost.to_string(),
        "maxCardinality" => compiled.max_cardinality.to_string(),
    };
    let cost = compiled.message_max_cost.map(|cost| cost.to_string());
    let optional = [
        ("error", compiled.error.map(|e| e.detail)),
        ("messageError", compiled.message_error),
        ("messageMaxCost", cost),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            shown.set(name, value);
        }
    }
    Value::Map(shown)
}

fn compiled(schema: &Schema, known: bool) -> Value {
    let mut nodes = Vec::new();
    schema.visit_rules(&mut |schema, node| {
        let known = |_: &str| known;
        let compilation = Compilation { schema, node, known_rule: &known, known_message: &known };
        nodes.push(match Cel.compile(&compilation) {
            Err(_) => Value::from("undeclared"),
            Ok(rules) => Value::List(rules.into_iter().map(judged).collect()),
        });
    });
    // In no order that both sides share.
    let mut texts: Vec<String> = nodes.iter().map(shown).collect();
    texts.sort();
    Value::List(texts.into_iter().map(Value::from).collect())
}

fn definition(schema: &Value) -> Value {
    let version = api::map! {
        "name" => "v1", "served" => true, "storage" => true,
        "schema" => api::map! { "openAPIV3Schema" => schema.clone() },
    };
    let names = api::map! { "plural" => "foos", "singular" => "foo", "kind" => "Foo", "listKind" => "FooList" };
    let definition = api::map! {
        "metadata" => api::map! { "name" => "foos.example.io" },
        "spec" => api::map! {
            "group" => "example.io", "scope" => "Namespaced", "names" => names,
            "versions" => Value::List(vec![version.into()]),
            "conversion" => api::map! { "strategy" => "None" },
        },
        "status" => api::map! { "storedVersions" => Value::List(vec!["v1".into()]) },
    };
    errors(&definition::validate_create(&definition, &Cel))
}

fn answers(row: &Map) -> Map {
    let json = row.get("schema").expect("a schema");
    let schema = Schema::parse(json.as_map().expect("an object")).expect("structural");
    let known = row.bool("known") == Some(true);
    let mut answers = api::map! { "compiled" => compiled(&schema, known) };
    if !known {
        answers.set("definition", definition(json));
    }
    if let Some(object) = row.get("object") {
        let found = validate(&Compiled::of(&schema), &schema, object, row.get("old"), REQUEST_COST_MAX);
        answers.set("errors", errors(&found.errors));
        answers.set("warnings", texts(found.warnings.into_iter()));
        answers.set("budget", found.budget);
    }
    answers
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::List(list) => Value::List(list.iter().map(sorted).collect()),
        Value::Map(map) => {
            let mut map: Map = map.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            map.sort();
            Value::Map(map)
        }
        other => other.clone(),
    }
}

fn shown(value: &Value) -> String {
    let mut out = Vec::new();
    json::encode_value(&mut out, &sorted(value));
    String::from_utf8_lossy(&out).into_owned()
}

/// What upstream answered, the nodes of `compiled` in order of their texts.
fn wanted(row: &Map, name: &str) -> Option<Value> {
    let want = row.map("want")?.get(name)?;
    if name != "compiled" {
        return Some(want.clone());
    }
    let mut nodes: Vec<String> = want.as_list()?.iter().map(shown).collect();
    nodes.sort();
    Some(Value::List(nodes.into_iter().map(Value::from).collect()))
}

fn differences(row: &Map) -> Vec<String> {
    let name = row.str("name");
    let mut found = Vec::new();
    for (answer, got) in answers(row).iter() {
        let want = wanted(row, answer).map_or_else(String::new, |want| shown(&want));
        let got = shown(got);
        if want != got {
            found.push(format!("{name} {answer}\n  want {want}\n  got  {got}"));
        }
    }
    found
}

fn check(text: &str, least: usize) {
    let (rows, _) = json::decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON");
    let rows: Vec<&Map> = rows.as_list().expect("rows").iter().filter_map(Value::as_map).collect();
    let found: Vec<String> = rows.iter().flat_map(|row| differences(row)).collect();
    assert!(rows.len() >= least, "{} rows", rows.len());
    assert!(found.is_empty(), "{} differences in {} rows\n{}", found.len(), rows.len(), found.join("\n"));
}

#[test]
fn rows_are_answered_as_upstream_answers_them() {
    check(include_str!("../testdata/rows.json"), 150);
}
