//! Query parameters, from the option structs of the facts.

use api::facts::{self, Type};

use super::operation::Parameter;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// What the parameters mean, in short.
const MEANINGS: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    ("continue", "The continue token of the previous part of the list."),
    ("dryRun", "When present, nothing is persisted. The one valid value is All: all stages are processed."),
    (
        "fieldManager",
        "fieldManager is the name of the actor that makes these changes, at most 128 printable characters.",
    ),
    ("fieldSelector", "A selector to restrict the list of returned objects by their fields. Defaults to everything."),
    ("fieldValidation", "What to do about unknown and duplicate fields: Ignore, Warn (the default) or Strict."),
    ("force", "Force takes over fields that other managers own. Only for apply patch requests."),
    (
        "gracePeriodSeconds",
        "The duration in seconds before the object should be deleted. Zero means delete immediately.",
    ),
    ("labelSelector", "A selector to restrict the list of returned objects by their labels. Defaults to everything."),
    ("limit", "limit is a maximum number of responses to return for a list call."),
    ("orphanDependents", "Deprecated: please use the PropagationPolicy."),
    (
        "pretty",
        "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).",
    ),
    ("propagationPolicy", "Whether and how garbage collection will be performed: Orphan, Background or Foreground."),
    ("resourceVersion", "resourceVersion sets a constraint on what resource versions a request may be served from."),
    ("resourceVersionMatch", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    ("sendInitialEvents", "With watch, begins the stream with events for the objects there are, then a bookmark."),
    ("timeoutSeconds", "Timeout for the list/watch call."),
    (
        "watch",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications.",
    ),
];

fn parameter(name: &str, ty: &'static str) -> Parameter {
    let meaning = MEANINGS.iter().find(|meaning| meaning.0 == name).map_or("", |meaning| meaning.1);
    Parameter::query(name, ty, meaning)
}

/// The parameters of the fields of an options struct that fit into a query.
pub(super) fn of_options(name: &str) -> Vec<Parameter> {
    let fields = facts::structure(name).map(|ty| ty.json_fields()).unwrap_or_default();
    fields.iter().filter_map(|field| Some(parameter(field.name, query_type(&field.ty)?))).collect()
}

fn query_type(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Bool => Some("boolean"),
        Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 => Some("integer"),
        Type::String => Some("string"),
        // Repeated parameters are declared as one.
        Type::List(inner) => query_type(inner),
        _ => None,
    }
}

pub(super) fn list() -> Vec<Parameter> {
    of_options(&format!("{META}.ListOptions"))
}

pub(super) fn delete() -> Vec<Parameter> {
    of_options(&format!("{META}.DeleteOptions"))
}

pub(super) fn write() -> Vec<Parameter> {
    ["dryRun", "fieldManager", "fieldValidation"].into_iter().map(|name| parameter(name, "string")).collect()
}

pub(super) fn force() -> Parameter {
    parameter("force", "boolean")
}

pub(super) fn pretty() -> Parameter {
    parameter("pretty", "string")
}
