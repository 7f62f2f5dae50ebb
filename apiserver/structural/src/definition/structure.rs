//! What makes a schema structural
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go@v0.37.2).

use api::field::{self, Errors, Path};
use api::goregex;
use api::value::{Map, Value};

use crate::props::{Additional, Props};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Everything that keeps a schema from being structural, in order of the texts.
pub(crate) fn validate(path: &Path, schema: Props<'_>) -> Errors {
    let mut checks = Structure { errors: Errors::new() };
    checks.node(path, schema, Level::Root);
    checks.complete_node(path, path, schema, Some(schema));
    checks.errors.sort_by_key(ToString::to_string);
    checks.errors
}

struct Structure {
    errors: Errors,
}

fn property(path: &Path, name: &str) -> Path {
    path.child("properties").key(name)
}

impl Structure {
    fn required(&mut self, path: &Path, why: &str) {
        self.errors.push(field::required(path, why));
    }

    fn forbid(&mut self, path: &Path, name: &str, why: &str) {
        self.errors.push(field::forbidden(&path.child(name), why));
    }

    fn node(&mut self, path: &Path, schema: Props<'_>, level: Level) {
        if schema.ty() == "array" && schema.item().is_none() {
            self.required(&path.child("items"), "must be specified");
        }
        if let Some(item) = schema.item() {
            self.node(&path.child("items"), item, Level::Item);
        }
        for (name, below) in schema.properties() {
            self.node(&property(path, name), below, Level::Field);
        }
        let additional = schema.additional("additionalProperties");
        if level == Level::Root && !matches!(additional, Additional::Absent) {
            self.forbid(path, "additionalProperties", "must not be used at the root");
        }
        if let Additional::Schema(below) = additional {
            self.node(&path.child("additionalProperties"), below, Level::Field);
        }
        self.extensions(path, schema);
        let skip = Skip {
            any_of: is_int_or_string(schema),
            first_all_of: schema.many("allOf").next().is_some_and(is_int_or_string),
        };
        self.values(path, schema, skip);
        self.types(path, schema, level);
        self.metadata(path, schema, level);
    }

    fn extensions(&mut self, path: &Path, schema: Props<'_>) {
        let excluded = [
            ("x-kubernetes-preserve-unknown-fields", schema.preserves()),
            ("x-kubernetes-embedded-resource", schema.embedded()),
        ];
        for (name, set) in excluded {
            if set && schema.int_or_string() {
                let why = "must be false if x-kubernetes-int-or-string is true";
                self.errors.push(field::invalid(&path.child(name), true, why));
            }
        }
        if schema.embedded() && !matches!(schema.additional("additionalProperties"), Additional::Absent) {
            let why = "must not be used if x-kubernetes-embedded-resource is set";
            self.forbid(path, "additionalProperties", why);
        }
        if schema.embedded() && !schema.preserves() && schema.properties().next().is_none() {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.required(&path.child("properties"), why);
        }
    }

    fn types(&mut self, path: &Path, schema: Props<'_>, level: Level) {
        let (at, ty) = (path.child("type"), schema.ty());
        if schema.embedded() && ty != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            if ty.is_empty() { self.required(&at, why) } else { self.errors.push(field::invalid(&at, ty, why)) }
        } else if ty.is_empty() && !schema.int_or_string() && !schema.preserves() {
            self.required(
                &at,
                match level {
                    Level::Root => "must not be empty at the root",
                    Level::Item => "must not be empty for specified array items",
                    Level::Field => "must not be empty for specified object fields",
                },
            );
        }
        if level == Level::Root && !ty.is_empty() && ty != "object" {
            self.errors.push(field::invalid(&at, ty, "must be object at the root"));
        }
    }

    fn metadata(&mut self, path: &Path, schema: Props<'_>, level: Level) {
        let resource = level == Level::Root || schema.embedded();
        for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
            let Some(below) = schema.property(name).filter(|_| resource) else { continue };
            if below.ty() != wanted {
                let at = property(path, name).child("type");
                self.errors.push(field::invalid(&at, below.ty(), format!("must be {wanted}")));
            }
        }
        if level == Level::Root && schema.property("metadata").is_some_and(says_more_than_names) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.errors.push(field::forbidden(&property(path, "metadata"), why));
        }
    }

    fn values(&mut self, path: &Path, schema: Props<'_>, skip: Skip) {
        for (name, skipped) in [("anyOf", skip.any_of), ("allOf", false), ("oneOf", false)] {
            for (at, below) in schema.many(name).enumerate().filter(|_| !skipped) {
                let any_of = skip.first_all_of && name == "allOf" && at == 0;
                self.nested(&path.child(name).index(at), below, Skip { any_of, first_all_of: false });
            }
        }
        if let Some(not) = schema.one("not") {
            self.nested(&path.child("not"), not, Skip::NOTHING);
        }
        let pattern = schema.text("pattern");
        if let (false, Err(error)) = (pattern.is_empty(), goregex::compile(pattern)) {
            let why = format!("must be a valid regular expression, but isn't: {error}");
            self.errors.push(field::invalid(&path.child("pattern"), pattern, why));
        }
    }

    /// Below a junctor only values are restricted.
    fn nested(&mut self, path: &Path, schema: Props<'_>, skip: Skip) {
        const EMPTY: [&str; 5] =
            ["type", "title", "description", "x-kubernetes-list-map-keys", "x-kubernetes-validations"];
        const UNDEFINED: [&str; 3] = ["default", "x-kubernetes-list-type", "x-kubernetes-map-type"];
        const FALSE: [&str; 4] = [
            "nullable",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
            "x-kubernetes-int-or-string",
        ];
        self.values(path, schema, skip);
        if let Some(item) = schema.item() {
            self.nested(&path.child("items"), item, Skip::NOTHING);
        }
        for (name, below) in schema.properties() {
            self.nested(&property(path, name), below, Skip::NOTHING);
        }
        for name in EMPTY.into_iter().filter(|name| schema.value(name).is_some_and(|value| !value.is_zero())) {
            self.forbid(path, name, "must be empty to be structural");
        }
        for name in UNDEFINED.into_iter().filter(|name| schema.value(name).is_some()) {
            self.forbid(path, name, "must be undefined to be structural");
        }
        for name in FALSE.into_iter().filter(|name| schema.flag(name)) {
            self.forbid(path, name, "must be false to be structural");
        }
        if !matches!(schema.additional("additionalProperties"), Additional::Absent | Additional::Allowed(false)) {
            self.forbid(path, "additionalProperties", "must be undefined to be structural");
        }
        if schema.property("metadata").is_some() {
            let why = "must not be specified in a nested context";
            self.errors.push(field::forbidden(&property(path, "metadata"), why));
        }
    }

    /// What restricts values must be about something that the structure has.
    fn complete_node(&mut self, at: &Path, from: &Path, values: Props<'_>, structure: Option<Props<'_>>) {
        let Some(structure) = structure else {
            self.required(at, &format!("because it is defined in {from}"));
            return;
        };
        for name in ["allOf", "anyOf", "oneOf"] {
            for (index, below) in values.many(name).enumerate() {
                self.complete_nested(at, &from.child(name).index(index), below, Some(structure));
            }
        }
        if let Some(not) = values.one("not") {
            self.complete_nested(at, &from.child("not"), not, Some(structure));
        }
    }

    fn complete_nested(&mut self, at: &Path, from: &Path, values: Props<'_>, structure: Option<Props<'_>>) {
        self.complete_node(at, from, values, structure);
        let Some(structure) = structure else { return };
        if let Some(item) = values.item() {
            self.complete_nested(&at.child("items"), &from.child("items"), item, structure.item());
        }
        for (name, below) in values.properties() {
            let structure = structure.property(name);
            self.complete_nested(&property(at, name), &property(from, name), below, structure);
        }
    }
}

/// Which anyOf are those of int-or-string, which may name types.
#[derive(Clone, Copy)]
struct Skip {
    any_of: bool,
    first_all_of: bool,
}

impl Skip {
    const NOTHING: Skip = Skip { any_of: false, first_all_of: false };
}

/// `anyOf: [{type: integer}, {type: string}]`
pub(crate) fn is_int_or_string(schema: Props<'_>) -> bool {
    let types: Vec<Option<&str>> = schema.many("anyOf").map(only_type).collect();
    types == [Some("integer"), Some("string")]
}

/// The type of a schema that says nothing else.
fn only_type(schema: Props<'_>) -> Option<&str> {
    let others = schema.0.iter().filter(|(name, value)| *name != "type" && !is_unset(value)).count();
    (others == 0).then(|| schema.ty())
}

/// Values that Go holds as nothing.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::List(list) => list.is_empty(),
        _ => false,
    }
}

/// Whether the schema of metadata restricts anything but name and generateName.
fn says_more_than_names(metadata: Props<'_>) -> bool {
    let properties = metadata.0.map("properties").unwrap_or(Map::EMPTY);
    let only_names = properties.keys().all(|name| name == "name" || name == "generateName");
    let allowed = |name: &str| matches!(name, "type" | "default") || name == "properties" && only_names;
    metadata.0.iter().any(|(name, value)| !allowed(name) && !is_unset(value))
}
