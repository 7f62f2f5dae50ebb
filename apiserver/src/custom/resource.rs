//! The strategy of one version of a custom resource
//! (k8s.io/apiextensions-apiserver/pkg/registry/customresource/strategy.go@v0.37.2).
//!
//! Invariant: what a schema means is the `structural` crate's; here it meets the generic verbs.

use api::field::Errors;
use api::value::{Map, Value};
use rules::evaluate::Compiled;
use structural::columns::Column;
use structural::default;
use structural::meta::Malformed;
use structural::resource::{self, Decoding, Scale, Version};
use structural::rules::Rules;
use structural::schema::Schema;

use super::owners::Owners;
use crate::strategy::{Generation, StatusMetadata, Strategy};

/// One version of a custom resource as its definition has it.
pub(crate) struct Custom {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) schema: Option<Schema>,
    pub(crate) owners: Owners,
    /// x-kubernetes-validations, compiled.
    pub(crate) rules: Option<Compiled>,
    pub(crate) scale: Option<ScalePaths>,
    pub(crate) preserve_unknown_fields: bool,
    pub(crate) columns: Vec<Column>,
    /// Paths without their leading dot.
    pub(crate) selectable: Vec<&'static str>,
    /// The definition is being deleted: no more objects are created.
    pub(crate) terminating: bool,
}

/// Where the scale subresource finds its numbers, as JSON paths with a leading dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) spec_replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) label_selector: Option<String>,
}

impl Custom {
    fn version(&self) -> Version<'_> {
        let scale = self.scale.as_ref().map(|scale| Scale {
            spec_replicas: &scale.spec_replicas,
            status_replicas: &scale.status_replicas,
            label_selector: scale.label_selector.as_deref(),
        });
        let (api_version, kind) = (self.api_version.as_str(), self.kind.as_str());
        Version {
            api_version,
            kind,
            schema: self.schema.as_ref(),
            scale,
            rules: self.rules.as_ref().map(|rules| rules as &dyn Rules),
        }
    }

    fn coerce(&self, object: &mut Map, malformed: Malformed, repair_generation: bool) -> Result<Vec<String>, String> {
        let preserve_unknown_fields = self.preserve_unknown_fields;
        resource::coerce(
            object,
            self.schema.as_ref(),
            Decoding { malformed, preserve_unknown_fields, repair_generation },
        )
    }
}

impl Strategy for Custom {
    fn repeats_errors(&self) -> bool {
        true
    }

    fn knows_finalizers(&self) -> bool {
        false
    }

    fn settle(&self, object: &mut Map) -> Result<Vec<String>, String> {
        let unknown = self.coerce(object, Malformed::Refuse, false)?;
        Ok(unknown.into_iter().map(|path| format!("unknown field {path:?}")).collect())
    }

    fn read(&self, object: &mut Map) {
        if let Err(error) = self.coerce(object, Malformed::Drop, true) {
            tracing::error!(kind = self.kind, error, "stored object does not fit its schema");
        }
        self.default(object);
    }

    fn default(&self, object: &mut Map) {
        if let Some(schema) = self.schema.as_ref().filter(|schema| schema.has_defaults) {
            let mut value = Value::Map(std::mem::take(object));
            default::apply(&mut value, schema);
            if let Value::Map(map) = value {
                *object = map;
            }
        }
    }

    /// apiextensions-apiserver/pkg/registry/customresource/status_strategy.go@v0.37.2
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::AllKept
    }

    fn validate(&self, object: &Map) -> Errors {
        resource::validate_create(&self.version(), object, Errors::new()).errors
    }

    fn validate_update(&self, object: &Map, old: &Map) -> Errors {
        resource::validate_update(&self.version(), object, old, Errors::new()).errors
    }

    fn validate_status_update(&self, object: &Map, old: &Map) -> Errors {
        resource::validate_status_update(&self.version(), object, old, Errors::new()).errors
    }

    /// Rules that fail where nothing changed only warn.
    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        match (old, &self.rules) {
            (Some(old), Some(_)) => resource::validate_update(&self.version(), object, old, Errors::new()).warnings,
            _ => Vec::new(),
        }
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn allow_unconditional_update(&self, _: &str) -> bool {
        false
    }

    fn field_names(&self) -> &[&'static str] {
        &self.selectable
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        let text = |path: &&'static str| Some((*path, shown(object.value_at(&path.split('.').collect::<Vec<_>>())?)));
        self.selectable.iter().filter_map(text).collect()
    }

    fn refuses_new(&self) -> Option<&'static str> {
        self.terminating.then_some("create not allowed while custom resource definition is terminating")
    }

    fn owners(&self) -> Option<&Owners> {
        Some(&self.owners)
    }

    fn columns(&self) -> Option<&[Column]> {
        Some(&self.columns)
    }

    fn scale(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }
}

/// A scalar as field selectors compare it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}
