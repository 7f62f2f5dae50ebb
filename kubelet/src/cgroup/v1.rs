//! cgroup v1: one hierarchy a controller (or a few together), found in mountinfo, never assumed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Limits, write};

/// Controllers in which the kubelet itself makes cgroups; the runtime makes the others.
const MANAGED: [&str; 3] = ["cpu", "memory", "pids"];

pub(super) struct Hierarchies {
    /// By controller; controllers mounted together share a path.
    by_controller: BTreeMap<String, PathBuf>,
    /// Every mount, those without a controller included.
    all: Vec<PathBuf>,
}

impl Hierarchies {
    /// Nothing when the machine has no v1 memory controller: then it is a v2 machine.
    pub(super) fn find(mountinfo: &str) -> Option<Self> {
        let (mut by_controller, mut all) = (BTreeMap::new(), Vec::new());
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(path) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut fields = right.split(' ');
            match fields.next() {
                Some("cgroup") => {}
                Some("cgroup2") => {
                    all.push(path);
                    continue;
                }
                _ => continue,
            }
            for option in fields.nth(1).unwrap_or("").split(',') {
                by_controller.entry(option.to_owned()).or_insert_with(|| path.clone());
            }
            all.push(path);
        }
        all.dedup();
        by_controller.contains_key("memory").then_some(Hierarchies { by_controller, all })
    }

    pub(super) fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.all.iter().map(PathBuf::as_path)
    }

    pub(super) fn apply(&self, path: &str, limits: &Limits) -> io::Result<()> {
        for controller in MANAGED {
            let Some(mount) = self.by_controller.get(controller) else { continue };
            let folder = mount.join(path.trim_start_matches('/'));
            fs::create_dir_all(&folder)?;
            match controller {
                "cpu" => cpu(&folder, limits)?,
                "memory" => set(&folder, "memory.limit_in_bytes", limits.memory)?,
                _ => set(&folder, "pids.max", limits.pids)?,
            }
        }
        Ok(())
    }
}

fn set(folder: &Path, file: &str, value: Option<i64>) -> io::Result<()> {
    value.map_or(Ok(()), |value| write(folder, file, &value.to_string()))
}

fn cpu(folder: &Path, limits: &Limits) -> io::Result<()> {
    set(folder, "cpu.shares", limits.cpu_shares.and_then(|shares| i64::try_from(shares).ok()))?;
    if let Some(quota) = limits.cpu_quota {
        write(folder, "cpu.cfs_period_us", &limits.cpu_period.to_string())?;
        write(folder, "cpu.cfs_quota_us", &if quota == 0 { -1 } else { quota }.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_where_they_are() {
        let text = "1 0 0:1 / /c/cpu rw - cgroup none rw,cpu,cpuacct\n2 0 0:2 / /c/memory rw - cgroup none rw,memory\n\
            3 0 0:3 / /c/systemd rw - cgroup none rw,name=systemd\n4 0 0:4 / /c/unified rw - cgroup2 none rw\n\
            5 0 0:5 / /proc rw - proc proc rw\n";
        let found = Hierarchies::find(text).expect("v1");
        assert_eq!(found.by_controller.get("cpuacct"), Some(&PathBuf::from("/c/cpu")));
        assert_eq!(found.all.len(), 4);
        assert!(Hierarchies::find("4 0 0:4 / /c rw - cgroup2 none rw\n").is_none());
    }

    #[test]
    fn limits_become_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().display();
        let text = format!(
            "1 0 0:1 / {root}/cpu rw - cgroup none rw,cpu\n2 0 0:2 / {root}/memory rw - cgroup none rw,memory\n"
        );
        let found = Hierarchies::find(&text).expect("v1");
        let limits = Limits {
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            cpu_period: 100_000,
            memory: Some(4096),
            pids: Some(9),
        };
        found.apply("/kubepods/podu", &limits).expect("applied");
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect(file);
        assert_eq!(read("cpu/kubepods/podu/cpu.shares"), "512");
        assert_eq!(read("cpu/kubepods/podu/cpu.cfs_quota_us"), "50000");
        assert_eq!(read("memory/kubepods/podu/memory.limit_in_bytes"), "4096");
    }
}
