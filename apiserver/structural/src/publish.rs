//! The OpenAPI definitions of a version: its kind and its list
//! (k8s.io/apiextensions-apiserver/pkg/controller/openapi/{builder/builder,v2/conversion}.go,
//! pkg/apiserver/schema/{kubeopenapi,unfold}.go@v0.37.2).
//!
//! Invariant: schemas come from the JSON of the definition, so that words are in memory only while documents are made.
//! Non-goal: paths and documents.

use api::value::{Map, Str, Value};

use crate::definition::{self, openapi_types, structure};
use crate::props::{Additional, Props};
use crate::schema::Schema;

/// Which document the definitions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Lossy: what kubectl of old cannot read is left out.
    V2,
    V3,
}

/// Descriptions of what every resource has.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// Of TypeMeta's apiVersion and kind.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Of an object's and a list's metadata.
    pub metadata: &'a str,
    pub list_metadata: &'a str,
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const CONVENTIONS: &str = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// `io.example.v1.Foo` for a kind of `example.io`.
pub fn model_name(group: &str, version: &str, kind: &str) -> String {
    let group: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{version}.{kind}", group.join("."))
}

/// The definitions of a version by their names; `None` when the definition has no such version.
pub fn definitions(definition: &Map, version: &str, flavor: Flavor, words: Words<'_>) -> Option<Map> {
    let spec = definition.map("spec")?;
    let version = definition::version(definition, version)?;
    let names = spec.map("names")?;
    let publisher = Publisher { flavor, words };
    let (group, name) = (spec.str("group"), version.str("name"));
    let preserve = spec.bool("preserveUnknownFields") == Some(true);
    let mut kind = publisher.kind(version.at(&["schema", "openAPIV3Schema"]), preserve);
    let mut list = publisher.list(names, &model_name(group, name, names.str("kind")));
    for (schema, kind) in [(&mut kind, names.str("kind")), (&mut list, names.str("listKind"))] {
        let gvk = api::map! { "group" => group, "kind" => kind, "version" => name };
        schema.set("x-kubernetes-group-version-kind", vec![Value::Map(gvk)]);
        let paths = version.maps("selectableFields").map(|map| map.str("jsonPath"));
        let fields = paths.map(|path| api::map! { "fieldPath" => path.strip_prefix('.').unwrap_or(path) });
        let fields: Vec<Value> = fields.map(Value::Map).collect();
        if !fields.is_empty() {
            schema.set("x-kubernetes-selectable-fields", fields);
        }
    }
    let mut all = Map::new();
    all.set(model_name(group, name, names.str("kind")), kind);
    all.set(model_name(group, name, names.str("listKind")), list);
    Some(all)
}

struct Publisher<'a> {
    flavor: Flavor,
    words: Words<'a>,
}

/// Fields that are written as they are, and not below junctors in other forms.
const PLAIN: [&str; 21] = [
    "description",
    "title",
    "type",
    "format",
    "default",
    "maximum",
    "minimum",
    "multipleOf",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "maxProperties",
    "minProperties",
    "required",
    "enum",
    "externalDocs",
    "example",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
];
const FLAGS: [&str; 7] = [
    "nullable",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "uniqueItems",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
];
const TYPES: [&str; 2] = ["x-kubernetes-list-type", "x-kubernetes-map-type"];

fn object() -> Map {
    api::map! { "type" => "object" }
}

impl Publisher<'_> {
    fn kind(&self, schema: Option<&Map>, preserve: bool) -> Map {
        let schema = schema.map(Props).filter(|schema| is_publishable(*schema));
        let opaque = |schema: &Props<'_>| self.flavor == Flavor::V2 && (preserve || schema.preserves());
        let Some(schema) = schema.filter(|schema| !opaque(schema)) else { return object() };
        let mut published = self.structural(schema);
        let properties = published.map_mut("properties");
        properties.set("metadata", self.reference(OBJECT_META, self.words.metadata));
        self.type_meta(properties);
        if schema.embedded() {
            self.embedded(&mut published);
        }
        published
    }

    fn list(&self, names: &Map, item: &str) -> Map {
        let description = format!("List of {}. More info: {CONVENTIONS}", names.str("plural"));
        let items = api::map! {
            "description" => description, "type" => "array", "items" => self.reference(item, ""),
        };
        let mut properties = api::map! {
            "items" => items, "metadata" => self.reference(LIST_META, self.words.list_metadata),
        };
        self.type_meta(&mut properties);
        api::map! {
            "description" => format!("{} is a list of {}", names.str("listKind"), names.str("kind")),
            "type" => "object",
            "required" => vec![Value::from("items")],
            "properties" => properties,
        }
    }

    fn reference(&self, name: &str, description: &str) -> Map {
        let prefix = match self.flavor {
            Flavor::V2 => "#/definitions/",
            Flavor::V3 => "#/components/schemas/",
        };
        let target = api::map! { "$ref" => format!("{prefix}{name}") };
        match self.flavor {
            _ if description.is_empty() => target,
            Flavor::V2 => api::map! { "description" => description, "$ref" => target.str("$ref") },
            // In v3 nothing may stand beside a reference.
            Flavor::V3 => api::map! { "description" => description, "allOf" => vec![Value::Map(target)] },
        }
    }

    fn type_meta(&self, properties: &mut Map) {
        for (name, words) in [("apiVersion", self.words.api_version), ("kind", self.words.kind)] {
            properties.set(name, api::map! { "description" => words, "type" => "string" });
        }
    }

    fn embedded(&self, schema: &mut Map) {
        let properties = schema.map_mut("properties");
        let api_version = format!(
            "apiVersion defines the versioned schema of this representation of an object. More info: {CONVENTIONS}#resources"
        );
        let kind = format!(
            "kind is a string value representing the type of this object. In CamelCase. More info: {CONVENTIONS}#types-kinds"
        );
        for (name, words) in [("apiVersion", api_version), ("kind", kind)] {
            properties.set(name, api::map! { "description" => words, "type" => "string" });
        }
        properties.set("metadata", self.reference(OBJECT_META, self.words.metadata));
        let required = schema.list_mut("required");
        for name in ["kind", "apiVersion"].map(Value::from) {
            if !required.contains(&name) {
                required.push(name);
            }
        }
    }

    fn structural(&self, schema: Props<'_>) -> Map {
        let mut out = plain(schema);
        let lossy = self.flavor == Flavor::V2;
        let hidden = lossy && (schema.flag("nullable") || schema.preserves());
        if let Some(item) = schema.item().filter(|_| !hidden) {
            out.set("items", self.structural(item));
        }
        let properties: Map =
            schema.properties().map(|(name, below)| (name.clone(), Value::Map(self.structural(below)))).collect();
        if !properties.is_empty() && !hidden {
            out.set("properties", properties);
        }
        match schema.additional("additionalProperties") {
            Additional::Absent => {}
            Additional::Allowed(allowed) => out.set("additionalProperties", allowed),
            Additional::Schema(below) => out.set("additionalProperties", self.structural(below)),
        }
        match self.flavor {
            Flavor::V3 => junctors(schema, &mut out),
            Flavor::V2 => lose(schema, hidden, &mut out),
        }
        if schema.embedded() && !(lossy && schema.preserves()) {
            self.embedded(&mut out);
        }
        out
    }
}

fn is_publishable(schema: Props<'_>) -> bool {
    let strange = |schema: Props<'_>| !schema.ty().is_empty() && !openapi_types().contains(&schema.ty());
    !schema.any(&mut { strange })
        && Schema::parse(schema.0).is_ok()
        && structure::validate(&api::field::Path::default(), schema).is_empty()
}

fn plain(schema: Props<'_>) -> Map {
    let mut out = Map::new();
    let nullable = |name: &str| {
        matches!(
            name,
            "default" | "example" | "externalDocs" | "maximum" | "minimum" | "multipleOf" | "maxLength" | "minLength"
        ) || name.starts_with("max")
            || name.starts_with("min")
    };
    for name in PLAIN {
        if let Some(value) = schema.value(name).filter(|value| nullable(name) || !value.is_zero()) {
            out.set(name, value.clone());
        }
    }
    for name in FLAGS.into_iter().filter(|name| schema.flag(name)) {
        out.set(name, true);
    }
    for name in TYPES {
        if let Some(text) = schema.some_text(name) {
            out.set(name, text);
        }
    }
    out
}

/// Junctors, with the types of int-or-string spelled out.
fn junctors(schema: Props<'_>, out: &mut Map) {
    let list = |name| schema.many(name).map(|below| Value::Map(nested(below))).collect::<Vec<_>>();
    let mut lists = [("allOf", list("allOf")), ("anyOf", list("anyOf")), ("oneOf", list("oneOf"))];
    let spelled =
        structure::is_int_or_string(schema) || schema.many("allOf").next().is_some_and(structure::is_int_or_string);
    if schema.int_or_string() && !spelled {
        let types: Vec<Value> =
            ["integer", "string"].iter().map(|ty| Value::Map(api::map! { "type" => *ty })).collect();
        if lists[1].1.is_empty() {
            lists[1].1 = types;
        } else {
            lists[0].1.insert(0, Value::Map(api::map! { "anyOf" => types }));
        }
    }
    for (name, list) in lists {
        if !list.is_empty() {
            out.set(name, list);
        }
    }
    if let Some(not) = schema.one("not") {
        out.set("not", nested(not));
    }
}

/// What stands below a junctor.
fn nested(schema: Props<'_>) -> Map {
    let mut out = plain(schema);
    if let Some(item) = schema.item() {
        out.set("items", nested(item));
    }
    let properties: Map = schema.properties().map(|(name, below)| (name.clone(), Value::Map(nested(below)))).collect();
    if !properties.is_empty() {
        out.set("properties", properties);
    }
    junctors(schema, &mut out);
    out
}

/// What OpenAPI v2, or kubectl of old, has no way to say.
fn lose(schema: Props<'_>, hidden: bool, out: &mut Map) {
    out.remove("nullable");
    let has_items = schema.item().is_some() && !hidden;
    let untyped = schema.flag("nullable")
        || schema.ty() == "array" && !has_items
        || schema.ty() == "object" && schema.preserves();
    if untyped {
        out.remove("type");
    }
    let nullable = |name: &Str| !hidden && schema.property(name).is_some_and(|below| below.flag("nullable"));
    if let Some(required) = out.get_mut("required").and_then(Value::as_list_mut) {
        required.retain(|name| !matches!(name, Value::String(name) if nullable(name)));
    }
    let additional = match schema.additional("additionalProperties") {
        Additional::Schema(below) => below.flag("nullable"),
        _ => false,
    };
    if additional || out.list("required").is_empty() {
        out.remove("required");
    }
}
