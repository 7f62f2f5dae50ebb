//! Lists as sets.
//!
//! Invariant: overloads of cel-go's `ext/sets.go@v0.29.2`.

use crate::functions::{Compute, Library};
use crate::value::{Fault, List, Outcome, Value};

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
sets.contains list_sets_contains_list (list(T), list(T)) -> bool
sets.equivalent list_sets_equivalent_list (list(T), list(T)) -> bool
sets.intersects list_sets_intersects_list (list(T), list(T)) -> bool
";

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "list_sets_contains_list" => |args| {
            let (a, b) = both(args)?;
            contains(a, b).map(Value::Bool)
        },
        "list_sets_equivalent_list" => |args| {
            let (a, b) = both(args)?;
            Ok(Value::Bool(contains(a, b)? && contains(b, a)?))
        },
        "list_sets_intersects_list" => intersects,
        _ => return None,
    })
}

fn both(args: &[Value]) -> Result<(&List, &List), Fault> {
    match args {
        [Value::List(a), Value::List(b)] => Ok((a, b)),
        _ => Err(Fault::no_overload()),
    }
}

fn contains(list: &List, others: &List) -> Result<bool, Fault> {
    for other in others.iter() {
        if !list.contains(&other?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects(args: &[Value]) -> Outcome {
    let (a, b) = both(args)?;
    for element in a.iter() {
        if b.contains(&element?) == Ok(true) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
