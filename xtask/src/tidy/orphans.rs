//! Every Rust file is reached from a target of its crate by `mod` declarations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use super::edges;
use super::files::Files;
use super::source::Source;
use crate::paths;

pub(super) fn check(files: &Files) -> Result<Vec<String>> {
    let root = paths::root();
    let targets = edges::metadata()?.packages.into_iter().flat_map(|package| package.targets);
    let roots = targets.filter_map(|target| Some(target.src_path.strip_prefix(&root).ok()?.to_str()?.to_owned()));
    Ok(orphans(files, roots.chain(usual_roots(files)).collect()))
}

/// Where targets of crates outside the workspace are, such as a generator kept apart for its dependencies.
fn usual_roots(files: &Files) -> impl Iterator<Item = String> {
    let crates = files.texts.iter().filter_map(|(path, _)| path.strip_suffix("Cargo.toml"));
    let named = crates.flat_map(|dir| ["src/lib.rs", "src/main.rs"].map(|file| format!("{dir}{file}")));
    let is_program = |path: &&str| Path::new(path).parent().is_some_and(|dir| dir.ends_with("src/bin"));
    named.chain(files.sources.iter().map(|source| source.path.as_str()).filter(is_program).map(str::to_owned))
}

fn orphans(files: &Files, roots: Vec<String>) -> Vec<String> {
    let by_path: BTreeMap<&str, &Source> = files.sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<(String, bool)> = roots.into_iter().map(|path| (path, true)).collect();
    while let Some((path, is_root)) = open.pop() {
        let Some(source) = by_path.get(path.as_str()) else { continue };
        if reached.insert(path) {
            open.extend(children(source, is_root).into_iter().map(|child| (child, false)));
        }
    }
    let lost = by_path.keys().filter(|path| !reached.contains(**path));
    lost.map(|path| format!("{path}: no `mod` declares it; declare it or delete it")).collect()
}

/// The paths where the modules that a file declares can be, and files that it includes.
fn children(source: &Source, is_root: bool) -> Vec<String> {
    let path = Path::new(&source.path);
    let parent = path.parent().unwrap_or(Path::new(""));
    let dir = if is_root { parent.to_path_buf() } else { source.module_dir() };
    let mut paths: Vec<PathBuf> = source.modules().iter().flat_map(|module| module.paths(&dir)).collect();
    // These name their file, relative to the directory of this one.
    for marker in ["#[path = \"", "include!(\""] {
        let named = source.text.split(marker).skip(1).filter_map(|rest| rest.split('"').next());
        paths.extend(named.map(|name| parent.join(name)));
    }
    paths.iter().map(|path| normal(path)).collect()
}

/// The path without `..`.
fn normal(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(parts.pop()),
            other => parts.extend(other.as_os_str().to_str()),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_reached_by_mod_path_and_include() {
        let files = Files::of(&[
            ("a/src/lib.rs", "mod b;\nmod c;\n#[path = \"../x/odd.rs\"]\nmod odd;\ninclude!(\"facts.rs\");\n"),
            ("a/src/b.rs", "mod d;\n"),
            ("a/src/b/d.rs", ""),
            ("a/src/c/mod.rs", "mod e;\n"),
            ("a/src/c/e.rs", ""),
            ("a/x/odd.rs", ""),
            ("a/src/facts.rs", ""),
            ("a/src/d.rs", ""),
        ]);
        let found = orphans(&files, vec!["a/src/lib.rs".into()]);
        assert_eq!(found, ["a/src/d.rs: no `mod` declares it; declare it or delete it"]);
    }
}
