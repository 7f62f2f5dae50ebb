//! Types, as the checker knows them.
//!
//! Invariant: names, texts and assignability are those of cel-go's `common/types/types.go@v0.29.2`.
//! Non-goal: `Any` of protobuf, which nothing in Kubernetes has.

use std::fmt;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    /// An object with fields, known to a [`TypeProvider`].
    Struct(Arc<str>),
    /// A type with no fields to see, possibly with parameters.
    Opaque(Arc<str>, Arc<[Type]>),
    /// A simple type or null: what a wrapper of protobuf holds.
    Wrapper(Arc<Type>),
    /// The type of types; of one type, where that is known.
    Type(Option<Arc<Type>>),
    /// A parameter of a function's signature, or a type that is still to be found out.
    Param(Arc<str>),
    /// What an expression with an error has.
    Error,
}

/// Knows the objects an environment declares.
pub trait TypeProvider: fmt::Debug + Send + Sync {
    /// Whether there is an object type of that name.
    fn has_type(&self, name: &str) -> bool;

    /// The type of an object's field.
    fn field(&self, object: &str, field: &str) -> Option<Type>;

    /// Makes an object of its fields.
    fn make(&self, _name: &str, _fields: Vec<(Arc<str>, crate::value::Value)>) -> Option<crate::value::Outcome> {
        None
    }
}

const OPTIONAL: &str = "optional_type";

impl Type {
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    pub fn optional(value: Type) -> Type {
        Type::Opaque(Arc::from(OPTIONAL), Arc::from([value]))
    }

    pub fn opaque(name: &str) -> Type {
        Type::Opaque(Arc::from(name), Arc::from([]))
    }

    pub fn object(name: &str) -> Type {
        Type::Struct(Arc::from(name))
    }

    pub fn wrapper(of: Type) -> Type {
        Type::Wrapper(Arc::new(of))
    }

    pub fn of_type(of: Type) -> Type {
        Type::Type(Some(Arc::new(of)))
    }

    /// The name at run time, without parameters.
    pub fn name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Duration => "google.protobuf.Duration",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Struct(name) | Type::Opaque(name, _) | Type::Param(name) => name,
            Type::Wrapper(of) => of.name(),
            Type::Type(_) => "type",
            Type::Error => "error",
        }
    }

    pub fn parameters(&self) -> Vec<&Type> {
        match self {
            Type::List(element) => vec![element],
            Type::Map(entry) => vec![&entry.0, &entry.1],
            Type::Opaque(_, parameters) => parameters.iter().collect(),
            Type::Type(Some(of)) => vec![of],
            _ => Vec::new(),
        }
    }

    /// The same type with other parameters.
    pub(crate) fn with_parameters(&self, mut change: impl FnMut(&Type) -> Type) -> Type {
        match self {
            Type::List(element) => Type::list(change(element)),
            Type::Map(entry) => {
                let key = change(&entry.0);
                Type::map(key, change(&entry.1))
            }
            Type::Opaque(name, parameters) => Type::Opaque(name.clone(), parameters.iter().map(change).collect()),
            Type::Type(Some(of)) => Type::of_type(change(of)),
            _ => self.clone(),
        }
    }

    /// The type without null, which most questions are about.
    pub(crate) fn unwrapped(&self) -> &Type {
        match self {
            Type::Wrapper(of) => of,
            other => other,
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        *self == Type::Dyn
    }

    /// What an optional holds.
    pub fn optional_value(&self) -> Option<&Type> {
        match self {
            Type::Opaque(name, parameters) if name.as_ref() == OPTIONAL => parameters.first(),
            _ => None,
        }
    }

    /// Whether the two differ in nothing but the names of parameters.
    pub(crate) fn is_equivalent(&self, other: &Type) -> bool {
        if let (Type::Param(_), Type::Param(_)) = (self, other) {
            return true;
        }
        let (own, others) = (self.parameters(), other.parameters());
        std::mem::discriminant(self.unwrapped()) == std::mem::discriminant(other.unwrapped())
            && self.name() == other.name()
            && own.len() == others.len()
            && own.iter().zip(others).all(|(a, b)| a.is_equivalent(b))
    }

    /// Whether the two are one type, which a wrapper and what it holds are.
    pub(crate) fn is_exact(&self, other: &Type) -> bool {
        let (own, others) = (self.parameters(), other.parameters());
        std::mem::discriminant(self.unwrapped()) == std::mem::discriminant(other.unwrapped())
            && self.name() == other.name()
            && own.len() == others.len()
            && own.iter().zip(others).all(|(a, b)| a.is_exact(b))
    }

    /// Whether a value may be given where this type is declared. Of lists and maps the first elements are looked at.
    pub(crate) fn admits(&self, value: &crate::value::Value) -> bool {
        use crate::value::Value;
        match (self, value) {
            (Type::Dyn | Type::Param(_), _) => true,
            (Type::List(element), Value::List(list)) => {
                list.get(0).is_none_or(|first| first.is_ok_and(|first| element.admits(&first)))
            }
            (Type::Map(entry), Value::Map(map)) => map.keys().first().is_none_or(|key| {
                let value = map.find(key).and_then(Result::ok);
                entry.0.admits(key) && value.is_some_and(|value| entry.1.admits(&value))
            }),
            (Type::List(_) | Type::Map(_), _) => false,
            _ => self.name() == value.cel_type().name(),
        }
    }
}

/// As Go prints them: the text in run-time errors.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Param(name) => return write!(f, "<{name}>"),
            Type::Wrapper(of) => return write!(f, "wrapper({of})"),
            _ => {}
        }
        let parameters: Vec<String> = self.parameters().iter().map(|parameter| parameter.to_string()).collect();
        match parameters.is_empty() {
            true => f.write_str(self.name()),
            false => write!(f, "{}({})", self.name(), parameters.join(", ")),
        }
    }
}

/// The type of a message of protobuf that every environment knows, such as `google.protobuf.Int32Value`.
pub fn well_known(message: &str) -> Option<Type> {
    crate::messages::cel_type(message)
}

/// The text in the checker's errors.
pub fn format(of: &Type) -> String {
    if let Type::Wrapper(of) = of {
        return format!("wrapper({})", format(of));
    }
    let name = match of {
        Type::Duration => "duration",
        Type::Timestamp => "timestamp",
        Type::Null => "null",
        Type::Error => "!error!",
        _ => of.name(),
    };
    let parameters: Vec<String> = of.parameters().into_iter().map(format).collect();
    if parameters.is_empty() { name.to_owned() } else { format!("{name}({})", parameters.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn texts() {
        let of = Type::map(Type::String, Type::list(Type::optional(Type::Duration)));
        assert_eq!(format(&of), "map(string, list(optional_type(duration)))");
        assert_eq!(of.to_string(), "map(string, list(optional_type(google.protobuf.Duration)))");
        assert_eq!(format(&Type::of_type(Type::Int)), "type(int)");
        assert_eq!(Type::Param(Arc::from("A")).to_string(), "<A>");
    }

    #[test]
    fn admission_looks_at_first_elements() {
        let list = Value::list(vec![Value::Int(1), Value::from("a")]);
        assert!(Type::list(Type::Int).admits(&list));
        assert!(!Type::list(Type::String).admits(&list));
        assert!(Type::list(Type::Param(Arc::from("T"))).admits(&list));
        assert!(Type::list(Type::String).admits(&Value::list(Vec::new())));
    }
}
