//! Event (pkg/registry/core/event/strategy.go, pkg/apis/core/validation/events.go@v1.37.2), and its two forms:
//! core/v1, which is stored, and events.k8s.io/v1.

use api::field::{self, Errors, Path};
use api::object::Meta;
use api::value::{Map, Value};

use super::super::simple::field_text;
use crate::strategy::Strategy;

pub(crate) struct Event;

/// Selectable fields that are plain paths of the stored form.
const FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "reportingController",
];

/// events.k8s.io/v1: the same objects, selected by the names of that form as well.
pub(crate) struct NewEvent;

impl Strategy for NewEvent {
    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn field_names(&self) -> &'static [&'static str] {
        FIELDS
    }
}

impl Strategy for Event {
    fn validate(&self, object: &Map) -> Errors {
        let about = object.map("involvedObject").map_or("", |about| about.str("namespace"));
        let namespace = object.namespace();
        let fits = about == namespace || (about.is_empty() && matches!(namespace, "default" | "kube-system" | ""));
        if fits {
            return Errors::new();
        }
        vec![field::invalid(&Path::new("involvedObject").child("namespace"), about, "does not match event.namespace")]
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn field_names(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn fields(&self, object: &Map) -> Vec<(&'static str, String)> {
        let value = |name: &'static str| match name {
            "source" => {
                let source = object.map("source").map_or("", |source| source.str("component"));
                if source.is_empty() { field_text(object, "reportingComponent") } else { source.to_string() }
            }
            "reportingController" => field_text(object, "reportingComponent"),
            name => match name.strip_prefix("regarding.") {
                Some(rest) => field_text(object, &format!("involvedObject.{rest}")),
                None => field_text(object, name),
            },
        };
        FIELDS.iter().map(|name| (*name, value(name))).collect()
    }
}

/// Fields of the two forms that are the same under other names: core/v1, events.k8s.io/v1.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &Map, name: impl Fn(&str) -> Option<&'static str>) -> Map {
    object.iter().map(|(key, value)| (name(key).map_or_else(|| key.clone(), Into::into), value.clone())).collect()
}

/// events.k8s.io/v1 to core/v1.
pub(crate) fn to_core(object: &Map) -> Map {
    rename(object, |key| RENAMED.iter().find(|row| row.1 == key).map(|row| row.0))
}

/// core/v1 to events.k8s.io/v1.
pub(crate) fn from_core(object: &Map) -> Map {
    let mut object = rename(object, |key| RENAMED.iter().find(|row| row.0 == key).map(|row| row.1));
    if !object.contains("eventTime") {
        object.set("eventTime", Value::Null);
    }
    object
}
