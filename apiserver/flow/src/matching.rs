//! Whether a request is of a FlowSchema (k8s.io/apiserver/pkg/util/flowcontrol/rule.go@v0.37.2).

use crate::schema::{Distinguisher, Names, PathRule, ResourceRule, Rule, SchemaSpec, Subject};

/// What FlowSchemas look at.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub user: &'a str,
    pub groups: &'a [String],
    pub verb: &'a str,
    pub path: &'a str,
    /// `None` for a request that is not about a resource.
    pub resource: Option<Resource<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// Empty for the cluster's scope.
    pub namespace: &'a str,
}

const ACCOUNT_PREFIX: &str = "system:serviceaccount:";

impl SchemaSpec {
    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(request))
    }

    /// What tells this flow from others.
    pub fn distinguish<'a>(&self, request: &Request<'a>) -> &'a str {
        match self.distinguisher {
            Some(Distinguisher::User) => request.user,
            Some(Distinguisher::Namespace) => request.resource.map_or("", |resource| resource.namespace),
            None => "",
        }
    }
}

impl Rule {
    fn matches(&self, request: &Request<'_>) -> bool {
        self.subjects.iter().any(|subject| subject.matches(request))
            && match &request.resource {
                Some(resource) => self.resources.iter().any(|rule| rule.matches(request.verb, resource)),
                None => self.paths.iter().any(|rule| rule.matches(request)),
            }
    }
}

impl Subject {
    fn matches(&self, request: &Request<'_>) -> bool {
        match self {
            Subject::User(names) => names.has(request.user),
            Subject::Group(Names::All) => true,
            Subject::Group(names) => request.groups.iter().any(|group| names.has(group)),
            Subject::ServiceAccount { namespace, name } => {
                let own = request.user.strip_prefix(ACCOUNT_PREFIX).and_then(|user| user.split_once(':'));
                own.is_some_and(|(own, account)| *own == **namespace && name.has(account))
            }
            Subject::None => false,
        }
    }
}

impl ResourceRule {
    fn matches(&self, verb: &str, resource: &Resource<'_>) -> bool {
        self.verbs.has(verb)
            && self.resources_have(resource)
            && self.groups.has(resource.group)
            && match resource.namespace {
                "" => self.cluster_scope,
                namespace => self.namespaces.has(namespace),
            }
    }

    /// `resource` or `resource/subresource`.
    fn resources_have(&self, wanted: &Resource<'_>) -> bool {
        let Names::These(names) = &self.resources else { return true };
        names.iter().any(|name| match name.strip_prefix(wanted.resource) {
            Some("") => wanted.subresource.is_empty(),
            Some(rest) => !wanted.subresource.is_empty() && rest.strip_prefix('/') == Some(wanted.subresource),
            None => false,
        })
    }
}

impl PathRule {
    fn matches(&self, request: &Request<'_>) -> bool {
        self.verbs.has(request.verb) && self.paths.iter().any(|path| path_matches(path, request.path))
    }
}

/// A path matches itself and, with or without a star at its end, everything below it.
fn path_matches(rule: &str, path: &str) -> bool {
    if rule == "*" || rule == path {
        return true;
    }
    let prefix = rule.strip_suffix('*').unwrap_or(rule);
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use api::map;
    use api::value::{Map, Value};

    use super::*;
    use crate::schema::Schema;

    fn list(words: &str) -> Vec<Value> {
        words.split_whitespace().map(|word| Value::from(if word == "core" { "" } else { word })).collect()
    }

    fn schema(subject: Map, resource: Option<[&str; 4]>, paths: Option<[&str; 2]>) -> SchemaSpec {
        let mut rule = map! { "subjects" => vec![Value::Map(subject)] };
        if let Some([verbs, groups, resources, namespaces]) = resource {
            let own = map! {
                "verbs" => list(verbs), "apiGroups" => list(groups), "resources" => list(resources),
                "namespaces" => list(namespaces), "clusterScope" => namespaces == "*",
            };
            rule.set("resourceRules", vec![Value::Map(own)]);
        }
        if let Some([verbs, paths]) = paths {
            let own = map! { "verbs" => list(verbs), "nonResourceURLs" => list(paths) };
            rule.set("nonResourceRules", vec![Value::Map(own)]);
        }
        Schema::of(&map! { "spec" => map! { "rules" => vec![Value::Map(rule)] } }).spec
    }

    fn group(name: &str) -> Map {
        map! { "kind" => "Group", "group" => map! { "name" => name } }
    }

    /// `user verb group/resource[/subresource] namespace`, or `user verb /path`.
    fn matches(spec: &SchemaSpec, request: &str) -> bool {
        let words: Vec<&str> = request.split(' ').collect();
        let mut parts = words[2].splitn(3, '/');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        let resource = Resource {
            group: first.unwrap_or(""),
            resource: second.unwrap_or(""),
            subresource: third.unwrap_or(""),
            namespace: words.get(3).copied().unwrap_or(""),
        };
        let resource = (!words[2].starts_with('/') || words.len() > 3).then_some(resource);
        let groups = ["g".to_string(), "system:authenticated".to_string()];
        spec.matches(&Request { user: words[0], groups: &groups, verb: words[1], path: words[2], resource })
    }

    #[test]
    fn subjects_are_matched() {
        let all = Some(["*", "*", "*", "*"]);
        let account = |name: &str| map! { "namespace" => "ns", "name" => name };
        let user = |name: &str| map! { "kind" => "User", "user" => map! { "name" => name } };
        let service = |name: &str| map! { "kind" => "ServiceAccount", "serviceAccount" => account(name) };
        for (subject, request, expect) in [
            (user("u"), "u get apps/deployments n", true),
            (user("*"), "other get apps/deployments n", true),
            (user("u"), "v get apps/deployments n", false),
            (map! { "kind" => "User" }, "u get apps/deployments n", false),
            (group("g"), "u get apps/deployments n", true),
            (group("*"), "u get apps/deployments n", true),
            (group("h"), "u get apps/deployments n", false),
            (service("a"), "system:serviceaccount:ns:a get apps/deployments n", true),
            (service("*"), "system:serviceaccount:ns:b get apps/deployments n", true),
            (service("a"), "system:serviceaccount:ns2:a get apps/deployments n", false),
            (service("*"), "ns:a get apps/deployments n", false),
            (map! { "kind" => "Node" }, "u get apps/deployments n", false),
        ] {
            assert_eq!(matches(&schema(subject.clone(), all, None), request), expect, "{subject:?} {request}");
        }
    }

    #[test]
    fn rules_are_matched() {
        let resource = |rule| schema(group("g"), Some(rule), None);
        let path = |rule| schema(group("g"), None, Some(rule));
        let rows = [
            (resource(["get list", "core", "nodes nodes/status", "*"]), "u get /nodes/status ", true),
            (resource(["get list", "core", "nodes/status", "*"]), "u get /nodes ", false),
            (resource(["get list", "core", "nodes", "*"]), "u get /nodes/status ", false),
            (resource(["get list", "core", "node", "*"]), "u get /nodes ", false),
            (resource(["get list", "apps", "*", "n"]), "u watch apps/deployments n", false),
            (resource(["*", "apps", "*", "n"]), "u watch apps/deployments n", true),
            (resource(["*", "apps", "*", "n"]), "u watch apps/deployments m", false),
            (resource(["*", "apps", "*", "n"]), "u watch apps/deployments", false),
            (resource(["*", "batch", "*", "*"]), "u watch apps/deployments n", false),
            (resource(["*", "*", "*", "*"]), "u get /healthz", false),
            (path(["get", "/healthz"]), "u get /healthz", true),
            (path(["get", "/healthz"]), "u get /healthz/etcd", true),
            (path(["get", "/healthz"]), "u get /healthz2", false),
            (path(["get", "/apis/*"]), "u get /apis/apps", true),
            (path(["get", "/apis/*"]), "u get /apis", false),
            (path(["post", "*"]), "u get /apis", false),
            (path(["*", "*"]), "u get apps/deployments n", false),
        ];
        for (spec, request, expect) in rows {
            assert_eq!(matches(&spec, request), expect, "{spec:?} {request}");
        }
    }
}
