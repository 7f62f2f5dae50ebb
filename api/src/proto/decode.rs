//! Protobuf message -> canonical value. Unknown fields are skipped, as upstream does.

use super::{BYTES, FIXED32, FIXED64, VARINT};
use crate::facts::{Field, Struct, Type};
use crate::json::Strictness;
use crate::value::{Map, Str, Value};

/// Messages nested deeper are refused.
const DEPTH_MAX: u8 = 100;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WireType { wire: u8, field: &'static str },
    #[error("proto: illegal wireType {0}")]
    IllegalWire(u8),
    #[error("proto: illegal tag 0")]
    IllegalTag,
    #[error("string field contains invalid UTF-8")]
    Utf8,
    #[error("proto: nested too deep")]
    Depth,
    #[error("{0}")]
    Inner(String),
}

/// Decodes a message without envelope; `kind` and `apiVersion` are left to the caller.
pub fn decode(bytes: &[u8], ty: &'static Struct) -> Result<Map, Error> {
    let mut found = Vec::with_capacity(8);
    message(bytes, ty, &mut found, 0)?;
    Ok(finish(ty, found))
}

type Found = Vec<(u16, &'static Field, Value)>;

fn finish(ty: &'static Struct, found: Found) -> Map {
    crate::json::canonical(ty, Map::new(), found)
}

/// Reads the fields of a message into `found`, embedded structs' fields among them.
fn message(bytes: &[u8], ty: &'static Struct, found: &mut Found, depth: u8) -> Result<(), Error> {
    placed(bytes, ty, 0, found, depth)
}

/// `base` is where the struct's first field stands in the JSON object that the fields go to.
fn placed(bytes: &[u8], ty: &'static Struct, base: u16, found: &mut Found, depth: u8) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Depth);
    }
    let mut reader = Reader { bytes };
    while let Some((number, wire)) = reader.tag()? {
        let Some(entry) = ty.by_number(number) else {
            reader.skip(wire)?;
            continue;
        };
        let (field, order) = (entry.field, base + entry.order);
        match field.ty {
            Type::Struct(inner) if field.inline => {
                placed(reader.delimited(wire, field)?, inner, order, found, depth + 1)?;
            }
            _ => add(found, order, field, &mut reader, wire, depth)?,
        }
    }
    Ok(())
}

fn add(
    found: &mut Found,
    order: u16,
    field: &'static Field,
    reader: &mut Reader,
    wire: u8,
    depth: u8,
) -> Result<(), Error> {
    let at = match found.iter().rposition(|entry| entry.0 == order) {
        Some(at) => at,
        None => {
            found.push((order, field, Value::Null));
            found.len() - 1
        }
    };
    let slot = &mut found[at].2;
    match &field.ty {
        Type::List(inner) => {
            let list = match slot {
                Value::List(list) => list,
                _ => {
                    *slot = Value::List(Vec::new());
                    slot.as_list_mut().expect("just set")
                }
            };
            if wire == BYTES && is_packable(inner) {
                let mut packed = Reader { bytes: reader.delimited(wire, field)? };
                while !packed.bytes.is_empty() {
                    list.push(number(inner, packed.varint()?));
                }
            } else {
                list.push(single(reader, wire, inner, field, depth)?);
            }
        }
        Type::Map(inner) => {
            let (key, value) = entry(reader.delimited(wire, field)?, inner, field, depth)?;
            match slot {
                Value::Map(map) => map.set(key, value),
                _ => *slot = Value::Map([(key, value)].into_iter().collect()),
            }
        }
        ty => *slot = single(reader, wire, ty, field, depth)?,
    }
    Ok(())
}

fn is_packable(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64)
}

fn entry(bytes: &[u8], inner: &'static Type, field: &'static Field, depth: u8) -> Result<(Str, Value), Error> {
    let mut reader = Reader { bytes };
    let mut key = Str::default();
    let mut value = None;
    while let Some((number, wire)) = reader.tag()? {
        match number {
            1 => key = text(reader.delimited(wire, field)?)?,
            2 => value = Some(single(&mut reader, wire, inner, field, depth)?),
            _ => reader.skip(wire)?,
        }
    }
    let value = value.unwrap_or_else(|| match inner {
        Type::Struct(structure) => Value::Map(finish(structure, Vec::new())),
        Type::String | Type::Bytes | Type::Quantity => Value::from(""),
        Type::Wrapped(_) | Type::List(_) => Value::Null,
        _ => Value::Int(0),
    });
    Ok((key, value))
}

fn text(bytes: &[u8]) -> Result<Str, Error> {
    std::str::from_utf8(bytes).map(Str::from).map_err(|_| Error::Utf8)
}

fn number(ty: &Type, raw: u64) -> Value {
    match ty {
        Type::Bool => Value::Bool(raw != 0),
        Type::Int32 => Value::Int(i64::from(raw as i32)),
        Type::Uint32 => Value::Int(i64::from(raw as u32)),
        _ => Value::Int(raw as i64),
    }
}

fn single(reader: &mut Reader, wire: u8, ty: &'static Type, field: &'static Field, depth: u8) -> Result<Value, Error> {
    match ty {
        Type::Bool | Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 => {
            if wire != VARINT {
                return Err(Error::WireType { wire, field: field.name });
            }
            Ok(number(ty, reader.varint()?))
        }
        Type::Float64 => match wire {
            FIXED64 => Ok(Value::Float(f64::from_le_bytes(reader.array()?))),
            FIXED32 => Ok(Value::Float(f32::from_le_bytes(reader.array()?).into())),
            _ => Err(Error::WireType { wire, field: field.name }),
        },
        Type::String => Ok(Value::String(text(reader.delimited(wire, field)?)?)),
        Type::Bytes => {
            use base64::Engine;
            let bytes = reader.delimited(wire, field)?;
            Ok(Value::from(base64::engine::general_purpose::STANDARD.encode(bytes)))
        }
        _ => nested(reader.delimited(wire, field)?, ty, field, depth + 1),
    }
}

pub(super) fn nested(bytes: &[u8], ty: &'static Type, field: &'static Field, depth: u8) -> Result<Value, Error> {
    match ty {
        Type::Struct(inner) => {
            let mut found = Vec::with_capacity(8);
            message(bytes, inner, &mut found, depth)?;
            Ok(Value::Map(finish(inner, found)))
        }
        Type::Time | Type::MicroTime => time(bytes, matches!(ty, Type::MicroTime)),
        Type::Duration => {
            let nanos = fields(bytes)?.varint(1).unwrap_or(0);
            Ok(Value::from(crate::duration::format(nanos as i64)))
        }
        Type::Quantity => {
            let raw = text(fields(bytes)?.bytes(1).unwrap_or(b"0"))?;
            let raw = if raw.is_empty() { Str::const_new("0") } else { raw };
            match crate::quantity::canonical(&raw) {
                Ok(canonical) => Ok(Value::from(&*canonical)),
                Err(error) => Err(Error::Inner(error.to_string())),
            }
        }
        Type::IntOrString => {
            let fields = fields(bytes)?;
            if fields.varint(1).unwrap_or(0) == 1 {
                return Ok(Value::String(text(fields.bytes(3).unwrap_or(b""))?));
            }
            Ok(Value::Int(i64::from(fields.varint(2).unwrap_or(0) as i32)))
        }
        Type::RawExtension | Type::FieldsV1 | Type::Json => json(fields(bytes)?.bytes(1).unwrap_or(b"")),
        Type::Wrapped(inner) => repeated(bytes, 1, inner, field, depth),
        Type::SchemaOrBool(inner) => {
            let fields = fields(bytes)?;
            match fields.bytes(2) {
                Some(schema) => nested(schema, inner.as_type(), field, depth),
                None => Ok(Value::Bool(fields.varint(1).unwrap_or(0) != 0)),
            }
        }
        Type::SchemaOrArray(inner) => match fields(bytes)?.bytes(1) {
            Some(schema) => nested(schema, inner.as_type(), field, depth),
            None => repeated(bytes, 2, inner.as_type(), field, depth),
        },
        Type::SchemaOrStrings(inner) => match fields(bytes)?.bytes(1) {
            Some(schema) => nested(schema, inner.as_type(), field, depth),
            None => repeated(bytes, 2, &Type::String, field, depth),
        },
        _ => Err(Error::WireType { wire: BYTES, field: field.name }),
    }
}

fn repeated(bytes: &[u8], wanted: u32, inner: &'static Type, field: &'static Field, depth: u8) -> Result<Value, Error> {
    let mut reader = Reader { bytes };
    let mut list = Vec::new();
    while let Some((number, wire)) = reader.tag()? {
        if number == wanted {
            list.push(single(&mut reader, wire, inner, field, depth)?);
        } else {
            reader.skip(wire)?;
        }
    }
    Ok(Value::List(list))
}

fn time(bytes: &[u8], micro: bool) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let fields = fields(bytes)?;
    let seconds = fields.varint(1).unwrap_or(0) as i64;
    let nanos = fields.varint(2).unwrap_or(0) as i32;
    Ok(Value::from(crate::time::from_unix(seconds, if micro { nanos } else { 0 }, micro)))
}

fn json(text: &[u8]) -> Result<Value, Error> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    match crate::json::decode_any(text, Strictness::Lenient) {
        Ok((value, _)) => Ok(value),
        Err(error) => Err(Error::Inner(error.to_string())),
    }
}

/// The fields of a small message, last of each number.
struct Fields<'a>(Vec<(u32, u64, &'a [u8])>);

impl<'a> Fields<'a> {
    fn varint(&self, number: u32) -> Option<u64> {
        self.0.iter().rev().find(|field| field.0 == number).map(|field| field.1)
    }

    fn bytes(&self, number: u32) -> Option<&'a [u8]> {
        self.0.iter().rev().find(|field| field.0 == number).map(|field| field.2)
    }
}

fn fields(bytes: &[u8]) -> Result<Fields<'_>, Error> {
    let mut reader = Reader { bytes };
    let mut all = Vec::new();
    while let Some((number, wire)) = reader.tag()? {
        match wire {
            VARINT => all.push((number, reader.varint()?, &[][..])),
            BYTES => all.push((number, 0, reader.length_delimited()?)),
            _ => reader.skip(wire)?,
        }
    }
    Ok(Fields(all))
}

pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let mut number = 0u64;
        for (at, &byte) in self.bytes.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (at * 7);
            if byte < 0x80 {
                self.bytes = &self.bytes[at + 1..];
                return Ok(number);
            }
        }
        Err(if self.bytes.len() < 10 { Error::Truncated } else { Error::Overflow })
    }

    /// The next field's number and wire type; `None` at the end.
    pub(super) fn tag(&mut self) -> Result<Option<(u32, u8)>, Error> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Error::Overflow)?;
        if number == 0 {
            return Err(Error::IllegalTag);
        }
        Ok(Some((number, (tag & 7) as u8)))
    }

    pub(super) fn length_delimited(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.varint()?).map_err(|_| Error::Overflow)?;
        let (inside, rest) = self.bytes.split_at_checked(length).ok_or(Error::Truncated)?;
        self.bytes = rest;
        Ok(inside)
    }

    fn delimited(&mut self, wire: u8, field: &'static Field) -> Result<&'a [u8], Error> {
        if wire != BYTES {
            return Err(Error::WireType { wire, field: field.name });
        }
        self.length_delimited()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.bytes.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.bytes = rest;
        Ok(*array)
    }

    pub(super) fn skip(&mut self, wire: u8) -> Result<(), Error> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.array::<8>().map(drop),
            BYTES => self.length_delimited().map(drop),
            FIXED32 => self.array::<4>().map(drop),
            other => Err(Error::IllegalWire(other)),
        }
    }
}

/// The value at a path of JSON names, without decoding the rest: null when it is not there, `None` when the bytes are
/// no message of the type. Embedded structs are not looked into.
pub fn peek(bytes: &[u8], ty: &'static Struct, path: &[&str]) -> Option<Value> {
    let (name, rest) = path.split_first()?;
    let field = ty.fields.iter().find(|field| field.name == *name)?;
    let mut reader = Reader { bytes };
    let (mut found, mut below): (Found, &[u8]) = (Vec::new(), &[]);
    while let Some((number, wire)) = reader.tag().ok()? {
        if number != field.number {
            reader.skip(wire).ok()?;
        } else if rest.is_empty() {
            add(&mut found, 0, field, &mut reader, wire, 0).ok()?;
        } else {
            below = reader.delimited(wire, field).ok()?;
        }
    }
    match &field.ty {
        _ if rest.is_empty() => Some(found.pop().map_or(Value::Null, |(.., value)| value)),
        Type::Struct(inner) => peek(below, inner, rest),
        _ => None,
    }
}

/// The last value of a text field at a path of JSON names, without decoding the rest; "" when it is not there.
/// Embedded structs are not looked into.
pub fn peek_text<'a>(bytes: &'a [u8], ty: &'static Struct, path: &[&str]) -> Option<&'a str> {
    let (name, rest) = path.split_first()?;
    let field = ty.fields.iter().find(|field| field.name == *name)?;
    let mut reader = Reader { bytes };
    let mut found: &[u8] = &[];
    while let Some((number, wire)) = reader.tag().ok()? {
        if number == field.number && wire == BYTES {
            found = reader.length_delimited().ok()?;
        } else {
            reader.skip(wire).ok()?;
        }
    }
    match (&field.ty, rest.is_empty()) {
        (Type::Struct(inner), false) => peek_text(found, inner, rest),
        (Type::String, true) => std::str::from_utf8(found).ok(),
        _ => None,
    }
}
