//! The interpreter: brings a scenario's testbed up, does its steps, judges its assertions, leaves evidence. It knows
//! no scenario by name.

mod batch;
mod collect;
mod condition;
pub mod drive;
mod load;
mod objects;
mod steps;
mod wakeup;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::check::slug;
use super::{Need, Scenario, Step};
use crate::evidence::{Event, EventKind, ScenarioResult, Status, StepOutcome, StepResult, Verdict};
use crate::lane::{Defects, Lane, LaneError, Plan, Testbed};
use objects::Objects;
use wakeup::Wakeups;

/// What a run tells while it goes.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A scenario begins.
    Started {
        /// Its id.
        id: String,
        /// Its title.
        title: String,
        /// How many steps it has.
        steps: usize,
    },
    /// A step begins.
    Step {
        /// The scenario's id.
        id: String,
        /// Which step, from 0.
        number: usize,
        /// Its name.
        name: String,
    },
    /// A verdict was reached.
    Verdict {
        /// The scenario's id.
        id: String,
        /// The verdict.
        verdict: Box<Verdict>,
    },
    /// A scenario ended.
    Finished {
        /// Its result.
        result: Box<ScenarioResult>,
        /// How long it took in real time.
        wall: Duration,
    },
}

/// Called with every [`Progress`].
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// What a scenario runs with.
#[derive(Clone)]
pub struct Options {
    /// A directory for what its nodes keep on disk; removed afterwards.
    pub dir: PathBuf,
    /// Parts broken on purpose.
    pub defects: Defects,
    /// Told what happens.
    pub progress: OnProgress,
    /// Ends the run early.
    pub cancel: CancellationToken,
}

/// A scenario on its testbed.
pub struct Bench {
    /// The testbed.
    pub testbed: Testbed,
    objects: Arc<Objects>,
    wakeups: Arc<Wakeups>,
    scenario: Arc<Scenario>,
    /// What its steps need and the lane has not, with the reason.
    missing: BTreeMap<Need, String>,
    started: Instant,
    result: Mutex<ScenarioResult>,
    scalars: Mutex<BTreeSet<String>>,
    /// Steps done: begin and end.
    marks: Mutex<BTreeMap<String, (Duration, Duration)>>,
    /// How many decisions the last look at the batch knew of.
    bounded: Mutex<usize>,
}

impl Bench {
    /// Since the scenario's start, on the lane's clock.
    #[must_use]
    pub fn at(&self) -> Duration {
        self.started.elapsed()
    }

    fn result(&self) -> MutexGuard<'_, ScenarioResult> {
        self.result.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn scalars(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.scalars.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn event(&self, e: Event) {
        self.result().events.push(e);
    }
}

/// Runs a scenario to its end, whatever happens: the result says what did.
///
/// # Errors
/// Only when the machine does not allow a testbed.
pub async fn run(lane: &dyn Lane, scenario: Arc<Scenario>, options: Options) -> Result<ScenarioResult, LaneError> {
    let spec = &scenario.file.spec;
    let mut result = ScenarioResult {
        id: spec.id.value.clone(),
        title: spec.title.clone(),
        profile: spec.profile.as_str().to_owned(),
        level: spec.level,
        source: spec.source,
        reference: spec.reference.clone(),
        features: spec.features.clone(),
        topology: scenario.topology.name().to_owned(),
        timer_profile: scenario.timers.profile.clone(),
        timers: scenario.timers.shown(),
        lane: lane.name().to_owned(),
        seed: scenario.seed,
        ..ScenarioResult::default()
    };
    (options.progress)(Progress::Started {
        id: result.id.clone(),
        title: result.title.clone(),
        steps: spec.steps.len(),
    });
    #[allow(clippy::disallowed_methods, reason = "real time of a run, beside the lane's own")]
    let wall = std::time::Instant::now();
    let finish = |mut result: ScenarioResult, wall: Duration| {
        result.events.sort_by_key(|e| e.at);
        (options.progress)(Progress::Finished {
            result: Box::new(result.clone()),
            wall,
        });
        result
    };
    if let Some(reason) = spec.not_in.get(lane.name()) {
        skip_from(&scenario, &mut result, 0, reason);
        return Ok(finish(result, wall.elapsed()));
    }
    if let Some(reason) = lane.lacks(&scenario).await {
        skip_from(&scenario, &mut result, 0, &reason);
        return Ok(finish(result, wall.elapsed()));
    }
    let missing = missing(lane, &scenario).await;
    if let Some(reason) = spec.needs.iter().find_map(|n| missing.get(n)) {
        skip_from(&scenario, &mut result, 0, reason);
        return Ok(finish(result, wall.elapsed()));
    }
    let plan = Plan {
        topology: scenario.topology.clone(),
        timers: scenario.timers.clone(),
        seed: scenario.seed,
        dir: options.dir.clone(),
        defects: options.defects,
        isolation: spec.isolation,
        explain: true,
    };
    let started = Instant::now();
    let up = tokio::select! {
        biased;
        () = options.cancel.cancelled() => Err(None),
        up = lane.up(&plan) => up.map_err(Some),
    };
    let testbed = match up {
        Ok(t) => t,
        Err(Some(e @ LaneError::Environment { .. })) => return Err(e),
        Err(e) => {
            let why = e.map_or("interrupted".to_owned(), |e| format!("bringing the testbed up: {e}"));
            skip_from(&scenario, &mut result, 0, &why);
            result.error = Some(why);
            result.duration = started.elapsed();
            let _ = std::fs::remove_dir_all(&options.dir);
            return Ok(finish(result, wall.elapsed()));
        }
    };
    let objects = Arc::new(Objects::new(testbed.clients.clone(), testbed.controls.marks()));
    let bench = Arc::new(Bench {
        wakeups: Arc::new(Wakeups::new(objects.clone())),
        objects,
        testbed: testbed.clone(),
        scenario: scenario.clone(),
        missing,
        started,
        result: Mutex::new(result),
        scalars: Mutex::default(),
        marks: Mutex::default(),
        bounded: Mutex::default(),
    });
    let background = bench.clone().collect_all().await;
    bench.steps(&options).await;
    background.stop().await;
    bench.decisions().await;
    if let Some(last) = scenario.file.spec.steps.last() {
        bench.bound_batch(&last.name).await;
    }
    bench.relocations().await;
    bench.wakeups.stop().await;
    let mut result = bench.result().clone();
    result.duration = bench.at();
    testbed.controls.down().await;
    let _ = std::fs::remove_dir_all(&options.dir);
    Ok(finish(result, wall.elapsed()))
}

/// What an assertion is called in the report.
fn verdict_id(step: &Step, check: &super::Check) -> String {
    check.id.as_ref().map_or_else(|| slug(&step.name), |i| i.value.clone())
}

/// What the scenario and its steps need and the lane has not, each with the reason.
async fn missing(lane: &dyn Lane, scenario: &Scenario) -> BTreeMap<Need, String> {
    let spec = &scenario.file.spec;
    let needs: BTreeSet<Need> = spec
        .steps
        .iter()
        .flat_map(|s| &s.needs)
        .chain(&spec.needs)
        .copied()
        .collect();
    let mut missing = BTreeMap::new();
    for need in needs {
        if let Some(reason) = lane.without(need, &scenario.topology).await {
            missing.insert(need, reason);
        }
    }
    missing
}

/// Marks the steps from `first` on as not reached, their assertions as skipped.
fn skip_from(scenario: &Scenario, result: &mut ScenarioResult, first: usize, reason: &str) {
    let at = result.duration;
    for step in scenario.file.spec.steps.iter().skip(first) {
        skip_step(scenario, step, result, at, reason);
    }
}

/// Marks one step as not reached, its assertion as skipped.
fn skip_step(scenario: &Scenario, step: &Step, result: &mut ScenarioResult, at: Duration, reason: &str) {
    let Some(verb) = step.verbs().first().copied() else {
        return;
    };
    result.steps.push(StepResult {
        verb: verb.name().to_owned(),
        title: step.name.value.clone(),
        began: at,
        ended: at,
        outcome: StepOutcome::NotReached,
    });
    skip_verdict(scenario, step, result, reason);
}

/// A step's assertion, if it has one, is skipped.
fn skip_verdict(scenario: &Scenario, step: &Step, result: &mut ScenarioResult, reason: &str) {
    let Some(c) = &step.assert else { return };
    result.verdicts.push(Verdict {
        id: verdict_id(step, c),
        source: c.source.unwrap_or(scenario.file.spec.source),
        clause: c.clause.clone().unwrap_or_else(|| scenario.file.spec.reference.clone()),
        expected: steps::expectation(step, c),
        seen: "not reached".into(),
        bound: None,
        samples: None,
        status: Status::Skipped {
            reason: reason.to_owned(),
        },
    });
}

impl Bench {
    /// Does the steps, one after the other.
    async fn steps(&self, options: &Options) {
        let scenario = self.scenario.clone();
        let all = &scenario.file.spec.steps;
        let mut ended = None;
        if scenario.file.spec.start_ready {
            ended = self.until_ready(options).await.err();
        }
        for (number, step) in all.iter().enumerate() {
            if ended.is_none() && options.cancel.is_cancelled() {
                ended = Some("interrupted".to_owned());
            }
            if let Some(why) = &ended {
                let mut result = self.result();
                result.duration = self.at();
                skip_from(&scenario, &mut result, number, why);
                result.error = Some(why.clone());
                return;
            }
            let Some(verb) = step.verbs().first().copied() else {
                continue;
            };
            if let Some(why) = step.needs.iter().find_map(|n| self.missing.get(n)) {
                let at = self.at();
                skip_step(&scenario, step, &mut self.result(), at, why);
                continue;
            }
            (options.progress)(Progress::Step {
                id: scenario.id().to_owned(),
                number,
                name: step.name.value.clone(),
            });
            let began = self.at();
            let outcome = tokio::select! {
                biased;
                () = options.cancel.cancelled() => Err("interrupted".to_owned()),
                done = self.step(step, &verb, options) => done,
            };
            let end = self.at();
            self.marks
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(step.name.value.clone(), (began, end));
            let (outcome, detail) = match outcome {
                Ok(detail) => (StepOutcome::Done, detail),
                Err(error) => {
                    ended = Some(format!("step `{}`: {error}", step.name));
                    if step.assert.is_some() {
                        // Interrupted while it was checked.
                        let mut result = self.result();
                        let reached = result
                            .verdicts
                            .last()
                            .is_some_and(|v| Some(&v.id) == step.assert.as_ref().map(|c| verdict_id(step, c)).as_ref());
                        if !reached {
                            skip_verdict(&scenario, step, &mut result, &error);
                        }
                    }
                    (StepOutcome::Failed { error: error.clone() }, error)
                }
            };
            self.bound_batch(&step.name).await;
            let mut result = self.result();
            result.steps.push(StepResult {
                verb: verb.name().to_owned(),
                title: step.name.value.clone(),
                began,
                ended: end,
                outcome,
            });
            if !matches!(verb, super::Verb::Fault(_)) {
                let mut e = Event::new(began, EventKind::Step, step.name.value.clone(), detail);
                e.until = Some(end);
                result.events.push(e);
            }
        }
        if let Some(why) = ended {
            self.result().error = Some(why);
        }
    }
}
