//! JSONPath as printer columns and selectable fields have it (k8s.io/client-go/util/jsonpath@v0.37.2).
//!
//! Invariant: missing fields are no error. Non-goal: templates: `range` and `end` are refused when evaluated.

mod evaluate;
mod parse;

use api::value::Value;

/// A parsed path.
#[derive(Clone, Debug)]
pub struct Path {
    /// Each `{...}` and text between them.
    actions: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    List(Vec<Node>),
    Text(String),
    Field(String),
    Wildcard,
    Recursive,
    Array([Param; 3]),
    Union(Vec<Vec<Node>>),
    Filter { left: Vec<Node>, operator: String, right: Vec<Node> },
    Int(i64),
    Float(f64),
    Bool(bool),
    Identifier(String),
}

/// A part of `[start:end:step]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Param {
    value: i64,
    known: bool,
    /// An end that follows from the start.
    derived: bool,
}

impl Path {
    /// Parses a path without braces, as definitions carry it: `.status.conditions[?(@.type=="Ready")].status`.
    pub fn parse(text: &str) -> Result<Path, String> {
        parse::template(&format!("{{{text}}}")).map(|actions| Path { actions })
    }

    /// What the path finds, for each of its actions; all must succeed.
    pub fn find(&self, object: &Value) -> Result<Vec<Vec<Value>>, String> {
        self.actions.iter().map(|action| evaluate::action(action, object)).collect()
    }

    /// The first value of the first action.
    pub fn first(&self, object: &Value) -> Result<Option<Value>, String> {
        Ok(self.find(object)?.into_iter().next().and_then(|found| found.into_iter().next()))
    }
}
