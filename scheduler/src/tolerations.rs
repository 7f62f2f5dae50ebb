//! Which taints a pod tolerates (k8s.io/api/core/v1/toleration.go@v0.37.2).
//!
//! Non-goal: the Lt and Gt operators, which are alpha and off (TaintTolerationComparisonOperators).

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
pub(crate) const NO_EXECUTE: &str = "NoExecute";
pub(crate) const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// True when one of the tolerations covers the taint.
pub(crate) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    fn set(field: &Option<String>) -> Option<&str> {
        field.as_deref().filter(|text| !text.is_empty())
    }
    if set(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || set(&toleration.key).is_some_and(|key| key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
        "Exists" => true,
        _ => false,
    }
}

/// True when the node has a taint that keeps the pod away (NoSchedule or NoExecute).
pub(crate) fn has_untolerated(node: &Node, tolerations: &[Toleration]) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let keeps_away = |taint: &&Taint| taint.effect == NO_SCHEDULE || taint.effect == NO_EXECUTE;
    taints.iter().filter(keeps_away).any(|taint| !tolerated(tolerations, taint))
}
