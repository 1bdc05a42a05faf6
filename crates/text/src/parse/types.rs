//! What the schemas of the tools on offer say about the types of arguments.
//!
//! Models sometimes mark a number or an array as a string. If the schema asks for another type
//! and the text reads as that type, the parser passes it on as that type. Schemas are looked at
//! no deeper than the type of each property; this is help for the model, not validation.

use std::collections::HashMap;

use super::json_check::JsonCheck;
use crate::message::ToolSpec;

/// A type that a schema asks for and that is not a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// Any number.
    Number,
    /// A number without point or exponent.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl ValueType {
    /// Whether `text`, without white space around it, is JSON of this type.
    pub(super) fn fits(self, text: &str) -> bool {
        let mut check = JsonCheck::new();
        let valid = text.bytes().all(|byte| check.byte(byte)) && check.is_complete();
        let first = text.bytes().next().unwrap_or(b' ');
        let is_number = first == b'-' || first.is_ascii_digit();
        valid
            && match self {
                ValueType::Number => is_number,
                ValueType::Integer => is_number && !text.contains(['.', 'e', 'E']),
                ValueType::Boolean => matches!(first, b't' | b'f'),
                ValueType::Array => first == b'[',
                ValueType::Object => first == b'{',
            }
    }
}

/// The types of the arguments of all tools, by tool and parameter. Strings, unions and unknown
/// types are not in it: such values stay as the model wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgumentTypes {
    tools: HashMap<String, HashMap<String, ValueType>>,
}

impl ArgumentTypes {
    /// Reads `parameters.properties.*.type` of every tool.
    pub fn of(tools: &[ToolSpec]) -> ArgumentTypes {
        let tools = tools.iter().map(|tool| (tool.name.clone(), property_types(tool)));
        ArgumentTypes { tools: tools.collect() }
    }

    pub(super) fn get(&self, tool: &str, key: &str) -> Option<ValueType> {
        self.tools.get(tool)?.get(key).copied()
    }
}

fn property_types(tool: &ToolSpec) -> HashMap<String, ValueType> {
    let properties = tool.parameters.get("properties").and_then(|value| value.as_object());
    let typed = |(key, schema): (&String, &serde_json::Value)| {
        let value_type = match schema.get("type")?.as_str()? {
            "number" => ValueType::Number,
            "integer" => ValueType::Integer,
            "boolean" => ValueType::Boolean,
            "array" => ValueType::Array,
            "object" => ValueType::Object,
            _ => return None,
        };
        Some((key.clone(), value_type))
    };
    properties.into_iter().flatten().filter_map(typed).collect()
}
