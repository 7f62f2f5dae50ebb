//! apps, batch, policy/poddisruptionbudgets and autoscaling.

use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use super::cells::{
    NONE, Now, UNKNOWN, UNSET, between, containers, count, is_true, labels, maps, name, number, plain, selector,
    selector_or_none, text, text_or,
};
use super::column::{AGE, CONTAINERS, Column, IMAGES, NAME, column, of};
use super::{Printer, printer};

pub(super) const PRINTERS: &[Printer] = &[
    printer("apps", "replicasets", REPLICA_SETS, |object, now| {
        let [names, images] = containers(object.at(&["spec", "template"]));
        vec![
            name(object),
            number(object, &["spec", "replicas"]).into(),
            number(object, &["status", "replicas"]).into(),
            number(object, &["status", "readyReplicas"]).into(),
            now.age(object),
            names,
            images,
            selector_or_none(object.at(&["spec", "selector"])),
        ]
    }),
    printer("apps", "daemonsets", DAEMON_SETS, daemon_set),
    printer("apps", "statefulsets", STATEFUL_SETS, |object, now| {
        let [names, images] = containers(object.at(&["spec", "template"]));
        vec![name(object), ready(object).into(), now.age(object), names, images]
    }),
    printer("apps", "deployments", DEPLOYMENTS, |object, now| {
        let [names, images] = containers(object.at(&["spec", "template"]));
        vec![
            name(object),
            ready(object).into(),
            number(object, &["status", "updatedReplicas"]).into(),
            number(object, &["status", "availableReplicas"]).into(),
            now.age(object),
            names,
            images,
            selector(object.at(&["spec", "selector"])).unwrap_or("<invalid>".into()).into(),
        ]
    }),
    printer("apps", "controllerrevisions", CONTROLLER_REVISIONS, |object, now| {
        vec![name(object), controller(object).into(), number(object, &["revision"]).into(), now.age(object)]
    }),
    printer("batch", "jobs", JOBS, job),
    printer("batch", "cronjobs", CRON_JOBS, cron_job),
    printer("policy", "poddisruptionbudgets", POD_DISRUPTION_BUDGETS, |object, now| {
        let spec = |field: &str| Value::from(plain(object.value_at(&["spec", field]), "N/A"));
        let allowed = number(object, &["status", "disruptionsAllowed"]);
        vec![name(object), spec("minAvailable"), spec("maxUnavailable"), allowed.into(), now.age(object)]
    }),
    printer("autoscaling", "horizontalpodautoscalers", HORIZONTAL_POD_AUTOSCALERS, autoscaler),
];

fn ready(object: &Map) -> String {
    format!("{}/{}", number(object, &["status", "readyReplicas"]), number(object, &["spec", "replicas"]))
}

fn daemon_set(object: &Map, now: Now) -> Vec<Value> {
    let status = |field: &str| Value::from(number(object, &["status", field]));
    let [names, images] = containers(object.at(&["spec", "template"]));
    vec![
        name(object),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        labels(object.at(&["spec", "template", "spec", "nodeSelector"])).into(),
        now.age(object),
        names,
        images,
        selector_or_none(object.at(&["spec", "selector"])),
    ]
}

/// `statefulset.apps/web`
fn controller(object: &Map) -> String {
    let owner = object.meta().maps("ownerReferences").find(|owner| owner.bool("controller") == Some(true));
    let Some(owner) = owner else { return NONE.into() };
    let (group, _) = api::facts::split_api_version(owner.str("apiVersion"));
    let kind = api::status::qualified(group, owner.str("kind")).to_lowercase();
    format!("{kind}/{}", owner.str("name"))
}

fn job(object: &Map, now: Now) -> Vec<Value> {
    let succeeded = number(object, &["status", "succeeded"]);
    let parallelism = number(object, &["spec", "parallelism"]);
    let completions = match object.value_at(&["spec", "completions"]).and_then(Value::as_i64) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    };
    let (start, end) = (text(object, &["status", "startTime"]), text(object, &["status", "completionTime"]));
    let duration = match (start, end) {
        ("", _) => String::new(),
        (start, "") => now.since(start),
        (start, end) => between(start, end),
    };
    let [names, images] = containers(object.at(&["spec", "template"]));
    let selector = selector_or_none(object.at(&["spec", "selector"]));
    vec![
        name(object),
        job_status(object).into(),
        completions.into(),
        duration.into(),
        now.age(object),
        names,
        images,
        selector,
    ]
}

fn job_status(object: &Map) -> &'static str {
    match () {
        _ if is_true(object, "Complete") => "Complete",
        _ if is_true(object, "Failed") => "Failed",
        _ if object.is_deleting() => "Terminating",
        _ if is_true(object, "Suspended") => "Suspended",
        _ if is_true(object, "FailureTarget") => "FailureTarget",
        _ if is_true(object, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn cron_job(object: &Map, now: Now) -> Vec<Value> {
    let last = text(object, &["status", "lastScheduleTime"]);
    let suspend = match object.value_at(&["spec", "suspend"]).and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSET,
    };
    let [names, images] = containers(object.at(&["spec", "jobTemplate", "spec", "template"]));
    vec![
        name(object),
        text(object, &["spec", "schedule"]).into(),
        text_or(object, &["spec", "timeZone"], NONE).into(),
        suspend.into(),
        count(object, &["status", "active"]),
        if last.is_empty() { NONE.into() } else { now.since(last).into() },
        now.age(object),
        names,
        images,
        selector_or_none(object.at(&["spec", "jobTemplate", "spec", "selector"])),
    ]
}

/// At most this many metrics are shown.
const METRICS_MAX: usize = 2;

fn autoscaler(object: &Map, now: Now) -> Vec<Value> {
    let target = |field: &str| text(object, &["spec", "scaleTargetRef", field]).to_string();
    let min = object.value_at(&["spec", "minReplicas"]).and_then(Value::as_i64);
    vec![
        name(object),
        format!("{}/{}", target("kind"), target("name")).into(),
        metrics(object).into(),
        min.map_or(UNSET.into(), |min| min.to_string()).into(),
        number(object, &["spec", "maxReplicas"]).into(),
        number(object, &["status", "currentReplicas"]).into(),
        now.age(object),
    ]
}

fn metrics(object: &Map) -> String {
    let current: Vec<&Map> = maps(object, &["status", "currentMetrics"]).collect();
    let specs: Vec<&Map> = maps(object, &["spec", "metrics"]).collect();
    let mut all: Vec<String> =
        specs.iter().enumerate().map(|(at, spec)| metric(spec, current.get(at).copied())).collect();
    // autoscaling/v1 knows one metric.
    if let Some(target) = object.value_at(&["spec", "targetCPUUtilizationPercentage"]).and_then(Value::as_i64) {
        let target = map! { "averageUtilization" => target };
        let current = object.value_at(&["status", "currentCPUUtilizationPercentage"]).and_then(Value::as_i64);
        let current = current.map(|current| map! { "averageUtilization" => current });
        all.push(resource("cpu", &target, current.as_ref()));
    }
    match all.len() {
        0 => NONE.into(),
        more if more > METRICS_MAX => format!("{} + {} more...", all[..METRICS_MAX].join(", "), more - METRICS_MAX),
        _ => all.join(", "),
    }
}

/// The name under which a metric's source stands in its spec and status.
fn source(ty: &str) -> Option<&'static str> {
    Some(match ty {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return None,
    })
}

fn metric(spec: &Map, status: Option<&Map>) -> String {
    let Some(source) = source(spec.str("type")) else { return "<unknown type>".into() };
    let spec = spec.map(source).unwrap_or(Map::EMPTY);
    let target = spec.map("target").unwrap_or(Map::EMPTY);
    let current = status.and_then(|status| status.at(&[source, "current"]));
    let value = |of: Option<&Map>, field: &str| of.map_or("", |of| of.str(field)).to_string();
    match source {
        "resource" | "containerResource" => resource(spec.str("name"), target, current),
        "pods" => shown(&value(current, "averageValue"), target.str("averageValue")),
        _ if target.contains("averageValue") => {
            format!("{} (avg)", shown(&value(current, "averageValue"), target.str("averageValue")))
        }
        _ => shown(&value(current, "value"), target.str("value")),
    }
}

fn shown(current: &str, target: &str) -> String {
    format!("{}/{target}", super::cells::or(current, UNKNOWN))
}

fn resource(name: &str, target: &Map, current: Option<&Map>) -> String {
    if target.contains("averageValue") {
        let current = current.map_or("", |current| current.str("averageValue"));
        return format!("{name}: {}", shown(current, target.str("averageValue")));
    }
    let percent = |of: Option<i64>, otherwise: &str| of.map_or(otherwise.to_string(), |of| format!("{of}%"));
    let current = percent(current.and_then(|current| current.i64("averageUtilization")), UNKNOWN);
    format!("{name}: {current}/{}", percent(target.i64("averageUtilization"), "<auto>"))
}

const REPLICA_SETS: &[Column] = &[
    NAME,
    of("Desired", "io.k8s.api.apps.v1.ReplicaSetSpec", "replicas").integer(),
    of("Current", "io.k8s.api.apps.v1.ReplicaSetStatus", "replicas").integer(),
    of("Ready", "io.k8s.api.apps.v1.ReplicaSetStatus", "readyReplicas").integer(),
    AGE,
    CONTAINERS,
    IMAGES,
    of("Selector", "io.k8s.api.apps.v1.ReplicaSetSpec", "selector").wide(),
];

const DAEMON_SETS: &[Column] = &[
    NAME,
    of("Desired", "io.k8s.api.apps.v1.DaemonSetStatus", "desiredNumberScheduled").integer(),
    of("Current", "io.k8s.api.apps.v1.DaemonSetStatus", "currentNumberScheduled").integer(),
    of("Ready", "io.k8s.api.apps.v1.DaemonSetStatus", "numberReady").integer(),
    of("Up-to-date", "io.k8s.api.apps.v1.DaemonSetStatus", "updatedNumberScheduled").integer(),
    of("Available", "io.k8s.api.apps.v1.DaemonSetStatus", "numberAvailable").integer(),
    of("Node Selector", "io.k8s.api.core.v1.PodSpec", "nodeSelector"),
    AGE,
    CONTAINERS,
    IMAGES,
    of("Selector", "io.k8s.api.apps.v1.DaemonSetSpec", "selector").wide(),
];

const STATEFUL_SETS: &[Column] =
    &[NAME, column("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES];

const DEPLOYMENTS: &[Column] = &[
    NAME,
    column("Ready", "Number of the pod with ready state"),
    of("Up-to-date", "io.k8s.api.apps.v1.DeploymentStatus", "updatedReplicas"),
    of("Available", "io.k8s.api.apps.v1.DeploymentStatus", "availableReplicas"),
    AGE,
    CONTAINERS,
    IMAGES,
    of("Selector", "io.k8s.api.apps.v1.DeploymentSpec", "selector").wide(),
];

const CONTROLLER_REVISIONS: &[Column] = &[
    NAME,
    column("Controller", "Controller of the object"),
    of("Revision", "io.k8s.api.apps.v1.ControllerRevision", "revision"),
    AGE,
];

const JOBS: &[Column] = &[
    NAME,
    column("Status", "Status of the job."),
    of("Completions", "io.k8s.api.batch.v1.JobStatus", "succeeded"),
    column("Duration", "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    of("Selector", "io.k8s.api.batch.v1.JobSpec", "selector").wide(),
];

const CRON_JOBS: &[Column] = &[
    NAME,
    of("Schedule", "io.k8s.api.batch.v1.CronJobSpec", "schedule"),
    of("Timezone", "io.k8s.api.batch.v1.CronJobSpec", "timeZone"),
    of("Suspend", "io.k8s.api.batch.v1.CronJobSpec", "suspend").boolean(),
    of("Active", "io.k8s.api.batch.v1.CronJobStatus", "active").integer(),
    of("Last Schedule", "io.k8s.api.batch.v1.CronJobStatus", "lastScheduleTime"),
    AGE,
    CONTAINERS,
    IMAGES,
    of("Selector", "io.k8s.api.batch.v1.JobSpec", "selector").wide(),
];

const POD_DISRUPTION_BUDGETS: &[Column] = &[
    NAME,
    column("Min Available", "The minimum number of pods that must be available."),
    column("Max Unavailable", "The maximum number of pods that may be unavailable."),
    column("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.").integer(),
    AGE,
];

const HORIZONTAL_POD_AUTOSCALERS: &[Column] = &[
    NAME,
    of("Reference", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "scaleTargetRef"),
    of("Targets", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "metrics"),
    of("MinPods", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "minReplicas"),
    of("MaxPods", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "maxReplicas"),
    of("Replicas", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", "currentReplicas"),
    AGE,
];
