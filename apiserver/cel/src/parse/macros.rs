//! Macros: calls that the parser writes out as other expressions.
//!
//! Invariant: what they become is what cel-go's `parser/macro.go`, `cel/library.go` (optionals), `ext/comprehensions.go`
//! and `ext/lists.go` @v0.29.2 make of them, node by node, for costs and error texts show it.

use std::sync::Arc;

use super::builder::Builder;
use super::{ACCUMULATOR, OLD_ACCUMULATOR};
use crate::ast::{Call, Comprehension, Element, Entry, Expr, Id, Kind, Select};
use crate::value::Value;

/// The iteration variable of comprehensions that iterate over nothing.
const UNUSED: &str = "#unused";
const SORT_BY_INPUT: &str = "@__sortBy_input__";

/// A call that is written out: known by its name, its number of arguments and whether it has a target.
#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) name: &'static str,
    pub(crate) args: usize,
    pub(crate) receiver: bool,
    pub(super) expand: fn(&mut Expander<'_, '_>, Option<Expr>, Vec<Expr>) -> Made,
}

/// What a call becomes, or the node at which something is wrong, and what.
pub(super) type Made = Result<Expr, (Id, String)>;

const fn receiver(
    name: &'static str,
    args: usize,
    expand: fn(&mut Expander<'_, '_>, Option<Expr>, Vec<Expr>) -> Made,
) -> Macro {
    Macro { name, args, receiver: true, expand }
}

/// Wraps an expansion that takes a target.
macro_rules! expansion {
    ($expand:expr) => {
        |make, target, args| $expand(make, target.expect("receiver macros have a target"), args)
    };
}

pub(crate) static STANDARD: [Macro; 7] = [
    Macro { name: "has", args: 1, receiver: false, expand: has },
    receiver("all", 2, expansion!(|make, target, args| one(make, target, args, all))),
    receiver("exists", 2, expansion!(|make, target, args| one(make, target, args, exists))),
    receiver("exists_one", 2, expansion!(|make, target, args| one(make, target, args, exists_one))),
    receiver("map", 2, expansion!(map)),
    receiver("map", 3, expansion!(map)),
    receiver("filter", 2, expansion!(filter)),
];

pub(crate) static OPTIONAL: [Macro; 2] = [
    receiver("optMap", 2, expansion!(|make, target, args| opt_map(make, target, args, true))),
    receiver("optFlatMap", 2, expansion!(|make, target, args| opt_map(make, target, args, false))),
];

pub(crate) static TWO_VARIABLES: [Macro; 10] = [
    receiver("all", 3, expansion!(|make, target, args| two(make, target, args, all))),
    receiver("exists", 3, expansion!(|make, target, args| two(make, target, args, exists))),
    receiver("existsOne", 3, expansion!(|make, target, args| two(make, target, args, exists_one))),
    receiver("exists_one", 3, expansion!(|make, target, args| two(make, target, args, exists_one))),
    receiver("transformList", 3, expansion!(|make, target, args| two(make, target, args, transform_list))),
    receiver("transformList", 4, expansion!(|make, target, args| two(make, target, args, transform_list))),
    receiver("transformMap", 3, expansion!(|make, target, args| two(make, target, args, transform_map))),
    receiver("transformMap", 4, expansion!(|make, target, args| two(make, target, args, transform_map))),
    receiver("transformMapEntry", 3, expansion!(|make, target, args| two(make, target, args, transform_entry))),
    receiver("transformMapEntry", 4, expansion!(|make, target, args| two(make, target, args, transform_entry))),
];

pub(crate) static SORT_BY: Macro = receiver("sortBy", 2, expansion!(sort_by));

/// Makes the nodes of an expansion; all stand where the call stands.
pub(super) struct Expander<'a, 'b> {
    pub(super) builder: &'a mut Builder<'b>,
    pub(super) id: Id,
}

impl Expander<'_, '_> {
    fn node(&mut self, kind: Kind) -> Expr {
        let offset = self.builder.places.offset(self.id);
        Expr { id: self.builder.places.add(offset), kind }
    }

    fn literal(&mut self, value: Value) -> Expr {
        self.node(Kind::Literal(value))
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(Arc::from(name)))
    }

    fn accumulator(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call(Box::new(Call { target: None, function: Arc::from(function), args })))
    }

    fn member(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call(Box::new(Call { target: Some(target), function: Arc::from(function), args })))
    }

    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        let elements = elements.into_iter().map(|value| Element { value, optional: false });
        let kind = Kind::List(elements.collect());
        self.node(kind)
    }

    /// The expression once more, with ids of its own.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let id = self.builder.places.add(self.builder.places.offset(expr.id));
        let kind = match &expr.kind {
            Kind::Unspecified | Kind::Literal(_) | Kind::Ident(_) => expr.kind.clone(),
            Kind::Select(select) => {
                let operand = self.copy(&select.operand);
                Kind::Select(Box::new(Select { operand, field: select.field.clone(), test: select.test }))
            }
            Kind::Call(call) => {
                let args = call.args.iter().map(|arg| self.copy(arg)).collect();
                let target = call.target.as_ref().map(|target| self.copy(target));
                Kind::Call(Box::new(Call { target, function: call.function.clone(), args }))
            }
            Kind::List(elements) => {
                let copied = elements.iter().map(|e| Element { value: self.copy(&e.value), optional: e.optional });
                Kind::List(copied.collect())
            }
            Kind::Map(entries) => {
                let copied = entries.iter().map(|entry| {
                    self.builder.places.add(self.builder.places.offset(self.id));
                    Entry { key: self.copy(&entry.key), value: self.copy(&entry.value), optional: entry.optional }
                });
                Kind::Map(copied.collect())
            }
            Kind::Struct(object) => {
                let mut object = object.clone();
                for field in &mut object.fields {
                    field.id = self.builder.places.add(self.builder.places.offset(self.id));
                    field.value = self.copy(&field.value);
                }
                Kind::Struct(object)
            }
            Kind::Comprehension(fold) => {
                let mut fold = fold.clone();
                for part in [&mut fold.range, &mut fold.init, &mut fold.condition, &mut fold.step, &mut fold.result] {
                    *part = self.copy(part);
                }
                Kind::Comprehension(fold)
            }
        };
        Expr { id, kind }
    }

    fn fold(&mut self, range: Expr, variables: Variables, parts: Parts) -> Expr {
        self.node(Kind::Comprehension(Box::new(Comprehension {
            range,
            variable: variables.0,
            second: variables.1,
            accumulator: Arc::from(ACCUMULATOR),
            init: parts.init,
            condition: parts.condition,
            step: parts.step,
            result: parts.result,
        })))
    }

    /// `result` with `name` bound to `value`, as a comprehension over nothing.
    fn bound(&mut self, name: &Arc<str>, value: impl FnOnce(&mut Self) -> Expr, result: Expr) -> Expr {
        let range = self.list(Vec::new());
        let init = value(self);
        let condition = self.literal(Value::Bool(false));
        let step = self.ident(name);
        let (variable, second, accumulator) = (Arc::from(UNUSED), None, name.clone());
        let fold = Comprehension { range, variable, second, accumulator, init, condition, step, result };
        self.node(Kind::Comprehension(Box::new(fold)))
    }

    /// `accumulator + [element]`.
    fn append(&mut self, element: Expr) -> Expr {
        let accumulator = self.accumulator();
        let list = self.list(vec![element]);
        self.call("_+_", vec![accumulator, list])
    }

    /// `filter ? step : accumulator`.
    fn only_if(&mut self, filter: Expr, step: Expr) -> Expr {
        let accumulator = self.accumulator();
        self.call("_?_:_", vec![filter, step, accumulator])
    }
}

type Variables = (Arc<str>, Option<Arc<str>>);

struct Parts {
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

fn has(make: &mut Expander<'_, '_>, _: Option<Expr>, mut args: Vec<Expr>) -> Made {
    let arg = args.remove(0);
    match arg.kind {
        Kind::Select(mut select) => {
            select.test = true;
            Ok(make.node(Kind::Select(select)))
        }
        _ => Err((arg.id, "invalid argument to has() macro".to_owned())),
    }
}

fn variable(arg: &Expr, message: &str) -> Result<Arc<str>, (Id, String)> {
    let name = arg.ident().cloned().ok_or_else(|| (arg.id, message.to_owned()))?;
    match name.as_ref() {
        ACCUMULATOR | OLD_ACCUMULATOR => Err((arg.id, "iteration variable overwrites accumulator variable".to_owned())),
        _ => Ok(name),
    }
}

/// A fold of one variable. The arguments are its name and what `parts` reads.
fn one(
    make: &mut Expander<'_, '_>,
    target: Expr,
    mut args: Vec<Expr>,
    parts: fn(&mut Expander<'_, '_>, &Arc<str>, Vec<Expr>) -> Parts,
) -> Made {
    let name = variable(&args[0], "argument must be a simple name")?;
    let parts = parts(make, &name, args.split_off(1));
    Ok(make.fold(target, (name, None), parts))
}

/// The same for two variables.
fn two(
    make: &mut Expander<'_, '_>,
    target: Expr,
    mut args: Vec<Expr>,
    parts: fn(&mut Expander<'_, '_>, &Arc<str>, Vec<Expr>) -> Parts,
) -> Made {
    let message = "argument must be a simple name";
    let names = [0, 1].map(|i| args[i].ident().cloned().ok_or_else(|| (args[i].id, message.to_owned())));
    let [first, second] = names;
    let (first, second) = (first?, second?);
    if first == second {
        return Err((args[1].id, format!("duplicate variable name: {first}")));
    }
    variable(&args[0], message)?;
    variable(&args[1], message)?;
    let parts = parts(make, &first, args.split_off(2));
    Ok(make.fold(target, (first, Some(second)), parts))
}

fn only(mut args: Vec<Expr>) -> Expr {
    args.pop().expect("macros are matched by their number of arguments")
}

fn all(make: &mut Expander<'_, '_>, _: &Arc<str>, args: Vec<Expr>) -> Parts {
    let init = make.literal(Value::Bool(true));
    let accumulator = make.accumulator();
    let condition = make.call("@not_strictly_false", vec![accumulator]);
    let accumulator = make.accumulator();
    let step = make.call("_&&_", vec![accumulator, only(args)]);
    Parts { init, condition, step, result: make.accumulator() }
}

fn exists(make: &mut Expander<'_, '_>, _: &Arc<str>, args: Vec<Expr>) -> Parts {
    let init = make.literal(Value::Bool(false));
    let accumulator = make.accumulator();
    let not = make.call("!_", vec![accumulator]);
    let condition = make.call("@not_strictly_false", vec![not]);
    let accumulator = make.accumulator();
    let step = make.call("_||_", vec![accumulator, only(args)]);
    Parts { init, condition, step, result: make.accumulator() }
}

fn exists_one(make: &mut Expander<'_, '_>, _: &Arc<str>, args: Vec<Expr>) -> Parts {
    let init = make.literal(Value::Int(0));
    let condition = make.literal(Value::Bool(true));
    let accumulator = make.accumulator();
    let one = make.literal(Value::Int(1));
    let more = make.call("_+_", vec![accumulator, one]);
    let step = make.only_if(only(args), more);
    let accumulator = make.accumulator();
    let one = make.literal(Value::Int(1));
    Parts { init, condition, step, result: make.call("_==_", vec![accumulator, one]) }
}

fn map(make: &mut Expander<'_, '_>, target: Expr, mut args: Vec<Expr>) -> Made {
    let name = variable(&args[0], "argument is not an identifier")?;
    let args = args.split_off(1);
    let parts = gathered(make, args, |make| make.list(Vec::new()), |make, element| make.append(element));
    Ok(make.fold(target, (name, None), parts))
}

/// Parts of a fold that adds what its last argument makes, where the one before it, if any, lets it.
fn gathered(
    make: &mut Expander<'_, '_>,
    mut args: Vec<Expr>,
    init: impl FnOnce(&mut Expander<'_, '_>) -> Expr,
    add: impl FnOnce(&mut Expander<'_, '_>, Expr) -> Expr,
) -> Parts {
    let transform = args.pop().expect("macros are matched by their number of arguments");
    let init = init(make);
    let condition = make.literal(Value::Bool(true));
    let step = add(make, transform);
    let step = match args.pop() {
        Some(filter) => make.only_if(filter, step),
        None => step,
    };
    Parts { init, condition, step, result: make.accumulator() }
}

fn filter(make: &mut Expander<'_, '_>, target: Expr, mut args: Vec<Expr>) -> Made {
    let name = variable(&args[0], "argument is not an identifier")?;
    let predicate = args.pop().expect("filter has two arguments");
    let element = only(args);
    let parts =
        gathered(make, vec![predicate, element], |make| make.list(Vec::new()), |make, element| make.append(element));
    Ok(make.fold(target, (name, None), parts))
}

fn transform_list(make: &mut Expander<'_, '_>, _: &Arc<str>, args: Vec<Expr>) -> Parts {
    gathered(make, args, |make| make.list(Vec::new()), |make, element| make.append(element))
}

fn transform_map(make: &mut Expander<'_, '_>, key: &Arc<str>, args: Vec<Expr>) -> Parts {
    let key = key.clone();
    let insert = move |make: &mut Expander<'_, '_>, value| {
        let accumulator = make.accumulator();
        let key = make.ident(&key);
        make.call("cel.@mapInsert", vec![accumulator, key, value])
    };
    gathered(make, args, |make| make.node(Kind::Map(Vec::new())), insert)
}

fn transform_entry(make: &mut Expander<'_, '_>, _: &Arc<str>, args: Vec<Expr>) -> Parts {
    let insert = |make: &mut Expander<'_, '_>, entry| {
        let accumulator = make.accumulator();
        make.call("cel.@mapInsert", vec![accumulator, entry])
    };
    gathered(make, args, |make| make.node(Kind::Map(Vec::new())), insert)
}

/// `optMap` when `wrap`, else `optFlatMap`.
fn opt_map(make: &mut Expander<'_, '_>, target: Expr, args: Vec<Expr>, wrap: bool) -> Made {
    let macro_name = if wrap { "optMap" } else { "optFlatMap" };
    let wrong = || (args[0].id, format!("{macro_name}() variable name must be a simple identifier"));
    let name = args[0].ident().cloned().ok_or_else(wrong)?;
    let copied = target.clone();
    let present = make.member("hasValue", target, Vec::new());
    let value = |make: &mut Expander<'_, '_>| {
        let target = make.copy(&copied);
        make.member("value", target, Vec::new())
    };
    let result = only(args);
    let mut mapped = make.bound(&name, value, result);
    if wrap {
        mapped = make.call("optional.of", vec![mapped]);
    }
    let none = make.call("optional.none", Vec::new());
    Ok(make.call("_?_:_", vec![present, mapped, none]))
}

fn sort_by(make: &mut Expander<'_, '_>, target: Expr, args: Vec<Expr>) -> Made {
    let input = make.ident(SORT_BY_INPUT);
    if matches!(target.kind, Kind::Unspecified | Kind::Literal(_) | Kind::Map(_) | Kind::Struct(_)) {
        let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err((target.id, message.to_owned()));
    }
    let copied = make.copy(&input);
    let keys = map(make, copied, args)?;
    let copied = make.copy(&input);
    let sorted = make.member("@sortByAssociatedKeys", copied, vec![keys]);
    let name = Arc::from(SORT_BY_INPUT);
    let range = make.list(Vec::new());
    let condition = make.literal(Value::Bool(false));
    let (variable, accumulator) = (Arc::from(UNUSED), name);
    Ok(make.node(Kind::Comprehension(Box::new(Comprehension {
        range,
        variable,
        second: None,
        accumulator,
        init: target,
        condition,
        step: input,
        result: sorted,
    }))))
}
