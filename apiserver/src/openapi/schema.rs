//! Schemas of the facts' structs, in the words of OpenAPI v3 or v2.
//!
//! Invariant: every schema that is referred to is defined; structure comes from the facts, prose from [`Words`].
//! Not there (no fact has it): `enum` of named string types.

use std::collections::BTreeMap;

use api::facts::{self, Field, List, Struct, Type};
use api::map;
use api::value::{Map, Value};

use super::words::Words;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";
const GVK: &str = "x-kubernetes-group-version-kind";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

/// The schemas of one document, growing as they are referred to.
pub(super) struct Schemas<'w> {
    dialect: Dialect,
    words: &'w Words,
    /// The versions whose options and events the document is about.
    versions: Vec<(&'static str, &'static str)>,
    done: BTreeMap<String, Option<Map>>,
    pending: Vec<String>,
    given: Given,
}

/// Schemas that do not come from the facts, by name.
pub(super) type Given = BTreeMap<String, Map>;

impl<'w> Schemas<'w> {
    pub(super) fn new(
        dialect: Dialect,
        words: &'w Words,
        versions: Vec<(&'static str, &'static str)>,
        given: Given,
    ) -> Self {
        Schemas { dialect, words, versions, done: BTreeMap::new(), pending: Vec::new(), given }
    }

    /// A reference to a schema, which will be defined.
    pub(super) fn reference(&mut self, name: &str) -> Map {
        if !self.done.contains_key(name) {
            self.done.insert(name.to_string(), None);
            self.pending.push(name.to_string());
        }
        let prefix = match self.dialect {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        };
        map! { "$ref" => format!("{prefix}{name}") }
    }

    /// Everything that was referred to, by name.
    pub(super) fn finish(mut self) -> Map {
        while let Some(name) = self.pending.pop() {
            let schema = self.define(&name);
            self.done.insert(name, Some(schema));
        }
        self.done.into_iter().map(|(name, schema)| (name.into(), Value::Map(schema.unwrap_or_default()))).collect()
    }

    /// Defines what a schema that was given refers to.
    fn follow(&mut self, value: &Value) {
        match value {
            Value::Map(map) => {
                if let Some((_, name)) = map.str("$ref").rsplit_once('/') {
                    self.reference(name);
                }
                map.iter().for_each(|(_, value)| self.follow(value));
            }
            Value::List(list) => list.iter().for_each(|value| self.follow(value)),
            _ => {}
        }
    }

    fn define(&mut self, name: &str) -> Map {
        if let Some(schema) = self.given.remove(name) {
            let schema = Value::Map(schema);
            self.follow(&schema);
            return schema.as_map().cloned().unwrap_or_default();
        }
        let mut schema = match self.named(name) {
            Some(schema) => schema,
            None => match facts::structure(name) {
                Some(ty) => self.object(ty),
                None => self.foreign(name),
            },
        };
        describe(&mut schema, self.words.of_type(name));
        extend(&mut schema, facts::extensions(name, ""));
        let kinds = self.kinds(name);
        if !kinds.is_empty() {
            schema.set(GVK, kinds);
        }
        schema
    }

    /// Types that are not objects in JSON.
    fn named(&self, name: &str) -> Option<Map> {
        let short = name.strip_prefix(META).or_else(|| name.strip_prefix(EXTENSIONS)).unwrap_or(name);
        let either =
            |one: &str, other: &str| vec![Value::Map(map! { "type" => one }), Value::Map(map! { "type" => other })];
        Some(match (short, self.dialect) {
            (".Time" | ".MicroTime", _) => map! { "type" => "string", "format" => "date-time" },
            (".Duration", _) => map! { "type" => "string" },
            (".FieldsV1" | ".Patch", _) => map! { "type" => "object" },
            (".JSON" | ".JSONSchemaPropsOrArray" | ".JSONSchemaPropsOrBool" | ".JSONSchemaPropsOrStringArray", _) => {
                Map::new()
            }
            ("io.k8s.apimachinery.pkg.runtime.RawExtension", _) => map! { "type" => "object" },
            ("io.k8s.apimachinery.pkg.api.resource.Quantity", Dialect::V2) => map! { "type" => "string" },
            ("io.k8s.apimachinery.pkg.api.resource.Quantity", Dialect::V3) => {
                map! { "oneOf" => either("string", "number") }
            }
            ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", Dialect::V2) => {
                map! { "type" => "string", "format" => "int-or-string" }
            }
            ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", Dialect::V3) => {
                map! { "oneOf" => either("integer", "string"), "format" => "int-or-string" }
            }
            _ => return None,
        })
    }

    /// A type outside the facts, which has only plain properties.
    fn foreign(&self, name: &str) -> Map {
        let Value::Map(mut schema) = value(self.words.schema(name)) else { return map! { "type" => "object" } };
        let required: Vec<String> = schema.list("required").iter().filter_map(Value::as_str).map(Into::into).collect();
        if self.dialect == Dialect::V3 {
            let properties =
                schema.map_mut("properties").iter_mut().filter(|entry| required.iter().any(|name| entry.0 == name));
            properties.filter_map(|entry| entry.1.as_map_mut()).for_each(|property| property.set("default", ""));
        }
        schema
    }

    fn object(&mut self, ty: &'static Struct) -> Map {
        let mut properties: BTreeMap<&str, Value> = BTreeMap::new();
        let mut required = Vec::new();
        for field in ty.json_fields() {
            properties.insert(field.name, Value::Map(self.property(ty, field)));
            if field.required {
                required.push(field.name);
            }
        }
        for name in ["apiVersion", "kind"].into_iter().filter(|_| ty.kinded) {
            let mut property = map! { "type" => "string" };
            // The same words everywhere, for the kinds too that k8s-openapi does not know (lists).
            describe(&mut property, self.words.of_field(&format!("{META}.APIGroup"), name));
            properties.entry(name).or_insert(Value::Map(property));
        }
        let mut schema = map! { "type" => "object" };
        if !properties.is_empty() {
            let properties: Map = properties.into_iter().map(|(name, value)| (name.into(), value)).collect();
            schema.set("properties", properties);
        }
        if !required.is_empty() {
            schema.set("required", required.into_iter().map(Value::from).collect::<Vec<_>>());
        }
        if ty.atomic {
            schema.set("x-kubernetes-map-type", "atomic");
        }
        schema
    }

    fn property(&mut self, ty: &'static Struct, field: &'static Field) -> Map {
        let mut schema = self.of(&field.ty);
        let words = self.words.of_field(ty.name, field.name);
        // A struct that Go always writes is an empty one by default.
        let empty = (matches!(field.ty, Type::Struct(_)) && !field.nilable).then_some("{}");
        let default = field.default.or(empty).filter(|_| self.dialect == Dialect::V3);
        // In v3 nothing may stand beside a reference.
        let more = facts::extensions(ty.name, field.name);
        let alone = words.is_empty() && default.is_none() && field.patch_strategy.is_empty() && more.is_empty();
        if self.dialect == Dialect::V3 && schema.contains("$ref") && !alone {
            schema = map! { "allOf" => vec![Value::Map(schema)] };
        }
        describe(&mut schema, words);
        if let Some(default) = default.and_then(|text| serde_json::from_str(text).ok()) {
            schema.set("default", value(&default));
        }
        extend(&mut schema, more);
        // The items of a list kind are no list that is merged.
        if !(field.name == "items" && ty.short_name().ends_with("List")) {
            extensions(&mut schema, field);
        }
        schema
    }

    fn of(&mut self, ty: &Type) -> Map {
        let plain = |ty: &str| map! { "type" => ty };
        let formatted = |ty: &str, format: &str| map! { "type" => ty, "format" => format };
        match ty {
            Type::Bool => plain("boolean"),
            Type::Int32 => formatted("integer", "int32"),
            Type::Int64 | Type::Uint32 | Type::Uint64 => formatted("integer", "int64"),
            Type::Float64 => formatted("number", "double"),
            Type::String => plain("string"),
            Type::Bytes => formatted("string", "byte"),
            Type::Time => self.reference(&format!("{META}.Time")),
            Type::MicroTime => self.reference(&format!("{META}.MicroTime")),
            Type::Duration => self.reference(&format!("{META}.Duration")),
            Type::FieldsV1 => self.reference(&format!("{META}.FieldsV1")),
            Type::Quantity => self.reference("io.k8s.apimachinery.pkg.api.resource.Quantity"),
            Type::IntOrString => self.reference("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
            Type::RawExtension => self.reference("io.k8s.apimachinery.pkg.runtime.RawExtension"),
            Type::Json => self.reference(&format!("{EXTENSIONS}.JSON")),
            Type::SchemaOrBool(_) => self.reference(&format!("{EXTENSIONS}.JSONSchemaPropsOrBool")),
            Type::SchemaOrArray(_) => self.reference(&format!("{EXTENSIONS}.JSONSchemaPropsOrArray")),
            Type::SchemaOrStrings(_) => self.reference(&format!("{EXTENSIONS}.JSONSchemaPropsOrStringArray")),
            Type::Struct(inner) => self.reference(inner.name),
            Type::List(inner) | Type::Wrapped(inner) => map! { "type" => "array", "items" => self.of(inner) },
            Type::Map(inner) => map! { "type" => "object", "additionalProperties" => self.of(inner) },
        }
    }

    /// The kinds that a struct is the form of.
    fn kinds(&self, name: &str) -> Vec<Value> {
        let Some((package, kind)) = name.rsplit_once('.') else { return Vec::new() };
        let gvk =
            |group: &str, version: &str| Value::Map(map! { "group" => group, "kind" => kind, "version" => version });
        if package == META {
            return match kind {
                "DeleteOptions" | "WatchEvent" => {
                    self.versions.iter().map(|(group, version)| gvk(group, version)).collect()
                }
                "Status" | "APIVersions" | "APIGroup" | "APIGroupList" | "APIResourceList" => vec![gvk("", "v1")],
                _ => Vec::new(),
            };
        }
        if !facts::structure(name).is_some_and(|ty| ty.kinded) {
            return Vec::new();
        }
        let of_package =
            |facts: &&facts::Resource| facts.ty.name.rsplit_once('.').is_some_and(|name| name.0 == package);
        let found = facts::resources().iter().find(of_package);
        found.map(|facts| gvk(facts.group, facts.version)).into_iter().collect()
    }
}

fn describe(schema: &mut Map, words: &str) {
    if !words.is_empty() {
        schema.set("description", words);
    }
}

/// Sets the fields of a JSON object.
fn extend(schema: &mut Map, json: &str) {
    let parsed = serde_json::from_str(json).map(|json| value(&json));
    if let Ok(Value::Map(more)) = parsed {
        more.iter().for_each(|(name, value)| schema.set(name.clone(), value.clone()));
    }
}

fn extensions(schema: &mut Map, field: &Field) {
    if let Type::List(_) | Type::Wrapped(_) = field.ty {
        match field.list {
            // Of lists with a name of their own nothing is assumed.
            List::Atomic if matches!(field.ty, Type::Wrapped(_)) => {}
            List::Atomic => schema.set("x-kubernetes-list-type", "atomic"),
            List::Set => schema.set("x-kubernetes-list-type", "set"),
            List::Map(keys) => {
                schema.set("x-kubernetes-list-map-keys", keys.iter().map(|key| Value::from(*key)).collect::<Vec<_>>());
                schema.set("x-kubernetes-list-type", "map");
            }
        }
    }
    if field.atomic_map {
        schema.set("x-kubernetes-map-type", "atomic");
    }
    for (name, text) in [("merge-key", field.patch_merge_key), ("strategy", field.patch_strategy)] {
        if !text.is_empty() {
            schema.set(format!("x-kubernetes-patch-{name}"), text);
        }
    }
}

/// JSON as a value.
pub(super) fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::String(text.as_str().into()),
        serde_json::Value::Array(list) => Value::List(list.iter().map(value).collect()),
        serde_json::Value::Object(object) => {
            Value::Map(object.iter().map(|(name, inner)| (name.as_str().into(), value(inner))).collect())
        }
    }
}
