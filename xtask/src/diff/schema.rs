//! Published OpenAPI v3 schemas, as far as a generator of requests asks them.

use serde_json::{Map, Value, json};

/// How deep an invented value goes.
const DEPTH: usize = 6;

/// The schemas of one document, by name.
#[derive(Debug)]
pub(super) struct Schemas {
    by_name: Map<String, Value>,
}

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Time,
    Bytes,
    Quantity,
    IntOrString,
    Integer,
    Number,
    Boolean,
    List,
    Object,
    Map,
    /// The document does not say.
    Unknown,
}

impl Schemas {
    pub(super) fn new(mut document: Value) -> Self {
        let by_name = match document["components"]["schemas"].take() {
            Value::Object(schemas) => schemas,
            _ => Map::new(),
        };
        Schemas { by_name }
    }

    /// The schema of a kind.
    pub(super) fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Value> {
        let named = json!({"group": group, "version": version, "kind": kind});
        let is = |schema: &&Value| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|names| names.contains(&named))
        };
        self.by_name.values().find(is)
    }

    /// The schema that this one refers to, or itself.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match reference(schema).and_then(|name| self.by_name.get(name)) {
            Some(target) => target,
            None => schema,
        }
    }

    pub(super) fn shape(&self, schema: &Value) -> Shape {
        if reference(schema).is_some_and(|name| name.ends_with("resource.Quantity")) {
            return Shape::Quantity;
        }
        let schema = self.resolve(schema);
        match (schema["type"].as_str().unwrap_or_default(), schema["format"].as_str().unwrap_or_default()) {
            (_, "int-or-string") => Shape::IntOrString,
            ("string", "date-time") => Shape::Time,
            ("string", "byte") => Shape::Bytes,
            ("string", _) => Shape::Text,
            ("integer", _) => Shape::Integer,
            ("number", _) => Shape::Number,
            ("boolean", _) => Shape::Boolean,
            ("array", _) => Shape::List,
            ("object", _) if schema["additionalProperties"].is_object() => Shape::Map,
            ("object", _) => Shape::Object,
            _ if schema["properties"].is_object() => Shape::Object,
            _ => Shape::Unknown,
        }
    }

    /// The fields of an object with their schemas.
    pub(super) fn fields<'a>(&'a self, schema: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.resolve(schema)["properties"].as_object().into_iter().flatten()
    }

    /// The schema of a list's items or a map's values.
    pub(super) fn element<'a>(&'a self, schema: &'a Value) -> Option<&'a Value> {
        let schema = self.resolve(schema);
        [&schema["items"], &schema["additionalProperties"]].into_iter().find(|element| element.is_object())
    }

    pub(super) fn choices(&self, schema: &Value) -> Vec<Value> {
        self.resolve(schema)["enum"].as_array().cloned().unwrap_or_default()
    }

    /// A value that the schema takes, with the fields that it requires.
    pub(super) fn example(&self, schema: &Value) -> Value {
        self.invent(schema, DEPTH)
    }

    fn invent(&self, schema: &Value, depth: usize) -> Value {
        if let Some(first) = self.choices(schema).into_iter().next() {
            return first;
        }
        match self.shape(schema) {
            Shape::Text => json!("x"),
            Shape::Time => json!("2020-01-02T03:04:05Z"),
            Shape::Bytes => json!("eA=="),
            Shape::Quantity => json!("1"),
            Shape::IntOrString | Shape::Integer | Shape::Number => json!(1),
            Shape::Boolean => json!(true),
            Shape::Unknown => json!({}),
            Shape::List | Shape::Map | Shape::Object if depth == 0 => Value::Null,
            Shape::List => json!([self.invent(self.element(schema).unwrap_or(&Value::Null), depth - 1)]),
            Shape::Map => json!({"k": self.invent(self.element(schema).unwrap_or(&Value::Null), depth - 1)}),
            Shape::Object => self.invent_object(schema, depth),
        }
    }

    fn invent_object(&self, schema: &Value, depth: usize) -> Value {
        let required = self.resolve(schema)["required"].as_array().cloned().unwrap_or_default();
        let wanted = self.fields(schema).filter(|(name, _)| required.iter().any(|required| required == name.as_str()));
        Value::Object(wanted.map(|(name, schema)| (name.clone(), self.invent(schema, depth - 1))).collect())
    }
}

/// The name that a schema refers to; a default beside it makes it an `allOf` of one.
fn reference(schema: &Value) -> Option<&str> {
    let target = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str())?;
    target.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_followed_and_examples_have_what_is_required() {
        let schemas = Schemas::new(json!({"components": {"schemas": {
            "a.Outer": {"type": "object", "required": ["inner"], "properties": {
                "inner": {"allOf": [{"$ref": "#/components/schemas/a.Inner"}], "default": {}},
                "extra": {"type": "string"},
            }},
            "a.Inner": {"type": "object", "required": ["amount", "items"], "properties": {
                "amount": {"$ref": "#/components/schemas/x.resource.Quantity"},
                "items": {"type": "array", "items": {"type": "string", "enum": ["P", "Q"]}},
            }},
            "x.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        }}}));
        let outer = json!({"$ref": "#/components/schemas/a.Outer"});
        assert_eq!(schemas.example(&outer), json!({"inner": {"amount": "1", "items": ["P"]}}));
        assert_eq!(schemas.fields(&outer).count(), 2);
    }
}
