//! Metadata, apiVersion and kind of resources and of those embedded in them: their types, and fields nobody knows
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta/{algorithm,coerce}.go@v0.37.2).
//!
//! Invariant: after coercion metadata is what Go holds after decoding ObjectMeta: known fields, canonical.

use api::facts;
use api::field::{self, Path};
use api::json::{self, Strictness};
use api::value::{Map, Value};

use crate::prune::is_meta;
use crate::schema::Schema;
use crate::trail::Trail;

/// What happens to a known field of a wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is an error: on writes.
    Refuse,
    /// It is dropped: on reads of what old servers stored.
    Drop,
}

/// Metadata decoded, and the paths of fields that were dropped because ObjectMeta does not have them.
pub(crate) struct Decoded {
    pub(crate) meta: Map,
    pub(crate) unknown: Vec<String>,
}

/// Decodes `metadata`; the error is Go's decoding error.
pub(crate) fn decode(value: &Value, malformed: Malformed) -> Result<Decoded, String> {
    let text = |value: &Value| {
        let mut out = Vec::new();
        json::encode_value(&mut out, value);
        out
    };
    let read = |value: &Value| json::decode(&text(value), facts::object_meta(), Strictness::Strict);
    let decoded = match read(value) {
        Ok(decoded) => decoded,
        Err(error) if malformed == Malformed::Refuse => return Err(error.to_string()),
        Err(_) => {
            let Value::Map(map) = value else {
                let ty = value.go_type();
                return Err(format!("invalid metadata: expected object, got {ty}"));
            };
            let good = map.iter().filter(|(name, value)| {
                let one = [((*name).clone(), (*value).clone())].into_iter().collect();
                read(&Value::Map(one)).is_ok()
            });
            let good = good.map(|(name, value)| (name.clone(), value.clone())).collect();
            read(&Value::Map(good)).map_err(|error| error.to_string())?
        }
    };
    let mut meta = decoded.value;
    if meta.get("creationTimestamp").is_some_and(Value::is_null) {
        meta.remove("creationTimestamp");
    }
    let paths = decoded.strict.iter().filter_map(|text| text.strip_prefix("unknown field \"")?.strip_suffix('"'));
    Ok(Decoded { meta, unknown: paths.map(String::from).collect() })
}

/// Checks and canonicalizes metadata of embedded resources, and at the root if the value is a resource (`root`).
/// Returns the paths of unknown fields that were dropped, sorted.
pub fn coerce(
    value: &mut Value,
    schema: Option<&Schema>,
    root: bool,
    malformed: Malformed,
) -> Result<Vec<String>, field::Error> {
    coerce_at(&Path::default(), value, schema, root, malformed)
}

pub(crate) fn coerce_at(
    path: &Path,
    value: &mut Value,
    schema: Option<&Schema>,
    root: bool,
    malformed: Malformed,
) -> Result<Vec<String>, field::Error> {
    let start = match path.to_string() {
        none if none == "<nil>" => Trail::default(),
        path => Trail::new(&path),
    };
    let mut coercion = Coercion { trail: start, malformed, unknown: Vec::new() };
    match schema {
        Some(schema) if root || schema.has_embedded => {
            coercion.value(value, schema, root || schema.embedded_resource)?;
        }
        None if root => coercion.value(value, &Schema::default(), true)?,
        _ => {}
    }
    coercion.unknown.sort();
    Ok(coercion.unknown)
}

struct Coercion {
    trail: Trail,
    malformed: Malformed,
    unknown: Vec<String>,
}

impl Coercion {
    fn value(&mut self, value: &mut Value, schema: &Schema, embedded: bool) -> Result<(), field::Error> {
        match value {
            Value::Map(map) => {
                if embedded {
                    self.resource(map)?;
                }
                self.fields(map, schema, embedded)
            }
            Value::List(list) => {
                let Some(items) = schema.items.as_deref().filter(|items| items.has_embedded) else { return Ok(()) };
                for (at, item) in list.iter_mut().enumerate() {
                    let mark = self.trail.index(at);
                    self.value(item, items, items.embedded_resource)?;
                    self.trail.back(mark);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn fields(&mut self, map: &mut Map, schema: &Schema, embedded: bool) -> Result<(), field::Error> {
        for (name, value) in map.iter_mut() {
            let property = schema.properties.get(name);
            let Some(below) = property.or_else(|| schema.additional.schema()) else { continue };
            if !below.has_embedded || embedded && is_meta(name) {
                continue;
            }
            let mark = if property.is_some() { self.trail.name(name) } else { self.trail.key(name) };
            self.value(value, below, below.embedded_resource)?;
            self.trail.back(mark);
        }
        Ok(())
    }

    fn resource(&mut self, map: &mut Map) -> Result<(), field::Error> {
        for name in ["apiVersion", "kind"] {
            match map.get(name) {
                None | Some(Value::String(_)) => {}
                Some(_) if self.malformed == Malformed::Drop => drop(map.remove(name)),
                Some(other) => {
                    return Err(field::invalid(&self.trail.path().child(name), other, "must be a string"));
                }
            }
        }
        let Some(metadata) = map.get("metadata") else { return Ok(()) };
        match decode(metadata, self.malformed) {
            Ok(decoded) => {
                let at = self.trail.with("metadata");
                self.unknown.extend(decoded.unknown.iter().map(|path| format!("{at}.{path}")));
                map.set("metadata", decoded.meta);
                Ok(())
            }
            Err(_) if self.malformed == Malformed::Drop => Ok(()),
            Err(error) => Err(field::invalid(&self.trail.path().child("metadata"), metadata, error)),
        }
    }
}
