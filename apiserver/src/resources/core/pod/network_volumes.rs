//! Volumes of storage systems outside of the cluster, most of them long gone
//! (pkg/apis/core/validation/validation.go@v1.37.2: validateNFSVolumeSource ... validateScaleIOVolumeSource).

use std::sync::LazyLock;

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};
use regex::Regex;

use super::options::Options;
use crate::resources::common;

/// A tenant's UUID, in bytes.
const QUOBYTE_TENANT_BYTES_MAX: usize = 64;

/// Forms of iSCSI names, by their first letters.
static ISCSI_NAMES: LazyLock<[(&str, Regex); 3]> = LazyLock::new(|| {
    let regex = |text: &str| Regex::new(text).expect("a fixed expression");
    [
        ("iqn", regex(r"iqn\.[0-9]{4}-[0-9]{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\t\n\f\r ]+)$")),
        ("eui", regex(r"^eui.[[:alnum:]]{16}$")),
        ("naa", regex(r"^naa.[[:alnum:]]{32}$")),
    ]
});

fn number_up_to_255(source: &Map, name: &str, least: i64, path: &Path, errors: &mut Errors) {
    if let Some(number) = source.i64(name).filter(|number| !(0..=255).contains(number)) {
        errors.push(field::invalid(&path.child(name), number, names::inclusive_range_error(least, 255)));
    }
}

fn all_required(source: &Map, fields: &[&str], path: &Path, errors: &mut Errors) {
    for name in fields {
        common::required(source, name, path, errors);
    }
}

/// A secret that is named must have a name.
fn secret_name(source: &Map, path: &Path, errors: &mut Errors) {
    if source.map("secretRef").is_some_and(|reference| reference.str("name").is_empty()) {
        errors.push(field::required(&path.child("secretRef").child("name"), ""));
    }
}

pub(crate) fn gce_disk(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["pdName"], path, errors);
    number_up_to_255(source, "partition", 1, path, errors);
}

pub(crate) fn aws_disk(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["volumeID"], path, errors);
    number_up_to_255(source, "partition", 1, path, errors);
}

pub(crate) fn nfs(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["server", "path"], path, errors);
    if !source.str("path").starts_with('/') {
        errors.push(field::invalid(&path.child("path"), source.str("path"), "must be an absolute path"));
    }
}

/// `why_other` is said of a name of no known form.
fn iscsi_name(name: &str, why_other: &str, path: &Path, errors: &mut Errors) {
    match ISCSI_NAMES.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        None => errors.push(field::invalid(path, name, why_other)),
        Some((_, form)) if !form.is_match(name) => errors.push(field::invalid(path, name, "must be valid format")),
        Some(_) => {}
    }
}

pub(crate) fn iscsi(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    iscsi_fields(source, "must be valid format starting with iqn, eui, or naa", path, errors);
}

pub(crate) fn iscsi_fields(source: &Map, why_other: &str, path: &Path, errors: &mut Errors) {
    all_required(source, &["targetPortal", "iqn"], path, errors);
    if !source.str("iqn").is_empty() {
        iscsi_name(source.str("iqn"), why_other, &path.child("iqn"), errors);
    }
    number_up_to_255(source, "lun", 0, path, errors);
    let chap = ["chapAuthDiscovery", "chapAuthSession"].iter().any(|name| source.bool(name) == Some(true));
    if chap && !source.contains("secretRef") {
        errors.push(field::required(&path.child("secretRef"), ""));
    }
    if let Some(name) = source.get("initiatorName").and_then(Value::as_str) {
        iscsi_name(name, why_other, &path.child("initiatorname"), errors);
    }
}

pub(crate) fn glusterfs(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["endpoints", "path"], path, errors);
}

pub(crate) fn flocker(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    let (name, id) = (source.str("datasetName"), source.str("datasetUUID"));
    if name.is_empty() && id.is_empty() {
        errors.push(field::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !id.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(field::invalid(path, "resource", why));
    }
    if name.contains('/') {
        errors.push(field::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

pub(crate) fn rbd(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    cephfs(source, path, &Options::default(), errors);
    all_required(source, &["image"], path, errors);
}

pub(crate) fn cinder(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["volumeID"], path, errors);
    secret_name(source, path, errors);
}

pub(crate) fn cephfs(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    if source.list("monitors").is_empty() {
        errors.push(field::required(&path.child("monitors"), ""));
    }
}

/// `host:port`, the host in brackets when it has colons.
fn is_host_port(text: &str) -> bool {
    let Some((host, _)) = text.rsplit_once(':') else { return false };
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|inner| !inner.contains(['[', ']'])),
        None => !host.contains([':', '[', ']']),
    }
}

pub(crate) fn quobyte(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    let pairs = "must be a host:port pair or multiple pairs separated by commas";
    let registry = source.str("registry");
    if registry.is_empty() {
        errors.push(field::required(&path.child("registry"), pairs));
    } else if source.str("tenant").len() > QUOBYTE_TENANT_BYTES_MAX {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(field::required(&path.child("tenant"), why));
    } else {
        let wrong = registry.split(',').filter(|pair| !is_host_port(pair));
        errors.extend(wrong.map(|_| field::invalid(&path.child("registry"), registry, pairs)));
    }
    all_required(source, &["volume"], path, errors);
}

pub(crate) fn fc(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    let at = path.child("targetWWNs");
    let (targets, ids) = (source.list("targetWWNs"), source.list("wwids"));
    if targets.is_empty() && ids.is_empty() {
        errors.push(field::required(&at, "must specify either targetWWNs or wwids, but not both"));
    }
    if !targets.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(field::invalid(&at, Value::List(targets.to_vec()), why));
    }
    if !targets.is_empty() {
        if source.contains("lun") {
            number_up_to_255(source, "lun", 0, path, errors);
        } else {
            errors.push(field::required(&path.child("lun"), "lun is required if targetWWNs is specified"));
        }
    }
}

pub(crate) fn flex(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["driver"], path, errors);
    for (key, _) in source.map("options").into_iter().flat_map(Map::iter) {
        let namespace = key.split_once('/').map_or(key.as_str(), |(namespace, _)| namespace);
        let normal = format!(".{}", namespace.to_lowercase());
        if normal.ends_with(".kubernetes.io") || normal.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(field::invalid(&path.child("options").key(key), key.as_str(), why));
        }
    }
}

pub(crate) fn azure_file(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["secretName", "shareName"], path, errors);
}

pub(crate) fn azure_disk(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["diskName", "diskURI"], path, errors);
    common::one_of(source, "cachingMode", &["None", "ReadOnly", "ReadWrite"], path, errors);
    common::one_of(source, "kind", &["Dedicated", "Managed", "Shared"], path, errors);
    let (uri, at) = (source.str("diskURI"), path.child("diskURI"));
    match source.get("kind").and_then(Value::as_str) {
        Some("Managed") if !uri.starts_with("/subscriptions/") => {
            let form =
                "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
            errors.push(field::not_supported(&at, uri, &[form]));
        }
        Some(kind) if kind != "Managed" && !uri.starts_with("https://") => {
            let form = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
            errors.push(field::not_supported(&at, uri, &[form]));
        }
        _ => {}
    }
}

pub(crate) fn vsphere(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["volumePath"], path, errors);
}

pub(crate) fn photon(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["pdID"], path, errors);
}

pub(crate) fn portworx(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["volumeID"], path, errors);
}

pub(crate) fn scale_io(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    all_required(source, &["gateway", "system", "volumeName"], path, errors);
}

pub(crate) fn storage_os(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    storage_os_names(source, path, errors);
    secret_name(source, path, errors);
}

pub(crate) fn storage_os_names(source: &Map, path: &Path, errors: &mut Errors) {
    let (name, namespace) = (source.str("volumeName"), source.str("volumeNamespace"));
    if name.is_empty() {
        errors.push(field::required(&path.child("volumeName"), ""));
    } else {
        common::dns_label(name, &path.child("volumeName"), errors);
    }
    if !namespace.is_empty() {
        common::dns_label(namespace, &path.child("volumeNamespace"), errors);
    }
}
