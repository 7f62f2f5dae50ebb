//! Schemas as declarations for CEL: which types their values have, and how large they can be
//! (k8s.io/apiserver/pkg/cel/{common/schemas,limits}.go and
//! k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model/schemas.go@v0.37.2).
//!
//! Invariant: estimates are upstream's to the unit, for definitions are refused by them. What has no type CEL could know
//! is not declared; an array or map of it is not either.

use std::borrow::Cow;
use std::sync::Arc;

use api::value::Value;
use cel::declaration::Declaration;
use cel::types::Type as CelType;
use structural::declared::resource_properties;
use structural::schema::{Checks, Schema, Type};

/// The largest request that is accepted, in bytes.
pub(crate) const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// The longest and shortest texts in JSON, quotes included, in bytes.
const DURATION_MAX: u64 = 32;
const DURATION_MIN: u64 = 3;
const DATE: u64 = 12;
const DATE_TIME_MAX: u64 = 32;
const DATE_TIME_MIN: u64 = 21;
/// The smallest values in JSON, in bytes.
const STRING_MIN: u64 = 2;
const BOOL_MIN: u64 = 4;
const NUMBER_MIN: u64 = 1;
const INT_OR_STRING_MIN: u64 = 1;
/// `{}`, `[]`, `""`: what stands around the largest value.
const ENCLOSING: u64 = 2;
/// Bytes of a character, at most.
const CHAR_BYTES_MAX: u64 = 4;

/// The declaration of `self`; `None` where CEL knows no type for it.
pub(crate) fn declare(schema: &Schema, resource_root: bool) -> Option<Declaration> {
    if schema.int_or_string {
        let max = max_bytes(schema).unwrap_or(REQUEST_BYTES_MAX - ENCLOSING);
        return Some(Declaration::simple(CelType::Dyn, max, INT_OR_STRING_MIN));
    }
    match schema.ty {
        Type::Array => list(schema),
        Type::Object => object(schema, resource_root),
        Type::String => Some(string(schema)),
        Type::Boolean => Some(Declaration::simple(CelType::Bool, 0, BOOL_MIN)),
        Type::Number => Some(Declaration::simple(CelType::Double, 0, NUMBER_MIN)),
        Type::Integer => Some(Declaration::simple(CelType::Int, 0, NUMBER_MIN)),
        Type::Any | Type::Other(_) => None,
    }
}

fn below(schema: &Schema) -> Option<Declaration> {
    declare(schema, schema.embedded_resource)
}

fn limit(schema: &Schema, of: fn(&Checks) -> Option<i64>) -> Option<u64> {
    let limit = schema.checks.as_deref().and_then(of)?;
    Some(u64::try_from(limit).unwrap_or(0))
}

fn max_length(schema: &Schema) -> Option<u64> {
    limit(schema, |checks| checks.max_length)
}

/// Of a text whose length in characters is limited.
fn max_bytes(schema: &Schema) -> Option<u64> {
    max_length(schema).map(|chars| chars.saturating_mul(CHAR_BYTES_MAX))
}

fn list(schema: &Schema) -> Option<Declaration> {
    let item = below(schema.items.as_deref()?)?;
    // A comma follows.
    let fitting = (REQUEST_BYTES_MAX - ENCLOSING) / (item.min_serialized() + 1);
    let max = limit(schema, |checks| checks.max_items).unwrap_or(fitting);
    Some(Declaration::list(item, max))
}

fn object(schema: &Schema, resource_root: bool) -> Option<Declaration> {
    if let Some(values) = schema.additional.schema() {
        let value = below(values)?;
        // The shortest key with its quotes, a colon and a comma, as upstream counts them.
        let fitting = (REQUEST_BYTES_MAX - ENCLOSING) / (value.min_serialized() + 6);
        let max = limit(schema, |checks| checks.max_properties).unwrap_or(fitting);
        return Some(Declaration::map(Declaration::simple(CelType::String, 0, STRING_MIN), value, max));
    }
    let required = |name: &str| {
        schema.checks.as_ref().is_some_and(|checks| checks.required.iter().any(|required| required == name))
    };
    let mut fields = Vec::new();
    // `{}`
    let mut min = ENCLOSING;
    for (name, property) in properties(schema, resource_root) {
        let Some(field) = below(&property) else { continue };
        if required(name) && property.default.as_ref().is_none_or(Value::is_null) {
            // Quotes, a colon and a comma.
            min += name.len() as u64 + field.min_serialized() + 4;
        }
        if let Some(escaped) = cel::escape::escape(name) {
            fields.push((Arc::from(escaped), field));
        }
    }
    Some(Declaration::object(fields, min))
}

fn string(schema: &Schema) -> Declaration {
    let format = schema.checks.as_ref().map_or("", |checks| checks.format.as_str());
    let whole = REQUEST_BYTES_MAX - ENCLOSING;
    match format {
        "byte" => Declaration::simple(CelType::Bytes, max_length(schema).unwrap_or(whole), STRING_MIN),
        "duration" => Declaration::simple(CelType::Duration, DURATION_MAX, DURATION_MIN),
        "date" => Declaration::simple(CelType::Timestamp, DATE, DATE),
        "date-time" => Declaration::simple(CelType::Timestamp, DATE_TIME_MAX, DATE_TIME_MIN),
        _ => {
            let max = max_bytes(schema).or_else(|| longest_choice(schema)).unwrap_or(whole);
            Declaration::simple(CelType::String, max, STRING_MIN)
        }
    }
}

/// The longest text among those allowed, if they are listed.
fn longest_choice(schema: &Schema) -> Option<u64> {
    let choices = &schema.checks.as_ref()?.enumeration;
    let lengths = choices.iter().map(|choice| choice.as_str().map_or(0, str::len) as u64);
    lengths.max()
}

/// The properties of an object; those that every resource has are in that of a resource whatever its schema says.
fn properties(schema: &Schema, resource_root: bool) -> Vec<(&str, Cow<'_, Schema>)> {
    let fixed = if resource_root { resource_properties(schema) } else { Vec::new() };
    let is_fixed = |name: &str| fixed.iter().any(|(fixed, _)| *fixed == name);
    let own = schema.properties.iter().filter(|(name, _)| !is_fixed(name));
    let mut properties: Vec<_> = own.map(|(name, property)| (name.as_str(), Cow::Borrowed(property))).collect();
    properties.extend(fixed.into_iter().map(|(name, property)| (name, Cow::Owned(property))));
    properties
}
