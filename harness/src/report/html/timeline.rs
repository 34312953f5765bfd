//! The timeline of a scenario: steps and faults as bars, everything else as marks, one row per kind.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::text::{coordinate as c, duration, escape, fit, ticks};
use crate::evidence::{Event, EventKind, ScenarioResult, StepOutcome, millis};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 88.0;
const RIGHT: f64 = 16.0;
const ROW: f64 = 26.0;
/// Rows of kinds, in the order they are drawn below steps and faults.
const ROWS: [EventKind; 6] = [
    EventKind::Object,
    EventKind::Decision,
    EventKind::Relocation,
    EventKind::Vehicle,
    EventKind::Verdict,
    EventKind::Note,
];

struct Bar {
    from: f64,
    to: f64,
    class: &'static str,
    text: String,
    title: String,
}

/// The timeline as SVG.
pub fn render(scenario: &ScenarioResult) -> String {
    let end = scenario
        .events
        .iter()
        .flat_map(|event| [Some(event.at), event.until])
        .flatten()
        .chain(scenario.steps.iter().map(|step| step.ended))
        .chain([scenario.duration])
        .max()
        .map_or(1.0, millis::of)
        .max(0.001);
    let x = |ms: f64| LEFT + (WIDTH - LEFT - RIGHT) * (ms / end).clamp(0.0, 1.0);

    let mut body = String::new();
    let mut y = 10.0;
    y = bars(&mut body, "Steps", &steps(scenario), y, &x);
    y = bars(&mut body, "Faults", &faults(scenario, end), y, &x);
    for kind in ROWS {
        let events: Vec<&Event> = scenario.events.iter().filter(|event| event.kind == kind).collect();
        if !events.is_empty() {
            marks(&mut body, kind, &events, y, &x);
            y += ROW;
        }
    }
    let mut axis = String::new();
    for tick in ticks(end, 8) {
        let at = x(tick);
        let _ = writeln!(
            axis,
            "<line class=\"grid\" x1=\"{0}\" y1=\"4\" x2=\"{0}\" y2=\"{1}\"/><text class=\"axis\" x=\"{0}\" y=\"{2}\">{3}</text>",
            c(at),
            c(y + 2.0),
            c(y + 17.0),
            tick_label(tick, end)
        );
    }
    format!(
        "<svg data-v=\"measured\" class=\"timeline\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Timeline of {}\">\n{axis}{body}</svg>\n",
        c(WIDTH),
        c(y + 24.0),
        escape(&scenario.id)
    )
}

fn tick_label(tick: f64, end: f64) -> String {
    if end < 1000.0 {
        format!("{} ms", super::text::number(tick))
    } else {
        format!("{} s", super::text::number(tick / 1000.0))
    }
}

fn steps(scenario: &ScenarioResult) -> Vec<Bar> {
    let reached = scenario
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.outcome != StepOutcome::NotReached);
    reached
        .map(|(index, step)| {
            let failed = matches!(step.outcome, StepOutcome::Failed { .. });
            Bar {
                from: millis::of(step.began),
                to: millis::of(step.ended),
                class: if failed { "bar bad" } else { "bar step" },
                text: format!("{} {}", index + 1, step.verb),
                title: format!(
                    "{}. {} {} (from {} to {})",
                    index + 1,
                    step.verb,
                    step.title,
                    duration(millis::of(step.began)),
                    duration(millis::of(step.ended))
                ),
            }
        })
        .collect()
}

fn faults(scenario: &ScenarioResult, end: f64) -> Vec<Bar> {
    let faults = scenario.events.iter().filter(|event| event.kind == EventKind::Fault);
    faults
        .map(|event| {
            let (from, to) = (millis::of(event.at), event.until.map_or(end, millis::of));
            Bar {
                from,
                to,
                class: "bar fault",
                text: event.subject.clone(),
                title: format!(
                    "{} {} (from {} to {})",
                    event.subject,
                    event.detail,
                    duration(from),
                    duration(to)
                ),
            }
        })
        .collect()
}

/// Draws bars into as many rows as they need not to overlap, and returns the y below them.
fn bars(out: &mut String, name: &str, bars: &[Bar], top: f64, x: &impl Fn(f64) -> f64) -> f64 {
    if bars.is_empty() {
        return top;
    }
    row_name(out, name, top);
    let mut ends: Vec<f64> = Vec::new();
    for bar in bars {
        let left = x(bar.from);
        let right = x(bar.to).max(left + 3.0);
        let row = ends.iter().position(|end| left >= *end).unwrap_or_else(|| {
            ends.push(0.0);
            ends.len() - 1
        });
        // Bars that touch are neighbours, not on top of each other.
        ends[row] = right - 1.0;
        let y = top + row as f64 * ROW;
        let room = right - left - 8.0;
        let inside = if room > 14.0 {
            fit(&bar.text, room, 11.0)
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "<g class=\"{}\"><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"/><text x=\"{}\" y=\"{}\">{}</text></g>",
            bar.class,
            escape(&bar.title),
            c(left),
            c(y),
            c(right - left),
            c(ROW - 6.0),
            c(left + 5.0),
            c(y + 14.0),
            escape(&inside)
        );
    }
    top + ends.len() as f64 * ROW
}

/// Draws events as marks. Those that fall on the same spot are one mark that names them all (up to a few).
fn marks(out: &mut String, kind: EventKind, events: &[&Event], y: f64, x: &impl Fn(f64) -> f64) {
    row_name(out, kind.name(), y);
    let mut spots: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    for event in events {
        spots
            .entry((x(millis::of(event.at)) / 4.0).round() as u64)
            .or_default()
            .push(event);
    }
    for events in spots.values() {
        let Some(first) = events.first() else { continue };
        let mut title: Vec<String> = events
            .iter()
            .take(6)
            .map(|event| {
                let at = duration(millis::of(event.at));
                let place = if event.place.is_empty() {
                    String::new()
                } else {
                    format!(" @ {}", event.place)
                };
                format!("{at}{place}: {} {}", event.subject, event.detail)
            })
            .collect();
        if events.len() > 6 {
            title.push(format!("and {} more", events.len() - 6));
        }
        let radius = if events.len() == 1 { 4.0 } else { 5.5 };
        let _ = writeln!(
            out,
            "<circle class=\"mark {}\" cx=\"{}\" cy=\"{}\" r=\"{}\"><title>{}</title></circle>",
            kind.name().to_lowercase(),
            c(x(millis::of(first.at))),
            c(y + 10.0),
            c(radius),
            escape(&title.join("\n"))
        );
    }
}

fn row_name(out: &mut String, name: &str, y: f64) {
    let _ = writeln!(
        out,
        "<text class=\"row\" x=\"{}\" y=\"{}\">{name}</text>",
        c(LEFT - 10.0),
        c(y + 14.0)
    );
}
