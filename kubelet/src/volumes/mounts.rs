//! Mounts that the kubelet makes: tmpfs, and finding what is mounted below a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Mounts a tmpfs unless something is mounted there already.
pub(super) fn tmpfs(path: &Path, bytes: Option<i64>) -> io::Result<()> {
    if is_mounted(path)? {
        return Ok(());
    }
    let options = bytes.filter(|bytes| *bytes > 0).map(|bytes| format!("size={bytes}")).unwrap_or_default();
    let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
    mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str())?;
    Ok(())
}

fn is_mounted(path: &Path) -> io::Result<bool> {
    Ok(below(path)?.iter().any(|mounted| mounted == path))
}

/// Mount points at or below `path`, deepest first.
pub(super) fn below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(path)).collect();
    found.reverse();
    Ok(found)
}

/// mountinfo writes blanks and backslashes in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Unmounts everything at or below `path`; true when nothing is left.
pub(super) fn clear(path: &Path) -> io::Result<bool> {
    for point in below(path)? {
        unmount(&point, UnmountFlags::NOFOLLOW)
            .or_else(|_| unmount(&point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH))?;
    }
    Ok(below(path)?.is_empty())
}

/// Binds `source` onto `target`.
pub(super) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_bind(source, target)?)
}
