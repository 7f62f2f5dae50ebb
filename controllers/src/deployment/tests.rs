//! Tables for the planner: a Deployment and its ReplicaSets in, actions out.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::{Action, View, plan};

const NOW: &str = "2026-01-01T00:10:00Z";

fn deployment(spec: Value, status: Value) -> Deployment {
    let mut all = json!({"replicas": 10, "selector": {"matchLabels": {"a": "b"}}, "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 10, "template": template("new"),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}});
    merge(&mut all, spec);
    let meta = json!({"name": "web", "namespace": "ns", "uid": "d", "generation": 1});
    serde_json::from_value(json!({"metadata": meta, "spec": all, "status": status})).expect("deployment")
}

fn merge(into: &mut Value, from: Value) {
    for (key, value) in from.as_object().expect("object") {
        into[key] = value.clone();
    }
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

/// A ReplicaSet whose annotations say the Deployment had `desired` replicas.
fn set(image: &str, revision: i32, size: i32, available: i32, desired: i32) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": {"name": image, "namespace": "ns", "uid": image, "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:00:{revision:02}Z"),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}],
            "annotations": {
                "deployment.kubernetes.io/revision": revision.to_string(),
                "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                "deployment.kubernetes.io/max-replicas": (desired + (desired + 3) / 4).to_string()}},
        "spec": {"replicas": size, "selector": {}, "template": template(image)},
        "status": {"replicas": size, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1},
    }))
    .expect("set")
}

/// The plan in short: `+name=size` create, `name=size` update, `-name`, `!reason`.
fn run(deployment: Deployment, sets: Vec<ReplicaSet>, running: &[&str]) -> (Vec<String>, Option<Deployment>) {
    let view = View { deployment, sets, running: running.iter().map(|uid| (*uid).into()).collect() };
    let now: Timestamp = NOW.parse().expect("time");
    let mut last = None;
    let mut short = Vec::new();
    for action in plan(view, now).expect("plan").actions {
        match action {
            Action::CreateSet(set) => {
                assert!(set.metadata.name.as_deref().is_some_and(|name| name.starts_with("web-")));
                short.push(format!("+{}", size(&set)));
            }
            Action::UpdateSet(set) => {
                short.push(format!("{}={}", set.metadata.name.as_deref().unwrap_or(""), size(&set)))
            }
            Action::DeleteSet(name) => short.push(format!("-{name}")),
            Action::Event { kind: "Warning", reason, .. } => short.push(format!("!{reason}")),
            Action::Event { .. } => {}
            Action::UpdateDeployment(new) => {
                short.push("spec".into());
                last = Some(*new);
            }
            Action::UpdateStatus(new) => last = Some(*new),
        }
    }
    (short, last)
}

fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(-1)
}

fn progressing(deployment: &Deployment) -> (String, String) {
    let conditions = deployment.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition.type_.as_deref() == Some("Progressing"));
    found.map(|c| (c.status.unwrap_or_default(), c.reason.unwrap_or_default())).unwrap_or_default()
}

#[test]
fn a_rolling_update_step_by_step() {
    let table = [
        ("first", vec![], vec!["+10"]),
        ("surge", vec![set("old", 1, 10, 10, 10)], vec!["+3", "old=8"]),
        ("wait for the new ones", vec![set("old", 1, 8, 8, 10), set("new", 2, 5, 0, 10)], vec![]),
        ("new ones available", vec![set("old", 1, 8, 8, 10), set("new", 2, 5, 5, 10)], vec!["old=3"]),
        ("room for more", vec![set("old", 1, 3, 3, 10), set("new", 2, 5, 5, 10)], vec!["new=10"]),
        ("finish", vec![set("old", 1, 3, 3, 10), set("new", 2, 10, 10, 10)], vec!["old=0"]),
        ("done", vec![set("old", 1, 0, 0, 10), set("new", 2, 10, 10, 10)], vec![]),
        (
            "unhealthy old ones go first",
            vec![set("o1", 1, 4, 4, 10), set("o2", 2, 4, 0, 10), set("new", 3, 5, 5, 10)],
            vec!["o2=0", "o1=3"],
        ),
    ];
    for (what, sets, expected) in table {
        let (mut actions, _) = run(deployment(json!({}), json!({})), sets, &[]);
        let mut expected: Vec<String> = expected.into_iter().map(String::from).collect();
        actions.sort();
        expected.sort();
        assert_eq!(actions, expected, "{what}");
    }
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    for (what, wanted, sets, expected) in [
        ("up", 20, vec![set("old", 1, 8, 8, 10), set("new", 2, 5, 5, 10)], vec!["new=10", "old=15"]),
        ("down", 5, vec![set("old", 1, 8, 8, 10), set("new", 2, 5, 5, 10)], vec!["new=3", "old=4"]),
        ("to zero", 0, vec![set("old", 1, 8, 8, 10), set("new", 2, 5, 5, 10)], vec!["new=0", "old=0"]),
        ("one set", 12, vec![set("new", 1, 10, 10, 10)], vec!["new=12"]),
        ("saturated", 10, vec![set("new", 1, 10, 10, 10), set("old", 2, 2, 2, 9)], vec!["new=10", "old=0"]),
    ] {
        let (mut actions, _) = run(deployment(json!({"replicas": wanted}), json!({})), sets, &[]);
        actions.sort();
        // An update that only raises the revision is not about size.
        let scaled: Vec<String> = actions.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        assert_eq!(scaled, expected, "{what}");
    }
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let spec = json!({"strategy": {"type": "Recreate"}});
    let recreate = |sets, running: &[&str]| run(deployment(spec.clone(), json!({})), sets, running).0;
    assert_eq!(recreate(vec![set("old", 1, 10, 10, 10)], &["old"]), ["old=0"]);
    assert!(recreate(vec![set("old", 1, 0, 0, 10)], &["old"]).is_empty(), "a pod still runs");
    assert_eq!(recreate(vec![set("old", 1, 0, 0, 10)], &[]), ["+10"]);
}

#[test]
fn paused_deployments_scale_but_do_not_roll_out() {
    let spec = json!({"paused": true, "replicas": 4, "revisionHistoryLimit": 0});
    let sets = vec![set("older", 1, 0, 0, 10), set("old", 2, 10, 10, 10)];
    let (actions, last) = run(deployment(spec, json!({})), sets, &[]);
    assert_eq!(actions, ["old=4", "-older"]);
    assert_eq!(progressing(&last.expect("status")), ("Unknown".into(), "DeploymentPaused".into()));
}

#[test]
fn old_sets_beyond_the_history_limit_go() {
    let status = json!({"replicas": 10, "updatedReplicas": 10, "availableReplicas": 10, "readyReplicas": 10, "observedGeneration": 1});
    let sets =
        || vec![set("o1", 1, 0, 0, 10), set("o2", 2, 0, 0, 10), set("o3", 3, 0, 0, 10), set("new", 4, 10, 10, 10)];
    let (actions, last) = run(deployment(json!({"revisionHistoryLimit": 1}), status.clone()), sets(), &[]);
    assert_eq!(actions, ["-o1", "-o2"]);
    let last = last.expect("status");
    assert_eq!(progressing(&last), ("True".into(), "NewReplicaSetAvailable".into()));
    let annotations = last.metadata.annotations.expect("annotations");
    assert_eq!(annotations.get("deployment.kubernetes.io/revision").map(String::as_str), Some("4"));
    assert!(run(deployment(json!({}), status), sets(), &[]).0.is_empty());
}

#[test]
fn progress_and_its_deadline() {
    let since = |time: &str| {
        json!({"replicas": 10, "updatedReplicas": 10, "unavailableReplicas": 10, "observedGeneration": 1, "conditions": [
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated", "lastUpdateTime": time, "lastTransitionTime": time}]})
    };
    let run = |status, available| {
        run(deployment(json!({}), status), vec![set("new", 1, 10, available, 10)], &[]).1.expect("status")
    };
    let late = run(since("2026-01-01T00:00:00Z"), 0);
    assert_eq!(progressing(&late).1, "NewReplicaSetCreated", "exactly at the deadline is in time");
    let late = run(since("2025-12-31T23:59:00Z"), 0);
    assert_eq!(progressing(&late), ("False".into(), "ProgressDeadlineExceeded".into()));
    let some = run(since("2025-12-31T23:59:00Z"), 3);
    assert_eq!(progressing(&some), ("True".into(), "ReplicaSetUpdated".into()));
}

#[test]
fn rollback_by_annotation() {
    for (to, expected, image) in [
        ("0", vec!["spec"], "old"),
        ("1", vec!["spec"], "old"),
        ("7", vec!["!DeploymentRollbackRevisionNotFound", "spec"], "new"),
        ("2", vec!["!DeploymentRollbackTemplateUnchanged", "spec"], "new"),
    ] {
        let mut d = deployment(json!({}), json!({}));
        let annotations = d.metadata.annotations.get_or_insert_default();
        annotations.insert("deprecated.deployment.rollback.to".into(), to.into());
        let (actions, last) = run(d, vec![set("old", 1, 0, 0, 10), set("new", 2, 10, 10, 10)], &[]);
        assert_eq!(actions, expected, "to {to}");
        let last = last.expect("spec");
        assert!(!last.metadata.annotations.unwrap_or_default().contains_key("deprecated.deployment.rollback.to"));
        let spec = last.spec.template.spec.expect("pod spec");
        assert_eq!(spec.containers[0].image.as_deref(), Some(image), "to {to}");
    }
}

#[test]
fn a_selector_of_everything_is_refused() {
    let (actions, last) = run(deployment(json!({"selector": {}}), json!({})), vec![], &[]);
    assert_eq!(actions, ["!SelectingAll"]);
    assert_eq!(last.and_then(|d| d.status?.observed_generation), Some(1));
}
