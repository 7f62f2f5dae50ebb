//! ControllerRevision (pkg/registry/apps/controllerrevision/strategy.go,
//! pkg/apis/apps/validation/validation.go@v1.37.2).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use crate::resources::common;
use crate::strategy::{MetaCheck, Strategy};

pub(crate) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn meta_checks(&self, _: &str) -> &'static [MetaCheck] {
        &[MetaCheck::Update, MetaCheck::Whole]
    }

    fn validate(&self, object: &Map) -> Errors {
        let mut errors = Errors::new();
        common::not_negative(object.i64("revision").unwrap_or(0), &Path::new("revision"), &mut errors);
        let path = Path::new("data");
        match object.get("data") {
            None | Some(Value::Null) => errors.push(field::required(&path, "data is mandatory")),
            Some(Value::Map(_)) => {}
            Some(_) => errors.push(field::required(&path, "data must be a valid JSON object")),
        }
        errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        let mut errors = Errors::new();
        common::not_negative(object.i64("revision").unwrap_or(0), &Path::new("revision"), &mut errors);
        if object.get("data") != old.get("data") {
            let shown = object.get("data").cloned().unwrap_or_default();
            errors.push(field::invalid(&Path::new("data"), shown, common::IMMUTABLE));
        }
        errors
    }
}
