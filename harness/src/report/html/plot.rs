//! Plots of measured values: a cumulative distribution for many, a strip of dots for few, a line over time for counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::course::{over_time, words};
use super::text::{coordinate as c, escape, fit, grouped, number, quantity, ticks};
use crate::evidence::{Quantile, ScenarioResult, Series};

/// Width of a plot's drawing.
pub const WIDTH: f64 = 640.0;
/// Room at its right.
pub const RIGHT: f64 = 20.0;
/// Below this many values in every variant, each value is worth its own dot.
const FEW: usize = 60;

/// One measure: its variants (an empty name where the series has none), ordered by name.
pub struct Measure<'a> {
    /// The measure's name.
    pub name: &'a str,
    /// Variant to series.
    pub variants: BTreeMap<&'a str, &'a Series>,
}

/// The series of a scenario, grouped by measure.
pub fn measures(scenario: &ScenarioResult) -> Vec<Measure<'_>> {
    let mut measures: BTreeMap<&str, BTreeMap<&str, &Series>> = BTreeMap::new();
    for (name, series) in &scenario.series {
        let (variant, measure) = name.rsplit_once('.').unwrap_or(("", name));
        measures.entry(measure).or_default().insert(variant, series);
    }
    measures
        .into_iter()
        .map(|(name, variants)| Measure { name, variants })
        .collect()
}

impl Measure<'_> {
    fn unit(&self) -> &str {
        self.variants.values().next().map_or("", |series| series.unit.as_str())
    }

    fn budgets(&self) -> Vec<f64> {
        let mut budgets: Vec<f64> = self.variants.values().filter_map(|series| series.budget).collect();
        budgets.sort_by(f64::total_cmp);
        budgets.dedup();
        budgets
    }

    /// Right end of the axis: everything measured, and the budget unless that would leave the values in a corner.
    fn end(&self) -> f64 {
        let max = self
            .variants
            .values()
            .flat_map(|series| &series.points)
            .map(|point| point.1)
            .fold(0.0, f64::max);
        let budget = self.budgets().last().copied().unwrap_or(0.0);
        let end = if budget <= max * 6.0 { max.max(budget) } else { max };
        if end > 0.0 { end * 1.04 } else { 1.0 }
    }
}

/// The measure as SVG, with a title, a legend, and the table of its percentiles below. Empty when there is nothing to
/// draw: no value, or one alone (see [`super::course::single`]).
pub fn render(measure: &Measure<'_>) -> String {
    let most = measure
        .variants
        .values()
        .map(|series| series.points.len())
        .max()
        .unwrap_or(0);
    if most < 2 {
        return String::new();
    }
    // What has no unit is counted, and a count is watched over time.
    let counted = measure.unit().is_empty();
    let (svg, table) = match (counted, most < FEW) {
        (true, _) => (over_time(measure), String::new()),
        (false, true) => (strip(measure), table(measure)),
        (false, false) => (cdf(measure), table(measure)),
    };
    let mut out = format!("<figure><figcaption>{}", escape(&words(measure.name)));
    for (index, variant) in measure
        .variants
        .keys()
        .enumerate()
        .filter(|(_, variant)| !variant.is_empty())
    {
        let _ = write!(
            out,
            "<span class=\"legend\"><i class=\"k{}\"></i>{}</span>",
            index % 6,
            escape(variant)
        );
    }
    let _ = write!(
        out,
        "</figcaption>\n<div class=\"scroll\">{svg}</div>\n{table}</figure>\n"
    );
    out
}

fn axis(out: &mut String, measure: &Measure<'_>, end: f64, left: f64, bottom: f64, x: &impl Fn(f64) -> f64) {
    for tick in ticks(end, 7) {
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{0}\" y1=\"14\" x2=\"{0}\" y2=\"{1}\"/><text class=\"axis\" x=\"{0}\" y=\"{2}\">{3}</text>",
            c(x(tick)),
            c(bottom),
            c(bottom + 16.0),
            number(tick)
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"unit\" x=\"{}\" y=\"{}\">{}</text><line class=\"base\" x1=\"{}\" y1=\"{1}\" x2=\"{}\" y2=\"{1}\" transform=\"translate(0 {})\"/>",
        c(WIDTH - RIGHT),
        c(bottom + 31.0),
        escape(measure.unit()),
        c(left),
        c(WIDTH - RIGHT),
        c(-31.0)
    );
    let mut beyond = Vec::new();
    for budget in measure.budgets() {
        if budget > end {
            beyond.push(quantity(budget, measure.unit()));
            continue;
        }
        let at = x(budget);
        let anchor = if at > WIDTH * 0.75 { "end" } else { "start" };
        let shift = if anchor == "end" { -5.0 } else { 5.0 };
        let _ = writeln!(
            out,
            "<line class=\"budget\" x1=\"{0}\" y1=\"6\" x2=\"{0}\" y2=\"{1}\"/><text class=\"budget\" x=\"{2}\" y=\"12\" text-anchor=\"{anchor}\">budget {3}</text>",
            c(at),
            c(bottom),
            c(at + shift),
            escape(&quantity(budget, measure.unit()))
        );
    }
    if !beyond.is_empty() {
        let _ = writeln!(
            out,
            "<text class=\"budget\" x=\"{}\" y=\"12\" text-anchor=\"end\">budget {} (beyond the axis)</text>",
            c(WIDTH - RIGHT),
            escape(&beyond.join(", "))
        );
    }
}

/// The begin of a plot.
pub fn open(measure: &Measure<'_>, height: f64, what: &str) -> String {
    format!(
        "<svg data-v=\"measured\" class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{what} of {}\">\n",
        c(WIDTH),
        c(height),
        escape(measure.name)
    )
}

fn cdf(measure: &Measure<'_>) -> String {
    let (left, bottom) = (44.0, 206.0);
    let end = measure.end();
    let x = |value: f64| left + (WIDTH - left - RIGHT) * (value / end).clamp(0.0, 1.0);
    let y = |share: f64| bottom - (bottom - 22.0) * share;
    let mut out = open(measure, bottom + 38.0, "Cumulative distribution");
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{}\" y1=\"{1}\" x2=\"{2}\" y2=\"{1}\"/><text class=\"y\" x=\"{3}\" y=\"{4}\">{5} %</text>",
            c(left),
            c(y(share)),
            c(WIDTH - RIGHT),
            c(left - 6.0),
            c(y(share) + 4.0),
            number(share * 100.0)
        );
    }
    axis(&mut out, measure, end, left, bottom, &x);
    for (index, series) in measure.variants.values().enumerate() {
        let values = series.sorted();
        let n = values.len() as f64;
        let mut path = format!("M{} {}", c(left), c(y(0.0)));
        let mut last = (String::new(), String::new());
        for (rank, value) in values.iter().enumerate() {
            // Steps finer than the drawing's own resolution are not drawn.
            let point = (c(x(*value)), c(y((rank + 1) as f64 / n)));
            if point != last {
                let _ = write!(path, "H{}V{}", point.0, point.1);
                last = point;
            }
        }
        let _ = write!(path, "H{}", c(WIDTH - RIGHT));
        let _ = writeln!(out, "<path class=\"line k{}\" d=\"{path}\"/>", index % 6);
        for (quantile, share) in [(Quantile::P50, 0.5), (Quantile::P99, 0.99)] {
            let Ok(value) = series.claim(quantile) else { continue };
            let name = quantile.label();
            // Names of several variants would cover each other near the top; below it there is room.
            let down = if share > 0.9 { 16.0 + 14.0 * index as f64 } else { -6.0 };
            let crowded = share < 0.9 && index == 0 && measure.variants.len() > 1 && x(value) > left + 90.0;
            let (anchor, shift) = if crowded || x(value) > WIDTH * 0.8 {
                ("end", -6.0)
            } else {
                ("start", 6.0)
            };
            let _ = writeln!(
                out,
                "<circle class=\"point k{0}\" cx=\"{1}\" cy=\"{2}\" r=\"3.5\"/><text class=\"point\" x=\"{3}\" y=\"{4}\" text-anchor=\"{anchor}\">{name} {5}</text>",
                index % 6,
                c(x(value)),
                c(y(share)),
                c(x(value) + shift),
                c(y(share) + down),
                escape(&rough(value, &series.unit))
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// A value beside its mark: the table below has the digits.
fn rough(value: f64, unit: &str) -> String {
    quantity((value * 10.0).round() / 10.0, unit)
}

fn strip(measure: &Measure<'_>) -> String {
    let named = measure.variants.keys().any(|variant| !variant.is_empty());
    let left = if named { 100.0 } else { 24.0 };
    let row = 48.0;
    let bottom = 26.0 + row * measure.variants.len() as f64;
    let end = measure.end();
    let x = |value: f64| left + (WIDTH - left - RIGHT) * (value / end).clamp(0.0, 1.0);
    let mut out = open(measure, bottom + 38.0, "Values");
    axis(&mut out, measure, end, left, bottom, &x);
    for (index, (variant, series)) in measure.variants.iter().enumerate() {
        let middle = 18.0 + row * (index as f64 + 0.5);
        if named {
            let _ = writeln!(
                out,
                "<text class=\"row\" x=\"{}\" y=\"{}\">{}</text>",
                c(left - 10.0),
                c(middle + 4.0),
                escape(&fit(variant, left - 14.0, 12.0))
            );
        }
        let values = series.sorted();
        if let (Some(low), Some(high)) = (values.first(), values.last()) {
            let _ = writeln!(
                out,
                "<rect class=\"range k{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"14\" rx=\"7\"/>",
                index % 6,
                c(x(*low) - 7.0),
                c(middle - 7.0),
                c(x(*high) - x(*low) + 14.0)
            );
        }
        for value in &values {
            let _ = writeln!(
                out,
                "<circle class=\"dot k{}\" cx=\"{}\" cy=\"{}\" r=\"4.5\"><title>{}</title></circle>",
                index % 6,
                c(x(*value)),
                c(middle),
                escape(&quantity(*value, &series.unit))
            );
        }
        if let Some(median) = series.quantile(Quantile::P50) {
            let _ = writeln!(
                out,
                "<line class=\"median\" x1=\"{0}\" y1=\"{1}\" x2=\"{0}\" y2=\"{2}\"/><text class=\"point\" x=\"{0}\" y=\"{3}\" text-anchor=\"middle\">median {4}</text>",
                c(x(median)),
                c(middle - 11.0),
                c(middle + 11.0),
                c(middle + 21.0),
                escape(&rough(median, &series.unit))
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Counts and percentiles; one that the count does not carry says which count it would need (`n < 300`).
fn table(measure: &Measure<'_>) -> String {
    let mut out = String::from("<div class=\"scroll\"><table data-v=\"measured\" class=\"numbers\"><tr>");
    let unit = measure.unit();
    let _ = write!(
        out,
        "<th>{}</th><th>n</th><th>min</th><th>mean</th><th>max</th>",
        escape(unit)
    );
    for quantile in Quantile::REPORTED {
        let _ = write!(out, "<th>{}</th>", quantile.label());
    }
    out.push_str("</tr>\n");
    for (index, (variant, series)) in measure.variants.iter().enumerate() {
        let summary = series.summary(variant);
        // Two decimals: 10 µs where the unit is a millisecond. report.yaml has one more.
        let short = |value: f64| number((value * 100.0).round() / 100.0);
        let plain = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
        let name = if variant.is_empty() { "all" } else { variant };
        let _ = write!(
            out,
            "<tr><td><i class=\"k{}\"></i>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            index % 6,
            escape(name),
            grouped(summary.count),
            plain(summary.min),
            plain(summary.mean),
            plain(summary.max)
        );
        for percentile in &summary.percentiles {
            let _ = match percentile.value {
                Some(value) => write!(out, "<td>{}</td>", short(value)),
                None => write!(out, "<td class=\"refused\">n &lt; {}</td>", grouped(percentile.needs)),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>");
    out
}
