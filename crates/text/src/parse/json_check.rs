//! Says, byte by byte, whether a text can still become one JSON value.
//!
//! A value that is sampled as JSON is forwarded as it is, so it must be known to be JSON before
//! the client sees it. The check keeps no text, only its place in the grammar of RFC 8259.

/// Deepest nesting of arrays and objects; what is deeper counts as broken.
pub const JSON_DEPTH_MAX: usize = 100;

/// The place in the grammar.
#[derive(Clone, Debug)]
pub(super) struct JsonCheck {
    place: Place,
    /// Open containers, outermost first.
    open: Vec<Container>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Value,
    /// After `[`: a value or the end.
    ValueOrEnd,
    /// After `{`: a key or the end.
    KeyOrEnd,
    Key,
    Colon,
    AfterValue,
    Text {
        key: bool,
    },
    Escape {
        key: bool,
    },
    /// This many hexadecimal digits to come.
    Unicode {
        key: bool,
        left: u8,
    },
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    Number(Digits),
}

/// The place in a number, by what was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digits {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl JsonCheck {
    pub fn new() -> JsonCheck {
        JsonCheck { place: Place::Value, open: Vec::new() }
    }

    /// Takes one more byte; false if the text cannot become JSON any more.
    #[must_use]
    pub fn byte(&mut self, byte: u8) -> bool {
        if let Place::Number(digits) = self.place {
            if let Some(next) = digits.next(byte) {
                self.place = Place::Number(next);
                return true;
            }
            if !digits.may_end() {
                return false;
            }
            self.place = Place::AfterValue;
        }
        match self.next(byte) {
            Some(place) => {
                self.place = place;
                true
            }
            None => false,
        }
    }

    /// Whether the text so far is a complete value.
    pub fn is_complete(&self) -> bool {
        let ended = match self.place {
            Place::AfterValue => true,
            Place::Number(digits) => digits.may_end(),
            _ => false,
        };
        ended && self.open.is_empty()
    }

    /// Whether the last byte was inside a string.
    pub fn in_string(&self) -> bool {
        matches!(self.place, Place::Text { .. } | Place::Escape { .. } | Place::Unicode { .. })
    }

    fn next(&mut self, byte: u8) -> Option<Place> {
        match (self.place, byte) {
            (Place::Text { key: true }, b'"') => Some(Place::Colon),
            (Place::Text { key: false }, b'"') => Some(Place::AfterValue),
            (Place::Text { key }, b'\\') => Some(Place::Escape { key }),
            (Place::Text { key }, b' '..) => Some(Place::Text { key }),
            (Place::Escape { key }, b'u') => Some(Place::Unicode { key, left: 4 }),
            (Place::Escape { key }, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                Some(Place::Text { key })
            }
            (Place::Unicode { key, left }, _) if byte.is_ascii_hexdigit() => Some(if left == 1 {
                Place::Text { key }
            } else {
                Place::Unicode { key, left: left - 1 }
            }),
            (Place::Text { .. } | Place::Escape { .. } | Place::Unicode { .. }, _) => None,
            (Place::Word([first, rest @ ..]), _) if *first == byte => {
                Some(if rest.is_empty() { Place::AfterValue } else { Place::Word(rest) })
            }
            (Place::Word(_), _) => None,
            (place, b' ' | b'\t' | b'\n' | b'\r') => Some(place),
            (Place::Value | Place::ValueOrEnd, b'[' | b'{') => self.enter(byte),
            (Place::ValueOrEnd, b']') => self.leave(Container::Array),
            (Place::Value | Place::ValueOrEnd, _) => scalar(byte),
            (Place::KeyOrEnd, b'}') => self.leave(Container::Object),
            (Place::Key | Place::KeyOrEnd, b'"') => Some(Place::Text { key: true }),
            (Place::Colon, b':') => Some(Place::Value),
            (Place::AfterValue, b',') => match self.open.last()? {
                Container::Array => Some(Place::Value),
                Container::Object => Some(Place::Key),
            },
            (Place::AfterValue, b']') => self.leave(Container::Array),
            (Place::AfterValue, b'}') => self.leave(Container::Object),
            _ => None,
        }
    }

    fn enter(&mut self, byte: u8) -> Option<Place> {
        if self.open.len() == JSON_DEPTH_MAX {
            return None;
        }
        let array = byte == b'[';
        self.open.push(if array { Container::Array } else { Container::Object });
        Some(if array { Place::ValueOrEnd } else { Place::KeyOrEnd })
    }

    fn leave(&mut self, container: Container) -> Option<Place> {
        (self.open.pop()? == container).then_some(Place::AfterValue)
    }
}

/// The first byte of a string, word or number.
fn scalar(byte: u8) -> Option<Place> {
    match byte {
        b'"' => Some(Place::Text { key: false }),
        b't' => Some(Place::Word(b"rue")),
        b'f' => Some(Place::Word(b"alse")),
        b'n' => Some(Place::Word(b"ull")),
        b'-' => Some(Place::Number(Digits::Minus)),
        b'0' => Some(Place::Number(Digits::Zero)),
        b'1'..=b'9' => Some(Place::Number(Digits::Integer)),
        _ => None,
    }
}

impl Digits {
    fn next(self, byte: u8) -> Option<Digits> {
        use Digits::{Exponent, Fraction, Integer, Minus, Point, Power, Sign, Zero};
        match (self, byte) {
            (Minus, b'0') => Some(Zero),
            (Minus, b'1'..=b'9') | (Integer, b'0'..=b'9') => Some(Integer),
            (Zero | Integer, b'.') => Some(Point),
            (Point | Fraction, b'0'..=b'9') => Some(Fraction),
            (Zero | Integer | Fraction, b'e' | b'E') => Some(Exponent),
            (Exponent, b'+' | b'-') => Some(Sign),
            (Exponent | Sign | Power, b'0'..=b'9') => Some(Power),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        use Digits::{Fraction, Integer, Power, Zero};
        matches!(self, Zero | Integer | Fraction | Power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether all bytes were taken, and whether the whole is complete.
    fn check(text: &str) -> (bool, bool) {
        let mut check = JsonCheck::new();
        let taken = text.bytes().all(|byte| check.byte(byte));
        (taken, taken && check.is_complete())
    }

    proptest! {
        /// Texts near JSON: complete exactly when the JSON library reads them.
        #[test]
        fn agrees_with_the_library(text in prop::collection::vec(
            r#"[\[\]{},: \n"]|"a"|"\\u00e9\\n"|-?[0-9.eE+-]{1,4}|true|nul|é|\\|"a": ?"#, 0..12,
        ).prop_map(|parts| parts.concat())) {
            let valid = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(check(&text).1, valid, "{}", text);
        }

        /// Every beginning of a valid text can still become JSON.
        #[test]
        fn never_refuses_a_beginning(
            numbers in prop::collection::vec(any::<f64>(), 0..4), text in any::<String>(),
        ) {
            let value = serde_json::json!({"n": numbers, &text: [text, null, {"a": [true]}]});
            prop_assert_eq!(check(&value.to_string()), (true, true));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(&nested(JSON_DEPTH_MAX)), (true, true));
        assert_eq!(check(&nested(JSON_DEPTH_MAX + 1)), (false, false));
        assert!(serde_json::from_str::<serde_json::Value>(&nested(JSON_DEPTH_MAX)).is_ok());
    }
}
