//! Nobody grants what they do not have: the checks on writing roles and bindings.
//!
//! Writing a role needs every permission in it, or the verb `escalate` on the role; writing a binding needs every
//! permission of its role, or the verb `bind` on the role. An aggregation rule needs everything.
//!
//! Upstream: `pkg/registry/rbac/escalation_check.go@v1.37.2`, `pkg/registry/rbac/*/policybased/storage.go@v1.37.2`,
//! `pkg/registry/rbac/validation/rule.go@v1.37.2`.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, RoleRef};

use super::forbidden::Forbidden;
use super::rbac::{RbacIndex, Unresolved};
use super::rules::{describe, uncovered};
use super::{Attributes, Decision, ResourceAttributes, everything};
use crate::authn::text::{quote, quote_list};
use crate::authn::{SYSTEM_PRIVILEGED_GROUP, User, aggregate};

const GROUP: &str = "rbac.authorization.k8s.io";
const AGGREGATION: &str = "must have cluster-admin privileges to use the aggregationRule";

/// Why a binding may not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BindingRefusal {
    /// The role does not exist, and without it nothing can be compared: a 404 that, as upstream's, has the name of the
    /// role but the resource of the request.
    RoleNotFound {
        resource: String,
        name: String,
    },
    /// A role reference of an unknown kind, which validation refuses too.
    Unsupported(String),
    Forbidden(Forbidden),
}

/// Who writes, on what knowledge.
pub(crate) struct Checker<'a, D: Fn(&Attributes<'_>) -> Decision> {
    pub(crate) user: &'a User,
    pub(crate) index: &'a RbacIndex,
    /// The whole authorizer chain.
    pub(crate) decide: D,
}

impl<D: Fn(&Attributes<'_>) -> Decision> Checker<'_, D> {
    /// Checks a role or cluster role that is written to "roles" or "clusterroles". `request_name` is the name in the
    /// URL (empty on create), `name` that of the object.
    pub(crate) fn role(
        &self,
        resource: &str,
        (namespace, request_name, name): (&str, &str, &str),
        rules: &[PolicyRule],
    ) -> Result<(), Forbidden> {
        if self.may_escalate(resource, namespace, request_name) {
            return Ok(());
        }
        self.holds(resource, namespace, rules).map_err(|cause| Forbidden::new(GROUP, resource, name, &cause))
    }

    /// Checks a cluster role; `old` is what an update replaces.
    pub(crate) fn cluster_role(
        &self,
        request_name: &str,
        role: &ClusterRole,
        old: Option<&ClusterRole>,
    ) -> Result<(), Forbidden> {
        if self.may_escalate("clusterroles", "", request_name) {
            return Ok(());
        }
        let name = role.metadata.name.as_deref().unwrap_or_default();
        let forbidden = |cause: &str| Forbidden::new(GROUP, "clusterroles", name, cause);
        let rules = role.rules.as_deref().unwrap_or_default();
        self.holds("clusterroles", "", rules).map_err(|cause| forbidden(&cause))?;
        // An aggregation rule gathers whatever matches, now and later.
        if aggregates(role) || old.is_some_and(aggregates) {
            self.holds("clusterroles", "", &everything()).map_err(|_| forbidden(AGGREGATION))?;
        }
        Ok(())
    }

    /// Checks a binding that is written to "rolebindings" (in a namespace) or "clusterrolebindings".
    pub(crate) fn binding(
        &self,
        resource: &str,
        (namespace, name): (&str, &str),
        role: &RoleRef,
    ) -> Result<(), BindingRefusal> {
        if self.is_privileged() || self.may_bind(role, namespace) {
            return Ok(());
        }
        let rules = self.index.role_rules(role, namespace).map_err(|error| match error {
            Unresolved::Missing { name, .. } => BindingRefusal::RoleNotFound { resource: resource.into(), name },
            Unresolved::Unsupported(_) => BindingRefusal::Unsupported(error.to_string()),
        })?;
        let refused = |cause: String| BindingRefusal::Forbidden(Forbidden::new(GROUP, resource, name, &cause));
        self.holds(resource, namespace, rules).map_err(refused)
    }

    fn is_privileged(&self) -> bool {
        self.user.in_group(SYSTEM_PRIVILEGED_GROUP)
    }

    fn may_escalate(&self, resource: &str, namespace: &str, name: &str) -> bool {
        self.is_privileged() || self.allowed("escalate", GROUP, resource, namespace, name)
    }

    fn may_bind(&self, role: &RoleRef, namespace: &str) -> bool {
        let resource = match role.kind.as_str() {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            _ => return false,
        };
        self.allowed("bind", role.api_group.as_deref().unwrap_or_default(), resource, namespace, &role.name)
    }

    fn allowed(&self, verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let resource = ResourceAttributes { group, version: "*", resource, namespace, name, ..Default::default() };
        (self.decide)(&Attributes { user: self.user, verb, resource: Some(resource), path: "" }).is_allow()
    }

    /// Whether the user's own rules cover the rules; if not, what is missing.
    fn holds(&self, resource: &str, namespace: &str, rules: &[PolicyRule]) -> Result<(), String> {
        let (own, errors) = self.index.rules_for(self.user, namespace);
        let missing = uncovered(&own, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut text = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&self.user.name),
            quote_list(&self.user.groups),
            describe(missing)
        );
        if !errors.is_empty() {
            let errors: Vec<String> = errors.iter().map(|error| error.within_request(resource)).collect();
            text.push_str(&format!("; resolution errors: [{}]", aggregate(&errors)));
        }
        Err(text)
    }
}

fn aggregates(role: &ClusterRole) -> bool {
    let selectors = role.aggregation_rule.as_ref().and_then(|rule| rule.cluster_role_selectors.as_ref());
    selectors.is_some_and(|selectors| !selectors.is_empty())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::AggregationRule;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

    use super::super::rbac::tests::{binding, index, role};
    use super::super::rules::rule;
    use super::*;

    fn objects() -> RbacIndex {
        index(vec![
            role("", "pods", vec![rule("get list", "core", "pods", "", "")]),
            role("", "secrets", vec![rule("get", "core", "secrets", "", "")]),
            role("", "admin", vec![rule("*", "*", "*", "", ""), rule("*", "", "", "", "*")]),
            role("", "escalator", vec![rule("escalate", GROUP, "clusterroles roles", "", "")]),
            role("", "binder", vec![rule("bind", GROUP, "clusterroles", "secrets", "")]),
            binding("", "1", "ClusterRole/pods", &["User:reader", "User:escalator", "User:binder"]),
            binding("", "2", "ClusterRole/admin", &["User:admin"]),
            binding("", "3", "ClusterRole/escalator", &["User:escalator"]),
            binding("ns", "4", "ClusterRole/binder", &["User:binder"]),
            binding("ns", "5", "Role/gone", &["User:reader"]),
        ])
    }

    fn user(name: &str, groups: &[&str]) -> User {
        User { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() }
    }

    fn with<T>(user: &User, check: impl FnOnce(&Checker<'_, &dyn Fn(&Attributes<'_>) -> Decision>) -> T) -> T {
        let index = objects();
        let decide = |attributes: &Attributes<'_>| index.decide(attributes);
        check(&Checker { user, index: &index, decide: &decide })
    }

    #[test]
    fn roles_may_hold_only_what_the_writer_holds() {
        let pods = [rule("get", "core", "pods", "", "")];
        let more = [rule("get delete", "core", "pods secrets", "", "")];
        for (who, rules, good) in [
            (user("reader", &[]), &pods, true),
            (user("reader", &[]), &more, false),
            (user("admin", &[]), &more, true),
            (user("escalator", &[]), &more, true),
            (user("root", &["system:masters"]), &more, true),
        ] {
            let got = with(&who, |check| check.role("roles", ("ns", "", "r"), rules));
            assert_eq!(got.is_ok(), good, "{}", who.name);
        }
        let refusal =
            with(&user("reader", &["a", "b"]), |check| check.role("roles", ("ns", "", "r"), &more)).unwrap_err();
        let want = [
            r#"roles.rbac.authorization.k8s.io "r" is forbidden: user "reader" (groups=["a" "b"]) is attempting to grant RBAC permissions not currently held:"#,
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#,
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}; resolution errors: [roles.rbac.authorization.k8s.io "gone" not found]"#,
        ];
        assert_eq!(refusal.message, want.join("\n"));
    }

    #[test]
    fn aggregation_needs_everything() {
        let selectors = Some(vec![LabelSelector::default()]);
        let role = ClusterRole {
            metadata: ObjectMeta { name: Some("agg".into()), ..ObjectMeta::default() },
            aggregation_rule: Some(AggregationRule { cluster_role_selectors: selectors }),
            rules: None,
        };
        let plain = ClusterRole { aggregation_rule: None, ..role.clone() };
        for (new, old, who, good) in [
            (&role, None, "reader", false),
            (&plain, None, "reader", true),
            (&plain, Some(&role), "reader", false),
            (&role, None, "admin", true),
            (&role, None, "escalator", true),
        ] {
            let got = with(&user(who, &[]), |check| check.cluster_role("", new, old));
            assert_eq!(got.is_ok(), good, "{who}");
            if let Err(refusal) = got {
                assert!(refusal.message.ends_with(AGGREGATION), "{}", refusal.message);
            }
        }
    }

    #[test]
    fn bindings_may_grant_only_what_the_writer_holds_or_may_bind() {
        let reference =
            |kind: &str, name: &str| RoleRef { api_group: Some(GROUP.into()), kind: kind.into(), name: name.into() };
        for (who, namespace, role, good) in [
            ("reader", "ns", "pods", true),
            ("reader", "ns", "secrets", false),
            ("binder", "ns", "secrets", true),
            ("binder", "other", "secrets", false),
            ("binder", "ns", "admin", false),
            ("admin", "", "admin", true),
        ] {
            let got = with(&user(who, &[]), |check| {
                check.binding("rolebindings", (namespace, "b"), &reference("ClusterRole", role))
            });
            assert_eq!(got.is_ok(), good, "{who} binds {role} in {namespace}");
        }
        let missing =
            with(&user("reader", &[]), |check| check.binding("rolebindings", ("ns", "b"), &reference("Role", "x")));
        assert_eq!(missing, Err(BindingRefusal::RoleNotFound { resource: "rolebindings".into(), name: "x".into() }));
    }
}
