//! Policies and their bindings (pkg/apis/admissionregistration/validation/validation.go@v1.37.2).
//!
//! Invariant: an expression that the object had before is held to what stored ones may use, so that an object stays
//! writable after a change of version. Non-goal: who may read the parameters, which is `admission::policy::guard`.

use api::field::{self, Error, Errors, Path};
use api::names;
use api::object::Meta;
use api::value::{Map, Value};
use cel::types::Type;

use super::admission_registration::{BASE, conditions, default_match, one_rule};
use super::check;
use super::policy::pod_disruption_budget as budget;
use super::simple::Simple;
use crate::admission::expression::compile::{Age, Compiler, Failure, Uses};
use crate::admission::expression::mutation::{JSON_PATCH_TYPE, OBJECT_TYPE};
use crate::strategy::StatusMetadata;

pub(super) const VALIDATING_POLICY: Simple = Simple {
    status_metadata: StatusMetadata::Kept,
    default: default_policy,
    check: |object| validating_policy(object, None),
    check_change: |object, old| validating_policy(object, Some(old)),
    check_status: |object, _| status(object),
    warn: reserved_warning,
    ..BASE
};
pub(super) const MUTATING_POLICY: Simple = Simple {
    default: default_policy,
    check: |object| mutating_policy(object, None),
    check_change: |object, old| mutating_policy(object, Some(old)),
    warn: reserved_warning,
    ..BASE
};
pub(super) const VALIDATING_BINDING: Simple = Simple {
    default: default_binding,
    check: |object| binding(object, None, validation_actions),
    check_change: |object, old| binding(object, Some(old), validation_actions),
    warn: reserved_warning,
    ..BASE
};
pub(super) const MUTATING_BINDING: Simple = Simple {
    default: default_binding,
    check: |object| binding(object, None, mutating_operations_of_binding),
    check_change: |object, old| binding(object, Some(old), mutating_operations_of_binding),
    warn: reserved_warning,
    ..BASE
};

/// Names of policies that come from files (validation/static_suffix.go).
const STATIC_SUFFIX: &str = ".static.k8s.io";
/// Most audit annotations of a policy, and bytes of the expression of one.
const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_EXPRESSION_BYTES_MAX: usize = 5 * 1024;
const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MUTATING_OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
const NOTHING_SAID: &str = "validations or auditAnnotations must contain at least one item";

fn default_policy(object: &mut Map) {
    let spec = object.map_mut("spec");
    check::set_missing(spec, "failurePolicy", "Fail");
    if spec.map("matchConstraints").is_some() {
        default_match(spec.map_mut("matchConstraints"));
    }
}

fn default_binding(object: &mut Map) {
    let spec = object.map_mut("spec");
    if spec.map("matchResources").is_some() {
        default_match(spec.map_mut("matchResources"));
    }
}

fn spec(object: &Map) -> &Map {
    object.map("spec").unwrap_or(Map::EMPTY)
}

fn reserved() -> String {
    format!(
        "names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
    )
}

/// A new object may not be called so; one that is, is warned of.
fn reserved_name(object: &Map, old: Option<&Map>, errors: &mut Errors) {
    if old.is_none() && object.name().ends_with(STATIC_SUFFIX) {
        errors.push(field::invalid(&Path::new("metadata").child("name"), object.name(), reserved()));
    }
}

fn reserved_warning(object: &Map, old: Option<&Map>) -> Vec<String> {
    let warned = old.is_some() && object.name().ends_with(STATIC_SUFFIX);
    warned.then(|| format!("metadata.name: {}", reserved())).into_iter().collect()
}

/// What expressions of a policy are checked with.
struct Checks<'a> {
    compiler: Compiler,
    /// The spec that is replaced.
    old: Option<&'a Map>,
    params: bool,
}

impl Checks<'_> {
    /// Whether one of the entries of a list had this text before.
    fn knows(&self, list: &str, part: &[&str], text: &str) -> bool {
        let Some(old) = self.old else { return false };
        let (last, way) = part.split_last().expect("a place of a text");
        old.maps(list).any(|entry| entry.at(way).is_some_and(|entry| entry.str(last) == text))
    }

    fn uses(&self) -> Uses {
        Uses { params: self.params, authorizer: true, patches: false }
    }
}

/// What a text that does not compile is told.
fn refused(path: &Path, text: &str, failure: &Failure) -> Error {
    match failure {
        Failure::Invalid(detail) => field::invalid(path, text, detail),
        Failure::Internal(detail) => field::internal(path, detail),
    }
}

pub(super) fn compiled(
    compiler: &Compiler,
    text: &str,
    wanted: &[Type],
    uses: Uses,
    known: bool,
    path: &Path,
) -> Option<Error> {
    let program = compiler.compile(text, wanted, uses, Age::of(known)).program;
    program.err().map(|failure| refused(path, text, &failure))
}

/// What both kinds of policies have: all but variables and what follows them.
fn common<'a>(object: &'a Map, old: Option<&'a Map>, composed: bool, errors: &mut Errors) -> Checks<'a> {
    let (own, path) = (spec(object), Path::new("spec"));
    super::common::one_of(own, "failurePolicy", FAILURE_POLICIES, &path, errors);
    let kind = own.map("paramKind");
    if let Some(kind) = kind {
        param_kind(kind, &path.child("paramKind"), errors);
    }
    match own.map("matchConstraints") {
        None => errors.push(field::required(&path.child("matchConstraints"), "")),
        Some(resources) => {
            let path = path.child("matchConstraints");
            match_resources(resources, &path, errors);
            if resources.list("resourceRules").is_empty() {
                errors.push(field::required(&path.child("resourceRules"), ""));
            }
        }
    }
    let compiler = if composed { Compiler::composed() } else { Compiler::plain() };
    Checks { compiler, old: old.map(spec), params: kind.is_some() }
}

fn match_conditions(object: &Map, checks: &Checks<'_>, errors: &mut Errors) {
    let own = spec(object);
    let same = |name: &str| checks.old.is_some_and(|old| old.get(name) == own.get(name));
    if same("paramKind") && same("matchConditions") {
        return;
    }
    let plain = Compiler::plain();
    conditions(own, &Path::new("spec").child("matchConditions"), errors, |text, path| {
        let known = checks.knows("matchConditions", &["expression"], text);
        compiled(&plain, text, &[Type::Bool], checks.uses(), known, path)
    });
}

fn variables(object: &Map, checks: &mut Checks<'_>, errors: &mut Errors) {
    let path = Path::new("spec").child("variables");
    for (at, variable) in spec(object).maps("variables").enumerate() {
        let path = path.index(at);
        let (name, expression) = (variable.str("name"), variable.str("expression"));
        if name.trim().is_empty() {
            errors.push(field::required(&path.child("name"), "name is not specified"));
        } else if !is_identifier(name) {
            errors.push(field::invalid(&path.child("name"), name, "must be a valid CEL identifier"));
        }
        if expression.trim().is_empty() {
            errors.push(field::required(&path.child("expression"), "expression is not specified"));
            continue;
        }
        let age = Age::of(checks.knows("validations", &["expression"], expression));
        let uses = checks.uses();
        if let Err(failure) = checks.compiler.variable(name, expression, uses, age) {
            errors.push(refused(&path.child("expression"), expression, &failure));
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic());
    begins && chars.all(|c| c == '_' || c.is_ascii_alphanumeric()) && !cel::escape::is_keyword(name)
}

fn validating_policy(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (own, path) = (spec(object), Path::new("spec"));
    let composed = !own.list("variables").is_empty();
    let mut checks = common(object, old, composed, &mut errors);
    match_conditions(object, &checks, &mut errors);
    variables(object, &mut checks, &mut errors);
    if own.list("validations").is_empty() && own.list("auditAnnotations").is_empty() {
        errors.push(field::required(&path.child("validations"), NOTHING_SAID));
        errors.push(field::required(&path.child("auditAnnotations"), NOTHING_SAID));
    }
    for (at, validation) in own.maps("validations").enumerate() {
        one_validation(validation, &checks, &path.child("validations").index(at), &mut errors);
    }
    annotations(object, &checks, &path.child("auditAnnotations"), &mut errors);
    reserved_name(object, old, &mut errors);
    errors
}

fn one_validation(validation: &Map, checks: &Checks<'_>, path: &Path, errors: &mut Errors) {
    let (text, place) = (validation.str("expression"), path.child("expression"));
    if text.trim().is_empty() {
        errors.push(field::required(&place, "expression is not specified"));
    } else {
        let known = checks.knows("validations", &["expression"], text);
        errors.extend(compiled(&checks.compiler, text, &[Type::Bool], checks.uses(), known, &place));
    }
    let (text, place) = (validation.str("messageExpression"), path.child("messageExpression"));
    if !text.is_empty() && text.trim().is_empty() {
        errors.push(field::invalid(&place, text, "must be non-empty if specified"));
    } else if !text.is_empty() {
        let known = checks.knows("validations", &["messageExpression"], text);
        let uses = Uses { authorizer: false, ..checks.uses() };
        errors.extend(compiled(&checks.compiler, text, &[Type::String], uses, known, &place));
    }
    let (text, place) = (validation.str("message"), path.child("message"));
    if !text.is_empty() && text.trim().is_empty() {
        errors.push(field::invalid(&place, text, "must be non-empty if specified"));
    } else if text.trim().contains(['\n', '\r']) {
        errors.push(field::invalid(&place, text, "must not contain line breaks"));
    }
    if let Some(reason) = validation.get("reason").and_then(Value::as_str).filter(|reason| !REASONS.contains(reason)) {
        errors.push(field::not_supported(&path.child("reason"), reason, REASONS));
    }
}

fn annotations(object: &Map, checks: &Checks<'_>, path: &Path, errors: &mut Errors) {
    let list = spec(object).list("auditAnnotations");
    if list.len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.push(field::invalid(path, Value::List(list.iter().map(internal_annotation).collect()), why));
    }
    let mut seen: Vec<&str> = Vec::new();
    for (at, annotation) in spec(object).maps("auditAnnotations").enumerate() {
        let (path, key) = (path.index(at), annotation.str("key"));
        one_annotation(object.name(), annotation, checks, &path, errors);
        if seen.contains(&key) {
            errors.push(field::duplicate(&path.child("key"), key));
        }
        seen.push(key);
    }
}

/// As upstream shows it: its internal type has no names for JSON.
fn internal_annotation(annotation: &Value) -> Value {
    let annotation = annotation.as_map().unwrap_or(Map::EMPTY);
    let mut shown = Map::new();
    shown.set("Key", annotation.str("key"));
    shown.set("ValueExpression", annotation.str("valueExpression"));
    shown.into()
}

fn one_annotation(name: &str, annotation: &Map, checks: &Checks<'_>, path: &Path, errors: &mut Errors) {
    let (key, place) = (annotation.str("key"), path.child("key"));
    if name.is_empty() {
        errors.push(field::invalid(&place, key, "requires metadata.name be non-empty"));
    } else {
        let whole = format!("{name}/{key}");
        errors.extend(check::said(&place, &whole, &names::is_qualified_name(&whole)));
    }
    let (text, place) = (annotation.str("valueExpression"), path.child("valueExpression"));
    let trimmed = text.trim();
    if trimmed.is_empty() {
        errors.push(field::required(&place, "valueExpression is not specified"));
    } else if trimmed.len() > ANNOTATION_EXPRESSION_BYTES_MAX {
        let why = format!("must not exceed {ANNOTATION_EXPRESSION_BYTES_MAX} bytes in length");
        errors.push(field::required(&place, why));
    } else {
        let age = Age::of(checks.knows("auditAnnotations", &["valueExpression"], text));
        let program = checks.compiler.compile(trimmed, &[Type::String, Type::Null], checks.uses(), age).program;
        errors.extend(program.err().map(|failure| refused(&place, text, &failure)));
    }
}

fn mutating_policy(object: &Map, old: Option<&Map>) -> Errors {
    let mut errors = Errors::new();
    let (own, path) = (spec(object), Path::new("spec"));
    let mut checks = common(object, old, true, &mut errors);
    let constraints = own.map("matchConstraints").unwrap_or(Map::EMPTY);
    mutating_operations(constraints, &path.child("matchConstraints"), &mut errors);
    match_conditions(object, &checks, &mut errors);
    variables(object, &mut checks, &mut errors);
    if own.list("mutations").is_empty() {
        errors.push(field::required(&path.child("mutations"), "mutations must contain at least one item"));
    }
    for (at, mutation) in own.maps("mutations").enumerate() {
        one_mutation(mutation, &checks, &path.child("mutations").index(at), &mut errors);
    }
    let policies = ["IfNeeded", "Never"];
    check::one_of(own.str("reinvocationPolicy"), &policies, &path.child("reinvocationPolicy"), &mut errors);
    reserved_name(object, old, &mut errors);
    errors
}

fn one_mutation(mutation: &Map, checks: &Checks<'_>, path: &Path, errors: &mut Errors) {
    let mut forms = [
        ("ApplyConfiguration", "applyConfiguration", Type::object(OBJECT_TYPE)),
        ("JSONPatch", "jsonPatch", Type::list(Type::object(JSON_PATCH_TYPE))),
    ];
    let patch_type = mutation.str("patchType");
    if forms.iter().all(|(name, ..)| *name != patch_type) {
        let known: Vec<&str> = forms.iter().map(|(name, ..)| *name).collect();
        return check::one_of(patch_type, &known, &path.child("patchType"), errors);
    }
    // What has to be there is told before what must not.
    forms.sort_by_key(|(name, ..)| *name != patch_type);
    for (name, part, of) in forms {
        let place = path.child(part);
        match (mutation.map(part), name == patch_type) {
            (Some(given), true) => patch_expression(given, of, checks, &place, errors),
            (None, true) => {
                errors.push(field::required(&place, format!("must be specified when patchType is {name}")));
            }
            (Some(_), false) => {
                let why = format!("must not be specified when patchType is {patch_type}");
                errors.push(field::invalid(&place, format!("{{{part}}}").as_str(), why));
            }
            (None, false) => {}
        }
    }
}

fn patch_expression(part: &Map, of: Type, checks: &Checks<'_>, path: &Path, errors: &mut Errors) {
    let (text, place) = (part.str("expression"), path.child("expression"));
    if text.trim().is_empty() {
        return errors.push(field::required(&place, ""));
    }
    // Upstream looks for either kind among the apply configurations.
    let known = checks.knows("mutations", &["applyConfiguration", "expression"], text);
    let uses = Uses { patches: true, ..checks.uses() };
    errors.extend(compiled(&checks.compiler, text.trim(), &[of], uses, known, &place));
}

/// A deletion cannot be changed.
fn mutating_operations(resources: &Map, path: &Path, errors: &mut Errors) {
    let place = path.child("resourceRules").child("operations");
    for operation in resources.maps("resourceRules").flat_map(|rule| rule.list("operations")) {
        let operation = operation.as_str().unwrap_or_default();
        if !MUTATING_OPERATIONS.contains(&operation) {
            errors.push(field::not_supported(&place, operation, MUTATING_OPERATIONS));
        }
    }
}

fn mutating_operations_of_binding(own: &Map, path: &Path, errors: &mut Errors) {
    let resources = own.map("matchResources").unwrap_or(Map::EMPTY);
    mutating_operations(resources, &path.child("matchResources"), errors);
}

fn param_kind(kind: &Map, path: &Path, errors: &mut Errors) {
    let (version, place) = (kind.str("apiVersion"), path.child("apiVersion"));
    match version.matches('/').count() {
        _ if version.is_empty() => errors.push(field::required(&place, "")),
        0 | 1 => {
            let (group, own) = api::facts::split_api_version(if version == "/" { "" } else { version });
            let joined = |messages: Vec<String>| (!messages.is_empty()).then(|| messages.join(","));
            if let Some(why) = joined(names::is_dns1123_subdomain(group)).filter(|_| !group.is_empty()) {
                errors.push(field::invalid(&place, group, why));
            }
            if own.is_empty() {
                errors.push(field::invalid(&place, version, "version must be specified"));
            } else if let Some(why) = joined(names::is_dns1035_label(own)) {
                errors.push(field::invalid(&place, own, why));
            }
        }
        _ => errors.push(field::invalid(&place, version, format!("unexpected GroupVersion string: {version}"))),
    }
    let (name, place) = (kind.str("kind"), path.child("kind"));
    if name.is_empty() {
        return errors.push(field::required(&place, ""));
    }
    let wrong = names::is_dns1035_label(&name.to_lowercase());
    if !wrong.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.push(field::invalid(&place, name, why));
    }
}

fn match_resources(resources: &Map, path: &Path, errors: &mut Errors) {
    super::common::one_of(resources, "matchPolicy", MATCH_POLICIES, path, errors);
    for name in ["namespaceSelector", "objectSelector"] {
        match resources.map(name) {
            None => errors.push(field::required(&path.child(name), "")),
            selector => errors.extend(check::label_selector(selector, &path.child(name))),
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (at, rule) in resources.maps(list).enumerate() {
            named_rule(rule, &path.child(list).index(at), errors);
        }
    }
}

fn named_rule(rule: &Map, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, name) in rule.list("resourceNames").iter().filter_map(Value::as_str).enumerate() {
        let place = path.child("resourceNames").index(at);
        errors.extend(check::said(&place, name, &names::is_path_segment_name(name)));
        if seen.contains(&name) {
            errors.push(field::duplicate(&place, name));
        } else {
            seen.push(name);
        }
    }
    one_rule(rule, path, errors);
}

fn binding(object: &Map, old: Option<&Map>, rest: fn(&Map, &Path, &mut Errors)) -> Errors {
    let mut errors = Errors::new();
    let (own, path) = (spec(object), Path::new("spec"));
    let (policy, place) = (own.str("policyName"), path.child("policyName"));
    if policy.is_empty() {
        errors.push(field::required(&place, ""));
    } else {
        errors.extend(check::said(&place, policy, &names::name_is_dns_subdomain(policy, false)));
    }
    if let Some(reference) = own.map("paramRef") {
        param_ref(reference, &path.child("paramRef"), &mut errors);
    }
    if let Some(resources) = own.map("matchResources") {
        match_resources(resources, &path.child("matchResources"), &mut errors);
    }
    rest(own, &path, &mut errors);
    reserved_name(object, old, &mut errors);
    errors
}

fn param_ref(reference: &Map, path: &Path, errors: &mut Errors) {
    let exclusive = "name and selector are mutually exclusive";
    let (name, selector) = (reference.str("name"), reference.map("selector"));
    if !name.is_empty() {
        errors.extend(check::said(&path.child("name"), name, &names::is_path_segment_name(name)));
        if selector.is_some() {
            errors.push(field::forbidden(&path.child("name"), exclusive));
        }
    }
    if selector.is_some() {
        errors.extend(check::label_selector(selector, &path.child("selector")));
        if !name.is_empty() {
            errors.push(field::forbidden(&path.child("selector"), exclusive));
        }
    }
    if name.is_empty() && selector.is_none() {
        errors.push(field::required(path, "one of name or selector must be specified"));
    }
    let place = path.child("parameterNotFoundAction");
    check::one_of(reference.str("parameterNotFoundAction"), &["Deny", "Allow"], &place, errors);
}

fn validation_actions(own: &Map, path: &Path, errors: &mut Errors) {
    let (list, path) = (own.list("validationActions"), path.child("validationActions"));
    let mut seen: Vec<&str> = Vec::new();
    for (at, action) in list.iter().filter_map(Value::as_str).enumerate() {
        let known = ["Audit", "Deny", "Warn"];
        if !known.contains(&action) {
            errors.push(field::not_supported(&path.index(at), action, &known));
        }
        if seen.contains(&action) {
            errors.push(field::duplicate(&path.index(at), action));
        }
        seen.push(action);
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(field::invalid(&path, Value::List(list.to_vec()), why));
    }
    if seen.is_empty() {
        errors.push(field::required(&path, ""));
    }
}

/// ValidateValidatingAdmissionPolicyStatusUpdate: the warnings of type checking name a place, and conditions are whole.
fn status(object: &Map) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status").child("typeChecking").child("expressionWarnings");
    let warnings = object.at(&["status", "typeChecking"]).unwrap_or(Map::EMPTY);
    for (at, warning) in warnings.maps("expressionWarnings").enumerate() {
        let path = path.index(at);
        if warning.str("warning").is_empty() {
            errors.push(field::required(&path.child("warning"), ""));
        }
        let (text, place) = (warning.str("fieldRef").trim(), path.child("fieldRef"));
        if text.is_empty() {
            errors.push(field::required(&place, ""));
        } else if let Err(why) = structural::jsonpath::Path::parse(text) {
            errors.push(field::invalid(&place, text, format!("invalid JSONPath: {why}")));
        }
    }
    let status = object.map("status").unwrap_or(Map::EMPTY);
    budget::conditions(status, &Path::new("status").child("conditions"), &mut errors);
    errors
}
