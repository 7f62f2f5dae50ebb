//! One process at a time owns a data directory; and what the owner says about itself.
//!
//! Invariant: the lock is the kernel's, so a killed owner never leaves it behind.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::files;
use super::place::Place;
use crate::cli::Options;
use crate::failure::Failure;

/// Held as long as it lives.
pub(crate) struct Lock {
    _file: File,
}

/// What a running cluster says about itself, in state/cluster.json.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) version: String,
    pub(crate) server: String,
    pub(crate) nodes: String,
    pub(crate) context: String,
    /// Seconds from start to ready.
    pub(crate) seconds: f64,
    /// RFC 3339.
    pub(crate) started: String,
    pub(crate) options: Options,
}

fn open(place: &Place) -> Result<File> {
    let path = place.at("state/lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    Ok(file.map_err(|error| Failure::new(101, format!("{}: {error}", path.display())))?)
}

/// Takes the directory for this process.
pub(crate) fn take(place: &Place) -> Result<Lock> {
    let mut file = open(place)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = owner_of(&mut file).map_or("?".into(), |pid| pid.to_string());
            return Err(Failure::new(106, format!("process {pid} has {}", place.dir.display())).into());
        }
        Err(TryLockError::Error(error)) => return Err(Failure::new(101, error).into()),
    }
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()))?;
    Ok(Lock { _file: file })
}

fn owner_of(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The process that owns the directory now.
pub(crate) fn owner(place: &Place) -> Option<u32> {
    let mut file = File::options().read(true).write(true).open(place.at("state/lock")).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => owner_of(&mut file),
        _ => None,
    }
}

/// Waits until nobody owns the directory.
pub(crate) fn wait_free(place: &Place, limit: Duration) -> Result<()> {
    let file = open(place)?;
    let (sender, freed) = mpsc::channel();
    // Blocks in the kernel; when the wait below gives up, the process is about to end anyway.
    std::thread::spawn(move || {
        let locked = file.lock();
        // Free again before anybody hears of it.
        drop(file);
        drop(sender.send(locked));
    });
    match freed.recv_timeout(limit) {
        Ok(result) => result.context("lock"),
        Err(_) => Err(Failure::new(105, format!("the process did not end within {} s", limit.as_secs())).into()),
    }
}

pub(crate) fn running(place: &Place) -> Option<Running> {
    let text = files::read(&place.at("state/cluster.json")).ok()??;
    serde_json::from_str(&text).ok()
}

/// Tells others that the cluster is ready; nothing says so any more with `None`.
pub(crate) fn tell(place: &Place, running: Option<&Running>) -> Result<()> {
    let path = place.at("state/cluster.json");
    match running {
        Some(running) => Ok(files::write(&path, &serde_json::to_vec_pretty(running)?, 0o600, false)?),
        None => match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        },
    }
}

/// Options of the last `up`.
pub(crate) fn remembered(place: &Place) -> Options {
    let text = files::read(&place.at("state/options.json")).ok().flatten();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Whether nothing has been started here yet.
pub(crate) fn is_new(place: &Place) -> bool {
    !place.at("state/options.json").exists()
}

pub(crate) fn remember(place: &Place, options: &Options) -> Result<()> {
    Ok(files::write(&place.at("state/options.json"), &serde_json::to_vec_pretty(options)?, 0o600, false)?)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn one_owner_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = Place { name: "t".into(), dir: dir.path().into() };
        place.make().expect("made");
        assert_eq!(owner(&place), None);
        let lock = take(&place).expect("free");
        assert_eq!(owner(&place), Some(std::process::id()));
        let error = take(&place).err().expect("taken").downcast::<Failure>().expect("a failure");
        assert_eq!(error.entry.number, 106);
        assert!(wait_free(&place, Duration::from_millis(20)).is_err());
        drop(lock);
        // Each process that another test starts holds all our files for a moment, until it runs its own program.
        let deadline = Instant::now() + Duration::from_secs(5);
        while wait_free(&place, Duration::from_secs(5)).is_err() || owner(&place).is_some() {
            assert!(Instant::now() < deadline, "still owned");
        }
    }
}
