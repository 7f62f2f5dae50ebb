//! RBAC: roles, bindings, and the index from a user to the bindings that name them.
//!
//! Invariant: an [`RbacIndex`] is a value. A copy shares everything that is not changed afterwards, so a change costs
//! the namespace that it touches and readers keep the snapshot that they have. A lookup touches only bindings that name
//! the user, one of their groups, or their service account.
//!
//! Upstream: `plugin/pkg/auth/authorizer/rbac/rbac.go@v1.37.2`, `pkg/registry/rbac/validation/rule.go@v1.37.2`.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::rules::allows;
use super::{Attributes, Decision};
use crate::authn::service_account::make_username;
use crate::authn::text::quote;
use crate::authn::{User, aggregate};

const GROUP: &str = "rbac.authorization.k8s.io";

/// An RBAC object of any kind.
#[derive(Clone, Debug)]
pub(crate) enum RbacObject {
    ClusterRole(ClusterRole),
    ClusterRoleBinding(ClusterRoleBinding),
    Role(Role),
    RoleBinding(RoleBinding),
}

/// The kinds of RBAC objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RbacKind {
    ClusterRole,
    ClusterRoleBinding,
    Role,
    RoleBinding,
}

/// A role reference that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    Missing { singular: &'static str, name: String },
    Unsupported(String),
}

impl Unresolved {
    /// The text when the role is looked for on behalf of a request to another resource: upstream's storage names the
    /// resource of the request (`k8s.io/apiserver/pkg/registry/generic/registry/store.go@v0.37.2`).
    pub(crate) fn within_request(&self, resource: &str) -> String {
        match self {
            Unresolved::Missing { name, .. } => format!("{resource}.{GROUP} {} not found", quote(name)),
            Unresolved::Unsupported(kind) => format!("unsupported role reference kind: {}", quote(kind)),
        }
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = if let Unresolved::Missing { singular, .. } = self { singular } else { "" };
        f.write_str(&self.within_request(resource))
    }
}

/// A binding of either kind; a cluster role binding has no namespace.
#[derive(Debug)]
struct Binding {
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

impl Binding {
    /// The first subject that the user is.
    fn subject_of(&self, user: &User) -> Option<&Subject> {
        self.subjects.iter().find(|subject| match subject.kind.as_str() {
            "User" => subject.name == user.name,
            "Group" => user.in_group(&subject.name),
            "ServiceAccount" => self.account(subject).is_some_and(|username| username == user.name),
            _ => false,
        })
    }

    /// The user name of a service account; its namespace defaults to that of the binding.
    fn account(&self, subject: &Subject) -> Option<String> {
        let namespace = self.account_namespace(subject);
        (!namespace.is_empty()).then(|| make_username(namespace, &subject.name))
    }

    fn account_namespace<'a>(&'a self, subject: &'a Subject) -> &'a str {
        subject.namespace.as_deref().filter(|ns| !ns.is_empty()).unwrap_or(&self.namespace)
    }

    /// Tells why a rule of this binding applies.
    fn describe(&self, subject: &Subject) -> String {
        let (kind, name) = if self.namespace.is_empty() {
            ("ClusterRoleBinding", quote(&self.name))
        } else {
            ("RoleBinding", quote(&format!("{}/{}", self.name, self.namespace)))
        };
        let who = match subject.kind.as_str() {
            "ServiceAccount" => quote(&format!("{}/{}", subject.name, self.account_namespace(subject))),
            _ => quote(&subject.name),
        };
        format!("{kind} {name} of {} {} to {} {who}", self.role.kind, quote(&self.role.name), subject.kind)
    }
}

type Map<V> = HashMap<String, V, foldhash::fast::RandomState>;

/// The roles and bindings of one namespace, or of the cluster.
#[derive(Clone, Debug, Default)]
struct Scope {
    roles: Map<Arc<[PolicyRule]>>,
    bindings: Map<Arc<Binding>>,
    /// By user name; service accounts are here by theirs.
    by_user: Map<Vec<Arc<Binding>>>,
    by_group: Map<Vec<Arc<Binding>>>,
}

impl Scope {
    fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.bindings.is_empty()
    }

    fn set_binding(&mut self, binding: Binding) {
        self.remove_binding(&binding.name);
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            let entry = match subject.kind.as_str() {
                "User" => self.by_user.entry(subject.name.clone()).or_default(),
                "Group" => self.by_group.entry(subject.name.clone()).or_default(),
                "ServiceAccount" => match binding.account(subject) {
                    Some(username) => self.by_user.entry(username).or_default(),
                    None => continue,
                },
                _ => continue,
            };
            if !entry.iter().any(|known| Arc::ptr_eq(known, &binding)) {
                entry.push(binding.clone());
            }
        }
        self.bindings.insert(binding.name.clone(), binding);
    }

    fn remove_binding(&mut self, name: &str) {
        let Some(binding) = self.bindings.remove(name) else { return };
        for subject in &binding.subjects {
            let (map, key) = match subject.kind.as_str() {
                "User" => (&mut self.by_user, subject.name.clone()),
                "Group" => (&mut self.by_group, subject.name.clone()),
                _ => (&mut self.by_user, binding.account(subject).unwrap_or_default()),
            };
            let emptied = map.get_mut(&key).is_some_and(|list| {
                list.retain(|known| !Arc::ptr_eq(known, &binding));
                list.is_empty()
            });
            if emptied {
                map.remove(&key);
            }
        }
    }

    /// The bindings that name the user, each once, by name.
    fn bindings_of(&self, user: &User) -> Vec<&Arc<Binding>> {
        let groups = user.groups.iter().filter_map(|group| self.by_group.get(group));
        let mut found: Vec<&Arc<Binding>> = self.by_user.get(&user.name).into_iter().chain(groups).flatten().collect();
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        found
    }
}

/// All RBAC objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct RbacIndex {
    cluster: Arc<Scope>,
    namespaces: Map<Arc<Scope>>,
}

impl RbacIndex {
    /// Adds or replaces an object.
    pub(crate) fn set(&mut self, object: RbacObject) {
        match object {
            RbacObject::ClusterRole(role) => {
                let name = role.metadata.name.unwrap_or_default();
                self.scope("").roles.insert(name, role.rules.unwrap_or_default().into());
            }
            RbacObject::Role(role) => {
                let (namespace, name) =
                    (role.metadata.namespace.unwrap_or_default(), role.metadata.name.unwrap_or_default());
                self.scope(&namespace).roles.insert(name, role.rules.unwrap_or_default().into());
            }
            RbacObject::ClusterRoleBinding(binding) => self.scope("").set_binding(Binding {
                namespace: String::new(),
                name: binding.metadata.name.unwrap_or_default(),
                role: binding.role_ref,
                subjects: binding.subjects.unwrap_or_default(),
            }),
            RbacObject::RoleBinding(binding) => {
                let namespace = binding.metadata.namespace.unwrap_or_default();
                self.scope(&namespace).set_binding(Binding {
                    namespace: namespace.clone(),
                    name: binding.metadata.name.unwrap_or_default(),
                    role: binding.role_ref,
                    subjects: binding.subjects.unwrap_or_default(),
                });
            }
        }
    }

    /// Removes an object, if it is there.
    pub(crate) fn remove(&mut self, kind: RbacKind, namespace: &str, name: &str) {
        let namespace = match kind {
            RbacKind::ClusterRole | RbacKind::ClusterRoleBinding => "",
            RbacKind::Role | RbacKind::RoleBinding => namespace,
        };
        let scope = self.scope(namespace);
        match kind {
            RbacKind::ClusterRole | RbacKind::Role => drop(scope.roles.remove(name)),
            RbacKind::ClusterRoleBinding | RbacKind::RoleBinding => scope.remove_binding(name),
        }
        if scope.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    fn scope(&mut self, namespace: &str) -> &mut Scope {
        if namespace.is_empty() {
            return Arc::make_mut(&mut self.cluster);
        }
        Arc::make_mut(self.namespaces.entry(namespace.to_owned()).or_default())
    }

    /// Decides on a request. Rules are only ever additive, so a role that is missing denies nothing that others allow.
    pub(crate) fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let mut errors = Vec::new();
        let allowed = self.visit(attributes.user, attributes.namespace(), |binding, rules| {
            match rules {
                Ok(rules) if rules.iter().any(|rule| allows(rule, attributes)) => {
                    return ControlFlow::Break(binding.clone());
                }
                Ok(_) => {}
                Err(error) => errors.push(error.to_string()),
            }
            ControlFlow::Continue(())
        });
        match allowed {
            ControlFlow::Break(binding) => {
                let subject = binding.subject_of(attributes.user);
                let source = subject.map(|subject| binding.describe(subject)).unwrap_or_default();
                Decision::Allow { reason: format!("RBAC: allowed by {source}") }
            }
            ControlFlow::Continue(()) if errors.is_empty() => Decision::no_opinion(""),
            ControlFlow::Continue(()) => Decision::no_opinion(format!("RBAC: {}", aggregate(&errors))),
        }
    }

    /// Every rule that applies to the user in the namespace (and in the cluster), and what could not be resolved.
    pub(crate) fn rules_for(&self, user: &User, namespace: &str) -> (Vec<PolicyRule>, Vec<Unresolved>) {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        let _: ControlFlow<()> = self.visit(user, namespace, |_, rules| {
            match rules {
                Ok(rules) => all.extend_from_slice(rules),
                Err(error) => errors.push(error),
            }
            ControlFlow::Continue(())
        });
        (all, errors)
    }

    /// The rules of the role that a binding in the namespace refers to.
    pub(crate) fn role_rules(&self, role: &RoleRef, namespace: &str) -> Result<&[PolicyRule], Unresolved> {
        let (scope, singular) = match role.kind.as_str() {
            "Role" => (self.namespaces.get(namespace), "role"),
            "ClusterRole" => (Some(&self.cluster), "clusterrole"),
            other => return Err(Unresolved::Unsupported(other.to_owned())),
        };
        let rules = scope.and_then(|scope| scope.roles.get(&role.name));
        rules.map(AsRef::as_ref).ok_or_else(|| Unresolved::Missing { singular, name: role.name.clone() })
    }

    /// Shows every binding of the user with the rules of its role, until told to stop.
    fn visit<B>(
        &self,
        user: &User,
        namespace: &str,
        mut visitor: impl FnMut(&Arc<Binding>, Result<&[PolicyRule], Unresolved>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let namespaced = (!namespace.is_empty()).then(|| self.namespaces.get(namespace)).flatten();
        for scope in std::iter::once(&self.cluster).chain(namespaced) {
            for binding in scope.bindings_of(user) {
                visitor(binding, self.role_rules(&binding.role, &binding.namespace))?;
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::super::ResourceAttributes;
    use super::super::rules::rule;
    use super::*;

    fn meta(namespace: &str, name: &str) -> ObjectMeta {
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        ObjectMeta { name: Some(name.into()), namespace, ..ObjectMeta::default() }
    }

    /// A role, of the cluster when the namespace is empty.
    pub(in super::super) fn role(namespace: &str, name: &str, rules: Vec<PolicyRule>) -> RbacObject {
        let (metadata, rules) = (meta(namespace, name), Some(rules));
        match namespace {
            "" => RbacObject::ClusterRole(ClusterRole { metadata, rules, ..ClusterRole::default() }),
            _ => RbacObject::Role(Role { metadata, rules }),
        }
    }

    /// A binding of "Kind/role" to subjects like "User:joe" or "ServiceAccount:ns/name".
    pub(in super::super) fn binding(namespace: &str, name: &str, role: &str, subjects: &[&str]) -> RbacObject {
        let subject = |text: &&str| {
            let (kind, name) = text.split_once(':').unwrap();
            let (ns, name) = match (kind, name.split_once('/')) {
                ("ServiceAccount", Some((ns, name))) => (Some(ns.to_owned()), name),
                _ => (None, name),
            };
            Subject { kind: kind.into(), name: name.into(), namespace: ns, api_group: None }
        };
        let (kind, role) = role.split_once('/').unwrap();
        let api_group = Some("rbac.authorization.k8s.io".into());
        let role_ref = RoleRef { api_group, kind: kind.into(), name: role.into() };
        let (metadata, subjects) = (meta(namespace, name), Some(subjects.iter().map(subject).collect()));
        match namespace {
            "" => RbacObject::ClusterRoleBinding(ClusterRoleBinding { metadata, role_ref, subjects }),
            _ => RbacObject::RoleBinding(RoleBinding { metadata, role_ref, subjects }),
        }
    }

    pub(in super::super) fn index(objects: Vec<RbacObject>) -> RbacIndex {
        let mut index = RbacIndex::default();
        objects.into_iter().for_each(|object| index.set(object));
        index
    }

    fn user(name: &str, groups: &str) -> User {
        let groups = groups.split(',').filter(|g| !g.is_empty()).map(str::to_owned).collect();
        User { name: name.into(), groups, ..User::default() }
    }

    /// Asks "user groups verb resource[/subresource] namespace" or "user groups verb /path", `-` being nothing.
    fn decide(index: &RbacIndex, request: &str) -> Decision {
        let words: Vec<&str> = request.split(' ').map(|w| if w == "-" { "" } else { w }).collect();
        let user = user(words[0], words[1]);
        if words[3].starts_with('/') {
            return index.decide(&Attributes { user: &user, verb: words[2], resource: None, path: words[3] });
        }
        let (resource, subresource) = words[3].split_once('/').unwrap_or((words[3], ""));
        let resource = ResourceAttributes { resource, subresource, namespace: words[4], ..Default::default() };
        index.decide(&Attributes { user: &user, verb: words[2], resource: Some(resource), path: "" })
    }

    #[test]
    fn bindings_decide_as_upstream() {
        let admin = || role("", "admin", vec![rule("*", "*", "*", "", "*")]);
        let to_admins = |ns, role| binding(ns, "b", role, &["User:admin", "Group:admins"]);
        let sub = |rules: &[&str]| role("", "admin", rules.iter().map(|r| rule("*", "*", r, "", "")).collect());
        let cases: Vec<(Vec<RbacObject>, &[&str], &[&str])> = vec![
            (
                vec![admin(), to_admins("ns1", "ClusterRole/admin")],
                &[
                    "admin - get Pods ns1",
                    "admin - watch Pods ns1",
                    "admin group1 watch Foobar ns1",
                    "joe admins watch Foobar ns1",
                    "joe group1,admins watch Foobar ns1",
                ],
                &[
                    "admin - GET Pods ns2",
                    "admin - GET Nodes -",
                    "admin admins GET Pods ns2",
                    "admin admins GET Nodes -",
                    "admin - get /api",
                ],
            ),
            (
                vec![sub(&["pods"]), to_admins("ns1", "ClusterRole/admin")],
                &["admin - get pods ns1"],
                &["admin - get pods/status ns1"],
            ),
            (
                vec![sub(&["pods/status", "*/scale"]), to_admins("ns1", "ClusterRole/admin")],
                &["admin - get pods/status ns1", "admin - get pods/scale ns1", "admin - get anything/scale ns1"],
                &["admin - get pods ns1"],
            ),
            (
                vec![
                    role("ns1", "reader", vec![rule("get", "core", "pods", "", "")]),
                    binding("ns1", "b", "Role/reader", &["ServiceAccount:local", "ServiceAccount:ns2/far"]),
                    binding("", "b", "Role/reader", &["User:joe"]),
                    binding("", "c", "ClusterRole/none", &["ServiceAccount:nowhere"]),
                ],
                &["system:serviceaccount:ns1:local - get pods ns1", "system:serviceaccount:ns2:far - get pods ns1"],
                &[
                    "system:serviceaccount:ns2:local - get pods ns1",
                    "system:serviceaccount:ns2:far - get pods ns2",
                    "joe - get pods ns1",
                    "system:serviceaccount::nowhere - get pods ns1",
                ],
            ),
        ];
        check(cases);
    }

    fn check(cases: Vec<(Vec<RbacObject>, &[&str], &[&str])>) {
        for (objects, pass, fail) in cases {
            let index = index(objects);
            for (requests, want) in [(pass, true), (fail, false)] {
                for request in requests {
                    assert_eq!(decide(&index, request).is_allow(), want, "{request}");
                }
            }
        }
    }

    #[test]
    fn urls_are_granted_to_users_and_groups() {
        let urls = |name, verbs, url| role("", name, vec![rule(verbs, "", "", "", url)]);
        check(vec![(
            vec![
                urls("getter", "get", "/apis"),
                urls("all", "*", "/apis"),
                urls("prefix", "get", "/apis/*"),
                binding("", "1", "ClusterRole/getter", &["User:foo", "Group:bar"]),
                binding("", "2", "ClusterRole/all", &["User:admin", "Group:admin"]),
                binding("", "3", "ClusterRole/prefix", &["User:prefixed", "Group:prefixed"]),
            ],
            &[
                "foo - get /apis",
                "- bar get /apis",
                "admin - get /apis",
                "- admin watch /apis",
                "prefixed - get /apis/v1",
                "- prefixed get /apis/v1/foobar",
            ],
            &[
                "foo - watch /apis",
                "- bar watch /apis",
                "foo - get /api/v1",
                "prefixed - get /api/v1",
                "prefixed - get /apis",
            ],
        )]);
    }

    #[test]
    fn reasons_read_as_upstream() {
        let objects = vec![
            role("", "c", vec![rule("get", "core", "nodes", "", "")]),
            role("ns", "r", vec![rule("get", "core", "pods", "", "")]),
            binding("", "cb", "ClusterRole/c", &["User:x", "Group:readers"]),
            binding("ns", "rb", "Role/r", &["ServiceAccount:sa", "User:joe"]),
            binding("ns", "lost", "Role/gone", &["User:joe", "User:lonely"]),
            binding("", "lost", "ClusterRole/gone", &["User:lonely"]),
            binding("ns", "odd", "Thing/r", &["User:odd"]),
        ];
        let index = index(objects);
        let allowed = |reason: &str| Decision::Allow { reason: format!("RBAC: allowed by {reason}") };
        let missing = r#"RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, role.rbac.authorization.k8s.io "gone" not found]"#;
        for (request, want) in [
            ("y readers get nodes -", allowed(r#"ClusterRoleBinding "cb" of ClusterRole "c" to Group "readers""#)),
            ("joe - get pods ns", allowed(r#"RoleBinding "rb/ns" of Role "r" to User "joe""#)),
            (
                "system:serviceaccount:ns:sa - get pods ns",
                allowed(r#"RoleBinding "rb/ns" of Role "r" to ServiceAccount "sa/ns""#),
            ),
            ("nobody - get pods ns", Decision::no_opinion("")),
            ("lonely - get pods ns", Decision::no_opinion(missing)),
            ("odd - get pods ns", Decision::no_opinion(r#"RBAC: unsupported role reference kind: "Thing""#)),
        ] {
            assert_eq!(decide(&index, request), want, "{request}");
        }
    }

    #[test]
    fn changes_reach_the_index_and_not_older_copies() {
        let rules = vec![rule("get", "core", "pods", "", "")];
        let mut live =
            index(vec![role("ns", "r", rules.clone()), binding("ns", "b", "Role/r", &["User:joe", "User:joe"])]);
        let request = |name: &str| format!("{name} - get pods ns");
        let before = live.clone();
        live.set(binding("ns", "b", "Role/r", &["User:eve", "Group:g"]));
        assert!(!decide(&live, &request("joe")).is_allow() && decide(&live, &request("eve")).is_allow());
        assert!(decide(&before, &request("joe")).is_allow() && !decide(&before, &request("eve")).is_allow());
        live.remove(RbacKind::Role, "ns", "r");
        assert!(!decide(&live, &request("eve")).is_allow());
        live.set(role("ns", "r", rules));
        assert_eq!(live.rules_for(&user("eve", "g"), "ns").0.len(), 1, "a binding that names a user twice counts once");
        live.remove(RbacKind::RoleBinding, "ns", "b");
        live.remove(RbacKind::RoleBinding, "ns", "b");
        live.remove(RbacKind::Role, "ns", "r");
        assert!(live.namespaces.is_empty(), "nothing is left behind");
    }
}
