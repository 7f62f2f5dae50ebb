//! `matchConstraints` and `matchResources`: which requests a policy or binding is for
//! (k8s.io/apiserver/pkg/admission/plugin/{policy/matching,webhook/predicates}@v0.37.2).
//!
//! Invariant: a request that the rules leave out meets no error, whatever its selectors come to.

use std::sync::Arc;

use api::object::Meta;
use api::selector::labels::Selector;
use api::status::Status;
use api::value::{Map, Value};
use api::view;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::request::{Request, kind_of};
use crate::admission::Operation;
use crate::admission::expression::subject::Name;
use crate::registry::Entry;

/// Who a policy or binding is for.
#[derive(Debug)]
pub(super) struct Criteria {
    namespaces: Option<Result<Selector, String>>,
    objects: Option<Result<Selector, String>>,
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    scope: String,
    names: Vec<String>,
}

/// As what a request was matched.
#[derive(Clone)]
pub(super) struct Matched {
    pub(super) resource: Name,
    pub(super) kind: Name,
    /// Of that resource.
    pub(super) entry: Arc<Entry>,
}

/// A selector of the API.
pub(super) fn selector(map: &Map) -> Result<Selector, String> {
    let typed: LabelSelector = view::of(map).map_err(|error| error.to_string())?;
    Selector::from_label_selector(Some(&typed)).map_err(|error| error.to_string())
}

fn texts(map: &Map, name: &str) -> Vec<String> {
    map.list(name).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Rule {
    fn of(rule: &Map) -> Rule {
        let split = |text: String| match text.split_once('/') {
            Some((resource, sub)) => (resource.to_owned(), sub.to_owned()),
            None => (text, String::new()),
        };
        Rule {
            operations: texts(rule, "operations"),
            groups: texts(rule, "apiGroups"),
            versions: texts(rule, "apiVersions"),
            resources: texts(rule, "resources").into_iter().map(split).collect(),
            scope: rule.str("scope").to_owned(),
            names: texts(rule, "resourceNames"),
        }
    }

    fn matches(&self, request: &Request<'_>, resource: &Name) -> bool {
        let attributes = request.attributes;
        let among = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let is_namespace = resource.group.is_empty() && resource.version == "v1" && resource.name == "namespaces";
        let clustered = is_namespace || attributes.namespace.is_empty();
        let in_scope = match self.scope.as_str() {
            "" | "*" => true,
            "Namespaced" => !clustered,
            "Cluster" => clustered,
            _ => false,
        };
        let sub = attributes.subresource;
        let of_resource = |(own, own_sub): &(String, String)| {
            (own == "*" || *own == resource.name) && (own_sub == "*" || own_sub == sub)
        };
        in_scope
            && among(&self.operations, attributes.operation.text())
            && among(&self.groups, &resource.group)
            && among(&self.versions, &resource.version)
            && self.resources.iter().any(of_resource)
    }

    fn names_match(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|own| own == name)
    }
}

impl Criteria {
    pub(super) fn of(resources: &Map) -> Criteria {
        let rules = |name: &str| resources.maps(name).map(Rule::of).collect();
        let selector = |name: &str| resources.map(name).map(selector);
        Criteria {
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            equivalent: resources.str("matchPolicy") == "Equivalent",
        }
    }

    /// As what the request is matched, if it is.
    ///
    /// # Errors
    /// What is wrong with the selectors, or the namespace that is not there; texts of causes.
    pub(super) async fn matches(&self, request: &Request<'_>) -> Result<Option<Matched>, String> {
        let nil = |what| format!("a nil {what} selector was passed, please ensure selectors are initialized properly");
        let namespaces = self.namespaces.as_ref().ok_or_else(|| nil("namespace"))?;
        let objects = self.objects.as_ref().ok_or_else(|| nil("object"))?;
        // What costs nothing first: the outcome is the same.
        if self.by_rules(&self.excluded, request).is_some() {
            return Ok(None);
        }
        let matched = match self.rules.is_empty() {
            true => Some(request.own()),
            false => self.by_rules(&self.rules, request),
        };
        let Some(matched) = matched else { return Ok(None) };
        let by_namespace = in_namespace(namespaces, request).await;
        if by_namespace == Ok(false) {
            return Ok(None);
        }
        let by_object = by_object(objects, request);
        if by_object == Ok(false) {
            return Ok(None);
        }
        by_namespace?;
        by_object?;
        Ok(Some(matched))
    }

    fn by_rules(&self, rules: &[Rule], request: &Request<'_>) -> Option<Matched> {
        let own = request.own();
        let name = request.attributes.name;
        if rules.iter().any(|rule| rule.matches(request, &own.resource) && rule.names_match(name)) {
            return Some(own);
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let others = request.equivalents();
        let found = rules.iter().find_map(|rule| {
            others.iter().find(|(resource, _)| rule.matches(request, resource) && rule.names_match(name))
        });
        let (resource, entry) = found?;
        let kind = kind_of(entry, request.attributes.subresource)?;
        Some(Matched { resource: resource.clone(), kind, entry: entry.clone() })
    }
}

fn labels_match(selector: &Selector, object: Option<&Map>) -> bool {
    let Some(object) = object else { return false };
    let labels = object.meta().map("labels").unwrap_or(Map::EMPTY);
    selector.matches(|key| labels.get(key).and_then(Value::as_str))
}

fn unusable(why: &str) -> String {
    Status::internal(why).message
}

async fn in_namespace(selector: &Result<Selector, String>, request: &Request<'_>) -> Result<bool, String> {
    let attributes = request.attributes;
    if attributes.namespace.is_empty() && attributes.resource != "namespaces" {
        return Ok(true);
    }
    let selector = selector.as_ref().map_err(|why| unusable(why))?;
    if selector.is_empty() {
        return Ok(true);
    }
    let changes_one = matches!(attributes.operation, Operation::Create | Operation::Update);
    if attributes.resource == "namespaces" && attributes.subresource.is_empty() && changes_one {
        return Ok(labels_match(selector, attributes.object.as_deref()));
    }
    let namespace = request.namespace_of(attributes.namespace).await.map_err(|status| status.message)?;
    Ok(labels_match(selector, Some(&namespace)))
}

fn by_object(selector: &Result<Selector, String>, request: &Request<'_>) -> Result<bool, String> {
    let selector = selector.as_ref().map_err(|why| unusable(why))?;
    let attributes = request.attributes;
    let either = || labels_match(selector, attributes.object.as_deref()) || labels_match(selector, attributes.old);
    Ok(selector.is_empty() || either())
}
