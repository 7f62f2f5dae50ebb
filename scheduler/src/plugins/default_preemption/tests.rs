//! Whom preemption evicts.

use super::*;
use crate::algorithm::{Algorithm, Failure};
use crate::config::{Config, profiles};
use crate::framework::plugin::Point;
use crate::nominator::Nominated;
use crate::testing::{node_info, object, pod_info};

fn node(name: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}"}},"status":{{"allocatable":{{"cpu":"4","pods":"10"}}}}}}"#)
}

/// A pod that asks for CPUs.
fn pod(name: &str, cpu: i64, priority: i32, more: &str) -> String {
    let containers = format!(r#"[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]"#);
    let meta = format!(r#"{{"namespace":"d","name":"{name}","uid":"{name}","labels":{{"app":"{name}"}}}}"#);
    format!(r#"{{"metadata":{meta},"spec":{{"priority":{priority},"containers":{containers}{more}}}}}"#)
}

/// What the condition's message ends with, and the nomination, for a pod on a cluster.
fn outcome(nodes: &[(&str, &[String])], incoming: &str, budgets: &[&str]) -> (String, Nomination) {
    let handle = Handle::for_test();
    let info = pod_info(incoming);
    handle.listers.pods.insert(info.pod.clone());
    budgets.iter().for_each(|budget| handle.listers.budgets.insert(Arc::new(object(budget))));
    let profile = profiles::make(&Config::default(), &handle).unwrap().remove("default-scheduler").unwrap();
    let with = |name: &str, on: &[String]| {
        let on: Vec<&str> = on.iter().map(String::as_str).collect();
        node_info(&node(name), &on)
    };
    let nodes = nodes.iter().map(|(name, on)| with(name, on)).collect();
    let mut algorithm = Algorithm::new(0, Some(1));
    algorithm.snapshot = crate::snapshot::Snapshot::of(nodes);
    let (mut state, nominated) = (CycleState::default(), Nominated::default());
    let Err(Failure::Fit(error)) = algorithm.schedule(&profile, &nominated, &mut state, &info) else {
        panic!("it must not fit");
    };
    assert!(profile.has(Point::PostFilter));
    let (nomination, message) = algorithm.post_filter(&profile, &nominated, &state, &info, &error);
    (message, nomination)
}

fn placed(node: &str, victims: usize) -> (String, Nomination) {
    let what = format!("found a potential placement for pod on node {node}, preempting {victims} victims");
    (format!("preemption: {what}"), Nomination::Set(node.into()))
}

#[tokio::test]
async fn the_least_harm_is_chosen() {
    let low = |name: &str, cpu| pod(name, cpu, 0, "");
    let high = pod("new", 3, 10, "");
    let budget = |app: &str| {
        format!(
            r#"{{"metadata":{{"namespace":"d","name":"b"}},"spec":{{"selector":{{"matchLabels":{{"app":"{app}"}}}}}},
            "status":{{"disruptionsAllowed":0}}}}"#
        )
    };
    let protects_a = budget("a");
    let (a, b) = ([low("a", 4)], [low("b", 4)]);
    let two = [low("a", 2), low("b", 2)];
    let mixed = [low("a", 1), pod("m", 3, 5, "")];
    let cheap = [low("a", 1), low("b", 3)];
    for (what, nodes, budgets, expected) in [
        ("a budget is spared", vec![("n1", &a[..]), ("n2", &b[..])], vec![protects_a.as_str()], placed("n2", 1)),
        ("broken only when there is no other way", vec![("n1", &a[..])], vec![protects_a.as_str()], placed("n1", 1)),
        ("the lower highest priority", vec![("n1", &mixed[..]), ("n2", &two[..])], vec![], placed("n2", 2)),
        ("fewer victims", vec![("n1", &two[..]), ("n2", &b[..])], vec![], placed("n2", 1)),
        ("no more than needed", vec![("n1", &cheap[..])], vec![], placed("n1", 1)),
    ] {
        assert_eq!(outcome(&nodes, &high, &budgets), expected, "{what}");
    }
}

#[tokio::test]
async fn what_preemption_cannot_do_is_said() {
    let full = [pod("a", 4, 0, "")];
    let important = [pod("a", 4, 100, "")];
    let never = pod("new", 3, 10, r#","preemptionPolicy":"Never""#);
    for (what, on, incoming, expected, nomination) in [
        ("never", &full, never, "preemption: not eligible due to preemptionPolicy=Never.", Nomination::Keep),
        (
            "too large for any node",
            &full,
            pod("new", 9, 10, ""),
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            Nomination::Set(String::new()),
        ),
        (
            "nobody less important",
            &important,
            pod("new", 3, 10, ""),
            "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
            Nomination::Set(String::new()),
        ),
    ] {
        assert_eq!(outcome(&[("n1", on)], &incoming, &[]), (expected.into(), nomination), "{what}");
    }
}
