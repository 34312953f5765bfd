//! `report.html`: one self-contained file. No script, no network, no fonts but the reader's own; light or dark as the
//! reader's system is. What may differ between two runs carries `data-v`, see [`crate::evidence::mask`].

mod course;
mod map;
mod plot;
mod text;
mod timeline;

use std::fmt::Write as _;

use super::conformance::{Outcome, tests_of};
use crate::evidence::{Batch, Decision, Level, Map, RunResult, ScenarioResult, Status, StepOutcome, Test, millis};
use text::{duration, escape, quantity};

/// Events written out as a table in one scenario; the rest is in `trace.jsonl`.
const EVENTS: usize = 200;
/// Decisions written out in one scenario.
const DECISIONS: usize = 40;

/// The report as one HTML page.
pub fn render(run: &RunResult) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" data-lane=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>CFN testbed report: {}, seed {}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
        escape(&run.lane),
        escape(&run.lane),
        run.seed,
        include_str!("page.css")
    );
    header(&mut out, run);
    out.push_str("<main>\n");
    for profile in run.profiles() {
        phase(&mut out, run, profile);
    }
    if !run.topologies.is_empty() {
        out.push_str("<h2 id=\"topologies\">Topologies</h2>\n");
        for map in run.topologies.values() {
            topology(&mut out, map);
        }
    }
    out.push_str("<h2 id=\"scenarios\">Scenarios</h2>\n");
    for scenario in &run.scenarios {
        scenario_card(&mut out, scenario);
    }
    footer(&mut out, run);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn header(out: &mut String, run: &RunResult) {
    let (passed, skipped, failed) = run.counts();
    let all = (passed + skipped + failed).max(1);
    let word = match (run.interrupted, failed, skipped) {
        (true, 0, _) => ("Skipped", "interrupted"),
        (_, 0, 0) => ("Passed", "all passed"),
        (_, 0, _) => ("Skipped", "partial"),
        _ => ("Failed", "failed"),
    };
    let _ = writeln!(
        out,
        "<header><div>\n<h1>CFN testbed report <span class=\"pill {}\">{}</span></h1>\n\
         <p class=\"sub\">cfn {} · lane <b>{}</b> · seed <b>{}</b> · started {} · took {}</p>",
        word.0,
        word.1,
        escape(&run.version),
        escape(&run.lane),
        run.seed,
        host(&run.started),
        host(&duration(millis::of(run.duration)))
    );
    out.push_str("<div class=\"totals\">");
    for (class, count, label) in [
        ("good", passed, "passed"),
        (if failed > 0 { "bad" } else { "" }, failed, "failed"),
        (if skipped > 0 { "skip" } else { "" }, skipped, "skipped"),
        ("", run.scenarios.len() as u64, "scenarios"),
    ] {
        let _ = write!(
            out,
            "<div class=\"total {class}\"><b>{count}</b><span class=\"l\">{label}</span></div>"
        );
    }
    out.push_str("</div>\n<div class=\"share\" aria-hidden=\"true\">");
    for (class, count) in [("good", passed), ("bad", failed), ("skip", skipped)]
        .into_iter()
        .filter(|part| part.1 > 0)
    {
        let _ = write!(
            out,
            "<i class=\"{class}\" style=\"width:{:.3}%\"></i>",
            count as f64 * 100.0 / all as f64
        );
    }
    out.push_str("</div>\n");
    if run.interrupted {
        out.push_str("<p class=\"note\">The run was interrupted: what follows is what ran until then.</p>\n");
    }
    if matches!(run.lane.as_str(), "sim" | "local") {
        let _ = writeln!(
            out,
            "<p class=\"sub\">This lane runs on embedded clusters in one process. It shows what the scheduler, the agents \
             and the application do; it does not back a claim about real clusters.</p>"
        );
    }
    let _ = writeln!(out, "<h3>Reproduce</h3>\n<pre>{}</pre>", escape(&run.command));
    out.push_str("<details class=\"inner\"><summary>Machine and tools</summary><dl>");
    for (name, value) in &run.host {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), host(value));
    }
    out.push_str("</dl></details>\n</div></header>\n");
}

/// A fact about the machine or its time.
fn host(text: &str) -> String {
    format!("<span data-v=\"host\">{}</span>", escape(text))
}

/// A text that may hold measured quantities.
fn measured(text: &str) -> String {
    format!("<span data-v=\"measured\">{}</span>", escape(text))
}

fn pill(status: &Status) -> String {
    format!("<span class=\"pill {0}\">{0}</span>", status.name())
}

fn anchor(id: &str) -> String {
    id.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .collect()
}

/// `1 link`, `2 links`.
fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// `phase1` as a heading.
fn profile_title(profile: &str) -> String {
    match profile.strip_prefix("phase") {
        Some(number) if !number.is_empty() => format!("Phase {number}"),
        _ => profile.to_owned(),
    }
}

fn phase(out: &mut String, run: &RunResult, profile: &str) {
    let _ = write!(
        out,
        "<div class=\"phase\"><h2 id=\"{}\">{}</h2>",
        anchor(profile),
        escape(&profile_title(profile))
    );
    for level in [Level::Core, Level::Extended] {
        if let Some(tests) = tests_of(run, profile, level) {
            let (class, word) = match tests.result {
                Outcome::Success => ("Passed", "success"),
                Outcome::Partial => ("Skipped", "partial"),
                Outcome::Failure => ("Failed", "failure"),
            };
            let _ = write!(
                out,
                "<span><span class=\"sub\">{}</span> <span class=\"pill {class}\">{word}</span></span>",
                level.name()
            );
        }
    }
    out.push_str("</div>\n<div class=\"card scroll\" style=\"padding:0\"><table class=\"verdicts\">\n");
    out.push_str("<tr class=\"head\"><th>Test</th><th>Result</th><th>Expected</th><th>Seen</th><th>Clause</th></tr>\n");
    for scenario in run.in_profile(profile) {
        let _ = writeln!(
            out,
            "<tr class=\"scenario\"><td colspan=\"5\"><a href=\"#s-{}\">{}</a> {} <span class=\"sub\">{} · {} · timers {}</span></td></tr>",
            anchor(&scenario.id),
            escape(&scenario.id),
            escape(&scenario.title),
            scenario.level.name(),
            escape(&scenario.topology),
            escape(&scenario.timer_profile)
        );
        for test in scenario.tests() {
            verdict(out, &test);
        }
    }
    out.push_str("</table></div>\n");
}

fn verdict(out: &mut String, test: &Test<'_>) {
    let _ = write!(
        out,
        "<tr><td class=\"id\">{}</td><td>{}",
        escape(&test.id),
        pill(&test.status)
    );
    if let Status::Skipped { reason } = &test.status {
        let _ = write!(out, "<small>{}</small>", escape(reason));
    }
    let _ = write!(
        out,
        "</td><td class=\"wide\" data-l=\"expected\">{}",
        escape(test.expected)
    );
    if let Some(bound) = test.bound {
        let value = quantity(bound.value, &bound.unit);
        // A bound that is only a number needs no arithmetic shown.
        if bound.expression == value || bound.expression.is_empty() {
            let _ = write!(out, "<small>bound {}</small>", escape(&value));
        } else {
            let _ = write!(
                out,
                "<small>bound {} = <code>{}</code></small>",
                escape(&value),
                escape(&bound.expression)
            );
        }
    }
    let _ = write!(out, "</td><td class=\"wide\" data-l=\"seen\">{}", measured(test.seen));
    if let Some(samples) = test.samples {
        let mut parts = vec![format!("{} samples of {}", samples.count, samples.series)];
        for percentile in &samples.percentiles {
            if let Some(value) = percentile.value {
                parts.push(format!("{} {}", percentile.name, quantity(value, &samples.unit)));
            }
        }
        if let Some(max) = samples.max {
            parts.push(format!("max {}", quantity(max, &samples.unit)));
        }
        let _ = write!(out, "<small>{}</small>", measured(&parts.join(", ")));
    }
    let _ = writeln!(
        out,
        "</td><td data-l=\"clause\">{}<small>{}</small></td></tr>",
        escape(&test.source.to_string()),
        escape(test.clause)
    );
}

fn topology(out: &mut String, map: &Map) {
    let _ = write!(
        out,
        "<div class=\"card\"><b>{}</b>\n<div class=\"scroll\">{}</div>",
        escape(&map.name),
        map::render(map)
    );
    if !map.links.is_empty() {
        let _ = write!(
            out,
            "<details class=\"inner\"><summary>{}</summary><div class=\"scroll\"><table><tr><th>From</th><th>To</th><th>Latency</th><th>More</th></tr>",
            count(map.links.len(), "link")
        );
        for link in &map.links {
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&link.from),
                escape(&link.to),
                escape(&link.latency),
                escape(&link.detail)
            );
        }
        out.push_str("</table></div></details>");
    }
    out.push_str("</div>\n");
}

fn scenario_card(out: &mut String, scenario: &ScenarioResult) {
    let status = scenario.status();
    let measures = plot::measures(scenario);
    let mut plots: Vec<String> = measures.iter().map(plot::render).collect();
    plots.push(course::single(&measures));
    plots.retain(|text| !text.is_empty());
    // What failed, and what has something to look at, stands open.
    let open = if status == Status::Failed || !plots.is_empty() {
        " open"
    } else {
        ""
    };
    let _ = writeln!(
        out,
        "<details class=\"card\" id=\"s-{}\"{open}><summary>{} {} <span class=\"sub\">{} · {}</span></summary><div>",
        anchor(&scenario.id),
        pill(&status),
        escape(&scenario.id),
        escape(&scenario.title),
        measured(&duration(millis::of(scenario.duration)))
    );
    let _ = writeln!(
        out,
        "<p class=\"sub\">{}: {}</p>",
        escape(&scenario.source.to_string()),
        escape(&scenario.reference)
    );
    if let Some(error) = &scenario.error {
        let _ = writeln!(out, "<p class=\"note\">Ended early: {}</p>", measured(error));
    }
    let _ = writeln!(out, "<div class=\"scroll\">{}</div>", timeline::render(scenario));
    if !plots.is_empty() {
        let _ = writeln!(out, "<div class=\"plots\">{}</div>", plots.concat());
    }
    batches(out, &scenario.batches);
    decisions(out, &scenario.decisions);
    steps(out, scenario);
    events(out, scenario);
    timers(out, scenario);
    out.push_str("</div></details>\n");
}

/// What no scheduler could have bettered.
fn batches(out: &mut String, batches: &[Batch]) {
    if batches.is_empty() {
        return;
    }
    out.push_str("<!--measured--><ul>");
    for batch in batches {
        let _ = write!(
            out,
            "<li title=\"{}\">After “{}”: {}.</li>",
            escape(&batch.bindings.join(", ")),
            escape(&batch.after),
            escape(&batch.sentence())
        );
    }
    out.push_str("</ul><!--/measured-->\n");
}

fn decisions(out: &mut String, decisions: &[Decision]) {
    if decisions.is_empty() {
        return;
    }
    // On real time the number of decisions and events is measured too.
    let _ = writeln!(
        out,
        "<!--measured--><details class=\"inner\"><summary>{}, with reasons per cluster</summary>",
        count(decisions.len(), "decision")
    );
    for decision in decisions.iter().take(DECISIONS) {
        let _ = writeln!(
            out,
            "<h3>{} <span class=\"sub\">at {}: {}</span></h3><div class=\"scroll\"><table><tr><th>Cluster</th><th>Replicas</th><th>Filter</th><th>Scores</th></tr>",
            escape(&decision.subject),
            measured(&duration(millis::of(decision.at))),
            measured(&decision.outcome)
        );
        for cluster in &decision.clusters {
            let filter = match (cluster.feasible, cluster.reasons.is_empty()) {
                (true, true) => "<span class=\"pill Passed\">fits</span>".to_owned(),
                (true, false) => {
                    format!(
                        "<span class=\"pill Passed\">fits</span> {}",
                        measured(&cluster.reasons.join("; "))
                    )
                }
                (false, _) => {
                    format!(
                        "<span class=\"pill Failed\">refused</span> {}",
                        measured(&cluster.reasons.join("; "))
                    )
                }
            };
            let scores: Vec<String> = cluster
                .scores
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            let _ = writeln!(
                out,
                "<tr><td class=\"id\">{}</td><td>{}</td><td>{filter}</td><td>{}</td></tr>",
                escape(&cluster.cluster),
                cluster
                    .replicas
                    .map_or_else(|| "–".to_owned(), |count| count.to_string()),
                measured(&scores.join(", "))
            );
        }
        out.push_str("</table></div>\n");
    }
    if decisions.len() > DECISIONS {
        let _ = writeln!(
            out,
            "<p class=\"sub\">The first {DECISIONS}; all of them are in trace.jsonl.</p>"
        );
    }
    out.push_str("</details><!--/measured-->\n");
}

fn steps(out: &mut String, scenario: &ScenarioResult) {
    if scenario.steps.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<details class=\"inner\"><summary>{}</summary><div class=\"scroll\"><table data-v=\"measured\"><tr><th>#</th><th>Step</th><th>Began</th><th>Took</th><th>Outcome</th></tr>",
        count(scenario.steps.len(), "step")
    );
    for (index, step) in scenario.steps.iter().enumerate() {
        let (began, took, outcome) = match &step.outcome {
            StepOutcome::NotReached => ("–".to_owned(), "–".to_owned(), "not reached".to_owned()),
            other => (
                duration(millis::of(step.began)),
                duration(millis::of(step.ended.saturating_sub(step.began))),
                match other {
                    StepOutcome::Failed { error } => format!("failed: {error}"),
                    _ => "done".to_owned(),
                },
            ),
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td><b>{}</b> {}</td><td>{began}</td><td>{took}</td><td>{}</td></tr>",
            index + 1,
            escape(&step.verb),
            escape(&step.title),
            escape(&outcome)
        );
    }
    out.push_str("</table></div></details>\n");
}

fn events(out: &mut String, scenario: &ScenarioResult) {
    if scenario.events.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "<!--measured--><details class=\"inner\"><summary>{}</summary><div class=\"scroll\"><table data-v=\"measured\"><tr><th>At</th><th>Kind</th><th>Place</th><th>Subject</th><th>What</th></tr>",
        count(scenario.events.len(), "event")
    );
    for event in scenario.events.iter().take(EVENTS) {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            duration(millis::of(event.at)),
            event.kind.name(),
            escape(&event.place),
            escape(&event.subject),
            escape(&event.detail)
        );
    }
    out.push_str("</table></div>");
    if scenario.events.len() > EVENTS {
        let _ = write!(
            out,
            "<p class=\"sub\">The first {EVENTS}; all of them are in trace.jsonl.</p>"
        );
    }
    out.push_str("</details><!--/measured-->\n");
}

fn timers(out: &mut String, scenario: &ScenarioResult) {
    let _ = write!(
        out,
        "<details class=\"inner\"><summary>Inputs: timers {}, seed {}</summary><dl>",
        escape(&scenario.timer_profile),
        scenario.seed
    );
    for (name, value) in &scenario.timers {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    out.push_str("</dl></details>\n");
}

fn footer(out: &mut String, run: &RunResult) {
    let _ = writeln!(
        out,
        "<footer><p>A percentile is stated only when the samples carry it: with no failure in n samples the bound at 95 % \
         confidence is 3/n, so p99 needs 300 samples, p99.9 needs 3 000, p99.99 needs 30 000.</p>\
         <p>“Our definition” marks what neither the blueprint nor a standard asks for. The same test ids stand in \
         report.yaml, junit_01.xml, trace.jsonl and here. cfn {}.</p></footer>",
        escape(&run.version)
    );
}
