//! Processes that we started, found again by a file with their id and what their command line must say.
//!
//! Invariant: only a process that fits both is ever signalled.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

/// How long a process may take to end when told, and when killed.
const END_LIMIT: Duration = Duration::from_secs(15);
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// The living process of a file.
pub(crate) fn of_file(file: &Path, marker: &str) -> Option<Pid> {
    let pid: i32 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    command_line(pid)?.contains(marker).then_some(())?;
    Pid::from_raw(pid)
}

/// Every process whose command line has the marker, but for our own.
pub(crate) fn with_marker(marker: &str) -> Vec<Pid> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let all = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let fit = all.filter(|pid: &i32| *pid != own && command_line(*pid).is_some_and(|line| line.contains(marker)));
    fit.filter_map(Pid::from_raw).collect()
}

/// Empty for a zombie, which has ended.
fn command_line(pid: i32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " ")).filter(|line| !line.is_empty())
}

#[allow(deprecated, reason = "what replaces it is unsafe; an owned descriptor stays the same until it is dropped")]
fn watched(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

/// Returns when a process has ended.
pub(crate) async fn ended(pid: Pid) -> std::io::Result<()> {
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(descriptor) => watched(descriptor)?.readable().await.map(drop),
        Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Ends a process: asks, and kills it when it does not end. True when it is gone.
pub(crate) async fn end(pid: Pid, ask: Signal) -> std::io::Result<bool> {
    let descriptor = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(descriptor) => watched(descriptor)?,
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    for (signal, limit) in [(ask, END_LIMIT), (Signal::KILL, KILL_LIMIT)] {
        match pidfd_send_signal(&descriptor, signal) {
            Err(rustix::io::Errno::SRCH) => return Ok(true),
            other => other?,
        }
        if tokio::time::timeout(limit, descriptor.readable()).await.is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    #[tokio::test]
    async fn only_a_process_that_fits_is_found_and_ended() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        // What it prints shows that it runs its own program: between fork and exec the command line is ours or empty.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "echo; read line", "keelson-97.125"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        child.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("printed");
        std::fs::write(file.path(), child.id().to_string()).expect("written");
        assert!(of_file(file.path(), "keelson-98").is_none());
        let pid = of_file(file.path(), "keelson-97.125").expect("found");
        assert_eq!(with_marker("keelson-97.125"), [pid]);
        assert!(end(pid, Signal::TERM).await.expect("told"));
        child.wait().expect("ended");
        assert!(of_file(file.path(), "keelson-97.125").is_none());
    }
}
