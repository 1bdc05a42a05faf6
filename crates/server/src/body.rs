//! From the bytes of a body to JSON, and from members of JSON to values.
//!
//! A body is bounded three times before it is believed: in bytes by whoever read it, in the number
//! of its values here (a value costs more memory than the two bytes it may take), and in depth by
//! the JSON library. [`Object`] then reads members: `null` is the same as nothing, a wrong type is
//! refused by name, and members that nobody acts on are refused too, since a client that asks for
//! something must not get something else.

use serde_json::{Map, Value};
use text::json;

use crate::refusal::{Reason, Refusal};

/// Bytes of the largest body. A prompt of the native context has some 5 MB.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// Values in a body, members and items counted: what they take is some 100 bytes each.
pub const VALUES_MAX: usize = 1 << 21;

/// How strictly requests are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Members that no API of ours knows are passed over instead of refused.
    pub ignore_unknown: bool,
}

/// The members of one JSON object of a request.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    members: &'a Map<String, Value>,
    /// Where it stands, as `messages[3].content`; empty for the body itself.
    at: String,
}

/// Reads a body.
///
/// # Errors
/// It is too large, not UTF-8, not JSON, or nested too deeply.
pub fn parse(bytes: &[u8]) -> Result<Value, Refusal> {
    let invalid = |message: String| Refusal::new(Reason::Invalid, message);
    if bytes.len() > BODY_BYTES_MAX {
        let message = format!("the body has {} bytes, {BODY_BYTES_MAX} are read", bytes.len());
        return Err(Refusal::new(Reason::TooLarge, message));
    }
    let values = values(bytes);
    if values > VALUES_MAX {
        let message = format!("the body has some {values} values, {VALUES_MAX} are read");
        return Err(Refusal::new(Reason::TooLarge, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        invalid(format!("the body is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    json::parse(text).map_err(|error| invalid(format!("the body is {error}")))
}

/// How many values there may be: one more than there are commas and openings outside of strings.
fn values(bytes: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

impl<'a> Object<'a> {
    /// The body itself.
    ///
    /// # Errors
    /// It is no object.
    pub fn body(value: &'a Value) -> Result<Object<'a>, Refusal> {
        let members = value.as_object().ok_or_else(|| {
            let found = kind(value);
            Refusal::new(Reason::Invalid, format!("the body is {found}, expected a JSON object"))
        })?;
        Ok(Object { members, at: String::new() })
    }

    /// A value inside of the body.
    ///
    /// # Errors
    /// It is no object.
    pub fn new(value: &'a Value, at: String) -> Result<Object<'a>, Refusal> {
        match value.as_object() {
            Some(members) => Ok(Object { members, at }),
            None => Err(Refusal::of(at, format!("expected an object, found {}", kind(value)))),
        }
    }

    /// The path of a member.
    pub fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// Where it stands.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// A member; `null` counts as none.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A member, as it is.
    pub fn echo(&self, name: &str) -> Value {
        self.members.get(name).cloned().unwrap_or(Value::Null)
    }

    /// Refuses a member.
    pub fn refuse(&self, name: &str, message: impl AsRef<str>) -> Refusal {
        Refusal::of(self.path(name), message)
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong = || self.refuse(name, format!("expected {expected}, found {}", kind(value)));
        read(value).map(Some).ok_or_else(wrong)
    }

    /// A string.
    ///
    /// # Errors
    /// Something else.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.typed(name, "a string", Value::as_str)
    }

    /// A string that must be there.
    ///
    /// # Errors
    /// It is not, or something else is.
    pub fn need_text(&self, name: &str) -> Result<&'a str, Refusal> {
        self.text(name)?.ok_or_else(|| self.refuse(name, "missing, expected a string"))
    }

    /// A boolean.
    ///
    /// # Errors
    /// Something else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A number of a range.
    ///
    /// # Errors
    /// Something else.
    pub fn number(&self, name: &str, low: f64, high: f64) -> Result<Option<f32>, Refusal> {
        let expected = format!("a number from {low} to {high}");
        let number = self.typed(name, &expected, Value::as_f64)?;
        match number {
            Some(number) if !(low..=high).contains(&number) => {
                Err(self.refuse(name, format!("expected {expected}, found {number}")))
            }
            number => Ok(number.map(|number| number as f32)),
        }
    }

    /// A whole number of a range; one that is too large counts as the largest.
    ///
    /// # Errors
    /// Something else, or a smaller one.
    pub fn count(&self, name: &str, low: usize, high: usize) -> Result<Option<usize>, Refusal> {
        let whole = |value: &Value| {
            let number = value.as_f64()?;
            (number.fract() == 0.0 && number >= 0.0).then_some(number as usize)
        };
        let expected = format!("a whole number from {low}");
        match self.typed(name, &expected, whole)? {
            Some(count) if count < low => {
                Err(self.refuse(name, format!("expected {expected}, found {count}")))
            }
            count => Ok(count.map(|count| count.min(high))),
        }
    }

    /// A list of at most `most` items.
    ///
    /// # Errors
    /// Something else, or more of them.
    pub fn list(&self, name: &str, most: usize) -> Result<Option<&'a [Value]>, Refusal> {
        let list = self.typed(name, "a list", Value::as_array)?;
        match list {
            Some(list) if list.len() > most => {
                Err(self.refuse(name, format!("{} entries, {most} are read", list.len())))
            }
            list => Ok(list.map(Vec::as_slice)),
        }
    }

    /// The objects of a list.
    ///
    /// # Errors
    /// Something else, or too many of them.
    pub fn objects(&self, name: &str, most: usize) -> Result<Vec<Object<'a>>, Refusal> {
        let list = self.list(name, most)?.unwrap_or_default();
        let object = |(i, value)| Object::new(value, format!("{}[{i}]", self.path(name)));
        list.iter().enumerate().map(object).collect()
    }

    /// An object.
    ///
    /// # Errors
    /// Something else.
    pub fn object(&self, name: &str) -> Result<Option<Object<'a>>, Refusal> {
        self.get(name).map(|value| Object::new(value, self.path(name))).transpose()
    }

    /// Refuses members that are neither acted on nor harmless: the names of those that were passed
    /// over.
    ///
    /// # Errors
    /// The first such member that is not `null`.
    pub fn only(
        &self,
        acted: &[&str],
        harmless: &[&str],
        options: ReadOptions,
    ) -> Result<Vec<String>, Refusal> {
        let known = |name: &str| acted.contains(&name) || harmless.contains(&name);
        let named = self.members.iter().filter(|(name, value)| !value.is_null() && !known(name));
        let unknown: Vec<String> = named.map(|(name, _)| name.clone()).collect();
        match unknown.first() {
            Some(name) if !options.ignore_unknown => {
                let name: String = name.chars().take(80).collect();
                Err(self.refuse(&name, "not supported here"))
            }
            _ => Ok(unknown),
        }
    }
}

/// What a value is, for people.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        for (text, count) in [
            ("1", 1),
            ("[]", 2),
            ("[1,2]", 3),
            (r#"{"a":"x,[{","b":[1]}"#, 4),
            (r#"["\",[",1]"#, 3),
        ] {
            assert_eq!(values(text.as_bytes()), count, "{text}");
        }
        let many = "[".to_owned() + &"0,".repeat(VALUES_MAX) + "0]";
        assert_eq!(parse(many.as_bytes()).unwrap_err().reason, Reason::TooLarge);
    }

    #[test]
    fn members_are_refused_by_their_place() {
        let value = parse(br#"{"a": {"n": 3, "t": 1}, "z": null, "x": 1}"#).unwrap();
        let body = Object::body(&value).unwrap();
        let inner = body.object("a").unwrap().unwrap();
        let message = |refusal: Refusal| refusal.message;
        assert_eq!(message(inner.text("t").unwrap_err()), "a.t: expected a string, found a number");
        assert_eq!(inner.count("n", 0, 2), Ok(Some(2)));
        assert_eq!(
            message(inner.number("n", 0.0, 2.0).unwrap_err()),
            "a.n: expected a number from 0 to 2, found 3"
        );
        let options = ReadOptions::default();
        assert_eq!(body.text("z"), Ok(None));
        assert_eq!(message(body.only(&["a"], &[], options).unwrap_err()), "x: not supported here");
        assert_eq!(body.only(&["a"], &["x"], options), Ok(vec![]));
        let lenient = ReadOptions { ignore_unknown: true };
        assert_eq!(body.only(&["a"], &[], lenient), Ok(vec!["x".to_owned()]));
    }
}
