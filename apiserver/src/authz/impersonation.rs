//! Impersonation: acting as somebody else, when one may.
//!
//! Five modes are tried in order. The constrained ones (beta, on by default) ask twice: may the requester do this very
//! thing while impersonating in that mode (`impersonate-on:MODE:VERB`), and may they be that user (`impersonate:MODE`);
//! they cover nodes, service accounts and other users apart. The last is the old, unconstrained mode with the verb
//! `impersonate`. The refusal of the first mode that applies is what the client is told.
//!
//! Non-goal: upstream's caches of successful checks; our authorizers decide in memory.
//!
//! Upstream: `k8s.io/apiserver/pkg/endpoints/filters/impersonation/{mode,constrained_impersonation}.go@v0.37.2`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};

use super::forbidden::Forbidden;
use super::{Attributes, Decision, ResourceAttributes};
use crate::authn::service_account::{NODE_NAME_KEY, make_group_names, split_username};
use crate::authn::text::{is_dns_subdomain, quote};
use crate::authn::{
    ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, NODES_GROUP, SYSTEM_PRIVILEGED_GROUP, User, unescape_extra_key,
};

const USER_HEADER: HeaderName = HeaderName::from_static("impersonate-user");
const UID_HEADER: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP_HEADER: HeaderName = HeaderName::from_static("impersonate-group");
const EXTRA_PREFIX: &str = "impersonate-extra-";
const NODE_PREFIX: &str = "system:node:";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
/// From this many checks on, a constrained mode first tries one for all (`*`).
const MANY_CHECKS: usize = 4;

/// Who a request wants to be, taken out of the headers; nothing is defaulted. `Ok(None)` when it is content with who
/// it is; `Err` is the text of a bad request.
pub(crate) fn take_wanted_user(headers: &mut HeaderMap) -> Result<Option<User>, String> {
    let value = |name: &HeaderName| {
        headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).unwrap_or_default()
    };
    let values = |name: &HeaderName| -> Vec<String> {
        headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    };
    let mut wanted = User {
        name: value(&USER_HEADER),
        uid: value(&UID_HEADER),
        groups: values(&GROUP_HEADER),
        extra: BTreeMap::new(),
    };
    let extra: Vec<HeaderName> = headers.keys().filter(|k| k.as_str().starts_with(EXTRA_PREFIX)).cloned().collect();
    for name in &extra {
        let key = unescape_extra_key(&name.as_str()[EXTRA_PREFIX.len()..]);
        wanted.extra.entry(key).or_default().extend(values(name));
    }
    if wanted.name.is_empty() {
        if only_username_set(&wanted) {
            return Ok(None);
        }
        return Err(format!("requested {} without impersonating a user name", go_syntax(&wanted)));
    }
    for name in extra.iter().chain([&USER_HEADER, &UID_HEADER, &GROUP_HEADER]) {
        headers.remove(name);
    }
    Ok(Some(wanted))
}

/// A user as Go's `%#v` prints it.
fn go_syntax(user: &User) -> String {
    let list = |items: &[String]| items.iter().map(|i| quote(i)).collect::<Vec<_>>().join(", ");
    let groups = match user.groups.as_slice() {
        [] => "[]string(nil)".to_owned(),
        groups => format!("[]string{{{}}}", list(groups)),
    };
    let extra = match user.extra.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => {
            let pairs = user.extra.iter().map(|(k, v)| format!("{}:[]string{{{}}}", quote(k), list(v)));
            format!("map[string][]string{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
    };
    format!("&user.DefaultInfo{{Name:\"\", UID:{}, Groups:{groups}, Extra:{extra}}}", quote(&user.uid))
}

/// A user who may be impersonated, and the verb that allowed it (empty in the old mode), for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Impersonated {
    pub(crate) user: User,
    pub(crate) constraint: String,
}

/// How a user is impersonated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

impl Mode {
    /// The name in verbs.
    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Legacy => "",
        }
    }

    /// Whether the mode is for this user at all.
    fn applies(self, wanted: &User, requester: &User) -> bool {
        let name = &wanted.name;
        match self {
            Mode::AssociatedNode => only_username_set(wanted) && is_on_node(requester, name),
            Mode::ArbitraryNode => only_username_set(wanted) && node_of(name).is_some(),
            Mode::ServiceAccount => only_username_set(wanted) && split_username(name).is_some(),
            Mode::UserInfo => node_of(name).is_none() && split_username(name).is_none(),
            Mode::Legacy => true,
        }
    }
}

fn only_username_set(user: &User) -> bool {
    user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty()
}

fn node_of(username: &str) -> Option<&str> {
    username.strip_prefix(NODE_PREFIX).filter(|name| is_dns_subdomain(name))
}

/// Whether the requester is a service account whose token says that it runs on the node.
fn is_on_node(requester: &User, username: &str) -> bool {
    let node = node_of(username);
    let told = requester.extra.get(NODE_NAME_KEY).map(Vec::as_slice);
    split_username(&requester.name).is_some() && node.is_some_and(|node| matches!(told, Some([only]) if only == node))
}

/// Decides whether the user of the request (`attributes`) may be `wanted` for it. `decide` is the authorizer chain.
pub(crate) fn impersonate(
    wanted: &User,
    attributes: &Attributes<'_>,
    decide: impl Fn(&Attributes<'_>) -> Decision,
) -> Result<Impersonated, Forbidden> {
    let mut first = None;
    for mode in MODES.into_iter().filter(|mode| mode.applies(wanted, attributes.user)) {
        let requester = requester(mode, attributes.user);
        let attempt = Attempt { mode, requester: &requester, wanted, decide: &decide };
        match attempt.check(attributes) {
            Ok(user) => return Ok(Impersonated { user, constraint: attempt.constraint() }),
            Err(refusal) => drop(first.get_or_insert(refusal)),
        }
    }
    Err(first.expect("the old mode applies to everybody, and was refused"))
}

/// The requester as the authorizers see them. An agent on many nodes is one and the same for all of them, so in that
/// mode only the names of the extra keys count.
fn requester(mode: Mode, user: &User) -> User {
    if mode != Mode::AssociatedNode {
        return user.clone();
    }
    let keys = user.extra.keys().cloned().collect();
    let extra = BTreeMap::from([("authentication.kubernetes.io/associated-node-keys".to_owned(), keys)]);
    User { extra, ..user.clone() }
}

struct Attempt<'a, D: Fn(&Attributes<'_>) -> Decision> {
    mode: Mode,
    requester: &'a User,
    wanted: &'a User,
    decide: &'a D,
}

impl<D: Fn(&Attributes<'_>) -> Decision> Attempt<'_, D> {
    fn is_constrained(&self) -> bool {
        self.mode != Mode::Legacy
    }

    fn verb(&self) -> String {
        if self.is_constrained() { format!("impersonate:{}", self.mode.name()) } else { "impersonate".into() }
    }

    fn constraint(&self) -> String {
        if self.is_constrained() { self.verb() } else { String::new() }
    }

    /// The user that the wanted one becomes.
    fn check(&self, attributes: &Attributes<'_>) -> Result<User, Forbidden> {
        if self.is_constrained() {
            let verb = format!("impersonate-on:{}:{}", self.mode.name(), attributes.verb);
            self.authorize(&Attributes { user: self.requester, verb: &verb, ..*attributes })?;
        }
        let mut user = self.wanted.clone();
        self.username(&mut user)?;
        self.uid()?;
        self.groups()?;
        self.extra()?;
        if user.name == ANONYMOUS {
            ensure_group(&mut user, ALL_UNAUTHENTICATED);
        } else if !user.in_group(ALL_UNAUTHENTICATED) {
            ensure_group(&mut user, ALL_AUTHENTICATED);
        }
        Ok(user)
    }

    fn authorize(&self, attributes: &Attributes<'_>) -> Result<(), Forbidden> {
        match (self.decide)(attributes) {
            Decision::Allow { .. } => Ok(()),
            decision => Err(Forbidden::of(attributes, decision.reason())),
        }
    }

    /// The attributes of a check, handed to `then`.
    fn about<T>(&self, resource: ResourceAttributes<'_>, then: impl FnOnce(&Attributes<'_>) -> T) -> T {
        let verb = self.verb();
        then(&Attributes { user: self.requester, verb: &verb, resource: Some(resource), path: "" })
    }

    fn may(&self, resource: ResourceAttributes<'_>) -> Result<(), Forbidden> {
        self.about(resource, |attributes| self.authorize(attributes))
    }

    fn refuse(&self, resource: ResourceAttributes<'_>, reason: &str) -> Result<(), Forbidden> {
        self.about(resource, |attributes| Err(Forbidden::of(attributes, reason)))
    }

    /// Users and groups had no API group before there were constrained modes.
    fn identity(&self, resource: &'static str) -> ResourceAttributes<'static> {
        let group = if self.is_constrained() { AUTHENTICATION_GROUP } else { "" };
        ResourceAttributes { group, version: "v1", resource, ..ResourceAttributes::default() }
    }

    fn username(&self, user: &mut User) -> Result<(), Forbidden> {
        let name = &self.wanted.name;
        let mut resource = ResourceAttributes { name, ..self.identity("users") };
        if let Some(node) = node_of(name).filter(|_| self.is_constrained()) {
            // The answer must hold for every node on which the agent runs.
            let name = if self.mode == Mode::AssociatedNode { "*" } else { node };
            resource = ResourceAttributes { name, ..self.identity("nodes") };
            user.groups = vec![NODES_GROUP.into()];
        }
        if let Some((namespace, name)) = split_username(name) {
            resource = ResourceAttributes { namespace, name, ..self.identity("serviceaccounts") };
            if user.groups.is_empty() {
                user.groups = make_group_names(namespace);
            }
        }
        self.may(resource)
    }

    fn authentication(&self, resource: &'static str) -> ResourceAttributes<'static> {
        ResourceAttributes { group: AUTHENTICATION_GROUP, version: "v1", resource, ..ResourceAttributes::default() }
    }

    fn uid(&self) -> Result<(), Forbidden> {
        match self.wanted.uid.as_str() {
            "" => Ok(()),
            name => self.may(ResourceAttributes { name, ..self.authentication("uids") }),
        }
    }

    fn groups(&self) -> Result<(), Forbidden> {
        let (groups, resource) = (&self.wanted.groups, self.identity("groups"));
        if self.is_constrained() {
            if groups.iter().any(String::is_empty) {
                return self.refuse(resource, "impersonating the empty string group is not allowed");
            }
            if self.wanted.in_group(SYSTEM_PRIVILEGED_GROUP) {
                let resource = ResourceAttributes { name: SYSTEM_PRIVILEGED_GROUP, ..resource };
                return self.refuse(resource, "impersonating the system:masters group is not allowed");
            }
            if groups.len() >= MANY_CHECKS && self.may(ResourceAttributes { name: "*", ..resource }).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|name| self.may(ResourceAttributes { name, ..resource }))
    }

    fn extra(&self) -> Result<(), Forbidden> {
        let (extra, resource) = (&self.wanted.extra, self.authentication("userextras"));
        if self.is_constrained() {
            if let Err(reason) = extra.iter().try_for_each(|(key, values)| check_extra(key, values)) {
                return self.refuse(resource, &reason);
            }
            let many = extra.len() >= MANY_CHECKS || extra.values().map(Vec::len).sum::<usize>() >= MANY_CHECKS;
            let all = ResourceAttributes { subresource: "*", name: "*", ..resource };
            if many && self.may(all).is_ok() {
                return Ok(());
            }
        }
        for (subresource, values) in extra {
            for name in values {
                self.may(ResourceAttributes { subresource, name, ..resource })?;
            }
        }
        Ok(())
    }
}

fn ensure_group(user: &mut User, group: &str) {
    if !user.in_group(group) {
        user.groups.push(group.into());
    }
}

fn check_extra(key: &str, values: &[String]) -> Result<(), String> {
    if key.is_empty() {
        return Err("impersonating the empty string key in extra is not allowed".into());
    }
    if let Some(problem) = domain_prefixed_path_problem(key) {
        return Err(format!("impersonating an invalid key in extra is not allowed: {problem}"));
    }
    if key != key.to_lowercase() {
        return Err(format!("impersonating a non-lowercase key in extra is not allowed: {}", quote(key)));
    }
    if values.is_empty() {
        return Err("impersonating empty values in extra is not allowed".into());
    }
    if values.iter().any(String::is_empty) {
        return Err("impersonating the empty string value in extra is not allowed".into());
    }
    Ok(())
}

/// `k8s.io/apimachinery/pkg/util/validation/validation.go@v0.37.2`, IsDomainPrefixedPath.
fn domain_prefixed_path_problem(key: &str) -> Option<String> {
    let invalid = |value: &str, detail: &str| Some(format!("extra.key: Invalid value: {}: {detail}", quote(value)));
    let Some((host, path)) = key.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty()) else {
        return invalid(key, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    if !is_dns_subdomain(host) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                    must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        return invalid(host, rule);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(allowed) {
        return invalid(path, "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_name_the_wanted_user() {
        let mut all = headers(&[
            ("impersonate-user", "joe"),
            ("impersonate-uid", "u"),
            ("impersonate-group", "a"),
            ("impersonate-group", "b"),
            ("impersonate-extra-example.com%2fscope", "x"),
            ("impersonate-extra-example.com%2fscope", "y"),
            ("accept", "*"),
        ]);
        let user = take_wanted_user(&mut all).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str(), user.groups.join(",").as_str()), ("joe", "u", "a,b"));
        assert_eq!(user.extra, BTreeMap::from([("example.com/scope".into(), vec!["x".into(), "y".into()])]));
        assert_eq!(all.len(), 1, "nothing tells that there was impersonation");
        assert_eq!(take_wanted_user(&mut headers(&[("accept", "*")])), Ok(None));
        for (pair, want) in [
            (("impersonate-group", "g"), r#"UID:"", Groups:[]string{"g"}, Extra:map[string][]string(nil)"#),
            (("impersonate-uid", "u"), r#"UID:"u", Groups:[]string(nil), Extra:map[string][]string(nil)"#),
            (
                ("impersonate-extra-k", "v"),
                r#"UID:"", Groups:[]string(nil), Extra:map[string][]string{"k":[]string{"v"}}"#,
            ),
        ] {
            let error = take_wanted_user(&mut headers(&[pair])).unwrap_err();
            assert_eq!(
                error,
                format!("requested &user.DefaultInfo{{Name:\"\", {want}}} without impersonating a user name")
            );
        }
    }

    fn user(name: &str, groups: &str, extra: &[(&str, &str)]) -> User {
        User {
            name: name.into(),
            groups: groups.split(',').filter(|g| !g.is_empty()).map(str::to_owned).collect(),
            extra: extra.iter().map(|(k, v)| ((*k).to_owned(), v.split(',').map(str::to_owned).collect())).collect(),
            ..User::default()
        }
    }

    /// A check as "verb group/resource[:subresource] [namespace/]name".
    fn line(attributes: &Attributes<'_>) -> String {
        let r = attributes.resource.unwrap();
        let sub = if r.subresource.is_empty() { String::new() } else { format!(":{}", r.subresource) };
        let namespace = if r.namespace.is_empty() { String::new() } else { format!("{}/", r.namespace) };
        format!("{} {}/{}{sub} {namespace}{}", attributes.verb, r.group, r.resource, r.name)
    }

    /// Impersonates for "get pods in ns" with exactly the given checks allowed.
    fn attempt(requester: &User, wanted: &User, allowed: &[&str]) -> Result<Impersonated, String> {
        let resource = ResourceAttributes { version: "v1", resource: "pods", namespace: "ns", ..Default::default() };
        let attributes = Attributes { user: requester, verb: "get", resource: Some(resource), path: "" };
        let decide = |a: &Attributes<'_>| match allowed.contains(&line(a).as_str()) {
            true => Decision::allow(),
            false => Decision::no_opinion("no"),
        };
        impersonate(wanted, &attributes, decide).map_err(|refusal| refusal.message)
    }

    #[test]
    fn the_old_mode_asks_for_every_part() {
        let requester = user("admin", "", &[]);
        let cases: [(User, &[&str], &str); 5] = [
            (user("joe", "", &[]), &["impersonate /users joe"], "system:authenticated"),
            (
                user("joe", "dev", &[("k", "v,w")]),
                &[
                    "impersonate /users joe",
                    "impersonate /groups dev",
                    "impersonate authentication.k8s.io/userextras:k v",
                    "impersonate authentication.k8s.io/userextras:k w",
                ],
                "dev,system:authenticated",
            ),
            (
                user("system:serviceaccount:ns:sa", "", &[]),
                &["impersonate /serviceaccounts ns/sa"],
                "system:serviceaccounts,system:serviceaccounts:ns,system:authenticated",
            ),
            (user(ANONYMOUS, "", &[]), &["impersonate /users system:anonymous"], "system:unauthenticated"),
            (
                user("joe", "system:unauthenticated", &[]),
                &["impersonate /users joe", "impersonate /groups system:unauthenticated"],
                "system:unauthenticated",
            ),
        ];
        for (wanted, needed, groups) in cases {
            let got = attempt(&requester, &wanted, needed).unwrap();
            assert_eq!((got.user.groups.join(",").as_str(), got.constraint.as_str()), (groups, ""), "{}", wanted.name);
            for missing in 0..needed.len() {
                let mut fewer = needed.to_vec();
                fewer.remove(missing);
                assert!(attempt(&requester, &wanted, &fewer).is_err(), "{} without {}", wanted.name, needed[missing]);
            }
        }
    }

    #[test]
    fn constrained_modes_ask_for_the_action_too() {
        let agent = user("system:serviceaccount:ns:agent", "", &[(NODE_NAME_KEY, "n1")]);
        let admin = user("admin", "", &[]);
        let group = "authentication.k8s.io";
        let cases: [(&User, User, Vec<String>, &str, &str); 5] = [
            (
                &agent,
                user("system:node:n1", "", &[]),
                vec![
                    "impersonate-on:associated-node:get /pods ns/".into(),
                    format!("impersonate:associated-node {group}/nodes *"),
                ],
                "impersonate:associated-node",
                "system:nodes,system:authenticated",
            ),
            (
                &agent,
                user("system:node:n2", "", &[]),
                vec![
                    "impersonate-on:arbitrary-node:get /pods ns/".into(),
                    format!("impersonate:arbitrary-node {group}/nodes n2"),
                ],
                "impersonate:arbitrary-node",
                "system:nodes,system:authenticated",
            ),
            (
                &admin,
                user("system:serviceaccount:ns:sa", "", &[]),
                vec![
                    "impersonate-on:serviceaccount:get /pods ns/".into(),
                    format!("impersonate:serviceaccount {group}/serviceaccounts ns/sa"),
                ],
                "impersonate:serviceaccount",
                "system:serviceaccounts,system:serviceaccounts:ns,system:authenticated",
            ),
            (
                &admin,
                user("joe", "dev", &[]),
                vec![
                    "impersonate-on:user-info:get /pods ns/".into(),
                    format!("impersonate:user-info {group}/users joe"),
                    format!("impersonate:user-info {group}/groups dev"),
                ],
                "impersonate:user-info",
                "dev,system:authenticated",
            ),
            (
                &admin,
                user("joe", "a,b,c,d", &[]),
                vec![
                    "impersonate-on:user-info:get /pods ns/".into(),
                    format!("impersonate:user-info {group}/users joe"),
                    format!("impersonate:user-info {group}/groups *"),
                ],
                "impersonate:user-info",
                "a,b,c,d,system:authenticated",
            ),
        ];
        for (requester, wanted, needed, constraint, groups) in cases {
            let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
            let got = attempt(requester, &wanted, &needed).unwrap();
            assert_eq!((got.constraint.as_str(), got.user.groups.join(",").as_str()), (constraint, groups));
            assert_eq!(got.user.name, wanted.name);
            for missing in 0..needed.len() {
                let mut fewer = needed.clone();
                fewer.remove(missing);
                assert!(attempt(requester, &wanted, &fewer).is_err(), "{constraint} without {}", needed[missing]);
            }
        }
    }

    #[test]
    fn the_first_refusal_is_told() {
        let admin = user("admin", "", &[]);
        let on = "impersonate-on:user-info:get /pods ns/";
        let joe = "impersonate:user-info authentication.k8s.io/users joe";
        let cases: [(User, &[&str], &str); 4] = [
            (
                user("joe", "", &[]),
                &[],
                r#"pods is forbidden: User "admin" cannot impersonate-on:user-info:get resource "pods" in API group "" in the namespace "ns": no"#,
            ),
            (
                user("joe", "", &[]),
                &[on],
                r#"users.authentication.k8s.io "joe" is forbidden: User "admin" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope: no"#,
            ),
            (
                user("joe", "system:masters", &[]),
                &[on, joe],
                r#"groups.authentication.k8s.io "system:masters" is forbidden: User "admin" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed"#,
            ),
            (
                user("system:node:n1", "x", &[]),
                &[],
                r#"users "system:node:n1" is forbidden: User "admin" cannot impersonate resource "users" in API group "" at the cluster scope: no"#,
            ),
        ];
        for (wanted, allowed, want) in cases {
            assert_eq!(attempt(&admin, &wanted, allowed).unwrap_err(), want);
        }
    }

    #[test]
    fn extra_keys_are_checked() {
        for (key, values, part) in [
            ("example.com/a", &["v"][..], ""),
            ("", &["v"], "empty string key"),
            ("a", &["v"], "domain-prefixed path"),
            ("Example.com/a", &["v"], "RFC 1123"),
            ("example.com/A", &["v"], "non-lowercase key"),
            ("example.com/ ", &["v"], "Invalid path"),
            ("example.com/a", &[], "empty values"),
            ("example.com/a", &[""], "empty string value"),
        ] {
            let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
            let got = check_extra(key, &values).err().unwrap_or_default();
            assert!(got.contains(part) && got.is_empty() == part.is_empty(), "{key:?}: {got}");
        }
    }
}
