//! The directory: names, the lock, making files so that a crash leaves them whole or absent.
//!
//! Invariant: a log segment or snapshot appears under its name only when its content is durable, and the directory is
//! synced before anybody relies on the name. Non-goal: what the files hold.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Damage, Error, Result};

/// Kept aside for deletes on a full disk, in bytes; a delete needs about 200.
pub(crate) const RESERVE_BYTES: usize = 4 << 20;

/// What the log does to a file; a seam for faults.
pub(crate) trait Media: Send {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Media for File {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Whether an error says that the disk has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

pub(crate) fn segment(sequence: u64) -> String {
    format!("log-{sequence:016x}")
}

pub(crate) fn snapshot(compacted: u64) -> String {
    format!("snapshot-{compacted:016x}")
}

/// The directory, made if absent, and held against every other process as long as the file is.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let at = |error: &io::Error| Error::io(dir, error);
    if !dir.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| at(&e))?;
        dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir).map_err(|e| at(&e))?;
    }
    let path = dir.join("lock");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| Error::io(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::io(&path, &error)),
    }
}

/// The numbers of the files with a prefix, in order. What a crash left half made is removed.
pub(crate) fn numbers(dir: &Path, prefix: &str) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| Error::io(dir, &error))? {
        let path = entry.map_err(|error| Error::io(dir, &error))?.path();
        let Some(rest) = path.file_name().and_then(|name| name.to_str()?.strip_prefix(prefix)) else { continue };
        if rest.ends_with(".tmp") {
            fs::remove_file(&path).map_err(|error| Error::io(&path, &error))?;
            continue;
        }
        match u64::from_str_radix(rest, 16) {
            Ok(number) if rest.len() == 16 => numbers.push(number),
            _ => return Err(damaged(&path, 0, "the name has no number")),
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(crate) fn damaged(file: &Path, offset: usize, what: impl Into<String>) -> Error {
    Error::Damaged(Damage { file: file.to_owned(), offset: offset as u64, what: what.into() })
}

/// A file being made under a temporary name.
pub(crate) struct Draft {
    pub(crate) file: File,
    path: PathBuf,
}

impl Draft {
    pub(crate) fn new(path: PathBuf) -> io::Result<Draft> {
        let temporary = path.with_extension("tmp");
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
        Ok(Draft { file, path })
    }

    /// Gives the file its name, durably.
    pub(crate) fn publish(self) -> io::Result<File> {
        self.file.sync_all()?;
        fs::rename(self.path.with_extension("tmp"), &self.path)?;
        sync_dir(self.path.parent().expect("a file in a directory"))?;
        Ok(self.file)
    }

    pub(crate) fn discard(self) {
        // Opening the directory removes it as well.
        let _ = fs::remove_file(self.path.with_extension("tmp"));
    }
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// How a file becomes what the log writes to; a seam for faults.
pub(crate) type Wrap = fn(File, &Path) -> Box<dyn Media>;

/// Space kept aside, given back to the file system when it is full.
pub(crate) struct Reserve {
    dir: PathBuf,
    media: Wrap,
}

impl Reserve {
    pub(crate) fn new(dir: &Path, media: Wrap) -> Reserve {
        Reserve { dir: dir.to_owned(), media }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    /// Sets the space aside; false if there is not enough.
    pub(crate) fn fill(&self) -> bool {
        if fs::metadata(self.path()).is_ok_and(|found| found.len() == RESERVE_BYTES as u64) {
            return true;
        }
        // Written, not just allocated: some file systems promise space that they do not have.
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(self.path());
        let filled = file.and_then(|file| {
            let mut file = (self.media)(file, &self.dir);
            file.write_all_at(&vec![0x5a; RESERVE_BYTES], 0)?;
            file.sync()
        });
        if filled.is_err() {
            self.release();
        }
        filled.is_ok()
    }

    pub(crate) fn release(&self) {
        if let Err(error) = fs::remove_file(self.path()) {
            tracing::warn!(path = %self.path().display(), %error, "cannot give back the reserved space");
        }
    }
}
