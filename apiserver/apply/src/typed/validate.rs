//! Does a value fit its type?

use std::collections::BTreeSet;

use api::value::{Map, Value};

use super::{Handler, Problems, Typed, entry_type, handler, invalid_atom, list_element, no_type};
use crate::path::Element;
use crate::schema::{List, Mapping, Ref, Relation, Scalar};
use crate::values;

/// Whether associative lists and sets may hold an element twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    Allow,
    Refuse,
}

impl Typed<'_> {
    /// Everything that keeps the object from being of its type.
    pub fn validate(self, duplicates: Duplicates) -> Result<(), Problems> {
        let mut walk = Walk { duplicates, problems: Problems::default() };
        match self.ty.atom() {
            None => walk.problems.push(no_type(self.ty)),
            Some(atom) => match atom.map {
                Some(map) => walk.entries(self.value, self.ty, map),
                None => walk.problems.push(invalid_atom(self.ty)),
            },
        }
        walk.problems.result(())
    }
}

struct Walk {
    duplicates: Duplicates,
    problems: Problems,
}

impl Walk {
    fn value(&mut self, value: &Value, ty: Ref<'_>) {
        let Some(atom) = ty.atom() else {
            return self.problems.push(no_type(ty));
        };
        match handler(atom.deduce(Some(value))) {
            Handler::Map(map) => match value {
                Value::Null => {}
                Value::Map(entries) => self.entries(entries, ty, map),
                other => self.problems.push(format!("expected map, got &{{{}}}", values::go(other))),
            },
            Handler::Scalar(scalar) => {
                if let Some(problem) = scalar_problem(scalar, Some(value)) {
                    self.problems.push(problem);
                }
            }
            Handler::List(list) => match value {
                Value::Null => {}
                Value::List(elements) => self.elements(elements, list),
                other => self.problems.push(format!("expected list, got &{{{}}}", values::go(other))),
            },
            Handler::Invalid => self.problems.push(invalid_atom(ty)),
        }
    }

    fn entries(&mut self, entries: &Map, ty: Ref<'_>, map: Mapping<'_>) {
        for (name, value) in entries.iter() {
            let from = self.problems.0.len();
            match entry_type(ty, map, name) {
                Some(ty) => self.value(value, ty),
                None => self.problems.push("field not declared in schema"),
            }
            self.problems.prefix(from, || format!(".{name}"));
            if entry_type(ty, map, name).is_none() {
                return;
            }
        }
    }

    fn elements(&mut self, elements: &[Value], list: List<'_>) {
        let mut seen = BTreeSet::new();
        for (at, child) in elements.iter().enumerate() {
            let element = match list.relation {
                Relation::Atomic => Element::Index(at as i64),
                Relation::Associative(_) => match list_element(list, child) {
                    Ok(element) => element,
                    Err(why) => return self.problems.push(format!("element {at}: {why}")),
                },
            };
            let from = self.problems.0.len();
            self.value(child, list.element);
            self.problems.prefix(from, || element.to_string());
            if matches!(list.relation, Relation::Associative(_)) && self.duplicates == Duplicates::Refuse {
                if seen.contains(&element) {
                    let text = format!("duplicate entries for key {element}");
                    self.problems.0.insert(from, super::Problem { path: String::new(), message: text });
                } else {
                    seen.insert(element);
                }
            }
        }
    }
}

/// What keeps a value from being such a scalar; nothing and null always fit.
pub(crate) fn scalar_problem(scalar: Scalar, value: Option<&Value>) -> Option<String> {
    let value = value.filter(|value| !value.is_null())?;
    let numeric = matches!(value, Value::Int(_) | Value::Float(_));
    let (fits, problem): (bool, fn(&Value) -> String) = match scalar {
        Scalar::Numeric => (numeric, |v| format!("expected numeric (int or float), got {}", v.go_type())),
        Scalar::String => (matches!(value, Value::String(_)), |v| {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", values::go_syntax(v))
        }),
        Scalar::Boolean => {
            (matches!(value, Value::Bool(_)), |v| format!("expected boolean, got &{{{}}}", values::go(v)))
        }
        Scalar::Untyped => (numeric || matches!(value, Value::String(_) | Value::Bool(_)), |v| {
            format!("expected any scalar, got &{{{}}}", values::go(v))
        }),
    };
    (!fits).then(|| problem(value))
}
