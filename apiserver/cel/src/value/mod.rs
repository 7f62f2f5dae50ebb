//! Values: what expressions compute with.
//!
//! Invariant: comparisons, equality, conversions and error texts are those of cel-go's `common/types@v0.29.2`.
//! Values are immutable and cheap to clone. Non-goal: protobuf messages.

mod convert;
mod list;
mod map;
mod number;
mod text;
mod time;

pub use list::{List, ListObject};
pub use map::{Key, Map, MapObject};
pub use time::Timestamp;

pub(crate) use convert::seconds;
pub(crate) use map::unhashable;
pub(crate) use number::{double_to_int, double_to_uint};
pub(crate) use text::{go_double, go_quote};
pub(crate) use time::{Civil, parse_timestamp};

use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::types::Type;

/// Why a value could not be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An error an expression can step around with `&&`, `||` and `?:`.
    Error(Arc<str>),
    /// The evaluation ends here, such as over its budget.
    Abort(Arc<str>),
}

impl Fault {
    pub fn new(message: impl AsRef<str>) -> Fault {
        Fault::Error(Arc::from(message.as_ref()))
    }

    pub(crate) fn abort(message: impl AsRef<str>) -> Fault {
        Fault::Abort(Arc::from(message.as_ref()))
    }

    pub(crate) fn over_budget() -> Fault {
        Fault::abort("operation cancelled: actual cost limit exceeded")
    }

    /// Whether expressions can step around it.
    pub fn is_abort(&self) -> bool {
        matches!(self, Fault::Abort(_))
    }

    pub(crate) fn no_overload() -> Fault {
        Fault::new("no such overload")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Error(message) | Fault::Abort(message) => f.write_str(message),
        }
    }
}

pub type Outcome = Result<Value, Fault>;

#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    List(List),
    Map(Map),
    Type(Type),
    Optional(Option<Arc<Value>>),
    Object(Arc<dyn Object>),
}

/// A value whose inside only functions know, such as a quantity.
pub trait Object: fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;

    /// The type as declared to the checker.
    fn cel_type(&self) -> Type;

    fn equals(&self, other: &Value) -> Result<bool, Fault>;

    /// What `size()` would be, for the cost of calls; 1 where it has none.
    fn cost_size(&self) -> Option<u64> {
        None
    }

    /// The text in error messages.
    fn text(&self) -> String {
        format!("{self:?}")
    }

    /// `string(value)`, where there is one.
    fn to_text(&self) -> Option<String> {
        None
    }

    /// The field of that name, when the object has fields.
    fn field(&self, _name: &str) -> Option<Outcome> {
        None
    }

    /// Whether the field is there, when the object has fields.
    fn has_field(&self, _name: &str) -> Option<bool> {
        None
    }
}

impl Value {
    pub fn string(text: impl AsRef<str>) -> Value {
        Value::String(Arc::from(text.as_ref()))
    }

    pub fn list(elements: Vec<Value>) -> Value {
        Value::List(List::new(elements))
    }

    pub fn optional(value: Option<Value>) -> Value {
        Value::Optional(value.map(Arc::new))
    }

    pub fn object(object: impl Object + 'static) -> Value {
        Value::Object(Arc::new(object))
    }

    /// The object as one of a known type.
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        match self {
            Value::Object(object) => object.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// The type at run time: parameters are erased.
    pub fn cel_type(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Duration(_) => Type::Duration,
            Value::Timestamp(_) => Type::Timestamp,
            Value::List(_) => Type::list(Type::Dyn),
            Value::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Value::Type(_) => Type::Type(None),
            Value::Optional(_) => Type::optional(Type::Dyn),
            Value::Object(object) => object.cel_type(),
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// `size()`, of what has one.
    pub(crate) fn size(&self) -> Option<usize> {
        Some(match self {
            Value::String(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            _ => return None,
        })
    }

    /// Whether it is the empty value of its type, as `optional.ofNonZeroValue` has it.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Int(value) | Value::Duration(value) => *value == 0,
            Value::Uint(value) => *value == 0,
            Value::Double(value) => *value == 0.0,
            // Go's zero time, not the epoch.
            Value::Timestamp(time) => time.is_zero(),
            Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => self.size() == Some(0),
            Value::Type(_) | Value::Optional(_) | Value::Object(_) => false,
        }
    }

    /// `==`. Values of other types are not equal, but some objects refuse to be compared.
    pub fn equals(&self, other: &Value) -> Result<bool, Fault> {
        Ok(match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Null, _) | (_, Value::Null) => false,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a.instant() == b.instant(),
            (Value::Type(a), Value::Type(b)) => a.name() == b.name(),
            (Value::Optional(a), Value::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => return a.equals(b),
                (None, None) => true,
                _ => false,
            },
            (Value::List(list), _) => return list.equals(other),
            (Value::Map(map), _) => return map.equals(other),
            (Value::Object(object), _) => return object.equals(other),
            (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
                number::compare(self, other) == Some(Ordering::Equal)
            }
            _ => false,
        })
    }

    /// The order of two values, of types that have one.
    pub(crate) fn compare(&self, other: &Value) -> Result<Ordering, Fault> {
        Ok(match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
            (Value::Timestamp(a), Value::Timestamp(b)) => a.instant().cmp(&b.instant()),
            (Value::Double(a), _) if a.is_nan() => return Err(Fault::new("NaN values cannot be ordered")),
            (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
                number::compare(self, other).ok_or_else(|| Fault::new("NaN values cannot be ordered"))?
            }
            _ => return Err(Fault::no_overload()),
        })
    }

    /// Whether `<` and its like know the type.
    pub(crate) fn is_comparable(&self) -> bool {
        matches!(
            self,
            Value::Bool(_)
                | Value::Int(_)
                | Value::Uint(_)
                | Value::Double(_)
                | Value::String(_)
                | Value::Bytes(_)
                | Value::Duration(_)
                | Value::Timestamp(_)
        )
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::string(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(Arc::from(text))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

/// As Go's `%v` prints them: the text in error messages.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::go_text(self))
    }
}
