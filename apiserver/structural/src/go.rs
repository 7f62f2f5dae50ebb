//! Values as Go's `fmt` prints them.

use api::field::go_float;
use api::value::Value;

/// Go's `%v` of a decoded JSON value: `map[a:1 b:[x y]]`, `<nil>`.
pub(crate) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => go_float(*number),
        Value::String(text) => text.to_string(),
        Value::List(list) => format!("[{}]", list.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Map(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{name}:{}", print(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// The value with the entries of its objects in order of their names, as Go writes maps.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::List(list) => Value::List(list.iter().map(sorted).collect()),
        Value::Map(map) => {
            let mut map: api::value::Map = map.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            map.sort();
            Value::Map(map)
        }
        other => other.clone(),
    }
}

/// Go's `json.Marshal` of it.
pub(crate) fn json(value: &Value) -> String {
    let mut out = Vec::new();
    api::json::encode_value(&mut out, &sorted(value));
    String::from_utf8_lossy(&out).into_owned()
}
