//! Autoscalers: the way between v1 and v2, defaults, errors.

use api::facts;
use api::json::{self, Strictness};
use api::value::{Map, Value};

use super::convert::{to_v1, to_v2};
use super::horizontal_pod_autoscaler::HorizontalPodAutoscaler;
use crate::resources::common::given::map;
use crate::strategy::{Context, Strategy};

const TARGET: &str = r#""scaleTargetRef":{"kind":"Deployment","name":"web","apiVersion":"apps/v1"}"#;
const PREFIX: &str = "autoscaling.alpha.kubernetes.io/";

fn shown(value: Option<&Value>) -> String {
    let mut out = Vec::new();
    json::encode_value(&mut out, value.unwrap_or(&Value::Null));
    String::from_utf8_lossy(&out).into_owned()
}

/// An object with its fields in the order of its type.
fn object(version: &str, spec: &str, status: &str) -> Map {
    let text = format!(
        r#"{{"kind":"HorizontalPodAutoscaler","apiVersion":"autoscaling/{version}","metadata":{{"name":"web"}},"spec":{{{TARGET},"minReplicas":1,"maxReplicas":5{spec}}},"status":{status}}}"#
    );
    let ty =
        facts::structure(&format!("io.k8s.api.autoscaling.{version}.HorizontalPodAutoscaler")).expect("a known type");
    json::decode(text.as_bytes(), ty, Strictness::Strict).expect("an object").value
}

#[test]
fn v1_says_cpu_in_a_field_and_the_rest_in_annotations() {
    let cpu =
        r#"{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}"#;
    let pods = r#"{"type":"Pods","pods":{"metric":{"name":"m"},"target":{"type":"AverageValue","averageValue":"5"}}}"#;
    let behavior =
        r#""behavior":{"scaleDown":{"selectPolicy":"Max","policies":[{"type":"Pods","value":4,"periodSeconds":15}]}}"#;
    let status = r#"{"currentReplicas":2,"desiredReplicas":2,"currentMetrics":[{"type":"Resource","resource":{"name":"cpu","current":{"averageValue":"3","averageUtilization":7}}}],"conditions":[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-11-24T08:00:00Z"}]}"#;
    let v2 = object("v2", &format!(r#","metrics":[{pods},{cpu}],{behavior}"#), status);
    let v1 = to_v1(&v2);
    assert_eq!(v1.str("apiVersion"), "autoscaling/v1");
    assert_eq!(shown(v1.value_at(&["spec", "targetCPUUtilizationPercentage"])), "50");
    assert_eq!(shown(v1.value_at(&["status", "currentCPUUtilizationPercentage"])), "7");
    let expect = [
        ("metrics", r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"5"}}]"#),
        (
            "current-metrics",
            r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":7,"currentAverageValue":"3"}}]"#,
        ),
        (
            "behavior",
            r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null}}"#,
        ),
        ("conditions", r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-11-24T08:00:00Z"}]"#),
    ];
    for (name, text) in expect {
        let annotation = v1.value_at(&["metadata", "annotations", &format!("{PREFIX}{name}")]);
        assert_eq!(annotation.and_then(Value::as_str), Some(text), "{name}");
    }
    assert_eq!(to_v2(&v1), v2);
}

#[test]
fn every_kind_of_metric_comes_back() {
    let described = r#""describedObject":{"kind":"Service","name":"s","apiVersion":"v1"}"#;
    let metrics = [
        format!(r#"{{"type":"Object","object":{{{described},"target":{{"type":"Value","value":"5"}},"metric":{{"name":"m"}}}}}}"#),
        format!(r#"{{"type":"Object","object":{{{described},"target":{{"type":"AverageValue","averageValue":"5"}},"metric":{{"name":"m"}}}}}}"#),
        r#"{"type":"External","external":{"metric":{"name":"m","selector":{"matchLabels":{"a":"b"}}},"target":{"type":"Value","value":"1k"}}}"#.into(),
        r#"{"type":"External","external":{"metric":{"name":"m"},"target":{"type":"AverageValue","averageValue":"500m"}}}"#.into(),
        r#"{"type":"Resource","resource":{"name":"memory","target":{"type":"Utilization","averageUtilization":60}}}"#.into(),
        r#"{"type":"Resource","resource":{"name":"cpu","target":{"type":"AverageValue","averageValue":"2"}}}"#.into(),
        r#"{"type":"ContainerResource","containerResource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":60},"container":"c"}}"#.into(),
    ];
    for metric in metrics {
        let v2 = object("v2", &format!(r#","metrics":[{metric}]"#), r#"{"desiredReplicas":0}"#);
        let again = to_v2(&to_v1(&v2));
        assert_eq!(shown(again.value_at(&["spec", "metrics"])), shown(v2.value_at(&["spec", "metrics"])));
        assert!(again.at(&["metadata", "annotations"]).is_none());
    }
}

#[test]
fn annotations_that_cannot_be_read_are_dropped() {
    let mut v1 = object("v1", "", r#"{"currentReplicas":0,"desiredReplicas":0}"#);
    v1.map_mut("metadata")
        .set("annotations", map(&format!(r#"{{"a":"b","{PREFIX}metrics":"x","{PREFIX}behavior":"[]"}}"#)));
    let v2 = to_v2(&v1);
    assert_eq!(shown(v2.value_at(&["metadata", "annotations"])), r#"{"a":"b"}"#);
    let cpu =
        r#"[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]"#;
    assert_eq!(shown(v2.value_at(&["spec", "metrics"])), cpu);
    assert!(v2.at(&["spec", "behavior"]).is_none());
}

#[test]
fn defaults() {
    let mut v2 = object("v2", r#","behavior":{"scaleUp":{"selectPolicy":"Min"}}"#, "{}");
    HorizontalPodAutoscaler.default(&mut v2);
    let up = v2.at(&["spec", "behavior", "scaleUp"]).unwrap();
    assert_eq!((up.i64("stabilizationWindowSeconds"), up.str("selectPolicy")), (Some(0), "Min"));
    assert_eq!(up.list("policies").len(), 2);
    let down = v2.at(&["spec", "behavior", "scaleDown"]).unwrap();
    assert_eq!((down.i64("stabilizationWindowSeconds"), down.list("policies").len()), (None, 1));
    let mut v1 = object("v1", "", "{}");
    HorizontalPodAutoscaler.default(&mut v1);
    assert_eq!(shown(v1.value_at(&["spec", "targetCPUUtilizationPercentage"])), "80");
}

#[test]
fn errors() {
    let cases: [(&str, i64, &[&str]); 4] = [
        ("maxReplicas", 5, &[]),
        (
            "maxReplicas",
            -1,
            &[
                "spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`",
            ],
        ),
        ("minReplicas", -1, &["spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"]),
        (
            "minReplicas",
            0,
            &[
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
            ],
        ),
    ];
    for version in ["v1", "v2"] {
        for (name, value, expect) in cases {
            let mut object = object(version, "", "{}");
            HorizontalPodAutoscaler.default(&mut object);
            object.map_mut("spec").set(name, value);
            let errors: Vec<String> =
                HorizontalPodAutoscaler.validate(&object).iter().map(ToString::to_string).collect();
            assert_eq!(errors, expect, "{version} {name} {value}");
        }
    }
}

#[test]
fn an_update_through_v1_keeps_what_only_v2_has() {
    let status = r#"{"currentReplicas":1,"desiredReplicas":1,"conditions":[{"type":"AbleToScale","status":"True"}]}"#;
    let old = to_v1(&object("v2", "", status));
    let mut new = object("v1", r#","targetCPUUtilizationPercentage":50"#, "{}");
    new.set("status", old.get("status").cloned().unwrap_or_default());
    let user = crate::authn::User::default();
    let cx = Context { user: &user, now: "2026-11-24T08:00:00Z", labels_defaulted: false };
    HorizontalPodAutoscaler.prepare_for_update(&cx, &mut new, &old);
    assert_eq!(
        shown(to_v2(&new).value_at(&["status", "conditions"])),
        shown(to_v2(&old).value_at(&["status", "conditions"]))
    );
    assert_eq!(shown(new.value_at(&["metadata", "generation"])), "1");
    HorizontalPodAutoscaler.prepare_for_create(&cx, &mut new);
    assert!(to_v2(&new).at(&["status"]).is_some_and(|status| status.list("conditions").is_empty()));
}
