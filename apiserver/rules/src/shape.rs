//! What values of a schema are to CEL: a tree compiled once, walked on every evaluation
//! (the cases of `UnstructuredToVal` in k8s.io/apiserver/pkg/cel/common/valuesunstructured.go@v0.37.2).
//!
//! Invariant: a shape owns all it needs, so that values made along it can outlive the schema.

use std::collections::HashMap;
use std::sync::Arc;

use api::value::Str;
use structural::declared::resource_properties;
use structural::schema::{List, Schema, Type};

use crate::format::Format;
use crate::open::Origin;

#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) nullable: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    IntOrString,
    Object(Entries),
    Array(Option<Arc<Shape>>, Listing),
    String(Format),
    Number,
    Integer,
    Boolean,
    /// Of no type, kept as it is.
    Preserved,
    Unknown(Str),
    /// Of no schema at all: everything is seen, under its own name.
    Open(Origin),
}

/// Which entries of an object are seen.
#[derive(Debug)]
pub(crate) enum Entries {
    /// By property, under their escaped names.
    Fields(HashMap<Str, Arc<Shape>>),
    All(Arc<Shape>),
    None,
}

/// `x-kubernetes-list-type`
#[derive(Debug, Clone)]
pub(crate) enum Listing {
    Atomic,
    Set,
    /// By keys, escaped.
    Map(Arc<[String]>),
    Other,
}

/// Builds the shape of a schema; `at_rules` sees that of each node with rules by its id.
pub(crate) fn shape(schema: &Schema, resource_root: bool, at_rules: &mut dyn FnMut(usize, &Arc<Shape>)) -> Arc<Shape> {
    let kind = kind(schema, resource_root, at_rules);
    let shape = Arc::new(Shape { nullable: schema.nullable, kind });
    if let Some(node) = &schema.rules {
        at_rules(node.id, &shape);
    }
    shape
}

fn below(schema: &Schema, at_rules: &mut dyn FnMut(usize, &Arc<Shape>)) -> Arc<Shape> {
    shape(schema, schema.embedded_resource, at_rules)
}

fn kind(schema: &Schema, resource_root: bool, at_rules: &mut dyn FnMut(usize, &Arc<Shape>)) -> Kind {
    if schema.int_or_string {
        return Kind::IntOrString;
    }
    match &schema.ty {
        Type::Object => Kind::Object(entries(schema, resource_root, at_rules)),
        Type::Array => {
            let items = schema.items.as_deref().map(|items| below(items, at_rules));
            Kind::Array(items, listing(schema))
        }
        Type::String => Kind::String(Format::of(schema.checks.as_ref().map_or("", |checks| &checks.format))),
        Type::Number => Kind::Number,
        Type::Integer => Kind::Integer,
        Type::Boolean => Kind::Boolean,
        _ if schema.preserve_unknown_fields => Kind::Preserved,
        other => Kind::Unknown(other.name().into()),
    }
}

fn entries(schema: &Schema, resource_root: bool, at_rules: &mut dyn FnMut(usize, &Arc<Shape>)) -> Entries {
    let additional = schema.additional.schema().map(|values| below(values, at_rules));
    let mut fields: HashMap<Str, Arc<Shape>> =
        schema.properties.iter().map(|(name, property)| (name.clone(), below(property, at_rules))).collect();
    if resource_root {
        // Replaces those that a resource declares by itself.
        let fixed = resource_properties(schema);
        fields.extend(fixed.into_iter().map(|(name, property)| (name.into(), below(&property, &mut |_, _| {}))));
    }
    match additional {
        _ if resource_root || !fields.is_empty() => Entries::Fields(fields),
        Some(values) => Entries::All(values),
        None => Entries::None,
    }
}

fn listing(schema: &Schema) -> Listing {
    match schema.list {
        List::Unset | List::Atomic => Listing::Atomic,
        List::Set => Listing::Set,
        List::Map => {
            let escaped = |key: &Str| cel::escape::escape(key).unwrap_or_else(|| key.to_string());
            Listing::Map(schema.map_keys.iter().map(escaped).collect())
        }
        List::Other => Listing::Other,
    }
}
