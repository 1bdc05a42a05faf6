//! Markdown that streams: the lines that it gives, and that the way of cutting it does not matter.

use agent::markdown::{Element, Markdown};
use agent::paint::{Ansi, Row};
use proptest::prelude::*;

/// A text with everything that models write.
const LONG: &str = include_str!("markdown/long.md");

fn rows(elements: &[Element], width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    elements.iter().for_each(|element| element.lay(width, &mut rows));
    rows
}

fn text(elements: &[Element], width: usize) -> String {
    let rows = rows(elements, width);
    rows.iter().map(|row| row.text().trim_end().to_owned() + "\n").collect()
}

/// The text with its looks, as a terminal without colours would be told.
fn styled(text: &str, width: usize) -> String {
    let ansi = Ansi { styles: true, colours: true };
    let rows = rows(Markdown::of(text).settled(), width);
    let lines: String = rows.iter().map(|row| ansi.row(row).trim_end().to_owned() + "\n").collect();
    lines.replace('\u{1b}', "^")
}

#[test]
fn a_long_text_at_two_widths() {
    insta::assert_snapshot!(text(Markdown::of(LONG).settled(), 60));
    insta::assert_snapshot!(text(Markdown::of(LONG).settled(), 24));
}

#[test]
fn looks() {
    insta::assert_snapshot!(styled(
        "# One\n\n## Two\n\n*a* **b** ~~c~~ `d` [e](http://f)\n\n```rust\nlet x = 1; // y\n```\n",
        60
    ));
}

#[test]
fn definitions_html_and_bare_marks_stay_visible() {
    let shown = text(Markdown::of("[a]: http://b\n\n<b>x</b>\n\n2 ** 3 * 4 ** 5\n").settled(), 40);
    assert_eq!(shown, "[a]: http://b\n\n<b>x</b>\n\n2 ** 3 * 4 ** 5\n");
}

#[test]
fn every_split_in_two_gives_the_same_lines() {
    let whole = Markdown::of(LONG);
    for at in (0..=LONG.len()).filter(|&at| LONG.is_char_boundary(at)) {
        let mut split = Markdown::new();
        split.push(&LONG[..at]);
        // Looking in between must not matter either.
        let _ = split.open();
        split.push(&LONG[at..]);
        split.finish();
        assert!(split.settled() == whole.settled(), "cut at byte {at}");
    }
}

#[test]
fn character_by_character_nothing_settled_is_taken_back() {
    let mut stream = Markdown::new();
    let mut settled = 0;
    let whole = Markdown::of(LONG);
    for c in LONG.chars() {
        stream.push(c.encode_utf8(&mut [0; 4]));
        assert!(stream.settled().len() >= settled);
        settled = stream.settled().len();
        assert!(stream.settled() == &whole.settled()[..settled], "after {:?}", stream.len());
    }
    stream.finish();
    assert!(stream.settled() == whole.settled());
}

#[test]
fn what_is_open_shows_all_that_has_come() {
    let mut stream = Markdown::new();
    stream.push("first\n\n- a **bo");
    assert_eq!(text(stream.settled(), 40), "first\n");
    assert_eq!(text(&stream.open(), 40), "\n\u{2022} a **bo\n");
    stream.push("ld** end\n\n```rust\nlet a");
    assert!(text(stream.settled(), 40).ends_with("\u{2022} a bold end\n\n"));
    assert_eq!(text(&stream.open(), 40), "  let a\n");
}

#[test]
fn lines_and_blocks_without_an_end_are_settled_in_parts() {
    let mut stream = Markdown::new();
    let piece = "word ".repeat(200);
    for _ in 0..1_000 {
        stream.push(&piece);
        let open: usize = rows(&stream.open(), 80).iter().map(|row| row.text().len()).sum();
        assert!(open <= 20_000, "{open} bytes are laid out again");
    }
    stream.finish();
    let words: usize =
        rows(stream.settled(), 80).iter().map(|row| row.text().split(' ').count()).sum();
    assert_eq!(
        words - rows(stream.settled(), 80).iter().filter(|r| r.text().is_empty()).count(),
        200_000
    );
    let mut list = Markdown::new();
    (0..20_000).for_each(|n| list.push(&format!("- item {n}\n")));
    assert!(rows(&list.open(), 80).len() < 5_000);
}

#[test]
fn lines_longer_than_a_line_may_be_are_cut_at_the_same_places() {
    let words = "w\u{e4}\u{4e2d}rd ".repeat(5_000);
    let text = format!("```rust\n{}\n```\n{words}", "x".repeat(40_000));
    let whole = Markdown::of(&text);
    for limit in [16 * 1024, 2 * 16 * 1024, 40_012 + 16 * 1024] {
        for at in (limit - 24..limit + 24).filter(|&at| text.is_char_boundary(at)) {
            let mut split = Markdown::new();
            split.push(&text[..at]);
            split.push(&text[at..]);
            split.finish();
            assert!(split.settled() == whole.settled(), "cut at byte {at}");
        }
    }
}

/// Fragments that mean something, and some that mean nothing.
fn fragment() -> impl Strategy<Value = String> {
    const MARKS: &[&str] = &[
        "\n",
        "\n\n",
        "```",
        "```rust\n",
        "~~~\n",
        "- ",
        "1. ",
        "# ",
        "> ",
        "| a | b |\n",
        "|---|---|\n",
        "**",
        "*",
        "`",
        "[x](y)",
        "    ",
        "\t",
        "word",
        "\u{e4}\u{4e2d}",
        "\u{1b}[2J",
        "\r\n",
        "---\n",
        "<b>",
        "[a]: b",
        "\\",
        "  \n",
    ];
    prop_oneof![4 => prop::sample::select(MARKS).prop_map(str::to_owned), 1 => ".{0,12}"]
}

proptest! {
    #[test]
    fn any_text_in_any_pieces(
        parts in prop::collection::vec(fragment(), 0..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        width in 1usize..50,
    ) {
        let text: String = parts.concat();
        let whole = Markdown::of(&text);
        let cut = |cut: &prop::sample::Index| {
            text.floor_char_boundary(cut.index(text.len() + 1))
        };
        let mut cuts: Vec<usize> = cuts.iter().map(cut).collect();
        cuts.sort_unstable();
        let mut stream = Markdown::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([text.len()]) {
            stream.push(&text[from..cut]);
            let _ = stream.open();
            from = cut;
        }
        stream.finish();
        prop_assert!(stream.settled() == whole.settled());
        for row in rows(stream.settled(), width) {
            prop_assert!(agent::paint::columns(&row.text()) <= width);
            prop_assert!(!row.text().contains(char::is_control));
        }
    }
}
