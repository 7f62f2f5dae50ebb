//! Protobuf message -> JSON text in one step, without the value tree between: what lists and watches are
//! served from. Says exactly what decoding and encoding say; a test holds them together on every kind.

use super::decode::{Error, Reader};
use super::{BYTES, FIXED32, FIXED64, VARINT};
use crate::facts::{Field, Omit, Struct, Type};
use crate::json::{self, Strictness};

/// Messages nested deeper are refused.
const DEPTH_MAX: u8 = 100;

/// Appends the JSON object of a message (without envelope, kind and apiVersion).
pub fn to_json(bytes: &[u8], ty: &'static Struct, out: &mut Vec<u8>) -> Result<(), Error> {
    object(bytes, ty, out, 0)
}

/// A field as it stands in the message.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Number(u64),
    Fixed(f64),
    Bytes(&'a [u8]),
}

type Found<'a> = Vec<(u16, Raw<'a>)>;

/// Collects the fields of a message by their place in JSON; embedded messages' fields among them.
fn collect<'a>(bytes: &'a [u8], ty: &'static Struct, base: u16, found: &mut Found<'a>, depth: u8) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Depth);
    }
    let mut reader = Reader { bytes };
    while let Some((number, wire)) = reader.tag()? {
        let Some(entry) = ty.by_number(number) else {
            reader.skip(wire)?;
            continue;
        };
        let raw = match wire {
            VARINT => Raw::Number(reader.varint()?),
            BYTES => Raw::Bytes(reader.length_delimited()?),
            FIXED64 => Raw::Fixed(f64::from_le_bytes(reader.array()?)),
            FIXED32 => Raw::Fixed(f32::from_le_bytes(reader.array()?).into()),
            other => return Err(Error::IllegalWire(other)),
        };
        match (entry.field.ty, raw) {
            (Type::Struct(inner), Raw::Bytes(inside)) if entry.field.inline => {
                collect(inside, inner, base + entry.order, found, depth + 1)?;
            }
            _ => found.push((base + entry.order, raw)),
        }
    }
    Ok(())
}

fn object(bytes: &[u8], ty: &'static Struct, out: &mut Vec<u8>, depth: u8) -> Result<(), Error> {
    let mut found = Vec::with_capacity(16);
    collect(bytes, ty, 0, &mut found, depth)?;
    // Messages are mostly in order already; the sort must be stable for lists and for "last wins".
    if !found.is_sorted_by_key(|entry| entry.0) {
        found.sort_by_key(|entry| entry.0);
    }
    out.push(b'{');
    let start = out.len();
    let mut rest = found.as_slice();
    for (order, field) in (0u16..).zip(ty.json_fields()) {
        let count = rest.iter().take_while(|entry| entry.0 == order).count();
        // Most fields of most messages are not there.
        if count == 0 && !field.always_in_json() {
            continue;
        }
        let (values, after) = rest.split_at(count);
        rest = after;
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        json::name(out, field.name);
        if !member(field, values, out, depth)? {
            out.truncate(before);
        }
    }
    out.push(b'}');
    Ok(())
}

/// Writes a field's value; false when JSON leaves the field out.
fn member(field: &'static Field, values: &[(u16, Raw<'_>)], out: &mut Vec<u8>, depth: u8) -> Result<bool, Error> {
    let start = out.len();
    let written = match (&field.ty, values.last()) {
        (_, None) => false,
        (Type::List(inner), Some(_)) => {
            list(inner, values.iter().map(|entry| entry.1), out, field, depth)?;
            true
        }
        (Type::Map(inner), Some(_)) => {
            map(inner, values, out, field, depth)?;
            true
        }
        (ty, Some((_, raw))) => {
            single(ty, *raw, out, field, depth)?;
            &out[start..] != b"null"
        }
    };
    if !written {
        out.truncate(start);
        if !field.always_in_json() {
            return Ok(false);
        }
        absent(field, out)?;
        return Ok(true);
    }
    Ok(!is_omitted(field, &out[start..]))
}

/// What Go's encoder leaves out of what is there.
fn is_omitted(field: &Field, text: &[u8]) -> bool {
    let zero = matches!(text, b"false" | b"0" | b"\"\"" | b"[]" | b"{}");
    match field.omit {
        Omit::Never => false,
        _ if field.nilable => zero && matches!(field.ty, Type::List(_) | Type::Wrapped(_) | Type::Map(_) | Type::Bytes),
        Omit::Empty => zero && !field.ty.is_go_struct(),
        Omit::Zero => zero,
    }
}

fn absent(field: &'static Field, out: &mut Vec<u8>) -> Result<(), Error> {
    let text: &[u8] = match &field.ty {
        _ if field.nilable => b"null",
        Type::Bool => b"false",
        Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::IntOrString | Type::Float64 => b"0",
        Type::String | Type::Bytes => b"\"\"",
        Type::Quantity => b"\"0\"",
        Type::Struct(inner) => return object(&[], inner, out, 0),
        _ => b"null",
    };
    out.extend_from_slice(text);
    Ok(())
}

fn list<'a>(
    inner: &'static Type,
    values: impl Iterator<Item = Raw<'a>>,
    out: &mut Vec<u8>,
    field: &'static Field,
    depth: u8,
) -> Result<(), Error> {
    out.push(b'[');
    let start = out.len();
    let comma = |out: &mut Vec<u8>| {
        if out.len() > start {
            out.push(b',');
        }
    };
    for raw in values {
        match (inner, raw) {
            // Packed numbers.
            (Type::Bool | Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64, Raw::Bytes(bytes)) => {
                let mut packed = Reader { bytes };
                while !packed.bytes.is_empty() {
                    comma(out);
                    number(inner, packed.varint()?, out);
                }
            }
            (inner, raw) => {
                comma(out);
                single(inner, raw, out, field, depth)?;
            }
        }
    }
    out.push(b']');
    Ok(())
}

fn map(
    inner: &'static Type,
    values: &[(u16, Raw<'_>)],
    out: &mut Vec<u8>,
    field: &'static Field,
    depth: u8,
) -> Result<(), Error> {
    let mut entries: Vec<(&str, Option<Raw<'_>>)> = Vec::with_capacity(values.len());
    for (_, raw) in values {
        let Raw::Bytes(bytes) = raw else { return Err(Error::WireType { wire: VARINT, field: field.name }) };
        let mut reader = Reader { bytes };
        let (mut key, mut value) = ("", None);
        while let Some((number, wire)) = reader.tag()? {
            match (number, wire) {
                (1, BYTES) => key = text(reader.length_delimited()?)?,
                (2, BYTES) => value = Some(Raw::Bytes(reader.length_delimited()?)),
                (2, VARINT) => value = Some(Raw::Number(reader.varint()?)),
                (_, wire) => reader.skip(wire)?,
            }
        }
        match entries.iter_mut().find(|entry| entry.0 == key) {
            Some(entry) => entry.1 = value,
            None => entries.push((key, value)),
        }
    }
    entries.sort_by_key(|entry| entry.0);
    out.push(b'{');
    for (at, (key, value)) in entries.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::string(out, key);
        out.push(b':');
        match (value, inner) {
            (Some(raw), _) => single(inner, raw, out, field, depth)?,
            (None, Type::Struct(structure)) => object(&[], structure, out, depth + 1)?,
            (None, Type::String | Type::Bytes | Type::Quantity) => out.extend_from_slice(b"\"\""),
            (None, Type::Wrapped(_) | Type::List(_)) => out.extend_from_slice(b"null"),
            (None, _) => out.push(b'0'),
        }
    }
    out.push(b'}');
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Utf8)
}

fn number(ty: &Type, raw: u64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to a Vec cannot fail.
    let _ = match ty {
        Type::Bool => out.write_all(if raw == 0 { b"false" } else { b"true" }),
        _ if raw < 10 => out.write_all(&[b'0' + raw as u8]),
        Type::Int32 => write!(out, "{}", raw as i32),
        Type::Uint32 => write!(out, "{}", raw as u32),
        _ => write!(out, "{}", raw as i64),
    };
}

fn single(ty: &'static Type, raw: Raw<'_>, out: &mut Vec<u8>, field: &'static Field, depth: u8) -> Result<(), Error> {
    match (ty, raw) {
        (Type::Bool | Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64, Raw::Number(raw)) => {
            number(ty, raw, out)
        }
        (Type::Float64, Raw::Fixed(float)) => json::encode_value(out, &crate::value::Value::Float(float)),
        (Type::String, Raw::Bytes(bytes)) => json::string(out, text(bytes)?),
        (Type::Bytes, Raw::Bytes(bytes)) => {
            use base64::Engine;
            json::string(out, &base64::engine::general_purpose::STANDARD.encode(bytes));
        }
        (Type::Struct(inner), Raw::Bytes(bytes)) => object(bytes, inner, out, depth + 1)?,
        (Type::Wrapped(inner), Raw::Bytes(bytes)) => {
            let mut reader = Reader { bytes };
            let mut values = Vec::new();
            while let Some((number, wire)) = reader.tag()? {
                match (number, wire) {
                    (1, BYTES) => values.push(Raw::Bytes(reader.length_delimited()?)),
                    (1, VARINT) => values.push(Raw::Number(reader.varint()?)),
                    (_, wire) => reader.skip(wire)?,
                }
            }
            list(inner, values.into_iter(), out, field, depth + 1)?;
        }
        (Type::FieldsV1, Raw::Bytes(bytes)) => raw_json(bytes, out)?,
        (Type::IntOrString, Raw::Bytes(bytes)) => int_or_string(bytes, out)?,
        // Rare types go the long way.
        (_, Raw::Bytes(bytes)) => json::encode_value(out, &super::decode::nested(bytes, ty, field, depth + 1)?),
        (_, Raw::Number(_)) => return Err(Error::WireType { wire: VARINT, field: field.name }),
        (_, Raw::Fixed(_)) => return Err(Error::WireType { wire: FIXED64, field: field.name }),
    }
    Ok(())
}

/// A message of type (0 number, 1 text), number and text.
fn int_or_string(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut reader = Reader { bytes };
    let (mut is_text, mut int, mut string): (bool, u64, &[u8]) = (false, 0, b"");
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, VARINT) => is_text = reader.varint()? == 1,
            (2, VARINT) => int = reader.varint()?,
            (3, BYTES) => string = reader.length_delimited()?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    match is_text {
        true => json::string(out, text(string)?),
        false => number(&Type::Int32, int, out),
    }
    Ok(())
}

/// JSON that is stored as text is copied when it is what we would write; text of others is read first.
fn raw_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut reader = Reader { bytes };
    let mut inside: &[u8] = b"";
    while let Some((number, wire)) = reader.tag()? {
        if (number, wire) == (1, BYTES) {
            inside = reader.length_delimited()?;
        } else {
            reader.skip(wire)?;
        }
    }
    if inside.is_empty() {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    let odd = |byte: u8| !(0x21..0x7f).contains(&byte) | (byte == b'<') | (byte == b'>') | (byte == b'&');
    // Without an early end the compiler looks at many bytes at once.
    let plain = !inside.iter().fold(false, |any, &byte| any | odd(byte));
    if plain && inside.first() == Some(&b'{') && inside.last() == Some(&b'}') {
        out.extend_from_slice(inside);
        return Ok(());
    }
    let (value, _) = json::decode_any(inside, Strictness::Lenient).map_err(|error| Error::Inner(error.to_string()))?;
    json::encode_value(out, &value);
    Ok(())
}
