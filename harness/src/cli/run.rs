//! `cfn run`: scenarios, one after the other or several at once, and the report.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cfn_net::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;

use super::{CliError, cancel_on_signal, out, progress, select};
use crate::evidence::{self, Map, RunResult, ScenarioResult};
use crate::input::{Problem, show_duration};
use crate::lane::{self, Defects, Lane, LaneError};
use crate::scenario::run::{OnProgress, Options, run};
use crate::scenario::{Overrides, Scenario};
use crate::topology::{ClusterRole, Topology};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scenario files or directories, or bundled scenarios by id (CFN-R7-C1) or phase (phase1); all bundled without
    paths: Vec<String>,
    /// Where testbeds live: local (loopback, real time), sim (memory, virtual time), docker (real clusters) or external
    /// (clusters that exist)
    #[arg(long, env = "CFN_LANE", default_value = "local")]
    lane: String,
    /// Lane docker: what clusters are made of (k3s, node, kind, external, or a file)
    #[arg(long, env = "CFN_FLAVOUR")]
    flavour: Option<String>,
    /// Lane external: which kubeconfig is which cluster of the topology (once each)
    #[arg(long, value_name = "CLUSTER=FILE[:CONTEXT]", value_parser = kubeconfig)]
    kubeconfig: Vec<(String, crate::access::Target)>,
    /// Run on this topology (name or file) instead of each scenario's own
    #[arg(long)]
    topology: Option<String>,
    /// Run under this timer profile (name or file) instead of each scenario's own
    #[arg(long)]
    timers: Option<String>,
    /// Seed instead of each scenario's own
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report goes
    #[arg(long, default_value = "cfn-out")]
    out: PathBuf,
    /// How many scenarios run at once [default: the lane's; in `local` as many as the machine keeps up with, 6 at most]
    #[arg(long)]
    jobs: Option<usize>,
    /// List the scenarios that would run, and end
    #[arg(long)]
    list: bool,
}

pub fn main(args: Args) -> Result<(), CliError> {
    let lane: Arc<dyn Lane> = match args.lane.as_str() {
        "external" => Arc::new(lane::external::External {
            kubeconfigs: args.kubeconfig.iter().cloned().collect(),
        }),
        name => find_lane(name, args.flavour.as_deref())?,
    };
    let overrides = Overrides {
        lane: lane.name().to_owned(),
        topology: args.topology.clone(),
        timers: args.timers.clone(),
        seed: args.seed,
    };
    let scenarios = select::scenarios(&args.paths, &overrides)?;
    if args.list {
        let rows: Vec<Vec<String>> = scenarios
            .iter()
            .map(|s| {
                vec![
                    s.id().to_owned(),
                    s.file.spec.profile.as_str().to_owned(),
                    s.file.spec.title.clone(),
                ]
            })
            .collect();
        out::line(out::table(&rows).trim_end());
        return Ok(());
    }
    let made = writable(&args.out)?;
    let cancel = CancellationToken::new();
    cancel_on_signal(cancel.clone())?;
    let jobs = args.jobs.unwrap_or_else(|| lane.jobs()).clamp(1, 64);
    progress::begins(scenarios.len(), lane.name(), jobs);
    #[allow(
        clippy::disallowed_methods,
        reason = "how long the run took, for the person who waited"
    )]
    let began = std::time::Instant::now();
    let started = SystemClock.now();
    let done = run_all(
        lane.as_ref(),
        scenarios,
        jobs,
        Defects::default(),
        &progress::show(),
        &cancel,
    );
    let done = done.inspect_err(|_| {
        // Nothing half-done: a run that was refused has no report to be looked for.
        for dir in &made {
            let _ = std::fs::remove_dir(dir);
        }
    })?;
    let result = RunResult {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lane: lane.name().to_owned(),
        seed: args.seed.unwrap_or(1),
        command: command_line(&args),
        started: started.to_string(),
        duration: began.elapsed(),
        host: host(),
        interrupted: cancel.is_cancelled(),
        topologies: done.topologies,
        scenarios: done.results,
    };
    let written = crate::report::write_all(&args.out, &result).map_err(|e| CliError::Environment {
        what: e.to_string(),
        cure: "choose a place with room that you may write to with --out".into(),
    })?;
    eprintln!();
    out::line(crate::report::summary(&result).trim_end());
    if let Some(html) = written.iter().find(|p| p.extension().is_some_and(|e| e == "html")) {
        out::line(&format!("report: {}", html.display()));
    }
    if result.passed() {
        Ok(())
    } else {
        Err(CliError::Failed(String::new()))
    }
}

/// `CLUSTER=FILE[:CONTEXT]`.
fn kubeconfig(s: &str) -> Result<(String, crate::access::Target), String> {
    let wrong = || format!("`{s}` is not CLUSTER=FILE[:CONTEXT]");
    let (name, target) = s
        .split_once('=')
        .filter(|(n, t)| !n.is_empty() && !t.is_empty())
        .ok_or_else(wrong)?;
    let target = target.parse().map_err(|_| wrong())?;
    Ok((name.to_owned(), target))
}

/// The lane of this name; it tells on stderr what one waits for.
pub fn find_lane(name: &str, flavour: Option<&str>) -> Result<Arc<dyn Lane>, CliError> {
    if name == "docker" {
        return Ok(Arc::new(lane::docker::Docker::new(
            flavour.map(str::to_owned),
            Arc::new(|line| eprintln!("  {line}")),
        )));
    }
    if let Some(f) = flavour {
        let p = Problem::of_file("--flavour", format!("lane {name} has no flavours, such as `{f}`"));
        return Err(p.expected("--flavour together with --lane docker").into());
    }
    lane::by_name(name).ok_or_else(|| {
        let p = Problem::of_file("--lane", format!("unknown lane `{name}`"));
        CliError::Input(p.one_of(name, ["docker", "external", "local", "sim"]).into())
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Fails early when the report could not be written; says which directories were made for it, the innermost first.
fn writable(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    let probe = dir.join(".cfn-probe");
    let missing = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists());
    let made: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
    let tried = std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b"x"))
        .and_then(|()| std::fs::remove_file(&probe));
    tried
        .map(|()| made)
        .map_err(|e| match CliError::io(&format!("writing to {}", dir.display()), &e) {
            CliError::Environment { what, cure } if cure.starts_with("see") => CliError::Environment {
                what,
                cure: "choose a directory that you may write to with --out".into(),
            },
            e => e,
        })
}

/// The command that does it again.
fn command_line(a: &Args) -> String {
    let mut c = format!("cfn run --lane {}", a.lane);
    for (flag, v) in [
        ("--flavour", &a.flavour),
        ("--topology", &a.topology),
        ("--timers", &a.timers),
    ] {
        if let Some(v) = v {
            c.push_str(&format!(" {flag} {v}"));
        }
    }
    if let Some(s) = a.seed {
        c.push_str(&format!(" --seed {s}"));
    }
    for p in &a.paths {
        c.push(' ');
        c.push_str(p);
    }
    c
}

/// What the machine is.
fn host() -> BTreeMap<String, String> {
    let read = |p: &str| std::fs::read_to_string(p).unwrap_or_default();
    let mut h = BTreeMap::from([
        ("os".to_owned(), std::env::consts::OS.to_owned()),
        ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
        ("cores".to_owned(), cores().to_string()),
    ]);
    let kernel = read("/proc/sys/kernel/osrelease");
    if !kernel.is_empty() {
        h.insert("kernel".into(), kernel.trim().to_owned());
    }
    let cpu = read("/proc/cpuinfo");
    if let Some((_, m)) = cpu
        .lines()
        .find(|l| l.starts_with("model name"))
        .and_then(|l| l.split_once(':'))
    {
        h.insert("cpu".into(), m.trim().to_owned());
    }
    let memory = read("/proc/meminfo");
    if let Some((_, m)) = memory
        .lines()
        .find(|l| l.starts_with("MemTotal"))
        .and_then(|l| l.split_once(':'))
    {
        h.insert("memory".into(), m.trim().to_owned());
    }
    h
}

/// What running scenarios came to.
pub struct Done {
    /// Their results, in order; those that an interruption kept from beginning are left out.
    pub results: Vec<ScenarioResult>,
    /// Their topologies, for the map.
    pub topologies: BTreeMap<String, Map>,
}

/// Runs scenarios, up to `jobs` at once, each on a testbed and in a runtime of its own.
///
/// # Errors
/// When the machine does not allow it; the scenarios that ran are lost then.
pub fn run_all(
    lane: &dyn Lane,
    scenarios: Vec<Scenario>,
    jobs: usize,
    defects: Defects,
    progress: &OnProgress,
    cancel: &CancellationToken,
) -> Result<Done, CliError> {
    let topologies = scenarios
        .iter()
        .map(|s| (s.topology.name().to_owned(), map(&s.topology)))
        .collect();
    let count = scenarios.len();
    let mut order: Vec<(usize, Scenario)> = scenarios.into_iter().enumerate().collect();
    // The longest first, so that none is left for the end.
    order.sort_by_key(|(_, s)| std::cmp::Reverse(driven(s)));
    // Where testbeds are kept, those that can share one follow each other.
    let shared = match lane.keeps() {
        true => {
            order.sort_by_key(|(_, s)| {
                (
                    s.topology.name().to_owned(),
                    s.timers.profile.clone(),
                    s.file.spec.isolation,
                )
            });
            Some(lane.runtime().map_err(|e| CliError::io("starting a runtime", &e))?)
        }
        false => None,
    };
    let queue: Mutex<VecDeque<(usize, Scenario)>> = Mutex::new(order.into());
    let results: Mutex<Vec<Option<ScenarioResult>>> = Mutex::new(vec![None; count]);
    let broken: Mutex<Option<CliError>> = Mutex::new(None);
    let scratch = std::env::temp_dir().join(format!("cfn-{}", std::process::id()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(count) {
            scope.spawn(|| {
                loop {
                    if cancel.is_cancelled() {
                        return;
                    }
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((i, scenario)) = next else { return };
                    let options = Options {
                        dir: scratch.join(i.to_string()),
                        defects,
                        progress: progress.clone(),
                        cancel: cancel.clone(),
                    };
                    match one(lane, shared.as_ref(), scenario, options) {
                        Ok(r) => results.lock().unwrap_or_else(PoisonError::into_inner)[i] = Some(r),
                        Err(e) => {
                            broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                            cancel.cancel();
                            return;
                        }
                    }
                }
            });
        }
    });
    if let Some(rt) = shared {
        rt.block_on(lane.finish());
        rt.shutdown_timeout(Duration::from_secs(2));
    }
    let _ = std::fs::remove_dir_all(&scratch);
    match broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(e) => Err(e),
        None => {
            let results = results
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .into_iter()
                .flatten()
                .collect();
            Ok(Done { results, topologies })
        }
    }
}

/// How long a scenario's vehicles drive.
fn driven(s: &Scenario) -> Duration {
    s.file
        .spec
        .steps
        .iter()
        .filter_map(|s| s.drive.as_ref())
        .map(|d| d.duration.0)
        .sum()
}

fn one(
    lane: &dyn Lane,
    shared: Option<&tokio::runtime::Runtime>,
    scenario: Scenario,
    options: Options,
) -> Result<ScenarioResult, CliError> {
    let running = run(lane, Arc::new(scenario), options);
    let result = match shared {
        Some(rt) => rt.block_on(running),
        None => {
            let rt = lane.runtime().map_err(|e| CliError::io("starting a runtime", &e))?;
            let result = rt.block_on(running);
            rt.shutdown_timeout(Duration::from_secs(2));
            result
        }
    };
    result.map_err(|e: LaneError| e.into())
}

/// A topology as the report draws it.
#[must_use]
pub fn map(t: &Topology) -> Map {
    let sites = t.spec.sites.iter().map(|s| {
        let mut clusters = Vec::new();
        for c in &t.spec.clusters {
            let here = |n: &crate::topology::Node| n.site.as_ref().unwrap_or(&c.site).value == s.name.value;
            let nodes: Vec<String> = c.nodes.iter().filter(|n| here(n)).flat_map(|n| n.names()).collect();
            if c.site.value == s.name.value || !nodes.is_empty() {
                let role = match c.role {
                    ClusterRole::Hub => "hub",
                    ClusterRole::Member => "member",
                };
                clusters.push(evidence::Cluster {
                    name: c.name.value.clone(),
                    role: role.into(),
                    nodes,
                });
            }
        }
        evidence::Site {
            name: s.name.value.clone(),
            level: s.role.as_str().to_owned(),
            clusters,
        }
    });
    let links = t.spec.links.iter().map(|l| {
        let mut latency = show_duration(l.latency.0);
        if !l.latency_variation.0.is_zero() {
            latency.push_str(&format!(" ± {}", show_duration(l.latency_variation.0)));
        }
        let mut detail = Vec::new();
        if let Some(r) = l.throughput_ul {
            detail.push(format!("{r} up"));
        }
        if let Some(r) = l.throughput_dl {
            detail.push(format!("{r} down"));
        }
        if l.packet_loss.0 > 0.0 {
            detail.push(format!("loss {}", l.packet_loss));
        }
        evidence::Link {
            from: l.between[0].value.clone(),
            to: l.between[1].value.clone(),
            latency,
            detail: detail.join(", "),
        }
    });
    Map {
        name: t.name().to_owned(),
        sites: sites.collect(),
        links: links.collect(),
    }
}
