//! Which crate of the workspace uses which, held to the committed list xtask/edges.txt, so that a new
//! edge is seen and argued about. `cargo xtask tidy --update` writes it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{paths, process};

#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(super) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
    pub(super) targets: Vec<Target>,
}

#[derive(Deserialize)]
pub(super) struct Target {
    pub(super) src_path: PathBuf,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// None for a usual dependency, else `dev` or `build`.
    kind: Option<String>,
    /// Set for crates of the workspace.
    path: Option<String>,
}

/// The workspace as its manifests say.
pub(super) fn metadata() -> Result<Metadata> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(paths::root()).args(["metadata", "--offline", "--no-deps", "--format-version", "1"]);
    serde_json::from_str(&process::output(&mut cargo)?).context("cargo metadata")
}

fn golden() -> PathBuf {
    paths::root().join("xtask/edges.txt")
}

pub(super) fn check() -> Result<Vec<String>> {
    let path = golden();
    let expected = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let expected = expected.lines().map(str::to_owned).collect();
    Ok(compare(&expected, &edges(&metadata()?)))
}

pub(super) fn update() -> Result<()> {
    let text: String = edges(&metadata()?).iter().map(|edge| format!("{edge}\n")).collect();
    Ok(std::fs::write(golden(), text)?)
}

fn edges(metadata: &Metadata) -> BTreeSet<String> {
    let mut edges = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let kind = dependency.kind.as_ref().map_or(String::new(), |kind| format!(" ({kind})"));
            edges.insert(format!("{} -> {}{kind}", package.name, dependency.name));
        }
    }
    edges
}

fn compare(expected: &BTreeSet<String>, found: &BTreeSet<String>) -> Vec<String> {
    let new = found.difference(expected).map(|edge| format!("{edge} is new; see the rings in ARCHITECTURE.md"));
    let gone = expected.difference(found).map(|edge| format!("{edge} is gone; run `cargo xtask tidy --update`"));
    new.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_those_inside_the_workspace() {
        let text = r#"{"packages": [{"name": "a", "targets": [], "manifest_path": "a", "dependencies": [
            {"name": "b", "kind": null, "path": "b"}, {"name": "c", "kind": "dev", "path": "c"}, {"name": "serde", "kind": null}]}]}"#;
        let found: Vec<String> = edges(&serde_json::from_str(text).unwrap()).into_iter().collect();
        assert_eq!(found, ["a -> b", "a -> c (dev)"]);
    }

    #[test]
    fn new_and_lost_edges_are_found() {
        let set = |list: &[&str]| list.iter().map(|edge| (*edge).to_owned()).collect();
        let found = compare(&set(&["a -> b"]), &set(&["a -> c"]));
        assert!(found[0].starts_with("a -> c is new") && found[1].starts_with("a -> b is gone"), "{found:?}");
    }
}
