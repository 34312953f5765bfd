//! The summary a run ends with on the terminal.

use std::fmt::Write as _;

use crate::evidence::{RunResult, ScenarioResult, Status, millis};

/// One table per phase, what failed and why, and the totals. Plain text, no colours, at most about 100 columns wide as
/// long as titles are.
pub fn summary(run: &RunResult) -> String {
    let mut out = String::new();
    let width = run
        .scenarios
        .iter()
        .map(|scenario| scenario.id.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    for profile in run.profiles() {
        let _ = writeln!(out, "{profile}");
        for scenario in run.in_profile(profile) {
            row(&mut out, scenario, width);
        }
        out.push('\n');
    }
    let (passed, skipped, failed) = run.counts();
    let _ = write!(
        out,
        "{passed} passed, {failed} failed, {skipped} skipped in {} scenarios",
        run.scenarios.len()
    );
    let _ = write!(
        out,
        ", lane {}, seed {}, {}",
        run.lane,
        run.seed,
        duration(millis::of(run.duration))
    );
    if run.interrupted {
        out.push_str(" (interrupted)");
    }
    out.push('\n');
    out
}

fn row(out: &mut String, scenario: &ScenarioResult, width: usize) {
    let (passed, skipped, failed) = scenario.counts();
    let word = match scenario.status() {
        Status::Passed => "ok  ",
        Status::Failed => "FAIL",
        Status::Skipped { .. } => "skip",
    };
    let checks = passed + skipped + failed;
    let title: String = if scenario.title.chars().count() > 52 {
        scenario.title.chars().take(51).chain(['…']).collect()
    } else {
        scenario.title.clone()
    };
    let time = duration(millis::of(scenario.duration));
    let _ = writeln!(
        out,
        "  {word}  {:width$}  {title:52}  {passed:>2}/{checks:<2} {time:>9}",
        scenario.id
    );
    for test in scenario.tests() {
        match &test.status {
            Status::Passed => {}
            Status::Failed => {
                let _ = writeln!(out, "        {}", test.id);
                let _ = writeln!(out, "          expected  {}", test.expected);
                let _ = writeln!(out, "          seen      {}", test.seen);
                let _ = writeln!(out, "          clause    {}: {}", test.source, test.clause);
                if let Some(bound) = test.bound {
                    let _ = writeln!(
                        out,
                        "          bound     {} = {} {}",
                        bound.expression, bound.value, bound.unit
                    );
                }
            }
            Status::Skipped { reason } => {
                let _ = writeln!(out, "        {} skipped: {reason}", test.id);
            }
        }
    }
}

/// A duration in milliseconds for a person: `12.3 ms`, `4.56 s`, `10 min 50 s`.
pub fn duration(ms: f64) -> String {
    if ms == 0.0 {
        "0 ms".to_owned()
    } else if ms < 1.0 {
        format!("{ms:.3} ms")
    } else if ms < 1000.0 {
        format!("{ms:.1} ms")
    } else if ms < 120_000.0 {
        format!("{:.2} s", ms / 1000.0)
    } else {
        let seconds = (ms / 1000.0).round() as u64;
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}
