//! What the graders are held to: replies as models write them, and what is to be taken from them.
//!
//! The table is part of the program, so that whoever doubts a score can see what counts as an
//! answer, and run it. Half of it is adversarial: hedging, denials, conditions, answers that are
//! only thought about, letters that are words. Expected values are what a careful person would say.

use serde_json::json;

use super::grade::{Reply, grade};
use super::item::{Call, Item, Kind, Turn};
use super::number::Number;
use super::places;

/// How the table went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// Rows.
    pub cases: usize,
    /// What is wrong, a sentence for each row that failed.
    pub failures: Vec<String>,
}

/// The choices that the replies below are about.
const CHOICES: [&str; 6] = ["Paris", "Rome", "a dog", "It is 12 km", "Oslo", "Paris and Rome"];

/// Replies, and the letter that each gives.
const LETTERS: &[(&str, Option<char>)] = &[
    // Plain statements.
    ("Answer: B", Some('B')),
    ("answer: b", Some('B')),
    ("ANSWER: B", Some('B')),
    ("Answer: (B)", Some('B')),
    ("Answer: B.", Some('B')),
    ("Answer: B) Rome", Some('B')),
    ("Answer: B, because it is in Italy.", Some('B')),
    ("Answer: B - Rome", Some('B')),
    ("Answer: B is right.", Some('B')),
    ("**Answer: B**", Some('B')),
    ("**Answer:** B", Some('B')),
    ("**Answer**: B", Some('B')),
    ("### Answer: B", Some('B')),
    ("Answer:\nB", Some('B')),
    ("Answer:\n\n**B**", Some('B')),
    ("Final answer: B", Some('B')),
    ("The final answer is B.", Some('B')),
    ("The answer is: B", Some('B')),
    ("So the correct answer is **(B)**.", Some('B')),
    ("The correct option is B.", Some('B')),
    ("The best choice is B.", Some('B')),
    ("Answer: option B", Some('B')),
    ("Answer: \"B\"", Some('B')),
    ("Answer: $\\text{B}$", Some('B')),
    ("Answer: \\boxed{B}", Some('B')),
    ("The answer is $\\boxed{\\text{B}}$.", Some('B')),
    ("\\boxed{B}", Some('B')),
    ("Answer\u{ff1a}B", Some('B')),
    // The answer by its text, or all by itself.
    ("Answer: Rome", Some('B')),
    ("Answer: **Rome**.", Some('B')),
    ("Answer: a dog", Some('C')),
    ("Answer: Paris and Rome", Some('F')),
    ("Rome", Some('B')),
    ("B", Some('B')),
    ("b", Some('B')),
    ("(B)", Some('B')),
    ("B.", Some('B')),
    ("**B**", Some('B')),
    ("B) Rome", Some('B')),
    ("B: Rome", Some('B')),
    ("It is in Italy.\n\nB", Some('B')),
    ("Answer: A because France.", Some('A')),
    ("Answer: A", Some('A')),
    // The last statement counts.
    ("Answer: A\nNo, wait.\nAnswer: B", Some('B')),
    ("The answer is A. Checking again, the answer is B.", Some('B')),
    ("\\boxed{A} was wrong. \\boxed{B}", Some('B')),
    ("Answer: B\n\nThis follows since A is in France.", Some('B')),
    // Denials, questions and conditions are no statements.
    ("Answer: B\nThe answer is not A.", Some('B')),
    ("The answer isn't A.\nAnswer: B", Some('B')),
    ("Answer: B. The answer cannot be A.", Some('B')),
    ("Answer: B\nIf the answer is A, then France is in Italy.", Some('B')),
    ("If we look at the map, the answer is B.", Some('B')),
    ("Answer: B\nSuppose that the correct answer is A: then all are.", Some('B')),
    ("Is the answer A?", None),
    ("The answer is A?", None),
    ("The answer is not A.", None),
    ("The answer is never A", None),
    ("Whether the answer is A or not is unknown.", None),
    // Hedging.
    ("Answer: A or B", None),
    ("Answer: A and B", None),
    ("Answer: A, B", None),
    ("Answer: A/B", None),
    ("Answer: (A) or (B)", None),
    ("Answer: B\nAnswer: A or B", None),
    ("\\boxed{A, B}", None),
    // Words that begin with a letter, and letters that are words.
    ("Answer: A good choice is Rome", None),
    ("Answer: I think Rome", None),
    ("Answer: Both", None),
    ("Answer: Because of that", None),
    ("Answer: B2", None),
    ("Answer: b-flat", None),
    ("A dog barks.", None),
    ("I do not know.", None),
    // No answer, or none that is offered.
    ("", None),
    ("Answer:", None),
    ("Answer: X", None),
    ("Answer: Z", None),
    ("Answer: B\nAnswer: X", Some('B')),
    ("Answer: unknown", None),
    ("Answer: none of these", None),
    ("Paris and Oslo are capitals. Rome is too.", None),
    ("A) Paris\nB) Rome\nC) a dog", None),
    ("There are 4 cases.", None),
];

/// Replies, and the number that each gives.
const NUMBERS: &[(&str, Option<&str>)] = &[
    ("Answer: 42", Some("42")),
    ("Answer: 42.", Some("42")),
    ("**Answer: 42**", Some("42")),
    ("Answer: $42$", Some("42")),
    ("Answer: \\$42.50", Some("85/2")),
    ("Answer: 1,234", Some("1234")),
    ("Answer: 1 234 567", None),
    ("Answer: -5", Some("-5")),
    ("Answer: \u{2212}5", Some("-5")),
    ("Answer: 3/4", Some("3/4")),
    ("Answer: 0.75", Some("3/4")),
    ("Answer: \\frac{3}{4}", Some("3/4")),
    ("Answer: 1 1/2 cups", Some("3/2")),
    ("Answer: 25%", Some("25%")),
    ("Answer: 25 percent", Some("25%")),
    ("Answer: 12 km", Some("12")),
    ("Answer: 12km", Some("12")),
    ("Answer: 12 apples (3 + 9)", Some("12")),
    ("Answer: x = 12", Some("12")),
    ("Answer: 3 + 9 = 12", Some("12")),
    ("Answer: about 12", Some("12")),
    ("Answer: 1.5e3", Some("1500")),
    ("Answer: 1.5 \\times 10^{3}", Some("1500")),
    ("Answer: 3 million", Some("3000000")),
    ("Answer: 007", Some("7")),
    ("#### 42", Some("42")),
    ("She has 3.\n#### 1,000", Some("1000")),
    ("\\boxed{42}", Some("42")),
    ("Thus $x = \\boxed{\\dfrac{1}{2}}$.", Some("1/2")),
    ("\\boxed{x = 7}", Some("7")),
    ("The answer is 42.", Some("42")),
    ("The final result is 42.", Some("42")),
    ("42", Some("42")),
    ("2 + 2 is 4.", Some("4")),
    ("First 3, then 9.\nTogether 12.", Some("12")),
    ("Answer: 41\nSorry.\nAnswer: 42", Some("42")),
    ("Answer: 42\nThe answer is not 41.", Some("42")),
    ("Answer: 42\nIf the answer is 41, something is odd.", Some("42")),
    // No number, or not just one.
    ("Answer: 12 or 13", None),
    ("Answer: 12, 13", None),
    ("Answer: between 12 and 13", None),
    ("Answer: 12-13", None),
    ("Answer: 12 to 13", None),
    ("Answer: 3 + 9", None),
    ("Answer: 2^10", None),
    ("Answer: 3x", None),
    ("Answer: 5k", None),
    ("Answer: 3\\pi", None),
    ("Answer: \\sqrt{16}", None),
    ("Answer: 3:45", None),
    ("Answer: 1/0", None),
    ("Answer: twelve", None),
    ("Answer: unknown", None),
    ("It is not 42.", None),
    ("Is it 42?", None),
    ("There is no solution.", None),
    ("", None),
];

/// Replies to a question whose answer is `src/main.c:10-12, 30`, and whether they are right.
const PLACES: &[(&str, bool)] = &[
    ("Answer: src/main.c:10-12, 30", true),
    ("Answer: `main.c:11`, `main.c:29-31`", true),
    ("The length is not checked.\nAnswer: main.c lines 10 to 12 and 30", true),
    ("Answer: main.c#L10-L12, L30", true),
    ("Answer: main.c:10-12", false),
    ("Answer: main.c:1-40", false),
    ("Answer: util.c:10-12, 30", false),
    ("Answer: main.c", false),
    ("Lines 10 to 12 of main.c matter, and so does line 30.", false),
    ("", false),
];

/// Calls and texts, what was wanted (`null` for no call), and whether that is right. `note` may be
/// anything.
const CALLS: &[(&str, &str, &str, bool)] = &[
    (r#"[{"name":"ls","arguments":{"path":"a"}}]"#, "", r#"["ls",{"path":"a"}]"#, true),
    (r#"[{"name":"ls","arguments":{"path":"a"}}]"#, "I look.", r#"["ls",{"path":"a"}]"#, true),
    (r#"[{"name":"ls","arguments":{"path":"a","note":"x"}}]"#, "", r#"["ls",{"path":"a"}]"#, true),
    (r#"[{"name":"ls","arguments":{"path":"a","all":true}}]"#, "", r#"["ls",{"path":"a"}]"#, false),
    (r#"[{"name":"ls","arguments":{}}]"#, "", r#"["ls",{"path":"a"}]"#, false),
    (r#"[{"name":"ls","arguments":{"path":"b"}}]"#, "", r#"["ls",{"path":"a"}]"#, false),
    (r#"[{"name":"LS","arguments":{"path":"a"}}]"#, "", r#"["ls",{"path":"a"}]"#, false),
    (r#"[{"name":"f","arguments":{"n":2.0,"m":1}}]"#, "", r#"["f",{"m":1,"n":2}]"#, true),
    (r#"[{"name":"f","arguments":{"n":"2"}}]"#, "", r#"["f",{"n":2}]"#, false),
    (
        r#"[{"name":"f","arguments":{"n":[1,{"a":2,"b":3}]}}]"#,
        "",
        r#"["f",{"n":[1.0,{"b":3,"a":2}]}]"#,
        true,
    ),
    (
        r#"[{"name":"ls","arguments":{"path":"a"}},{"name":"ls","arguments":{"path":"a"}}]"#,
        "",
        r#"["ls",{"path":"a"}]"#,
        false,
    ),
    ("[]", "ls a", r#"["ls",{"path":"a"}]"#, false),
    ("[]", "Hello.", "null", true),
    ("[]", "", "null", false),
    (r#"[{"name":"ls","arguments":{"path":"a"}}]"#, "", "null", false),
];

/// Runs the table.
pub fn self_test() -> SelfTest {
    let mut test = SelfTest { cases: 0, failures: Vec::new() };
    let mut check = |what: &str, found: String, expected: String| {
        test.cases += 1;
        if found != expected {
            test.failures.push(format!("{what:?}: expected {expected}, found {found}"));
        }
    };
    let shown = |found: Option<String>| found.unwrap_or_else(|| "nothing".to_owned());
    for (text, expected) in LETTERS {
        // Asked for the expected letter it is right, for its neighbour wrong.
        let place = expected.map_or(0, |letter| letter as usize - 'A' as usize);
        let verdict = judged(lettered(place), text, &[]);
        check(text, shown(verdict.found), shown(expected.map(String::from)));
        check(text, verdict.right.to_string(), expected.is_some().to_string());
        let neighbour = judged(lettered((place + 1) % CHOICES.len()), text, &[]);
        check(text, neighbour.right.to_string(), false.to_string());
    }
    for (text, expected) in NUMBERS {
        let right = expected.and_then(Number::parse);
        let kind = Kind::Number { right: right.into_iter().collect(), tolerance: None };
        let verdict = judged(kind, text, &[]);
        check(text, shown(verdict.found), shown(expected.map(String::from)));
        check(text, verdict.right.to_string(), expected.is_some().to_string());
    }
    let wanted = places::places("src/main.c:10-12, 30").unwrap_or_default();
    for (text, expected) in PLACES {
        let verdict = judged(Kind::Lines(wanted.clone()), text, &[]);
        check(text, verdict.right.to_string(), expected.to_string());
    }
    for (calls, text, wanted, expected) in CALLS {
        let calls: Vec<Call> = serde_json::from_str(calls).unwrap_or_default();
        let wanted: Option<(String, _)> = serde_json::from_str(wanted).unwrap_or_default();
        let right = wanted.map(|(name, arguments)| Call { name, arguments }).into_iter().collect();
        let kind = Kind::Call { right, free: vec!["note".to_owned()] };
        let verdict = judged(kind, text, &calls);
        check(&json!(calls).to_string(), verdict.right.to_string(), expected.to_string());
    }
    test
}

fn lettered(right: usize) -> Kind {
    Kind::Choice { choices: CHOICES.map(str::to_owned).to_vec(), right }
}

fn judged(kind: Kind, text: &str, calls: &[Call]) -> super::grade::Verdict {
    let item = Item {
        id: "case".to_owned(),
        domain: String::new(),
        source: String::new(),
        points: 1,
        system: None,
        turns: vec![Turn::User("?".to_owned())],
        tools: Vec::new(),
        kind,
    };
    grade(&item, Reply { text, calls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graders_do_what_the_table_says() {
        let SelfTest { cases, failures } = self_test();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        assert!(cases > 350, "{cases}");
    }
}
