//! The cgroups above containers: `kubepods`, one a QoS class, one a pod
//! (pkg/kubelet/cm/*_linux.go@v1.37.2), by the cgroupfs driver on v1 or v2.
//!
//! Invariant: everything made here is under `<cgroup root>/kubepods`; a pod's cgroup is removed only
//! after its containers. Non-goal: the containers' own cgroups, which the runtime makes.

mod v1;
mod v2;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::pod::shape;
use crate::resources::{self, Amounts};

/// Least and most `cpu.shares`, and the shares of one CPU (pkg/kubelet/cm/helpers_linux.go@v1.37.2).
const SHARES_MIN: u64 = 2;
const SHARES_MAX: u64 = 262_144;
const SHARES_PER_CPU: i128 = 1024;
/// Least quota in microseconds.
const QUOTA_MIN: i64 = 1000;

/// What a cgroup is limited to; `None` leaves a value alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) cpu_shares: Option<u64>,
    /// Microseconds in each period.
    pub(crate) cpu_quota: Option<i64>,
    pub(crate) cpu_period: u64,
    /// Bytes.
    pub(crate) memory: Option<i64>,
    pub(crate) pids: Option<i64>,
}

enum Version {
    V1(v1::Hierarchies),
    V2(PathBuf),
}

/// The kubelet's part of the cgroup tree.
pub(crate) struct Cgroups {
    version: Version,
    /// `/kubepods` or `/<root>/kubepods`.
    base: String,
    period: u64,
    quota: bool,
    pids: i64,
}

pub(crate) fn milli_to_shares(milli: i128) -> u64 {
    u64::try_from(milli * SHARES_PER_CPU / 1000).unwrap_or(0).clamp(SHARES_MIN, SHARES_MAX)
}

/// Quota for `milli` CPUs; 0 for no limit.
pub(crate) fn milli_to_quota(milli: i128, period: u64) -> i64 {
    match milli {
        0 => 0,
        milli => i64::try_from(milli * i128::from(period) / 1000).unwrap_or(i64::MAX).max(QUOTA_MIN),
    }
}

impl Cgroups {
    /// Finds out what this machine has. `mounts` is /proc/self/mountinfo.
    pub(crate) fn detect(mounts: &str, root: &str, config: &crate::config::Config) -> io::Result<Self> {
        let version = match v1::Hierarchies::find(mounts) {
            Some(found) => Version::V1(found),
            None => Version::V2(v2::find(mounts).ok_or_else(|| io::Error::other("no cgroup hierarchy is mounted"))?),
        };
        let root = root.trim_matches('/');
        let base = if root.is_empty() { "/kubepods".to_owned() } else { format!("/{root}/kubepods") };
        let period = u64::try_from(config.cpu_cfs_quota_period.as_micros()).unwrap_or(0);
        Ok(Cgroups { version, base, period, quota: config.cpu_cfs_quota, pids: config.pod_pids_limit })
    }

    pub(crate) fn is_v2(&self) -> bool {
        matches!(self.version, Version::V2(_))
    }

    /// The parent of a pod's containers, as CRI wants it.
    pub(crate) fn parent(&self, pod: &Pod) -> String {
        format!("{}/pod{}", self.class_path(resources::qos_class(pod)), shape::uid(pod))
    }

    fn class_path(&self, class: &str) -> String {
        match class {
            "Guaranteed" => self.base.clone(),
            other => format!("{}/{}", self.base, other.to_lowercase()),
        }
    }

    /// Makes the node-level cgroups; `allocatable` bounds all pods together.
    pub(crate) fn ensure_root(&self, allocatable: &Amounts) -> io::Result<()> {
        let of = |name: &str| allocatable.get(name).copied().unwrap_or(0);
        let memory = i64::try_from(of("memory") / 1000).ok().filter(|bytes| *bytes > 0);
        let all = Limits { cpu_shares: Some(milli_to_shares(of("cpu"))), memory, ..Limits::default() };
        self.apply(&self.base, &all)?;
        let least = Limits { cpu_shares: Some(SHARES_MIN), ..Limits::default() };
        self.apply(&self.class_path("BestEffort"), &least)?;
        self.apply(&self.class_path("Burstable"), &least)
    }

    /// Burstable pods share CPU by what they request together.
    pub(crate) fn update_burstable(&self, requested_milli: i128) -> io::Result<()> {
        let limits = Limits { cpu_shares: Some(milli_to_shares(requested_milli)), ..Limits::default() };
        self.apply(&self.class_path("Burstable"), &limits)
    }

    pub(crate) fn ensure_pod(&self, pod: &Pod) -> io::Result<()> {
        self.apply(&self.parent(pod), &self.pod_limits(pod))
    }

    /// pkg/kubelet/cm/helpers_linux.go@v1.37.2, ResourceConfigForPod.
    pub(crate) fn pod_limits(&self, pod: &Pod) -> Limits {
        let (requests, limits) = (resources::pod_requests(pod), resources::pod_limits(pod));
        let of = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(0);
        let declared = |name: &str| {
            let by_pod = shape::spec(pod).resources.as_ref();
            of(&resources::limits(by_pod), name) > 0
                || shape::long_lived(pod).all(|c| of(&resources::limits(c.resources.as_ref()), name) > 0)
        };
        let shares = milli_to_shares(of(&requests, "cpu"));
        let quota = Some(milli_to_quota(of(&limits, "cpu"), self.period)).filter(|_| self.quota);
        let memory = i64::try_from(of(&limits, "memory") / 1000).ok();
        let class = resources::qos_class(pod);
        let limited = |name: &str| class == "Guaranteed" || (class == "Burstable" && declared(name));
        Limits {
            cpu_shares: Some(if class == "BestEffort" { SHARES_MIN } else { shares }),
            cpu_quota: quota.filter(|_| limited("cpu")),
            cpu_period: self.period,
            memory: memory.filter(|_| limited("memory")),
            pids: Some(self.pids).filter(|pids| *pids > 0),
        }
    }

    fn apply(&self, path: &str, limits: &Limits) -> io::Result<()> {
        match &self.version {
            Version::V1(hierarchies) => hierarchies.apply(path, limits),
            Version::V2(mount) => v2::apply(mount, path, limits),
        }
    }

    /// The folders of one cgroup in every hierarchy, those that do not exist included.
    fn folders(&self, path: &str) -> Vec<PathBuf> {
        let below = |mount: &Path| mount.join(path.trim_start_matches('/'));
        match &self.version {
            Version::V1(hierarchies) => hierarchies.mounts().map(below).collect(),
            Version::V2(mount) => vec![below(mount)],
        }
    }

    /// Removes a pod's cgroup, whichever class it is in; true when nothing of it is left.
    pub(crate) fn remove_pod(&self, uid: &str) -> bool {
        let classes = ["Guaranteed", "Burstable", "BestEffort"].map(|class| self.class_path(class));
        let folders = classes.iter().flat_map(|class| self.folders(&format!("{class}/pod{uid}")));
        // Every one is tried, whatever became of those before.
        folders.filter(|folder| !remove_tree(folder)).count() == 0
    }

    /// The uids of pods that have a cgroup.
    pub(crate) fn pods(&self) -> Vec<String> {
        let classes = ["Guaranteed", "Burstable", "BestEffort"].map(|class| self.class_path(class));
        let folders = classes.iter().flat_map(|class| self.folders(class));
        let entries = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut uids: Vec<String> = names.filter_map(|name| name.strip_prefix("pod").map(str::to_owned)).collect();
        uids.sort_unstable();
        uids.dedup();
        uids
    }
}

/// Removes a cgroup and those below it. cgroupfs has no recursive removal: leaves first.
fn remove_tree(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return true };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn write(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = folder.join(file);
    fs::write(&path, value).map_err(|e| io::Error::new(e.kind(), format!("write {value} to {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::testing::pod;

    const V2: &str = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n";

    fn cgroups() -> Cgroups {
        Cgroups::detect(V2, "node1", &Config::new("n")).expect("v2")
    }

    #[test]
    fn names_and_limits() {
        let guaranteed = "{limits: {cpu: 500m, memory: 1Mi}, requests: {cpu: 500m, memory: 1Mi}}";
        let of = |resources: &str| pod(&format!("{{containers: [{{name: a, resources: {resources}}}]}}"));
        let cgroups = cgroups();
        assert_eq!(cgroups.parent(&of(guaranteed)), "/node1/kubepods/podu");
        assert_eq!(cgroups.parent(&of("{}")), "/node1/kubepods/besteffort/podu");
        let limits = cgroups.pod_limits(&of(guaranteed));
        assert_eq!((limits.cpu_shares, limits.cpu_quota, limits.memory), (Some(512), Some(50_000), Some(1 << 20)));
        let limits = cgroups.pod_limits(&of("{requests: {cpu: 100m}, limits: {memory: 1Mi}}"));
        assert_eq!((limits.cpu_shares, limits.cpu_quota, limits.memory), (Some(102), None, Some(1 << 20)));
        let limits = cgroups.pod_limits(&of("{}"));
        assert_eq!((limits.cpu_shares, limits.cpu_quota, limits.memory), (Some(2), None, None));
    }

    #[test]
    fn conversions() {
        assert_eq!([0, 1, 1000, 1_000_000].map(milli_to_shares), [2, 2, 1024, 262_144]);
        assert_eq!([0, 1, 1000].map(|milli| milli_to_quota(milli, 100_000)), [0, 1000, 100_000]);
    }
}
