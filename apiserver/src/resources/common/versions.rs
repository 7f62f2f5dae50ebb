//! What conversions between versions share.

use api::facts;
use api::json::{self, Strictness};
use api::value::Map;

/// An object with the fields of a type, in its order, and those that are always there; what the type does not have is
/// dropped. `name` is the type's OpenAPI name.
pub(crate) fn shaped(object: Map, name: &str) -> Map {
    let ty = facts::structure(name).expect("the facts have every version");
    match json::decode(&json::encode(&object), ty, Strictness::Lenient) {
        Ok(decoded) => decoded.value,
        Err(error) => {
            tracing::error!(name, %error, "object does not fit its other version");
            object
        }
    }
}
