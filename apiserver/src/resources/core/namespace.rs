//! Namespace (pkg/registry/core/namespace/strategy.go, storage/storage.go@v1.37.2): it stays while
//! spec.finalizers has entries, whatever metadata.finalizers say.

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::{Map, Value};
use api::{map, names};

use crate::strategy::{Context, Strategy};

/// The finalizer that the namespace controller works off.
const KUBERNETES: &str = "kubernetes";
/// Labelled on each namespace with its own name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(crate) struct Namespace;

impl Strategy for Namespace {
    fn default(&self, object: &mut Map) {
        let name = object.name().to_string();
        if !name.is_empty() {
            object.meta_mut().map_mut("labels").set(NAME_LABEL, name);
        }
    }

    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        self.default(object);
        object.set("status", map! { "phase" => "Active" });
        let finalizers = object.map_mut("spec").list_mut("finalizers");
        if !finalizers.iter().any(|finalizer| finalizer.as_str() == Some(KUBERNETES)) {
            finalizers.push(KUBERNETES.into());
        }
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, old: &Map) {
        match old.get("spec") {
            Some(spec) => object.set("spec", spec.clone()),
            None => drop(object.remove("spec")),
        }
    }

    fn validate_status_update(&self, object: &Map, _: &Map) -> Errors {
        let phase = object.map("status").map_or("", |status| status.str("phase"));
        let path = Path::new("status").child("phase");
        match (object.is_deleting(), phase) {
            (false, phase) if phase != "Active" => {
                vec![field::invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty")]
            }
            (true, phase) if phase != "Terminating" => {
                vec![field::invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")]
            }
            _ => Errors::new(),
        }
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_dns_label(name, prefix)
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.phase", "name"]
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        let phase = object.map("status").map_or("", |status| status.str("phase"));
        vec![("status.phase", phase.to_string()), ("name", object.name().to_string())]
    }

    fn keeps(&self, object: &Map) -> bool {
        object.map("spec").is_some_and(|spec| !spec.list("finalizers").is_empty())
    }

    fn mark_deleting(&self, object: &mut Map) {
        object.map_mut("status").set("phase", Value::from("Terminating"));
        object.meta_mut().remove("deletionGracePeriodSeconds");
    }

    fn returns_deleted_object(&self, _: &str) -> bool {
        true
    }
}
