//! What the rules of real kinds say, in the texts that upstream answers with.

use api::facts;
use api::field::Errors;
use api::json::{self, Strictness};
use api::value::Map;

use super::walk::Walk;

fn read(ty: &'static facts::Struct, text: &str) -> Map {
    json::decode(text.as_bytes(), ty, Strictness::Strict).expect("an object").value
}

/// What the rules of a kind say of an object, and of a change when there is an old one.
#[track_caller]
fn check(kind: &str, subresource: &str, old: Option<&str>, new: &str, want: &[&str]) {
    let ty = facts::structure(&format!("io.k8s.api.{kind}")).expect("a kind");
    let rules = api::rules::of(ty.name, subresource).expect("rules");
    let (object, old) = (read(ty, new), old.map(|old| read(ty, old)));
    let mut told = Errors::new();
    Walk { update: old.is_some() }.object(rules, [Some(&object), old.as_ref()], ty, &mut told);
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, want);
}

#[test]
fn fields_are_asked_in_their_order() {
    let role = r#"{"subjects":[{"kind":"User","name":""}],"roleRef":{"apiGroup":"","kind":"","name":""}}"#;
    let wrong = ["subjects[0].name: Required value", "roleRef.name: Required value"];
    check("rbac.v1.RoleBinding", "", None, role, &wrong);
}

#[test]
fn what_an_update_leaves_alone_is_not_asked() {
    let role = r#"{"rules":[{"verbs":[]}]}"#;
    check("rbac.v1.Role", "", None, role, &["rules[0].verbs: Required value"]);
    check("rbac.v1.Role", "", Some(role), role, &[]);
    let more = r#"{"rules":[{"verbs":[]},{"verbs":[]}]}"#;
    check("rbac.v1.Role", "", Some(role), more, &["rules[0].verbs: Required value", "rules[1].verbs: Required value"]);
}

#[test]
fn claims_have_limits_and_unique_names() {
    let request = |name: &str| format!(r#"{{"name":"{name}","exactly":{{"deviceClassName":"c"}}}}"#);
    let claim = |requests: &[String]| format!(r#"{{"spec":{{"devices":{{"requests":[{}]}}}}}}"#, requests.join(","));
    let twice = r#"spec.devices.requests[1]: Duplicate value: {"name":"a","exactly":{"deviceClassName":"c"}}"#;
    check("resource.v1.ResourceClaim", "", None, &claim(&[request("a"), request("a")]), &[twice]);
    let many: Vec<String> = (0..33).map(|at| request(&format!("r{at}"))).collect();
    let wrong = "spec.devices.requests: Too many: 33: must have at most 32 items";
    check("resource.v1.ResourceClaim", "", None, &claim(&many), &[wrong]);
    let (old, new) = (claim(&[request("a")]), claim(&[request("b")]));
    let fixed = "spec: Invalid value: null: field is immutable";
    check("resource.v1.ResourceClaim", "", Some(&old), &new, &[fixed]);
}

#[test]
fn a_member_depends_on_the_type() {
    let level = |spec: &str| format!(r#"{{"spec":{spec}}}"#);
    let kind = "flowcontrol.v1.PriorityLevelConfiguration";
    let wrong = "spec.limited: Required value";
    check(kind, "", None, &level(r#"{"type":"Limited"}"#), &[wrong]);
    let wrong = ["spec.limited: Forbidden", "spec.limited.limitResponse.type: Required value"];
    check(kind, "", None, &level(r#"{"type":"Exempt","limited":{"nominalConcurrencyShares":1}}"#), &wrong);
    check(kind, "", None, &level(r#"{"type":"Exempt"}"#), &[]);
}

#[test]
fn a_request_cannot_be_approved_and_denied() {
    let status = r#"{"status":{"conditions":[{"type":"Approved","status":"True"},{"type":"Denied","status":"True"}]}}"#;
    let wrong = r#"status.conditions: Invalid value: "{conditions[{\"type\": \"Approved\"}], conditions[{\"type\": \"Denied\"}]}": must specify at most one of: `conditions[{"type": "Approved"}]`, `conditions[{"type": "Denied"}]`"#;
    check("certificates.v1.CertificateSigningRequest", "approval", Some("{}"), status, &[wrong]);
}

#[test]
fn a_name_that_is_set_stays() {
    let config = |name: &str| format!(r#"{{"spec":{{"providerID":"{name}"}}}}"#);
    // The rule for nodes is only tried out, and says nothing.
    check("core.v1.Node", "", Some(&config("a")), &config("b"), &[]);
}

#[test]
fn rules_of_whole_objects_are_about_fields() {
    for resource in facts::resources() {
        let Some(rules) = api::rules::of(resource.ty.name, "") else { continue };
        assert!(rules.0.iter().all(|rule| matches!(rule, api::rules::Rule::Field(_))), "{}", resource.ty.name);
    }
}
