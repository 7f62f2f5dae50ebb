//! What a policy rule means: whether it allows a request, whether rules cover other rules, and how a rule reads in a
//! message.
//!
//! Upstream: `pkg/apis/rbac/v1/evaluation_helpers.go@v1.37.2`, `pkg/registry/rbac/validation/policy_compact.go@v1.37.2`,
//! `k8s.io/component-helpers/auth/rbac/validation/policy_comparator.go@v0.37.2`.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{Attributes, ResourceAttributes};
use crate::authn::text::quote_list;

const ALL: &str = "*";

fn list(optional: &Option<Vec<String>>) -> &[String] {
    optional.as_deref().unwrap_or_default()
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|i| i == item)
}

fn has_or_all(list: &[String], item: &str) -> bool {
    list.iter().any(|i| i == ALL || i == item)
}

/// Whether the rule allows the request.
pub(crate) fn allows(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    has_or_all(&rule.verbs, attributes.verb)
        && match &attributes.resource {
            Some(resource) => allows_resource(rule, resource),
            None => list(&rule.non_resource_urls).iter().any(|url| url == ALL || url_covers(url, attributes.path)),
        }
}

fn allows_resource(rule: &PolicyRule, wanted: &ResourceAttributes<'_>) -> bool {
    let names = list(&rule.resource_names);
    has_or_all(list(&rule.api_groups), wanted.group)
        && list(&rule.resources).iter().any(|resource| resource_matches(resource, wanted))
        && (names.is_empty() || has(names, wanted.name))
}

/// `*`, `resource`, `resource/subresource` or `*/subresource`.
fn resource_matches(rule: &str, wanted: &ResourceAttributes<'_>) -> bool {
    if rule == ALL {
        return true;
    }
    if wanted.subresource.is_empty() {
        return rule == wanted.resource;
    }
    // Whatever follows the first slash: a subresource (of userextras) may contain slashes itself.
    rule.strip_prefix(wanted.resource).and_then(|rest| rest.strip_prefix('/')) == Some(wanted.subresource)
        || rule.strip_prefix("*/") == Some(wanted.subresource)
}

/// Whether a path of a rule, perhaps with a trailing star, covers a path.
fn url_covers(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

/// What of `wanted` is not covered by `owned`, in atoms of one verb and one resource.
pub(crate) fn uncovered(owned: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let atoms = wanted.iter().flat_map(atoms);
    atoms.filter(|atom| !owned.iter().any(|rule| covers(rule, atom))).collect()
}

/// Breaks a rule down until each part has one verb and one group, resource and name, or one verb and one URL.
fn atoms(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |s: &String| Some(vec![s.clone()]);
    let mut atoms = Vec::new();
    for group in list(&rule.api_groups) {
        for resource in list(&rule.resources) {
            for verb in &rule.verbs {
                let atom = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                match list(&rule.resource_names) {
                    [] => atoms.push(atom),
                    names => {
                        atoms.extend(names.iter().map(|n| PolicyRule { resource_names: one(n), ..atom.clone() }));
                    }
                }
            }
        }
    }
    for url in list(&rule.non_resource_urls) {
        for verb in &rule.verbs {
            let verbs = vec![verb.clone()];
            atoms.push(PolicyRule { non_resource_urls: one(url), verbs, ..PolicyRule::default() });
        }
    }
    atoms
}

/// Whether a rule covers an atom.
fn covers(rule: &PolicyRule, atom: &PolicyRule) -> bool {
    let names = list(&rule.resource_names);
    let all_in = |owned: &[String], wanted: &[String]| wanted.iter().all(|item| has(owned, item));
    let any = |owned: &[String], wanted: &[String]| has(owned, ALL) || all_in(owned, wanted);
    any(&rule.verbs, &atom.verbs)
        && any(list(&rule.api_groups), list(&atom.api_groups))
        && resources_cover(list(&rule.resources), list(&atom.resources))
        && list(&atom.non_resource_urls)
            .iter()
            .all(|path| list(&rule.non_resource_urls).iter().any(|url| url_covers(url, path)))
        && (names.is_empty() || (!list(&atom.resource_names).is_empty() && all_in(names, list(&atom.resource_names))))
}

fn resources_cover(owned: &[String], wanted: &[String]) -> bool {
    let by_subresource = |path: &String| path.split_once('/').is_some_and(|(_, sub)| has(owned, &format!("*/{sub}")));
    has(owned, ALL) || wanted.iter().all(|path| has(owned, path) || by_subresource(path))
}

/// Joins rules that differ only in their verbs.
fn compact(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut compacted: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let same = |other: &&mut PolicyRule| {
            is_simple(&rule)
                && is_simple(other)
                && other.api_groups == rule.api_groups
                && other.resources == rule.resources
                && list(&other.resource_names) == list(&rule.resource_names)
        };
        match compacted.iter_mut().find(same) {
            Some(other) => other.verbs.extend(rule.verbs),
            None => compacted.push(rule),
        }
    }
    compacted
}

fn is_simple(rule: &PolicyRule) -> bool {
    list(&rule.resource_names).len() <= 1
        && list(&rule.non_resource_urls).is_empty()
        && list(&rule.api_groups).len() == 1
        && list(&rule.resources).len() == 1
}

/// One sorted line per rule, verbs joined, for a message about missing rules.
pub(crate) fn describe(rules: Vec<PolicyRule>) -> String {
    let mut lines: Vec<String> = compact(rules).iter().map(compact_string).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.join("\n")
}

fn compact_string(rule: &PolicyRule) -> String {
    let parts = [
        ("APIGroups", list(&rule.api_groups)),
        ("Resources", list(&rule.resources)),
        ("NonResourceURLs", list(&rule.non_resource_urls)),
        ("ResourceNames", list(&rule.resource_names)),
        ("Verbs", &rule.verbs),
    ];
    let parts = parts.iter().filter(|(_, items)| !items.is_empty());
    let parts: Vec<String> = parts.map(|(name, items)| format!("{name}:{}", quote_list(items))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// Makes a rule from space-separated words; the word `core` is the group without a name.
#[cfg(test)]
pub(super) fn rule(verbs: &str, groups: &str, resources: &str, names: &str, urls: &str) -> PolicyRule {
    let words = |s: &str| -> Option<Vec<String>> {
        let word = |w: &str| if w == "core" { String::new() } else { w.to_owned() };
        (!s.is_empty()).then(|| s.split(' ').map(word).collect())
    };
    PolicyRule {
        verbs: words(verbs).unwrap_or_default(),
        api_groups: words(groups),
        resources: words(resources),
        resource_names: words(names),
        non_resource_urls: words(urls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::User;

    fn resource_rule(verbs: &str, groups: &str, resources: &str) -> PolicyRule {
        rule(verbs, groups, resources, "", "")
    }

    /// A request as "verb group resource[/subresource] [name]", or "verb /path".
    fn allowed(rule: &PolicyRule, request: &str) -> bool {
        let user = User::default();
        let words: Vec<&str> = request.split(' ').collect();
        if words[1].starts_with('/') {
            return allows(rule, &Attributes { user: &user, verb: words[0], resource: None, path: words[1] });
        }
        let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2], ""));
        let name = words.get(3).copied().unwrap_or_default();
        let resource = ResourceAttributes { group: words[1], resource, subresource, name, ..Default::default() };
        allows(rule, &Attributes { user: &user, verb: words[0], resource: Some(resource), path: "" })
    }

    #[test]
    fn rules_match_requests() {
        let cases: Vec<(PolicyRule, &str, &str)> = vec![
            (resource_rule("*", "g1", "r1"), "v1 g1 r1,v2 g1 r1", "v1 g2 r1,v1 g1 r2,v2 g2 r2"),
            (resource_rule("v1", "*", "r1"), "v1 g1 r1,v1 g2 r1", "v2 g1 r1,v1 g1 r2,v1 g1 r1/s"),
            (resource_rule("v1", "g1", "*"), "v1 g1 r1,v1 g1 r2,v1 g1 r1/s", "v2 g1 r1,v1 g2 r1"),
            (resource_rule("v1 v2", "g1 g2", "r1 r2"), "v1 g1 r1,v2 g2 r2,v1 g2 r1", "v3 g1 r1,v1 g3 r1,v1 g1 r3"),
            (resource_rule("v1", "g1", "r1/s"), "v1 g1 r1/s", "v1 g1 r1,v1 g1 r2/s,v1 g1 r1/t"),
            (resource_rule("v1", "g1", "*/s"), "v1 g1 r1/s,v1 g1 r2/s", "v1 g1 r1,v1 g1 r1/t,v1 g1 r1/as"),
            (rule("v1", "g1", "r1", "n1 n2", ""), "v1 g1 r1 n1,v1 g1 r1 n2", "v1 g1 r1 n3,v1 g1 r1"),
            (rule("v1", "", "", "", "/a /b/* /c*"), "v1 /a,v1 /b/,v1 /b/x/y,v1 /cd", "v2 /a,v1 /ax,v1 /b,v1 /d"),
            (rule("get", "", "", "", "*"), "get /,get /x", "post /"),
            (resource_rule("*", "*", "*"), "any g r/s n", "get /api"),
        ];
        for (rule, yes, no) in cases {
            for (requests, want) in [(yes, true), (no, false)] {
                for request in requests.split(',') {
                    assert_eq!(allowed(&rule, request), want, "{} on {request}", compact_string(&rule));
                }
            }
        }
    }

    #[test]
    fn rules_cover_rules() {
        let named = |verbs: &str, names: &str| rule(verbs, "v1", "pods", names, "");
        let url = |verbs: &str, urls: &str| rule(verbs, "", "", "", urls);
        let pods = |verbs: &str| resource_rule(verbs, "v1", "pods");
        // Owned rules, wanted rule, and what is missing.
        let cases: Vec<(Vec<PolicyRule>, PolicyRule, Vec<PolicyRule>)> = vec![
            (vec![pods("get")], pods("get"), vec![]),
            (vec![], pods("get"), vec![pods("get")]),
            (vec![pods("get list")], pods("list"), vec![]),
            (vec![pods("get")], pods("get list"), vec![pods("list")]),
            (vec![pods("*")], pods("get x"), vec![]),
            (vec![pods("get")], pods("*"), vec![pods("*")]),
            (vec![resource_rule("get", "*", "pods")], resource_rule("get", "v1 v2", "pods"), vec![]),
            (vec![resource_rule("get", "v1", "*")], resource_rule("get", "v1", "pods a/b"), vec![]),
            (
                vec![resource_rule("get", "v1", "pods")],
                resource_rule("get", "v1", "*"),
                vec![resource_rule("get", "v1", "*")],
            ),
            (vec![resource_rule("get", "v1", "*/scale")], resource_rule("get", "v1", "a/scale"), vec![]),
            (
                vec![resource_rule("get", "v1", "*/scale")],
                resource_rule("get", "v1", "a/status a"),
                vec![resource_rule("get", "v1", "a/status"), resource_rule("get", "v1", "a")],
            ),
            (vec![pods("get")], named("get", "a"), vec![]),
            (vec![named("get", "a b")], named("get", "a"), vec![]),
            (vec![named("get", "a")], named("get", "a b"), vec![named("get", "b")]),
            (vec![named("get", "a")], pods("get"), vec![pods("get")]),
            (vec![pods("get"), pods("list")], pods("get list"), vec![]),
            (vec![url("get", "/a/*")], url("get", "/a/b /a/c/*"), vec![]),
            (vec![url("get", "*")], url("get", "/x *"), vec![]),
            (vec![url("get", "/a")], url("get", "/a/b"), vec![url("get", "/a/b")]),
            (vec![url("*", "/a")], url("get", "/a"), vec![]),
        ];
        for (owned, wanted, missing) in cases {
            assert_eq!(uncovered(&owned, std::slice::from_ref(&wanted)), missing, "{owned:?} over {wanted:?}");
        }
    }

    #[test]
    fn missing_rules_are_described_compactly() {
        let rules = vec![
            resource_rule("get", "core", "pods"),
            resource_rule("list", "core", "pods"),
            rule("get", "core", "pods", "a", ""),
            rule("get", "", "", "", "/x"),
            resource_rule("get", "apps", "b"),
        ];
        let want = [
            r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}"#,
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#,
            r#"{APIGroups:["apps"], Resources:["b"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#,
        ];
        assert_eq!(describe(rules), want.join("\n"));
    }
}
