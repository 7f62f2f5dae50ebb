//! OpenAPI documents against upstream's published ones; structure only, prose aside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use super::documents::{Documents, decompress};

fn all() -> Documents {
    Documents::new(api::facts::resources().iter().collect())
}

fn parsed(documents: &Documents, name: &str) -> Option<Value> {
    serde_json::from_slice(&decompress(&documents.v3(name)?.json())).ok()
}

#[test]
fn patch_of_a_kind_says_what_kubectl_looks_for() {
    let documents = all();
    let apps = parsed(&documents, "apis/apps/v1").expect("document");
    let path = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let patch = &path["patch"];
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|one| one["name"].as_str().unwrap_or("").to_string()).collect()
    };
    assert_eq!(names(&patch["parameters"]), ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(names(&path["parameters"]), ["name", "namespace", "pretty"]);
    let template = &apps["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["template"];
    assert_eq!(template["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.core.v1.PodTemplateSpec");
    assert_eq!(template["default"], serde_json::json!({}));
}

#[test]
fn everything_referred_to_is_defined() {
    let documents = all();
    let document: Value = serde_json::from_slice(&decompress(&documents.v2().json())).expect("JSON");
    let text = document.to_string();
    let defined = document["definitions"].as_object().expect("definitions");
    for part in text.split("\"#/definitions/").skip(1) {
        let name = part.split('"').next().expect("a quote ends it");
        assert!(defined.contains_key(name), "{name}");
    }
    assert!(!documents.v2().protobuf().is_empty());
}

/// Where upstream's documents are when the module cache is there.
fn upstream() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    let dir = PathBuf::from(home).join("go/pkg/mod/k8s.io/kubernetes@v1.37.2/api/openapi-spec/v3");
    dir.is_dir().then_some(dir)
}

/// Differences that are known: prose, what the facts do not say, and options of versions long gone.
fn normalise(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    for key in ["description", "x-kubernetes-unions", "enum"] {
        object.remove(key);
    }
    if object.get("x-kubernetes-list-type") == Some(&"atomic".into()) {
        object.remove("x-kubernetes-list-type");
    }
    // A reference alone and a reference in allOf say the same.
    if let Some([only]) = object.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
        && object.len() == 1
    {
        *schema = only.clone();
        return;
    }
    object.values_mut().for_each(|inner| match inner {
        Value::Array(list) => list.iter_mut().for_each(normalise),
        inner => normalise(inner),
    });
}

/// What the facts do not have: tags inside inlined structs, granular maps, orders outside the facts.
const KNOWN: &[&str] = &[
    "io.k8s.api.core.v1.EphemeralContainer",
    "io.k8s.api.core.v1.PersistentVolumeClaimStatus",
    "io.k8s.api.core.v1.PersistentVolumeSpec",
    "io.k8s.api.lifecycle.v1alpha1.ResponderStatus",
    "io.k8s.apimachinery.pkg.version.Info",
];

fn operations(document: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten().filter(|entry| entry.0 != "parameters") {
            let what = format!(
                "{} {} {} {}",
                operation["operationId"],
                operation["x-kubernetes-action"],
                operation["x-kubernetes-group-version-kind"],
                operation["tags"]
            );
            found.insert(format!("{method} {path}"), what);
        }
    }
    found
}

#[test]
fn schemas_and_operations_are_those_of_upstream() {
    let Some(dir) = upstream() else { return };
    let documents = all();
    let mut wrong = BTreeSet::new();
    for file in std::fs::read_dir(dir).expect("directory").filter_map(Result::ok) {
        let name = file.file_name().into_string().expect("UTF-8");
        let name = name.trim_end_matches("_openapi.json").replace("__", "/");
        if name == "logs" {
            continue;
        }
        let theirs: Value = serde_json::from_slice(&std::fs::read(file.path()).expect("file")).expect("JSON");
        let Some(ours) = parsed(&documents, &name) else {
            wrong.insert(format!("no document {name}"));
            continue;
        };
        let (mine, others) = (operations(&ours), operations(&theirs));
        for key in mine.keys().chain(others.keys()) {
            if mine.get(key) != others.get(key) {
                wrong.insert(format!("{name}: {key}: {:?} is not {:?}", mine.get(key), others.get(key)));
            }
        }
        compare(&name, &ours["components"]["schemas"], &theirs["components"]["schemas"], &mut wrong);
    }
    assert!(wrong.is_empty(), "{} differences: {:#?}", wrong.len(), wrong.iter().take(40).collect::<Vec<_>>());
}

fn compare(document: &str, ours: &Value, theirs: &Value, wrong: &mut BTreeSet<String>) {
    let names = |schemas: &Value| schemas.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    let (mine, others): (BTreeSet<String>, BTreeSet<String>) = (names(ours), names(theirs));
    for name in mine.symmetric_difference(&others) {
        wrong.insert(format!("{document}: {name} is only in {}", if mine.contains(name) { "ours" } else { "theirs" }));
    }
    for name in mine.intersection(&others) {
        let (mut mine, mut others) = (ours[name].clone(), theirs[name].clone());
        normalise(&mut mine);
        normalise(&mut others);
        if name.ends_with(".DeleteOptions") || name.ends_with(".WatchEvent") {
            mine.as_object_mut().expect("object").remove("x-kubernetes-group-version-kind");
            others.as_object_mut().expect("object").remove("x-kubernetes-group-version-kind");
        }
        if mine != others && !KNOWN.contains(&name.as_str()) {
            wrong.insert(format!("{name}: {}", unequal(&mine, &others)));
        }
    }
}

/// What differs, by property.
fn unequal(mine: &Value, others: &Value) -> String {
    let get = |schema: &Value, name: &str| schema["properties"].get(name).cloned().unwrap_or_default();
    let all =
        [mine, others].into_iter().filter_map(|schema| schema["properties"].as_object()).flat_map(|map| map.keys());
    let names: BTreeSet<&String> = all.collect();
    let differing = names.into_iter().filter(|name| get(mine, name) != get(others, name));
    let properties: Vec<String> =
        differing.map(|name| format!("{name}: {} is not {}", get(mine, name), get(others, name))).collect();
    format!("{properties:?}, required {} is not {}", mine["required"], others["required"])
}
