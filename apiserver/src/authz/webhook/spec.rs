//! Attributes of a request as the spec of a SubjectAccessReview
//! (k8s.io/apiserver/plugin/pkg/authorizer/webhook/webhook.go@v0.37.2: Authorize, resourceAttributesFrom).
//!
//! Invariant: requirements that the API has no words for are left out, which only makes the question broader.

use api::map;
use api::value::{Map, Value};

use crate::authz::{Attributes, ResourceAttributes};
use crate::webhook::Version;

fn texts<S: AsRef<str>>(list: impl IntoIterator<Item = S>) -> Vec<Value> {
    list.into_iter().map(|text| Value::from(text.as_ref())).collect()
}

fn selector(requirements: Vec<Value>) -> Option<Map> {
    (!requirements.is_empty()).then(|| map! { "requirements" => requirements })
}

fn fields(resource: &ResourceAttributes<'_>) -> Option<Map> {
    let requirement = |wanted: &crate::authz::selector::FieldRequirement| {
        let operator = if wanted.equal { "In" } else { "NotIn" };
        let values = vec![Value::from(wanted.value.as_str())];
        Value::Map(map! { "key" => wanted.field.as_str(), "operator" => operator, "values" => values })
    };
    selector(resource.field_selector.iter().map(requirement).collect())
}

fn labels(resource: &ResourceAttributes<'_>) -> Option<Map> {
    let requirement = |wanted: &crate::authz::selector::LabelRequirement| {
        let operator = match wanted.operator.as_str() {
            "In" | "Equals" | "DoubleEquals" => "In",
            "NotIn" | "NotEquals" => "NotIn",
            known @ ("Exists" | "DoesNotExist") => known,
            _ => return None,
        };
        let mut requirement = map! { "key" => wanted.key.as_str(), "operator" => operator };
        if !wanted.values.is_empty() {
            requirement.set("values", texts(&wanted.values));
        }
        Some(Value::Map(requirement))
    };
    selector(resource.label_selector.iter().filter_map(requirement).collect())
}

/// The texts of resource attributes, in the order of the API's type.
fn plain<'a>(attributes: &Attributes<'a>, resource: &ResourceAttributes<'a>) -> [(&'static str, &'a str); 7] {
    [
        ("namespace", resource.namespace),
        ("verb", attributes.verb),
        ("group", resource.group),
        ("version", resource.version),
        ("resource", resource.resource),
        ("subresource", resource.subresource),
        ("name", resource.name),
    ]
}

fn with_selectors(mut map: Map, resource: &ResourceAttributes<'_>) -> Map {
    for (name, selector) in [("fieldSelector", fields(resource)), ("labelSelector", labels(resource))] {
        if let Some(selector) = selector {
            map.set(name, selector);
        }
    }
    map
}

/// What is sent: without what is empty. v1beta1 calls the groups `group`.
pub(super) fn sent(attributes: &Attributes<'_>, version: Version) -> Map {
    let mut spec = Map::new();
    match &attributes.resource {
        Some(resource) => {
            let mut map = Map::new();
            for (name, text) in plain(attributes, resource).into_iter().filter(|(_, text)| !text.is_empty()) {
                map.set(name, text);
            }
            spec.set("resourceAttributes", with_selectors(map, resource));
        }
        None => {
            let mut map = Map::new();
            for (name, text) in [("path", attributes.path), ("verb", attributes.verb)] {
                if !text.is_empty() {
                    map.set(name, text);
                }
            }
            spec.set("nonResourceAttributes", map);
        }
    }
    let user = attributes.user;
    if !user.name.is_empty() {
        spec.set("user", user.name.as_str());
    }
    if !user.groups.is_empty() {
        spec.set(if version == Version::V1 { "groups" } else { "group" }, texts(&user.groups));
    }
    if !user.extra.is_empty() {
        spec.set("extra", extra(attributes));
    }
    if !user.uid.is_empty() {
        spec.set("uid", user.uid.as_str());
    }
    spec
}

fn extra(attributes: &Attributes<'_>) -> Map {
    attributes.user.extra.iter().map(|(key, all)| (key.as_str().into(), Value::List(texts(all)))).collect()
}

/// What conditions see: with what is empty (convertObjectToUnstructured).
pub(super) fn for_conditions(attributes: &Attributes<'_>) -> Map {
    let user = attributes.user;
    let mut spec = map! {
        "user" => user.name.as_str(), "groups" => texts(&user.groups), "uid" => user.uid.as_str(),
        "extra" => extra(attributes)
    };
    match &attributes.resource {
        Some(resource) => {
            let all = plain(attributes, resource).into_iter().map(|(name, text)| (name.into(), Value::from(text)));
            spec.set("resourceAttributes", with_selectors(all.collect(), resource));
        }
        None => spec.set("nonResourceAttributes", map! { "verb" => attributes.verb, "path" => attributes.path }),
    }
    spec
}
