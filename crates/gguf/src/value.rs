//! Metadata: the keys of a file and their values.
//!
//! Thirteen value types exist; an array holds scalars or strings, never arrays. Files disagree on
//! the width of the integers they use for the same key, so readers ask by meaning
//! ([`Value::as_u64`], [`Value::as_integers`]) instead of by type. Nothing here knows what any key
//! means.

use std::collections::HashMap;

/// The type of a value, as numbered in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// 8 bits, unsigned.
    U8 = 0,
    /// 8 bits, signed.
    I8 = 1,
    /// 16 bits, unsigned.
    U16 = 2,
    /// 16 bits, signed.
    I16 = 3,
    /// 32 bits, unsigned.
    U32 = 4,
    /// 32 bits, signed.
    I32 = 5,
    /// IEEE single.
    F32 = 6,
    /// One byte, 0 or 1.
    Bool = 7,
    /// u64 byte length, then UTF-8.
    String = 8,
    /// u32 element type, u64 count, then the elements.
    Array = 9,
    /// 64 bits, unsigned.
    U64 = 10,
    /// 64 bits, signed.
    I64 = 11,
    /// IEEE double.
    F64 = 12,
}

impl ValueType {
    const ALL: [ValueType; 13] = {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64]
    };

    /// The type with this number in the file.
    pub fn from_id(id: u32) -> Option<ValueType> {
        Self::ALL.get(id as usize).copied()
    }

    /// The number in the file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The name used in messages, such as "u32" or "string".
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 13] = [
            "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64",
            "f64",
        ];
        NAMES[self as usize]
    }

    /// The fewest bytes that one element takes in a file.
    pub(crate) fn bytes_min(self) -> u64 {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::String => 8,
            ValueType::Array => 12,
        }
    }
}

/// One value of the metadata.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // each variant is the `ValueType` of its name
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of the metadata, stored in its own element type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // each variant is the `ValueType` of its name
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// The type that the file gives it.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// A non-negative integer, whatever its type.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_i128().and_then(|value| u64::try_from(value).ok())
    }

    /// A number: a float, or an integer of any type (rounded to the nearest double).
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(value) => Some(value.into()),
            Value::F64(value) => Some(value),
            _ => self.as_i128().map(|value| value as f64),
        }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    /// An array of strings.
    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Value::Array(Array::String(values)) => Some(values),
            _ => None,
        }
    }

    /// An array of integers of any type; `None` too when one of them exceeds an i64.
    pub fn as_integers(&self) -> Option<Vec<i64>> {
        let Value::Array(array) = self else { return None };
        match array {
            Array::U8(values) => Some(widened(values)),
            Array::I8(values) => Some(widened(values)),
            Array::U16(values) => Some(widened(values)),
            Array::I16(values) => Some(widened(values)),
            Array::U32(values) => Some(widened(values)),
            Array::I32(values) => Some(widened(values)),
            Array::I64(values) => Some(values.clone()),
            Array::U64(values) => values.iter().map(|&value| i64::try_from(value).ok()).collect(),
            Array::F32(_) | Array::F64(_) | Array::Bool(_) | Array::String(_) => None,
        }
    }

    /// An array of numbers: floats, or integers of any type.
    pub fn as_floats(&self) -> Option<Vec<f64>> {
        match self {
            Value::Array(Array::F32(values)) => Some(widened(values)),
            Value::Array(Array::F64(values)) => Some(values.clone()),
            _ => Some(self.as_integers()?.into_iter().map(|value| value as f64).collect()),
        }
    }

    fn as_i128(&self) -> Option<i128> {
        match *self {
            Value::U8(value) => Some(value.into()),
            Value::I8(value) => Some(value.into()),
            Value::U16(value) => Some(value.into()),
            Value::I16(value) => Some(value.into()),
            Value::U32(value) => Some(value.into()),
            Value::I32(value) => Some(value.into()),
            Value::U64(value) => Some(value.into()),
            Value::I64(value) => Some(value.into()),
            _ => None,
        }
    }
}

impl Array {
    /// The type of every element.
    pub fn element_type(&self) -> ValueType {
        match self {
            Array::U8(_) => ValueType::U8,
            Array::I8(_) => ValueType::I8,
            Array::U16(_) => ValueType::U16,
            Array::I16(_) => ValueType::I16,
            Array::U32(_) => ValueType::U32,
            Array::I32(_) => ValueType::I32,
            Array::F32(_) => ValueType::F32,
            Array::Bool(_) => ValueType::Bool,
            Array::String(_) => ValueType::String,
            Array::U64(_) => ValueType::U64,
            Array::I64(_) => ValueType::I64,
            Array::F64(_) => ValueType::F64,
        }
    }

    /// How many elements.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        match self {
            Array::U8(values) => values.len(),
            Array::I8(values) => values.len(),
            Array::U16(values) => values.len(),
            Array::I16(values) => values.len(),
            Array::U32(values) => values.len(),
            Array::I32(values) => values.len(),
            Array::F32(values) => values.len(),
            Array::Bool(values) => values.len(),
            Array::String(values) => values.len(),
            Array::U64(values) => values.len(),
            Array::I64(values) => values.len(),
            Array::F64(values) => values.len(),
        }
    }
}

fn widened<Wide, Narrow: Copy + Into<Wide>>(values: &[Narrow]) -> Vec<Wide> {
    values.iter().map(|&value| value.into()).collect()
}

macro_rules! value_from {
    ($($from:ty => $make:expr),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Value {
                $make(value)
            }
        })*
    };
}

value_from! {
    u32 => Value::U32,
    i32 => Value::I32,
    u64 => Value::U64,
    f32 => Value::F32,
    bool => Value::Bool,
    String => Value::String,
    &str => |value: &str| Value::String(value.to_owned()),
    Vec<i32> => |values| Value::Array(Array::I32(values)),
    Vec<u32> => |values| Value::Array(Array::U32(values)),
    Vec<f32> => |values| Value::Array(Array::F32(values)),
    Vec<String> => |values| Value::Array(Array::String(values)),
}

/// The keys of a file in file order, each once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// No keys.
    pub fn new() -> Metadata {
        Metadata::default()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// Keys and values in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Gives a key a value: in its old place if it is there already, else at the end.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.index.get(&key) {
            Some(&at) => self.entries[at].1 = value,
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// Keeps only the keys for which `keep` holds, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.entries.retain(|(key, _)| keep(key));
        let places = self.entries.iter().enumerate();
        self.index = places.map(|(at, (key, _))| (key.clone(), at)).collect();
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Metadata {
        let mut metadata = Metadata::new();
        for (key, value) in pairs {
            metadata.set(key, value);
        }
        metadata
    }
}
