//! Every bundled scenario as a test: in the simulated lane with its verdicts kept beside it, a few on real sockets
//! too. `CFN_LANE=local`, `sim` or `docker` selects one lane; a lane named there runs all
//! scenarios.

mod common;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cfn::evidence::mask::{FileKind, mask};
use cfn::evidence::{RunResult, ScenarioResult, Status};
use cfn::lane::docker::Docker;
use cfn::lane::{self, Defects, Lane, SchedulerDefect};
use cfn::scenario::run::{Options, run};
use cfn::scenario::{Base, Overrides, Scenario};
use cfn::{bundled, input};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio_util::sync::CancellationToken;

/// That of the program: much of what a scenario does is trees of JSON.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Those that also run on real sockets in a plain `cargo test`: one per phase.
const SMOKE: &[&str] = &["phase1/cfn-r7-c1.yaml", "phase2/p2-06.yaml", "phase3/p3-04.yaml"];

fn read(path: &str, overrides: &Overrides) -> Result<Scenario, Failed> {
    let text = bundled::SCENARIOS
        .iter()
        .find(|(p, _)| *p == path)
        .map(|(_, t)| *t)
        .ok_or("no such scenario")?;
    let dir = path.rsplit_once('/').map_or("", |(d, _)| d).to_owned();
    let source = input::Source::new(format!("scenarios/{path}"), text);
    Scenario::read(source, Base::Bundled(dir), overrides).map_err(|e| Failed::from(e.to_string()))
}

fn execute(path: &str, lane: &str, overrides: &Overrides, defects: Defects) -> Result<ScenarioResult, Failed> {
    // Only the first call installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let lane = lane::by_name(lane).ok_or("no such lane")?;
    let overrides = Overrides {
        lane: lane.name().to_owned(),
        ..overrides.clone()
    };
    let scenario = read(path, &overrides)?;
    let dir = tempfile::tempdir()?;
    let options = Options {
        dir: dir.path().join("testbed"),
        defects,
        progress: Arc::new(|_| {}),
        cancel: CancellationToken::new(),
    };
    let rt = lane.runtime()?;
    let result = rt
        .block_on(run(lane.as_ref(), Arc::new(scenario), options))
        .map_err(|e| Failed::from(e.to_string()))?;
    rt.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(result)
}

/// What failed, in words.
fn complaint(r: &ScenarioResult) -> String {
    let failed = r.tests().into_iter().filter(|t| t.status == Status::Failed);
    let list: Vec<String> = failed
        .map(|t| format!("{}: expected {}; seen {}", t.id, t.expected, t.seen))
        .collect();
    list.join("\n")
}

fn passes(path: &str, lane: &str) -> Result<ScenarioResult, Failed> {
    let r = execute(path, lane, &Overrides::default(), Defects::default())?;
    if matches!(r.status(), Status::Failed) {
        Err(complaint(&r).into())
    } else {
        Ok(r)
    }
}

/// The verdicts of a simulated run, masked, beside the scenario.
fn snapshot(path: &str, result: ScenarioResult) -> Result<(), Failed> {
    let run = RunResult {
        lane: "sim".into(),
        seed: result.seed,
        scenarios: vec![result],
        ..RunResult::default()
    };
    let files = cfn::report::files(&run)?;
    let (name, text) = files
        .iter()
        .find(|(n, _)| *n == "report.yaml")
        .ok_or("no report.yaml")?;
    let masked = mask(FileKind::of(name), text);
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../scenarios")
        .join(path);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(here.parent().ok_or("no directory")?);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let stem = here
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
        settings.bind(|| insta::assert_snapshot!(stem, masked))
    }));
    outcome.map_err(|_| Failed::from("its verdicts are not those kept beside it (see the .snap.new file)"))
}

/// Scenarios on real clusters: one after the other, on testbeds that are kept where scenarios allow it.
struct Containers {
    lane: Docker,
    runtime: tokio::runtime::Runtime,
    turn: Mutex<()>,
}

impl Containers {
    /// None where this machine lacks what it needs: the reason.
    fn start() -> Result<Self, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let flavour = std::env::var("CFN_FLAVOUR").ok();
        let lane = Docker::new(flavour, Arc::new(|line| eprintln!("  {line}")));
        let runtime = lane.runtime().map_err(|e| e.to_string())?;
        runtime.block_on(lane.available()).map_err(|e| e.to_string())?;
        Ok(Self {
            lane,
            runtime,
            turn: Mutex::default(),
        })
    }

    fn passes(&self, path: &str) -> Result<(), Failed> {
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let overrides = Overrides {
            lane: "docker".into(),
            ..Overrides::default()
        };
        let scenario = read(path, &overrides)?;
        let dir = tempfile::tempdir()?;
        let options = Options {
            dir: dir.path().join("testbed"),
            defects: Defects::default(),
            progress: Arc::new(|_| {}),
            cancel: CancellationToken::new(),
        };
        let r = self.runtime.block_on(run(&self.lane, Arc::new(scenario), options));
        let r = r.map_err(|e| Failed::from(e.to_string()))?;
        if matches!(r.status(), Status::Failed) {
            return Err(complaint(&r).into());
        }
        Ok(())
    }
}

fn in_containers(trials: &mut Vec<Trial>) -> Option<Arc<Containers>> {
    let containers = Containers::start().map(Arc::new);
    let mut all: Vec<(String, lane::Isolation, &'static str)> = scenarios()
        .into_iter()
        .filter_map(|path| {
            let s = read(path, &Overrides::default()).ok()?;
            Some((s.topology.name().to_owned(), s.file.spec.isolation, path))
        })
        .collect();
    // Those that can share a testbed follow each other.
    all.sort();
    for (_, _, path) in all {
        let name = format!("docker::{path}");
        trials.push(match (&containers, not_in(path, "docker")) {
            (_, Some(why)) => common::ignored(&name, &why),
            (Err(why), None) => common::ignored(&name, why),
            (Ok(c), None) => {
                let c = c.clone();
                Trial::test(name, move || c.passes(path))
            }
        });
    }
    containers.ok()
}

/// Why a scenario does not run in a lane, as its file says.
fn not_in(path: &str, lane: &str) -> Option<String> {
    read(path, &Overrides::default())
        .ok()?
        .file
        .spec
        .not_in
        .get(lane)
        .cloned()
}

fn scenarios() -> Vec<&'static str> {
    let all = bundled::SCENARIOS.iter();
    all.filter(|(_, t)| t.lines().any(|l| l == "kind: Scenario"))
        .map(|(p, _)| *p)
        .collect()
}

fn main() {
    let mut args = Arguments::from_args();
    let chosen = std::env::var("CFN_LANE").ok();
    let mut trials = Vec::new();
    let containers = match chosen.as_deref() {
        Some("docker") => {
            // In order: testbeds are kept from one to the next.
            args.test_threads = Some(1);
            in_containers(&mut trials)
        }
        _ => None,
    };
    for path in scenarios() {
        if chosen.as_deref().is_none_or(|l| l == "sim") {
            trials.push(Trial::test(format!("sim::{path}"), move || {
                snapshot(path, passes(path, "sim")?)
            }));
        }
        let local = match chosen.as_deref() {
            None => SMOKE.contains(&path),
            Some(l) => l == "local",
        };
        if local {
            let name = format!("local::{path}");
            trials.push(match not_in(path, "local") {
                Some(why) => common::ignored(&name, &why),
                None => Trial::test(name, move || passes(path, "local").map(drop)),
            });
        }
    }
    if chosen.as_deref().is_none_or(|l| l == "sim") {
        trials.push(Trial::test("sim::same seed, same evidence", same_seed_same_evidence));
        trials.push(Trial::test("sim::another seed passes too", another_seed_passes_too));
        for (name, path, defects) in [
            (
                "ignoring weights fails CFN-R7-C1",
                "phase1/cfn-r7-c1.yaml",
                Defects {
                    scheduler: Some(SchedulerDefect::IgnoreWeights),
                    drop_context: false,
                },
            ),
            (
                "ignoring the network fails P2-05",
                "phase2/p2-05.yaml",
                Defects {
                    scheduler: Some(SchedulerDefect::IgnoreNetwork),
                    drop_context: false,
                },
            ),
            (
                "dropping contexts fails P3-04",
                "phase3/p3-04.yaml",
                Defects {
                    scheduler: None,
                    drop_context: true,
                },
            ),
        ] {
            trials.push(Trial::test(format!("sim::{name}"), move || {
                broken_on_purpose(path, defects)
            }));
        }
    }
    let conclusion = libtest_mimic::run(&args, trials);
    if let Some(c) = containers {
        c.runtime.block_on(c.lane.finish());
    }
    conclusion.exit();
}

/// A harness that cannot fail shows nothing: a part broken on purpose fails the case that is about it.
fn broken_on_purpose(path: &str, defects: Defects) -> Result<(), Failed> {
    let r = execute(path, "sim", &Overrides::default(), defects)?;
    if matches!(r.status(), Status::Failed) {
        Ok(())
    } else {
        Err("it passed".into())
    }
}

fn same_seed_same_evidence() -> Result<(), Failed> {
    let of = || -> Result<Vec<(&'static str, String)>, Failed> {
        let result = passes("phase1/cfn-r7-c2.yaml", "sim")?;
        let run = RunResult {
            lane: "sim".into(),
            seed: 1,
            scenarios: vec![result],
            ..RunResult::default()
        };
        Ok(cfn::report::files(&run)?
            .into_iter()
            .map(|(n, t)| (n, mask(FileKind::of(n), &t)))
            .collect())
    };
    let (a, b) = (of()?, of()?);
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        if a != b {
            let line = a.lines().zip(b.lines()).find(|(x, y)| x != y);
            return Err(format!("{name} differs: {line:?}").into());
        }
    }
    Ok(())
}

fn another_seed_passes_too() -> Result<(), Failed> {
    for path in ["phase1/cfn-r7-c1.yaml", "phase2/p2-05.yaml", "phase3/p3-04.yaml"] {
        let overrides = Overrides {
            seed: Some(4711),
            ..Overrides::default()
        };
        let r = execute(path, "sim", &overrides, Defects::default())?;
        if matches!(r.status(), Status::Failed) {
            return Err(format!("{path}: {}", complaint(&r)).into());
        }
    }
    Ok(())
}
