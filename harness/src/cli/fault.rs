//! `cfn fault`: breaks the host it runs in until it is ended. Lanes run it inside their hosts.

use std::path::PathBuf;
use std::process::Command;

use clap::Subcommand;

use super::{CliError, out};
use crate::fault::{FaultError, IN_PLACE, disk, memory, slow};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take memory and hold it
    Memory {
        /// How much, MiB
        #[arg(long)]
        mib: u64,
    },
    /// Fill the file system of a directory
    Disk {
        /// The directory
        #[arg(long, default_value = "/var/lib/kubelet")]
        path: PathBuf,
        /// How much to leave, MiB
        #[arg(long, default_value_t = 0)]
        leave: u64,
        /// File systems above this size are the machine's, and refused, MiB
        #[arg(long, default_value_t = disk::MOST)]
        most: u64,
    },
    /// Bound what is written to and read from the disk of a directory
    Slow {
        /// The directory
        #[arg(long, default_value = "/var/lib/kubelet")]
        path: PathBuf,
        /// Bytes per second
        #[arg(long, default_value_t = 1 << 20)]
        bytes: u64,
    },
}

impl From<FaultError> for CliError {
    fn from(e: FaultError) -> Self {
        match e {
            FaultError::Refused { what, cure } => Self::Environment { what, cure },
            FaultError::Io { doing, source } => Self::io(&doing, &source),
        }
    }
}

pub fn main(args: &Args) -> Result<(), CliError> {
    match &args.what {
        What::Memory { mib } => {
            let machine = meminfo("MemTotal:").unwrap_or(u64::MAX);
            let available = meminfo("MemAvailable:").unwrap_or(0);
            let limit = [
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
            .iter()
            .filter_map(|f| std::fs::read_to_string(f).ok())
            .find_map(|t| memory::limit(&t, machine));
            memory::allowed(*mib, limit, available)?;
            until_ended(|| Ok(memory::Held::take(*mib, |_| {})))
        }
        What::Disk { path, leave, most } => {
            let (size, free) = df(path)?;
            let mib = disk::amount(size, free, *leave, *most)?;
            until_ended(|| disk::Filled::fill(path, mib))
        }
        What::Slow { path, bytes } => {
            let info = std::fs::read_to_string("/proc/self/mountinfo")
                .map_err(|e| CliError::io("reading /proc/self/mountinfo", &e))?;
            let Some(device) = slow::device(&info, path) else {
                return Err(CliError::Environment {
                    what: format!("{} is on no disk", path.display()),
                    cure: "name a directory on a volume with --path".into(),
                });
            };
            let v1 = PathBuf::from("/sys/fs/cgroup/blkio");
            let bounds = if v1.is_dir() {
                slow::bounds(&v1, 1, &device, *bytes)
            } else {
                slow::bounds(&PathBuf::from("/sys/fs/cgroup"), 2, &device, *bytes)
            };
            until_ended(|| slow::Slowed::put(bounds))
        }
    }
}

/// Puts a fault in, says so, and takes it away when the process is to end.
fn until_ended<T>(put: impl FnOnce() -> Result<T, FaultError>) -> Result<(), CliError> {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("starting a runtime", &e))?;
    rt.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        // Before it is put in, so that it is taken away whenever the signal comes.
        let listen = |k| signal(k).map_err(|e| CliError::io("listening to signals", &e));
        let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let fault = put()?;
        out::line(IN_PLACE);
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        drop(fault);
        Ok(())
    })
}

fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// Size and room of the file system of `path`, MiB.
fn df(path: &PathBuf) -> Result<(u64, u64), CliError> {
    let output = Command::new("df")
        .arg("-Pk")
        .arg(path)
        .output()
        .map_err(|e| CliError::io("running df", &e))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields: Vec<u64> = text
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(3)
        .filter_map(|f| f.parse().ok())
        .collect();
    match fields[..] {
        [size, _, free] => Ok((size / 1024, free / 1024)),
        _ => Err(CliError::Failed(format!(
            "df does not know {}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}
