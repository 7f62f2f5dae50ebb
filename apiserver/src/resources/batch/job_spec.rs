//! The spec of a job, in jobs and in the templates of cron jobs (pkg/apis/batch/validation/validation.go@v1.37.2:
//! validateJobSpec, validatePodFailurePolicy, validateSuccessPolicy).
//!
//! Non-goal: `scheduling`, which is behind a gate that is off in v1.37 and dropped before validation.

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::indexes;
use crate::resources::common;
use crate::resources::common::internal::Plain;
use crate::resources::common::workload;
use crate::resources::core::pod::options::Options;
use crate::resources::core::pod::spec as pod_spec;

const COUNTS: [&str; 7] = [
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
];
const MANAGED_BY_BYTES_MAX: usize = 63;
const INDEXED_PARALLELISM_MAX: i64 = 100_000;
const INDEXED_FAILED_MAX: i64 = 100_000;
/// More completions than this need tighter limits.
pub(super) const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const HIGH_PARALLELISM_MAX: i64 = 10_000;
const HIGH_FAILED_MAX: i64 = 10_000;
const FAILURE_RULES_MAX: usize = 20;
const FAILURE_CODES_MAX: usize = 255;
const FAILURE_CONDITIONS_MAX: usize = 20;
const SUCCESS_RULES_MAX: usize = 20;
const SUCCESS_INDEXES_BYTES_MAX: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const INDEXED_ONLY: &str = "requires indexed completion mode";

pub(super) fn is_indexed(spec: &Map) -> bool {
    spec.str("completionMode") == "Indexed"
}

/// `["a" "b"]`, as Go prints a list of quoted words.
fn words(all: &[&str]) -> String {
    let quoted: Vec<String> = all.iter().map(|word| field::go_quote(word)).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

pub(super) fn check(spec: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    common::none_negative(spec, &COUNTS, path, errors);
    if spec.contains("maxFailedIndexes") && !spec.contains("backoffLimitPerIndex") {
        errors.push(field::required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        let at = path.child("managedBy");
        errors.extend(names::is_domain_prefixed_path(&at, manager));
        if manager.len() > MANAGED_BY_BYTES_MAX {
            errors.push(field::too_long(&at, MANAGED_BY_BYTES_MAX));
        }
    }
    common::one_of(spec, "completionMode", &["NonIndexed", "Indexed"], path, errors);
    if is_indexed(spec) {
        indexed(spec, path, errors);
    } else if spec.get("completionMode").is_none_or(|mode| mode.as_str() == Some("NonIndexed")) {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(value) = spec.i64(name) {
                errors.push(field::invalid(&path.child(name), value, INDEXED_ONLY));
            }
        }
    }
    if let Some(policy) = spec.map("podFailurePolicy") {
        failure_policy(spec, policy, &path.child("podFailurePolicy").child("rules"), errors);
    }
    if let Some(policy) = spec.map("successPolicy") {
        let at = path.child("successPolicy");
        if is_indexed(spec) {
            success_policy(spec, policy, &at.child("rules"), errors);
        } else {
            let shown = workload::shown(Some(policy), "batch.v1.SuccessPolicy");
            errors.push(field::invalid(&at, shown, INDEXED_ONLY));
        }
    }
    let allowed: &[&str] =
        if spec.contains("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    common::one_of(spec, "podReplacementPolicy", allowed, path, errors);
    let template = spec.map("template").unwrap_or(Map::EMPTY);
    pod_spec::template(template, &path.child("template"), options, errors);
    restart_policy(spec, template, path, errors);
}

fn restart_policy(spec: &Map, template: &Map, path: &Path, errors: &mut Errors) {
    let at = path.child("template").child("spec").child("restartPolicy");
    match workload::spec_of(template).str("restartPolicy") {
        "" | "Always" => errors.push(field::required(&at, "valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.contains("podFailurePolicy") => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(field::invalid(&at, "OnFailure", why));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(field::not_supported(&at, other, &["OnFailure", "Never"])),
    }
}

fn indexed(spec: &Map, path: &Path, errors: &mut Errors) {
    let number = |name: &str| spec.i64(name);
    let (completions, parallelism) = (number("completions"), number("parallelism"));
    let failed = number("maxFailedIndexes");
    if completions.is_none() {
        errors.push(field::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    if let Some(count) = parallelism.filter(|count| *count > INDEXED_PARALLELISM_MAX) {
        let why = format!("must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed");
        errors.push(field::invalid(&path.child("parallelism"), count, why));
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        let why = "must be less than or equal to completions";
        errors.push(field::invalid(&path.child("maxFailedIndexes"), failed, why));
    }
    if let Some(count) = failed.filter(|count| *count > INDEXED_FAILED_MAX) {
        let why = format!("must be less than or equal to {INDEXED_FAILED_MAX}");
        errors.push(field::invalid(&path.child("maxFailedIndexes"), count, why));
    }
    let high = completions.is_some_and(|completions| completions > COMPLETIONS_SOFT_MAX);
    if !high || !spec.contains("backoffLimitPerIndex") {
        return;
    }
    let when = format!(" when completions are above {COMPLETIONS_SOFT_MAX} and used with backoff limit per index");
    if failed.is_none() {
        let why = format!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}");
        errors.push(field::required(&path.child("maxFailedIndexes"), why));
    }
    let mut limit = |name: &str, value: Option<i64>, most: i64| {
        if let Some(value) = value.filter(|value| *value > most) {
            let why = format!("must be less than or equal to {most}{when}");
            errors.push(field::invalid(&path.child(name), value, why));
        }
    };
    limit("parallelism", parallelism, HIGH_PARALLELISM_MAX);
    limit("maxFailedIndexes", failed, HIGH_FAILED_MAX);
}

fn failure_policy(spec: &Map, policy: &Map, path: &Path, errors: &mut Errors) {
    let count = policy.list("rules").len();
    if count > FAILURE_RULES_MAX {
        errors.push(field::too_many(path, count, FAILURE_RULES_MAX));
    }
    for (at, rule) in policy.maps("rules").enumerate() {
        let path = path.index(at);
        let at = path.child("action");
        match rule.str("action") {
            "" => errors.push(field::required(&at, words(&ACTIONS))),
            "FailIndex" if !spec.contains("backoffLimitPerIndex") => {
                errors.push(field::invalid(&at, "FailIndex", "requires the backoffLimitPerIndex to be set"));
            }
            action if !ACTIONS.contains(&action) => errors.push(field::not_supported(&at, action, &ACTIONS)),
            _ => {}
        }
        let (codes, conditions) = (rule.map("onExitCodes"), !rule.list("onPodConditions").is_empty());
        if let Some(codes) = codes {
            exit_codes(spec, codes, &path.child("onExitCodes"), errors);
        }
        if conditions {
            pod_conditions(rule, &path.child("onPodConditions"), errors);
        }
        match (codes.is_some(), conditions) {
            (true, true) => {
                let why = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(field::invalid_hidden(&path, why));
            }
            (false, false) => {
                let why = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(field::invalid_hidden(&path, why));
            }
            _ => {}
        }
    }
}

fn pod_conditions(rule: &Map, path: &Path, errors: &mut Errors) {
    let count = rule.list("onPodConditions").len();
    if count > FAILURE_CONDITIONS_MAX {
        errors.push(field::too_many(path, count, FAILURE_CONDITIONS_MAX));
    }
    for (at, pattern) in rule.maps("onPodConditions").enumerate() {
        let path = path.index(at);
        common::qualified_name(pattern.str("type"), &path.child("type"), errors);
        match pattern.str("status") {
            "" => errors.push(field::required(&path.child("status"), words(&STATUSES))),
            status if !STATUSES.contains(&status) => {
                errors.push(field::not_supported(&path.child("status"), status, &STATUSES));
            }
            _ => {}
        }
    }
}

fn exit_codes(spec: &Map, codes: &Map, path: &Path, errors: &mut Errors) {
    let operator = codes.str("operator");
    match operator {
        "" => errors.push(field::required(&path.child("operator"), words(&OPERATORS))),
        other if !OPERATORS.contains(&other) => {
            errors.push(field::not_supported(&path.child("operator"), other, &OPERATORS));
        }
        _ => {}
    }
    if let Some(name) = codes.get("containerName").and_then(Value::as_str) {
        let pods = spec.at(&["template", "spec"]).unwrap_or(Map::EMPTY);
        if !pods.maps("containers").chain(pods.maps("initContainers")).any(|c| c.str("name") == name) {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.push(field::invalid(&path.child("containerName"), name, why));
        }
    }
    let path = path.child("values");
    let values: Vec<i64> = codes.list("values").iter().filter_map(Value::as_i64).collect();
    let shown = || match codes.get("values") {
        Some(values) => values.clone(),
        None => Value::Null,
    };
    if values.is_empty() {
        errors.push(field::invalid(&path, shown(), "at least one value is required"));
    } else if values.len() > FAILURE_CODES_MAX {
        errors.push(field::too_many(&path, values.len(), FAILURE_CODES_MAX));
    }
    for (at, value) in values.iter().enumerate() {
        if operator == "In" && *value == 0 {
            errors.push(field::invalid(&path.index(at), *value, "must not be 0 for the In operator"));
        }
        if values[..at].contains(value) {
            errors.push(field::duplicate(&path.index(at), *value));
        }
    }
    if !values.is_sorted() {
        errors.push(field::invalid(&path, shown(), "must be ordered"));
    }
}

fn success_policy(spec: &Map, policy: &Map, path: &Path, errors: &mut Errors) {
    let count = policy.list("rules").len();
    if count == 0 {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(field::required(path, why));
    }
    if count > SUCCESS_RULES_MAX {
        errors.push(field::too_many(path, count, SUCCESS_RULES_MAX));
    }
    let completions = spec.i64("completions").unwrap_or(0);
    for (at, rule) in policy.maps("rules").enumerate() {
        success_rule(rule, completions, &path.index(at), errors);
    }
}

fn success_rule(rule: &Map, completions: i64, path: &Path, errors: &mut Errors) {
    let (count, indexes) = (rule.i64("succeededCount"), rule.get("succeededIndexes").and_then(Value::as_str));
    if count.is_none() && indexes.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(field::required(path, why));
    }
    let mut total = 0;
    if let Some(text) = indexes {
        let at = path.child("succeededIndexes");
        if text.len() > SUCCESS_INDEXES_BYTES_MAX {
            errors.push(field::too_long(&at, SUCCESS_INDEXES_BYTES_MAX));
        }
        match indexes::count(text, completions) {
            Ok(count) => total = count,
            Err(why) => errors.push(field::invalid(&at, text, format!("error parsing succeededIndexes: {why}"))),
        }
    }
    let Some(count) = count else { return };
    let at = path.child("succeededCount");
    common::not_negative(count, &at, errors);
    if count > completions {
        let why = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.push(field::invalid(&at, count, why));
    }
    if indexes.is_some() && count > total {
        let why = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(field::invalid(&at, count, why));
    }
}

/// An empty place in an error.
pub(super) fn null() -> Plain {
    Plain("null".into())
}
