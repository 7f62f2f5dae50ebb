//! PodDisruptionBudget (pkg/registry/policy/poddisruptionbudget/strategy.go, pkg/apis/policy/helper.go,
//! pkg/apis/policy/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use crate::resources::common;
use crate::resources::common::workload::{self, spec_of, status_of};
use crate::strategy::{Context, Generation, MetaCheck, Strategy};

/// Stands in selectors for "none" and "all" of v1beta1.
const V1BETA1_LABEL: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
const COUNTERS: [&str; 4] = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

pub(crate) struct PodDisruptionBudget;

fn check(object: &Map, any_value: bool) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec_of(object), Path::new("spec"));
    if spec.contains("minAvailable") && spec.contains("maxUnavailable") {
        let shown = workload::shown(Some(spec), "policy.v1.PodDisruptionBudgetSpec");
        errors.push(field::invalid(&path, shown, "minAvailable and maxUnavailable cannot be both set"));
    }
    for name in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = spec.get(name) {
            common::int_or_percent(value, &path.child(name), &mut errors);
            common::at_most_100_percent(value, &path.child(name), &mut errors);
        }
    }
    common::label_selector(spec.map("selector"), any_value, &path.child("selector"), &mut errors);
    common::one_of(spec, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"], &path, &mut errors);
    errors
}

/// The label of v1beta1 means nothing here unless it stands alone.
fn strip_label(object: &mut Map, old: Option<&Map>) {
    let same = |old: &Map| common::same(spec_of(old).get("selector"), spec_of(object).get("selector"));
    if old.is_some_and(same) {
        return;
    }
    let Some(selector) = object.map_mut("spec").get_mut("selector").and_then(Value::as_map_mut) else { return };
    let alone = selector.map("matchLabels").is_none_or(Map::is_empty)
        && matches!(selector.list("matchExpressions"), [Value::Map(only)]
            if only.str("key") == V1BETA1_LABEL && only.str("operator") == "Exists" && only.list("values").is_empty());
    if alone || !selector.contains("matchExpressions") {
        return;
    }
    let list = selector.list_mut("matchExpressions");
    list.retain(|requirement| requirement.as_map().is_none_or(|map| map.str("key") != V1BETA1_LABEL));
    if list.is_empty() {
        selector.remove("matchExpressions");
    }
}

/// Starts with a letter, ends without a comma or colon.
fn is_reason(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b',' | b':');
    text.bytes().all(inner)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && !text.ends_with([',', ':'])
}

/// metav1.Condition (ValidateConditions).
pub(crate) fn conditions(status: &Map, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, condition) in status.maps("conditions").enumerate() {
        let path = path.index(at);
        let (kind, reason) = (condition.str("type"), condition.str("reason"));
        if seen.contains(&kind) {
            errors.push(field::duplicate(&path, kind));
        }
        seen.push(kind);
        if kind.is_empty() {
            errors.push(field::required(&path.child("type"), "is required"));
        } else {
            common::qualified_name(kind, &path.child("type"), errors);
        }
        common::required_one_of(condition, "status", &["False", "True", "Unknown"], &path, errors);
        if let Some(generation) = condition.i64("observedGeneration").filter(|generation| *generation < 0) {
            let why = "must be greater than or equal to zero";
            errors.push(field::invalid(&path.child("observedGeneration"), generation, why));
        }
        common::required(condition, "lastTransitionTime", &path, errors);
        if reason.is_empty() {
            errors.push(field::required(&path.child("reason"), ""));
        } else {
            if !is_reason(reason) {
                let message = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
                let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
                let why = names::regex_error(message, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples);
                errors.push(field::invalid(&path.child("reason"), reason, why));
            }
            if reason.len() > REASON_BYTES_MAX {
                errors.push(field::too_long(&path.child("reason"), REASON_BYTES_MAX));
            }
        }
        if condition.str("message").len() > MESSAGE_BYTES_MAX {
            errors.push(field::too_long(&path.child("message"), MESSAGE_BYTES_MAX));
        }
    }
}

impl Strategy for PodDisruptionBudget {
    /// ValidatePodDisruptionBudget has nothing to say of metadata.
    fn meta_checks(&self, _: &str) -> &'static [MetaCheck] {
        &[]
    }

    fn knows_finalizers(&self) -> bool {
        false
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        strip_label(object, None);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        strip_label(object, Some(old));
    }

    fn validate(&self, object: &Map) -> Errors {
        check(object, false)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut wrong = Errors::new();
        common::label_selector(spec_of(old).map("selector"), false, &Path::default(), &mut wrong);
        check(object, !wrong.is_empty())
    }

    fn validate_status_update(&self, object: &Map, _: &Map) -> Errors {
        let mut errors = Errors::new();
        let path = Path::new("status");
        conditions(status_of(object), &path.child("conditions"), &mut errors);
        common::none_negative(status_of(object), &COUNTERS, &path, &mut errors);
        errors
    }

    fn checks_new_meta(&self) -> bool {
        false
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn allow_unconditional_update(&self, _: &str) -> bool {
        false
    }
}
