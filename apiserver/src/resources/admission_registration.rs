//! admissionregistration.k8s.io (pkg/apis/admissionregistration/{v1/defaults.go,validation}@v1.37.2).
//! Webhooks; policies are in `admission_policy`.

use api::clientconfig::{service_errors, url_errors};
use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};
use cel::types::Type;

use super::admission_policy::compiled;
use super::simple::Simple;
use super::{check, common};
use crate::admission::expression::compile::{Compiler, Uses};
use crate::strategy::MetaCheck;

/// What the kinds of admissionregistration.k8s.io share.
pub(super) const BASE: Simple = Simple {
    generation: true,
    unconditional: false,
    recheck: false,
    meta: &[MetaCheck::Whole],
    knows_finalizers: false,
    ..Simple::BASE
};

pub(super) const VALIDATING_WEBHOOKS: Simple = Simple {
    counts_empty: true,
    default: |object| default_webhooks(object, false),
    check: |object| webhooks(object, None, false),
    check_change: |object, old| webhooks(object, Some(old), false),
    ..BASE
};
pub(super) const MUTATING_WEBHOOKS: Simple = Simple {
    counts_empty: true,
    default: |object| default_webhooks(object, true),
    check: |object| webhooks(object, None, true),
    check_change: |object, old| webhooks(object, Some(old), true),
    ..BASE
};
/// How long a webhook may take, in seconds, unless told, and at most.
const DEFAULT_TIMEOUT: i64 = 10;
const TIMEOUT_MAX: i64 = 30;
const DEFAULT_PORT: i64 = 443;
/// What conditions of webhooks may use.
const CONDITION_USES: Uses = Uses { params: false, authorizer: true, patches: false };

fn default_rules(object: &mut Map, list: &'static str) {
    if !object.list(list).is_empty() {
        object.maps_mut(list).for_each(|rule| check::set_missing(rule, "scope", "*"));
    }
}

pub(super) fn default_match(resources: &mut Map) {
    check::set_missing(resources, "matchPolicy", "Equivalent");
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
        check::set_missing(webhook, "failurePolicy", "Fail");
        check::set_missing(webhook, "matchPolicy", "Equivalent");
        check::set_missing(webhook, "namespaceSelector", Map::new());
        check::set_missing(webhook, "objectSelector", Map::new());
        check::set_missing(webhook, "timeoutSeconds", DEFAULT_TIMEOUT);
        if mutating {
            check::set_missing(webhook, "reinvocationPolicy", "Never");
        }
        if webhook.at(&["clientConfig", "service"]).is_some() {
            let service = webhook.map_mut("clientConfig").map_mut("service");
            check::set_missing(service, "port", DEFAULT_PORT);
        }
        default_rules(webhook, "rules");
    }
}

/// A configuration, with the one that it replaces.
fn webhooks(object: &Map, old: Option<&Map>, mutating: bool) -> Errors {
    let mut errors = Errors::new();
    let compiler = Compiler::plain();
    let known = |text: &str| old.is_some_and(|old| has_condition(old, text));
    let judge = |text: &str, path: &Path| compiled(&compiler, text, &[Type::Bool], CONDITION_USES, known(text), path);
    let unchanged = old.is_some_and(|old| same_conditions(object, old));
    let path = Path::new("webhooks");
    let mut seen: Vec<&str> = Vec::new();
    for (at, webhook) in object.maps("webhooks").enumerate() {
        let path = path.index(at);
        one_webhook(webhook, mutating, &path, &mut errors);
        if !unchanged {
            conditions(webhook, &path.child("matchConditions"), &mut errors, judge);
        }
        let name = webhook.str("name");
        if seen.contains(&name) {
            errors.push(field::duplicate(&path.child("name"), name));
        }
        seen.push(name);
        review_versions(webhook, &path.child("admissionReviewVersions"), &mut errors);
    }
    errors
}

fn has_condition(configuration: &Map, text: &str) -> bool {
    let mut conditions = configuration.maps("webhooks").flat_map(|webhook| webhook.maps("matchConditions"));
    conditions.any(|condition| condition.str("expression") == text)
}

/// Conditions that stay as they are are not judged again.
fn same_conditions(object: &Map, old: &Map) -> bool {
    let of = |object: &Map| {
        object.maps("webhooks").map(|webhook| webhook.list("matchConditions").to_vec()).collect::<Vec<_>>()
    };
    of(object) == of(old)
}

fn one_webhook(webhook: &Map, mutating: bool, path: &Path, errors: &mut Errors) {
    errors.extend(names::is_fully_qualified_name(&path.child("name"), webhook.str("name")));
    for (at, rule) in webhook.maps("rules").enumerate() {
        one_rule(rule, &path.child("rules").index(at), errors);
    }
    common::one_of(webhook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    common::one_of(webhook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    if webhook.get("sideEffects").is_none_or(Value::is_null) {
        errors.push(field::required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun"));
    }
    common::one_of(webhook, "sideEffects", &["None", "NoneOnDryRun"], path, errors);
    let seconds = webhook.i64("timeoutSeconds");
    if let Some(seconds) = seconds.filter(|seconds| !(1..=TIMEOUT_MAX).contains(seconds)) {
        let why = format!("the timeout value must be between 1 and {TIMEOUT_MAX} seconds");
        errors.push(field::invalid(&path.child("timeoutSeconds"), seconds, why));
    }
    for name in ["namespaceSelector", "objectSelector"] {
        errors.extend(check::label_selector(webhook.map(name), &path.child(name)));
    }
    if mutating {
        common::one_of(webhook, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
    }
    let (client, at) = (webhook.map("clientConfig").unwrap_or(Map::EMPTY), path.child("clientConfig"));
    match (client.get("url").and_then(Value::as_str), client.map("service")) {
        (None, None) | (Some(_), Some(_)) => {
            errors.push(field::required(&at, "exactly one of url or service is required"));
        }
        (Some(url), None) => errors.extend(url_errors(&at.child("url"), url)),
        (None, Some(service)) => errors.extend(service_errors(&at.child("service"), service)),
    }
}

pub(super) fn one_rule(rule: &Map, path: &Path, errors: &mut Errors) {
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
    for name in ["apiGroups", "apiVersions"] {
        let list = rule.list(name);
        if list.is_empty() {
            errors.push(field::required(&path.child(name), ""));
        }
        if list.len() > 1 && list.iter().any(|item| item.as_str() == Some("*")) {
            let words = if name == "apiGroups" { "API groups" } else { "API versions" };
            let why = format!("if '*' is present, must not specify other {words}");
            errors.push(field::invalid(&path.child(name), Value::List(list.to_vec()), why));
        }
    }
    for (at, version) in rule.list("apiVersions").iter().enumerate() {
        if version.as_str() == Some("") {
            errors.push(field::required(&path.child("apiVersions").index(at), ""));
        }
    }
    resources(rule.list("resources"), &path.child("resources"), errors);
    common::one_of(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

/// What one entry takes in must not be named by another.
fn resources(list: &[Value], path: &Path, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(field::required(path, ""));
    }
    let shown = || Value::List(list.to_vec());
    let names: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    let (mut all_of, mut of_all): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut plain = false;
    for (at, name) in names.iter().enumerate() {
        let path = path.index(at);
        if name.is_empty() {
            errors.push(field::required(&path, ""));
            continue;
        }
        let Some((resource, sub)) = name.split_once('/') else {
            plain = *name != "*";
            continue;
        };
        if all_of.contains(&resource) {
            let why = format!("if '{resource}/*' is present, must not specify {name}");
            errors.push(field::invalid(&path, *name, why));
        }
        if of_all.contains(&sub) {
            errors.push(field::invalid(&path, *name, format!("if '*/{sub}' is present, must not specify {name}")));
        }
        if sub == "*" {
            all_of.push(resource);
        }
        if resource == "*" {
            of_all.push(sub);
        }
    }
    if names.len() > 1 && names.contains(&"*/*") {
        errors.push(field::invalid(path, shown(), "if '*/*' is present, must not specify other resources"));
    }
    if names.contains(&"*") && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(field::invalid(path, shown(), why));
    }
}

/// Most conditions of one webhook.
const CONDITIONS_MAX: usize = 64;

/// Names, presence, and what is said of the expressions.
pub(super) fn conditions(
    of: &Map,
    path: &Path,
    errors: &mut Errors,
    judge: impl Fn(&str, &Path) -> Option<field::Error>,
) {
    let names: Vec<&str> = of.maps("matchConditions").map(|condition| condition.str("name")).collect();
    if names.len() > CONDITIONS_MAX {
        errors.push(field::too_many(path, names.len(), CONDITIONS_MAX));
    }
    for (at, condition) in of.maps("matchConditions").enumerate() {
        let (path, name) = (path.index(at), names[at]);
        let expression = condition.str("expression").trim();
        if expression.is_empty() {
            errors.push(field::required(&path.child("expression"), ""));
        } else {
            errors.extend(judge(expression, &path.child("expression")));
        }
        if name.is_empty() {
            errors.push(field::required(&path.child("name"), ""));
            continue;
        }
        errors.extend(check::said(&path.child("name"), name, &names::is_qualified_name(name)));
        if names[..at].contains(&name) {
            errors.push(field::duplicate(&path.child("name"), name));
        }
    }
}

fn review_versions(webhook: &Map, path: &Path, errors: &mut Errors) {
    let versions = webhook.list("admissionReviewVersions");
    let known = |version: &Value| matches!(version.as_str(), Some("v1" | "v1beta1"));
    if versions.is_empty() {
        errors.push(field::required(path, "must specify one of v1, v1beta1"));
        return;
    }
    for (at, version) in versions.iter().filter_map(Value::as_str).enumerate() {
        if versions[..at].iter().any(|other| other.as_str() == Some(version)) {
            errors.push(field::invalid(&path.index(at), version, "duplicate version"));
        } else {
            errors.extend(check::said(&path.index(at), version, &names::is_dns1035_label(version)));
        }
    }
    if !versions.iter().any(known) {
        let why = "must include at least one of v1, v1beta1";
        errors.push(field::invalid(path, Value::List(versions.to_vec()), why));
    }
}
