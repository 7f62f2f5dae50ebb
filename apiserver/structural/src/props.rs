//! A typed view of the JSON of a JSONSchemaProps, as a CustomResourceDefinition carries it
//! (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/types_jsonschema.go@v0.37.2).
//!
//! Invariant: what Go would hold after decoding: absent and null are the same, numbers of limits are floats.
//! Non-goal: what the schema means; [`crate::schema`] compiles it, [`crate::definition`] judges it.

use api::value::{Map, Str, Value};

/// One schema.
#[derive(Clone, Copy)]
pub(crate) struct Props<'a>(pub(crate) &'a Map);

/// `items`: one schema, or one for each place (which no custom resource may use).
pub(crate) enum Items<'a> {
    One(Props<'a>),
    Each(&'a [Value]),
}

/// `additionalProperties` and `additionalItems`.
#[derive(Clone, Copy)]
pub(crate) enum Additional<'a> {
    Absent,
    Allowed(bool),
    Schema(Props<'a>),
}

impl<'a> Props<'a> {
    pub(crate) fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The text of `name`; "" when absent.
    pub(crate) fn text(self, name: &str) -> &'a str {
        self.0.str(name)
    }

    /// The text of `name`, for pointers to text.
    pub(crate) fn some_text(self, name: &str) -> Option<&'a str> {
        self.value(name)?.as_str()
    }

    pub(crate) fn flag(self, name: &str) -> bool {
        self.0.bool(name).unwrap_or(false)
    }

    pub(crate) fn ty(self) -> &'a str {
        self.text("type")
    }

    pub(crate) fn limit(self, name: &str) -> Option<f64> {
        match self.0.get(name)? {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn count(self, name: &str) -> Option<i64> {
        self.0.i64(name)
    }

    pub(crate) fn texts(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.list(name).iter().filter_map(Value::as_str)
    }

    pub(crate) fn one(self, name: &str) -> Option<Props<'a>> {
        self.0.map(name).map(Props)
    }

    /// The schemas of `allOf`, `anyOf`, `oneOf`.
    pub(crate) fn many(self, name: &str) -> impl Iterator<Item = Props<'a>> {
        self.0.maps(name).map(Props)
    }

    /// The schemas of `properties`, `patternProperties`, `definitions`.
    pub(crate) fn named(self, name: &str) -> impl Iterator<Item = (&'a Str, Props<'a>)> {
        let map = self.0.map(name).unwrap_or(Map::EMPTY);
        map.iter().filter_map(|(name, value)| Some((name, Props(value.as_map()?))))
    }

    pub(crate) fn properties(self) -> impl Iterator<Item = (&'a Str, Props<'a>)> {
        self.named("properties")
    }

    pub(crate) fn property(self, name: &str) -> Option<Props<'a>> {
        self.0.map("properties")?.map(name).map(Props)
    }

    pub(crate) fn items(self) -> Option<Items<'a>> {
        match self.value("items")? {
            Value::Map(map) => Some(Items::One(Props(map))),
            Value::List(list) => Some(Items::Each(list)),
            _ => None,
        }
    }

    /// The one schema of `items`.
    pub(crate) fn item(self) -> Option<Props<'a>> {
        self.one("items")
    }

    pub(crate) fn additional(self, name: &str) -> Additional<'a> {
        match self.value(name) {
            Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
            Some(Value::Map(map)) => Additional::Schema(Props(map)),
            _ => Additional::Absent,
        }
    }

    pub(crate) fn rules(self) -> impl Iterator<Item = &'a Map> {
        self.0.maps("x-kubernetes-validations")
    }

    /// `x-kubernetes-preserve-unknown-fields`, whose false is an error.
    pub(crate) fn preserves(self) -> bool {
        self.flag("x-kubernetes-preserve-unknown-fields")
    }

    pub(crate) fn embedded(self) -> bool {
        self.flag("x-kubernetes-embedded-resource")
    }

    pub(crate) fn int_or_string(self) -> bool {
        self.flag("x-kubernetes-int-or-string")
    }

    pub(crate) fn list_type(self) -> Option<&'a str> {
        self.some_text("x-kubernetes-list-type")
    }

    pub(crate) fn map_type(self) -> Option<&'a str> {
        self.some_text("x-kubernetes-map-type")
    }

    /// Whether the schema or one below it holds `found`; every kind of nesting is followed.
    pub(crate) fn any(self, found: &mut impl FnMut(Props<'a>) -> bool) -> bool {
        if found(self) {
            return true;
        }
        let items = match self.items() {
            Some(Items::One(item)) => vec![item],
            Some(Items::Each(list)) => list.iter().filter_map(Value::as_map).map(Props).collect(),
            None => Vec::new(),
        };
        let lists = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| self.many(name));
        let maps = ["properties", "patternProperties", "definitions", "dependencies"];
        let maps = maps.into_iter().flat_map(|name| self.named(name).map(|(_, schema)| schema));
        let ones = ["not", "additionalProperties", "additionalItems"].into_iter().filter_map(|name| self.one(name));
        let below: Vec<_> = items.into_iter().chain(lists).chain(ones).chain(maps).collect();
        below.into_iter().any(|schema| schema.any(found))
    }
}
