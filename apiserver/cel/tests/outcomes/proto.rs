//! Types and values as the rows of CEL's specification write them: in words, and in protobuf's JSON.

use std::collections::BTreeMap;

use cel::types::Type;
use cel::value::{Key, Map, Timestamp, Value};
use serde_json::Value as Json;

use crate::common;

/// A type in words; None where it is of messages, or is a function's.
pub(crate) fn parse_type(text: &str) -> Option<Type> {
    let (name, parameters) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some((name, inside)) => (name, split(inside).into_iter().map(parse_type).collect::<Option<Vec<_>>>()?),
        None => (text, Vec::new()),
    };
    Some(match (name, parameters.as_slice()) {
        ("list", [element]) => Type::list(element.clone()),
        ("map", [key, value]) => Type::map(key.clone(), value.clone()),
        ("optional_type", [value]) => Type::optional(value.clone()),
        ("wrapper", [of]) => Type::wrapper(of.clone()),
        ("type", [of]) => Type::of_type(of.clone()),
        ("type", []) => Type::Type(None),
        // Values of types have no parameters.
        ("list", []) => Type::list(Type::Dyn),
        ("map", []) => Type::map(Type::Dyn, Type::Dyn),
        ("dyn", []) => Type::Dyn,
        ("bool", []) => Type::Bool,
        ("int", []) => Type::Int,
        ("uint", []) => Type::Uint,
        ("double", []) => Type::Double,
        ("string", []) => Type::String,
        ("bytes", []) => Type::Bytes,
        ("null" | "null_type", []) => Type::Null,
        ("timestamp", []) => Type::Timestamp,
        ("duration", []) => Type::Duration,
        _ => cel::types::well_known(name.strip_prefix("message ").unwrap_or(name))?,
    })
}

/// Parameters, at the commas that are in no parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

/// A value; None where it is of a message that is not well known.
pub(crate) fn parse_value(json: &Json) -> Option<Value> {
    let (kind, value) = json.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "nullValue" => Value::Null,
        "boolValue" => Value::Bool(value.as_bool()?),
        "int64Value" => Value::Int(value.as_str()?.parse().ok()?),
        "uint64Value" => Value::Uint(value.as_str()?.parse().ok()?),
        "doubleValue" => double(value)?,
        "stringValue" => Value::from(value.as_str()?),
        "bytesValue" => Value::Bytes(base64(value.as_str()?).into()),
        "listValue" => {
            let elements = value["values"].as_array().cloned().unwrap_or_default();
            Value::list(elements.iter().map(parse_value).collect::<Option<_>>()?)
        }
        "mapValue" => Value::Map(Map::new(entries(value)?)),
        "typeValue" => Value::Type(parse_type(value.as_str()?)?),
        "objectValue" => well_known(value)?,
        _ => return None,
    })
}

fn entries(map: &Json) -> Option<BTreeMap<Key, Value>> {
    let mut entries = BTreeMap::new();
    for entry in map["entries"].as_array().into_iter().flatten() {
        let key = match parse_value(&entry["key"])? {
            Value::Bool(key) => Key::Bool(key),
            Value::Int(key) => Key::Int(key),
            Value::Uint(key) => Key::Uint(key),
            Value::String(key) => Key::String(key),
            _ => return None,
        };
        entries.insert(key, parse_value(&entry["value"])?);
    }
    Some(entries)
}

fn double(value: &Json) -> Option<Value> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).map(Value::Double)
}

/// A message that CEL reads as one of its own values.
fn well_known(message: &Json) -> Option<Value> {
    let value = &message["value"];
    let integer = || value.as_i64().or_else(|| value.as_str()?.parse().ok());
    Some(match message["@type"].as_str()?.strip_prefix("type.googleapis.com/google.protobuf.")? {
        "Duration" => Value::Duration(api::duration::parse(value.as_str()?).ok()?),
        "Timestamp" => {
            let (seconds, nanos) = api::time::to_unix(value.as_str()?)?;
            Value::Timestamp(Timestamp::new(seconds, nanos as u32)?)
        }
        "BoolValue" => Value::Bool(value.as_bool()?),
        "StringValue" => Value::from(value.as_str()?),
        "BytesValue" => Value::Bytes(base64(value.as_str()?).into()),
        "DoubleValue" | "FloatValue" => double(value)?,
        "Int32Value" | "Int64Value" => Value::Int(integer()?),
        "UInt32Value" | "UInt64Value" => Value::Uint(integer()?.try_into().ok()?),
        "Struct" | "ListValue" | "Value" => doubles(common::from_json(value)),
        _ => return None,
    })
}

/// Numbers of JSON are doubles to protobuf.
fn doubles(value: Value) -> Value {
    match value {
        Value::Int(value) => Value::Double(value as f64),
        Value::List(list) => Value::list(list.iter().map(|element| doubles(element.unwrap())).collect()),
        Value::Map(map) => {
            let entry =
                |key: &Value| (Key::String(key.as_str().unwrap().into()), doubles(map.find(key).unwrap().unwrap()));
            Value::Map(Map::new(map.keys().iter().map(entry).collect()))
        }
        other => other,
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}
