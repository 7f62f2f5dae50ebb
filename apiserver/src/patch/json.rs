//! JSON patch (RFC 6902), with the texts of the library upstream uses (gopkg.in/evanphx/json-patch.v4).

use api::json::{Strictness, decode_any};
use api::status::Status;
use api::value::{Map, Value};

/// Operations in one patch (k8s.io/apiserver/pkg/endpoints/handlers/patch.go@v0.37.2: maxJSONPatchOperations).
const OPERATIONS_MAX: usize = 10_000;

pub(crate) fn apply(original: &Map, patch: &[u8]) -> Result<Map, Status> {
    let operations = steps(patch).map_err(|why| unreadable(&why))?;
    if operations.len() > OPERATIONS_MAX {
        let text =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(Status::request_entity_too_large(&text));
    }
    apply_steps(original, &operations).map_err(|why| failed(&why))
}

/// The operations of a patch.
pub(crate) fn steps(patch: &[u8]) -> Result<Vec<Map>, String> {
    let (patch, _) = decode_any(patch, Strictness::Lenient).map_err(|error| error.to_string())?;
    let Value::List(operations) = patch else {
        return Err("json: cannot unmarshal object into Go value of type jsonpatch.Patch".into());
    };
    let operation = |value| match value {
        Value::Map(operation) => Ok(operation),
        _ => Err("json: cannot unmarshal into Go value of type jsonpatch.Operation".into()),
    };
    operations.into_iter().map(operation).collect()
}

pub(crate) fn apply_steps(original: &Map, operations: &[Map]) -> Result<Map, String> {
    let mut document = Value::Map(original.clone());
    for operation in operations {
        step(&mut document, operation)?;
    }
    match document {
        Value::Map(map) => Ok(map),
        _ => Err("the document is no object any more".into()),
    }
}

fn unreadable(why: &str) -> Status {
    Status::bad_request(format!("error decoding patch: {why}"))
}

/// What cannot be applied is unprocessable.
fn failed(why: &str) -> Status {
    Status {
        code: 422,
        reason: "Invalid",
        message: format!("the server rejected our request due to an error in our request: {why}"),
        ..Status::default()
    }
}

fn step(document: &mut Value, operation: &Map) -> Result<(), String> {
    let path = pointer(operation.str("path"))?;
    let value = || operation.get("value").cloned().unwrap_or_default();
    match operation.str("op") {
        "add" => add(document, &path, value(), operation.str("path")),
        "remove" => remove(document, &path).map(drop),
        "replace" => replace(document, &path, value()),
        "move" => {
            let moved = remove(document, &pointer(operation.str("from"))?)?;
            add(document, &path, moved, operation.str("path"))
        }
        "copy" => {
            let from = pointer(operation.str("from"))?;
            let copied = find(document, &from).cloned().ok_or_else(|| missing("copy", operation.str("from")))?;
            add(document, &path, copied, operation.str("path"))
        }
        "test" => {
            let found = find(document, &path).cloned().unwrap_or_default();
            if found == value() { Ok(()) } else { Err(format!("testing value {} failed", operation.str("path"))) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn missing(operation: &str, path: &str) -> String {
    format!("{operation} operation does not apply: doc is missing path: {path}: missing value")
}

fn pointer(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let rest = text.strip_prefix('/').ok_or_else(|| format!("invalid path {text}"))?;
    Ok(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

fn find<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Map(map) => map.get(name),
        Value::List(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn find_mut<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Map(map) => map.get_mut(name),
        Value::List(list) => list.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn add(document: &mut Value, path: &[String], value: Value, text: &str) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find_mut(document, parents).ok_or_else(|| missing("add", text))? {
        Value::Map(map) => map.set(last.as_str(), value),
        Value::List(list) if last == "-" => list.push(value),
        Value::List(list) => {
            let at: usize = last.parse().map_err(|_| format!("invalid array index {last}"))?;
            if at > list.len() {
                return Err(format!("Unable to access invalid index: {at}: invalid index referenced"));
            }
            list.insert(at, value);
        }
        _ => return Err(missing("add", text)),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, String> {
    let text = format!("/{}", path.join("/"));
    let (last, parents) = path.split_last().ok_or_else(|| missing("remove", &text))?;
    let removed = match find_mut(document, parents) {
        Some(Value::Map(map)) => map.remove(last),
        Some(Value::List(list)) => last.parse().ok().filter(|at| *at < list.len()).map(|at: usize| list.remove(at)),
        _ => None,
    };
    removed.ok_or_else(|| missing("remove", &text))
}

fn replace(document: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let text = format!("/{}", path.join("/"));
    let slot = find_mut(document, path).ok_or_else(|| missing("replace", &text))?;
    *slot = value;
    Ok(())
}
