//! Objects of the API as values of CEL, along their shape
//! (k8s.io/apiserver/pkg/cel/common/valuesunstructured.go@v0.37.2).
//!
//! Invariant: nothing below the root is copied: a part is a way from the root, and becomes a value of CEL when it is read,
//! once. Fields that the schema does not know count and compare, but are not seen.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use api::value::{Map as ApiMap, Str, Value as ApiValue};
use cel::types::Type;
use cel::value::{Fault, List, Map, MapObject, Object, Outcome, Value};

use crate::list::ListView;
use crate::open::Origin;
use crate::shape::{Entries, Kind, Listing, Shape};

/// A part of an object, by the places on the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    root: Arc<ApiValue>,
    way: Vec<u32>,
}

impl Part {
    pub(crate) fn root(value: &ApiValue) -> Part {
        Part::whole(Arc::new(value.clone()))
    }

    pub(crate) fn whole(root: Arc<ApiValue>) -> Part {
        Part { root, way: Vec::new() }
    }

    pub(crate) fn get(&self) -> &ApiValue {
        self.way.iter().fold(&*self.root, |value, at| {
            let at = *at as usize;
            let below = match value {
                ApiValue::List(list) => list.get(at),
                ApiValue::Map(map) => map.entry(at).map(|(_, value)| value),
                _ => None,
            };
            below.expect("the way was found in this object")
        })
    }

    fn below(&self, at: usize) -> Part {
        let mut way = Vec::with_capacity(self.way.len() + 1);
        way.extend_from_slice(&self.way);
        way.push(u32::try_from(at).expect("requests have less than 4 GiB"));
        Part { root: self.root.clone(), way }
    }

    pub(crate) fn map(&self) -> &ApiMap {
        self.get().as_map().unwrap_or(ApiMap::EMPTY)
    }

    pub(crate) fn list(&self) -> &[ApiValue] {
        self.get().as_list().unwrap_or(&[])
    }
}

/// The parts of a list or map that were read; each becomes a value once, so that what it remembers is kept.
#[derive(Debug, Default)]
pub(crate) struct Parts(OnceLock<Box<[OnceLock<Outcome>]>>);

impl Parts {
    /// The part at a place among `len`.
    pub(crate) fn get(&self, of: &Part, at: usize, len: usize, shape: &Arc<Shape>) -> Outcome {
        let slots = self.0.get_or_init(|| (0..len).map(|_| OnceLock::new()).collect());
        slots[at].get_or_init(|| value(of.below(at), shape)).clone()
    }
}

fn refuse(message: &str) -> Outcome {
    Err(Fault::new(message))
}

/// Go's `%T`.
fn type_name(value: &ApiValue) -> &'static str {
    match value {
        ApiValue::Null => "<nil>",
        ApiValue::Bool(_) => "bool",
        ApiValue::Int(_) => "int64",
        ApiValue::Float(_) => "float64",
        ApiValue::String(_) => "string",
        ApiValue::List(_) => "[]interface {}",
        ApiValue::Map(_) => "map[string]interface {}",
    }
}

fn unexpected(what: &str, value: &ApiValue) -> Outcome {
    refuse(&format!("invalid data, expected {what}, got {}", type_name(value)))
}

/// A part as a value of CEL.
pub(crate) fn value(part: Part, shape: &Arc<Shape>) -> Outcome {
    let raw = part.get();
    if raw.is_null() {
        return match shape.nullable {
            true => Ok(Value::Null),
            false => refuse("invalid data, got null for schema with nullable=false"),
        };
    }
    match (&shape.kind, raw) {
        (Kind::IntOrString, ApiValue::String(text)) => Ok(Value::from(text.as_str())),
        (Kind::IntOrString | Kind::Integer, ApiValue::Int(number)) => Ok(Value::Int(*number)),
        (Kind::IntOrString, _) => refuse("invalid data, expected XIntOrString value to be either a string or integer"),
        (Kind::Object(_), ApiValue::Map(_)) => Ok(Value::Map(Map::object(Arc::new(MapView::new(part, shape))))),
        (Kind::Object(_), _) => refuse("invalid data, expected a map for the provided schema with type=object"),
        (Kind::Array(items, listing), ApiValue::List(_)) => list(part, items.as_ref(), listing),
        (Kind::Array(..), _) => refuse("invalid data, expected an array for the provided schema with type=array"),
        (Kind::String(format), ApiValue::String(text)) => format.value(text),
        (Kind::String(_), other) => unexpected("string", other),
        (Kind::Number, ApiValue::Int(number)) => Ok(Value::Double(*number as f64)),
        (Kind::Number, ApiValue::Float(number)) => Ok(Value::Double(*number)),
        (Kind::Number, other) => unexpected("float", other),
        (Kind::Integer, other) => unexpected("int", other),
        (Kind::Boolean, ApiValue::Bool(flag)) => Ok(Value::Bool(*flag)),
        (Kind::Boolean, other) => unexpected("bool", other),
        (Kind::Preserved, _) => Ok(Value::object(Preserved(part))),
        (Kind::Open(_), ApiValue::Bool(flag)) => Ok(Value::Bool(*flag)),
        (Kind::Open(_), ApiValue::Int(number)) => Ok(Value::Int(*number)),
        (Kind::Open(_), ApiValue::Float(number)) => Ok(Value::Double(*number)),
        (Kind::Open(_), ApiValue::String(text)) => Ok(Value::from(text.as_str())),
        (Kind::Open(_), ApiValue::List(_)) => list(part, Some(shape), &Listing::Atomic),
        (Kind::Open(_), _) => Ok(Value::Map(Map::object(Arc::new(MapView::new(part, shape))))),
        (Kind::Unknown(ty), _) => refuse(&format!(
            "invalid type, expected object, array, number, integer, boolean or string, or no type with x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields is true, got {ty}"
        )),
    }
}

fn list(part: Part, items: Option<&Arc<Shape>>, listing: &Listing) -> Outcome {
    let Some(items) = items else {
        return refuse("invalid array type, expected Items with a non-empty Schema");
    };
    if matches!(listing, Listing::Other) {
        return refuse("invalid x-kubernetes-list-type, expected 'map', 'set' or 'atomic' but got other");
    }
    Ok(Value::List(List::object(Arc::new(ListView::new(part, items.clone(), listing.clone())))))
}

/// What is kept though no schema knows it; all it can do is be equal.
#[derive(Debug)]
struct Preserved(Part);

impl Object for Preserved {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object("unknown")
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        Ok(other.downcast::<Preserved>().is_some_and(|other| self.0.get() == other.0.get()))
    }
}

/// An object or a map.
#[derive(Debug)]
pub(crate) struct MapView {
    part: Part,
    shape: Arc<Shape>,
    /// The places of names, once there was a look-up.
    places: OnceLock<HashMap<Str, usize>>,
    parts: Parts,
}

impl MapView {
    fn new(part: Part, shape: &Arc<Shape>) -> MapView {
        MapView { part, shape: shape.clone(), places: OnceLock::new(), parts: Parts::default() }
    }

    /// As it is in the API.
    pub(crate) fn raw(&self) -> &ApiMap {
        self.part.map()
    }

    fn is_object(&self) -> bool {
        matches!(self.shape.kind, Kind::Object(Entries::Fields(_)))
    }

    /// The shape of what is under a name, if it is seen.
    fn entry(&self, name: &str) -> Option<&Arc<Shape>> {
        match &self.shape.kind {
            Kind::Object(Entries::Fields(fields)) => fields.get(name),
            Kind::Object(Entries::All(values)) => Some(values),
            Kind::Open(_) => Some(&self.shape),
            _ => None,
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        let index = || self.raw().keys().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        self.places.get_or_init(index).get(name).copied()
    }

    /// One of the own entries against that of another map; what is not seen there differs.
    fn same(&self, name: &Str, value: &ApiValue, other: &Map) -> Result<bool, Fault> {
        if self.entry(name).is_none() {
            let Some(other) = other.downcast::<MapView>() else { return Err(Fault::new("no such overload")) };
            // Upstream lets an unknown field be that the other does not have.
            return Ok(other.raw().get(name).is_none_or(|other| other == value));
        }
        match (self.find(name), other.find(&Value::from(name.as_str()))) {
            (Some(own), Some(other)) => own?.equals(&other?),
            (None, None) => Ok(true),
            _ => Ok(false),
        }
    }
}

impl MapObject for MapView {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn len(&self) -> usize {
        self.raw().len()
    }

    fn find(&self, key: &str) -> Option<Outcome> {
        let unescaped;
        let name = match self.is_object() {
            true => {
                unescaped = cel::escape::unescape(key)?;
                unescaped.as_str()
            }
            false => key,
        };
        let at = self.place(name)?;
        let (_, raw) = self.raw().entry(at)?;
        // A field that is null is as one that is not there.
        if self.is_object() && raw.is_null() {
            return None;
        }
        Some(self.parts.get(&self.part, at, self.len(), self.entry(name)?))
    }

    fn keys(&self) -> Vec<Arc<str>> {
        let escaped = |name: &str| match self.is_object() {
            true => cel::escape::escape(name).map_or_else(|| Arc::from(name), Arc::from),
            false => Arc::from(name),
        };
        let seen = self.raw().keys().filter(|name| self.entry(name).is_some());
        let mut keys: Vec<Arc<str>> = seen.map(|name| escaped(name)).collect();
        keys.sort_unstable();
        keys
    }

    fn equals(&self, other: &Value) -> Option<Result<bool, Fault>> {
        let Value::Map(other) = other else {
            // cel-go's own maps differ from what is no map, those of Kubernetes refuse it.
            let tree = matches!(self.shape.kind, Kind::Open(Origin::Tree));
            return Some(if tree { Ok(false) } else { Err(Fault::new("no such overload")) });
        };
        if self.len() != other.len() {
            return Some(Ok(false));
        }
        for (name, value) in self.raw().iter() {
            match self.same(name, value, other) {
                Ok(true) => {}
                outcome => return Some(outcome),
            }
        }
        Some(Ok(true))
    }
}
