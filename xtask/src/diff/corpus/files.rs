//! Upstream's own files as requests: the testdata of k8s.io/api and the manifests of its integration tests, read
//! from the Go module cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::builder::Builder;
use super::{Plan, Subject};
use crate::diff::catalog::Kind;
use crate::diff::sequence::{Sequence, Step};

/// Modules and the folders of them that are read.
const FOLDERS: &[(&str, &[&str])] = &[
    ("k8s.io/api", &["testdata/HEAD", "testdata/v1.36.0", "testdata/v1.35.0", "testdata/v1.34.0", "testdata/v1.33.0"]),
    ("k8s.io/kubernetes", &["hack/testdata", "test/fixtures/doc-yaml"]),
];

/// An object of a file.
#[derive(Clone, Debug)]
pub(in crate::diff) struct Found {
    /// The file's path in its module.
    file: String,
    pub(super) object: Value,
}

impl Found {
    pub(super) fn is_of(&self, kind: &Kind) -> bool {
        self.object["kind"] == kind.kind.as_str() && self.object["apiVersion"] == kind.api_version().as_str()
    }
}

/// Every object of the files, those of k8s.io/api's HEAD first.
pub(super) fn read() -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (module, folders) in FOLDERS {
        let root = folder_of(module)?;
        for folder in *folders {
            let mut files = Vec::new();
            collect(&root.join(folder), &mut files)?;
            files.sort();
            for file in files {
                let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
                found.extend(objects(&file).into_iter().map(|object| Found { file: name.clone(), object }));
            }
        }
    }
    Ok(found)
}

/// Where the module cache has the module that conformance/go.mod pins.
fn folder_of(module: &str) -> Result<PathBuf> {
    let mut go = Command::new("go");
    go.current_dir(crate::paths::conformance()).args(["list", "-m", "-f", "{{.Dir}}", module]);
    Ok(PathBuf::from(crate::process::output(&mut go)?.trim()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() {
            collect(&path, files)?;
        } else if matches!(extension, "json" | "yaml" | "yml") {
            files.push(path);
        }
    }
    Ok(())
}

/// The objects of a file, those of lists one by one. What cannot be read, such as a template with variables, is
/// not a request that a client could make.
fn objects(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let documents = text.split("\n---").filter_map(parsed);
    documents
        .flat_map(|document| match &document["items"] {
            Value::Array(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                items.clone()
            }
            _ => vec![document],
        })
        .collect()
}

fn parsed(document: &str) -> Option<Value> {
    serde_json::from_str(document).ok().or_else(|| serde_saphyr::from_str(document).ok())
}

pub(super) fn plans(subject: Subject<'_>) -> Vec<Plan<'_>> {
    let files = subject.source.files.iter().filter(|found| found.is_of(subject.kind) && subject.kind.can("create"));
    files
        .enumerate()
        .map(|(number, found)| subject.plan("file", number, 3, move || sequence(subject, number, found)))
        .collect()
}

fn sequence(subject: Subject<'_>, number: usize, found: &Found) -> Sequence {
    let mut builder = Builder::new(subject, "file", number);
    let names = builder.names("it");
    let mut object = found.object.clone();
    object["metadata"]["name"] = names.text(&subject.template.name).into();
    let bare = |object: &Value| {
        let mut object = object.clone();
        for field in ["namespace", "resourceVersion", "uid", "selfLink", "managedFields", "deletionTimestamp"] {
            object["metadata"].as_object_mut().and_then(|metadata| metadata.remove(field));
        }
        object
    };
    let collection = builder.collection();
    // First as it is in the file, then as far as it may be sent.
    builder.push(Step::new("POST", format!("{collection}?dryRun=All"), &found.file).json(&object));
    let create = Step::new("POST", &collection, format!("{}, bare", found.file)).json(&bare(&object));
    builder.push(create);
    if subject.kind.can("patch") {
        builder.settle(&names);
        let mut applied = bare(&object);
        applied["metadata"]["annotations"] = json!({"applied": "yes"});
        let target = format!("{}?fieldManager=applier&force=true", builder.item(&names));
        let apply = Step::new("PATCH", target, "applied").text("application/apply-patch+yaml", applied.to_string());
        builder.push(apply);
    }
    if subject.kind.can("delete") {
        builder.cleanup(&names);
    }
    builder.finish()
}
