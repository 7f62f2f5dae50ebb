//! What can be wrong with a field: every change of every field of an object, and of every field that its schema has
//! besides.
//!
//! Invariant: the list depends on the object and the schema alone; a seed chooses from it, see `corpus`.

use serde_json::{Value, json};

use super::path::Path;
use super::schema::{Schemas, Shape};

/// One field, changed.
#[derive(Clone, Debug)]
pub(super) struct Mutation {
    pub(super) path: Path,
    pub(super) name: String,
    new: New,
}

/// What the field becomes.
#[derive(Clone, Debug)]
enum New {
    Removed,
    Value(Value),
    /// A list of one item so many times, made only when it is sent.
    Times(Value, usize),
}

impl New {
    fn value(&self) -> Option<Value> {
        match self {
            New::Removed => None,
            New::Value(value) => Some(value.clone()),
            New::Times(item, times) => Some(vec![item.clone(); *times].into()),
        }
    }
}

impl Mutation {
    pub(super) fn apply(&self, object: &mut Value) {
        match self.new.value() {
            Some(value) => self.path.set(object, value),
            None => self.path.remove(object),
        }
    }

    /// The one operation of a JSON patch that does the same to an object like `base`.
    pub(super) fn json_patch(&self, base: &Value) -> Value {
        let path = self.path.pointer();
        match self.new.value() {
            None => json!({"op": "remove", "path": path}),
            Some(value) if self.path.get(base).is_some() => json!({"op": "replace", "path": path, "value": value}),
            Some(value) => json!({"op": "add", "path": path, "value": value}),
        }
    }
}

impl std::fmt::Display for Mutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.name)
    }
}

/// Every mutation of the object.
pub(super) fn all(schemas: &Schemas, schema: &Value, object: &Value) -> Vec<Mutation> {
    let mut walk = Walk { schemas, found: Vec::new() };
    walk.object(&Path::default(), schema, object);
    walk.found
}

struct Walk<'a> {
    schemas: &'a Schemas,
    found: Vec<Mutation>,
}

impl Walk<'_> {
    fn add(&mut self, path: &Path, name: impl Into<String>, new: New) {
        self.found.push(Mutation { path: path.clone(), name: name.into(), new });
    }

    fn set(&mut self, path: &Path, name: impl Into<String>, new: Value) {
        self.add(path, name, New::Value(new));
    }

    fn object(&mut self, path: &Path, schema: &Value, object: &Value) {
        self.set(&path.key("unknownField"), "unknown field", json!("x"));
        let schemas = self.schemas;
        for (name, field) in schemas.fields(schema) {
            // The server's own bookkeeping has sequences of its own.
            if name == "managedFields" {
                continue;
            }
            let path = path.key(name);
            match object.get(name) {
                Some(value) => self.present(&path, field, value),
                None => self.absent(&path, field),
            }
        }
        // Such as the values of a raw extension.
        let known = |name: &String| schemas.fields(schema).any(|(known, _)| known == name);
        for (name, value) in object.as_object().into_iter().flatten().filter(|(name, _)| !known(name)) {
            self.present(&path.key(name), &Value::Null, value);
        }
    }

    /// A field that the object has.
    fn present(&mut self, path: &Path, schema: &Value, value: &Value) {
        self.add(path, "absent", New::Removed);
        self.common(path, schema);
        self.values(path, schema, Some(value));
        match value {
            Value::Object(fields) if self.schemas.shape(schema) == Shape::Map => {
                let element = self.schemas.element(schema).cloned().unwrap_or_default();
                if let Some((key, value)) = fields.iter().next() {
                    self.present(&path.key(key), &element, value);
                }
            }
            Value::Object(_) => self.object(path, schema, value),
            Value::Array(items) => {
                let element = self.schemas.element(schema).cloned().unwrap_or_default();
                for (at, item) in items.iter().enumerate() {
                    // The others are most often like the first; what is special to them is worth the requests.
                    self.present(&path.at(at), &element, item);
                }
            }
            _ => {}
        }
    }

    /// A field that the schema has and the object has not.
    fn absent(&mut self, path: &Path, schema: &Value) {
        let example = self.schemas.example(schema);
        self.set(path, "set", example.clone());
        self.common(path, schema);
        self.values(path, schema, None);
        if let Value::Object(fields) = &example
            && self.schemas.shape(schema) == Shape::Object
        {
            for (name, field) in self.schemas.fields(schema).filter(|(name, _)| !fields.contains_key(*name)) {
                let mut with = example.clone();
                with[name] = self.schemas.example(field);
                self.found.push(Mutation {
                    path: path.clone(),
                    name: format!("set with {name}"),
                    new: New::Value(with),
                });
            }
        }
    }

    fn common(&mut self, path: &Path, schema: &Value) {
        self.set(path, "null", Value::Null);
        let wrong = match self.schemas.shape(schema) {
            Shape::Text | Shape::Time | Shape::Bytes => json!(7),
            Shape::Quantity | Shape::IntOrString | Shape::Boolean => json!([]),
            Shape::Integer | Shape::Number => json!("seven"),
            Shape::List => json!({"a": "b"}),
            Shape::Object | Shape::Map | Shape::Unknown => json!("text"),
        };
        self.set(path, "wrong type", wrong);
    }

    fn values(&mut self, path: &Path, schema: &Value, value: Option<&Value>) {
        match self.schemas.shape(schema) {
            Shape::Text => self.texts(path, schema, value),
            Shape::Time => self.each(path, &["", "yesterday", "2020-01-02", "2020-01-02T03:04:05.678901234+02:00"]),
            Shape::Bytes => self.each(path, &["", "?", "eA", "eA=="]),
            Shape::Quantity => self.quantities(path),
            Shape::IntOrString => self.amounts(path),
            Shape::Integer => self.integers(path),
            Shape::Number => self.all_of(path, &[json!(0), json!(-1), json!(1.5), json!(1e300)]),
            Shape::Boolean => self.all_of(path, &[json!(true), json!(false), json!("true")]),
            Shape::List => self.list(path, schema, value),
            Shape::Map => self.map(path, schema, value),
            Shape::Object => self.set(path, "empty", json!({})),
            Shape::Unknown => self.all_of(path, &[json!({}), json!(1), json!([])]),
        }
    }

    fn each(&mut self, path: &Path, texts: &[&str]) {
        for text in texts {
            self.set(path, format!("{text:?}"), json!(text));
        }
    }

    fn all_of(&mut self, path: &Path, values: &[Value]) {
        for value in values {
            self.set(path, value.to_string(), value.clone());
        }
    }

    fn texts(&mut self, path: &Path, schema: &Value, value: Option<&Value>) {
        self.each(path, &["", "Bad Value!", "UPPER", "a..b", "-x", "a/b", "x_y", "10.0.0.300", "http://["]);
        self.set(path, "64 letters", "a".repeat(64).into());
        self.set(path, "too long", "a".repeat(300).into());
        for choice in self.schemas.choices(schema) {
            self.set(path, format!("choice {choice}"), choice);
        }
        if let Some(text) = value.and_then(Value::as_str) {
            self.set(path, "other", format!("{text}x").into());
            self.set(path, "spaces around", format!(" {text} ").into());
        }
    }

    fn quantities(&mut self, path: &Path) {
        self.each(path, &["", "0", "-1", "1.5", "1.0005", "1e3", "1Ki", "1.5.5", "x", "12E400", "9223372036854775808"]);
        self.set(path, "7", json!(7));
    }

    fn amounts(&mut self, path: &Path) {
        self.each(path, &["", "50%", "150%", "-5%", "name", "Bad Name!", "1"]);
        self.all_of(path, &[json!(0), json!(-1), json!(1), json!(65536), json!(2_147_483_648_i64), json!(1.5)]);
    }

    fn integers(&mut self, path: &Path) {
        let sizes = [0, -1, 1, 2, 101, 1001, 65_536, 2_147_483_647, 2_147_483_648, i64::MAX];
        self.all_of(path, &sizes.map(|size| json!(size)));
        self.all_of(path, &[json!(9_223_372_036_854_775_808_u64), json!(1.5), json!(2.0)]);
    }

    fn list(&mut self, path: &Path, schema: &Value, value: Option<&Value>) {
        self.set(path, "empty", json!([]));
        self.set(path, "a null", json!([null]));
        let items = value.and_then(Value::as_array).cloned().unwrap_or_default();
        let first = match items.first() {
            Some(first) => first.clone(),
            None => self.schemas.example(self.schemas.element(schema).unwrap_or(&Value::Null)),
        };
        let mut twice = items.clone();
        twice.extend([first.clone(), first.clone()]);
        self.set(path, "an item twice", twice.into());
        self.add(path, "150 items", New::Times(first, 150));
        if items.len() > 1 {
            self.set(path, "reversed", items.into_iter().rev().collect());
        }
    }

    fn map(&mut self, path: &Path, schema: &Value, value: Option<&Value>) {
        self.set(path, "empty", json!({}));
        let base = value.cloned().unwrap_or_else(|| json!({}));
        let element = base.as_object().and_then(|fields| fields.values().next()).cloned();
        let element =
            element.unwrap_or_else(|| self.schemas.example(self.schemas.element(schema).unwrap_or(&Value::Null)));
        let keys = ["", "Bad Key!", "a/b/c", "example.com/ok", "UPPER", &"k".repeat(70), &"k".repeat(300)];
        for key in keys {
            let mut with = base.clone();
            with[key] = element.clone();
            let shown: String = key.chars().take(20).collect();
            self.set(path, format!("key {shown:?}"), with);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(schema: Value, object: Value) -> Vec<String> {
        let schemas = Schemas::new(json!({}));
        all(&schemas, &schema, &object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fields_of_the_object_and_of_the_schema_are_changed() {
        let schema = json!({"type": "object", "properties": {
            "on": {"type": "boolean"},
            "inner": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}},
        }});
        let found = names(schema, json!({"inner": {"b": "w"}}));
        for wanted in [
            "unknownField: unknown field",
            "on: set",
            "on: wrong type",
            "inner: absent",
            "inner.a: 2147483648",
            "inner.b: absent",
            "inner.b: \"Bad Value!\"",
            "inner.b: other",
        ] {
            assert!(found.iter().any(|name| name == wanted), "{wanted} in {found:?}");
        }
        assert!(!found.iter().any(|name| name == "on: absent"));
    }

    #[test]
    fn lists_get_duplicates_and_maps_bad_keys() {
        let schema = json!({"type": "object", "properties": {
            "l": {"type": "array", "items": {"type": "string"}},
            "m": {"type": "object", "additionalProperties": {"type": "string"}},
        }});
        let schemas = Schemas::new(json!({}));
        let object = json!({"l": ["a", "b"], "m": {"k": "v"}});
        let found = all(&schemas, &schema, &object);
        let made = |name: &str| {
            let mut changed = object.clone();
            found.iter().find(|mutation| mutation.to_string() == name).unwrap().apply(&mut changed);
            changed
        };
        assert_eq!(made("l: an item twice")["l"], json!(["a", "b", "a", "a"]));
        assert_eq!(made("m: key \"Bad Key!\"")["m"]["Bad Key!"], json!("v"));
        assert_eq!(made("l[1]: absent")["l"], json!(["a"]));
    }

    #[test]
    fn a_mutation_is_a_json_patch_too() {
        let mutation = Mutation { path: Path::default().key("a"), name: String::new(), new: New::Value(json!(1)) };
        assert_eq!(mutation.json_patch(&json!({"a": 0}))["op"], "replace");
        assert_eq!(mutation.json_patch(&json!({}))["op"], "add");
    }
}
