//! Value -> JSON text, as Go's encoder writes it: compact, HTML-escaped, a newline at the end.

use std::io::Write as _;

use crate::value::{Map, Value};

/// The object as one line of JSON with a newline, as upstream's serializer ends it.
pub fn encode(object: &Map) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    map(&mut out, object);
    out.push(b'\n');
    out
}

/// The object indented by two spaces (`?pretty=true`).
pub fn encode_pretty(object: &Map) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    pretty(&mut out, &Value::Map(object.clone()), 0);
    out
}

/// Appends any value.
pub fn encode_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => integer(out, *number),
        Value::Float(number) => float(out, *number),
        Value::String(text) => string(out, text),
        Value::List(list) => {
            out.push(b'[');
            for (at, element) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                encode_value(out, element);
            }
            out.push(b']');
        }
        Value::Map(object) => map(out, object),
    }
}

fn map(out: &mut Vec<u8>, object: &Map) {
    out.push(b'{');
    for (at, (name, value)) in object.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        encode_value(out, value);
    }
    out.push(b'}');
}

fn pretty(out: &mut Vec<u8>, value: &Value, depth: usize) {
    let indent = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 2, b' ');
    };
    match value {
        Value::Map(object) if !object.is_empty() => {
            out.push(b'{');
            for (at, (name, value)) in object.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                indent(out, depth + 1);
                string(out, name);
                out.extend_from_slice(b": ");
                pretty(out, value, depth + 1);
            }
            indent(out, depth);
            out.push(b'}');
        }
        Value::List(list) if !list.is_empty() => {
            out.push(b'[');
            for (at, element) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                indent(out, depth + 1);
                pretty(out, element, depth + 1);
            }
            indent(out, depth);
            out.push(b']');
        }
        other => encode_value(out, other),
    }
}

fn integer(out: &mut Vec<u8>, number: i64) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

/// Go's float form: shortest, exponent below 1e-6 and from 1e21.
fn float(out: &mut Vec<u8>, number: f64) {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent = if exponent.starts_with('-') { exponent.to_string() } else { format!("+{exponent}") };
        let _ = write!(out, "{mantissa}e{exponent}");
    } else {
        let _ = write!(out, "{number}");
    }
}

/// Appends the name of a known field and the colon; such names hold nothing to escape.
pub(crate) fn name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// May need an escape.
fn is_odd(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte == b'<') | (byte == b'>') | (byte == b'&') | (byte == 0xe2)
}

/// Appends a quoted string with Go's escapes: control characters, quotes, `<`, `>`, `&`, U+2028, U+2029.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    // Without an early end the compiler looks at many bytes at once; most text is plain.
    if !bytes.iter().fold(false, |any, &byte| any | is_odd(byte)) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !is_odd(byte) {
            continue;
        }
        if byte == 0xe2 && !matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])) {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + escape(out, byte, bytes.get(at + 2).copied());
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// Writes the escape of a byte; returns how many input bytes it stands for.
fn escape(out: &mut Vec<u8>, byte: u8, third: Option<u8>) -> usize {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        0xe2 => {
            out.extend_from_slice(if third == Some(0xa8) { b"\\u2028" } else { b"\\u2029" });
            return 3;
        }
        _ => drop(write!(out, "\\u{byte:04x}")),
    }
    1
}
