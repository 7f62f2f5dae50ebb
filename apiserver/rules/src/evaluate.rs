//! The rules of a version's schema, compiled, and their evaluation
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go@v0.37.2).
//!
//! Invariant: compiled once, evaluated by any number of requests at once; a value is shared by the rules of its node.

use std::sync::Arc;

use api::value::Value as ApiValue;
use cel::value::{Outcome, Value};
use cel::{Activation, EvalError, Program};
use structural::rules::{CALL_COST_MAX, Call, Evaluation, Rules};
use structural::schema::{RuleNode, Schema};

use crate::compile::{Envs, OLD_SELF, Programs, SELF};
use crate::shape::{self, Shape};
use crate::value::{self, Part};

/// The compiled rules of a schema.
#[derive(Debug)]
pub struct Compiled {
    /// By [`RuleNode::id`].
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    shape: Option<Arc<Shape>>,
    rules: Vec<Programs>,
    /// One of the rules does, so that `oldSelf` is there for all of them and their messages.
    uses_old_self: bool,
}

impl Compiled {
    /// Compiles what is stored in a definition, or a part of it that has all nodes the rules are asked of.
    pub fn of(schema: &Schema) -> Compiled {
        let mut nodes: Vec<Node> = Vec::new();
        let mut at = |id: usize, change: &mut dyn FnMut(&mut Node)| {
            if nodes.len() <= id {
                nodes.resize_with(id + 1, Node::default);
            }
            change(&mut nodes[id]);
        };
        schema.visit_rules(&mut |schema, node| at(node.id, &mut |place| *place = compiled(schema, node)));
        shape::shape(schema, is_resource_root(schema), &mut |id, shape| {
            at(id, &mut |place| place.shape = Some(shape.clone()));
        });
        // What no value of the schema's type has, such as the properties of a text, values of before may have.
        schema.visit_rules(&mut |schema, node| {
            at(node.id, &mut |place| {
                let own = || shape::shape(schema, is_resource_root(schema), &mut |_, _| {});
                place.shape.get_or_insert_with(own);
            });
        });
        Compiled { nodes }
    }

    fn programs(&self, node: usize, rule: usize) -> Option<&Programs> {
        self.nodes.get(node)?.rules.get(rule)
    }
}

/// Only nodes with rules know it; it does not matter for others, whose values are not read on their own.
fn is_resource_root(schema: &Schema) -> bool {
    schema.embedded_resource || schema.rules.as_ref().is_some_and(|node| node.resource_root)
}

fn compiled(schema: &Schema, node: &RuleNode) -> Node {
    let rules: Vec<Programs> = match Envs::of(schema, node) {
        Some(envs) => node.rules.iter().map(|rule| envs.stored(rule)).collect(),
        None => {
            let undeclared = || "failed to convert to declType for CEL validation rules".to_owned();
            let failed = |_| Programs { rule: Some(Err(undeclared())), ..Programs::default() };
            node.rules.iter().map(failed).collect()
        }
    };
    Node { shape: None, uses_old_self: rules.iter().any(|rule| rule.uses_old_self), rules }
}

/// A value and what it was, as CEL sees them; kept for all rules of a node.
struct Seen {
    new: Outcome,
    old: Option<Outcome>,
}

impl Seen {
    fn of(node: &Node, call: &Call<'_>) -> Seen {
        let shape = node.shape.as_ref().expect("every node with rules has a shape");
        let see = |raw: &ApiValue| value::value(Part::root(raw), shape);
        Seen { new: see(call.value), old: call.old.filter(|_| node.uses_old_self).map(see) }
    }
}

/// The variables of an evaluation.
struct Variables<'a> {
    seen: &'a Seen,
    /// `oldSelf` is an optional value, there or not.
    optional: bool,
}

impl Activation for Variables<'_> {
    fn get(&self, name: &str) -> Option<Outcome> {
        match name {
            SELF => Some(self.seen.new.clone()),
            OLD_SELF if self.optional => {
                let old = self.seen.old.clone().transpose();
                Some(old.map(Value::optional))
            }
            OLD_SELF => self.seen.old.clone(),
            _ => None,
        }
    }
}

fn run<T>(program: &Program, variables: &Variables<'_>, read: impl FnOnce(Value) -> T) -> Evaluation<T> {
    match program.eval(variables, CALL_COST_MAX) {
        Ok((value, cost)) => Evaluation { cost: Some(cost), result: Ok(read(value)) },
        Err(EvalError { fault, cost }) => Evaluation { cost: Some(cost), result: Err(fault.to_string()) },
    }
}

impl Rules for Compiled {
    fn uses_old_self(&self, node: usize, rule: usize) -> bool {
        self.programs(node, rule).is_some_and(|programs| programs.uses_old_self)
    }

    fn compile_error(&self, node: usize, rule: usize) -> Option<String> {
        self.programs(node, rule)?.rule.as_ref()?.as_ref().err().cloned()
    }

    fn evaluate(&self, call: &Call<'_>) -> Evaluation<bool> {
        let node = &self.nodes[call.node.id];
        let Some(Ok(program)) = &node.rules[call.rule].rule else {
            return Evaluation { cost: Some(0), result: Ok(true) };
        };
        let seen = call.kept.get_or(|| Seen::of(node, call));
        // Without a rule that reads it, there is no `oldSelf` at all.
        let optional = call.node.rules[call.rule].optional_old_self == Some(true) && node.uses_old_self;
        run(program, &Variables { seen, optional }, |value| value.as_bool() == Some(true))
    }

    fn message(&self, call: &Call<'_>) -> Evaluation<Option<String>> {
        let node = &self.nodes[call.node.id];
        let Some(Ok(program)) = &node.rules[call.rule].message else {
            return Evaluation { cost: Some(0), result: Ok(None) };
        };
        let seen = call.kept.get_or(|| Seen::of(node, call));
        run(program, &Variables { seen, optional: false }, |value| value.as_str().map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_of(listing: &str, rule: &str) -> Schema {
        let items = api::map! { "type" => "string" };
        let list = api::map! { "type" => "array", "items" => items, "x-kubernetes-list-type" => listing };
        let rule = api::map! { "rule" => rule };
        Schema::parse(&api::map! {
            "type" => "object",
            "properties" => api::map! { "l" => list },
            "x-kubernetes-validations" => ApiValue::List(vec![rule.into()]),
        })
        .expect("it is structural")
    }

    fn texts(texts: &[&str]) -> ApiValue {
        let list = texts.iter().map(|text| ApiValue::from(*text)).collect();
        api::map! { "l" => ApiValue::List(list) }.into()
    }

    #[test]
    fn requests_share_what_is_compiled() {
        let schema = list_of("set", "self.l == oldSelf.l");
        let rules = Arc::new(Compiled::of(&schema));
        std::thread::scope(|scope| {
            for (new, equal) in [(["a", "b"], true), (["b", "a"], true), (["b", "c"], false)] {
                let (rules, schema) = (rules.clone(), &schema);
                scope.spawn(move || {
                    let (new, old) = (texts(&new), texts(&["a", "b"]));
                    let found = structural::rules::validate(rules.as_ref(), schema, &new, Some(&old), 100);
                    assert_eq!((found.errors.is_empty(), found.budget), (equal, 95));
                });
            }
        });
    }

    #[test]
    fn the_kind_of_a_list_says_what_is_equal() {
        for (listing, equal) in [("set", true), ("atomic", false)] {
            let schema = list_of(listing, "self.l == ['b', 'a']");
            let found = structural::rules::validate(&Compiled::of(&schema), &schema, &texts(&["a", "b"]), None, 100);
            assert_eq!(found.errors.is_empty(), equal, "{listing}");
        }
    }

    /// A value that was stored under another schema is judged by the rules of its names.
    #[test]
    fn values_that_their_schema_does_not_fit() {
        let rule = || ApiValue::List(vec![api::map! { "rule" => "self > 1" }.into()]);
        for ty in ["string", "array", "boolean"] {
            let field = api::map! { "type" => "integer", "x-kubernetes-validations" => rule() };
            let spec = api::map! { "type" => ty, "properties" => api::map! { "f" => field } };
            let schema = api::map! { "type" => "object", "properties" => api::map! { "spec" => spec } };
            let schema = Schema::parse(&schema).expect("it is structural");
            for (number, errors) in [(1i64, 1), (2, 0)] {
                let value = api::map! { "spec" => api::map! { "f" => number } }.into();
                let found = structural::rules::validate(&Compiled::of(&schema), &schema, &value, None, 100);
                assert_eq!(found.errors.len(), errors, "{ty} {number}");
            }
        }
    }
}
