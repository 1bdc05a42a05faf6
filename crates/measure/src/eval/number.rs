//! Numbers as people write them, compared exactly.
//!
//! `1,234.50`, `3/4`, `\frac{3}{4}`, `1 1/2`, `1.5e3`, `2 \times 10^{3}`, `12 %`, `3 million`: each
//! is a fraction of two integers, so that 0.50 equals 1/2 and 0.333 does not equal 1/3. What looks
//! like a number but is not one by itself (`2^10`, `3x`, `3\pi`, `3:45`, `12/25/2020`) is none.
//! Which number of a text is its answer is decided in `extract.rs`.

use std::cmp::Ordering;
use std::fmt;

/// A number: a reduced fraction with a positive denominator, perhaps followed by a percent sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    over: i128,
    under: i128,
    percent: bool,
}

/// A number in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Which.
    pub number: Number,
    /// Its first byte.
    pub start: usize,
    /// The byte after it, its percent sign or scale included.
    pub end: usize,
}

/// Digits of a number, exponent included, that are read at most.
const DIGITS_MAX: usize = 36;

/// Words that multiply the number before them.
const SCALES: [(&str, i128); 5] = [
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
];

impl Number {
    /// A fraction; `None` if it has no value or too large parts.
    pub fn fraction(over: i128, under: i128) -> Option<Number> {
        if under == 0 || over == i128::MIN || under == i128::MIN {
            return None;
        }
        let common = greatest_divisor(over.unsigned_abs(), under.unsigned_abs()) as i128;
        let sign = if under < 0 { -1 } else { 1 };
        Some(Number { over: sign * over / common, under: sign * under / common, percent: false })
    }

    /// The number that the whole of `text` is.
    pub fn parse(text: &str) -> Option<Number> {
        let text = text.trim();
        let spot = number_at(text, 0)?;
        (spot.end == text.len()).then_some(spot.number)
    }

    fn times(self, other: Number) -> Option<Number> {
        let over = self.over.checked_mul(other.over)?;
        Number::fraction(over, self.under.checked_mul(other.under)?)
    }

    fn plus(self, other: Number) -> Option<Number> {
        let left = self.over.checked_mul(other.under)?;
        let right = other.over.checked_mul(self.under)?;
        Number::fraction(left.checked_add(right)?, self.under.checked_mul(other.under)?)
    }

    fn negative(self) -> Number {
        Number { over: -self.over, ..self }
    }

    /// Without its percent sign.
    fn plain(self) -> Number {
        Number { percent: false, ..self }
    }

    fn hundredth(self) -> Option<Number> {
        Number::fraction(self.over, self.under.checked_mul(100)?)
    }

    /// Whether both say the same. A percent sign may be left out where the question asks for
    /// percents, and stands for hundredths where the other has none.
    pub fn agrees(self, other: Number) -> bool {
        let (a, b) = (self.plain(), other.plain());
        a == b
            || match (self.percent, other.percent) {
                (true, false) => a.hundredth() == Some(b),
                (false, true) => b.hundredth() == Some(a),
                _ => false,
            }
    }

    /// Whether the difference of both is `tolerance` at most.
    pub fn is_within(self, tolerance: Number, of: Number) -> bool {
        let difference = self.plain().plus(of.plain().negative());
        difference.is_some_and(|d| {
            let size = Number { over: d.over.abs(), ..d };
            // `tolerance - size`, whose sign decides.
            tolerance.plain().plus(size.negative()).is_some_and(|rest| rest.over >= 0)
        })
    }

    /// Whether it is larger than 0, or how it compares.
    pub fn sign(self) -> Ordering {
        self.over.cmp(&0)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.over)?;
        if self.under != 1 {
            write!(f, "/{}", self.under)?;
        }
        f.write_str(if self.percent { "%" } else { "" })
    }
}

fn greatest_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// All numbers of `text`, which has passed [`plain`].
pub fn numbers(text: &str) -> Vec<Spot> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let begins = next.is_ascii_digit() || matches!(next, '.' | '-' | '+' | '\\');
        if !begins || !may_begin(text, at) {
            at += if next.is_alphanumeric() { word(&text[at..]) } else { next.len_utf8() };
            continue;
        }
        match number_at(text, at) {
            Some(spot) if stands_alone(text, spot) => {
                at = spot.end;
                found.push(spot);
            }
            // Neither is any part of it a number.
            Some(spot) => at = spot.end.max(skip(text, spot.end)),
            None if next.is_ascii_digit() => at = skip(text, at),
            None => at += next.len_utf8(),
        }
    }
    found
}

/// Bytes of the letters and digits that `text` begins with.
fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len()).max(1)
}

/// What the byte before a number may not be: part of a word, a power, a root, a function of LaTeX.
fn may_begin(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches(' ');
    let touches = before.len() == at;
    match before.chars().next_back() {
        Some(c) if touches && (c.is_alphanumeric() || matches!(c, '_' | '.')) => false,
        Some('^' | '\u{221a}') => false,
        Some('{') => {
            let command = before[..before.len() - 1].trim_end_matches(char::is_alphabetic);
            let name = &before[command.len()..before.len() - 1];
            !command.ends_with('\\') || matches!(name, "boxed" | "text" | "mathrm" | "mathbf")
        }
        _ => true,
    }
}

/// Whether what follows leaves the number a number.
fn stands_alone(text: &str, spot: Spot) -> bool {
    let rest = &text[spot.end..];
    let mut chars = rest.chars();
    let (next, after) = (chars.next(), chars.next());
    let digit_after = after.is_some_and(|c| c.is_ascii_digit());
    let ends = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    if matches!(next, Some(':' | '/' | '.')) && digit_after {
        return false;
    }
    if matches!(next, Some('k' | 'K' | 'M' | 'B' | 'x' | 'y' | 'z' | 'n' | 'i')) && ends(after) {
        return false;
    }
    let rest = rest.trim_start();
    let is_factor = ["^", "\\sqrt", "\\pi", "\u{221a}", "\u{3c0}", "\\cdot"]
        .iter()
        .any(|f| rest.starts_with(f));
    !(is_factor || next == Some('!') && after.is_some())
}

/// The end of the expression that something at `at` belongs to.
fn skip(text: &str, at: usize) -> usize {
    let more = |c: char| c.is_alphanumeric() || matches!(c, ':' | '/' | '^' | '.' | '{' | '}');
    text[at..].find(|c: char| !more(c)).map_or(text.len(), |bytes| at + bytes)
}

/// The number that begins at byte `at`, with everything that belongs to it.
fn number_at(text: &str, at: usize) -> Option<Spot> {
    let rest = &text[at..];
    let sign = usize::from(rest.starts_with(['-', '+']));
    let unsigned = rest[sign..].trim_start_matches('$');
    let mut end = text.len() - unsigned.len();
    let (mut number, used) = magnitude(unsigned)?;
    end += used;
    if let Some((scale, used)) = scale(&text[end..]) {
        number = number.times(scale)?;
        end += used;
    }
    let after = text[end..].trim_start_matches(' ');
    for sign in ["%", "percent"] {
        if after.starts_with(sign) {
            number.percent = true;
            end = text.len() - after.len() + sign.len();
            break;
        }
    }
    let number = if rest.starts_with('-') { number.negative() } else { number };
    Some(Spot { number, start: at, end })
}

/// A number without sign: a fraction, a mixed number, or digits.
fn magnitude(text: &str) -> Option<(Number, usize)> {
    if let Some(rest) = text.strip_prefix("\\frac") {
        let (over, after) = braced(rest)?;
        let (under, after) = braced(after)?;
        return Some((Number::fraction(over, under)?, text.len() - after.len()));
    }
    let (first, used, whole) = digits(text)?;
    if !whole {
        return Some((first, used));
    }
    let rest = &text[used..];
    if let Some((under, more, true)) = rest.strip_prefix('/').and_then(digits) {
        return Some((Number::fraction(first.over, under.over)?, used + 1 + more));
    }
    let mixed = rest.strip_prefix(' ').and_then(|part| {
        let after = part.trim_start_matches(|c: char| c.is_ascii_digit());
        // Looked at before it is read: a mixed number has no other in it.
        if !part.starts_with("\\frac") && !after.starts_with('/') {
            return None;
        }
        let (part, more) = magnitude(part).filter(|(part, _)| part.under > 1)?;
        Some((first.plus(part)?, used + 1 + more))
    });
    mixed.or(Some((first, used)))
}

/// `{12}` or a single digit.
fn braced(text: &str) -> Option<(i128, &str)> {
    match text.strip_prefix('{') {
        Some(rest) => {
            let (inside, after) = rest.split_once('}')?;
            let short = inside.len() <= DIGITS_MAX;
            Some((inside.trim().parse().ok().filter(|_| short)?, after))
        }
        None => {
            let digit = text.chars().next()?.to_digit(10)?;
            Some((digit.into(), &text[1..]))
        }
    }
}

/// Digits with groups, a point and an exponent; how many bytes; whether it is plain and whole.
fn digits(text: &str) -> Option<(Number, usize, bool)> {
    let run = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let mut used = run(text);
    let mut digits = text[..used].to_owned();
    // A comma groups only if three digits follow, and nothing but groups does.
    let mut groups = used;
    while (1..=3).contains(&used)
        && text[groups..].starts_with(',')
        && run(&text[groups + 1..]) == 3
    {
        digits += &text[groups + 1..groups + 4];
        groups += 4;
    }
    used = groups;
    let mut places = 0;
    if text[used..].starts_with('.') && run(&text[used + 1..]) > 0 {
        places = run(&text[used + 1..]);
        digits += &text[used + 1..used + 1 + places];
        used += 1 + places;
    }
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let power = power(&text[used..]);
    let (exponent, more) = power.unwrap_or((0, 0));
    let shift = exponent - places as i32;
    let factor = 10i128.checked_pow(shift.unsigned_abs())?;
    let whole = digits.parse::<i128>().ok()?;
    let number = match shift < 0 {
        true => Number::fraction(whole, factor)?,
        false => Number::fraction(whole.checked_mul(factor)?, 1)?,
    };
    Some((number, used + more, places == 0 && power.is_none()))
}

/// `e3`, `* 10^3`, `\times 10^{-3}`: the exponent, and how many bytes.
fn power(text: &str) -> Option<(i32, usize)> {
    let short = text.strip_prefix(['e', 'E']).filter(|rest| !rest.starts_with(' '));
    let rest = short.or_else(|| {
        let rest = text.trim_start_matches(' ');
        let rest =
            ["\u{d7}", "\\times", "*", "x"].iter().find_map(|sign| rest.strip_prefix(sign))?;
        rest.trim_start_matches(' ').strip_prefix("10^")
    })?;
    let inside = rest.strip_prefix('{').unwrap_or(rest);
    let signed = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    let count = signed.len() - signed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let after = &signed[count..];
    let after = if inside.len() < rest.len() { after.strip_prefix('}')? } else { after };
    if count == 0 || count > 2 || after.starts_with(char::is_alphanumeric) {
        return None;
    }
    let exponent: i32 = signed[..count].parse().ok()?;
    let exponent = if inside.starts_with('-') { -exponent } else { exponent };
    Some((exponent, text.len() - after.len()))
}

fn scale(text: &str) -> Option<(Number, usize)> {
    let rest = text.strip_prefix(' ')?;
    let length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let word = &rest[..length];
    let (_, value) = SCALES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name))?;
    Some((Number::fraction(*value, 1)?, 1 + length))
}

/// `text` without the marks of Markdown and LaTeX that say nothing about numbers.
pub fn plain(text: &str) -> String {
    let mut plain = text.replace("{,}", ",");
    for (from, to) in [
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\%", "%"),
        ("\\$", "$"),
        ("\\!", ""),
        ("\\,", ""),
        ("\\;", " "),
        ("\\ ", " "),
        ("\\left", ""),
        ("\\right", ""),
        ("\u{2212}", "-"),
        ("\u{2013}", "-"),
        ("\u{a0}", " "),
        ("\u{202f}", " "),
        ("**", ""),
        ("`", ""),
        ("$", ""),
        ("\u{20ac}", ""),
        ("\u{a3}", ""),
    ] {
        if plain.contains(from) {
            plain = plain.replace(from, to);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<String> {
        numbers(&plain(text)).iter().map(|spot| spot.number.to_string()).collect()
    }

    #[test]
    fn numbers_of_texts() {
        let cases: [(&str, &[&str]); 37] = [
            ("42", &["42"]),
            ("-7", &["-7"]),
            ("\u{2212}7", &["-7"]),
            ("1,234,567.5", &["2469135/2"]),
            ("$1,234.50", &["2469/2"]),
            ("1{,}000", &["1000"]),
            ("1,23", &["1", "23"]),
            ("0.50", &["1/2"]),
            (".5", &["1/2"]),
            ("3/4", &["3/4"]),
            ("-3/4", &["-3/4"]),
            ("\\frac{3}{4}", &["3/4"]),
            ("-\\dfrac{6}{8}", &["-3/4"]),
            ("\\frac34", &["3/4"]),
            ("1 1/2", &["3/2"]),
            ("2 \\frac{1}{2}", &["5/2"]),
            ("12 %", &["12%"]),
            ("12\\%", &["12%"]),
            ("12.5 percent", &["25/2%"]),
            ("1.5e3", &["1500"]),
            ("1e-2 m", &["1/100"]),
            ("1.5 \u{d7} 10^3", &["1500"]),
            ("2 \\times 10^{-3}", &["1/500"]),
            ("3 million people", &["3000000"]),
            ("12km", &["12"]),
            ("5 apples and 3 pears", &["5", "3"]),
            ("2^10", &[]),
            ("3x", &[]),
            ("5k", &[]),
            ("3\\pi", &[]),
            ("2\\sqrt{3}", &[]),
            ("\\sqrt{16}", &[]),
            ("3:45", &[]),
            ("12/25/2020", &[]),
            ("H2O, x2 and v1.2.3", &[]),
            ("1/0", &[]),
            ("4.", &["4"]),
        ];
        for (text, expected) in cases {
            assert_eq!(all(text), expected, "{text}");
        }
    }

    #[test]
    fn what_agrees() {
        let cases = [
            ("0.5", "1/2", true),
            ("0.333", "1/3", false),
            ("50%", "1/2", true),
            ("50", "50%", true),
            ("5000", "50%", false),
            ("1,000", "1000.00", true),
            ("-3", "3", false),
        ];
        for (a, b, expected) in cases {
            let (left, right) = (Number::parse(a).unwrap(), Number::parse(b).unwrap());
            assert_eq!(left.agrees(right), expected, "{a} and {b}");
            assert_eq!(right.agrees(left), expected, "{b} and {a}");
        }
        let number = |text| Number::parse(text).unwrap();
        assert!(number("3.14").is_within(number("0.01"), number("3.15")));
        assert!(!number("3.14").is_within(number("0.01"), number("3.1501")));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,40}|[0-9.,/e^x% \\\\{}frac-]{0,40}") {
            for spot in numbers(&plain(&text)) {
                prop_assert!(spot.start < spot.end);
            }
        }

        #[test]
        fn a_number_is_what_it_is_written_as(over in -99_999i128..99_999, under in 1i128..999) {
            let number = Number::fraction(over, under).unwrap();
            prop_assert_eq!(Number::parse(&number.to_string()), Some(number));
        }
    }
}
