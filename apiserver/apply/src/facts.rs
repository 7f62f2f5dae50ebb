//! The facts of built-in kinds as an apply schema
//! (k8s.io/kube-openapi/pkg/schemaconv/openapi.go: what upstream makes of its OpenAPI documents).

use api::facts::{Field, Struct, Type};
use api::json;
use api::value::Value;

use crate::schema::{Atom, Keys, List, Mapping, Ref, Relation, Scalar, any};

/// What may be at a place of this type; `field` is the field that has it, when one has.
pub(crate) fn atom(ty: &'static Type, field: Option<&'static Field>) -> Atom<'static> {
    match ty {
        Type::Bool => scalar(Scalar::Boolean),
        Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::Float64 => scalar(Scalar::Numeric),
        Type::String | Type::Bytes | Type::Duration => scalar(Scalar::String),
        Type::Time | Type::MicroTime | Type::Quantity => scalar(Scalar::Untyped),
        Type::RawExtension => any(Ref::Untyped, true),
        Type::FieldsV1 => mapping(false, Some(Ref::Deduced)),
        // Their schemas have no type, which is to say any.
        Type::IntOrString | Type::Json | Type::SchemaOrBool(_) | Type::SchemaOrArray(_) | Type::SchemaOrStrings(_) => {
            any(Ref::Deduced, false)
        }
        Type::Struct(inner) => {
            let related = field.map(|field| (field.atomic_map, field.granular));
            structure(inner, related.map_or(inner.atomic, |(atomic, granular)| atomic || inner.atomic && !granular))
        }
        Type::List(element) | Type::Wrapped(element) => {
            let relation = field.map_or(Relation::Atomic, |field| relation(field.list));
            Atom { list: Some(List { relation, element: Ref::Type(element) }), ..Atom::default() }
        }
        Type::Map(element) => mapping(field.is_some_and(|field| field.atomic_map), Some(Ref::Type(element))),
    }
}

/// A struct; one without fields takes any.
pub(crate) fn structure(structure: &'static Struct, atomic: bool) -> Atom<'static> {
    let free = structure.json_fields().is_empty() && !structure.kinded;
    mapping(atomic, free.then_some(Ref::Deduced))
}

fn relation(list: api::facts::List) -> Relation<'static> {
    match list {
        api::facts::List::Atomic => Relation::Atomic,
        api::facts::List::Set => Relation::Associative(Keys::Static(&[])),
        api::facts::List::Map(keys) => Relation::Associative(Keys::Static(keys)),
    }
}

fn scalar(scalar: Scalar) -> Atom<'static> {
    Atom { scalar: Some(scalar), ..Atom::default() }
}

fn mapping(atomic: bool, element: Option<Ref<'static>>) -> Atom<'static> {
    Atom { map: Some(Mapping { atomic, element }), ..Atom::default() }
}

/// The field of a struct.
pub(crate) fn field(structure: &'static Struct, name: &str) -> Option<Ref<'static>> {
    match structure.field(name) {
        Some(field) => Some(Ref::Field(field)),
        None if structure.kinded && matches!(name, "apiVersion" | "kind") => Some(Ref::Text),
        None => None,
    }
}

pub(crate) fn has_fields(ty: &'static Type) -> bool {
    matches!(ty, Type::Struct(structure) if !structure.json_fields().is_empty())
}

/// The OpenAPI default of a field.
pub(crate) fn default(field: &'static Field) -> Option<Value> {
    let text = field.default?;
    json::decode_any(text.as_bytes(), json::Strictness::Lenient).ok().map(|decoded| decoded.0)
}
