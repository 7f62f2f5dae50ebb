//! PersistentVolume (pkg/registry/core/persistentvolume/strategy.go, pkg/api/persistentvolume/util.go,
//! pkg/apis/core/validation/validation.go@v1.37.2: ValidatePersistentVolumeSpec and the sources it knows).

use api::field::{self, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};

use super::pod::affinity;
use super::pod::defaults::absent;
use super::pod::network_volumes as network;
use super::pod::options::Options;
use super::pod::resources::round_up;
use super::pod::warnings::node_term;
use super::pod::{claim, volumes};
use crate::resources::common::internal::{self, Plain};
use crate::resources::common::workload::spec_of;
use crate::resources::common::{self, diff};
use crate::resources::simple::Simple;
use crate::strategy::MetaCheck;

pub(in crate::resources) const VOLUME: Simple = Simple {
    returns_deleted: true,
    meta: &[MetaCheck::Whole, MetaCheck::Whole],
    default,
    create: |cx, object| {
        object.set("status", api::map! { "phase" => "Pending", "lastPhaseTransitionTime" => cx.now });
    },
    update_status: |cx, object, old| settle_phase(object, old, cx.now),
    check: |object| check(object, None),
    recheck: false,
    check_change,
    warn,
    ..Simple::BASE
};

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

type Check = fn(&Map, &str, &Path, &mut Errors);

/// A kind of volume: JSON name, the name upstream forbids a second one by, the name it checks it by, its checks.
struct Source(&'static str, &'static str, &'static str, Check);

/// A source that pods name in the same words.
macro_rules! shared {
    ($check:expr) => {
        |source, _, path, errors| $check(source, path, &Options::default(), errors)
    };
}

/// In upstream's order, with upstream's spelling.
const SOURCES: &[Source] = &[
    Source("hostPath", "hostPath", "hostPath", shared!(volumes::host_path)),
    Source("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", shared!(network::gce_disk)),
    Source("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", shared!(network::aws_disk)),
    Source("glusterfs", "glusterfs", "glusterfs", glusterfs),
    Source("flocker", "flocker", "flocker", shared!(network::flocker)),
    Source("nfs", "nfs", "nfs", shared!(network::nfs)),
    Source("rbd", "rbd", "rbd", shared!(network::rbd)),
    Source("quobyte", "quobyte", "quobyte", shared!(network::quobyte)),
    Source("cephfs", "cephFS", "cephfs", shared!(network::cephfs)),
    Source("iscsi", "iscsi", "iscsi", iscsi),
    Source("cinder", "cinder", "cinder", cinder),
    Source("fc", "fc", "fc", shared!(network::fc)),
    Source("flexVolume", "flexVolume", "flexVolume", shared!(network::flex)),
    Source("azureFile", "azureFile", "azureFile", azure_file),
    Source("vsphereVolume", "vsphereVolume", "vsphereVolume", shared!(network::vsphere)),
    Source("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", shared!(network::photon)),
    Source("portworxVolume", "portworxVolume", "portworxVolume", shared!(network::portworx)),
    Source("azureDisk", "azureDisk", "azureDisk", shared!(network::azure_disk)),
    Source("scaleIO", "scaleIO", "scaleIO", shared!(network::scale_io)),
    Source("local", "local", "local", local),
    Source("storageos", "storageos", "storageos", storage_os),
    Source("csi", "csi", "csi", csi),
];

fn default(object: &mut Map) {
    if object.map("status").is_none_or(|status| status.str("phase").is_empty()) {
        object.map_mut("status").set("phase", "Pending");
    }
    let spec = object.map_mut("spec");
    if spec.str("persistentVolumeReclaimPolicy").is_empty() {
        spec.set("persistentVolumeReclaimPolicy", "Retain");
    }
    if !spec.contains("volumeMode") {
        spec.set("volumeMode", "Filesystem");
    }
    default_sources(spec);
}

/// Defaults of a volume's spec, be it of its own or in an attachment; the facts have those that are constants.
pub(in crate::resources) fn default_sources(spec: &mut Map) {
    if let Some(host) = spec.get_mut("hostPath").and_then(Value::as_map_mut) {
        absent(host, "type", "");
    }
    if let Some(capacity) = spec.get_mut("capacity").and_then(Value::as_map_mut) {
        round_up(capacity);
    }
}

/// A phase that changes is stamped, unless its writer did.
fn settle_phase(object: &mut Map, old: &Map, now: &str) {
    let part = |object: &Map, name: &str| object.map("status").map_or(String::new(), |s| s.str(name).to_string());
    let (phase, was) = (part(object, "phase"), part(old, "phase"));
    let (at, was_at) = (part(object, "lastPhaseTransitionTime"), part(old, "lastPhaseTransitionTime"));
    if phase != was && (at.is_empty() || at == was_at) {
        object.map_mut("status").set("lastPhaseTransitionTime", now);
    } else if phase == was && at.is_empty() && !was_at.is_empty() {
        object.map_mut("status").set("lastPhaseTransitionTime", was_at);
    }
}

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = check_spec(object, old);
    mount_options(object, &mut errors);
    errors
}

fn check_spec(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (spec_of(object), Path::new("spec"));
    claim::modes(spec, "", &path.child("accessModes"), &mut errors);
    capacity(spec, &path.child("capacity"), &mut errors);
    let policies = ["Delete", "Recycle", "Retain"];
    common::one_of(spec, "persistentVolumeReclaimPolicy", &policies, &path, &mut errors);
    node_affinity(spec, old, &path.child("nodeAffinity"), &mut errors);
    sources(spec, object.name(), &path, &mut errors);
    let root = spec.map("hostPath").is_some_and(|host| is_root(host.str("path")));
    if root && spec.str("persistentVolumeReclaimPolicy") == "Recycle" {
        let at = path.child("persistentVolumeReclaimPolicy");
        errors.push(field::forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class = spec.str("storageClassName");
    if !class.is_empty() {
        let wrong = names::name_is_dns_subdomain(class, false);
        common::each(&path.child("storageClassName"), class, wrong, &mut errors);
    }
    common::one_of(spec, "volumeMode", &["Block", "Filesystem"], &path, &mut errors);
    attributes_class(spec, &path, &mut errors);
    errors
}

/// A volume that an attachment carries whole: CSI alone, and nothing that is of a volume's life.
pub(in crate::resources) fn inline(spec: &Map, path: &Path, errors: &mut Errors) {
    let context = "in the context of inline volumes";
    for name in ["claimRef", "capacity"] {
        if spec.get(name).is_some_and(|value| !value.is_null()) {
            errors.push(field::forbidden(&path.child(name), format!("may not be specified {context}")));
        }
    }
    if !spec.contains("csi") {
        errors.push(field::required(&path.child("csi"), format!("has to be specified {context}")));
    }
    claim::modes(spec, "", &path.child("accessModes"), errors);
    if !matches!(spec.str("persistentVolumeReclaimPolicy"), "" | "Retain") {
        let why = format!("may only be Retain {context}");
        errors.push(field::forbidden(&path.child("persistentVolumeReclaimPolicy"), why));
    }
    if spec.contains("nodeAffinity") {
        errors.push(field::forbidden(&path.child("nodeAffinity"), format!("may not be specified {context}")));
    }
    sources(spec, "", path, errors);
    if !spec.str("storageClassName").is_empty() {
        errors.push(field::forbidden(&path.child("storageClassName"), format!("may not be specified {context}")));
    }
    if !matches!(spec.str("volumeMode"), "" | "Filesystem") {
        let why = format!("may not specify volumeMode other than Filesystem {context}");
        errors.push(field::forbidden(&path.child("volumeMode"), why));
    }
}

/// `/`, also when written with more dots and slashes.
fn is_root(path: &str) -> bool {
    let mut depth = 0usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

fn capacity(spec: &Map, path: &Path, errors: &mut Errors) {
    let list = spec.map("capacity").unwrap_or(Map::EMPTY);
    if list.is_empty() {
        errors.push(field::required(path, ""));
    }
    if !list.contains("storage") || list.len() > 1 {
        let shown = if list.is_empty() { Value::Null } else { Value::Map(list.clone()) };
        errors.push(field::not_supported(path, shown, &["storage"]));
    }
    for (name, value) in list.iter() {
        let Some(amount) = common::quantity(value) else { continue };
        let path = path.key(name);
        if amount.value() < 0 {
            errors.push(field::invalid(&path, amount.value(), "must be a valid resource quantity"));
        }
        if amount.sign() <= 0 {
            errors.push(field::invalid(&path, amount.to_string(), "must be greater than zero"));
        }
    }
}

fn node_affinity(spec: &Map, old: Option<&Map>, path: &Path, errors: &mut Errors) {
    let Some(affinity) = spec.map("nodeAffinity") else { return };
    let terms = old.and_then(|old| spec_of(old).at(&["nodeAffinity", "required"])).unwrap_or(Map::EMPTY);
    let any_value = terms.maps("nodeSelectorTerms").any(|term| common::has_invalid_value(Some(term)));
    match affinity.map("required") {
        Some(selector) => affinity::node_selector(selector, any_value, &path.child("required"), errors),
        None => errors.push(field::required(&path.child("required"), "must specify required node constraints")),
    }
}

fn sources(spec: &Map, name: &str, path: &Path, errors: &mut Errors) {
    let mut found = 0;
    for Source(json, forbidden, checked, check) in SOURCES {
        let Some(source) = spec.map(json) else { continue };
        found += 1;
        // Upstream takes a second source of this kind.
        if found > 1 && *json != "flexVolume" {
            errors.push(field::forbidden(&path.child(forbidden), "may not specify more than 1 volume type"));
        } else {
            check(source, name, &path.child(checked), errors);
        }
        if *json == "local" && found == 1 && !spec.contains("nodeAffinity") {
            errors.push(field::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
        }
    }
    if found == 0 {
        errors.push(field::required(path, "must specify a volume type"));
    }
}

fn attributes_class(spec: &Map, path: &Path, errors: &mut Errors) {
    let Some(class) = spec.get("volumeAttributesClassName").and_then(Value::as_str) else { return };
    let at = path.child("volumeAttributesClassName");
    if class.is_empty() {
        errors.push(field::required(&at, "an empty string is disallowed"));
    } else {
        common::each(&at, class, names::name_is_dns_subdomain(class, false), errors);
    }
    if !spec.contains("csi") {
        let why = "has to be specified when using volumeAttributesClassName";
        errors.push(field::required(&path.child("csi"), why));
    }
}

/// Kinds of volumes that can be mounted with options (pkg/volume/validation/pv_validation.go).
const WITH_OPTIONS: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

fn mount_options(object: &Map, errors: &mut Errors) {
    let known = WITH_OPTIONS.iter().any(|name| spec_of(object).contains(name));
    if !known && object.annotation(MOUNT_OPTIONS).is_some() {
        let path = Path::new("metadata").child("annotations").child(MOUNT_OPTIONS);
        errors.push(field::forbidden(&path, "may not specify mount options for this volume type"));
    }
}

fn glusterfs(source: &Map, _: &str, path: &Path, errors: &mut Errors) {
    network::glusterfs(source, path, &Options::default(), errors);
    let at = path.child("endpointsNamespace");
    match source.get("endpointsNamespace").and_then(Value::as_str) {
        Some("") => {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(field::invalid(&at, "", why));
        }
        Some(namespace) => common::each(&at, namespace, names::name_is_dns_label(namespace, false), errors),
        None => {}
    }
}

/// `<volume name>:<targetPortal>`, in bytes, when there is an initiator name.
const ISCSI_NAME_BYTES_MAX: usize = 64;

fn iscsi(source: &Map, volume: &str, path: &Path, errors: &mut Errors) {
    network::iscsi_fields(source, "must be valid format", path, errors);
    let portal = source.str("targetPortal");
    if source.contains("initiatorName") && volume.len() + 1 + portal.len() > ISCSI_NAME_BYTES_MAX {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.push(field::invalid(&path.child("targetportal"), portal, why));
    }
    if source.map("secretRef").is_some_and(|secret| secret.str("name").is_empty()) {
        errors.push(field::required(&path.child("secretRef").child("name"), ""));
    }
}

/// A secret somewhere: both its name and its namespace.
fn secret_place(source: &Map, path: &Path, errors: &mut Errors) {
    if let Some(secret) = source.map("secretRef") {
        let path = path.child("secretRef");
        common::required(secret, "name", &path, errors);
        common::required(secret, "namespace", &path, errors);
    }
}

fn cinder(source: &Map, _: &str, path: &Path, errors: &mut Errors) {
    common::required(source, "volumeID", path, errors);
    secret_place(source, path, errors);
}

fn storage_os(source: &Map, _: &str, path: &Path, errors: &mut Errors) {
    network::storage_os_names(source, path, errors);
    secret_place(source, path, errors);
}

fn azure_file(source: &Map, _: &str, path: &Path, errors: &mut Errors) {
    network::azure_file(source, path, &Options::default(), errors);
    if source.get("secretNamespace").and_then(Value::as_str) == Some("") {
        errors.push(field::required(&path.child("secretNamespace"), ""));
    }
}

fn local(source: &Map, _: &str, path: &Path, errors: &mut Errors) {
    common::required(source, "path", path, errors);
    volumes::no_backsteps(source.str("path"), &path.child("path"), errors);
}

fn csi(source: &Map, _: &str, path: &Path, errors: &mut Errors) {
    volumes::driver_name(source.str("driver"), &path.child("driver"), errors);
    common::required(source, "volumeHandle", path, errors);
    for name in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let Some(secret) = source.map(name) else { continue };
        let path = path.child(name);
        common::required(secret, "name", &path, errors);
        common::required(secret, "namespace", &path, errors);
        if !secret.str("name").is_empty() {
            common::dns_subdomain(secret.str("name"), &path.child("name"), errors);
        }
        if !secret.str("namespace").is_empty() {
            common::dns_label(secret.str("namespace"), &path.child("namespace"), errors);
        }
    }
}

/// Upstream has the sources in a struct of their own: the spec's fields between its first and its next.
fn source_text(spec: &Map) -> String {
    let text = internal::pretty(spec, "core.v1.PersistentVolumeSpec");
    let fields = text.lines().filter(|line| !line.starts_with(" \"Capacity\""));
    let fields: Vec<&str> = fields.take_while(|line| !line.starts_with(" \"AccessModes\"")).collect();
    format!("{}\n}}", fields.join("\n").trim_end_matches(','))
}

/// Where the data is does not change.
fn check_change(object: &Map, old: &Map) -> Errors {
    let mut errors = check(object, Some(old));
    // Upstream's strategy looks at the whole, and so does its check of the change.
    errors.extend(check_spec(object, Some(old)));
    let source = |spec: &Map| -> Map {
        spec.iter()
            .filter(|(name, _)| SOURCES.iter().any(|source| source.0 == name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let (mut new, was) = (source(spec_of(object)), source(spec_of(old)));
    let expands = |spec: &Map| spec.map("csi").map(|csi| csi.contains("controllerExpandSecretRef"));
    if expands(&was) == Some(false) && expands(&new) == Some(true) {
        new.map_mut("csi").remove("controllerExpandSecretRef");
    }
    if !common::same_maps(&new, &was) {
        let difference = diff::unified(&source_text(&was), &source_text(&new));
        let why = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
        errors.push(field::forbidden(&Path::new("spec").child("persistentvolumesource"), why));
    }
    let (new, was) = (spec_of(object), spec_of(old));
    if new.get("volumeMode") != was.get("volumeMode") {
        let shown = new.get("volumeMode").cloned().unwrap_or_default();
        errors.push(field::invalid(&Path::new("volumeMode"), shown, common::IMMUTABLE));
    }
    if was.contains("nodeAffinity") {
        fixed_affinity(new, was, &mut errors);
    }
    if was.contains("volumeAttributesClassName") && !new.contains("volumeAttributesClassName") {
        let path = Path::new("spec").child("volumeAttributesClassName");
        errors.push(field::forbidden(&path, "update from non-nil value to nil is forbidden"));
    }
    errors
}

/// Keys may change from beta labels to those that took their place, and nothing else.
fn fixed_affinity(new: &Map, was: &Map, errors: &mut Errors) {
    let affinity = new.map("nodeAffinity").cloned().unwrap_or_default();
    let mut old = was.map("nodeAffinity").cloned().unwrap_or_default();
    let (terms, before) = (affinity.map("required"), old.get_mut("required").and_then(Value::as_map_mut));
    if let (Some(terms), Some(before)) = (terms, before) {
        for (term, before) in terms.maps("nodeSelectorTerms").zip(before.maps_mut("nodeSelectorTerms")) {
            for (new, was) in term.maps("matchExpressions").zip(before.maps_mut("matchExpressions")) {
                let key = new.str("key");
                if GA_LABELS.contains(&(was.str("key"), key)) {
                    was.set("key", key);
                }
            }
        }
    }
    if !new.contains("nodeAffinity") || !common::same_maps(&affinity, &old) {
        let shown = match new.map("nodeAffinity") {
            Some(affinity) => internal::shown(affinity, "core.v1.VolumeNodeAffinity"),
            None => "null".into(),
        };
        let why = format!("{}, except for updating from beta label to GA", common::IMMUTABLE);
        errors.push(field::invalid(&Path::new("nodeAffinity"), Plain(shown), why));
    }
}

const GA_LABELS: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
];

/// Kinds of volumes that are gone, and when.
const GONE: [(&str, &str, &str); 6] = [
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn warn(object: &Map, _: Option<&Map>) -> Vec<String> {
    let (spec, path, mut warnings) = (spec_of(object), Path::new("spec"), Vec::new());
    for (name, since, field) in [(BETA_CLASS, "v1.8", "storageClassName"), (MOUNT_OPTIONS, "v1.31", "mountOptions")] {
        if object.annotation(name).is_some() {
            let at = Path::new("metadata").child("annotations").key(name);
            warnings.push(format!("{at}: deprecated since {since}; use \"{field}\" attribute instead"));
        }
    }
    if spec.str("persistentVolumeReclaimPolicy") == "Recycle" {
        let at = path.child("persistentVolumeReclaimPolicy");
        warnings.push(format!(
            "{at}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
        ));
    }
    if let Some(required) = spec.at(&["nodeAffinity", "required"]) {
        let path = path.child("nodeAffinity").child("required").child("nodeSelectorTerms");
        for (at, term) in required.maps("nodeSelectorTerms").enumerate() {
            node_term(term, false, &path.index(at), &mut warnings);
        }
    }
    for (name, shown, why) in GONE {
        if spec.contains(name) {
            warnings.push(format!("{}: {why}", path.child(shown)));
        }
    }
    warnings
}
