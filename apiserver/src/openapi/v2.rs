//! The OpenAPI v2 document of everything (k8s.io/kube-openapi/pkg/builder).
//!
//! Invariant: parameters that say nothing of a kind stand once, under a name with a hash of what they are, and are
//! referred to (pkg/builder/parameters.go).

use std::collections::BTreeMap;

use api::map;
use api::value::{Map, Value};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use super::operation::{Answer, Body, Operation, Parameter, Path, reason};
use super::schema::{Dialect, Given, Schemas};
use super::words::Words;

pub(super) fn document(
    words: &Words,
    paths: Vec<Path>,
    versions: Vec<(&'static str, &'static str)>,
    given: Given,
) -> Map {
    let mut writer = Writer { schemas: Schemas::new(Dialect::V2, words, versions, given), parameters: BTreeMap::new() };
    let rendered: Map = paths.into_iter().map(|p| (p.path.as_str().into(), Value::Map(writer.path(p)))).collect();
    let parameters: Map = writer.parameters.into_iter().map(|(name, one)| (name.into(), Value::Map(one))).collect();
    let token = map! { "description" => "Bearer Token authentication", "type" => "apiKey", "name" => "authorization", "in" => "header" };
    map! {
        "swagger" => "2.0",
        "info" => super::info(),
        "paths" => rendered,
        "definitions" => writer.schemas.finish(),
        "parameters" => parameters,
        "securityDefinitions" => map! { "BearerToken" => token },
        "security" => vec![Value::Map(map! { "BearerToken" => Vec::new() })],
    }
}

/// Bytes of the hash that names show.
const HASH_BYTES: usize = 6;

/// FNV-1, 64 bits.
fn hash(text: &[u8]) -> [u8; 8] {
    let mix = |hash: u64, byte: &u8| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte);
    text.iter().fold(0xcbf2_9ce4_8422_2325, mix).to_be_bytes()
}

/// A parameter as it stands in the document; the hash is of this very order.
fn parameter(one: &Parameter) -> Map {
    let mut object = map! { "uniqueItems" => true, "type" => one.ty };
    if !one.description.is_empty() {
        object.set("description", one.description.as_str());
    }
    object.set("name", one.name.as_str());
    object.set("in", one.place);
    if one.required() {
        object.set("required", true);
    }
    object
}

/// Parameters that clients look for where they are used, or that name a kind, stand there.
fn is_shared(one: &Parameter) -> bool {
    one.name != "name" && !(one.place == "query" && matches!(one.name.as_str(), "fieldValidation" | "dryRun"))
}

/// What grows while paths are written.
struct Writer<'w> {
    schemas: Schemas<'w>,
    parameters: BTreeMap<String, Map>,
}

impl Writer<'_> {
    fn path(&mut self, mut path: Path) -> Map {
        let common = path.take_common();
        let mut item = Map::new();
        for one in &path.operations {
            item.set(one.method, self.operation(one));
        }
        if !common.is_empty() {
            item.set("parameters", common.iter().map(|one| self.parameter(one)).collect::<Vec<_>>());
        }
        item
    }

    fn parameter(&mut self, one: &Parameter) -> Value {
        let object = parameter(one);
        if is_shared(one) { self.share(&one.name, object) } else { Value::Map(object) }
    }

    /// A reference to a parameter, which is kept under its name.
    fn share(&mut self, name: &str, object: Map) -> Value {
        let object = Value::Map(object);
        let mut text = Vec::new();
        api::json::encode_value(&mut text, &object);
        let name = format!("{name}-{}", URL_SAFE.encode(&hash(&text)[..HASH_BYTES]));
        let reference = map! { "$ref" => format!("#/parameters/{name}") };
        if let Value::Map(object) = object {
            self.parameters.insert(name, object);
        }
        Value::Map(reference)
    }

    fn body(&mut self, body: &Body) -> Option<Value> {
        let mut object = map! { "name" => "body", "in" => "body" };
        if matches!(body, Body::Required(_)) {
            object.set("required", true);
        }
        let schema = body.schema()?;
        object.set("schema", self.schemas.reference(schema));
        Some(match schema.starts_with("io.k8s.apimachinery") {
            true => self.share("body", object),
            false => Value::Map(object),
        })
    }

    fn operation(&mut self, one: &Operation) -> Map {
        let texts = |list: &[&'static str]| list.iter().map(|text| Value::from(*text)).collect::<Vec<_>>();
        let mut object = map! {
            "description" => one.description.as_str(),
            "produces" => texts(one.produces),
            "schemes" => texts(&["https"]),
            "tags" => vec![Value::from(one.tag.as_str())],
            "operationId" => one.id.as_str(),
        };
        if !one.consumes.is_empty() {
            object.set("consumes", texts(one.consumes));
        }
        let mut parameters: Vec<Value> = self.body(&one.body).into_iter().collect();
        parameters.extend(one.parameters.iter().map(|one| self.parameter(one)));
        if !parameters.is_empty() {
            object.set("parameters", parameters);
        }
        let schema = match &one.answer {
            Answer::Object(name) => self.schemas.reference(name),
            Answer::Text => map! { "type" => "string" },
        };
        let mut responses = Map::new();
        for code in one.codes {
            responses.set(code.to_string(), map! { "description" => reason(*code), "schema" => schema.clone() });
        }
        responses.set("401", map! { "description" => reason(401) });
        object.set("responses", responses);
        super::action(&mut object, one);
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_parameters_have_upstreams_names() {
        let words = Words::new();
        let schemas = Schemas::new(Dialect::V2, &words, Vec::new(), Given::new());
        let mut writer = Writer { schemas, parameters: BTreeMap::new() };
        let description = "object name and auth scope, such as for teams and projects".to_string();
        writer.parameter(&Parameter::path("namespace", description));
        writer.parameter(&Parameter::query("dryRun", "string", "x"));
        writer.body(&Body::Required("io.k8s.apimachinery.pkg.apis.meta.v1.Patch".into()));
        writer.body(&Body::Required("io.k8s.api.core.v1.Pod".into()));
        assert_eq!(writer.parameters.keys().collect::<Vec<_>>(), ["body-78PwaGsr", "namespace-vgWSWtn3"]);
    }
}
