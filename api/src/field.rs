//! Field errors: what validation says about one place of an object, in upstream's words
//! (k8s.io/apimachinery/pkg/util/validation/field@v0.37.2). Validation accumulates them in a list.

use std::fmt::{self, Display};

use crate::value::Value;

/// A place in an object: `spec.containers[0].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    pub fn new(root: &str) -> Self {
        Path(root.into())
    }

    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Path(name.into()) } else { Path(format!("{}.{name}", self.0)) }
    }

    pub fn index(&self, at: usize) -> Self {
        Path(format!("{}[{at}]", self.0))
    }

    pub fn key(&self, key: &str) -> Self {
        Path(format!("{}[{key}]", self.0))
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// The type of a field error; its name on the wire and in messages are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TooFew,
    TooShort,
    Internal,
    TypeInvalid,
}

impl Kind {
    /// The cause's `reason` in a Status.
    pub fn reason(self) -> &'static str {
        match self {
            Kind::NotFound => "FieldValueNotFound",
            Kind::Required => "FieldValueRequired",
            Kind::Duplicate => "FieldValueDuplicate",
            Kind::Invalid => "FieldValueInvalid",
            Kind::NotSupported => "FieldValueNotSupported",
            Kind::Forbidden => "FieldValueForbidden",
            Kind::TooLong => "FieldValueTooLong",
            Kind::TooMany => "FieldValueTooMany",
            Kind::TooFew => "FieldValueTooFew",
            Kind::TooShort => "FieldValueTooShort",
            Kind::Internal => "InternalError",
            Kind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Kind::NotFound => "Not found",
            Kind::Required => "Required value",
            Kind::Duplicate => "Duplicate value",
            Kind::Invalid | Kind::TypeInvalid => "Invalid value",
            Kind::NotSupported => "Unsupported value",
            Kind::Forbidden => "Forbidden",
            Kind::TooLong => "Too long",
            Kind::TooMany => "Too many",
            Kind::TooFew => "Too few",
            Kind::TooShort => "Too short",
            Kind::Internal => "Internal error",
        }
    }
}

/// One error about one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    pub field: String,
    /// The error without its field: `Invalid value: "x": must be y`.
    pub body: String,
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// Accumulated errors.
pub type Errors = Vec<Error>;

/// A value as an error message shows it: strings quoted, numbers and flags plain, the rest as JSON.
pub trait Shown {
    fn shown(&self) -> String;
}

impl Shown for str {
    fn shown(&self) -> String {
        go_quote(self)
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        go_quote(self)
    }
}

impl Shown for Value {
    fn shown(&self) -> String {
        match self {
            Value::String(text) => go_quote(text),
            Value::Float(number) => number.shown(),
            other => {
                let mut out = Vec::new();
                crate::json::encode_value(&mut out, other);
                String::from_utf8_lossy(&out).into_owned()
            }
        }
    }
}

macro_rules! shown {
    ($($ty:ty),*) => { $(impl Shown for $ty { fn shown(&self) -> String { self.to_string() } })* };
}
shown!(i32, i64, u32, usize, bool);

impl Shown for f64 {
    fn shown(&self) -> String {
        go_float(*self)
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn shown(&self) -> String {
        (*self).shown()
    }
}

/// Any serde value, shown as Go would print its JSON.
pub struct Json<'a, T: serde::Serialize>(pub &'a T);

impl<T: serde::Serialize> Shown for Json<'_, T> {
    fn shown(&self) -> String {
        let text = serde_json::to_string(self.0).unwrap_or_default();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

/// Go's `%v` of a float64: shortest, with an exponent below 1e-4 and from 1e6.
pub fn go_float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific.replace("inf", "Inf");
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => number.to_string(),
    }
}

/// Go's `%q`.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_ascii() || !is_escaped(c) => out.push(c),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// What Rust's debug form escapes is nearly what Go calls not printable.
fn is_escaped(c: char) -> bool {
    c.escape_debug().len() > 1
}

fn error(kind: Kind, path: &Path, value: Option<String>, detail: &str) -> Error {
    let mut body = kind.words().to_string();
    for part in [value.as_deref(), Some(detail)].into_iter().flatten().filter(|part| !part.is_empty()) {
        body.push_str(": ");
        body.push_str(part);
    }
    Error { kind, field: path.to_string(), body }
}

pub fn invalid(path: &Path, value: impl Shown, detail: impl AsRef<str>) -> Error {
    error(Kind::Invalid, path, Some(value.shown()), detail.as_ref())
}

/// An invalid value that is not shown (a secret, or too long).
pub fn invalid_hidden(path: &Path, detail: impl AsRef<str>) -> Error {
    error(Kind::Invalid, path, None, detail.as_ref())
}

pub fn type_invalid(path: &Path, value: impl Shown, detail: impl AsRef<str>) -> Error {
    error(Kind::TypeInvalid, path, Some(value.shown()), detail.as_ref())
}

pub fn required(path: &Path, detail: impl AsRef<str>) -> Error {
    error(Kind::Required, path, None, detail.as_ref())
}

pub fn forbidden(path: &Path, detail: impl AsRef<str>) -> Error {
    error(Kind::Forbidden, path, None, detail.as_ref())
}

pub fn duplicate(path: &Path, value: impl Shown) -> Error {
    error(Kind::Duplicate, path, Some(value.shown()), "")
}

pub fn not_found(path: &Path, value: impl Shown) -> Error {
    error(Kind::NotFound, path, Some(value.shown()), "")
}

pub fn internal(path: &Path, detail: impl AsRef<str>) -> Error {
    error(Kind::Internal, path, None, detail.as_ref())
}

/// `valid` in the order upstream lists them.
pub fn not_supported(path: &Path, value: impl Shown, valid: &[&str]) -> Error {
    let quoted: Vec<_> = valid.iter().map(|value| go_quote(value)).collect();
    let detail = if valid.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
    error(Kind::NotSupported, path, Some(value.shown()), &detail)
}

/// More than `max` bytes of text.
pub fn too_long(path: &Path, max: usize) -> Error {
    let unit = if max == 1 { "byte" } else { "bytes" };
    error(Kind::TooLong, path, None, &format!("may not be more than {max} {unit}"))
}

/// More than `max` characters of text.
pub fn too_long_characters(path: &Path, max: usize) -> Error {
    let unit = if max == 1 { "character" } else { "characters" };
    error(Kind::TooLong, path, None, &format!("may not be more than {max} {unit}"))
}

/// More than `max` items.
pub fn too_many(path: &Path, actual: usize, max: usize) -> Error {
    let unit = if max == 1 { "item" } else { "items" };
    error(Kind::TooMany, path, Some(actual.to_string()), &format!("must have at most {max} {unit}"))
}
