//! The Pod Security Standards (k8s.io/pod-security-admission/policy/check_*.go@v0.37.2).

use std::collections::BTreeSet;

use super::containers::{Pod, Set, named, plural, quoted, security, setters, texts};
use super::policy::{Level, LevelVersion, Version};
use api::field::go_quote;
use api::value::{Map, Value};

/// What a check has against a pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) reason: String,
    pub(super) detail: String,
}

type Check = fn(&Pod<'_>, Version) -> Option<Finding>;

struct Row {
    level: Level,
    /// The minor version it came with.
    since: u32,
    check: Check,
    /// The minor version since which a restricted check stands in for it, at that level.
    replaced: Option<u32>,
}

const fn baseline(check: Check) -> Row {
    Row { level: Level::Baseline, since: 0, check, replaced: None }
}

const fn restricted(since: u32, check: Check) -> Row {
    Row { level: Level::Restricted, since, check, replaced: None }
}

/// Baseline before restricted, each by upstream's id.
const CHECKS: &[Row] = &[
    baseline(app_armor),
    Row { replaced: Some(22), ..baseline(capabilities) },
    baseline(host_namespaces),
    Row { replaced: Some(0), ..baseline(host_path) },
    baseline(host_ports),
    Row { since: 34, ..baseline(host_probes) },
    baseline(privileged),
    Row { replaced: Some(35), ..baseline(proc_mount) },
    baseline(selinux),
    Row { replaced: Some(19), ..baseline(seccomp) },
    baseline(sysctls),
    baseline(windows_host_process),
    restricted(8, privilege_escalation),
    restricted(22, capabilities_restricted),
    restricted(35, proc_mount_restricted),
    restricted(0, volumes),
    restricted(0, run_as_non_root),
    restricted(23, run_as_user),
    restricted(19, seccomp_restricted),
];

/// What is against a pod, or template, at a level.
pub(super) fn evaluate(level: LevelVersion, object: &Map) -> Vec<Finding> {
    let pod = Pod::of(object);
    let version = level.version;
    let applies = |row: &&Row| {
        let replaced = level.level == Level::Restricted && row.replaced.is_some_and(|since| version.at_least(since));
        level.level >= row.level && version.at_least(row.since) && !replaced
    };
    CHECKS.iter().filter(applies).filter_map(|row| (row.check)(&pod, version)).collect()
}

fn finding(reason: &str, detail: impl Into<String>) -> Option<Finding> {
    Some(Finding { reason: reason.into(), detail: detail.into() })
}

fn app_armor(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let bad = |context: &Map| {
        let profile = context.map("appArmorProfile").map(|profile| profile.str("type"));
        profile.filter(|kind| !matches!(*kind, "RuntimeDefault" | "Localhost")).map(str::to_string)
    };
    let of_pod = bad(pod.security());
    let containers = pod.bad(|container| bad(security(container)).is_some());
    let values: Set = pod.containers().filter_map(|container| bad(security(container))).chain(of_pod.clone()).collect();
    let allowed =
        |profile: &str| profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/");
    let annotations: Set = pod
        .annotations
        .iter()
        .filter(|(key, value)| {
            key.starts_with("container.apparmor.security.beta.kubernetes.io/") && !allowed(value.as_str().unwrap_or(""))
        })
        .map(|(key, value)| format!("{key}={}", go_quote(value.as_str().unwrap_or(""))))
        .collect();
    let mut who = setters(of_pod.is_some(), &containers);
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).into());
    }
    if who.is_empty() {
        return None;
    }
    let all: Vec<String> = values.into_iter().chain(annotations).collect();
    finding(
        plural("forbidden AppArmor profile", "forbidden AppArmor profiles", all.len()),
        format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(all)),
    )
}

const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capability_list<'a>(container: &'a Map, list: &str) -> impl Iterator<Item = &'a str> {
    texts(security(container).map("capabilities").map_or(&[][..], |capabilities| capabilities.list(list)))
}

fn added(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let bad = |name: &&str| !allowed.contains(name);
    let containers = pod.bad(|container| capability_list(container, "add").any(|name| bad(&name)));
    let names: Set = pod.containers().flat_map(|c| capability_list(c, "add")).filter(bad).map(str::to_string).collect();
    let who = named("container", &containers);
    (!names.is_empty()).then(|| format!("{who} must not include {} in securityContext.capabilities.add", quoted(names)))
}

fn capabilities(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    finding("non-default capabilities", added(pod, DEFAULT_CAPABILITIES)?)
}

fn capabilities_restricted(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    if version.at_least(25) && pod.is_windows() {
        return None;
    }
    let kept = pod.bad(|container| !capability_list(container, "drop").any(|name| name == "ALL"));
    let drop = (!kept.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named("container", &kept)));
    let details: Vec<_> = drop.into_iter().chain(added(pod, &["NET_BIND_SERVICE"])).collect();
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

fn host_namespaces(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let names = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|name| pod.spec.bool(name) == Some(true));
    let set: Vec<_> = names.map(|name| format!("{name}=true")).collect();
    if set.is_empty() { None } else { finding("host namespaces", set.join(", ")) }
}

fn host_path(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let volumes = pod.spec.maps("volumes").filter(|volume| volume.contains("hostPath"));
    let volumes: Vec<_> = volumes.map(|volume| volume.str("name")).collect();
    if volumes.is_empty() { None } else { finding("hostPath volumes", named("volume", &volumes)) }
}

fn host_ports(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let ports = |container: &Map| -> Vec<i64> {
        container.maps("ports").filter_map(|port| port.i64("hostPort")).filter(|port| *port != 0).collect()
    };
    let containers = pod.bad(|container| !ports(container).is_empty());
    let all: Set = pod.containers().flat_map(ports).map(|port| port.to_string()).collect();
    if all.is_empty() {
        return None;
    }
    let uses = plural("uses", "use", containers.len());
    let what = plural("hostPort", "hostPorts", all.len());
    let list = all.into_iter().collect::<Vec<_>>().join(", ");
    finding("hostPort", format!("{} {uses} {what} {list}", named("container", &containers)))
}

fn host_probes(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let hosts = |container: &Map| -> Vec<String> {
        let probes =
            ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().filter_map(|name| container.map(name));
        let hooks = ["postStart", "preStop"].into_iter().filter_map(|name| container.at(&["lifecycle", name]));
        let handlers =
            probes.chain(hooks).flat_map(|h| ["httpGet", "tcpSocket"].into_iter().filter_map(|name| h.map(name)));
        handlers.map(|handler| handler.str("host").to_string()).filter(|host| !host.is_empty()).collect()
    };
    let containers: BTreeSet<_> = pod.bad(|container| !hosts(container).is_empty()).into_iter().collect();
    let all: Set = pod.containers().flat_map(hosts).collect();
    if all.is_empty() {
        return None;
    }
    let containers: Vec<_> = containers.into_iter().collect();
    let uses = plural("uses", "use", containers.len());
    let what = plural("probe or lifecycle host", "probe or lifecycle hosts", all.len());
    finding("probe or lifecycle host", format!("{} {uses} {what} {}", named("container", &containers), quoted(all)))
}

fn privileged(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let containers = pod.bad(|container| security(container).bool("privileged") == Some(true));
    if containers.is_empty() {
        return None;
    }
    finding("privileged", format!("{} must not set securityContext.privileged=true", named("container", &containers)))
}

fn proc_mount(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    if version.at_least(35) && pod.has_own_users() { None } else { proc_mount_restricted(pod, version) }
}

fn proc_mount_restricted(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let bad = |container: &Map| {
        let mount = security(container).get("procMount").and_then(Value::as_str);
        mount.filter(|mount| *mount != "Default").map(str::to_string)
    };
    let containers = pod.bad(|container| bad(container).is_some());
    let values: Set = pod.containers().filter_map(bad).collect();
    if values.is_empty() {
        return None;
    }
    let who = named("container", &containers);
    finding("procMount", format!("{who} must not set securityContext.procMount to {}", quoted(values)))
}

fn selinux(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    let allowed = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (version.at_least(31) && kind == "container_engine_t")
    };
    let options = |context: &Map| context.map("seLinuxOptions").cloned().unwrap_or_default();
    let bad = |o: &Map| !allowed(o.str("type")) || !o.str("user").is_empty() || !o.str("role").is_empty();
    let of_pod = options(pod.security());
    let containers = pod.bad(|container| bad(&options(security(container))));
    let who = setters(bad(&of_pod), &containers);
    if who.is_empty() {
        return None;
    }
    let all: Vec<Map> = std::iter::once(of_pod).chain(pod.containers().map(|c| options(security(c)))).collect();
    let types: Set = all.iter().map(|o| o.str("type").to_string()).filter(|kind| !allowed(kind)).collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
    }
    for name in ["user", "role"] {
        if all.iter().any(|o| !o.str(name).is_empty()) {
            what.push(format!("{name} may not be set"));
        }
    }
    let detail = format!("{} set forbidden securityContext.seLinuxOptions: {}", who.join(" and "), what.join("; "));
    finding("seLinuxOptions", detail)
}

fn seccomp_type(context: &Map) -> Option<&str> {
    context.map("seccompProfile").map(|profile| profile.str("type"))
}

fn is_confined(kind: &str) -> bool {
    matches!(kind, "Localhost" | "RuntimeDefault")
}

fn seccomp(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    if version.at_least(19) { unconfined(pod) } else { seccomp_annotations(pod) }
}

/// Before there were fields, annotations named the profile.
fn seccomp_annotations(pod: &Pod<'_>) -> Option<Finding> {
    let allowed =
        |profile: &str| matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/");
    let of_containers =
        pod.containers().map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", c.str("name")));
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_string()).chain(of_containers);
    let values = keys.filter_map(|key| Some((pod.annotations.get(&key)?.as_str()?.to_string(), key)));
    let bad = values.filter(|(value, _)| !allowed(value)).map(|(value, key)| format!("{key}={}", go_quote(&value)));
    let bad: Set = bad.collect();
    if bad.is_empty() {
        return None;
    }
    let what = plural("annotation", "annotations", bad.len());
    finding("seccompProfile", format!("forbidden {what} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn unconfined(pod: &Pod<'_>) -> Option<Finding> {
    let bad = |context: &Map| seccomp_type(context).filter(|kind| !is_confined(kind)).map(str::to_string);
    let of_pod = bad(pod.security());
    let containers = pod.bad(|container| bad(security(container)).is_some());
    let values: Set = pod.containers().filter_map(|c| bad(security(c))).chain(of_pod.clone()).collect();
    let who = setters(of_pod.is_some(), &containers).join(" and ");
    if who.is_empty() {
        return None;
    }
    finding("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values)))
}

fn seccomp_restricted(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    if version.at_least(25) && pod.is_windows() {
        return None;
    }
    if let Some(found) = unconfined(pod) {
        return Some(found);
    }
    if seccomp_type(pod.security()).is_some() {
        return None;
    }
    let unset = pod.bad(|container| seccomp_type(security(container)).is_none());
    if unset.is_empty() {
        return None;
    }
    let who = named("container", &unset);
    let detail =
        format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    finding("seccompProfile", detail)
}

/// Names with the minor version since which they are safe.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

fn sysctls(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    let allowed = |name: &str| SYSCTLS.iter().any(|row| row.0 == name && version.at_least(row.1));
    let names = pod.security().maps("sysctls").map(|sysctl| sysctl.str("name"));
    let bad: Vec<_> = names.filter(|name| !allowed(name)).collect();
    if bad.is_empty() { None } else { finding("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let bad = |context: &Map| context.map("windowsOptions").is_some_and(|o| o.bool("hostProcess") == Some(true));
    let who = setters(bad(pod.security()), &pod.bad(|container| bad(security(container)))).join(" and ");
    if who.is_empty() {
        return None;
    }
    finding("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

fn privilege_escalation(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    if version.at_least(25) && pod.is_windows() {
        return None;
    }
    let bad = pod.bad(|container| security(container).bool("allowPrivilegeEscalation") != Some(false));
    if bad.is_empty() {
        return None;
    }
    let who = named("container", &bad);
    let detail = format!("{who} must set securityContext.allowPrivilegeEscalation=false");
    finding("allowPrivilegeEscalation != false", detail)
}

const SAFE_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The others that have a name, in the order in which they are looked for.
const RESTRICTED_VOLUMES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn volumes(pod: &Pod<'_>, _: Version) -> Option<Finding> {
    let has = |volume: &Map, kinds: &[&'static str]| kinds.iter().copied().find(|kind| volume.contains(kind));
    let bad: Vec<&Map> = pod.spec.maps("volumes").filter(|volume| has(volume, SAFE_VOLUMES).is_none()).collect();
    if bad.is_empty() {
        return None;
    }
    let types: BTreeSet<&str> = bad.iter().map(|volume| has(volume, RESTRICTED_VOLUMES).unwrap_or("unknown")).collect();
    let names: Vec<_> = bad.iter().map(|volume| volume.str("name")).collect();
    let uses = plural("uses", "use", names.len());
    let what = plural("restricted volume type", "restricted volume types", types.len());
    finding("restricted volume types", format!("{} {uses} {what} {}", named("volume", &names), quoted(types)))
}

fn run_as_non_root(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    if version.at_least(35) && pod.has_own_users() {
        return None;
    }
    let of_pod = pod.security().bool("runAsNonRoot");
    let set = |container: &Map| security(container).bool("runAsNonRoot");
    let who = setters(of_pod == Some(false), &pod.bad(|container| set(container) == Some(false))).join(" and ");
    if !who.is_empty() {
        return finding("runAsNonRoot != true", format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let unset = pod.bad(|container| set(container).is_none());
    if of_pod == Some(true) || unset.is_empty() {
        return None;
    }
    let who = named("container", &unset);
    finding("runAsNonRoot != true", format!("pod or {who} must set securityContext.runAsNonRoot=true"))
}

fn run_as_user(pod: &Pod<'_>, version: Version) -> Option<Finding> {
    if version.at_least(35) && pod.has_own_users() {
        return None;
    }
    let root = |context: &Map| context.i64("runAsUser") == Some(0);
    let who = setters(root(pod.security()), &pod.bad(|container| root(security(container)))).join(" and ");
    if who.is_empty() { None } else { finding("runAsUser=0", format!("{who} must not set runAsUser=0")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(level: Level, spec: &str, expect: &[(&str, &str)]) {
        let text = format!(r#"{{"spec":{spec}}}"#);
        let (value, _) = api::json::decode_any(text.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
        let version = LevelVersion { level, version: Version::Latest };
        let got = evaluate(version, value.as_map().expect("object"));
        let got: Vec<_> = got.iter().map(|finding| (finding.reason.as_str(), finding.detail.as_str())).collect();
        assert_eq!(got, expect, "{spec}");
    }

    #[test]
    fn findings_in_upstreams_words() {
        use Level::{Baseline, Privileged, Restricted};
        let bare = r#"{"containers":[{"name":"c"}]}"#;
        check(Baseline, bare, &[]);
        check(
            Restricted,
            bare,
            &[
                (
                    "allowPrivilegeEscalation != false",
                    "container \"c\" must set securityContext.allowPrivilegeEscalation=false",
                ),
                ("unrestricted capabilities", "container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]"),
                ("runAsNonRoot != true", "pod or container \"c\" must set securityContext.runAsNonRoot=true"),
                (
                    "seccompProfile",
                    "pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
                ),
            ],
        );
        let bad = r#"{"hostNetwork":true,"hostPID":true,"volumes":[{"name":"v","hostPath":{"path":"/"}}],
            "securityContext":{"sysctls":[{"name":"kernel.msgmax"}],"seLinuxOptions":{"type":"x","user":"u"}},
            "containers":[{"name":"a","ports":[{"hostPort":80}],"securityContext":{"privileged":true,"capabilities":{"add":["NET_ADMIN"]}}},
            {"name":"b","livenessProbe":{"httpGet":{"host":"h"}},"securityContext":{"procMount":"Unmasked","seccompProfile":{"type":"Unconfined"}}}]}"#;
        check(Privileged, bad, &[]);
        check(
            Baseline,
            bad,
            &[
                (
                    "non-default capabilities",
                    "container \"a\" must not include \"NET_ADMIN\" in securityContext.capabilities.add",
                ),
                ("host namespaces", "hostNetwork=true, hostPID=true"),
                ("hostPath volumes", "volume \"v\""),
                ("hostPort", "container \"a\" uses hostPort 80"),
                ("probe or lifecycle host", "container \"b\" uses probe or lifecycle host \"h\""),
                ("privileged", "container \"a\" must not set securityContext.privileged=true"),
                ("procMount", "container \"b\" must not set securityContext.procMount to \"Unmasked\""),
                ("seLinuxOptions", "pod set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set"),
                (
                    "seccompProfile",
                    "container \"b\" must not set securityContext.seccompProfile.type to \"Unconfined\"",
                ),
                ("forbidden sysctls", "kernel.msgmax"),
            ],
        );
    }
}
