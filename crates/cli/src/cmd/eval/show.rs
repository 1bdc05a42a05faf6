//! What came out of asking, for people: tables and lines.
//!
//! Names come from files of other people, so they are made safe for a terminal. Nothing is computed
//! here.

use std::io::{self, Write};

use measure::eval::{
    Answer, Change, Comparison, Domain, Finish, Header, Interval, Item, Report, SelfTest, Summary,
    Tally,
};

use crate::human;
use crate::meant::eval::Set;
use crate::terminal::Terminal;

/// `66.7 % (39.1 to 86.2)`.
pub fn percents(share: f64, interval: Interval) -> String {
    let Interval { low, high } = interval;
    format!("{:.1} % ({:.1} to {:.1})", share * 100.0, low * 100.0, high * 100.0)
}

/// An answer in a line.
pub fn answer(answer: &Answer) -> String {
    let Answer { id, right, found, finish, closed, tokens, sample, .. } = answer;
    let right = if *right { "right" } else { "wrong" };
    let found = found.as_ref().map_or("no answer".to_owned(), |found| format!("{found:?}"));
    let cut = match finish {
        Finish::Stop => "",
        Finish::Length | Finish::Context => ", cut",
    };
    let closed = if closed.is_some() { ", reasoning ended" } else { "" };
    let again = if *sample > 0 { format!(" again ({})", sample + 1) } else { String::new() };
    format!("{right} {id}{again}: {found}, {tokens} tokens{cut}{closed}")
}

/// The table of a run.
pub fn summary(
    header: &Header,
    summary: &Summary,
    terminal: &Terminal,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Header { model, set, settings, .. } = header;
    let (model, set) = (human::safe(&model.name), human::safe(&set.name));
    writeln!(out, "{model} on {set}")?;
    let width = summary.domains.iter().map(|own| human::safe(&own.domain).chars().count()).max();
    let width = width.unwrap_or(0).clamp(6, 40);
    let head = format!(
        "{:width$}  {:>9}  {:>8}  {:>15}  {:>10}  {:>8}  {:>4}",
        "domain", "right", "accuracy", "95 % interval", "tokens", "time", "cut"
    );
    writeln!(out, "{}", terminal.heading(&head))?;
    for Domain { domain, tally } in summary.domains.iter().filter(|own| own.tally.answers > 0) {
        row(&human::safe(domain), tally, width, out)?;
    }
    row("all", &summary.all, width, out)?;
    let all = &summary.all;
    if f64::from(all.points_max) > all.items as f64 {
        writeln!(out, "points: {:.1} of {}", all.points, all.points_max)?;
    }
    if settings.repeat > 1 {
        let Tally { items_right_once: once, items_right_always: always, items, .. } = all;
        writeln!(
            out,
            "each asked {} times: right at least once {once} of {items}, always {always}",
            settings.repeat
        )?;
    }
    if all.closed_soft + all.closed_hard > 0 {
        writeln!(
            out,
            "reasoning was ended where it was about to end {}, and where it was {}",
            times(all.closed_soft),
            times(all.closed_hard)
        )?;
    }
    if all.unanswered > 0 {
        writeln!(out, "replies without an answer: {}", all.unanswered)?;
    }
    if !summary.is_complete() {
        let wanted = summary.wanted * summary.repeat;
        writeln!(out, "not complete: {} of {wanted} answers", all.answers)?;
    }
    Ok(())
}

fn times(count: usize) -> String {
    human::plural(count, "time")
}

fn row(name: &str, tally: &Tally, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let share =
        |share: Option<f64>| share.map_or("-".to_owned(), |s| format!("{:.1} %", s * 100.0));
    let interval = tally.interval.map_or("-".to_owned(), |Interval { low, high }| {
        format!("{:.1} to {:.1}", low * 100.0, high * 100.0)
    });
    writeln!(
        out,
        "{name:width$}  {:>9}  {:>8}  {interval:>15}  {:>10}  {:>8}  {:>4}",
        format!("{}/{}", tally.right, tally.answers),
        share(tally.accuracy),
        human::exact(tally.tokens),
        format!("{:.1} s", tally.seconds),
        tally.cut,
    )
}

/// What judging again has changed.
pub fn changed(changed: usize, answers: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "judged again: {changed} of {answers} judgements changed")
}

/// The questions, one a line.
pub fn list(set: &Set, out: &mut dyn Write) -> io::Result<()> {
    let name = |item: &Item| human::safe(&item.id).chars().count();
    let width = set.items.iter().map(name).max().unwrap_or(0).min(40);
    for item in &set.items {
        let question = human::safe(item.question().lines().next().unwrap_or_default());
        let short: String = question.chars().take(80).collect();
        let (id, domain) = (human::safe(&item.id), human::safe(&item.domain));
        writeln!(out, "{id:width$}  {:6}  {domain}: {short}", item.kind.name())?;
    }
    Ok(())
}

/// How many questions there are.
pub fn set(set: &Set, out: &mut dyn Write) -> io::Result<()> {
    let mut domains: Vec<(&str, usize)> = Vec::new();
    for item in &set.items {
        match domains.iter_mut().find(|(domain, _)| *domain == item.domain) {
            Some((_, count)) => *count += 1,
            None => domains.push((&item.domain, 1)),
        }
    }
    let name = human::safe(&set.name);
    writeln!(out, "{name}: {}, all well formed", human::plural(set.items.len(), "item"))?;
    for (domain, count) in domains {
        writeln!(out, "  {count:>6}  {}", human::safe(domain))?;
    }
    if set.left_out > 0 {
        writeln!(out, "left out, since nothing here can judge their answers: {}", set.left_out)?;
    }
    Ok(())
}

/// Two reports side by side.
pub fn comparison(
    compared: &Comparison,
    [first, second]: &[Report; 2],
    out: &mut dyn Write,
) -> io::Result<()> {
    for (name, report) in [("A", first), ("B", second)] {
        writeln!(out, "{name}: {}", human::safe(&report.header.model.name))?;
    }
    let (Some([a, b]), Some(difference), Some(interval)) =
        (compared.accuracy, compared.difference, compared.interval)
    else {
        return writeln!(out, "no item was answered in both");
    };
    let items = human::plural(compared.items, "item");
    writeln!(out, "{items} answered in both: A {:.1} %, B {:.1} %", a * 100.0, b * 100.0)?;
    writeln!(
        out,
        "B - A: {:+.1} points, 95 % interval {:+.1} to {:+.1}",
        difference * 100.0,
        interval.low * 100.0,
        interval.high * 100.0
    )?;
    let (gained, lost) = (compared.gained.len(), compared.lost.len());
    writeln!(out, "B is better on {gained}, A on {lost}: p = {:.4} (McNemar, exact)", compared.p)?;
    changes("better in B", &compared.gained, out)?;
    changes("better in A", &compared.lost, out)?;
    if compared.only != [0, 0] {
        let [a, b] = compared.only;
        writeln!(out, "not compared: {a} answered in A only, {b} in B only")?;
    }
    Ok(())
}

fn changes(head: &str, changes: &[Change], out: &mut dyn Write) -> io::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    writeln!(out, "{head}:")?;
    for Change { id, found: [a, b], .. } in changes {
        let shown = |found: &Option<String>| {
            found.as_ref().map_or("no answer".to_owned(), |found| format!("{found:?}"))
        };
        writeln!(out, "  {}: {} and {}", human::safe(id), shown(a), shown(b))?;
    }
    Ok(())
}

/// How the judges did.
pub fn self_test(test: &SelfTest, out: &mut dyn Write) -> io::Result<()> {
    for failure in &test.failures {
        writeln!(out, "{}", human::safe(failure))?;
    }
    let (cases, failed) = (test.cases, test.failures.len());
    writeln!(out, "{cases} judgements checked, {failed} wrong")
}
