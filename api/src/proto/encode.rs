//! Value -> protobuf message.

use super::buffer::Buffer;
use super::{FIXED64, VARINT};
use crate::facts::{Field, Struct, Type};
use crate::value::{Map, Value};

/// The message of an object, without the envelope.
pub fn encode(object: &Map, ty: &'static Struct) -> Vec<u8> {
    let mut out = Buffer::with_capacity(1024);
    message(&mut out, Some(object), ty);
    out.finish()
}

/// Writes the fields of a message, last first; an absent message still has its values that are not pointers.
fn message(out: &mut Buffer, object: Option<&Map>, ty: &'static Struct) {
    for field in ty.proto_fields().iter().rev().map(|entry| entry.field) {
        if field.inline {
            let Type::Struct(inner) = field.ty else { continue };
            let before = out.len();
            message(out, object, inner);
            out.close(field.number, before);
            continue;
        }
        let value = object.and_then(|object| object.get(field.name)).filter(|value| !value.is_null());
        match value {
            Some(value) => one_field(out, field, value),
            None if !field.nilable => absent(out, field),
            None => {}
        }
    }
}

fn one_field(out: &mut Buffer, field: &Field, value: &Value) {
    match (&field.ty, value) {
        (Type::List(inner), Value::List(list)) => {
            for element in list.iter().rev() {
                single(out, field.number, inner, element);
            }
        }
        (Type::Map(inner), Value::Map(map)) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            for (key, value) in entries.into_iter().rev() {
                let before = out.len();
                single(out, 2, inner, value);
                out.field(1, key.as_bytes());
                out.close(field.number, before);
            }
        }
        (ty, value) => single(out, field.number, ty, value),
    }
}

/// A value that is not a pointer and is not there: its zero is written.
fn absent(out: &mut Buffer, field: &Field) {
    match &field.ty {
        Type::Struct(inner) => {
            let before = out.len();
            message(out, None, inner);
            out.close(field.number, before);
        }
        Type::Time | Type::MicroTime => out.field(field.number, &[]),
        // A zero Quantity is written as a message with an empty string.
        Type::Quantity => out.field(field.number, &[0x0a, 0x00]),
        Type::IntOrString => single(out, field.number, &field.ty, &Value::Int(0)),
        Type::Duration => single(out, field.number, &field.ty, &Value::from("0s")),
        Type::Bool | Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 => {
            single(out, field.number, &field.ty, &Value::Int(0));
        }
        Type::Float64 => single(out, field.number, &field.ty, &Value::Float(0.0)),
        Type::String => out.field(field.number, &[]),
        Type::RawExtension | Type::Json | Type::FieldsV1 => out.field(field.number, &[]),
        _ => {}
    }
}

/// One value with its tag. Values of another shape than the type cannot be here: decoding and
/// defaulting keep to the facts; they are written as the type's zero.
fn single(out: &mut Buffer, number: u32, ty: &Type, value: &Value) {
    match ty {
        Type::Bool => {
            out.varint(u64::from(value.as_bool().unwrap_or(false)));
            out.tag(number, VARINT);
        }
        Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 => {
            out.varint(value.as_i64().unwrap_or(0) as u64);
            out.tag(number, VARINT);
        }
        Type::Float64 => {
            let float = match value {
                Value::Float(float) => *float,
                other => other.as_i64().unwrap_or(0) as f64,
            };
            out.bytes(&float.to_le_bytes());
            out.tag(number, FIXED64);
        }
        Type::String => out.field(number, value.as_str().unwrap_or("").as_bytes()),
        Type::Bytes => {
            use base64::Engine;
            let text = value.as_str().unwrap_or("");
            out.field(number, &base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default());
        }
        _ => {
            let before = out.len();
            nested(out, ty, value);
            out.close(number, before);
        }
    }
}

/// The inside of a message-typed value.
fn nested(out: &mut Buffer, ty: &Type, value: &Value) {
    match ty {
        Type::Struct(inner) => message(out, value.as_map(), inner),
        Type::Time | Type::MicroTime => time(out, value),
        Type::Duration => {
            let nanos = value.as_str().and_then(|text| crate::duration::parse(text).ok()).unwrap_or(0);
            out.varint(nanos as u64);
            out.tag(1, VARINT);
        }
        Type::Quantity => match value {
            Value::Int(number) => out.field(1, number.to_string().as_bytes()),
            other => out.field(1, other.as_str().unwrap_or("").as_bytes()),
        },
        Type::IntOrString => int_or_string(out, value),
        Type::RawExtension | Type::FieldsV1 | Type::Json => {
            let mut text = Vec::new();
            crate::json::encode_value(&mut text, value);
            out.field(1, &text);
        }
        Type::Wrapped(inner) => {
            for element in value.as_list().unwrap_or(&[]).iter().rev() {
                single(out, 1, inner, element);
            }
        }
        Type::SchemaOrBool(inner) => schema_or_bool(out, inner, value),
        Type::SchemaOrArray(inner) => match value {
            Value::List(list) => {
                for element in list.iter().rev() {
                    single(out, 2, &Type::Struct(inner), element);
                }
            }
            other => single(out, 1, &Type::Struct(inner), other),
        },
        Type::SchemaOrStrings(inner) => match value {
            Value::List(list) => {
                for element in list.iter().rev() {
                    single(out, 2, &Type::String, element);
                }
            }
            other => single(out, 1, &Type::Struct(inner), other),
        },
        _ => {}
    }
}

fn schema_or_bool(out: &mut Buffer, inner: &'static Struct, value: &Value) {
    let allows = match value {
        Value::Bool(allows) => *allows,
        other => {
            single(out, 2, &Type::Struct(inner), other);
            true
        }
    };
    out.varint(u64::from(allows));
    out.tag(1, VARINT);
}

/// Seconds and nanoseconds since 1970, both always written unless the time is zero.
fn time(out: &mut Buffer, value: &Value) {
    let Some((seconds, nanos)) = value.as_str().and_then(crate::time::to_unix) else { return };
    out.varint(nanos as u64);
    out.tag(2, VARINT);
    out.varint(seconds as u64);
    out.tag(1, VARINT);
}

fn int_or_string(out: &mut Buffer, value: &Value) {
    let (kind, number, text) = match value {
        Value::String(text) => (1, 0, text.as_str()),
        other => (0, other.as_i64().unwrap_or(0), ""),
    };
    out.field(3, text.as_bytes());
    out.varint(number as u64);
    out.tag(2, VARINT);
    out.varint(kind);
    out.tag(1, VARINT);
}
