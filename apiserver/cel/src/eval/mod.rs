//! Runs a plan.
//!
//! Invariant: values, errors, the order of evaluation and the cost are those of cel-go's `interpreter` v0.29.2. Errors are
//! values that `&&`, `||` and `?:` can step around; going over the budget ends everything.
//! Non-goal: unknown values and interruption from outside.

mod attribute;
mod fold;
mod tracker;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::ast::Id;
use crate::messages;
use crate::plan::{Call, Node, Object, Run};
use crate::types::TypeProvider;
use crate::value::{Fault, Key, Map, Outcome, Value};
pub(crate) use fold::Scope;
use tracker::Tracker;

/// The values of variables.
pub trait Activation {
    /// None when there is no variable of that name.
    fn get(&self, name: &str) -> Option<Outcome>;
}

impl<S: std::hash::BuildHasher> Activation for HashMap<String, Value, S> {
    fn get(&self, name: &str) -> Option<Outcome> {
        HashMap::get(self, name).cloned().map(Ok)
    }
}

impl Activation for BTreeMap<String, Value> {
    fn get(&self, name: &str) -> Option<Outcome> {
        BTreeMap::get(self, name).cloned().map(Ok)
    }
}

/// No variables at all.
pub struct Nothing;

impl Activation for Nothing {
    fn get(&self, _: &str) -> Option<Outcome> {
        None
    }
}

/// Runs a plan; what it cost is known whatever came of it.
pub(crate) fn run(node: &Node, types: &dyn TypeProvider, activation: &dyn Activation, budget: u64) -> (Outcome, u64) {
    let machine = Machine { tracker: RefCell::new(Tracker::new(Some(budget))), types };
    let outcome = machine.eval(node, Scope::Root(activation));
    let cost = machine.tracker.borrow().cost();
    (outcome, cost)
}

/// The value of a plan without variables, at no cost.
pub(crate) fn constant(node: &Node, types: &dyn TypeProvider) -> Outcome {
    Machine { tracker: RefCell::new(Tracker::new(None)), types }.eval(node, Scope::Root(&Nothing))
}

struct Machine<'a> {
    tracker: RefCell<Tracker>,
    types: &'a dyn TypeProvider,
}

impl Machine<'_> {
    fn eval(&self, node: &Node, scope: Scope<'_>) -> Outcome {
        let outcome = match node {
            Node::Const(_, value) => Ok(value.clone()),
            Node::Attribute(attribute) => match self.resolve(attribute, scope) {
                // Of optional values `has()` asks whether they are there.
                Ok(Value::Optional(inner)) if attribute.test => Ok(Value::Bool(inner.is_some())),
                outcome => outcome,
            },
            Node::And(_, terms) => self.logical(terms, scope, false),
            Node::Or(_, terms) => self.logical(terms, scope, true),
            Node::Equal { sides, negated, .. } => self.equal(sides, scope, *negated),
            Node::OptionalOr { sides, value, .. } => self.optional_or(sides, scope, *value),
            Node::Among { element, set, .. } => {
                self.eval(element, scope).and_then(|element| match Key::new(&element) {
                    Some(key) => Ok(Value::Bool(set.contains(&key))),
                    None if matches!(element, Value::Bytes(_)) => Err(crate::value::unhashable(&element)),
                    None => Ok(Value::Bool(false)),
                })
            }
            Node::Call(call) => self.call(call, scope),
            Node::List(_, elements) => self.list(elements, scope),
            Node::Map(_, entries) => self.map(entries, scope),
            Node::Object(object) => self.object(object, scope),
            Node::Fold(fold) => self.fold(fold, scope),
        };
        if is_aborted(&outcome) {
            return outcome;
        }
        self.tracker.borrow_mut().node(node, &outcome)?;
        outcome
    }

    /// `&&` and `||`: the first term equal to `decisive` decides, even after errors.
    fn logical(&self, terms: &[Node], scope: Scope<'_>, decisive: bool) -> Outcome {
        let mut failed = None;
        for term in terms {
            match self.eval(term, scope) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Err(fault) if fault.is_abort() => return Err(fault),
                Ok(_) => failed = failed.or(Some(Fault::no_overload())),
                Err(fault) => failed = failed.or(Some(fault)),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn both(&self, sides: &[Node; 2], scope: Scope<'_>) -> Result<(Value, Value), Fault> {
        let left = self.eval(&sides[0], scope);
        if let Err(fault) = left.as_ref()
            && fault.is_abort()
        {
            return Err(fault.clone());
        }
        let right = self.eval(&sides[1], scope);
        match right {
            Err(fault) if fault.is_abort() => Err(fault),
            right => Ok((left?, right?)),
        }
    }

    fn equal(&self, sides: &[Node; 2], scope: Scope<'_>, negated: bool) -> Outcome {
        let (left, right) = self.both(sides, scope)?;
        match left.equals(&right) {
            Ok(equal) => Ok(Value::Bool(equal != negated)),
            // What cannot be compared is not equal.
            Err(_) if negated => Ok(Value::Bool(true)),
            Err(fault) => Err(fault),
        }
    }

    fn optional_or(&self, sides: &[Node; 2], scope: Scope<'_>, value: bool) -> Outcome {
        match self.eval(&sides[0], scope)? {
            Value::Optional(Some(inner)) if value => Ok(inner.as_ref().clone()),
            Value::Optional(Some(inner)) => Ok(Value::Optional(Some(inner))),
            Value::Optional(None) => self.eval(&sides[1], scope),
            _ => Err(Fault::no_overload()),
        }
    }

    fn call(&self, call: &Call, scope: Scope<'_>) -> Outcome {
        if let (Run::NotStrictlyFalse, [arg]) = (&call.run, call.args.as_slice()) {
            return match self.eval(arg, scope) {
                Err(fault) if fault.is_abort() => Err(fault),
                Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
                _ => Ok(Value::Bool(true)),
            };
        }
        let mut args = Vec::with_capacity(call.args.len());
        let mut failed = None;
        for arg in &call.args {
            match self.eval(arg, scope) {
                Ok(value) => args.push(value),
                Err(fault) if call.early || fault.is_abort() => return Err(fault),
                Err(fault) => failed = failed.or(Some(fault)),
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        match &call.run {
            Run::Function(dispatch) => dispatch.call(&args),
            Run::Regex(kind, regex) => kind.apply(regex, &args),
            Run::NotStrictlyFalse => Err(Fault::no_overload()),
        }
    }

    fn list(&self, elements: &[(Node, bool)], scope: Scope<'_>) -> Outcome {
        let mut values = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            match self.eval(element, scope)? {
                Value::Optional(inner) if *optional => values.extend(inner.map(|inner| inner.as_ref().clone())),
                value if *optional => {
                    let message = "cannot initialize optional list element from non-optional value";
                    return Err(Fault::new(format!("{message} {value}")));
                }
                value => values.push(value),
            }
        }
        Ok(Value::list(values))
    }

    fn map(&self, entries: &[(Node, Node, bool)], scope: Scope<'_>) -> Outcome {
        let mut values = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key, scope)?;
            let value = self.eval(value, scope)?;
            let own = Key::new(&key).ok_or_else(|| crate::value::unhashable(&key));
            match optional_entry(&key, value, *optional)? {
                Some(value) => values.insert(own?, value),
                None => values.remove(&own?),
            };
        }
        Ok(Value::Map(Map::new(values)))
    }

    fn object(&self, object: &Object, scope: Scope<'_>) -> Outcome {
        let mut values = Vec::with_capacity(object.fields.len());
        for (name, node, optional) in &object.fields {
            let value = self.eval(node, scope)?;
            match optional_entry(&Value::String(name.clone()), value, *optional)? {
                Some(value) => values.push((name.clone(), value)),
                None => values.retain(|(known, _)| known != name),
            }
        }
        let unknown = || Err(Fault::new(format!("unknown type '{}'", object.name)));
        let well_known = messages::make(&object.name, &values);
        well_known.or_else(|| self.types.make(&object.name, values)).unwrap_or_else(unknown)
    }
}

pub(super) fn is_aborted<T>(outcome: &Result<T, Fault>) -> bool {
    outcome.as_ref().is_err_and(Fault::is_abort)
}

/// What an entry brings, if anything.
fn optional_entry(key: &Value, value: Value, optional: bool) -> Result<Option<Value>, Fault> {
    match value {
        Value::Optional(inner) if optional => Ok(inner.map(|inner| inner.as_ref().clone())),
        value if optional => {
            let message = format!("cannot initialize optional entry '{key}' from non-optional value {value}");
            Err(Fault::new(message))
        }
        value => Ok(Some(value)),
    }
}

/// Ids of what a node reads, in the order in which it reads them.
pub(crate) fn parts(node: &Node) -> Vec<Id> {
    match node {
        Node::Call(call) => call.args.iter().map(Node::id).collect(),
        Node::Equal { sides, .. } => sides.iter().map(Node::id).collect(),
        Node::List(_, elements) => elements.iter().map(|(element, _)| element.id()).collect(),
        Node::Map(_, entries) => entries.iter().flat_map(|(key, value, _)| [key.id(), value.id()]).collect(),
        Node::Object(object) => object.fields.iter().map(|(_, node, _)| node.id()).collect(),
        _ => Vec::new(),
    }
}
