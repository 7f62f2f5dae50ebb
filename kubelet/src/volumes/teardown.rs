//! Takes a pod's folder away once nothing of the pod runs.
//!
//! Invariant: nothing is deleted while anything is mounted below, so no file of a volume that is
//! not the pod's own is ever removed.

use std::fs;
use std::io;
use std::path::Path;

use super::mounts;

/// True when the folder is gone.
pub(crate) fn remove(pod_dir: &Path) -> io::Result<bool> {
    if !pod_dir.exists() {
        return Ok(true);
    }
    if !mounts::clear(pod_dir)? {
        return Ok(false);
    }
    fs::remove_dir_all(pod_dir)?;
    Ok(true)
}
