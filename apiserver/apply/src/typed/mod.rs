//! Values with a type: validation, the fields they set, comparison, merge, removal.
//!
//! Invariant: the root of an object is a map; a walk never changes its inputs
//! (sigs.k8s.io/structured-merge-diff/v6/typed@v6.4.2).

pub(crate) mod compare;
pub(crate) mod merge;
pub(crate) mod reconcile;
pub(crate) mod remove;
pub(crate) mod to_set;
pub mod validate;

use std::fmt::{self, Display};

use api::value::{Map, Value};

use crate::path::Element;
use crate::schema::{Atom, Keys, List, Mapping, Ref, Relation, Scalar};

pub use compare::Comparison;

/// An object and its type.
#[derive(Clone, Copy)]
pub struct Typed<'a> {
    pub value: &'a Map,
    pub ty: Ref<'a>,
}

/// One thing that is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: String,
    pub message: String,
}

/// Everything that is wrong with a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.0.as_slice() {
            return one.fmt(f);
        }
        f.write_str("errors:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Problems {
    pub(crate) fn push(&mut self, message: impl Into<String>) {
        self.0.push(Problem { path: String::new(), message: message.into() });
    }

    /// Puts an element before the paths of the problems that came after the first `from`.
    pub(crate) fn prefix(&mut self, from: usize, element: impl FnOnce() -> String) {
        if self.0.len() > from {
            let prefix = element();
            self.0[from..].iter_mut().for_each(|problem| problem.path.insert_str(0, &prefix));
        }
    }

    pub(crate) fn result<T>(self, value: T) -> Result<T, Problems> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// The handler that upstream would choose for an atom: a map before a scalar before a list.
pub(crate) enum Handler<'s> {
    Map(Mapping<'s>),
    Scalar(Scalar),
    List(List<'s>),
    Invalid,
}

pub(crate) fn handler(atom: Atom<'_>) -> Handler<'_> {
    match atom {
        Atom { map: Some(map), .. } => Handler::Map(map),
        Atom { scalar: Some(scalar), .. } => Handler::Scalar(scalar),
        Atom { list: Some(list), .. } => Handler::List(list),
        _ => Handler::Invalid,
    }
}

pub(crate) fn no_type(ty: Ref<'_>) -> String {
    format!("schema error: no type found matching: {}", ty.name().unwrap_or("inlined type"))
}

pub(crate) fn invalid_atom(ty: Ref<'_>) -> String {
    match ty.name() {
        Some(name) => format!("schema error: invalid atom: named type: {name}"),
        None => "schema error: invalid atom: inlined".into(),
    }
}

/// The type of an entry of a map: its field's, else the element type.
pub(crate) fn entry_type<'s>(ty: Ref<'s>, map: Mapping<'s>, name: &str) -> Option<Ref<'s>> {
    ty.field(name).or(map.element)
}

/// The value of a list, and what else is in its place: nothing or null is an empty list.
pub(crate) fn elements(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_list).unwrap_or(&[])
}

/// As [`elements`] for maps.
pub(crate) fn entries(value: Option<&Value>) -> &Map {
    value.and_then(Value::as_map).unwrap_or(Map::EMPTY)
}

/// The path element of an element of an associative list.
pub(crate) fn list_element(list: List<'_>, child: &Value) -> Result<Element, String> {
    let Relation::Associative(keys) = list.relation else {
        return Err("invalid indexing of non-associative list".into());
    };
    if keys.len() == 0 { set_element(child) } else { keyed_element(list.element, keys, child) }
}

fn keyed_element(ty: Ref<'_>, keys: Keys<'_>, child: &Value) -> Result<Element, String> {
    let map = match child {
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        Value::Map(map) => map,
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut fields = Vec::with_capacity(keys.len());
    for name in (0..keys.len()).map(|at| keys.get(at)) {
        if let Some(value) = map.get(name) {
            fields.push((name.into(), value.clone()));
        } else if ty.atom().is_none_or(|atom| atom.map.is_none()) {
            let why = "associative list may not have non-map types";
            return Err(format!("couldn't find default value for {name}: {why}"));
        } else if let Some(value) = ty.default_of(name).filter(|value| !value.is_null()) {
            fields.push((name.into(), value));
        }
    }
    if fields.is_empty() {
        let keys = keys.shown();
        return Err(format!(
            "associative list with keys has an element that omits all key fields {keys} (and doesn't have default values for any key fields)"
        ));
    }
    Ok(Element::key(fields))
}

fn set_element(child: &Value) -> Result<Element, String> {
    match child {
        Value::Map(_) => Err("associative list without keys has an element that's a map type".into()),
        Value::List(_) => Err("not supported: associative list with lists as elements".into()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
        scalar => Ok(Element::Value(scalar.clone())),
    }
}
