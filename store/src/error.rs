//! The one error of the crate, with etcd's texts where etcd has one (`api/v3rpc/rpctypes/error.go@v3.7.3`).

use std::path::PathBuf;

use crate::Revision;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted { compact_revision: Revision },
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// The disk is full; deletes may still work.
    #[error("etcdserver: mvcc: database space exceeded")]
    Full,
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    #[error("etcdserver: request is too large")]
    TooLarge,
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// A put that keeps the value or the lease of a key that does not exist.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// The backend cannot do it.
    #[error("not supported by this backend of the store")]
    Unsupported,
    #[error("{0}")]
    Damaged(Damage),
    /// Another process has the directory open.
    #[error("{} is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    /// No answer; the result of a write is unknown.
    #[error("{0}")]
    Unavailable(String),
    /// The disk failed; a store that could not make a write durable acknowledges nothing any more.
    #[error("{0}")]
    Io(String),
    #[error("{0}")]
    Config(String),
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// A failed call on a file, named.
    pub(crate) fn io(path: &std::path::Path, error: &std::io::Error) -> Error {
        Error::Io(format!("{}: {error}", path.display()))
    }
}

/// Where a file is not what was written, and how that shows.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {what}; restore the directory from a backup", file.display())]
pub struct Damage {
    pub file: PathBuf,
    /// Bytes from the start of the file.
    pub offset: u64,
    pub what: String,
}
