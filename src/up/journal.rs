//! What was made outside the store, written down before it is made, so that it can be taken away again.
//!
//! Invariant: an entry is on disk before its thing exists; entries are replayed backwards; each undo is
//! idempotent, so a replay may be repeated after a crash. Non-goal: doing the undo (`undo`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::files;

/// A thing outside the data directory, or alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "made", rename_all = "camelCase")]
pub(crate) enum Entry {
    /// A process whose id is in a file, and what its command line must contain.
    Process { pid_file: PathBuf, marker: String },
    /// Pods of the containerd behind a socket.
    Pods { socket: PathBuf },
    /// A mount point.
    Mount { path: PathBuf },
    /// Every mount below a directory.
    MountsBelow { path: PathBuf },
    /// A cgroup, by its path in each hierarchy, with all below it.
    Cgroup { path: String },
    /// A table of nftables: family and name.
    NftTable { family: String, name: String },
    /// What CNI's portmap leaves in iptables: chains of its own, and the tables when they were not there before.
    CniChains { tables_before: Vec<String>, chains_before: bool },
    /// A network interface.
    Link { name: String },
    /// A value below /proc/sys, and what it was.
    Sysctl { path: PathBuf, before: String, after: String },
    /// A path that was not there; directories go when empty.
    Path { path: PathBuf },
    /// A directory that goes with all that is in it.
    Tree { path: PathBuf },
    /// Entries of a kubeconfig.
    Kubeconfig { path: PathBuf, name: String, existed: bool },
}

impl Entry {
    /// Whether `down` takes it away; the others stay until `reset`.
    pub(crate) fn ends_with_down(&self) -> bool {
        match self {
            Entry::Process { .. } | Entry::Pods { .. } | Entry::Mount { .. } | Entry::MountsBelow { .. } => true,
            Entry::Cgroup { .. } | Entry::NftTable { .. } | Entry::CniChains { .. } | Entry::Link { .. } => true,
            Entry::Sysctl { .. } | Entry::Path { .. } | Entry::Tree { .. } | Entry::Kubeconfig { .. } => false,
        }
    }
}

/// The file, appended to by one process at a time.
pub(crate) struct Journal {
    path: PathBuf,
    written: Mutex<BTreeSet<Entry>>,
}

impl Journal {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Journal { path: path.into(), written: Mutex::new(read(path)?.into_iter().collect()) })
    }

    /// Writes an entry down, unless it is there.
    pub(crate) fn will_make(&self, entry: Entry) -> Result<()> {
        let mut written = self.written.lock();
        if written.contains(&entry) {
            return Ok(());
        }
        let mut line = serde_json::to_string(&entry)?;
        line.push('\n');
        let mut file = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).context("journal")?;
        written.insert(entry);
        Ok(())
    }

    /// Writes down a path that is not there yet.
    pub(crate) fn will_make_path(&self, path: &Path) -> Result<()> {
        if path.symlink_metadata().is_ok() { Ok(()) } else { self.will_make(Entry::Path { path: path.into() }) }
    }
}

/// All entries, oldest first. A last line that a crash cut short stands for nothing made.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>> {
    let text = files::read(path)?.unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display())))
        .collect()
}

/// Replaces the content, when things are gone.
pub(crate) fn rewrite(path: &Path, entries: &[Entry]) -> Result<()> {
    let lines = entries.iter().map(|entry| Ok(serde_json::to_string(entry)? + "\n")).collect::<Result<String>>()?;
    Ok(files::write(path, lines.as_bytes(), 0o600, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str) -> Entry {
        Entry::Link { name: name.into() }
    }

    #[test]
    fn entries_are_kept_once_and_in_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("journal");
        let journal = Journal::open(&path).expect("new");
        let sysctl = Entry::Sysctl { path: "/proc/sys/x".into(), before: "0".into(), after: "1".into() };
        for entry in [link("a"), sysctl.clone(), link("a")] {
            journal.will_make(entry).expect("written");
        }
        Journal::open(&path).expect("again").will_make(link("a")).expect("known");
        assert_eq!(read(&path).expect("whole"), [link("a"), sysctl]);
    }

    #[test]
    fn a_cut_last_line_is_no_entry_and_nonsense_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("journal");
        rewrite(&path, &[link("a")]).expect("written");
        let whole = std::fs::read_to_string(&path).expect("text");
        std::fs::write(&path, format!("{whole}{}", &whole[..9])).expect("cut");
        assert_eq!(read(&path).expect("whole lines"), [link("a")]);
        std::fs::write(&path, format!("nonsense\n{whole}")).expect("damaged");
        assert!(read(&path).is_err());
    }

    #[test]
    fn only_paths_that_are_new_are_ours() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = Journal::open(&dir.path().join("journal")).expect("new");
        journal.will_make_path(dir.path()).expect("there");
        journal.will_make_path(&dir.path().join("new")).expect("not there");
        let expect = [Entry::Path { path: dir.path().join("new") }];
        assert_eq!(read(&dir.path().join("journal")).expect("entries"), expect);
    }
}
