//! `cfn doctor`: what this machine can do for each lane, and the cure where it cannot.

use std::process::Command;
use std::time::Duration;

use super::{CliError, out};

#[derive(Debug, clap::Args)]
pub struct Args {}

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    /// Which lanes need it; none: nice to have.
    needed_by: &'static str,
    /// What is there, or what is wrong and what helps.
    state: Result<String, (String, String)>,
}

pub fn main(_: &Args) -> Result<(), CliError> {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("starting a runtime", &e))?;
    let findings = [
        Finding {
            what: "loopback sockets",
            needed_by: "local",
            state: loopback(&rt),
        },
        Finding {
            what: "temporary directory",
            needed_by: "local, sim",
            state: temporary(),
        },
        Finding {
            what: "open files",
            needed_by: "local",
            state: open_files(),
        },
        Finding {
            what: "memory",
            needed_by: "local, sim",
            state: memory(),
        },
        Finding {
            what: "cores",
            needed_by: "",
            state: cores(),
        },
        Finding {
            what: "kubectl",
            needed_by: "",
            state: kubectl(),
        },
        Finding {
            what: "docker",
            needed_by: "",
            state: rt.block_on(docker()),
        },
        Finding {
            what: "netem",
            needed_by: "",
            state: netem(),
        },
    ];
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for f in findings {
        let (mark, text) = match &f.state {
            Ok(t) => ("ok", t.clone()),
            Err((what, cure)) if f.needed_by.is_empty() => ("-", format!("{what}; cure: {cure}")),
            Err((what, cure)) => {
                broken.push(f.what);
                ("MISSING", format!("{what}; cure: {cure}"))
            }
        };
        let needed = if f.needed_by.is_empty() {
            "optional".to_owned()
        } else {
            format!("needed by {}", f.needed_by)
        };
        rows.push(vec![mark.to_owned(), f.what.to_owned(), needed, text]);
    }
    out::line(out::table(&rows).trim_end());
    if broken.is_empty() {
        out::line("ready for: cfn run --lane local, cfn run --lane sim");
        Ok(())
    } else {
        Err(CliError::Environment {
            what: format!("not ready: {}", broken.join(", ")),
            cure: "as said above".into(),
        })
    }
}

type State = Result<String, (String, String)>;

fn loopback(rt: &tokio::runtime::Runtime) -> State {
    let net = cfn_net::Net::new(cfn_net::Transport::Tcp, cfn_net::Seed(0));
    net.add_host("doctor", "here");
    match rt.block_on(net.listen("doctor", 1)) {
        Ok(_) => Ok("127.0.0.1 can be listened on".into()),
        Err(e) => Err((
            format!("cannot listen on 127.0.0.1: {e}"),
            "bring the loopback interface up: ip link set lo up".into(),
        )),
    }
}

fn temporary() -> State {
    let dir = std::env::temp_dir();
    let probe = dir.join(format!("cfn-doctor-{}", std::process::id()));
    match std::fs::write(&probe, b"x") {
        Ok(()) => {
            let _ = std::fs::remove_file(&probe);
            Ok(format!("{} can be written", dir.display()))
        }
        Err(e) => Err((
            format!("{} cannot be written: {e}", dir.display()),
            "set TMPDIR to a directory with room".into(),
        )),
    }
}

fn open_files() -> State {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))
        .and_then(|l| l.split_whitespace().next().map(str::to_owned));
    match soft.as_deref().map(str::parse::<u64>) {
        Some(Ok(n)) if n < 1024 => Err((format!("limit {n}"), "ulimit -n 4096".into())),
        Some(Ok(n)) => Ok(format!("limit {n}")),
        _ => Ok(soft.unwrap_or_else(|| "limit unknown".into())),
    }
}

fn memory() -> State {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = info
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))
        .and_then(|l| l.trim().strip_suffix(" kB").and_then(|n| n.trim().parse::<u64>().ok()));
    match kib {
        Some(k) if k < 512 * 1024 => Err((
            format!("{} MiB available", k / 1024),
            "end other programs, or run fewer --jobs".into(),
        )),
        Some(k) => Ok(format!("{} MiB available", k / 1024)),
        None => Ok("unknown".into()),
    }
}

fn cores() -> State {
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => Err((
            "1 core".into(),
            "with one core real-time bounds are tight: use --jobs 1, or --lane sim".into(),
        )),
        n => Ok(format!("{n} cores")),
    }
}

fn kubectl() -> State {
    match Command::new("kubectl").args(["version", "--client"]).output() {
        Ok(o) if o.status.success() => Ok(String::from_utf8_lossy(&o.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()),
        _ => Err((
            "not found".into(),
            "install kubectl to look into testbeds (nix develop has it)".into(),
        )),
    }
}

async fn docker() -> State {
    let cure = || "install Docker and join its group, for the lanes to come that need it".to_owned();
    let client = bollard::Docker::connect_with_local_defaults().map_err(|e| (e.to_string(), cure()))?;
    match tokio::time::timeout(Duration::from_secs(2), client.version()).await {
        Ok(Ok(v)) => Ok(format!("daemon {}", v.version.unwrap_or_default())),
        Ok(Err(e)) => Err((format!("the daemon does not answer: {e}"), cure())),
        Err(_) => Err(("the daemon does not answer within 2 s".into(), cure())),
    }
}

fn netem() -> State {
    let loaded = std::fs::read_to_string("/proc/modules")
        .unwrap_or_default()
        .contains("sch_netem");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let there = |f: &str| {
        std::fs::read_to_string(format!("/lib/modules/{}/{f}", release.trim())).is_ok_and(|t| t.contains("sch_netem"))
    };
    if loaded || there("modules.builtin") || there("modules.dep") {
        Ok("the kernel has it".into())
    } else {
        Err((
            "the kernel has none".into(),
            "none needed: links are shaped in user space in the local and sim lanes".into(),
        ))
    }
}
