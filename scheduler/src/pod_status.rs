//! Changes of a pod's status as patches (pkg/api/v1/pod/util.go@v1.37.2, UpdatePodCondition).
//!
//! Invariant: no patch when nothing would change; the transition time moves only with the status.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::framework::plugin::Nomination;
use crate::pod_info::nominated_node;

pub(crate) const POD_SCHEDULED: &str = "PodScheduled";
pub(crate) const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// A condition to set.
pub(crate) struct Wanted<'a> {
    pub(crate) type_: &'a str,
    /// `True` or `False`.
    pub(crate) status: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

/// The patch of the status subresource that sets the condition and the nomination; `None` when they
/// are so already.
pub(crate) fn patch(pod: &Pod, wanted: Option<&Wanted<'_>>, nomination: &Nomination, now: Timestamp) -> Option<Value> {
    let mut status = Map::new();
    if let Some(condition) = wanted.and_then(|wanted| changed(pod, wanted, now)) {
        status.insert("conditions".into(), json!([condition]));
    }
    if let Nomination::Set(node) = nomination
        && node != nominated_node(pod)
    {
        let value = if node.is_empty() { Value::Null } else { json!(node) };
        status.insert("nominatedNodeName".into(), value);
    }
    (!status.is_empty()).then(|| json!({"status": status}))
}

fn changed(pod: &Pod, wanted: &Wanted<'_>, now: Timestamp) -> Option<PodCondition> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let old = conditions.into_iter().find(|condition| condition.type_ == wanted.type_);
    let same_status = old.filter(|old| old.status == wanted.status);
    let new = PodCondition {
        type_: wanted.type_.into(),
        status: wanted.status.into(),
        reason: Some(wanted.reason.into()),
        message: Some(wanted.message.into()),
        last_probe_time: None,
        last_transition_time: same_status.map_or(Some(Time(now)), |old| old.last_transition_time.clone()),
        observed_generation: pod.metadata.generation,
    };
    let alike = |old: &PodCondition| (&old.reason, &old.message) == (&new.reason, &new.message);
    (!same_status.is_some_and(alike)).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn a_patch_says_only_what_changes() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let with = |status: &str| pod(&format!(r#"{{"metadata":{{"generation":3}},"status":{status}}}"#));
        let refused = r#"{"conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable",
            "message":"no room","lastTransitionTime":"2026-01-01T00:00:00Z"}],"nominatedNodeName":"n1"}"#;
        let wanted = |message| Wanted { type_: POD_SCHEDULED, status: "False", reason: "Unschedulable", message };
        let set = |node: &str| Nomination::Set(node.into());
        let condition = |message: &str, time: &str| {
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastTransitionTime": time, "observedGeneration": 3})
        };
        for (status, message, nomination, expected) in [
            (refused, "no room", Nomination::Keep, None),
            (refused, "no room", set("n1"), None),
            (refused, "no room", set(""), Some(json!({"status": {"nominatedNodeName": null}}))),
            (
                "{}",
                "no room",
                set(""),
                Some(json!({"status": {"conditions":
                [condition("no room", "2026-01-02T00:00:00Z")]}})),
            ),
            (
                refused,
                "still no room",
                set("n2"),
                Some(json!({"status": {"nominatedNodeName": "n2", "conditions":
                [condition("still no room", "2026-01-01T00:00:00Z")]}})),
            ),
        ] {
            assert_eq!(patch(&with(status), Some(&wanted(message)), &nomination, now), expected);
        }
    }
}
