//! Structural rules and defaults, against upstream's answers for the rows of testdata/{cases,random}.json.

use api::field::{Errors, Path};
use api::json::{self, Strictness};
use api::value::{Map, Value};

use super::{defaults, structure};
use crate::props::Props;
use crate::schema::Schema;

fn texts(errors: &Errors) -> Vec<String> {
    let mut texts: Vec<String> = errors.iter().map(|error| format!("{} {error}", error.kind.reason())).collect();
    texts.sort();
    texts
}

fn check(row: &Map, name: &str, got: &Errors) -> Option<String> {
    let want = row.map("want")?.get(name)?.as_list()?;
    let want: Vec<&str> = want.iter().filter_map(Value::as_str).collect();
    let got = texts(got);
    (got != want).then(|| format!("{} {name}\n  want {want:?}\n  got  {got:?}", row.str("name")))
}

fn differences(row: &Map) -> Vec<String> {
    let path = Path::new("schema");
    let schema = row.map("schema").expect("a schema");
    let Ok(parsed) = Schema::parse(schema) else { return Vec::new() };
    let structural = check(row, "structural", &structure::validate(&path, Props(schema)));
    let defaults = check(row, "defaultErrors", &defaults::validate(&path, &parsed, true, None));
    structural.into_iter().chain(defaults).collect()
}

#[test]
fn schemas_are_judged_as_upstream_does() {
    for text in [include_str!("../../testdata/cases.json"), include_str!("../../testdata/random.json")] {
        let (rows, _) = json::decode_any(text.as_bytes(), Strictness::Lenient).unwrap();
        let found: Vec<String> =
            rows.as_list().unwrap().iter().filter_map(Value::as_map).flat_map(differences).collect();
        assert!(found.is_empty(), "{} differences\n{}", found.len(), found.join("\n"));
    }
}
