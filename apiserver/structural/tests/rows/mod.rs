//! What the tests share: rows of JSON, one a line, with upstream's answers under `want`.

use api::field;
use api::json::{self, Strictness};
use api::value::{Map, Value};

/// Fails with all differences of all rows; the file has at least `least` rows.
pub(crate) fn check_file(text: &str, least: usize, differences: impl Fn(&Map) -> Vec<String>) {
    let (rows, _) = json::decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON");
    let rows: Vec<&Map> = rows.as_list().expect("rows").iter().filter_map(Value::as_map).collect();
    let found: Vec<String> = rows.iter().flat_map(|row| differences(row)).collect();
    assert!(rows.len() >= least, "{} rows", rows.len());
    assert!(found.is_empty(), "{} differences in {} rows\n{}", found.len(), rows.len(), found.join("\n"));
}

pub(crate) fn check(row: &Map, name: &str, got: &Value) -> Vec<String> {
    let want = row.map("want").and_then(|want| want.get(name)).map(sorted).unwrap_or_default();
    // As text: Go wrote 2.0 as 2.
    let (want, got) = (shown(&want), shown(got));
    if got == want {
        return Vec::new();
    }
    vec![format!("{} {name}\n  want {want}\n  got  {got}", row.str("name"))]
}

pub(crate) fn texts(errors: &[field::Error]) -> Value {
    let mut texts: Vec<String> = errors.iter().map(|error| format!("{} {error}", error.kind.reason())).collect();
    texts.sort();
    Value::List(texts.into_iter().map(Value::from).collect())
}

pub(crate) fn sorted(value: &Value) -> Value {
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

pub(crate) fn shown(value: &Value) -> String {
    let mut out = Vec::new();
    json::encode_value(&mut out, value);
    String::from_utf8_lossy(&out).into_owned()
}
