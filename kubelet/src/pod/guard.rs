//! What a pod asks of the host that this host must not or cannot give: unsafe sysctls, AppArmor,
//! user namespaces (pkg/kubelet/sysctl/*.go, pkg/security/apparmor/validate.go,
//! pkg/kubelet/userns/userns_manager.go@v1.37.2).
//!
//! Invariant: what cannot be enforced is refused, never left out silently.

use k8s_openapi::api::core::v1::{AppArmorProfile, Pod};

use super::admit::Refusal;
use super::{security, shape};

/// Sysctls that are namespaced and isolated; all exist in the kernels that this kubelet runs on.
const SAFE_SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
];
/// Namespaces of sysctls: those of a host namespace would change the host.
const IPC_PREFIXES: [&str; 4] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];

/// Refuses what the node does not allow; `allowed` are patterns of unsafe sysctls (ending in `*`).
pub(crate) fn check(pod: &Pod, allowed: &[String], has_apparmor: bool) -> Result<(), Refusal> {
    let context = security::of_pod(pod);
    for sysctl in context.sysctls.iter().flatten() {
        sysctl_allowed(pod, &sysctl.name.replace('/', "."), allowed)
            .map_err(|text| ("SysctlForbidden".to_owned(), format!("forbidden sysctl: {text}")))?;
    }
    if wants_apparmor(pod) && !has_apparmor {
        let text = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
        return Err(("AppArmor".into(), text.into()));
    }
    Ok(())
}

fn sysctl_allowed(pod: &Pod, name: &str, allowed: &[String]) -> Result<(), String> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    };
    if !SAFE_SYSCTLS.contains(&name) && !allowed.iter().any(|pattern| matches(pattern)) {
        return Err(format!("{name:?} not allowlisted"));
    }
    let is_ipc = IPC_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if is_ipc && shape::spec(pod).host_ipc == Some(true) {
        return Err(format!("{name:?} not allowed with host IPC enabled"));
    }
    if name.starts_with("net.") && shape::host_network(pod) {
        return Err(format!("{name:?} not allowed with host Net enabled"));
    }
    Ok(())
}

fn wants_apparmor(pod: &Pod) -> bool {
    let confined = |profile: Option<AppArmorProfile>| profile.is_some_and(|profile| profile.type_ != "Unconfined");
    shape::long_lived(pod).any(|container| confined(security::effective(pod, container).app_armor_profile))
}

/// Whether this host confines by AppArmor.
pub(crate) fn host_has_apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// User namespaces need mappings that this kubelet does not hand out yet.
pub(crate) fn user_namespace(pod: &Pod) -> Result<(), String> {
    match shape::spec(pod).host_users {
        Some(false) => Err("can't set `spec.hostUsers: false`, runtime does not support user namespaces".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn refusals() {
        let check = |spec: &str, expect: Option<&str>| {
            let found = check(&pod(spec), &["kernel.msg*".to_owned()], false)
                .err()
                .map(|(reason, text)| format!("{reason}: {text}"));
            assert_eq!(found.as_deref(), expect, "{spec}");
        };
        let sysctl = |name: &str, more: &str| {
            format!("{{securityContext: {{sysctls: [{{name: {name}, value: '1'}}]}}, containers: [] {more}}}")
        };
        check(&sysctl("kernel.shm_rmid_forced", ""), None);
        check(&sysctl("kernel/msgmax", ""), None);
        check(
            &sysctl("vm.swappiness", ""),
            Some("SysctlForbidden: forbidden sysctl: \"vm.swappiness\" not allowlisted"),
        );
        let host = "SysctlForbidden: forbidden sysctl: \"net.ipv4.tcp_rmem\" not allowed with host Net enabled";
        check(&sysctl("net.ipv4.tcp_rmem", ", hostNetwork: true"), Some(host));
        let confined = "{containers: [{name: a, securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}";
        check(confined, Some("AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host"));
        check(&confined.replace("RuntimeDefault", "Unconfined"), None);
        assert!(user_namespace(&pod("{hostUsers: false, containers: []}")).is_err());
    }
}
