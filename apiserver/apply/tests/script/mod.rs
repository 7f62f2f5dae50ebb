//! What the script tests share: JSON in and out, with sorted names or as it is.

use api::json::{self, Strictness};
use api::value::{Map, Value};

pub(crate) fn object(text: &str) -> Map {
    match json::decode_any(text.as_bytes(), Strictness::Lenient).expect(text).0 {
        Value::Map(map) => map,
        Value::Null => Map::new(),
        other => panic!("not an object: {other:?}"),
    }
}

/// JSON with sorted names, as Go prints maps.
pub(crate) fn text(map: &Map) -> String {
    let mut map = Value::Map(map.clone());
    sort(&mut map);
    raw(&map)
}

/// JSON in the value's own order.
pub(crate) fn raw(value: &Value) -> String {
    let mut out = Vec::new();
    json::encode_value(&mut out, value);
    String::from_utf8(out).unwrap()
}

fn sort(value: &mut Value) {
    match value {
        Value::Map(map) => {
            map.sort();
            map.iter_mut().for_each(|(_, value)| sort(value));
        }
        Value::List(list) => list.iter_mut().for_each(sort),
        _ => {}
    }
}
