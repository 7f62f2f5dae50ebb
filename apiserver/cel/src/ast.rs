//! The syntax tree of an expression: what the parser makes, the checker annotates and the planner reads.
//!
//! Invariant: ids are unique, given in cel-go's order, and say where in the text a node stands.
//! Non-goal: printing expressions back.

use std::sync::Arc;

use crate::source::{Location, Source};
use crate::value::Value;

pub type Id = i64;

#[derive(Debug, Clone)]
pub struct Expr {
    pub id: Id,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// What stands where an error was found.
    Unspecified,
    Literal(Value),
    Ident(Arc<str>),
    Select(Box<Select>),
    Call(Box<Call>),
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct(Box<Struct>),
    Comprehension(Box<Comprehension>),
}

/// `operand.field`, or `has(operand.field)` when it is only tested.
#[derive(Debug, Clone)]
pub struct Select {
    pub operand: Expr,
    pub field: Arc<str>,
    pub test: bool,
}

#[derive(Debug, Clone)]
pub struct Call {
    pub target: Option<Expr>,
    pub function: Arc<str>,
    pub args: Vec<Expr>,
}

#[derive(Debug, Clone)]
pub struct Element {
    pub value: Expr,
    pub optional: bool,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Debug, Clone)]
pub struct Struct {
    pub name: Arc<str>,
    pub fields: Vec<Field>,
}

#[derive(Debug, Clone)]
pub struct Field {
    pub id: Id,
    pub name: Arc<str>,
    pub value: Expr,
    pub optional: bool,
}

/// A fold over a list or map; what macros such as `all` and `map` become.
#[derive(Debug, Clone)]
pub struct Comprehension {
    pub range: Expr,
    pub variable: Arc<str>,
    /// The value beside the index or key, in comprehensions of two variables.
    pub second: Option<Arc<str>>,
    pub accumulator: Arc<str>,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

impl Expr {
    pub fn ident(&self) -> Option<&Arc<str>> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    pub fn literal(&self) -> Option<&Value> {
        match &self.kind {
            Kind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// `a.b.c` as text, when the expression is nothing but names.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select(select) if !select.test => {
                Some(format!("{}.{}", select.operand.qualified_name()?, select.field))
            }
            _ => None,
        }
    }

    pub fn is_empty_list(&self) -> bool {
        matches!(&self.kind, Kind::List(elements) if elements.is_empty())
    }

    /// Every direct part, in the order of evaluation.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Unspecified | Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select(select) => vec![&select.operand],
            Kind::Call(call) => call.target.iter().chain(&call.args).collect(),
            Kind::List(elements) => elements.iter().map(|element| &element.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
            Kind::Struct(object) => object.fields.iter().map(|field| &field.value).collect(),
            Kind::Comprehension(fold) => {
                vec![&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]
            }
        }
    }

    /// How many nodes are within each other, this one included.
    pub fn height(&self) -> usize {
        1 + self.children().into_iter().map(Expr::height).max().unwrap_or(0)
    }

    /// Calls `visit` on the expression and everything in it, parents first, with the calls around each.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Expr, &[&'a str])) {
        fn descend<'a>(at: &'a Expr, calls: &mut Vec<&'a str>, visit: &mut impl FnMut(&'a Expr, &[&'a str])) {
            visit(at, calls);
            if let Kind::Call(call) = &at.kind {
                calls.push(&call.function);
            }
            at.children().into_iter().for_each(|child| descend(child, calls, visit));
            if matches!(at.kind, Kind::Call(_)) {
                calls.pop();
            }
        }
        descend(self, &mut Vec::new(), visit);
    }
}

/// Where the nodes of a tree stand.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// By id; the first id is 1.
    starts: Vec<Option<usize>>,
}

impl Places {
    pub(crate) fn add(&mut self, offset: Option<usize>) -> Id {
        self.starts.push(offset);
        self.starts.len() as Id
    }

    /// Sets the place of an id that was given before its token was seen.
    pub(crate) fn place(&mut self, id: Id, offset: usize) {
        if let Some(start) = self.starts.get_mut(id as usize - 1) {
            *start = Some(offset);
        }
    }

    pub(crate) fn remove(&mut self, id: Id) {
        if id == self.starts.len() as Id {
            self.starts.pop();
        } else if let Some(start) = self.starts.get_mut(id as usize - 1) {
            *start = None;
        }
    }

    pub(crate) fn offset(&self, id: Id) -> Option<usize> {
        self.starts.get(usize::try_from(id - 1).ok()?).copied().flatten()
    }

    pub fn location(&self, id: Id, source: &Source) -> Location {
        self.offset(id).map_or(Location::NONE, |offset| source.location(offset))
    }

    /// One more than the largest id.
    pub(crate) fn bound(&self) -> usize {
        self.starts.len() + 1
    }
}
