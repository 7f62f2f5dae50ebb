//! Security contexts of pods and containers (pkg/apis/core/validation/validation.go@v1.37.2:
//! ValidateSecurityContext, validatePodSpecSecurityContext, validateSysctls, ValidateAppArmorProfileField).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::options::Options;
use super::{volumes, windows};
use crate::resources::common;
use crate::resources::common::internal::{self, Plain};

const SYSCTL_BYTES_MAX: usize = 253;
/// PATH_MAX without the zero at its end.
const APPARMOR_PROFILE_BYTES_MAX: usize = 4095;
const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// Sysctls of the IPC namespace; all others of theirs start with `fs.mqueue.`.
const IPC_SYSCTLS: [&str; 11] = [
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.shm",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg",
    "fs.mqueue",
];

pub(super) fn is_windows(spec: &Map) -> bool {
    spec.map("os").is_some_and(|os| os.str("name") == "windows")
}

fn ids(context: &Map, fields: &[&str], path: &Path, errors: &mut Errors) {
    for name in fields {
        if let Some(id) = context.i64(name) {
            let wrong = if *name == "runAsUser" { names::is_valid_user_id(id) } else { names::is_valid_group_id(id) };
            errors.extend(wrong.iter().map(|why| field::invalid(&path.child(name), id, why)));
        }
    }
}

/// A container's context. `host_users`: the pod is in the host's user namespace.
pub(super) fn container(context: &Map, path: &Path, host_users: bool, options: &Options, errors: &mut Errors) {
    ids(context, &["runAsUser", "runAsGroup"], path, errors);
    if let Some(mount) = context.get("procMount").and_then(Value::as_str) {
        let at = path.child("procMount");
        if !matches!(mount, "Default" | "Unmasked") {
            errors.push(field::not_supported(&at, mount, &["Default", "Unmasked"]));
        }
        if host_users && mount == "Unmasked" {
            errors.push(field::invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    seccomp(context, path, errors);
    if context.bool("allowPrivilegeEscalation") == Some(false) {
        let shown = || Plain(internal::shown(context, "core.v1.SecurityContext"));
        if context.bool("privileged") == Some(true) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(field::invalid(path, shown(), why));
        }
        if !options.admin_without_escalation {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.extend(admin_capabilities(context).map(|_| field::invalid(path, shown(), why)));
        }
    }
    windows::options(context, path, errors);
    apparmor(context, path, errors);
}

fn admin_capabilities(context: &Map) -> impl Iterator<Item = &Value> {
    let added = context.map("capabilities").into_iter().flat_map(|capabilities| capabilities.list("add"));
    added.filter(|capability| capability.as_str() == Some("CAP_SYS_ADMIN"))
}

pub(super) fn is_admin_without_escalation(container: &Map) -> bool {
    container.map("securityContext").is_some_and(|context| {
        context.bool("allowPrivilegeEscalation") != Some(true) && admin_capabilities(context).next().is_some()
    })
}

fn seccomp(context: &Map, path: &Path, errors: &mut Errors) {
    let Some(profile) = context.map("seccompProfile") else { return };
    let path = path.child("seccompProfile");
    match profile.str("type") {
        "" => errors.push(field::required(&path.child("type"), "type is required when seccompProfile is set")),
        kind if !PROFILE_TYPES.contains(&kind) => {
            errors.push(field::not_supported(&path.child("type"), kind, &PROFILE_TYPES));
        }
        _ => {}
    }
    let at = path.child("localhostProfile");
    match (profile.str("type"), profile.get("localhostProfile").and_then(Value::as_str)) {
        ("Localhost", None) => errors.push(field::required(&at, "must be set when seccomp type is Localhost")),
        ("Localhost", Some(file)) => volumes::local_path(file, &at, errors),
        (_, Some(_)) => {
            let shown = Plain(internal::shown(profile, "core.v1.SeccompProfile"));
            errors.push(field::invalid(&at, shown, "can only be set when seccomp type is Localhost"));
        }
        _ => {}
    }
}

pub(super) fn apparmor(context: &Map, path: &Path, errors: &mut Errors) {
    if let Some(profile) = context.map("appArmorProfile") {
        apparmor_profile(profile, &path.child("appArmorProfile"), errors);
    }
}

pub(super) fn apparmor_profile(profile: &Map, path: &Path, errors: &mut Errors) {
    let file = profile.get("localhostProfile").and_then(Value::as_str);
    let at = path.child("localhostProfile");
    match (profile.str("type"), file) {
        ("Localhost", None) => errors.push(field::required(&at, "must be set when AppArmor type is Localhost")),
        ("Localhost", Some(file)) => {
            if file.trim() != file {
                errors.push(field::invalid(&at, file, "must not be padded with whitespace"));
            } else if file.is_empty() {
                errors.push(field::required(&at, "must be set when AppArmor type is Localhost"));
            }
            if file.len() > APPARMOR_PROFILE_BYTES_MAX {
                errors.push(field::too_long(&at, APPARMOR_PROFILE_BYTES_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            errors.push(field::invalid(&at, file, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.push(field::required(&path.child("type"), "type is required when appArmorProfile is set")),
        (kind, _) => errors.push(field::not_supported(&path.child("type"), kind, &PROFILE_TYPES)),
    }
}

pub(super) fn pod(context: &Map, spec: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], path, errors);
    for (at, gid) in context.list("supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
        let path = path.child("supplementalGroups").index(at);
        errors.extend(names::is_valid_group_id(gid).iter().map(|why| field::invalid(&path, gid, why)));
    }
    sysctls(context, spec, &path.child("sysctls"), options, errors);
    common::one_of(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], path, errors);
    seccomp(context, path, errors);
    windows::options(context, path, errors);
    apparmor(context, path, errors);
    common::one_of(context, "supplementalGroupsPolicy", &["Merge", "Strict"], path, errors);
    common::one_of(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], path, errors);
}

/// Lower-case segments, joined by dots or slashes.
fn is_sysctl(name: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    name.len() <= SYSCTL_BYTES_MAX
        && name
            .split(['.', '/'])
            .all(|part| part.bytes().all(inner) && edge(part.bytes().next()) && edge(part.bytes().last()))
}

fn sysctls(context: &Map, spec: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, sysctl) in context.maps("sysctls").enumerate() {
        let (path, name) = (path.index(at).child("name"), sysctl.str("name"));
        if name.is_empty() {
            errors.push(field::required(&path, ""));
        } else if !is_sysctl(name) {
            let segment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            let form = format!("^({segment}[\\./])*{segment}$");
            let why = format!("must have at most {SYSCTL_BYTES_MAX} characters and match regex {form}");
            errors.push(field::invalid(&path, name, why));
        } else if seen.contains(&name) {
            errors.push(field::duplicate(&path, name));
        }
        if let Some(why) = host_sysctl(name, spec).filter(|_| !options.host_sysctls) {
            errors.push(field::invalid(&path, name, why));
        }
        seen.push(name);
    }
}

/// A sysctl of a namespace that the pod shares with its host.
fn host_sysctl(name: &str, spec: &Map) -> Option<&'static str> {
    // Slashes separate where dots may be part of a name.
    let first = name.find(['.', '/']).map(|at| name.as_bytes()[at]);
    let dotted: String = match first {
        Some(b'/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_string(),
    };
    let plain = dotted.split('*').next().unwrap_or(&dotted);
    let ipc = IPC_SYSCTLS.contains(&plain) || plain.starts_with("fs.mqueue.");
    if spec.bool("hostNetwork") == Some(true) && plain.starts_with("net.") {
        return Some("may not be specified when 'hostNetwork' is true");
    }
    (spec.bool("hostIPC") == Some(true) && ipc).then_some("may not be specified when 'hostIPC' is true")
}

pub(super) fn has_host_sysctl(spec: &Map) -> bool {
    let sysctls = spec.map("securityContext").into_iter().flat_map(|context| context.maps("sysctls"));
    sysctls.map(|sysctl| sysctl.str("name")).any(|name| host_sysctl(name, spec).is_some())
}
