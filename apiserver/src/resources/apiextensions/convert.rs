//! CustomResourceDefinition between apiextensions.k8s.io/v1 and v1beta1, which is stored although nothing serves it any
//! more (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/{v1,v1beta1}/{conversion,defaults}.go@v0.37.2).
//!
//! Invariant: in v1beta1 what all versions have alike stands in the spec and in no version.

use api::facts;
use api::map;
use api::value::{Map, Value};

use crate::resources::common::versions;

const V1: &str = "apiextensions.k8s.io/v1";
const V1BETA1: &str = "apiextensions.k8s.io/v1beta1";
const KIND: &str = "CustomResourceDefinition";

/// What versions may have alike: its name in a version, and in the spec of v1beta1.
const SHARED: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// The form that is stored.
pub(crate) fn to_storage(object: &Map) -> Map {
    let mut stored = object.clone();
    let spec = stored.map_mut("spec");
    // In v1 a bool, which is there even when it is false.
    if !spec.contains("preserveUnknownFields") {
        spec.set("preserveUnknownFields", false);
    }
    if let Some(webhook) = spec.get_mut("conversion").and_then(Value::as_map_mut).and_then(|c| c.remove("webhook"))
        && let Value::Map(mut webhook) = webhook
    {
        let conversion = spec.map_mut("conversion");
        webhook.remove("clientConfig").into_iter().for_each(|config| conversion.set("webhookClientConfig", config));
        let reviews = webhook.remove("conversionReviewVersions");
        reviews.into_iter().for_each(|versions| conversion.set("conversionReviewVersions", versions));
    }
    let mut versions = spec.maps("versions").cloned().collect::<Vec<_>>();
    if let Some(name) = versions.first().map(|version| version.str("name").to_owned()) {
        spec.set("version", name);
    }
    for (own, shared) in SHARED {
        let first = versions.first().and_then(|version| version.get(own)).cloned();
        if versions.iter().all(|version| version.get(own) == first.as_ref()) {
            versions.iter_mut().for_each(|version| drop(version.remove(own)));
            first.into_iter().for_each(|value| spec.set(shared, value));
        }
    }
    versions.iter_mut().for_each(|version| rename_paths(version, "jsonPath", "JSONPath"));
    spec.set("versions", versions.into_iter().map(Value::Map).collect::<Vec<_>>());
    rename_paths(spec, "jsonPath", "JSONPath");
    shaped(stored, V1BETA1)
}

/// The form that is served.
pub(crate) fn from_storage(stored: &Map) -> Map {
    let mut object = stored.clone();
    default(&mut object);
    let spec = object.map_mut("spec");
    spec.remove("version");
    if spec.bool("preserveUnknownFields") == Some(false) {
        spec.remove("preserveUnknownFields");
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_map_mut) {
        let (config, reviews) =
            (conversion.remove("webhookClientConfig"), conversion.remove("conversionReviewVersions"));
        if config.is_some() || reviews.is_some() {
            let mut webhook = Map::new();
            config.into_iter().for_each(|config| webhook.set("clientConfig", config));
            reviews.into_iter().for_each(|versions| webhook.set("conversionReviewVersions", versions));
            conversion.set("webhook", webhook);
        }
    }
    rename_paths(spec, "JSONPath", "jsonPath");
    let mut versions = spec.maps("versions").cloned().collect::<Vec<_>>();
    versions.iter_mut().for_each(|version| rename_paths(version, "JSONPath", "jsonPath"));
    for (own, shared) in SHARED {
        if let Some(value) = spec.remove(shared) {
            versions.iter_mut().for_each(|version| version.set(own, value.clone()));
        }
    }
    spec.set("versions", versions.into_iter().map(Value::Map).collect::<Vec<_>>());
    shaped(object, V1)
}

/// The defaults of v1beta1: objects that old servers have stored may lack them.
fn default(stored: &mut Map) {
    let spec = stored.map_mut("spec");
    if spec.str("scope").is_empty() {
        spec.set("scope", "Namespaced");
    }
    let names = spec.map_mut("names");
    let kind = names.str("kind").to_owned();
    if names.str("singular").is_empty() {
        names.set("singular", kind.to_lowercase());
    }
    if names.str("listKind").is_empty() && !kind.is_empty() {
        names.set("listKind", format!("{kind}List"));
    }
    let version = spec.str("version").to_owned();
    if spec.list("versions").is_empty() && !version.is_empty() {
        let only = map! { "name" => version, "served" => true, "storage" => true };
        spec.set("versions", vec![Value::Map(only)]);
    }
    let conversion = spec.map_mut("conversion");
    if conversion.is_empty() {
        conversion.set("strategy", "None");
    }
    if conversion.str("strategy") == "Webhook" && conversion.list("conversionReviewVersions").is_empty() {
        conversion.set("conversionReviewVersions", vec![Value::from("v1beta1")]);
    }
    let config = conversion.get_mut("webhookClientConfig").and_then(Value::as_map_mut);
    let service = config.and_then(|config| config.get_mut("service")?.as_map_mut());
    if let Some(service) = service.filter(|service| !service.contains("port")) {
        service.set("port", 443);
    }
    if !spec.contains("preserveUnknownFields") {
        spec.set("preserveUnknownFields", true);
    }
    let storage = spec.maps("versions").find(|version| version.bool("storage") == Some(true));
    if let Some(name) = storage.map(|version| version.str("name").to_owned()) {
        let status = stored.map_mut("status");
        if status.list("storedVersions").is_empty() {
            status.set("storedVersions", vec![Value::from(name)]);
        }
    }
}

/// A column's path has another name in each form.
fn rename_paths(holder: &mut Map, from: &'static str, to: &'static str) {
    if let Some(Value::List(columns)) = holder.get_mut("additionalPrinterColumns") {
        for column in columns.iter_mut().filter_map(Value::as_map_mut) {
            column.remove(from).into_iter().for_each(|path| column.set(to, path));
        }
    }
}

fn shaped(object: Map, api_version: &str) -> Map {
    let (_, version) = facts::split_api_version(api_version);
    let name = format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{KIND}");
    let mut shaped = versions::shaped(object, &name);
    api::object::set_kind(&mut shaped, api_version, KIND);
    shaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, api_version: &str) -> Map {
        let (object, _) = api::json::decode_any(text.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
        shaped(object.as_map().expect("an object").clone(), api_version)
    }

    #[test]
    fn what_versions_have_alike_stands_in_the_spec() {
        let schema = r#"{"openAPIV3Schema":{"type":"object"}}"#;
        let columns = |path: &str| format!(r#"[{{"name":"a","type":"string","{path}":".a"}}]"#);
        let v1 = format!(
            r#"{{"metadata":{{"name":"as.b.c"}},"spec":{{"group":"b.c","scope":"Cluster","names":{{"plural":"as","kind":"A","singular":"a","listKind":"AList"}},
            "versions":[{{"name":"v1","served":true,"storage":true,"schema":{schema},"additionalPrinterColumns":{}}},
              {{"name":"v2","served":true,"storage":false,"schema":{schema}}}],
            "conversion":{{"strategy":"Webhook","webhook":{{"clientConfig":{{"url":"https://x"}},"conversionReviewVersions":["v1"]}}}}}},
            "status":{{"storedVersions":["v1"]}}}}"#,
            columns("jsonPath"),
        );
        let v1beta1 = format!(
            r#"{{"metadata":{{"name":"as.b.c"}},"spec":{{"group":"b.c","version":"v1","scope":"Cluster","names":{{"plural":"as","kind":"A","singular":"a","listKind":"AList"}},
            "validation":{schema},
            "versions":[{{"name":"v1","served":true,"storage":true,"additionalPrinterColumns":{}}},{{"name":"v2","served":true,"storage":false}}],
            "conversion":{{"strategy":"Webhook","webhookClientConfig":{{"url":"https://x"}},"conversionReviewVersions":["v1"]}},"preserveUnknownFields":false}},
            "status":{{"storedVersions":["v1"]}}}}"#,
            columns("JSONPath"),
        );
        let (v1, v1beta1) = (value(&v1, V1), value(&v1beta1, V1BETA1));
        assert_eq!(to_storage(&v1), v1beta1);
        assert_eq!(from_storage(&v1beta1), v1);
    }

    #[test]
    fn what_old_servers_stored_is_completed() {
        let stored = r#"{"metadata":{"name":"as.b.c"},"spec":{"group":"b.c","version":"v1","names":{"plural":"as","kind":"A"},"additionalPrinterColumns":[{"name":"a","type":"string","JSONPath":".a"}]}}"#;
        let served = r#"{"metadata":{"name":"as.b.c"},"spec":{"group":"b.c","scope":"Namespaced","names":{"plural":"as","kind":"A","singular":"a","listKind":"AList"},
            "versions":[{"name":"v1","served":true,"storage":true,"additionalPrinterColumns":[{"name":"a","type":"string","jsonPath":".a"}]}],
            "conversion":{"strategy":"None"},"preserveUnknownFields":true},"status":{"storedVersions":["v1"]}}"#;
        assert_eq!(from_storage(&value(stored, V1BETA1)), value(served, V1));
    }
}
