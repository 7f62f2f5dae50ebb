//! JSON patch (RFC 6902), with the texts of the library upstream uses (gopkg.in/evanphx/json-patch.v4).

use api::json::{Strictness, decode_any};
use api::status::Status;
use api::value::{Map, Value};

/// Operations in one patch (k8s.io/apiserver/pkg/endpoints/handlers/patch.go@v0.37.2: maxJSONPatchOperations).
const OPERATIONS_MAX: usize = 10_000;

pub(crate) fn apply(original: &Map, patch: &[u8]) -> Result<Map, Status> {
    let (patch, _) = decode_any(patch, Strictness::Lenient).map_err(|error| unreadable(&error.to_string()))?;
    let Some(operations) = patch.as_list() else {
        return Err(unreadable("json: cannot unmarshal object into Go value of type jsonpatch.Patch"));
    };
    if operations.len() > OPERATIONS_MAX {
        let text =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(Status::request_entity_too_large(&text));
    }
    let mut document = Value::Map(original.clone());
    for operation in operations {
        let Some(operation) = operation.as_map() else {
            return Err(unreadable("json: cannot unmarshal into Go value of type jsonpatch.Operation"));
        };
        step(&mut document, operation).map_err(|why| failed(&why))?;
    }
    match document {
        Value::Map(map) => Ok(map),
        _ => Err(failed("the document is no object any more")),
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

/// Makes one operation; what was changed by it when it fails is not said.
pub(crate) fn step(document: &mut Value, operation: &Map) -> Result<(), String> {
    let text = operation.str("path");
    let path = pointer(text)?;
    let value = || operation.get("value").cloned().unwrap_or_default();
    let from = || operation.str("from");
    match operation.str("op") {
        "add" => add(document, &path, value()).map_err(|why| why.of("add", text)),
        "remove" => remove(document, &path).map(drop).map_err(|why| why.of("remove", text)),
        "replace" => replace(document, &path, value()).map_err(|why| why.of_replaced(text)),
        "move" => {
            let moved = remove(document, &pointer(from())?).map_err(|why| why.of_source("move", from()))?;
            add(document, &path, moved).map_err(|why| why.of_target("move", text))
        }
        "copy" => {
            let found = find(document, &pointer(from())?).cloned().ok_or(Problem::NoParent);
            let copied = found.map_err(|why| why.of_source("copy", from()))?;
            add(document, &path, copied).map_err(|why| why.of_target("copy", text))
        }
        "test" => {
            let found = find(document, &path).cloned().unwrap_or_default();
            if found == value() { Ok(()) } else { Err(format!("testing value {text} failed: test failed")) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

/// What is wrong with a place.
#[derive(Debug)]
enum Problem {
    /// What it should be in is not there.
    NoParent,
    Other(String),
}

impl Problem {
    fn of(self, operation: &str, path: &str) -> String {
        match self {
            Problem::NoParent => {
                format!("{operation} operation does not apply: doc is missing path: \"{path}\": missing value")
            }
            Problem::Other(why) => format!("error in {operation} for path: '{path}': {why}"),
        }
    }

    fn of_replaced(self, path: &str) -> String {
        match self {
            Problem::NoParent => {
                format!("replace operation does not apply: doc is missing path: {path}: missing value")
            }
            Problem::Other(why) => format!("replace operation does not apply: doc is missing key: {path}: {why}"),
        }
    }

    fn of_source(self, operation: &str, from: &str) -> String {
        match self {
            Problem::NoParent => {
                format!("{operation} operation does not apply: doc is missing from path: {from}: missing value")
            }
            Problem::Other(why) => {
                let key = from.rsplit('/').next().unwrap_or(from);
                format!("error in {operation} for path: '{key}': {why}")
            }
        }
    }

    fn of_target(self, operation: &str, path: &str) -> String {
        match self {
            Problem::NoParent => {
                format!("{operation} operation does not apply: doc is missing destination path: {path}: missing value")
            }
            Problem::Other(why) => format!("error in {operation} for path: '{path}': {why}"),
        }
    }
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

fn invalid_index(at: usize) -> Problem {
    Problem::Other(format!("Unable to access invalid index: {at}: invalid index referenced"))
}

fn index(text: &str) -> Result<usize, Problem> {
    let why =
        || format!("value was not a proper array index: '{text}': strconv.Atoi: parsing {text:?}: invalid syntax");
    text.parse().map_err(|_| Problem::Other(why()))
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), Problem> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find_mut(document, parents).ok_or(Problem::NoParent)? {
        Value::Map(map) => map.set(last.as_str(), value),
        Value::List(list) if last == "-" => list.push(value),
        Value::List(list) => {
            let at = index(last)?;
            if at > list.len() {
                return Err(invalid_index(at));
            }
            list.insert(at, value);
        }
        _ => return Err(Problem::NoParent),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, Problem> {
    let (last, parents) = path.split_last().ok_or(Problem::NoParent)?;
    match find_mut(document, parents).ok_or(Problem::NoParent)? {
        Value::Map(map) => {
            let why = || Problem::Other(format!("Unable to remove nonexistent key: {last}: missing value"));
            map.remove(last).ok_or_else(why)
        }
        Value::List(list) => {
            let at = index(last)?;
            if at >= list.len() {
                return Err(invalid_index(at));
            }
            Ok(list.remove(at))
        }
        _ => Err(Problem::NoParent),
    }
}

fn replace(document: &mut Value, path: &[String], value: Value) -> Result<(), Problem> {
    if let Some((_, parents)) = path.split_last() {
        find_mut(document, parents).ok_or(Problem::NoParent)?;
    }
    let slot = find_mut(document, path).ok_or_else(|| Problem::Other("missing value".into()))?;
    *slot = value;
    Ok(())
}
