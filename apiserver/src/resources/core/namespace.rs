//! Namespace (pkg/registry/core/namespace/strategy.go, storage/storage.go@v1.37.2): it stays while
//! spec.finalizers has entries, whatever metadata.finalizers say.

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::{Map, Value};
use api::{map, names};

use crate::rest::metadata;
use crate::strategy::{Context, MetaCheck, Strategy};

/// The finalizer that the namespace controller works off.
const KUBERNETES: &str = "kubernetes";
/// Labelled on each namespace with its own name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(crate) struct Namespace;

/// pkg/apis/core/validation/validation.go@v1.37.2: validateFinalizerName
fn validate_finalizers(object: &Map, place: fn(&Path, usize) -> Path) -> Errors {
    let (path, mut errors) = (Path::new("spec").child("finalizers"), Errors::new());
    let finalizers = object.map("spec").map_or(&[][..], |spec| spec.list("finalizers"));
    for (at, finalizer) in finalizers.iter().filter_map(Value::as_str).enumerate() {
        metadata::validate_finalizer(finalizer, &place(&path, at), &mut errors);
    }
    errors
}

impl Strategy for Namespace {
    fn reset_fields(&self, subresource: &str) -> Option<&'static [&'static [&'static str]]> {
        (subresource == "finalize").then_some(&[&["status"]])
    }

    fn meta_checks(&self, subresource: &str) -> &'static [MetaCheck] {
        if subresource.is_empty() { &[MetaCheck::Whole, MetaCheck::Update] } else { &[MetaCheck::Update] }
    }

    fn default(&self, object: &mut Map) {
        let name = object.name().to_string();
        if !name.is_empty() {
            object.meta_mut().map_mut("labels").set(NAME_LABEL, name);
        }
        let status = object.map_mut("status");
        if status.str("phase").is_empty() {
            status.set("phase", "Active");
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
        object.take_over("spec", old);
    }

    /// Through `finalize` everything but the status may change.
    fn prepare_for_subresource_update(&self, _: &Context, _: &str, object: &mut Map, old: &Map) {
        object.take_over("status", old);
    }

    fn validate(&self, object: &Map) -> Errors {
        validate_finalizers(object, |path, _| path.clone())
    }

    fn validate_subresource_update(&self, _: &str, object: &Map, _: &Map) -> Errors {
        validate_finalizers(object, Path::index)
    }

    fn validate_status_update(&self, object: &Map, _: &Map) -> Errors {
        let phase = object.map("status").map_or("", |status| status.str("phase"));
        let path = Path::new("status").child("Phase");
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

    /// The first deletion only marks (pkg/registry/core/namespace/storage/storage.go@v1.37.2: Delete).
    fn keeps(&self, object: &Map) -> bool {
        !object.is_deleting() || object.map("spec").is_some_and(|spec| !spec.list("finalizers").is_empty())
    }

    fn deletes_unread(&self) -> bool {
        false
    }

    fn own_deletion(&self) -> Option<&'static str> {
        Some("Precondition failed")
    }

    fn mark_deleting(&self, object: &mut Map) {
        object.map_mut("status").set("phase", Value::from("Terminating"));
        object.meta_mut().remove("deletionGracePeriodSeconds");
    }

    fn returns_deleted_object(&self, _: &str) -> bool {
        true
    }
}
