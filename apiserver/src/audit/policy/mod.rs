//! The policy: at which level a request is told, and which stages are not
//! (k8s.io/apiserver/pkg/audit/policy/{reader,checker}.go@v0.37.2).
//!
//! Invariant: the first rule that matches decides; a request that none matches is not told. Non-goal: telling.

mod check;
mod schema;
#[cfg(test)]
mod tests;

use api::json::{self, Strictness};
use api::value::{Map, Value};

use super::event::{Level, Stage};
use crate::authn::aggregate;
use crate::authz::Attributes;

/// What upstream calls the kinds that a policy file may have.
const SCHEME: &str = "pkg/runtime/scheme.go:111";

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stages(u8);

impl Stages {
    pub(crate) fn has(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }

    fn of(names: &[Value]) -> Self {
        let named = |stage: &&Stage| names.iter().any(|name| name.as_str() == Some(stage.text()));
        Stages(Stage::ALL.iter().filter(named).fold(0, |set, stage| set | 1 << *stage as u8))
    }

    fn union(self, other: Stages) -> Self {
        Stages(self.0 | other.0)
    }
}

/// How one request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    pub(crate) omitted: Stages,
    pub(crate) omit_managed_fields: bool,
}

#[derive(Debug)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
    /// For requests that no rule matches.
    otherwise: Verdict,
}

#[derive(Debug)]
struct Rule {
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
    verdict: Verdict,
}

#[derive(Debug)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// Upstream's texts, without the name of the file.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = match text.trim_ascii() {
            // An empty document is an object without anything.
            b"" => b"{}".to_vec(),
            text => api::yaml::to_json(text).map_err(|error| format!("failed decoding: {error}"))?,
        };
        let failed = |error: json::Error| format!("failed decoding: {error}");
        let (kinded, _) = json::decode_any(&text, Strictness::Lenient).map_err(failed)?;
        let kinded = kinded.as_map().cloned().unwrap_or_default();
        let (version, kind) = (kinded.str("apiVersion"), kinded.str("kind"));
        check_kind(version, kind)?;
        let decoded = json::decode(&text, &schema::POLICY, Strictness::Strict).map_err(failed)?;
        if !decoded.strict.is_empty() {
            let strict = decoded.strict.join(", ");
            tracing::warn!(
                "Audit policy contains errors, falling back to lenient decoding: strict decoding error: {strict}"
            );
        }
        if version.is_empty() {
            return Err("unknown group version field audit.k8s.io/__internal, Kind=Policy in policy".into());
        }
        let wrong = check::policy(&decoded.value);
        if !wrong.is_empty() {
            return Err(aggregate(&wrong.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
        let policy = Policy::of(&decoded.value);
        if policy.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".into());
        }
        Ok(policy)
    }

    fn of(object: &Map) -> Self {
        let omitted = Stages::of(object.list("omitStages"));
        let omit_managed_fields = object.bool("omitManagedFields").unwrap_or(false);
        let otherwise = Verdict { level: Level::None, omitted, omit_managed_fields };
        Policy { rules: object.maps("rules").map(|rule| Rule::of(rule, otherwise)).collect(), otherwise }
    }

    /// How a request is told. A request of nobody has a user without name and groups.
    pub(crate) fn judge(&self, attributes: &Attributes<'_>) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(attributes));
        rule.map_or(self.otherwise, |rule| rule.verdict)
    }
}

fn check_kind(version: &str, kind: &str) -> Result<(), String> {
    let known = matches!(version, "" | super::event::GROUP_VERSION) && matches!(kind, "" | "Policy");
    if known {
        return Ok(());
    }
    let kind = api::field::go_quote(if kind.is_empty() { "Policy" } else { kind });
    let place = match version {
        "" => "the internal version of group \"audit.k8s.io\"".to_owned(),
        version => format!("version {}", api::field::go_quote(version)),
    };
    Err(format!("failed decoding: no kind {kind} is registered for {place} in scheme \"{SCHEME}\""))
}

fn texts(map: &Map, name: &str) -> Vec<String> {
    map.list(name).iter().filter_map(Value::as_str).map(Into::into).collect()
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|one| one == text)
}

impl Rule {
    fn of(rule: &Map, policy: Verdict) -> Self {
        let level = Level::ALL.into_iter().find(|level| level.text() == rule.str("level"));
        let resources = rule.maps("resources").map(|one| GroupResources {
            group: one.str("group").into(),
            resources: texts(one, "resources"),
            names: texts(one, "resourceNames"),
        });
        Rule {
            users: texts(rule, "users"),
            groups: texts(rule, "userGroups"),
            verbs: texts(rule, "verbs"),
            resources: resources.collect(),
            namespaces: texts(rule, "namespaces"),
            paths: texts(rule, "nonResourceURLs"),
            verdict: Verdict {
                level: level.unwrap_or_default(),
                omitted: policy.omitted.union(Stages::of(rule.list("omitStages"))),
                omit_managed_fields: rule.bool("omitManagedFields").unwrap_or(policy.omit_managed_fields),
            },
        }
    }

    fn matches(&self, attributes: &Attributes<'_>) -> bool {
        let user = attributes.user;
        if !self.users.is_empty() && !has(&self.users, &user.name) {
            return false;
        }
        if !self.groups.is_empty() && !user.groups.iter().any(|group| has(&self.groups, group)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, attributes.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return self.matches_resource(attributes);
        }
        if !self.paths.is_empty() {
            let path = attributes.path;
            return attributes.resource.is_none() && self.paths.iter().any(|spec| matches_path(spec, path));
        }
        true
    }

    fn matches_resource(&self, attributes: &Attributes<'_>) -> bool {
        let Some(asked) = attributes.resource else { return false };
        if !self.namespaces.is_empty() && !has(&self.namespaces, asked.namespace) {
            return false;
        }
        let of_group = |one: &&GroupResources| one.group == asked.group || one.group == "*";
        let mut groups = self.resources.iter().filter(of_group);
        self.resources.is_empty() || groups.any(|one| one.matches(asked.resource, asked.subresource, asked.name))
    }
}

impl GroupResources {
    fn matches(&self, resource: &str, subresource: &str, name: &str) -> bool {
        if self.resources.is_empty() {
            return true;
        }
        if !self.names.is_empty() && !has(&self.names, name) {
            return false;
        }
        self.resources.iter().any(|spec| matches_resource(spec, resource, subresource))
    }
}

fn matches_resource(spec: &str, resource: &str, subresource: &str) -> bool {
    if spec == "*" {
        return true;
    }
    match spec.split_once('/') {
        None => subresource.is_empty() && spec == resource,
        Some(("*", sub)) if !subresource.is_empty() && sub == subresource => true,
        // All that is under a resource, and the resource itself.
        Some((of, "*")) if of == resource => true,
        Some((of, sub)) => !subresource.is_empty() && of == resource && sub == subresource,
    }
}

fn matches_path(spec: &str, path: &str) -> bool {
    let prefix = spec.strip_suffix('*').map(|_| spec.trim_end_matches('*'));
    spec == path || prefix.is_some_and(|prefix| path.starts_with(prefix))
}
