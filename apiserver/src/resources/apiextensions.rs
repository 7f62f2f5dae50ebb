//! CustomResourceDefinition (k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition@v0.37.2).
//!
//! Non-goal: what is served of a definition; `crate::custom` follows the stored objects.

pub(crate) mod convert;

use api::field::Errors;
use api::map;
use api::object::Meta;
use api::value::{Map, Value};
use rules::compile::Cel;
use structural::definition;

use crate::cache::Item;
use crate::custom::FINALIZER;
use crate::registry::Storage;
use crate::strategy::{Context, Generation, Strategy};

/// A stored definition in the form that is served.
pub(crate) fn served(item: &Item, storage: &Storage) -> Map {
    convert::from_storage(&item.object(storage))
}

pub(crate) struct Definition;

impl Strategy for Definition {
    fn repeats_errors(&self) -> bool {
        true
    }

    fn knows_finalizers(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Map) {
        definition::apply_defaults(object);
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        definition::prepare_for_create(object);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        definition::prepare_for_update(object, old);
    }

    fn prepare_for_status_update(&self, _: &Context, object: &mut Map, old: &Map) {
        definition::prepare_for_status_update(object, old);
    }

    fn validate(&self, object: &Map) -> Errors {
        definition::validate_create(object, &Cel)
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        definition::validate_update(object, old, &Cel)
    }

    fn validate_status_update(&self, object: &Map, _: &Map) -> Errors {
        definition::validate_status_update(object)
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        definition::warnings(object, old)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn allow_unconditional_update(&self, _: &str) -> bool {
        false
    }

    /// Its objects go first (etcd.go: Delete).
    fn keeps(&self, object: &Map) -> bool {
        !object.is_deleting()
    }

    fn own_deletion(&self) -> Option<&'static str> {
        Some("precondition failed")
    }

    fn mark_deleting(&self, object: &mut Map) {
        let since = object.meta().str("deletionTimestamp").to_string();
        if !object.finalizers().any(|finalizer| finalizer == FINALIZER) {
            object.meta_mut().list_mut("finalizers").push(FINALIZER.into());
        }
        let conditions = object.map_mut("status").list_mut("conditions");
        if conditions.iter().filter_map(Value::as_map).all(|condition| condition.str("type") != "Terminating") {
            conditions.push(Value::Map(map! {
                "lastTransitionTime" => since,
                "message" => "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
                "reason" => "InstanceDeletionPending",
                "status" => "True",
                "type" => "Terminating",
            }));
        }
        object.meta_mut().remove("deletionGracePeriodSeconds");
    }
}
