//! ConfigMap and Secret: keys, sizes, immutability
//! (pkg/apis/core/validation/validation.go@v1.37.2: ValidateConfigMap, ValidateSecret and their updates).

use api::field::{self, Errors, Path};
use api::json::scan;
use api::names;
use api::value::{Map, Value};

use super::super::simple::field_text;
use crate::strategy::{Context, MetaCheck, Strategy};

/// Keys and values of one object together, in bytes (core.MaxSecretSize).
const BYTES_MAX: usize = 1024 * 1024;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";
/// How upstream prints the path of a name that is empty, by which it means the whole object.
const WHOLE: &str = "[]";

pub(crate) struct ConfigMap;

fn check_keys(data: Option<&Map>, path: &Path, errors: &mut Errors) {
    for key in data.into_iter().flat_map(Map::keys) {
        let wrong = names::is_config_map_key(key);
        errors.extend(wrong.iter().map(|message| field::invalid(&path.key(key), key.as_str(), message)));
    }
}

/// The bytes behind base64 text.
fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take(2).filter(|byte| *byte == b'=').count()
}

fn size(data: Option<&Map>, binary: bool) -> usize {
    let entries = data.into_iter().flat_map(Map::iter);
    entries.map(|(_, value)| value.as_str().map_or(0, |text| if binary { decoded_len(text) } else { text.len() })).sum()
}

/// Once immutable, always immutable, with the same data.
fn check_immutable(object: &Map, old: &Map, fields: &[&str]) -> Errors {
    let mut errors = Errors::new();
    if old.bool("immutable") != Some(true) {
        return errors;
    }
    if object.bool("immutable") != Some(true) {
        errors.push(field::forbidden(&Path::new("immutable"), IMMUTABLE));
    }
    let empty = |value: Option<&Value>| value.cloned().filter(|value| !value.is_zero());
    for name in fields {
        if empty(object.get(name)) != empty(old.get(name)) {
            errors.push(field::forbidden(&Path::new(name), IMMUTABLE));
        }
    }
    errors
}

impl Strategy for ConfigMap {
    fn meta_checks(&self, _: &str) -> &'static [MetaCheck] {
        &[MetaCheck::Update, MetaCheck::Whole]
    }

    fn validate(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        let (data, binary) = (object.map("data"), object.map("binaryData"));
        for key in data.into_iter().flat_map(Map::keys) {
            let path = Path::new("data").key(key);
            let wrong = names::is_config_map_key(key);
            errors.extend(wrong.iter().map(|message| field::invalid(&path, key.as_str(), message)));
            if binary.is_some_and(|binary| binary.contains(key)) {
                errors.push(field::invalid(&path, key.as_str(), "duplicate of key present in binaryData"));
            }
        }
        check_keys(binary, &Path::new("binaryData"), &mut errors);
        if size(data, false) + size(binary, true) > BYTES_MAX {
            errors.push(field::too_long(&Path::new(WHOLE), BYTES_MAX));
        }
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = check_immutable(object, old, &["data", "binaryData"]);
        errors.extend(self.validate(object));
        errors
    }
}

pub(crate) struct Secret;

/// Keys that a type of secret must have.
const REQUIRED: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    (SSH_AUTH, &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];
const SSH_AUTH: &str = "kubernetes.io/ssh-auth";
/// Types whose one key holds a JSON object.
const DOCKER: &[&str] = &["kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson"];
const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// The configuration of a registry has to be a JSON object; it is not shown.
fn check_docker_config(encoded: &str, path: &Path) -> Option<field::Error> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let is_object = scan::kind(&text) == "object" || text.trim() == "null";
    let wrong = scan::check(&bytes).err().or_else(|| {
        let found = scan::kind(&text);
        (!is_object).then(|| format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"))
    });
    wrong.map(|why| field::invalid(path, "<secret contents redacted>", why))
}

impl Strategy for Secret {
    fn meta_checks(&self, _: &str) -> &'static [MetaCheck] {
        &[MetaCheck::Update, MetaCheck::Whole]
    }

    fn default(&self, object: &mut Map) {
        if object.str("type").is_empty() {
            object.set("type", "Opaque");
        }
        // stringData is write-only: it goes into data.
        if let Some(Value::Map(plain)) = object.remove("stringData") {
            use base64::Engine;
            let engine = base64::engine::general_purpose::STANDARD;
            let data = object.map_mut("data");
            for (key, value) in plain {
                data.set(key, engine.encode(value.as_str().unwrap_or("")));
            }
        }
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        if object.str("type").is_empty() {
            object.set("type", old.str("type"));
        }
    }

    fn validate(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        let data = object.map("data");
        let path = Path::new("data");
        check_keys(data, &path, &mut errors);
        if size(data, true) > BYTES_MAX {
            errors.push(field::too_long(&path, BYTES_MAX));
        }
        let has = |key: &str| data.is_some_and(|data| data.contains(key));
        let kind = object.str("type");
        for key in REQUIRED.iter().find(|row| row.0 == kind).map_or(&[][..], |row| row.1) {
            let is_empty = data.is_none_or(|data| data.str(key).is_empty());
            if !has(key) || kind == SSH_AUTH && is_empty {
                errors.push(field::required(&path.key(key), ""));
            } else if DOCKER.contains(&kind) {
                errors.extend(check_docker_config(data.map_or("", |data| data.str(key)), &path.key(key)));
            }
        }
        if kind == BASIC_AUTH && !has("username") && !has("password") {
            errors.push(field::required(&path.key("username"), ""));
            errors.push(field::required(&path.key("password"), ""));
        }
        if kind == SERVICE_ACCOUNT_TOKEN {
            let annotations = object.at(&["metadata", "annotations"]).unwrap_or(Map::EMPTY);
            if annotations.str(SERVICE_ACCOUNT_NAME).is_empty() {
                let path = Path::new("metadata").child("annotations").key(SERVICE_ACCOUNT_NAME);
                errors.push(field::required(&path, ""));
            }
        }
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        if object.str("type") != old.str("type") {
            errors.push(field::invalid(&Path::new("type"), object.str("type"), "field is immutable"));
        }
        errors.extend(check_immutable(object, old, &["data"]));
        errors.extend(self.validate(object));
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        vec![("type", field_text(object, "type"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::json::{Strictness, decode_any};
    use base64::Engine;

    fn check(strategy: &dyn Strategy, object: &str, want: &[&str]) {
        let (value, _) = decode_any(object.as_bytes(), Strictness::Lenient).expect("JSON");
        let told = strategy.validate(value.as_map().expect("an object"));
        assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{object}");
    }

    fn docker(content: &str) -> String {
        let content = base64::engine::general_purpose::STANDARD.encode(content);
        format!("{{\"type\":\"kubernetes.io/dockercfg\",\"data\":{{\".dockercfg\":\"{content}\"}}}}")
    }

    #[test]
    fn contents_are_as_their_type_has_them() {
        check(&Secret, &docker("{}"), &[]);
        let at = "data[.dockercfg]: Invalid value: \"<secret contents redacted>\": ";
        check(&Secret, &docker("{"), &[&format!("{at}unexpected end of JSON input")]);
        let list = format!("{at}json: cannot unmarshal array into Go value of type map[string]interface {{}}");
        check(&Secret, &docker("[]"), &[&list]);
        let key = r#"{"type":"kubernetes.io/ssh-auth","data":{"ssh-privatekey":""}}"#;
        check(&Secret, key, &["data[ssh-privatekey]: Required value"]);
    }

    #[test]
    fn a_key_is_told_of_in_its_place() {
        let twice = "data[a]: Invalid value: \"a\": duplicate of key present in binaryData";
        check(&ConfigMap, r#"{"data":{"a":"x"},"binaryData":{"a":"eA=="}}"#, &[twice]);
        let large = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(BYTES_MAX + 1));
        check(&ConfigMap, &large, &["[]: Too long: may not be more than 1048576 bytes"]);
    }
}
