//! What calls cost at run time.
//!
//! Invariant: the sums of `k8s.io/apiserver/pkg/cel/library/cost.go@v0.37.2` (`CallCost`), of the trackers in cel-go's
//! `ext/{sets,lists}.go`, and of `interpreter/runtimecost.go` @v0.29.2 for the rest.

use super::{AUTHORIZATION_CHECK, LIST_CREATE, REGEX_FACTOR, STRING_FACTOR, STRUCT_CREATE};
use crate::library::named_format::Format;
use crate::plan::go_type;
use crate::value::Value;

/// `result` is None when the call had an error.
pub(crate) fn call(function: &str, overload: &str, args: &[Value], result: Option<&Value>) -> u64 {
    extension(overload, args, result)
        .or_else(|| kubernetes(function, overload, args, result))
        .unwrap_or_else(|| standard(overload, args))
}

/// `size()` of what has one, and of what is in an optional.
fn size(value: &Value) -> u64 {
    match value {
        Value::Optional(Some(inner)) => size(inner),
        other => plain_size(other),
    }
}

fn plain_size(value: &Value) -> u64 {
    match value {
        Value::Object(object) => object.cost_size().unwrap_or(1),
        other => other.size().map_or(1, |size| size as u64),
    }
}

fn scaled(size: f64, factor: f64) -> u64 {
    (size * factor).ceil() as u64
}

fn traversed(value: &Value) -> u64 {
    scaled(plain_size(value) as f64, STRING_FACTOR)
}

/// A regular expression of some length on a text.
fn matching(text: &Value, pattern: u64) -> u64 {
    let text = scaled(1.0 + plain_size(text) as f64, STRING_FACTOR);
    text.saturating_mul(scaled(pattern as f64, REGEX_FACTOR))
}

fn extension(overload: &str, args: &[Value], result: Option<&Value>) -> Option<u64> {
    let product = || plain_size(&args[0]).wrapping_mul(plain_size(&args[1]));
    Some(match overload {
        "list_sets_contains_list" | "list_sets_intersects_list" => 1 + product(),
        "list_sets_equivalent_list" => 1 + 2 * product(),
        "list_slice" | "lists_range" | "list_reverse" => list_call(1.0, result.map_or(1, plain_size)),
        "list_flatten" => list_call(1.0, plain_size(&args[0])),
        "list_flatten_int" => list_call(args[1].as_int().unwrap_or(1) as f64, plain_size(&args[0])),
        _ => compared(args.get(compared_list(overload)?)?),
    })
}

/// What cel-go panics with where it counts without a look at what it counts; errors are null here.
pub(crate) fn uncountable(overload: &str, args: &[Value]) -> Option<String> {
    let name = |value: &Value| if matches!(value, Value::Null) { "*types.Err" } else { go_type(value) };
    if overload == "list_flatten_int" {
        let depth = args.get(1).filter(|depth| !matches!(depth, Value::Int(_)))?;
        return Some(format!("ref.Val is {}, not types.Int", name(depth)));
    }
    let other = args.get(compared_list(overload)?).filter(|arg| !matches!(arg, Value::List(_)))?;
    let adds = matches!(other, Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_))
        || matches!(other, Value::Bytes(_) | Value::Duration(_) | Value::Timestamp(_));
    let method = if adds { "Contains" } else { "Add" };
    Some(format!("{} is not traits.Lister: missing method {method}", name(other)))
}

/// Which argument of a call has its elements compared with each other.
fn compared_list(overload: &str) -> Option<usize> {
    match overload {
        "list_distinct" => Some(0),
        _ if overload.ends_with("_sortByAssociatedKeys") => Some(1),
        _ if overload.starts_with("list_") && overload.ends_with("_sort") => Some(0),
        _ => None,
    }
}

fn list_call(factor: f64, size: u64) -> u64 {
    let factor = if factor < 0.0 { 1.0 } else { factor };
    ((size as f64 * factor) as u64).saturating_add(1 + LIST_CREATE)
}

/// Every element of a list with every other.
fn compared(list: &Value) -> u64 {
    let size = plain_size(list);
    let first = match list {
        Value::List(list) => list.get(0).and_then(Result::ok),
        _ => None,
    };
    let text = matches!(first, Some(Value::String(_) | Value::Bytes(_)));
    list_call(if text { 2.0 + STRING_FACTOR } else { 2.0 }, size.saturating_mul(size))
}

fn kubernetes(function: &str, overload: &str, args: &[Value], result: Option<&Value>) -> Option<u64> {
    let first = args.first();
    let text = |factor: f64| first.map(|first| scaled(plain_size(first) as f64, factor));
    match function {
        "check" => Some(AUTHORIZATION_CHECK),
        "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name" | "allowed"
        | "reason" | "error" | "errored" => Some(1),
        "fieldSelector" | "labelSelector" => Some(selector(plain_size(args.get(1)?))),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" => Some(first.map_or(0, traversal)),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => text(STRING_FACTOR),
        "replace" | "split" | "ip.isCanonical" => text(2.0 * STRING_FACTOR),
        "join" => Some(scaled(result.map_or(1, plain_size) as f64, 2.0 * STRING_FACTOR)),
        "find" | "findAll" => Some(matching(first?, plain_size(args.get(1)?))),
        "ip" if overload == "cidr_ip" => Some(1),
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => text(STRING_FACTOR),
        "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "format.named"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => Some(1),
        "containsIP" | "containsCIDR" => contains(function, overload, first?, args.get(1)?),
        "validate" => {
            let format = first?.downcast::<Format>()?;
            Some(matching(args.get(1)?, format.regex_size()))
        }
        // Objects compare in constant time.
        "_==_" => matches!(first, Some(Value::Object(_))).then_some(1),
        _ => None,
    }
}

fn contains(function: &str, overload: &str, network: &Value, other: &Value) -> Option<u64> {
    let size = plain_size(network);
    let mut cost = scaled((2 * size) as f64, STRING_FACTOR);
    if function == "containsCIDR" {
        cost += scaled(size as f64, STRING_FACTOR) + 1;
    }
    if overload.ends_with("_string") {
        cost += traversed(other);
    }
    Some(cost)
}

/// Parsing a selector: at worst a requirement for every two characters.
fn selector(length: u64) -> u64 {
    let requirements = scaled(length as f64, 0.5);
    LIST_CREATE
        + scaled(length as f64, STRING_FACTOR)
        + scaled(requirements as f64, (LIST_CREATE + STRUCT_CREATE) as f64)
}

/// Reading everything in a value.
fn traversal(value: &Value) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * STRING_FACTOR) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * STRING_FACTOR) as u64,
        Value::List(list) => list.iter().map(|element| element.as_ref().map_or(1, traversal)).sum(),
        Value::Map(map) => {
            let entry =
                |key: &Value| traversal(key) + map.find(key).map_or(1, |value| value.as_ref().map_or(1, traversal));
            map.keys().iter().map(entry).sum()
        }
        _ => 1,
    }
}

fn standard(overload: &str, args: &[Value]) -> u64 {
    let text = |at: usize| scaled(size(&args[at]) as f64, STRING_FACTOR);
    match overload {
        "starts_with_string" | "ends_with_string" => text(1),
        "string_to_bytes" | "bytes_to_string" | "strings_quote" | "string_format" => text(0),
        "in_list" => size(&args[1]),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => scaled(size(&args[0]).min(size(&args[1])) as f64, STRING_FACTOR),
        "add_string" | "add_bytes" => scaled((size(&args[0]) + size(&args[1])) as f64, STRING_FACTOR),
        "matches" | "matches_string" => {
            let text = scaled(1.0 + size(&args[0]) as f64, STRING_FACTOR);
            text.saturating_mul(scaled(size(&args[1]) as f64, REGEX_FACTOR))
        }
        "contains_string" => text(0).saturating_mul(text(1)),
        _ => 1,
    }
}
