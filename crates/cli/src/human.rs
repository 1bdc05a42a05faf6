//! Numbers and names for people.
//!
//! Sizes are decimal, as disks and downloads count them. Names that come from files are escaped
//! before they reach a terminal. Nothing here prints.

/// `3.7 MB`: three digits or so, decimal units.
pub fn bytes(count: u64) -> String {
    scaled(count, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `13.3 B`: a count in thousands, millions, billions (10^9).
pub fn count(count: u64) -> String {
    scaled(count, &["", "K", "M", "B", "T", "P", "E"]).trim_end().to_owned()
}

/// `129,280`.
pub fn exact(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 tensor`, `2 tensors`.
pub fn plural(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", exact(count), if count == 1 { "" } else { "s" })
}

/// Foreign text without control characters.
pub fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

fn scaled(count: u64, units: &[&str]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        return format!("{count} {}", units[0]);
    }
    let digits = if value < 10.0 { 2 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (3_709_824, "3.71 MB"),
            (81_000_000_000, "81.0 GB"),
            (999_999_999, "1.00 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (value, expected) in cases {
            assert_eq!(bytes(value), expected);
        }
        assert_eq!(count(284_334_000_000), "284.3 B");
        assert_eq!(count(7), "7");
    }

    #[test]
    fn digits_are_grouped() {
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (129_280, "129,280")] {
            assert_eq!(exact(value), expected);
        }
        assert_eq!(plural(1, "tensor"), "1 tensor");
        assert_eq!(plural(1200, "tensor"), "1,200 tensors");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(safe("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
    }
}
