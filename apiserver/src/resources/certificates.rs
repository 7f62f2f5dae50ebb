//! certificates.k8s.io (pkg/registry/certificates/certificates/strategy.go, pkg/apis/certificates/validation@v1.37.2).
//!
//! Invariant: who asks is what the server saw, never what the client says; spec is fixed at creation.

pub(super) mod bundle;
pub(super) mod pod_request;

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::check;
use super::common::{diff, internal};
use super::simple::{Simple, field_text};
use crate::strategy::{Context, Strategy};

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Shortest validity that may be asked for, in seconds.
const EXPIRATION_SECONDS_MIN: i64 = 600;

pub(crate) struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn reset_fields(&self, subresource: &str) -> Option<&'static [&'static [&'static str]]> {
        match subresource {
            "" => Some(&[&["spec"], &["status"]]),
            "status" => Some(&[&["spec"], &["status", "conditions"]]),
            "approval" => Some(&[&["spec"], &["status", "certificate"]]),
            _ => None,
        }
    }

    fn prepare_for_create(&self, cx: &Context, object: &mut Map) {
        let spec = object.map_mut("spec");
        for name in ["username", "uid", "groups", "extra"] {
            spec.remove(name);
        }
        let user = cx.user;
        let texts = |list: &[String]| Value::List(list.iter().map(|text| Value::from(text.as_str())).collect());
        if !user.name.is_empty() {
            spec.set("username", user.name.as_str());
        }
        if !user.uid.is_empty() {
            spec.set("uid", user.uid.as_str());
        }
        if !user.groups.is_empty() {
            spec.set("groups", texts(&user.groups));
        }
        if !user.extra.is_empty() {
            let mut extra: Map = user.extra.iter().map(|(key, values)| (key.as_str().into(), texts(values))).collect();
            extra.sort();
            spec.set("extra", extra);
        }
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        object.take_over("spec", old);
    }

    fn prepare_for_status_update(&self, cx: &Context, object: &mut Map, old: &Map) {
        for kind in ["Approved", "Denied"] {
            keep_conditions(object, old, kind);
        }
        stamp(cx.now, object, old);
    }

    fn prepare_for_subresource_update(&self, cx: &Context, _: &str, object: &mut Map, old: &Map) {
        stamp(cx.now, object, old);
        let conditions = object.map("status").map(|status| status.list("conditions").to_vec()).unwrap_or_default();
        object.take_over("spec", old);
        object.take_over("status", old);
        match conditions.is_empty() {
            true => drop(object.map_mut("status").remove("conditions")),
            false => object.map_mut("status").set("conditions", conditions),
        }
    }

    fn validate(&self, object: &Map) -> Errors {
        validate(object)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = validate_status(object, Some(old));
        kept(object, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = validate_status(object, Some(old));
        kept(object, old, &mut errors);
        same_approval(object, old, &mut errors);
        let certificate = |csr: &Map| csr.map("status").map_or("", |status| status.str("certificate")).to_string();
        let was = certificate(old);
        if !was.is_empty() && certificate(object) != was {
            let path = Path::new("status").child("certificate");
            errors.push(field::forbidden(&path, "updates may not modify existing certificate content"));
        }
        errors
    }

    fn validate_subresource_update(&self, _: &str, object: &Map, old: &Map) -> Errors {
        self.validate_update(object, old)
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        Simple::any_segment(name, prefix)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", field_text(object, "spec.signerName"))]
    }
}

fn conditions<'a>(object: &'a Map, kind: &'a str) -> impl Iterator<Item = &'a Map> {
    let all = object.map("status").into_iter().flat_map(|status| status.maps("conditions"));
    all.filter(move |condition| condition.str("type") == kind)
}

/// Conditions of a kind stay as they were, when there are as many.
fn keep_conditions(object: &mut Map, old: &Map, kind: &str) {
    let olds: Vec<Map> = conditions(old, kind).cloned().collect();
    if conditions(object, kind).count() != olds.len() || olds.is_empty() {
        return;
    }
    let mut olds = olds.into_iter();
    for condition in object.map_mut("status").maps_mut("conditions").filter(|condition| condition.str("type") == kind) {
        if let Some(old) = olds.next() {
            *condition = old;
        }
    }
}

/// Times that nobody gave: now, or since when the condition has been what it is.
fn stamp(now: &str, object: &mut Map, old: &Map) {
    if object.map("status").is_none_or(|status| status.list("conditions").is_empty()) {
        return;
    }
    for condition in object.map_mut("status").maps_mut("conditions") {
        if condition.str("lastUpdateTime").is_empty() {
            condition.set("lastUpdateTime", now);
        }
        if condition.str("lastTransitionTime").is_empty() {
            let same = |other: &&Map| other.str("status") == condition.str("status");
            let since = conditions(old, condition.str("type")).find(same).map(|old| old.str("lastTransitionTime"));
            let since = since.filter(|since| !since.is_empty()).unwrap_or(now).to_string();
            condition.set("lastTransitionTime", since);
        }
    }
}

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
/// Conditions that are either true or not there.
const TRUE_ONLY: [&str; 3] = [APPROVED, DENIED, "Failed"];

/// Conditions that were set stay set.
fn kept(object: &Map, old: &Map, errors: &mut Errors) {
    let path = Path::new("status").child("conditions");
    let gone = TRUE_ONLY.iter().filter(|kind| conditions(object, kind).count() < conditions(old, kind).count());
    errors.extend(gone.map(|kind| {
        field::forbidden(&path, format!("updates may not remove a condition of type {}", field::go_quote(kind)))
    }));
}

/// Who may report a status may not decide.
fn same_approval(object: &Map, old: &Map, errors: &mut Errors) {
    let path = Path::new("status").child("conditions");
    for kind in [APPROVED, DENIED] {
        let (new, was): (Vec<&Map>, Vec<&Map>) = (conditions(object, kind).collect(), conditions(old, kind).collect());
        let quoted = field::go_quote(kind);
        if new.len() > was.len() {
            errors.push(field::forbidden(&path, format!("updates may not add a condition of type {quoted}")));
        } else if new.len() == was.len() && new != was {
            let text = |list: &[&Map]| {
                let list =
                    list.iter().map(|one| internal::pretty(one, "certificates.v1.CertificateSigningRequestCondition"));
                format!("[\n {}\n]", list.collect::<Vec<_>>().join(",\n").replace('\n', "\n "))
            };
            let difference = diff::unified(&text(&was), &text(&new));
            let why = format!("updates may not modify a condition of type {quoted}\n{difference}");
            errors.push(field::forbidden(&path, why));
        }
    }
}

/// What is wrong with a status that was not wrong before.
fn validate_status(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let status = object.map("status").unwrap_or(Map::EMPTY);
    let path = Path::new("status").child("conditions");
    let kinds: Vec<&str> = status.maps("conditions").map(|condition| condition.str("type")).collect();
    let olds: Vec<&str> = old
        .and_then(|old| old.map("status"))
        .into_iter()
        .flat_map(|s| s.maps("conditions"))
        .map(|c| c.str("type"))
        .collect();
    let repeats = |kinds: &[&str]| (0..kinds.len()).any(|at| kinds[..at].contains(&kinds[at]));
    for (at, condition) in status.maps("conditions").enumerate() {
        let (path, kind) = (path.index(at), kinds[at]);
        if kind.is_empty() && !olds.contains(&"") {
            errors.push(field::required(&path.child("type"), ""));
        }
        let allowed: &[&str] = if TRUE_ONLY.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        check::one_of(condition.str("status"), allowed, &path.child("status"), &mut errors);
        if kinds[..at].contains(&kind) && !repeats(&olds) {
            errors.push(field::duplicate(&path.child("type"), kind));
        }
    }
    let certificate = status.str("certificate");
    let known = old.and_then(|old| old.map("status")).map_or("", |status| status.str("certificate"));
    if let Err(why) = crate::admission::certificates::chain(certificate)
        && certificate != known
    {
        let path = Path::new("status").child("certificate");
        errors.push(field::invalid(&path, "<certificate data>", why));
    }
    errors
}

fn validate(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let spec = object.map("spec").unwrap_or(Map::EMPTY);
    let path = Path::new("spec");
    if let Err(why) = crate::admission::certificates::subject(object) {
        let shown = spec.get("request").cloned().unwrap_or_default();
        errors.push(field::invalid(&path.child("request"), shown, why));
    }
    if spec.list("usages").is_empty() {
        errors.push(field::required(&path.child("usages"), ""));
    }
    let usages: Vec<&str> = spec.list("usages").iter().filter_map(Value::as_str).collect();
    for (at, usage) in usages.iter().enumerate() {
        let path = path.child("usages").index(at);
        if !USAGES.contains(usage) {
            errors.push(field::not_supported(&path, *usage, USAGES));
        }
    }
    for (at, usage) in usages.iter().enumerate() {
        let path = path.child("usages").index(at);
        if usages[..at].contains(usage) {
            errors.push(field::duplicate(&path, *usage));
        }
    }
    let signer = spec.str("signerName");
    if signer == LEGACY {
        let why = "the legacy signerName is not allowed via this API version";
        errors.push(field::invalid(&path.child("signerName"), signer, why));
    } else {
        errors.extend(signer_name(signer, &path.child("signerName")));
    }
    if let Some(seconds) = spec.i64("expirationSeconds").filter(|seconds| *seconds < EXPIRATION_SECONDS_MIN) {
        let why = format!("may not specify a duration less than {EXPIRATION_SECONDS_MIN} seconds (10 minutes)");
        errors.push(field::invalid(&path.child("expirationSeconds"), seconds, why));
    }
    errors
}

const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// Longest signer: a domain, a slash, and a path that can hold a label, a dot and a subdomain.
const SIGNER_BYTES_MAX: usize = names::DNS1123_SUBDOMAIN_MAX_LENGTH * 2 + names::DNS1123_LABEL_MAX_LENGTH + 2;

/// `domain/path`, the domain with at least two parts (pkg/apis/core/validation/names.go: ValidateSignerName).
fn signer_name(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![field::required(path, "")];
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![field::invalid(path, name, why)];
    };
    let mut errors = Errors::new();
    if domain.len() > names::DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(field::too_long(path, names::DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    labels(domain, names::is_dns1123_label, path, &mut errors);
    if !domain.contains('.') {
        errors.push(field::invalid(path, domain, "should be a domain with at least two segments separated by dots"));
    }
    labels(rest, names::is_dns1123_subdomain, path, &mut errors);
    if name.len() > SIGNER_BYTES_MAX {
        errors.push(field::too_long(path, SIGNER_BYTES_MAX));
    }
    errors
}

/// What is wrong with the first label that is.
fn labels(part: &str, rule: fn(&str) -> Vec<String>, path: &Path, errors: &mut Errors) {
    let wrong = part.split('.').map(|label| (label, rule(label))).find(|(_, wrong)| !wrong.is_empty());
    for (label, why) in wrong.into_iter().flat_map(|(label, wrong)| wrong.into_iter().map(move |why| (label, why))) {
        errors.push(field::invalid(path, part, format!("validating label {}: {why}", field::go_quote(label))));
    }
}
