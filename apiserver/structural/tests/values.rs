//! Pruning, defaulting, coercion and validation of values, against what upstream's packages answered for the same
//! schemas and objects (testdata/cases.json by hand, testdata/random.json made with a seed).

mod rows;

use api::field::{Errors, Path};
use api::value::{Map, Value};
use rows::{check, check_file, sorted, texts};
use structural::meta::{self, Malformed};
use structural::schema::Schema;
use structural::{default, embedded, lists, prune, validate};

fn changed(object: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut object = object.clone();
    change(&mut object);
    object
}

fn with_paths(object: &Value, change: impl FnOnce(&mut Value) -> Result<Vec<String>, String>) -> Value {
    let mut object = object.clone();
    match change(&mut object) {
        Ok(paths) => {
            let paths: Vec<Value> = paths.into_iter().map(Value::from).collect();
            Value::Map(api::map! { "object" => object, "paths" => paths })
        }
        Err(error) => Value::Map(api::map! { "error" => error }),
    }
}

fn answers(schema: &Schema, object: &Value, old: Option<&Value>) -> Map {
    let path = Path::default();
    let coerced = |root, malformed| {
        with_paths(object, |object| {
            meta::coerce(object, Some(schema), root, malformed).map_err(|error| error.to_string())
        })
    };
    let mut answers = api::map! {
        "pruned" => with_paths(object, |object| Ok(prune::prune(object, Some(schema), false))),
        "prunedRoot" => with_paths(object, |object| Ok(prune::prune(object, Some(schema), true))),
        "nulls" => changed(object, |object| default::drop_nulls(object, Some(schema))),
        "defaulted" => changed(object, |object| {
            default::drop_nulls(object, Some(schema));
            default::apply(object, schema);
        }),
        "defaultedByPruned" => changed(object, |object| default::apply(object, &default::pruned(schema))),
        "coerced" => coerced(false, Malformed::Refuse),
        "coercedRoot" => coerced(true, Malformed::Refuse),
        "coercedDrop" => coerced(true, Malformed::Drop),
        "embedded" => texts(&embedded::validate(&path, object, Some(schema), false)),
        "embeddedRoot" => texts(&embedded::validate(&path, object, Some(schema), true)),
        "errors" => texts(&validate::validate(&path, object, schema)),
    };
    let lists = object.as_map().map_or(Errors::new(), |object| lists::validate(&path, object, schema));
    answers.set("lists", texts(&lists));
    if let Some(old) = old {
        answers.set("updateErrors", texts(&validate::validate_update(&path, object, old, schema)));
    }
    answers
}

fn differences(row: &Map) -> Vec<String> {
    let want = row.map("want").expect("an answer");
    let schema = match Schema::parse(row.map("schema").expect("a schema")) {
        Ok(schema) => schema,
        Err(error) => return check(row, "schemaError", &Value::from(error.to_string())),
    };
    if let Some(error) = want.get("schemaError") {
        return vec![format!("{}: no schema error, want {error:?}", row.str("name"))];
    }
    let object = row.get("object").cloned().unwrap_or_default();
    let answers = answers(&schema, &object, row.get("old"));
    let asked = want.iter().filter(|(name, _)| answers.contains(name));
    asked.flat_map(|(name, _)| check(row, name, &sorted(answers.get(name).expect("asked")))).collect()
}

#[test]
fn cases_by_hand() {
    check_file(include_str!("../testdata/cases.json"), 690, differences);
}

#[test]
fn cases_made_with_a_seed() {
    check_file(include_str!("../testdata/random.json"), 150, differences);
}
