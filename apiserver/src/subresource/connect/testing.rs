//! Objects from JSON, for tests.

use api::json::{Strictness, decode_any};
use api::value::{Map, Value};

pub(super) fn json(text: &str) -> Map {
    match decode_any(text.as_bytes(), Strictness::Lenient) {
        Ok((Value::Map(map), _)) => map,
        _ => panic!("no object: {text}"),
    }
}
