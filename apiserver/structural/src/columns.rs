//! Printer columns and selectable fields: their values in an object
//! (k8s.io/apiextensions-apiserver/pkg/registry/customresource/{tableconvertor/tableconvertor,strategy}.go@v0.37.2).
//!
//! Non-goal: the column of names, which every table begins with.

use api::time;
use api::value::{Map, Value};

use crate::jsonpath::Path;

/// One column, as a table's definition has it.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub ty: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    path: Path,
}

/// The columns of a version, or one with the age (described by `age`). With the error of the first that cannot be
/// parsed come those before it.
pub fn of(version: &Map, age: &str) -> (Vec<Column>, Option<String>) {
    let default = api::map! {
        "name" => "Age", "type" => "date", "description" => age, "jsonPath" => ".metadata.creationTimestamp",
    };
    let own: Vec<&Map> = version.maps("additionalPrinterColumns").collect();
    let mut columns = Vec::new();
    for map in if own.is_empty() { vec![&default] } else { own } {
        let text = map.str("jsonPath");
        let Ok(path) = Path::parse(text) else {
            return (columns, Some(format!("unrecognized column definition {}", api::field::go_quote(text))));
        };
        let description = match map.str("description") {
            "" => format!("Custom resource definition column (in JSONPath format): {text}"),
            words => words.into(),
        };
        columns.push(Column {
            name: map.str("name").into(),
            ty: map.str("type").into(),
            format: map.str("format").into(),
            description,
            priority: map.i64("priority").unwrap_or(0),
            path,
        });
    }
    (columns, None)
}

impl Column {
    /// The cell of an object. `since` tells how long ago a time was, as people say it.
    pub fn cell(&self, object: &Value, since: impl Fn(&str) -> String) -> Value {
        match self.path.first(object) {
            Ok(Some(value)) if self.ty == "string" => Value::from(printed(&value)),
            Ok(Some(value)) => self.converted(value, since),
            _ => Value::Null,
        }
    }

    fn converted(&self, value: Value, since: impl Fn(&str) -> String) -> Value {
        match (self.ty.as_str(), value) {
            ("integer", value @ Value::Int(_)) => value,
            ("integer", Value::Float(number)) => Value::Int(number as i64),
            ("number", Value::Int(number)) => Value::Float(number as f64),
            ("number", value @ Value::Float(_)) => value,
            ("boolean", value @ Value::Bool(_)) => value,
            ("date", Value::String(text)) => Value::from(match text.as_str() {
                "" | "null" => "<unknown>".into(),
                text if time::to_unix(text).is_none() => "<invalid>".into(),
                text => since(text),
            }),
            _ => Value::Null,
        }
    }
}

/// How a column of text shows a value.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::List(_) | Value::Map(_) => crate::go::json(value),
        other => crate::go::print(other),
    }
}

/// The fields of a version that selectors can name, in order: `spec.color`.
pub fn selectable(version: &Map) -> Result<Vec<(String, Path)>, String> {
    let fields = version.maps("selectableFields").map(|map| map.str("jsonPath"));
    let parsed = fields.map(|text| Ok((text.strip_prefix('.').unwrap_or(text).to_owned(), Path::parse(text)?)));
    parsed.collect::<Result<_, String>>().map_err(|error| format!("unexpected error parsing jsonPath: {error}"))
}

/// The value of a selectable field; "" when it is not there.
pub fn selected(path: &Path, object: &Value) -> Result<String, String> {
    let found = path.find(object).map_err(|error| format!("unexpected error finding value with jsonPath: {error}"))?;
    let Some(values) = found.first().filter(|values| !values.is_empty()) else { return Ok(String::new()) };
    if found.len() > 1 || values.len() > 1 {
        return Err("unexpectedly received more than one JSON path result".into());
    }
    Ok(if values[0].is_null() { String::new() } else { crate::go::print(&values[0]) })
}
