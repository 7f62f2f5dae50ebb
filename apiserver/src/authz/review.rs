//! The access reviews: what may a subject do, what may I do.
//!
//! Pure functions from a spec (and the decision of the authorizers) to a status, and the validation before them.
//!
//! Upstream: `pkg/registry/authorization/{subjectaccessreview,selfsubjectaccessreview,localsubjectaccessreview,
//! selfsubjectrulesreview,util}@v1.37.2`, `pkg/apis/authorization/validation/validation.go@v1.37.2`.

use api::names;
use k8s_openapi::api::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, NonResourceAttributes, NonResourceRule,
    ResourceAttributes as Spec, ResourceRule, SelfSubjectAccessReviewSpec, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldSelectorRequirement, LabelSelectorRequirement};
use serde::Serialize;

use super::selector::{FieldRequirement, LabelRequirement, parse_field_selector, parse_label_selector};
use super::{Answer, Attributes, Decision, ResourceAttributes};
use crate::authn::issue::FieldProblem;
use crate::authn::text::quote;
use crate::authn::{User, aggregate};

const EXACTLY_ONE: &str = "exactly one of nonResourceAttributes or resourceAttributes must be specified";

fn text(optional: &Option<String>) -> &str {
    optional.as_deref().unwrap_or_default()
}

/// Reviews what a subject may do.
pub(crate) fn subject_access_review<A: Into<Answer>>(
    spec: &SubjectAccessReviewSpec,
    decide: impl Fn(&Attributes<'_>) -> A,
) -> SubjectAccessReviewStatus {
    let user = User {
        name: text(&spec.user).into(),
        uid: text(&spec.uid).into(),
        groups: spec.groups.clone().unwrap_or_default(),
        extra: spec.extra.clone().unwrap_or_default(),
    };
    review(&user, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref(), decide)
}

/// Reviews what the asking user may do.
pub(crate) fn self_subject_access_review<A: Into<Answer>>(
    user: &User,
    spec: &SelfSubjectAccessReviewSpec,
    decide: impl Fn(&Attributes<'_>) -> A,
) -> SubjectAccessReviewStatus {
    review(user, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref(), decide)
}

fn review<A: Into<Answer>>(
    user: &User,
    resource: Option<&Spec>,
    path: Option<&NonResourceAttributes>,
    decide: impl Fn(&Attributes<'_>) -> A,
) -> SubjectAccessReviewStatus {
    let Some(spec) = resource else {
        let (verb, path) = path.map(|p| (text(&p.verb), text(&p.path))).unwrap_or_default();
        return status(decide(&Attributes { user, verb, resource: None, path }).into(), Vec::new());
    };
    let fields = field_requirements(spec.field_selector.as_ref());
    let labels = label_requirements(spec.label_selector.as_ref());
    let version = text(&spec.version);
    let resource = ResourceAttributes {
        group: text(&spec.group),
        version: if version.is_empty() { "*" } else { version },
        resource: text(&spec.resource),
        subresource: text(&spec.subresource),
        namespace: text(&spec.namespace),
        name: text(&spec.name),
        field_selector: &fields.0,
        label_selector: &labels.0,
    };
    let answer = decide(&Attributes { user, verb: text(&spec.verb), resource: Some(resource), path: "" });
    let told = [ignored("fieldSelector", fields.1, fields.0.len()), ignored("labelSelector", labels.1, labels.0.len())];
    status(answer.into(), told.into_iter().flatten().collect())
}

fn ignored(field: &str, failed: bool, understood: usize) -> Option<String> {
    let partially = if understood > 0 { "partially " } else { "" };
    failed.then(|| format!("spec.resourceAttributes.{field} {partially}ignored due to parse error"))
}

fn status(answer: Answer, ignored: Vec<String>) -> SubjectAccessReviewStatus {
    let Answer { decision, error } = answer;
    let errors: Vec<String> = error.into_iter().chain(ignored).collect();
    let evaluation_error = (!errors.is_empty()).then(|| errors.join("; "));
    let reason = decision.reason();
    SubjectAccessReviewStatus {
        allowed: decision.is_allow(),
        denied: matches!(decision, Decision::Deny { .. }).then_some(true),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        evaluation_error,
    }
}

/// What of a field selector is understood, and whether anything is not. Leaving a requirement out only makes the
/// question broader.
fn field_requirements(selector: Option<&FieldSelectorAttributes>) -> (Vec<FieldRequirement>, bool) {
    let Some(selector) = selector else { return (Vec::new(), false) };
    let requirements = selector.requirements.as_deref().unwrap_or_default();
    if requirements.is_empty() {
        return match parse_field_selector(text(&selector.raw_selector)) {
            Ok(parsed) => (parsed, false),
            Err(_) => (Vec::new(), true),
        };
    }
    let understood: Vec<FieldRequirement> = requirements.iter().filter_map(field_requirement).collect();
    let failed = understood.len() < requirements.len();
    (understood, failed)
}

fn field_requirement(requirement: &FieldSelectorRequirement) -> Option<FieldRequirement> {
    let [value] = requirement.values.as_deref()? else { return None };
    let equal = match requirement.operator.as_str() {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    Some(FieldRequirement { field: requirement.key.clone(), equal, value: value.clone() })
}

/// As [`field_requirements`].
fn label_requirements(selector: Option<&LabelSelectorAttributes>) -> (Vec<LabelRequirement>, bool) {
    let Some(selector) = selector else { return (Vec::new(), false) };
    let requirements = selector.requirements.as_deref().unwrap_or_default();
    if requirements.is_empty() {
        return match parse_label_selector(text(&selector.raw_selector)) {
            Ok(parsed) => (parsed, false),
            Err(_) => (Vec::new(), true),
        };
    }
    let known = |r: &&LabelSelectorRequirement| {
        let values = r.values.as_ref().map_or(0, Vec::len);
        match r.operator.as_str() {
            "In" | "NotIn" => values > 0,
            "Exists" | "DoesNotExist" => values == 0,
            _ => false,
        }
    };
    let understood: Vec<LabelRequirement> = requirements
        .iter()
        .filter(known)
        .map(|r| LabelRequirement {
            key: r.key.clone(),
            operator: r.operator.clone(),
            values: r.values.clone().unwrap_or_default(),
        })
        .collect();
    let failed = understood.len() < requirements.len();
    (understood, failed)
}

/// What the asking user may do in a namespace, as far as rules can tell.
pub(crate) fn self_subject_rules_review(
    (rules, errors, incomplete): (Vec<PolicyRule>, Vec<String>, bool),
) -> SubjectRulesReviewStatus {
    let filled = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let resource_rules = rules.iter().filter(|rule| filled(&rule.resources)).map(|rule| ResourceRule {
        verbs: rule.verbs.clone(),
        api_groups: rule.api_groups.clone(),
        resources: rule.resources.clone(),
        resource_names: rule.resource_names.clone(),
    });
    let non_resource_rules = rules
        .iter()
        .filter(|rule| filled(&rule.non_resource_urls))
        .map(|rule| NonResourceRule { verbs: rule.verbs.clone(), non_resource_urls: rule.non_resource_urls.clone() });
    SubjectRulesReviewStatus {
        resource_rules: resource_rules.collect(),
        non_resource_rules: non_resource_rules.collect(),
        incomplete,
        evaluation_error: (!errors.is_empty()).then(|| aggregate(&errors)),
    }
}

/// Validates a SubjectAccessReview's spec; its metadata must be empty, which the caller checks.
pub(crate) fn validate_subject_access_review(spec: &SubjectAccessReviewSpec) -> Vec<FieldProblem> {
    let mut problems = validate_union(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    if text(&spec.user).is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty) {
        let detail = "at least one of user or group must be specified";
        problems.push(FieldProblem::invalid("spec.user", "\"\"", detail));
    }
    problems.extend(validate_selectors(spec.resource_attributes.as_ref()));
    problems
}

/// Validates a SelfSubjectAccessReview's spec.
pub(crate) fn validate_self_subject_access_review(spec: &SelfSubjectAccessReviewSpec) -> Vec<FieldProblem> {
    let mut problems = validate_union(spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
    problems.extend(validate_selectors(spec.resource_attributes.as_ref()));
    problems
}

/// What a LocalSubjectAccessReview must not ask beside: it is about its own namespace only.
pub(crate) fn validate_locality(spec: &SubjectAccessReviewSpec, namespace: &str) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    if let Some(asked) = spec.resource_attributes.as_ref().filter(|asked| text(&asked.namespace) != namespace) {
        let field = "spec.resourceAttributes.namespace";
        problems.push(FieldProblem::invalid(field, &quote(text(&asked.namespace)), "must match metadata.namespace"));
    }
    if let Some(path) = &spec.non_resource_attributes {
        let detail = "disallowed on this kind of request";
        problems.push(FieldProblem::invalid("spec.nonResourceAttributes", &internal_json(path), detail));
    }
    problems
}

/// Non-resource attributes as Go prints the internal type, whose fields have no JSON names.
fn internal_json(path: &NonResourceAttributes) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Internal<'a> {
        path: &'a str,
        verb: &'a str,
    }
    let internal = Internal { path: text(&path.path), verb: text(&path.verb) };
    serde_json::to_string(&internal).expect("two strings are JSON")
}

fn validate_union(resource: Option<&Spec>, path: Option<&NonResourceAttributes>) -> Vec<FieldProblem> {
    match (resource, path) {
        (Some(_), Some(path)) => vec![FieldProblem::invalid("spec", &internal_json(path), EXACTLY_ONE)],
        (None, None) => vec![FieldProblem::invalid("spec", "null", EXACTLY_ONE)],
        _ => Vec::new(),
    }
}

fn validate_selectors(resource: Option<&Spec>) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let Some(resource) = resource else { return problems };
    if let Some(selector) = &resource.field_selector {
        let path = "spec.resourceAttributes.fieldSelector";
        let requirements = selector.requirements.as_deref().unwrap_or_default();
        problems.extend(validate_selector(path, text(&selector.raw_selector), requirements.len()));
        for (index, requirement) in requirements.iter().enumerate() {
            let path = format!("{path}.requirements[{index}]");
            if requirement.key.is_empty() {
                problems.push(FieldProblem::required(&format!("{path}.key"), "must be specified"));
            }
            problems.extend(validate_values(&path, &requirement.operator, requirement.values.as_deref()));
        }
    }
    if let Some(selector) = &resource.label_selector {
        let path = "spec.resourceAttributes.labelSelector";
        let requirements = selector.requirements.as_deref().unwrap_or_default();
        problems.extend(validate_selector(path, text(&selector.raw_selector), requirements.len()));
        for (index, requirement) in requirements.iter().enumerate() {
            let path = format!("{path}.requirements[{index}]");
            let values = requirement.values.as_deref().unwrap_or_default();
            problems.extend(validate_values(&path, &requirement.operator, requirement.values.as_deref()));
            problems.extend(invalid(&format!("{path}.key"), &requirement.key, names::is_qualified_name));
            for (at, value) in values.iter().enumerate() {
                problems.extend(invalid(&format!("{path}.values[{at}]"), value, names::is_valid_label_value));
            }
        }
    }
    problems
}

/// A problem for everything that is wrong with a text.
fn invalid(field: &str, value: &str, wrong: fn(&str) -> Vec<String>) -> Vec<FieldProblem> {
    wrong(value).iter().map(|message| FieldProblem::invalid(field, &quote(value), message)).collect()
}

fn validate_selector(path: &str, raw: &str, requirements: usize) -> Option<FieldProblem> {
    match (raw.is_empty(), requirements == 0) {
        (false, false) => {
            let detail = "may not specified at the same time as requirements";
            Some(FieldProblem::invalid(&format!("{path}.rawSelector"), &quote(raw), detail))
        }
        (true, true) => {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            Some(FieldProblem::required(&format!("{path}.requirements"), &detail))
        }
        _ => None,
    }
}

/// Operators that we do not know are let through: a newer client may.
fn validate_values(path: &str, operator: &str, values: Option<&[String]>) -> Option<FieldProblem> {
    let none = values.is_none_or(<[String]>::is_empty);
    let field = format!("{path}.values");
    match operator {
        "In" | "NotIn" if none => {
            Some(FieldProblem::required(&field, "must be specified when `operator` is 'In' or 'NotIn'"))
        }
        "Exists" | "DoesNotExist" if !none => {
            Some(FieldProblem::forbidden(&field, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::{Value, json};

    use super::super::rules::rule;
    use super::*;

    fn spec(value: Value) -> SubjectAccessReviewSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn attributes_come_from_the_spec() {
        let cases = [
            (
                json!({"user": "u", "groups": ["g"], "uid": "i", "extra": {"k": ["v"]},
                    "resourceAttributes": {"verb": "get", "group": "apps", "resource": "deployments",
                        "subresource": "scale", "namespace": "ns", "name": "web"}}),
                r#"u/i/["g"]/{"k": ["v"]} get apps/*/deployments/scale ns/web"#,
                None,
            ),
            (json!({"user": "u", "nonResourceAttributes": {"verb": "get", "path": "/x"}}), "u//[]/{} get /x", None),
            (
                json!({"user": "u", "resourceAttributes": {"version": "v1", "fieldSelector": {"rawSelector": "a=b"}}}),
                "u//[]/{}  /v1// / a=b",
                None,
            ),
            (
                json!({"user": "u", "resourceAttributes": {"fieldSelector": {"requirements": [
                    {"key": "a", "operator": "NotIn", "values": ["b"]}, {"key": "c", "operator": "Exists"}]},
                    "labelSelector": {"requirements": [{"key": "l", "operator": "New"}]}}}),
                "u//[]/{}  /*// / a!=b",
                Some(
                    "spec.resourceAttributes.fieldSelector partially ignored due to parse error; \
                     spec.resourceAttributes.labelSelector ignored due to parse error",
                ),
            ),
            (
                json!({"user": "u", "resourceAttributes": {"fieldSelector": {"rawSelector": "nonsense"}}}),
                "u//[]/{}  /*// /",
                Some("spec.resourceAttributes.fieldSelector ignored due to parse error"),
            ),
        ];
        for (value, want, error) in cases {
            let seen = RefCell::new(String::new());
            let status = subject_access_review(&spec(value), |a| {
                let u = a.user;
                let mut line = format!("{}/{}/{:?}/{:?} {} ", u.name, u.uid, u.groups, u.extra, a.verb);
                match a.resource {
                    None => line.push_str(a.path),
                    Some(r) => {
                        let fields = r.field_selector.iter();
                        let fields =
                            fields.map(|f| format!(" {}{}{}", f.field, if f.equal { "=" } else { "!=" }, f.value));
                        let (group, version, resource, sub) = (r.group, r.version, r.resource, r.subresource);
                        line.push_str(&format!("{group}/{version}/{resource}/{sub} {}/{}", r.namespace, r.name));
                        line.extend(fields);
                    }
                }
                *seen.borrow_mut() = line;
                Decision::no_opinion("")
            });
            assert_eq!(*seen.borrow(), want);
            assert_eq!(status.evaluation_error.as_deref(), error);
        }
    }

    #[test]
    fn statuses_tell_the_decision() {
        let asked = spec(json!({"user": "u", "nonResourceAttributes": {"verb": "get", "path": "/x"}}));
        let reason = || "why".to_owned();
        for (decision, allowed, denied, told) in [
            (Decision::Allow { reason: reason() }, true, None, Some("why")),
            (Decision::Deny { reason: reason() }, false, Some(true), Some("why")),
            (Decision::no_opinion(""), false, None, None),
        ] {
            let status = subject_access_review(&asked, |_| decision.clone());
            assert_eq!((status.allowed, status.denied, status.reason.as_deref()), (allowed, denied, told));
        }
    }

    #[test]
    fn rules_are_split_by_what_they_are_about() {
        let rules =
            vec![rule("get", "core", "pods", "a", ""), rule("get", "", "", "", "/x"), rule("get", "apps", "", "", "")];
        let status = self_subject_rules_review((rules, vec!["e".into()], true));
        assert_eq!((status.resource_rules.len(), status.non_resource_rules.len()), (1, 1));
        assert_eq!(status.resource_rules[0].resource_names.as_deref(), Some(&["a".to_owned()][..]));
        assert_eq!((status.incomplete, status.evaluation_error.as_deref()), (true, Some("e")));
    }

    #[test]
    fn requirements_have_names_and_values_of_labels() {
        let told = |requirement: Value| {
            let attributes = json!({"labelSelector": {"requirements": [requirement]}});
            let problems =
                validate_subject_access_review(&spec(json!({"user": "u", "resourceAttributes": attributes})));
            problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect::<Vec<_>>().join("|")
        };
        let at = "spec.resourceAttributes.labelSelector.requirements[0]";
        assert_eq!(told(json!({"key": "a", "operator": "In", "values": ["b"]})), "");
        let value = told(json!({"key": "a", "operator": "In", "values": ["b", "-"]}));
        assert!(value.starts_with(&format!("{at}.values[1]: Invalid value: \"-\": a valid label must be")), "{value}");
        let key = told(json!({"key": "/a", "operator": "Exists"}));
        assert_eq!(key, format!("{at}.key: Invalid value: \"/a\": prefix part must be non-empty"));
    }

    #[test]
    fn specs_are_validated() {
        let resource = json!({"resource": "pods", "namespace": "ns"});
        let path = json!({"path": "/x", "verb": "get"});
        let selecting = |field: &str, selector: Value| json!({"user": "u", "resourceAttributes": {field: selector}});
        let cases = [
            (json!({"user": "u", "resourceAttributes": resource}), ""),
            (json!({"groups": ["g"], "nonResourceAttributes": path}), ""),
            (
                json!({"user": "u"}),
                "spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ),
            (
                json!({"user": "u", "resourceAttributes": resource, "nonResourceAttributes": path}),
                r#"spec: Invalid value: {"Path":"/x","Verb":"get"}: exactly one of nonResourceAttributes or resourceAttributes must be specified"#,
            ),
            (
                json!({"resourceAttributes": resource}),
                r#"spec.user: Invalid value: "": at least one of user or group must be specified"#,
            ),
            (
                selecting("fieldSelector", json!({})),
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
            ),
            (
                selecting(
                    "labelSelector",
                    json!({"rawSelector": "a", "requirements": [{"key": "a", "operator": "Exists"}]}),
                ),
                r#"spec.resourceAttributes.labelSelector.rawSelector: Invalid value: "a": may not specified at the same time as requirements"#,
            ),
            (
                selecting("fieldSelector", json!({"requirements": [{"key": "", "operator": "In"}]})),
                "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified|spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ),
            (
                selecting(
                    "labelSelector",
                    json!({"requirements": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
                ),
                "spec.resourceAttributes.labelSelector.requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            (selecting("labelSelector", json!({"requirements": [{"key": "a", "operator": "New"}]})), ""),
        ];
        let show = |problems: Vec<FieldProblem>| {
            problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect::<Vec<_>>().join("|")
        };
        for (value, want) in cases {
            assert_eq!(show(validate_subject_access_review(&spec(value.clone()))), want, "{value}");
        }
        let local = |value: Value, namespace| show(validate_locality(&spec(value), namespace));
        assert_eq!(local(json!({"user": "u", "resourceAttributes": resource}), "ns"), "");
        assert_eq!(
            local(json!({"user": "u", "resourceAttributes": resource}), "other"),
            r#"spec.resourceAttributes.namespace: Invalid value: "ns": must match metadata.namespace"#
        );
        assert_eq!(
            local(json!({"user": "u", "nonResourceAttributes": path}), "ns"),
            r#"spec.nonResourceAttributes: Invalid value: {"Path":"/x","Verb":"get"}: disallowed on this kind of request"#
        );
    }
}
