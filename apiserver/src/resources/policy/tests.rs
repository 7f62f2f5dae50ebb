//! What is wrong with a disruption budget, as upstream says it.

use super::pod_disruption_budget::PodDisruptionBudget;
use crate::resources::common::given::{map, texts};
use crate::strategy::{Generation, Strategy};

#[test]
fn errors() {
    let cases: [(&str, &[&str]); 6] = [
        (r#"{"minAvailable":1,"selector":{}}"#, &[]),
        (r#"{"maxUnavailable":"50%"}"#, &[]),
        (r#"{"minAvailable":-1}"#, &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]),
        (
            r#"{"maxUnavailable":"101%"}"#,
            &["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"],
        ),
        (
            r#"{"selector":{"matchExpressions":[{"key":"a","operator":"x"}]}}"#,
            &["spec.selector.matchExpressions[0].operator: Invalid value: \"x\": not a valid selector operator"],
        ),
        (
            r#"{"unhealthyPodEvictionPolicy":"x"}"#,
            &[
                r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "x": supported values: "AlwaysAllow", "IfHealthyBudget""#,
            ],
        ),
    ];
    for (spec, expect) in cases {
        let object = map(&format!(r#"{{"metadata":{{"name":"x"}},"spec":{spec}}}"#));
        assert_eq!(texts(&PodDisruptionBudget.validate(&object)), expect, "{spec}");
    }
    let both = map(r#"{"spec":{"minAvailable":1,"maxUnavailable":1}}"#);
    let wrong = PodDisruptionBudget.validate(&both);
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].body.ends_with("minAvailable and maxUnavailable cannot be both set"), "{wrong:?}");
}

#[test]
fn what_is_counted_and_asked() {
    assert_eq!(PodDisruptionBudget.generation(), Generation::Spec);
    assert!(!PodDisruptionBudget.allow_unconditional_update("v1"));
    let object = map(r#"{"status":{"expectedPods":-1}}"#);
    let expect = "status.expectedPods: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!(texts(&PodDisruptionBudget.validate_status_update(&object, &object)), [expect]);
}
