//! What the macros of two variables add to maps with.
//!
//! Invariant: overloads of cel-go's `ext/comprehensions.go@v0.29.2`.

use crate::functions::{Compute, Library};
use crate::value::{Fault, Map, Outcome, Value};

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
cel.@mapInsert @mapInsert_map_key_value (map(K, V), K, V) -> map(K, V)
cel.@mapInsert @mapInsert_map_map (map(K, V), map(K, V)) -> map(K, V)
";

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "@mapInsert_map_key_value" => |args| map(args, 0)?.insert(&args[1], args[2].clone()).map(Value::Map),
        "@mapInsert_map_map" => insert_all,
        _ => return None,
    })
}

fn map(args: &[Value], at: usize) -> Result<&Map, Fault> {
    match args.get(at) {
        Some(Value::Map(map)) => Ok(map),
        _ => Err(Fault::no_overload()),
    }
}

fn insert_all(args: &[Value]) -> Outcome {
    let added = map(args, 1)?;
    let mut result = map(args, 0)?.clone();
    for key in added.keys() {
        let value = added.find(&key).unwrap_or(Ok(Value::Null))?;
        result = result.insert(&key, value)?;
    }
    Ok(Value::Map(result))
}
