//! admissionregistration.k8s.io (pkg/apis/admissionregistration/{v1/defaults.go,validation}@v1.37.2).
//! Expressions are not compiled here: a policy with one that does not compile is taken.

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::check;
use super::simple::Simple;

const BASE: Simple = Simple { generation: true, unconditional: false, ..Simple::BASE };

pub(super) const VALIDATING_WEBHOOKS: Simple =
    Simple { default: |object| default_webhooks(object, false), check: |object| webhooks(object, false), ..BASE };
pub(super) const MUTATING_WEBHOOKS: Simple =
    Simple { default: |object| default_webhooks(object, true), check: |object| webhooks(object, true), ..BASE };
pub(super) const POLICY: Simple = Simple {
    default: |object| {
        let spec = object.map_mut("spec");
        check::set_absent(spec, "failurePolicy", "Fail");
        if spec.map("matchConstraints").is_some() {
            default_match(spec.map_mut("matchConstraints"));
        }
    },
    ..BASE
};
pub(super) const BINDING: Simple = Simple {
    default: |object| {
        let spec = object.map_mut("spec");
        if spec.map("matchResources").is_some() {
            default_match(spec.map_mut("matchResources"));
        }
    },
    ..BASE
};

/// How long a webhook may take, in seconds, unless told, and at most.
const DEFAULT_TIMEOUT: i64 = 10;
const TIMEOUT_MAX: i64 = 30;
const DEFAULT_PORT: i64 = 443;

fn default_rules(object: &mut Map, list: &'static str) {
    if !object.list(list).is_empty() {
        object.maps_mut(list).for_each(|rule| check::set_absent(rule, "scope", "*"));
    }
}

fn default_match(resources: &mut Map) {
    check::set_absent(resources, "matchPolicy", "Equivalent");
    check::set_missing(resources, "namespaceSelector", Map::new());
    check::set_missing(resources, "objectSelector", Map::new());
    default_rules(resources, "resourceRules");
    default_rules(resources, "excludeResourceRules");
}

fn default_webhooks(object: &mut Map, mutating: bool) {
    if object.list("webhooks").is_empty() {
        return;
    }
    for webhook in object.maps_mut("webhooks") {
        check::set_absent(webhook, "failurePolicy", "Fail");
        check::set_absent(webhook, "matchPolicy", "Equivalent");
        check::set_missing(webhook, "namespaceSelector", Map::new());
        check::set_missing(webhook, "objectSelector", Map::new());
        check::set_missing(webhook, "timeoutSeconds", DEFAULT_TIMEOUT);
        if mutating {
            check::set_absent(webhook, "reinvocationPolicy", "Never");
        }
        if webhook.at(&["clientConfig", "service"]).is_some() {
            let service = webhook.map_mut("clientConfig").map_mut("service");
            check::set_missing(service, "port", DEFAULT_PORT);
        }
        default_rules(webhook, "rules");
    }
}

fn webhooks(object: &Map, mutating: bool) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("webhooks");
    let mut seen: Vec<&str> = Vec::new();
    for (at, webhook) in object.maps("webhooks").enumerate() {
        let path = path.index(at);
        one_webhook(webhook, mutating, &path, &mut errors);
        let name = webhook.str("name");
        if seen.contains(&name) {
            errors.push(field::duplicate(&path.child("name"), name));
        }
        seen.push(name);
        review_versions(webhook, &path.child("admissionReviewVersions"), &mut errors);
    }
    errors
}

fn one_webhook(webhook: &Map, mutating: bool, path: &Path, errors: &mut Errors) {
    errors.extend(names::is_fully_qualified_name(&path.child("name"), webhook.str("name")));
    for (at, rule) in webhook.maps("rules").enumerate() {
        one_rule(rule, &path.child("rules").index(at), errors);
    }
    check::optional_one_of(webhook.str("failurePolicy"), &["Fail", "Ignore"], &path.child("failurePolicy"), errors);
    let policies = ["Equivalent", "Exact"];
    check::optional_one_of(webhook.str("matchPolicy"), &policies, &path.child("matchPolicy"), errors);
    check::one_of(webhook.str("sideEffects"), &["None", "NoneOnDryRun"], &path.child("sideEffects"), errors);
    let seconds = webhook.i64("timeoutSeconds");
    if let Some(seconds) = seconds.filter(|seconds| !(1..=TIMEOUT_MAX).contains(seconds)) {
        let why = format!("the timeout value must be between 1 and {TIMEOUT_MAX} seconds");
        errors.push(field::invalid(&path.child("timeoutSeconds"), seconds, why));
    }
    for name in ["namespaceSelector", "objectSelector"] {
        errors.extend(check::label_selector(webhook.map(name), &path.child(name)));
    }
    let (client, at) = (webhook.map("clientConfig").unwrap_or(Map::EMPTY), path.child("clientConfig"));
    match (client.get("url").and_then(Value::as_str), client.map("service")) {
        (None, None) | (Some(_), Some(_)) => {
            errors.push(field::required(&at, "exactly one of url or service is required"));
        }
        (Some(url), None) => url_of(url, &at.child("url"), errors),
        (None, Some(service)) => service_of(service, &at.child("service"), errors),
    }
    if mutating {
        let policies = ["IfNeeded", "Never"];
        check::optional_one_of(webhook.str("reinvocationPolicy"), &policies, &path.child("reinvocationPolicy"), errors);
    }
}

fn url_of(url: &str, path: &Path, errors: &mut Errors) {
    let form = "; desired format: https://host[/path]";
    let why = match url.strip_prefix("https://") {
        None => "'https' is the only allowed URL scheme",
        Some(rest) if rest.is_empty() || rest.starts_with('/') => "host must be specified",
        Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => {
            "user information is not permitted in the URL"
        }
        Some(rest) if rest.contains('#') => "fragments are not permitted in the URL",
        Some(rest) if rest.contains('?') => "query parameters are not permitted in the URL",
        Some(_) => return,
    };
    errors.push(field::invalid(path, url, format!("{why}{form}")));
}

fn service_of(service: &Map, path: &Path, errors: &mut Errors) {
    for (name, words) in [("name", "service name is required"), ("namespace", "service namespace is required")] {
        if service.str(name).is_empty() {
            errors.push(field::required(&path.child(name), words));
        }
    }
    if let Some(port) = service.i64("port").filter(|port| !(1..=65535).contains(port)) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(field::invalid(&path.child("port"), port, why));
    }
    let text = service.str("path");
    if !text.is_empty() && !text.starts_with('/') {
        errors.push(field::invalid(&path.child("path"), text, "must start with a '/'"));
    }
}

fn one_rule(rule: &Map, path: &Path, errors: &mut Errors) {
    let operations = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let asked = rule.list("operations");
    if asked.is_empty() {
        errors.push(field::required(&path.child("operations"), ""));
    }
    if asked.len() > 1 && asked.iter().any(|operation| operation.as_str() == Some("*")) {
        let why = "if '*' is present, must not specify other operations";
        errors.push(field::invalid(&path.child("operations"), Value::List(asked.to_vec()), why));
    }
    for (at, operation) in asked.iter().filter_map(Value::as_str).enumerate() {
        if !operations.contains(&operation) {
            errors.push(field::not_supported(&path.child("operations").index(at), operation, &operations));
        }
    }
    for name in ["apiGroups", "apiVersions", "resources"] {
        let list = rule.list(name);
        if list.is_empty() {
            errors.push(field::required(&path.child(name), ""));
        }
        if name != "resources" && list.len() > 1 && list.iter().any(|item| item.as_str() == Some("*")) {
            let words = if name == "apiGroups" { "API groups" } else { "API versions" };
            let why = format!("if '*' is present, must not specify other {words}");
            errors.push(field::invalid(&path.child(name), Value::List(list.to_vec()), why));
        }
    }
    check::optional_one_of(rule.str("scope"), &["*", "Cluster", "Namespaced"], &path.child("scope"), errors);
}

fn review_versions(webhook: &Map, path: &Path, errors: &mut Errors) {
    let versions = webhook.list("admissionReviewVersions");
    let known = |version: &Value| matches!(version.as_str(), Some("v1" | "v1beta1"));
    if versions.is_empty() {
        errors.push(field::required(path, "must specify one of v1, v1beta1"));
    } else if !versions.iter().any(known) {
        let why = "must include at least one of v1, v1beta1";
        errors.push(field::invalid(path, Value::List(versions.to_vec()), why));
    }
}
