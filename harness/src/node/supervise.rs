//! Keeps a node's processes running.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cluster::Api;
use super::plan::{Probe, Process};
use super::{LOGS, NodeError, RUN};

/// How often a probe looks again.
const LOOK: Duration = Duration::from_millis(25);
/// A process that lived shorter than this waits a while before it starts again.
const SHORT: Duration = Duration::from_secs(5);
/// How long processes may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// What runs.
pub struct Supervisor {
    running: Mutex<BTreeMap<&'static str, u32>>,
    stop: CancellationToken,
    started: Instant,
    api: Option<Api>,
}

impl Supervisor {
    /// Nothing runs yet. Probes of the API server ask `api`.
    pub fn new(stop: CancellationToken, api: Option<Api>) -> Arc<Self> {
        Arc::new(Self {
            running: Mutex::default(),
            stop,
            started: Instant::now(),
            api,
        })
    }

    /// Says something in the container's log.
    pub fn say(&self, what: &str) {
        println!("[cfn node {:8.3} s] {what}", self.started.elapsed().as_secs_f64());
    }

    /// Waits until `probe` holds.
    pub async fn wait(&self, probe: &Probe) {
        while !self.holds(probe).await {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn holds(&self, probe: &Probe) -> bool {
        match probe {
            Probe::File(path) => Path::new(path).exists(),
            Probe::Socket(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
            Probe::Port(port) => std::net::TcpStream::connect_timeout(
                &std::net::SocketAddr::from(([127, 0, 0, 1], *port)),
                Duration::from_millis(200),
            )
            .is_ok(),
            Probe::Ready(url) => match &self.api {
                Some(api) => api.ready(url).await,
                None => true,
            },
        }
    }

    /// Keeps `process` running until the node stops.
    pub async fn keep(self: Arc<Self>, process: Process) {
        let hold = format!("{RUN}/hold/{}", process.name);
        let (mut times, mut failures) = (0, 0u32);
        loop {
            let may_start = async {
                for probe in process.after.iter().filter(|_| times == 0) {
                    self.wait(probe).await;
                }
                while Path::new(&hold).exists() {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = may_start => {}
            }
            let began = Instant::now();
            times += 1;
            let status = match self.start(&process, times) {
                Ok(mut child) => match tokio::task::spawn_blocking(move || child.wait()).await {
                    Ok(Ok(status)) => how(status),
                    Ok(Err(e)) => e.to_string(),
                    Err(e) => e.to_string(),
                },
                Err(e) => e.to_string(),
            };
            self.set(process.name, None);
            if self.stop.is_cancelled() {
                return;
            }
            let lived = began.elapsed();
            self.say(&format!(
                "{} ended after {:.1} s: {status} (log: {LOGS}/{}.log)",
                process.name,
                lived.as_secs_f64(),
                process.name
            ));
            // One that keeps failing waits longer each time, up to ten seconds.
            failures = if lived < SHORT { failures + 1 } else { 0 };
            let pause = match failures {
                0 => Duration::from_millis(50),
                n => Duration::from_secs(1 << (n - 1).min(3)).min(Duration::from_secs(10)),
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn start(&self, process: &Process, times: u32) -> Result<Child, NodeError> {
        let log = format!("{LOGS}/{}.log", process.name);
        let opened = || OpenOptions::new().create(true).append(true).open(&log);
        let (out, err) = (
            opened().map_err(NodeError::file(&log))?,
            opened().map_err(NodeError::file(&log))?,
        );
        let mut command = Command::new(&process.argv[0]);
        command
            .args(&process.argv[1..])
            .envs(process.env.iter().copied())
            .env_remove("K3S_TOKEN")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0);
        let child = command.spawn().map_err(|source| NodeError::Start {
            name: process.name.to_owned(),
            source,
        })?;
        self.set(process.name, Some(child.id()));
        let again = if times > 1 {
            format!(", start {times}")
        } else {
            String::new()
        };
        self.say(&format!("{} runs, pid {}{again}", process.name, child.id()));
        Ok(child)
    }

    fn set(&self, name: &'static str, pid: Option<u32>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let file = format!("{RUN}/{name}.pid");
        // Only for people and faults to read: a node works without.
        match pid {
            Some(pid) => {
                running.insert(name, pid);
                let _ = std::fs::write(file, format!("{pid}\n"));
            }
            None => {
                running.remove(name);
                let _ = std::fs::remove_file(file);
            }
        }
    }

    /// Ends what runs: asks, waits a while, kills.
    pub async fn end(&self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let pids: Vec<u32> = {
                let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                running.values().copied().collect()
            };
            for pid in pids {
                let _ = kill(Pid::from_raw(pid as i32), signal);
            }
            let until = Instant::now() + GRACE;
            while Instant::now() < until {
                if self.running.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        _ => status.to_string(),
    }
}

/// Runs a command to its end, its output in the log `commands`; its own words when it fails.
pub fn command(argv: &[&str]) -> Result<String, String> {
    let done = Command::new(argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{}: {e}", argv[0]))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("{}: {}: {}", argv.join(" "), how(done.status), said.trim()))
}
