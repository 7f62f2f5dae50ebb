//! Query parameters, from the option structs of the facts.

use api::facts::{self, Type};

use super::operation::Parameter;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

fn parameter(owner: &str, name: &str, ty: &'static str) -> Parameter {
    let own = facts::words(owner, name);
    Parameter::query(name, ty, if own.is_empty() { facts::words("", name) } else { own })
}

/// The parameters of the fields of an options struct that fit into a query.
pub(super) fn of_options(name: &str) -> Vec<Parameter> {
    let Some(ty) = facts::structure(name) else { return Vec::new() };
    let made = |field: &&facts::Field| Some(parameter(ty.short_name(), field.name, query_type(&field.ty)?));
    ty.json_fields().iter().filter_map(made).collect()
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

/// Of a writing method.
pub(super) fn write(method: &str) -> Vec<Parameter> {
    ["dryRun", "fieldManager", "fieldValidation"].into_iter().map(|name| parameter(method, name, "string")).collect()
}

pub(super) fn force() -> Parameter {
    parameter("", "force", "boolean")
}

pub(super) fn pretty() -> Parameter {
    parameter("", "pretty", "string")
}
