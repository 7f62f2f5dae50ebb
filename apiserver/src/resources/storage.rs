//! storage.k8s.io (pkg/registry/storage, pkg/apis/storage/{v1/defaults.go,validation}@v1.37.2).

use std::collections::{BTreeMap, BTreeSet};

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::check::{self, said};
use super::common;
use super::common::internal::{self, Plain};
use super::core::persistent_volume;
use super::core::pod::volumes;
use super::core::pod::warnings::node_label;
use super::simple::Simple;
use crate::strategy::{MetaCheck, StatusMetadata};

const BASE: Simple = Simple { returns_deleted: true, ..Simple::BASE };
const GUARDED: Simple = Simple { unconditional: false, ..BASE };

pub(super) const STORAGE_CLASS: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    default: default_class,
    check: class,
    check_change: class_change,
    warn: class_warnings,
    ..BASE
};
pub(super) const CSI_DRIVER: Simple = Simple {
    default: default_driver,
    // Upstream counts changes, but does not start at 1.
    update: |_, object, old| {
        if !common::same_maps(spec(object), spec(old)) {
            object.meta_mut().set("generation", old.generation() + 1);
        }
    },
    check: driver,
    check_change: driver_change,
    warn: driver_warnings,
    ..GUARDED
};
pub(super) const CSI_NODE: Simple = Simple {
    meta: &[MetaCheck::Whole],
    create: |_, object| drop_health(object, Map::EMPTY),
    update_status: |_, object, old| drop_health(object, old),
    check: csi_node,
    check_change: csi_node_change,
    ..GUARDED
};
pub(super) const VOLUME_ATTACHMENT: Simple = Simple {
    status_metadata: StatusMetadata::Kept,
    meta: &[MetaCheck::Whole],
    create: |_, object| object.set("status", api::map! { "attached" => false }),
    default: |object| {
        if let Some(volume) = inline_volume(object) {
            persistent_volume::default_sources(volume);
        }
    },
    check: attachment,
    check_change: |new, old| whole(new, old, "spec"),
    check_status: |new, _| attachment(new),
    ..GUARDED
};
pub(super) const CSI_STORAGE_CAPACITY: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    unconditional: false,
    check: |object| capacity(object, false),
    recheck: false,
    check_change: capacity_change,
    warn: capacity_warnings,
    ..Simple::BASE
};
pub(super) const VOLUME_ATTRIBUTES_CLASS: Simple = Simple {
    meta: &[MetaCheck::Update, MetaCheck::Whole],
    check: attributes,
    recheck: false,
    check_change: attributes_change,
    ..BASE
};

fn whole(new: &Map, old: &Map, name: &str) -> Errors {
    let mut errors = Errors::new();
    check::fixed(&Path::new(name), new.get(name), old.get(name), &mut errors);
    errors
}

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

fn default_class(object: &mut Map) {
    check::set_missing(object, "reclaimPolicy", "Delete");
    check::set_missing(object, "volumeBindingMode", "Immediate");
}

/// Longest and most parameters (storage.MaxProvisionerParameter*).
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

fn parameters(object: &Map, needed: bool, errors: &mut Errors) {
    let path = Path::new("parameters");
    let list = object.map("parameters").unwrap_or(Map::EMPTY);
    if list.len() > PARAMETERS_MAX {
        return errors.push(field::too_long(&path, PARAMETERS_MAX));
    }
    if let Some(key) = list.keys().find(|key| key.is_empty()) {
        errors.push(field::invalid(&path, key.as_str(), "field can not be empty."));
    }
    let bytes: usize = list.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(field::too_long(&path, PARAMETERS_BYTES_MAX));
    }
    if needed && list.is_empty() {
        errors.push(field::required(&path, "must contain at least one key/value pair"));
    }
}

fn class(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let provisioner = object.str("provisioner");
    let (lower, path) = (provisioner.to_lowercase(), Path::new("provisioner"));
    if provisioner.is_empty() {
        errors.push(field::required(&path, ""));
    } else {
        errors.extend(said(&path, &lower, &names::is_qualified_name(&lower)));
    }
    parameters(object, false, &mut errors);
    let policy = object.str("reclaimPolicy");
    check::optional_one_of(policy, &["Delete", "Retain"], &Path::new("reclaimPolicy"), &mut errors);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    let mode = object.get("volumeBindingMode").and_then(Value::as_str);
    check::pointed_one_of(mode, &modes, &Path::new("volumeBindingMode"), &mut errors);
    topologies(object, &mut errors);
    errors
}

/// Terms of labels, none of them twice.
fn topologies(object: &Map, errors: &mut Errors) {
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    let path = Path::new("allowedTopologies");
    // Upstream compares with as many empty terms as there are terms.
    let all: Vec<&Map> = object.maps("allowedTopologies").collect();
    seen.resize_with(all.len(), BTreeMap::new);
    for (at, term) in all.iter().enumerate() {
        let path = path.index(at).child("matchLabelExpressions");
        let mut own: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, requirement) in term.maps("matchLabelExpressions").enumerate() {
            let (path, key) = (path.index(index), requirement.str("key"));
            let values: Vec<&str> = requirement.list("values").iter().filter_map(Value::as_str).collect();
            if values.is_empty() {
                errors.push(field::required(&path.child("values"), ""));
            }
            for (index, value) in values.iter().enumerate().filter(|(at, value)| values[..*at].contains(value)) {
                errors.push(field::duplicate(&path.child("values").index(index), *value));
            }
            common::qualified_name(key, &path.child("key"), errors);
            if own.insert(key, values.into_iter().collect()).is_some() {
                errors.push(field::duplicate(&path.child("key"), key));
            }
        }
        errors.extend(seen.iter().filter(|other| **other == own).map(|_| field::duplicate(&path, "")));
        seen.push(own);
    }
}

fn class_warnings(object: &Map, _: Option<&Map>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, term) in object.maps("allowedTopologies").enumerate() {
        for (index, requirement) in term.maps("matchLabelExpressions").enumerate() {
            if let Some(why) = node_label(requirement.str("key")) {
                let path = Path::new("allowedTopologies").index(at).child("matchLabelExpressions").index(index);
                warnings.push(format!("{}: {why}", path.child("key")));
            }
        }
    }
    warnings
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
    check::set_missing(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    check::set_absent(spec, "volumeLifecycleModes", vec![Value::from("Persistent")]);
    for name in ["requiresRepublish", "seLinuxMount", "preventPodSchedulingIfMissing"] {
        check::set_missing(spec, name, false);
    }
}

/// How often a node may be asked for its limits, in seconds.
const UPDATE_PERIOD_SECONDS_MIN: i64 = 10;

/// Tokens are better in secrets than in attributes.
fn driver_warnings(object: &Map, old: Option<&Map>) -> Vec<String> {
    let spec = spec(object);
    let same = old.is_some_and(|old| common::same(self::spec(old).get("tokenRequests"), spec.get("tokenRequests")));
    if same || spec.list("tokenRequests").is_empty() || spec.contains("serviceAccountTokenInSecrets") {
        return Vec::new();
    }
    let why = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
    vec![why.to_string()]
}

fn driver(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec(object), Path::new("spec"));
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    let policy = spec.get("fsGroupPolicy").and_then(Value::as_str);
    check::pointed_one_of(policy, &policies, &path.child("fsGroupPolicy"), &mut errors);
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
        let modes = ["Persistent", "Ephemeral"];
        check::pointed_one_of(Some(mode), &modes, &path.child("volumeLifecycleModes"), &mut errors);
    }
    if let Some(seconds) = spec.i64("nodeAllocatableUpdatePeriodSeconds").filter(|s| *s < UPDATE_PERIOD_SECONDS_MIN) {
        let why = format!("must be greater than or equal to {UPDATE_PERIOD_SECONDS_MIN} seconds");
        errors.push(field::invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), seconds, why));
    }
    let asks = !spec.list("tokenRequests").is_empty();
    if let Some(flag) = spec.bool("serviceAccountTokenInSecrets").filter(|_| !asks) {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(field::invalid(&path.child("serviceAccountTokenInSecrets"), flag, why));
    }
    errors
}

fn driver_change(new: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let attach = spec(new).get("attachRequired");
    if attach != spec(old).get("attachRequired") {
        let shown = attach.cloned().unwrap_or_default();
        errors.push(field::invalid(&path.child("attachedRequired"), shown, common::IMMUTABLE));
    }
    let modes = |object: &Map| spec(object).list("volumeLifecycleModes").to_vec();
    if modes(new) != modes(old) {
        let shown = Value::List(modes(new));
        errors.push(field::invalid(&path.child("volumeLifecycleModes"), shown, common::IMMUTABLE));
    }
    errors
}

fn csi_node(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec").child("drivers");
    let mut seen: Vec<&str> = Vec::new();
    for (at, driver) in spec(object).maps("drivers").enumerate() {
        let path = path.index(at);
        volumes::driver_name(driver.str("name"), &path.child("name"), &mut errors);
        let node = driver.str("nodeID");
        if node.is_empty() {
            errors.push(field::required(&path.child("nodeID"), ""));
        }
        if node.len() > NODE_ID_MAX {
            errors.push(field::invalid(
                &path.child("nodeID"),
                node,
                format!("must be {NODE_ID_MAX} characters or less"),
            ));
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

/// What nodes say of their storage is behind a gate that is off.
fn drop_health(object: &mut Map, old: &Map) {
    let known = old.map("status").is_some_and(|status| !status.list("storageHealth").is_empty());
    if let Some(status) = object.get_mut("status").and_then(Value::as_map_mut).filter(|_| !known) {
        status.remove("storageHealth");
    }
}

fn topology_keys(driver: &Map, path: &Path, errors: &mut Errors) {
    let keys: Vec<&str> = driver.list("topologyKeys").iter().filter_map(Value::as_str).collect();
    for (at, key) in keys.iter().enumerate() {
        if key.is_empty() {
            errors.push(field::required(path, ""));
        }
        if keys[..at].contains(key) {
            errors.push(field::duplicate(path, *key));
        }
        errors.extend(said(path, key, &names::is_qualified_name(key)));
    }
}

/// Longest name that a driver has for a node.
const NODE_ID_MAX: usize = 256;

/// What a driver says of a node stays, but for how much it can attach.
fn csi_node_change(new: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let fixed = |driver: &Map| {
        let mut driver = driver.clone();
        driver.remove("allocatable");
        driver
    };
    for was in spec(old).maps("drivers").map(fixed) {
        for now in spec(new).maps("drivers").map(fixed).filter(|now| now.str("name") == was.str("name")) {
            if !common::same_maps(&now, &was) {
                let shown = Plain(internal::shown(&now, "storage.v1.CSINodeDriver"));
                errors.push(field::invalid(&Path::new("spec").child("drivers"), shown, common::IMMUTABLE));
            }
        }
    }
    errors
}

/// Longest message of an error, and most metadata of an attachment, in bytes.
const ERROR_MESSAGE_BYTES_MAX: usize = 1024;
const METADATA_BYTES_MAX: usize = 256 * 1024;

fn attachment_status(object: &Map, errors: &mut Errors) {
    let (status, path) = (object.map("status").unwrap_or(Map::EMPTY), Path::new("status"));
    let metadata = status.map("attachmentMetadata").into_iter().flat_map(Map::iter);
    let bytes: usize = metadata.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > METADATA_BYTES_MAX {
        errors.push(field::too_long(&path.child("attachmentMetadata"), METADATA_BYTES_MAX));
    }
    for name in ["attachError", "detachError"] {
        let (error, path) = (status.map(name).unwrap_or(Map::EMPTY), path.child(name));
        if error.str("message").len() > ERROR_MESSAGE_BYTES_MAX {
            errors.push(field::too_long(&path.child("message"), ERROR_MESSAGE_BYTES_MAX));
        }
        if let Some(code) = error.i64("errorCode").filter(|code| *code < 0) {
            let why = names::inclusive_range_error(0, i64::from(i32::MAX));
            errors.push(field::invalid(&path.child("errorCode"), code, why));
        }
    }
}

fn inline_volume(object: &mut Map) -> Option<&mut Map> {
    let spec = object.get_mut("spec").and_then(Value::as_map_mut)?;
    let source = spec.get_mut("source").and_then(Value::as_map_mut)?;
    source.get_mut("inlineVolumeSpec").and_then(Value::as_map_mut)
}

fn attachment(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec(object), Path::new("spec"));
    let (attacher, at) = (spec.str("attacher"), path.child("attacher"));
    if attacher.is_empty() {
        errors.push(field::required(&at, ""));
    } else {
        errors.extend(said(&at, attacher, &names::is_long_name_caseless(attacher)));
        if attacher.len() > names::DNS1123_LABEL_MAX_LENGTH {
            errors.push(field::too_long_characters(&at, names::DNS1123_LABEL_MAX_LENGTH));
        }
    }
    let source = spec.map("source").unwrap_or(Map::EMPTY);
    let (at, volume) = (path.child("source"), source.map("inlineVolumeSpec"));
    let name = source.get("persistentVolumeName").and_then(Value::as_str);
    let exactly = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (volume, name) {
        (None, None) => errors.push(field::required(&at, exactly)),
        (Some(_), Some(_)) => errors.push(field::forbidden(&at, exactly)),
        (None, Some("")) => {
            let why = "must specify non empty persistentVolumeName";
            errors.push(field::required(&at.child("persistentVolumeName"), why));
        }
        (None, Some(_)) => {}
        (Some(volume), None) => persistent_volume::inline(volume, &at.child("inlineVolumeSpec"), &mut errors),
    }
    let node = spec.str("nodeName");
    errors.extend(said(&path.child("nodeName"), node, &names::name_is_dns_subdomain(node, false)));
    attachment_status(object, &mut errors);
    if let Some(name) = name {
        errors.extend(said(&at.child("persistentVolumeName"), name, &names::name_is_dns_subdomain(name, false)));
    }
    errors
}

fn capacity(object: &Map, any_value: bool) -> Errors {
    let mut errors = Errors::new();
    common::label_selector(object.map("nodeTopology"), any_value, &Path::new("nodeTopology"), &mut errors);
    let class = object.str("storageClassName");
    let path = Path::new("storageClassName");
    errors.extend(said(&path, class, &names::name_is_dns_subdomain(class, false)));
    if let Some(amount) = object.get("capacity").and_then(common::quantity).filter(|amount| amount.as_nanos() < 0) {
        errors.push(field::invalid(&Path::new("capacity"), amount.to_string(), common::NEGATIVE));
    }
    errors
}

fn capacity_change(new: &Map, old: &Map) -> Errors {
    let wrong = check::label_selector(old.map("nodeTopology"), &Path::default());
    let mut errors = capacity(new, !wrong.is_empty());
    common::immutable(new, old, "nodeTopology", &Path::default(), &mut errors);
    let class = |object: &Map| object.str("storageClassName").to_string();
    check::fixed_text(&Path::new("storageClassName"), &class(new), &class(old), &mut errors);
    errors
}

/// Node labels that have other names now.
fn capacity_warnings(object: &Map, _: Option<&Map>) -> Vec<String> {
    let Some(topology) = object.map("nodeTopology") else { return Vec::new() };
    let (mut warnings, path) = (Vec::new(), Path::new("nodeTopology"));
    for (at, requirement) in topology.maps("matchExpressions").enumerate() {
        let key = requirement.str("key");
        let at = path.child("matchExpressions").index(at).child("key");
        warnings.extend(node_label(key).map(|why| format!("{at}: {key} is {why}")));
    }
    for key in topology.map("matchLabels").into_iter().flat_map(Map::keys) {
        let at = path.child("matchLabels").child(key);
        warnings.extend(node_label(key).map(|why| format!("{at}: {why}")));
    }
    warnings
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
    let changes = names.iter().filter(|name| changed(name)).map(|name| forbidden(name));
    changes.chain(attributes(new)).collect()
}
