//! Lists: elements in memory, two lists seen as one, lists that comprehensions gather, and lists of others' making.
//!
//! Invariant: joining two lists takes constant time, for that is what it costs; equality, `in` and `+` are those of cel-go's
//! `common/types/list.go`, unless a list's maker has its own.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Fault, Outcome, Value};

/// A list that somebody else keeps, such as an array of a Kubernetes object with its schema.
pub trait ListObject: Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;

    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index within bounds.
    fn get(&self, index: usize) -> Outcome;

    /// `==`, where it is not element by element in order.
    fn equals(&self, _other: &Value) -> Option<Result<bool, Fault>> {
        None
    }

    /// `element in list`, where it is not whether any element is equal.
    fn contains(&self, _element: &Value) -> Option<Result<bool, Fault>> {
        None
    }

    /// `+`, where it is not one after the other.
    fn plus(&self, _other: &List) -> Option<Result<List, Fault>> {
        None
    }
}

#[derive(Debug, Clone)]
pub struct List(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Plain(Arc<Vec<Value>>),
    Joined(Arc<(List, List)>, usize),
    /// What a comprehension has gathered so far; adding changes it.
    Growing(Arc<Mutex<Vec<Value>>>),
    Object(Arc<dyn ListObject>),
}

impl List {
    pub fn new(elements: Vec<Value>) -> List {
        List(Kind::Plain(Arc::new(elements)))
    }

    pub fn object(object: Arc<dyn ListObject>) -> List {
        List(Kind::Object(object))
    }

    pub(crate) fn growing() -> List {
        List(Kind::Growing(Arc::default()))
    }

    /// The gathered elements as a list that stays as it is.
    pub(crate) fn grown(self) -> List {
        match self.0 {
            Kind::Growing(elements) => List::new(std::mem::take(&mut elements.lock())),
            _ => self,
        }
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Plain(elements) => elements.len(),
            Kind::Joined(_, len) => *len,
            Kind::Growing(elements) => elements.lock().len(),
            Kind::Object(object) => object.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index; None when out of bounds.
    pub fn get(&self, index: usize) -> Option<Outcome> {
        match &self.0 {
            Kind::Plain(elements) => elements.get(index).cloned().map(Ok),
            Kind::Joined(lists, _) => match index.checked_sub(lists.0.len()) {
                None => lists.0.get(index),
                Some(rest) => lists.1.get(rest),
            },
            Kind::Growing(elements) => elements.lock().get(index).cloned().map(Ok),
            Kind::Object(object) => (index < object.len()).then(|| object.get(index)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Outcome> + '_ {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// The elements; the first error among them ends it.
    pub(crate) fn elements(&self) -> Result<Vec<Value>, Fault> {
        self.iter().collect()
    }

    /// The object behind the list, if it is of that type.
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        match &self.0 {
            Kind::Object(object) => object.as_any().downcast_ref(),
            _ => None,
        }
    }

    pub(crate) fn plus(&self, other: &Value) -> Result<List, Fault> {
        let Value::List(other) = other else { return Err(Fault::no_overload()) };
        if let Kind::Growing(elements) = &self.0 {
            let mut added = other.elements()?;
            elements.lock().append(&mut added);
            return Ok(self.clone());
        }
        if let Kind::Object(object) = &self.0
            && let Some(result) = object.plus(other)
        {
            return result;
        }
        Ok(match (self.len(), other.len()) {
            (0, _) => other.clone(),
            (_, 0) => self.clone(),
            (a, b) => List(Kind::Joined(Arc::new((self.clone(), other.clone())), a + b)),
        })
    }

    pub(crate) fn equals(&self, other: &Value) -> Result<bool, Fault> {
        if let Kind::Object(object) = &self.0
            && let Some(result) = object.equals(other)
        {
            return result;
        }
        let Value::List(other) = other else { return Ok(false) };
        if self.len() != other.len() {
            return Ok(false);
        }
        for (a, b) in self.iter().zip(other.iter()) {
            // Elements that cannot be compared do not tell the lists apart.
            if a?.equals(&b?) == Ok(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `element in list`.
    pub(crate) fn contains(&self, element: &Value) -> Result<bool, Fault> {
        if let Kind::Object(object) = &self.0
            && let Some(result) = object.contains(element)
        {
            return result;
        }
        for own in self.iter() {
            if element.equals(&own?) == Ok(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl FromIterator<Value> for List {
    fn from_iter<T: IntoIterator<Item = Value>>(elements: T) -> List {
        List::new(elements.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(range: std::ops::Range<i64>) -> Value {
        Value::list(range.map(Value::Int).collect())
    }

    #[test]
    fn joined_lists_are_one() {
        let joined = ints(0..2).add(&ints(2..5)).and_then(Result::ok).expect("lists add");
        assert_eq!(joined.size(), Some(5));
        assert_eq!(joined.equals(&ints(0..5)), Ok(true));
        let Value::List(list) = &joined else { panic!("{joined:?}") };
        assert!(list.get(5).is_none());
        assert_eq!(list.contains(&Value::Double(4.0)), Ok(true));
    }

    #[test]
    fn growing_lists_change_in_place() {
        let growing = List::growing();
        let added = growing.plus(&ints(0..2)).expect("lists add");
        assert_eq!((growing.len(), added.len()), (2, 2));
        assert_eq!(Value::List(added.grown()).equals(&ints(0..2)), Ok(true));
    }
}
