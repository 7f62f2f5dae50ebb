//! A MutatingAdmissionPolicy, compiled, and what becomes of an object by it
//! (k8s.io/apiserver/pkg/admission/plugin/policy/mutating/{compilation.go,patch}@v0.37.2).
//!
//! Invariant: mutations are made one after the other, each on what the one before left.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::json::{self, Strictness};
use api::object::set_kind;
use api::status::Status;
use api::value::{Map, Value as ApiValue};
use apply::schema::Ref;
use apply::typed::Typed;
use apply::typed::validate::Duplicates;
use cel::types::Type;
use cel::value::Value;

use super::request::type_of;
use super::source::Evaluator;
use crate::admission::expression::compile::{Age, Compiled, Compiler, Uses};
use crate::admission::expression::conditions::MatchConditions;
use crate::admission::expression::evaluate::{Inputs, POLICY_COST_MAX, Session};
use crate::admission::expression::mutation::{JSON_PATCH_TYPE, JsonPatch, Made, OBJECT_TYPE};
use crate::patch::json::{Operation, Patched};
use crate::registry::Entry;

#[derive(Debug)]
pub(crate) struct Mutator {
    pub(super) conditions: Option<MatchConditions>,
    pub(super) mutations: Vec<Mutation>,
    pub(super) variables: Arc<BTreeMap<String, Compiled>>,
    /// `reinvocationPolicy: IfNeeded`.
    pub(super) reinvoked: bool,
}

#[derive(Debug)]
pub(super) enum Mutation {
    JsonPatch(Compiled),
    Apply(Compiled),
}

/// Why an object was not changed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The policy's fault, to be taken as its failure policy says.
    Policy(String),
    /// The request ends with this.
    Ends(Box<Status>),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Policy(why)
    }
}

impl Evaluator for Mutator {
    fn compile(spec: &Map) -> Mutator {
        let uses = Uses { params: spec.map("paramKind").is_some(), authorizer: true, patches: false };
        let mut compiler = Compiler::composed();
        for variable in spec.maps("variables") {
            // One that does not compile fails when it is used.
            let _ = compiler.variable(variable.str("name"), variable.str("expression"), uses, Age::Stored);
        }
        let ignores_failures = spec.str("failurePolicy") == "Ignore";
        let conditional = spec.maps("matchConditions").next().is_some();
        let conditions =
            conditional.then(|| MatchConditions::of(&compiler, spec.maps("matchConditions"), uses, ignores_failures));
        let uses = Uses { patches: true, ..uses };
        let compile = |part: &Map, of: Type| compiler.compile(part.str("expression"), &[of], uses, Age::Stored);
        let mutation = |mutation: &Map| match mutation.str("patchType") {
            "JSONPatch" => {
                let of = Type::list(Type::object(JSON_PATCH_TYPE));
                mutation.map("jsonPatch").map(|part| Mutation::JsonPatch(compile(part, of)))
            }
            "ApplyConfiguration" => {
                let of = Type::object(OBJECT_TYPE);
                mutation.map("applyConfiguration").map(|part| Mutation::Apply(compile(part, of)))
            }
            _ => None,
        };
        let mutations = spec.maps("mutations").filter_map(mutation).collect();
        let reinvoked = spec.str("reinvocationPolicy") == "IfNeeded";
        Mutator { conditions, mutations, variables: compiler.variables(), reinvoked }
    }
}

impl Mutation {
    /// The object with the mutation made, canonical and with its defaults.
    pub(super) fn apply(
        &self,
        object: &Map,
        entry: &Entry,
        subresource: &str,
        inputs: Inputs,
        variables: &Arc<BTreeMap<String, Compiled>>,
    ) -> Result<Map, Failure> {
        let (Mutation::JsonPatch(compiled) | Mutation::Apply(compiled)) = self;
        if let Err(failure) = &compiled.program {
            return Err(failure.detail().to_owned().into());
        }
        let mut budget = POLICY_COST_MAX;
        let evaluated = Session::new(inputs, variables.clone()).evaluate(compiled, &mut budget);
        let value = evaluated.map_err(|error| error.to_string())??;
        let target = Target { entry, subresource };
        let mut changed = match self {
            Mutation::JsonPatch(_) => target.patched(object, &value)?,
            Mutation::Apply(_) => target.applied(object, &value)?,
        };
        target.default(&mut changed);
        Ok(changed)
    }
}

/// The kind that is changed.
struct Target<'a> {
    entry: &'a Entry,
    subresource: &'a str,
}

impl Target<'_> {
    fn is_own_kind(&self) -> bool {
        self.entry.subresource(self.subresource).is_none_or(|sub| sub.kind == self.entry.facts.kind)
    }

    fn default(&self, object: &mut Map) {
        api::defaults::apply(object, type_of(self.entry, self.subresource));
        if self.is_own_kind() {
            self.entry.strategy.default(object);
        }
    }

    fn patched(&self, object: &Map, value: &Value) -> Result<Map, Failure> {
        let Value::List(list) = value else {
            return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned().into());
        };
        let mut operations = Vec::with_capacity(list.len());
        for element in list.iter() {
            let element = element.map_err(|fault| fault.to_string())?;
            let patch = element.downcast::<JsonPatch>().ok_or_else(|| {
                let of = element.cel_type();
                format!(
                    "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {of}"
                )
            })?;
            operations.push(Operation::from(&patch.operation()?));
        }
        let text = String::from_utf8_lossy(&json::encode(object)).into_owned();
        let internal = |why: &str| Failure::from(Status::internal(why));
        let mut patched = Patched::new(&text).ok_or_else(|| internal("the object is none"))?;
        for operation in &operations {
            match patched.make(operation) {
                Ok(()) => {}
                // The patch is not for objects as this one.
                Err(_) if operation.is_test() => return Ok(object.clone()),
                Err(why) => return Err(format!("JSON Patch: {why}").into()),
            }
        }
        self.decoded(&patched.into_text(), Strictness::Strict, |why| internal(&why))
    }

    fn decoded(&self, text: &[u8], strictness: Strictness, failed: impl Fn(String) -> Failure) -> Result<Map, Failure> {
        let decoded = json::decode(text, type_of(self.entry, self.subresource), strictness);
        let decoded = decoded.map_err(|error| failed(error.to_string()))?;
        if !decoded.strict.is_empty() {
            return Err(failed(format!("strict decoding error: {}", decoded.strict.join(", "))));
        }
        Ok(decoded.value)
    }

    fn ty(&self) -> Ref<'_> {
        match self.entry.strategy.owners() {
            Some(owners) if self.is_own_kind() => Ref::Custom(owners, 0),
            _ => Ref::Struct(type_of(self.entry, self.subresource)),
        }
    }

    fn applied(&self, object: &Map, value: &Value) -> Result<Map, Failure> {
        let made = value.downcast::<Made>().ok_or_else(|| {
            format!("unsupported return type from ApplyConfiguration expression: {}", value.cel_type())
        })?;
        made.check_names().map_err(|why| format!("type mismatch: {why}"))?;
        let mut config = made.to_map().map_err(|_| "invalid return type: *dynamic.ObjectVal".to_owned())?;
        set_kind(&mut config, object.str("apiVersion"), object.str("kind"));
        let merged = self.merged(object, &config).map_err(|why| format!("error applying patch: {why}"))?;
        self.decoded(&json::encode(&merged), Strictness::Lenient, Failure::Policy)
    }

    /// ApplyStructuredMergeDiff.
    fn merged(&self, object: &Map, config: &Map) -> Result<Map, String> {
        let ty = self.ty();
        let (live, patch) = (Typed { value: object, ty }, Typed { value: config, ty });
        let failed = |what: &'static str| move |problems| format!("failed to {what}: {problems}");
        patch.validate(Duplicates::Refuse).map_err(failed("convert patch object to typed object"))?;
        let mut atomics = Vec::new();
        atomics_of(config, ty, "", &mut atomics);
        if !atomics.is_empty() {
            let list = atomics.join(", ");
            return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {list}"));
        }
        live.validate(Duplicates::Allow).map_err(failed("convert original object to typed object"))?;
        live.merge(patch).map_err(failed("merge patch"))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Ends(Box::new(status))
    }
}

/// The places of atomic lists and maps: what is not said of them would be removed.
fn atomics_of(map: &Map, ty: Ref<'_>, path: &str, found: &mut Vec<String>) {
    let Some(mapping) = ty.atom().and_then(|atom| atom.map) else { return };
    if mapping.atomic {
        found.push(path.to_owned());
    }
    for (name, value) in map.iter() {
        if let Some(field) = ty.field(name) {
            atomics_in(value, field, &format!("{path}.{name}"), found);
        }
    }
}

fn atomics_in(value: &ApiValue, ty: Ref<'_>, path: &str, found: &mut Vec<String>) {
    match value {
        ApiValue::Map(map) => atomics_of(map, ty, path, found),
        ApiValue::List(list) => {
            let Some(of) = ty.atom().and_then(|atom| atom.list) else { return };
            if matches!(of.relation, apply::schema::Relation::Atomic) {
                found.push(path.to_owned());
            }
            for (at, element) in list.iter().enumerate() {
                atomics_in(element, of.element, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}
