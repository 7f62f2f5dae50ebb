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

/// Makes one operation; what was changed by it when it fails is not said.
pub(crate) fn step(document: &mut Value, operation: &Map) -> Result<(), String> {
    let path = operation.str("path");
    let value = || operation.get("value").cloned().unwrap_or_default();
    match operation.str("op") {
        "add" => {
            let place = place(document, path).ok_or_else(|| absent("add", "", &quoted(path)))?;
            place.add(value()).map_err(|why| erring("add", path, &why))
        }
        "remove" => {
            let place = place(document, path).ok_or_else(|| absent("remove", "", &quoted(path)))?;
            place.remove().map(drop).map_err(|why| erring("remove", path, &why))
        }
        "replace" => replace(document, path, value()),
        "move" => {
            let from = operation.str("from");
            let taken = place(document, from).ok_or_else(|| absent("move", "from ", from))?;
            let key = taken.key.clone();
            let moved = taken.remove().map_err(|why| erring("move", &key, &why))?;
            let place = place(document, path).ok_or_else(|| absent("move", "destination ", path))?;
            place.add(moved).map_err(|why| erring("move", path, &why))
        }
        "copy" => {
            let from = operation.str("from");
            let copied = place(document, from).ok_or_else(|| absent("copy", "from ", from))?;
            let copied = copied.get().map_err(|why| format!("error in copy for from: '{from}': {why}"))?.clone();
            let place = place(document, path).ok_or_else(|| absent("copy", "destination ", path))?;
            place.add(copied).map_err(|why| format!("error while adding value during copy: {why}"))
        }
        "test" => test(document, path, &value()),
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn quoted(path: &str) -> String {
    format!("\"{path}\"")
}

fn absent(operation: &str, which: &str, path: &str) -> String {
    format!("{operation} operation does not apply: doc is missing {which}path: {path}: missing value")
}

fn erring(operation: &str, path: &str, why: &str) -> String {
    format!("error in {operation} for path: '{path}': {why}")
}

/// A member of an object or list of the document, there or not.
struct Place<'v> {
    container: &'v mut Value,
    key: String,
}

/// `None` when there is nothing that could have the member.
fn place<'v>(document: &'v mut Value, path: &str) -> Option<Place<'v>> {
    let mut steps: Vec<String> =
        path.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let key = steps.pop()?;
    let container = steps.iter().try_fold(document, |value, name| match value {
        Value::Map(map) => map.get_mut(name),
        Value::List(list) => {
            let at = index(name, list.len()).ok()?;
            list.get_mut(at)
        }
        _ => None,
    })?;
    matches!(container, Value::Map(_) | Value::List(_)).then_some(Place { container, key })
}

/// A place in a list; negative ones count from its end.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let at: i64 =
        key.parse().map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", api::field::go_quote(key)))?;
    let from_end = if at < 0 { at + length as i64 } else { at };
    let invalid = || format!("Unable to access invalid index: {at}: invalid index referenced");
    usize::try_from(from_end).ok().filter(|at| *at < length).ok_or_else(invalid)
}

impl Place<'_> {
    /// What is not in an object is null.
    fn get(&self) -> Result<&Value, String> {
        match &*self.container {
            Value::List(list) => index(&self.key, list.len()).map(|at| &list[at]),
            Value::Map(map) => Ok(map.get(&self.key).unwrap_or(&Value::Null)),
            _ => Ok(&Value::Null),
        }
    }

    fn add(self, value: Value) -> Result<(), String> {
        match self.container {
            Value::Map(map) => map.set(self.key, value),
            Value::List(list) if self.key == "-" => list.push(value),
            Value::List(list) => {
                let at = index(&self.key, list.len() + 1).map_err(|why| match why.starts_with("strconv") {
                    true => format!("value was not a proper array index: '{}': {why}", self.key),
                    false => why,
                })?;
                list.insert(at, value);
            }
            _ => return Err("missing value".into()),
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, String> {
        match self.container {
            Value::Map(map) => map
                .remove(&self.key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {}: missing value", self.key)),
            Value::List(list) => index(&self.key, list.len()).map(|at| list.remove(at)),
            _ => Err("missing value".into()),
        }
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let place = place(document, path).ok_or_else(|| absent("replace", "", path))?;
    if place.get().is_err() {
        return Err(format!("replace operation does not apply: doc is missing key: {path}: missing value"));
    }
    match place.container {
        Value::Map(map) => map.set(place.key, value),
        Value::List(list) => {
            let at = index(&place.key, list.len())?;
            list[at] = value;
        }
        _ => {}
    }
    Ok(())
}

fn test(document: &mut Value, path: &str, wanted: &Value) -> Result<(), String> {
    let failed = || Err(format!("testing value {path} failed: test failed"));
    if path.is_empty() {
        return if document == wanted { Ok(()) } else { failed() };
    }
    let place = place(document, path)
        .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: missing value"))?;
    let found = place.get().map_err(|why| erring("test", path, &why))?;
    if found == wanted { Ok(()) } else { failed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patch: &str, want: Result<&str, &str>) {
        let document = br#"{"a":{"b":1},"l":["x","y"],"t":"s"}"#;
        let Ok((Value::Map(document), _)) = decode_any(document, Strictness::Lenient) else { return };
        let got = steps(patch.as_bytes()).and_then(|steps| apply_steps(&document, &steps));
        let got = got.map(|map| String::from_utf8(api::json::encode(&map)).expect("text"));
        assert_eq!(got.as_deref().map(str::trim_end).map_err(String::as_str), want, "{patch}");
    }

    /// Texts of the library and of v1.37.2 with it.
    #[test]
    fn outcomes() {
        check(r#"[{"op":"add","path":"/l/-","value":"z"}]"#, Ok(r#"{"a":{"b":1},"l":["x","y","z"],"t":"s"}"#));
        check(r#"[{"op":"remove","path":"/l/-1"}]"#, Ok(r#"{"a":{"b":1},"l":["x"],"t":"s"}"#));
        check(r#"[{"op":"move","from":"/a/b","path":"/t"}]"#, Ok(r#"{"a":{},"l":["x","y"],"t":1}"#));
        let missing = "remove operation does not apply: doc is missing path: \"/no/such\": missing value";
        check(r#"[{"op":"remove","path":"/no/such"}]"#, Err(missing));
        let key = "error in remove for path: '/no': Unable to remove nonexistent key: no: missing value";
        check(r#"[{"op":"remove","path":"/no"}]"#, Err(key));
        let add = "add operation does not apply: doc is missing path: \"/data/mutated\": missing value";
        check(r#"[{"op":"add","path":"/data/mutated","value":1}]"#, Err(add));
        let far = "error in add for path: '/l/9': Unable to access invalid index: 9: invalid index referenced";
        check(r#"[{"op":"add","path":"/l/9","value":1}]"#, Err(far));
        let replace = "replace operation does not apply: doc is missing key: /l/9: missing value";
        check(r#"[{"op":"replace","path":"/l/9","value":1}]"#, Err(replace));
        check(r#"[{"op":"replace","path":"/u","value":1}]"#, Ok(r#"{"a":{"b":1},"l":["x","y"],"t":"s","u":1}"#));
        check(r#"[{"op":"test","path":"/t","value":1}]"#, Err("testing value /t failed: test failed"));
        check(r#"[{"op":"twist","path":"/t"}]"#, Err("Unexpected kind: twist"));
    }
}
