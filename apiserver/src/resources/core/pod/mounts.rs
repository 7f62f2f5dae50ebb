//! Where containers see volumes (pkg/apis/core/validation/validation.go@v1.37.2: ValidateVolumeMounts,
//! ValidateVolumeDevices).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use super::volumes::{self, Volumes};

const PROPAGATIONS: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];

pub(super) fn check(container: &Map, all: &Volumes, path: &Path, errors: &mut Errors) {
    let mut paths: Vec<&str> = Vec::new();
    for (at, mount) in container.maps("volumeMounts").enumerate() {
        let at = path.index(at);
        let (name, target) = (mount.str("name"), mount.str("mountPath"));
        if name.is_empty() {
            errors.push(field::required(&at.child("name"), ""));
        }
        if !all.contains_key(name) {
            errors.push(field::not_found(&at.child("name"), name));
        }
        if target.is_empty() {
            errors.push(field::required(&at.child("mountPath"), ""));
        }
        if paths.contains(&target) {
            errors.push(field::invalid(&at.child("mountPath"), target, "must be unique"));
        }
        paths.push(target);
        if container.maps("volumeDevices").any(|device| device.str("name") == name) {
            errors.push(field::invalid(&at.child("name"), name, "must not already exist in volumeDevices"));
        }
        if container.maps("volumeDevices").any(|device| device.str("devicePath") == target) {
            let why = "must not already exist as a path in volumeDevices";
            errors.push(field::invalid(&at.child("mountPath"), target, why));
        }
        sub_paths(mount, path, &at, errors);
        propagation(mount, container, &path.child("mountPropagation"), errors);
        recursive_read_only(mount, &path.child("recursiveReadOnly"), errors);
    }
}

/// Upstream reports these at the list, not at the mount.
fn sub_paths(mount: &Map, path: &Path, at: &Path, errors: &mut Errors) {
    let (sub, expression) = (mount.str("subPath"), mount.str("subPathExpr"));
    if !sub.is_empty() {
        volumes::local_path(sub, &path.child("subPath"), errors);
    }
    if !expression.is_empty() {
        if !sub.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(field::invalid(&at.child("subPathExpr"), expression, why));
        }
        volumes::local_path(expression, &path.child("subPathExpr"), errors);
    }
}

fn propagation(mount: &Map, container: &Map, path: &Path, errors: &mut Errors) {
    let Some(kind) = mount.get("mountPropagation").and_then(Value::as_str) else { return };
    if !PROPAGATIONS.contains(&kind) {
        errors.push(field::not_supported(path, kind, &PROPAGATIONS));
    }
    let privileged = container.map("securityContext").and_then(|context| context.bool("privileged")) == Some(true);
    if kind == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(field::forbidden(path, why));
    }
}

fn recursive_read_only(mount: &Map, path: &Path, errors: &mut Errors) {
    match mount.get("recursiveReadOnly").and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount.bool("readOnly") != Some(true) {
                errors.push(field::forbidden(path, "may only be specified when readOnly is true"));
            }
            if !matches!(mount.get("mountPropagation").and_then(Value::as_str), None | Some("None")) {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(field::forbidden(path, why));
            }
        }
        Some(other) => errors.push(field::not_supported(path, other, &RECURSIVE)),
    }
}

pub(super) fn devices(container: &Map, all: &Volumes, path: &Path, errors: &mut Errors) {
    let (mut paths, mut names): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (at, device) in container.maps("volumeDevices").enumerate() {
        let at = path.index(at);
        let (name, target) = (device.str("name"), device.str("devicePath"));
        let (at_name, at_path) = (at.child("name"), at.child("devicePath"));
        if name.is_empty() {
            errors.push(field::required(&at_name, ""));
        }
        if names.contains(&name) {
            errors.push(field::invalid(&at_name, name, "must be unique"));
        }
        match all.get(name) {
            Some(volume) if !volume.contains("persistentVolumeClaim") && !volume.contains("ephemeral") => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(field::invalid(&at_name, name, why));
            }
            Some(_) => {}
            None => errors.push(field::not_found(&at_name, name)),
        }
        if target.is_empty() {
            errors.push(field::required(&at_path, ""));
        }
        if paths.contains(&target) {
            errors.push(field::invalid(&at_path, target, "must be unique"));
        }
        if target.split('/').any(|part| part == "..") {
            errors.push(field::invalid(&at_path, target, "can not contain backsteps ('..')"));
        } else {
            paths.push(target);
        }
        if container.maps("volumeMounts").any(|mount| mount.str("name") == name) {
            errors.push(field::invalid(&at_name, name, "must not already exist in volumeMounts"));
        }
        if container.maps("volumeMounts").any(|mount| mount.str("mountPath") == target) {
            errors.push(field::invalid(&at_path, target, "must not already exist as a path in volumeMounts"));
        }
        if !name.is_empty() {
            names.push(name);
        }
    }
}
