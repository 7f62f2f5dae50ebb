//! What tests of kinds begin with and look at: objects from JSON, errors as texts.

use api::field::Errors;
use api::json::{self, Strictness};
use api::value::{Map, Value};

/// The object of a text.
pub(crate) fn map(text: &str) -> Map {
    match json::decode_any(text.as_bytes(), Strictness::Strict) {
        Ok((Value::Map(map), _)) => map,
        other => panic!("{text}: {other:?}"),
    }
}

pub(crate) fn texts(errors: &Errors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}
