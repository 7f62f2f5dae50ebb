//! A custom resource's schema as server-side apply sees it
//! (k8s.io/kube-openapi/pkg/schemaconv and k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder@v0.37.2).
//!
//! Invariant: place 0 is the resource itself. What the schema does not declare is owned as a deduced type.

use api::facts;
use api::value::{Str, Value};
use apply::schema::{Atom, Keys, List, Mapping, Ref, Relation, Scalar};
use structural::schema::{self, Schema, Type};

/// Numbered places of one schema.
#[derive(Debug, Default)]
pub(crate) struct Owners(Vec<Node>);

/// A place: one kind of value, or with `scalar` alone any scalar.
#[derive(Debug, Default)]
struct Node {
    scalar: Option<Scalar>,
    list: Option<Elements>,
    map: Option<Entries>,
}

#[derive(Debug)]
struct Elements {
    associative: bool,
    keys: Vec<Str>,
    element: Place,
}

#[derive(Debug)]
struct Entries {
    atomic: bool,
    fields: Vec<(Str, Place, Option<Value>)>,
    others: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    At(usize),
    /// apiVersion and kind.
    Text,
    Metadata,
    Deduced,
}

impl Owners {
    /// Of a version's schema; without one everything is deduced.
    pub(crate) fn new(schema: Option<&Schema>) -> Self {
        let mut owners = Owners::default();
        let empty = Schema { ty: Type::Object, preserve_unknown_fields: true, ..Schema::default() };
        owners.add(schema.unwrap_or(&empty), true);
        owners
    }

    fn add(&mut self, schema: &Schema, resource: bool) -> usize {
        let at = self.0.len();
        self.0.push(Node::default());
        let node = match &schema.ty {
            Type::Object => Node { map: Some(self.entries(schema, resource)), ..Node::default() },
            Type::Array => Node { list: Some(self.elements(schema)), ..Node::default() },
            Type::String => scalar(Scalar::String),
            Type::Number | Type::Integer => scalar(Scalar::Numeric),
            Type::Boolean => scalar(Scalar::Boolean),
            Type::Any | Type::Other(_) => scalar(Scalar::Untyped),
        };
        self.0[at] = node;
        at
    }

    /// The place of a schema; one that says nothing is deduced.
    fn place(&mut self, schema: &Schema) -> Place {
        let silent = schema.ty == Type::Any && !schema.int_or_string;
        if silent { Place::Deduced } else { Place::At(self.add(schema, schema.embedded_resource)) }
    }

    fn entries(&mut self, schema: &Schema, resource: bool) -> Entries {
        let mut fields = Vec::new();
        if resource {
            fields.extend(["apiVersion", "kind"].map(|name| (name.into(), Place::Text, None)));
            fields.push(("metadata".into(), Place::Metadata, None));
        }
        for (name, property) in schema.properties.iter() {
            if fields.iter().all(|field| field.0 != *name) {
                let place = self.place(property);
                fields.push((name.clone(), place, property.default.clone()));
            }
        }
        let others = match schema.additional.schema() {
            Some(other) => Some(self.place(other)),
            None => schema.preserve_unknown_fields.then_some(Place::Deduced),
        };
        Entries { atomic: schema.atomic_map, fields, others }
    }

    fn elements(&mut self, schema: &Schema) -> Elements {
        let associative = matches!(schema.list, schema::List::Set | schema::List::Map);
        let element = schema.items.as_deref().map_or(Place::Deduced, |items| self.place(items));
        Elements { associative, keys: schema.map_keys.to_vec(), element }
    }

    fn reference(&self, place: Place) -> Ref<'_> {
        match place {
            Place::At(at) => Ref::Custom(self, at),
            Place::Text => Ref::Text,
            Place::Metadata => Ref::Struct(facts::object_meta()),
            Place::Deduced => Ref::Deduced,
        }
    }

    fn declared(&self, at: usize, name: &str) -> Option<&(Str, Place, Option<Value>)> {
        self.0.get(at)?.map.as_ref()?.fields.iter().find(|field| field.0 == name)
    }
}

fn scalar(scalar: Scalar) -> Node {
    Node { scalar: Some(scalar), ..Node::default() }
}

impl apply::schema::Schema for Owners {
    fn atom(&self, at: usize) -> Option<Atom<'_>> {
        let node = self.0.get(at)?;
        let list = node.list.as_ref().map(|list| List {
            relation: if list.associative { Relation::Associative(Keys::Owned(&list.keys)) } else { Relation::Atomic },
            element: self.reference(list.element),
        });
        let map = node
            .map
            .as_ref()
            .map(|map| Mapping { atomic: map.atomic, element: map.others.map(|place| self.reference(place)) });
        Some(Atom { scalar: node.scalar, list, map })
    }

    fn field(&self, at: usize, name: &str) -> Option<Ref<'_>> {
        self.declared(at, name).map(|field| self.reference(field.1))
    }

    fn default_of(&self, at: usize, name: &str) -> Option<Value> {
        self.declared(at, name)?.2.clone()
    }

    fn has_fields(&self, at: usize) -> bool {
        self.0.get(at).and_then(|node| node.map.as_ref()).is_some_and(|map| !map.fields.is_empty())
    }

    fn name(&self, _: usize) -> Option<&str> {
        None
    }
}
