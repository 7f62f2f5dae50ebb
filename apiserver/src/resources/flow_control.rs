//! flowcontrol.apiserver.k8s.io (pkg/apis/flowcontrol/{v1/defaults.go,validation}@v1.37.2).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use super::check::{self, said};
use super::simple::Simple;

const BASE: Simple = Simple { generation: true, ..Simple::BASE };

pub(super) const FLOW_SCHEMA: Simple = Simple {
    default: |object| {
        let spec = object.map_mut("spec");
        check::set_absent(spec, "matchingPrecedence", DEFAULT_PRECEDENCE);
    },
    check: flow_schema,
    ..BASE
};
pub(super) const PRIORITY_LEVEL: Simple = Simple { default: default_level, check: level, ..BASE };

const DEFAULT_PRECEDENCE: i64 = 1000;
const PRECEDENCE_MAX: i64 = 10_000;
const DEFAULT_SHARES: i64 = 30;
const DEFAULT_QUEUES: i64 = 64;
const DEFAULT_HAND: i64 = 8;
const DEFAULT_QUEUE_LENGTH: i64 = 50;
const QUEUES_MAX: i64 = 10_000_000;

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
    errors
}

fn flow_rule(rule: &Map, path: &Path, errors: &mut Errors) {
    if rule.list("subjects").is_empty() {
        errors.push(field::required(&path.child("subjects"), "subjects must contain at least one value"));
    }
    for (at, subject) in rule.maps("subjects").enumerate() {
        let kinds = ["Group", "ServiceAccount", "User"];
        let path = path.child("subjects").index(at);
        let kind = subject.str("kind");
        if !kinds.contains(&kind) {
            errors.push(field::not_supported(&path.child("kind"), kind, &kinds));
        }
        for (wanted, name) in [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")] {
            match (kind == wanted, subject.map(name)) {
                (true, None) => {
                    let why = format!("{name} is required when subject kind is '{wanted}'");
                    errors.push(field::required(&path.child(name), why));
                }
                (false, Some(_)) if kinds.contains(&kind) => {
                    let why = format!("{name} is forbidden when subject kind is not '{wanted}'");
                    errors.push(field::forbidden(&path.child(name), why));
                }
                _ => {}
            }
        }
    }
    if rule.list("resourceRules").is_empty() && rule.list("nonResourceRules").is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(field::required(path, why));
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
    let (spec, path) = (spec(object), Path::new("spec"));
    match (spec.str("type"), spec.map("limited")) {
        ("Limited", None) => errors.push(field::required(&path.child("limited"), "")),
        ("Limited", Some(limited)) => limits(limited, &path.child("limited"), &mut errors),
        ("Exempt", Some(_)) => {
            errors.push(field::forbidden(&path.child("limited"), "must be nil if the type is not Limited"));
        }
        ("Exempt", None) => {}
        (other, _) => errors.push(field::not_supported(&path.child("type"), other, &["Exempt", "Limited"])),
    }
    if spec.str("type") == "Limited" && spec.map("exempt").is_some() {
        errors.push(field::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
    }
    errors
}

fn limits(limited: &Map, path: &Path, errors: &mut Errors) {
    if let Some(shares) = limited.i64("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let why = "must be a non-negative integer";
        errors.push(field::invalid(&path.child("nominalConcurrencyShares"), shares, why));
    }
    let percent = limited.i64("lendablePercent").unwrap_or(0);
    if !(0..=100).contains(&percent) {
        errors.push(field::invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive"));
    }
    let (response, path) = (limited.map("limitResponse").unwrap_or(Map::EMPTY), path.child("limitResponse"));
    let at = path.child("queuing");
    match (response.str("type"), response.map("queuing")) {
        ("Reject", None) => {}
        ("Reject", Some(_)) => {
            errors.push(field::forbidden(&at, "must be nil if limited.limitResponse.type is not Limited"))
        }
        ("Queue", None) => {
            errors.push(field::required(&at, "must not be empty if limited.limitResponse.type is Limited"))
        }
        ("Queue", Some(queuing)) => queues(queuing, &at, errors),
        (other, _) => errors.push(field::not_supported(&path.child("type"), other, &["Queue", "Reject"])),
    }
}

fn queues(queuing: &Map, path: &Path, errors: &mut Errors) {
    let number = |name: &str| queuing.i64(name).unwrap_or(0);
    for name in ["queueLengthLimit", "queues", "handSize"] {
        if number(name) <= 0 {
            errors.push(field::invalid(&path.child(name), number(name), "must be positive"));
        }
    }
    if number("queues") > QUEUES_MAX {
        errors.push(field::invalid(
            &path.child("queues"),
            number("queues"),
            format!("must not be greater than {QUEUES_MAX}"),
        ));
    }
    if number("handSize") > number("queues") {
        let why = format!("should not be greater than queues ({})", number("queues"));
        errors.push(field::invalid(&path.child("handSize"), number("handSize"), why));
    }
}
