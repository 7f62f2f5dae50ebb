//! What apply must know of a type: scalar, list or map, and how its elements relate.
//!
//! Invariant: one [`Ref`] names a place in a schema, whatever the schema is made of: the facts of
//! built-in kinds, or anything that implements [`Schema`] (a table, a CRD's structural schema).

use api::facts::{Field, Struct, Type};
use api::value::{Str, Value};

use crate::facts;

/// A place in a schema.
#[derive(Clone, Copy)]
pub enum Ref<'s> {
    Struct(&'static Struct),
    Type(&'static Type),
    Field(&'static Field),
    Custom(&'s dyn Schema, usize),
    /// A scalar of any type: `apiVersion` and `kind` of facts are such.
    Text,
    /// Any value, owned as a whole.
    Untyped,
    /// Any value; maps are owned entry by entry, lists as a whole.
    Deduced,
}

/// A schema whose places are numbers.
pub trait Schema: Send + Sync {
    /// What may be at a place; `None` when the place refers to a type that is not there.
    fn atom(&self, at: usize) -> Option<Atom<'_>>;
    /// The declared field of a map.
    fn field(&self, at: usize, name: &str) -> Option<Ref<'_>>;
    /// The default of a declared field of a map.
    fn default_of(&self, at: usize, name: &str) -> Option<Value>;
    /// True when the map declares fields.
    fn has_fields(&self, at: usize) -> bool;
    /// The name of the type, when it has one.
    fn name(&self, at: usize) -> Option<&str>;
}

/// What may be at a place: each part that is there is one possible type.
#[derive(Clone, Copy, Default)]
pub struct Atom<'s> {
    pub scalar: Option<Scalar>,
    pub list: Option<List<'s>>,
    pub map: Option<Mapping<'s>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Numeric,
    String,
    Boolean,
    Untyped,
}

#[derive(Clone, Copy)]
pub struct List<'s> {
    pub relation: Relation<'s>,
    pub element: Ref<'s>,
}

/// How the elements of a list relate.
#[derive(Clone, Copy)]
pub enum Relation<'s> {
    Atomic,
    /// Elements are told apart by their keys; without keys, by their value.
    Associative(Keys<'s>),
}

#[derive(Clone, Copy)]
pub enum Keys<'s> {
    Static(&'static [&'static str]),
    Owned(&'s [Str]),
}

/// A map or struct.
#[derive(Clone, Copy)]
pub struct Mapping<'s> {
    pub atomic: bool,
    /// The type of entries that are no declared fields; `None`: there are no such entries.
    pub element: Option<Ref<'s>>,
}

impl<'s> Keys<'s> {
    pub(crate) fn len(self) -> usize {
        match self {
            Keys::Static(keys) => keys.len(),
            Keys::Owned(keys) => keys.len(),
        }
    }

    pub(crate) fn get(self, at: usize) -> &'s str {
        match self {
            Keys::Static(keys) => keys[at],
            Keys::Owned(keys) => &keys[at],
        }
    }

    /// `["a" "b"]`, as Go prints a list of quoted strings.
    pub(crate) fn shown(self) -> String {
        let keys: Vec<_> = (0..self.len()).map(|at| api::field::go_quote(self.get(at))).collect();
        format!("[{}]", keys.join(" "))
    }
}

impl<'s> Ref<'s> {
    pub fn atom(self) -> Option<Atom<'s>> {
        match self {
            Ref::Struct(structure) => Some(facts::structure(structure, structure.atomic)),
            Ref::Type(ty) => Some(facts::atom(ty, None)),
            Ref::Field(field) => Some(facts::atom(&field.ty, Some(field))),
            Ref::Custom(schema, at) => schema.atom(at),
            Ref::Text => Some(Atom { scalar: Some(Scalar::String), ..Atom::default() }),
            Ref::Untyped => Some(any(Ref::Untyped, true)),
            Ref::Deduced => Some(any(Ref::Deduced, false)),
        }
    }

    /// The declared field of a struct or map.
    pub fn field(self, name: &str) -> Option<Ref<'s>> {
        match self {
            Ref::Struct(structure) => facts::field(structure, name),
            Ref::Type(Type::Struct(structure)) => facts::field(structure, name),
            Ref::Field(Field { ty: Type::Struct(structure), .. }) => facts::field(structure, name),
            Ref::Type(_) | Ref::Field(_) => None,
            Ref::Custom(schema, at) => schema.field(at, name),
            Ref::Text | Ref::Untyped | Ref::Deduced => None,
        }
    }

    pub(crate) fn default_of(self, name: &str) -> Option<Value> {
        match self {
            Ref::Custom(schema, at) => schema.default_of(at, name),
            _ => match self.field(name)? {
                Ref::Field(field) => facts::default(field),
                _ => None,
            },
        }
    }

    pub(crate) fn has_fields(self) -> bool {
        match self {
            Ref::Struct(structure) => !structure.json_fields().is_empty(),
            Ref::Type(ty) => facts::has_fields(ty),
            Ref::Field(field) => facts::has_fields(&field.ty),
            Ref::Custom(schema, at) => schema.has_fields(at),
            Ref::Text | Ref::Untyped | Ref::Deduced => false,
        }
    }

    pub(crate) fn name(self) -> Option<&'s str> {
        match self {
            Ref::Custom(schema, at) => schema.name(at),
            Ref::Untyped => Some("__untyped_atomic_"),
            Ref::Deduced => Some("__untyped_deduced_"),
            _ => None,
        }
    }
}

/// Any value; lists hold untyped values as a whole.
pub(crate) fn any<'s>(element: Ref<'s>, atomic: bool) -> Atom<'s> {
    Atom {
        scalar: Some(Scalar::Untyped),
        list: Some(List { relation: Relation::Atomic, element: Ref::Untyped }),
        map: Some(Mapping { atomic, element: Some(element) }),
    }
}

impl<'s> Atom<'s> {
    /// The part of the atom that fits the value; the whole atom when none does or there is no value.
    pub(crate) fn deduce(self, value: Option<&Value>) -> Atom<'s> {
        let none = Atom::default();
        match value {
            Some(Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_)) if self.scalar.is_some() => {
                Atom { scalar: self.scalar, ..none }
            }
            Some(Value::List(_)) if self.list.is_some() => Atom { list: self.list, ..none },
            Some(Value::Map(_)) if self.map.is_some() => Atom { map: self.map, ..none },
            _ => self,
        }
    }

    /// True when both came from one atom and have the same parts.
    pub(crate) fn same_parts(&self, other: &Atom<'_>) -> bool {
        self.scalar == other.scalar
            && self.list.is_some() == other.list.is_some()
            && self.map.is_some() == other.map.is_some()
    }
}
