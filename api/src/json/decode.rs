//! JSON text -> canonical value in one pass: types checked with Go's texts, unknown and duplicate
//! fields noted with upstream's texts (sigs.k8s.io/json strict decoding).
//!
//! Invariant: what comes out is what Go would hold after decoding into the type and encoding again.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scan;
use crate::facts::{Field, List, Omit, Struct, Type};
use crate::value::{Map, Str, Value};

/// Values nested deeper are refused (sigs.k8s.io/json: 10000; serde_json stops earlier).
const DEPTH_MAX: usize = 127;
/// Strict errors kept (k8s.io/apimachinery/pkg/runtime/serializer/json@v0.37.2 stops at 100).
const STRICT_ERRORS_MAX: usize = 100;

/// A decoded object and what strict decoding has against it.
pub struct Decoded {
    pub value: Map,
    /// `unknown field "spec.x"`, `duplicate field "spec.y"`, in order of appearance.
    pub strict: Vec<String>,
    /// What a canonical value does not tell from nothing, and Go does.
    pub empty: Vec<Empty>,
}

/// A list or map without members, and where it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Empty {
    path: Vec<Step>,
    value: Value,
}

impl Empty {
    /// Puts it back where nothing is now.
    pub fn restore(&self, object: &mut Map) {
        put(object, &self.path, &self.value);
    }

    /// Whether it is in a list that server-side apply takes as a whole.
    pub fn is_in_atomic_list(&self, structure: &'static Struct) -> bool {
        let (mut structure, mut is_whole) = (structure, structure.atomic);
        let mut at: Option<(&'static Type, List)> = None;
        for step in &self.path {
            at = match (step, at) {
                (Step::Name(name), _) => structure.field(name).map(|field| {
                    is_whole |= field.atomic_map;
                    (&field.ty, field.list)
                }),
                (Step::Index(_), Some((Type::List(_) | Type::Wrapped(_), List::Atomic))) => return true,
                (Step::Index(_), Some((Type::List(inner), _))) if !is_whole => Some((*inner, List::Atomic)),
                (Step::Index(_), Some(_)) => return is_whole,
                (Step::Key(_), Some((Type::Map(inner), _))) => Some((*inner, List::Atomic)),
                _ => None,
            };
            match at {
                Some((Type::Struct(inner), _)) => {
                    structure = *inner;
                    is_whole |= inner.atomic;
                }
                Some(_) => {}
                None => return false,
            }
        }
        false
    }
}

fn put(object: &mut Map, path: &[Step], value: &Value) {
    let Some((Step::Name(name) | Step::Key(name), rest)) = path.split_first() else { return };
    if rest.is_empty() && object.get(name).is_none_or(Value::is_null) {
        object.set(name.clone(), value.clone());
    } else if let Some(next) = object.get_mut(name) {
        put_within(next, rest, value);
    }
}

fn put_within(at: &mut Value, path: &[Step], value: &Value) {
    match (path, at) {
        ([Step::Index(index), rest @ ..], Value::List(list)) => {
            list.get_mut(*index).into_iter().for_each(|item| put_within(item, rest, value));
        }
        ([Step::Name(_) | Step::Key(_), ..], Value::Map(map)) => put(map, path, value),
        _ => {}
    }
}

/// Whether unknown and duplicate fields are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Note them.
    Strict,
    /// Note them as upstream does of a tree that it converts, without the keys of maps
    /// (k8s.io/apimachinery/pkg/runtime/converter.go@v0.37.2: FromUnstructuredWithValidation).
    Tree,
    /// Drop unknown fields, let the last duplicate win.
    Lenient,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// Decodes an object of a known type.
pub fn decode(text: &[u8], ty: &'static Struct, strictness: Strictness) -> Result<Decoded, Error> {
    let context = Context::new(strictness);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let seed = Seed { ty: Expect::Struct(ty), context: &context };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let value = match context.judged(text, value)? {
        Value::Map(value) => value,
        // Null leaves a struct as it is.
        _ => canonical(ty, Map::new(), Vec::new()),
    };
    Ok(Decoded { value, strict: context.strict.into_inner(), empty: context.empty.into_inner() })
}

/// Decodes any JSON object; map keys come out sorted.
pub fn decode_any(text: &[u8], strictness: Strictness) -> Result<(Value, Vec<String>), Error> {
    let context = Context::new(strictness);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let seed = Seed { ty: Expect::Any, context: &context };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let value = context.judged(text, value)?;
    Ok((value, context.strict.into_inner()))
}

/// Decodes one value of a type.
pub fn decode_type(text: &[u8], ty: &'static Type) -> Result<Value, Error> {
    let context = Context::new(Strictness::Lenient);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Seed { ty: Expect::Type(ty), context: &context }.deserialize(&mut deserializer);
    context.judged(text, value.and_then(|value| deserializer.end().map(|()| value)))
}

/// How Go's reflection prints a type whose name is not among the facts.
pub fn go_type(ty: &'static Type) -> String {
    printed(Expect::Type(ty))
}

/// What is expected at a place.
#[derive(Clone, Copy)]
enum Expect {
    Any,
    Struct(&'static Struct),
    Type(&'static Type),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(Str),
    /// Of a map: Go's type errors do not name it.
    Key(Str),
    Index(usize),
}

struct Context {
    strictness: Strictness,
    path: RefCell<Vec<Step>>,
    structs: RefCell<Vec<&'static Struct>>,
    strict: RefCell<Vec<String>>,
    empty: RefCell<Vec<Empty>>,
    /// The first type error: what follows is still decoded.
    saved: RefCell<Option<Told>>,
    /// What a type that decodes itself has to say, which ends the decoding (encoding/json: Unmarshaler).
    last: RefCell<Option<Told>>,
}

struct Told {
    text: String,
    /// Where the number stands that the text is to show as it was sent.
    number_at: Option<Vec<Step>>,
}

/// Stands in a type error for a number as it was sent, which a decoded number does not tell.
const AS_SENT: &str = "\u{0}";

impl Context {
    fn new(strictness: Strictness) -> Self {
        Context {
            strictness,
            path: RefCell::default(),
            structs: RefCell::default(),
            strict: RefCell::default(),
            empty: RefCell::default(),
            saved: RefCell::default(),
            last: RefCell::default(),
        }
    }

    fn within<T>(&self, step: Step, inner: impl FnOnce() -> T) -> T {
        self.path.borrow_mut().push(step);
        let result = inner();
        self.path.borrow_mut().pop();
        result
    }

    fn note(&self, what: &str, name: &str) {
        let mut strict = self.strict.borrow_mut();
        if self.strictness != Strictness::Lenient && strict.len() < STRICT_ERRORS_MAX {
            let mut path = self.path_text(true);
            if !path.is_empty() {
                path.push('.');
            }
            let text = format!("{what} field \"{path}{name}\"");
            if !strict.contains(&text) {
                strict.push(text);
            }
        }
    }

    /// The path so far: `spec.containers[0].ports`, or as Go's type errors have it: without indexes and keys, but with
    /// the names of embedded structs.
    fn path_text(&self, indexes: bool) -> String {
        let mut text = String::new();
        let add = |text: &mut String, name: &str| {
            let dot = if text.is_empty() { "" } else { "." };
            text.extend([dot, name]);
        };
        let structs = self.structs.borrow();
        let mut structs = structs.iter();
        for step in self.path.borrow().iter() {
            match step {
                Step::Name(name) => {
                    let parent = structs.next().filter(|_| !indexes);
                    parent.into_iter().flat_map(|parent| parent.embedding(name)).for_each(|name| add(&mut text, name));
                    if parent.is_some_and(|parent| is_head(*parent, name)) {
                        add(&mut text, "TypeMeta");
                    }
                    add(&mut text, name);
                }
                Step::Key(name) if indexes && self.strictness != Strictness::Tree => add(&mut text, name),
                Step::Index(at) if indexes => drop(write!(text, "[{at}]")),
                Step::Key(_) | Step::Index(_) => {}
            }
        }
        text
    }

    /// Go's UnmarshalTypeError text, which is kept for the end or is the end.
    fn mismatch<E: serde::de::Error>(&self, found: &str, ty: Expect) -> Result<Value, E> {
        if matches!(ty, Expect::Type(Type::Quantity)) {
            // It reads any text for itself.
            let read = crate::quantity::canonical(found);
            return Err(self.fail(read.err().map_or_else(String::new, |error| error.to_string())));
        }
        if matches!(ty, Expect::Type(Type::SchemaOrBool(_))) {
            return Err(self.fail("boolean or JSON schema expected".into()));
        }
        // These take what they know and leave the rest (apiextensions/v1/marshal.go: UnmarshalJSON).
        if matches!(ty, Expect::Type(Type::SchemaOrArray(_) | Type::SchemaOrStrings(_))) {
            return Ok(Value::Null);
        }
        let reads_itself = matches!(
            ty,
            Expect::Type(Type::Time | Type::MicroTime | Type::Duration | Type::IntOrString | Type::FieldsV1)
        );
        let wanted = match ty {
            // These read a part of themselves with the decoder, which tells of that part's type.
            Expect::Type(Type::Time | Type::MicroTime | Type::Duration) => "string".to_owned(),
            Expect::Type(Type::IntOrString) => "int32".to_owned(),
            ty => self.declared_type().unwrap_or_else(|| printed(ty)),
        };
        let path = self.path_text(false);
        let text = match self.structs.borrow().last() {
            Some(parent) if !path.is_empty() => format!(
                "json: cannot unmarshal {found} into Go struct field {}.{path} of type {wanted}",
                parent.short_name()
            ),
            _ => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        };
        if reads_itself {
            return Err(self.fail(text));
        }
        self.save(text);
        Ok(Value::Null)
    }

    /// Keeps the first of the errors that do not end the decoding.
    fn save(&self, text: String) {
        let number_at = text.contains(AS_SENT).then(|| self.path.borrow().clone());
        self.saved.borrow_mut().get_or_insert(Told { text, number_at });
    }

    /// The name of the type in Go, when it has one that the facts tell of its field.
    fn declared_type(&self) -> Option<String> {
        let (path, structs) = (self.path.borrow(), self.structs.borrow());
        let at = path.iter().rposition(|step| matches!(step, Step::Name(_)))?;
        let Step::Name(name) = &path[at] else { return None };
        let declared = structs.last()?.field(name)?.go_type;
        let within = path[at + 1..].iter().try_fold(declared, |ty, step| match step {
            Step::Index(_) => ty.strip_prefix("[]"),
            _ => ty.strip_prefix("map[")?.split_once(']').map(|(_, member)| member),
        })?;
        (!within.is_empty()).then(|| within.to_owned())
    }

    fn number_as_sent<E: serde::de::Error>(&self, ty: Expect) -> Result<Value, E> {
        self.mismatch(&format!("number {AS_SENT}"), ty)
    }

    fn fail<E: serde::de::Error>(&self, text: String) -> E {
        let error = E::custom(&text);
        let number_at = text.contains(AS_SENT).then(|| self.path.borrow().clone());
        self.last.borrow_mut().get_or_insert(Told { text, number_at });
        error
    }

    /// What was decoded, unless an error was kept.
    fn judged<T>(&self, text: &[u8], outcome: Result<T, serde_json::Error>) -> Result<T, Error> {
        match outcome {
            Ok(_) if self.saved.borrow().is_some() => Err(self.explain(text, "")),
            Ok(value) => Ok(value),
            Err(error) => Err(self.explain(text, &error.to_string())),
        }
    }

    fn explain(&self, text: &[u8], error: &str) -> Error {
        if let Err(why) = scan::check(text) {
            return Error(why);
        }
        let told = self.last.borrow_mut().take().or_else(|| self.saved.borrow_mut().take());
        let Some(told) = told else { return Error(format!("invalid JSON: {error}")) };
        match told.number_at {
            Some(path) => {
                let number = std::str::from_utf8(text).ok().and_then(|text| piece(text, &path)).unwrap_or_default();
                Error(told.text.replace(AS_SENT, number))
            }
            None => Error(told.text),
        }
    }
}

/// The text of the value at a path.
fn piece<'t>(text: &'t str, path: &[Step]) -> Option<&'t str> {
    let found = path.iter().try_fold(text, |text, step| match step {
        Step::Name(name) | Step::Key(name) => {
            scan::members(text)?.into_iter().rev().find(|member| member.0 == *name).map(|member| member.1)
        }
        Step::Index(at) => scan::elements(text)?.get(*at).copied(),
    })?;
    Some(found.trim())
}

/// How Go's reflection prints the type.
fn printed(ty: Expect) -> String {
    match ty {
        Expect::Any => "interface {}".into(),
        Expect::Struct(structure) => qualified(structure),
        Expect::Type(ty) => match ty {
            Type::Bool => "bool".into(),
            Type::Int32 => "int32".into(),
            Type::Int64 => "int64".into(),
            Type::Uint32 => "uint32".into(),
            Type::Uint64 => "uint64".into(),
            Type::Float64 => "float64".into(),
            Type::String => "string".into(),
            Type::Bytes => "[]uint8".into(),
            Type::Struct(structure) => qualified(structure),
            Type::List(inner) | Type::Wrapped(inner) => format!("[]{}", printed(Expect::Type(inner))),
            Type::Map(inner) => format!("map[string]{}", printed(Expect::Type(inner))),
            Type::Time => "v1.Time".into(),
            Type::MicroTime => "v1.MicroTime".into(),
            Type::Duration => "v1.Duration".into(),
            Type::Quantity => "resource.Quantity".into(),
            Type::IntOrString => "intstr.IntOrString".into(),
            Type::RawExtension => "runtime.RawExtension".into(),
            Type::FieldsV1 => "v1.FieldsV1".into(),
            Type::Json => "v1.JSON".into(),
            _ => "interface {}".into(),
        },
    }
}

fn qualified(structure: &Struct) -> String {
    let mut parts = structure.name.rsplit('.');
    let name = parts.next().unwrap_or_default();
    format!("{}.{name}", parts.next().unwrap_or_default())
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    ty: Expect,
    context: &'a Context,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.context.path.borrow().len() > DEPTH_MAX {
            return Err(self.context.fail("exceeded max depth".into()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Value, E> {
        match self.ty {
            Expect::Any | Expect::Type(Type::Bool | Type::Json | Type::RawExtension | Type::SchemaOrBool(_)) => {
                Ok(Value::Bool(flag))
            }
            ty => self.context.mismatch("bool", ty),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        self.integer(number)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.integer(number),
            Err(_) => self.visit_f64(number as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        match self.ty {
            Expect::Any | Expect::Type(Type::Json | Type::RawExtension | Type::Float64) => Ok(Value::Float(number)),
            Expect::Type(Type::Quantity) => self.quantity(&number.to_string()),
            Expect::Type(Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::IntOrString) => {
                self.context.number_as_sent(self.ty)
            }
            ty => self.context.mismatch("number", ty),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        let Expect::Type(ty) = self.ty else {
            return match self.ty {
                Expect::Any => Ok(Value::from(text)),
                ty => self.context.mismatch("string", ty),
            };
        };
        match ty {
            Type::String | Type::Bytes | Type::Json | Type::RawExtension => self.plain(ty, text),
            Type::IntOrString => Ok(Value::from(text)),
            Type::Quantity => self.quantity(text),
            Type::Time => self.converted(crate::time::canonical_rfc3339(text)),
            Type::MicroTime => self.converted(crate::time::canonical_micro(text)),
            Type::Duration => match crate::duration::parse(text) {
                Ok(nanos) => Ok(Value::from(crate::duration::format(nanos))),
                Err(error) => Err(self.context.fail(error.to_string())),
            },
            _ => self.context.mismatch("string", self.ty),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let element = match self.ty {
            Expect::Any | Expect::Type(Type::Json | Type::RawExtension) => Expect::Any,
            Expect::Type(Type::List(inner) | Type::Wrapped(inner)) => Expect::Type(inner),
            Expect::Type(Type::SchemaOrArray(inner)) => Expect::Struct(inner),
            Expect::Type(Type::SchemaOrStrings(_)) => Expect::Type(&Type::String),
            ty => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return self.context.mismatch("array", ty);
            }
        };
        let mut list = Vec::with_capacity(seq.size_hint().unwrap_or(0));
        let seed = Seed { ty: element, context: self.context };
        loop {
            let at = list.len();
            match self.context.within(Step::Index(at), || seq.next_element_seed(seed))? {
                Some(Value::Null) => list.push(zero(element)),
                Some(value) => list.push(value),
                // No schema at all.
                None if list.is_empty() && matches!(self.ty, Expect::Type(Type::SchemaOrArray(_))) => {
                    return Ok(Value::Null);
                }
                None => return Ok(Value::List(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        match self.ty {
            Expect::Struct(structure) => self.structure(structure, map),
            Expect::Type(Type::Struct(structure)) => self.structure(structure, map),
            Expect::Type(
                Type::SchemaOrBool(structure) | Type::SchemaOrArray(structure) | Type::SchemaOrStrings(structure),
            ) => self.structure(structure, map),
            Expect::Any | Expect::Type(Type::Json | Type::FieldsV1 | Type::RawExtension) => {
                self.entries(Expect::Any, map)
            }
            Expect::Type(Type::Map(inner)) => self.entries(Expect::Type(inner), map),
            ty => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.context.mismatch("object", ty)
            }
        }
    }
}

impl Seed<'_> {
    fn integer<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        let fits = match self.ty {
            Expect::Any | Expect::Type(Type::Json | Type::RawExtension | Type::Int64 | Type::Float64) => true,
            Expect::Type(Type::Int32 | Type::IntOrString) => i32::try_from(number).is_ok(),
            Expect::Type(Type::Uint32) => u32::try_from(number).is_ok(),
            Expect::Type(Type::Uint64) => number >= 0,
            Expect::Type(Type::Quantity) => return self.quantity(&number.to_string()),
            ty => return self.context.mismatch("number", ty),
        };
        if fits { Ok(Value::Int(number)) } else { self.context.mismatch(&format!("number {number}"), self.ty) }
    }

    fn plain<E: serde::de::Error>(self, ty: &Type, text: &str) -> Result<Value, E> {
        if matches!(ty, Type::Bytes) {
            use base64::Engine;
            let engine = base64::engine::general_purpose::STANDARD;
            let bytes = engine.decode(text.replace(['\r', '\n'], ""));
            return match bytes {
                Ok(bytes) => Ok(Value::from(engine.encode(bytes))),
                Err(error) => {
                    self.context.save(illegal_base64(text, &error));
                    Ok(Value::Null)
                }
            };
        }
        Ok(Value::from(text))
    }

    fn quantity<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.converted(crate::quantity::canonical(text))
    }

    fn converted<E: serde::de::Error, F: fmt::Display>(self, text: Result<Cow<'_, str>, F>) -> Result<Value, E> {
        match text {
            Ok(text) => Ok(Value::from(&*text)),
            Err(error) => Err(self.context.fail(error.to_string())),
        }
    }

    fn structure<'de, A: MapAccess<'de>>(self, structure: &'static Struct, mut map: A) -> Result<Value, A::Error> {
        let mut found: Vec<(u16, &'static Field, Value)> = Vec::with_capacity(8);
        let (mut head, mut rest) = (Map::new(), Map::new());
        self.context.structs.borrow_mut().push(structure);
        while let Some(name) = map.next_key_seed(NameSeed(structure))? {
            match name {
                Name::Head(name) => {
                    let seed = Seed { ty: Expect::Type(&Type::String), context: self.context };
                    let value = self.context.within(Step::Name(name.into()), || map.next_value_seed(seed))?;
                    if head.contains(name) {
                        self.context.note("duplicate", name);
                    }
                    head.set(name, value);
                }
                Name::Unknown(name) if structure.open => {
                    let seed = Seed { ty: Expect::Any, context: self.context };
                    let value = self.context.within(Step::Name(name.as_str().into()), || map.next_value_seed(seed))?;
                    if rest.contains(&name) {
                        self.context.note("duplicate", &name);
                    }
                    rest.set(name, value);
                }
                Name::Unknown(name) => {
                    self.context.note("unknown", &name);
                    map.next_value::<IgnoredAny>()?;
                }
                Name::Field(order, field) => {
                    let seed = Seed { ty: Expect::Type(&field.ty), context: self.context };
                    let step = Step::Name(Str::const_new(field.name));
                    let value = self.context.within(step, || map.next_value_seed(seed))?;
                    match found.iter_mut().find(|entry| entry.0 == order) {
                        Some(entry) => {
                            self.context.note("duplicate", field.name);
                            decode_over(&mut entry.2, value, &field.ty);
                        }
                        None => found.push((order, field, value)),
                    }
                }
            }
        }
        self.context.structs.borrow_mut().pop();
        for (_, field, value) in found.iter().filter(|(_, field, value)| is_empty(field, value)) {
            let mut path = self.context.path.borrow().clone();
            path.push(Step::Name(Str::const_new(field.name)));
            self.context.empty.borrow_mut().push(Empty { path, value: value.clone() });
        }
        let mut object = canonical(structure, head, found);
        rest.sort();
        for (name, value) in rest {
            object.push(name, value);
        }
        Ok(Value::Map(object))
    }

    fn entries<'de, A: MapAccess<'de>>(self, inner: Expect, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Map::new();
        let seed = Seed { ty: inner, context: self.context };
        while let Some(name) = map.next_key_seed(KeySeed)? {
            let value = self.context.within(Step::Key(name.clone()), || map.next_value_seed(seed))?;
            let value = if value.is_null() { zero(inner) } else { value };
            if entries.contains(&name) {
                self.context.note("duplicate", &name);
            }
            entries.set(name, value);
        }
        entries.sort();
        Ok(Value::Map(entries))
    }
}

/// What says of what kind an object is stands in a struct of its own.
fn is_head(parent: &'static Struct, name: &str) -> bool {
    parent.kinded && matches!(name, "kind" | "apiVersion") && parent.field(name).is_none()
}

fn is_empty(field: &Field, value: &Value) -> bool {
    let may_be_empty = field.nilable && matches!(field.ty, Type::List(_) | Type::Map(_) | Type::Bytes);
    may_be_empty && !value.is_null() && value.is_zero()
}

/// What Go holds of a field that comes twice: maps and structs are decoded into what is there.
fn decode_over(first: &mut Value, second: Value, ty: &'static Type) {
    match (ty, first, second) {
        (Type::Struct(_), _, Value::Null) => {}
        (Type::Struct(inner), Value::Map(map), Value::Map(more)) => {
            for (name, value) in more {
                let field = inner.field(&name);
                match (map.get_mut(&name), field) {
                    (Some(there), Some(field)) => decode_over(there, value, &field.ty),
                    _ => map.set(name, value),
                }
            }
        }
        (Type::Map(_), Value::Map(map), Value::Map(more)) => {
            for (name, value) in more {
                map.set(name, value);
            }
            map.sort();
        }
        (_, first, second) => *first = second,
    }
}

/// A name in a struct's JSON object, looked up without copying it.
enum Name {
    Head(&'static str),
    Field(u16, &'static Field),
    Unknown(String),
}

struct NameSeed(&'static Struct);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
        Ok(match (name, self.0.find(name)) {
            ("apiVersion", _) if self.0.kinded => Name::Head("apiVersion"),
            ("kind", _) if self.0.kinded => Name::Head("kind"),
            (_, Some((order, field))) => Name::Field(order, field),
            (name, None) => Name::Unknown(name.into()),
        })
    }
}

/// A key of a map; short ones need no allocation.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Str;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Str, E> {
        Ok(name.into())
    }
}

/// What Go says of it (encoding/base64: CorruptInputError).
pub fn illegal_base64(text: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol { offset: at, .. } => *at,
        _ => text.len() / 4 * 4,
    };
    format!("illegal base64 data at input byte {at}")
}

/// The zero value of a type as JSON has it.
pub(super) fn zero_of(ty: &'static Type) -> Value {
    zero(Expect::Type(ty))
}

/// What Go holds where JSON says null in a list or map.
fn zero(ty: Expect) -> Value {
    match ty {
        Expect::Any => Value::Null,
        Expect::Struct(structure) => Value::Map(canonical(structure, Map::new(), Vec::new())),
        Expect::Type(ty) => match ty {
            Type::Bool => Value::Bool(false),
            Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::IntOrString => Value::Int(0),
            Type::Float64 => Value::Float(0.0),
            Type::String | Type::Bytes => Value::from(""),
            Type::Quantity => Value::from("0"),
            Type::Struct(structure) => Value::Map(canonical(structure, Map::new(), Vec::new())),
            _ => Value::Null,
        },
    }
}

/// Orders fields as declared, leaves out what Go omits and adds what Go always writes.
pub(crate) fn canonical(structure: &'static Struct, head: Map, mut found: Vec<(u16, &'static Field, Value)>) -> Map {
    found.sort_by_key(|entry| entry.0);
    let mut map = Map::with_capacity(head.len() + found.len() + 1);
    for name in ["kind", "apiVersion"] {
        if let Some(value) = head.get(name).filter(|value| !value.is_zero()) {
            map.push(Str::const_new(name), value.clone());
        }
    }
    let mut found = found.into_iter().peekable();
    for (order, field) in (0u16..).zip(structure.json_fields()) {
        let value = found.next_if(|entry| entry.0 == order).map(|entry| entry.2);
        let empty = matches!(&value, Some(Value::List(list)) if list.is_empty());
        if empty && KEEPS_EMPTY.contains(&(structure.name, field.name)) {
            map.push(Str::const_new(field.name), Value::List(Vec::new()));
        } else if let Some(value) = field_value(field, value) {
            map.push(Str::const_new(field.name), value);
        }
    }
    map
}

/// Lists that upstream tells apart when they are empty and when they are not there; an empty one is refused by
/// validation, so none is ever stored.
const KEEPS_EMPTY: &[(&str, &str)] = &[("io.k8s.api.autoscaling.v2.HPAScalingRules", "policies")];

/// The canonical value of a field, or `None` when JSON output leaves it out.
fn field_value(field: &'static Field, value: Option<Value>) -> Option<Value> {
    let value = value.filter(|value| !value.is_null());
    if is_left_out(field, value.as_ref()) {
        return None;
    }
    Some(value.unwrap_or_else(|| if field.nilable { Value::Null } else { zero(Expect::Type(&field.ty)) }))
}

/// Whether JSON output leaves the field out, with a value that is not null or without one.
pub(super) fn is_left_out(field: &'static Field, value: Option<&Value>) -> bool {
    match (value, field.omit) {
        (None, _) => !field.always_in_json(),
        (Some(_), Omit::Never) => false,
        (Some(value), _) if field.nilable => {
            matches!(field.ty, Type::List(_) | Type::Wrapped(_) | Type::Map(_) | Type::Bytes) && value.is_zero()
        }
        (Some(value), Omit::Empty) => !field.ty.is_go_struct() && value.is_zero(),
        (Some(value), Omit::Zero) => value.is_zero(),
    }
}
