//! Kinds that make pods from a template: what their specs default to and the rules they share
//! (pkg/apis/{apps,batch,core}/v1/defaults.go, pkg/apis/{apps,batch,core}/validation@v1.37.2).

use api::field::{self, Errors, Path};
use api::map;
use api::object::Meta;
use api::selector::labels::Selector;
use api::value::{Map, Value};
use api::view;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::core::pod::{defaults as pod_defaults, validate as pod_validate};
use super::simple::field_text;
use crate::strategy::{Context, Generation, Strategy};

/// One kind of workload, as data: what differs between them.
pub(crate) struct Workload {
    /// Where the pod template is.
    pub(crate) template: &'static [&'static str],
    pub(crate) default: fn(&mut Map),
    pub(crate) prepare: fn(&mut Map),
    pub(crate) fields: &'static [&'static str],
    /// The selector may not change.
    pub(crate) fixed_selector: bool,
    /// Pods may end (jobs), instead of being always restarted.
    pub(crate) may_end: bool,
}

fn nothing(_: &mut Map) {}

const IN_SPEC: &[&str] = &["spec", "template"];

const BASE: Workload = Workload {
    template: IN_SPEC,
    default: nothing,
    prepare: nothing,
    fields: &[],
    fixed_selector: true,
    may_end: false,
};

pub(crate) const DEPLOYMENT: Workload = Workload { default: deployment, ..BASE };
pub(crate) const REPLICA_SET: Workload = Workload { default: replica_set, fields: &["status.replicas"], ..BASE };
pub(crate) const DAEMON_SET: Workload = Workload { default: daemon_set, prepare: daemon_set_generation, ..BASE };
pub(crate) const STATEFUL_SET: Workload = Workload { default: stateful_set, ..BASE };
pub(crate) const REPLICATION_CONTROLLER: Workload =
    Workload { default: replication_controller, fields: &["status.replicas"], fixed_selector: false, ..BASE };
pub(crate) const JOB: Workload =
    Workload { default: job, prepare: job_selector, fields: &["status.successful"], may_end: true, ..BASE };
pub(crate) const CRON_JOB: Workload = Workload {
    template: &["spec", "jobTemplate", "spec", "template"],
    default: cron_job,
    fixed_selector: false,
    may_end: true,
    ..BASE
};
pub(crate) const POD_TEMPLATE: Workload =
    Workload { template: &["template"], fixed_selector: false, may_end: true, ..BASE };

fn absent(map: &mut Map, name: &'static str, value: impl Into<Value>) {
    if map.get(name).is_none_or(Value::is_null) {
        map.set(name, value);
    }
}

fn deployment(object: &mut Map) {
    let spec = object.map_mut("spec");
    absent(spec, "replicas", 1i64);
    let strategy = spec.map_mut("strategy");
    pod_defaults::text(strategy, "type", "RollingUpdate");
    if strategy.str("type") == "RollingUpdate" {
        let rolling = strategy.map_mut("rollingUpdate");
        absent(rolling, "maxUnavailable", "25%");
        absent(rolling, "maxSurge", "25%");
    }
    absent(spec, "revisionHistoryLimit", 10i64);
    absent(spec, "progressDeadlineSeconds", 600i64);
}

fn replica_set(object: &mut Map) {
    absent(object.map_mut("spec"), "replicas", 1i64);
}

fn replication_controller(object: &mut Map) {
    let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned().filter(|labels| !labels.is_empty());
    if let Some(labels) = labels {
        if object.map("spec").is_some_and(|spec| spec.map("selector").is_none_or(Map::is_empty)) {
            object.map_mut("spec").set("selector", labels.clone());
        }
        if object.meta().map("labels").is_none_or(Map::is_empty) {
            object.meta_mut().set("labels", labels);
        }
    }
    absent(object.map_mut("spec"), "replicas", 1i64);
}

fn daemon_set(object: &mut Map) {
    let spec = object.map_mut("spec");
    let strategy = spec.map_mut("updateStrategy");
    pod_defaults::text(strategy, "type", "RollingUpdate");
    if strategy.str("type") == "RollingUpdate" {
        let rolling = strategy.map_mut("rollingUpdate");
        absent(rolling, "maxUnavailable", 1i64);
        absent(rolling, "maxSurge", 0i64);
    }
    absent(spec, "revisionHistoryLimit", 10i64);
}

/// pkg/registry/apps/daemonset/strategy.go: an annotation tells the template's generation to old controllers.
fn daemon_set_generation(object: &mut Map) {
    let annotations = object.meta_mut().map_mut("annotations");
    absent(annotations, "deprecated.daemonset.template.generation", "1");
}

fn stateful_set(object: &mut Map) {
    let spec = object.map_mut("spec");
    pod_defaults::text(spec, "podManagementPolicy", "OrderedReady");
    let strategy = spec.map_mut("updateStrategy");
    pod_defaults::text(strategy, "type", "RollingUpdate");
    if strategy.str("type") == "RollingUpdate" {
        absent(strategy.map_mut("rollingUpdate"), "partition", 0i64);
    }
    let policy = spec.map_mut("persistentVolumeClaimRetentionPolicy");
    pod_defaults::text(policy, "whenDeleted", "Retain");
    pod_defaults::text(policy, "whenScaled", "Retain");
    absent(spec, "replicas", 1i64);
    absent(spec, "revisionHistoryLimit", 10i64);
    for claim in spec.maps_mut("volumeClaimTemplates") {
        pod_defaults::text(claim.map_mut("spec"), "volumeMode", "Filesystem");
        absent(claim.map_mut("status"), "phase", "Pending");
    }
}

fn job_spec(spec: &mut Map) {
    let parallelism = spec.contains("parallelism");
    if !spec.contains("completions") && !parallelism {
        spec.set("completions", 1i64);
    }
    absent(spec, "parallelism", 1i64);
    if spec.contains("backoffLimitPerIndex") {
        absent(spec, "backoffLimit", i64::from(i32::MAX));
    }
    absent(spec, "backoffLimit", 6i64);
    absent(spec, "completionMode", "NonIndexed");
    absent(spec, "suspend", false);
    absent(spec, "manualSelector", false);
    let replacement = if spec.contains("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    absent(spec, "podReplacementPolicy", replacement);
}

fn job(object: &mut Map) {
    job_spec(object.map_mut("spec"));
    let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned().filter(|labels| !labels.is_empty());
    if let (Some(labels), true) = (labels, object.meta().map("labels").is_none_or(Map::is_empty)) {
        object.meta_mut().set("labels", labels);
    }
}

/// pkg/registry/batch/job/strategy.go: generateSelector.
fn job_selector(object: &mut Map) {
    if object.map("spec").and_then(|spec| spec.bool("manualSelector")) == Some(true) {
        return;
    }
    let (uid, name) = (object.uid().to_string(), object.name().to_string());
    let labels = object.map_mut("spec").map_mut("template").map_mut("metadata").map_mut("labels");
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("job-name", &name),
    ] {
        absent(labels, key, value.as_str());
    }
    labels.sort();
    let selector = map! { "matchLabels" => map! { "batch.kubernetes.io/controller-uid" => uid } };
    object.map_mut("spec").set("selector", selector);
}

fn cron_job(object: &mut Map) {
    let spec = object.map_mut("spec");
    pod_defaults::text(spec, "concurrencyPolicy", "Allow");
    absent(spec, "suspend", false);
    absent(spec, "successfulJobsHistoryLimit", 3i64);
    absent(spec, "failedJobsHistoryLimit", 1i64);
    let inner = spec.map_mut("jobTemplate").map_mut("spec");
    if !inner.contains("completions") && !inner.contains("parallelism") {
        // A template is defaulted like a job, but for what only a job's own creation decides.
        inner.set("completions", 1i64);
        inner.set("parallelism", 1i64);
    }
    absent(inner, "backoffLimit", 6i64);
    inner.remove("manualSelector");
    absent(inner, "completionMode", "NonIndexed");
    absent(inner, "suspend", false);
    absent(inner, "podReplacementPolicy", "TerminatingOrFailed");
}

impl Workload {
    fn template_mut<'o>(&self, object: &'o mut Map) -> Option<&'o mut Map> {
        object.at(self.template)?;
        Some(self.template.iter().fold(object, |map, name| map.map_mut(name)))
    }

    fn path(&self) -> Path {
        self.template.iter().fold(Path::default(), |path, name| path.child(name))
    }

    fn check(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        let spec = object.map("spec").unwrap_or(Map::EMPTY);
        let template = object.at(self.template).unwrap_or(Map::EMPTY);
        if let Some(replicas) = spec.i64("replicas").filter(|replicas| *replicas < 0) {
            let path = Path::new("spec").child("replicas");
            errors.push(field::invalid(&path, replicas, "must be greater than or equal to 0"));
        }
        if self.fixed_selector && !self.may_end {
            selector(spec, template, &mut errors);
        }
        let path = self.path();
        crate::rest::metadata::validate_labels(
            template.meta().map("labels"),
            &path.child("metadata").child("labels"),
            &mut errors,
        );
        let pod = template.map("spec").unwrap_or(Map::EMPTY);
        pod_validate::pod_spec(pod, &path.child("spec"), &mut errors);
        let policy = pod.str("restartPolicy");
        if !self.may_end && !policy.is_empty() && policy != "Always" {
            errors.push(field::not_supported(&path.child("spec").child("restartPolicy"), policy, &["Always"]));
        }
        errors
    }
}

fn selector(spec: &Map, template: &Map, errors: &mut Errors) {
    let path = Path::new("spec").child("selector");
    let Some(map) = spec.map("selector") else { return errors.push(field::required(&path, "")) };
    let typed: Option<LabelSelector> = view::of(map).ok();
    let selector = match Selector::from_label_selector(typed.as_ref()) {
        Ok(selector) => selector,
        Err(_) => return errors.push(field::invalid(&path, Value::Map(map.clone()), "invalid label selector")),
    };
    if map.is_empty() || selector.is_empty() {
        return errors.push(field::invalid(&path, Value::Map(map.clone()), "empty selector is invalid for deployment"));
    }
    let labels = pod_validate::template_labels(template);
    if !selector.matches(|key| labels.get(key).and_then(Value::as_str)) {
        let at = Path::new("spec").child("template").child("metadata").child("labels");
        let shown = Value::Map(labels.clone());
        errors.push(field::invalid(&at, shown, "`selector` does not match template `labels`"));
    }
}

impl Strategy for Workload {
    fn default(&self, object: &mut Map) {
        (self.default)(object);
        if let Some(template) = self.template_mut(object) {
            pod_defaults::pod_spec(template.map_mut("spec"));
        }
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        (self.prepare)(object);
    }

    fn validate(&self, object: &Map) -> Errors {
        self.check(object)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        let of = |object: &Map| object.map("spec").and_then(|spec| spec.get("selector")).cloned();
        if self.fixed_selector && of(object) != of(old) {
            let shown = of(object).unwrap_or_default();
            errors.push(field::invalid(&Path::new("spec").child("selector"), shown, "field is immutable"));
        }
        errors.extend(self.check(object));
        errors
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        api::names::name_is_dns_subdomain(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn field_names(&self) -> &'static [&'static str] {
        self.fields
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        let value = |name: &'static str| match name {
            "status.successful" => object.map("status").and_then(|s| s.i64("succeeded")).unwrap_or(0).to_string(),
            "status.replicas" => object.map("status").and_then(|s| s.i64("replicas")).unwrap_or(0).to_string(),
            name => field_text(object, name),
        };
        self.fields.iter().map(|name| (*name, value(name))).collect()
    }

    fn returns_deleted_object(&self) -> bool {
        self.template == POD_TEMPLATE.template
    }
}
