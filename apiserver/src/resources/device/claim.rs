//! What a claim asks for (pkg/apis/resource/validation/validation.go@v1.37.2: validateDeviceClaim).

use std::collections::HashMap;

use api::field::{self, Errors, Path};
use api::value::Map;

use super::{expression, shared};
use crate::resources::common;

pub(super) const REQUESTS_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
pub(super) const CONFIG_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const SUBREQUESTS_MAX: usize = 8;
const UNKNOWN: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// The requests of a claim, each with its subrequests.
pub(super) struct Requests<'m>(HashMap<&'m str, Vec<&'m str>>);

impl<'m> Requests<'m> {
    /// `devices`: spec.devices of a claim.
    pub(super) fn of(devices: &'m Map) -> Self {
        let names = |request: &'m Map| request.maps("firstAvailable").map(|sub| sub.str("name")).collect();
        Requests(devices.maps("requests").map(|request| (request.str("name"), names(request))).collect())
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, sub)) => self.0.get(request).is_some_and(|subs| subs.contains(&sub)),
        }
    }

    /// validateRequestNameRef.
    pub(super) fn named(&self, name: &str, path: &Path, errors: &mut Errors) {
        let segments: Vec<&str> = name.split('/').collect();
        if segments.len() > 2 {
            return errors.push(field::invalid(path, name, UNKNOWN));
        }
        segments.iter().for_each(|segment| common::dns_label(segment, path, errors));
        if !self.has(name) {
            errors.push(field::invalid(path, name, UNKNOWN));
        }
    }

    /// The names in the `requests` of a constraint or configuration.
    pub(super) fn all_named(&self, owner: &Map, path: &Path, errors: &mut Errors) {
        for (at, name) in shared::texts(owner, "requests", REQUESTS_MAX) {
            self.named(name, &path.child("requests").index(at), errors);
        }
    }
}

/// validateResourceClaimSpec.
pub(super) fn spec(spec: &Map, path: &Path, errors: &mut Errors) {
    let (devices, path) = (spec.map("devices").unwrap_or(Map::EMPTY), path.child("devices"));
    let requests = Requests::of(devices);
    for (at, wanted) in shared::within(devices, "requests", REQUESTS_MAX) {
        request(wanted, &path.child("requests").index(at), errors);
    }
    for (at, wanted) in shared::within(devices, "constraints", CONSTRAINTS_MAX) {
        let path = path.child("constraints").index(at);
        requests.all_named(wanted, &path, errors);
        if !wanted.contains("matchAttribute") && !wanted.contains("distinctAttribute") {
            let why =
                r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
            errors.push(field::required(&path, why));
        }
    }
    for (at, config) in shared::within(devices, "config", CONFIG_MAX) {
        let path = path.child("config").index(at);
        requests.all_named(config, &path, errors);
        shared::configuration(config, false, &path, errors);
    }
}

fn request(request: &Map, path: &Path, errors: &mut Errors) {
    common::dns_label(request.str("name"), &path.child("name"), errors);
    match (request.map("exactly"), !request.list("firstAvailable").is_empty()) {
        (None, false) => {
            errors.push(field::required(path, "exactly one of `exactly` or `firstAvailable` is required"));
        }
        (Some(_), true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(field::invalid(path, api::value::Value::Null, why));
        }
        (None, true) => {
            for (at, sub) in shared::within(request, "firstAvailable", SUBREQUESTS_MAX) {
                let path = path.child("firstAvailable").index(at);
                common::dns_label(sub.str("name"), &path.child("name"), errors);
                wanted(sub, &path, errors);
            }
        }
        (Some(exactly), false) => {
            let (class, path) = (exactly.str("deviceClassName"), path.child("exactly"));
            if class.is_empty() {
                errors.push(field::required(&path.child("deviceClassName"), ""));
            } else {
                common::dns_subdomain(class, &path.child("deviceClassName"), errors);
            }
            wanted(exactly, &path, errors);
        }
    }
}

/// What a request and a subrequest have in common.
fn wanted(request: &Map, path: &Path, errors: &mut Errors) {
    selectors(request, false, path, errors);
    let (mode, count, at) = (request.str("allocationMode"), request.i64("count").unwrap_or(0), path.child("count"));
    match mode {
        "All" if count != 0 => {
            errors.push(field::invalid(&at, count, format!("must not be specified when allocationMode is '{mode}'")));
        }
        "ExactCount" if count <= 0 => errors.push(field::invalid(&at, count, "must be greater than zero")),
        _ => {}
    }
    shared::tolerations(request, path, errors);
}

/// validateSelectorSlice; `stored` expressions were valid when they were stored.
pub(super) fn selectors(owner: &Map, stored: bool, path: &Path, errors: &mut Errors) {
    for (at, selector) in shared::within(owner, "selectors", SELECTORS_MAX) {
        let path = path.child("selectors").index(at).child("cel");
        match selector.map("cel") {
            None => errors.push(field::required(&path, "")),
            Some(_) if stored => {}
            Some(cel) => expression::selector(cel.str("expression"), &path.child("expression"), errors),
        }
    }
}
