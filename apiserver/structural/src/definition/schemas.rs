//! The validation schema of a spec or of one of its versions: structural, with good defaults, as OpenAPI and its rules
//! (validateCustomResourceDefinitionValidation in
//! k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go@v0.37.2).

use api::field::{self, Errors, Path};
use api::value::Map;

use super::openapi::{self, Checks, Known};
use super::{Compiler, defaults, shown, structure};
use crate::props::Props;
use crate::schema::Schema;

/// Fields (by their Go names) that a root schema may have beside a status subresource.
const ROOT_FIELDS: [&str; 22] = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// How a schema is judged.
#[derive(Clone, Copy)]
pub(super) struct Demands {
    pub(super) structural: bool,
    pub(super) pruned_defaults: bool,
    pub(super) openapi: openapi::Demands,
}

/// Everything wrong with a `validation` or a version's `schema`; `status`: there is a status subresource.
pub(super) fn errors(
    path: &Path,
    validation: Option<&Map>,
    status: bool,
    demands: Demands,
    known: &Known<'_>,
    compiler: &dyn Compiler,
) -> Errors {
    let Some(schema) = validation.and_then(|map| map.map("openAPIV3Schema")).map(Props) else { return Errors::new() };
    let path = path.child("openAPIV3Schema");
    let mut errors = Errors::new();
    if status {
        errors.extend(root_error(&path, schema));
    }
    if schema.flag("nullable") {
        let why = "nullable cannot be true at the root";
        errors.push(field::forbidden(&path.child("nullable"), why));
    }
    let mut compiled = None;
    let mut not_parsed = None;
    if demands.structural {
        match Schema::parse(schema.0) {
            // The other checks may say it better.
            Err(error) => not_parsed = Some(field::invalid(&path, "", error.to_string())),
            Ok(parsed) => {
                let wrong = structural_errors(&path, schema, &parsed, demands, compiler);
                compiled = wrong.is_empty().then_some(parsed);
                errors.extend(wrong);
            }
        }
    }
    let mut checks = Checks::new(demands.openapi, known, compiler);
    errors.extend(checks.check(&path, schema, compiled.as_ref()));
    if errors.is_empty() {
        errors.extend(not_parsed);
    }
    errors.extend(checks.total.errors(&path));
    errors
}

fn structural_errors(
    path: &Path,
    schema: Props<'_>,
    parsed: &Schema,
    demands: Demands,
    compiler: &dyn Compiler,
) -> Errors {
    let errors = structure::validate(path, schema);
    if !errors.is_empty() || !parsed.has_defaults {
        return errors;
    }
    let rules = parsed.has_rules.then(|| compiler.evaluator(parsed));
    defaults::validate(path, parsed, demands.pruned_defaults, rules.as_deref())
}

/// The schema of the status is cut out of the root's, which may say nothing that would be lost.
fn root_error(path: &Path, schema: Props<'_>) -> Option<field::Error> {
    for name in shown::set_fields(schema) {
        if name == "Type" && schema.ty() != "object" {
            let why = r#"only "object" is allowed as the type at the root of the schema if the status subresource is enabled"#;
            return Some(field::invalid(&path.child("type"), schema.ty(), why));
        }
        if name != "Type" && !ROOT_FIELDS.contains(&name) {
            let why = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                ROOT_FIELDS.join(" ")
            );
            return Some(field::invalid(path, shown::schema(schema), why));
        }
    }
    None
}
