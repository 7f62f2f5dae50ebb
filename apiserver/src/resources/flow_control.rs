//! flowcontrol.apiserver.k8s.io (pkg/apis/flowcontrol/{v1/defaults.go,validation}@v1.37.2).

use api::field::{self, Errors, Path};
use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use super::check::{self, said};
use super::common;
use super::common::internal::{self, Plain};
use super::simple::Simple;
use crate::strategy::{MetaCheck, StatusMetadata};

const BASE: Simple =
    Simple { meta: &[MetaCheck::Whole], generation: true, status_metadata: StatusMetadata::AllKept, ..Simple::BASE };

pub(super) const FLOW_SCHEMA: Simple = Simple {
    default: |object| {
        let spec = object.map_mut("spec");
        check::set_absent(spec, "matchingPrecedence", DEFAULT_PRECEDENCE);
    },
    check: flow_schema,
    check_status: |new, _| conditions(new),
    ..BASE
};
pub(super) const PRIORITY_LEVEL: Simple =
    Simple { default: default_level, check: level, check_status: |new, _| conditions(new), ..BASE };

const DEFAULT_PRECEDENCE: i64 = 1000;
const PRECEDENCE_MAX: i64 = 10_000;
const DEFAULT_SHARES: i64 = 30;
const DEFAULT_QUEUES: i64 = 64;
const DEFAULT_HAND: i64 = 8;
const DEFAULT_QUEUE_LENGTH: i64 = 50;
const QUEUES_MAX: i64 = 10_000_000;
/// Of the hash that deals hands of queues.
const HASH_BITS_MAX: i64 = 60;

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

fn flow_schema(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec(object), Path::new("spec"));
    let precedence = spec.i64("matchingPrecedence").unwrap_or(0);
    let at = path.child("matchingPrecedence");
    if precedence <= 0 {
        errors.push(field::invalid(&at, precedence, "must be a positive value"));
    }
    if precedence > PRECEDENCE_MAX {
        errors.push(field::invalid(&at, precedence, format!("must not be greater than {PRECEDENCE_MAX}")));
    }
    if precedence == 1 && object.name() != EXEMPT {
        errors.push(field::invalid(&at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"));
    }
    if let Some(method) = spec.map("distinguisherMethod")
        && !matches!(method.str("type"), "ByNamespace" | "ByUser")
    {
        let shown = Value::Map(api::map! { "Type" => method.str("type") });
        let at = path.child("distinguisherMethod").child("type");
        errors.push(field::not_supported(&at, shown, &["ByNamespace", "ByUser"]));
    }
    let name = spec.map("priorityLevelConfiguration").map_or("", |level| level.str("name"));
    let at = path.child("priorityLevelConfiguration").child("name");
    if name.is_empty() {
        errors.push(field::required(&at, "must reference a priority level"));
    } else {
        errors.extend(said(&at, name, &api::names::name_is_dns_subdomain(name, false)));
    }
    for (at, rule) in spec.maps("rules").enumerate() {
        flow_rule(rule, &path.child("rules").index(at), &mut errors);
    }
    if let Some(wanted) = fixed_schema(object.name())
        && *spec != wanted
    {
        let shown = Plain(internal::shown(spec, "flowcontrol.v1.FlowSchemaSpec"));
        let why = format!("spec of '{}' must equal the fixed value", object.name());
        errors.push(field::invalid(&path, shown, why));
    }
    errors
}

const EXEMPT: &str = "exempt";
const CATCH_ALL: &str = "catch-all";

/// The schemas without which nothing works (k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go@v0.37.2).
fn fixed_schema(name: &str) -> Option<Map> {
    let (precedence, method, groups): (i64, Option<&str>, &[&str]) = match name {
        EXEMPT => (1, None, &["system:masters"]),
        CATCH_ALL => (PRECEDENCE_MAX, Some("ByUser"), &["system:unauthenticated", "system:authenticated"]),
        _ => return None,
    };
    let all = || vec![Value::from("*")];
    let subjects = groups.iter().map(|group| map! { "kind" => "Group", "group" => map! { "name" => *group } });
    let resources = map! {
        "verbs" => all(), "apiGroups" => all(), "resources" => all(), "clusterScope" => true, "namespaces" => all(),
    };
    let rule = map! {
        "subjects" => subjects.map(Value::Map).collect::<Vec<_>>(),
        "resourceRules" => vec![Value::Map(resources)],
        "nonResourceRules" => vec![Value::Map(map! { "verbs" => all(), "nonResourceURLs" => all() })],
    };
    let mut spec = map! { "priorityLevelConfiguration" => map! { "name" => name }, "matchingPrecedence" => precedence };
    if let Some(method) = method {
        spec.set("distinguisherMethod", map! { "type" => method });
    }
    spec.set("rules", vec![Value::Map(rule)]);
    Some(spec)
}

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// A list that must have something in it, and nothing beside `*`.
fn list(rule: &Map, name: &'static str, none: &str, others: &str, path: &Path, errors: &mut Errors) -> bool {
    let (list, path) = (rule.list(name), path.child(name));
    let any = list.iter().any(|item| item.as_str() == Some("*"));
    if list.is_empty() {
        errors.push(field::required(&path, none));
    } else if any && list.len() > 1 {
        let why = format!("if '*' is present, must not specify other {others}");
        errors.push(field::invalid(&path, Value::List(list.to_vec()), why));
    }
    any || list.is_empty()
}

fn verbs(rule: &Map, path: &Path, errors: &mut Errors) {
    let open = list(rule, "verbs", "verbs must contain at least one value", "verbs", path, errors);
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if !open && !rule.list("verbs").iter().all(known) {
        let shown = Value::List(rule.list("verbs").to_vec());
        errors.push(field::not_supported(&path.child("verbs"), shown, &VERBS));
    }
}

fn resource_rule(rule: &Map, path: &Path, errors: &mut Errors) {
    verbs(rule, path, errors);
    for (name, one, many) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
        list(rule, name, &format!("resource rules must supply at least one {one}"), many, path, errors);
    }
    if rule.list("namespaces").is_empty() && rule.bool("clusterScope") == Some(true) {
        return;
    }
    let none = "resource rules that are not cluster scoped must supply at least one namespace";
    if list(rule, "namespaces", none, "namespaces", path, errors) {
        return;
    }
    for (at, namespace) in rule.list("namespaces").iter().filter_map(Value::as_str).enumerate() {
        for why in api::names::name_is_dns_label(namespace, false) {
            let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
            errors.push(field::invalid(&path.child("namespaces").index(at), namespace, why));
        }
    }
}

fn path_rule(rule: &Map, path: &Path, errors: &mut Errors) {
    verbs(rule, path, errors);
    let none = "nonResourceURLs must contain at least one value";
    if list(rule, "nonResourceURLs", none, "non-resource URLs", path, errors) {
        return;
    }
    for (at, url) in rule.list("nonResourceURLs").iter().filter_map(Value::as_str).enumerate() {
        let stars = url.matches('*').count();
        let why = match url {
            "/" => continue,
            "" => "must not be empty",
            url if !url.starts_with('/') => "must start with slash",
            url if url.contains(' ') => "must not contain white-space",
            url if url.contains("//") => "must not contain double slash",
            url if stars > 1 || (stars == 1 && !url.ends_with("/*")) => "wildcard can only do suffix matching",
            _ => continue,
        };
        errors.push(field::invalid(&path.child("nonResourceURLs").index(at), url, why));
    }
}

/// A subject that is of its kind must say which.
fn named_subject(name: &str, subject: &Map, path: &Path, errors: &mut Errors) {
    let (path, subject_name) = (path.child(name), subject.str("name"));
    if subject_name.is_empty() {
        errors.push(field::required(&path.child("name"), ""));
    }
    if name != "serviceAccount" {
        return;
    }
    if !matches!(subject_name, "" | "*") {
        let wrong = api::names::name_is_dns_subdomain(subject_name, false);
        errors.extend(said(&path.child("name"), subject_name, &wrong));
    }
    match subject.str("namespace") {
        "" => errors.push(field::required(&path.child("namespace"), "must specify namespace for service account")),
        namespace => {
            let wrong = api::names::name_is_dns_label(namespace, false);
            errors.extend(said(&path.child("namespace"), namespace, &wrong));
        }
    }
}

/// Conditions have a type, each its own.
fn conditions(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status").child("conditions");
    let all = object.map("status").into_iter().flat_map(|status| status.maps("conditions"));
    let kinds: Vec<&str> = all.map(|condition| condition.str("type")).collect();
    for (at, kind) in kinds.iter().enumerate() {
        let path = path.index(at).child("type");
        if kinds[..at].contains(kind) {
            errors.push(field::duplicate(&path, *kind));
        }
        if kind.is_empty() {
            errors.push(field::required(&path, ""));
        }
    }
    errors
}

/// A subject has what its kind says, and nothing of another's.
fn subject_of_kind(subject: &Map, path: &Path, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = subject.str("kind");
    let Some((_, own)) = KINDS.iter().find(|row| row.0 == kind) else {
        let kinds = ["Group", "ServiceAccount", "User"];
        return errors.push(field::not_supported(&path.child("kind"), kind, &kinds));
    };
    match subject.map(own) {
        Some(named) => named_subject(own, named, path, errors),
        None => {
            let why = format!("{own} is required when subject kind is '{kind}'");
            errors.push(field::required(&path.child(own), why));
        }
    }
    for (other, name) in KINDS.iter().filter(|row| row.0 != kind && subject.map(row.1).is_some()) {
        let why = format!("{name} is forbidden when subject kind is not '{other}'");
        errors.push(field::forbidden(&path.child(name), why));
    }
}

fn flow_rule(rule: &Map, path: &Path, errors: &mut Errors) {
    if rule.list("subjects").is_empty() {
        errors.push(field::required(&path.child("subjects"), "subjects must contain at least one value"));
    }
    for (at, subject) in rule.maps("subjects").enumerate() {
        subject_of_kind(subject, &path.child("subjects").index(at), errors);
    }
    if rule.list("resourceRules").is_empty() && rule.list("nonResourceRules").is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(field::required(path, why));
    }
    for (at, one) in rule.maps("resourceRules").enumerate() {
        resource_rule(one, &path.child("resourceRules").index(at), errors);
    }
    for (at, one) in rule.maps("nonResourceRules").enumerate() {
        path_rule(one, &path.child("nonResourceRules").index(at), errors);
    }
}

fn default_level(object: &mut Map) {
    let spec = object.map_mut("spec");
    if spec.str("type") == "Exempt" {
        let exempt = spec.map_mut("exempt");
        check::set_missing(exempt, "nominalConcurrencyShares", 0i64);
        check::set_missing(exempt, "lendablePercent", 0i64);
        return;
    }
    if spec.map("limited").is_none() {
        return;
    }
    let limited = spec.map_mut("limited");
    check::set_missing(limited, "nominalConcurrencyShares", DEFAULT_SHARES);
    check::set_missing(limited, "lendablePercent", 0i64);
    if limited.at(&["limitResponse", "queuing"]).is_some() {
        let queuing = limited.map_mut("limitResponse").map_mut("queuing");
        check::set_absent(queuing, "queues", DEFAULT_QUEUES);
        check::set_absent(queuing, "handSize", DEFAULT_HAND);
        check::set_absent(queuing, "queueLengthLimit", DEFAULT_QUEUE_LENGTH);
    }
}

fn level(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path, name) = (spec(object), Path::new("spec"), object.name());
    let (kind, at) = (spec.str("type"), path.child("type"));
    if (kind == "Exempt") != (name == EXEMPT) {
        errors.push(field::invalid(&at, kind, "must be 'Exempt' if and only if `name` is 'exempt'"));
    }
    // What must be there and what may not is said by the rules.
    match kind {
        "Exempt" => {
            if let Some(exempt) = spec.map("exempt") {
                shares(exempt, &path.child("exempt"), &mut errors);
                lendable(exempt, &path.child("exempt"), &mut errors);
            }
        }
        "Limited" => {
            if let Some(limited) = spec.map("limited") {
                limits(limited, &path.child("limited"), &mut errors);
            }
        }
        "" => {}
        other => errors.push(field::not_supported(&at, other, &["Exempt", "Limited"])),
    }
    fixed_level(name, spec, &path, &mut errors);
    errors
}

/// Of the levels without which nothing works, little may change.
fn fixed_level(name: &str, spec: &Map, path: &Path, errors: &mut Errors) {
    let limited = || {
        let response = map! { "type" => "Reject" };
        map! { "nominalConcurrencyShares" => 5i64, "limitResponse" => response, "lendablePercent" => 0i64 }
    };
    let (same, but) = match name {
        EXEMPT => (spec.str("type") == "Exempt" && !spec.contains("limited"), " except the 'spec.exempt' field"),
        CATCH_ALL => {
            let fits = spec.map("limited").is_some_and(|own| common::same_maps(own, &limited()));
            (spec.str("type") == "Limited" && fits && !spec.contains("exempt"), "")
        }
        _ => return,
    };
    if !same {
        let shown = Plain(internal::shown(spec, "flowcontrol.v1.PriorityLevelConfigurationSpec"));
        errors.push(field::invalid(path, shown, format!("spec of '{name}'{but} must equal the fixed value")));
    }
}

fn shares(part: &Map, path: &Path, errors: &mut Errors) {
    if let Some(shares) = part.i64("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let why = "must be a non-negative integer";
        errors.push(field::invalid(&path.child("nominalConcurrencyShares"), shares, why));
    }
}

fn lendable(part: &Map, path: &Path, errors: &mut Errors) {
    let percent = part.i64("lendablePercent").unwrap_or(0);
    if !(0..=100).contains(&percent) {
        errors.push(field::invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive"));
    }
}

fn limits(limited: &Map, path: &Path, errors: &mut Errors) {
    shares(limited, path, errors);
    let response = limited.map("limitResponse").unwrap_or(Map::EMPTY);
    let at = path.child("limitResponse");
    match (response.str("type"), response.map("queuing")) {
        ("Queue", Some(queuing)) => queues(queuing, &at.child("queuing"), errors),
        ("Queue" | "Reject" | "", _) => {}
        (other, _) => errors.push(field::not_supported(&at.child("type"), other, &["Queue", "Reject"])),
    }
    lendable(limited, path, errors);
    if let Some(limit) = limited.i64("borrowingLimitPercent").filter(|limit| *limit < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.push(field::invalid(&path.child("borrowingLimitPercent"), limit, why));
    }
}

fn queues(queuing: &Map, path: &Path, errors: &mut Errors) {
    let number = |name: &str| queuing.i64(name).unwrap_or(0);
    let positive = |name: &str, errors: &mut Errors| {
        if number(name) <= 0 {
            errors.push(field::invalid(&path.child(name), number(name), "must be positive"));
        }
    };
    ["queueLengthLimit", "queues"].iter().for_each(|name| positive(name, errors));
    if number("queues") > QUEUES_MAX {
        errors.push(field::invalid(
            &path.child("queues"),
            number("queues"),
            format!("must not be greater than {QUEUES_MAX}"),
        ));
    }
    let (hand, deck) = (number("handSize"), number("queues"));
    positive("handSize", errors);
    if hand <= 0 {
        return;
    }
    if hand > deck {
        let why = format!("should not be greater than queues ({deck})");
        errors.push(field::invalid(&path.child("handSize"), hand, why));
    } else if ((deck as f64).log2() * hand as f64).ceil() as i64 > HASH_BITS_MAX {
        let why = format!(
            "required entropy bits of deckSize {deck} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        errors.push(field::invalid(&path.child("handSize"), hand, why));
    }
}
