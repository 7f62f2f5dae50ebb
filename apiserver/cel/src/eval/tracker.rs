//! Counts what running costs.
//!
//! Invariant: the sums of cel-go's `interpreter/runtimecost.go@v0.29.2` with Kubernetes' settings: `has()` itself is free.
//! Like there, values are found again by their ids on a stack, and a call some of whose arguments are not found is free.

use crate::ast::Id;
use crate::cost::{self, LIST_CREATE, MAP_CREATE, SELECT_OR_IDENT, STRUCT_CREATE};
use crate::plan::{Attribute, Base, Node, Qualifier, Step};
use crate::value::{Fault, Outcome, Value};

pub(super) struct Tracker {
    /// None where cost is not counted at all.
    limit: Option<u64>,
    cost: u64,
    stack: Vec<(Id, Value)>,
}

impl Tracker {
    pub(super) fn new(limit: Option<u64>) -> Tracker {
        Tracker { limit, cost: 0, stack: Vec::new() }
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    /// A node has been run.
    pub(super) fn node(&mut self, node: &Node, outcome: &Outcome) -> Result<(), Fault> {
        if self.limit.is_none() {
            return Ok(());
        }
        match node {
            Node::Const(..) | Node::OptionalOr { .. } | Node::Among { .. } => {}
            Node::Attribute(attribute) => self.attribute(attribute),
            Node::And(_, terms) | Node::Or(_, terms) => terms.iter().for_each(|term| self.drop(term.id())),
            Node::Fold(fold) => self.drop(fold.range.id()),
            Node::Equal { negated, .. } => {
                let function = if *negated { ("_!=_", "not_equals") } else { ("_==_", "equals") };
                self.call(node, function, outcome)?;
            }
            Node::Call(call) => self.call(node, (&call.function, &call.overload), outcome)?,
            Node::List(..) | Node::Map(..) | Node::Object(_) => {
                self.drop_args(&super::parts(node));
                self.add(match node {
                    Node::List(..) => LIST_CREATE,
                    Node::Map(..) => MAP_CREATE,
                    _ => STRUCT_CREATE,
                });
            }
        }
        self.push(node.id(), outcome)
    }

    fn attribute(&mut self, attribute: &Attribute) {
        match &attribute.base {
            // What costs is the condition and the branch.
            Base::Conditional { condition, branches: [yes, no], .. } => {
                [no.id(), yes.id(), condition.id()].into_iter().for_each(|id| self.drop(id));
            }
            _ => {
                self.drop(attribute.id());
                self.add(SELECT_OR_IDENT);
            }
        }
        if attribute.test {
            self.cost = self.cost.saturating_sub(SELECT_OR_IDENT);
        }
    }

    /// A step has been taken.
    pub(super) fn qualifier(&mut self, qualifier: &Qualifier, outcome: &Outcome) -> Result<(), Fault> {
        if self.limit.is_none() {
            return Ok(());
        }
        if let Step::Computed(attribute) = &qualifier.step {
            self.drop(attribute.id());
        }
        self.add(SELECT_OR_IDENT);
        self.push(qualifier.id, outcome)
    }

    fn call(&mut self, node: &Node, (function, overload): (&str, &str), outcome: &Outcome) -> Result<(), Fault> {
        if let Some(args) = self.drop_args(&super::parts(node)) {
            if let Some(message) = cost::actual::uncountable(overload, &args) {
                return Err(Fault::abort(format!("internal error: interface conversion: {message}")));
            }
            self.add(cost::actual::call(function, overload, &args, outcome.as_ref().ok()));
        }
        Ok(())
    }

    fn add(&mut self, cost: u64) {
        self.cost = self.cost.saturating_add(cost);
    }

    fn push(&mut self, id: Id, outcome: &Outcome) -> Result<(), Fault> {
        // Errors have no size.
        self.stack.push((id, outcome.clone().unwrap_or(Value::Null)));
        match self.limit.is_some_and(|limit| self.cost > limit) {
            true => Err(Fault::over_budget()),
            false => Ok(()),
        }
    }

    fn position(&self, id: Id) -> Option<usize> {
        self.stack.iter().rposition(|(known, _)| *known == id)
    }

    /// Takes off the value of an id and everything above it.
    fn drop(&mut self, id: Id) {
        if let Some(at) = self.position(id) {
            self.stack.truncate(at);
        }
    }

    fn drop_args(&mut self, ids: &[Id]) -> Option<Vec<Value>> {
        let mut args = Vec::with_capacity(ids.len());
        for id in ids.iter().rev() {
            let at = self.position(*id)?;
            self.stack.truncate(at + 1);
            args.extend(self.stack.pop().map(|(_, value)| value));
        }
        args.reverse();
        Some(args)
    }
}
