//! The status bar: how things stand, in one row of any width.
//!
//! It is made of parts, each with a rank; where there is no room for all, the highest ranks go
//! first, whole. Start at [`runs`].

use crate::event::Status;
use crate::paint::{Face, Ink, Run, columns};

/// Columns of a bar.
const BAR_COLUMNS: usize = 10;
/// What stands between two parts.
const BETWEEN: &str = " \u{b7} ";
/// Of the context so much is in use before the bar warns; near it, older turns are summed up.
const CONTEXT_WARN: f64 = 0.85;

/// What the bar shows besides the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// A turn is under way.
    pub running: bool,
    /// A call waits for an answer.
    pub asks: bool,
    /// The loop is ending.
    pub leaving: bool,
    /// What is being read: done, of so much.
    pub prefill: Option<(usize, usize)>,
}

/// A part of the bar; the highest rank goes first.
struct Part {
    rank: u8,
    runs: Vec<Run>,
}

/// The bar in `width` columns.
pub fn runs(status: &Status, activity: Activity, width: usize) -> Vec<Run> {
    let mut parts = parts(status, activity);
    while parts.len() > 1 && total(&parts) > width {
        let last = parts.iter().enumerate().max_by_key(|(_, part)| part.rank);
        let Some((index, _)) = last else { break };
        parts.remove(index);
    }
    let mut runs = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            runs.push(Run::new(BETWEEN, Face::DIM));
        }
        runs.extend(part.runs);
    }
    runs
}

fn total(parts: &[Part]) -> usize {
    let text = |part: &Part| part.runs.iter().map(|run| columns(&run.text)).sum::<usize>();
    let between = columns(BETWEEN) * parts.len().saturating_sub(1);
    parts.iter().map(text).sum::<usize>() + between
}

fn parts(status: &Status, activity: Activity) -> Vec<Part> {
    let dim = |rank: u8, text: String| Part { rank, runs: vec![Run::new(text, Face::DIM)] };
    let mut parts = vec![doing(activity)];
    if status.context > 0 {
        parts.push(context(status));
        let text = format!("{}/{}", short(status.tokens), short(status.context));
        parts.push(dim(7, text));
    }
    if status.speed > 0.0 && status.speed.is_finite() {
        parts.push(dim(4, format!("{:.1} t/s", status.speed)));
    }
    if status.queued > 0 {
        let text = format!("{} queued", status.queued);
        parts.push(Part { rank: 2, runs: vec![Run::new(text, Face::ink(Ink::Yellow))] });
    }
    let ink = if status.mode == "full" { Ink::Red } else { Ink::Plain };
    let named = [(3, &status.mode, Face::ink(ink)), (5, &status.protection, Face::DIM)];
    let named = named.into_iter().filter(|(_, text, _)| !text.is_empty());
    parts.extend(
        named.map(|(rank, text, face)| Part { rank, runs: vec![Run::new(text.clone(), face)] }),
    );
    parts.extend(status.branch.as_ref().map(|branch| dim(6, branch.clone())));
    if !status.thinking.is_empty() {
        parts.push(dim(8, status.thinking.clone()));
    }
    parts
}

fn doing(activity: Activity) -> Part {
    let runs = match activity.prefill {
        _ if activity.leaving => vec![Run::new("ending", Face::ink(Ink::Yellow))],
        Some((done, total)) if total > 0 => {
            let share = done as f64 / total as f64;
            let mut runs = vec![Run::plain("reading ")];
            runs.extend(bar(share, Ink::Cyan));
            runs.push(Run::plain(format!(" {}/{}", short(done), short(total))));
            runs
        }
        _ if activity.asks => vec![Run::new("asks", Face::ink(Ink::Yellow).bold())],
        _ if activity.running => vec![Run::new("working", Face::ink(Ink::Green))],
        _ => vec![Run::new("ready", Face::DIM)],
    };
    Part { rank: 0, runs }
}

fn context(status: &Status) -> Part {
    let share = status.tokens as f64 / status.context as f64;
    let ink = if share >= CONTEXT_WARN { Ink::Red } else { Ink::Blue };
    let mut runs: Vec<Run> = bar(share, ink).into();
    runs.push(Run::plain(format!(" {:.0}%", (share * 100.0).min(999.0))));
    Part { rank: 1, runs }
}

/// A bar that is full at 1.
pub fn bar(share: f64, ink: Ink) -> [Run; 2] {
    let full = ((share.clamp(0.0, 1.0) * BAR_COLUMNS as f64).round() as usize).min(BAR_COLUMNS);
    [
        Run::new("\u{2588}".repeat(full), Face::ink(ink)),
        Run::new("\u{2591}".repeat(BAR_COLUMNS - full), Face::DIM),
    ]
}

/// A count in at most five columns or so.
pub fn short(count: usize) -> String {
    match count {
        0..=999 => count.to_string(),
        1_000..=99_949 => format!("{:.1}k", count as f64 / 1e3),
        99_950..=999_499 => format!("{:.0}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Activity = Activity { running: false, asks: false, leaving: false, prefill: None };

    fn status() -> Status {
        Status {
            title: "a title".into(),
            tokens: 12_345,
            context: 100_000,
            speed: 45.25,
            queued: 2,
            branch: Some("main".into()),
            thinking: "think".into(),
            mode: "ask".into(),
            protection: "landlock + seccomp".into(),
        }
    }

    fn text(activity: Activity, width: usize) -> String {
        runs(&status(), activity, width).iter().map(|run| run.text.as_str()).collect()
    }

    #[test]
    fn parts_go_whole_where_there_is_no_room() {
        let bar = format!("\u{2588}{} 12%", "\u{2591}".repeat(9));
        let cases = [
            (120, "ready|BAR|12.3k/100k|45.2 t/s|2 queued|ask|landlock + seccomp|main|think"),
            (75, "ready|BAR|45.2 t/s|2 queued|ask|landlock + seccomp"),
            (40, "ready|BAR|2 queued|ask"),
            (10, "ready"),
            (1, "ready"),
        ];
        for (width, expected) in cases {
            let expected = expected.replace("BAR", &bar).replace('|', BETWEEN);
            assert_eq!(text(IDLE, width), expected, "{width}");
        }
        let reading = Activity { running: true, prefill: Some((5_000, 10_000)), ..IDLE };
        let half = format!("{}{}", "\u{2588}".repeat(5), "\u{2591}".repeat(5));
        assert!(text(reading, 60).starts_with(&format!("reading {half} 5.0k/10.0k")));
    }

    #[test]
    fn numbers_from_anywhere() {
        let odd = Status { tokens: usize::MAX, context: 1, speed: f64::NAN, ..Status::default() };
        assert!(!runs(&odd, IDLE, 80).is_empty());
        let cases = [
            (999, "999"),
            (1_000, "1.0k"),
            (99_949, "99.9k"),
            (99_950, "100k"),
            (1_048_576, "1.0M"),
        ];
        for (count, expected) in cases {
            assert_eq!(short(count), expected);
        }
    }
}
