//! Objects as values of CEL without their schema, as admission sees them
//! (k8s.io/apiserver/pkg/cel/common/valuesschemalesstyped.go@v0.37.2).
//!
//! Invariant: numbers, texts and names are those of the object in JSON; nothing is escaped, no text has a format.

use std::sync::{Arc, LazyLock};

use api::value::Value as ApiValue;
use cel::value::{Outcome, Value};

use crate::shape::{Kind, Shape};
use crate::value::{self, Part};

/// What upstream keeps an object in when no schema is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A type of Go, as built-in kinds have.
    Typed,
    /// A tree, as custom resources are.
    Tree,
}

static TYPED: LazyLock<Arc<Shape>> = LazyLock::new(|| open(Origin::Typed));
static TREE: LazyLock<Arc<Shape>> = LazyLock::new(|| open(Origin::Tree));

fn open(origin: Origin) -> Arc<Shape> {
    Arc::new(Shape { nullable: true, kind: Kind::Open(origin) })
}

/// The object as a value; what is in it is read when an expression asks for it.
pub fn value(object: Arc<ApiValue>, origin: Origin) -> Value {
    let shape = match origin {
        Origin::Typed => &TYPED,
        Origin::Tree => &TREE,
    };
    let seen: Outcome = value::value(Part::whole(object), shape);
    seen.unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, origin: Origin, expected: Result<bool, &str>) {
        let list = ApiValue::List(vec![ApiValue::Int(1), ApiValue::Null, "a".into()]);
        let object = api::map! { "list" => list, "dotted.name" => "x", "number" => 1.5f64, "none" => ApiValue::Null };
        let env = cel::Env::kubernetes(37).variable("object", cel::types::Type::Dyn);
        let program = env.compile(expression).expect("it is an expression");
        let values = std::collections::HashMap::from([("object".to_owned(), value(Arc::new(object.into()), origin))]);
        let got = program.eval(&values, 1_000_000).map(|(value, _)| value.as_bool() == Some(true));
        assert_eq!(got.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{expression}");
    }

    #[test]
    fn everything_is_seen_as_it_is() {
        for origin in [Origin::Typed, Origin::Tree] {
            check("object.list[1] == null && object.list[2] == 'a' && object['dotted.name'] == 'x'", origin, Ok(true));
            check("object.number == 1.5 && has(object.none) && object.none == null", origin, Ok(true));
            check("has(object.dotted__dot__name)", origin, Ok(false));
            check("object.list.exists(i, i == 'a') && size(object) == 4", origin, Ok(true));
            check("object.absent == 1", origin, Err("no such key: absent"));
        }
        check("object == 1", Origin::Tree, Ok(false));
        check("object == 1", Origin::Typed, Err("no such overload"));
    }
}
