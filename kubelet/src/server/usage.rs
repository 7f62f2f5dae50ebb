//! What the node, its pods and their containers use, as the kernel and the runtime say
//! (pkg/kubelet/stats/{provider,cri_stats_provider}.go@v1.37.2).
//!
//! Invariant: a number that nobody measured is absent, not zero. Non-goal: a history; only the rate of the
//! node's CPU needs the sample before.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use cri::v1::{
    Container, ContainerState, ContainerStats, CpuUsage, ImageFsInfoRequest, ListContainerStatsRequest,
    ListContainersRequest, ListPodSandboxStatsRequest, MemoryUsage, PodSandboxStats, UInt64Value,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::Server;
use crate::node::facts;
use crate::pod::observe::{CONTAINER_NAME_LABEL, POD_UID_LABEL};
use crate::pod::shape;

/// Nanoseconds of one tick of /proc/stat (USER_HZ is 100 on every Linux).
const TICK_NANOS: u64 = 10_000_000;
const SECOND_NANOS: u128 = 1_000_000_000;

/// Numbers of CPU and memory of something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) cpu_nanos: Option<u64>,
    pub(super) nano_cores: Option<u64>,
    pub(super) available: Option<u64>,
    pub(super) usage: Option<u64>,
    pub(super) working_set: Option<u64>,
    pub(super) rss: Option<u64>,
    pub(super) page_faults: Option<u64>,
    pub(super) major_page_faults: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Traffic {
    pub(super) name: String,
    pub(super) rx_bytes: Option<u64>,
    pub(super) rx_errors: Option<u64>,
    pub(super) tx_bytes: Option<u64>,
    pub(super) tx_errors: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Disk {
    pub(super) available: u64,
    pub(super) capacity: u64,
    pub(super) used: u64,
    pub(super) inodes_free: u64,
    pub(super) inodes: u64,
    pub(super) inodes_used: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct ContainerUsage {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) started: Option<Timestamp>,
    pub(super) sample: Sample,
    pub(super) layer_bytes: Option<u64>,
    pub(super) layer_inodes: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PodUsage {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) started: Option<Timestamp>,
    pub(super) sample: Sample,
    pub(super) traffic: Option<Traffic>,
    pub(super) processes: Option<u64>,
    pub(super) containers: Vec<ContainerUsage>,
}

#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) at: Timestamp,
    pub(super) booted: Option<Timestamp>,
    pub(super) node: Sample,
    pub(super) traffic: Option<Traffic>,
    pub(super) disk: Option<Disk>,
    pub(super) images_used: Option<u64>,
    pub(super) max_pid: Option<i64>,
    pub(super) processes: Option<i64>,
    pub(super) pods: Vec<PodUsage>,
    /// The runtime did not answer.
    pub(super) failed: bool,
}

/// Remembers the sample before.
#[derive(Default)]
pub(super) struct Meter(Mutex<Option<(Timestamp, u64)>>);

impl Meter {
    /// Billionths of a core between the sample before and this one.
    fn rate(&self, now: Timestamp, cpu_nanos: u64) -> Option<u64> {
        let before = self.0.lock().replace((now, cpu_nanos));
        let (then, used) = before?;
        let passed = u128::try_from(now.as_nanosecond() - then.as_nanosecond()).ok().filter(|passed| *passed > 0)?;
        u64::try_from(u128::from(cpu_nanos.saturating_sub(used)) * SECOND_NANOS / passed).ok()
    }
}

pub(super) async fn measure(server: &Server) -> Usage {
    let at = Timestamp::now();
    let runtime = server.access.runtime();
    let containers = runtime.list_containers(ListContainersRequest::default()).await;
    let stats = runtime.list_container_stats(ListContainerStatsRequest::default()).await;
    let sandboxes = runtime.list_pod_sandbox_stats(ListPodSandboxStatsRequest::default()).await;
    let failed = containers.is_err() || stats.is_err();
    let pods = join(
        &server.access.pods(),
        &containers.map(|answer| answer.containers).unwrap_or_default(),
        &stats.map(|answer| answer.stats).unwrap_or_default(),
        &sandboxes.map(|answer| answer.stats).unwrap_or_default(),
    );
    let images = runtime.image_fs_info(ImageFsInfoRequest::default()).await.ok();
    let images = images.and_then(|answer| number(answer.image_filesystems.into_iter().next()?.used_bytes));
    let mut usage = Usage {
        at,
        booted: None,
        node: Sample::default(),
        traffic: None,
        disk: None,
        images_used: images,
        max_pid: None,
        processes: None,
        pods,
        failed,
    };
    if !runtime.is_fake() {
        host(server, &mut usage);
    }
    usage
}

fn host(server: &Server, usage: &mut Usage) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/stat");
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "));
    usage.booted = boot.and_then(|text| Timestamp::from_second(text.trim().parse().ok()?).ok());
    let memory = read("/proc/meminfo");
    let of = |name: &str| facts::kilobytes(&memory, name);
    let (total, free, available) = (of("MemTotal:"), of("MemFree:"), of("MemAvailable:"));
    let cpu = busy_nanos(&stat);
    usage.node = Sample {
        nano_cores: cpu.and_then(|cpu| server.usage.rate(usage.at, cpu)),
        cpu_nanos: cpu,
        available: Some(available),
        usage: Some(total.saturating_sub(free)),
        working_set: Some(total.saturating_sub(available)),
        rss: Some(of("AnonPages:")),
        ..Sample::default()
    };
    usage.traffic = default_interface(&read("/proc/net/route")).and_then(|name| traffic(&read("/proc/net/dev"), name));
    usage.disk = disk(&server.access.config().root_dir);
    usage.max_pid = read("/proc/sys/kernel/pid_max").trim().parse().ok();
    let load = read("/proc/loadavg");
    usage.processes = load.split_whitespace().nth(3).and_then(|text| text.split_once('/')?.1.parse().ok());
}

/// Time that all cores together were not idle.
fn busy_nanos(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
    Some(busy * TICK_NANOS)
}

fn default_interface(routes: &str) -> Option<&str> {
    let mut lines = routes.lines().skip(1).map(str::split_whitespace);
    lines.find_map(|mut parts| {
        let (name, to) = (parts.next()?, parts.next()?);
        (to == "00000000").then_some(name)
    })
}

fn traffic(dev: &str, name: &str) -> Option<Traffic> {
    let line = dev.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    let at = |index: usize| numbers.get(index).copied();
    Some(Traffic { name: name.into(), rx_bytes: at(0), rx_errors: at(2), tx_bytes: at(8), tx_errors: at(10) })
}

fn disk(path: &Path) -> Option<Disk> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(Disk {
        available: stat.f_bavail * stat.f_frsize,
        capacity: stat.f_blocks * stat.f_frsize,
        used: (stat.f_blocks - stat.f_bfree) * stat.f_frsize,
        inodes_free: stat.f_ffree,
        inodes: stat.f_files,
        inodes_used: stat.f_files - stat.f_ffree,
    })
}

fn number(value: Option<UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

fn sample(cpu: Option<&CpuUsage>, memory: Option<&MemoryUsage>) -> Sample {
    let cpu_of = |get: fn(&CpuUsage) -> Option<UInt64Value>| cpu.and_then(get).map(|value| value.value);
    let memory_of = |get: fn(&MemoryUsage) -> Option<UInt64Value>| memory.and_then(get).map(|value| value.value);
    Sample {
        cpu_nanos: cpu_of(|cpu| cpu.usage_core_nano_seconds.clone()),
        nano_cores: cpu_of(|cpu| cpu.usage_nano_cores.clone()),
        available: memory_of(|memory| memory.available_bytes.clone()),
        usage: memory_of(|memory| memory.usage_bytes.clone()),
        working_set: memory_of(|memory| memory.working_set_bytes.clone()),
        rss: memory_of(|memory| memory.rss_bytes.clone()),
        page_faults: memory_of(|memory| memory.page_faults.clone()),
        major_page_faults: memory_of(|memory| memory.major_page_faults.clone()),
    }
}

fn join(
    pods: &[Pod],
    containers: &[Container],
    stats: &[ContainerStats],
    sandboxes: &[PodSandboxStats],
) -> Vec<PodUsage> {
    let by_id: HashMap<&str, &ContainerStats> =
        stats.iter().filter_map(|stats| Some((stats.attributes.as_ref()?.id.as_str(), stats))).collect();
    let uid_of = |stats: &PodSandboxStats| stats.attributes.as_ref()?.labels.get(POD_UID_LABEL).cloned();
    let sandboxes: HashMap<String, &PodSandboxStats> =
        sandboxes.iter().filter_map(|stats| Some((uid_of(stats)?, stats))).collect();
    let mut found: Vec<PodUsage> =
        pods.iter().filter_map(|pod| pod_usage(pod, containers, &by_id, &sandboxes)).collect();
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    found
}

/// `None` for a pod of which nothing runs.
fn pod_usage(
    pod: &Pod,
    containers: &[Container],
    stats: &HashMap<&str, &ContainerStats>,
    sandboxes: &HashMap<String, &PodSandboxStats>,
) -> Option<PodUsage> {
    let uid = shape::uid(pod);
    let running = containers.iter().filter(|one| {
        one.state == ContainerState::ContainerRunning as i32
            && one.labels.get(POD_UID_LABEL).is_some_and(|label| label == uid)
    });
    let containers: Vec<ContainerUsage> =
        running.map(|one| container_usage(one, stats.get(one.id.as_str()).copied())).collect();
    if containers.is_empty() {
        return None;
    }
    let linux = sandboxes.get(uid).and_then(|stats| stats.linux.as_ref());
    let mut whole = linux.map(|linux| sample(linux.cpu.as_ref(), linux.memory.as_ref())).unwrap_or_default();
    if whole.cpu_nanos.is_none() {
        whole = sum(&containers);
    }
    let network = linux.and_then(|linux| linux.network.as_ref()?.default_interface.as_ref());
    Some(PodUsage {
        namespace: shape::namespace(pod).into(),
        name: shape::name(pod).into(),
        uid: uid.into(),
        started: pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0),
        sample: whole,
        traffic: network.map(|network| Traffic {
            name: network.name.clone(),
            rx_bytes: number(network.rx_bytes.clone()),
            rx_errors: number(network.rx_errors.clone()),
            tx_bytes: number(network.tx_bytes.clone()),
            tx_errors: number(network.tx_errors.clone()),
        }),
        processes: linux.and_then(|linux| number(linux.process.as_ref()?.process_count.clone())),
        containers,
    })
}

fn container_usage(container: &Container, stats: Option<&ContainerStats>) -> ContainerUsage {
    let layer = stats.and_then(|stats| stats.writable_layer.as_ref());
    ContainerUsage {
        id: container.id.clone(),
        name: container.labels.get(CONTAINER_NAME_LABEL).cloned().unwrap_or_default(),
        image: container.image.as_ref().map(|image| image.image.clone()).unwrap_or_default(),
        started: Timestamp::from_nanosecond(i128::from(container.created_at)).ok(),
        sample: stats.map(|stats| sample(stats.cpu.as_ref(), stats.memory.as_ref())).unwrap_or_default(),
        layer_bytes: layer.and_then(|layer| number(layer.used_bytes.clone())),
        layer_inodes: layer.and_then(|layer| number(layer.inodes_used.clone())),
    }
}

/// What the containers use together, for runtimes that do not count for the pod.
fn sum(containers: &[ContainerUsage]) -> Sample {
    let total = |get: fn(&Sample) -> Option<u64>| {
        containers.iter().filter_map(|container| get(&container.sample)).reduce(|a, b| a + b)
    };
    Sample {
        cpu_nanos: total(|sample| sample.cpu_nanos),
        nano_cores: total(|sample| sample.nano_cores),
        available: None,
        usage: total(|sample| sample.usage),
        working_set: total(|sample| sample.working_set),
        rss: total(|sample| sample.rss),
        page_faults: total(|sample| sample.page_faults),
        major_page_faults: total(|sample| sample.major_page_faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read() {
        let stat = "cpu  100 10 50 9000 40 1 2 3 7 0\ncpu0 1 1 1 1\nbtime 1700000000\n";
        assert_eq!(busy_nanos(stat), Some(166 * TICK_NANOS));
        let routes = "Iface\tDestination\tGateway\neth1\t0000A8C0\t0\neth0\t00000000\t010000C0\n";
        assert_eq!(default_interface(routes), Some("eth0"));
        let dev = "Inter-|\n face |\n  eth0: 10 1 2 3 0 0 0 0 20 4 5 0 0 0 0 0\n";
        let found = traffic(dev, "eth0").expect("there");
        assert_eq!(
            (found.rx_bytes, found.rx_errors, found.tx_bytes, found.tx_errors),
            (Some(10), Some(2), Some(20), Some(5))
        );
    }

    #[test]
    fn the_rate_is_between_two_samples() {
        let (meter, start) = (Meter::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(meter.rate(start, 5_000_000_000), None);
        let later = Timestamp::from_second(10).expect("a time");
        assert_eq!(meter.rate(later, 10_000_000_000), Some(500_000_000));
        assert_eq!(meter.rate(later, 10_000_000_000), None);
    }
}
