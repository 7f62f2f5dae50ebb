//! How one node is: when it was last heard of, and what its conditions should say
//! (pkg/controller/nodelifecycle/node_lifecycle_controller.go@v1.37.2, tryUpdateNodeHealth).
//!
//! Invariant: only our own clock counts. A renewed lease or a new heartbeat is news at the time we see it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::common::taints::{NO_SCHEDULE, NOT_READY, TaintKey, UNREACHABLE, UNSCHEDULABLE, of_node};

pub(super) const READY: &str = "Ready";
/// --node-monitor-grace-period
const MONITOR_GRACE: SignedDuration = SignedDuration::from_secs(50);
/// --node-startup-grace-period: for nodes that never reported Ready.
const STARTUP_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// The conditions that a silent kubelet leaves behind.
const REPORTED: [&str; 4] = [READY, "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Condition, status, and the key of the taint that goes with it.
const TAINTED: [(&str, &str, &str); 6] = [
    (READY, "False", NOT_READY),
    (READY, "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// What is remembered of a node.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) uid: String,
    pub(super) registered: bool,
    /// Its pods are still to be marked not ready.
    pub(super) pods_to_mark: bool,
    probed: Timestamp,
    heartbeat: Option<Time>,
    has_ready: bool,
    renewed: Option<MicroTime>,
}

/// What is to be done about a node.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Heard of lately, or known to be unknown; look again then.
    Alive { check_in: Option<Duration> },
    /// Silent for too long: its conditions become these.
    Silent { conditions: Vec<NodeCondition>, was_ready: bool },
}

pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// The status of Ready, `None` when it was never reported.
pub(super) fn ready_status(node: &Node) -> Option<&str> {
    condition(node, READY).map(|condition| condition.status.as_str())
}

impl Health {
    pub(super) fn new(node: &Node, now: Timestamp) -> Self {
        let ready = condition(node, READY);
        let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
        Health {
            uid: node.metadata.uid.clone().unwrap_or_default(),
            registered: false,
            pods_to_mark: false,
            // A node that never reported is counted from its creation.
            probed: if ready.is_some() { now } else { created.unwrap_or(now) },
            heartbeat: ready.and_then(|ready| ready.last_heartbeat_time.clone()),
            has_ready: ready.is_some(),
            renewed: None,
        }
    }

    /// A new state of the node was seen.
    pub(super) fn observe(&mut self, node: &Node, now: Timestamp) {
        let ready = condition(node, READY);
        let heartbeat = ready.and_then(|ready| ready.last_heartbeat_time.clone());
        if ready.is_some() != self.has_ready || (ready.is_some() && heartbeat != self.heartbeat) {
            self.probed = now;
        }
        (self.heartbeat, self.has_ready) = (heartbeat, ready.is_some());
    }

    /// The node's lease was seen; only a renewal is a sign of life.
    pub(super) fn renewed(&mut self, lease: &Lease, now: Timestamp) {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        if renewed.as_ref().map(|time| time.0) > self.renewed.as_ref().map(|time| time.0) {
            self.renewed = renewed;
            self.probed = now;
        }
    }

    pub(super) fn probed(&mut self, now: Timestamp) {
        self.probed = now;
    }

    pub(super) fn judge(&self, node: &Node, now: Timestamp) -> Verdict {
        let ready = condition(node, READY);
        let grace = if ready.is_some() { MONITOR_GRACE } else { STARTUP_GRACE };
        let end = self.probed + grace;
        if now <= end {
            let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
            return Verdict::Alive { check_in: Some(left + Duration::from_millis(1)) };
        }
        let conditions = unknown_conditions(node, now);
        let changed = conditions.iter().find(|condition| condition.type_ == READY) != ready;
        if !changed {
            // Its next sign of life is an event.
            return Verdict::Alive { check_in: None };
        }
        Verdict::Silent { conditions, was_ready: ready.is_some_and(|ready| ready.status == "True") }
    }
}

fn unknown_conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut all = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    for kind in REPORTED {
        match all.iter_mut().find(|condition| condition.type_ == kind) {
            None => all.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    all
}

/// The NoSchedule taints to add and to remove so that they say what the conditions say.
pub(super) fn no_schedule_changes(node: &Node) -> (Vec<TaintKey<'static>>, Vec<TaintKey<'static>>) {
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let holds = |(kind, status, _): &(&str, &str, &str)| condition(node, kind).is_some_and(|c| c.status == *status);
    let wanted: Vec<&'static str> = TAINTED
        .iter()
        .filter(|entry| holds(entry))
        .map(|(_, _, key)| *key)
        .chain(unschedulable.then_some(UNSCHEDULABLE))
        .collect();
    let ours = TAINTED.iter().map(|(_, _, key)| *key).chain([UNSCHEDULABLE]);
    let has = |key: &str| of_node(node).iter().any(|taint| taint.key == key && taint.effect == NO_SCHEDULE);
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for key in ours {
        match (wanted.contains(&key), has(key)) {
            (true, false) => add.push(TaintKey::no_schedule(key)),
            (false, true) => remove.push(TaintKey::no_schedule(key)),
            _ => {}
        }
    }
    (add, remove)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Timestamp {
        format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60).parse().expect("time")
    }

    fn node(ready: &str) -> Node {
        let conditions = if ready.is_empty() {
            serde_json::json!([])
        } else {
            serde_json::json!([{"type": "Ready", "status": ready, "lastHeartbeatTime": at(0)}])
        };
        serde_json::from_value(
            serde_json::json!({"metadata": {"creationTimestamp": at(0)}, "status": {"conditions": conditions}}),
        )
        .expect("node")
    }

    fn statuses(verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::Silent { conditions, was_ready } => {
                let text =
                    |c: &NodeCondition| format!("{}={} {}", c.type_, c.status, c.reason.clone().unwrap_or_default());
                conditions.iter().map(text).chain([format!("was_ready={was_ready}")]).collect()
            }
            Verdict::Alive { check_in } => vec![format!("alive {:?}", check_in.map(|left| left.as_secs()))],
        }
    }

    #[test]
    fn a_node_is_given_its_grace_period_from_the_last_sign_of_life() {
        let ready = node("True");
        let mut health = Health::new(&ready, at(0));
        assert_eq!(statuses(health.judge(&ready, at(10))), ["alive Some(40)"]);
        let lease = |second: u32| -> Lease {
            serde_json::from_value(
                serde_json::json!({"spec": {"renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")}}),
            )
            .expect("lease")
        };
        health.renewed(&lease(20), at(21));
        health.renewed(&lease(20), at(40));
        assert_eq!(statuses(health.judge(&ready, at(60))), ["alive Some(11)"], "a lease not renewed is no sign");
        assert_eq!(
            statuses(health.judge(&ready, at(72))),
            [
                "Ready=Unknown NodeStatusUnknown",
                "MemoryPressure=Unknown NodeStatusNeverUpdated",
                "DiskPressure=Unknown NodeStatusNeverUpdated",
                "PIDPressure=Unknown NodeStatusNeverUpdated",
                "was_ready=true",
            ]
        );
        assert_eq!(statuses(health.judge(&node("Unknown"), at(72))), ["alive None"], "already said");
    }

    #[test]
    fn a_node_that_never_reported_is_counted_from_its_creation() {
        let silent = node("");
        let health = Health::new(&silent, at(30));
        assert_eq!(statuses(health.judge(&silent, at(30))), ["alive Some(30)"]);
        let verdict = statuses(health.judge(&silent, at(61)));
        assert_eq!(
            (verdict[0].as_str(), verdict[4].as_str()),
            ("Ready=Unknown NodeStatusNeverUpdated", "was_ready=false")
        );
    }

    #[test]
    fn conditions_and_cordons_are_taints() {
        let mut node: Node = serde_json::from_value(serde_json::json!({
            "spec": {"unschedulable": true, "taints": [
                {"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"}, {"key": "mine", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "DiskPressure", "status": "True"}, {"type": "PIDPressure", "status": "False"}]},
        }))
        .expect("node");
        let (add, remove) = no_schedule_changes(&node);
        let keys = |all: &[TaintKey<'_>]| all.iter().map(|taint| taint.key.to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&add), [NOT_READY, "node.kubernetes.io/disk-pressure", UNSCHEDULABLE]);
        assert_eq!(keys(&remove), [UNREACHABLE]);
        node.spec = None;
        node.status = None;
        assert_eq!(no_schedule_changes(&node), (vec![], vec![]));
    }
}
