//! `cfn up`, `down`, `status`, `kubeconfig`: a testbed that stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::state::State;
use super::{CliError, cancel_on_signal, out, run, snapshot};
use crate::lane::{Defects, Isolation, Lane, Plan, Testbed, docker};
use crate::scenario::find_topology;
use crate::timers::Timers;

/// Where the state is without `--dir`.
pub const DIR: &str = "cfn-up";

#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// A bundled topology's name or a file
    #[arg(default_value = "default")]
    topology: String,
    /// Bring back what `cfn snapshot save` kept under this name, in lane docker
    #[arg(long, value_name = "NAME", conflicts_with_all = ["topology", "flavour", "timers", "seed"])]
    from: Option<String>,
    /// Where it lives: local (this process) or docker (real clusters)
    #[arg(long, env = "CFN_LANE", default_value = "local")]
    lane: String,
    /// Lane docker: what clusters are made of (k3s, node, kind, external, or a file)
    #[arg(long, env = "CFN_FLAVOUR")]
    flavour: Option<String>,
    /// Timer profile (name or file)
    #[arg(long, default_value = "karmada-1.4")]
    timers: String,
    /// Seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where kubeconfigs and state go
    #[arg(long, default_value = DIR)]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// The directory that `cfn up` was given
    #[arg(long, default_value = DIR)]
    dir: PathBuf,
    /// Also remove every container and network that any testbed in Docker has, whoever made it
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The directory that `cfn up` was given
    #[arg(long, default_value = DIR)]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct KubeconfigArgs {
    /// The cluster; the hub without
    cluster: Option<String>,
    /// Print the file's path instead of its content
    #[arg(long)]
    path: bool,
    /// The directory that `cfn up` was given
    #[arg(long, default_value = DIR)]
    dir: PathBuf,
}

pub fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| CliError::io("starting a runtime", &e))
}

pub fn up(args: UpArgs) -> Result<(), CliError> {
    let record = args.from.as_deref().map(snapshot::read).transpose()?;
    let scratch = std::env::temp_dir().join(format!("cfn-{}", std::process::id()));
    let (lane, plan): (Arc<dyn Lane>, Plan) = match record {
        Some(r) => {
            let plan = r.to_plan(scratch.join("up"))?;
            (
                Arc::new(docker::Docker::from_snapshot(r, Arc::new(|line| eprintln!("  {line}")))),
                plan,
            )
        }
        None => {
            let (_, topology) = find_topology(&args.topology, None)?;
            let plan = Plan {
                topology,
                timers: Timers::find_in(&args.timers, &args.lane)?,
                seed: args.seed,
                dir: scratch.join("up"),
                defects: Defects::default(),
                isolation: Isolation::Testbed,
                explain: false,
            };
            (run::find_lane(&args.lane, args.flavour.as_deref())?, plan)
        }
    };
    std::fs::create_dir_all(&args.dir).map_err(|e| CliError::io(&format!("making {}", args.dir.display()), &e))?;
    let dir = args
        .dir
        .canonicalize()
        .map_err(|e| CliError::io(&format!("finding {}", args.dir.display()), &e))?;
    let rt = runtime()?;
    if let Ok(other) = State::read(&dir)
        && rt.block_on(answers(&other))
    {
        return Err(CliError::Environment {
            what: format!("a testbed of {} is running from {}", other.topology, dir.display()),
            cure: "end it with `cfn down`, or choose another --dir".into(),
        });
    }
    let cancel = CancellationToken::new();
    cancel_on_signal(cancel.clone())?;
    std::fs::create_dir_all(&scratch).map_err(|e| CliError::io(&format!("making {}", scratch.display()), &e))?;
    let result = rt.block_on(async {
        let testbed = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            t = lane.up(&plan) => t?,
        };
        let done = keep(&testbed, &plan, &dir, &scratch, &cancel).await;
        testbed.controls.down().await;
        // Whoever asked waits until its connection is closed.
        done.map(drop)
    });
    rt.shutdown_timeout(Duration::from_secs(2));
    let _ = std::fs::remove_dir_all(&scratch);
    result
}

async fn keep(
    testbed: &Testbed,
    plan: &Plan,
    dir: &std::path::Path,
    scratch: &std::path::Path,
    cancel: &CancellationToken,
) -> Result<Option<UnixStream>, CliError> {
    let control = scratch.join("control");
    let mut state = State {
        pid: std::process::id(),
        lane: testbed.lane.to_owned(),
        topology: testbed.topology.name().to_owned(),
        timers: plan.timers.profile.clone(),
        seed: plan.seed,
        control: control.clone(),
        hub: testbed.topology.hub().name.value.clone(),
        kubeconfigs: std::collections::BTreeMap::new(),
    };
    for (name, text) in &testbed.kubeconfigs {
        let path = dir.join(format!("{name}.kubeconfig"));
        crate::secret::write(&path, text).map_err(|e| CliError::io(&format!("writing {}", path.display()), &e))?;
        state.kubeconfigs.insert(name.clone(), path);
    }
    let listener =
        UnixListener::bind(&control).map_err(|e| CliError::io(&format!("listening at {}", control.display()), &e))?;
    state.write(dir)?;
    out::line(&format!(
        "{} is up: {} clusters, timers {}",
        state.topology,
        state.kubeconfigs.len(),
        state.timers
    ));
    for (name, path) in &state.kubeconfigs {
        out::line(&format!("  {name}: kubectl --kubeconfig {} get nodes", path.display()));
    }
    out::line("`cfn status` shows it, `cfn down` or Ctrl-C ends it");
    let mut asker = None;
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Ok((mut s, _)) = listener.accept() => {
                let mut word = String::new();
                let mut limited = (&mut s).take(64);
                let _ = tokio::time::timeout(Duration::from_secs(1), limited.read_to_string(&mut word)).await;
                if word.trim() == "down" {
                    asker = Some(s);
                    break;
                }
                if let Some(name) = word.trim().strip_prefix("snapshot ") {
                    let _ = s.write_all(save(testbed, name).await.as_bytes()).await;
                }
            }
        }
    }
    state.remove(dir);
    Ok(asker)
}

/// Keeps the testbed under a name; what to tell whoever asked.
async fn save(testbed: &Testbed, name: &str) -> String {
    let began = tokio::time::Instant::now();
    let record = match testbed.controls.snapshot(name).await {
        Ok(r) => r,
        Err(e) => return e.to_string(),
    };
    match snapshot::write(&record) {
        Ok(()) => format!(
            "saved {name}: {} hosts in {:.1} s; `cfn up --from {name}` brings them back",
            record.volumes.len(),
            began.elapsed().as_secs_f64()
        ),
        Err(e) => {
            // Without its record it is of no use.
            let _ = docker::delete_snapshot(name).await;
            e.text()
        }
    }
}

/// Asks the process of `cfn up` for something, and waits for its answer.
pub fn ask(state: &State, what: &str) -> Result<String, CliError> {
    let gone = |e: std::io::Error| CliError::Environment {
        what: format!("the testbed's process {} does not answer: {e}", state.pid),
        cure: "clean up with `cfn down`, then `cfn up`".into(),
    };
    runtime()?.block_on(async {
        let mut s = UnixStream::connect(&state.control).await.map_err(gone)?;
        let mut said = String::new();
        s.write_all(what.as_bytes()).await.map_err(gone)?;
        s.shutdown().await.map_err(gone)?;
        s.read_to_string(&mut said).await.map_err(gone)?;
        Ok(said)
    })
}

async fn answers(state: &State) -> bool {
    UnixStream::connect(&state.control).await.is_ok()
}

pub fn down(args: &DownArgs) -> Result<(), CliError> {
    let state = match (State::read(&args.dir), args.all) {
        (Ok(s), _) => Some(s),
        (Err(_), true) => None,
        (Err(e), false) => return Err(e),
    };
    runtime()?.block_on(async {
        if let Some(state) = state {
            end(&state, &args.dir).await?;
            out::line(&format!("{} is down", state.topology));
        }
        if args.all {
            let removed = docker::remove_all().await?;
            out::line(&format!("{removed} containers removed"));
        }
        Ok(())
    })
}

/// Ends one testbed; of one whose process is gone, what it left.
async fn end(state: &State, dir: &std::path::Path) -> Result<(), CliError> {
    let Ok(mut s) = UnixStream::connect(&state.control).await else {
        if state.lane == "docker" {
            docker::remove_leftovers().await?;
        }
        state.remove(dir);
        return Ok(());
    };
    let asked = async {
        s.write_all(b"down").await?;
        s.shutdown().await?;
        let mut rest = Vec::new();
        s.read_to_end(&mut rest).await
    };
    match tokio::time::timeout(Duration::from_secs(30), asked).await {
        Ok(_) => Ok(()),
        Err(_) => Err(CliError::Environment {
            what: format!("process {} does not end", state.pid),
            cure: format!("kill {}", state.pid),
        }),
    }
}

async fn client(path: &std::path::Path) -> Result<kube::Client, CliError> {
    let wrong = |e: String| CliError::Environment {
        what: format!("{}: {e}", path.display()),
        cure: "start the testbed again with `cfn up`".into(),
    };
    let k = kube::config::Kubeconfig::read_from(path).map_err(|e| wrong(e.to_string()))?;
    let config = kube::Config::from_custom_kubeconfig(k, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|e| wrong(e.to_string()))?;
    kube::Client::try_from(config).map_err(|e| wrong(e.to_string()))
}

pub fn status(args: &StatusArgs) -> Result<(), CliError> {
    let state = State::read(&args.dir)?;
    runtime()?.block_on(async {
        if !answers(&state).await {
            return Err(CliError::Environment {
                what: format!("the testbed's process {} is gone", state.pid),
                cure: "clean up with `cfn down`, then `cfn up`".into(),
            });
        }
        out::line(&format!(
            "{}: lane {}, process {}, timers {}, seed {}",
            state.topology, state.lane, state.pid, state.timers, state.seed
        ));
        let mut rows = vec![
            ["CLUSTER", "ROLE", "READY", "AGENT", "NODES", "PODS"]
                .map(str::to_owned)
                .to_vec(),
        ];
        let hub = client(&state.kubeconfigs[&state.hub]).await?;
        let members: Api<cfn_api::karmada::cluster::Cluster> = Api::all(hub);
        let unreadable = |e: kube::Error| CliError::Environment {
            what: e.to_string(),
            cure: "see whether the process of `cfn up` is healthy".into(),
        };
        let joined = members.list(&ListParams::default()).await.map_err(unreadable)?.items;
        for (name, path) in &state.kubeconfigs {
            let c = client(path).await?;
            let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(c.clone());
            let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(c);
            let nodes = nodes.list(&ListParams::default()).await.map_err(unreadable)?.items;
            let pods = pods.list(&ListParams::default()).await.map_err(unreadable)?.items;
            let ready = nodes
                .iter()
                .filter(|n| cfn_agent::cluster::inventory::is_ready(n))
                .count();
            let running = pods
                .iter()
                .filter(|p| p.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running")));
            let member = joined.iter().find(|m| m.name_any() == *name);
            let condition = member.and_then(|m| serde_json::to_value(&m.status).ok()).and_then(|s| {
                let all = s.get("conditions")?.as_array()?.clone();
                all.iter()
                    .find(|c| c["type"] == "Ready")
                    .and_then(|c| c["status"].as_str().map(str::to_owned))
            });
            let (role, agent) = match (*name == state.hub, member) {
                (true, _) => ("hub", "-"),
                (false, Some(_)) => ("member", "joined"),
                (false, None) => ("member", "not joined"),
            };
            rows.push(vec![
                name.clone(),
                role.to_owned(),
                condition.unwrap_or_else(|| "-".to_owned()),
                agent.to_owned(),
                format!("{ready}/{} ready", nodes.len()),
                format!("{}/{} running", running.count(), pods.len()),
            ]);
        }
        out::line(out::table(&rows).trim_end());
        Ok(())
    })
}

pub fn kubeconfig(args: &KubeconfigArgs) -> Result<(), CliError> {
    let state = State::read(&args.dir)?;
    let path = state.kubeconfig(args.cluster.as_deref())?;
    if args.path {
        out::line(&path.display().to_string());
    } else {
        let text =
            std::fs::read_to_string(path).map_err(|e| CliError::io(&format!("reading {}", path.display()), &e))?;
        out::line(text.trim_end());
    }
    Ok(())
}
