//! PodTemplate (pkg/registry/core/podtemplate/strategy.go@v1.37.2).

use api::field::{Errors, Path};
use api::value::Map;

use crate::resources::common::workload;
use crate::resources::core::pod::options::Options;
use crate::resources::core::pod::spec;
use crate::strategy::{Context, Generation, Strategy};

const TEMPLATE: [&str; 1] = ["template"];

pub(crate) struct PodTemplate;

fn check(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let options = Options::template(old.map(|old| workload::template(old, &TEMPLATE)));
    spec::template(workload::template(object, &TEMPLATE), &Path::new("template"), &options, &mut errors);
    errors
}

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Map) {
        workload::default_template(object, &TEMPLATE);
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

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        workload::warnings(object, old, &TEMPLATE)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn returns_deleted_object(&self, _: &str) -> bool {
        true
    }
}
