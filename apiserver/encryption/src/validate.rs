//! What is wrong with a configuration (k8s.io/apiserver/pkg/apis/apiserver/validation/validation_encryption.go@v0.37.2).
//!
//! Invariant: errors come in upstream's order, with its paths and words.

use std::collections::BTreeSet;

use api::field::{self, Errors, Json, Path};
use api::map;
use api::value::{Map, Value};
use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use crate::config::{Key, Kms, Provider, Rule};

/// Bytes of keys.
const AES_KEY_BYTES: &[usize] = &[16, 24, 32];
const SECRETBOX_KEY_BYTES: &[usize] = &[32];

const OVERLAP: &str = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
const DUPLICATE: &str = "the same resource cannot be specified multiple times";
const CAPITALS: &str = "resource name should not contain capital letters";
const STAR: &str = "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources";
const NO_REST: &str = "resources which do not have REST API/s cannot be encrypted";
const EVENTS: &str = "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file";
const EXTENSIONS: &str = "'extensions' group has been removed and cannot be used for encryption";
const ACROSS: &str = "encrypting the same resource across groups is not supported";
const NONE: &str = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
const SEVERAL: &str = "more than one provider specified in a single element, should split into different list elements";

/// A resource and its group, split at the first dot.
pub(crate) fn split(resource: &str) -> (&str, &str) {
    resource.split_once('.').unwrap_or((resource, ""))
}

pub(crate) fn configuration(rules: &[Rule], reload: bool) -> Errors {
    let root = Path::new("resources");
    if rules.is_empty() {
        return vec![field::required(&root, at_least_one(&root))];
    }
    let (mut errors, mut names) = (Errors::new(), BTreeSet::new());
    for (at, rule) in rules.iter().enumerate() {
        let (resources, providers) = (root.index(at).child("resources"), root.index(at).child("providers"));
        if rule.resources.is_empty() {
            errors.push(field::required(&resources, at_least_one(&resources)));
        }
        errors.extend(overlaps(&rule.resources, &resources));
        let named = rule.resources.iter().enumerate();
        errors.extend(named.filter_map(|(at, name)| Some(field::invalid(&resources.index(at), name, misnamed(name)?))));
        if rule.providers.is_empty() {
            errors.push(field::required(&providers, at_least_one(&providers)));
        }
        for (at, provider) in rule.providers.iter().enumerate() {
            errors.extend(of_provider(provider, &providers.index(at), &mut names, reload));
        }
    }
    errors
}

fn at_least_one(what: impl std::fmt::Display) -> String {
    format!("at least one {what} is required")
}

fn overlaps(resources: &[String], path: &Path) -> Errors {
    let split: Vec<_> = resources.iter().map(|resource| split(resource)).collect();
    let (mut overlap, mut duplicate) = (false, false);
    for (i, one) in split.iter().enumerate() {
        for (_, other) in split.iter().enumerate().filter(|(j, _)| *j != i) {
            if one == other && !duplicate {
                duplicate = true;
                continue;
            }
            overlap |= *one == ("*", "*") || (one.1 == other.1 && (one.0 == "*" || other.0 == "*"));
        }
    }
    let found = [(duplicate, DUPLICATE), (overlap, OVERLAP)];
    let resources = &resources;
    found.into_iter().filter(|(is, _)| *is).map(|(_, why)| field::invalid(path, Json(resources), why)).collect()
}

/// Why a resource may not be named so.
fn misnamed(name: &str) -> Option<&'static str> {
    let (resource, group) = split(name);
    match name {
        _ if name.to_lowercase() != name => Some(CAPITALS),
        "*" => Some(STAR),
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => Some(NO_REST),
        _ if group == "events.k8s.io" => Some(EVENTS),
        _ if group == "extensions" => Some(EXTENSIONS),
        _ if group == "*" && resource != "*" => Some(ACROSS),
        _ => None,
    }
}

fn of_provider(provider: &Provider, path: &Path, names: &mut BTreeSet<String>, reload: bool) -> Errors {
    let Provider { aesgcm, aescbc, secretbox, identity, kms } = provider;
    let set = [kms.is_some(), aesgcm.is_some(), aescbc.is_some(), secretbox.is_some(), *identity];
    let mut errors = match set.iter().filter(|is| **is).count() {
        0 => vec![field::invalid(path, shown_provider(provider), NONE)],
        1 => Errors::new(),
        _ => vec![field::invalid(path, shown_provider(provider), SEVERAL)],
    };
    if let Some(kms) = kms {
        errors.extend(of_kms(kms, &path.child("kms"), names, reload));
        names.insert(kms.name.clone());
    } else if let Some(keys) = aesgcm {
        errors.extend(of_keys(keys, &path.child("aesgcm").child("keys"), AES_KEY_BYTES));
    } else if let Some(keys) = aescbc {
        errors.extend(of_keys(keys, &path.child("aescbc").child("keys"), AES_KEY_BYTES));
    } else if let Some(keys) = secretbox {
        errors.extend(of_keys(keys, &path.child("secretbox").child("keys"), SECRETBOX_KEY_BYTES));
    }
    errors
}

fn mandatory(what: &str, of: &str) -> String {
    format!("{what} is a mandatory field for a {of}")
}

fn of_keys(keys: &[Key], path: &Path, sizes: &[usize]) -> Errors {
    if keys.is_empty() {
        return vec![field::required(path, at_least_one("keys"))];
    }
    keys.iter().enumerate().flat_map(|(at, key)| of_key(key, &path.index(at), sizes)).collect()
}

fn of_key(key: &Key, path: &Path, sizes: &[usize]) -> Errors {
    let mut errors = Errors::new();
    if key.name.is_empty() {
        errors.push(field::required(&path.child("name"), mandatory("name", "key")));
    }
    let path = path.child("secret");
    if key.secret.is_empty() {
        errors.push(field::required(&path, mandatory("secret", "key")));
        return errors;
    }
    match secret(&key.secret) {
        None => errors.push(field::invalid(&path, "REDACTED", "secrets must be base64 encoded")),
        Some(secret) if !sizes.contains(&secret.len()) => {
            let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            let (len, sizes) = (secret.len(), sizes.join(" "));
            let why = format!("secret is not of the expected length, got {len}, expected one of [{sizes}]");
            errors.push(field::invalid(&path, "REDACTED", why));
        }
        Some(_) => {}
    }
    errors
}

/// Go's base64.StdEncoding does not look at the bits that are left over.
const STD: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The bytes of a secret, as Go's base64.StdEncoding reads it: line ends do not count.
pub(crate) fn secret(text: &str) -> Option<Vec<u8>> {
    STD.decode(text.replace(['\r', '\n'], "")).ok()
}

/// A provider as upstream shows it in an error: its internal type as JSON, secrets included.
fn shown_provider(provider: &Provider) -> Value {
    let key = |key: &Key| Value::Map(map! { "Name" => key.name.as_str(), "Secret" => key.secret.as_str() });
    let keys = |keys: &Option<Vec<Key>>| match keys {
        None => Value::Null,
        Some(keys) => Value::Map(map! { "Keys" => keys.iter().map(key).collect::<Vec<_>>() }),
    };
    let kms = provider.kms.as_ref().map_or(Value::Null, |kms| {
        let size = kms.cache_size.map_or(Value::Null, |size| Value::from(i64::from(size)));
        Value::Map(map! {
            "APIVersion" => kms.api_version.as_str(), "Name" => kms.name.as_str(), "CacheSize" => size,
            "Endpoint" => kms.endpoint.as_str(), "Timeout" => api::duration::format(kms.timeout_nanos),
        })
    });
    Value::Map(map! {
        "AESGCM" => keys(&provider.aesgcm), "AESCBC" => keys(&provider.aescbc),
        "Secretbox" => keys(&provider.secretbox),
        "Identity" => if provider.identity { Value::Map(Map::new()) } else { Value::Null }, "KMS" => kms,
    })
}

fn of_kms(kms: &Kms, path: &Path, names: &BTreeSet<String>, reload: bool) -> Errors {
    let mut errors = kms_name(kms, &path.child("name"), names, reload);
    if kms.timeout_nanos <= 0 {
        let shown = api::duration::format(kms.timeout_nanos);
        errors.push(field::invalid(&path.child("timeout"), shown, "timeout should be a positive value"));
    }
    errors.extend(kms_endpoint(&kms.endpoint, &path.child("endpoint")));
    let cache = path.child("cachesize");
    match kms.cache_size {
        Some(size) if kms.api_version != "v1" => {
            errors.push(field::invalid(&cache, size, "cachesize is not supported in v2"));
        }
        Some(0) => {
            let why = "cachesize should be a positive value, or negative to disable";
            errors.push(field::invalid(&cache, 0i32, why));
        }
        _ => {}
    }
    if !matches!(kms.api_version.as_str(), "v1" | "v2") {
        let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.push(field::invalid(&path.child("apiVersion"), &kms.api_version, why));
    }
    errors
}

fn kms_name(kms: &Kms, path: &Path, names: &BTreeSet<String>, reload: bool) -> Errors {
    let (mut errors, name) = (Errors::new(), &kms.name);
    if name.is_empty() {
        errors.push(field::required(path, mandatory("name", "provider")));
    }
    if kms.api_version != "v1" && name.contains(':') {
        let why = format!("invalid KMS provider name {name}, must not contain ':'");
        errors.push(field::invalid(path, name, why));
    }
    if (reload || kms.api_version != "v1") && names.contains(name) {
        let why = format!("duplicate KMS provider name {name}, names must be unique");
        errors.push(field::invalid(path, name, why));
    }
    errors
}

fn kms_endpoint(endpoint: &str, path: &Path) -> Option<field::Error> {
    if endpoint.is_empty() {
        return Some(field::invalid(path, "", mandatory("endpoint", "kms")));
    }
    match api::gourl::parse(endpoint) {
        Err(why) => Some(field::invalid(path, endpoint, format!("invalid endpoint for kms provider, error: {why}"))),
        Ok(url) if url.scheme != "unix" => {
            let scheme = field::go_quote(&url.scheme);
            let why = format!("unsupported scheme {scheme} for KMS provider, only unix is supported");
            Some(field::invalid(path, endpoint, why))
        }
        Ok(_) => None,
    }
}
