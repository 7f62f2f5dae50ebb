//! Probes and lifecycle handlers (pkg/apis/core/validation/validation.go@v1.37.2: validateProbe, validateHandler,
//! validateLifecycle).
//!
//! Non-goal: `lifecycle.stopSignal`, `httpGet.protocol` and `grpc.mode`, which are behind gates that are off in v1.37
//! and dropped before validation.

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use crate::resources::common;

const NUMBERS: [&str; 5] =
    ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
const SCHEMES: [&str; 2] = ["HTTP", "HTTPS"];

/// All probes of a container.
pub(super) fn check(container: &Map, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.map(name) else { continue };
        let path = path.child(name);
        self::probe(probe, grace, &path, errors);
        let of_readiness = name == "readinessProbe";
        let successes = probe.i64("successThreshold").unwrap_or(0);
        if !of_readiness && successes != 1 {
            errors.push(field::invalid(&path.child("successThreshold"), successes, "must be 1"));
        }
        if let Some(seconds) = probe.i64("terminationGracePeriodSeconds").filter(|_| of_readiness) {
            let why = "must not be set for readinessProbes";
            errors.push(field::invalid(&path.child("terminationGracePeriodSeconds"), seconds, why));
        }
    }
}

fn probe(probe: &Map, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    handler(probe, grace, path, errors);
    common::none_negative(probe, &NUMBERS, path, errors);
    if let Some(seconds) = probe.i64("terminationGracePeriodSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(field::invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0"));
    }
}

pub(super) fn lifecycle(container: &Map, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let Some(lifecycle) = container.map("lifecycle") else { return };
    for name in ["postStart", "preStop"] {
        if let Some(hook) = lifecycle.map(name) {
            handler(hook, grace, &path.child("lifecycle").child(name), errors);
        }
    }
}

fn handler(handler: &Map, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut handlers = 0;
    for name in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = handler.map(name) else { continue };
        let at = path.child(name);
        handlers += 1;
        if handlers > 1 {
            errors.push(field::forbidden(&at, "may not specify more than 1 handler type"));
            continue;
        }
        match name {
            "exec" => {
                if action.list("command").is_empty() {
                    errors.push(field::required(&at.child("command"), ""));
                }
            }
            "httpGet" => http_get(action, &at, errors),
            "sleep" => sleep(action, grace, &at, errors),
            _ => port(action.get("port"), &at.child("port"), errors),
        }
    }
    if handlers == 0 {
        errors.push(field::required(path, "must specify a handler type"));
    }
}

fn http_get(get: &Map, path: &Path, errors: &mut Errors) {
    common::required(get, "path", path, errors);
    port(get.get("port"), &path.child("port"), errors);
    let scheme = get.str("scheme");
    if !SCHEMES.contains(&scheme) {
        errors.push(field::not_supported(&path.child("scheme"), scheme, &SCHEMES));
    }
    for header in get.maps("httpHeaders") {
        let name = header.str("name");
        common::each(&path.child("httpHeaders"), name, names::is_http_header_name(name), errors);
    }
}

fn sleep(sleep: &Map, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let seconds = sleep.i64("seconds").unwrap_or(0);
    if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(field::invalid(path, seconds, why));
    }
}

/// ValidatePortNumOrName.
fn port(port: Option<&Value>, path: &Path, errors: &mut Errors) {
    match port {
        Some(Value::String(name)) => common::each(path, name, names::is_valid_port_name(name), errors),
        port => {
            let number = port.and_then(Value::as_i64).unwrap_or(0);
            errors.extend(names::is_valid_port_num(number).iter().map(|why| field::invalid(path, number, why)));
        }
    }
}
