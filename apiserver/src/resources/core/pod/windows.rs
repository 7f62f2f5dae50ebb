//! Pods for Windows nodes (pkg/apis/core/validation/validation.go@v1.37.2: validateWindowsSecurityContextOptions,
//! validateWindowsHostProcessPod, validateLinux, validateWindows).

use std::sync::LazyLock;

use api::field::{self, Errors, Path};
use api::value::{Map, Value};
use regex::Regex;

use super::containers_of;
use crate::resources::common;

const CREDENTIAL_SPEC_KIB_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 256;
const USER_BYTES_MAX: usize = 104;
const NOT_ON_WINDOWS: &str = "cannot be set for a windows pod";
const POD_CONTEXT: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const CONTAINER_CONTEXT: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

static NET_BIOS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$"#).expect("a fixed expression"));
static DNS: LazyLock<Regex> = LazyLock::new(|| {
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    Regex::new(&format!(r"^{label}(?:\.{label})*$")).expect("a fixed expression")
});

/// `windowsOptions` of a security context.
pub(super) fn options(context: &Map, path: &Path, errors: &mut Errors) {
    let Some(options) = context.map("windowsOptions") else { return };
    let path = path.child("windowsOptions");
    let text = |name: &str| options.get(name).and_then(Value::as_str);
    if let Some(name) = text("gmsaCredentialSpecName") {
        common::dns_subdomain(name, &path.child("gmsaCredentialSpecName"), errors);
    }
    if let Some(spec) = text("gmsaCredentialSpec") {
        let at = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.push(field::invalid(&at, spec, "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > CREDENTIAL_SPEC_KIB_MAX * 1024 {
            let why = format!("gmsaCredentialSpec size must be under {CREDENTIAL_SPEC_KIB_MAX} KiB");
            errors.push(field::invalid(&at, spec, why));
        }
    }
    if let Some(name) = text("runAsUserName") {
        let wrong = user_name(name);
        errors.extend(wrong.iter().map(|why| field::invalid(&path.child("runAsUserName"), name, why)));
    }
}

/// `DOMAIN\user` or `user`.
fn user_name(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts.as_slice() {
        _ if name.is_empty() => return vec!["runAsUserName cannot be an empty string".into()],
        _ if name.bytes().any(|byte| byte.is_ascii_control()) => {
            return vec!["runAsUserName cannot contain control characters".into()];
        }
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".into()],
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_BYTES_MAX) {
        wrong.push(format!("runAsUserName's Domain length must be under {DOMAIN_BYTES_MAX} characters"));
    }
    if domain.is_some_and(|domain| !NET_BIOS.is_match(domain) && !DNS.is_match(domain)) {
        wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".into());
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty".into());
    } else if user.len() > USER_BYTES_MAX {
        wrong.push(format!("runAsUserName's User length must not be longer than {USER_BYTES_MAX} characters"));
    }
    if !user.is_empty() && user.bytes().all(|byte| matches!(byte, b'.' | b' ')) {
        wrong.push("runAsUserName's User cannot contain only periods or spaces".into());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        wrong.push(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.into());
    }
    wrong
}

fn host_process(context: Option<&Map>) -> Option<bool> {
    context?.map("windowsOptions")?.bool("hostProcess")
}

/// Some container is a host process.
pub(super) fn has_host_processes(spec: &Map) -> bool {
    let of_pod = host_process(spec.map("securityContext"));
    containers_of(spec).any(|(_, _, container)| host_process(container.map("securityContext")).or(of_pod) == Some(true))
}

/// All containers are host processes, or none.
pub(super) fn host_processes(spec: &Map, path: &Path, errors: &mut Errors) {
    let of_pod = host_process(spec.map("securityContext"));
    let (mut all, mut hosted) = (0, 0);
    for (list, at, container) in containers_of(spec) {
        all += 1;
        let own = host_process(container.map("securityContext"));
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let context = path.child(list).index(at).child("securityContext");
            let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(field::invalid(&context.child("windowsOptions").child("hostProcess"), own, why));
        }
        if own.or(of_pod) == Some(true) {
            hosted += 1;
        }
    }
    if hosted == 0 {
        return;
    }
    if hosted != all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(field::invalid(path, "", why));
    }
    if spec.bool("hostNetwork") != Some(true) {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(field::invalid(&path.child("hostNetwork"), false, why));
    }
}

/// What does not fit the operating system that the pod is for.
pub(super) fn os(spec: &Map, path: &Path, errors: &mut Errors) {
    let Some(os) = spec.map("os") else { return };
    match os.str("name") {
        "" => errors.push(field::required(&path.child("os").child("name"), "")),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        other => errors.push(field::not_supported(&path.child("os"), other, &["linux", "windows"])),
    }
}

/// Every security context, with its path.
fn contexts<'a>(spec: &'a Map, path: &'a Path) -> impl Iterator<Item = (Path, &'a Map)> {
    containers_of(spec).filter_map(|(list, at, container)| {
        let path = path.child(list).index(at).child("securityContext");
        Some((path, container.map("securityContext")?))
    })
}

fn linux(spec: &Map, path: &Path, errors: &mut Errors) {
    let of_pod = spec.map("securityContext").map(|context| (path.child("securityContext"), context));
    for (path, context) in of_pod.into_iter().chain(contexts(spec, path)) {
        if context.contains("windowsOptions") {
            let why = "windows options cannot be set for a linux pod";
            errors.push(field::forbidden(&path.child("windowsOptions"), why));
        }
    }
}

fn windows(spec: &Map, path: &Path, errors: &mut Errors) {
    let mut forbid = |map: &Map, fields: &[&str], path: &Path| {
        let set = fields.iter().filter(|name| map.contains(name));
        errors.extend(set.map(|name| field::forbidden(&path.child(name), NOT_ON_WINDOWS)));
    };
    if let Some(context) = spec.map("securityContext") {
        forbid(context, &POD_CONTEXT, &path.child("securityContext"));
    }
    forbid(spec, &["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"], path);
    for (path, context) in contexts(spec, path) {
        forbid(context, &CONTAINER_CONTEXT, &path);
    }
}
