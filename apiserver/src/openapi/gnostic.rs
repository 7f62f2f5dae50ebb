//! The protobuf form of OpenAPI documents (github.com/google/gnostic-models: openapiv2, openapiv3), made from
//! their JSON form by tables of field numbers.
//!
//! Invariant: a key of the JSON document that has no number is an extension or is not sent.
//! Non-goal: keys that our documents never have.

use api::json;
use api::value::{Map, Value};

/// How the value of a key becomes a field.
enum Shape {
    Text,
    Bool,
    Texts,
    /// Texts inside a message's field 1, from one text.
    TypeItem,
    /// v3's DefaultType: number, boolean or string.
    Default,
    One(&'static Message),
    /// A message inside a message's field 1.
    In(&'static Message),
    Each(&'static Message),
    /// v2's SecurityRequirement messages: names with their scopes, of which there are none.
    Requirements,
    /// A message whose field of this number repeats name and value.
    Entries(u32, &'static Message),
}

/// What stands between a field and its message.
enum Wrap {
    Nothing,
    /// Field 1, or a Reference in field 2.
    OrReference,
    /// Field 1 alone.
    Single,
    /// v2: a parameter's kind follows from where it is.
    ByPlace,
    /// v2: an apiKey among the kinds of security.
    ApiKey,
}

struct Message {
    wrap: Wrap,
    fields: &'static [(&'static str, u32, Shape)],
    extensions: u32,
}

const fn message(wrap: Wrap, fields: &'static [(&'static str, u32, Shape)], extensions: u32) -> Message {
    Message { wrap, fields, extensions }
}

use Shape::{Bool, Default, Each, Entries, In, One, Requirements, Text, Texts, TypeItem};

static SCHEMA_3: Message = message(
    Wrap::OrReference,
    &[
        ("uniqueItems", 20, Bool),
        ("required", 23, Texts),
        ("type", 25, Text),
        ("allOf", 26, Each(&SCHEMA_3)),
        ("oneOf", 27, Each(&SCHEMA_3)),
        ("items", 30, In(&SCHEMA_3)),
        ("properties", 31, Entries(1, &SCHEMA_3)),
        ("additionalProperties", 32, In(&SCHEMA_3)),
        ("default", 33, Default),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    36,
);
static MEDIA_TYPE_3: Message = message(Wrap::Nothing, &[("schema", 1, One(&SCHEMA_3))], 5);
static PARAMETER_3: Message = message(
    Wrap::OrReference,
    &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Bool),
        ("schema", 10, One(&SCHEMA_3)),
    ],
    14,
);
static BODY_3: Message =
    message(Wrap::OrReference, &[("content", 2, Entries(1, &MEDIA_TYPE_3)), ("required", 3, Bool)], 4);
static RESPONSE_3: Message =
    message(Wrap::OrReference, &[("description", 1, Text), ("content", 3, Entries(1, &MEDIA_TYPE_3))], 5);
static OPERATION_3: Message = message(
    Wrap::Nothing,
    &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, Each(&PARAMETER_3)),
        ("requestBody", 7, One(&BODY_3)),
        ("responses", 8, Entries(2, &RESPONSE_3)),
    ],
    13,
);
static PATH_3: Message = message(
    Wrap::Nothing,
    &[
        ("get", 4, One(&OPERATION_3)),
        ("put", 5, One(&OPERATION_3)),
        ("post", 6, One(&OPERATION_3)),
        ("delete", 7, One(&OPERATION_3)),
        ("options", 8, One(&OPERATION_3)),
        ("head", 9, One(&OPERATION_3)),
        ("patch", 10, One(&OPERATION_3)),
        ("parameters", 13, Each(&PARAMETER_3)),
    ],
    14,
);
static SECURITY_3: Message =
    message(Wrap::OrReference, &[("type", 1, Text), ("description", 2, Text), ("name", 3, Text), ("in", 4, Text)], 9);
static COMPONENTS_3: Message = message(
    Wrap::Nothing,
    &[("schemas", 1, Entries(1, &SCHEMA_3)), ("securitySchemes", 7, Entries(1, &SECURITY_3))],
    10,
);
static INFO_3: Message = message(Wrap::Nothing, &[("title", 1, Text), ("version", 6, Text)], 7);
static DOCUMENT_3: Message = message(
    Wrap::Nothing,
    &[
        ("openapi", 1, Text),
        ("info", 2, One(&INFO_3)),
        ("paths", 4, Entries(1, &PATH_3)),
        ("components", 5, One(&COMPONENTS_3)),
    ],
    9,
);

static SCHEMA_2: Message = message(
    Wrap::Nothing,
    &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("description", 4, Text),
        ("required", 19, Texts),
        ("additionalProperties", 21, In(&SCHEMA_2)),
        ("type", 22, TypeItem),
        ("items", 23, In(&SCHEMA_2)),
        ("properties", 25, Entries(1, &SCHEMA_2)),
    ],
    31,
);
static BODY_2: Message = message(
    Wrap::Nothing,
    &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Bool),
        ("schema", 5, One(&SCHEMA_2)),
    ],
    6,
);
static QUERY_2: Message = message(
    Wrap::Nothing,
    &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("uniqueItems", 20, Bool),
    ],
    23,
);
static IN_PATH_2: Message = message(
    Wrap::Nothing,
    &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("uniqueItems", 19, Bool),
    ],
    22,
);
/// Stands for the three above.
static PARAMETER_2: Message = message(Wrap::ByPlace, &[], 0);
static RESPONSE_2: Message = message(Wrap::Single, &[("description", 1, Text), ("schema", 2, In(&SCHEMA_2))], 5);
static OPERATION_2: Message = message(
    Wrap::Nothing,
    &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Each(&PARAMETER_2)),
        ("responses", 9, Entries(1, &RESPONSE_2)),
        ("schemes", 10, Texts),
    ],
    13,
);
static PATH_2: Message = message(
    Wrap::Nothing,
    &[
        ("get", 2, One(&OPERATION_2)),
        ("put", 3, One(&OPERATION_2)),
        ("post", 4, One(&OPERATION_2)),
        ("delete", 5, One(&OPERATION_2)),
        ("options", 6, One(&OPERATION_2)),
        ("head", 7, One(&OPERATION_2)),
        ("patch", 8, One(&OPERATION_2)),
        ("parameters", 9, Each(&PARAMETER_2)),
    ],
    10,
);
static INFO_2: Message = message(Wrap::Nothing, &[("title", 1, Text), ("version", 2, Text)], 7);
static API_KEY_2: Message =
    message(Wrap::ApiKey, &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)], 5);
static DOCUMENT_2: Message = message(
    Wrap::Nothing,
    &[
        ("swagger", 1, Text),
        ("info", 2, One(&INFO_2)),
        ("paths", 8, Entries(2, &PATH_2)),
        ("definitions", 9, Entries(1, &SCHEMA_2)),
        ("security", 12, Requirements),
        ("securityDefinitions", 13, Entries(1, &API_KEY_2)),
    ],
    16,
);

/// openapi.v3.Document
pub(super) fn v3(document: &Map) -> Vec<u8> {
    let mut out = Vec::new();
    body(&mut out, document, &DOCUMENT_3);
    out
}

/// openapi.v2.Document
pub(super) fn v2(document: &Map) -> Vec<u8> {
    let mut out = Vec::new();
    body(&mut out, document, &DOCUMENT_2);
    out
}

fn body(out: &mut Vec<u8>, object: &Map, message: &Message) {
    for (name, value) in object.iter() {
        if let Some((_, number, shape)) = message.fields.iter().find(|field| field.0 == name.as_str()) {
            field(out, *number, shape, value);
        } else if message.extensions > 0 && name.starts_with("x-") {
            extension(out, message.extensions, name, value);
        }
    }
}

fn field(out: &mut Vec<u8>, number: u32, shape: &Shape, value: &Value) {
    match (shape, value) {
        (Text, Value::String(text)) => bytes(out, number, text.as_bytes()),
        (Bool, Value::Bool(flag)) => boolean(out, number, *flag),
        (Texts, Value::List(list)) => {
            list.iter().filter_map(Value::as_str).for_each(|text| bytes(out, number, text.as_bytes()));
        }
        (TypeItem, Value::String(text)) => nested(out, number, |out| bytes(out, 1, text.as_bytes())),
        (Default, value) => nested(out, number, |out| default(out, value)),
        (One(message), Value::Map(object)) => one(out, number, object, message),
        (In(message), Value::Map(object)) => nested(out, number, |out| one(out, 1, object, message)),
        (Each(message), Value::List(list)) => {
            list.iter().filter_map(Value::as_map).for_each(|object| one(out, number, object, message));
        }
        (Requirements, Value::List(list)) => {
            for requirement in list.iter().filter_map(Value::as_map) {
                nested(out, number, |out| {
                    requirement.keys().for_each(|name| nested(out, 1, |out| named(out, name, |_| {})))
                });
            }
        }
        (Entries(inner, message), Value::Map(entries)) => nested(out, number, |out| {
            for (name, value) in entries.iter().filter_map(|(name, value)| Some((name, value.as_map()?))) {
                nested(out, *inner, |out| {
                    bytes(out, 1, name.as_bytes());
                    one(out, 2, value, message);
                });
            }
        }),
        _ => {}
    }
}

/// A message with what wraps it.
fn one(out: &mut Vec<u8>, number: u32, object: &Map, message: &Message) {
    match message.wrap {
        Wrap::Nothing => nested(out, number, |out| body(out, object, message)),
        Wrap::Single => nested(out, number, |out| nested(out, 1, |out| body(out, object, message))),
        Wrap::ApiKey => nested(out, number, |out| nested(out, 2, |out| body(out, object, message))),
        Wrap::OrReference => nested(out, number, |out| match object.get("$ref").and_then(Value::as_str) {
            Some(reference) => nested(out, 2, |out| bytes(out, 1, reference.as_bytes())),
            None => nested(out, 1, |out| body(out, object, message)),
        }),
        Wrap::ByPlace => nested(out, number, |out| nested(out, 1, |out| parameter_2(out, object))),
    }
}

fn parameter_2(out: &mut Vec<u8>, object: &Map) {
    match object.str("in") {
        "body" => nested(out, 1, |out| body(out, object, &BODY_2)),
        "path" => nested(out, 2, |out| nested(out, 4, |out| body(out, object, &IN_PATH_2))),
        _ => nested(out, 2, |out| nested(out, 3, |out| body(out, object, &QUERY_2))),
    }
}

fn default(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Int(number) => double(out, 1, *number as f64),
        Value::Float(number) => double(out, 1, *number),
        Value::Bool(flag) => boolean(out, 2, *flag),
        Value::String(text) => bytes(out, 3, text.as_bytes()),
        // Objects have no form in DefaultType.
        _ => {}
    }
}

/// NamedAny; JSON is YAML.
fn extension(out: &mut Vec<u8>, number: u32, name: &str, value: &Value) {
    let mut yaml = Vec::new();
    json::encode_value(&mut yaml, value);
    yaml.push(b'\n');
    nested(out, number, |out| named(out, name, |out| bytes(out, 2, &yaml)));
}

/// A name in field 1 and its message in field 2.
fn named(out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    bytes(out, 1, name.as_bytes());
    nested(out, 2, write);
}

fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, number, &inner);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn boolean(out: &mut Vec<u8>, number: u32, flag: bool) {
    varint(out, u64::from(number) << 3);
    out.push(u8::from(flag));
}

fn double(out: &mut Vec<u8>, number: u32, value: f64) {
    varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use api::map;

    use super::{v2, v3};

    #[test]
    fn documents_are_messages() {
        let document = map! { "openapi" => "3.0.0", "info" => map! { "title" => "K", "version" => "1" } };
        assert_eq!(v3(&document), b"\x0a\x053.0.0\x12\x06\x0a\x01K\x32\x011");
        let parameter = map! { "in" => "path", "name" => "n" };
        let item = map! { "parameters" => vec![api::value::Value::Map(parameter)] };
        let document = map! { "paths" => map! { "/a" => item } };
        let parameter = b"\x22\x09\x12\x04path\x22\x01n";
        let mut inner = vec![0x4a, 15, 0x0a, 13, 0x12, 11];
        inner.extend_from_slice(parameter);
        let mut expect = vec![0x42, 25, 0x12, 23, 0x0a, 2, b'/', b'a', 0x12, 17];
        expect.extend_from_slice(&inner);
        assert_eq!(v2(&document), expect);
    }
}
