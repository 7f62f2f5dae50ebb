//! An EncryptionConfiguration: decoded strictly, with its defaults, and judged
//! (k8s.io/apiserver/pkg/apis/apiserver/{v1/types_encryption.go,v1/defaults.go}@v0.37.2).
//!
//! Invariant: what is accepted or refused, and in which words, is upstream's. Non-goal: keys as ciphers.

use api::facts::{Field, Index, Omit, Struct, Type, split_api_version};
use api::json::{self, Strictness};
use api::value::{Map, Value};

use crate::validate;

/// A file that was read and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub rules: Vec<Rule>,
    /// Of the file's bytes.
    pub hash: String,
}

/// Which resources go through which providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `secrets`, `deployments.apps`, `*.apps`, `*.`, `*.*`.
    pub resources: Vec<String>,
    /// The first one writes, all of them read.
    pub providers: Vec<Provider>,
}

/// An element of `providers`; a good configuration has exactly one of them set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provider {
    pub aesgcm: Option<Vec<Key>>,
    pub aescbc: Option<Vec<Key>>,
    pub secretbox: Option<Vec<Key>>,
    pub identity: bool,
    pub kms: Option<Kms>,
}

/// A named key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    /// base64.
    pub secret: String,
}

/// In a log safe way.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name: {}, Secret: [REDACTED]", self.name)
    }
}

/// A KMS plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kms {
    pub api_version: String,
    pub name: String,
    /// Of v1 plugins only.
    pub cache_size: Option<i32>,
    pub endpoint: String,
    pub timeout_nanos: i64,
}

/// v1/defaults.go.
const TIMEOUT_NANOS: i64 = 3_000_000_000;
const CACHE_SIZE: i32 = 1000;
const KMS_API_VERSION: &str = "v1";

const fn field(name: &'static str, ty: Type) -> Field {
    Field { name, ty, omit: Omit::Empty, ..Field::BASE }
}

const fn pointer(name: &'static str, ty: Type) -> Field {
    Field { name, ty, omit: Omit::Empty, nilable: true, ..Field::BASE }
}

/// `name` as Go's type errors show it: the package and the type.
const fn structure(name: &'static str, kinded: bool, fields: &'static [Field]) -> Struct {
    Struct { name, atomic: false, kinded, open: false, index: Index::new(), fields }
}

static CONFIGURATION: Struct =
    structure("v1.EncryptionConfiguration", true, &[field("resources", Type::List(&Type::Struct(&RULE)))]);
static RULE: Struct = structure(
    "v1.ResourceConfiguration",
    false,
    &[field("resources", Type::List(&Type::String)), field("providers", Type::List(&Type::Struct(&PROVIDER)))],
);
static PROVIDER: Struct = structure(
    "v1.ProviderConfiguration",
    false,
    &[
        pointer("aesgcm", Type::Struct(&AES)),
        pointer("aescbc", Type::Struct(&AES)),
        pointer("secretbox", Type::Struct(&SECRETBOX)),
        pointer("identity", Type::Struct(&IDENTITY)),
        pointer("kms", Type::Struct(&KMS)),
    ],
);
static AES: Struct = structure("v1.AESConfiguration", false, &[field("keys", Type::List(&Type::Struct(&KEY)))]);
static SECRETBOX: Struct =
    structure("v1.SecretboxConfiguration", false, &[field("keys", Type::List(&Type::Struct(&KEY)))]);
static KEY: Struct = structure("v1.Key", false, &[field("name", Type::String), field("secret", Type::String)]);
static IDENTITY: Struct = structure("v1.IdentityConfiguration", false, &[]);
static KMS: Struct = structure(
    "v1.KMSConfiguration",
    false,
    &[
        field("apiVersion", Type::String),
        field("name", Type::String),
        pointer("cachesize", Type::Int32),
        field("endpoint", Type::String),
        pointer("timeout", Type::Duration),
    ],
);

/// The kinds that are one and the same; the second came of a mistake in documentation (v1/register.go).
const KINDS: &[(&str, &str)] = &[("apiserver.config.k8s.io/v1", "EncryptionConfiguration"), ("v1", "EncryptionConfig")];

/// Reads the text of the file at `path`; `reload` when the file may change (encryptionconfig/config.go: loadConfig).
///
/// # Errors
/// Upstream's words for a file that cannot be decoded or is not valid.
pub fn parse(path: &str, text: &[u8], reload: bool) -> Result<Configuration, String> {
    if text.is_empty() {
        return Err(format!(
            "error while loading file: encryption provider configuration file {} is empty",
            quote(path)
        ));
    }
    let object = decode(text)
        .map_err(|why| format!("error decoding encryption provider configuration file {}: {why}", quote(path)))?;
    let rules: Vec<Rule> = object.maps("resources").map(rule).collect();
    let errors = validate::configuration(&rules, reload);
    match aggregate(errors) {
        Some(text) => Err(text),
        None => Ok(Configuration { rules, hash: crate::hash(text) }),
    }
}

fn quote(text: &str) -> String {
    api::field::go_quote(text)
}

/// field.ErrorList's ToAggregate: each text once.
fn aggregate(errors: api::field::Errors) -> Option<String> {
    let errors = errors.iter().map(|error| crate::Error::new(error.to_string())).collect();
    crate::Error::all(errors).map(|error| error.to_string())
}

/// Strictly (apimachinery/pkg/runtime/serializer/json/json.go).
fn decode(text: &[u8]) -> Result<Map, String> {
    let json_text = match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => text.to_vec(),
        _ => api::yaml::to_json(text).map_err(|error| error.to_string())?,
    };
    let shown = String::from_utf8_lossy(text);
    check_kind(&json_text, &shown)?;
    let decoded = json::decode(&json_text, &CONFIGURATION, Strictness::Strict).map_err(|error| error.to_string())?;
    let duplicate = api::yaml::duplicate_keys(text).filter(|_| json_text != text).map(|error| error.to_string());
    let strict: Vec<String> = duplicate.into_iter().chain(decoded.strict).collect();
    match strict.is_empty() {
        true => Ok(decoded.value),
        false => Err(format!("strict decoding error: {}", strict.join(", "))),
    }
}

fn check_kind(json_text: &[u8], shown: &str) -> Result<(), String> {
    let (head, _) = json::decode_any(json_text, Strictness::Lenient)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let Value::Map(head) = head else {
        let found = match head {
            Value::List(_) => "array",
            Value::String(_) => "string",
            Value::Bool(_) => "bool",
            Value::Null => return Err(format!("Object 'Kind' is missing in '{shown}'")),
            _ => "number",
        };
        return Err(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        ));
    };
    let (version, kind) = (head.str("apiVersion"), head.str("kind"));
    if kind.is_empty() {
        return Err(format!("Object 'Kind' is missing in '{shown}'"));
    }
    if split_api_version(version).1.is_empty() {
        return Err(format!("Object 'apiVersion' is missing in '{shown}'"));
    }
    match KINDS.contains(&(version, kind)) {
        true => Ok(()),
        false => Err(format!(
            "no kind {} is registered for version {} in scheme \"pkg/runtime/scheme.go:111\"",
            quote(kind),
            quote(version)
        )),
    }
}

fn texts(object: &Map, name: &str) -> Vec<String> {
    object.list(name).iter().map(|text| text.as_str().unwrap_or_default().to_string()).collect()
}

fn rule(object: &Map) -> Rule {
    Rule { resources: texts(object, "resources"), providers: object.maps("providers").map(provider).collect() }
}

fn provider(object: &Map) -> Provider {
    let keys = |name: &str| {
        let keys = object.map(name)?.maps("keys");
        Some(keys.map(|key| Key { name: key.str("name").into(), secret: key.str("secret").into() }).collect())
    };
    Provider {
        aesgcm: keys("aesgcm"),
        aescbc: keys("aescbc"),
        secretbox: keys("secretbox"),
        identity: object.map("identity").is_some(),
        kms: object.map("kms").map(kms),
    }
}

/// With the defaults.
fn kms(object: &Map) -> Kms {
    let api_version = Some(object.str("apiVersion")).filter(|version| !version.is_empty()).unwrap_or(KMS_API_VERSION);
    let timeout = object.get("timeout").and_then(Value::as_str);
    let size = object.i64("cachesize").and_then(|size| i32::try_from(size).ok());
    Kms {
        api_version: api_version.into(),
        name: object.str("name").into(),
        cache_size: size.or((api_version == KMS_API_VERSION).then_some(CACHE_SIZE)),
        endpoint: object.str("endpoint").into(),
        timeout_nanos: timeout.and_then(|text| api::duration::parse(text).ok()).unwrap_or(TIMEOUT_NANOS),
    }
}
