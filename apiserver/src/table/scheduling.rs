//! What nodes and schedulers work with: leases, classes, resource claims, pod groups.

use api::object::Meta;
use api::value::{Map, Value};

use super::cells::{NONE, Now, condition, flag, is_true, list, maps, name, number, text, text_or};
use super::column::{AGE, Column, NAME, column, of};
use super::{Printer, printer};

const RESOURCE: &str = "resource.k8s.io";
const SCHEDULING: &str = "scheduling.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    printer("coordination.k8s.io", "leases", LEASES, |object, now| {
        vec![name(object), text(object, &["spec", "holderIdentity"]).into(), now.age(object)]
    }),
    printer("coordination.k8s.io", "leasecandidates", LEASE_CANDIDATES, |object, now| {
        let spec = |field: &str| Value::from(text(object, &["spec", field]));
        vec![name(object), spec("leaseName"), spec("binaryVersion"), spec("emulationVersion"), now.age(object)]
    }),
    printer(SCHEDULING, "priorityclasses", PRIORITY_CLASSES, |object, now| {
        vec![
            name(object),
            number(object, &["value"]).into(),
            flag(object, &["globalDefault"]).into(),
            now.age(object),
            object.str("preemptionPolicy").into(),
        ]
    }),
    printer("node.k8s.io", "runtimeclasses", RUNTIME_CLASSES, |object, now| {
        vec![name(object), object.str("handler").into(), now.age(object)]
    }),
    printer(RESOURCE, "deviceclasses", AGED, aged),
    printer(RESOURCE, "resourceclaimtemplates", AGED, aged),
    printer(SCHEDULING, "workloads", AGED, aged),
    printer(RESOURCE, "resourceclaims", RESOURCE_CLAIMS, |object, now| {
        vec![name(object), claim_state(object).into(), now.age(object)]
    }),
    printer(RESOURCE, "resourceslices", RESOURCE_SLICES, |object, now| {
        vec![
            name(object),
            text(object, &["spec", "nodeName"]).into(),
            text(object, &["spec", "driver"]).into(),
            text(object, &["spec", "pool", "name"]).into(),
            now.age(object),
        ]
    }),
    printer(RESOURCE, "resourcepoolstatusrequests", RESOURCE_POOL_STATUS_REQUESTS, pool_status),
    printer(RESOURCE, "devicetaintrules", DEVICE_TAINT_RULES, |object, now| {
        let taint = |field: &str| text(object, &["spec", "taint", field]);
        let added = taint("timeAdded");
        let added = if added.is_empty() { String::new() } else { now.since(added) };
        vec![
            name(object),
            taint("key").into(),
            taint("value").into(),
            taint("effect").into(),
            added.into(),
            now.age(object),
        ]
    }),
    printer(SCHEDULING, "podgroups", POD_GROUPS, |object, now| {
        vec![name(object), policy(object), workload(object), group_status(object).into(), now.age(object)]
    }),
    printer(SCHEDULING, "compositepodgroups", COMPOSITE_POD_GROUPS, |object, now| {
        vec![name(object), policy(object), workload(object), now.age(object)]
    }),
];

fn aged(object: &Map, now: Now) -> Vec<Value> {
    vec![name(object), now.age(object)]
}

fn claim_state(object: &Map) -> String {
    let allocated = object.at(&["status", "allocation"]).is_some();
    let reserved = allocated && !list(object, &["status", "reservedFor"]).is_empty();
    let states = [
        (object.is_deleting(), "deleted"),
        (!allocated && !object.is_deleting(), "pending"),
        (allocated, "allocated"),
        (reserved, "reserved"),
    ];
    states.iter().filter(|state| state.0).map(|state| state.1).collect::<Vec<_>>().join(",")
}

fn pool_status(object: &Map, now: Now) -> Vec<Value> {
    let has_status = object.map("status").is_some_and(|status| !status.is_empty());
    let complete = condition(object, "Complete").filter(|_| is_true(object, "Complete"));
    let failed = complete.is_none() && is_true(object, "Failed");
    let pools = list(object, &["status", "pools"]).len() as i64;
    let all = number(object, &["status", "poolCount"]);
    let status = match () {
        _ if failed => "Failed".into(),
        _ if complete.is_none() => "Pending".into(),
        _ if all > pools => format!("Complete ({pools}/{all} pools)"),
        () => "Complete".to_string(),
    };
    let shown = |number: i64| if has_status && !failed { number.to_string() } else { "-".into() };
    let sum = |field: &str| shown(maps(object, &["status", "pools"]).map(|pool| number(pool, &[field])).sum());
    let errors = maps(object, &["status", "pools"]).filter(|pool| pool.contains("validationError")).count();
    vec![
        name(object),
        text(object, &["spec", "driver"]).into(),
        sum("totalDevices").into(),
        sum("availableDevices").into(),
        sum("allocatedDevices").into(),
        sum("unavailableDevices").into(),
        shown(errors as i64).into(),
        all.into(),
        status.into(),
        complete.map_or(NONE.into(), |condition| now.since(condition.str("lastTransitionTime"))).into(),
    ]
}

fn policy(object: &Map) -> Value {
    let gang = object.at(&["spec", "schedulingPolicy", "gang"]).is_some();
    if gang { "Gang".into() } else { "Basic".into() }
}

fn workload(object: &Map) -> Value {
    text_or(object, &["spec", "workloadRef", "workloadName"], NONE).into()
}

fn group_status(object: &Map) -> &str {
    if let Some(disrupted) = condition(object, "DisruptionTarget") {
        return disrupted.str("reason");
    }
    match condition(object, "PodGroupInitiallyScheduled").map(|condition| condition.str("status")) {
        Some("True") => "Scheduled",
        Some(_) => "Unschedulable",
        None => "Pending",
    }
}

const LEASES: &[Column] = &[NAME, of("Holder", "io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity"), AGE];

const LEASE_CANDIDATES: &[Column] = &[
    NAME,
    of("LeaseName", "io.k8s.api.coordination.v1alpha2.LeaseCandidateSpec", "leaseName"),
    of("BinaryVersion", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "binaryVersion"),
    of("EmulationVersion", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "emulationVersion"),
    AGE,
];

const PRIORITY_CLASSES: &[Column] = &[
    NAME,
    of("Value", "io.k8s.api.scheduling.v1.PriorityClass", "value").integer(),
    of("Global-Default", "io.k8s.api.scheduling.v1.PriorityClass", "globalDefault").boolean(),
    AGE,
    of("PreemptionPolicy", "io.k8s.api.scheduling.v1.PriorityClass", "preemptionPolicy"),
];

const RUNTIME_CLASSES: &[Column] =
    &[NAME, of("Handler", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "handler"), AGE];

const AGED: &[Column] = &[NAME, AGE];

const RESOURCE_CLAIMS: &[Column] =
    &[NAME, column("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE];

const RESOURCE_SLICES: &[Column] = &[
    NAME,
    of("Node", "io.k8s.api.resource.v1.ResourceSliceSpec", "nodeName"),
    of("Driver", "io.k8s.api.resource.v1.ResourceSliceSpec", "driver"),
    of("Pool", "io.k8s.api.resource.v1.ResourcePool", "name"),
    AGE,
];

const RESOURCE_POOL_STATUS_REQUESTS: &[Column] = &[
    NAME,
    column("Driver", "The driver to query pools for."),
    column("Total", "Total number of devices across all pools."),
    column("Available", "Number of available devices across all pools."),
    column("Allocated", "Number of allocated devices across all pools."),
    column("Unavailable", "Number of unavailable devices across all pools."),
    column("Errors", "Number of pools with validation errors."),
    column("Pools", "Total number of matching pools.").integer(),
    column("Status", "Processing status."),
    column("Completed", "Time since the observation completed."),
];

const DEVICE_TAINT_RULES: &[Column] = &[
    NAME,
    of("Key", "io.k8s.api.resource.v1.DeviceTaint", "key"),
    of("Value", "io.k8s.api.resource.v1.DeviceTaint", "value"),
    of("Effect", "io.k8s.api.resource.v1.DeviceTaint", "effect"),
    of("TimeAdded", "io.k8s.api.resource.v1.DeviceTaint", "timeAdded"),
    AGE,
];

const POD_GROUPS: &[Column] = &[
    NAME,
    of("Policy", "io.k8s.api.scheduling.v1beta1.PodGroupSpec", "schedulingPolicy"),
    column("Workload", "Name of the referenced Workload object"),
    column("Status", "Status of the PodGroup"),
    AGE,
];

const COMPOSITE_POD_GROUPS: &[Column] = &[
    NAME,
    of("Policy", "io.k8s.api.scheduling.v1alpha3.CompositePodGroupSpec", "schedulingPolicy"),
    column("Workload", "Name of the referenced Workload object"),
    AGE,
];
