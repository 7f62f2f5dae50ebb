//! Attributes: a variable or computed value, and the fields, keys and indices that are taken of it.
//!
//! Invariant: built as cel-go's `interpreter/attributes.go` builds them. Its parts share one node of the plan, so that
//! `a.b.c` counts one variable and two steps.

use std::sync::Arc;

use super::Node;
use crate::ast::Id;
use crate::value::{Fault, Value};

#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) base: Base,
    pub(crate) qualifiers: Vec<Arc<Qualifier>>,
    /// Whether the last step is that of `has()`.
    pub(crate) test: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Base {
    /// A variable; of the outermost scope when `global`.
    Variable {
        id: Id,
        name: Arc<str>,
        global: bool,
    },
    Computed {
        id: Id,
        node: Node,
    },
    /// `condition ? yes : no`; qualifiers are those of both branches.
    Conditional {
        id: Id,
        condition: Node,
        branches: [Box<Attribute>; 2],
    },
}

/// A step into a value.
#[derive(Debug)]
pub(crate) struct Qualifier {
    pub(crate) id: Id,
    /// Whether what is not there is no error.
    pub(crate) optional: bool,
    pub(crate) step: Step,
}

#[derive(Debug)]
pub(crate) enum Step {
    Const(Value),
    /// `has()` of a field.
    Test(Value),
    /// By the value of another attribute.
    Attribute(Attribute),
    /// By a value computed otherwise.
    Computed(Attribute),
}

impl Attribute {
    pub(super) fn named(id: Id, name: &Arc<str>) -> Attribute {
        let global = name.starts_with('.');
        let name = Arc::from(name.trim_start_matches('.'));
        Attribute { base: Base::Variable { id, name, global }, qualifiers: Vec::new(), test: false }
    }

    fn computed(id: Id, node: Node) -> Attribute {
        Attribute { base: Base::Computed { id, node }, qualifiers: Vec::new(), test: false }
    }

    /// The attribute a node is, or one of the node's value.
    fn of(node: Node) -> Attribute {
        match node {
            Node::Attribute(attribute) => Attribute { test: false, ..*attribute },
            node => Attribute::computed(node.id(), node),
        }
    }

    pub(crate) fn id(&self) -> Id {
        match (&self.base, self.qualifiers.last()) {
            (Base::Conditional { id, branches: [yes, no], .. }, _) => {
                // A step after the conditional is the last of both branches.
                if yes.id() == no.id() { yes.id() } else { *id }
            }
            (_, Some(last)) => last.id,
            (Base::Variable { id, .. } | Base::Computed { id, .. }, None) => *id,
        }
    }

    fn add(&mut self, qualifier: Arc<Qualifier>) {
        match &mut self.base {
            Base::Conditional { branches, .. } => branches.iter_mut().for_each(|branch| branch.add(qualifier.clone())),
            _ => self.qualifiers.push(qualifier),
        }
    }
}

/// A node with one more step. The outcome of a test is a value of its own.
pub(super) fn qualified(node: Node, qualifier: Qualifier) -> Node {
    let mut attribute = match node {
        Node::Attribute(attribute) if attribute.test => Attribute::computed(attribute.id(), Node::Attribute(attribute)),
        node => Attribute::of(node),
    };
    attribute.test = matches!(qualifier.step, Step::Test(_));
    attribute.add(Arc::new(qualifier));
    Node::Attribute(Box::new(attribute))
}

fn pair<const N: usize>(args: Vec<Node>) -> Result<[Node; N], Fault> {
    <[Node; N]>::try_from(args).map_err(|_| Fault::no_overload())
}

pub(super) fn indexed(id: Id, args: Vec<Node>, optional: bool) -> Result<Node, Fault> {
    let [operand, index] = pair(args)?;
    let step = match index {
        Node::Const(_, value) => match value {
            Value::String(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_) | Value::Double(_) => Step::Const(value),
            other => return Err(Fault::new(format!("invalid qualifier type: {}", go_type(&other)))),
        },
        Node::Attribute(attribute) => Step::Attribute(*attribute),
        node => Step::Computed(Attribute::computed(id, node)),
    };
    Ok(qualified(operand, Qualifier { id, optional, step }))
}

pub(super) fn conditional(id: Id, args: Vec<Node>) -> Result<Node, Fault> {
    let [condition, yes, no] = pair(args)?;
    let branches = [Box::new(Attribute::of(yes)), Box::new(Attribute::of(no))];
    let base = Base::Conditional { id, condition, branches };
    Ok(Node::Attribute(Box::new(Attribute { base, qualifiers: Vec::new(), test: false })))
}

/// Go's name of a value's type, which some errors show.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "types.Null",
        Value::Bool(_) => "types.Bool",
        Value::Int(_) => "types.Int",
        Value::Uint(_) => "types.Uint",
        Value::Double(_) => "types.Double",
        Value::String(_) => "types.String",
        Value::Bytes(_) => "types.Bytes",
        Value::Duration(_) => "types.Duration",
        Value::Timestamp(_) => "types.Timestamp",
        Value::List(_) => "*types.baseList",
        Value::Map(_) => "*types.baseMap",
        Value::Type(_) => "*types.Type",
        Value::Optional(_) => "*types.Optional",
        Value::Object(_) => "cel.Object",
    }
}
