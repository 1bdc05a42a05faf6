//! A report as text for people: one block per question they have.
//!
//! The order is that of a person who has just downloaded a file: what is it, does it run, how big
//! is it, what does it need. Names from the file are escaped. No fact is computed here.

use std::io::{self, Write};

use super::check::Checked;
use super::report::{Group, Memory, Report, ShapeFacts};
use crate::human::{bytes, count, exact, plural, safe};
use crate::terminal::Terminal;

/// Prints a report.
pub fn show(out: &mut impl Write, report: &Report, terminal: &Terminal) -> io::Result<()> {
    title(out, report, terminal)?;
    if let Some(shape) = &report.shape {
        heading(out, terminal, "Shape")?;
        show_shape(out, shape, report)?;
    }
    heading(out, terminal, "Tensors")?;
    show_recipe(out, &report.recipe)?;
    if !report.memory.is_empty() {
        heading(out, terminal, "Memory of `dwarfstar run`, by context")?;
        show_memory(out, &report.memory)?;
    }
    if let Some(tensors) = &report.tensors {
        heading(out, terminal, "All tensors")?;
        for tensor in tensors {
            let (name, size) = (safe(&tensor.name), bytes(tensor.bytes));
            let dims = tensor.dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
            writeln!(out, "  {name:<36} {:<8} {dims:>20} {size:>9}", tensor.format)?;
        }
    }
    if let Some(checked) = &report.checked {
        heading(out, terminal, "Values")?;
        show_checked(out, checked)?;
    }
    out.flush()
}

fn heading(out: &mut impl Write, terminal: &Terminal, text: &str) -> io::Result<()> {
    writeln!(out, "\n{}", terminal.heading(text))
}

fn title(out: &mut impl Write, report: &Report, terminal: &Terminal) -> io::Result<()> {
    let what = match (&report.architecture, &report.shape) {
        (_, Some(_)) => format!("DeepSeek V4 {}", report.variant.unwrap_or("(another shape)")),
        (Some(found), None) if found == "deepseek4" => "DeepSeek V4, incomplete".to_owned(),
        (Some(found), None) => format!("not DeepSeek V4 (architecture {})", safe(found)),
        (None, None) => "not DeepSeek V4 (no architecture is named)".to_owned(),
    };
    let name = report.name.as_ref().map(|name| format!(", \"{}\"", safe(name)));
    let title = format!("{}: {what}{}", safe(&report.file), name.unwrap_or_default());
    writeln!(out, "{}", terminal.heading(&title))?;
    let (tensors, keys) = (plural(report.tensor_count, "tensor"), plural(report.key_count, "key"));
    let files = plural(report.shards.len(), "file");
    writeln!(out, "  {} in {files}, {tensors}, {keys}", bytes(report.bytes))?;
    match report.problems.as_slice() {
        [] if report.tokenizer.is_some() => writeln!(out, "  can be run"),
        [] => writeln!(out, "  can be run on token ids only: it has no tokenizer"),
        problems => problems.iter().try_for_each(|p| writeln!(out, "  cannot be run: {}", safe(p))),
    }
}

fn show_shape(out: &mut impl Write, s: &ShapeFacts, report: &Report) -> io::Result<()> {
    let mut line = |what: &str, text: String| writeln!(out, "  {what:<12} {text}");
    if let Some(parameters) = &report.parameters {
        let (total, active) = (count(parameters.total), count(parameters.active));
        line("parameters", format!("{total}, of which a token uses {active}"))?;
    }
    let kinds = [
        (s.window_layers, "window only"),
        (s.indexed_layers, "compressed by 4 with an indexer"),
        (s.compressed_layers, "compressed by 128"),
    ];
    let kinds = kinds.into_iter().filter(|(layers, _)| *layers > 0);
    let kinds: Vec<_> = kinds.map(|(layers, kind)| format!("{layers} {kind}")).collect();
    line("layers", format!("{}: {}", s.layers, kinds.join(", ")))?;
    line("hidden", format!("{} in {} streams", s.hidden, s.streams))?;
    let attention = format!(
        "{} heads of {} ({} rotary), query latent {}, output {} x {}, window {}",
        s.heads,
        s.head_dim,
        s.rotary_dim,
        s.query_latent,
        s.output_groups,
        s.output_latent,
        s.window
    );
    line("attention", attention)?;
    if let (Some(heads), Some(dim), Some(top_k)) = (s.indexer_heads, s.indexer_dim, s.indexer_top_k)
    {
        line("indexer", format!("{heads} heads of {dim}, picks {top_k} rows"))?;
    }
    let (used, inner, hashed) = (s.experts_used, s.expert_inner, plural(s.hash_layers, "layer"));
    let experts = format!(
        "{}, {used} per token and 1 shared, inner width {inner}, chosen by table in {hashed}",
        s.experts
    );
    line("experts", experts)?;
    line("context", format!("{} tokens", exact(s.context_max)))?;
    let tokenizer = match &report.tokenizer {
        None => "no tokenizer".to_owned(),
        Some(t) => {
            let special = t.control + t.user_defined;
            format!("{}, {}", plural(special, "special token"), plural(t.merges, "merge"))
        }
    };
    line("vocabulary", format!("{}; {tokenizer}", plural(s.vocab, "token")))
}

fn show_recipe(out: &mut impl Write, recipe: &[Group]) -> io::Result<()> {
    let head = ["class", "format", "tensors", "bits/value", "size"];
    writeln!(
        out,
        "  {:<21} {:<8} {:>7} {:>11} {:>9}",
        head[0], head[1], head[2], head[3], head[4]
    )?;
    for group in recipe {
        let Group { class, format, tensors, values, bytes: size } = group;
        let bits = *size as f64 * 8.0 / *values as f64;
        let size = bytes(*size);
        writeln!(out, "  {class:<21} {format:<8} {tensors:>7} {bits:>11.2} {size:>9}")?;
    }
    Ok(())
}

fn show_memory(out: &mut impl Write, memory: &[Memory]) -> io::Result<()> {
    let head = ["tokens", "weights", "tables", "scratch", "window", "rows", "total"];
    let row = |cells: [String; 7]| {
        let [first, rest @ ..] = cells;
        let rest: Vec<_> = rest.iter().map(|cell| format!("{cell:>9}")).collect();
        format!("  {first:>9} {}", rest.join(" "))
    };
    writeln!(out, "{}", row(head.map(str::to_owned)))?;
    let unless_unknown = |size: Option<u64>| size.map_or("?".to_owned(), bytes);
    for m in memory {
        let sizes = [bytes(m.scratch), bytes(m.slot), bytes(m.rows), bytes(m.total)];
        let [scratch, slot, rows, total] = sizes;
        let (weights, tables) = (unless_unknown(m.weights), unless_unknown(m.tables));
        let cells = [exact(m.context), weights, tables, scratch, slot, rows, total];
        writeln!(out, "{}", row(cells))?;
    }
    Ok(())
}

fn show_checked(out: &mut impl Write, checked: &Checked) -> io::Result<()> {
    for flaw in &checked.flaws {
        let values = plural(flaw.count as usize, "bad value");
        let (name, row, block) = (safe(&flaw.tensor), flaw.row, flaw.block);
        let (column, found) = (flaw.column, &flaw.found);
        writeln!(
            out,
            "  {name}: {values}; the first is {found}, row {row}, block {block} (value {column})"
        )?;
    }
    let (tensors, size) = (plural(checked.tensors, "tensor"), bytes(checked.bytes));
    match checked.flaws.len() {
        0 => writeln!(out, "  read {tensors}, {size}: every value is usable")?,
        damaged => writeln!(out, "  read {tensors}, {size}: {damaged} damaged")?,
    }
    if !checked.unread.is_empty() {
        let unread = plural(checked.unread.len(), "tensor");
        writeln!(out, "  not read: {unread} in formats without a decoder")?;
    }
    Ok(())
}
