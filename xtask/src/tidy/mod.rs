//! The house rules (DESIGN section 8) as checks: `cargo xtask tidy` prints what breaks them, and a
//! test of this crate fails while anything does.
//!
//! Invariant: each check is a pure function of the files of the clone (or of one tool's output), and
//! has a test that makes it fail. Non-goal: what rustc, clippy and review see already.

mod banned;
mod edges;
mod files;
mod orphans;
mod sizes;
mod source;

use std::process::Command;

use anyhow::{Context, Result};

use crate::paths;
use files::Files;

type Check = fn(&Files) -> Result<Vec<String>>;

/// Every check by name; each returns what is wrong, one line a problem.
const CHECKS: &[(&str, Check)] = &[
    ("format", format),
    ("sizes", |files| Ok(sizes::check(files))),
    ("module docs", |files| Ok(sizes::module_docs(files))),
    ("banned calls", |files| Ok(banned::calls(files))),
    ("host names and paths", |files| Ok(banned::words(files))),
    ("generated files", |files| Ok(sizes::generated(files))),
    ("crate edges", |_| edges::check()),
    ("orphans", orphans::check),
];

pub(crate) fn run(update: bool) -> Result<bool> {
    if update {
        edges::update()?;
    }
    let mut ok = true;
    for (check, problems) in check_all()? {
        for problem in &problems {
            println!("{check}: {problem}");
        }
        ok &= problems.is_empty();
    }
    println!("{}", if ok { "tidy" } else { "not tidy" });
    Ok(ok)
}

/// Runs every check; each comes with its problems.
pub(crate) fn check_all() -> Result<Vec<(&'static str, Vec<String>)>> {
    let files = Files::read(&paths::root())?;
    CHECKS.iter().map(|(name, check)| Ok((*name, check(&files).with_context(|| (*name).to_owned())?))).collect()
}

/// The files that `cargo fmt` would change; what a tool wrote is as the tool left it.
fn format(files: &Files) -> Result<Vec<String>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(paths::root())
        .args(["fmt", "--all", "--", "--check", "-l"])
        .output()
        .context("cannot run cargo fmt")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let listed = String::from_utf8_lossy(&output.stdout);
    let root = format!("{}/", paths::root().display());
    let relative = listed.lines().map(|path| path.strip_prefix(&root).unwrap_or(path));
    let by_hand =
        relative.filter(|path| !files.sources.iter().any(|source| source.path == *path && source.generated()));
    let mut problems: Vec<String> = by_hand.map(|path| format!("{path}: run `cargo fmt`")).collect();
    if !output.status.success() && listed.is_empty() {
        problems.push(errors.trim().to_owned());
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let wrong: Vec<String> = super::check_all()
            .unwrap()
            .into_iter()
            .flat_map(|(check, problems)| problems.into_iter().map(move |problem| format!("{check}: {problem}")))
            .collect();
        assert!(wrong.is_empty(), "{} problems\n{}", wrong.len(), wrong.join("\n"));
    }
}
