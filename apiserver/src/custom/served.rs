//! The row of facts of a version of a custom resource.
//!
//! Invariant: rows are made once for each distinct content and live as long as the process, as the facts of
//! built-in kinds do; so a resource costs its names once, however often it comes and goes.

use std::collections::HashMap;
use std::sync::LazyLock;

use api::facts::{self, Resource, Struct, Subresource};
use api::value::Map;
use base64::Engine;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// What every custom resource can, in the order in which discovery tells it.
const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const SUBRESOURCE_VERBS: &[&str] = &["get", "patch", "update"];
/// Bytes of a storage version's digest that are told (apiserver/pkg/endpoints/discovery/storageversionhash.go@v0.37.2).
const HASH_BYTES: usize = 8;

static NAMES: LazyLock<Mutex<HashMap<String, &'static str>>> = LazyLock::new(Mutex::default);
static ROWS: LazyLock<Mutex<HashMap<String, &'static Resource>>> = LazyLock::new(Mutex::default);

/// The text for as long as the process lives.
pub(crate) fn intern(text: &str) -> &'static str {
    let mut names = NAMES.lock();
    if let Some(known) = names.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.insert(kept.to_owned(), kept);
    kept
}

fn interned(texts: &[String]) -> &'static [&'static str] {
    Vec::leak(texts.iter().map(|text| intern(text)).collect())
}

/// What a row is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) status: bool,
    pub(crate) scale: bool,
    pub(crate) storage_version: String,
    /// The warning of a deprecated version; empty for others.
    pub(crate) deprecated: String,
}

impl Names {
    /// Of a definition and one of its versions: the names that were accepted.
    pub(crate) fn of(definition: &Map, version: &Map) -> Self {
        let spec = definition.map("spec").unwrap_or(Map::EMPTY);
        let names = definition.at(&["status", "acceptedNames"]).unwrap_or(Map::EMPTY);
        let texts = |name: &str| names.list(name).iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        let subresources = version.map("subresources").unwrap_or(Map::EMPTY);
        let stored = spec.maps("versions").find(|version| version.bool("storage") == Some(true));
        Names {
            group: spec.str("group").into(),
            version: version.str("name").into(),
            kind: names.str("kind").into(),
            plural: names.str("plural").into(),
            singular: names.str("singular").into(),
            short_names: texts("shortNames"),
            categories: texts("categories"),
            namespaced: spec.str("scope") == "Namespaced",
            status: subresources.contains("status"),
            scale: subresources.contains("scale"),
            storage_version: stored.map_or("", |version| version.str("name")).into(),
            deprecated: if version.bool("deprecated") == Some(true) {
                deprecation(spec, version)
            } else {
                String::new()
            },
        }
    }

    /// The row of facts.
    pub(crate) fn row(&self) -> &'static Resource {
        let mut rows = ROWS.lock();
        let key = format!("{self:?}");
        if let Some(known) = rows.get(&key) {
            return known;
        }
        let row: &'static Resource = Box::leak(Box::new(self.made()));
        rows.insert(key, row);
        row
    }

    fn made(&self) -> Resource {
        let (group, version, kind) = (intern(&self.group), intern(&self.version), intern(&self.kind));
        let deprecated = intern(&self.deprecated);
        let mut subresources = Vec::new();
        if self.status {
            let (verbs, ty) = (SUBRESOURCE_VERBS, None);
            subresources.push(Subresource { name: "status", group, version, kind, verbs, ty, deprecated });
        }
        if self.scale {
            let ty: Option<&'static Struct> = facts::kind("autoscaling", "v1", "Scale");
            let (group, version, kind) = ("autoscaling", "v1", "Scale");
            let verbs = SUBRESOURCE_VERBS;
            subresources.push(Subresource { name: "scale", group, version, kind, verbs, ty, deprecated });
        }
        Resource {
            group,
            version,
            kind,
            plural: intern(&self.plural),
            singular: intern(&self.singular),
            namespaced: self.namespaced,
            short_names: interned(&self.short_names),
            categories: interned(&self.categories),
            verbs: VERBS,
            ty: Box::leak(Box::new(facts::custom(intern(&definition_name(&self.group, &self.version, &self.kind))))),
            storage_hash: intern(&storage_hash(&self.group, &self.storage_version, &self.kind)),
            storage_prefix: intern(&format!("{}/{}", self.group, self.plural)),
            storage_group: group,
            storage_version: intern(&self.storage_version),
            deprecated,
            subresources: Vec::leak(subresources),
        }
    }
}

/// What is said of a deprecated version: the definition's own words, or which version to use instead
/// (k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go@v0.37.2, defaultDeprecationWarning).
fn deprecation(spec: &Map, version: &Map) -> String {
    if let Some(warning) = version.get("deprecationWarning").and_then(|warning| warning.as_str()) {
        return warning.into();
    }
    let (group, kind, own) =
        (spec.str("group"), spec.map("names").map_or("", |names| names.str("kind")), version.str("name"));
    let newer = |version: &&Map| {
        version.bool("served") == Some(true)
            && version.bool("deprecated") != Some(true)
            && api::names::compare_versions(own, version.str("name")).is_lt()
    };
    let newest = spec.maps("versions").filter(newer).map(|version| version.str("name"));
    let newest = newest.max_by(|a, b| api::names::compare_versions(a, b));
    let instead = newest.map_or(String::new(), |newest| format!("; use {group}/{newest} {kind}"));
    format!("{group}/{own} {kind} is deprecated{instead}")
}

/// The name of a kind in OpenAPI documents: `com.example.v1.Foo`
/// (k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder/builder.go@v0.37.2).
fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use api::json::Strictness;
    use api::value::Value;

    use super::*;

    #[test]
    fn deprecated_versions_say_so() {
        let check = |versions: &str, expect: &str| {
            let json = format!(r#"{{"group":"example.com","names":{{"kind":"Foo"}},"versions":[{versions}]}}"#);
            let (json, _) = api::json::decode_any(json.as_bytes(), Strictness::Lenient).expect("JSON");
            let Value::Map(spec) = json else { panic!("not a map: {json:?}") };
            let first = spec.maps("versions").next().expect("a version");
            assert_eq!(deprecation(&spec, first), expect, "{versions}");
        };
        let old = r#"{"name":"v1beta1","served":true,"deprecated":true}"#;
        check(old, "example.com/v1beta1 Foo is deprecated");
        let v1 = r#"{"name":"v1","served":true}"#;
        check(
            &format!(r#"{old},{{"name":"v1beta2","served":true}},{v1},{{"name":"v1alpha1","served":true}}"#),
            "example.com/v1beta1 Foo is deprecated; use example.com/v1 Foo",
        );
        check(&format!(r#"{old},{{"name":"v1","served":false}}"#), "example.com/v1beta1 Foo is deprecated");
        check(
            &format!(r#"{{"name":"v1beta1","served":true,"deprecated":true,"deprecationWarning":"go away"}},{v1}"#),
            "go away",
        );
    }

    #[test]
    fn hashes_are_upstream_s() {
        // What discovery of upstream tells of these.
        let check = |group, version, kind, plural| {
            let row =
                facts::resources().iter().find(|row| (row.group, row.version, row.plural) == (group, version, plural));
            assert_eq!(storage_hash(group, version, kind), row.map_or("", |row| row.storage_hash), "{kind}");
        };
        check("", "v1", "Pod", "pods");
        check("apps", "v1", "Deployment", "deployments");
        check("batch", "v1", "CronJob", "cronjobs");
    }

    #[test]
    fn one_row_for_one_content() {
        let names = |plural: &str| Names {
            group: "example.com".into(),
            version: "v1".into(),
            kind: "Foo".into(),
            plural: plural.into(),
            singular: "foo".into(),
            short_names: vec!["f".into()],
            categories: vec![],
            namespaced: true,
            status: true,
            scale: false,
            storage_version: "v1".into(),
            deprecated: String::new(),
        };
        assert!(std::ptr::eq(names("foos").row(), names("foos").row()));
        assert!(!std::ptr::eq(names("foos").row(), names("fools").row()));
        assert_eq!(names("foos").row().subresource("status").map(|sub| sub.kind), Some("Foo"));
    }
}
