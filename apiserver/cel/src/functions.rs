//! Functions an environment knows: their overloads, declared as text, and what computes them.
//!
//! Invariant: which overload runs, and the error when none does, are as in cel-go's `common/decls/decls.go` and
//! `interpreter/planner.go` @v0.29.2. Non-goal: operators with an order of evaluation of their own (`&&`, `?:`, `==`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Type;
use crate::value::{Fault, Outcome, Value};

pub(crate) type Compute = fn(&[Value]) -> Outcome;

/// What a library brings: lines of `function overload signature`, and what computes each overload.
pub(crate) struct Library {
    pub(crate) declarations: &'static str,
    pub(crate) compute: fn(&str) -> Option<Compute>,
}

/// The types with an order; `$T` in a declaration stands for each of them.
const COMPARABLE: [&str; 8] = ["int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes"];
/// The types with a sum; `$S` stands for each.
const SUMMABLE: [&str; 4] = ["int", "uint", "double", "duration"];

#[derive(Debug, Clone)]
pub(crate) struct Overload {
    pub(crate) id: Arc<str>,
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    /// Whether arguments of other types are refused before they are computed with.
    guarded: bool,
    compute: Option<Compute>,
}

impl Overload {
    fn admits(&self, args: &[Value]) -> bool {
        let fits = || self.args.iter().zip(args).all(|(of, arg)| of.admits(arg));
        self.args.len() == args.len() && (!self.guarded || fits())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) name: Arc<str>,
    pub(crate) overloads: Vec<Overload>,
    /// One computation for all overloads, which looks at the values itself.
    whole: Option<Compute>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Functions {
    by_name: HashMap<Arc<str>, Arc<Function>>,
}

impl Functions {
    pub(crate) fn add(&mut self, library: &Library) {
        self.add_declarations(library.declarations, library.compute);
    }

    pub(crate) fn add_declarations(&mut self, declarations: &str, compute: fn(&str) -> Option<Compute>) {
        for line in declarations.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let families: [(&str, &[&str]); 2] = [("$T", &COMPARABLE), ("$S", &SUMMABLE)];
            match families.into_iter().find(|(mark, _)| line.contains(mark)) {
                Some((mark, names)) => {
                    names.iter().for_each(|name| self.declare(&line.replace(mark, name), compute));
                }
                None => self.declare(line, compute),
            }
        }
    }

    fn declare(&mut self, line: &str, compute: fn(&str) -> Option<Compute>) {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("a declaration is a function, an overload and a signature");
        let (name, id, signature) = (word(), word(), word());
        let (args, result) = signature.rsplit_once(" -> ").expect("a signature has a result");
        let args = args.strip_suffix(')').expect("arguments end with a parenthesis");
        // A target ends with the last dot before a parenthesis that is not within it.
        let (target, args) = match args.rfind(".(") {
            Some(dot) => (Some(&args[..dot]), &args[dot + 2..]),
            None => (None, args.strip_prefix('(').expect("arguments begin with a parenthesis")),
        };
        let guarded = !id.ends_with('!');
        let id = id.trim_end_matches('!');
        let overload = Overload {
            id: Arc::from(id),
            guarded,
            member: target.is_some(),
            args: target.into_iter().chain(split(args)).map(parse_type).collect(),
            result: parse_type(result),
            compute: compute(id),
        };
        let name: Arc<str> = Arc::from(name);
        let whole = compute(&name);
        let function = || Arc::new(Function { name: name.clone(), overloads: Vec::new(), whole });
        let function = self.by_name.entry(name.clone()).or_insert_with(function);
        Arc::make_mut(function).overloads.push(overload);
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Function>> {
        self.by_name.get(name.trim_start_matches('.'))
    }
}

/// A type by name; parameters are capital letters.
fn parse_type(text: &str) -> Type {
    let (name, parameters) = match text.split_once('(') {
        Some((name, rest)) => {
            (name, split(rest.strip_suffix(')').expect("parameters end with a parenthesis")).collect())
        }
        None => (text, Vec::new()),
    };
    let mut parameters = parameters.into_iter().map(parse_type);
    let mut next = || parameters.next().expect("the type has this parameter");
    match name {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "list" => Type::list(next()),
        "map" => {
            let key = next();
            Type::map(key, next())
        }
        "optional" => Type::optional(next()),
        "type" => Type::of_type(next()),
        name if name.len() == 1 => Type::Param(Arc::from(name)),
        name if name.starts_with("net.") => Type::opaque(name),
        name => Type::object(name),
    }
}

/// The parts between commas that are in no parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |char| {
        depth += match char {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        char == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

/// What a call computes, found when an expression is planned.
#[derive(Debug, Clone)]
pub(crate) enum Dispatch {
    /// The function has a computation for all its overloads.
    Whole(Compute),
    /// The checker found the one overload.
    One(Arc<Function>, usize),
    /// The values decide.
    Any(Arc<Function>),
}

impl Function {
    /// `overload` is the one the checker found, where it was one.
    pub(crate) fn dispatch(self: &Arc<Self>, overload: Option<&str>) -> Dispatch {
        if let Some(whole) = self.whole {
            return Dispatch::Whole(whole);
        }
        let found = self.overloads.iter().position(|known| Some(known.id.as_ref()) == overload);
        let computed: Vec<usize> =
            (0..self.overloads.len()).filter(|at| self.overloads[*at].compute.is_some()).collect();
        match (found.filter(|at| self.overloads[*at].compute.is_some()), computed.as_slice()) {
            (Some(at), _) | (None, &[at]) => Dispatch::One(self.clone(), at),
            (None, _) => Dispatch::Any(self.clone()),
        }
    }

    fn no_overload(&self, args: &[Value]) -> Fault {
        let types: Vec<String> = args.iter().map(|arg| arg.cel_type().name().to_owned()).collect();
        Fault::new(format!("no such overload: {}({})", self.name, types.join(", ")))
    }
}

impl Dispatch {
    pub(crate) fn call(&self, args: &[Value]) -> Outcome {
        match self {
            Dispatch::Whole(compute) => compute(args),
            Dispatch::One(function, at) => {
                let overload = &function.overloads[*at];
                match overload.compute.filter(|_| overload.admits(args)) {
                    Some(compute) => compute(args),
                    None => Err(function.no_overload(args)),
                }
            }
            Dispatch::Any(function) => {
                let found =
                    function.overloads.iter().find(|overload| overload.compute.is_some() && overload.admits(args));
                match found.and_then(|overload| overload.compute) {
                    Some(compute) => compute(args),
                    None => Err(function.no_overload(args)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: Library = Library {
        declarations: "f f_int (int) -> int
                       f f_list list(string).(map(K, V), T) -> optional(T)
                       g g_$S ($S) -> list($S)",
        compute: |id| (id == "f_int").then_some((|args| Ok(args[0].clone())) as Compute),
    };

    #[test]
    fn declarations_are_read() {
        let mut functions = Functions::default();
        functions.add(&LIBRARY);
        let f = functions.find(".f").expect("declared");
        let shown: Vec<String> = f.overloads.iter().map(|o| format!("{} {} {:?}", o.id, o.member, o.result)).collect();
        assert_eq!(shown[0], "f_int false Int");
        assert_eq!(crate::types::format(&f.overloads[1].args[1]), "map(K, V)");
        assert_eq!(functions.find("g").map(|g| g.overloads.len()), Some(4));
    }

    #[test]
    fn the_only_computed_overload_guards_its_arguments() {
        let mut functions = Functions::default();
        functions.add(&LIBRARY);
        let dispatch = functions.find("f").expect("declared").dispatch(None);
        assert_eq!(dispatch.call(&[Value::Int(1)]).map(|value| value.as_int()), Ok(Some(1)));
        let refused = dispatch.call(&[Value::from("a")]).map(drop);
        assert_eq!(refused, Err(Fault::new("no such overload: f(string)")));
    }
}
