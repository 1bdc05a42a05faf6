//! The figures as a drawing: tokens per second over the length of the prompt or the context.
//!
//! Reading and writing differ by a hundred times, so each has a field of its own. Lengths go up by
//! factors, and so does their axis. Every point is a median, with a line from the smallest to the
//! largest.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::{Report, Spread};

/// Pixels of the drawing, if it is shown as it is.
const SIZE: (u32, u32) = (900, 420);

/// One line of a field: what it is, and the lengths with their figures.
struct Line {
    name: String,
    points: Vec<(usize, Spread)>,
}

/// Draws a report as an SVG.
///
/// # Errors
/// The figures cannot be drawn, which would be a mistake of ours.
pub fn draw(report: &Report) -> Result<String> {
    let mut svg = String::new();
    let fields = fields(report);
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let title = format!("{}, {}", report.model, report.device);
        let area = area.titled(&title, ("sans-serif", 16))?;
        for ((title, lines), area) in fields.iter().zip(area.split_evenly((1, fields.len()))) {
            field(&area, title, lines).map_err(|error| anyhow!("drawing {title}: {error}"))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// What there is to draw.
fn fields(report: &Report) -> Vec<(&'static str, Vec<Line>)> {
    let prefill = report.prefill.iter().map(|of| (of.tokens, of.tokens_per_second));
    let prefill = Line { name: String::new(), points: prefill.collect() };
    let mut decode: Vec<Line> = Vec::new();
    for figures in &report.decode {
        let name = match figures.sessions {
            1 => "one session".to_owned(),
            many => format!("{many} sessions together"),
        };
        let point = (figures.context, figures.tokens_per_second);
        match decode.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => decode.push(Line { name, points: vec![point] }),
        }
    }
    let fields = [("prefill, t/s over prompt tokens", vec![prefill])];
    let fields = fields.into_iter().chain([("decode, t/s over context tokens", decode)]);
    fields.filter(|(_, lines)| lines.iter().any(|line| !line.points.is_empty())).collect()
}

/// The tokens that stand at a place of the axis, if that is a power of two.
fn tokens(power: f64) -> String {
    match power.exp2() {
        _ if power.fract().abs() > 1e-6 => String::new(),
        few if few < 1024.0 => format!("{few:.0}"),
        many => format!("{:.0}k", many / 1024.0),
    }
}

fn field<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    title: &str,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error + 'a>> {
    let all = || lines.iter().flat_map(|line| &line.points);
    // Powers of two are equally far apart. A context of nothing stands where one of a token would.
    let at = |tokens: usize| (tokens.max(1) as f64).log2();
    let first = all().map(|(tokens, _)| at(*tokens)).fold(f64::INFINITY, f64::min);
    let last = all().map(|(tokens, _)| at(*tokens)).fold(0.0, f64::max);
    let top = all().map(|(_, spread)| spread.max).fold(0.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 14))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(first - 0.5..last + 0.5, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels((last - first) as usize + 2)
        .x_label_formatter(&|power| tokens(*power))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .draw()?;
    for (line, color) in lines.iter().zip([&BLUE, &RED, &GREEN, &MAGENTA, &BLACK].iter().cycle()) {
        let medians = line.points.iter().map(|(tokens, spread)| (at(*tokens), spread.median));
        let drawn = chart.draw_series(LineSeries::new(medians.clone(), color))?;
        if !line.name.is_empty() {
            drawn.label(&line.name).legend(|(x, y)| Circle::new((x + 10, y), 4, color.filled()));
        }
        chart.draw_series(medians.map(|point| Circle::new(point, 3, color.filled())))?;
        let spreads = line.points.iter().map(|(tokens, spread)| {
            PathElement::new([(at(*tokens), spread.min), (at(*tokens), spread.max)], color)
        });
        chart.draw_series(spreads)?;
    }
    if lines.iter().any(|line| !line.name.is_empty()) {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .border_style(BLACK)
            .background_style(WHITE)
            .draw()?;
    }
    Ok(())
}
