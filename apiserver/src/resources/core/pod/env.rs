//! Environment variables and references into the pod and to other objects
//! (pkg/apis/core/validation/validation.go@v1.37.2: ValidateEnv, ValidateEnvFrom, validateObjectFieldSelector,
//! validateContainerResourceFieldSelector).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;

use super::volumes;
use crate::resources::common;

const ENV_PATHS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
pub(super) const VOLUME_PATHS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// What a downward field may name at all (pkg/apis/core/pods/helpers.go: ConvertDownwardAPIFieldLabel).
const KNOWN_PATHS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const BYTE_DIVISORS: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub(super) fn check(container: &Map, path: &Path, errors: &mut Errors) {
    for (at, variable) in container.maps("env").enumerate() {
        let path = path.index(at);
        let name = variable.str("name");
        if name.is_empty() {
            errors.push(field::required(&path.child("name"), ""));
        } else {
            common::each(&path.child("name"), name, names::is_relaxed_env_var_name(name), errors);
        }
        if let Some(from) = variable.map("valueFrom") {
            value_from(from, variable.str("value"), &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(from: &Map, value: &str, path: &Path, errors: &mut Errors) {
    let mut sources = 0;
    if let Some(reference) = from.map("fieldRef") {
        sources += 1;
        field_ref(reference, &ENV_PATHS, &path.child("fieldRef"), errors);
    }
    if let Some(reference) = from.map("resourceFieldRef") {
        sources += 1;
        resource_ref(reference, false, &path.child("resourceFieldRef"), errors);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = from.map(name) {
            sources += 1;
            key_ref(reference, &path.child(name), errors);
        }
    }
    if let Some(reference) = from.map("fileKeyRef") {
        sources += 1;
        file_ref(reference, &path.child("fileKeyRef"), errors);
    }
    let why = match (sources, value) {
        (0, _) => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        (1, "") => return,
        (_, "") => "may not have more than one field specified at a time",
        _ => "may not be specified when `value` is not empty",
    };
    errors.push(field::invalid(path, "", why));
}

/// `path['key']` in two.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_suffix("']")?;
    let (path, key) = rest.split_once("['")?;
    (!path.is_empty()).then_some((path, key))
}

pub(super) fn field_ref(reference: &Map, allowed: &[&str], path: &Path, errors: &mut Errors) {
    let (version, wanted) = (reference.str("apiVersion"), reference.str("fieldPath"));
    if version.is_empty() {
        return errors.push(field::required(&path.child("apiVersion"), ""));
    }
    if wanted.is_empty() {
        return errors.push(field::required(&path.child("fieldPath"), ""));
    }
    let at = path.child("fieldPath");
    let parts = subscript(wanted);
    let converted = match parts {
        _ if version != "v1" => Err(format!("unsupported pod version: {version}")),
        Some(("metadata.annotations" | "metadata.labels", _)) => Ok(wanted),
        Some(_) => Err(format!("field label does not support subscript: {wanted}")),
        None if wanted == "spec.host" => Ok("spec.nodeName"),
        None if KNOWN_PATHS.contains(&wanted) => Ok(wanted),
        None => Err(format!("field label not supported: {wanted}")),
    };
    match (converted, parts) {
        (Err(why), _) => errors.push(field::invalid(&at, wanted, format!("error converting fieldPath: {why}"))),
        (Ok(_), Some(("metadata.annotations", key))) => common::qualified_name(&key.to_lowercase(), path, errors),
        (Ok(_), Some((_, key))) => common::qualified_name(key, path, errors),
        (Ok(known), None) if !allowed.contains(&known) => errors.push(field::not_supported(&at, known, allowed)),
        _ => {}
    }
}

pub(super) fn resource_ref(reference: &Map, in_volume: bool, path: &Path, errors: &mut Errors) {
    let resource = reference.str("resource");
    let of_huge_pages = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if in_volume && reference.str("containerName").is_empty() {
        errors.push(field::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(field::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !of_huge_pages {
        errors.push(field::not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    let divisor = reference.str("divisor");
    if matches!(divisor, "" | "0") {
        return;
    }
    let noun = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !matches!(divisor, "1m" | "1") {
                let why = "only divisor's values 1m and 1 are supported with the cpu resource";
                errors.push(field::invalid(&path.child("divisor"), resource, why));
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if of_huge_pages => "hugepages",
        _ => return,
    };
    if !BYTE_DIVISORS.contains(&divisor) {
        let all = BYTE_DIVISORS.join(", ");
        let why = format!("only divisor's values {all} are supported with the {noun} resource");
        errors.push(field::invalid(&path.child("divisor"), resource, why));
    }
}

fn key_ref(reference: &Map, path: &Path, errors: &mut Errors) {
    let (name, key) = (reference.str("name"), reference.str("key"));
    common::each(&path.child("name"), name, names::name_is_dns_subdomain(name, false), errors);
    if key.is_empty() {
        errors.push(field::required(&path.child("key"), ""));
    } else {
        common::each(&path.child("key"), key, names::is_config_map_key(key), errors);
    }
}

fn file_ref(reference: &Map, path: &Path, errors: &mut Errors) {
    let (key, volume, file) = (reference.str("key"), reference.str("volumeName"), reference.str("path"));
    if key.is_empty() {
        errors.push(field::required(&path.child("key"), ""));
    } else {
        common::each(&path.child("key"), key, names::is_relaxed_env_var_name(key), errors);
    }
    if volume.is_empty() {
        errors.push(field::required(&path.child("volumeName"), ""));
    } else {
        common::dns_label(volume, &path.child("volumeName"), errors);
    }
    if file.is_empty() {
        errors.push(field::required(&path.child("path"), ""));
    } else {
        volumes::no_backsteps(file, &path.child("path"), errors);
    }
}

pub(super) fn from(container: &Map, path: &Path, errors: &mut Errors) {
    for (at, source) in container.maps("envFrom").enumerate() {
        let at = path.index(at);
        let prefix = source.str("prefix");
        if !prefix.is_empty() {
            common::each(&at.child("prefix"), prefix, names::is_relaxed_env_var_name(prefix), errors);
        }
        let mut sources = 0;
        for name in ["configMapRef", "secretRef"] {
            let Some(reference) = source.map(name) else { continue };
            sources += 1;
            let (path, name) = (at.child(name).child("name"), reference.str("name"));
            if name.is_empty() {
                errors.push(field::required(&path, ""));
            } else {
                common::each(&path, name, names::name_is_dns_subdomain(name, true), errors);
            }
        }
        match sources {
            0 => errors.push(field::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(field::invalid(path, "", "may not have more than one field specified at a time")),
        }
    }
}

/// Files that variables are read from are in emptyDir volumes (validateFileKeyRefVolumes).
pub(super) fn files(spec: &Map, path: &Path, errors: &mut Errors) {
    for (list, at, container) in super::containers_of(spec) {
        for (index, variable) in container.maps("env").enumerate() {
            let Some(reference) = variable.at(&["valueFrom", "fileKeyRef"]) else { continue };
            let name = reference.str("volumeName");
            let env = path.child(list).index(at).child("env").index(index);
            let at = env.child("valueFrom").child("fileKeyRef").child("volumeName");
            match spec.maps("volumes").filter(|volume| volume.str("name") == name).last() {
                None => errors.push(field::not_found(&at, name)),
                Some(volume) if !volume.contains("emptyDir") => {
                    errors.push(field::invalid(&at, name, "referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    }
}
