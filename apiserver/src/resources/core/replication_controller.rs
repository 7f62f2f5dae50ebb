//! ReplicationController (pkg/registry/core/replicationcontroller/strategy.go,
//! pkg/apis/core/validation/validation.go@v1.37.2: ValidateReplicationControllerSpec).

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::Map;

use crate::resources::apps::replica_set;
use crate::resources::common;
use crate::resources::common::workload::{self, TEMPLATE, spec_of};
use crate::resources::core::pod::defaults::absent;
use crate::resources::core::pod::options::Options;
use crate::resources::core::pod::spec;
use crate::resources::simple::Simple;
use crate::strategy::{Context, Generation, Strategy};

pub(crate) struct ReplicationController;

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (controller, path) = (spec_of(object), Path::new("spec"));
    common::none_negative(controller, &["minReadySeconds"], &path, &mut errors);
    let selector = controller.map("selector").filter(|selector| !selector.is_empty());
    if selector.is_none() {
        errors.push(field::required(&path.child("selector"), ""));
    }
    match controller.i64("replicas") {
        None => errors.push(field::required(&path.child("replicas"), "")),
        Some(replicas) => common::not_negative(replicas, &path.child("replicas"), &mut errors),
    }
    let path = path.child("template");
    let Some(template) = object.at(&TEMPLATE) else {
        errors.push(field::required(&path, ""));
        return errors;
    };
    let labels = template.map("metadata").and_then(|meta| meta.map("labels")).unwrap_or(Map::EMPTY);
    if selector.is_some_and(|selector| selector.iter().any(|(key, value)| labels.get(key) != Some(value))) {
        let at = path.child("metadata").child("labels");
        let shown = common::labels_shown(template);
        errors.push(field::invalid(&at, shown, "`selector` does not match template `labels`"));
    }
    let options = Options::template(old.map(|old| workload::template(old, &TEMPLATE)));
    spec::template(template, &path, &options, &mut errors);
    workload::always_restarted(template, &path, "ReplicationController", &mut errors);
    errors
}

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Map) {
        let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            if spec_of(object).map("selector").is_none_or(Map::is_empty) {
                object.map_mut("spec").set("selector", labels.clone());
            }
            if object.meta().map("labels").is_none_or(Map::is_empty) {
                object.meta_mut().set("labels", labels);
            }
        }
        absent(object.map_mut("spec"), "replicas", 1i64);
        if object.at(&TEMPLATE).is_some() {
            workload::default_template(object, &TEMPLATE);
        }
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        workload::prepare(object, None, &TEMPLATE);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        workload::prepare(object, Some(old), &TEMPLATE);
    }

    fn validate(&self, object: &Map) -> Errors {
        check(object, None)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        check(object, Some(old))
    }

    fn validate_status_update(&self, object: &Map, _: &Map) -> Errors {
        replica_set::check_status(object)
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        match old {
            // Upstream looks at the template that was, not at the one that comes (rcStrategy.WarningsOnUpdate).
            Some(old) => workload::warnings(old, Some(object), &TEMPLATE),
            None => {
                let advice = workload::name_advice(object, None);
                advice.into_iter().chain(workload::warnings(object, None, &TEMPLATE)).collect()
            }
        }
    }

    /// Of a generated name only the outcome is looked at (ValidateObjectMetaWithOpts).
    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        Simple::generated(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        replica_set::replicas(object)
    }

    /// Through v1, dependents stay (rcStrategy.DefaultGarbageCollectionPolicy).
    fn orphans_by_default(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::common::given::map;

    fn check(seconds: i64, old: Option<i64>, want: usize) {
        let object = |generation: i64, seconds: i64| {
            let spec = format!(r#"{{"template":{{"spec":{{"terminationGracePeriodSeconds":{seconds}}}}}}}"#);
            map(&format!(r#"{{"metadata":{{"name":"a","generation":{generation}}},"spec":{spec}}}"#))
        };
        let old = old.map(|seconds| object(1, seconds));
        let told = ReplicationController.warnings(&object(2, seconds), old.as_ref());
        assert_eq!(told.len(), want, "{seconds} after {old:?}: {told:?}");
    }

    #[test]
    fn an_update_tells_of_the_template_that_was() {
        check(-1, None, 1);
        check(-1, Some(1), 0);
        check(1, Some(-1), 1);
    }
}
