//! Label selectors and node selectors, compiled once and matched often.
//!
//! Invariant: same outcome as k8s.io/apimachinery/pkg/labels/selector.go and
//! k8s.io/component-helpers/scheduling/corev1/nodeaffinity/nodeaffinity.go@v0.37.2, also for absent
//! and empty selectors. Non-goal: the text form of selectors.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Node, NodeSelector, NodeSelectorRequirement, Pod, PreferredSchedulingTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

pub(crate) type Labels = BTreeMap<String, String>;

/// The labels of an object; no labels are an empty map.
pub(crate) fn labels(meta: &ObjectMeta) -> &Labels {
    static NONE: Labels = Labels::new();
    meta.labels.as_ref().unwrap_or(&NONE)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    fn equals(key: &str, value: &str) -> Self {
        Requirement { key: key.into(), operator: Operator::In, values: vec![value.into()] }
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.accepts(labels.get(&self.key).map(String::as_str))
    }

    fn accepts(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => self.compares(value, |have, want| have > want),
            Operator::Lt => self.compares(value, |have, want| have < want),
        }
    }

    fn compares(&self, value: Option<&str>, test: fn(i64, i64) -> bool) -> bool {
        let [want] = self.values.as_slice() else { return false };
        let parsed = value.and_then(|v| v.parse().ok()).zip(want.parse().ok());
        parsed.is_some_and(|(have, want)| test(have, want))
    }
}

/// A compiled label selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Selector {
    /// Matches no object (an absent selector).
    Nothing,
    /// Matches what meets every requirement; all objects when there is none.
    All(Vec<Requirement>),
}

impl Selector {
    /// Compiles an API selector; the error names an operator that does not exist.
    pub(crate) fn compile(selector: Option<&LabelSelector>) -> Result<Self, String> {
        let Some(selector) = selector else { return Ok(Selector::Nothing) };
        let mut all = Selector::of_labels(selector.match_labels.iter().flatten());
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            let values = expression.values.clone().unwrap_or_default();
            all = all.and(Requirement { key: expression.key.clone(), operator, values });
        }
        Ok(all)
    }

    /// Matches objects that carry all of these labels.
    pub(crate) fn of_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        Selector::All(labels.into_iter().map(|(key, value)| Requirement::equals(key, value)).collect())
    }

    /// Narrows the selector; nothing stays nothing.
    pub(crate) fn and(mut self, requirement: Requirement) -> Self {
        if let Selector::All(requirements) = &mut self {
            requirements.push(requirement);
        }
        self
    }

    /// Narrows the selector to objects with this label.
    pub(crate) fn and_label(self, key: &str, value: &str) -> Self {
        self.and(Requirement::equals(key, value))
    }

    /// Narrows the selector by all requirements of another.
    pub(crate) fn and_all(mut self, other: Selector) -> Self {
        if let (Selector::All(mine), Selector::All(more)) = (&mut self, other) {
            mine.extend(more);
        }
        self
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::All(requirements) => requirements.iter().all(|requirement| requirement.matches(labels)),
        }
    }

    /// True when the selector says nothing at all (and so matches everything).
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Selector::All(requirements) if requirements.is_empty())
    }
}

/// One term of a node selector: all its requirements must hold.
#[derive(Clone, Debug)]
struct NodeTerm {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

impl NodeTerm {
    /// `None` for a term that matches nothing: an empty one or one with an unknown operator.
    fn compile(labels: &[NodeSelectorRequirement], fields: &[NodeSelectorRequirement]) -> Option<Self> {
        if labels.is_empty() && fields.is_empty() {
            return None;
        }
        let all = |list: &[NodeSelectorRequirement]| list.iter().map(node_requirement).collect::<Option<Vec<_>>>();
        Some(NodeTerm { labels: all(labels)?, fields: all(fields)? })
    }

    fn matches(&self, node: &Node) -> bool {
        let (name, labels) = (node.metadata.name.as_deref(), labels(&node.metadata));
        let field = |key: &str| if key == "metadata.name" { name } else { None };
        self.labels.iter().all(|r| r.matches(labels)) && self.fields.iter().all(|r| r.accepts(field(&r.key)))
    }
}

fn node_requirement(requirement: &NodeSelectorRequirement) -> Option<Requirement> {
    let operator = match requirement.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        _ => return None,
    };
    let values = requirement.values.clone().unwrap_or_default();
    Some(Requirement { key: requirement.key.clone(), operator, values })
}

/// Terms of which one must hold.
#[derive(Clone, Debug)]
pub(crate) struct NodeTerms(Vec<NodeTerm>);

impl NodeTerms {
    pub(crate) fn compile(selector: &NodeSelector) -> Self {
        let of = |list: &Option<Vec<NodeSelectorRequirement>>| list.clone().unwrap_or_default();
        let terms = selector.node_selector_terms.iter();
        NodeTerms(terms.filter_map(|t| NodeTerm::compile(&of(&t.match_expressions), &of(&t.match_fields))).collect())
    }

    pub(crate) fn matches(&self, node: &Node) -> bool {
        self.0.iter().any(|term| term.matches(node))
    }
}

/// Node selector and required node affinity of a pod.
#[derive(Clone, Debug)]
pub(crate) struct RequiredNodeAffinity {
    selector: Option<Selector>,
    terms: Option<NodeTerms>,
}

impl RequiredNodeAffinity {
    pub(crate) fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let selector = spec.and_then(|s| s.node_selector.as_ref()).filter(|labels| !labels.is_empty());
        let required = required_node_selector(spec.and_then(|s| s.affinity.as_ref()));
        RequiredNodeAffinity { selector: selector.map(Selector::of_labels), terms: required.map(NodeTerms::compile) }
    }

    pub(crate) fn matches(&self, node: &Node) -> bool {
        let labels = labels(&node.metadata);
        self.selector.as_ref().is_none_or(|selector| selector.matches(labels))
            && self.terms.as_ref().is_none_or(|terms| terms.matches(node))
    }
}

/// The required part of a node affinity.
pub(crate) fn required_node_selector(affinity: Option<&Affinity>) -> Option<&NodeSelector> {
    affinity?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// Weighted wishes for nodes.
#[derive(Clone, Debug)]
pub(crate) struct PreferredNodes(Vec<(NodeTerm, i64)>);

impl PreferredNodes {
    pub(crate) fn compile(terms: &[PreferredSchedulingTerm]) -> Self {
        let compiled = terms.iter().filter(|term| term.weight != 0).filter_map(|term| {
            let expressions = term.preference.match_expressions.as_deref().unwrap_or_default();
            let fields = term.preference.match_fields.as_deref().unwrap_or_default();
            Some((NodeTerm::compile(expressions, fields)?, i64::from(term.weight)))
        });
        PreferredNodes(compiled.collect())
    }

    /// The sum of the weights of the terms that hold.
    pub(crate) fn score(&self, node: &Node) -> i64 {
        self.0.iter().filter(|(term, _)| term.matches(node)).map(|(_, weight)| weight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let selector: LabelSelector = serde_json::from_str(selector).unwrap();
        let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Selector::compile(Some(&selector)).unwrap().matches(&labels)
    }

    #[test]
    fn label_selectors() {
        let web = [("app", "web"), ("tier", "1")];
        for (selector, expected) in [
            ("{}", true),
            (r#"{"matchLabels":{"app":"web"}}"#, true),
            (r#"{"matchLabels":{"app":"db"}}"#, false),
            (r#"{"matchExpressions":[{"key":"app","operator":"In","values":["db","web"]}]}"#, true),
            (r#"{"matchExpressions":[{"key":"zone","operator":"NotIn","values":["a"]}]}"#, true),
            (r#"{"matchExpressions":[{"key":"zone","operator":"Exists"}]}"#, false),
            (r#"{"matchExpressions":[{"key":"zone","operator":"DoesNotExist"}]}"#, true),
        ] {
            assert_eq!(selects(selector, &web), expected, "{selector}");
        }
        assert!(!Selector::compile(None).unwrap().matches(&Labels::new()), "an absent selector matches nothing");
        assert!(!Selector::Nothing.is_empty(), "nothing is not empty");
    }

    #[test]
    fn node_affinity() {
        let node = node(r#"{"metadata":{"name":"n1","labels":{"disk":"ssd","cores":"8"}}}"#);
        let of = |spec: &str| RequiredNodeAffinity::of(&pod(&format!(r#"{{"spec":{spec}}}"#))).matches(&node);
        let required = |terms: &str| {
            format!(
                r#"{{"containers":[],"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":
                {{"nodeSelectorTerms":{terms}}}}}}}}}"#
            )
        };
        assert!(of(r#"{"containers":[]}"#));
        assert!(of(r#"{"containers":[],"nodeSelector":{"disk":"ssd"}}"#));
        assert!(!of(r#"{"containers":[],"nodeSelector":{"disk":"hdd"}}"#));
        for (terms, expected) in [
            ("[]", false),
            ("[{}]", false),
            (r#"[{"matchExpressions":[{"key":"cores","operator":"Gt","values":["4"]}]}]"#, true),
            (r#"[{"matchExpressions":[{"key":"cores","operator":"Lt","values":["4"]}]}]"#, false),
            (r#"[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}]"#, true),
            (r#"[{"matchFields":[{"key":"metadata.name","operator":"NotIn","values":["n1"]}]}]"#, false),
            (r#"[{}, {"matchExpressions":[{"key":"disk","operator":"Exists"}]}]"#, true),
        ] {
            assert_eq!(of(&required(terms)), expected, "{terms}");
        }
    }
}
