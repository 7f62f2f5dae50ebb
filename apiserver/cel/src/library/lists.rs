//! Functions of lists: cel-go's and Kubernetes'.
//!
//! Invariant: overloads and errors of cel-go's `ext/lists.go@v0.29.2` (version 3) and of
//! `k8s.io/apiserver/pkg/cel/library/lists.go@v0.37.2`.

use std::cmp::Ordering;

use super::strings::int;
use crate::functions::{Compute, Library};
use crate::value::{Fault, List, Outcome, Value};

/// cel-go's.
pub(crate) const EXTENSION: Library = Library { declarations: EXTENSION_DECLARATIONS, compute };
/// Kubernetes'.
pub(crate) const KUBERNETES: Library = Library { declarations: KUBERNETES_DECLARATIONS, compute };
/// What Kubernetes added in 1.37.
pub(crate) const INCLUDES: Library =
    Library { declarations: "includes list_includes_dyn_dyn dyn.(dyn) -> bool", compute };

const MAX_RANGE: i64 = 1_000_000;

const EXTENSION_DECLARATIONS: &str = "
slice list_slice list(T).(int, int) -> list(T)
flatten list_flatten! list(list(T)).() -> list(T)
flatten list_flatten_int! list(dyn).(int) -> list(dyn)
sort list_$T_sort list($T).() -> list($T)
@sortByAssociatedKeys list_$T_sortByAssociatedKeys list(T).(list($T)) -> list(T)
lists.range lists_range (int) -> list(int)
reverse list_reverse list(T).() -> list(T)
distinct list_distinct list(T).() -> list(T)
";

const KUBERNETES_DECLARATIONS: &str = "
isSorted list_$T_is_sorted_bool list($T).() -> bool
sum list_$S_sum_$S list($S).() -> $S
max list_$T_max_$T list($T).() -> $T
min list_$T_min_$T list($T).() -> $T
indexOf list_a_index_of_int list(A).(A) -> int
lastIndexOf list_a_last_index_of_int list(A).(A) -> int
";

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "list_slice" => slice,
        "list_flatten" | "list_flatten_int" => flattened,
        "lists_range" => range,
        "list_reverse" => |args| {
            let mut elements = list(args, 0)?.elements()?;
            elements.reverse();
            Ok(Value::list(elements))
        },
        "list_distinct" => distinct,
        "list_a_index_of_int" => |args| position(args, false),
        "list_a_last_index_of_int" => |args| position(args, true),
        "list_includes_dyn_dyn" => includes,
        "list_int_sum_int" => |args| sum(args, Value::Int(0)),
        "list_uint_sum_uint" => |args| sum(args, Value::Uint(0)),
        "list_double_sum_double" => |args| sum(args, Value::Double(0.0)),
        "list_duration_sum_duration" => |args| sum(args, Value::Duration(0)),
        // Computed for all element types at once.
        "sort" => |args| match args {
            [Value::List(list)] => sort(args, list),
            _ => Err(Fault::new("no such overload: sort")),
        },
        "@sortByAssociatedKeys" => |args| match args {
            [Value::List(_), Value::List(keys)] => sort(args, keys),
            _ => Err(Fault::new("no such overload: @sortByAssociatedKeys")),
        },
        _ if overload.ends_with("_is_sorted_bool") => is_sorted,
        _ if overload.contains("_max_") => |args| best(args, "max", Ordering::Less),
        _ if overload.contains("_min_") => |args| best(args, "min", Ordering::Greater),
        _ => return None,
    })
}

fn list(args: &[Value], at: usize) -> Result<&List, Fault> {
    match args.get(at) {
        Some(Value::List(list)) => Ok(list),
        _ => Err(Fault::no_overload()),
    }
}

fn slice(args: &[Value]) -> Outcome {
    let (list, start, end) = (list(args, 0)?, int(args, 1)?, int(args, 2)?);
    let wrong = |why: &str| Err(Fault::new(format!("cannot slice({start}, {end}), {why}")));
    if start < 0 || end < 0 {
        return wrong("negative indexes not supported");
    }
    if start > end {
        return wrong("start index must be less than or equal to end index");
    }
    if (list.len() as i64) < end {
        return wrong(&format!("list is length {}", list.len()));
    }
    let elements = (start as usize..end as usize).filter_map(|at| list.get(at));
    elements.collect::<Result<Vec<_>, _>>().map(Value::list)
}

fn flattened(args: &[Value]) -> Outcome {
    match args {
        [Value::List(list)] => flatten(list, 1).map(Value::list),
        [Value::List(list), Value::Int(depth)] => flatten(list, *depth).map(Value::list),
        [target, rest @ ..] => {
            let rest: Vec<String> = rest.iter().map(|arg| arg.cel_type().name().to_owned()).collect();
            let message = format!("no such overload: {}.flatten({})", target.cel_type().name(), rest.join(", "));
            Err(Fault::new(message))
        }
        [] => Err(Fault::no_overload()),
    }
}

fn flatten(list: &List, depth: i64) -> Result<Vec<Value>, Fault> {
    if depth < 0 {
        return Err(Fault::new("level must be non-negative"));
    }
    let mut flat = Vec::new();
    for element in list.iter() {
        match element? {
            Value::List(nested) if depth > 0 => flat.append(&mut flatten(&nested, depth - 1)?),
            other => flat.push(other),
        }
    }
    Ok(flat)
}

fn range(args: &[Value]) -> Outcome {
    let size = int(args, 0)?;
    if size < 0 {
        return Err(Fault::new(format!("lists.range: size must be non-negative, got {size}")));
    }
    if size > MAX_RANGE {
        return Err(Fault::new(format!("lists.range: size {size} exceeds maximum allowed ({MAX_RANGE})")));
    }
    Ok(Value::list((0..size).map(Value::Int).collect()))
}

/// The first list in the order of the keys.
fn sort(args: &[Value], keys: &List) -> Outcome {
    let list = list(args, 0)?;
    if list.len() != keys.len() {
        let message = "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got";
        let (own, others) = (list.len(), keys.len());
        return Err(Fault::new(format!("{message} {own} and {others} elements respectively")));
    }
    let keys = keys.elements()?;
    let Some(first) = keys.first() else { return Ok(args[0].clone()) };
    if !first.is_comparable() {
        return Err(Fault::new("list elements must be comparable"));
    }
    if keys.iter().any(|key| key.cel_type() != first.cel_type()) {
        return Err(Fault::new("list elements must have the same type"));
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| keys[*a].compare(&keys[*b]).unwrap_or(Ordering::Equal));
    order.into_iter().filter_map(|at| list.get(at)).collect::<Result<Vec<_>, _>>().map(Value::list)
}

fn distinct(args: &[Value]) -> Outcome {
    let mut seen: Vec<Value> = Vec::new();
    for element in list(args, 0)?.iter() {
        let element = element?;
        if !seen.iter().any(|known| element.equals(known) == Ok(true)) {
            seen.push(element);
        }
    }
    Ok(Value::list(seen))
}

fn is_sorted(args: &[Value]) -> Outcome {
    let elements = list(args, 0)?.elements()?;
    if elements.iter().any(|element| !element.is_comparable()) {
        return Err(Fault::no_overload());
    }
    let unsorted = elements.windows(2).any(|pair| pair[0].compare(&pair[1]) == Ok(Ordering::Greater));
    Ok(Value::Bool(!unsorted))
}

fn sum(args: &[Value], zero: Value) -> Outcome {
    list(args, 0)?.iter().try_fold(zero, |sum, element| sum.add(&element?).unwrap_or_else(|| Err(Fault::no_overload())))
}

/// The element that no later one beats; `beaten` is how an element compares to one that beats it.
fn best(args: &[Value], name: &str, beaten: Ordering) -> Outcome {
    let mut best: Option<Value> = None;
    for element in list(args, 0)?.iter() {
        let element = element?;
        if !element.is_comparable() {
            return Err(Fault::no_overload());
        }
        if best.as_ref().is_none_or(|best| best.compare(&element) == Ok(beaten)) {
            best = Some(element);
        }
    }
    best.ok_or_else(|| Fault::new(format!("{name} called on empty list")))
}

fn position(args: &[Value], last: bool) -> Outcome {
    let list = list(args, 0)?;
    let matches = |at: &usize| list.get(*at).is_some_and(|own| own.is_ok_and(|own| own.equals(&args[1]) == Ok(true)));
    let found = if last { (0..list.len()).rev().find(matches) } else { (0..list.len()).find(matches) };
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn includes(args: &[Value]) -> Outcome {
    let equal = |value: &Value| value.equals(&args[1]) == Ok(true);
    Ok(Value::Bool(match &args[0] {
        Value::List(list) => list.iter().any(|own| own.as_ref().is_ok_and(equal)),
        other => equal(other),
    }))
}
