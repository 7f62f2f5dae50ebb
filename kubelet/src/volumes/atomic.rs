//! Writes a set of files so that a reader sees all old or all new ones
//! (pkg/volume/util/atomic_writer.go@v1.37.2).
//!
//! Invariant: `..data` always points at a complete set; each visible name is a link through it.
//! Non-goal: deciding what the files are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::jiff::Timestamp;

use super::ownership;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    /// Owner, where it is not root.
    pub(crate) user: Option<u32>,
}

/// Files by relative path.
pub(crate) type Payload = BTreeMap<String, Content>;

pub(crate) fn write(target: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    let clean = validate(payload)?;
    let old = fs::read_link(target.join(DATA)).ok();
    if old.as_ref().is_some_and(|old| is_same(&target.join(old), &clean)) && visible(target)? == tops(&clean) {
        return Ok(());
    }
    let fresh = format!("..{}", Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let folder = target.join(&fresh);
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    for (path, content) in &clean {
        write_one(&folder.join(path), content)?;
    }
    if let Some(group) = group {
        ownership::set_group(&folder, group, true)?;
    }
    let link = target.join(DATA_NEW);
    let _ = fs::remove_file(&link);
    symlink(&fresh, &link)?;
    fs::rename(&link, target.join(DATA))?;
    show(target, &tops(&clean))?;
    match old {
        Some(old) => fs::remove_dir_all(target.join(old)),
        None => Ok(()),
    }
}

/// Paths that stay below the volume and do not take the writer's own names.
fn validate(payload: &Payload) -> io::Result<BTreeMap<PathBuf, Content>> {
    let clean = |path: &str| {
        let parts: Vec<_> = Path::new(path).components().filter(|part| *part != Component::CurDir).collect();
        let inside = !parts.is_empty() && parts.iter().all(|part| matches!(part, Component::Normal(_)));
        let first = parts.first().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
        (inside && !first.starts_with("..")).then(|| parts.iter().collect::<PathBuf>())
    };
    let one = |(path, content): (&String, &Content)| match clean(path) {
        Some(path) => Ok((path, content.clone())),
        None => Err(io::Error::other(format!("invalid path {path:?}: must be relative and stay in the volume"))),
    };
    payload.iter().map(one).collect()
}

fn write_one(path: &Path, content: &Content) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, &content.data)?;
    fs::set_permissions(path, Permissions::from_mode(content.mode))?;
    content.user.map_or(Ok(()), |user| lchown(path, Some(user), None))
}

fn tops<V>(payload: &BTreeMap<PathBuf, V>) -> BTreeSet<PathBuf> {
    payload.keys().filter_map(|path| path.components().next()).map(|part| PathBuf::from(part.as_os_str())).collect()
}

/// The names that readers see.
fn visible(target: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let names = fs::read_dir(target)?.flatten().map(|entry| PathBuf::from(entry.file_name()));
    Ok(names.filter(|name| !name.to_string_lossy().starts_with("..")).collect())
}

fn show(target: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<()> {
    let present = visible(target)?;
    for name in wanted.difference(&present) {
        symlink(Path::new(DATA).join(name), target.join(name))?;
    }
    present.difference(wanted).try_for_each(|name| fs::remove_file(target.join(name)))
}

fn is_same(folder: &Path, wanted: &BTreeMap<PathBuf, Content>) -> bool {
    let mut present = BTreeSet::new();
    files(folder, Path::new(""), &mut present);
    present.len() == wanted.len()
        && wanted.iter().all(|(path, content)| {
            present.contains(path) && fs::read(folder.join(path)).is_ok_and(|data| data == content.data)
        })
}

fn files(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).into_iter().flatten().flatten() {
        let path = below.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(root, &path, found),
            _ => drop(found.insert(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let one = |(path, data): &(&str, &str)| {
            ((*path).to_owned(), Content { data: data.as_bytes().to_vec(), mode: 0o640, user: None })
        };
        files.iter().map(one).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        visible(dir).expect("listed").iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn replaces_all_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path();
        write(target, &payload(&[("a", "1"), ("sub/b", "2")]), None).expect("written");
        assert_eq!(names(target), ["a", "sub"]);
        assert_eq!(fs::read_to_string(target.join("sub/b")).expect("b"), "2");
        assert_eq!(fs::metadata(target.join("a")).expect("a").permissions().mode() & 0o777, 0o640);
        let first = fs::read_link(target.join(DATA)).expect("a link");
        write(target, &payload(&[("a", "1"), ("sub/b", "2")]), None).expect("written");
        assert_eq!(fs::read_link(target.join(DATA)).expect("a link"), first, "nothing changed");
        write(target, &payload(&[("c", "3")]), None).expect("written");
        assert_eq!(names(target), ["c"]);
        assert!(!target.join(first).exists(), "the old set is gone");
    }

    #[test]
    fn stays_inside() {
        let dir = tempfile::tempdir().expect("a folder");
        for path in ["../x", "/x", "", "a/../../x", "..data/x"] {
            assert!(write(dir.path(), &payload(&[(path, "1")]), None).is_err(), "{path}");
        }
        write(dir.path(), &payload(&[("..", "1")]), None).expect_err("dots");
        write(dir.path(), &payload(&[("./a", "1")]), None).expect("a plain name");
    }
}
