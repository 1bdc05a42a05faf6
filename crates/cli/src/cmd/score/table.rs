//! One row per token of every continuation, as CSV (RFC 4180).
//!
//! Numbers are written with all their digits, so that they add up to what was printed.

use std::io::{BufWriter, Write};

use anyhow::{Context, Result};
use measure::score::{Item, Score, Scored};
use spec::TokenId;
use text::Tokenizer;

use crate::whole::WholeFile;

/// Writes the table.
pub fn write(mut file: WholeFile, tokenizer: &Tokenizer, items: &[(Item, Score)]) -> Result<()> {
    let name = file.name();
    let failed = || format!("{name}: could not write it");
    let mut out = BufWriter::new(file.file());
    rows(&mut out, tokenizer, items).with_context(failed)?;
    out.flush().with_context(failed)?;
    drop(out);
    file.finish().with_context(failed)
}

fn rows(
    out: &mut impl Write,
    tokenizer: &Tokenizer,
    items: &[(Item, Score)],
) -> std::io::Result<()> {
    writeln!(out, "item,position,token,text,nll,rank,top,top_text")?;
    let text = |token: TokenId| quoted(&escaped(tokenizer.token_bytes(token)));
    for (item, score) in items {
        let id = quoted(&item.id);
        for (position, scored) in score.tokens.iter().enumerate() {
            let Scored { token, nll, rank, top } = *scored;
            let (own, best) = (text(token), text(top));
            writeln!(out, "{id},{position},{token},{own},{nll},{rank},{top},{best}")?;
        }
    }
    Ok(())
}

/// Bytes of a token on one line.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                control if control.is_control() => out.extend(control.escape_default()),
                other => out.push(other),
            }
        }
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_on_their_line_and_in_their_cell() {
        assert_eq!(quoted(&escaped(b" \"a\",\n\\ \xc3")), "\" \"\"a\"\",\\n\\\\ \\xc3\"");
        assert_eq!(quoted(&escaped("é".as_bytes())), "\"é\"");
    }
}
