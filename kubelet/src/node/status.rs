//! The status of the Node object: computed purely, written when it changed and else every
//! `nodeStatusReportFrequency` (pkg/kubelet/kubelet_node_status.go, nodestatus/setters.go@v1.37.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSwapStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::facts::{self, Facts};
use super::state::{Health, NodeState, Pressure};
use crate::config::Config;
use crate::kubelet::Kubelet;
use crate::pod::events;
use crate::resources::{self, Amounts, List};

/// Images told (nodeStatusMaxImages) and names of each (MaxNamesPerImageInNodeStatus).
const IMAGES_MAX: usize = 50;
const NAMES_PER_IMAGE_MAX: usize = 5;
/// What this kubelet says it is.
pub(crate) const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"), "+keelson");
const DISK_MAX_PERCENT: f64 = 100.0;

/// What the status is made from.
pub(crate) struct Inputs<'a> {
    pub(crate) config: &'a Config,
    pub(crate) facts: &'a Facts,
    pub(crate) addresses: Vec<String>,
    pub(crate) health: Health,
    pub(crate) pressure: Pressure,
    pub(crate) runtime: (String, String),
    pub(crate) images: Vec<ContainerImage>,
    pub(crate) now: Timestamp,
}

pub(crate) fn capacity(config: &Config, facts: &Facts) -> List {
    let pods = match (config.pods_per_core, facts.cpu.parse::<u32>()) {
        (per_core, Ok(cores)) if per_core > 0 => config.max_pods.min(cores.saturating_mul(per_core)),
        _ => config.max_pods,
    };
    let quantity = |text: String| k8s_openapi::apimachinery::pkg::api::resource::Quantity(text);
    let mut list: List = [
        ("cpu".to_owned(), quantity(facts.cpu.clone())),
        ("memory".to_owned(), resources::bytes(facts.memory)),
        ("pods".to_owned(), quantity(pods.to_string())),
        ("ephemeral-storage".to_owned(), resources::bytes(facts.storage)),
    ]
    .into();
    list.extend(facts.hugepages.iter().map(|(name, bytes)| (name.clone(), resources::bytes(*bytes))));
    list
}

/// Capacity less what is reserved and less what eviction keeps free
/// (pkg/kubelet/cm/node_container_manager_linux.go@v1.37.2, GetNodeAllocatableReservation).
pub(crate) fn allocatable(config: &Config, facts: &Facts) -> List {
    let capacity = capacity(config, facts);
    let total = resources::amounts(Some(&capacity));
    let reserved = |name: &str| -> i128 {
        let of = |map: &BTreeMap<String, String>| {
            let quantity = map.get(name).cloned().unwrap_or_default();
            resources::milli(&k8s_openapi::apimachinery::pkg::api::resource::Quantity(quantity))
        };
        let signal = match name {
            "memory" => "memory.available",
            "ephemeral-storage" => "nodefs.available",
            _ => "",
        };
        let whole = total.get(name).copied().unwrap_or(0);
        let kept = config.eviction_hard.get(signal).map_or(0, |threshold| threshold_milli(threshold, whole));
        of(&config.kube_reserved) + of(&config.system_reserved) + kept
    };
    let hugepages: i128 = total.iter().filter(|(name, _)| name.starts_with("hugepages-")).map(|(_, v)| v).sum();
    let left = |name: &str, amount: i128| {
        let more = if name == "memory" { hugepages } else { 0 };
        (amount - reserved(name) - more).max(0)
    };
    let quantity = |name: &str, amount: i128| match name {
        "memory" | "ephemeral-storage" => resources::bytes(u64::try_from(amount / 1000).unwrap_or(0)),
        _ if name.starts_with("hugepages-") => resources::bytes(u64::try_from(amount / 1000).unwrap_or(0)),
        _ => resources::from_milli(amount),
    };
    total.iter().map(|(name, amount)| (name.clone(), quantity(name, left(name, *amount)))).collect()
}

pub(crate) fn allocatable_amounts(config: &Config, facts: &Facts) -> Amounts {
    resources::amounts(Some(&allocatable(config, facts)))
}

/// `100Mi` or `10%` of `whole`, in thousandths.
fn threshold_milli(text: &str, whole: i128) -> i128 {
    match text.strip_suffix('%').and_then(|percent| percent.parse::<f64>().ok()) {
        Some(percent) => (whole as f64 * percent / DISK_MAX_PERCENT) as i128,
        None => resources::milli(&k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.to_owned())),
    }
}

/// What presses on the machine now (pkg/kubelet/eviction/helpers.go@v1.37.2; the thresholds decide,
/// evicting is another matter).
pub(crate) fn measure_pressure(config: &Config) -> Pressure {
    let below = |signal: &str, available: u64, whole: u64| {
        let milli = |value: u64| i128::from(value) * 1000;
        config.eviction_hard.get(signal).is_some_and(|text| milli(available) < threshold_milli(text, milli(whole)))
    };
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = |name: &str| facts::kilobytes(&meminfo, name);
    let disk = rustix::fs::statvfs(&config.root_dir).is_ok_and(|stat| {
        below("nodefs.available", stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)
            || (stat.f_files > 0 && below("nodefs.inodesFree", stat.f_favail, stat.f_files))
    });
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let loadavg = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let threads = loadavg.split(['/', ' ']).nth(4).and_then(|count| count.parse::<u64>().ok());
    let pids = match (number("/proc/sys/kernel/pid_max"), threads) {
        (Some(max), Some(threads)) => below("pid.available", max.saturating_sub(threads), max),
        _ => false,
    };
    Pressure { memory: below("memory.available", memory("MemAvailable:"), memory("MemTotal:")), disk, pids }
}

/// The new status, given the old one.
pub(crate) fn compute(old: &NodeStatus, inputs: &Inputs<'_>) -> NodeStatus {
    let config = inputs.config;
    let mut addresses: Vec<NodeAddress> =
        inputs.addresses.iter().map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.clone() }).collect();
    addresses.push(NodeAddress { type_: "Hostname".into(), address: config.hostname().into() });
    let capacity = capacity(config, inputs.facts);
    let endpoint = (config.port != 0).then(|| DaemonEndpoint { port: i32::from(config.port) });
    NodeStatus {
        addresses: Some(addresses),
        allocatable: Some(merged(&old.allocatable, allocatable(config, inputs.facts))),
        capacity: Some(merged(&old.capacity, capacity)),
        conditions: Some(conditions(old, inputs)),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: endpoint }),
        // An API server hands WebSockets on to a node that says so, and translates for one that does not.
        declared_features: (config.port != 0).then(|| vec!["ExtendWebSocketsToKubelet".to_owned()]),
        images: Some(inputs.images.clone()),
        node_info: Some(node_info(inputs)),
        ..old.clone()
    }
}

/// Resources that others put there (extended resources) stay.
fn merged(old: &Option<List>, new: List) -> List {
    let mut list = old.clone().unwrap_or_default();
    list.retain(|name, _| name.contains('/'));
    list.extend(new);
    list
}

fn node_info(inputs: &Inputs<'_>) -> NodeSystemInfo {
    let facts = inputs.facts;
    let (name, version) = &inputs.runtime;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    NodeSystemInfo {
        architecture: architecture.into(),
        operating_system: "linux".into(),
        boot_id: facts.boot_id.clone(),
        container_runtime_version: format!("{name}://{version}"),
        kernel_version: facts.kernel.clone(),
        kubelet_version: VERSION.into(),
        machine_id: facts.machine_id.clone(),
        system_uuid: facts.system_uuid.clone(),
        os_image: facts.os_image.clone(),
        swap: (facts.swap > 0).then(|| NodeSwapStatus { capacity: i64::try_from(facts.swap).ok() }),
        ..NodeSystemInfo::default()
    }
}

fn conditions(old: &NodeStatus, inputs: &Inputs<'_>) -> Vec<NodeCondition> {
    let health = &inputs.health;
    let complaints: Vec<&str> =
        [&health.runtime, &health.pleg, &health.network].into_iter().flatten().map(String::as_str).collect();
    let complaint = match complaints.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    };
    let ready = match complaints.is_empty() {
        true => ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        false => ("Ready", false, "KubeletNotReady", complaint.as_str()),
    };
    let pressure = inputs.pressure;
    let pick = |kind, is, bad: (&'static str, &'static str), good: (&'static str, &'static str)| {
        let (reason, message) = if is { bad } else { good };
        (kind, is, reason, message)
    };
    let memory = pick(
        "MemoryPressure",
        pressure.memory,
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let disk = pick(
        "DiskPressure",
        pressure.disk,
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pids = pick(
        "PIDPressure",
        pressure.pids,
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    let mut all: Vec<NodeCondition> = old.conditions.clone().unwrap_or_default();
    for (kind, status, reason, message) in [memory, disk, pids, ready] {
        set_condition(&mut all, kind, status, reason, message, inputs.now);
    }
    all
}

fn set_condition(all: &mut Vec<NodeCondition>, kind: &str, status: bool, reason: &str, message: &str, now: Timestamp) {
    let status = if status { "True" } else { "False" };
    let old = all.iter().position(|condition| condition.type_ == kind);
    let since =
        old.map(|at| &all[at]).filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    let condition = NodeCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(since.unwrap_or(Time(now))),
    };
    match old {
        Some(at) => all[at] = condition,
        None => all.push(condition),
    }
}

/// Equal but for heartbeats.
fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        status.conditions.iter_mut().flatten().for_each(|condition| condition.last_heartbeat_time = None);
        status
    };
    still(a) == still(b)
}

/// A strategic merge patch of what differs.
fn patch(old: &NodeStatus, new: &NodeStatus) -> Value {
    let (old, new) = (json!(old), json!(new));
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return json!({}) };
    let mut changed: serde_json::Map<String, Value> =
        new.into_iter().filter(|(key, value)| old.get(key) != Some(value)).collect();
    if let Some(Value::Array(addresses)) = changed.get_mut("addresses") {
        // Addresses merge by type, of which there may be two: replace them whole, as upstream does.
        addresses.push(json!({"$patch": "replace"}));
    }
    json!({ "status": changed })
}

pub(crate) async fn inputs<'a>(kubelet: &'a Kubelet) -> Inputs<'a> {
    let state: &NodeState = &kubelet.node;
    let fake = kubelet.runtime.is_fake();
    Inputs {
        config: &kubelet.config,
        facts: &state.facts,
        addresses: state.host_ips(),
        health: state.health(),
        pressure: if fake { Pressure::default() } else { measure_pressure(&kubelet.config) },
        runtime: state.runtime(),
        images: images(kubelet).await,
        now: Timestamp::now(),
    }
}

async fn images(kubelet: &Kubelet) -> Vec<ContainerImage> {
    let listed = kubelet.runtime.list_images(cri::v1::ListImagesRequest::default()).await;
    let mut images = listed.map(|answer| answer.images).unwrap_or_default();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let one = |image: cri::v1::Image| ContainerImage {
        names: Some(image.repo_digests.into_iter().chain(image.repo_tags).take(NAMES_PER_IMAGE_MAX).collect()),
        size_bytes: i64::try_from(image.size).ok(),
    };
    images.into_iter().take(IMAGES_MAX).map(one).collect()
}

/// Writes the status for as long as the kubelet runs: when it changes, and as a heartbeat.
pub(crate) async fn run(kubelet: Arc<Kubelet>) {
    let mut reported: Option<Instant> = None;
    loop {
        let pause = kubelet.config.node_status_update_frequency;
        match tokio::time::timeout(pause, report(&kubelet, reported)).await {
            Ok(Ok(true)) => reported = Some(Instant::now()),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "node status not updated, will retry"),
            Err(_) => tracing::warn!("node status not updated in time, will retry"),
        }
        // A change is reported at once; a burst of changes once a tenth of a second.
        let _ = tokio::time::timeout(pause, kubelet.node.changed.notified()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn report(kubelet: &Kubelet, reported: Option<Instant>) -> client::Result<bool> {
    let api: Api<Node> = Api::all(kubelet.client.clone());
    let node = kubelet.node.node();
    let old = node.status.clone().unwrap_or_default();
    let new = compute(&old, &inputs(kubelet).await);
    let due = reported.is_none_or(|at| at.elapsed() >= kubelet.config.node_status_report_frequency);
    if same(&old, &new) && !due {
        return Ok(false);
    }
    let patch = Patch::Strategic(patch(&old, &new));
    let written = api.patch_status(&kubelet.config.node_name, &PatchParams::default(), &patch).await?;
    announce(kubelet, &old, &new);
    kubelet.node.learn_node(Arc::new(written));
    Ok(true)
}

/// Events about conditions that turned.
fn announce(kubelet: &Kubelet, old: &NodeStatus, new: &NodeStatus) {
    let status = |of: &NodeStatus, kind: &str| {
        of.conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == kind)
            .map(|condition| condition.status == "True")
    };
    for (kind, yes, no) in [
        ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
        ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
        ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
        ("Ready", "NodeReady", "NodeNotReady"),
    ] {
        let (before, after) = (status(old, kind), status(new, kind));
        if before != after {
            let reason = if after == Some(true) { yes } else { no };
            let text = format!("Node {} status is now: {reason}", kubelet.config.node_name);
            kubelet.recorder.about(kubelet.node_reference(), events::NORMAL, reason, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute_with(old: &NodeStatus, config: &Config, health: Health) -> NodeStatus {
        let facts = Facts { boot_id: "b".into(), ..Facts::claim(config) };
        let inputs = Inputs {
            config,
            facts: &facts,
            addresses: vec!["10.0.0.1".into()],
            health,
            pressure: Pressure { memory: false, disk: true, pids: false },
            runtime: ("fake".into(), "1".into()),
            images: vec![],
            now: Timestamp::UNIX_EPOCH,
        };
        compute(old, &inputs)
    }

    const WELL: Health = Health { runtime: None, network: None, pleg: None };

    fn show(status: &NodeStatus) -> Vec<String> {
        let one = |c: &NodeCondition| format!("{}={} {}", c.type_, c.status, c.reason.clone().unwrap_or_default());
        status.conditions.iter().flatten().map(one).collect()
    }

    #[test]
    fn conditions_say_what_is_so() {
        let config = Config::new("n");
        let status = compute_with(&NodeStatus::default(), &config, WELL);
        let expect = [
            "MemoryPressure=False KubeletHasSufficientMemory",
            "DiskPressure=True KubeletHasDiskPressure",
            "PIDPressure=False KubeletHasSufficientPID",
            "Ready=True KubeletReady",
        ];
        assert_eq!(show(&status), expect);
        let ill = Health { runtime: Some("a".into()), network: Some("b".into()), pleg: None };
        let status = compute_with(&status, &config, ill);
        let ready = status.conditions.iter().flatten().last().expect("ready");
        assert_eq!((ready.status.as_str(), ready.message.as_deref()), ("False", Some("[a, b]")));
    }

    #[test]
    fn capacity_less_reservations() {
        let mut config = Config::new("n");
        config.kube_reserved = [("cpu".to_owned(), "500m".to_owned()), ("memory".to_owned(), "1Gi".to_owned())].into();
        let status = compute_with(&NodeStatus::default(), &config, WELL);
        let of = |list: &Option<List>, name: &str| list.as_ref().and_then(|l| l.get(name)).map(|q| q.0.clone());
        assert_eq!(of(&status.capacity, "cpu").as_deref(), Some("32"));
        assert_eq!(of(&status.allocatable, "cpu").as_deref(), Some("31500m"));
        assert_eq!(of(&status.allocatable, "memory").as_deref(), Some("261020Mi"));
        assert_eq!(of(&status.allocatable, "pods").as_deref(), Some("110"));
    }

    #[test]
    fn only_what_differs_is_sent() {
        let config = Config::new("n");
        let old = compute_with(&NodeStatus::default(), &config, WELL);
        assert!(same(&old, &compute_with(&old, &config, WELL)));
        let new = compute_with(&old, &config, Health { network: Some("no".into()), ..WELL });
        let patch = patch(&old, &new);
        let keys: Vec<&String> = patch["status"].as_object().expect("object").keys().collect();
        assert_eq!(keys, ["conditions"]);
    }
}
