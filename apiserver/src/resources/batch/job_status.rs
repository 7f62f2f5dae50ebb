//! The status of a job (pkg/registry/batch/job/strategy.go: getStatusValidationOptions,
//! pkg/apis/batch/validation/validation.go@v1.37.2: ValidateJobStatusUpdate).
//!
//! Invariant: a rule is applied when an update changes what the rule is about, so that old objects can still be
//! updated.

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use super::{indexes, job_spec};
use crate::resources::common;
use crate::resources::common::workload::{spec_of, status_of};

/// The condition has this status.
fn has(status: &Map, kind: &str, value: &str) -> bool {
    status.maps("conditions").any(|condition| condition.str("type") == kind && condition.str("status") == value)
}

/// The condition is true.
pub(super) fn is(status: &Map, kind: &str) -> bool {
    has(status, kind, "True")
}

fn is_finished(status: &Map) -> bool {
    is(status, "Complete") || is(status, "Failed")
}

/// One update: both states, and which of their parts differ.
struct Change<'a> {
    spec: &'a Map,
    status: &'a Map,
    was: &'a Map,
    path: Path,
}

impl Change<'_> {
    fn changed(&self, name: &str) -> bool {
        !common::same(self.status.get(name), self.was.get(name))
    }

    fn turned(&self, test: impl Fn(&Map) -> bool) -> bool {
        test(self.status) != test(self.was)
    }

    fn condition_turned(&self, kind: &str) -> bool {
        self.turned(|status| is(status, kind))
    }

    fn at(&self, name: &str) -> Path {
        self.path.child(name)
    }

    fn number(&self, name: &str) -> i64 {
        self.status.i64(name).unwrap_or(0)
    }

    fn conditions(&self, why: &str, errors: &mut Errors) {
        errors.push(field::invalid_hidden(&self.at("conditions"), why));
    }

    fn value(&self, name: &str) -> Value {
        self.status.get(name).cloned().unwrap_or_default()
    }

    fn ends(&self, errors: &mut Errors) {
        let now = |kind: &str| is(self.status, kind);
        let (complete, failed) = (self.condition_turned("Complete"), self.condition_turned("Failed"));
        if (complete || failed) && now("Complete") && now("Failed") {
            self.conditions("cannot set Complete=True and Failed=true conditions", errors);
        }
        if (complete || self.condition_turned("FailureTarget")) && now("Complete") && now("FailureTarget") {
            self.conditions("cannot set Complete=True and FailureTarget=true conditions", errors);
        }
        let (ended, at) = (self.status.contains("completionTime"), self.at("completionTime"));
        if complete || self.changed("completionTime") {
            if ended && !now("Complete") {
                let why = "cannot set completionTime when there is no Complete=True condition";
                errors.push(field::invalid(&at, self.value("completionTime"), why));
            }
            if !ended && now("Complete") {
                errors.push(field::required(&at, "completionTime is required for Complete jobs"));
            }
        }
        if (self.changed("startTime") || self.changed("completionTime")) && self.ends_before_start() {
            errors.push(field::invalid(&at, self.value("completionTime"), "must be equal to or after `startTime`"));
        }
        if (failed || self.changed("failedIndexes")) && now("Failed") && !now("FailureTarget") {
            self.conditions("cannot set Failed=True condition without the FailureTarget=true condition", errors);
        }
        let met = self.condition_turned("SuccessCriteriaMet");
        if (complete || met) && now("Complete") && !now("SuccessCriteriaMet") {
            let why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
            self.conditions(why, errors);
        }
    }

    fn ends_before_start(&self) -> bool {
        let time = |name: &str| api::time::to_unix(self.status.str(name));
        matches!((time("startTime"), time("completionTime")), (Some(start), Some(end)) if end < start)
    }

    fn finished(&self, errors: &mut Errors) {
        let finished = is_finished(self.status);
        let turned = self.turned(is_finished);
        if (turned || self.changed("active")) && finished && self.number("active") > 0 {
            let why = "active>0 is invalid for finished job";
            errors.push(field::invalid(&self.at("active"), self.number("active"), why));
        }
        let idle = self.spec.bool("suspend") == Some(true) && self.spec.i64("completions") == Some(0);
        let began = self.status.contains("startTime");
        if (turned || self.changed("startTime")) && !idle && finished && !began {
            errors.push(field::required(&self.at("startTime"), "startTime is required for finished job"));
        }
        let uncounted = self.status.map("uncountedTerminatedPods");
        let left = uncounted.is_some_and(|u| !u.list("failed").is_empty() || !u.list("succeeded").is_empty());
        if (turned || self.changed("uncountedTerminatedPods")) && finished && left {
            let ty = "batch.v1.UncountedTerminatedPods";
            let shown = crate::resources::common::workload::shown(uncounted, ty);
            errors.push(field::invalid(&self.at("uncountedTerminatedPods"), shown, "must be empty for finished job"));
        }
    }

    fn indexes(&self, errors: &mut Errors) {
        let completions = self.spec.i64("completions");
        let per_index = self.spec.contains("backoffLimitPerIndex");
        let completed = self.status.str("completedIndexes");
        let failed = self.status.get("failedIndexes").and_then(Value::as_str);
        let (completed_changed, failed_changed) = (self.changed("completedIndexes"), self.changed("failedIndexes"));
        let mut parse = |name: &str, text: &str, completions: i64| {
            if let Err(why) = indexes::count(text, completions) {
                errors.push(field::invalid(&self.at(name), text, format!("error parsing {name}: {why}")));
            }
        };
        if let Some(completions) = completions {
            if completed_changed {
                parse("completedIndexes", completed, completions);
            }
            if let Some(failed) = failed.filter(|_| failed_changed && per_index) {
                parse("failedIndexes", failed, completions);
            }
        }
        if completed_changed && !completed.is_empty() && !job_spec::is_indexed(self.spec) {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.push(field::invalid(&self.at("completedIndexes"), completed, why));
        }
        let Some(failed) = failed else { return };
        if failed_changed && !per_index {
            let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.push(field::invalid(&self.at("failedIndexes"), failed, why));
        }
        let overlap = completions.and_then(|count| indexes::overlap(completed, failed, count));
        if let Some(index) = overlap.filter(|_| failed_changed || completed_changed) {
            let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
            errors.push(field::invalid(&self.at("failedIndexes"), failed, why));
        }
    }

    fn counters(&self, errors: &mut Errors) {
        let (ready, terminating) = (self.number("ready"), self.number("terminating"));
        let turned = self.turned(is_finished);
        if (turned || self.changed("terminating")) && terminating > 0 && is_finished(self.status) {
            let why = "terminating>0 is invalid for finished job";
            errors.push(field::invalid(&self.at("terminating"), terminating, why));
        }
        let told = self.status.contains("ready") && (self.changed("ready") || self.changed("active"));
        if told && ready > self.number("active") {
            errors.push(field::invalid(&self.at("ready"), ready, "cannot set more ready pods than active"));
        }
    }

    fn criteria(&self, errors: &mut Errors) {
        let now = |kind: &str| is(self.status, kind);
        if now("SuccessCriteriaMet") && now("Failed") {
            self.conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions", errors);
        }
        if now("SuccessCriteriaMet") && now("FailureTarget") {
            self.conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", errors);
        }
        if self.spec.contains("successPolicy") && !now("SuccessCriteriaMet") && now("Complete") {
            let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
            self.conditions(why, errors);
        }
    }

    /// What once was said stays said.
    fn history(&self, errors: &mut Errors) {
        for kind in ["Failed", "Complete", "FailureTarget"] {
            if is(self.was, kind) && !is(self.status, kind) {
                self.conditions(&format!("cannot disable the terminal {kind}=True condition"), errors);
            }
        }
        let elastic = job_spec::is_indexed(self.spec) && self.spec.i64("completions") == self.spec.i64("parallelism");
        for name in ["failed", "succeeded"] {
            let fell = self.number(name) < self.was.i64(name).unwrap_or(0);
            if fell && !(name == "succeeded" && elastic) {
                let why = format!("cannot decrease the {name} counter");
                errors.push(field::invalid(&self.at(name), self.number(name), why));
            }
        }
        let both = |name: &str| self.status.contains(name) && self.was.contains(name);
        if both("completionTime") && self.changed("completionTime") {
            errors.push(field::invalid(&self.at("completionTime"), self.value("completionTime"), common::IMMUTABLE));
        }
        let resuming = is(self.was, "Suspended") && has(self.status, "Suspended", "False");
        let moved = self.was.contains("startTime") && self.changed("startTime") && !resuming;
        if moved && self.spec.bool("suspend") != Some(true) {
            let why = "field is immutable for unsuspended job once set";
            errors.push(field::invalid(&self.at("startTime"), self.value("startTime"), why));
        }
        let met = |status: &Map| is(status, "SuccessCriteriaMet");
        if met(self.was) && !met(self.status) {
            self.conditions("cannot disable the SuccessCriteriaMet=True condition", errors);
        }
        if is(self.was, "Complete") && !met(self.was) && met(self.status) {
            let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            self.conditions(why, errors);
        }
    }
}

fn uncounted(status: &Map, path: &Path, errors: &mut Errors) {
    let Some(pods) = status.map("uncountedTerminatedPods") else { return };
    let mut seen: Vec<&str> = Vec::new();
    for list in ["succeeded", "failed"] {
        for (at, uid) in pods.list(list).iter().filter_map(Value::as_str).enumerate() {
            let path = path.child("uncountedTerminatedPods").child(list).index(at);
            if uid.is_empty() {
                errors.push(field::invalid(&path, uid, "must not be empty"));
            } else if seen.contains(&uid) {
                errors.push(field::duplicate(&path, uid));
            } else {
                seen.push(uid);
            }
        }
    }
}

pub(super) fn check(job: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let change = Change { spec: spec_of(job), status: status_of(job), was: status_of(old), path: Path::new("status") };
    let counters = ["active", "succeeded", "failed", "ready", "terminating"];
    common::none_negative(change.status, &counters, &change.path, &mut errors);
    uncounted(change.status, &change.path, &mut errors);
    change.ends(&mut errors);
    change.finished(&mut errors);
    change.indexes(&mut errors);
    change.counters(&mut errors);
    change.criteria(&mut errors);
    change.history(&mut errors);
    errors
}
