//! Whatever comes in, what reads it keeps its word.

use std::path::Path;

use agent::mcp::Config;
use agent::permit::command;
use agent::sessions::tokens_in;
use agent::tools::{replace_once, to_markdown};
use proptest::prelude::*;

proptest! {
    #[test]
    fn an_edit_happens_where_its_text_stands_once_and_nowhere_else(
        text in "[ab\n\r]{0,12}",
        old in "[ab\n]{0,4}",
        new in "[abc\n]{0,4}",
    ) {
        let count = (0..text.len()).filter(|at| text[*at..].starts_with(&old)).count();
        match replace_once(&text, &old, &new) {
            Ok(after) if count > 0 => {
                prop_assert_eq!(count, 1);
                prop_assert_eq!(after, text.replacen(&old, &new, 1));
            }
            // Otherwise it stood there with the line ends of the file.
            Ok(after) => {
                let carried = |text: &str| text.replace('\n', "\r\n");
                prop_assert_eq!(text.matches(&carried(&old)).count(), 1);
                prop_assert_eq!(after, text.replacen(&carried(&old), &carried(&new), 1));
            }
            Err(why) => prop_assert!(
                count != 1 || old.is_empty() || old == new,
                "{:?} in {:?}: {}", old, text, why
            ),
        }
    }

    #[test]
    fn a_plain_command_is_what_a_shell_takes_it_for(script in "[a-c '\"=;$\t-]{0,12}") {
        if let Some(words) = command::words(&script) {
            let mut shell = std::process::Command::new("sh");
            let each = "p() { for w in \"$@\"; do printf '%s|' \"$w\"; done; }";
            let print = format!("{each}; p {script}");
            let output = shell.args(["-c", &print]).output().unwrap();
            let expected: String = words.iter().map(|word| format!("{word}|")).collect();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
    }

    #[test]
    fn any_soup_of_tags_becomes_text(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "<", ">", "</", "<p>", "<table><tr><td>", "</table>", "<pre>", "<code>", "<li>",
                "<ol start=99999999999999999999>", "<a href=\"", "\">", "<!--", "-->", "<b><i>",
                "</b>", "&#x110000;", "&amp;", "ü\u{202e}", "<svg><script>", "<template>", "```\n",
            ]),
            0..40,
        ),
    ) {
        to_markdown(&parts.concat());
    }

    #[test]
    fn any_configuration_is_read_or_refused(text in "[{}\\[\\]\":,a-z_ ]{0,60}") {
        if let Err(why) = Config::parse(&text) {
            prop_assert!(!why.is_empty());
        }
    }

    /// Records in any order, cut anywhere: a conversation, or a message that names the file.
    #[test]
    fn any_records_are_read_or_refused(
        records in prop::collection::vec(prop::sample::select(vec![
            r#"{"tokens":{"kind":"system","ids":[0,1]}}"#,
            r#"{"tokens":{"kind":"prompt","ids":[2,3,4]}}"#,
            r#"{"tokens":{"kind":"answer","ids":[]}}"#,
            r#"{"tokens":{"kind":"results","ids":[9]}}"#,
            r#"{"tokens":{"kind":"answer","ids":[10]}}"#,
            r#"{"past":{"prompt":"a"}}"#,
            r#"{"owes":"b"}"#,
            r#"{"owed":["c"]}"#,
            r#""undone""#,
            r#""restarted""#,
            "[[[[",
            "",
        ]), 0..12),
        cut in 0_usize..400,
    ) {
        let head = concat!(r#"{"dwarfstar_conversation":1,"id":"ab","created":0,"tree":"t","#,
            r#""model":"m","vocab":10}"#);
        let lines = [head].into_iter().chain(records).map(|line| format!("{line}\n"));
        let mut bytes: Vec<u8> = lines.collect::<String>().into_bytes();
        bytes.truncate(bytes.len().saturating_sub(cut % 64));
        match tokens_in(Path::new("ab.jsonl"), &bytes) {
            Ok(tokens) => prop_assert!((1..=36).contains(&tokens), "{}", tokens),
            Err(error) => prop_assert!(error.to_string().contains("ab.jsonl"), "{}", error),
        }
    }
}
