//! Makes nodes of the tree, gives them ids and places, and expands macros on the way.
//!
//! Invariant: ids come in the order in which cel-go's parser gives them.

use std::sync::Arc;

use super::Syntax;
use super::macros::Expander;
use crate::ast::{Call, Expr, Id, Kind, Places};
use crate::source::{Issues, Location, Source};
use crate::value::Value;

pub(super) struct Builder<'a> {
    pub(super) source: &'a Source,
    pub(super) syntax: &'a Syntax,
    pub(super) places: Places,
    pub(super) issues: Issues,
}

impl<'a> Builder<'a> {
    pub(super) fn new(source: &'a Source, syntax: &'a Syntax) -> Builder<'a> {
        Builder { source, syntax, places: Places::default(), issues: Issues::new(source) }
    }

    pub(super) fn id(&mut self, offset: usize) -> Id {
        self.places.add(Some(offset))
    }

    pub(super) fn node(&mut self, offset: usize, kind: Kind) -> Expr {
        Expr { id: self.id(offset), kind }
    }

    pub(super) fn literal(&mut self, offset: usize, value: Value) -> Expr {
        self.node(offset, Kind::Literal(value))
    }

    /// Reports an error at a place; the node stands for what is missing.
    pub(super) fn error(&mut self, offset: usize, message: impl Into<String>) -> Expr {
        self.issues.report(self.source.location(offset), message);
        self.node(offset, Kind::Unspecified)
    }

    /// A call, or what the macro of that name makes of it.
    pub(super) fn call(&mut self, id: Id, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let receiver = target.is_some();
        // Of two macros with one signature the later one counts.
        let named = |known: &&&super::macros::Macro| {
            known.name == function && known.args == args.len() && known.receiver == receiver
        };
        let found = self.syntax.macros.iter().rev().find(named).copied();
        if let Some(known) = found {
            return match (known.expand)(&mut Expander { builder: self, id }, target, args) {
                Ok(expr) => {
                    self.places.remove(id);
                    expr
                }
                Err((at, message)) => self.wrong(id, at, message),
            };
        }
        let call = Call { target, function: Arc::from(function), args };
        Expr { id, kind: Kind::Call(Box::new(call)) }
    }

    /// The arguments of a macro were not what it needs.
    fn wrong(&mut self, call: Id, at: Id, message: String) -> Expr {
        let offset = self.places.offset(at);
        self.places.remove(call);
        self.issues.report(offset.map_or(Location::BEFORE, |offset| self.source.location(offset)), message);
        Expr { id: self.places.add(offset), kind: Kind::Unspecified }
    }

    /// A tree of `&&` or `||` as shallow as can be. `ops` are the ids of the operators between the terms.
    pub(super) fn balanced(function: &Arc<str>, terms: &mut std::vec::IntoIter<Expr>, ops: &[Id]) -> Expr {
        if ops.is_empty() {
            return terms.next().expect("one more term than operators");
        }
        let middle = ops.len() / 2;
        let left = Builder::balanced(function, terms, &ops[..middle]);
        let right = Builder::balanced(function, terms, &ops[middle + 1..]);
        let call = Call { target: None, function: function.clone(), args: vec![left, right] };
        Expr { id: ops[middle], kind: Kind::Call(Box::new(call)) }
    }
}
