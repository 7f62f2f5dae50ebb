//! An object without some of its items, or with nothing but them.

use api::value::{Map, Value};

use super::{Handler, Typed, entry_type, handler, list_element};
use crate::path::Element;
use crate::schema::{List, Mapping, Ref, Relation};
use crate::set::Set;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Remove,
    Extract,
}

impl Typed<'_> {
    /// The object without these list and map items.
    pub fn remove_items(self, items: &Set) -> Map {
        self.kept(items, Mode::Remove)
    }

    /// The object with these list and map items only.
    pub fn extract_items(self, items: &Set) -> Map {
        self.kept(items, Mode::Extract)
    }

    /// As [`Typed::extract_items`], with the keys of the list items that are extracted.
    pub fn extract_items_with_keys(self, items: &Set) -> Map {
        let Ok(own) = self.to_field_set() else { return self.extract_items(items) };
        let mut keys = Set::new();
        items.each(&mut |path| {
            if !own.has(&path.0) {
                return;
            }
            for (at, element) in path.0.iter().enumerate() {
                let Element::Key(fields) = element else { continue };
                for (name, _) in fields {
                    let mut key = path.0[..=at].to_vec();
                    key.push(Element::Field(name.clone()));
                    keys.insert(&key);
                }
            }
        });
        self.extract_items(&items.union(&keys))
    }

    fn kept(self, items: &Set, mode: Mode) -> Map {
        match self.ty.atom().and_then(|atom| atom.map) {
            Some(map) => match entries(self.value, items, self.ty, map, mode) {
                Value::Map(map) => map,
                _ => Map::new(),
            },
            None => Map::new(),
        }
    }
}

fn value(value: &Value, items: &Set, ty: Ref<'_>, mode: Mode) -> Value {
    let Some(atom) = ty.atom() else { return Value::Null };
    match (handler(atom.deduce(Some(value))), value) {
        (Handler::Scalar(_), value) => value.clone(),
        (Handler::List(list), Value::List(values)) => elements(values, items, list, mode),
        (Handler::Map(map), Value::Map(values)) => entries(values, items, ty, map, mode),
        _ => Value::Null,
    }
}

fn elements(values: &[Value], items: &Set, list: List<'_>, mode: Mode) -> Value {
    if values.is_empty() || matches!(list.relation, Relation::Atomic) {
        return if mode == Mode::Extract { Value::List(values.to_vec()) } else { Value::Null };
    }
    let mut out = Vec::new();
    for child in values {
        let element = list_element(list, child).ok();
        let exact = element.as_ref().is_some_and(|element| items.has_member(element));
        let below = element.as_ref().and_then(|element| items.child(element)).filter(|below| !below.is_empty());
        let wanted = match mode {
            Mode::Extract => exact || below.is_some(),
            Mode::Remove => !exact,
        };
        if wanted {
            out.push(match below {
                Some(below) => value(child, below, list.element, mode),
                None => child.clone(),
            });
        }
    }
    if out.is_empty() { Value::Null } else { Value::List(out) }
}

fn entries(values: &Map, items: &Set, ty: Ref<'_>, map: Mapping<'_>, mode: Mode) -> Value {
    if values.is_empty() || map.atomic {
        return if mode == Mode::Extract { Value::Map(values.clone()) } else { Value::Null };
    }
    let mut out = Map::with_capacity(values.len());
    for (name, child) in values.iter() {
        let element = Element::Field(name.clone());
        let kept = |below: &Set| entry_type(ty, map, name).map_or(Value::Null, |ty| value(child, below, ty, mode));
        if items.has_member(&element) {
            if mode == Mode::Extract {
                out.push(name.clone(), kept(items));
            }
            continue;
        }
        match items.child(&element).filter(|below| !below.is_empty()) {
            Some(below) => out.push(name.clone(), kept(below)),
            None if mode == Mode::Remove => out.push(name.clone(), child.clone()),
            None => {}
        }
    }
    if out.is_empty() { Value::Null } else { Value::Map(out) }
}
