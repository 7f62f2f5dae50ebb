//! JSON patch (RFC 6902) with the outcomes and texts of the library that upstream uses
//! (gopkg.in/evanphx/json-patch.v4@v4.13.0: patch.go).

use std::collections::BTreeMap;

use api::field::go_quote;
use api::json::scan;
use api::value::{Map, Value};

use super::document::{DEPTH_MAX, Form, Node};

/// Bytes that the copies of one patch may add (k8s.io/apiserver/pkg/server/config.go@v0.37.2: JSONPatchMaxCopyBytes).
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// One operation: the texts of its members, none where that is null.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operation(BTreeMap<String, Option<String>>);

/// A patch's operations.
///
/// # Errors
/// Go's text.
pub(crate) fn operations(patch: &[u8]) -> Result<Vec<Operation>, String> {
    scan::check(patch)?;
    let patch = std::str::from_utf8(patch).map_err(|error| error.to_string())?;
    let wrong = |text: &str, ty: &str| {
        format!("json: cannot unmarshal {} into Go value of type jsonpatch.{ty}", scan::kind(text))
    };
    if patch.trim() == "null" {
        return Ok(Vec::new());
    }
    let elements = scan::elements(patch).ok_or_else(|| wrong(patch, "Patch"))?;
    let operation = |text: &str| {
        let members = scan::members(text).ok_or_else(|| wrong(text, "Operation"))?;
        let given = |text: &str| (text != "null").then(|| text.to_owned());
        Ok(Operation(members.into_iter().map(|(name, value)| (name, given(value))).collect()))
    };
    elements.into_iter().map(operation).collect()
}

/// What strict decoding has against a patch: unknown and repeated members
/// (k8s.io/apiserver/pkg/endpoints/handlers/patch.go@v0.37.2: jsonPatchOp).
///
/// # Errors
/// Why it is none at all, in Go's words.
pub(crate) fn strict_errors(patch: &[u8]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(patch).map_err(|error| error.to_string())?;
    if text.trim() == "null" {
        return Ok(Vec::new());
    }
    let wrong =
        |text: &str, ty: &str| format!("json: cannot unmarshal {} into Go value of type {ty}", scan::kind(text));
    let elements = scan::elements(text).ok_or_else(|| wrong(text, "[]handlers.jsonPatchOp"))?;
    let mut strict = Vec::new();
    for (at, element) in elements.into_iter().enumerate().filter(|(_, element)| *element != "null") {
        let members = scan::members(element).ok_or_else(|| wrong(element, "handlers.jsonPatchOp"))?;
        for (number, (name, value)) in members.iter().enumerate() {
            let is_text = matches!(scan::kind(value), "string") || *value == "null";
            match name.as_str() {
                "op" | "path" | "from" if !is_text => {
                    let found = scan::kind(value);
                    return Err(format!(
                        "json: cannot unmarshal {found} into Go struct field jsonPatchOp.{name} of type string"
                    ));
                }
                "op" | "path" | "from" | "value" => {}
                unknown => strict.push(format!("unknown field \"[{at}].{unknown}\"")),
            }
            if members[..number].iter().any(|before| before.0 == *name) {
                strict.push(format!("duplicate field \"[{at}].{name}\""));
            }
        }
    }
    Ok(strict)
}

impl From<&Map> for Operation {
    fn from(operation: &Map) -> Self {
        let text = |value: &Value| {
            let mut out = Vec::new();
            api::json::encode_value(&mut out, value);
            (!value.is_null()).then(|| String::from_utf8_lossy(&out).into_owned())
        };
        Operation(operation.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }
}

impl Operation {
    /// The text of a member that is a string.
    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.0.get(name)?.as_deref()?).ok()
    }

    fn kind(&self) -> String {
        self.text("op").unwrap_or_else(|| "unknown".into())
    }

    pub(crate) fn is_test(&self) -> bool {
        self.kind() == "test"
    }

    fn value<'t>(&self) -> Option<Node<'t>> {
        let text = self.0.get("value")?.as_deref()?;
        Node::of(text).map(|node| node.copied())
    }

    fn path(&self) -> Result<String, String> {
        self.text("path").ok_or_else(|| format!("{} operation failed to decode path: missing value", self.kind()))
    }

    fn from(&self) -> Result<String, String> {
        let why =
            || format!("{} operation failed to decode from: operation, missing from field: missing value", self.kind());
        self.text("from").ok_or_else(why)
    }
}

/// The text of the object with all operations made.
///
/// # Errors
/// The library's text.
pub(crate) fn apply(object: &Map, operations: &[Operation]) -> Result<Vec<u8>, String> {
    apply_to_text(&String::from_utf8_lossy(&api::json::encode(object)), operations)
}

/// As [`apply`], of an object's text.
///
/// # Errors
/// The library's text.
pub(crate) fn apply_to_text(text: &str, operations: &[Operation]) -> Result<Vec<u8>, String> {
    let mut patched = Patched::new(text).ok_or("Invalid JSON Document")?;
    operations.iter().try_for_each(|operation| patched.make(operation))?;
    Ok(patched.into_text())
}

/// A document on its way.
pub(crate) struct Patched<'t> {
    root: Node<'t>,
    /// It is no deeper than this.
    depth: usize,
    /// Bytes that were copied.
    copied: usize,
}

impl<'t> Patched<'t> {
    /// `None` when the text is neither an object nor an array.
    pub(crate) fn new(text: &'t str) -> Option<Self> {
        let mut root = Node::of(text)?;
        root.is_container().then(|| Patched { depth: root.depth(), root, copied: 0 })
    }

    pub(crate) fn into_text(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.root.write(&mut out);
        out
    }

    /// Makes one operation; what was changed by it when it fails is not said.
    ///
    /// # Errors
    /// The library's text.
    pub(crate) fn make(&mut self, operation: &Operation) -> Result<(), String> {
        match operation.kind().as_str() {
            "add" => {
                let (path, value) = (operation.path()?, operation.value());
                self.deepen(&path, value.as_ref().map_or(0, Node::depth))?;
                let place = self.place(&path).ok_or_else(|| absent("add", "", &quoted(&path)))?;
                place.add(value).map_err(|why| erring("add", &path, &why))
            }
            "remove" => {
                let path = operation.path()?;
                let place = self.place(&path).ok_or_else(|| absent("remove", "", &quoted(&path)))?;
                place.remove().map(drop).map_err(|why| erring("remove", &path, &why))
            }
            "replace" => self.replace(&operation.path()?, operation.value()),
            "move" => {
                let from = operation.from()?;
                let place = self.place(&from).ok_or_else(|| absent("move", "from ", &from))?;
                let key = place.key.clone();
                let moved = place.take().map_err(|why| erring("move", &key, &why))?;
                let path = operation.path()?;
                self.deepen_by_move(&path, moved.as_ref())?;
                let place = self.place(&path).ok_or_else(|| absent("move", "destination ", &path))?;
                place.add(moved).map_err(|why| erring("move", &path, &why))
            }
            "copy" => {
                let from = operation.from()?;
                let place = self.place(&from).ok_or_else(|| absent("copy", "from ", &from))?;
                let found = place.get().map_err(|why| format!("error in copy for from: '{from}': {why}"))?;
                let copied = found.map(|node| node.copied());
                let path = operation.path()?;
                self.grow(copied.as_ref())?;
                self.deepen(&path, copied.as_ref().map_or(0, Node::depth))?;
                let place = self.place(&path).ok_or_else(|| absent("copy", "destination ", &path))?;
                place.add(copied).map_err(|why| format!("error while adding value during copy: {why}"))
            }
            "test" => self.test(&operation.path()?, operation.value()),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    /// Refuses what would be too deep.
    fn deepen(&mut self, path: &str, by: usize) -> Result<(), String> {
        let depth = path.matches('/').count() + by;
        if depth > DEPTH_MAX {
            return Err(scan::TOO_DEEP.into());
        }
        self.depth = self.depth.max(depth);
        Ok(())
    }

    /// As [`Patched::deepen`], of what was there: it is looked at only when the document could become too deep.
    fn deepen_by_move(&mut self, path: &str, moved: Option<&Node<'t>>) -> Result<(), String> {
        self.deepen(path, self.depth).or_else(|_| self.deepen(path, moved.map_or(0, Node::depth)))
    }

    /// Refuses copies of too much.
    fn grow(&mut self, copied: Option<&Node<'_>>) -> Result<(), String> {
        self.copied += copied.map_or(0, Node::text_len);
        if self.copied <= COPIED_BYTES_MAX {
            return Ok(());
        }
        let (copied, most) = (self.copied, COPIED_BYTES_MAX);
        Err(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {most}"
        ))
    }

    /// `None` when there is nothing that could have the member.
    fn place<'n>(&'n mut self, path: &str) -> Option<Place<'n, 't>> {
        let decode = |part: &str| part.replace("~1", "/").replace("~0", "~");
        let mut steps: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let key = steps.pop()?;
        let container = steps.iter().try_fold(&mut self.root, |node, name| {
            let next = match node.form() {
                Form::Object(object) => object.get_mut(name)?,
                Form::Array(array) => {
                    let at = index(name, array.len()).ok()?;
                    array.get_mut(at)?
                }
                Form::Text => return None,
            };
            let next = next.as_mut()?;
            if next.is_container() { Some(next) } else { None }
        })?;
        Some(Place { container: container.form(), key })
    }

    fn replace(&mut self, path: &str, value: Option<Node<'t>>) -> Result<(), String> {
        if path.is_empty() {
            let mut value = value.ok_or("replace operation value must be object or array: %!w(<nil>)")?;
            if !value.is_container() {
                return Err("replace operation value must be object or array: %!w(<nil>)".into());
            }
            self.deepen("", value.depth())?;
            self.root = value;
            return Ok(());
        }
        self.deepen(path, value.as_ref().map_or(0, Node::depth))?;
        let place = self.place(path).ok_or_else(|| absent("replace", "", path))?;
        if place.get().is_err() {
            return Err(format!("replace operation does not apply: doc is missing key: {path}: missing value"));
        }
        match place.container {
            Form::Object(object) => drop(object.insert(place.key, value)),
            Form::Array(array) => {
                let at = index(&place.key, array.len())?;
                array[at] = value;
            }
            Form::Text => {}
        }
        Ok(())
    }

    fn test(&mut self, path: &str, wanted: Option<Node<'t>>) -> Result<(), String> {
        let mut place;
        let found = if path.is_empty() {
            Some(&mut self.root)
        } else {
            place = self
                .place(path)
                .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: missing value"))?;
            place.get().map_err(|why| erring("test", path, &why))?;
            place.get_mut()
        };
        let is_same = match (found, wanted) {
            (Some(found), Some(mut wanted)) => found.is_same(&mut wanted),
            (found, wanted) => found.is_none() && wanted.is_none(),
        };
        if is_same { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
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

/// A member of an object or array, there or not.
struct Place<'n, 't> {
    container: &'n mut Form<'t>,
    key: String,
}

/// A place in an array; negative ones count from its end.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let at: i64 = key.parse().map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", go_quote(key)))?;
    let from_end = if at < 0 { at + length as i64 } else { at };
    let invalid = || format!("Unable to access invalid index: {at}: invalid index referenced");
    usize::try_from(from_end).ok().filter(|at| *at < length).ok_or_else(invalid)
}

impl<'t> Place<'_, 't> {
    /// What is not in an object is null.
    fn get(&self) -> Result<Option<&Node<'t>>, String> {
        match &*self.container {
            Form::Array(array) => index(&self.key, array.len()).map(|at| array[at].as_ref()),
            Form::Object(object) => Ok(object.get(&self.key).and_then(Option::as_ref)),
            Form::Text => Ok(None),
        }
    }

    fn get_mut(&mut self) -> Option<&mut Node<'t>> {
        match &mut *self.container {
            Form::Array(array) => {
                let at = index(&self.key, array.len()).ok()?;
                array[at].as_mut()
            }
            Form::Object(object) => object.get_mut(&self.key)?.as_mut(),
            Form::Text => None,
        }
    }

    fn add(self, value: Option<Node<'t>>) -> Result<(), String> {
        match self.container {
            Form::Object(object) => drop(object.insert(self.key, value)),
            Form::Array(array) if self.key == "-" => array.push(value),
            Form::Array(array) => {
                let at = index(&self.key, array.len() + 1).map_err(|why| match why.starts_with("strconv") {
                    true => format!("value was not a proper array index: '{}': {why}", self.key),
                    false => why,
                })?;
                array.insert(at, value);
            }
            Form::Text => return Err("missing value".into()),
        }
        Ok(())
    }

    fn remove(self) -> Result<Option<Node<'t>>, String> {
        match self.container {
            Form::Object(object) => object
                .remove(&self.key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {}: missing value", self.key)),
            Form::Array(array) => index(&self.key, array.len()).map(|at| array.remove(at)),
            Form::Text => Err("missing value".into()),
        }
    }

    /// As [`Place::remove`], of what can be read.
    fn take(self) -> Result<Option<Node<'t>>, String> {
        self.get()?;
        self.remove()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patch: &str, want: Result<&str, &str>) {
        let mut patched = Patched::new(r#"{"t":"s","l":["x", "y"],"a":{"c":0,"b":1.0}}"#).expect("an object");
        let made = operations(patch.as_bytes()).and_then(|all| all.iter().try_for_each(|one| patched.make(one)));
        let got = made.map(|()| String::from_utf8(patched.into_text()).expect("text"));
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{patch}");
    }

    #[test]
    fn nothing_grows_without_end() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let add = |depth: usize| format!(r#"[{{"op":"add","path":"/t","value":{}}}]"#, deep(depth));
        check(&add(DEPTH_MAX), Err(scan::TOO_DEEP));
        let replace = format!(r#"[{{"op":"replace","path":"","value":{}}}]"#, deep(DEPTH_MAX + 1));
        check(&replace, Err(scan::TOO_DEEP));
        // Each move makes what is moved deeper by one.
        let nest = r#"{"op":"add","path":"/t","value":{}},{"op":"move","from":"/a","path":"/t/a"},{"op":"move","from":"/t","path":"/a"}"#;
        check(&format!("[{}]", [nest; DEPTH_MAX].join(",")), Err(scan::TOO_DEEP));
        // As many moves that do not are fine.
        let there = r#"{"op":"move","from":"/t","path":"/a/t"},{"op":"move","from":"/a/t","path":"/t"}"#;
        let same = r#"{"a":{"b":1.0,"c":0},"l":["x","y"],"t":"s"}"#;
        let sorted = r#"{"op":"test","path":"/t","value":"s"}"#;
        let made = operations(format!("[{},{sorted}]", [there; DEPTH_MAX].join(",")).as_bytes()).expect("a patch");
        assert_eq!(
            apply_to_text(same, &made).map(|text| String::from_utf8_lossy(&text).into_owned()).as_deref(),
            Ok(same)
        );
        let double = r#"{"op":"copy","from":"/l","path":"/l/-"}"#;
        let copies = format!("[{}]", [double; 24].join(","));
        let made = operations(copies.as_bytes()).and_then(|all| apply_to_text(r#"{"l":["0123456789"]}"#, &all));
        let why = made.expect_err("too much");
        assert!(why.starts_with("Unable to complete the copy, the accumulated size increase of copy is "), "{why}");
    }

    /// Texts of the library: what a path leads through is sorted, the rest stays.
    #[test]
    fn outcomes() {
        check("[]", Ok(r#"{"a":{"c":0,"b":1.0},"l":["x","y"],"t":"s"}"#));
        let added = r#"{"a":{"b":1.0,"c":{"z":1,"y":"\u003c"}},"l":["x","y"],"t":"s"}"#;
        check(r#"[{"op":"replace","path":"/a/c","value":{"z":1, "y":"<"}}]"#, Ok(added));
        check(
            r#"[{"op":"add","path":"/l/-","value":null}]"#,
            Ok(r#"{"a":{"c":0,"b":1.0},"l":["x","y",null],"t":"s"}"#),
        );
        check(r#"[{"op":"remove","path":"/l/-1"}]"#, Ok(r#"{"a":{"c":0,"b":1.0},"l":["x"],"t":"s"}"#));
        check(r#"[{"op":"move","from":"/a/b","path":"/t"}]"#, Ok(r#"{"a":{"c":0},"l":["x","y"],"t":1.0}"#));
        let copied =
            r#"[{"op":"copy","from":"/a","path":"/t"},{"op":"remove","path":"/t/b"},{"op":"remove","path":"/a"}]"#;
        check(copied, Ok(r#"{"l":["x","y"],"t":{"c":0}}"#));
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
        check(r#"[{"op":"test","path":"/a/b","value":1}]"#, Err("testing value /a/b failed: test failed"));
        let tested = r#"[{"op":"test","path":"/a","value":{"b":1.0,"c":0}}]"#;
        check(tested, Ok(r#"{"a":{"b":1.0,"c":0},"l":["x","y"],"t":"s"}"#));
        check(r#"[{"op":"twist","path":"/t"}]"#, Err("Unexpected kind: twist"));
        check("{}", Err("json: cannot unmarshal object into Go value of type jsonpatch.Patch"));
        check("[7]", Err("json: cannot unmarshal number into Go value of type jsonpatch.Operation"));
    }
}
