//! What is allowed in a pod or a template but probably not meant (pkg/api/pod/warnings.go@v1.37.2).

use std::net::IpAddr;

use api::field::{Path, go_quote};
use api::names;
use api::quantity::Quantity;
use api::value::{Map, Value};

use super::options::affinity_terms;
use super::paths::overlaps;
use super::{annotations, containers_of};
use crate::resources::common;

const NODE_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];
const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
/// Kinds of volumes that are gone: JSON name, name in the warning, since when.
const VOLUMES: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings about a template at `path`, or about a pod when `path` is empty.
pub(crate) fn of(holder: &Map, path: &Path) -> Vec<String> {
    let notes = holder.map("metadata").and_then(|meta| meta.map("annotations")).unwrap_or(Map::EMPTY);
    let Some(spec) = holder.map("spec") else { return Vec::new() };
    let (at, meta) = (path.child("spec"), path.child("metadata").child("annotations"));
    let mut all = Vec::new();
    node_labels(spec, &at, &mut all);
    for (key, why) in ANNOTATIONS.iter().filter(|(key, _)| notes.contains(key)) {
        all.push(format!("{}: {why}", meta.key(key)));
    }
    volumes(spec, &at.child("volumes"), &mut all);
    all.extend(overlaps(spec));
    lists(spec, &at, &mut all);
    if spec.at(&["securityContext", "seccompProfile"]).is_none() {
        seccomp(notes, None, &meta, &mut all);
    }
    let is_template = *path != Path::default();
    for (list, index, container) in containers_of(spec) {
        let at = at.child(list).index(index);
        if container.at(&["securityContext", "seccompProfile"]).is_none() {
            seccomp(notes, Some(container.str("name")), &meta, &mut all);
        }
        apparmor(notes, container, spec, is_template, &meta, &mut all);
        amounts(container.map("resources"), &at.child("resources"), &mut all);
        hidden_variables(container, &at.child("env"), &mut all);
    }
    ports(spec, &at, &mut all);
    if spec.i64("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let at = at.child("terminationGracePeriodSeconds");
        all.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    null_selectors(spec, &at, &mut all);
    addresses(spec, &at, &mut all);
    all
}

pub(crate) fn node_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|row| row.0 == key).map(|row| row.1)
}

fn node_labels(spec: &Map, path: &Path, all: &mut Vec<String>) {
    for key in spec.map("nodeSelector").into_iter().flat_map(Map::keys) {
        if let Some(why) = node_label(key) {
            all.push(format!("{}: {why}", path.child("nodeSelector").key(key)));
        }
    }
    let at = path.child("affinity").child("nodeAffinity");
    let affinity = spec.at(&["affinity", "nodeAffinity"]).unwrap_or(Map::EMPTY);
    let required = at.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
    let selector = affinity.map("requiredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in selector.into_iter().flat_map(|selector| selector.maps("nodeSelectorTerms")).enumerate() {
        node_term(term, false, &required.index(index), all);
    }
    for (index, term) in affinity.maps("preferredDuringSchedulingIgnoredDuringExecution").enumerate() {
        let at = at.child("preferredDuringSchedulingIgnoredDuringExecution").index(index).child("preference");
        node_term(term.map("preference").unwrap_or(Map::EMPTY), true, &at, all);
    }
    for (index, constraint) in spec.maps("topologySpreadConstraints").enumerate() {
        let (at, key) = (path.child("topologySpreadConstraints").index(index), constraint.str("topologyKey"));
        if let Some(why) = node_label(key) {
            all.push(format!("{}: {key} is {why}", at.child("topologyKey")));
        }
        if !constraint.contains("labelSelector") {
            all.push(format!("{}: a null labelSelector results in matching no pod", at.child("labelSelector")));
        }
    }
}

pub(crate) fn node_term(term: &Map, values: bool, path: &Path, all: &mut Vec<String>) {
    for (at, requirement) in term.maps("matchExpressions").enumerate() {
        let (path, key) = (path.child("matchExpressions").index(at), requirement.str("key"));
        if let Some(why) = node_label(key) {
            all.push(format!("{}: {key} is {why}", path.child("key")));
        }
        for (index, value) in requirement.list("values").iter().filter_map(Value::as_str).enumerate().filter(|_| values)
        {
            for why in names::is_valid_label_value(value) {
                all.push(format!("{}: {value} is invalid, {why}", path.child("values").index(index)));
            }
        }
    }
}

fn fraction(amount: Option<&Value>, path: &Path, all: &mut Vec<String>) {
    let broken = |amount: &Quantity| amount.milli_value() % 1000 != 0;
    if let Some(amount) = amount.and_then(common::quantity).filter(broken) {
        let quoted = go_quote(&amount.to_string());
        all.push(format!("{path}: fractional byte value {quoted} is invalid, must be an integer"));
    }
}

/// GetWarningsForPersistentVolumeClaimSpec.
pub(crate) fn claim(spec: &Map, path: &Path, all: &mut Vec<String>) {
    for part in ["requests", "limits"] {
        let at = path.child("resources").child(part).key("storage");
        fraction(spec.value_at(&["resources", part, "storage"]), &at, all);
    }
}

fn amounts(resources: Option<&Map>, path: &Path, all: &mut Vec<String>) {
    let Some(resources) = resources else { return };
    for name in ["memory", "ephemeral-storage"] {
        for part in ["limits", "requests"] {
            fraction(resources.value_at(&[part, name]), &path.child(part).key(name), all);
        }
    }
}

fn volumes(spec: &Map, path: &Path, all: &mut Vec<String>) {
    for (at, volume) in spec.maps("volumes").enumerate() {
        let path = path.index(at);
        for (name, shown, why) in VOLUMES {
            if name == "cephfs"
                && let Some(claim) = volume.at(&["ephemeral", "volumeClaimTemplate", "spec"])
            {
                self::claim(claim, &path.child("ephemeral").child("volumeClaimTemplate").child("spec"), all);
            }
            if volume.contains(name) {
                all.push(format!("{}: {why}", path.child(shown)));
            }
        }
    }
}

/// Entries of lists that say the same twice, or nothing.
fn lists(spec: &Map, path: &Path, all: &mut Vec<String>) {
    for (list, name) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen: Vec<&str> = Vec::new();
        for (at, item) in spec.maps(list).enumerate() {
            let value = item.str(name);
            if seen.contains(&value) {
                all.push(format!("{}: duplicate {name} {}", path.child(list).index(at).child(name), go_quote(value)));
            }
            seen.push(value);
        }
    }
    for (at, secret) in spec.maps("imagePullSecrets").enumerate() {
        if secret.str("name").is_empty() {
            all.push(format!("{}: invalid empty name \"\"", path.child("imagePullSecrets").index(at).child("name")));
        }
    }
    for name in ["memory", "ephemeral-storage"] {
        fraction(spec.value_at(&["overhead", name]), &path.child("overhead").key(name), all);
    }
}

fn seccomp(notes: &Map, container: Option<&str>, meta: &Path, all: &mut Vec<String>) {
    let key = annotations::seccomp_keys(container);
    if notes.contains(&key) {
        let why = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
        all.push(format!("{}: {why}", meta.key(&key)));
    }
}

/// Of a pod the field was made from the annotation already, unless that said nothing or the same as the pod.
fn apparmor(notes: &Map, container: &Map, spec: &Map, is_template: bool, meta: &Path, all: &mut Vec<String>) {
    let key = format!("{}{}", annotations::APPARMOR, container.str("name"));
    let Some(note) = notes.get(&key).and_then(Value::as_str) else { return };
    let (field, own) = (annotations::apparmor_field(note), container.at(&["securityContext", "appArmorProfile"]));
    let of_pod = spec.at(&["securityContext", "appArmorProfile"]);
    let deprecated = match own {
        None => field.is_none() || field.as_ref() != of_pod,
        Some(own) => !is_template && field.as_ref() == Some(own) && of_pod != Some(own),
    };
    if deprecated {
        all.push(format!("{}: deprecated since v1.30; use the \"appArmorProfile\" field instead", meta.key(&key)));
    }
}

fn hidden_variables(container: &Map, path: &Path, all: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, variable) in container.maps("env").enumerate() {
        let (name, value) = (variable.str("name"), variable.str("value"));
        if !seen.contains(&name) {
            seen.push(name);
            continue;
        }
        let reference = format!("$({name})");
        if variable.contains("valueFrom") || value == reference || !value.contains(&reference) {
            let quoted = go_quote(name);
            let why = format!("hides previous definition of {quoted}, which may be dropped when using apply");
            all.push(format!("{}: {why}", path.index(at)));
        }
    }
}

/// A port of the pod: where it is said, and what it says.
struct Port<'a> {
    path: Path,
    map: &'a Map,
}

impl Port<'_> {
    fn number(&self, name: &str) -> i64 {
        self.map.i64(name).unwrap_or(0)
    }

    fn key(&self) -> (i64, &str) {
        (self.number("containerPort"), self.map.str("protocol"))
    }

    /// How another definition of the same port gets in its way.
    fn clash(&self, other: &Port) -> Option<&'static str> {
        let (ip, other_ip) = (self.map.str("hostIP"), other.map.str("hostIP"));
        let (host, other_host) = (self.number("hostPort"), other.number("hostPort"));
        if ip == other_ip && host == other_host {
            Some("duplicate")
        } else if host == 0 || other_host == 0 {
            Some("overlapping")
        } else {
            (host == other_host && ip.is_empty() != other_ip.is_empty()).then_some("dangerously ambiguous")
        }
    }
}

fn ports(spec: &Map, path: &Path, all: &mut Vec<String>) {
    let mut seen: Vec<Port> = Vec::new();
    for (list, index, container) in containers_of(spec) {
        for (at, map) in container.maps("ports").enumerate() {
            let port = Port { path: path.child(list).index(index).child("ports").index(at), map };
            if !map.str("hostIP").is_empty() && port.number("hostPort") == 0 {
                let text = |name: &str| map.str(name);
                all.push(format!(
                    "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                    port.path,
                    text("name"),
                    port.number("containerPort"),
                    text("protocol"),
                    text("hostIP")
                ));
            }
            for other in seen.iter().filter(|other| other.key() == port.key()) {
                if let Some(kind) = port.clash(other) {
                    all.push(format!("{}: {kind} port definition with {}", port.path, other.path));
                }
            }
            seen.push(port);
        }
    }
    for (at, port) in seen.iter().enumerate() {
        let name = port.map.str("name");
        let first = seen[..at].iter().find(|other| !name.is_empty() && other.map.str("name") == name);
        if let Some(Port { path: first, .. }) = first {
            let quoted = go_quote(name);
            all.push(format!(
                "{}: duplicate port name {quoted} with {first}, services and probes that select ports by name will use {first}",
                port.path
            ));
        }
    }
}

fn null_selectors(spec: &Map, path: &Path, all: &mut Vec<String>) {
    if affinity_terms(spec).all(|term| term.contains("labelSelector")) {
        return;
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.at(&["affinity", kind]) else { continue };
        let at = path.child("affinity").child(kind);
        let mut warn = |term: Option<&Map>, path: Path| {
            if term.is_none_or(|term| !term.contains("labelSelector")) {
                all.push(format!("{path}: a null labelSelector results in matching no pod"));
            }
        };
        let name = "requiredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in affinity.maps(name).enumerate() {
            warn(Some(term), at.child(name).index(index).child("labelSelector"));
        }
        let name = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, weighted) in affinity.maps(name).enumerate() {
            let path = at.child(name).index(index).child("podAffinityTerm").child("labelSelector");
            warn(weighted.map("podAffinityTerm"), path);
        }
    }
}

fn addresses(spec: &Map, path: &Path, all: &mut Vec<String>) {
    let servers = spec.map("dnsConfig").into_iter().flat_map(|config| config.list("nameservers"));
    for (at, server) in servers.filter_map(Value::as_str).enumerate() {
        all.extend(address(server, &path.child("dnsConfig").child("nameservers").index(at)));
    }
    for (at, alias) in spec.maps("hostAliases").enumerate() {
        all.extend(address(alias.str("ip"), &path.child("hostAliases").index(at).child("ip")));
    }
}

/// GetWarningsForIP: an address in a form that not everyone reads the same.
pub(crate) fn address(text: &str, path: &Path) -> Option<String> {
    let lenient = names::parse_ip_sloppy(text)?.to_canonical();
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_none() => (ip.to_string() != text).then(|| {
            let (given, right) = (go_quote(text), go_quote(&ip.to_string()));
            format!("{path}: IPv6 address {given} should be in RFC 5952 canonical format ({right})")
        }),
        Ok(IpAddr::V4(_)) => None,
        _ => {
            let (given, right) = (go_quote(text), go_quote(&lenient.to_string()));
            Some(format!("{path}: non-standard IP address {given} is invalid: use {right}"))
        }
    }
}
