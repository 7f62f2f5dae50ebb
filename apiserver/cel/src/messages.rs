//! The messages of protobuf that every environment knows by name: wrappers, JSON, durations and times. They are written as
//! objects (`google.protobuf.Int32Value{value: 1}`), and what comes out is one of CEL's own values.
//!
//! Invariant: types, values and errors of cel-go's registry (`common/types/provider.go`, `common/types/pb` and the
//! conversions of `common/types/*.go` @v0.29.2). Non-goals: `Any`, `Empty` and the enum `NullValue`, whose values are
//! messages and numbers that nothing in Kubernetes has.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;

use crate::types::Type;
use crate::value::{Fault, Key, Map, Outcome, Timestamp, Value, seconds};

const NANOS: i128 = 1_000_000_000;
/// Greatest whole number that a number of JSON is (Number.MAX_SAFE_INTEGER).
const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;

/// What a field of a message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Bool,
    Bytes,
    Double,
    Float,
    Int32,
    Int64,
    String,
    Uint32,
    Uint64,
    /// The one value of the enum of nulls.
    Null,
    /// `google.protobuf.Struct`, as a field of `Value`.
    Struct,
    /// `google.protobuf.ListValue`, as a field of `Value`.
    List,
    /// The entries of a `Struct`.
    Entries,
    /// The elements of a `ListValue`.
    Elements,
}

impl Field {
    fn cel_type(self) -> Type {
        match self {
            Field::Bool => Type::Bool,
            Field::Bytes => Type::Bytes,
            Field::Double | Field::Float => Type::Double,
            Field::Int32 | Field::Int64 | Field::Null => Type::Int,
            Field::String => Type::String,
            Field::Uint32 | Field::Uint64 => Type::Uint,
            Field::Struct | Field::Entries => Type::map(Type::String, Type::Dyn),
            Field::List | Field::Elements => Type::list(Type::Dyn),
        }
    }

    /// As Go prints the type that a value is made into.
    fn go(self) -> &'static str {
        match self {
            Field::Bool => "bool",
            Field::Bytes => "[]uint8",
            Field::Double => "float64",
            Field::Float => "float32",
            Field::Int32 => "int32",
            Field::Null => "protoreflect.EnumNumber",
            Field::Int64 => "int64",
            Field::String => "string",
            Field::Uint32 => "uint32",
            Field::Uint64 => "uint64",
            Field::Struct | Field::Entries => "*structpb.Struct",
            Field::List | Field::Elements => "*structpb.ListValue",
        }
    }
}

/// The names of the messages.
pub(crate) const NAMES: [&str; 14] = [
    "google.protobuf.BoolValue",
    "google.protobuf.BytesValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.Duration",
    "google.protobuf.FloatValue",
    "google.protobuf.Int32Value",
    "google.protobuf.Int64Value",
    "google.protobuf.ListValue",
    "google.protobuf.StringValue",
    "google.protobuf.Struct",
    "google.protobuf.Timestamp",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
    "google.protobuf.Value",
];

const TIME: &[(&str, Field)] = &[("seconds", Field::Int64), ("nanos", Field::Int32)];
const VALUE: &[(&str, Field)] = &[
    ("null_value", Field::Null),
    ("number_value", Field::Double),
    ("string_value", Field::String),
    ("bool_value", Field::Bool),
    ("struct_value", Field::Struct),
    ("list_value", Field::List),
];

/// The fields of a message, by name.
fn fields(message: &str) -> Option<&'static [(&'static str, Field)]> {
    Some(match message.strip_prefix("google.protobuf.")? {
        "BoolValue" => &[("value", Field::Bool)],
        "BytesValue" => &[("value", Field::Bytes)],
        "DoubleValue" => &[("value", Field::Double)],
        "FloatValue" => &[("value", Field::Float)],
        "Int32Value" => &[("value", Field::Int32)],
        "Int64Value" => &[("value", Field::Int64)],
        "StringValue" => &[("value", Field::String)],
        "UInt32Value" => &[("value", Field::Uint32)],
        "UInt64Value" => &[("value", Field::Uint64)],
        "ListValue" => &[("values", Field::Elements)],
        "Struct" => &[("fields", Field::Entries)],
        "Value" => VALUE,
        "Duration" | "Timestamp" => TIME,
        _ => return None,
    })
}

/// The type of a message, if it is one of these.
pub(crate) fn cel_type(message: &str) -> Option<Type> {
    Some(match message.strip_prefix("google.protobuf.")? {
        "Duration" => Type::Duration,
        "Timestamp" => Type::Timestamp,
        "Value" => Type::Dyn,
        "ListValue" | "Struct" => fields(message)?[0].1.cel_type(),
        _ => Type::wrapper(fields(message)?[0].1.cel_type()),
    })
}

/// The type of a message's field.
pub(crate) fn field(message: &str, field: &str) -> Option<Type> {
    find(message, field).map(Field::cel_type)
}

fn find(message: &str, field: &str) -> Option<Field> {
    fields(message)?.iter().find(|(name, _)| *name == field).map(|(_, field)| *field)
}

/// Makes a message of its fields; None when it is none of these.
pub(crate) fn make(message: &str, given: &[(Arc<str>, Value)]) -> Option<Outcome> {
    fields(message).map(|_| build(message, given))
}

fn build(message: &str, given: &[(Arc<str>, Value)]) -> Outcome {
    let mut set = BTreeMap::new();
    for (name, value) in given {
        let field = find(message, name).ok_or_else(|| Fault::new(format!("no such field: {name}")))?;
        set.insert(name.as_ref(), set_field(message, name, field, value)?);
    }
    let number = |name: &str| match set.get(name) {
        Some(Value::Int(value)) => i128::from(*value),
        _ => 0,
    };
    let instant = number("seconds") * NANOS + number("nanos");
    match message.strip_prefix("google.protobuf.").unwrap_or(message) {
        "Duration" => Ok(Value::Duration(instant.clamp(i64::MIN.into(), i64::MAX.into()) as i64)),
        "Timestamp" => {
            let seconds = i64::try_from(instant.div_euclid(NANOS)).ok();
            let time = seconds.and_then(|seconds| Timestamp::new(seconds, instant.rem_euclid(NANOS) as u32));
            time.map(Value::Timestamp).ok_or_else(|| Fault::new("timestamp overflow"))
        }
        // Of these at most one field is set; the value is the field's.
        _ => Ok(set.into_values().next().unwrap_or_else(|| zero(message))),
    }
}

/// A message without fields.
fn zero(message: &str) -> Value {
    match fields(message).unwrap_or_default() {
        [(_, Field::Bool)] => Value::Bool(false),
        [(_, Field::Bytes)] => Value::Bytes(Vec::new().into()),
        [(_, Field::Double | Field::Float)] => Value::Double(0.0),
        [(_, Field::Int32 | Field::Int64)] => Value::Int(0),
        [(_, Field::String)] => Value::from(""),
        [(_, Field::Uint32 | Field::Uint64)] => Value::Uint(0),
        [(_, Field::Elements)] => Value::list(Vec::new()),
        [(_, Field::Entries)] => Value::Map(Map::new(BTreeMap::new())),
        _ => Value::Null,
    }
}

fn set_field(message: &str, name: &str, field: Field, value: &Value) -> Outcome {
    let unsupported = || format!("unsupported field type for {message}.{name}: {}", value.cel_type());
    match (field, value) {
        (Field::Elements, Value::List(_)) | (Field::Entries, Value::Map(_)) => {}
        (Field::Elements | Field::Entries, _) => return Err(Fault::new(unsupported())),
        _ => {}
    }
    convert(field, value).map_err(|why| match why {
        Fault::Error(why) => Fault::new(format!("field type conversion error for {message}.{name} value type: {why}")),
        abort => abort,
    })
}

/// A value as a field keeps it.
fn convert(field: Field, value: &Value) -> Outcome {
    Ok(match (field, value) {
        (Field::Bool, Value::Bool(_))
        | (Field::Bytes, Value::Bytes(_))
        | (Field::Double, Value::Double(_))
        | (Field::Int64, Value::Int(_))
        | (Field::String, Value::String(_))
        | (Field::Uint64, Value::Uint(_)) => value.clone(),
        (Field::Float, Value::Double(value)) => Value::Double(f64::from(*value as f32)),
        (Field::Int32 | Field::Null, Value::Int(value)) => {
            let value = i32::try_from(*value).map_err(|_| Fault::new("integer overflow"))?;
            if field == Field::Null { Value::Null } else { Value::Int(value.into()) }
        }
        (Field::Uint32, Value::Uint(value)) => {
            Value::Uint(u32::try_from(*value).map_err(|_| Fault::new("unsigned integer overflow"))?.into())
        }
        (Field::List | Field::Elements, Value::List(list)) => {
            Value::list(list.iter().map(|element| json(&element?)).collect::<Result<_, _>>()?)
        }
        (Field::Struct | Field::Entries, Value::Map(map)) => entries(map)?,
        _ => return Err(unconverted(value, field.go())),
    })
}

fn entries(map: &Map) -> Outcome {
    let mut entries = BTreeMap::new();
    for key in map.keys() {
        let Value::String(name) = &key else { return Err(unconverted(&key, "string")) };
        let value = map.find(&key).unwrap_or(Ok(Value::Null))?;
        entries.insert(Key::String(name.clone()), json(&value)?);
    }
    Ok(Value::Map(Map::new(entries)))
}

/// A value as protobuf writes it in JSON, and as it is read again.
fn json(value: &Value) -> Outcome {
    let number = |safe: bool, number: f64, text: String| if safe { Value::Double(number) } else { Value::from(text) };
    Ok(match value {
        Value::Null | Value::Bool(_) | Value::Double(_) | Value::String(_) => value.clone(),
        Value::Int(own) => number(own.unsigned_abs() <= JSON_INTEGER_MAX, *own as f64, own.to_string()),
        Value::Uint(own) => number(*own <= JSON_INTEGER_MAX, *own as f64, own.to_string()),
        Value::Bytes(bytes) => Value::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Value::Duration(nanos) => Value::from(format!("{}s", seconds(*nanos))),
        Value::Timestamp(time) => Value::from(time.rfc3339()),
        Value::List(_) => convert(Field::List, value)?,
        Value::Map(_) => convert(Field::Struct, value)?,
        other => return Err(unconverted(other, "*structpb.Value")),
    })
}

fn unconverted(value: &Value, to: &str) -> Fault {
    let from = match value {
        Value::Int(_) | Value::Uint(_) => {
            return Fault::new(format!("unsupported type conversion from '{}' to {to}", value.cel_type()));
        }
        Value::Double(_) => "type conversion error from Double to ",
        Value::Bool(_) => "type conversion error from bool to ",
        Value::String(_) => "unsupported native conversion from string to ",
        Value::Bytes(_) => "type conversion error from Bytes to ",
        Value::Null => "type conversion error from 'null_type' to ",
        Value::List(_) => "type conversion error from list to ",
        Value::Map(_) => "type conversion error from map to ",
        Value::Duration(_) => "type conversion error from 'Duration' to ",
        Value::Timestamp(_) => "type conversion error from 'Timestamp' to ",
        other => return Fault::new(format!("type conversion not supported for '{}'", other.cel_type().name())),
    };
    Fault::new(format!("{from}'{to}'"))
}
