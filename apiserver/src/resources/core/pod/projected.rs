//! Volumes made of several sources (pkg/apis/core/validation/validation.go@v1.37.2: validateProjectionSources).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::options::Options;
use super::volumes::{downward_file, key_to_path, local_free_path, mode};
use crate::resources::common;
use crate::resources::common::internal::{self, Plain};

/// Life of a projected token, in seconds: ten minutes to 2^32.
const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);
/// Least life of a pod certificate, in seconds.
const CERTIFICATE_SECONDS_MIN: i64 = 3600;
/// Longest life of a pod certificate, in seconds: from Kubernetes' own signers, from others.
const CERTIFICATE_SECONDS_MAX: (i64, i64) = (24 * 60 * 60, 91 * 24 * 60 * 60);
/// All user annotations of a pod certificate, in bytes.
const USER_ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const KEY_TYPES: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
const CONFLICT: &str = "conflicting duplicate paths";

pub(super) fn check(projected: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    mode(projected, "defaultMode", path, errors);
    let mut paths: Vec<String> = Vec::new();
    for (at, source) in projected.maps("sources").enumerate() {
        let at = path.child("sources").index(at);
        let mut sources = 0;
        for name in ["secret", "configMap"] {
            if let Some(object) = source.map(name) {
                sources += 1;
                self::object(object, &at.child(name), path, &mut paths, errors);
            }
        }
        if let Some(fields) = source.map("downwardAPI") {
            sources += 1;
            for item in fields.maps("items") {
                downward_file(item, &at.child("downwardAPI"), errors);
                let file = item.str("path");
                if !file.is_empty() {
                    once(file, file, path, &mut paths, errors);
                }
            }
        }
        if let Some(token) = source.map("serviceAccountToken") {
            sources += 1;
            self::token(token, &at.child("serviceAccountToken"), path, options, errors);
        }
        if let Some(bundle) = source.map("clusterTrustBundle") {
            sources += 1;
            trust_bundle(bundle, &at.child("clusterTrustBundle"), errors);
            once(bundle.str("path"), bundle.str("path"), path, &mut paths, errors);
        }
        if let Some(wanted) = source.map("podCertificate") {
            sources += 1;
            certificate(wanted, &at.child("podCertificate"), path, &mut paths, errors);
        }
        if sources > 1 {
            errors.push(field::forbidden(&at, "may not specify more than 1 volume type per source"));
        }
    }
}

/// Each path once; an error shows `shown`.
fn once(file: &str, shown: &str, path: &Path, paths: &mut Vec<String>, errors: &mut Errors) {
    if paths.iter().any(|other| other == file) {
        errors.push(field::invalid(path, shown, CONFLICT));
    } else {
        paths.push(file.to_string());
    }
}

fn object(source: &Map, at: &Path, path: &Path, paths: &mut Vec<String>, errors: &mut Errors) {
    common::required(source, "name", at, errors);
    for (index, item) in source.maps("items").enumerate() {
        key_to_path(item, &at.child("items").index(index), errors);
        if !item.str("path").is_empty() {
            once(item.str("path"), source.str("name"), path, paths, errors);
        }
    }
}

fn token(token: &Map, at: &Path, path: &Path, options: &Options, errors: &mut Errors) {
    let seconds_at = at.child("expirationSeconds");
    match token.i64("expirationSeconds") {
        None => errors.push(field::required(&seconds_at, "")),
        Some(seconds) if seconds < TOKEN_SECONDS.0 => {
            errors.push(field::invalid(&seconds_at, seconds, "may not specify a duration less than 10 minutes"));
        }
        Some(seconds) if seconds > TOKEN_SECONDS.1 => {
            errors.push(field::invalid(&seconds_at, seconds, "may not specify a duration larger than 2^32 seconds"));
        }
        Some(_) => {}
    }
    if token.str("path").is_empty() {
        errors.push(field::required(&path.child("path"), ""));
    } else if !options.any_token_path {
        local_free_path(token.str("path"), &path.child("path"), errors);
    }
}

fn trust_bundle(bundle: &Map, path: &Path, errors: &mut Errors) {
    let text = |name: &str| bundle.get(name).and_then(Value::as_str);
    match (text("name"), text("signerName")) {
        (Some(_), Some(_)) => {
            let shown = Plain(internal::shown(bundle, "core.v1.ClusterTrustBundleProjection"));
            errors.push(field::invalid(path, shown, "only one of name and signerName may be used"));
        }
        (Some(name), None) => bundle_name(bundle, name, path, errors),
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.push(field::required(&path.child("signerName"), "must be a valid signer name"));
            }
            signer_name(signer, &path.child("signerName"), errors);
            common::label_selector(bundle.map("labelSelector"), false, &path.child("labelSelector"), errors);
        }
        (None, None) => errors.push(field::required(path, "either name or signerName must be specified")),
    }
    common::required(bundle, "path", path, errors);
    local_free_path(bundle.str("path"), &path.child("path"), errors);
}

fn bundle_name(bundle: &Map, name: &str, path: &Path, errors: &mut Errors) {
    let at = path.child("name");
    if name.is_empty() {
        errors.push(field::required(&at, "must be a valid object name"));
    }
    // `example.com:signer:name`: what stands before the last colon names the signer.
    let wrong = match name.rsplit_once(':') {
        Some((_, own)) => names::name_is_dns_subdomain(own, false),
        None => names::name_is_dns_subdomain(name, false),
    };
    let why = |why: &String| format!("not a valid clustertrustbundlename: {why}");
    errors.extend(wrong.iter().map(|message| field::invalid(&at, name, why(message))));
    if let Some(selector) = bundle.get("labelSelector") {
        let why = "labelSelector must be unset if name is specified";
        errors.push(field::invalid(&path.child("labelSelector"), selector.clone(), why));
    }
}

/// ValidateSignerName: `domain/path`.
pub(crate) fn signer_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(field::required(path, ""));
        return;
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, rest] = parts.as_slice() else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(field::invalid(path, name, why));
        return;
    };
    if domain.len() > names::DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(field::too_long(path, names::DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    let labels = |text: &str, rule: fn(&str) -> Vec<String>, errors: &mut Errors| {
        let wrong = text.split('.').map(|label| (label, rule(label))).find(|(_, wrong)| !wrong.is_empty());
        if let Some((label, messages)) = wrong {
            let label = field::go_quote(label);
            let why = |message: &String| format!("validating label {label}: {message}");
            errors.extend(messages.iter().map(|message| field::invalid(path, text, why(message))));
        }
    };
    labels(domain, names::is_dns1123_label, errors);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(field::invalid(path, *domain, why));
    }
    labels(rest, names::is_dns1123_subdomain, errors);
}

fn certificate(wanted: &Map, at: &Path, path: &Path, paths: &mut Vec<String>, errors: &mut Errors) {
    let signer = wanted.str("signerName");
    signer_name(signer, &at.child("signerName"), errors);
    if let Some(annotations) = wanted.map("userAnnotations") {
        let at = at.child("userAnnotations");
        let mut bytes = 0;
        for (key, value) in annotations.iter() {
            errors.extend(names::is_domain_prefixed_key(&at, &key.to_lowercase()));
            bytes += key.len() + value.as_str().map_or(0, str::len);
        }
        if bytes > USER_ANNOTATIONS_BYTES_MAX {
            errors.push(field::too_long(&at, USER_ANNOTATIONS_BYTES_MAX));
        }
    }
    let key_type = wanted.str("keyType");
    if !KEY_TYPES.contains(&key_type) {
        errors.push(field::not_supported(&at.child("keyType"), key_type, &KEY_TYPES));
    }
    if let Some(seconds) = wanted.i64("maxExpirationSeconds") {
        certificate_seconds(seconds, signer, &at.child("maxExpirationSeconds"), errors);
    }
    let mut files = 0;
    for name in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = wanted.str(name);
        if !file.is_empty() {
            files += 1;
            local_free_path(file, &at.child(name), errors);
            once(file, file, path, paths, errors);
        }
    }
    if files == 0 {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(field::required(at, why));
    }
}

fn certificate_seconds(seconds: i64, signer: &str, path: &Path, errors: &mut Errors) {
    if seconds < CERTIFICATE_SECONDS_MIN {
        let why = format!("if provided, maxExpirationSeconds must be >= {CERTIFICATE_SECONDS_MIN}");
        errors.push(field::invalid(path, seconds, why));
    }
    let domain = signer.split('/').next().unwrap_or(signer);
    let own = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let most = if own { CERTIFICATE_SECONDS_MAX.0 } else { CERTIFICATE_SECONDS_MAX.1 };
    if seconds > most {
        errors.push(field::invalid(path, seconds, format!("if provided, maxExpirationSeconds must be <= {most}")));
    }
}
