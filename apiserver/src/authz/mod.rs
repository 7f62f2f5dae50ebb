//! Authorization: may this user do this.
//!
//! One chain, in upstream's order: members of `system:masters` may do everything, then the modes of
//! `--authorization-mode` (Node, RBAC). The first allow or deny ends it; "no opinion" from everyone is a 403.
//!
//! Invariant: a decision is a pure function of the attributes and of two in-memory views (RBAC objects, what runs on
//! which node) that the server keeps fresh; deciding does no IO and never scans all bindings.
//!
//! Non-goal: webhook, ABAC and structured authorization configuration (a later issue).
//!
//! Upstream: `pkg/kubeapiserver/authorizer/reload.go@v1.37.2`,
//! `k8s.io/apiserver/pkg/authorization/union/union.go@v0.37.2`.

pub(crate) mod bootstrap;
pub(crate) mod escalation;
pub(crate) mod forbidden;
pub(crate) mod graph;
pub(crate) mod guard;
pub(crate) mod impersonation;
pub(crate) mod node;
pub(crate) mod rbac;
pub(crate) mod reconcile;
mod references;
pub(crate) mod review;
pub(crate) mod rules;
pub(crate) mod selector;

use arc_swap::ArcSwap;
use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::{Mutex, RwLock};

use crate::authn::{SYSTEM_PRIVILEGED_GROUP, User};
use graph::NodeGraph;
use rbac::RbacIndex;
use selector::{FieldRequirement, LabelRequirement};

/// What a request wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) user: &'a User,
    pub(crate) verb: &'a str,
    /// `None` for a request that is not about a resource; then `path` counts.
    pub(crate) resource: Option<ResourceAttributes<'a>>,
    pub(crate) path: &'a str,
}

impl Attributes<'_> {
    /// The namespace, empty for requests without one.
    pub(crate) fn namespace(&self) -> &str {
        self.resource.map_or("", |r| r.namespace)
    }
}

/// The resource that a request is about; what does not apply is empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResourceAttributes<'a> {
    pub(crate) group: &'a str,
    #[allow(dead_code, reason = "no authorizer here looks at it; those that ask elsewhere pass it on")]
    pub(crate) version: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) field_selector: &'a [FieldRequirement],
    #[allow(dead_code, reason = "no authorizer here looks at it; those that ask elsewhere pass it on")]
    pub(crate) label_selector: &'a [LabelRequirement],
}

/// What an authorizer says; reasons may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow {
        reason: String,
    },
    #[allow(dead_code, reason = "neither Node nor RBAC denies; authorizers that ask elsewhere do")]
    Deny {
        reason: String,
    },
    NoOpinion {
        reason: String,
    },
}

impl Decision {
    pub(crate) fn is_allow(&self) -> bool {
        matches!(self, Decision::Allow { .. })
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Decision::Allow { reason } | Decision::Deny { reason } | Decision::NoOpinion { reason } => reason,
        }
    }

    pub(crate) fn allow() -> Self {
        Decision::Allow { reason: String::new() }
    }

    pub(crate) fn no_opinion(reason: impl Into<String>) -> Self {
        Decision::NoOpinion { reason: reason.into() }
    }
}

/// An authorizer of `--authorization-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Node,
    Rbac,
}

impl Mode {
    /// The name that prefixes the authorizer's reasons.
    fn name(self) -> &'static str {
        match self {
            Mode::Node => "node",
            Mode::Rbac => "rbac",
        }
    }
}

/// The authorizers and the views that they decide on.
pub(crate) struct Authorizers {
    modes: Vec<Mode>,
    rbac: ArcSwap<RbacIndex>,
    rbac_writer: Mutex<()>,
    graph: RwLock<NodeGraph>,
    node_rules: Vec<PolicyRule>,
    node_features: node::Features,
}

impl Authorizers {
    /// Empty views; the server fills them before it serves.
    pub(crate) fn new(modes: Vec<Mode>) -> Self {
        Authorizers {
            modes,
            rbac: ArcSwap::default(),
            rbac_writer: Mutex::new(()),
            graph: RwLock::default(),
            node_rules: bootstrap::node_rules(),
            node_features: node::Features::default(),
        }
    }

    /// Decides; a decision to allow carries the reason for the audit log, any other one the reason for the client.
    pub(crate) fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(SYSTEM_PRIVILEGED_GROUP) {
            return Decision::allow();
        }
        let mut reasons = Vec::new();
        for mode in &self.modes {
            let decision = match mode {
                Mode::Node => node::decide(&self.graph.read(), &self.node_rules, self.node_features, attributes),
                Mode::Rbac => self.rbac.load().decide(attributes),
            };
            match decision {
                Decision::NoOpinion { reason } if !reason.is_empty() => {
                    reasons.push(format!("{}: {reason}", mode.name()));
                }
                Decision::NoOpinion { .. } => {}
                decided => return decided,
            }
        }
        Decision::NoOpinion { reason: reasons.join("\n") }
    }

    /// The present RBAC objects.
    pub(crate) fn rbac(&self) -> std::sync::Arc<RbacIndex> {
        self.rbac.load_full()
    }

    /// Changes the RBAC view. Readers see all of the change or nothing of it.
    pub(crate) fn update_rbac(&self, change: impl FnOnce(&mut RbacIndex)) {
        let _one_at_a_time = self.rbac_writer.lock();
        let mut index = RbacIndex::clone(&self.rbac.load());
        change(&mut index);
        self.rbac.store(std::sync::Arc::new(index));
    }

    /// Changes the view of what runs where.
    pub(crate) fn update_graph(&self, change: impl FnOnce(&mut NodeGraph)) {
        change(&mut self.graph.write());
    }

    /// The rules of a user, for SelfSubjectRulesReview: rules, errors, and whether there may be more.
    pub(crate) fn rules_for(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<String>, bool) {
        let (mut rules, mut errors, mut incomplete) = (Vec::new(), Vec::new(), false);
        for mode in &self.modes {
            match mode {
                Mode::Node if node::identity(user).is_some() => {
                    errors.push("node authorizer does not support user rule resolution".to_owned());
                    incomplete = true;
                }
                Mode::Node => {}
                Mode::Rbac => {
                    let (more, failed) = self.rbac.load().rules_for(user, namespace);
                    rules.extend(more);
                    errors.extend(failed.iter().map(ToString::to_string));
                }
            }
        }
        (rules, errors, incomplete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::rbac::RbacObject;

    fn user(name: &str, groups: &[&str]) -> User {
        User { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() }
    }

    fn secret<'a>(user: &'a User, name: &'a str) -> Attributes<'a> {
        let resource = ResourceAttributes { resource: "secrets", namespace: "ns", name, ..Default::default() };
        Attributes { user, verb: "get", resource: Some(resource), path: "" }
    }

    #[test]
    fn the_chain_asks_everyone() {
        let authorizers = Authorizers::new(vec![Mode::Node, Mode::Rbac]);
        let policy = bootstrap::policy();
        authorizers.update_rbac(|index| {
            policy.cluster_roles.iter().cloned().for_each(|role| index.set(RbacObject::ClusterRole(role)));
            for binding in &policy.cluster_role_bindings {
                index.set(RbacObject::ClusterRoleBinding(binding.clone()));
            }
        });
        let node = user("system:node:n1", &["system:nodes", "system:authenticated"]);
        let unrelated = "node: no relationship found between node 'n1' and this object";
        assert_eq!(authorizers.decide(&secret(&node, "s")), Decision::no_opinion(unrelated));
        assert_eq!(authorizers.decide(&secret(&user("root", &["system:masters"]), "s")), Decision::allow());
        let scheduler = user("system:kube-scheduler", &["system:authenticated"]);
        let attributes = Attributes {
            user: &scheduler,
            verb: "create",
            resource: Some(ResourceAttributes {
                resource: "pods",
                subresource: "binding",
                namespace: "ns",
                name: "p",
                ..Default::default()
            }),
            path: "",
        };
        let reason = r#"RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" to User "system:kube-scheduler""#;
        assert_eq!(authorizers.decide(&attributes), Decision::Allow { reason: reason.into() });
        let (rules, errors, incomplete) = authorizers.rules_for(&node, "ns");
        assert!(!rules.is_empty() && incomplete);
        assert_eq!(errors, ["node authorizer does not support user rule resolution"]);
    }
}
