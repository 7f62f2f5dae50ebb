//! Equality, order and printed forms of values as server-side apply needs them.
//!
//! Invariant: numbers compare by their value whatever their form, as upstream's value package does
//! (sigs.k8s.io/structured-merge-diff/v6/value/value.go@v6.4.2).

use std::cmp::Ordering;
use std::fmt::Write as _;

use api::field::go_quote;
use api::value::{Map, Value};

/// True when two values are equal; 1 equals 1.0.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => *a as f64 == *b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Map(a), Value::Map(b)) => equal_maps(a, b),
        _ => a == b,
    }
}

/// True when two maps have the same names with equal values, in any order.
pub(crate) fn equal_maps(a: &Map, b: &Map) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.iter().zip(b.iter()).all(|(a, b)| a.0 == b.0) {
        return a.iter().zip(b.iter()).all(|(a, b)| equal(a.1, b.1));
    }
    let mut same = true;
    zip(a, b, |_, a, b| same = same && matches!((a, b), (Some(a), Some(b)) if equal(a, b)));
    same
}

/// Above this many entries a map is searched through an index.
const SCANNED_ENTRIES_MAX: usize = 24;

/// Visits every name of two maps once, with the value of each side. Maps in the same order cost one pass.
pub(crate) fn zip<'v>(a: &'v Map, b: &'v Map, mut visit: impl FnMut(&'v str, Option<&'v Value>, Option<&'v Value>)) {
    if b.is_empty() {
        return a.iter().for_each(|(name, value)| visit(name, Some(value), None));
    }
    if a.is_empty() {
        return b.iter().for_each(|(name, value)| visit(name, None, Some(value)));
    }
    let right: Vec<(&str, &Value)> = b.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let mut sorted: Vec<usize> = Vec::new();
    if right.len() > SCANNED_ENTRIES_MAX {
        sorted = (0..right.len()).collect();
        sorted.sort_by_key(|at| right[*at].0);
    }
    let mut seen = vec![false; right.len()];
    let mut next = 0;
    for (name, value) in a.iter() {
        let found = if right.get(next).is_some_and(|entry| entry.0 == name) {
            Some(next)
        } else if sorted.is_empty() {
            right.iter().position(|entry| entry.0 == name)
        } else {
            sorted.binary_search_by_key(&name.as_str(), |at| right[*at].0).ok().map(|at| sorted[at])
        };
        if let Some(at) = found {
            seen[at] = true;
            next = at + 1;
        }
        visit(name, Some(value), found.map(|at| right[at].1));
    }
    for ((name, value), _) in right.iter().zip(&seen).filter(|(_, seen)| !**seen) {
        visit(name, None, Some(value));
    }
}

/// A total order: numbers, text, flags, lists, maps, null.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Int(a), Value::Float(b)) => floats(*a as f64, *b),
        (Value::Float(a), Value::Int(b)) => floats(*a, *b as f64),
        (Value::Float(a), Value::Float(b)) => floats(*a, *b),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::List(a), Value::List(b)) => lists(a, b),
        (Value::Map(a), Value::Map(b)) => maps(a, b),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Float(_) => 0,
        Value::Int(_) => 1,
        Value::String(_) => 2,
        Value::Bool(_) => 3,
        Value::List(_) => 4,
        Value::Map(_) => 5,
        Value::Null => 6,
    }
}

fn floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

fn lists(a: &[Value], b: &[Value]) -> Ordering {
    let differ = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    differ.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn maps(a: &Map, b: &Map) -> Ordering {
    let (a, b) = (sorted(a), sorted(b));
    let entries = a.iter().zip(&b).map(|(a, b)| a.0.cmp(b.0).then_with(|| compare(a.1, b.1)));
    entries.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn sorted(map: &Map) -> Vec<(&str, &Value)> {
    let mut entries: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value)).collect();
    entries.sort_by_key(|entry| entry.0);
    entries
}

/// The value as paths and conflicts show it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::String(text) => go_quote(text),
        Value::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(",")),
        Value::Map(map) => sorted(map).iter().map(|(name, value)| format!("{name}={}", shown(value))).collect(),
        scalar => go(scalar),
    }
}

/// The value as Go's `%v` prints it.
pub(crate) fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => go_float(*number),
        Value::String(text) => text.to_string(),
        Value::List(list) => format!("[{}]", list.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Map(map) => {
            let entries: Vec<_> = sorted(map).iter().map(|(name, value)| format!("{name}:{}", go(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// The value as Go's `%#v` prints it.
pub(crate) fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(text) => go_quote(text),
        Value::List(list) => {
            let mut text = String::from("[]interface {}{");
            for (at, element) in list.iter().enumerate() {
                let _ = write!(text, "{}{}", if at > 0 { ", " } else { "" }, go_syntax(element));
            }
            text + "}"
        }
        Value::Map(map) => {
            let mut text = String::from("map[string]interface {}{");
            for (at, (name, value)) in sorted(map).iter().enumerate() {
                let _ = write!(text, "{}{}:{}", if at > 0 { ", " } else { "" }, go_quote(name), go_syntax(value));
            }
            text + "}"
        }
        scalar => go(scalar),
    }
}

/// Go's `%v` of a float: shortest digits, an exponent below 1e-4 and from 1e21.
fn go_float(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    number.to_string()
}
