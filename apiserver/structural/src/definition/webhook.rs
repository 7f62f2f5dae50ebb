//! Conversion: the strategy and the webhook it may name (k8s.io/apiserver/pkg/util/webhook/validation.go@v0.37.2,
//! TLSConfigFor in k8s.io/client-go/transport@v0.37.2).

use api::clientconfig::{service_errors, url_errors};
use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// ConversionReview versions that servers understand, sorted.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// What is demanded of a webhook.
#[derive(Clone, Copy)]
pub(super) struct Demands {
    pub(super) known_review_version: bool,
    pub(super) valid_ca_bundle: bool,
}

pub(super) fn service_mut(conversion: &mut Map) -> Option<&mut Map> {
    let config = conversion.get_mut("webhook")?.as_map_mut()?.get_mut("clientConfig")?.as_map_mut()?;
    config.get_mut("service")?.as_map_mut()
}

fn client_config(conversion: &Map) -> Option<&Map> {
    conversion.at(&["webhook", "clientConfig"])
}

fn review_versions(conversion: &Map) -> &[Value] {
    conversion.map("webhook").map_or(&[], |webhook| webhook.list("conversionReviewVersions"))
}

/// Whether a server of now can talk to the webhook, or nothing says otherwise.
pub(super) fn has_known_review_version(conversion: Option<&Map>) -> bool {
    let versions = conversion.map_or(&[][..], review_versions);
    versions.is_empty() || versions.iter().filter_map(Value::as_str).any(|version| REVIEW_VERSIONS.contains(&version))
}

pub(super) fn errors(path: &Path, conversion: Option<&Map>, demands: Demands) -> Errors {
    let Some(conversion) = conversion else { return Errors::new() };
    let mut errors = Errors::new();
    let config = path.child("webhookClientConfig");
    let reviews = path.child("conversionReviewVersions");
    match conversion.str("strategy") {
        "Webhook" => {
            match client_config(conversion) {
                None => errors.push(field::required(&config, "required when strategy is set to Webhook")),
                Some(map) => config_errors(&config, map, demands, &mut errors),
            }
            review_errors(&reviews, review_versions(conversion), demands, &mut errors);
            return errors;
        }
        "" => errors.push(field::required(&path.child("strategy"), "")),
        "None" => {}
        other => errors.push(field::not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
    }
    let why = "should not be set when strategy is not set to Webhook";
    if client_config(conversion).is_some() {
        errors.push(field::forbidden(&config, why));
    }
    if !review_versions(conversion).is_empty() {
        errors.push(field::forbidden(&reviews, why));
    }
    errors
}

fn config_errors(path: &Path, config: &Map, demands: Demands, errors: &mut Errors) {
    match (config.get("url").and_then(Value::as_str), config.map("service")) {
        (Some(url), None) => errors.extend(url_errors(&path.child("url"), url)),
        (None, Some(service)) => errors.extend(service_errors(&path.child("service"), service)),
        _ => errors.push(field::required(path, "exactly one of url or service is required")),
    }
    let bundle = config.str("caBundle");
    if let Some(error) = ca_bundle_error(bundle).filter(|_| demands.valid_ca_bundle && !bundle.is_empty()) {
        errors.push(field::invalid(&path.child("caBundle"), bundle, error));
    }
}

fn review_errors(path: &Path, versions: &[Value], demands: Demands, errors: &mut Errors) {
    if versions.is_empty() {
        errors.push(field::required(path, ""));
        return;
    }
    let names: Vec<&str> = versions.iter().filter_map(Value::as_str).collect();
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            errors.push(field::invalid(&path.index(at), *name, "duplicate version"));
            continue;
        }
        let wrong = names::is_dns1035_label(name);
        errors.extend(wrong.iter().map(|why| field::invalid(&path.index(at), *name, why)));
    }
    if demands.known_review_version && !names.iter().any(|name| REVIEW_VERSIONS.contains(name)) {
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.push(field::invalid(path, Value::List(versions.to_vec()), why));
    }
}

/// Whether a definition's conversion has a CA bundle that no TLS client can use.
pub(crate) fn has_bad_ca_bundle(conversion: Option<&Map>) -> bool {
    let bundle = conversion.and_then(client_config).map_or("", |config| config.str("caBundle"));
    !bundle.is_empty() && ca_bundle_error(bundle).is_some()
}

/// Why a bundle (base64 of PEM) holds no certificate.
fn ca_bundle_error(bundle: &str) -> Option<String> {
    let pem = STANDARD.decode(bundle).unwrap_or_default();
    let mut rest = &pem[..];
    let mut last = "no valid certificate authority data seen";
    let mut bad = None;
    while !rest.is_empty() {
        let Some((block, after)) = pem_block(rest) else {
            last = "unable to parse bytes as PEM block";
            break;
        };
        rest = after;
        if block.label != "CERTIFICATE" || block.has_headers {
            continue;
        }
        match x509_parser::parse_x509_certificate(&block.bytes) {
            Ok(_) => return None,
            Err(error) => drop(bad.get_or_insert_with(|| format!("failed to parse certificate: {error}"))),
        }
    }
    Some(format!("unable to load root certificates: {}", bad.as_deref().unwrap_or(last)))
}

struct Block {
    label: String,
    has_headers: bool,
    bytes: Vec<u8>,
}

/// The next block of PEM text and what follows it.
fn pem_block(text: &[u8]) -> Option<(Block, &[u8])> {
    let find = |text: &[u8], wanted: &[u8]| text.windows(wanted.len()).position(|part| part == wanted);
    let start = find(text, b"-----BEGIN ")? + b"-----BEGIN ".len();
    let label_end = start + find(&text[start..], b"-----")?;
    let label = String::from_utf8(text[start..label_end].to_vec()).ok()?;
    let body = label_end + 5;
    let end_line = format!("-----END {label}-----");
    let end = body + find(&text[body..], end_line.as_bytes())?;
    let body = std::str::from_utf8(&text[body..end]).ok()?;
    let has_headers = body.contains(':');
    let digits: String = body.split_ascii_whitespace().filter(|line| !has_headers || !line.contains(':')).collect();
    let bytes = STANDARD.decode(digits).ok()?;
    let rest = &text[end + end_line.len()..];
    let line = find(rest, b"\n").map_or(rest.len(), |at| at + 1);
    Some((Block { label, has_headers, bytes }, &rest[line..]))
}
