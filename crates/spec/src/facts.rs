//! How a shape is stated outside: as named facts.
//!
//! A GGUF file states a shape as metadata keys, a checkpoint folder as `config.json`. Both are
//! turned into [`Facts`] by whoever reads them, so that this crate needs to know neither format.
//! Numbers are lenient in kind (any integer type, any float type) and strict in range.

/// One stated value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Any integer.
    Integer(i64),
    /// Any floating-point number.
    Float(f64),
    /// A yes or no.
    Flag(bool),
    /// A text.
    Text(String),
    /// A list of integers, for example one compression ratio per layer.
    Integers(Vec<i64>),
    /// A list of floating-point numbers, for example one clamp per layer.
    Floats(Vec<f64>),
}

impl Fact {
    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Fact::Integer(_) => "an integer",
            Fact::Float(_) => "a float",
            Fact::Flag(_) => "a flag",
            Fact::Text(_) => "a text",
            Fact::Integers(_) => "a list of integers",
            Fact::Floats(_) => "a list of floats",
        }
    }
}

impl From<f32> for Fact {
    /// The double with the same shortest decimal text: a stored 1e-6 is meant as 1e-6, not as
    /// 9.99999997e-7.
    fn from(value: f32) -> Fact {
        Fact::Float(value.to_string().parse().expect("a float prints as a number"))
    }
}

/// A source of facts: full key (`deepseek4.block_count`) to value.
pub trait Facts {
    /// The value of `key`, or `None` if nothing is stated.
    fn fact(&self, key: &str) -> Option<Fact>;
}

impl<F: Fn(&str) -> Option<Fact>> Facts for F {
    fn fact(&self, key: &str) -> Option<Fact> {
        self(key)
    }
}
