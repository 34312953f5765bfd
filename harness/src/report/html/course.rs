//! What no distribution fits: counts over time, and values measured once.

use std::fmt::Write as _;

use super::plot::{Measure, RIGHT, WIDTH, open};
use super::text::{coordinate as c, escape, number, quantity, ticks};

/// The values measured once, as a list. Empty when there are none.
pub fn single(measures: &[Measure<'_>]) -> String {
    let mut rows = String::new();
    for measure in measures
        .iter()
        .filter(|measure| measure.variants.values().all(|series| series.points.len() < 2))
    {
        for (variant, series) in &measure.variants {
            let Some(point) = series.points.first() else { continue };
            let name = if variant.is_empty() {
                words(measure.name)
            } else {
                format!("{variant}: {}", words(measure.name))
            };
            let budget = series
                .budget
                .map(|budget| format!(" (budget {})", quantity(budget, &series.unit)));
            let _ = writeln!(
                rows,
                "<tr><td>{}</td><td>{}{}</td></tr>",
                escape(&name),
                escape(&quantity(point.1, &series.unit)),
                escape(&budget.unwrap_or_default())
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<figure><figcaption>Measured once</figcaption><div class=\"scroll\"><table data-v=\"measured\" class=\"numbers\">\n{rows}</table></div></figure>\n"
    )
}

/// `roundTrip` and `round-trip` as words.
pub fn words(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '-' | '_' => out.push(' '),
            c if c.is_ascii_uppercase() => {
                out.push(' ');
                out.push(c.to_ascii_lowercase());
            }
            c => out.push(c),
        }
    }
    out
}

/// Counts as stairs over the scenario's time.
pub fn over_time(measure: &Measure<'_>) -> String {
    let (left, bottom) = (44.0, 126.0);
    let points = || measure.variants.values().flat_map(|series| &series.points);
    let end = points().map(|point| point.0).fold(0.0, f64::max).max(0.001) * 1.02;
    let top = points().map(|point| point.1).fold(1.0, f64::max) * 1.1;
    let x = |ms: f64| left + (WIDTH - left - RIGHT) * (ms / end).clamp(0.0, 1.0);
    let y = |value: f64| bottom - (bottom - 14.0) * (value / top).clamp(0.0, 1.0);
    let mut out = open(measure, bottom + 38.0, "Course");
    for tick in ticks(top, 4) {
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{}\" y1=\"{1}\" x2=\"{2}\" y2=\"{1}\"/><text class=\"y\" x=\"{3}\" y=\"{4}\">{5}</text>",
            c(left),
            c(y(tick)),
            c(WIDTH - RIGHT),
            c(left - 6.0),
            c(y(tick) + 4.0),
            number(tick)
        );
    }
    for tick in ticks(end / 1000.0, 7) {
        let at = x(tick * 1000.0);
        let label = number(tick);
        let _ = writeln!(
            out,
            "<text class=\"axis\" x=\"{}\" y=\"{}\">{label}</text>",
            c(at),
            c(bottom + 16.0)
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"unit\" x=\"{}\" y=\"{}\">s</text>",
        c(WIDTH - RIGHT),
        c(bottom + 31.0)
    );
    for (index, series) in measure.variants.values().enumerate() {
        let Some(first) = series.points.first() else { continue };
        let mut path = format!("M{} {}", c(x(first.0)), c(y(first.1)));
        for (at, value) in &series.points {
            let _ = write!(path, "H{}V{}", c(x(*at)), c(y(*value)));
        }
        let _ = write!(path, "H{}", c(WIDTH - RIGHT));
        let _ = writeln!(out, "<path class=\"line k{}\" d=\"{path}\"/>", index % 6);
    }
    out.push_str("</svg>\n");
    out
}
