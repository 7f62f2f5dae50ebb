//! Optional values.
//!
//! Invariant: overloads of cel-go's `cel/library.go@v0.29.2`, all versions of them.

use std::sync::Arc;

use crate::functions::{Compute, Library};
use crate::value::{Fault, List, Outcome, Value};

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
optional.of optional_of (V) -> optional(V)
optional.ofNonZeroValue optional_ofNonZeroValue (V) -> optional(V)
optional.none optional_none () -> optional(V)
value optional_value optional(V).() -> V
hasValue optional_hasValue optional(V).() -> bool
or optional_or_optional optional(V).(optional(V)) -> optional(V)
orValue optional_orValue_value optional(V).(V) -> V
_?._ select_optional_field (dyn, string) -> optional(V)
_[?_] list_optindex_optional_int (list(V), int) -> optional(V)
_[?_] optional_list_optindex_optional_int (optional(list(V)), int) -> optional(V)
_[?_] map_optindex_optional_value (map(K, V), K) -> optional(V)
_[?_] optional_map_optindex_optional_value (optional(map(K, V)), K) -> optional(V)
_[_] optional_list_index_int (optional(list(V)), int) -> optional(V)
_[_] optional_map_index_value (optional(map(K, V)), K) -> optional(V)
last list_last list(V).() -> optional(V)
first list_first list(V).() -> optional(V)
optional.unwrap optional_unwrap (list(optional(V))) -> list(V)
unwrapOpt optional_unwrapOpt list(optional(V)).() -> list(V)
";

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "optional_of" => |args| Ok(Value::optional(Some(args[0].clone()))),
        "optional_ofNonZeroValue" => |args| Ok(Value::optional(Some(args[0].clone()).filter(|value| !value.is_zero()))),
        "optional_none" => |_| Ok(Value::Optional(None)),
        "optional_value" => |args| {
            let inner = inner(args)?.ok_or_else(|| Fault::new("optional.none() dereference"))?;
            Ok(inner.as_ref().clone())
        },
        "optional_hasValue" => |args| Ok(Value::Bool(inner(args)?.is_some())),
        "list_last" => |args| end(args, |list| list.len().checked_sub(1)),
        "list_first" => |args| end(args, |_| Some(0)),
        "optional_unwrap" | "optional_unwrapOpt" => unwrap,
        _ => return None,
    })
}

fn inner(args: &[Value]) -> Result<Option<Arc<Value>>, Fault> {
    match &args[0] {
        Value::Optional(inner) => Ok(inner.clone()),
        _ => Err(Fault::no_overload()),
    }
}

fn end(args: &[Value], at: fn(&List) -> Option<usize>) -> Outcome {
    let Value::List(list) = &args[0] else { return Err(Fault::no_overload()) };
    let found = at(list).and_then(|at| list.get(at));
    Ok(Value::optional(found.transpose()?))
}

fn unwrap(args: &[Value]) -> Outcome {
    let Value::List(list) = &args[0] else { return Err(Fault::no_overload()) };
    let mut values = Vec::new();
    for element in list.iter() {
        match element? {
            Value::Optional(inner) => values.extend(inner.map(|inner| inner.as_ref().clone())),
            other => return Err(Fault::new(format!("value {other} is not optional"))),
        }
    }
    Ok(Value::list(values))
}
