//! Lists of the API as lists of CEL: plain ones, sets and maps
//! (k8s.io/apiserver/pkg/cel/common/{valuesunstructured,valuesreflect}.go@v0.37.2).
//!
//! Invariant: sets and maps are equal in any order, and adding to them keeps what they are. What is added is a list of
//! values; keys are then found as expressions would find them, where in an object they are what it has by that name.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use cel::value::{Fault, List, ListObject, Outcome, Value};

use crate::shape::{Listing, Shape};
use crate::value::{MapView, Part, Parts};

const NOT_SCALAR: &str = "listSet operations are only supported on lists of scalar values";

/// A list in an object.
#[derive(Debug)]
pub(crate) struct ListView {
    part: Part,
    items: Arc<Shape>,
    listing: Listing,
    parts: Parts,
    /// Of a set, once it was compared.
    keys: OnceLock<Result<HashSet<String>, Fault>>,
}

/// The sum of a set or map and another list.
#[derive(Debug)]
struct Sum {
    elements: Vec<Value>,
    listing: Listing,
}

impl ListView {
    pub(crate) fn new(part: Part, items: Arc<Shape>, listing: Listing) -> ListView {
        ListView { part, items, listing, parts: Parts::default(), keys: OnceLock::new() }
    }
}

impl ListObject for ListView {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn len(&self) -> usize {
        self.part.list().len()
    }

    fn get(&self, index: usize) -> Outcome {
        self.parts.get(&self.part, index, self.len(), &self.items)
    }

    fn equals(&self, other: &Value) -> Option<Result<bool, Fault>> {
        if let (Listing::Set, Value::List(list)) = (&self.listing, other)
            && list.len() == self.len()
        {
            let keys = self.keys.get_or_init(|| set_keys(self));
            return Some(keys.as_ref().map_err(Fault::clone).and_then(|keys| same_set(keys, list)));
        }
        Some(equals(self, &self.listing, other, raw_key))
    }

    fn contains(&self, element: &Value) -> Option<Result<bool, Fault>> {
        let mut failed = None;
        for at in 0..self.len() {
            match self.get(at).and_then(|own| own.equals(element)) {
                Ok(true) => return Some(Ok(true)),
                Ok(false) => {}
                Err(fault) => failed = failed.or(Some(fault)),
            }
        }
        Some(failed.map_or(Ok(false), Err))
    }

    fn plus(&self, other: &List) -> Option<Result<List, Fault>> {
        plus(self, &self.listing, other)
    }
}

impl ListObject for Sum {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn len(&self) -> usize {
        self.elements.len()
    }

    fn get(&self, index: usize) -> Outcome {
        Ok(self.elements[index].clone())
    }

    fn equals(&self, other: &Value) -> Option<Result<bool, Fault>> {
        Some(equals(self, &self.listing, other, found_key))
    }

    fn plus(&self, other: &List) -> Option<Result<List, Fault>> {
        plus(self, &self.listing, other)
    }
}

/// Elements by key; `None` for what is no element of such a list.
type KeyOf = fn(&Value, &[String]) -> Option<String>;

fn elements(list: &dyn ListObject) -> Result<Vec<Value>, Fault> {
    (0..list.len()).map(|at| list.get(at)).collect()
}

fn equals(list: &dyn ListObject, listing: &Listing, other: &Value, key: KeyOf) -> Result<bool, Fault> {
    let Value::List(other) = other else { return Err(Fault::new("no such overload")) };
    if list.len() != other.len() {
        return Ok(false);
    }
    match listing {
        Listing::Set => same_set(&set_keys(list)?, other),
        Listing::Map(keys) => same_map(list, other, |element| key(element, keys)),
        Listing::Atomic | Listing::Other => {
            for (at, other) in other.iter().enumerate() {
                if !list.get(at)?.equals(&other?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

fn set_keys(list: &dyn ListObject) -> Result<HashSet<String>, Fault> {
    elements(list)?.iter().map(scalar_key).collect()
}

fn same_set(own: &HashSet<String>, other: &List) -> Result<bool, Fault> {
    let mut seen = HashSet::new();
    for element in other.iter() {
        let key = scalar_key(&element?)?;
        if !own.contains(&key) {
            return Ok(false);
        }
        seen.insert(key);
    }
    Ok(seen.len() == own.len())
}

fn same_map(list: &dyn ListObject, other: &List, key: impl Fn(&Value) -> Option<String>) -> Result<bool, Fault> {
    let elements = elements(list)?;
    // Of equal keys the last counts.
    let own: HashMap<Option<String>, &Value> = elements.iter().map(|element| (key(element), element)).collect();
    let mut seen = HashSet::new();
    for element in other.iter() {
        let element = element?;
        let key = key(&element);
        let Some(known) = own.get(&key).filter(|_| key.is_some()) else { return Ok(false) };
        if !known.equals(&element)? {
            return Ok(false);
        }
        seen.insert(key);
    }
    Ok(seen.len() == own.len())
}

fn plus(list: &dyn ListObject, listing: &Listing, other: &List) -> Option<Result<List, Fault>> {
    let sum = |added: Result<Vec<Value>, Fault>| {
        added.map(|elements| List::object(Arc::new(Sum { elements, listing: listing.clone() })))
    };
    match listing {
        Listing::Set => Some(sum(set_plus(list, other))),
        Listing::Map(keys) => Some(sum(map_plus(list, other, keys))),
        // What is added to nothing is a plain list, whatever it was.
        Listing::Atomic | Listing::Other if list.is_empty() => Some(other.iter().collect::<Result<List, _>>()),
        Listing::Atomic | Listing::Other => None,
    }
}

/// What is not there yet is appended.
fn set_plus(list: &dyn ListObject, other: &List) -> Result<Vec<Value>, Fault> {
    let mut elements = elements(list)?;
    let mut known = elements.iter().map(scalar_key).collect::<Result<HashSet<_>, _>>()?;
    for element in other.iter() {
        let element = element?;
        if known.insert(scalar_key(&element)?) {
            elements.push(element);
        }
    }
    Ok(elements)
}

/// What has a key that is there takes its place, the rest is appended.
fn map_plus(list: &dyn ListObject, other: &List, keys: &[String]) -> Result<Vec<Value>, Fault> {
    let mut elements = elements(list)?;
    let places: HashMap<Option<String>, usize> =
        elements.iter().enumerate().map(|(at, element)| (found_key(element, keys), at)).collect();
    for element in other.iter() {
        let element = element?;
        match places.get(&found_key(&element, keys)) {
            Some(at) => elements[*at] = element,
            None => elements.push(element),
        }
    }
    Ok(elements)
}

/// Equal for scalars that are equal to Go: of one type.
fn scalar_key(value: &Value) -> Result<String, Fault> {
    match value {
        Value::List(_) | Value::Map(_) => Err(Fault::new(NOT_SCALAR)),
        scalar => Ok(text_of(scalar)),
    }
}

fn text_of(scalar: &Value) -> String {
    match scalar {
        Value::String(text) => format!("string {text}"),
        other => format!("{} {other}", other.cel_type().name()),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.fold(String::new(), |key, part| format!("{key}{}:{part}", part.len()))
}

/// The key of an element of an object's list: what the object has under the escaped names. Nothing else has one.
fn raw_key(element: &Value, keys: &[String]) -> Option<String> {
    let Value::Map(map) = element else { return None };
    let raw = map.downcast::<MapView>()?.raw();
    Some(joined(keys.iter().map(|key| format!("{:?}", raw.get(key)))))
}

/// The key of any element: what an expression finds under the names.
fn found_key(element: &Value, keys: &[String]) -> Option<String> {
    let found = |key: &String| match element {
        Value::Map(map) => map.find(&Value::from(key.as_str())).and_then(Result::ok),
        _ => None,
    };
    Some(joined(keys.iter().map(|key| found(key).map_or_else(String::new, |value| text_of(&value)))))
}
