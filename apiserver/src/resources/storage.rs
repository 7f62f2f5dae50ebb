//! storage.k8s.io (pkg/registry/storage, pkg/apis/storage/{v1/defaults.go,validation}@v1.37.2).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use super::check::{self, said};
use super::simple::Simple;

const BASE: Simple = Simple { returns_deleted: true, ..Simple::BASE };
const GUARDED: Simple = Simple { unconditional: false, ..BASE };

pub(super) const STORAGE_CLASS: Simple =
    Simple { default: default_class, check: class, check_change: class_change, ..BASE };
pub(super) const CSI_DRIVER: Simple =
    Simple { default: default_driver, check: driver, check_change: driver_change, generation: true, ..GUARDED };
pub(super) const CSI_NODE: Simple = Simple { check: csi_node, ..GUARDED };
pub(super) const VOLUME_ATTACHMENT: Simple = Simple {
    create: |_, object| object.set("status", api::map! { "attached" => false }),
    check: attachment,
    check_change: |new, old| whole(new, old, "spec"),
    ..GUARDED
};
pub(super) const CSI_STORAGE_CAPACITY: Simple = Simple {
    unconditional: false,
    check: capacity,
    check_change: |new, old| {
        let mut errors = whole(new, old, "nodeTopology");
        errors.extend(whole(new, old, "storageClassName"));
        errors
    },
    ..Simple::BASE
};
pub(super) const VOLUME_ATTRIBUTES_CLASS: Simple =
    Simple { check: attributes, check_change: attributes_change, ..BASE };

fn whole(new: &Map, old: &Map, name: &str) -> Errors {
    let mut errors = Errors::new();
    check::fixed(&Path::new(name), new.get(name), old.get(name), &mut errors);
    errors
}

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

fn default_class(object: &mut Map) {
    check::set_absent(object, "reclaimPolicy", "Delete");
    check::set_absent(object, "volumeBindingMode", "Immediate");
}

/// Longest and most parameters (storage.MaxProvisionerParameter*).
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

fn parameters(object: &Map, needed: bool, errors: &mut Errors) {
    let path = Path::new("parameters");
    let list = object.map("parameters").unwrap_or(Map::EMPTY);
    if needed && list.is_empty() {
        return errors.push(field::required(&path, "must contain at least one key/value pair"));
    }
    if list.len() > PARAMETERS_MAX {
        errors.push(field::too_long(&path, PARAMETERS_MAX));
    }
    if let Some(key) = list.keys().find(|key| key.is_empty()) {
        errors.push(field::invalid(&path, key.as_str(), "field can not be empty."));
    }
    let bytes: usize = list.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(field::too_long(&path, PARAMETERS_BYTES_MAX));
    }
}

fn class(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let provisioner = object.str("provisioner");
    let path = Path::new("provisioner");
    let lower = provisioner.to_lowercase();
    if provisioner.is_empty() {
        errors.push(field::required(&path, ""));
    } else {
        errors.extend(said(&path, &lower, &names::is_qualified_name(&lower)));
    }
    parameters(object, false, &mut errors);
    let policy = object.str("reclaimPolicy");
    check::optional_one_of(policy, &["Delete", "Retain"], &Path::new("reclaimPolicy"), &mut errors);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    check::one_of(object.str("volumeBindingMode"), &modes, &Path::new("volumeBindingMode"), &mut errors);
    errors
}

fn class_change(new: &Map, old: &Map) -> Errors {
    let fixed = ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"];
    fixed.iter().flat_map(|name| whole(new, old, name)).collect()
}

fn default_driver(object: &mut Map) {
    let spec = object.map_mut("spec");
    check::set_missing(spec, "attachRequired", true);
    check::set_missing(spec, "podInfoOnMount", false);
    check::set_missing(spec, "storageCapacity", false);
    check::set_absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    check::set_absent(spec, "volumeLifecycleModes", vec![Value::from("Persistent")]);
    for name in ["requiresRepublish", "seLinuxMount", "preventPodSchedulingIfMissing"] {
        check::set_missing(spec, name, false);
    }
}

fn driver(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec(object), Path::new("spec"));
    for name in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
        if !spec.contains(name) {
            errors.push(field::required(&path.child(name), ""));
        }
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    check::one_of(spec.str("fsGroupPolicy"), &policies, &path.child("fsGroupPolicy"), &mut errors);
    let mut seen = Vec::new();
    for (at, token) in spec.maps("tokenRequests").enumerate() {
        let (path, audience) = (path.child("tokenRequests").index(at), token.str("audience"));
        if seen.contains(&audience) {
            errors.push(field::duplicate(&path.child("audience"), audience));
            continue;
        }
        seen.push(audience);
        if let Some(seconds) = token.i64("expirationSeconds") {
            let path = path.child("expirationSeconds");
            if seconds < 600 {
                errors.push(field::invalid(&path, seconds, "may not specify a duration less than 10 minutes"));
            }
            if seconds > 1 << 32 {
                errors.push(field::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds"));
            }
        }
    }
    for mode in spec.list("volumeLifecycleModes").iter().filter_map(Value::as_str) {
        check::one_of(mode, &["Persistent", "Ephemeral"], &path.child("volumeLifecycleModes"), &mut errors);
    }
    errors
}

fn driver_change(new: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    for (name, shown) in [("attachRequired", "attachedRequired"), ("fsGroupPolicy", "fsGroupPolicy")] {
        let value = spec(new).get(name);
        if value != spec(old).get(name) && name == "attachRequired" {
            errors.push(field::invalid(
                &path.child(shown),
                value.cloned().unwrap_or_default(),
                super::common::IMMUTABLE,
            ));
        }
    }
    let modes = |object: &Map| spec(object).list("volumeLifecycleModes").to_vec();
    if modes(new) != modes(old) {
        let shown = Value::List(modes(new));
        errors.push(field::invalid(&path.child("volumeLifecycleModes"), shown, super::common::IMMUTABLE));
    }
    errors
}

fn csi_node(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec").child("drivers");
    let mut seen: Vec<&str> = Vec::new();
    for (at, driver) in spec(object).maps("drivers").enumerate() {
        let path = path.index(at);
        driver_name(driver.str("name"), &path.child("name"), &mut errors);
        let node = driver.str("nodeID");
        if node.is_empty() {
            errors.push(field::required(&path.child("nodeID"), ""));
        }
        let count = driver.map("allocatable").and_then(|allocatable| allocatable.i64("count"));
        check::not_negative(count, &path.child("allocatable").child("count"), &mut errors);
        if seen.contains(&driver.str("name")) {
            errors.push(field::duplicate(&path.child("name"), driver.str("name")));
        }
        seen.push(driver.str("name"));
        topology_keys(driver, &path, &mut errors);
    }
    errors
}

fn topology_keys(driver: &Map, path: &Path, errors: &mut Errors) {
    let keys: Vec<&str> = driver.list("topologyKeys").iter().filter_map(Value::as_str).collect();
    for (at, key) in keys.iter().enumerate() {
        if key.is_empty() {
            errors.push(field::required(path, ""));
        }
        if keys[..at].contains(key) {
            errors.push(field::duplicate(path, *key));
        } else {
            errors.extend(said(path, key, &names::is_qualified_name(key)));
        }
    }
}

/// Longest name of a CSI driver.
const DRIVER_NAME_MAX: usize = 63;

fn driver_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(field::required(path, ""));
    }
    if name.len() > DRIVER_NAME_MAX {
        errors.push(field::too_long(path, DRIVER_NAME_MAX));
    }
    let lower = name.to_lowercase();
    errors.extend(said(path, name, &names::is_dns1123_subdomain(&lower)));
}

fn attachment(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec(object), Path::new("spec"));
    let source = spec.map("source").unwrap_or(Map::EMPTY);
    let at = path.child("source");
    match (source.contains("inlineVolumeSpec"), source.get("persistentVolumeName").and_then(Value::as_str)) {
        (false, None) => {
            errors.push(field::required(&at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
        }
        (true, Some(_)) => {
            errors.push(field::forbidden(&at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"));
        }
        (false, Some("")) => {
            errors.push(field::required(
                &at.child("persistentVolumeName"),
                "must specify non empty persistentVolumeName",
            ));
        }
        _ => {}
    }
    let node = spec.str("nodeName");
    errors.extend(said(&path.child("nodeName"), node, &names::name_is_dns_subdomain(node, false)));
    let attacher = spec.str("attacher");
    if attacher.is_empty() {
        errors.push(field::required(&path.child("attacher"), ""));
    } else {
        let wrong = names::is_dns1123_subdomain(&attacher.to_lowercase());
        let caseless = |message: &String| {
            message
                .replace(
                    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric",
                    "an RFC 1123 subdomain must consist of alphanumeric",
                )
                .replace("'example.com'", "'Example.com'")
        };
        let wrong: Vec<String> = wrong.iter().map(caseless).collect();
        errors.extend(said(&path.child("attacher"), attacher, &wrong));
    }
    errors
}

fn capacity(object: &Map) -> Errors {
    let mut errors = check::label_selector(object.map("nodeTopology"), &Path::new("nodeTopology"));
    let class = object.str("storageClassName");
    let path = Path::new("storageClassName");
    if class.is_empty() {
        errors.push(field::required(&path, ""));
    } else {
        errors.extend(said(&path, class, &names::name_is_dns_subdomain(class, false)));
    }
    for name in ["capacity", "maximumVolumeSize"] {
        if let Some(value) = object.get(name) {
            check::amount("storage", value, &Path::new(name), &mut errors);
        }
    }
    errors
}

fn attributes(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (name, path) = (object.str("driverName").to_lowercase(), Path::new("driverName"));
    if name.is_empty() {
        errors.push(field::required(&path, ""));
    } else {
        errors.extend(said(&path, &name, &names::is_qualified_name(&name)));
    }
    parameters(object, true, &mut errors);
    errors
}

fn attributes_change(new: &Map, old: &Map) -> Errors {
    let changed = |name: &&str| new.get(name) != old.get(name);
    let names = ["driverName", "parameters"];
    let forbidden = |name: &str| field::forbidden(&Path::new(name), format!("updates to {name} are forbidden."));
    names.iter().filter(|name| changed(name)).map(|name| forbidden(name)).collect()
}
