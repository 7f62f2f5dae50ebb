//! Authorization: may this user do this.
//!
//! One chain, in upstream's order: members of `system:masters` may do everything, then the authorizers of
//! `--authorization-mode` or `--authorization-config` (Node, RBAC, webhooks, all or nothing). The first allow or deny
//! ends it; "no opinion" from everyone is a 403.
//!
//! Invariant: all authorizers but webhooks decide by the attributes and two in-memory views alone (RBAC objects, what
//! runs on which node) that the server keeps fresh; they do no IO and never scan all bindings. A webhook is asked only
//! when the chain comes to it and it has not answered the same question lately.
//!
//! Non-goal: ABAC.
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
pub(crate) mod setup;
pub(crate) mod webhook;

use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::{Mutex, RwLock};
use prometheus::IntCounter;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::authn::{SYSTEM_PRIVILEGED_GROUP, User, aggregate};
use graph::NodeGraph;
use rbac::RbacIndex;
use selector::{FieldRequirement, LabelRequirement};
use webhook::config::{AuthorizationConfiguration, AuthorizerConfig};
use webhook::metrics::Metrics;
use webhook::{Question, Recalled, Webhook};

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
    pub(crate) version: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) field_selector: &'a [FieldRequirement],
    pub(crate) label_selector: &'a [LabelRequirement],
}

/// What an authorizer says; reasons may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow { reason: String },
    Deny { reason: String },
    NoOpinion { reason: String },
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

/// A decision, and what went wrong on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) decision: Decision,
    pub(crate) error: Option<String>,
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        Answer { decision, error: None }
    }
}

/// What decides.
enum Kind {
    AlwaysAllow,
    AlwaysDeny,
    Node,
    Rbac,
    Webhook(Webhook),
}

/// An authorizer of the chain.
struct Member {
    kind: Kind,
    /// Prefixes its reasons.
    name: String,
    allowed: IntCounter,
    denied: IntCounter,
}

impl Member {
    fn new(config: &AuthorizerConfig, started_with: &[String], metrics: &Metrics) -> Result<Self, String> {
        let kind = match (config.ty.as_str(), &config.webhook) {
            ("AlwaysAllow", _) => Kind::AlwaysAllow,
            ("AlwaysDeny", _) => Kind::AlwaysDeny,
            (ty @ ("Node" | "RBAC"), _) if !started_with.contains(&config.ty) => {
                return Err(format!(
                    "authorizer type {ty} is not allowed if it was not enabled at initial server startup"
                ));
            }
            ("Node", _) => Kind::Node,
            ("RBAC", _) => Kind::Rbac,
            ("Webhook", Some(webhook)) => Kind::Webhook(Webhook::new(&config.name, webhook, metrics)?),
            (other, _) => return Err(format!("unknown authorization mode {other} specified")),
        };
        let count =
            |decision: &str| metrics.decisions.with_label_values(&[decision, config.name.as_str(), config.ty.as_str()]);
        Ok(Member { kind, name: config.name.clone(), allowed: count("allowed"), denied: count("denied") })
    }
}

/// What those that were asked said, while nobody has decided.
#[derive(Default)]
struct Tally {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Tally {
    /// The answer, if it is the last.
    fn take(&mut self, member: &Member, answer: Answer) -> Option<Answer> {
        match &answer.decision {
            Decision::Allow { .. } => member.allowed.inc(),
            Decision::Deny { .. } => member.denied.inc(),
            Decision::NoOpinion { reason } => {
                if !reason.is_empty() {
                    self.reasons.push(format!("{}: {reason}", member.name));
                }
                self.errors.extend(answer.error);
                return None;
            }
        }
        Some(answer)
    }

    fn undecided(self) -> Answer {
        let error = (!self.errors.is_empty()).then(|| aggregate(&self.errors));
        Answer { decision: Decision::NoOpinion { reason: self.reasons.join("\n") }, error }
    }
}

/// How far the chain got without IO.
enum Turn {
    Over(Answer),
    /// The webhook at this place has to be called.
    Ask(usize, Question),
}

/// A question that only a webhook can go on with.
struct Suspended {
    chain: Arc<Vec<Member>>,
    tally: Tally,
    at: usize,
    question: Question,
}

/// The authorizers and the views that they decide on.
pub(crate) struct Authorizers {
    chain: ArcSwap<Vec<Member>>,
    rbac: ArcSwap<RbacIndex>,
    rbac_writer: Mutex<()>,
    graph: RwLock<NodeGraph>,
    node_rules: Vec<PolicyRule>,
    node_features: node::Features,
    metrics: Metrics,
}

impl Authorizers {
    /// Nobody who decides, and empty views; the server fills them before it serves.
    pub(crate) fn empty(metrics: Metrics) -> Self {
        Authorizers {
            chain: ArcSwap::default(),
            rbac: ArcSwap::default(),
            rbac_writer: Mutex::new(()),
            graph: RwLock::default(),
            node_rules: bootstrap::node_rules(),
            node_features: node::Features::default(),
            metrics,
        }
    }

    /// With the modes of `--authorization-mode` that need nothing else.
    #[cfg(test)]
    pub(crate) fn new(modes: &[&str]) -> Self {
        let config = |mode: &&str| AuthorizerConfig { ty: (*mode).into(), name: mode.to_lowercase(), webhook: None };
        let config = AuthorizationConfiguration { authorizers: modes.iter().map(config).collect() };
        let authorizers = Authorizers::empty(Metrics::default());
        authorizers.configure(&config, &config.local_types()).expect("modes that are known");
        authorizers
    }

    /// Replaces the chain; `started_with` are the types that the server has views for.
    ///
    /// # Errors
    /// An authorizer that cannot be made; the chain stays as it is.
    pub(crate) fn configure(&self, config: &AuthorizationConfiguration, started_with: &[String]) -> Result<(), String> {
        let members = config.authorizers.iter().map(|member| Member::new(member, started_with, &self.metrics));
        self.chain.store(Arc::new(members.collect::<Result<_, _>>()?));
        Ok(())
    }

    /// Whether any authorizer is a webhook, so that everything of a request has to be told.
    pub(crate) fn asks_elsewhere(&self) -> bool {
        self.chain.load().iter().any(|member| matches!(member.kind, Kind::Webhook(_)))
    }

    /// Decides; a decision to allow carries the reason for the audit log, any other one the reason for the client.
    pub(crate) async fn judge(&self, attributes: &Attributes<'_>) -> Answer {
        match self.begin(attributes) {
            Ok(answer) => answer,
            Err(suspended) => self.resume(suspended, attributes).await,
        }
    }

    /// As [`Self::judge`], for those that cannot wait: the thread waits, and others of the runtime go on meanwhile.
    pub(crate) fn ask(&self, attributes: &Attributes<'_>) -> Answer {
        let suspended = match self.begin(attributes) {
            Ok(answer) => return answer,
            Err(suspended) => suspended,
        };
        match Handle::try_current().map(|handle| (handle.runtime_flavor(), handle)) {
            Ok((RuntimeFlavor::MultiThread, handle)) => {
                tokio::task::block_in_place(|| handle.block_on(self.resume(suspended, attributes)))
            }
            _ => {
                let error = Some("an authorization webhook needs a runtime of several threads".to_owned());
                Answer { decision: Decision::no_opinion(""), error }
            }
        }
    }

    /// As [`Self::ask`], without what went wrong.
    pub(crate) fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        self.ask(attributes).decision
    }

    fn begin(&self, attributes: &Attributes<'_>) -> Result<Answer, Suspended> {
        if attributes.user.in_group(SYSTEM_PRIVILEGED_GROUP) {
            return Ok(Decision::allow().into());
        }
        let chain = self.chain.load();
        let mut tally = Tally::default();
        match self.turn(&chain, 0, &mut tally, attributes) {
            Turn::Over(answer) => Ok(answer),
            Turn::Ask(at, question) => Err(Suspended { chain: Arc::clone(&chain), tally, at, question }),
        }
    }

    async fn resume(&self, suspended: Suspended, attributes: &Attributes<'_>) -> Answer {
        let Suspended { chain, mut tally, mut at, mut question } = suspended;
        loop {
            let Kind::Webhook(webhook) = &chain[at].kind else { return tally.undecided() };
            let answer = webhook.ask(question).await;
            if let Some(answer) = tally.take(&chain[at], answer) {
                return answer;
            }
            match self.turn(&chain, at + 1, &mut tally, attributes) {
                Turn::Over(answer) => return answer,
                Turn::Ask(next, more) => (at, question) = (next, more),
            }
        }
    }

    /// Goes on from a place in the chain until somebody decides or has to be called.
    fn turn(&self, chain: &[Member], from: usize, tally: &mut Tally, attributes: &Attributes<'_>) -> Turn {
        for (at, member) in chain.iter().enumerate().skip(from) {
            let answer = match &member.kind {
                Kind::AlwaysAllow => Decision::allow().into(),
                Kind::AlwaysDeny => Decision::no_opinion("Everything is forbidden.").into(),
                Kind::Node => node::decide(&self.graph.read(), &self.node_rules, self.node_features, attributes).into(),
                Kind::Rbac => self.rbac.load().decide(attributes).into(),
                Kind::Webhook(webhook) => match webhook.recall(attributes) {
                    Recalled::Settled(answer) => answer,
                    Recalled::Unknown(question) => return Turn::Ask(at, question),
                },
            };
            if let Some(answer) = tally.take(member, answer) {
                return Turn::Over(answer);
            }
        }
        Turn::Over(std::mem::take(tally).undecided())
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
        for member in self.chain.load().iter() {
            match &member.kind {
                Kind::AlwaysAllow => rules.extend(everything()),
                Kind::AlwaysDeny => {}
                Kind::Node if node::identity(user).is_some() => {
                    errors.push("node authorizer does not support user rule resolution".to_owned());
                    incomplete = true;
                }
                Kind::Node => {}
                Kind::Rbac => {
                    let (more, failed) = self.rbac.load().rules_for(user, namespace);
                    rules.extend(more);
                    errors.extend(failed.iter().map(ToString::to_string));
                }
                Kind::Webhook(_) => {
                    errors.push("webhook authorizer does not support user rule resolution".to_owned());
                    incomplete = true;
                }
            }
        }
        (rules, errors, incomplete)
    }
}

/// The rules of somebody who may do everything.
fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_owned()];
    let resources =
        PolicyRule { verbs: all(), api_groups: Some(all()), resources: Some(all()), ..PolicyRule::default() };
    [resources, PolicyRule { verbs: all(), non_resource_urls: Some(all()), ..PolicyRule::default() }]
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
        let authorizers = Authorizers::new(&["Node", "RBAC"]);
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

    #[test]
    fn all_or_nothing() {
        let jane = user("jane", &["system:authenticated"]);
        let decide = |modes: &[&str]| Authorizers::new(modes).decide(&secret(&jane, "s"));
        assert_eq!(decide(&["RBAC", "AlwaysAllow"]), Decision::allow());
        assert_eq!(decide(&["AlwaysDeny", "AlwaysAllow"]), Decision::allow());
        assert_eq!(decide(&["AlwaysDeny"]), Decision::no_opinion("alwaysdeny: Everything is forbidden."));
        let (rules, errors, incomplete) = Authorizers::new(&["AlwaysAllow", "AlwaysDeny"]).rules_for(&jane, "ns");
        assert_eq!((rules.len(), errors.len(), incomplete), (2, 0, false));
    }
}
