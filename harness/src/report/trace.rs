//! `trace.jsonl`: one JSON object per line, everything that happened and was measured, in time order per scenario.

use serde::Serialize;
use serde_json::{Value, json};

use super::ReportError;
use crate::evidence::{Event, EventKind, RunResult, ScenarioResult, Status, StepOutcome, millis};

/// The trace. Its first line is the run (`type: run`); each scenario begins with its own line (`type: scenario`), then
/// come its steps, events, decisions and samples by their time (`type: step | event | decision | sample`, `at` in
/// milliseconds from the scenario's start), then its verdicts (`type: verdict`).
///
/// # Errors
/// [`ReportError::Format`], which a value of these types does not cause.
pub fn render(run: &RunResult) -> Result<String, ReportError> {
    let mut out = String::new();
    let mut line = |value: &Value| {
        out.push_str(&value.to_string());
        out.push('\n');
    };
    line(&json!({
        "type": "run", "version": run.version, "lane": run.lane, "seed": run.seed, "command": run.command,
        "started": run.started, "host": run.host, "interrupted": run.interrupted,
    }));
    for scenario in &run.scenarios {
        line(&json!({
            "type": "scenario", "scenario": scenario.id, "profile": scenario.profile, "topology": scenario.topology,
            "timerProfile": scenario.timer_profile, "duration": millis::of(scenario.duration),
            "error": scenario.error,
        }));
        let mut lines = happened(scenario)?;
        lines.sort_by(|a, b| a.0.total_cmp(&b.0));
        lines.iter().for_each(|entry| line(&entry.1));
        for test in scenario.tests() {
            let reason = match &test.status {
                Status::Skipped { reason } => Some(reason),
                _ => None,
            };
            line(&json!({
                "type": "verdict", "scenario": scenario.id, "test": test.id, "result": test.status.name(),
                "reason": reason, "expected": test.expected, "seen": test.seen,
            }));
        }
    }
    Ok(out)
}

/// Steps, events, decisions and samples with their times, unsorted. Steps come first, so that with equal times a step
/// stands before what it caused.
fn happened(scenario: &ScenarioResult) -> Result<Vec<(f64, Value)>, ReportError> {
    let mut lines = Vec::new();
    for (index, step) in scenario.steps.iter().enumerate() {
        if step.outcome == StepOutcome::NotReached {
            continue;
        }
        let mut value = tagged("step", scenario, step)?;
        value["step"] = json!(index + 1);
        // What a step came to stands in its event, which has no line of its own.
        let same = |event: &&Event| is_step(event) && event.at == step.began && event.subject == step.title;
        if let Some(event) = scenario
            .events
            .iter()
            .find(same)
            .filter(|event| !event.detail.is_empty())
        {
            value["detail"] = json!(event.detail);
        }
        if let Some(map) = value.as_object_mut() {
            // The same words as an event has.
            for (from, to) in [("began", "at"), ("ended", "until")] {
                if let Some(time) = map.remove(from) {
                    map.insert(to.to_owned(), time);
                }
            }
        }
        lines.push((millis::of(step.began), value));
    }
    for event in scenario.events.iter().filter(|event| !is_step(event)) {
        lines.push((millis::of(event.at), tagged("event", scenario, event)?));
    }
    for decision in &scenario.decisions {
        lines.push((millis::of(decision.at), tagged("decision", scenario, decision)?));
    }
    for (name, series) in &scenario.series {
        for (at, value) in &series.points {
            let line = json!({
                "type": "sample", "scenario": scenario.id, "at": at, "series": name, "value": value, "unit": series.unit,
            });
            lines.push((*at, line));
        }
    }
    Ok(lines)
}

/// Whether an event only repeats a step, which has its own line.
fn is_step(event: &Event) -> bool {
    event.kind == EventKind::Step
}

fn tagged(kind: &str, scenario: &ScenarioResult, value: &impl Serialize) -> Result<Value, ReportError> {
    let mut value = serde_json::to_value(value).map_err(|error| ReportError::Format {
        file: "trace.jsonl",
        message: error.to_string(),
    })?;
    value["type"] = json!(kind);
    value["scenario"] = json!(scenario.id);
    Ok(value)
}
