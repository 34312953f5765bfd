//! What a person sees while scenarios run: bars on a terminal, lines otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::evidence::{ScenarioResult, Status};
use crate::scenario::run::{OnProgress, Progress};

struct Bars {
    all: MultiProgress,
    running: BTreeMap<String, ProgressBar>,
}

/// Says on stderr what begins.
pub fn begins(scenarios: usize, lane: &str, jobs: usize) {
    let beside = match jobs.min(scenarios) {
        0 | 1 => "one after the other".to_owned(),
        n => format!("{n} at once"),
    };
    eprintln!("{scenarios} scenarios in lane {lane}, {beside}");
}

/// Shows progress on stderr.
#[must_use]
pub fn show() -> OnProgress {
    if std::io::stderr().is_terminal() {
        let bars = Arc::new(Mutex::new(Bars {
            all: MultiProgress::new(),
            running: BTreeMap::new(),
        }));
        Arc::new(move |p| bars.lock().unwrap_or_else(std::sync::PoisonError::into_inner).tell(p))
    } else {
        Arc::new(|p| {
            if let Some(l) = line(&p) {
                eprintln!("{l}");
            }
        })
    }
}

impl Bars {
    fn tell(&mut self, p: Progress) {
        match &p {
            Progress::Started { id, title, steps } => {
                let style = ProgressStyle::with_template("{spinner} {prefix} [{pos}/{len}] {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                let bar = self.all.add(
                    ProgressBar::new(*steps as u64)
                        .with_style(style)
                        .with_prefix(id.clone()),
                );
                bar.set_message(title.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                self.running.insert(id.clone(), bar);
            }
            Progress::Step { id, number, name } => {
                if let Some(b) = self.running.get(id) {
                    b.set_position(*number as u64);
                    b.set_message(name.clone());
                }
            }
            Progress::Verdict { .. } => {}
            Progress::Finished { result, .. } => {
                if let Some(b) = self.running.remove(&result.id) {
                    b.finish_and_clear();
                }
            }
        }
        if let Some(l) = line(&p) {
            let _ = self.all.println(l);
        }
    }
}

/// A line for what a person wants to know, also from a log.
fn line(p: &Progress) -> Option<String> {
    match p {
        Progress::Verdict { id, verdict } if verdict.status == Status::Failed => Some(format!(
            "  {id}/{}: FAILED: expected {}; seen {}",
            verdict.id, verdict.expected, verdict.seen
        )),
        Progress::Finished { result, wall } => Some(finished(result, *wall)),
        _ => None,
    }
}

fn finished(r: &ScenarioResult, wall: Duration) -> String {
    let word = match r.status() {
        Status::Passed => "ok  ",
        Status::Failed => "FAIL",
        Status::Skipped { .. } => "skip",
    };
    let (passed, skipped, failed) = r.counts();
    let time = if r.lane == "sim" {
        format!("{:.1} s, virtual {:.1} s", wall.as_secs_f64(), r.duration.as_secs_f64())
    } else {
        format!("{:.1} s", wall.as_secs_f64())
    };
    let mut out = format!(
        "{word} {} {} ({passed} of {} checks, {time})",
        r.id,
        r.title,
        passed + skipped + failed
    );
    if let Some(e) = &r.error {
        out.push_str(&format!("\n  {}: {e}", r.id));
    }
    out
}
