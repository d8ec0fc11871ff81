//! The shape of a value: which calls it makes of a serializer, whatever its numbers and texts are. Values of one type
//! and one shape are decoded by the same calls, so a value that came back from its own bytes vouches for all of its
//! shape.

use std::fmt;

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

/// A number for the shape of a value. `None` where the shape does not tell enough: of a map with several entries, whose
/// order may be another one after decoding.
pub(super) fn shape_of<T: Serialize>(value: &T) -> Option<u64> {
    let mut shape = Shape { hash: 0, has_order: true };
    value.serialize(&mut shape).ok()?;
    shape.has_order.then_some(shape.hash)
}

struct Shape {
    hash: u64,
    has_order: bool,
}

/// The calls of a serializer. Two that are not alike have different numbers.
#[derive(Clone, Copy)]
enum SerializerCall {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    None,
    Some,
    Unit,
    UnitStruct,
    UnitVariant,
    NewtypeStruct,
    NewtypeVariant,
    Seq,
    Tuple,
    TupleStruct,
    TupleVariant,
    Map,
    Struct,
    StructVariant,
    SkippedField,
    End,
}

impl Shape {
    fn mix(&mut self, number: u64) {
        let mixed = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.hash = mixed ^ (mixed >> 32);
    }

    fn call(&mut self, call: SerializerCall) -> Result<(), fmt::Error> {
        self.mix(call as u64 + 1);
        Ok(())
    }

    /// A call with a number: of a variant, or of fields.
    fn numbered(&mut self, call: SerializerCall, number: u64) -> Result<(), fmt::Error> {
        self.call(call)?;
        self.mix(number);
        Ok(())
    }
}

macro_rules! leaves {
    ($($method:ident($type:ty) $call:ident;)*) => {
        $(fn $method(self, _: $type) -> Result<(), fmt::Error> {
            self.call(SerializerCall::$call)
        })*
    };
}

macro_rules! structs {
    ($($method:ident $call:ident;)*) => {
        $(fn $method(self, _: &'static str, len: usize) -> Result<Self, fmt::Error> {
            self.numbered(SerializerCall::$call, len as u64)?;
            Ok(self)
        })*
    };
}

macro_rules! variants {
    ($($method:ident $call:ident;)*) => {
        $(fn $method(self, _: &'static str, variant: u32, _: &'static str, len: usize) -> Result<Self, fmt::Error> {
            self.numbered(SerializerCall::$call, variant.into())?;
            self.mix(len as u64);
            Ok(self)
        })*
    };
}

impl<'a> Serializer for &'a mut Shape {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    leaves! {
        serialize_bool(bool) Bool;
        serialize_i8(i8) I8;
        serialize_i16(i16) I16;
        serialize_i32(i32) I32;
        serialize_i64(i64) I64;
        serialize_i128(i128) I128;
        serialize_u8(u8) U8;
        serialize_u16(u16) U16;
        serialize_u32(u32) U32;
        serialize_u64(u64) U64;
        serialize_u128(u128) U128;
        serialize_f32(f32) F32;
        serialize_f64(f64) F64;
        serialize_char(char) Char;
        serialize_str(&str) Str;
        serialize_bytes(&[u8]) Bytes;
        serialize_unit_struct(&'static str) UnitStruct;
    }

    structs! {
        serialize_tuple_struct TupleStruct;
        serialize_struct Struct;
    }

    variants! {
        serialize_tuple_variant TupleVariant;
        serialize_struct_variant StructVariant;
    }

    fn serialize_none(self) -> Result<(), fmt::Error> {
        self.call(SerializerCall::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), fmt::Error> {
        self.call(SerializerCall::Some)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), fmt::Error> {
        self.call(SerializerCall::Unit)
    }

    fn serialize_unit_variant(self, _: &'static str, variant: u32, _: &'static str) -> Result<(), fmt::Error> {
        self.numbered(SerializerCall::UnitVariant, variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), fmt::Error> {
        self.call(SerializerCall::NewtypeStruct)?;
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        self.numbered(SerializerCall::NewtypeVariant, variant.into())?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, fmt::Error> {
        self.call(SerializerCall::Seq)?;
        Ok(Elements { shape: self, last: None })
    }

    fn serialize_tuple(self, len: usize) -> Result<Self, fmt::Error> {
        self.numbered(SerializerCall::Tuple, len as u64)?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, fmt::Error> {
        self.call(SerializerCall::Map)?;
        Ok(Entries { shape: self, entries: 0 })
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), fmt::Error> {
        self.call(SerializerCall::Str)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a list. Those of equal shapes that follow each other count as one.
struct Elements<'a> {
    shape: &'a mut Shape,
    last: Option<u64>,
}

impl SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        let list = std::mem::take(&mut self.shape.hash);
        value.serialize(&mut *self.shape)?;
        let element = std::mem::replace(&mut self.shape.hash, list);
        if self.last.replace(element) != Some(element) {
            self.shape.mix(element);
        }
        Ok(())
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.shape.call(SerializerCall::End)
    }
}

struct Entries<'a> {
    shape: &'a mut Shape,
    entries: usize,
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        self.entries += 1;
        self.shape.has_order &= self.entries < 2;
        key.serialize(&mut *self.shape)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(&mut *self.shape)
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.shape.call(SerializerCall::End)
    }
}

macro_rules! fields {
    ($($trait:ident $method:ident;)*) => {
        $(impl $trait for &mut Shape {
            type Ok = ();
            type Error = fmt::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), fmt::Error> {
                Ok(())
            }
        })*
    };
}

fields! {
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! named_fields {
    ($($trait:ident)*) => {
        $(impl $trait for &mut Shape {
            type Ok = ();
            type Error = fmt::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), fmt::Error> {
                value.serialize(&mut **self)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), fmt::Error> {
                self.call(SerializerCall::SkippedField)?;
                name.bytes().for_each(|byte| self.mix(byte.into()));
                Ok(())
            }

            fn end(self) -> Result<(), fmt::Error> {
                Ok(())
            }
        })*
    };
}

named_fields!(SerializeStruct SerializeStructVariant);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn values_that_differ_in_numbers_and_texts_have_one_shape_and_others_have_not() {
        #[derive(Serialize)]
        enum Any {
            Unit,
            Number(u64),
            Named { list: Vec<Any>, maybe: Option<&'static str> },
        }
        let named = |list, maybe| shape_of(&Any::Named { list, maybe }).unwrap();
        assert_eq!(shape_of(&Any::Number(1)), shape_of(&Any::Number(u64::MAX)));
        assert_eq!(named(vec![Any::Number(1)], Some("a")), named(vec![Any::Number(2), Any::Number(3)], Some("bc")));
        let shapes = [
            shape_of(&Any::Unit).unwrap(),
            shape_of(&Any::Number(1)).unwrap(),
            named(vec![], None),
            named(vec![], Some("")),
            named(vec![Any::Unit], None),
            named(vec![Any::Unit, Any::Number(1)], None),
            named(vec![Any::Number(1), Any::Unit], None),
            named(vec![Any::Named { list: vec![], maybe: None }], None),
        ];
        let different: std::collections::HashSet<_> = shapes.iter().collect();
        assert_eq!(different.len(), shapes.len());
    }

    #[test]
    fn a_skipped_field_changes_the_shape_and_a_map_of_several_entries_has_none() {
        #[derive(Serialize)]
        struct Skips {
            #[serde(skip_serializing_if = "Option::is_none")]
            one: Option<u8>,
            #[serde(skip_serializing_if = "Option::is_none")]
            other: Option<u8>,
        }
        let shapes = [(None, None), (Some(1), None), (None, Some(1)), (Some(1), Some(1))]
            .map(|(one, other)| shape_of(&Skips { one, other }).unwrap());
        let different: std::collections::HashSet<_> = shapes.iter().collect();
        assert_eq!(different.len(), 4);
        let map = |entries: u8| (0..entries).map(|n| (n, n)).collect::<BTreeMap<_, _>>();
        assert_ne!(shape_of(&map(0)), shape_of(&map(1)));
        assert_eq!(shape_of(&map(2)), None);
    }
}
