//! The standard library of CEL: operators, sizes, conversions, strings, times.
//!
//! Invariant: overloads and errors of cel-go's `common/stdlib/standard.go@v0.29.2`, times in UTC unless a zone is named.

use std::cmp::Ordering;

use crate::functions::{Compute, Library};
use crate::plan::{RegexFunction, regex_function};
use crate::types::Type;
use crate::value::{Fault, Outcome, Value, seconds};

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
_?_:_ conditional (bool, A, A) -> A
_&&_ logical_and (bool, bool) -> bool
_||_ logical_or (bool, bool) -> bool
!_ logical_not (bool) -> bool
@not_strictly_false not_strictly_false (bool) -> bool
_==_ equals (A, A) -> bool
_!=_ not_equals (A, A) -> bool
_+_ add_bytes (bytes, bytes) -> bytes
_+_ add_double (double, double) -> double
_+_ add_duration_duration (duration, duration) -> duration
_+_ add_duration_timestamp (duration, timestamp) -> timestamp
_+_ add_timestamp_duration (timestamp, duration) -> timestamp
_+_ add_int64 (int, int) -> int
_+_ add_list (list(A), list(A)) -> list(A)
_+_ add_string (string, string) -> string
_+_ add_uint64 (uint, uint) -> uint
_/_ divide_double (double, double) -> double
_/_ divide_int64 (int, int) -> int
_/_ divide_uint64 (uint, uint) -> uint
_%_ modulo_int64 (int, int) -> int
_%_ modulo_uint64 (uint, uint) -> uint
_*_ multiply_double (double, double) -> double
_*_ multiply_int64 (int, int) -> int
_*_ multiply_uint64 (uint, uint) -> uint
-_ negate_double (double) -> double
-_ negate_int64 (int) -> int
_-_ subtract_double (double, double) -> double
_-_ subtract_duration_duration (duration, duration) -> duration
_-_ subtract_int64 (int, int) -> int
_-_ subtract_timestamp_duration (timestamp, duration) -> timestamp
_-_ subtract_timestamp_timestamp (timestamp, timestamp) -> duration
_-_ subtract_uint64 (uint, uint) -> uint
_[_] index_list (list(A), int) -> A
_[_] index_map (map(A, B), A) -> B
@in in_list (A, list(A)) -> bool
@in in_map (A, map(A, B)) -> bool
size size_bytes (bytes) -> int
size bytes_size bytes.() -> int
size size_list (list(A)) -> int
size list_size list(A).() -> int
size size_map (map(A, B)) -> int
size map_size map(A, B).() -> int
size size_string (string) -> int
size string_size string.() -> int
type type (A) -> type(A)
bool bool_to_bool (bool) -> bool
bool string_to_bool (string) -> bool
bytes bytes_to_bytes (bytes) -> bytes
bytes string_to_bytes (string) -> bytes
double double_to_double (double) -> double
double int64_to_double (int) -> double
double string_to_double (string) -> double
double uint64_to_double (uint) -> double
duration duration_to_duration (duration) -> duration
duration string_to_duration (string) -> duration
dyn to_dyn (A) -> dyn
int int64_to_int64 (int) -> int
int double_to_int64 (double) -> int
int duration_to_int64 (duration) -> int
int string_to_int64 (string) -> int
int timestamp_to_int64 (timestamp) -> int
int uint64_to_int64 (uint) -> int
string string_to_string (string) -> string
string bool_to_string (bool) -> string
string bytes_to_string (bytes) -> string
string double_to_string (double) -> string
string duration_to_string (duration) -> string
string int64_to_string (int) -> string
string timestamp_to_string (timestamp) -> string
string uint64_to_string (uint) -> string
timestamp timestamp_to_timestamp (timestamp) -> timestamp
timestamp int64_to_timestamp (int) -> timestamp
timestamp string_to_timestamp (string) -> timestamp
uint uint64_to_uint64 (uint) -> uint
uint double_to_uint64 (double) -> uint
uint int64_to_uint64 (int) -> uint
uint string_to_uint64 (string) -> uint
contains contains_string string.(string) -> bool
endsWith ends_with_string string.(string) -> bool
startsWith starts_with_string string.(string) -> bool
matches matches (string, string) -> bool
matches matches_string string.(string) -> bool
getFullYear timestamp_to_year timestamp.() -> int
getFullYear timestamp_to_year_with_tz timestamp.(string) -> int
getMonth timestamp_to_month timestamp.() -> int
getMonth timestamp_to_month_with_tz timestamp.(string) -> int
getDayOfYear timestamp_to_day_of_year timestamp.() -> int
getDayOfYear timestamp_to_day_of_year_with_tz timestamp.(string) -> int
getDayOfMonth timestamp_to_day_of_month timestamp.() -> int
getDayOfMonth timestamp_to_day_of_month_with_tz timestamp.(string) -> int
getDate timestamp_to_day_of_month_1_based timestamp.() -> int
getDate timestamp_to_day_of_month_1_based_with_tz timestamp.(string) -> int
getDayOfWeek timestamp_to_day_of_week timestamp.() -> int
getDayOfWeek timestamp_to_day_of_week_with_tz timestamp.(string) -> int
getHours timestamp_to_hours timestamp.() -> int
getHours timestamp_to_hours_with_tz timestamp.(string) -> int
getHours duration_to_hours duration.() -> int
getMinutes timestamp_to_minutes timestamp.() -> int
getMinutes timestamp_to_minutes_with_tz timestamp.(string) -> int
getMinutes duration_to_minutes duration.() -> int
getSeconds timestamp_to_seconds timestamp.() -> int
getSeconds timestamp_to_seconds_tz timestamp.(string) -> int
getSeconds duration_to_seconds duration.() -> int
getMilliseconds timestamp_to_milliseconds timestamp.() -> int
getMilliseconds timestamp_to_milliseconds_with_tz timestamp.(string) -> int
getMilliseconds duration_to_milliseconds duration.() -> int
";

/// The ordered types, and the pairs of numbers that compare with each other.
const ORDERED: [(&str, &str, &str); 14] = [
    ("bool", "bool", "bool"),
    ("int64", "int", "int"),
    ("int64_double", "int", "double"),
    ("int64_uint64", "int", "uint"),
    ("uint64", "uint", "uint"),
    ("uint64_double", "uint", "double"),
    ("uint64_int64", "uint", "int"),
    ("double", "double", "double"),
    ("double_int64", "double", "int"),
    ("double_uint64", "double", "uint"),
    ("string", "string", "string"),
    ("bytes", "bytes", "bytes"),
    ("timestamp", "timestamp", "timestamp"),
    ("duration", "duration", "duration"),
];

/// Declarations of `<`, `<=`, `>` and `>=`.
pub(crate) fn order() -> String {
    let operators = [("_<_", "less"), ("_<=_", "less_equals"), ("_>_", "greater"), ("_>=_", "greater_equals")];
    let lines = operators.iter().flat_map(|(operator, name)| {
        ORDERED.iter().map(move |(id, a, b)| format!("{operator} {name}_{id} ({a}, {b}) -> bool\n"))
    });
    lines.collect()
}

pub(crate) fn compute(name: &str) -> Option<Compute> {
    let operator: Option<Compute> = match name {
        "!_" => Some(|args| args[0].as_bool().map(|value| Value::Bool(!value)).ok_or_else(Fault::no_overload)),
        "_+_" => Some(|args| known("_+_", args, args[0].add(&args[1]))),
        "_-_" => Some(|args| known("_-_", args, args[0].subtract(&args[1]))),
        "_*_" => Some(|args| known("_*_", args, args[0].multiply(&args[1]))),
        "_/_" => Some(|args| known("_/_", args, args[0].divide(&args[1]))),
        "_%_" => Some(|args| known("_%_", args, args[0].modulo(&args[1]))),
        "-_" => Some(|args| match args[0] {
            Value::Bool(_) => Err(Fault::no_overload()),
            _ => known("-_", args, args[0].negate()),
        }),
        "_<_" => Some(|args| compared("_<_", args, Ordering::is_lt)),
        "_<=_" => Some(|args| compared("_<=_", args, Ordering::is_le)),
        "_>_" => Some(|args| compared("_>_", args, Ordering::is_gt)),
        "_>=_" => Some(|args| compared("_>=_", args, Ordering::is_ge)),
        "@in" => Some(contains_element),
        "size" => Some(|args| known("size", args, args[0].size().map(|size| Ok(Value::Int(size as i64))))),
        "dyn" => Some(|args| Ok(args[0].clone())),
        "type" => Some(|args| Ok(Value::Type(args[0].cel_type()))),
        "contains" => Some(|args| text(args, |text, part| text.contains(part))),
        "endsWith" => Some(|args| text(args, |text, part| text.ends_with(part))),
        "startsWith" => Some(|args| text(args, |text, part| text.starts_with(part))),
        "matches" => Some(|args| match args[0] {
            Value::String(_) => regex_function(RegexFunction::Matches)(args),
            _ => known("matches", args, None),
        }),
        _ => None,
    };
    operator.or_else(|| conversion(name)).or_else(|| time(name))
}

/// The outcome, or the error of a first operand whose type does not have the operator.
fn known(function: &str, args: &[Value], outcome: Option<Outcome>) -> Outcome {
    outcome.unwrap_or_else(|| match args[0] {
        // Types that receive calls answer for themselves.
        Value::String(_) | Value::Duration(_) | Value::Timestamp(_) => Err(Fault::no_overload()),
        _ => Err(Fault::new(format!("no such overload: {function}"))),
    })
}

fn compared(function: &str, args: &[Value], wanted: fn(Ordering) -> bool) -> Outcome {
    let order = args[0].is_comparable().then(|| args[0].compare(&args[1]));
    known(function, args, order.map(|order| order.map(|order| Value::Bool(wanted(order)))))
}

fn contains_element(args: &[Value]) -> Outcome {
    match &args[1] {
        Value::List(list) => list.contains(&args[0]).map(Value::Bool),
        Value::Map(map) => map.find(&args[0]).transpose().map(|found| Value::Bool(found.is_some())),
        _ => Err(Fault::no_overload()),
    }
}

fn text(args: &[Value], holds: fn(&str, &str) -> bool) -> Outcome {
    match args {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(holds(text, part))),
        _ => Err(Fault::no_overload()),
    }
}

fn conversion(overload: &str) -> Option<Compute> {
    let (_, to) = overload.split_once("_to_")?;
    Some(match to {
        "bool" => |args| args[0].convert(&Type::Bool),
        "bytes" => |args| args[0].convert(&Type::Bytes),
        "double" => |args| args[0].convert(&Type::Double),
        "duration" => |args| args[0].convert(&Type::Duration),
        "int64" => |args| args[0].convert(&Type::Int),
        "string" => |args| args[0].convert(&Type::String),
        "timestamp" => |args| args[0].convert(&Type::Timestamp),
        "uint64" => |args| args[0].convert(&Type::Uint),
        _ => return None,
    })
}

fn time(overload: &str) -> Option<Compute> {
    if let Some(part) = overload.strip_prefix("duration_to_") {
        return duration(part);
    }
    let part = overload.strip_prefix("timestamp_to_")?;
    let part = part.strip_suffix("_with_tz").or_else(|| part.strip_suffix("_tz")).unwrap_or(part);
    Some(match part {
        "year" => |args| civil(args, |civil| civil.year),
        "month" => |args| civil(args, |civil| civil.month - 1),
        "day_of_year" => |args| civil(args, |civil| civil.day_of_year),
        "day_of_month" => |args| civil(args, |civil| civil.day - 1),
        "day_of_month_1_based" => |args| civil(args, |civil| civil.day),
        "day_of_week" => |args| civil(args, |civil| civil.weekday),
        "hours" => |args| civil(args, |civil| civil.hour),
        "minutes" => |args| civil(args, |civil| civil.minute),
        "seconds" => |args| civil(args, |civil| civil.second),
        "milliseconds" => |args| civil(args, |civil| civil.nanos / 1_000_000),
        _ => return None,
    })
}

fn civil(args: &[Value], part: fn(crate::value::Civil) -> i64) -> Outcome {
    let zone = args.get(1).and_then(Value::as_str).unwrap_or("UTC");
    match &args[0] {
        Value::Timestamp(time) => time.in_zone(zone).map(|civil| Value::Int(part(civil))),
        _ => Err(Fault::no_overload()),
    }
}

/// Whole durations in a unit, by way of a double as Go has it.
fn duration(unit: &str) -> Option<Compute> {
    fn whole(args: &[Value], unit: i64) -> Outcome {
        match args[0] {
            Value::Duration(nanos) => {
                let exact = (nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64;
                Ok(Value::Int(exact as i64))
            }
            _ => Err(Fault::no_overload()),
        }
    }
    Some(match unit {
        "hours" => |args| whole(args, api::duration::HOUR),
        "minutes" => |args| whole(args, api::duration::MINUTE),
        "seconds" => |args| match args[0] {
            Value::Duration(nanos) => Ok(Value::Int(seconds(nanos) as i64)),
            _ => Err(Fault::no_overload()),
        },
        "milliseconds" => |args| match args[0] {
            Value::Duration(nanos) => Ok(Value::Int(nanos / api::duration::MILLISECOND)),
            _ => Err(Fault::no_overload()),
        },
        _ => return None,
    })
}
