//! The OpenAPI v2 document of everything (k8s.io/kube-openapi/pkg/builder).
//!
//! Parameters stand where they are used; upstream shares some by name, to the same effect.

use api::map;
use api::value::{Map, Value};

use super::operation::{Answer, Body, Operation, Parameter, Path, reason};
use super::schema::{Dialect, Given, Schemas};
use super::words::Words;

pub(super) fn document(
    words: &Words,
    paths: Vec<Path>,
    versions: Vec<(&'static str, &'static str)>,
    given: Given,
) -> Map {
    let mut schemas = Schemas::new(Dialect::V2, words, versions, given);
    let rendered: Map =
        paths.into_iter().map(|p| (p.path.as_str().into(), Value::Map(path(&mut schemas, p)))).collect();
    let token = map! { "description" => "Bearer Token authentication", "type" => "apiKey", "name" => "authorization", "in" => "header" };
    map! {
        "swagger" => "2.0",
        "info" => super::info(),
        "paths" => rendered,
        "definitions" => schemas.finish(),
        "securityDefinitions" => map! { "BearerToken" => token },
        "security" => vec![Value::Map(map! { "BearerToken" => Vec::new() })],
    }
}

fn path(schemas: &mut Schemas<'_>, mut path: Path) -> Map {
    let common = path.take_common();
    let mut item = Map::new();
    for one in &path.operations {
        item.set(one.method, operation(schemas, one));
    }
    if !common.is_empty() {
        item.set("parameters", common.iter().map(|one| Value::Map(parameter(one))).collect::<Vec<_>>());
    }
    item
}

fn parameter(one: &Parameter) -> Map {
    let mut object = map! { "uniqueItems" => true, "type" => one.ty, "name" => one.name.as_str(), "in" => one.place };
    if !one.description.is_empty() {
        object.set("description", one.description.as_str());
    }
    if one.required() {
        object.set("required", true);
    }
    object
}

fn body(schemas: &mut Schemas<'_>, body: &Body) -> Option<Map> {
    let mut object = map! { "name" => "body", "in" => "body", "schema" => schemas.reference(body.schema()?) };
    if matches!(body, Body::Required(_)) {
        object.set("required", true);
    }
    Some(object)
}

fn operation(schemas: &mut Schemas<'_>, one: &Operation) -> Map {
    let texts = |list: &[&'static str]| list.iter().map(|text| Value::from(*text)).collect::<Vec<_>>();
    let mut object = map! {
        "description" => one.description.as_str(),
        "consumes" => texts(one.consumes),
        "produces" => texts(one.produces),
        "schemes" => texts(&["https"]),
        "tags" => vec![Value::from(one.tag.as_str())],
        "operationId" => one.id.as_str(),
    };
    let body = body(schemas, &one.body).into_iter();
    let parameters: Vec<Value> = body.chain(one.parameters.iter().map(parameter)).map(Value::Map).collect();
    if !parameters.is_empty() {
        object.set("parameters", parameters);
    }
    let schema = match &one.answer {
        Answer::Object(name) => schemas.reference(name),
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
