//! Rows of recorded outcomes, and values as cel-go's `types.Format` writes them.

use cel::value::{Key, Value};
use serde_json::Value as Json;

/// Everything that came of one expression.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) env: String,
    pub(crate) expr: String,
    pub(crate) issues: String,
    pub(crate) program: String,
    pub(crate) of: String,
    pub(crate) value: String,
    pub(crate) error: String,
    pub(crate) cost: Option<u64>,
    pub(crate) estimate: Option<(u64, u64)>,
    /// Whether what came of it depends on the random order of Go's maps.
    pub(crate) varies: bool,
}

impl Row {
    pub(crate) fn read(row: &Json) -> Row {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let estimate = row["est"].as_array().map(|range| (range[0].as_u64().unwrap(), range[1].as_u64().unwrap()));
        Row {
            env: text("env"),
            expr: text("expr"),
            issues: text("issues"),
            program: text("program"),
            of: text("type"),
            value: text("value"),
            error: text("error"),
            cost: row["cost"].as_u64(),
            estimate,
            varies: row["varies"] == true,
        }
    }
}

pub(crate) fn rows(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The budget of one call.
pub(crate) const BUDGET: u64 = 1_000_000;

/// What comes of an expression.
pub(crate) fn run(env: &cel::Env, values: &dyn cel::Activation, sizes: &dyn cel::SizeEstimator, expr: &str) -> Row {
    let mut row = Row { expr: expr.to_owned(), ..Row::default() };
    let program = match env.compile(expr) {
        Ok(program) => program,
        Err(cel::CompileError::Issues(issues)) => return Row { issues: issues.to_string(), ..row },
        Err(cel::CompileError::Program { message, of }) => {
            return Row { program: message, of: cel::types::format(&of), ..row };
        }
    };
    row.of = cel::types::format(program.output_type());
    let estimate = program.estimate(sizes);
    row.estimate = Some((estimate.min, estimate.max));
    match program.eval(values, BUDGET) {
        Ok((value, cost)) => Row { value: format(&value), cost: Some(cost), ..row },
        Err(error) => Row { error: error.to_string(), cost: Some(error.cost), ..row },
    }
}

/// A value as text.
pub(crate) fn format(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Uint(value) => format!("{value}u"),
        Value::Double(value) if value.is_nan() => "double(\"NaN\")".to_owned(),
        Value::Double(value) if value.is_infinite() => {
            format!("double(\"{}Infinity\")", if *value < 0.0 { "-" } else { "" })
        }
        Value::Double(value) => {
            let text = value.to_string();
            if text.contains('.') { text } else { format!("{text}.0") }
        }
        Value::String(text) => api::field::go_quote(text),
        Value::Bytes(bytes) => format!("b\"{}\"", bytes.iter().map(|byte| format!("\\{byte:03o}")).collect::<String>()),
        Value::Duration(nanos) => {
            let seconds = (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9;
            format!("duration(\"{seconds}s\")")
        }
        Value::Timestamp(time) => format!("timestamp(\"{}\")", time.in_utc().rfc3339()),
        Value::List(list) => {
            let elements: Vec<String> = list.iter().map(|element| format(&element.unwrap())).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::Map(map) => {
            let entry = |key: &Value| (format(key), format(&map.find(key).unwrap().unwrap()));
            let mut entries: Vec<(String, String)> = map.keys().iter().map(entry).collect();
            entries.sort();
            let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Type(of) => of.name().to_owned(),
        Value::Optional(Some(value)) => format!("optional.of({})", format(value)),
        other => other.to_string(),
    }
}

/// A value of JSON.
pub(crate) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number.as_i64().map_or_else(|| Value::Double(number.as_f64().unwrap()), Value::Int),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(elements) => Value::list(elements.iter().map(from_json).collect()),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| (Key::String(key.as_str().into()), from_json(value)));
            Value::Map(cel::value::Map::new(entries.collect()))
        }
    }
}
