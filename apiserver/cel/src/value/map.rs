//! Maps: entries in memory, maps that comprehensions gather, and maps of others' making.
//!
//! Invariant: lookup and equality are those of cel-go's `common/types/map.go`: a number finds the key of equal amount.
//! Iteration is in the order of keys, where cel-go's is random.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Fault, Outcome, Timestamp, Value, double_to_int, double_to_uint};

/// A map that somebody else keeps, such as a Kubernetes object with its schema. Its keys are strings.
pub trait MapObject: Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;

    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under a key, if it is there.
    fn find(&self, key: &str) -> Option<Outcome>;

    fn keys(&self) -> Vec<Arc<str>>;

    /// `==`, where it is not entry by entry.
    fn equals(&self, _other: &Value) -> Option<Result<bool, Fault>> {
        None
    }
}

/// What can be a key.
#[derive(Debug, Clone)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Duration(i64),
    Timestamp(Timestamp),
}

impl Key {
    pub(crate) fn new(value: &Value) -> Option<Key> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => Key::Uint(*value),
            Value::Double(value) => Key::Double(*value),
            Value::String(value) => Key::String(value.clone()),
            Value::Duration(value) => Key::Duration(*value),
            Value::Timestamp(value) => Key::Timestamp(*value),
            _ => return None,
        })
    }

    pub fn value(&self) -> Value {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => Value::Int(*value),
            Key::Uint(value) => Value::Uint(*value),
            Key::Double(value) => Value::Double(*value),
            Key::String(value) => Value::String(value.clone()),
            Key::Duration(value) => Value::Duration(*value),
            Key::Timestamp(value) => Value::Timestamp(*value),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Key::Bool(_) => 0,
            Key::Int(_) => 1,
            Key::Uint(_) => 2,
            Key::Double(_) => 3,
            Key::String(_) => 4,
            Key::Duration(_) => 5,
            Key::Timestamp(_) => 6,
        }
    }

    /// Keys of other number types with the same amount.
    pub(crate) fn equivalents(&self) -> impl Iterator<Item = Key> + use<> {
        let (first, second) = match *self {
            Key::Double(value) => {
                let int = double_to_int(value).ok().filter(|int| *int as f64 == value);
                let uint = double_to_uint(value).ok().filter(|uint| *uint as f64 == value);
                (int.map(Key::Int), uint.map(Key::Uint))
            }
            Key::Int(value) => (u64::try_from(value).ok().map(Key::Uint), None),
            Key::Uint(value) => (i64::try_from(value).ok().map(Key::Int), None),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Bool(a), Key::Bool(b)) => a.cmp(b),
            (Key::Int(a), Key::Int(b)) | (Key::Duration(a), Key::Duration(b)) => a.cmp(b),
            (Key::Uint(a), Key::Uint(b)) => a.cmp(b),
            (Key::Double(a), Key::Double(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Key::String(a), Key::String(b)) => a.cmp(b),
            (Key::Timestamp(a), Key::Timestamp(b)) => a.instant().cmp(&b.instant()),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Map(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Plain(Arc<BTreeMap<Key, Value>>),
    /// What a comprehension has gathered so far; inserting changes it.
    Growing(Arc<Mutex<BTreeMap<Key, Value>>>),
    Object(Arc<dyn MapObject>),
}

impl Map {
    pub fn new(entries: BTreeMap<Key, Value>) -> Map {
        Map(Kind::Plain(Arc::new(entries)))
    }

    pub fn object(object: Arc<dyn MapObject>) -> Map {
        Map(Kind::Object(object))
    }

    pub(crate) fn growing() -> Map {
        Map(Kind::Growing(Arc::default()))
    }

    pub(crate) fn grown(self) -> Map {
        match self.0 {
            Kind::Growing(entries) => Map::new(std::mem::take(&mut entries.lock())),
            _ => self,
        }
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Plain(entries) => entries.len(),
            Kind::Growing(entries) => entries.lock().len(),
            Kind::Object(object) => object.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn keys(&self) -> Vec<Value> {
        match &self.0 {
            Kind::Plain(entries) => entries.keys().map(Key::value).collect(),
            Kind::Growing(entries) => entries.lock().keys().map(Key::value).collect(),
            Kind::Object(object) => object.keys().into_iter().map(Value::String).collect(),
        }
    }

    /// The value under a key, if it is there.
    pub fn find(&self, key: &Value) -> Option<Outcome> {
        let among = |entries: &BTreeMap<Key, Value>| {
            let key = Key::new(key)?;
            let found = entries.get(&key).or_else(|| key.equivalents().find_map(|key| entries.get(&key)));
            found.cloned().map(Ok)
        };
        match &self.0 {
            Kind::Plain(entries) => among(entries),
            Kind::Growing(entries) => among(&entries.lock()),
            Kind::Object(object) => match key {
                Value::String(key) => object.find(key),
                _ => Some(Err(Fault::no_overload())),
            },
        }
    }

    /// The object behind the map, if it is of that type.
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        match &self.0 {
            Kind::Object(object) => object.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// The map with one more entry.
    pub(crate) fn insert(&self, key: &Value, value: Value) -> Result<Map, Fault> {
        if self.find(key).is_some() {
            return Err(Fault::new(format!("insert failed: key {key} already exists")));
        }
        let own = Key::new(key).ok_or_else(|| unhashable(key))?;
        if let Kind::Growing(entries) = &self.0 {
            entries.lock().insert(own, value);
            return Ok(self.clone());
        }
        let mut entries = BTreeMap::from([(own, value)]);
        for key in self.keys() {
            let value = self.find(&key).transpose()?;
            entries.extend(Key::new(&key).zip(value));
        }
        Ok(Map::new(entries))
    }

    pub(crate) fn equals(&self, other: &Value) -> Result<bool, Fault> {
        if let Kind::Object(object) = &self.0
            && let Some(result) = object.equals(other)
        {
            return result;
        }
        let Value::Map(other) = other else { return Ok(false) };
        if self.len() != other.len() {
            return Ok(false);
        }
        for key in self.keys() {
            let (Some(a), Some(b)) = (self.find(&key).transpose()?, other.find(&key).transpose()?) else {
                return Ok(false);
            };
            // Values that cannot be compared do not tell the maps apart.
            if a.equals(&b) == Ok(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What cel-go says when Go's maps refuse a key.
pub(crate) fn unhashable(key: &Value) -> Fault {
    let name = match key {
        Value::Bytes(_) => "types.Bytes",
        _ => "types.Value",
    };
    Fault::abort(format!("internal error: runtime error: hash of unhashable type {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_find_keys_of_equal_amount() {
        let map = Map::new(BTreeMap::from([(Key::Int(1), Value::from("a")), (Key::Uint(2), Value::from("b"))]));
        let found = |key: Value| map.find(&key).and_then(Result::ok).map(|value| value.to_string());
        assert_eq!(found(Value::Double(1.0)).as_deref(), Some("a"));
        assert_eq!(found(Value::Uint(1)).as_deref(), Some("a"));
        assert_eq!(found(Value::Int(2)).as_deref(), Some("b"));
        assert_eq!(found(Value::Double(1.5)), None);
        assert_eq!(found(Value::from("1")), None);
    }

    #[test]
    fn keys_are_inserted_once() {
        let map = Map::growing().insert(&Value::Int(1), Value::Null).expect("a new key");
        let again = map.insert(&Value::Int(1), Value::Null).map(drop);
        assert_eq!(again, Err(Fault::new("insert failed: key 1 already exists")));
    }
}
