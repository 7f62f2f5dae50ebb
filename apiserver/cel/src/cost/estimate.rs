//! What a checked expression will cost at least and at most.
//!
//! Invariant: the sums of cel-go's `checker/cost.go@v0.29.2` with Kubernetes' functions and settings: `has()` itself is free.
//! CustomResourceDefinitions are refused by them, so that they must not change.

use std::collections::HashMap;
use std::sync::Arc;

use super::functions::{self, CallCost, View};
use super::{LIST_CREATE, MAP_CREATE, Range, SELECT_OR_IDENT, STRUCT_CREATE};
use crate::ast::{Call, Comprehension, Element, Entry, Expr, Id, Kind, Select};
use crate::check::Checked;
use crate::parse::{ACCUMULATOR, OLD_ACCUMULATOR};
use crate::types::Type;
use crate::value::Value;

/// The way from a variable to a part of its value: fields, `@items`, `@keys`, `@values`.
pub(super) type Path = Vec<Arc<str>>;

/// Knows how large the parts of variables can be.
pub trait SizeEstimator {
    /// Of a text in characters, of others in elements. The first part of the path is the variable.
    fn size(&self, path: &[Arc<str>]) -> Option<Range>;
}

/// Knows nothing.
pub struct NoSizes;

impl SizeEstimator for NoSizes {
    fn size(&self, _: &[Arc<str>]) -> Option<Range> {
        None
    }
}

/// The sizes of the keys (or indices) and values of a list or map.
#[derive(Debug, Clone, Copy)]
struct EntrySize {
    list: bool,
    key: Range,
    value: Range,
}

/// A variable of a comprehension.
struct Local {
    path: Path,
    size: Option<Range>,
    entries: Option<EntrySize>,
}

pub(crate) fn estimate(checked: &Checked, sizes: &dyn SizeEstimator) -> Range {
    let mut coster = Coster {
        checked,
        sizes,
        paths: HashMap::new(),
        locals: HashMap::new(),
        computed: HashMap::new(),
        entries: HashMap::new(),
    };
    coster.cost(&checked.parsed.expr)
}

struct Coster<'a> {
    checked: &'a Checked,
    sizes: &'a dyn SizeEstimator,
    paths: HashMap<Id, Path>,
    locals: HashMap<Arc<str>, Vec<Local>>,
    computed: HashMap<Id, Range>,
    entries: HashMap<Id, EntrySize>,
}

impl Coster<'_> {
    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Unspecified | Kind::Literal(_) => Range::ZERO,
            Kind::Ident(name) => self.ident(expr.id, name),
            Kind::Select(select) => self.select(expr.id, select),
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements) => self.list(expr.id, elements),
            Kind::Map(entries) => self.map(expr.id, entries),
            Kind::Struct(object) => {
                object.fields.iter().fold(Range::fixed(STRUCT_CREATE), |sum, field| sum.plus(self.cost(&field.value)))
            }
            Kind::Comprehension(fold) if is_bind(fold) => self.bind(expr.id, fold),
            Kind::Comprehension(fold) => self.comprehension(expr.id, fold),
        }
    }

    fn ident(&mut self, id: Id, name: &Arc<str>) -> Range {
        let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
        self.paths.insert(id, path);
        Range::fixed(SELECT_OR_IDENT)
    }

    fn select(&mut self, id: Id, select: &Select) -> Range {
        let operand = self.cost(&select.operand);
        if select.test {
            return operand;
        }
        let counted = matches!(self.type_of(&select.operand), Type::Map(_) | Type::Struct(_) | Type::Param(_));
        let path = self.extended(&select.operand, &select.field);
        self.paths.insert(id, path);
        if counted { operand.plus(Range::fixed(SELECT_OR_IDENT)) } else { operand }
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> Range {
        if call.function.as_ref() == "dyn"
            && let [arg] = call.args.as_slice()
        {
            let cost = self.cost(arg);
            self.copy_sizes(expr.id, arg);
            return cost.plus(Range::fixed(1));
        }
        let costs: Vec<Range> = call.args.iter().map(|arg| self.cost(arg)).collect();
        let args: Vec<View<'_>> = call.args.iter().map(|arg| self.view(arg)).collect();
        let checked = self.checked;
        let overloads = checked.overloads(expr.id);
        if overloads.is_empty() {
            return Range::ZERO;
        }
        let target_cost = call.target.as_ref().map_or(Range::ZERO, |target| self.cost(target));
        let target = call.target.as_ref().map(|target| self.view(target));
        let mut sum = Range { min: u64::MAX, max: 0 };
        let mut size: Option<Range> = None;
        for overload in overloads {
            let own = self.overload(expr, &call.function, overload, target.as_ref(), &args, &costs);
            sum = sum.union(own.cost);
            size = match (size, own.size) {
                (Some(a), Some(b)) => Some(a.union(b)),
                (a, b) => a.or(b),
            };
            let part = match overload.as_ref() {
                "index_list" => Some("@items"),
                "index_map" => Some("@values"),
                _ => None,
            };
            if let (Some(part), Some(list)) = (part, call.args.first()) {
                size = self.entry_size(list).map(|entries| entries.value);
                let path = self.extended(list, &Arc::from(part));
                self.paths.insert(expr.id, path);
            }
            size = size.or_else(|| self.size(expr));
        }
        self.set_size(expr.id, size);
        target_cost.plus(sum)
    }

    /// What a call costs, its arguments included.
    fn overload(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&View<'_>>,
        args: &[View<'_>],
        costs: &[Range],
    ) -> CallCost {
        let all = costs.iter().fold(Range::ZERO, |sum, cost| sum.plus(*cost));
        let known = functions::extension(overload, target, args)
            .or_else(|| super::kubernetes::call(self.sizes, function, overload, target, args));
        if let Some(own) = known {
            return CallCost { cost: own.cost.plus(all), ..own };
        }
        match (overload, costs) {
            // Whatever the left side is, it may be all that is read.
            ("logical_or" | "logical_and", [left, right]) => {
                CallCost { cost: Range { min: left.min, max: left.plus(*right).max }, size: None }
            }
            ("conditional", [condition, yes, no]) => {
                let size = args[1].size_or_unknown().union(args[2].size_or_unknown());
                self.union_entries(expr.id, args);
                CallCost { cost: condition.plus(yes.union(*no)), size: Some(size) }
            }
            _ => {
                if matches!(overload, "add_string" | "add_bytes" | "add_list") {
                    self.union_entries(expr.id, args);
                }
                let own = functions::standard(overload, target, args);
                CallCost { cost: own.cost.plus(all), ..own }
            }
        }
    }

    /// The entries of what is made of the last two arguments.
    fn union_entries(&mut self, id: Id, args: &[View<'_>]) {
        let [.., a, b] = args else { return };
        let entries = [a, b].map(|arg| arg.expr.and_then(|expr| self.entry_size(expr)));
        if let [Some(a), Some(b)] = entries {
            let union = EntrySize { list: a.list, key: a.key.union(b.key), value: a.value.union(b.value) };
            self.entries.insert(id, union);
        }
    }

    fn list(&mut self, id: Id, elements: &[Element]) -> Range {
        let none = Range { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
        let (mut sum, mut value) = (Range::ZERO, none);
        for element in elements {
            sum = sum.plus(self.cost(&element.value));
            value = value.union(self.size_or_unknown(&element.value));
        }
        self.entries.insert(id, EntrySize { list: true, key: Range::fixed(1), value });
        sum.plus(Range::fixed(LIST_CREATE))
    }

    fn map(&mut self, id: Id, entries: &[Entry]) -> Range {
        let none = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
        let (mut sum, mut key, mut value) = (Range::ZERO, none, none);
        for entry in entries {
            sum = sum.plus(self.cost(&entry.key));
            sum = sum.plus(self.cost(&entry.value));
            key = key.union(self.size_or_unknown(&entry.key));
            value = value.union(self.size_or_unknown(&entry.value));
        }
        self.entries.insert(id, EntrySize { list: false, key, value });
        sum.plus(Range::fixed(MAP_CREATE))
    }

    fn bind(&mut self, id: Id, fold: &Comprehension) -> Range {
        let sum = self.cost(&fold.range);
        let sum = sum.plus(self.cost(&fold.init));
        self.push_accumulator(fold);
        let sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accumulator);
        self.copy_sizes(id, &fold.result);
        sum
    }

    fn comprehension(&mut self, id: Id, fold: &Comprehension) -> Range {
        let sum = self.cost(&fold.range);
        let sum = sum.plus(self.cost(&fold.init));
        self.push_accumulator(fold);
        self.push_variables(fold);
        let condition = self.cost(&fold.condition);
        let step = self.cost(&fold.step);
        self.pop(&fold.variable);
        if let Some(second) = &fold.second {
            self.pop(second);
        }
        let sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accumulator);
        let count = self.size_or_unknown(&fold.range);
        match &fold.init.kind {
            Kind::Literal(_) => {
                let size = self.size(&fold.init);
                self.set_size(id, size);
            }
            Kind::List(_) | Kind::Map(_) => {
                self.set_size(id, Some(count));
                if let Some(entries) = self.entry_size(&fold.step) {
                    self.entries.insert(id, entries);
                }
            }
            _ => {}
        }
        sum.plus(count.times(step.plus(condition)))
    }

    fn push(&mut self, name: &Arc<str>, local: Local) {
        self.locals.entry(name.clone()).or_default().push(local);
    }

    fn pop(&mut self, name: &Arc<str>) {
        self.locals.entry(name.clone()).or_default().pop();
    }

    fn push_accumulator(&mut self, fold: &Comprehension) {
        let path = self.path(&fold.init);
        let (size, entries) = (self.size(&fold.init), self.entry_size(&fold.init));
        self.push(&fold.accumulator, Local { path, size, entries });
    }

    fn push_variables(&mut self, fold: &Comprehension) {
        let entries = self.entry_size(&fold.range);
        let list = entries.map_or_else(|| matches!(self.type_of(&fold.range), Type::List(_)), |entries| entries.list);
        let (key, value) = (entries.map(|entries| entries.key), entries.map(|entries| entries.value));
        let mut one = |name: &Arc<str>, part: &str, size| {
            let path = self.extended(&fold.range, &Arc::from(part));
            self.push(name, Local { path, size, entries: None });
        };
        match &fold.second {
            Some(second) => {
                one(&fold.variable, if list { "@indices" } else { "@keys" }, key);
                one(second, if list { "@items" } else { "@values" }, value);
            }
            None if list => one(&fold.variable, "@items", value),
            None => one(&fold.variable, "@keys", key),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name).and_then(|stack| stack.last())
    }

    fn type_of(&self, expr: &Expr) -> &Type {
        self.checked.type_of(expr.id)
    }

    fn path(&self, expr: &Expr) -> Path {
        let local = expr.ident().and_then(|name| self.local(name));
        local.map(|local| &local.path).or_else(|| self.paths.get(&expr.id)).cloned().unwrap_or_default()
    }

    fn extended(&self, expr: &Expr, part: &Arc<str>) -> Path {
        let mut path = self.path(expr);
        path.push(part.clone());
        path
    }

    fn view<'e>(&mut self, expr: &'e Expr) -> View<'e> {
        let path = self.path(expr);
        let hidden = path.first().is_some_and(|first| matches!(first.as_ref(), ACCUMULATOR | OLD_ACCUMULATOR));
        let size = self.size(expr);
        let path = if hidden { Path::new() } else { path };
        View { path, of: self.type_of(expr).clone(), expr: Some(expr), size }
    }

    fn set_size(&mut self, id: Id, size: Option<Range>) {
        if let Some(size) = size {
            self.computed.insert(id, size);
        }
    }

    fn copy_sizes(&mut self, to: Id, from: &Expr) {
        let size = self.size(from);
        self.set_size(to, size);
        if let Some(entries) = self.entry_size(from) {
            self.entries.insert(to, entries);
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(known) = self.computed.get(&expr.id).copied().or_else(|| literal_size(expr)) {
            return Some(known);
        }
        if let Some(declared) = self.sizes.size(&self.path(expr)) {
            self.computed.insert(expr.id, declared);
            return Some(declared);
        }
        if is_scalar(self.type_of(expr)) {
            return Some(Range::fixed(1));
        }
        expr.ident().and_then(|name| self.local(name)).and_then(|local| local.size)
    }

    fn entry_size(&self, expr: &Expr) -> Option<EntrySize> {
        let known = self.entries.get(&expr.id).copied();
        known.or_else(|| expr.ident().and_then(|name| self.local(name)).and_then(|local| local.entries))
    }
}

/// Whether a comprehension only gives a value a name.
fn is_bind(fold: &Comprehension) -> bool {
    fold.range.is_empty_list()
        && matches!(fold.condition.literal(), Some(Value::Bool(false)))
        && fold.accumulator.as_ref() != OLD_ACCUMULATOR
}

fn literal_size(expr: &Expr) -> Option<Range> {
    let size = match &expr.kind {
        Kind::Literal(Value::Type(_) | Value::List(_) | Value::Map(_) | Value::Object(_) | Value::Optional(_)) => {
            return None;
        }
        Kind::Literal(value) => value.size().unwrap_or(1),
        Kind::List(elements) => elements.len(),
        Kind::Map(entries) => entries.len(),
        _ => return None,
    };
    Some(Range::fixed(size as u64))
}

/// Whether all values of a type have one size.
fn is_scalar(of: &Type) -> bool {
    match of.unwrapped() {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        other => other.optional_value().is_some_and(is_scalar),
    }
}
