//! certificates.k8s.io (pkg/registry/certificates/certificates/strategy.go, pkg/apis/certificates/validation@v1.37.2).
//!
//! Invariant: who asks is what the server saw, never what the client says; spec is fixed at creation.

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::check;
use super::simple::field_text;
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
        keep(object, old, "spec");
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
        keep(object, old, "spec");
        keep(object, old, "status");
        match conditions.is_empty() {
            true => drop(object.map_mut("status").remove("conditions")),
            false => object.map_mut("status").set("conditions", conditions),
        }
    }

    fn validate(&self, object: &Map) -> Errors {
        validate(object)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        // Approval may not be taken back or altered but through its subresource.
        kept(object, old, &["Approved", "Denied", "Failed"])
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        kept(object, old, &["Approved", "Denied", "Failed"])
    }

    fn validate_subresource_update(&self, _: &str, object: &Map, old: &Map) -> Errors {
        let mut errors = kept(object, old, &["Approved", "Denied", "Failed"]);
        if has(object, "Approved") && has(object, "Denied") {
            let path = Path::new("status").child("conditions");
            errors.push(field::invalid(&path, "Denied", "Approved and Denied conditions are mutually exclusive"));
        }
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", field_text(object, "spec.signerName"))]
    }
}

fn keep(object: &mut Map, old: &Map, name: &'static str) {
    match old.get(name) {
        Some(value) => object.set(name, value.clone()),
        None => drop(object.remove(name)),
    }
}

fn conditions<'a>(object: &'a Map, kind: &'a str) -> impl Iterator<Item = &'a Map> {
    let all = object.map("status").into_iter().flat_map(|status| status.maps("conditions"));
    all.filter(move |condition| condition.str("type") == kind)
}

fn has(object: &Map, kind: &str) -> bool {
    conditions(object, kind).next().is_some()
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

/// Conditions that were set stay set.
fn kept(object: &Map, old: &Map, kinds: &[&str]) -> Errors {
    let path = Path::new("status").child("conditions");
    let gone = kinds.iter().filter(|kind| has(old, kind) && !has(object, kind));
    gone.map(|kind| {
        field::forbidden(&path, format!("updates may not remove a condition of type {}", field::go_quote(kind)))
    })
    .collect()
}

fn validate(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let spec = object.map("spec").unwrap_or(Map::EMPTY);
    let path = Path::new("spec");
    if let Err(why) = crate::admission::certificates::subject(object) {
        errors.push(field::invalid(&path.child("request"), spec.str("request"), why));
    }
    if spec.list("usages").is_empty() {
        errors.push(field::required(&path.child("usages"), "usages must be provided"));
    }
    let usages: Vec<&str> = spec.list("usages").iter().filter_map(Value::as_str).collect();
    for (at, usage) in usages.iter().enumerate() {
        let path = path.child("usages").index(at);
        if !USAGES.contains(usage) {
            errors.push(field::not_supported(&path, *usage, USAGES));
        }
        if usages[..at].contains(usage) {
            errors.push(field::duplicate(&path, *usage));
        }
    }
    errors.extend(signer_name(spec.str("signerName"), &path.child("signerName")));
    if let Some(seconds) = spec.i64("expirationSeconds").filter(|seconds| *seconds < EXPIRATION_SECONDS_MIN) {
        let why = format!("may not specify a duration less than {EXPIRATION_SECONDS_MIN} seconds (10 minutes)");
        errors.push(field::invalid(&path.child("expirationSeconds"), seconds, why));
    }
    errors
}

/// `domain/path`, the domain with at least two parts.
pub(super) fn signer_name(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![field::required(path, "")];
    }
    let Some((domain, rest)) = name.split_once('/') else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![field::invalid(path, name, why)];
    };
    let mut errors = check::said(path, domain, &names::is_dns1123_subdomain(domain));
    if domain.split('.').count() < 2 {
        errors.push(field::invalid(path, domain, "should be a domain with at least two segments separated by dots"));
    }
    for segment in rest.split('/') {
        errors.extend(check::said(path, segment, &names::is_dns1123_subdomain(segment)));
    }
    errors
}
