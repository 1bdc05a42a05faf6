//! A conversation as Markdown, for people.

use crate::event::{Past, Shown};

/// The whole conversation.
pub(crate) fn markdown(title: &str, past: &[Past]) -> String {
    let title: String = title.chars().filter(|c| !c.is_control()).collect();
    let pieces: String = past.iter().map(shown).collect();
    format!("# {title}\n\n{pieces}")
}

/// A piece of it.
pub(crate) fn shown(past: &Past) -> String {
    match past {
        Past::Prompt(text) => format!("## Prompt\n\n{}\n\n", text.trim()),
        Past::Reasoning(text) => {
            let lines: String = text.trim().lines().map(|line| format!("> {line}\n")).collect();
            format!("{lines}\n")
        }
        Past::Text(text) => format!("{}\n\n", text.trim()),
        Past::Call { name, arguments, shown, failed } => {
            let failed = if *failed { " (failed)" } else { "" };
            format!("**{name}**{failed}\n\n{}{}", fenced("json", arguments), result(shown))
        }
        Past::Notice(text) => format!("*{}*\n\n", text.trim()),
    }
}

fn result(shown: &Shown) -> String {
    match shown {
        Shown::Text(text) if text.trim().is_empty() => String::new(),
        Shown::Text(text) => fenced("", text),
        Shown::Change { path, before, after } => {
            let before = before.as_deref().unwrap_or("");
            let diff = similar::TextDiff::from_lines(before, after);
            let name = path.display().to_string();
            let diff = diff.unified_diff().context_radius(3).header(&name, &name).to_string();
            fenced("diff", &diff)
        }
    }
}

/// A block that its text does not close, whatever that is.
fn fenced(language: &str, text: &str) -> String {
    let runs = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((runs + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_what_looks_like_their_end() {
        assert_eq!(fenced("", "a\n```\nb\n"), "````\na\n```\nb\n````\n\n");
        let change = Shown::Change {
            path: "a.txt".into(),
            before: Some("one\ntwo\n".to_owned()),
            after: "one\n2\n".to_owned(),
        };
        let call = |shown, failed| Past::Call {
            name: "edit".to_owned(),
            arguments: "{}".to_owned(),
            shown,
            failed,
        };
        let text = markdown("t", &[Past::Prompt("p".to_owned()), call(change, false)]);
        assert!(text.starts_with("# t\n\n## Prompt\n\np\n\n**edit**\n\n```json\n{}\n```"));
        assert!(text.contains("\n-two\n+2\n"), "{text}");
        let failed = shown(&call(Shown::Text(String::new()), true));
        assert_eq!(failed, "**edit** (failed)\n\n```json\n{}\n```\n\n");
    }
}
