//! The codec oracle: every file of k8s.io/api's testdata decodes to one value in JSON, YAML and
//! protobuf, and encodes back to the same protobuf bytes and the same JSON value.
//!
//! The files come from the Go module cache (`go mod download k8s.io/api@v0.37.2`); nothing of them is in this tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use api::json::{self, Strictness};
use api::value::{Map, Value};
use api::{facts, proto};

/// The unpacked k8s.io/api module.
fn module() -> PathBuf {
    let output = Command::new("go")
        .args(["mod", "download", "-json", "k8s.io/api@v0.37.2"])
        .env("GOFLAGS", "-mod=mod")
        .output()
        .expect("this test needs Go, to find k8s.io/api@v0.37.2");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("go mod download");
    PathBuf::from(answer["Dir"].as_str().expect("Dir"))
}

/// Path without extension -> extensions, for a folder of the testdata.
fn cases(folder: &str) -> BTreeMap<PathBuf, Vec<String>> {
    let mut cases: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(module().join("testdata").join(folder)).expect("testdata") {
        let path = entry.expect("entry").path();
        let Some(extension) = path.extension() else { continue };
        if path.to_string_lossy().contains(".after_roundtrip.") {
            continue; // what a later release makes of the older file is not an input of its own
        }
        cases.entry(path.with_extension("")).or_default().push(extension.to_string_lossy().into_owned());
    }
    assert!(cases.len() > 100, "{folder}: only {} kinds found", cases.len());
    cases
}

fn read(path: &Path, extension: &str) -> Vec<u8> {
    let path = PathBuf::from(format!("{}.{extension}", path.display()));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The facts for a file named `group.version.Kind`; the core group is called core.
fn structure(path: &Path) -> Result<&'static facts::Struct, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut parts = name.rsplitn(3, '.');
    let kind = parts.next().unwrap_or_default();
    let version = parts.next().unwrap_or_default();
    let group = parts.next().filter(|group| *group != "core").unwrap_or_default();
    facts::kind(group, version, kind).ok_or_else(|| format!("no facts of {group}/{version} {kind}"))
}

fn with_kind(mut value: Map, unknown: &proto::Unknown<'_>) -> Map {
    api::object::set_kind(&mut value, unknown.api_version, unknown.kind);
    value
}

fn parse(text: &[u8]) -> serde_json::Value {
    serde_json::from_slice(text).expect("JSON")
}

/// The short way to JSON says what the long way says.
fn check_transcoding(raw: &[u8], ty: &'static facts::Struct) -> Result<(), String> {
    let mut short = Vec::new();
    proto::to_json(raw, ty, &mut short).map_err(|e| format!("transcode: {e}"))?;
    let mut long = json::encode(&proto::decode(raw, ty).map_err(|e| format!("protobuf: {e}"))?);
    long.pop();
    if parse(&short) != parse(&long) {
        let (short, long) = (String::from_utf8_lossy(&short), String::from_utf8_lossy(&long));
        return Err(format!("transcoding differs:\n{short}\n{long}"));
    }
    Ok(())
}

/// A part that is looked for alone is what the whole message has there.
fn check_peeking(raw: &[u8], ty: &'static facts::Struct, whole: &Map) -> Result<(), String> {
    for outer in ty.fields.iter().filter(|field| !field.inline) {
        let facts::Type::Struct(inner) = outer.ty else { continue };
        for field in inner.fields.iter().filter(|field| !field.inline) {
            let path = [outer.name, field.name];
            let peeked = proto::peek(raw, ty, &path);
            if peeked.as_ref() != Some(whole.value_at(&path).unwrap_or(&Value::Null)) {
                return Err(format!("{path:?}: {peeked:?} instead of {:?}", whole.value_at(&path)));
            }
        }
    }
    Ok(())
}

/// Everything wrong with one case, as text.
fn check(path: &Path) -> Result<(), String> {
    let text = read(path, "json");
    let ty = structure(path)?;
    let decoded = json::decode(&text, ty, Strictness::Strict).map_err(|e| format!("JSON: {e}"))?;
    if !decoded.strict.is_empty() {
        return Err(format!("strict: {:?}", decoded.strict));
    }
    if parse(&json::encode(&decoded.value)) != parse(&text) {
        return Err(format!("JSON differs:\n{}", String::from_utf8_lossy(&json::encode(&decoded.value))));
    }
    let yaml = api::yaml::to_json(&read(path, "yaml")).map_err(|e| format!("YAML: {e}"))?;
    let from_yaml = json::decode(&yaml, ty, Strictness::Strict).map_err(|e| format!("YAML: {e}"))?;
    if from_yaml.value != decoded.value {
        return Err("YAML decodes to another value".into());
    }
    let bytes = read(path, "pb");
    let unknown = proto::unwrap(&bytes).map_err(|e| format!("envelope: {e}"))?.ok_or("no envelope")?;
    check_transcoding(unknown.raw, ty)?;
    let message = proto::decode(unknown.raw, ty).map_err(|e| format!("protobuf: {e}"))?;
    check_peeking(unknown.raw, ty, &message)?;
    let message = if unknown.kind.is_empty() { message } else { with_kind(message, &unknown) };
    if message != decoded.value {
        return Err(format!(
            "protobuf decodes to another value: {}",
            difference("", &Value::Map(message), &Value::Map(decoded.value))
        ));
    }
    let again = proto::wrap(unknown.api_version, unknown.kind, &proto::encode(&decoded.value, ty));
    if again != bytes {
        let at = again.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(again.len().min(bytes.len()));
        return Err(format!("protobuf bytes differ at {at} of {} / {}", again.len(), bytes.len()));
    }
    Ok(())
}

/// The first place where two values differ.
fn difference(path: &str, a: &Value, b: &Value) -> String {
    match (a, b) {
        (Value::Map(a), Value::Map(b)) => {
            for (name, value) in a.iter() {
                match b.get(name) {
                    Some(other) if other == value => {}
                    Some(other) => return difference(&format!("{path}.{name}"), value, other),
                    None => return format!("{path}.{name}: {value:?} / absent"),
                }
            }
            let missing = b.keys().find(|name| !a.contains(name));
            format!("{path}.{}: absent / there", missing.map_or("?", |name| name.as_str()))
        }
        (Value::List(a), Value::List(b)) if a.len() == b.len() => {
            let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
            difference(&format!("{path}[{at}]"), &a[at], &b[at])
        }
        _ => format!("{path}: {a:?} / {b:?}"),
    }
}

#[test]
fn every_kind_of_head_in_three_formats_both_ways() {
    let mut failures = Vec::new();
    let cases = cases("HEAD");
    for (path, extensions) in &cases {
        assert_eq!(extensions.len(), 3, "{}", path.display());
        if let Err(error) = check(path) {
            failures.push(format!("{}: {error}", path.file_name().unwrap_or_default().to_string_lossy()));
        }
    }
    assert!(failures.is_empty(), "{} of {} kinds fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// What is absent is where the two ways could differ most: every struct with nothing in it, and every
/// testdata object with each of its top-level fields emptied in turn.
#[test]
fn empty_and_half_empty_messages_are_transcoded_alike() {
    let mut failures = Vec::new();
    for ty in facts::structs() {
        if let Err(error) = check_transcoding(&proto::encode(&Map::new(), ty), ty) {
            failures.push(format!("{}: {error}", ty.name));
        }
    }
    for path in cases("HEAD").into_keys() {
        let ty = structure(&path).expect("facts");
        let whole = json::decode(&read(&path, "json"), ty, Strictness::Lenient).expect("JSON").value;
        for emptied in hollowed(&whole) {
            if let Err(error) = check_transcoding(&proto::encode(&emptied, ty), ty) {
                failures.push(format!("{}: {error}", path.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{} fail, the first:\n{}", failures.len(), failures[0]);
}

#[test]
fn names_of_fields_hold_nothing_that_json_escapes() {
    for ty in facts::structs() {
        for field in ty.fields {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"$-_.".contains(&byte);
            assert!(field.name.bytes().all(plain), "{} {}", ty.name, field.name);
        }
    }
}

/// The object with one field gone, for each field down to the third level.
fn hollowed(object: &Map) -> Vec<Map> {
    fn down(object: &Map, depth: u8, all: &mut Vec<Map>, put: &dyn Fn(Map) -> Map) {
        for (name, value) in object.iter() {
            let mut without = object.clone();
            without.remove(name);
            all.push(put(without));
            if let (Value::Map(inner), true) = (value, depth > 0) {
                let inside = |changed: Map| {
                    let mut outer = object.clone();
                    outer.set(name.as_str(), changed);
                    put(outer)
                };
                down(inner, depth - 1, all, &inside);
            }
        }
    }
    let mut all = Vec::new();
    down(object, 2, &mut all, &|whole| whole);
    all
}

#[test]
fn every_kind_of_older_releases_decodes() {
    let mut failures = Vec::new();
    for folder in ["v1.33.0", "v1.34.0", "v1.35.0", "v1.36.0"] {
        for path in cases(folder).into_keys() {
            let text = read(&path, "json");
            let Ok(ty) = structure(&path) else { continue }; // a version that is gone in v1.37
            let bytes = read(&path, "pb");
            let result = json::decode(&text, ty, Strictness::Lenient).map_err(|e| e.to_string()).and_then(|_| {
                let unknown = proto::unwrap(&bytes).map_err(|e| e.to_string())?.ok_or("no envelope")?;
                check_transcoding(unknown.raw, ty)
            });
            if let Err(error) = result {
                failures.push(format!("{folder} {}: {error}", path.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}
