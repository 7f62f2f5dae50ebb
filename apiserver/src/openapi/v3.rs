//! OpenAPI v3 documents (k8s.io/kube-openapi/pkg/builder3).

use api::map;
use api::value::{Map, Value};

use super::operation::{Answer, Operation, Parameter, Path, reason};
use super::schema::{Dialect, Given, Schemas};
use super::words::Words;

/// The document of some paths.
pub(super) fn document(
    words: &Words,
    paths: Vec<Path>,
    versions: Vec<(&'static str, &'static str)>,
    given: Given,
) -> Map {
    let mut schemas = Schemas::new(Dialect::V3, words, versions, given);
    let rendered: Map =
        paths.into_iter().map(|p| (p.path.as_str().into(), Value::Map(path(&mut schemas, p)))).collect();
    let mut components = Map::new();
    let schemas = schemas.finish();
    if !schemas.is_empty() {
        components.set("schemas", schemas);
    }
    let token = map! { "type" => "apiKey", "description" => "Bearer Token authentication", "name" => "authorization", "in" => "header" };
    components.set("securitySchemes", map! { "BearerToken" => token });
    map! { "openapi" => "3.0.0", "info" => super::info(), "paths" => rendered, "components" => components }
}

fn path(schemas: &mut Schemas<'_>, mut path: Path) -> Map {
    let common = path.take_common();
    let mut item = Map::new();
    for one in &path.operations {
        item.set(one.method, operation(schemas, one));
    }
    if !common.is_empty() {
        item.set("parameters", parameters(&common));
    }
    item
}

fn parameters(list: &[Parameter]) -> Vec<Value> {
    list.iter().map(|one| Value::Map(parameter(one))).collect()
}

fn parameter(one: &Parameter) -> Map {
    let mut object = map! { "name" => one.name.as_str(), "in" => one.place };
    if !one.description.is_empty() {
        object.set("description", one.description.as_str());
    }
    if one.required() {
        object.set("required", true);
    }
    object.set("schema", map! { "type" => one.ty, "uniqueItems" => true });
    object
}

fn operation(schemas: &mut Schemas<'_>, one: &Operation) -> Map {
    let mut object = map! {
        "tags" => vec![Value::from(one.tag.as_str())],
        "description" => one.description.as_str(),
        "operationId" => one.id.as_str(),
    };
    if !one.parameters.is_empty() {
        object.set("parameters", parameters(&one.parameters));
    }
    if let Some(name) = one.body.schema() {
        let mut body = map! { "content" => content(one.consumes, &schemas.reference(name)) };
        if matches!(one.body, super::operation::Body::Required(_)) {
            body.set("required", true);
        }
        object.set("requestBody", body);
    }
    let schema = match &one.answer {
        Answer::Object(name) => schemas.reference(name),
        Answer::Text => map! { "type" => "string" },
    };
    let mut responses = Map::new();
    for code in one.codes {
        responses.set(
            code.to_string(),
            map! { "description" => reason(*code), "content" => content(one.produces, &schema) },
        );
    }
    responses.set("401", map! { "description" => reason(401) });
    object.set("responses", responses);
    super::action(&mut object, one);
    object
}

fn content(media_types: &[&str], schema: &Map) -> Map {
    let mut sorted = media_types.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().map(|name| (name.into(), Value::Map(map! { "schema" => schema.clone() }))).collect()
}
