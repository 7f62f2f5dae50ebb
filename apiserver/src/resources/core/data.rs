//! ConfigMap and Secret: keys, sizes, immutability
//! (pkg/apis/core/validation/validation.go@v1.37.2: ValidateConfigMap, ValidateSecret and their updates).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::super::simple::field_text;
use crate::strategy::{Context, MetaCheck, Strategy};

/// Keys and values of one object together, in bytes (core.MaxSecretSize).
const BYTES_MAX: usize = 1024 * 1024;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

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
        for key in data.into_iter().flat_map(Map::keys).filter(|key| binary.is_some_and(|b| b.contains(key))) {
            let path = Path::new("data").key(key);
            errors.push(field::invalid(&path, key.as_str(), "duplicate of key present in binaryData"));
        }
        check_keys(data, &Path::new("data"), &mut errors);
        check_keys(binary, &Path::new("binaryData"), &mut errors);
        if size(data, false) + size(binary, true) > BYTES_MAX {
            errors.push(field::too_long(&Path::default(), BYTES_MAX));
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
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];
const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

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
            if !has(key) {
                errors.push(field::required(&path.key(key), ""));
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
