//! Bringing an existing bootstrap object up to date without taking away what an administrator added.
//!
//! Pure: what is there and what is wanted, to what must be done. An object annotated `autoupdate: "false"` is left
//! alone. Existing values win over wanted ones in labels and annotations; rules, subjects and aggregation selectors
//! are united.
//!
//! Upstream: `k8s.io/component-helpers/auth/rbac/reconciliation/{reconcile_role,reconcile_rolebindings}.go@v0.37.2`,
//! `pkg/registry/rbac/rest/storage_rbac.go@v1.37.2`.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::bootstrap::AUTOUPDATE_ANNOTATION;
use super::rules::uncovered;

/// What must be done to an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation<T> {
    None,
    Create(T),
    Update(T),
    /// Delete the existing object (with its uid as a precondition), then create this one: a role reference is immutable.
    Recreate(T),
}

/// A role of either kind.
pub(crate) trait RoleObject: Clone {
    fn metadata(&mut self) -> &mut ObjectMeta;
    fn rules(&mut self) -> &mut Option<Vec<PolicyRule>>;
    /// Only cluster roles gather.
    fn aggregation(&mut self) -> Option<&mut Option<AggregationRule>>;
}

impl RoleObject for ClusterRole {
    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn rules(&mut self) -> &mut Option<Vec<PolicyRule>> {
        &mut self.rules
    }
    fn aggregation(&mut self) -> Option<&mut Option<AggregationRule>> {
        Some(&mut self.aggregation_rule)
    }
}

impl RoleObject for Role {
    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn rules(&mut self) -> &mut Option<Vec<PolicyRule>> {
        &mut self.rules
    }
    fn aggregation(&mut self) -> Option<&mut Option<AggregationRule>> {
        None
    }
}

/// A binding of either kind.
pub(crate) trait BindingObject: Clone {
    fn metadata(&mut self) -> &mut ObjectMeta;
    fn role_ref(&self) -> &RoleRef;
    fn subjects(&mut self) -> &mut Option<Vec<Subject>>;
}

impl BindingObject for ClusterRoleBinding {
    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn role_ref(&self) -> &RoleRef {
        &self.role_ref
    }
    fn subjects(&mut self) -> &mut Option<Vec<Subject>> {
        &mut self.subjects
    }
}

impl BindingObject for RoleBinding {
    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn role_ref(&self) -> &RoleRef {
        &self.role_ref
    }
    fn subjects(&mut self) -> &mut Option<Vec<Subject>> {
        &mut self.subjects
    }
}

/// What must be done so that the role has at least the wanted rules.
pub(crate) fn role<R: RoleObject>(existing: Option<&R>, wanted: &R) -> Operation<R> {
    let mut wanted = wanted.clone();
    let Some(mut role) = existing.cloned() else { return Operation::Create(wanted) };
    if is_protected(role.metadata()) {
        return Operation::None;
    }
    let mut changed = merge_metadata(role.metadata(), wanted.metadata());
    let rules = role.rules();
    let missing = uncovered(rules.as_deref().unwrap_or_default(), wanted.rules().as_deref().unwrap_or_default());
    if !missing.is_empty() {
        rules.get_or_insert_default().extend(missing);
        changed = true;
    }
    if let (Some(have), Some(want)) = (role.aggregation(), wanted.aggregation()) {
        changed |= merge_aggregation(have, want);
    }
    if changed { Operation::Update(role) } else { Operation::None }
}

/// What must be done so that the binding names at least the wanted subjects.
pub(crate) fn binding<B: BindingObject>(existing: Option<&B>, wanted: &B) -> Operation<B> {
    let mut wanted = wanted.clone();
    let Some(mut binding) = existing.cloned() else { return Operation::Create(wanted) };
    if is_protected(binding.metadata()) {
        return Operation::None;
    }
    if binding.role_ref() != wanted.role_ref() {
        return Operation::Recreate(wanted);
    }
    let mut changed = merge_metadata(binding.metadata(), wanted.metadata());
    for subject in wanted.subjects().iter().flatten() {
        if !binding.subjects().iter().flatten().any(|known| same_subject(known, subject)) {
            binding.subjects().get_or_insert_default().push(subject.clone());
            changed = true;
        }
    }
    if changed { Operation::Update(binding) } else { Operation::None }
}

fn is_protected(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(AUTOUPDATE_ANNOTATION)).is_some_and(|value| value == "false")
}

fn same_subject(a: &Subject, b: &Subject) -> bool {
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    (&a.kind, &a.name) == (&b.kind, &b.name)
        && text(&a.namespace) == text(&b.namespace)
        && text(&a.api_group) == text(&b.api_group)
}

/// Adds wanted labels and annotations that are not there; tells whether there were any.
fn merge_metadata(have: &mut ObjectMeta, want: &ObjectMeta) -> bool {
    let labels = merge(&mut have.labels, &want.labels);
    merge(&mut have.annotations, &want.annotations) || labels
}

fn merge(have: &mut Option<BTreeMap<String, String>>, want: &Option<BTreeMap<String, String>>) -> bool {
    let mut changed = false;
    for (key, value) in want.iter().flatten() {
        if have.as_ref().is_none_or(|map| !map.contains_key(key)) {
            have.get_or_insert_default().insert(key.clone(), value.clone());
            changed = true;
        }
    }
    changed
}

fn merge_aggregation(have: &mut Option<AggregationRule>, want: &Option<AggregationRule>) -> bool {
    let Some(want) = want else { return have.take().is_some() };
    let mut changed = false;
    for selector in want.cluster_role_selectors.iter().flatten() {
        let selectors = have.as_ref().and_then(|rule| rule.cluster_role_selectors.as_ref());
        if !selectors.is_some_and(|selectors| selectors.contains(selector)) {
            let rule = have.get_or_insert_default();
            rule.cluster_role_selectors.get_or_insert_default().push(selector.clone());
            changed = true;
        }
    }
    changed
}

/// The role to create so that an old role of the first name lives on under the second (see
/// [`super::bootstrap::CLUSTER_ROLES_TO_AGGREGATE`]), given both as they are.
pub(crate) fn prime_aggregated(
    old: Option<&ClusterRole>,
    new: Option<&ClusterRole>,
    name: &str,
) -> Option<ClusterRole> {
    let old = old.filter(|old| new.is_none() && old.aggregation_rule.is_none())?;
    let metadata = ObjectMeta { name: Some(name.into()), resource_version: None, ..old.metadata.clone() };
    Some(ClusterRole { metadata, ..old.clone() })
}

/// The binding to create so that a split-off one starts with what the old one had (see
/// [`super::bootstrap::CLUSTER_ROLE_BINDINGS_TO_SPLIT`]), given both as they are and the new one as it is wanted.
pub(crate) fn prime_split(
    old: Option<&ClusterRoleBinding>,
    new: Option<&ClusterRoleBinding>,
    wanted: &ClusterRoleBinding,
) -> Option<ClusterRoleBinding> {
    let old = old.filter(|_| new.is_none())?;
    let mut split = wanted.clone();
    split.subjects.clone_from(&old.subjects);
    split.metadata.labels.clone_from(&old.metadata.labels);
    split.metadata.annotations.clone_from(&old.metadata.annotations);
    Some(split)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    use super::super::rules::rule;
    use super::*;

    fn map(text: &str) -> Option<BTreeMap<String, String>> {
        let pair = |p: &str| p.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        (!text.is_empty()).then(|| text.split(',').filter_map(pair).collect())
    }

    fn cluster_role(labels: &str, annotations: &str, rules: &[&str]) -> ClusterRole {
        let rules = rules.iter().map(|r| rule("get", "core", r, "", "")).collect();
        let metadata = ObjectMeta { labels: map(labels), annotations: map(annotations), ..ObjectMeta::default() };
        ClusterRole { metadata, rules: Some(rules), aggregation_rule: None }
    }

    #[test]
    fn roles_are_united() {
        let wanted = cluster_role("a=1", "b=2", &["pods", "secrets"]);
        let none = Operation::None;
        let protected = format!("{AUTOUPDATE_ANNOTATION}=false");
        let cases = [
            (None, Operation::Create(wanted.clone())),
            (Some(wanted.clone()), none.clone()),
            (Some(cluster_role("a=9", "b=9,c=9", &["pods", "secrets", "more"])), none.clone()),
            (Some(cluster_role("a=1", "b=2", &["*"])), none.clone()),
            (
                Some(cluster_role("x=1", "", &["secrets", "more"])),
                Operation::Update(cluster_role("a=1,x=1", "b=2", &["secrets", "more", "pods"])),
            ),
            (Some(cluster_role("", &protected, &[])), none),
        ];
        for (existing, want) in cases {
            assert_eq!(role(existing.as_ref(), &wanted), want);
        }
    }

    #[test]
    fn aggregation_is_united_and_unwanted_aggregation_removed() {
        let gathering = |names: &[&str]| {
            let selectors =
                names.iter().map(|n| LabelSelector { match_labels: map(&format!("{n}=1")), ..Default::default() });
            let aggregation_rule = AggregationRule { cluster_role_selectors: Some(selectors.collect()) };
            ClusterRole { aggregation_rule: Some(aggregation_rule), ..ClusterRole::default() }
        };
        let plain = ClusterRole::default();
        for (existing, wanted, want) in [
            (gathering(&["a"]), gathering(&["a"]), Operation::None),
            (gathering(&["a", "b"]), gathering(&["a"]), Operation::None),
            (gathering(&["b"]), gathering(&["a"]), Operation::Update(gathering(&["b", "a"]))),
            (plain.clone(), gathering(&["a"]), Operation::Update(gathering(&["a"]))),
            (gathering(&["a"]), plain.clone(), Operation::Update(plain)),
        ] {
            assert_eq!(role(Some(&existing), &wanted), want);
        }
    }

    fn cluster_role_binding(role: &str, subjects: &[&str], annotations: &str) -> ClusterRoleBinding {
        let subject = |name: &&str| Subject { kind: "User".into(), name: (*name).into(), ..Subject::default() };
        ClusterRoleBinding {
            metadata: ObjectMeta { annotations: map(annotations), ..ObjectMeta::default() },
            role_ref: RoleRef { kind: "ClusterRole".into(), name: role.into(), api_group: None },
            subjects: Some(subjects.iter().map(subject).collect()),
        }
    }

    #[test]
    fn bindings_are_united_or_made_anew() {
        let wanted = cluster_role_binding("r", &["a", "b"], "");
        let protected = format!("{AUTOUPDATE_ANNOTATION}=false");
        for (existing, want) in [
            (None, Operation::Create(wanted.clone())),
            (Some(wanted.clone()), Operation::None),
            (Some(cluster_role_binding("r", &["b", "c", "a"], "")), Operation::None),
            (
                Some(cluster_role_binding("r", &["c"], "")),
                Operation::Update(cluster_role_binding("r", &["c", "a", "b"], "")),
            ),
            (Some(cluster_role_binding("other", &["a", "b"], "")), Operation::Recreate(wanted.clone())),
            (Some(cluster_role_binding("other", &[], &protected)), Operation::None),
        ] {
            assert_eq!(binding(existing.as_ref(), &wanted), want);
        }
    }

    #[test]
    fn old_objects_live_on() {
        let old = cluster_role("a=1", "", &["pods"]);
        let primed = prime_aggregated(Some(&old), None, "system:aggregate-to-edit").unwrap();
        assert_eq!((primed.metadata.name.as_deref(), &primed.rules), (Some("system:aggregate-to-edit"), &old.rules));
        assert_eq!(prime_aggregated(Some(&old), Some(&old), "x"), None);
        assert_eq!(prime_aggregated(None, None, "x"), None);
        let aggregated = ClusterRole { aggregation_rule: Some(AggregationRule::default()), ..old };
        assert_eq!(prime_aggregated(Some(&aggregated), None, "x"), None);
        let (old, wanted) = (cluster_role_binding("d", &["x"], "k=v"), cluster_role_binding("v", &["y"], ""));
        assert_eq!(prime_split(Some(&old), None, &wanted), Some(cluster_role_binding("v", &["x"], "k=v")));
        assert_eq!(prime_split(None, None, &wanted), None);
        assert_eq!(prime_split(Some(&old), Some(&wanted), &wanted), None);
    }
}
