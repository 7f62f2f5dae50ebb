//! Volumes and claims, storage.k8s.io, and what is about the API's own storage.

use api::object::Meta;
use api::value::{Map, Value};

use super::cells::{NONE, Now, UNSET, count, flag, joined, list, maps, name, or, some_of, text, text_or};
use super::column::{AGE, Column, NAME, column, of};
use super::{Printer, printer};

const STORAGE: &str = "storage.k8s.io";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// At most this many servers are shown.
const SERVERS_MAX: usize = 3;

pub(super) const PRINTERS: &[Printer] = &[
    printer("", "persistentvolumes", PERSISTENT_VOLUMES, volume),
    printer("", "persistentvolumeclaims", PERSISTENT_VOLUME_CLAIMS, claim),
    Printer { listed: mark_default, ..printer(STORAGE, "storageclasses", STORAGE_CLASSES, class_of_storage) },
    printer(STORAGE, "volumeattributesclasses", VOLUME_ATTRIBUTES_CLASSES, |object, now| {
        vec![name(object), object.str("driverName").into(), now.age(object)]
    }),
    printer(STORAGE, "volumeattachments", VOLUME_ATTACHMENTS, |object, now| {
        vec![
            name(object),
            text(object, &["spec", "attacher"]).into(),
            text(object, &["spec", "source", "persistentVolumeName"]).into(),
            text(object, &["spec", "nodeName"]).into(),
            flag(object, &["status", "attached"]).into(),
            now.age(object),
        ]
    }),
    printer(STORAGE, "csinodes", CSI_NODES, |object, now| {
        vec![name(object), count(object, &["spec", "drivers"]), now.age(object)]
    }),
    printer(STORAGE, "csidrivers", CSI_DRIVERS, driver),
    printer("internal.apiserver.k8s.io", "storageversions", STORAGE_VERSIONS, |object, now| {
        let versions = maps(object, &["status", "storageVersions"]);
        let versions: Vec<String> =
            versions.map(|one| format!("{}={}", one.str("apiServerID"), one.str("encodingVersion"))).collect();
        let common = text_or(object, &["status", "commonEncodingVersion"], UNSET);
        vec![name(object), common.into(), some_of(&versions, SERVERS_MAX).into(), now.age(object)]
    }),
    printer("storagemigration.k8s.io", "storageversionmigrations", STORAGE_VERSION_MIGRATIONS, |object, _| {
        let resource = |field: &str| text(object, &["spec", "resource", field]).to_string();
        let conditions = maps(object, &["status", "conditions"]).filter(|condition| condition.str("status") == "True");
        let mut states = conditions.map(|condition| condition.str("type"));
        let state = states.rfind(|ty| matches!(*ty, "Running" | "Failed" | "Succeeded"));
        let resource = api::status::qualified(&resource("group"), &resource("resource"));
        vec![name(object), resource.into(), state.unwrap_or("Unknown").into()]
    }),
];

/// `RWO,ROX`
fn access_modes(object: &Map, path: &[&str]) -> String {
    let known =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| list(object, path).iter().any(|one| one.as_str() == Some(mode));
    known.iter().filter(|mode| has(mode.0)).map(|mode| mode.1).collect::<Vec<_>>().join(",")
}

fn class(object: &Map) -> Value {
    object.annotation(BETA_CLASS).unwrap_or_else(|| text(object, &["spec", "storageClassName"])).into()
}

fn phase(object: &Map) -> Value {
    if object.is_deleting() { "Terminating".into() } else { text(object, &["status", "phase"]).into() }
}

fn volume(object: &Map, now: Now) -> Vec<Value> {
    let claim = match object.at(&["spec", "claimRef"]) {
        Some(claim) => format!("{}/{}", claim.str("namespace"), claim.str("name")),
        None => String::new(),
    };
    vec![
        name(object),
        text_or(object, &["spec", "capacity", "storage"], "0").into(),
        access_modes(object, &["spec", "accessModes"]).into(),
        text(object, &["spec", "persistentVolumeReclaimPolicy"]).into(),
        phase(object),
        claim.into(),
        class(object),
        text_or(object, &["spec", "volumeAttributesClassName"], UNSET).into(),
        text(object, &["status", "reason"]).into(),
        now.age(object),
        text_or(object, &["spec", "volumeMode"], UNSET).into(),
    ]
}

fn claim(object: &Map, now: Now) -> Vec<Value> {
    let volume = text(object, &["spec", "volumeName"]);
    let (capacity, modes) = match volume {
        "" => ("", String::new()),
        _ => {
            (text_or(object, &["status", "capacity", "storage"], "0"), access_modes(object, &["status", "accessModes"]))
        }
    };
    vec![
        name(object),
        phase(object),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(object),
        text_or(object, &["spec", "volumeAttributesClassName"], UNSET).into(),
        now.age(object),
        text_or(object, &["spec", "volumeMode"], UNSET).into(),
    ]
}

fn class_of_storage(object: &Map, now: Now) -> Vec<Value> {
    vec![
        name(object),
        object.str("provisioner").into(),
        or(object.str("reclaimPolicy"), "Delete").into(),
        or(object.str("volumeBindingMode"), "Immediate").into(),
        flag(object, &["allowVolumeExpansion"]).into(),
        now.age(object),
    ]
}

fn driver(object: &Map, now: Now) -> Vec<Value> {
    let attach = object.value_at(&["spec", "attachRequired"]).and_then(Value::as_bool).unwrap_or(true);
    let audiences = maps(object, &["spec", "tokenRequests"]).map(|request| request.str("audience"));
    let audiences = match object.value_at(&["spec", "tokenRequests"]) {
        Some(_) => audiences.collect::<Vec<_>>().join(","),
        None => UNSET.into(),
    };
    vec![
        name(object),
        attach.into(),
        flag(object, &["spec", "podInfoOnMount"]).into(),
        flag(object, &["spec", "storageCapacity"]).into(),
        audiences.into(),
        flag(object, &["spec", "requiresRepublish"]).into(),
        or(&joined(object, &["spec", "volumeLifecycleModes"], ","), NONE).into(),
        now.age(object),
    ]
}

/// Marks the class that claims get by default: the youngest that says so, of equals the first by name.
fn mark_default(rows: &mut [Value], classes: &[Map]) {
    let default = |class: &&Map| DEFAULT_CLASS.iter().any(|name| class.annotation(name) == Some("true"));
    let created = |class: &Map| class.meta().str("creationTimestamp").to_string();
    let youngest = classes.iter().filter(default).max_by(|a, b| (created(a), b.name()).cmp(&(created(b), a.name())));
    let Some(youngest) = youngest.map(Meta::name) else { return };
    for row in rows.iter_mut().filter_map(Value::as_map_mut) {
        if let Some(cell) = row.list_mut("cells").first_mut()
            && cell.as_str() == Some(youngest)
        {
            *cell = format!("{youngest} (default)").into();
        }
    }
}

const PERSISTENT_VOLUMES: &[Column] = &[
    NAME,
    of("Capacity", "io.k8s.api.core.v1.PersistentVolumeSpec", "capacity"),
    of("Access Modes", "io.k8s.api.core.v1.PersistentVolumeSpec", "accessModes"),
    of("Reclaim Policy", "io.k8s.api.core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy"),
    of("Status", "io.k8s.api.core.v1.PersistentVolumeStatus", "phase"),
    of("Claim", "io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef"),
    column("StorageClass", "StorageClass of the pv"),
    column("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    of("Reason", "io.k8s.api.core.v1.PersistentVolumeStatus", "reason"),
    AGE,
    of("VolumeMode", "io.k8s.api.core.v1.PersistentVolumeSpec", "volumeMode").wide(),
];

const PERSISTENT_VOLUME_CLAIMS: &[Column] = &[
    NAME,
    of("Status", "io.k8s.api.core.v1.PersistentVolumeClaimStatus", "phase"),
    of("Volume", "io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeName"),
    of("Capacity", "io.k8s.api.core.v1.PersistentVolumeClaimStatus", "capacity"),
    of("Access Modes", "io.k8s.api.core.v1.PersistentVolumeClaimStatus", "accessModes"),
    column("StorageClass", "StorageClass of the pvc"),
    column("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    AGE,
    of("VolumeMode", "io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeMode").wide(),
];

const STORAGE_CLASSES: &[Column] = &[
    NAME,
    of("Provisioner", "io.k8s.api.storage.v1.StorageClass", "provisioner"),
    of("ReclaimPolicy", "io.k8s.api.storage.v1.StorageClass", "reclaimPolicy"),
    of("VolumeBindingMode", "io.k8s.api.storage.v1.StorageClass", "volumeBindingMode"),
    of("AllowVolumeExpansion", "io.k8s.api.storage.v1.StorageClass", "allowVolumeExpansion"),
    AGE,
];

const VOLUME_ATTRIBUTES_CLASSES: &[Column] =
    &[NAME, of("DriverName", "io.k8s.api.storage.v1.VolumeAttributesClass", "driverName"), AGE];

const VOLUME_ATTACHMENTS: &[Column] = &[
    NAME,
    of("Attacher", "io.k8s.api.storage.v1.VolumeAttachmentSpec", "attacher").name(),
    of("PV", "io.k8s.api.storage.v1.VolumeAttachmentSource", "persistentVolumeName"),
    of("Node", "io.k8s.api.storage.v1.VolumeAttachmentSpec", "nodeName"),
    of("Attached", "io.k8s.api.storage.v1.VolumeAttachmentStatus", "attached").boolean(),
    AGE,
];

const CSI_NODES: &[Column] =
    &[NAME, column("Drivers", "Drivers indicates the number of CSI drivers registered on the node").integer(), AGE];

const CSI_DRIVERS: &[Column] = &[
    NAME,
    of("AttachRequired", "io.k8s.api.storage.v1.CSIDriverSpec", "attachRequired").boolean(),
    of("PodInfoOnMount", "io.k8s.api.storage.v1.CSIDriverSpec", "podInfoOnMount").boolean(),
    of("StorageCapacity", "io.k8s.api.storage.v1.CSIDriverSpec", "storageCapacity").boolean(),
    of("TokenRequests", "io.k8s.api.storage.v1.CSIDriverSpec", "tokenRequests"),
    of("RequiresRepublish", "io.k8s.api.storage.v1.CSIDriverSpec", "requiresRepublish").boolean(),
    of("Modes", "io.k8s.api.storage.v1.CSIDriverSpec", "volumeLifecycleModes"),
    AGE,
];

const STORAGE_VERSIONS: &[Column] = &[
    NAME,
    of("CommonEncodingVersion", "io.k8s.api.apiserverinternal.v1alpha1.StorageVersionStatus", "commonEncodingVersion"),
    of("StorageVersions", "io.k8s.api.apiserverinternal.v1alpha1.StorageVersionStatus", "storageVersions"),
    AGE,
];

const STORAGE_VERSION_MIGRATIONS: &[Column] = &[
    of("Name", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "name"),
    column("Resource", "GroupResource to migrate"),
    column("Status", "Status of the migration"),
];
