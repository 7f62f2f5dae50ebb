//! What one kubelet is told: upstream's flags and KubeletConfiguration v1beta1, resolved
//! (k8s.io/kubelet/config/v1beta1/types.go@v0.37.2; defaults of pkg/kubelet/apis/config/v1beta1/defaults.go@v1.37.2).
//!
//! Invariant: a value here is final; nothing reads the environment later. Non-goal: flag parsing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use serde::Deserialize;

use crate::Error;

/// Capacity that a fake node claims.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    pub cpu: String,
    pub memory: String,
    pub ephemeral_storage: String,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { cpu: "32".into(), memory: "256Gi".into(), ephemeral_storage: "1Ti".into() }
    }
}

/// Everything a kubelet needs to know at start.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    /// The host's name; empty for the node's.
    pub hostname: String,
    /// Addresses of the node; empty to find the one of the default route.
    pub node_ips: Vec<IpAddr>,
    pub node_labels: BTreeMap<String, String>,
    pub register_with_taints: Vec<Taint>,
    pub register_node: bool,
    pub provider_id: String,
    /// Pod addresses when no controller gives the node a CIDR.
    pub pod_cidr: String,
    /// State of the kubelet (`--root-dir`).
    pub root_dir: PathBuf,
    pub pod_logs_dir: PathBuf,
    /// Where the links that log shippers follow go; `None` for none.
    pub container_logs_dir: Option<PathBuf>,
    /// The cgroup under which `kubepods` goes; several nodes of one machine need one each.
    pub cgroup_root: String,
    pub cgroups_per_qos: bool,
    pub cpu_cfs_quota: bool,
    pub cpu_cfs_quota_period: Duration,
    pub pod_pids_limit: i64,
    pub seccomp_default: bool,
    /// Sysctls beyond the safe ones that pods may set; patterns may end in `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
    pub static_pod_path: Option<PathBuf>,
    pub file_check_frequency: Duration,
    pub sync_frequency: Duration,
    pub node_status_update_frequency: Duration,
    pub node_status_report_frequency: Duration,
    pub node_lease_duration: Duration,
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    /// The host's resolver configuration that pods with `Default` policy get; empty for none.
    pub resolv_conf: String,
    pub max_pods: u32,
    pub pods_per_core: u32,
    pub kube_reserved: BTreeMap<String, String>,
    pub system_reserved: BTreeMap<String, String>,
    pub eviction_hard: BTreeMap<String, String>,
    pub container_log_max_size: u64,
    pub container_log_max_files: u32,
    pub max_parallel_image_pulls: Option<usize>,
    pub serialize_image_pulls: bool,
    /// Longest wait of a crashing container (CrashLoopBackOff.maxContainerRestartPeriod).
    pub max_container_restart_period: Duration,
    pub enable_controller_attach_detach: bool,
    /// Dead containers of one name that are kept.
    pub max_dead_per_container: usize,
    /// Port of the kubelet's server as the Node object tells it; 0 when there is none.
    pub port: u16,
    pub server: crate::server::Settings,
    /// What a fake node claims to have; a real one measures.
    pub capacity: Capacity,
}

impl Config {
    /// Upstream's defaults for a node of that name.
    pub fn new(node_name: &str) -> Self {
        let reserved = |list: [(&str, &str); 4]| list.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Config {
            node_name: node_name.into(),
            hostname: String::new(),
            node_ips: vec![],
            node_labels: BTreeMap::new(),
            register_with_taints: vec![],
            register_node: true,
            provider_id: String::new(),
            pod_cidr: String::new(),
            root_dir: "/var/lib/kubelet".into(),
            pod_logs_dir: "/var/log/pods".into(),
            container_logs_dir: Some("/var/log/containers".into()),
            cgroup_root: "/".into(),
            cgroups_per_qos: true,
            cpu_cfs_quota: true,
            cpu_cfs_quota_period: Duration::from_millis(100),
            pod_pids_limit: -1,
            seccomp_default: false,
            allowed_unsafe_sysctls: vec![],
            static_pod_path: None,
            file_check_frequency: Duration::from_secs(20),
            sync_frequency: Duration::from_secs(60),
            node_status_update_frequency: Duration::from_secs(10),
            node_status_report_frequency: Duration::from_secs(300),
            node_lease_duration: Duration::from_secs(40),
            cluster_dns: vec![],
            cluster_domain: String::new(),
            resolv_conf: "/etc/resolv.conf".into(),
            max_pods: 110,
            pods_per_core: 0,
            kube_reserved: BTreeMap::new(),
            system_reserved: BTreeMap::new(),
            eviction_hard: reserved([
                ("memory.available", "100Mi"),
                ("nodefs.available", "10%"),
                ("nodefs.inodesFree", "5%"),
                ("imagefs.available", "15%"),
            ]),
            container_log_max_size: 10 << 20,
            container_log_max_files: 5,
            max_parallel_image_pulls: None,
            serialize_image_pulls: true,
            max_container_restart_period: Duration::from_secs(300),
            enable_controller_attach_detach: true,
            max_dead_per_container: 1,
            port: 10250,
            server: crate::server::Settings::default(),
            capacity: Capacity::default(),
        }
    }

    /// Takes over what a KubeletConfiguration file says (YAML or JSON).
    pub fn apply_file(&mut self, text: &str) -> Result<(), Error> {
        let file: File = serde_saphyr::from_str(text).map_err(|e| Error::Config(e.to_string()))?;
        if file.kind != "KubeletConfiguration" || file.api_version != "kubelet.config.k8s.io/v1beta1" {
            let text = format!("no kind {:?} is registered for version {:?}", file.kind, file.api_version);
            return Err(Error::Config(text));
        }
        self.take(file)
    }

    fn take(&mut self, file: File) -> Result<(), Error> {
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(value) = from {
                *to = value;
            }
        }
        set(&mut self.static_pod_path, file.static_pod_path.filter(|p| !p.is_empty()).map(|p| Some(p.into())));
        set(&mut self.pod_logs_dir, file.pod_logs_dir.map(PathBuf::from));
        set(&mut self.cluster_domain, file.cluster_domain);
        set(&mut self.cluster_dns, file.cluster_dns);
        set(&mut self.max_pods, file.max_pods);
        set(&mut self.pods_per_core, file.pods_per_core);
        set(&mut self.pod_pids_limit, file.pod_pids_limit);
        set(&mut self.resolv_conf, file.resolv_conf);
        set(&mut self.cpu_cfs_quota, file.cpu_cfs_quota);
        set(&mut self.allowed_unsafe_sysctls, file.allowed_unsafe_sysctls);
        set(&mut self.seccomp_default, file.seccomp_default);
        set(&mut self.cgroup_root, file.cgroup_root.filter(|root| !root.is_empty()));
        set(&mut self.cgroups_per_qos, file.cgroups_per_qos);
        set(&mut self.kube_reserved, file.kube_reserved);
        set(&mut self.system_reserved, file.system_reserved);
        set(&mut self.eviction_hard, file.eviction_hard);
        set(&mut self.container_log_max_files, file.container_log_max_files);
        set(&mut self.serialize_image_pulls, file.serialize_image_pulls);
        set(&mut self.register_with_taints, file.register_with_taints);
        set(&mut self.register_node, file.register_node);
        set(&mut self.enable_controller_attach_detach, file.enable_controller_attach_detach);
        set(&mut self.provider_id, file.provider_id);
        set(&mut self.pod_cidr, file.pod_cidr);
        set(&mut self.port, file.port);
        if file.enable_server == Some(false) {
            self.port = 0;
        }
        self.server.take(file.server, duration)?;
        if let Some(count) = file.max_parallel_image_pulls {
            self.max_parallel_image_pulls = Some(count);
        }
        if let Some(size) = file.container_log_max_size {
            let quantity = k8s_openapi::apimachinery::pkg::api::resource::Quantity(size);
            self.container_log_max_size = u64::try_from(crate::resources::value(&quantity)).unwrap_or(0);
        }
        if let Some(seconds) = file.node_lease_duration_seconds {
            self.node_lease_duration = Duration::from_secs(seconds);
        }
        for (to, from) in [
            (&mut self.file_check_frequency, file.file_check_frequency),
            (&mut self.sync_frequency, file.sync_frequency),
            (&mut self.node_status_update_frequency, file.node_status_update_frequency),
            (&mut self.node_status_report_frequency, file.node_status_report_frequency),
            (&mut self.cpu_cfs_quota_period, file.cpu_cfs_quota_period),
            (
                &mut self.max_container_restart_period,
                file.crash_loop_back_off.and_then(|backoff| backoff.max_container_restart_period),
            ),
        ] {
            if let Some(text) = from {
                *to = duration(&text)?;
            }
        }
        Ok(())
    }

    pub(crate) fn hostname(&self) -> &str {
        if self.hostname.is_empty() { &self.node_name } else { &self.hostname }
    }

    pub(crate) fn pods_dir(&self) -> PathBuf {
        self.root_dir.join("pods")
    }

    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }

    /// Where the runtime writes the logs of a pod's containers.
    pub(crate) fn pod_log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_logs_dir.join(format!("{namespace}_{name}_{uid}"))
    }

    /// Upstream makes these when it starts.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let sub = |name: &str| self.root_dir.join(name);
        let mut all = vec![self.root_dir.clone(), sub("pods"), sub("plugins"), sub("plugins_registry")];
        all.push(self.pod_logs_dir.clone());
        all.extend(self.container_logs_dir.as_deref().map(Path::to_path_buf));
        all
    }
}

/// A Go duration: `1m30s`, `100ms`.
fn duration(text: &str) -> Result<Duration, Error> {
    let invalid = || Error::Config(format!("time: invalid duration {text:?}"));
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest == "0" {
        return Ok(total);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(invalid)?;
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let units = [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, seconds) = units.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(invalid)?;
        rest = &rest[unit.len()..];
        total += Duration::try_from_secs_f64(number * seconds).map_err(|_| invalid())?;
    }
    Ok(total)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CrashLoop {
    max_container_restart_period: Option<String>,
}

/// The fields of KubeletConfiguration that are honoured.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    kind: String,
    api_version: String,
    static_pod_path: Option<String>,
    pod_logs_dir: Option<String>,
    sync_frequency: Option<String>,
    file_check_frequency: Option<String>,
    node_status_update_frequency: Option<String>,
    node_status_report_frequency: Option<String>,
    node_lease_duration_seconds: Option<u64>,
    #[serde(rename = "clusterDNS")]
    cluster_dns: Option<Vec<String>>,
    cluster_domain: Option<String>,
    cgroup_root: Option<String>,
    #[serde(rename = "cgroupsPerQOS")]
    cgroups_per_qos: Option<bool>,
    max_pods: Option<u32>,
    pods_per_core: Option<u32>,
    pod_pids_limit: Option<i64>,
    resolv_conf: Option<String>,
    #[serde(rename = "cpuCFSQuota")]
    cpu_cfs_quota: Option<bool>,
    #[serde(rename = "cpuCFSQuotaPeriod")]
    cpu_cfs_quota_period: Option<String>,
    seccomp_default: Option<bool>,
    allowed_unsafe_sysctls: Option<Vec<String>>,
    kube_reserved: Option<BTreeMap<String, String>>,
    system_reserved: Option<BTreeMap<String, String>>,
    eviction_hard: Option<BTreeMap<String, String>>,
    container_log_max_size: Option<String>,
    container_log_max_files: Option<u32>,
    serialize_image_pulls: Option<bool>,
    max_parallel_image_pulls: Option<usize>,
    register_with_taints: Option<Vec<Taint>>,
    register_node: Option<bool>,
    enable_controller_attach_detach: Option<bool>,
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    port: Option<u16>,
    enable_server: Option<bool>,
    #[serde(flatten)]
    server: crate::server::File,
    crash_loop_back_off: Option<CrashLoop>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_over() {
        let mut config = Config::new("n");
        let text = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nclusterDNS: [10.0.0.10]\n\
            maxPods: 7\nsyncFrequency: 1m30s\ncontainerLogMaxSize: 1Mi\ncpuCFSQuota: false\nevictionHard: {}\n\
            crashLoopBackOff: {maxContainerRestartPeriod: 5s}\nunknownField: 1\n";
        config.apply_file(text).expect("valid");
        assert_eq!(config.cluster_dns, ["10.0.0.10"]);
        assert_eq!((config.max_pods, config.cpu_cfs_quota, config.container_log_max_size), (7, false, 1 << 20));
        assert_eq!(config.sync_frequency, Duration::from_secs(90));
        assert_eq!(config.max_container_restart_period, Duration::from_secs(5));
        assert!(config.eviction_hard.is_empty());
        let other = config.apply_file("kind: Pod\napiVersion: v1\n").expect_err("another kind");
        assert_eq!(other.to_string(), "no kind \"Pod\" is registered for version \"v1\"");
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [("10s", 10_000), ("1h", 3_600_000), ("1m0.5s", 60_500), ("100ms", 100), ("0", 0)] {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "s", "1x"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
