//! OpenAPI v2 documents as v3, for servers that publish only the former (k8s.io/kube-openapi/pkg/openapiconv).
//!
//! Invariant: pure. What v3 says in other places than v2 goes there; what it does not have is left out.

use api::map;
use api::value::{Map, Str, Value};

const V2_SCHEMAS: &str = "#/definitions/";
const V3_SCHEMAS: &str = "#/components/schemas/";
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// The v3 document of a v2 document.
pub(super) fn v3(document: &Map) -> Map {
    let mut converted = map! { "openapi" => "3.0.0" };
    for name in ["info", "externalDocs"] {
        copy(document, name, &mut converted);
    }
    let paths = document.map("paths").unwrap_or(Map::EMPTY).iter();
    let paths: Map = paths.map(|(name, item)| (name.clone(), each(item, path))).collect();
    converted.set("paths", paths);
    converted.set("components", components(document));
    converted
}

fn copy(from: &Map, name: &'static str, to: &mut Map) {
    if let Some(value) = from.get(name) {
        to.set(name, value.clone());
    }
}

fn extensions(from: &Map, to: &mut Map) {
    for (name, value) in from.iter().filter(|(name, _)| name.starts_with("x-")) {
        to.set(name.clone(), value.clone());
    }
}

fn each(value: &Value, convert: impl Fn(&Map) -> Map) -> Value {
    value.as_map().map_or_else(|| value.clone(), |map| Value::Map(convert(map)))
}

fn entries(map: &Map, convert: impl Fn(&Map) -> Map) -> Map {
    map.iter().map(|(name, value)| (name.clone(), each(value, &convert))).collect()
}

fn components(document: &Map) -> Map {
    let mut components = Map::new();
    if let Some(definitions) = document.map("definitions") {
        components.set("schemas", entries(definitions, schema));
    }
    if let Some(responses) = document.map("responses") {
        components.set("responses", entries(responses, |one| response(one, document.list("produces"))));
    }
    if let Some(security) = document.map("securityDefinitions") {
        components.set("securitySchemes", entries(security, security_scheme));
    }
    components
}

fn security_scheme(scheme: &Map) -> Map {
    let mut converted = Map::new();
    for name in ["type", "description", "name", "in"] {
        copy(scheme, name, &mut converted);
    }
    if !scheme.str("flow").is_empty() {
        let mut flow = Map::new();
        for name in ["authorizationUrl", "tokenUrl", "scopes"] {
            copy(scheme, name, &mut flow);
        }
        converted.set("flows", map! { scheme.str("flow").to_owned() => flow });
    }
    extensions(scheme, &mut converted);
    converted
}

/// A schema whose reference has siblings refers through `allOf` (builder3/util: WrapRefs).
fn schema(of: &Map) -> Map {
    let converted = of.iter().map(|(name, value)| {
        let value = match name.as_str() {
            "properties" => each(value, |properties| entries(properties, schema)),
            "items" | "additionalProperties" | "additionalItems" => match value {
                Value::List(list) => Value::List(list.iter().map(|one| each(one, schema)).collect()),
                one => each(one, schema),
            },
            "$ref" => reference(value, V2_SCHEMAS, V3_SCHEMAS),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    let mut converted: Map = converted.collect();
    if converted.len() > 1
        && let Some(reference) = converted.remove("$ref")
    {
        converted.set("allOf", vec![Value::Map(map! { "$ref" => reference })]);
    }
    converted
}

fn reference(value: &Value, old: &str, new: &str) -> Value {
    match value.as_str().and_then(|text| text.strip_prefix(old)) {
        Some(name) => format!("{new}{name}").into(),
        None => value.clone(),
    }
}

fn path(item: &Map) -> Map {
    let mut converted = Map::new();
    copy(item, "$ref", &mut converted);
    for method in METHODS {
        if let Some(of) = item.map(method) {
            converted.set(method, operation(of));
        }
    }
    let parameters: Vec<Value> = item.maps("parameters").map(|one| Value::Map(parameter(one))).collect();
    if !parameters.is_empty() {
        converted.set("parameters", parameters);
    }
    extensions(item, &mut converted);
    converted
}

fn operation(of: &Map) -> Map {
    let mut converted = Map::new();
    for name in ["tags", "summary", "description", "externalDocs", "operationId"] {
        copy(of, name, &mut converted);
    }
    let mut parameters = Vec::new();
    for one in of.maps("parameters") {
        match one.map("schema").filter(|_| one.str("name") == "body") {
            Some(body) => converted.set("requestBody", map! { "content" => content(of.list("consumes"), body) }),
            None => parameters.push(Value::Map(parameter(one))),
        }
    }
    if !parameters.is_empty() {
        converted.set("parameters", parameters);
    }
    let responses = of.map("responses").unwrap_or(Map::EMPTY);
    converted.set("responses", entries(responses, |one| response(one, of.list("produces"))));
    copy(of, "deprecated", &mut converted);
    extensions(of, &mut converted);
    converted
}

fn content(media_types: &[Value], of: &Map) -> Map {
    let names = media_types.iter().filter_map(Value::as_str);
    names.map(|name| (Str::from(name), Value::Map(map! { "schema" => schema(of) }))).collect()
}

fn response(of: &Map, produces: &[Value]) -> Map {
    let mut converted = Map::new();
    if let Some(value) = of.get("$ref") {
        converted.set("$ref", reference(value, "#/responses/", "#/components/responses/"));
    }
    copy(of, "description", &mut converted);
    if let Some(schema) = of.map("schema").filter(|_| !produces.is_empty()) {
        converted.set("content", content(produces, schema));
    }
    extensions(of, &mut converted);
    converted
}

fn parameter(of: &Map) -> Map {
    let mut converted = Map::new();
    if let Some(value) = of.get("$ref") {
        converted.set("$ref", reference(value, "#/parameters/", "#/components/parameters/"));
    }
    for name in ["name", "in", "description", "required", "allowEmptyValue"] {
        copy(of, name, &mut converted);
    }
    let own = of.map("schema").map(schema).unwrap_or_else(|| {
        let mut simple = Map::new();
        for name in ["type", "format", "uniqueItems"] {
            copy(of, name, &mut simple);
        }
        simple
    });
    converted.set("schema", own);
    extensions(of, &mut converted);
    converted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::object;

    #[test]
    fn what_v3_has_elsewhere() {
        let v2 = r##"{"swagger":"2.0","info":{"title":"t","version":"1"},"produces":["a/b"],
            "paths":{"/x":{"post":{"operationId":"o","consumes":["*/*"],"produces":["application/json"],
              "parameters":[{"name":"body","in":"body","schema":{"$ref":"#/definitions/A"}},
                {"name":"n","in":"path","required":true,"type":"string"}],
              "responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/A"}}},"x-kubernetes-action":"post"}}},
            "definitions":{"A":{"type":"object","properties":{"b":{"description":"d","$ref":"#/definitions/B"}}},"B":{}},
            "securityDefinitions":{"T":{"type":"apiKey","name":"authorization","in":"header"}}}"##;
        let v3_text = r##"{"openapi":"3.0.0","info":{"title":"t","version":"1"},
            "paths":{"/x":{"post":{"operationId":"o",
              "requestBody":{"content":{"*/*":{"schema":{"$ref":"#/components/schemas/A"}}}},
              "parameters":[{"name":"n","in":"path","required":true,"schema":{"type":"string"}}],
              "responses":{"200":{"description":"OK","content":{"application/json":{"schema":{"$ref":"#/components/schemas/A"}}}}},
              "x-kubernetes-action":"post"}}},
            "components":{"schemas":{"A":{"type":"object","properties":{"b":{"description":"d",
                "allOf":[{"$ref":"#/components/schemas/B"}]}}},"B":{}},
              "securitySchemes":{"T":{"type":"apiKey","name":"authorization","in":"header"}}}}"##;
        assert_eq!(v3(&object(v2)), object(v3_text));
    }
}
