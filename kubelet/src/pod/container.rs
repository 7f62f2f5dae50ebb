//! The configuration of one container: command, environment, mounts, limits
//! (pkg/kubelet/kuberuntime/kuberuntime_container.go, kuberuntime_container_linux.go@v1.37.2).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use cri::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig, LinuxContainerResources, Mount,
    MountPropagation,
};
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::observe::{
    CONTAINER_NAME_LABEL, HASH_ANNOTATION, POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL, RESTART_ANNOTATION,
};
use super::security::{self, ImageUser};
use super::{shape, termination};
use crate::cgroup::{milli_to_quota, milli_to_shares};
use crate::env::{self, Env, expand};
use crate::fields::Runtime;
use crate::hash::container_hash;
use crate::hosts;
use crate::kubelet::Kubelet;
use crate::resources::{self, limits, requests};
use crate::volumes::{Volumes, subpath};

const GRACE_ANNOTATION: &str = "io.kubernetes.pod.terminationGracePeriod";
const DELETION_GRACE_ANNOTATION: &str = "io.kubernetes.pod.deletionGracePeriod";
const PRE_STOP_ANNOTATION: &str = "io.kubernetes.container.preStopHandler";
const PORTS_ANNOTATION: &str = "io.kubernetes.container.ports";
/// Who the kernel kills first (pkg/kubelet/qos/policy.go@v1.37.2).
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;
/// Priority from which a pod is node-critical (system-node-critical).
const NODE_CRITICAL: i32 = 2_000_001_000;

/// What a container is made from.
pub(crate) struct Inputs<'a> {
    pub(crate) kubelet: &'a Kubelet,
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) volumes: &'a Volumes,
    pub(crate) pod_ips: &'a [String],
    pub(crate) restart_count: u32,
    pub(crate) image_ref: String,
    pub(crate) image_user: ImageUser,
    /// The container whose processes an ephemeral container sees.
    pub(crate) target: Option<String>,
}

pub(crate) async fn config(inputs: &Inputs<'_>) -> Result<ContainerConfig, String> {
    let (kubelet, pod, container) = (inputs.kubelet, inputs.pod, inputs.container);
    let host_ips = kubelet.node.host_ips();
    let runtime = Runtime { pod_ips: inputs.pod_ips, host_ips: &host_ips, allocatable: &kubelet.allocatable };
    if !shape::is_static(pod) {
        kubelet.services.synced().await;
    }
    let env = env::of_container(pod, container, &kubelet.services.list(), &kubelet.objects, &runtime).await?;
    security::verify_non_root(pod, container, &inputs.image_user)?;
    let mounts = if kubelet.runtime.is_fake() { vec![] } else { mounts(inputs, &env)? };
    let words = |list: &Option<Vec<String>>| {
        list.iter().flatten().map(|word| expand(word, |name| env.get(name).cloned())).collect::<Vec<String>>()
    };
    let image = ImageSpec {
        image: inputs.image_ref.clone(),
        user_specified_image: container.image.clone().unwrap_or_default(),
        ..ImageSpec::default()
    };
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: inputs.restart_count }),
        image: Some(image),
        command: words(&container.command),
        args: words(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: env.into_iter().map(|(key, value)| KeyValue { key, value: value.into_bytes() }).collect(),
        mounts,
        labels: labels(pod, container),
        annotations: annotations(pod, container, inputs.restart_count),
        log_path: format!("{}/{}.log", container.name, inputs.restart_count),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(linux(inputs)),
        ..ContainerConfig::default()
    })
}

fn labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    [
        (POD_NAME_LABEL, shape::name(pod)),
        (POD_NAMESPACE_LABEL, shape::namespace(pod)),
        (POD_UID_LABEL, shape::uid(pod)),
        (CONTAINER_NAME_LABEL, container.name.as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn annotations(pod: &Pod, container: &Container, restart_count: u32) -> HashMap<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut all: HashMap<String, String> = [
        (HASH_ANNOTATION, format!("{:x}", container_hash(container))),
        (RESTART_ANNOTATION, restart_count.to_string()),
        (termination::PATH_ANNOTATION, text(&container.termination_message_path)),
        (termination::POLICY_ANNOTATION, text(&container.termination_message_policy)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let grace = shape::spec(pod).termination_grace_period_seconds;
    let deletion = pod.metadata.deletion_grace_period_seconds;
    let pre_stop = container.lifecycle.as_ref().and_then(|hooks| hooks.pre_stop.as_ref());
    let ports = container.ports.as_ref().filter(|ports| !ports.is_empty());
    let optional = [
        (GRACE_ANNOTATION, grace.map(|seconds| seconds.to_string())),
        (DELETION_GRACE_ANNOTATION, deletion.map(|seconds| seconds.to_string())),
        (PRE_STOP_ANNOTATION, pre_stop.and_then(|hook| serde_json::to_string(hook).ok())),
        (PORTS_ANNOTATION, ports.and_then(|ports| serde_json::to_string(ports).ok())),
    ];
    all.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    all
}

fn linux(inputs: &Inputs<'_>) -> LinuxContainerConfig {
    let kubelet = inputs.kubelet;
    let seccomp_root = kubelet.config.root_dir.join("seccomp");
    let context = security::for_container(
        inputs.pod,
        inputs.container,
        &inputs.image_user,
        &seccomp_root,
        kubelet.config.seccomp_default,
        inputs.target.clone(),
    );
    let resources = linux_resources(kubelet, inputs.pod, inputs.container);
    LinuxContainerConfig { resources: Some(resources), security_context: Some(context) }
}

pub(crate) fn linux_resources(kubelet: &Kubelet, pod: &Pod, container: &Container) -> LinuxContainerResources {
    let own = container.resources.as_ref();
    let of_pod = limits(shape::spec(pod).resources.as_ref());
    let (requests, limits) = (requests(own), limits(own));
    let limit = |name: &str| limits.get(name).or_else(|| of_pod.get(name)).copied().unwrap_or(0);
    let cpu_request = requests.get("cpu").copied().unwrap_or_else(|| limit("cpu"));
    let period = u64::try_from(kubelet.config.cpu_cfs_quota_period.as_micros()).unwrap_or(0);
    let quota = kubelet.config.cpu_cfs_quota.then(|| milli_to_quota(limit("cpu"), period));
    let shares = i64::try_from(milli_to_shares(cpu_request)).unwrap_or(0);
    let mut made = LinuxContainerResources {
        cpu_shares: shares,
        cpu_quota: quota.unwrap_or(0),
        cpu_period: quota.and_then(|_| i64::try_from(period).ok()).unwrap_or(0),
        memory_limit_in_bytes: i64::try_from(limit("memory") / 1000).unwrap_or(0),
        oom_score_adj: oom_score(pod, container, kubelet.node.facts.memory),
        ..LinuxContainerResources::default()
    };
    if kubelet.cgroups.as_ref().is_some_and(crate::cgroup::Cgroups::is_v2) {
        // One process over the limit ends the container, not half of it.
        made.unified.insert("memory.oom.group".into(), "1".into());
    }
    made
}

/// pkg/kubelet/qos/policy.go@v1.37.2, GetContainerOOMScoreAdjust.
fn oom_score(pod: &Pod, container: &Container, capacity: u64) -> i64 {
    if shape::spec(pod).priority.is_some_and(|priority| priority >= NODE_CRITICAL) {
        return OOM_GUARANTEED;
    }
    match resources::qos_class(pod) {
        "Guaranteed" => return OOM_GUARANTEED,
        "BestEffort" => return OOM_BEST_EFFORT,
        _ => {}
    }
    let request = |container: &Container| requests(container.resources.as_ref()).get("memory").map_or(0, |m| m / 1000);
    let score = |bytes: i128| {
        let part = 1000 * bytes / i128::from(capacity.max(1));
        i64::try_from(1000 - part).unwrap_or(OOM_BEST_EFFORT)
    };
    let mut adjust = score(request(container));
    if shape::is_sidecar(container) {
        let least = shape::spec(pod).containers.iter().map(request).min().unwrap_or(0);
        adjust = adjust.min(score(least));
    }
    adjust.clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
}

fn mounts(inputs: &Inputs<'_>, env: &Env) -> Result<Vec<Mount>, String> {
    let container = inputs.container;
    let mut all = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        all.push(volume_mount(inputs, env, index, mount)?);
    }
    let own_hosts = all.iter().any(|mount: &Mount| mount.container_path == "/etc/hosts");
    if !own_hosts && (!inputs.pod_ips.is_empty() || shape::host_network(inputs.pod)) {
        all.push(hosts_mount(inputs)?);
    }
    if let Some(path) = container.termination_message_path.as_deref().filter(|path| !path.is_empty()) {
        all.push(termination_mount(inputs, path).map_err(|e| e.to_string())?);
    }
    Ok(all)
}

fn volume_mount(inputs: &Inputs<'_>, env: &Env, index: usize, mount: &VolumeMount) -> Result<Mount, String> {
    let name = &inputs.container.name;
    let Some(volume) = inputs.volumes.get(&mount.name) else {
        return Err(format!("cannot find volume {:?} to mount into container {name:?}", mount.name));
    };
    let sub = match mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => expand_sub_path(text, env)?,
        None => mount.sub_path.clone().unwrap_or_default(),
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        _ => MountPropagation::PropagationPrivate,
    };
    let mut made = Mount {
        container_path: mount.mount_path.clone(),
        readonly: volume.read_only || mount.read_only == Some(true),
        propagation: propagation as i32,
        ..Mount::default()
    };
    if let Some(image) = &volume.image {
        made.image = Some(ImageSpec { image: image.clone(), ..ImageSpec::default() });
        made.image_sub_path = sub;
        return Ok(made);
    }
    made.host_path = volume.path.display().to_string();
    if !sub.is_empty() {
        let pod_dir = inputs.kubelet.config.pod_dir(shape::uid(inputs.pod));
        let place = subpath::Place { pod_dir: &pod_dir, volume: &mount.name, container: name, index };
        let bound = subpath::bind(&volume.path, &sub, &place).map_err(|e| {
            format!("failed to prepare subPath for volumeMount {:?} of container {name:?}: {e}", mount.name)
        })?;
        made.host_path = bound.display().to_string();
    }
    Ok(made)
}

/// Unlike elsewhere, an unknown name is an error here.
fn expand_sub_path(text: &str, env: &Env) -> Result<String, String> {
    let missing = std::cell::Cell::new(false);
    let expanded = expand(text, |name| {
        let found = env.get(name).cloned();
        missing.set(missing.get() || found.is_none());
        found
    });
    match missing.get() {
        true => Err(format!("missing value for {text:?}")),
        false => Ok(expanded),
    }
}

fn hosts_mount(inputs: &Inputs<'_>) -> Result<Mount, String> {
    let (pod, config) = (inputs.pod, &inputs.kubelet.config);
    let (name, domain) = hosts::hostname(pod, &config.cluster_domain)?;
    let node =
        if shape::host_network(pod) { fs::read_to_string("/etc/hosts").unwrap_or_default() } else { String::new() };
    let text = hosts::hosts_file(pod, inputs.pod_ips, &name, &domain, &node);
    let path = config.pod_dir(shape::uid(pod)).join("etc-hosts");
    write_with_mode(&path, &text, 0o644).map_err(|e| e.to_string())?;
    Ok(Mount { container_path: "/etc/hosts".into(), host_path: path.display().to_string(), ..Mount::default() })
}

/// A file of its own for each start, so that one run's message is never taken for another's.
fn termination_mount(inputs: &Inputs<'_>, path: &str) -> io::Result<Mount> {
    let pod_dir = inputs.kubelet.config.pod_dir(shape::uid(inputs.pod));
    let folder = pod_dir.join("containers").join(&inputs.container.name);
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{:08x}", rand::random::<u32>()));
    write_with_mode(&file, "", 0o666)?;
    Ok(Mount { container_path: path.into(), host_path: file.display().to_string(), ..Mount::default() })
}

fn write_with_mode(path: &std::path::Path, text: &str, mode: u32) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn oom_scores() {
        let check = |resources: &str, expect: i64| {
            let pod = pod(&format!("{{containers: [{{name: a, resources: {resources}}}]}}"));
            assert_eq!(oom_score(&pod, &shape::spec(&pod).containers[0], 1000 << 20), expect, "{resources}");
        };
        check("{}", 1000);
        check("{requests: {memory: 100Mi}}", 900);
        check("{requests: {cpu: 1}}", 999);
        check("{requests: {memory: 2000Mi}}", 3);
        check("{limits: {cpu: 1, memory: 1Mi}, requests: {cpu: 1, memory: 1Mi}}", -997);
    }

    #[test]
    fn a_sub_path_needs_its_variables() {
        let env: Env = [("A".to_owned(), "x".to_owned())].into();
        assert_eq!(expand_sub_path("$(A)/y", &env).as_deref(), Ok("x/y"));
        assert_eq!(expand_sub_path("$(B)", &env), Err("missing value for \"$(B)\"".into()));
    }
}
