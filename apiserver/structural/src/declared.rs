//! What expressions know of every resource, whatever its schema says: kind, apiVersion, its name and generateName
//! (`WithTypeAndObjectMeta` in k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model/schemas.go@v0.37.2).

use std::sync::Arc;

use crate::schema::{Checks, Schema, Type};

/// The longest name of an object, in characters; what is made of a generateName is longer by at least one.
const NAME_MAX: i64 = 253;

/// The properties that stand for those of a resource's schema; none where it declares all of them.
pub fn resource_properties(schema: &Schema) -> Vec<(&'static str, Schema)> {
    if declares_all(schema) {
        return Vec::new();
    }
    let metadata = metadata(schema.properties.get("metadata"));
    vec![("kind", text(None)), ("apiVersion", text(None)), ("metadata", metadata)]
}

fn declares_all(schema: &Schema) -> bool {
    let is = |schema: &Schema, name: &str, ty: Type| schema.properties.get(name).is_some_and(|own| own.ty == ty);
    let Some(metadata) = schema.properties.get("metadata") else { return false };
    is(schema, "kind", Type::String)
        && is(schema, "apiVersion", Type::String)
        && metadata.ty == Type::Object
        && is(metadata, "name", Type::String)
        && is(metadata, "generateName", Type::String)
}

fn metadata(own: Option<&Schema>) -> Schema {
    let capped = |name: &str, most: i64| {
        let own = own.and_then(|own| own.properties.get(name)).and_then(|own| own.checks.as_ref());
        let limit = own.and_then(|checks| checks.max_length).map_or(most, |own| own.min(most));
        Arc::new(text(Some(limit)))
    };
    let properties = [("name", capped("name", NAME_MAX)), ("generateName", capped("generateName", NAME_MAX - 1))];
    let properties = properties.into_iter().map(|(name, schema)| (name.into(), schema)).collect();
    Schema { ty: Type::Object, properties, ..Schema::default() }
}

fn text(max_length: Option<i64>) -> Schema {
    let checks = max_length.map(|max| Box::new(Checks { max_length: Some(max), ..Checks::default() }));
    Schema { ty: Type::String, checks, ..Schema::default() }
}
