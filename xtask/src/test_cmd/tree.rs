//! A tree of files as the script expects it: that of the module, in which scripts can be executed again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// What of the module the cases read.
const PARTS: [&str; 5] =
    ["hack", "test/cmd", "test/fixtures", "test/e2e/testing-manifests", "third_party/forked/shell2junit"];
const SCRIPT: u32 = 0o755;
const TEXT: u32 = 0o644;

/// Copies from `module` into `root` what the cases read.
pub(super) fn copy(module: &Path, root: &Path) -> Result<()> {
    PARTS.iter().try_for_each(|part| copy_dir(&module.join(part), &root.join(part)))
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
            continue;
        }
        let bytes = fs::read(entry.path())?;
        fs::write(&target, &bytes)?;
        // A module's files have lost their modes.
        let mode = if bytes.starts_with(b"#!") { SCRIPT } else { TEXT };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_be_executed_in_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/run"), "#!/bin/sh\n").unwrap();
        fs::write(from.join("a/text"), "#\n").unwrap();
        fs::set_permissions(from.join("a/text"), fs::Permissions::from_mode(0o444)).unwrap();
        let to = dir.path().join("to");
        copy_dir(&from, &to).unwrap();
        let mode = |name: &str| fs::metadata(to.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/b/run"), mode("a/text")), (SCRIPT, TEXT));
    }
}
