//! A partial object merged into a whole one.

use std::collections::BTreeMap;

use api::value::{Map, Value};

use super::validate::scalar_problem;
use super::{Handler, Problems, Typed, elements, entries, entry_type, handler, invalid_atom, list_element, no_type};
use crate::path::Element;
use crate::schema::{List, Mapping, Ref, Relation};
use crate::values;

impl Typed<'_> {
    /// This object with what `config` says: no field goes, leaves are the config's, lists that the config
    /// changes are in its order.
    pub fn merge(self, config: Typed<'_>) -> Result<Map, Problems> {
        let mut problems = Problems::default();
        let mut merged = Map::with_capacity(self.value.len());
        match self.ty.atom().map(|atom| atom.map) {
            None => problems.push(no_type(self.ty)),
            Some(None) => problems.push(invalid_atom(self.ty)),
            Some(Some(map)) if map.atomic => merged = config.value.clone(),
            Some(Some(map)) => merged = merge_entries(self.value, config.value, self.ty, map, &mut problems),
        }
        problems.result(merged)
    }
}

type Side<'v> = Option<&'v Value>;

fn merge(left: Side<'_>, right: Side<'_>, ty: Ref<'_>, problems: &mut Problems) -> Option<Value> {
    let Some(atom) = ty.atom() else {
        problems.push(no_type(ty));
        return None;
    };
    let (was, is) = (atom.deduce(left), atom.deduce(right));
    if right.is_none() {
        return handle(handler(was), left, right, ty, problems);
    }
    if left.is_some() && !was.same_parts(&is) {
        handle(handler(was), left, right, ty, problems);
    }
    handle(handler(is), left, right, ty, problems)
}

fn handle(way: Handler<'_>, left: Side<'_>, right: Side<'_>, ty: Ref<'_>, problems: &mut Problems) -> Option<Value> {
    match way {
        Handler::Invalid => {
            problems.push(invalid_atom(ty));
            None
        }
        Handler::Scalar(scalar) => {
            if let (Some(old), Some(new)) = (scalar_problem(scalar, left), scalar_problem(scalar, right)) {
                problems.push(format!("lhs: {old}"));
                problems.push(format!("rhs: {new}"));
                return None;
            }
            right.or(left).cloned()
        }
        Handler::Map(map) => {
            let (was, is) = (entries(left), entries(right));
            if map.atomic || (was.is_empty() && is.is_empty()) {
                return right.or(left).cloned();
            }
            let merged = merge_entries(was, is, ty, map, problems);
            (!merged.is_empty()).then_some(Value::Map(merged))
        }
        Handler::List(list) => {
            let (was, is) = (elements(left), elements(right));
            if matches!(list.relation, Relation::Atomic) || (was.is_empty() && is.is_empty()) {
                return right.or(left).cloned();
            }
            let merged = merge_lists(was, is, list, problems);
            (!merged.is_empty()).then_some(Value::List(merged))
        }
    }
}

fn merge_entries(left: &Map, right: &Map, ty: Ref<'_>, map: Mapping<'_>, problems: &mut Problems) -> Map {
    let mut out = Map::with_capacity(left.len().max(right.len()));
    values::zip(left, right, |name, left, right| {
        let from = problems.0.len();
        let merged = match entry_type(ty, map, name) {
            Some(ty) => merge(left, right, ty, problems),
            None => {
                problems.push("schema error: invalid atom: inlined");
                None
            }
        };
        problems.prefix(from, || format!(".{name}"));
        if let Some(merged) = merged {
            out.push(name.into(), merged);
        }
    });
    out
}

/// A list's elements by their path elements.
struct Indexed<'v> {
    order: Vec<Element>,
    /// Of an element that occurs twice, the value is null: it is not merged with.
    values: BTreeMap<Element, &'v Value>,
}

static NULL: Value = Value::Null;

fn index<'v>(values: &'v [Value], list: List<'_>, duplicates: bool, problems: &mut Problems) -> Indexed<'v> {
    let mut indexed = Indexed { order: Vec::with_capacity(values.len()), values: BTreeMap::new() };
    for (at, child) in values.iter().enumerate() {
        let element = match list_element(list, child) {
            Ok(element) => element,
            Err(why) => {
                problems.push(format!("element {at}: {why}"));
                continue;
            }
        };
        let found = indexed.values.contains_key(&element);
        if found && !duplicates {
            problems.push(format!("duplicate entries for key {element}"));
            continue;
        }
        indexed.values.insert(element.clone(), if found { &NULL } else { child });
        indexed.order.push(element);
    }
    indexed
}

/// Elements of both lists are merged and stand in the order of `right`; the others keep their places
/// between them.
fn merge_lists(left: &[Value], right: &[Value], list: List<'_>, problems: &mut Problems) -> Vec<Value> {
    let from = problems.0.len();
    let new = index(right, list, false, problems);
    let old = index(left, list, true, problems);
    if problems.0.len() > from {
        return Vec::new();
    }
    let mut shared = new.order.iter().filter(|element| old.values.contains_key(element)).peekable();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let mut merged = std::collections::BTreeSet::new();
    // Problems of single elements do not count here: both sides were validated before.
    let mut unheard = Problems::default();
    let mut take = |out: &mut Vec<Value>, left: Side<'_>, right: Side<'_>| {
        out.extend(merge(left, right, list.element, &mut unheard));
    };
    let (mut l, mut r) = (0, 0);
    while l < old.order.len() || r < new.order.len() {
        if let (Some(element), Some(wanted)) = (old.order.get(l), new.order.get(r)) {
            if element == wanted {
                merged.insert(element);
                take(&mut out, old.values.get(element).copied(), new.values.get(element).copied());
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            let awaited = shared.peek().is_some_and(|next| *next != element);
            if new.values.contains_key(element) && awaited {
                l += 1;
                continue;
            }
        }
        if let Some(element) = old.order.get(l) {
            if !new.values.contains_key(element) {
                take(&mut out, left.get(l), None);
                l += 1;
                continue;
            }
            if merged.contains(element) {
                l += 1;
            }
        }
        if let Some(element) = new.order.get(r) {
            merged.insert(element);
            take(&mut out, old.values.get(element).copied(), new.values.get(element).copied());
            r += 1;
            shared.next_if(|next| *next == element);
        }
    }
    out
}
