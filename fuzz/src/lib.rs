//! What holds for whatever bytes come in: one function a parser, which panics where it does not.
//!
//! `cargo xtask fuzz` runs each with libFuzzer, on seeds from upstream's testdata and seeds/. An input that was found
//! becomes a test beside the parser. Must not know: how inputs are made.

use api::facts::{self, Struct};
use api::json::{self, Strictness};
use api::proto;
use api::selector::{fields, labels};
use api::value::{Map, Value};

mod objects;
mod requests;

pub use objects::{apply, field_sets, objects, patches, schemas};
pub use requests::{certificates, negotiation, queries, streams, tokens};

/// So many parts of a text, which blank lines stand between.
fn parts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let mut parts = std::str::from_utf8(data).ok()?.splitn(N, "\n\n");
    let mut found = [""; N];
    for part in &mut found {
        *part = parts.next()?;
    }
    Some(found)
}

/// The object that a text is.
fn parsed(text: &str) -> Option<Map> {
    match json::decode_any(text.as_bytes(), Strictness::Lenient).ok()?.0 {
        Value::Map(object) => Some(object),
        _ => None,
    }
}

/// The type that a document says it is of.
fn said_type(document: &Map) -> Option<&'static Struct> {
    let (group, version) = facts::split_api_version(document.str("apiVersion"));
    facts::kind(group, version, document.str("kind"))
}

/// Text that is read comes back when it is written and read again; so does an object of the kind that it says it is,
/// in JSON and in protobuf.
pub fn json(data: &[u8]) {
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let Ok((value, _)) = json::decode_any(data, strictness) else { continue };
        let mut text = Vec::new();
        json::encode_value(&mut text, &value);
        let (again, _) = json::decode_any(&text, strictness).expect("our own text");
        assert_eq!(again, value);
        let Value::Map(document) = &value else { continue };
        let Some(ty) = said_type(document) else { continue };
        if let Ok(decoded) = json::decode(data, ty, strictness) {
            object(&decoded.value, ty);
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ =
            (json::scan::check(data), json::scan::depth(text), json::scan::members(text), json::scan::elements(text));
    }
}

fn object(object: &Map, ty: &'static Struct) {
    let text = json::encode(object);
    let again = json::decode(&text, ty, Strictness::Strict).expect("our own text").value;
    assert_eq!(json::encode(&again), text);
    message(&proto::encode(object, ty), ty);
}

/// A message that is read is written the same from then on.
fn message(bytes: &[u8], ty: &'static Struct) {
    let object = proto::decode(bytes, ty).expect("our own message");
    let written = proto::encode(&object, ty);
    let again = proto::decode(&written, ty).expect("our own message");
    assert_eq!(proto::encode(&again, ty), written);
}

/// A stored value: its envelope, and the message in it as an object and straight as JSON.
pub fn protobuf(data: &[u8]) {
    let Ok(Some(unknown)) = proto::unwrap(data) else { return };
    let (group, version) = facts::split_api_version(unknown.api_version);
    let Some(ty) = facts::kind(group, version, unknown.kind) else { return };
    let mut text = Vec::new();
    let transcoded = proto::to_json(unknown.raw, ty, &mut text);
    let Ok(object) = proto::decode(unknown.raw, ty) else { return };
    message(&proto::encode(&object, ty), ty);
    if transcoded.is_ok() {
        json::decode_any(&text, Strictness::Lenient).expect("our own text");
    }
}

/// What is read is read the same from the YAML that is written of it.
pub fn yaml(data: &[u8]) {
    let _ = api::yaml::duplicate_keys(data);
    let Ok(text) = api::yaml::to_json(data) else { return };
    let Ok(yaml) = api::yaml::from_json(&text) else { return };
    let again = api::yaml::to_json(yaml.as_bytes()).expect("our own YAML");
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&text), "{yaml}");
}

/// Selectors are read the same from the text that is written of them.
pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = labels::Selector::parse(text) {
        let written = selector.to_string();
        let again = labels::Selector::parse(&written).expect("our own text");
        assert_eq!(again.to_string(), written);
    }
    if let Ok(selector) = fields::Selector::parse(text) {
        // Requirements are in the order of their text, in which `==` stands before `=e` but is written `=`.
        let sorted = |selector: &fields::Selector| {
            let mut all: Vec<String> = selector.requirements().iter().map(|one| format!("{one:?}")).collect();
            all.sort();
            all
        };
        let again = fields::Selector::parse(&selector.to_string()).expect("our own text");
        assert_eq!(sorted(&again), sorted(&selector));
    }
}

/// Quantities, times, durations, addresses, URLs and regular expressions.
pub fn scalars(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(canonical) = api::quantity::canonical(text) {
        assert_eq!(api::quantity::canonical(&canonical).expect("our own text"), canonical);
    }
    if let Ok(quantity) = api::quantity::Quantity::parse(text) {
        let _ = (quantity.value(), quantity.milli_value(), quantity.as_nanos(), quantity.as_approximate_f64());
    }
    if let Ok(nanos) = api::duration::parse(text) {
        assert_eq!(api::duration::parse(&api::duration::format(nanos)).expect("our own text"), nanos);
    }
    for canonical in [api::time::canonical_rfc3339, api::time::canonical_micro] {
        if let Ok(time) = canonical(text) {
            assert_eq!(canonical(&time).expect("our own text"), time);
        }
    }
    if let Ok(url) = api::gourl::parse(text) {
        let _ = (url.escaped_path(), url.host_and_port(), url.parameters());
    }
    let _ = (api::gourl::parse_request_uri(text), api::gonet::parse_prefix(text), api::gonet::split_host_port(text));
    let _ = (api::gonet::parse_address(text), api::goregex::compile(text));
}

/// An expression that compiles has a cost and a value, or an error, within its budget.
pub fn cel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    thread_local! {
        static ENV: cel::Env = cel::Env::kubernetes(37).variable("self", cel::types::Type::list(cel::types::Type::String));
    }
    ENV.with(|env| {
        let Ok(program) = env.compile(text) else { return };
        let _ = program.estimate(&cel::NoSizes);
        let values = ["x1", "", "é"].map(cel::value::Value::from).to_vec();
        let values = std::collections::HashMap::from([("self".to_owned(), cel::value::Value::list(values))]);
        let _ = program.eval(&values, 100_000);
    });
}
