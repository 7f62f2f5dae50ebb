//! Reads attributes: variables and the steps into their values.
//!
//! Invariant: what is missing, and the error then, is as in cel-go's `interpreter/attributes.go`.

use std::sync::Arc;

use super::{Machine, Scope};
use crate::plan::{Attribute, Base, Qualifier, Step};
use crate::value::{Fault, Outcome, Value, double_to_int};

/// What a step found; None for what is not there, where that is no error.
type Found = Result<Option<Value>, Fault>;

impl Machine<'_> {
    pub(super) fn resolve(&self, attribute: &Attribute, scope: Scope<'_>) -> Outcome {
        match &attribute.base {
            Base::Variable { name, global, .. } => {
                let scope = if *global { scope.root() } else { scope };
                let missing = || Err(Fault::new(format!("no such attribute(s): {name}")));
                let value = scope.get(self, name).unwrap_or_else(missing)?;
                self.steps(value, &attribute.qualifiers, scope)
            }
            Base::Computed { node, .. } => {
                let value = self.eval(node, scope)?;
                self.steps(value, &attribute.qualifiers, scope)
            }
            Base::Conditional { condition, branches, .. } => match self.eval(condition, scope)? {
                Value::Bool(true) => self.resolve(&branches[0], scope),
                Value::Bool(false) => self.resolve(&branches[1], scope),
                _ => Err(Fault::no_overload()),
            },
        }
    }

    fn steps(&self, value: Value, qualifiers: &[Arc<Qualifier>], scope: Scope<'_>) -> Outcome {
        let (mut value, mut optional) = match value {
            Value::Optional(None) => return Ok(value),
            Value::Optional(Some(inner)) => (inner.as_ref().clone(), true),
            value => (value, false),
        };
        for qualifier in qualifiers {
            optional |= qualifier.optional;
            let found = self.step(&value, qualifier, optional, scope);
            if super::is_aborted(&found) {
                return found.map(|_| Value::Null);
            }
            // Steps that need not lead anywhere are seen only when they do.
            if !optional || matches!(found, Ok(Some(_))) {
                let seen = found.clone().map(|found| found.unwrap_or(Value::Null));
                self.tracker.borrow_mut().qualifier(qualifier, &seen)?;
            }
            match found? {
                Some(next) => value = next,
                None => return Ok(Value::Optional(None)),
            }
        }
        Ok(if optional { Value::optional(Some(value)) } else { value })
    }

    fn step(&self, value: &Value, qualifier: &Qualifier, optional: bool, scope: Scope<'_>) -> Found {
        let key = match &qualifier.step {
            Step::Const(key) => return qualify(value, key, optional),
            Step::Test(key) if optional => return qualify(value, key, true),
            Step::Test(key) => {
                let present = qualify(value, key, true)?.is_some();
                return Ok(Some(Value::Bool(present)));
            }
            Step::Attribute(attribute) | Step::Computed(attribute) => self.resolve(attribute, scope)?,
        };
        match key {
            Value::String(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_) | Value::Double(_) => {
                qualify(value, &key, optional)
            }
            other => Err(Fault::new(format!("invalid qualifier type: {}", crate::plan::go_type(&other)))),
        }
    }
}

/// The value's field, entry or element. What is not there is an error unless `optional`.
fn qualify(value: &Value, key: &Value, optional: bool) -> Found {
    let no_key = || if optional { Ok(None) } else { Err(Fault::new(format!("no such key: {key}"))) };
    match value {
        Value::Map(map) => map.find(key).map_or_else(no_key, |found| found.map(Some)),
        Value::List(list) => {
            let index = index(key)?;
            match usize::try_from(index).ok().and_then(|index| list.get(index)) {
                Some(found) => found.map(Some),
                None if optional => Ok(None),
                None => Err(Fault::new(format!("index out of bounds: {key}"))),
            }
        }
        Value::Object(object) => match key {
            Value::String(name) if optional && object.has_field(name) == Some(false) => Ok(None),
            Value::String(name) => object.field(name).map_or_else(no_key, |found| found.map(Some)),
            _ => no_key(),
        },
        _ => no_key(),
    }
}

fn index(key: &Value) -> Result<i64, Fault> {
    let unsupported = || Fault::new(format!("unsupported index value {key} in list"));
    match key {
        Value::Int(index) => Ok(*index),
        Value::Uint(index) => i64::try_from(*index).map_err(|_| unsupported()),
        Value::Double(index) => double_to_int(*index).ok().filter(|own| *own as f64 == *index).ok_or_else(unsupported),
        other => Err(Fault::new(format!("unsupported index type '{}' in list", other.cel_type()))),
    }
}
