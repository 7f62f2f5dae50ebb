//! From a checked tree to what is run: names and fields joined into attributes, constants computed, functions found.
//!
//! Invariant: the plan has the shape of cel-go's (`interpreter/planner.go` with the optimising decorators of
//! `interpreter/decorators.go` @v0.29.2), for the cost at run time is counted by its nodes.
//! Non-goal: trees that were not checked.

mod attribute;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(crate) use attribute::{Attribute, Base, Qualifier, Step, go_type};

use crate::ast::{Comprehension, Expr, Id, Kind};
use crate::check::Checked;
use crate::eval;
use crate::functions::{Compute, Dispatch, Functions};
use crate::messages;
use crate::types::{Type, TypeProvider};
use crate::value::{Fault, Key, Outcome, Value};
use api::goregex;

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Const(Id, Value),
    Attribute(Box<Attribute>),
    And(Id, Vec<Node>),
    Or(Id, Vec<Node>),
    /// `==`, or `!=` when negated.
    Equal {
        id: Id,
        sides: Box<[Node; 2]>,
        negated: bool,
    },
    /// `a.or(b)`, or `a.orValue(b)` when it is the value that comes out.
    OptionalOr {
        id: Id,
        sides: Box<[Node; 2]>,
        value: bool,
    },
    /// `x in [constants]`.
    Among {
        id: Id,
        element: Box<Node>,
        set: Arc<BTreeSet<Key>>,
    },
    Call(Box<Call>),
    List(Id, Vec<(Node, bool)>),
    Map(Id, Vec<(Node, Node, bool)>),
    Object(Box<Object>),
    Fold(Box<Fold>),
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: Id,
    pub(crate) function: Arc<str>,
    /// The one overload the checker found; empty where the values decide.
    pub(crate) overload: Arc<str>,
    pub(crate) args: Vec<Node>,
    pub(crate) run: Run,
    /// Whether the first argument with an error ends it, the others unseen.
    pub(crate) early: bool,
}

/// How a call is computed.
#[derive(Debug, Clone)]
pub(crate) enum Run {
    Function(Dispatch),
    /// With a regular expression that was compiled beforehand.
    Regex(RegexFunction, Arc<regex::Regex>),
    /// True unless it is false; even of an error.
    NotStrictlyFalse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegexFunction {
    Matches,
    Find,
    FindAll,
}

#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) id: Id,
    pub(crate) name: Arc<str>,
    pub(crate) fields: Vec<(Arc<str>, Node, bool)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub(crate) id: Id,
    pub(crate) range: Node,
    pub(crate) variable: Arc<str>,
    pub(crate) second: Option<Arc<str>>,
    pub(crate) accumulator: Arc<str>,
    pub(crate) init: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

impl Node {
    /// The id under which the node's value is known; that of an attribute is its last part's.
    pub(crate) fn id(&self) -> Id {
        match self {
            Node::Const(id, _) | Node::And(id, _) | Node::Or(id, _) | Node::List(id, _) | Node::Map(id, _) => *id,
            Node::Equal { id, .. } | Node::OptionalOr { id, .. } | Node::Among { id, .. } => *id,
            Node::Attribute(attribute) => attribute.id(),
            Node::Call(call) => call.id,
            Node::Object(object) => object.id,
            Node::Fold(fold) => fold.id,
        }
    }
}

/// What the planner looks things up in.
pub(crate) struct Context<'a> {
    pub(crate) functions: &'a Functions,
    pub(crate) idents: &'a HashMap<&'static str, Type>,
    pub(crate) types: &'a dyn TypeProvider,
}

/// A plan, or why the expression can never be run: a constant that cannot be computed, a regular expression that is none.
pub(crate) fn plan(checked: &Checked, context: &Context<'_>) -> Result<Node, Fault> {
    Planner { checked, context }.node(&checked.parsed.expr)
}

/// The value of a call with constant arguments; for what checks literals.
pub(crate) fn constant(checked: &Checked, context: &Context<'_>, expr: &Expr) -> Outcome {
    let node = Planner { checked, context }.node(expr)?;
    eval::constant(&node, context.types)
}

struct Planner<'a> {
    checked: &'a Checked,
    context: &'a Context<'a>,
}

type Planned = Result<Node, Fault>;

impl Planner<'_> {
    fn node(&self, expr: &Expr) -> Planned {
        match &expr.kind {
            Kind::Unspecified => Err(Fault::new("unsupported expr")),
            Kind::Literal(value) => Ok(Node::Const(expr.id, value.clone())),
            Kind::Ident(_) => self.ident(expr),
            Kind::Select(select) => {
                let operand = self.node(&select.operand)?;
                let field = Value::String(select.field.clone());
                let step = if select.test { Step::Test(field) } else { Step::Const(field) };
                Ok(attribute::qualified(operand, Qualifier { id: expr.id, optional: false, step }))
            }
            Kind::Call(_) => self.call(expr),
            Kind::List(elements) => {
                let planned = elements.iter().map(|e| Ok((self.node(&e.value)?, e.optional)));
                let list = Node::List(expr.id, planned.collect::<Result<_, Fault>>()?);
                Ok(self.folded(list))
            }
            Kind::Map(entries) => {
                let planned = entries.iter().map(|e| Ok((self.node(&e.key)?, self.node(&e.value)?, e.optional)));
                let map = Node::Map(expr.id, planned.collect::<Result<_, Fault>>()?);
                Ok(self.folded(map))
            }
            Kind::Struct(object) => {
                if messages::cel_type(&object.name).is_none() && !self.context.types.has_type(&object.name) {
                    return Err(Fault::new(format!("unknown type: {}", object.name)));
                }
                let planned = object.fields.iter().map(|f| Ok((f.name.clone(), self.node(&f.value)?, f.optional)));
                let fields = planned.collect::<Result<_, Fault>>()?;
                Ok(Node::Object(Box::new(Object { id: expr.id, name: object.name.clone(), fields })))
            }
            Kind::Comprehension(fold) => self.fold(expr.id, fold),
        }
    }

    fn ident(&self, expr: &Expr) -> Planned {
        let name = self.checked.ident(expr.id).cloned().unwrap_or_default();
        let Type::Type(_) = self.checked.type_of(expr.id) else {
            return Ok(Node::Attribute(Box::new(Attribute::named(expr.id, &name))));
        };
        let bare = name.trim_start_matches('.');
        match self.context.idents.get(bare) {
            // The checker knows the names of these, but they are no values.
            Some(of) if messages::cel_type(bare).is_some() && of.name() != bare => {
                Err(Fault::new(format!("reference to undefined type: {name}")))
            }
            Some(of) => Ok(Node::Const(expr.id, Value::Type(of.clone()))),
            None => Ok(Node::Const(expr.id, Value::Type(Type::object(bare)))),
        }
    }

    /// The node, or its value when all in it is constant.
    fn folded(&self, node: Node) -> Node {
        let is_const = |node: &Node| matches!(node, Node::Const(..));
        let all = match &node {
            Node::List(_, elements) => elements.iter().all(|(element, _)| is_const(element)),
            Node::Map(_, entries) => entries.iter().all(|(key, value, _)| is_const(key) && is_const(value)),
            _ => false,
        };
        match all.then(|| eval::constant(&node, self.context.types)) {
            Some(Ok(value)) => Node::Const(node.id(), value),
            _ => node,
        }
    }

    fn fold(&self, id: Id, fold: &Comprehension) -> Planned {
        Ok(Node::Fold(Box::new(Fold {
            id,
            range: self.node(&fold.range)?,
            variable: fold.variable.clone(),
            second: fold.second.clone(),
            accumulator: fold.accumulator.clone(),
            init: self.node(&fold.init)?,
            condition: self.node(&fold.condition)?,
            step: self.node(&fold.step)?,
            result: self.node(&fold.result)?,
        })))
    }

    fn call(&self, expr: &Expr) -> Planned {
        let Kind::Call(call) = &expr.kind else { return Err(Fault::new("not a call")) };
        let args: Vec<Node> =
            call.target.iter().chain(&call.args).map(|arg| self.node(arg)).collect::<Result<_, _>>()?;
        let id = expr.id;
        let function = call.function.as_ref();
        let pair = |args: Vec<Node>| -> Result<Box<[Node; 2]>, Fault> {
            <[Node; 2]>::try_from(args).map(Box::new).map_err(|_| Fault::no_overload())
        };
        match function {
            "_&&_" => return Ok(Node::And(id, args)),
            "_||_" => return Ok(Node::Or(id, args)),
            "_==_" | "_!=_" => return Ok(Node::Equal { id, sides: pair(args)?, negated: function == "_!=_" }),
            "_?_:_" => return attribute::conditional(id, args),
            "_[_]" | "_[?_]" | "_?._" => return attribute::indexed(id, args, function != "_[_]"),
            "or" | "orValue" if self.is_optional(id) => {
                return Ok(Node::OptionalOr { id, sides: pair(args)?, value: function == "orValue" });
            }
            _ => {}
        }
        self.function(id, &call.function, args)
    }

    fn is_optional(&self, id: Id) -> bool {
        self.checked.overloads(id).iter().any(|overload| overload.starts_with("optional_or"))
    }

    fn function(&self, id: Id, function: &Arc<str>, args: Vec<Node>) -> Planned {
        let overload: Arc<str> = match self.checked.overloads(id) {
            [one] => one.clone(),
            _ => Arc::from(""),
        };
        if overload.as_ref() == "in_list"
            && let Some(node) = among(id, &args)
        {
            return Ok(node);
        }
        let (run, early) = self.run(function, &overload, &args)?;
        let call = Node::Call(Box::new(Call { id, function: function.clone(), overload, args, run, early }));
        match &call {
            // Conversions of constants are computed now.
            Node::Call(own) if converts(function) && matches!(own.args.as_slice(), [Node::Const(..)]) => {
                Ok(Node::Const(id, eval::constant(&call, self.context.types)?))
            }
            _ => Ok(call),
        }
    }

    fn run(&self, function: &Arc<str>, overload: &str, args: &[Node]) -> Result<(Run, bool), Fault> {
        if function.as_ref() == "@not_strictly_false" {
            return Ok((Run::NotStrictlyFalse, false));
        }
        let with_regex = match function.as_ref() {
            "matches" => Some(RegexFunction::Matches),
            "find" => Some(RegexFunction::Find),
            "findAll" => Some(RegexFunction::FindAll),
            _ => None,
        };
        if let (Some(kind), Some(Node::Const(_, Value::String(pattern)))) = (with_regex, args.get(1)) {
            let regex = goregex::compile(pattern).map_err(Fault::new)?;
            return Ok((Run::Regex(kind, Arc::new(regex)), true));
        }
        let found = self.context.functions.find(function).ok_or_else(Fault::no_overload)?;
        let dispatch = found.dispatch(Some(overload).filter(|overload| !overload.is_empty()));
        // Functions of one and two arguments see all of them, unless they are bound as if they took any number.
        let early = args.len() > 2 || matches!(dispatch, Dispatch::Any(_)) || overload == "string_format";
        Ok((Run::Function(dispatch), early))
    }
}

fn converts(function: &str) -> bool {
    matches!(
        function,
        "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type" | "uint"
    )
}

/// Membership in a list of constants as a look-up.
fn among(id: Id, args: &[Node]) -> Option<Node> {
    let [element, Node::Const(_, Value::List(list))] = args else { return None };
    if list.is_empty() {
        return Some(Node::Const(id, Value::Bool(false)));
    }
    let mut set = BTreeSet::new();
    for own in list.iter() {
        let own = own.ok().filter(|own| {
            matches!(own, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_))
        })?;
        let key = Key::new(&own)?;
        match key {
            Key::Int(value) => set.extend([Key::Double(value as f64)]),
            Key::Uint(value) => set.extend([Key::Double(value as f64)]),
            _ => {}
        }
        set.extend(key.equivalents());
        set.insert(key);
    }
    Some(Node::Among { id, element: Box::new(element.clone()), set: Arc::new(set) })
}

/// What computes a function of a regular expression that is known only at run time.
pub(crate) fn regex_function(kind: RegexFunction) -> Compute {
    match kind {
        RegexFunction::Matches => |args| with_pattern(RegexFunction::Matches, args, ""),
        RegexFunction::Find => |args| with_pattern(RegexFunction::Find, args, "Illegal regex: "),
        RegexFunction::FindAll => |args| with_pattern(RegexFunction::FindAll, args, "Illegal regex: "),
    }
}

fn with_pattern(kind: RegexFunction, args: &[Value], prefix: &str) -> Outcome {
    let Some(Value::String(pattern)) = args.get(1) else { return Err(Fault::no_overload()) };
    let regex = goregex::compile(pattern).map_err(|error| Fault::new(format!("{prefix}{error}")))?;
    kind.apply(&regex, args)
}

impl RegexFunction {
    pub(crate) fn apply(self, regex: &regex::Regex, args: &[Value]) -> Outcome {
        let Some(Value::String(text)) = args.first() else { return Err(Fault::no_overload()) };
        Ok(match self {
            RegexFunction::Matches => Value::Bool(regex.is_match(text)),
            RegexFunction::Find => Value::from(regex.find(text).map_or("", |found| found.as_str())),
            RegexFunction::FindAll => {
                let limit = match args.get(2) {
                    None => usize::MAX,
                    Some(Value::Int(limit)) => usize::try_from(*limit).unwrap_or(usize::MAX),
                    Some(_) => return Err(Fault::no_overload()),
                };
                let found = regex.find_iter(text).take(limit);
                Value::list(found.map(|found| Value::from(found.as_str())).collect())
            }
        })
    }
}
