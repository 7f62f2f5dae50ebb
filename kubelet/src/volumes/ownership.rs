//! Gives a volume to the pod's fsGroup (pkg/volume/volume_linux.go@v1.37.2, SetVolumeOwnership).

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const EXECUTE: u32 = 0o110;
const SETGID: u32 = 0o2000;

pub(super) fn set_group(path: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if metadata.file_type().is_symlink() {
        return Ok(());
    }
    let mut mask = if read_only { READ_ONLY } else { READ_WRITE };
    if metadata.is_dir() {
        mask |= SETGID | EXECUTE;
    }
    fs::set_permissions(path, Permissions::from_mode(metadata.permissions().mode() & 0o7777 | mask))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            set_group(&entry?.path(), group, read_only)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_and_modes() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("f");
        fs::write(&file, "x").expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("mode");
        let group = rustix::process::getgid().as_raw();
        set_group(dir.path(), group, true).expect("owned");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode(&file), 0o640);
        assert_eq!(mode(dir.path()) & SETGID, SETGID);
        set_group(dir.path(), group, false).expect("owned");
        assert_eq!(mode(&file), 0o660);
    }
}
