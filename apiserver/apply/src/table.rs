//! A schema as a table of named types, in the form that structured-merge-diff documents have
//! (sigs.k8s.io/structured-merge-diff/v6/schema/elements.go@v6.4.2). CRDs are made into one.

use api::value::{Map, Str, Value};

use crate::schema::{Atom, Keys, List, Mapping, Ref, Relation, Scalar, Schema};

/// Named types and the unnamed ones that they are made of.
#[derive(Debug, Default)]
pub struct Table {
    nodes: Vec<Node>,
    names: Vec<(Str, usize)>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    name: Option<Str>,
    /// Refers to a named type.
    alias: Option<Str>,
    /// Replaces the relation of what is here or referred to.
    over: Option<Related>,
    scalar: Option<Scalar>,
    list: Option<ListNode>,
    map: Option<MapNode>,
}

#[derive(Clone, Debug)]
struct ListNode {
    related: Related,
    keys: Vec<Str>,
    element: usize,
}

#[derive(Clone, Debug)]
struct MapNode {
    related: Related,
    fields: Vec<(Str, usize, Option<Value>)>,
    element: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Related {
    Atomic,
    Associative,
    Separable,
}

/// What is wrong with a schema document.
#[derive(Debug, thiserror::Error)]
#[error("schema: {0}")]
pub struct Invalid(String);

impl Table {
    /// Reads `{types: [{name, scalar, list, map}]}`.
    pub fn read(document: &Map) -> Result<Self, Invalid> {
        let mut table = Table::default();
        for ty in document.maps("types") {
            let at = table.node(ty)?;
            let name: Str = ty.str("name").into();
            table.nodes[at].name = Some(name.clone());
            table.names.push((name, at));
        }
        Ok(table)
    }

    /// The place of a named type.
    pub fn named(&self, name: &str) -> Option<Ref<'_>> {
        self.find(name).map(|at| Ref::Custom(self, at))
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|entry| entry.0 == name).map(|entry| entry.1)
    }

    fn node(&mut self, from: &Map) -> Result<usize, Invalid> {
        let mut node = Node { over: related(from.str("elementRelationship"))?, ..Node::default() };
        node.alias = from.get("namedType").and_then(Value::as_str).map(Str::from);
        if let Some(scalar) = from.get("scalar").and_then(Value::as_str) {
            node.scalar = Some(scalar_of(scalar)?);
        }
        if let Some(list) = from.map("list") {
            node.list = Some(ListNode {
                related: related(list.str("elementRelationship"))?.unwrap_or(Related::Separable),
                keys: list.list("keys").iter().filter_map(Value::as_str).map(Str::from).collect(),
                element: self.node(list.map("elementType").unwrap_or(Map::EMPTY))?,
            });
        }
        if let Some(map) = from.map("map") {
            node.map = Some(self.map_node(map)?);
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn map_node(&mut self, from: &Map) -> Result<MapNode, Invalid> {
        let mut fields = Vec::new();
        for field in from.maps("fields") {
            let at = self.node(field.map("type").unwrap_or(Map::EMPTY))?;
            fields.push((field.str("name").into(), at, field.get("default").cloned()));
        }
        fields.sort_by(|a: &(Str, usize, Option<Value>), b| a.0.cmp(&b.0));
        let element = from.map("elementType").filter(|element| !element.is_empty());
        Ok(MapNode {
            related: related(from.str("elementRelationship"))?.unwrap_or(Related::Separable),
            fields,
            element: element.map(|element| self.node(element)).transpose()?,
        })
    }

    /// The node that holds the definition, and a relation that replaces its own.
    fn resolve(&self, at: usize) -> Option<(&Node, Option<Related>)> {
        let node = self.nodes.get(at)?;
        match &node.alias {
            None => Some((node, node.over)),
            Some(name) => self.resolve(self.find(name)?).map(|(found, inner)| (found, node.over.or(inner))),
        }
    }

    fn map_field(&self, at: usize, name: &str) -> Option<&(Str, usize, Option<Value>)> {
        let fields = &self.resolve(at)?.0.map.as_ref()?.fields;
        fields.binary_search_by(|field| field.0.as_str().cmp(name)).ok().map(|at| &fields[at])
    }

    fn place(&self, at: usize) -> Ref<'_> {
        match self.nodes[at].alias.as_deref() {
            Some(name) if name == "__untyped_deduced_" && self.find(name).is_none() => Ref::Deduced,
            Some(name) if name == "__untyped_atomic_" && self.find(name).is_none() => Ref::Untyped,
            _ => Ref::Custom(self, at),
        }
    }
}

impl Schema for Table {
    fn atom(&self, at: usize) -> Option<Atom<'_>> {
        let (node, over) = self.resolve(at)?;
        // Only lists and maps have a relation to replace.
        if over.is_some() && node.list.is_none() && node.map.is_none() {
            return None;
        }
        let list = node.list.as_ref().map(|list| List {
            relation: match over.filter(|_| node.map.is_none()).unwrap_or(list.related) {
                Related::Associative => Relation::Associative(Keys::Owned(&list.keys)),
                Related::Atomic | Related::Separable => Relation::Atomic,
            },
            element: self.place(list.element),
        });
        let map = node.map.as_ref().map(|map| Mapping {
            atomic: over.unwrap_or(map.related) == Related::Atomic,
            element: map.element.map(|at| self.place(at)),
        });
        Some(Atom { scalar: node.scalar, list, map })
    }

    fn field(&self, at: usize, name: &str) -> Option<Ref<'_>> {
        self.map_field(at, name).map(|field| self.place(field.1))
    }

    fn default_of(&self, at: usize, name: &str) -> Option<Value> {
        self.map_field(at, name)?.2.clone()
    }

    fn has_fields(&self, at: usize) -> bool {
        let map = self.resolve(at).and_then(|(node, _)| node.map.as_ref());
        map.is_some_and(|map| !map.fields.is_empty())
    }

    fn name(&self, at: usize) -> Option<&str> {
        let node = self.nodes.get(at)?;
        node.alias.as_ref().or(node.name.as_ref()).map(Str::as_str)
    }
}

fn scalar_of(text: &str) -> Result<Scalar, Invalid> {
    match text {
        "numeric" => Ok(Scalar::Numeric),
        "string" => Ok(Scalar::String),
        "boolean" => Ok(Scalar::Boolean),
        "untyped" => Ok(Scalar::Untyped),
        other => Err(Invalid(format!("unknown scalar {other}"))),
    }
}

fn related(text: &str) -> Result<Option<Related>, Invalid> {
    match text {
        "" => Ok(None),
        "atomic" => Ok(Some(Related::Atomic)),
        "associative" => Ok(Some(Related::Associative)),
        "separable" | "granular" => Ok(Some(Related::Separable)),
        other => Err(Invalid(format!("unknown element relationship {other}"))),
    }
}
