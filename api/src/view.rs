//! Typed views: the value tree as a k8s-openapi (or any serde) type, and back.
//!
//! Non-goal: a second object model. Code reads through a view and changes the tree.

use std::fmt::Display;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::ser::{self, Serialize};

use crate::value::{Map, Str, Value};

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl de::Error for Error {
    fn custom<T: Display>(text: T) -> Self {
        Error(text.to_string())
    }
}

impl ser::Error for Error {
    fn custom<T: Display>(text: T) -> Self {
        Error(text.to_string())
    }
}

/// The object as a typed value.
pub fn of<T: DeserializeOwned>(object: &Map) -> Result<T, Error> {
    T::deserialize(MapView(object))
}

/// A value as a typed value.
pub fn of_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(View(value))
}

/// A typed value as an object.
pub fn object<T: Serialize>(typed: &T) -> Result<Map, Error> {
    match value(typed)? {
        Value::Map(map) => Ok(map),
        _ => Err(Error("not an object".into())),
    }
}

/// A typed value as a value.
pub fn value<T: Serialize>(typed: &T) -> Result<Value, Error> {
    typed.serialize(Writer)
}

struct View<'a>(&'a Value);
struct MapView<'a>(&'a Map);

impl<'a> IntoDeserializer<'a, Error> for View<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_map<'a, V: Visitor<'a>>(map: &'a Map, visitor: V) -> Result<V::Value, Error> {
    visitor.visit_map(MapDeserializer::new(map.iter().map(|(name, value)| (name.as_str(), View(value)))))
}

impl<'a> Deserializer<'a> for View<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Int(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::List(list) => visitor.visit_seq(SeqDeserializer::new(list.iter().map(View))),
            Value::Map(map) => visit_map(map, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) => {
                de::value::StrDeserializer::<Error>::new(text).deserialize_enum(name, variants, visitor)
            }
            other => Err(Error(format!("unexpected {other:?} for {name}"))),
        }
    }

    serde::forward_to_deserialize_any! { <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'a> Deserializer<'a> for MapView<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visit_map(self.0, visitor)
    }

    serde::forward_to_deserialize_any! { <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any option newtype_struct enum
    }
}

struct Writer;

impl ser::Serializer for Writer {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = ListWriter;
    type SerializeTuple = ListWriter;
    type SerializeTupleStruct = ListWriter;
    type SerializeTupleVariant = ListWriter;
    type SerializeMap = MapWriter;
    type SerializeStruct = MapWriter;
    type SerializeStructVariant = MapWriter;

    fn serialize_bool(self, v: bool) -> Result<Value, Error> {
        Ok(Value::Bool(v))
    }
    fn serialize_i8(self, v: i8) -> Result<Value, Error> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i16(self, v: i16) -> Result<Value, Error> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i32(self, v: i32) -> Result<Value, Error> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i64(self, v: i64) -> Result<Value, Error> {
        Ok(Value::Int(v))
    }
    fn serialize_u8(self, v: u8) -> Result<Value, Error> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u16(self, v: u16) -> Result<Value, Error> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u32(self, v: u32) -> Result<Value, Error> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u64(self, v: u64) -> Result<Value, Error> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int))
    }
    fn serialize_f32(self, v: f32) -> Result<Value, Error> {
        Ok(Value::Float(v.into()))
    }
    fn serialize_f64(self, v: f64) -> Result<Value, Error> {
        Ok(Value::Float(v))
    }
    fn serialize_char(self, v: char) -> Result<Value, Error> {
        Ok(Value::from(v.to_string()))
    }
    fn serialize_str(self, v: &str) -> Result<Value, Error> {
        Ok(Value::from(v))
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<Value, Error> {
        use base64::Engine;
        Ok(Value::from(base64::engine::general_purpose::STANDARD.encode(v)))
    }
    fn serialize_none(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<Value, Error> {
        v.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Error> {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, Error> {
        Ok(Value::from(variant))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, v: &T) -> Result<Value, Error> {
        v.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        v: &T,
    ) -> Result<Value, Error> {
        Ok(Value::Map([(Str::const_new(variant), v.serialize(Writer)?)].into_iter().collect()))
    }
    fn serialize_seq(self, length: Option<usize>) -> Result<ListWriter, Error> {
        Ok(ListWriter(Vec::with_capacity(length.unwrap_or(0))))
    }
    fn serialize_tuple(self, length: usize) -> Result<ListWriter, Error> {
        self.serialize_seq(Some(length))
    }
    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<ListWriter, Error> {
        self.serialize_seq(Some(length))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        length: usize,
    ) -> Result<ListWriter, Error> {
        self.serialize_seq(Some(length))
    }
    fn serialize_map(self, length: Option<usize>) -> Result<MapWriter, Error> {
        Ok(MapWriter { map: Map::with_capacity(length.unwrap_or(0)), key: Str::default() })
    }
    fn serialize_struct(self, _: &'static str, length: usize) -> Result<MapWriter, Error> {
        self.serialize_map(Some(length))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        length: usize,
    ) -> Result<MapWriter, Error> {
        self.serialize_map(Some(length))
    }
}

struct ListWriter(Vec<Value>);

macro_rules! list_writer {
    ($($trait:ident $method:ident),*) => { $(impl ser::$trait for ListWriter {
        type Ok = Value;
        type Error = Error;
        fn $method<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Error> {
            self.0.push(v.serialize(Writer)?);
            Ok(())
        }
        fn end(self) -> Result<Value, Error> {
            Ok(Value::List(self.0))
        }
    })* };
}
list_writer!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

struct MapWriter {
    map: Map,
    key: Str,
}

impl ser::SerializeMap for MapWriter {
    type Ok = Value;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        match key.serialize(Writer)? {
            Value::String(key) => self.key = key,
            other => return Err(Error(format!("map key {other:?} is not text"))),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Error> {
        self.map.push(std::mem::take(&mut self.key), v.serialize(Writer)?);
        Ok(())
    }

    fn end(self) -> Result<Value, Error> {
        Ok(Value::Map(self.map))
    }
}

macro_rules! struct_writer {
    ($($trait:ident),*) => { $(impl ser::$trait for MapWriter {
        type Ok = Value;
        type Error = Error;
        fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, v: &T) -> Result<(), Error> {
            self.map.push(Str::const_new(name), v.serialize(Writer)?);
            Ok(())
        }
        fn end(self) -> Result<Value, Error> {
            Ok(Value::Map(self.map))
        }
    })* };
}
struct_writer!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Strictness, decode, encode};
    use k8s_openapi::api::core::v1::Pod;

    #[test]
    fn a_pod_goes_through_its_typed_view_unchanged() {
        let text = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"livenessProbe":{"httpGet":{"port":"web"}}}]}}"#;
        let ty = crate::facts::kind("", "v1", "Pod").expect("Pod");
        let pod = decode(text, ty, Strictness::Strict).expect("decode").value;
        let view: Pod = of(&pod).expect("view");
        assert_eq!(view.metadata.name.as_deref(), Some("a"));
        let back = object(&view).expect("back");
        assert!(back.value_at(&["spec", "containers"]).is_some());
        let again = decode(&encode(&back), ty, Strictness::Strict).expect("again").value;
        assert_eq!(again, pod);
    }
}
