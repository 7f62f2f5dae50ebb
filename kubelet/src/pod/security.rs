//! Security contexts in CRI terms (pkg/securitycontext/util.go,
//! pkg/kubelet/kuberuntime/security_context.go, helpers.go@v1.37.2).

use std::path::Path;

use cri::v1::security_profile::ProfileType;
use cri::v1::{
    Capability, Int64Value, LinuxContainerSecurityContext, NamespaceMode, NamespaceOption, SeLinuxOption,
    SecurityProfile, SupplementalGroupsPolicy,
};
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};

use super::shape;

const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Who an image runs as: a number or a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ImageUser {
    pub(crate) uid: Option<i64>,
    pub(crate) name: String,
}

pub(crate) fn of_pod(pod: &Pod) -> PodSecurityContext {
    shape::spec(pod).security_context.clone().unwrap_or_default()
}

/// The container's context with the pod's where it has none.
pub(crate) fn effective(pod: &Pod, container: &Container) -> SecurityContext {
    let (of_pod, own) = (of_pod(pod), container.security_context.clone().unwrap_or_default());
    SecurityContext {
        run_as_user: own.run_as_user.or(of_pod.run_as_user),
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        run_as_non_root: own.run_as_non_root.or(of_pod.run_as_non_root),
        se_linux_options: own.se_linux_options.or(of_pod.se_linux_options),
        seccomp_profile: own.seccomp_profile.or(of_pod.seccomp_profile),
        app_armor_profile: own.app_armor_profile.or(of_pod.app_armor_profile),
        ..own
    }
}

/// pkg/kubelet/kuberuntime/security_context_others.go@v1.37.2, verifyRunAsNonRoot.
pub(crate) fn verify_non_root(pod: &Pod, container: &Container, image: &ImageUser) -> Result<(), String> {
    let context = effective(pod, container);
    if context.run_as_non_root != Some(true) {
        return Ok(());
    }
    let place = format!("(pod: {:?}, container: {})", shape::display(pod), container.name);
    match (context.run_as_user, image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        (None, None) if !image.name.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {place}",
            image.name
        )),
        _ => Ok(()),
    }
}

pub(crate) fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = shape::spec(pod);
    let node_or_pod = |node: Option<bool>| if node == Some(true) { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => NamespaceMode::Node,
        (_, Some(true)) => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    NamespaceOption {
        network: node_or_pod(spec.host_network) as i32,
        ipc: node_or_pod(spec.host_ipc) as i32,
        pid: pid as i32,
        ..NamespaceOption::default()
    }
}

pub(crate) fn groups(context: &PodSecurityContext) -> Vec<i64> {
    context.fs_group.into_iter().chain(context.supplemental_groups.iter().flatten().copied()).collect()
}

pub(crate) fn groups_policy(context: &PodSecurityContext) -> i32 {
    match context.supplemental_groups_policy.as_deref() {
        Some("Strict") => SupplementalGroupsPolicy::Strict as i32,
        _ => SupplementalGroupsPolicy::Merge as i32,
    }
}

pub(crate) fn selinux(options: &SELinuxOptions) -> SeLinuxOption {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    SeLinuxOption {
        user: text(&options.user),
        role: text(&options.role),
        r#type: text(&options.type_),
        level: text(&options.level),
    }
}

/// `root` is the kubelet's folder of local seccomp profiles.
pub(crate) fn seccomp(profile: Option<&SeccompProfile>, root: &Path, by_default: bool) -> SecurityProfile {
    let plain = |kind: ProfileType| SecurityProfile { profile_type: kind as i32, localhost_ref: String::new() };
    match profile {
        None if by_default => plain(ProfileType::RuntimeDefault),
        None => plain(ProfileType::Unconfined),
        Some(profile) => match profile.type_.as_str() {
            "RuntimeDefault" => plain(ProfileType::RuntimeDefault),
            "Localhost" => {
                let file = root.join(profile.localhost_profile.as_deref().unwrap_or(""));
                SecurityProfile {
                    profile_type: ProfileType::Localhost as i32,
                    localhost_ref: file.display().to_string(),
                }
            }
            _ => plain(ProfileType::Unconfined),
        },
    }
}

fn apparmor(profile: &AppArmorProfile) -> SecurityProfile {
    let kind = match profile.type_.as_str() {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    SecurityProfile { profile_type: kind as i32, localhost_ref: profile.localhost_profile.clone().unwrap_or_default() }
}

fn value(number: i64) -> Int64Value {
    Int64Value { value: number }
}

/// What the runtime is told for one container.
pub(crate) fn for_container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    seccomp_root: &Path,
    seccomp_default: bool,
    target: Option<String>,
) -> LinuxContainerSecurityContext {
    let (context, of_pod) = (effective(pod, container), of_pod(pod));
    let mut namespaces = namespaces(pod);
    if let Some(target) = target {
        namespaces.pid = NamespaceMode::Target as i32;
        namespaces.target_id = target;
    }
    let unmasked = context.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { vec![] } else { list.iter().map(|path| (*path).to_owned()).collect() };
    let user = context.run_as_user.or(image.uid);
    let name = if context.run_as_user.is_none() { image.name.clone() } else { String::new() };
    LinuxContainerSecurityContext {
        capabilities: context.capabilities.as_ref().map(|capabilities| Capability {
            add_capabilities: capabilities.add.clone().unwrap_or_default(),
            drop_capabilities: capabilities.drop.clone().unwrap_or_default(),
            ..Capability::default()
        }),
        privileged: context.privileged == Some(true),
        namespace_options: Some(namespaces),
        selinux_options: context.se_linux_options.as_ref().map(selinux),
        run_as_user: user.map(value),
        run_as_group: context.run_as_group.map(value),
        run_as_username: name,
        readonly_rootfs: context.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        no_new_privs: context.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(seccomp(context.seccomp_profile.as_ref(), seccomp_root, seccomp_default)),
        apparmor: context.app_armor_profile.as_ref().map(apparmor),
        ..LinuxContainerSecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn the_container_wins() {
        let pod = pod("{securityContext: {runAsUser: 1, runAsGroup: 2, fsGroup: 3, supplementalGroups: [4]}, \
            containers: [{name: a, securityContext: {runAsUser: 9, allowPrivilegeEscalation: false}}]}");
        let container = &shape::spec(&pod).containers[0];
        let made = for_container(&pod, container, &ImageUser::default(), Path::new("/s"), false, None);
        assert_eq!(made.run_as_user, Some(value(9)));
        assert_eq!(made.run_as_group, Some(value(2)));
        assert_eq!(made.supplemental_groups, [3, 4]);
        assert!(made.no_new_privs && !made.privileged);
        assert_eq!(made.masked_paths.len(), MASKED_PATHS.len());
    }

    #[test]
    fn non_root() {
        let check = |context: &str, uid: Option<i64>, name: &str, expect: Option<&str>| {
            let pod = pod(&format!("{{containers: [{{name: a, securityContext: {context}}}]}}"));
            let image = ImageUser { uid, name: name.into() };
            let found = verify_non_root(&pod, &shape::spec(&pod).containers[0], &image).err();
            assert_eq!(
                found.as_deref().map(|text| text.starts_with(expect.unwrap_or("-"))),
                expect.map(|_| true),
                "{found:?}"
            );
        };
        check("{}", Some(0), "", None);
        check("{runAsNonRoot: true}", Some(7), "", None);
        check("{runAsNonRoot: true}", Some(0), "", Some("container has runAsNonRoot and image will run as root"));
        check("{runAsNonRoot: true, runAsUser: 0}", None, "", Some("container's runAsUser breaks"));
        check(
            "{runAsNonRoot: true}",
            None,
            "www",
            Some("container has runAsNonRoot and image has non-numeric user (www)"),
        );
    }

    #[test]
    fn seccomp_profiles() {
        let check = |kind: Option<&str>, by_default: bool, expect: (ProfileType, &str)| {
            let profile = kind.map(|kind| SeccompProfile {
                type_: kind.into(),
                localhost_profile: Some("p.json".into()).filter(|_| kind == "Localhost"),
            });
            let made = seccomp(profile.as_ref(), Path::new("/s"), by_default);
            assert_eq!((made.profile_type, made.localhost_ref.as_str()), (expect.0 as i32, expect.1));
        };
        check(None, false, (ProfileType::Unconfined, ""));
        check(None, true, (ProfileType::RuntimeDefault, ""));
        check(Some("Localhost"), false, (ProfileType::Localhost, "/s/p.json"));
        check(Some("Unconfined"), true, (ProfileType::Unconfined, ""));
    }
}
