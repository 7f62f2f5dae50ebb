//! DaemonSet (pkg/registry/apps/daemonset/strategy.go, pkg/apis/apps/v1/{defaults,conversion}.go,
//! pkg/apis/apps/validation/validation.go@v1.37.2).
//!
//! The generation of the template, which upstream's internal type has as a field, is here as in v1 an annotation.

use std::num::IntErrorKind;

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::Map;

use crate::resources::common;
use crate::resources::common::workload::{self, TEMPLATE, spec_of, status_of};
use crate::resources::core::pod::defaults::{absent, text};
use crate::resources::core::pod::options::Options;
use crate::resources::core::pod::{spec, warnings};
use crate::strategy::{Context, Generation, Strategy};

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const COUNTERS: [&str; 9] = [
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

pub(crate) struct DaemonSet;

fn template_generation(object: &Map) -> i64 {
    object.annotation(TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn set_template_generation(object: &mut Map, generation: i64) {
    object.meta_mut().map_mut("annotations").set(TEMPLATE_GENERATION, generation.to_string());
    object.meta_mut().map_mut("annotations").sort();
}

fn same_template(object: &Map, old: &Map) -> bool {
    common::same_maps(workload::template(object, &TEMPLATE), workload::template(old, &TEMPLATE))
}

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (daemons, path) = (spec_of(object), Path::new("spec"));
    let selector = daemons.map("selector");
    let any_value = old.is_some_and(|old| common::has_invalid_value(spec_of(old).map("selector")));
    common::label_selector(selector, any_value, &path.child("selector"), &mut errors);
    let template = workload::template(object, &TEMPLATE);
    let labels = template.map("metadata").and_then(|meta| meta.map("labels"));
    if common::selector(selector).is_some_and(|selector| !common::matches(&selector, labels)) {
        let at = path.child("template").child("metadata").child("labels");
        let shown = common::labels_shown(template);
        errors.push(field::invalid(&at, shown, "`selector` does not match template `labels`"));
    }
    if let Some(selector) = selector.filter(|selector| common::is_empty_selector(selector)) {
        let shown = api::value::Value::Map(selector.clone());
        errors.push(field::invalid(&path.child("selector"), shown, "empty selector is invalid for daemonset"));
    }
    let options = Options::template(old.map(|old| workload::template(old, &TEMPLATE)));
    spec::template(template, &path.child("template"), &options, &mut errors);
    workload::always_restarted(template, &path.child("template"), "DaemonSet", &mut errors);
    common::none_negative(daemons, &["minReadySeconds"], &path, &mut errors);
    update_strategy(daemons, &path.child("updateStrategy"), &mut errors);
    common::none_negative(daemons, &["revisionHistoryLimit"], &path, &mut errors);
    errors
}

fn update_strategy(spec: &Map, path: &Path, errors: &mut Errors) {
    let strategy = spec.map("updateStrategy").unwrap_or(Map::EMPTY);
    let at = path.child("rollingUpdate");
    match (strategy.str("type"), strategy.map("rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.push(field::required(&at, "")),
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &at, errors),
        _ => {
            let shown = workload::shown(Some(strategy), "apps.v1.DaemonSetUpdateStrategy");
            errors.push(field::not_supported(path, shown, &["RollingUpdate", "OnDelete"]));
        }
    }
}

fn rolling_update(rolling: &Map, path: &Path, errors: &mut Errors) {
    let fields = ["maxUnavailable", "maxSurge"];
    workload::rolling(rolling, &fields, path, errors);
    for name in fields {
        if let Some(value) = rolling.get(name) {
            common::at_most_100_percent(value, &path.child(name), errors);
        }
    }
    let [unavailable, surge] = fields.map(|name| common::count_or_percents(rolling.get(name)) != 0);
    if unavailable && surge {
        let shown = rolling.get("maxSurge").cloned().unwrap_or_default();
        errors.push(field::invalid(&path.child("maxSurge"), shown, "may not be set when maxUnavailable is non-zero"));
    } else if !unavailable && !surge {
        errors.push(field::required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
    }
}

impl Strategy for DaemonSet {
    /// The generation of the template is a number (Convert_v1_DaemonSet_To_apps_DaemonSet).
    fn convert(&self, object: &Map) -> Result<(), String> {
        let Some(text) = object.annotation(TEMPLATE_GENERATION) else { return Ok(()) };
        let parsed: Result<i64, _> = text.parse();
        parsed.map(drop).map_err(|error| {
            let why = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            format!("strconv.ParseInt: parsing {}: {why}", field::go_quote(text))
        })
    }

    fn annotations_of_fields(&self) -> &'static [&'static str] {
        &[TEMPLATE_GENERATION]
    }

    fn default(&self, object: &mut Map) {
        let spec = object.map_mut("spec");
        let strategy = spec.map_mut("updateStrategy");
        text(strategy, "type", "RollingUpdate");
        if strategy.str("type") == "RollingUpdate" {
            let rolling = strategy.map_mut("rollingUpdate");
            absent(rolling, "maxUnavailable", 1i64);
            absent(rolling, "maxSurge", 0i64);
        }
        absent(spec, "revisionHistoryLimit", 10i64);
        workload::default_template(object, &TEMPLATE);
        // On its way through upstream's internal type an object gets the annotation, and its sender owns it.
        let generation = template_generation(object);
        set_template_generation(object, generation);
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        workload::prepare(object, None, &TEMPLATE);
        let generation = template_generation(object).max(1);
        set_template_generation(object, generation);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        workload::prepare(object, Some(old), &TEMPLATE);
        let changed = i64::from(!same_template(object, old));
        set_template_generation(object, template_generation(old) + changed);
    }

    fn prepare_for_status_update(&self, _: &Context, object: &mut Map, old: &Map) {
        set_template_generation(object, template_generation(old));
    }

    fn validate(&self, object: &Map) -> Errors {
        check(object, None)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        common::immutable(spec_of(object), spec_of(old), "selector", &Path::new("spec"), &mut errors);
        errors.extend(check(object, Some(old)));
        errors
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        common::none_negative(status_of(object), &COUNTERS, &Path::new("status"), &mut errors);
        common::collisions(status_of(object), status_of(old), &Path::new("status"), &mut errors);
        errors
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        if old.is_some_and(|old| template_generation(old) == template_generation(object)) {
            return Vec::new();
        }
        warnings::of(workload::template(object, &TEMPLATE), &workload::path(&TEMPLATE))
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }
}
