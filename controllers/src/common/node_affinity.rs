//! Whether a node has what a pod requires of it: nodeSelector and required node affinity
//! (k8s.io/component-helpers/scheduling/corev1/nodeaffinity@v0.37.2).

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use super::selector::has_all;

pub(crate) fn fits(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    if spec.node_selector.as_ref().is_some_and(|wanted| !has_all(wanted, labels)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches(term, node)))
}

/// A term without requirements selects nothing.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let (labels, fields) = (term.match_expressions.as_deref(), term.match_fields.as_deref());
    let (labels, fields) = (labels.unwrap_or_default(), fields.unwrap_or_default());
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    (!labels.is_empty() || !fields.is_empty())
        && labels.iter().all(|requirement| holds(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = |value: &str| values.iter().any(|wanted| wanted == value);
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(has, wanted)| has > wanted),
        "Lt" => numbers().is_some_and(|(has, wanted)| has < wanted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_terms() {
        let node: Node = serde_json::from_value(
            serde_json::json!({"metadata": {"name": "n", "labels": {"zone": "a", "cpus": "8"}}}),
        )
        .expect("node");
        let term = |kind: &str, key: &str, operator: &str, values: &[&str]| {
            serde_json::json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                [{kind: [{"key": key, "operator": operator, "values": values}]}]}}}})
        };
        for (mut spec, expected) in [
            (serde_json::json!({}), true),
            (serde_json::json!({"nodeSelector": {"zone": "a"}}), true),
            (serde_json::json!({"nodeSelector": {"zone": "b"}}), false),
            (term("matchExpressions", "zone", "In", &["a", "b"]), true),
            (term("matchExpressions", "zone", "NotIn", &["a"]), false),
            (term("matchExpressions", "other", "DoesNotExist", &[]), true),
            (term("matchExpressions", "cpus", "Gt", &["4"]), true),
            (term("matchFields", "metadata.name", "In", &["n"]), true),
            (term("matchFields", "metadata.name", "In", &["m"]), false),
            (
                serde_json::json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}}),
                false,
            ),
        ] {
            spec["containers"] = serde_json::json!([]);
            let parsed: PodSpec = serde_json::from_value(spec.clone()).expect("spec");
            assert_eq!(fits(&parsed, &node), expected, "{spec}");
        }
    }
}
