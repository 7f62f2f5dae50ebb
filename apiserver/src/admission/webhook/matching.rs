//! Which requests a webhook is asked about: rules, selectors, versions
//! (k8s.io/apiserver/pkg/admission/plugin/webhook/{predicates,generic/webhook.go}@v0.37.2).

use std::sync::Arc;

use api::object::Meta;
use api::selector::labels::Selector;
use api::status::Status;
use api::value::{Map, Value};

use super::call::Seen;
use super::condition;
use super::configuration::Hook;
use crate::admission::{Attributes, Reader};
use crate::authz::Authorizers;
use crate::registry::Entry;

/// RuleWithOperations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    /// `*`, `Namespaced` or `Cluster`.
    scope: String,
}

/// What a rule is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) operation: &'a str,
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    pub(super) namespace: &'a str,
}

impl Rule {
    pub(super) fn of(rule: &Map) -> Self {
        let texts = |name: &str| rule.list(name).iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        Rule {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope: rule.get("scope").and_then(Value::as_str).unwrap_or("*").into(),
        }
    }

    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        let named = |items: &[String], wanted: &str| items.iter().any(|item| item == "*" || item == wanted);
        self.fits_scope(target)
            && named(&self.operations, target.operation)
            && named(&self.groups, target.group)
            && named(&self.versions, target.version)
            && self.resources.iter().any(|resource| {
                let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
                (resource == "*" || resource == target.resource) && (sub == "*" || sub == target.subresource)
            })
    }

    /// A namespace is no object in itself, though requests about it carry its name.
    fn fits_scope(&self, target: &Target<'_>) -> bool {
        let is_namespace = (target.group, target.version, target.resource) == ("", "v1", "namespaces");
        let is_cluster = is_namespace || target.namespace.is_empty();
        match self.scope.as_str() {
            "*" => true,
            "Namespaced" => !is_cluster,
            "Cluster" => is_cluster,
            _ => false,
        }
    }
}

/// The versions that the request's objects are served in, looked up when first needed.
#[derive(Default)]
pub(super) struct Versions(Option<Vec<Arc<Entry>>>);

impl Versions {
    fn of(&mut self, attributes: &Attributes<'_>, objects: &dyn Reader) -> &[Arc<Entry>] {
        self.0.get_or_insert_with(|| match &attributes.entry.storage {
            Some(storage) => objects.registry().sharing(storage),
            None => Vec::new(),
        })
    }
}

/// In which version the webhook is to be asked about the request, if it is.
///
/// # Errors
/// What keeps the server from knowing, for a webhook whose rules match.
pub(super) async fn wanted(
    hook: &Hook,
    attributes: &Attributes<'_>,
    objects: &dyn Reader,
    versions: &mut Versions,
    authorizers: &Arc<Authorizers>,
) -> Result<Option<Arc<Entry>>, Status> {
    let Some(entry) = by_rules(hook, attributes, objects, versions) else { return Ok(None) };
    let in_namespace = in_namespace(hook, attributes, objects).await;
    if in_namespace == Ok(false) {
        return Ok(None);
    }
    let selected = selected(hook, attributes);
    if selected == Ok(false) {
        return Ok(None);
    }
    in_namespace?;
    selected?;
    if let Some(conditions) = &hook.conditions {
        let seen = Seen::of(&entry, attributes, objects).await.map_err(|why| Status::internal(&why.message))?;
        if !condition::hold(conditions, attributes, &seen, authorizers)? {
            return Ok(None);
        }
    }
    Ok(Some(entry))
}

fn by_rules(
    hook: &Hook,
    attributes: &Attributes<'_>,
    objects: &dyn Reader,
    versions: &mut Versions,
) -> Option<Arc<Entry>> {
    let target = |entry: &'_ Entry| Target {
        operation: attributes.operation.text(),
        group: entry.facts.group,
        version: entry.facts.version,
        resource: entry.facts.plural,
        subresource: attributes.subresource,
        namespace: attributes.namespace,
    };
    let own = target(attributes.entry);
    if hook.rules.iter().any(|rule| rule.matches(&own)) {
        return Some(attributes.entry.clone());
    }
    if !hook.any_version {
        return None;
    }
    let others = versions.of(attributes, objects);
    let has =
        |entry: &&Arc<Entry>| attributes.subresource.is_empty() || entry.subresource(attributes.subresource).is_some();
    hook.rules.iter().find_map(|rule| others.iter().filter(has).find(|entry| rule.matches(&target(entry))).cloned())
}

/// What is not in a namespace, and is none, is never left out.
async fn in_namespace(hook: &Hook, attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<bool, Status> {
    if attributes.namespace.is_empty() && attributes.resource != "namespaces" {
        return Ok(true);
    }
    let selector = hook.namespaces.as_ref().map_err(|why| Status::internal(why))?;
    if selector.is_empty() {
        return Ok(true);
    }
    let matches = |namespace: &Map| selector.matches(|name| namespace.label(name));
    if attributes.resource == "namespaces"
        && attributes.subresource.is_empty()
        && let Some(object) = attributes.object.as_deref()
    {
        return Ok(matches(object));
    }
    let name = attributes.namespace;
    if let Some(namespace) = objects.cached("", "namespaces", "", name) {
        return Ok(matches(&namespace));
    }
    // The cache may lag behind.
    let live = objects.live("", "namespaces", "", name).await?;
    Ok(matches(&live.ok_or_else(|| Status::not_found("", "namespaces", name))?))
}

fn selected(hook: &Hook, attributes: &Attributes<'_>) -> Result<bool, Status> {
    let selector: &Selector = hook.objects.as_ref().map_err(|why| Status::internal(why))?;
    if selector.is_empty() {
        return Ok(true);
    }
    // What has no metadata (the options of a connection) is not selected.
    let matches = |object: &Map| object.contains("metadata") && selector.matches(|name| object.label(name));
    Ok(attributes.object.as_deref().is_some_and(matches) || attributes.old.is_some_and(matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    fn rule(operations: &[&str], groups: &[&str], versions: &[&str], resources: &[&str], scope: &str) -> Rule {
        let (operations, groups) = (texts(operations), texts(groups));
        Rule { operations, groups, versions: texts(versions), resources: texts(resources), scope: scope.into() }
    }

    fn check(rule: &Rule, resource: &str, subresource: &str, namespace: &str, want: bool) {
        let group = if resource == "deployments" { "apps" } else { "" };
        let target = Target { operation: "CREATE", group, version: "v1", resource, subresource, namespace };
        assert_eq!(rule.matches(&target), want, "{rule:?} {target:?}");
    }

    #[test]
    fn rules() {
        let pods = rule(&["CREATE"], &[""], &["v1"], &["pods"], "*");
        check(&pods, "pods", "", "n", true);
        check(&pods, "pods", "status", "n", false);
        check(&pods, "services", "", "n", false);
        check(&rule(&["UPDATE"], &[""], &["v1"], &["pods"], "*"), "pods", "", "n", false);
        check(&rule(&["*"], &["*"], &["*"], &["*"], "*"), "deployments", "", "n", true);
        check(&rule(&["*"], &["*"], &["*"], &["*"], "*"), "deployments", "scale", "n", false);
        check(&rule(&["*"], &["*"], &["*"], &["*/*"], "*"), "deployments", "scale", "n", true);
        check(&rule(&["*"], &["*"], &["*"], &["*/*"], "*"), "deployments", "", "n", true);
        check(&rule(&["*"], &["*"], &["*"], &["*/scale"], "*"), "deployments", "scale", "n", true);
        check(&rule(&["*"], &["*"], &["*"], &["pods/*"], "*"), "pods", "exec", "n", true);
        check(&rule(&["*"], &["*"], &["v2"], &["pods"], "*"), "pods", "", "n", false);
    }

    #[test]
    fn scopes() {
        let all = |scope| rule(&["*"], &["*"], &["*"], &["*"], scope);
        check(&all("Namespaced"), "pods", "", "n", true);
        check(&all("Namespaced"), "nodes", "", "", false);
        check(&all("Namespaced"), "namespaces", "", "n", false);
        check(&all("Cluster"), "pods", "", "n", false);
        check(&all("Cluster"), "nodes", "", "", true);
        check(&all("Cluster"), "namespaces", "", "n", true);
        check(&all("Odd"), "nodes", "", "", false);
    }
}
