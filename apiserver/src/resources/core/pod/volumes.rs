//! Volumes (pkg/apis/core/validation/validation.go@v1.37.2: ValidateVolumes, validateVolumeSource and the sources
//! that pods themselves bring: files from objects, directories, claims, images).

use std::collections::BTreeMap;

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::options::Options;
use super::{claim, containers, env, network_volumes, projected};
use crate::resources::common;

/// The volumes that have nothing wrong, by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Map>;

const FILE_MODE_MAX: i64 = 0o777;
pub(super) const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// `<volume name>:<iscsi.targetPortal>`, in bytes, when there is an initiator name.
const ISCSI_NAME_BYTES_MAX: usize = 64;

type Check = fn(&Map, &Path, &Options, &mut Errors);

/// A kind of volume: JSON name, the name upstream forbids a second one by, the name it checks it by, its checks.
struct Source(&'static str, &'static str, &'static str, Check);

/// In upstream's order, with upstream's spelling.
const SOURCES: &[Source] = &[
    Source("hostPath", "hostPath", "hostPath", host_path),
    Source("gitRepo", "gitRepo", "gitRepo", git_repo),
    Source("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", network_volumes::gce_disk),
    Source("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", network_volumes::aws_disk),
    Source("secret", "secret", "secret", secret),
    Source("nfs", "nfs", "nfs", network_volumes::nfs),
    Source("iscsi", "iscsi", "iscsi", network_volumes::iscsi),
    Source("glusterfs", "glusterfs", "glusterfs", network_volumes::glusterfs),
    Source("flocker", "flocker", "flocker", network_volumes::flocker),
    Source("persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim", claim_name),
    Source("rbd", "rbd", "rbd", network_volumes::rbd),
    Source("cinder", "cinder", "cinder", network_volumes::cinder),
    Source("cephfs", "cephFS", "cephfs", network_volumes::cephfs),
    Source("quobyte", "quobyte", "quobyte", network_volumes::quobyte),
    Source("downwardAPI", "downwarAPI", "downwardAPI", downward_api),
    Source("fc", "fc", "fc", network_volumes::fc),
    Source("flexVolume", "flexVolume", "flexVolume", network_volumes::flex),
    Source("configMap", "configMap", "configMap", config_map),
    Source("azureFile", "azureFile", "azureFile", network_volumes::azure_file),
    Source("vsphereVolume", "vsphereVolume", "vsphereVolume", network_volumes::vsphere),
    Source("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", network_volumes::photon),
    Source("portworxVolume", "portworxVolume", "portworxVolume", network_volumes::portworx),
    Source("azureDisk", "azureDisk", "azureDisk", network_volumes::azure_disk),
    Source("storageos", "storageos", "storageos", network_volumes::storage_os),
    Source("projected", "projected", "projected", projected::check),
    Source("scaleIO", "scaleIO", "scaleIO", network_volumes::scale_io),
    Source("csi", "csi", "csi", csi),
    Source("ephemeral", "ephemeral", "ephemeral", ephemeral),
    Source("image", "image", "image", image),
];

/// Checks all volumes; gives those that are right. `name` is the pod's, "" in a template.
pub(super) fn check<'a>(spec: &'a Map, name: &str, path: &Path, options: &Options, errors: &mut Errors) -> Volumes<'a> {
    let mut all = Volumes::new();
    let made = |claim: &str| {
        let own = spec.maps("volumes").filter(|volume| volume.contains("ephemeral"));
        !name.is_empty() && own.map(|volume| format!("{name}-{}", volume.str("name"))).any(|own| own == claim)
    };
    for (at, volume) in spec.maps("volumes").enumerate() {
        let path = path.index(at);
        let own = volume.str("name");
        let before = errors.len();
        source(volume, name, &path, options, errors);
        if own.is_empty() {
            errors.push(field::required(&path.child("name"), ""));
        } else {
            common::dns_label(own, &path.child("name"), errors);
        }
        if all.contains_key(own) {
            errors.push(field::duplicate(&path.child("name"), own));
        }
        if errors.len() == before {
            all.insert(own, volume);
        }
        let claim = volume.map("persistentVolumeClaim").map_or("", |claim| claim.str("claimName"));
        if volume.contains("persistentVolumeClaim") && made(claim) {
            let path = path.child("persistentVolumeClaim").child("claimName");
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(field::invalid(&path, claim, why));
        }
    }
    all
}

fn source(volume: &Map, pod: &str, path: &Path, options: &Options, errors: &mut Errors) {
    let name = volume.str("name");
    let mut sources = 0;
    if let Some(empty) = volume.map("emptyDir") {
        sources += 1;
        if empty.get("sizeLimit").and_then(common::quantity).is_some_and(|limit| limit.sign() < 0) {
            let why = "SizeLimit field must be a valid resource quantity";
            errors.push(field::forbidden(&path.child("emptyDir").child("sizeLimit"), why));
        }
    }
    for Source(json, forbidden, checked, check) in SOURCES {
        let Some(source) = volume.map(json) else { continue };
        sources += 1;
        if sources > 1 {
            errors.push(field::forbidden(&path.child(forbidden), "may not specify more than 1 volume type"));
        } else {
            check(source, &path.child(checked), options, errors);
            if *json == "ephemeral" && !pod.is_empty() && !name.is_empty() {
                claim_of_volume(pod, name, path, errors);
            }
        }
        let portal = name.len() + 1 + source.str("targetPortal").len();
        if *json == "iscsi" && source.contains("initiatorName") && portal > ISCSI_NAME_BYTES_MAX {
            let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errors.push(field::invalid(&path.child("name"), name, why));
        }
    }
    if sources == 0 {
        errors.push(field::required(path, "must specify a volume type"));
    }
}

/// The claim made for an ephemeral volume is called after pod and volume.
fn claim_of_volume(pod: &str, name: &str, path: &Path, errors: &mut Errors) {
    let claim = format!("{pod}-{name}");
    let wrong = names::name_is_dns_subdomain(&claim, false);
    let quoted = field::go_quote(&claim);
    errors
        .extend(wrong.iter().map(|why| field::invalid(&path.child("name"), name, format!("PVC name {quoted}: {why}"))));
}

/// Mode bits of files.
pub(super) fn mode(map: &Map, name: &str, path: &Path, errors: &mut Errors) {
    if let Some(mode) = map.i64(name).filter(|mode| !(0..=FILE_MODE_MAX).contains(mode)) {
        errors.push(field::invalid(&path.child(name), mode, FILE_MODE));
    }
}

pub(crate) fn no_backsteps(text: &str, path: &Path, errors: &mut Errors) {
    if text.split('/').any(|part| part == "..") {
        errors.push(field::invalid(path, text, "must not contain '..'"));
    }
}

/// A path below something: neither absolute nor leaving it (validateLocalDescendingPath).
pub(super) fn local_path(text: &str, path: &Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.push(field::invalid(path, text, "must be a relative path"));
    }
    no_backsteps(text, path, errors);
}

/// Names that start with two dots belong to the kubelet (ValidateLocalNonReservedPath).
pub(super) fn local_free_path(text: &str, path: &Path, errors: &mut Errors) {
    local_path(text, path, errors);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.push(field::invalid(path, text, "must not start with '..'"));
    }
}

pub(super) fn key_to_path(item: &Map, path: &Path, errors: &mut Errors) {
    common::required(item, "key", path, errors);
    common::required(item, "path", path, errors);
    local_free_path(item.str("path"), &path.child("path"), errors);
    mode(item, "mode", path, errors);
}

fn items(source: &Map, path: &Path, errors: &mut Errors) {
    for (at, item) in source.maps("items").enumerate() {
        key_to_path(item, &path.child("items").index(at), errors);
    }
}

pub(crate) fn host_path(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    if source.str("path").is_empty() {
        errors.push(field::required(&path.child("path"), ""));
        return;
    }
    no_backsteps(source.str("path"), &path.child("path"), errors);
    common::one_of(source, "type", &HOST_PATH_TYPES, path, errors);
}

fn git_repo(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    common::required(source, "repository", path, errors);
    local_path(source.str("directory"), &path.child("directory"), errors);
}

fn secret(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    common::required(source, "secretName", path, errors);
    mode(source, "defaultMode", path, errors);
    items(source, path, errors);
}

fn config_map(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    common::required(source, "name", path, errors);
    mode(source, "defaultMode", path, errors);
    items(source, path, errors);
}

fn claim_name(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    common::required(source, "claimName", path, errors);
}

fn downward_api(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for item in source.maps("items") {
        downward_file(item, path, errors);
    }
}

pub(super) fn downward_file(item: &Map, path: &Path, errors: &mut Errors) {
    common::required(item, "path", path, errors);
    local_free_path(item.str("path"), &path.child("path"), errors);
    match (item.map("fieldRef"), item.map("resourceFieldRef")) {
        (Some(reference), resource) => {
            env::field_ref(reference, &env::VOLUME_PATHS, &path.child("fieldRef"), errors);
            if resource.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(field::invalid(path, "resource", why));
            }
        }
        (None, Some(reference)) => env::resource_ref(reference, true, &path.child("resourceFieldRef"), errors),
        (None, None) => errors.push(field::required(path, "one of fieldRef and resourceFieldRef is required")),
    }
    mode(item, "mode", path, errors);
}

/// ValidateCSIDriverName.
pub(crate) fn driver_name(driver: &str, path: &Path, errors: &mut Errors) {
    if driver.is_empty() {
        return errors.push(field::required(path, ""));
    }
    if driver.len() > names::DNS1123_LABEL_MAX_LENGTH {
        errors.push(field::too_long(path, names::DNS1123_LABEL_MAX_LENGTH));
    }
    common::each(path, driver, names::is_dns1123_subdomain(&driver.to_lowercase()), errors);
}

fn csi(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    driver_name(source.str("driver"), &path.child("driver"), errors);
    if let Some(reference) = source.map("nodePublishSecretRef") {
        let name = reference.str("name");
        if name.is_empty() {
            errors.push(field::required(&path.child("nodePublishSecretRef").child("name"), ""));
        } else {
            common::each(&path.child("name"), name, names::name_is_dns_subdomain(name, false), errors);
        }
    }
}

fn ephemeral(source: &Map, path: &Path, _: &Options, errors: &mut Errors) {
    let path = path.child("volumeClaimTemplate");
    match source.map("volumeClaimTemplate") {
        Some(template) => claim::template(template, &path, errors),
        None => errors.push(field::required(&path, "")),
    }
}

fn image(source: &Map, path: &Path, options: &Options, errors: &mut Errors) {
    if !options.empty_image_reference {
        common::required(source, "reference", path, errors);
    }
    containers::pull_policy(source, "pullPolicy", path, errors);
}

/// A projected token goes to a path outside of its volume.
pub(super) fn has_token_path_outside(spec: &Map) -> bool {
    let projected = spec.maps("volumes").filter_map(|volume| volume.map("projected"));
    let tokens = projected.flat_map(|p| p.maps("sources")).filter_map(|source| source.map("serviceAccountToken"));
    tokens.filter_map(|token| token.get("path").and_then(Value::as_str)).any(|text| {
        let mut errors = Errors::new();
        local_free_path(text, &Path::default(), &mut errors);
        !errors.is_empty()
    })
}
