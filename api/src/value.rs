//! The object value: a tree in JSON's shape, with names that are static for known fields.
//!
//! Invariant: a decoded value is canonical: fields in schema order, zero values that Go would omit are
//! absent, quantities and times in their canonical text. Bytes are base64 text, as in JSON.
//! Non-goal: schema. The tree alone does not know its type; codecs and defaulting take a `facts::Struct`.

use compact_str::CompactString;

/// Text: short or static text needs no allocation.
pub type Str = CompactString;

/// A JSON-shaped value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Str),
    List(Vec<Value>),
    Map(Map),
}

/// An object: names and values in order. Lookups scan; objects of the API are small.
#[derive(Clone, Debug, Default)]
pub struct Map(Vec<(Str, Value)>);

/// A float as a whole number; what does not fit is the smallest one, as where Go converts on amd64.
pub fn go_int(number: f64) -> i64 {
    // 2^63 is the first that is too large; the smallest itself fits.
    let fits = number >= i64::MIN as f64 && number < -(i64::MIN as f64);
    if fits { number as i64 } else { i64::MIN }
}

impl Value {
    /// The Go type of a value that was decoded from JSON: `%T` of it.
    pub fn go_type(&self) -> &'static str {
        match self {
            Value::Null => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int64",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(_) => "[]interface {}",
            Value::Map(_) => "map[string]interface {}",
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Float(number) if number.fract() == 0.0 => Some(go_int(*number)),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Null, false, 0, "", or an empty list or map.
    pub fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Int(number) => *number == 0,
            Value::Float(number) => *number == 0.0,
            Value::String(text) => text.is_empty(),
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
        }
    }
}

impl Map {
    pub const EMPTY: &'static Map = &Map(Vec::new());

    pub fn new() -> Self {
        Map::default()
    }

    pub fn with_capacity(capacity: usize) -> Self {
        Map(Vec::with_capacity(capacity))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Str, &Value)> + ExactSizeIterator {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Str, &mut Value)> {
        self.0.iter_mut().map(|(name, value)| (&*name, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &Str> {
        self.0.iter().map(|(name, _)| name)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|entry| entry.0 == name).map(|entry| &entry.1)
    }

    /// The entry at a place in the order.
    pub fn entry(&self, at: usize) -> Option<(&Str, &Value)> {
        self.0.get(at).map(|(name, value)| (name, value))
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|entry| entry.0 == name).map(|entry| &mut entry.1)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets `name`, in its place if it is there, else at the end.
    pub fn set(&mut self, name: impl Into<Str> + AsRef<str>, value: impl Into<Value>) {
        match self.get_mut(name.as_ref()) {
            Some(slot) => *slot = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// Makes `name` what it is in `from`, absence included.
    pub fn take_over(&mut self, name: &str, from: &Map) {
        match from.0.iter().find(|(own, _)| own == name) {
            Some((name, value)) => self.set(name.clone(), value.clone()),
            None => drop(self.remove(name)),
        }
    }

    /// Appends without looking for the name: for decoders that know it is new.
    pub fn push(&mut self, name: Str, value: Value) {
        self.0.push((name, value));
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|entry| entry.0 == name)?;
        Some(self.0.remove(at).1)
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|(name, value)| keep(name, value));
    }

    /// The text of `name`; "" when absent or not text.
    pub fn str(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or("")
    }

    pub fn i64(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Value::as_i64)
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(Value::as_bool)
    }

    pub fn map(&self, name: &str) -> Option<&Map> {
        self.get(name).and_then(Value::as_map)
    }

    /// The elements of the list `name`; empty when absent.
    pub fn list(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_list).unwrap_or(&[])
    }

    /// The maps among the elements of the list `name`.
    pub fn maps(&self, name: &str) -> impl Iterator<Item = &Map> {
        self.list(name).iter().filter_map(Value::as_map)
    }

    /// The maps among the elements of the list `name`, to change.
    pub fn maps_mut(&mut self, name: &str) -> impl Iterator<Item = &mut Map> {
        let list = self.get_mut(name).and_then(Value::as_list_mut);
        list.into_iter().flatten().filter_map(Value::as_map_mut)
    }

    /// The map `name`, made if it is not there.
    pub fn map_mut(&mut self, name: &str) -> &mut Map {
        if self.map(name).is_none() {
            self.set(name, Map::new());
        }
        self.get_mut(name).and_then(Value::as_map_mut).expect("set above")
    }

    /// The list `name`, made if it is not there.
    pub fn list_mut(&mut self, name: &str) -> &mut Vec<Value> {
        if self.get(name).and_then(Value::as_list).is_none() {
            self.set(name, Vec::new());
        }
        self.get_mut(name).and_then(Value::as_list_mut).expect("set above")
    }

    /// The map at a path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Map> {
        path.iter().try_fold(self, |map, name| map.map(name))
    }

    /// The value at a path of names.
    pub fn value_at(&self, path: &[&str]) -> Option<&Value> {
        let (last, parents) = path.split_last()?;
        self.at(parents)?.get(last)
    }

    /// Orders the entries by name, as Go orders map keys.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// Orders the entries by a key of their names; stable.
    pub fn sort_by_key<K: Ord>(&mut self, key: impl Fn(&str) -> K) {
        self.0.sort_by_key(|entry| key(&entry.0));
    }
}

/// Objects are equal when they have the same names with the same values, in any order.
impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl IntoIterator for Map {
    type Item = (Str, Value);
    type IntoIter = std::vec::IntoIter<(Str, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(Str, Value)> for Map {
    fn from_iter<T: IntoIterator<Item = (Str, Value)>>(entries: T) -> Self {
        Map(entries.into_iter().collect())
    }
}

macro_rules! from {
    ($($from:ty => |$v:ident| $to:expr),* $(,)?) => {
        $(impl From<$from> for Value { fn from($v: $from) -> Value { $to } })*
    };
}
from! {
    bool => |v| Value::Bool(v),
    i32 => |v| Value::Int(v.into()),
    i64 => |v| Value::Int(v),
    u32 => |v| Value::Int(v.into()),
    f64 => |v| Value::Float(v),
    &str => |v| Value::String(v.into()),
    String => |v| Value::String(v.into()),
    Str => |v| Value::String(v),
    Vec<Value> => |v| Value::List(v),
    Map => |v| Value::Map(v),
}

/// Builds a [`Map`] of string-keyed entries: `map! { "name" => "x", "port" => 80 }`.
#[macro_export]
macro_rules! map {
    ($($name:expr => $value:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut map = $crate::value::Map::new();
        $(map.set($name, $crate::value::Value::from($value));)*
        map
    }};
}
