//! Spreading over zones and hosts.

use super::*;
use crate::plugins::testing::{scores, verdicts};
use crate::testing::{object, pod_info, snapshot};

fn plugin(handle: &Handle) -> PodTopologySpread {
    PodTopologySpread::new(handle, &PodTopologySpreadArgs::default())
}

fn node(name: &str, zone: &str) -> String {
    let labels = format!(r#"{{"kubernetes.io/hostname":"{name}","zone":"{zone}"}}"#);
    format!(r#"{{"metadata":{{"name":"{name}","labels":{labels}}}}}"#)
}

const WEB: &str = r#"{"metadata":{"namespace":"d","labels":{"app":"web"}}}"#;

fn spreading(constraint: &str) -> Arc<PodInfo> {
    let base = r#""maxSkew":1,"topologyKey":"zone","labelSelector":{"matchLabels":{"app":"web"}}"#;
    let spec = format!(r#"{{"topologySpreadConstraints":[{{{base},{constraint}}}]}}"#);
    pod_info(&format!(r#"{{"metadata":{{"namespace":"d","labels":{{"app":"web"}}}},"spec":{spec}}}"#))
}

fn zones(pods: [usize; 3]) -> Snapshot {
    let nodes = [node("a1", "a"), node("a2", "a"), node("b1", "b")];
    let web = [WEB; 9];
    let all: Vec<(&str, &[&str])> = nodes.iter().zip(pods).map(|(node, n)| (node.as_str(), &web[..n])).collect();
    snapshot(&all)
}

const HARD: &str = r#""whenUnsatisfiable":"DoNotSchedule""#;

#[test]
fn the_skew_is_kept() {
    let full = "Unschedulable: node(s) didn't match pod topology spread constraints";
    let pinned = format!(r#"{HARD},"minDomains":3"#);
    for (constraint, pods, expected) in [
        (HARD, [0, 0, 0], ["", "", ""]),
        (HARD, [1, 0, 0], [full, full, ""]),
        (HARD, [1, 1, 2], ["", "", ""]),
        (HARD, [1, 0, 2], ["", "", full]),
        (pinned.as_str(), [1, 0, 1], [full, full, full]),
        (r#""whenUnsatisfiable":"ScheduleAnyway""#, [9, 0, 0], ["", "", ""]),
    ] {
        let handle = Handle::for_test();
        assert_eq!(verdicts(&plugin(&handle), &spreading(constraint), &zones(pods)), expected, "{constraint} {pods:?}");
    }
}

#[test]
fn nodes_without_the_label_are_refused_and_counts_follow_the_cluster() {
    let missing = "UnschedulableAndUnresolvable: node(s) didn't match pod topology spread constraints (missing \
                   required label)";
    let handle = Handle::for_test();
    let plugin = plugin(&handle);
    let bare = r#"{"metadata":{"name":"x"}}"#;
    let all = snapshot(&[(&node("a1", "a"), &[WEB]), (bare, &[])]);
    assert_eq!(verdicts(&plugin, &spreading(HARD), &all), ["", missing]);
    // The same plugin, with its counts, on another cluster.
    let full = "Unschedulable: node(s) didn't match pod topology spread constraints";
    assert_eq!(verdicts(&plugin, &spreading(HARD), &zones([0, 1, 0])), [full, full, ""]);
    assert_eq!(verdicts(&plugin, &spreading(HARD), &zones([0, 0, 1])), ["", "", full]);
}

#[test]
fn a_what_if_changes_the_counts() {
    let handle = Handle::for_test();
    let (plugin, pod, all) = (plugin(&handle), spreading(HARD), zones([1, 0, 0]));
    let mut state = CycleState::default();
    plugin.pre_filter(&mut state, &pod, &all).unwrap();
    let node = &all.nodes()[0];
    assert!(plugin.filter(&state, &pod, node).is_err());
    plugin.adjust(&mut state, &pod, &node.pods[0], node, -1);
    assert!(plugin.filter(&state, &pod, node).is_ok());
}

#[test]
fn soft_constraints_prefer_the_emptier_domain() {
    let handle = Handle::for_test();
    let soft = spreading(r#""whenUnsatisfiable":"ScheduleAnyway""#);
    // Two zones weigh ln 4: 3 pods make 4, 1 pod makes 1; of 4, (4 + 1 - 4) and (4 + 1 - 1) are left.
    assert_eq!(scores(&plugin(&handle), &soft, &zones([3, 0, 1])), [25, 25, 100]);
}

#[test]
fn pods_of_a_service_spread_over_hosts_by_default() {
    let handle = Handle::for_test();
    let service = r#"{"metadata":{"namespace":"d","name":"s"},"spec":{"selector":{"app":"web"}}}"#;
    assert_eq!(scores(&plugin(&handle), &pod_info(WEB), &zones([2, 1, 0])), [0, 0, 0], "no service, no spreading");
    handle.listers.services.insert(Arc::new(object(service)));
    let scores = scores(&plugin(&handle), &pod_info(WEB), &zones([2, 1, 0]));
    assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
}
