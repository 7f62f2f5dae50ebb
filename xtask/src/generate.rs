//! The facts: runs the Go program in xtask/gen against the published modules and writes
//! `api/src/generated`. Only this needs Go; a test compares what is committed byte for byte.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// The module that has the discovery and OpenAPI documents.
const KUBERNETES: &str = "k8s.io/kubernetes@v1.37.2";
const FILES: [&str; 4] = ["types.rs", "resources.rs", "rules.rs", "words.rs"];

/// Writes the generated files, or with `check` only says whether they are what would be written.
pub(crate) fn run(check: bool) -> Result<bool> {
    let committed = paths::root().join("api/src/generated");
    if !check {
        write(&committed)?;
        return Ok(true);
    }
    let made = tempfile::tempdir()?;
    write(made.path())?;
    let mut fresh = true;
    for file in FILES {
        if std::fs::read(made.path().join(file))? != std::fs::read(committed.join(file))? {
            eprintln!("api/src/generated/{file} is stale: run `cargo xtask gen`");
            fresh = false;
        }
    }
    Ok(fresh)
}

fn write(out: &Path) -> Result<()> {
    let folder = paths::root().join("xtask/gen");
    let ran = Command::new("go").current_dir(folder).args(["run", "."]).arg(module()?).arg(out).status();
    if !ran.context("cannot run go")?.success() {
        bail!("the generator failed");
    }
    Ok(())
}

/// The unpacked k8s.io/kubernetes module.
fn module() -> Result<PathBuf> {
    let output = Command::new("go").args(["mod", "download", "-json", KUBERNETES]).output().context("cannot run go")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("go mod download")?;
    answer["Dir"].as_str().map(PathBuf::from).context("go mod download names no folder")
}
