//! A part of a volume for one container, bound so that a link swapped later cannot lead out of it
//! (pkg/volume/../mount-utils: volume/util/subpath/subpath_linux.go@v1.37.2).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};

use super::mounts;

/// Which subpath, for the place where it is bound.
pub(crate) struct Place<'a> {
    pub(crate) pod_dir: &'a Path,
    pub(crate) volume: &'a str,
    pub(crate) container: &'a str,
    pub(crate) index: usize,
}

/// Makes `sub` of the volume at `root` if it is missing, and binds it; the bound path is returned.
pub(crate) fn bind(root: &Path, sub: &str, place: &Place<'_>) -> io::Result<PathBuf> {
    check(sub)?;
    let opened = open_or_make(root, Path::new(sub))?;
    let target =
        place.pod_dir.join("volume-subpaths").join(place.volume).join(place.container).join(place.index.to_string());
    let is_dir = fs::metadata(format!("/proc/self/fd/{}", opened.as_raw_fd()))?.is_dir();
    // A mount of an earlier start: the container that used it has its own copy.
    mounts::clear(&target)?;
    if is_dir {
        fs::create_dir_all(&target)?;
    } else {
        fs::create_dir_all(target.parent().unwrap_or(root))?;
        fs::write(&target, "")?;
    }
    mounts::bind(Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())), &target)?;
    Ok(target)
}

fn check(sub: &str) -> io::Result<()> {
    let path = Path::new(sub);
    if path.is_absolute() {
        return Err(io::Error::other(format!("error SubPath `{sub}` must not be an absolute path")));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(io::Error::other(format!("unable to provision SubPath `{sub}`: must not contain '..'")));
    }
    Ok(())
}

/// Opens a path that stays below `root` whatever links are in it; missing folders are made with the
/// mode of the volume.
fn open_or_make(root: &Path, sub: &Path) -> io::Result<OwnedFd> {
    let base = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mode = fs::metadata(root)?.permissions().mode() & 0o7777;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = |path: &Path| openat2(&base, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside);
    let mut so_far = PathBuf::from(".");
    let mut parent = open(&so_far)?;
    for part in sub.components().filter(|part| matches!(part, Component::Normal(_))) {
        so_far.push(part);
        parent = match open(&so_far) {
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(mode))?;
                let made = open(&so_far)?;
                fs::set_permissions(format!("/proc/self/fd/{}", made.as_raw_fd()), fs::Permissions::from_mode(mode))?;
                made
            }
            other => other?,
        };
    }
    Ok(parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn stays_below_the_volume() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("v");
        fs::create_dir(&root).expect("made");
        symlink("/etc", root.join("out")).expect("a link");
        fs::create_dir(root.join("in")).expect("made");
        symlink("in", root.join("link")).expect("a link");
        assert!(open_or_make(&root, Path::new("out/passwd")).is_err());
        open_or_make(&root, Path::new("link/new/deep")).expect("inside");
        assert!(root.join("in/new/deep").is_dir());
        for bad in ["/a", "a/../b"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
