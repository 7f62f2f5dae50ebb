//! The sandbox of a pod: its configuration, and making it
//! (pkg/kubelet/kuberuntime/kuberuntime_sandbox.go@v1.37.2).

use cri::v1::security_profile::ProfileType;
use cri::v1::{
    Int64Value, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, PodSandboxConfig, PodSandboxMetadata, PortMapping,
    Protocol, RunPodSandboxRequest, SecurityProfile,
};
use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;

use super::observe::{POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL};
use super::{guard, security, shape};
use crate::hosts;
use crate::kubelet::Kubelet;

pub(crate) fn config(kubelet: &Kubelet, pod: &Pod, attempt: u32) -> Result<PodSandboxConfig, String> {
    guard::user_namespace(pod)?;
    let (name, namespace, uid) = (shape::name(pod), shape::namespace(pod), shape::uid(pod));
    let mut labels: std::collections::HashMap<String, String> =
        pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    for (key, value) in [(POD_NAME_LABEL, name), (POD_NAMESPACE_LABEL, namespace), (POD_UID_LABEL, uid)] {
        labels.insert(key.into(), value.into());
    }
    let hostname = match shape::host_network(pod) {
        true => String::new(),
        false => {
            let (host, domain) = hosts::hostname(pod, &kubelet.config.cluster_domain)?;
            hosts::kernel_name(pod, &host, &domain)?
        }
    };
    let ports = shape::spec(pod).containers.iter().flat_map(|container| container.ports.iter().flatten());
    Ok(PodSandboxConfig {
        metadata: Some(PodSandboxMetadata { name: name.into(), namespace: namespace.into(), uid: uid.into(), attempt }),
        hostname,
        log_directory: kubelet.config.pod_log_dir(namespace, name, uid).display().to_string(),
        dns_config: Some(hosts::dns(pod, &kubelet.config, &kubelet.host_dns)),
        port_mappings: ports.map(port).collect(),
        labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(linux(kubelet, pod)),
        ..PodSandboxConfig::default()
    })
}

fn port(port: &ContainerPort) -> PortMapping {
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    PortMapping {
        protocol: protocol as i32,
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    }
}

fn linux(kubelet: &Kubelet, pod: &Pod) -> LinuxPodSandboxConfig {
    let context = security::of_pod(pod);
    let privileged = |container: &k8s_openapi::api::core::v1::Container| {
        container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
    };
    // With a slash or a dot between the parts; runc knows the dot.
    let sysctls = context.sysctls.iter().flatten().map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()));
    let default = SecurityProfile { profile_type: ProfileType::RuntimeDefault as i32, localhost_ref: String::new() };
    LinuxPodSandboxConfig {
        cgroup_parent: kubelet.cgroups.as_ref().map(|cgroups| cgroups.parent(pod)).unwrap_or_default(),
        security_context: Some(LinuxSandboxSecurityContext {
            namespace_options: Some(security::namespaces(pod)),
            selinux_options: context.se_linux_options.as_ref().map(security::selinux),
            run_as_user: context.run_as_user.map(|value| Int64Value { value }),
            run_as_group: context.run_as_group.map(|value| Int64Value { value }),
            supplemental_groups: security::groups(&context),
            supplemental_groups_policy: security::groups_policy(&context),
            privileged: shape::long_lived(pod).any(privileged),
            seccomp: Some(default),
            ..LinuxSandboxSecurityContext::default()
        }),
        sysctls: sysctls.collect(),
        ..LinuxPodSandboxConfig::default()
    }
}

/// Runs the sandbox and returns its id.
pub(crate) async fn run(kubelet: &Kubelet, pod: &Pod, attempt: u32) -> Result<String, String> {
    let config = config(kubelet, pod, attempt)?;
    if !kubelet.runtime.is_fake() {
        std::fs::create_dir_all(&config.log_directory).map_err(|e| e.to_string())?;
    }
    let runtime_handler = handler(kubelet, pod).await?;
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler };
    let answer = kubelet.runtime.run_pod_sandbox(request).await.map_err(|e| e.to_string())?;
    Ok(answer.pod_sandbox_id)
}

/// The runtime handler of the pod's RuntimeClass; empty for the default one.
pub(crate) async fn handler(kubelet: &Kubelet, pod: &Pod) -> Result<String, String> {
    let Some(class) = shape::spec(pod).runtime_class_name.as_deref().filter(|class| !class.is_empty()) else {
        return Ok(String::new());
    };
    let api: Api<RuntimeClass> = Api::all(kubelet.client.clone());
    match api.get_opt(class).await {
        Ok(Some(found)) => Ok(found.handler),
        Ok(None) => Err(format!("failed to get RuntimeClass {class}: runtimeclass.node.k8s.io {class:?} not found")),
        Err(error) => Err(format!("failed to get RuntimeClass {class}: {}", crate::tokens::api_text(&error))),
    }
}
