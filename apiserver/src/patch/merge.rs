//! JSON merge patch (RFC 7386).

use api::value::{Map, Value};

pub(crate) fn apply(original: &Map, patch: &Map) -> Map {
    let mut result = original.clone();
    for (name, value) in patch.iter() {
        match value {
            Value::Null => drop(result.remove(name)),
            Value::Map(inner) => {
                let merged = apply(result.map(name).unwrap_or(Map::EMPTY), inner);
                result.set(name.clone(), merged);
            }
            other => result.set(name.clone(), other.clone()),
        }
    }
    result
}
