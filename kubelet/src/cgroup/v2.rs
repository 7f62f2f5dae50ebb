//! cgroup v2: one tree; a controller must be switched on in each parent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Limits, write};

const CONTROLLERS: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];
/// Shares and weights of the kernel's two scales.
const SHARES_RANGE: (f64, f64) = (2.0, 262_144.0);

pub(super) fn find(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next() == Some("cgroup2")).then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

pub(super) fn apply(mount: &Path, path: &str, limits: &Limits) -> io::Result<()> {
    let mut folder = mount.to_path_buf();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        enable(&folder);
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    enable(&folder);
    if let Some(shares) = limits.cpu_shares {
        write(&folder, "cpu.weight", &weight(shares).to_string())?;
    }
    if let Some(quota) = limits.cpu_quota {
        let quota = if quota == 0 { "max".to_owned() } else { quota.to_string() };
        write(&folder, "cpu.max", &format!("{quota} {}", limits.cpu_period))?;
    }
    if let Some(memory) = limits.memory {
        write(&folder, "memory.max", &memory.to_string())?;
    }
    limits.pids.map_or(Ok(()), |pids| write(&folder, "pids.max", &pids.to_string()))
}

/// Switches on for the children what the kernel offers here; each alone, since one may be missing.
fn enable(folder: &Path) {
    let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for controller in CONTROLLERS.iter().filter(|name| offered.split_whitespace().any(|offer| offer == **name)) {
        // Fails where processes are in the way; writing the limit then says so.
        let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// runc's conversion since v1.3.2: 2 -> 1, 1024 -> 100, 262144 -> 10000
/// (github.com/opencontainers/cgroups/utils.go, ConvertCPUSharesToCgroupV2Value).
fn weight(shares: u64) -> u64 {
    let shares = (shares as f64).clamp(SHARES_RANGE.0, SHARES_RANGE.1);
    let log = shares.log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 100, 10_000]);
    }

    #[test]
    fn limits_become_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let limits = Limits { cpu_shares: Some(2), cpu_quota: Some(0), cpu_period: 100_000, ..Limits::default() };
        apply(dir.path(), "/kubepods/podu", &limits).expect("applied");
        let read = |file: &str| fs::read_to_string(dir.path().join("kubepods/podu").join(file)).expect(file);
        assert_eq!((read("cpu.weight").as_str(), read("cpu.max").as_str()), ("1", "max 100000"));
    }
}
