//! One step into an object, and paths of steps: how owned fields are named.
//!
//! Invariant: the text form of an element and the order of elements are upstream's
//! (sigs.k8s.io/structured-merge-diff/v6/fieldpath/{element,serialize-pe}.go@v6.4.2).

use std::cmp::Ordering;
use std::fmt::{self, Display};

use api::value::{Str, Value};

use crate::values;

/// Room for the text of a key, in bytes; most need less.
const KEY_BYTES: usize = 64;

/// One step into an object.
#[derive(Clone, Debug)]
pub enum Element {
    /// A field of a struct or an entry of a map.
    Field(Str),
    /// The element of a list whose keys have these values; sorted by name.
    Key(Vec<(Str, Value)>),
    /// The element of a set.
    Value(Value),
    /// The element of a list by its place.
    Index(i64),
}

/// What is wrong with the text of an element.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("key must be 2 characters long:")]
    Short,
    #[error("missing colon: {0}")]
    NoColon(String),
    #[error("{0}")]
    Content(String),
}

impl Element {
    pub fn field(name: &str) -> Self {
        Element::Field(name.into())
    }

    /// The key of a list element; names and values in any order.
    pub fn key(mut fields: Vec<(Str, Value)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Element::Key(fields)
    }

    /// `f:name`, `k:{"name":"a"}`, `v:1`, `i:0`.
    pub fn encode(&self) -> Str {
        match self {
            Element::Field(name) => {
                let mut text = Str::with_capacity(name.len() + 2);
                text.push_str("f:");
                text.push_str(name);
                text
            }
            Element::Key(fields) => {
                let mut text = Vec::with_capacity(KEY_BYTES);
                text.extend_from_slice(b"k:{");
                for (at, (name, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        text.push(b',');
                    }
                    api::json::encode_value(&mut text, &Value::String(name.clone()));
                    text.push(b':');
                    api::json::encode_value(&mut text, value);
                }
                text.push(b'}');
                String::from_utf8(text).expect("JSON of text is text").into()
            }
            Element::Value(value) => {
                let mut text = b"v:".to_vec();
                api::json::encode_value(&mut text, value);
                String::from_utf8(text).expect("JSON of text is text").into()
            }
            Element::Index(at) => format!("i:{at}").into(),
        }
    }

    /// Reads the text form; `None` when the element is of a type that a later version may know.
    pub fn decode(text: &str) -> Result<Option<Self>, Malformed> {
        if text.len() < 2 {
            return Err(Malformed::Short);
        }
        if text.as_bytes()[1] != b':' {
            return Err(Malformed::NoColon(text.into()));
        }
        let content = &text[2..];
        let wrong = |error: serde_json::Error| Malformed::Content(error.to_string());
        Ok(Some(match text.as_bytes()[0] {
            b'f' => Element::Field(content.into()),
            b'v' => Element::Value(from_json(serde_json::from_str(content).map_err(wrong)?)),
            b'k' => {
                if let Some(fields) = plain_key(content) {
                    return Ok(Some(Element::key(fields)));
                }
                let fields: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(content).map_err(wrong)?;
                Element::key(fields.into_iter().map(|(name, value)| (name.into(), from_json(value))).collect())
            }
            b'i' => Element::Index(content.parse().map_err(|_| {
                let quoted = api::field::go_quote(content);
                Malformed::Content(format!("strconv.Atoi: parsing {quoted}: invalid syntax"))
            })?),
            _ => return Ok(None),
        }))
    }
}

/// Reads `{"name":"a","port":80}` when it has nothing but plain text and whole numbers, as nearly all keys.
fn plain_key(text: &str) -> Option<Vec<(Str, Value)>> {
    let mut rest = text.strip_prefix("{\"")?;
    let mut fields = Vec::with_capacity(2);
    let plain = |text: &str| !text.bytes().any(|byte| byte == b'\\' || byte < 0x20);
    loop {
        let (name, after) = rest.split_once("\":")?;
        let (value, after) = match after.strip_prefix('"') {
            Some(after) => {
                let (value, after) = after.split_once('"')?;
                if !plain(value) {
                    return None;
                }
                (Value::String(value.into()), after)
            }
            None => {
                let end = after.find([',', '}'])?;
                let digits = &after[..end];
                if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                (Value::Int(digits.parse().ok()?), &after[end..])
            }
        };
        if !plain(name) || name.contains('"') {
            return None;
        }
        fields.push((name.into(), value));
        match after.strip_prefix(",\"") {
            Some(after) => rest = after,
            None => return (after == "}").then_some(fields),
        }
    }
}

fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or(0.0)),
        },
        serde_json::Value::String(text) => Value::String(text.into()),
        serde_json::Value::Array(list) => Value::List(list.into_iter().map(from_json).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(map.into_iter().map(|(name, value)| (name.into(), from_json(value))).collect())
        }
    }
}

fn compare_keys(a: &[(Str, Value)], b: &[(Str, Value)]) -> Ordering {
    let fields = a.iter().zip(b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| values::compare(&a.1, &b.1)));
    fields.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Element::Field(a), Element::Field(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Element::Field(_), _) => Ordering::Less,
            (_, Element::Field(_)) => Ordering::Greater,
            (Element::Key(a), Element::Key(b)) => compare_keys(a, b),
            (Element::Key(_), _) => Ordering::Less,
            (_, Element::Key(_)) => Ordering::Greater,
            (Element::Value(a), Element::Value(b)) => values::compare(a, b),
            (Element::Value(_), _) => Ordering::Less,
            (_, Element::Value(_)) => Ordering::Greater,
            (Element::Index(a), Element::Index(b)) => a.cmp(b),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Element {}

/// `.name`, `[name="a"]`, `[=1]`, `[0]`.
impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|(name, value)| format!("{name}={}", values::shown(value))).collect();
                write!(f, "[{}]", fields.join(","))
            }
            Element::Value(value) => write!(f, "[={}]", values::shown(value)),
            Element::Index(at) => write!(f, "[{at}]"),
        }
    }
}

/// Steps from the root of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Element>);

impl Path {
    /// A path of field names.
    pub fn fields(names: &[&str]) -> Self {
        Path(names.iter().map(|name| Element::field(name)).collect())
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}
