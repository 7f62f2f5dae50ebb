//! What differs between two values of a type.

use api::value::Value;

use super::validate::scalar_problem;
use super::{Handler, Problems, Typed, elements, entries, entry_type, handler, invalid_atom, list_element, no_type};
use crate::path::Element;
use crate::schema::{List, Mapping, Ref, Relation};
use crate::set::{Filter, Set};
use crate::values;

/// Fields by what became of them; no field is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub removed: Set,
    pub modified: Set,
    pub added: Set,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    pub(crate) fn filtered(self, filter: Option<&Filter>) -> Comparison {
        match filter {
            None => self,
            Some(filter) => Comparison {
                removed: filter.apply(self.removed),
                modified: filter.apply(self.modified),
                added: filter.apply(self.added),
            },
        }
    }
}

impl Typed<'_> {
    /// What became of the fields from this object to `new`, which is of the same type.
    pub fn compare(self, new: Typed<'_>) -> Result<Comparison, Problems> {
        let mut problems = Problems::default();
        let mut level = Level::default();
        match self.ty.atom().map(|atom| atom.map) {
            None => problems.push(no_type(self.ty)),
            Some(None) => problems.push(invalid_atom(self.ty)),
            // The root is no field: it cannot be owned as a whole.
            Some(Some(map)) if map.atomic => {}
            Some(Some(map)) => {
                values::zip(self.value, new.value, |name, old, new| {
                    level.entry(name, old, new, self.ty, map, &mut problems);
                });
                level.order();
            }
        }
        problems.result(level.below)
    }
}

/// What was found at a place: below it, and about itself.
#[derive(Default)]
struct Level {
    below: Comparison,
    removed: bool,
    modified: bool,
    added: bool,
}

type Side<'v> = Option<&'v Value>;

fn value(old: Side<'_>, new: Side<'_>, ty: Ref<'_>, problems: &mut Problems) -> Level {
    let mut level = Level::default();
    match (old, new) {
        (Some(old), Some(new)) if values::equal(old, new) => return level,
        (None, Some(new)) => {
            level.below.added = whole(new, ty, problems);
            level.added = true;
            return level;
        }
        (Some(old), None) => {
            level.below.removed = whole(old, ty, problems);
            level.removed = true;
            return level;
        }
        _ => {}
    }
    let Some(atom) = ty.atom() else {
        problems.push(no_type(ty));
        return level;
    };
    let (was, is) = (atom.deduce(old), atom.deduce(new));
    level.handle(handler(was), old, new, ty, problems);
    if !was.same_parts(&is) {
        // The type changed: what each of the two types sees counts.
        let mut other = Level::default();
        other.handle(handler(is), old, new, ty, problems);
        level.join(other);
    }
    level.order();
    level
}

/// Everything below a value that only one side has; the place itself is a member as well.
fn whole(value: &Value, ty: Ref<'_>, problems: &mut Problems) -> Set {
    let mut set = Set::new();
    let Some(atom) = ty.atom() else {
        problems.push(no_type(ty));
        return set;
    };
    match (handler(atom.deduce(Some(value))), value) {
        (Handler::Invalid, _) => problems.push(invalid_atom(ty)),
        (Handler::Map(map), Value::Map(entries)) if !map.atomic => {
            set.members.reserve(entries.len());
            for (name, child) in entries.iter() {
                let from = problems.0.len();
                let element = Element::field(name);
                match entry_type(ty, map, name) {
                    Some(ty) => set.push_whole(element, whole(child, ty, problems)),
                    None => problems.push("schema error: invalid atom: inlined"),
                }
                problems.prefix(from, || format!(".{name}"));
            }
        }
        (Handler::List(list), Value::List(children)) if !matches!(list.relation, Relation::Atomic) => {
            whole_list(children, list, &mut set, problems);
        }
        _ => {}
    }
    set.order();
    set
}

fn whole_list(children: &[Value], list: List<'_>, set: &mut Set, problems: &mut Problems) {
    let mut all: Vec<(Element, &Value)> = Vec::with_capacity(children.len());
    for (at, child) in children.iter().enumerate() {
        match list_element(list, child) {
            Ok(element) => all.push((element, child)),
            Err(why) => problems.push(format!("element {at}: {why}")),
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let mut rest = all.into_iter().peekable();
    while let Some((element, child)) = rest.next() {
        let twice = rest.next_if(|next| next.0 == element).is_some();
        while rest.next_if(|next| next.0 == element).is_some() {}
        let from = problems.0.len();
        let below = if twice { Set::new() } else { whole(child, list.element, problems) };
        problems.prefix(from, || element.to_string());
        set.push_whole(element, below);
    }
}

impl Level {
    /// Looks at both values in the given way.
    fn handle(&mut self, way: Handler<'_>, old: Side<'_>, new: Side<'_>, ty: Ref<'_>, problems: &mut Problems) {
        match way {
            Handler::Invalid => problems.push(invalid_atom(ty)),
            Handler::Scalar(scalar) => {
                let wrong = [("lhs: ", old), ("rhs: ", new)];
                let wrong = wrong.map(|(side, value)| scalar_problem(scalar, value).map(|why| format!("{side}{why}")));
                if let [Some(old), Some(new)] = wrong {
                    problems.push(old);
                    problems.push(new);
                } else {
                    self.leaf(old, new);
                }
            }
            Handler::Map(map) => {
                let (was, is) = (entries(old), entries(new));
                if map.atomic || (was.is_empty() && is.is_empty()) {
                    return self.leaf(old, new);
                }
                values::zip(was, is, |name, old, new| self.entry(name, old, new, ty, map, problems));
            }
            Handler::List(list) => {
                let (was, is) = (elements(old), elements(new));
                let atomic = matches!(list.relation, Relation::Atomic);
                if atomic || (was.is_empty() && is.is_empty()) {
                    return self.leaf(old, new);
                }
                self.list(was, is, list, problems);
            }
        }
    }

    fn leaf(&mut self, old: Side<'_>, new: Side<'_>) {
        self.modified |= matches!((old, new), (Some(old), Some(new)) if !values::equal(old, new));
    }

    fn entry(
        &mut self,
        name: &str,
        old: Side<'_>,
        new: Side<'_>,
        ty: Ref<'_>,
        map: Mapping<'_>,
        problems: &mut Problems,
    ) {
        let from = problems.0.len();
        match entry_type(ty, map, name) {
            Some(ty) => self.attach(value(old, new, ty, problems), || Element::field(name)),
            None => problems.push("schema error: invalid atom: inlined"),
        }
        problems.prefix(from, || format!(".{name}"));
    }

    fn list(&mut self, old: &[Value], new: &[Value], list: List<'_>, problems: &mut Problems) {
        let mut all: Vec<(Element, bool, &Value)> = Vec::with_capacity(old.len() + new.len());
        for (is_new, values) in [(false, old), (true, new)] {
            for (at, child) in values.iter().enumerate() {
                match list_element(list, child) {
                    Ok(element) => all.push((element, is_new, child)),
                    Err(why) => problems.push(format!("element {at}: {why}")),
                }
            }
        }
        // Stable: of one element the old values come first, each side in its order.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut rest = all.into_iter().peekable();
        while let Some((element, is_new, first)) = rest.next() {
            let (mut old, mut new) = if is_new { (None, Some(first)) } else { (Some(first), None) };
            let (mut more_old, mut more_new) = (Vec::new(), Vec::new());
            while let Some((_, is_new, child)) = rest.next_if(|next| next.0 == element) {
                let (one, more) = if is_new { (&mut new, &mut more_new) } else { (&mut old, &mut more_old) };
                if one.is_none() { *one = Some(child) } else { more.push(child) }
            }
            if more_old.is_empty() && more_new.is_empty() {
                let from = problems.0.len();
                let level = value(old, new, list.element, problems);
                problems.prefix(from, || element.to_string());
                self.attach(level, || element);
                continue;
            }
            more_old.splice(0..0, old);
            more_new.splice(0..0, new);
            self.list_element(element, &more_old, &more_new, list.element, problems);
        }
    }

    /// Elements that occur twice are owned as a whole, marked by their path alone.
    fn list_element(&mut self, element: Element, old: &[&Value], new: &[&Value], ty: Ref<'_>, problems: &mut Problems) {
        let from = problems.0.len();
        let mut level = Level::default();
        match (old, new) {
            ([] | [_], [] | [_]) => level = value(old.first().copied(), new.first().copied(), ty, problems),
            ([_, _, ..], [_, _, ..]) => {
                let same = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| values::equal(a, b));
                level.modified = !same;
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    level = value(None, Some(new), ty, problems);
                }
                level.removed = true;
            }
            (_, [_, _, ..]) => {
                if let Some(old) = old.first() {
                    level = value(Some(old), None, ty, problems);
                }
                level.added = true;
            }
        }
        problems.prefix(from, || element.to_string());
        self.attach(level, || element);
    }

    /// Takes over what was found one step below.
    fn attach(&mut self, child: Level, element: impl FnOnce() -> Element) {
        let Comparison { removed, modified, added } = child.below;
        let found = [(removed, child.removed), (modified, child.modified), (added, child.added)];
        if found.iter().all(|(below, itself)| !itself && below.is_empty()) {
            return;
        }
        let element = element();
        let into = [&mut self.below.removed, &mut self.below.modified, &mut self.below.added];
        for (set, (below, itself)) in into.into_iter().zip(found) {
            if itself {
                set.members.push(element.clone());
            }
            if !below.is_empty() {
                set.children.push((element.clone(), below));
            }
        }
    }

    fn join(&mut self, mut other: Level) {
        self.order();
        other.order();
        self.below.removed = self.below.removed.union(&other.below.removed);
        self.below.modified = self.below.modified.union(&other.below.modified);
        self.below.added = self.below.added.union(&other.below.added);
        self.removed |= other.removed;
        self.modified |= other.modified;
        self.added |= other.added;
    }

    fn order(&mut self) {
        for set in [&mut self.below.removed, &mut self.below.modified, &mut self.below.added] {
            set.order();
        }
    }
}
