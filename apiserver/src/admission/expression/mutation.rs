//! What expressions that mutate make: `Object{}` with the types below it, and `JSONPatch{}`
//! (k8s.io/apiserver/pkg/cel/mutation@v0.37.2).
//!
//! Invariant: any field may be set on an object; what its parts are called is checked when it is used, not when it is
//! compiled. Non-goal: applying what was made.

use std::any::Any;
use std::sync::Arc;

use api::value::{Map as ApiMap, Value as ApiValue};
use base64::Engine;
use cel::types::Type;
use cel::value::{Fault, Map, Object, Outcome, Value};

pub(crate) const OBJECT_TYPE: &str = "Object";
pub(crate) const JSON_PATCH_TYPE: &str = "JSONPatch";
/// Whole numbers that a number of JSON holds exactly.
const SAFE_INTEGER_MAX: i64 = (1 << 53) - 1;

pub(super) fn has_type(name: &str) -> bool {
    name == JSON_PATCH_TYPE || name == OBJECT_TYPE || name.strip_prefix(OBJECT_TYPE).is_some_and(|n| n.starts_with('.'))
}

pub(super) fn field(object: &str, field: &str) -> Type {
    match (object, field) {
        (JSON_PATCH_TYPE, "op" | "path" | "from") => Type::String,
        _ => Type::Dyn,
    }
}

pub(super) fn make(name: &str, fields: Vec<(Arc<str>, Value)>) -> Outcome {
    if name == JSON_PATCH_TYPE {
        return JsonPatch::of(fields).map(Value::object);
    }
    Ok(Value::object(Made { name: name.into(), fields }))
}

/// An object that an expression made.
#[derive(Debug)]
pub(crate) struct Made {
    name: Arc<str>,
    fields: Vec<(Arc<str>, Value)>,
}

/// One operation that an expression made.
#[derive(Debug, Default)]
pub(crate) struct JsonPatch {
    pub(crate) op: String,
    pub(crate) path: String,
    pub(crate) from: String,
    pub(crate) value: Option<Value>,
}

/// Go's `%T` of what a value holds.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Uint(_) => "uint64",
        Value::Double(_) => "float64",
        Value::Bytes(_) => "[]uint8",
        Value::List(_) => "[]ref.Val",
        Value::Map(_) => "map[ref.Val]ref.Val",
        Value::Null => "structpb.NullValue",
        _ => "ref.Val",
    }
}

impl JsonPatch {
    fn of(fields: Vec<(Arc<str>, Value)>) -> Result<JsonPatch, Fault> {
        let mut patch = JsonPatch::default();
        for (name, value) in fields {
            let text = match name.as_ref() {
                "op" => &mut patch.op,
                "path" => &mut patch.path,
                "from" => &mut patch.from,
                "value" => {
                    patch.value = Some(value);
                    continue;
                }
                _ => return Err(Fault::new(format!("unexpected JSONPatchType field: {name}"))),
            };
            match value {
                Value::String(given) => *text = given.as_ref().to_owned(),
                other => {
                    let of = go_type(&other);
                    return Err(Fault::new(format!("unexpected type {of} for JSONPatchType '{name}' field")));
                }
            }
        }
        Ok(patch)
    }

    /// The operation in JSON.
    ///
    /// # Errors
    /// A value that JSON has no form of, or parts of objects that are called wrong.
    pub(crate) fn operation(&self) -> Result<ApiMap, String> {
        let mut operation = ApiMap::new();
        operation.set("op", self.op.as_str());
        operation.set("path", self.path.as_str());
        if !self.from.is_empty() {
            operation.set("from", self.from.as_str());
        }
        if let Some(value) = &self.value {
            if let Some(made) = value.downcast::<Made>() {
                made.check_names().map_err(|why| format!("type mismatch: {why}"))?;
            }
            let failed =
                |why| format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}");
            operation.set("value", plain(value, Form::Json).map_err(failed)?);
        }
        Ok(operation)
    }
}

impl Object for JsonPatch {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object(JSON_PATCH_TYPE)
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        let Some(other) = other.downcast::<JsonPatch>() else { return Ok(false) };
        if (&self.op, &self.path, &self.from) != (&other.op, &other.path, &other.from) {
            return Ok(false);
        }
        match (&self.value, &other.value) {
            (None, None) => Ok(true),
            (Some(own), Some(other)) => own.equals(other),
            _ => Ok(false),
        }
    }

    fn field(&self, name: &str) -> Option<Outcome> {
        let text = match name {
            "op" => &self.op,
            "path" => &self.path,
            "from" => &self.from,
            "value" => return Some(Ok(self.value.clone().unwrap_or(Value::Null))),
            _ => return None,
        };
        Some(Ok(Value::from(text.as_str())))
    }

    fn has_field(&self, name: &str) -> Option<bool> {
        match name {
            "op" => Some(!self.op.is_empty()),
            "path" => Some(!self.path.is_empty()),
            "from" => Some(!self.from.is_empty()),
            "value" => Some(self.value.is_some()),
            _ => None,
        }
    }
}

impl Object for Made {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object(&self.name)
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        let Some(other) = other.downcast::<Made>() else { return Ok(false) };
        if self.name != other.name || self.fields.len() != other.fields.len() {
            return Ok(false);
        }
        for (name, value) in &self.fields {
            match other.fields.iter().find(|(own, _)| own == name) {
                Some((_, other)) if value.equals(other)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl Made {
    /// As the object it stands for.
    ///
    /// # Errors
    /// A value in it that JSON has no form of.
    pub(crate) fn to_map(&self) -> Result<ApiMap, String> {
        self.in_form(Form::Native)
    }

    fn in_form(&self, form: Form) -> Result<ApiMap, String> {
        let mut map = ApiMap::new();
        for (name, value) in &self.fields {
            let value = plain(value, form).map_err(|why| format!("fail to convert field {name:?}: {why}"))?;
            map.set(name.as_ref(), value);
        }
        Ok(map)
    }

    /// Every object in it is to be called after the way to it: `Object.spec.template`.
    pub(crate) fn check_names(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        self.walk(&self.name, &mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn walk(&self, path: &str, wrong: &mut Vec<String>) {
        if path != self.name.as_ref() {
            wrong.push(format!(
                "unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                self.name
            ));
        }
        for (name, value) in &self.fields {
            walk(value, &format!("{path}.{name}"), wrong);
        }
    }
}

/// Lists and maps have no names: what is in them is called after the field that holds them.
fn walk(value: &Value, path: &str, wrong: &mut Vec<String>) {
    match value {
        Value::List(list) => list.iter().flatten().for_each(|element| walk(&element, path, wrong)),
        Value::Map(map) => values(map).iter().flatten().for_each(|value| walk(value, path, wrong)),
        other => {
            if let Some(made) = other.downcast::<Made>() {
                made.walk(path, wrong);
            }
        }
    }
}

fn values(map: &Map) -> Vec<Outcome> {
    map.keys().iter().filter_map(|key| map.find(key)).collect()
}

/// What a value is written for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A field of an object.
    Native,
    /// A value of protobuf's JSON, which has no large whole numbers.
    Json,
}

fn plain(value: &Value, form: Form) -> Result<ApiValue, String> {
    Ok(match value {
        Value::Null => ApiValue::Null,
        Value::Bool(flag) => ApiValue::Bool(*flag),
        Value::Int(number) if form == Form::Json && number.abs() > SAFE_INTEGER_MAX => {
            number.to_string().as_str().into()
        }
        Value::Int(number) => ApiValue::Int(*number),
        Value::Uint(number) => match i64::try_from(*number) {
            Ok(number) if form == Form::Native || number <= SAFE_INTEGER_MAX => ApiValue::Int(number),
            _ => number.to_string().as_str().into(),
        },
        Value::Double(number) => whole(*number),
        Value::String(text) => text.as_ref().into(),
        Value::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).as_str().into(),
        Value::Duration(_) | Value::Timestamp(_) => value.to_string().as_str().into(),
        Value::List(list) => {
            let elements = list.iter().map(|element| plain(&element.map_err(|fault| fault.to_string())?, form));
            ApiValue::List(elements.collect::<Result<_, String>>()?)
        }
        Value::Map(map) => ApiValue::Map(entries(map, form)?),
        other => match other.downcast::<Made>() {
            Some(made) => ApiValue::Map(made.in_form(form)?),
            None => return Err(format!("unsupported type: {}", other.cel_type())),
        },
    })
}

/// JSON does not tell whole numbers of either type apart.
fn whole(number: f64) -> ApiValue {
    let exact = number.fract() == 0.0 && number.abs() <= SAFE_INTEGER_MAX as f64;
    if exact { ApiValue::Int(number as i64) } else { ApiValue::Float(number) }
}

fn entries(map: &Map, form: Form) -> Result<ApiMap, String> {
    let mut out = ApiMap::new();
    for key in map.keys() {
        let Value::String(name) = &key else {
            return Err(format!("map key {:?} is of type {}, not string", key.to_string(), go_type(&key)));
        };
        let value = map.find(&key).transpose().map_err(|fault| fault.to_string())?.unwrap_or(Value::Null);
        out.set(name.as_ref(), plain(&value, form)?);
    }
    Ok(out)
}
