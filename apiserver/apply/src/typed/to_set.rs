//! The fields that an object sets.

use std::collections::BTreeMap;

use api::value::{Map, Value};

use super::{Handler, Problems, Typed, elements, entries, entry_type, handler, invalid_atom, list_element, no_type};
use crate::path::Element;
use crate::schema::{List, Mapping, Ref, Relation};
use crate::set::Set;

impl Typed<'_> {
    /// Every leaf and every item of the object.
    pub fn to_field_set(self) -> Result<Set, Problems> {
        let mut problems = Problems::default();
        let mut set = Set::new();
        match self.ty.atom().map(|atom| atom.map) {
            None => problems.push(no_type(self.ty)),
            Some(None) => problems.push(invalid_atom(self.ty)),
            Some(Some(map)) if map.atomic => {}
            Some(Some(map)) => set = map_items(self.value, self.ty, map, &mut problems),
        }
        problems.result(set)
    }
}

/// What is below a value, and whether it is itself a leaf.
fn value(value: &Value, ty: Ref<'_>, problems: &mut Problems) -> (Set, bool) {
    let Some(atom) = ty.atom() else {
        problems.push(no_type(ty));
        return (Set::new(), false);
    };
    match handler(atom.deduce(Some(value))) {
        Handler::Scalar(_) => (Set::new(), true),
        Handler::Map(map) if map.atomic => (Set::new(), true),
        Handler::Map(map) => (map_items(entries(Some(value)), ty, map, problems), false),
        Handler::List(list) if matches!(list.relation, Relation::Atomic) => (Set::new(), true),
        Handler::List(list) => (list_items(elements(Some(value)), list, problems), false),
        Handler::Invalid => {
            problems.push(invalid_atom(ty));
            (Set::new(), false)
        }
    }
}

fn map_items(values: &Map, ty: Ref<'_>, map: Mapping<'_>, problems: &mut Problems) -> Set {
    let mut set = Set::new();
    for (name, child) in values.iter() {
        let Some(entry) = entry_type(ty, map, name) else {
            problems.push(invalid_atom(ty));
            continue;
        };
        let (below, leaf) = value(child, entry, problems);
        let bare = child.is_null() || matches!(child, Value::Map(map) if map.is_empty());
        push(&mut set, Element::Field(name.clone()), below, leaf || bare || ty.field(name).is_none());
    }
    set.order();
    set
}

fn list_items(values: &[Value], list: List<'_>, problems: &mut Problems) -> Set {
    let mut all: BTreeMap<Element, (&Value, bool)> = BTreeMap::new();
    for child in values {
        // An element without a path was refused by validation.
        let Ok(element) = list_element(list, child) else { continue };
        all.entry(element).and_modify(|found| found.1 = true).or_insert((child, false));
    }
    let mut set = Set::new();
    for (element, (child, twice)) in all {
        // What occurs twice is owned as a whole.
        let below = if twice { Set::new() } else { value(child, list.element, problems).0 };
        push(&mut set, element, below, true);
    }
    set
}

fn push(set: &mut Set, element: Element, below: Set, member: bool) {
    if !below.is_empty() {
        if member {
            set.members.push(element.clone());
        }
        set.children.push((element, below));
    } else if member {
        set.members.push(element);
    }
}
