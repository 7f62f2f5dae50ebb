//! What workloads get by default and what is wrong with them, as upstream says it.

use api::json;
use api::object::Meta;
use api::value::{Map, Value};

use super::controller_revision::ControllerRevision;
use super::daemon_set::DaemonSet;
use super::deployment::Deployment;
use super::replica_set::ReplicaSet;
use super::stateful_set::StatefulSet;
use crate::resources::common::given::{map, texts};
use crate::resources::core::pod_template::PodTemplate;
use crate::resources::core::replication_controller::ReplicationController;
use crate::strategy::{Generation, Strategy};

const TEMPLATE: &str =
    r#""template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
const SELECTOR: &str = r#""selector":{"matchLabels":{"a":"b"}}"#;

/// An object with a valid selector and template, and `more` in its spec, with its defaults.
fn made(strategy: &dyn Strategy, more: &str) -> Map {
    let more = if more.is_empty() { String::new() } else { format!(",{more}") };
    let mut object = map(&format!(r#"{{"metadata":{{"name":"x"}},"spec":{{{SELECTOR},{TEMPLATE}{more}}}}}"#));
    strategy.default(&mut object);
    object
}

#[test]
fn defaults() {
    let cases: [(&dyn Strategy, &str, &[&str], &str); 13] = [
        (&Deployment, "", &["spec", "replicas"], "1"),
        (&Deployment, r#""replicas":0"#, &["spec", "replicas"], "0"),
        (&Deployment, "", &["spec", "strategy", "rollingUpdate", "maxSurge"], r#""25%""#),
        (&Deployment, "", &["spec", "progressDeadlineSeconds"], "600"),
        (&Deployment, r#""strategy":{"type":"Recreate"}"#, &["spec", "strategy"], r#"{"type":"Recreate"}"#),
        (&Deployment, "", &["spec", "template", "spec", "restartPolicy"], r#""Always""#),
        (&ReplicaSet, "", &["spec", "replicas"], "1"),
        (&DaemonSet, "", &["spec", "updateStrategy", "rollingUpdate"], r#"{"maxUnavailable":1,"maxSurge":0}"#),
        (&DaemonSet, "", &["spec", "revisionHistoryLimit"], "10"),
        (&StatefulSet, "", &["spec", "updateStrategy", "rollingUpdate"], r#"{"partition":0,"maxUnavailable":1}"#),
        (
            &StatefulSet,
            r#""updateStrategy":{"type":"RollingUpdate"}"#,
            &["spec", "updateStrategy"],
            r#"{"type":"RollingUpdate"}"#,
        ),
        (
            &StatefulSet,
            "",
            &["spec", "persistentVolumeClaimRetentionPolicy"],
            r#"{"whenDeleted":"Retain","whenScaled":"Retain"}"#,
        ),
        (&StatefulSet, "", &["spec", "podManagementPolicy"], r#""OrderedReady""#),
    ];
    for (strategy, more, path, expect) in cases {
        let object = made(strategy, more);
        let mut out = Vec::new();
        json::encode_value(&mut out, object.value_at(path).unwrap_or(&Value::Null));
        assert_eq!(String::from_utf8_lossy(&out), expect, "{path:?} with {more}");
    }
}

#[test]
fn a_replication_controller_takes_its_template_s_labels() {
    let mut object = map(&format!(r#"{{"metadata":{{"name":"x"}},"spec":{{{TEMPLATE}}}}}"#));
    ReplicationController.default(&mut object);
    let labels = map(r#"{"a":"b"}"#);
    assert_eq!(object.at(&["spec", "selector"]), Some(&labels));
    assert_eq!(object.at(&["metadata", "labels"]), Some(&labels));
    assert_eq!(texts(&ReplicationController.validate(&object)), Vec::<String>::new());
}

#[test]
fn valid_as_they_are_made() {
    let all: [&dyn Strategy; 4] = [&Deployment, &ReplicaSet, &DaemonSet, &StatefulSet];
    for strategy in all {
        let object = made(strategy, "");
        assert_eq!(texts(&strategy.validate(&object)), Vec::<String>::new());
        assert_eq!(texts(&strategy.validate_update(&object, &object)), Vec::<String>::new());
        assert_eq!(strategy.generation(), Generation::Spec);
        assert!(!strategy.orphans_by_default());
    }
    assert!(ReplicationController.orphans_by_default());
    assert!(PodTemplate.returns_deleted_object("v1"));
}

/// What is wrong with objects that differ from a good one in this.
fn check_errors(cases: &[(&dyn Strategy, &str, &[&str])]) {
    for (strategy, more, expect) in cases {
        let mut object = made(*strategy, "");
        for (name, value) in map(&format!("{{{more}}}")) {
            object.map_mut("spec").set(name, value);
        }
        strategy.default(&mut object);
        assert_eq!(texts(&strategy.validate(&object)), *expect, "{more}");
    }
}

const UNFIT: &str =
    "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`";

#[test]
fn errors_of_deployments() {
    check_errors(&[
        (&Deployment, r#""replicas":-1"#, &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (&Deployment, r#""selector":{"matchLabels":{"a":"c"}}"#, &[UNFIT]),
        (
            &ReplicaSet,
            r#""selector":{}"#,
            &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            &Deployment,
            r#""strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":0,"maxSurge":0}}"#,
            &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        ),
        (
            &Deployment,
            r#""strategy":{"type":"Recreate","rollingUpdate":{}}"#,
            &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            &Deployment,
            r#""strategy":{"type":"x"}"#,
            &[
                r#"spec.strategy: Unsupported value: {"Type":"x","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate""#,
            ],
        ),
        (
            &Deployment,
            r#""progressDeadlineSeconds":5,"minReadySeconds":5"#,
            &["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"],
        ),
    ]);
}

#[test]
fn errors_of_daemon_and_stateful_sets() {
    check_errors(&[
        (
            &DaemonSet,
            r#""updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":0,"maxSurge":0}}"#,
            &["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
        ),
        (
            &DaemonSet,
            r#""updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":1,"maxSurge":"1%"}}"#,
            &[
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"1%\": may not be set when maxUnavailable is non-zero",
            ],
        ),
        (&DaemonSet, r#""selector":{"matchLabels":{"a":"c"}}"#, &[UNFIT]),
        (
            &StatefulSet,
            r#""podManagementPolicy":"x""#,
            &["spec.podManagementPolicy: Invalid value: \"x\": must be 'OrderedReady' or 'Parallel'"],
        ),
        (
            &StatefulSet,
            r#""updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":-1,"maxUnavailable":0}}"#,
            &[
                "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
            ],
        ),
        (
            &StatefulSet,
            r#""persistentVolumeClaimRetentionPolicy":{"whenDeleted":"x"}"#,
            &[
                r#"spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "x": supported values: "Retain", "Delete""#,
            ],
        ),
    ]);
}

#[test]
fn pods_of_workloads_never_end() {
    for (strategy, kind) in
        [(&Deployment as &dyn Strategy, "ReplicaSet"), (&DaemonSet, "DaemonSet"), (&StatefulSet, "StatefulSet")]
    {
        let mut object = made(strategy, "");
        let pod = object.map_mut("spec").map_mut("template").map_mut("spec");
        pod.set("restartPolicy", "Never");
        pod.set("activeDeadlineSeconds", 5i64);
        let expect = [
            r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#.to_string(),
            format!(
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {kind} is not Supported"
            ),
        ];
        assert_eq!(texts(&strategy.validate(&object)), expect);
    }
}

#[test]
fn a_selector_stays() {
    for strategy in [&Deployment as &dyn Strategy, &ReplicaSet, &DaemonSet, &StatefulSet] {
        let old = made(strategy, "");
        let mut object = old.clone();
        let wider = map(r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#);
        object.map_mut("spec").set("selector", wider);
        let expect = r#"spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Exists"}]}: field is immutable"#;
        assert_eq!(texts(&strategy.validate_update(&object, &old)), [expect]);
    }
}

#[test]
fn statuses() {
    let replicas = "cannot be greater than status.replicas";
    let cases: [(&dyn Strategy, &str, Vec<String>); 4] = [
        (
            &Deployment,
            r#"{"replicas":1,"readyReplicas":2}"#,
            vec![format!("status.readyReplicas: Invalid value: 2: {replicas}")],
        ),
        (
            &ReplicaSet,
            r#"{"replicas":2,"availableReplicas":1}"#,
            vec!["status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas".into()],
        ),
        (
            &DaemonSet,
            r#"{"numberReady":-1}"#,
            vec!["status.numberReady: Invalid value: -1: must be greater than or equal to 0".into()],
        ),
        (
            &StatefulSet,
            r#"{"replicas":0,"collisionCount":1}"#,
            vec!["status.collisionCount: Invalid value: 1: cannot be decremented".into()],
        ),
    ];
    for (strategy, status, expect) in cases {
        let mut old = made(strategy, "");
        old.set("status", map(r#"{"collisionCount":2}"#));
        let mut object = old.clone();
        let mut status = map(status);
        if !status.contains("collisionCount") {
            status.set("collisionCount", 2i64);
        }
        object.set("status", status);
        assert_eq!(texts(&strategy.validate_status_update(&object, &old)), expect);
    }
}

#[test]
fn revisions_do_not_change() {
    let old = map(r#"{"metadata":{"name":"x"},"data":{"a":1},"revision":1}"#);
    let cases = [
        (r#"{"data":{"a":1},"revision":2}"#, vec![]),
        (r#"{"data":{"a":2},"revision":1}"#, vec![r#"data: Invalid value: {"a":2}: field is immutable"#]),
        (r#"{"data":{"a":1},"revision":-1}"#, vec!["revision: Invalid value: -1: must be greater than or equal to 0"]),
    ];
    for (text, expect) in cases {
        assert_eq!(texts(&ControllerRevision.validate_update(&map(text), &old)), expect, "{text}");
    }
    assert_eq!(texts(&ControllerRevision.validate(&map("{}"))), ["data: Required value: data is mandatory"]);
}

#[test]
fn names_of_stateful_sets_are_labels() {
    for (name, right) in [("web", true), ("a.b", false), ("A", false)] {
        assert_eq!(StatefulSet.name_errors(name, false).is_empty(), right, "{name}");
    }
    assert!(Deployment.name_errors("a.b", false).is_empty());
}

#[test]
fn claims_of_stateful_sets_say_what_they_are() {
    let claims = r#""volumeClaimTemplates":[{"kind":"Odd","metadata":{"name":"c"},"spec":{}}]"#;
    let made = made(&StatefulSet, claims);
    let claim = made.map("spec").and_then(|spec| spec.maps("volumeClaimTemplates").next()).expect("a claim");
    assert_eq!((claim.str("apiVersion"), claim.str("kind")), ("v1", "PersistentVolumeClaim"));
    // What is stored says nothing of it.
    assert!(StatefulSet.completes_on_read());
}

#[test]
fn the_generation_of_a_daemon_set_s_template_is_a_number() {
    let told = |text: &str| {
        let note = r#"{"deprecated.daemonset.template.generation":"TEXT"}"#.replace("TEXT", text);
        DaemonSet.convert(&map(&format!(r#"{{"metadata":{{"annotations":{note}}}}}"#))).err().unwrap_or_default()
    };
    assert_eq!(told("2"), "");
    assert_eq!(made(&DaemonSet, "").annotation("deprecated.daemonset.template.generation"), Some("0"));
    assert_eq!(told("2x"), r#"strconv.ParseInt: parsing "2x": invalid syntax"#);
    assert_eq!(told("9223372036854775808"), r#"strconv.ParseInt: parsing "9223372036854775808": value out of range"#);
}
