//! What was seen, before anybody judges it. What could not be looked at is none.

use std::collections::{BTreeMap, BTreeSet};

/// Everything that was seen.
#[derive(Debug, Clone)]
pub struct Facts {
    /// This machine.
    pub machine: Machine,
    /// Ports that are asked for and who holds them.
    pub ports: Vec<Port>,
    /// Programs.
    pub tools: Tools,
    /// The container daemon, or why there is none: what happened, and the cure.
    pub daemon: Result<Daemon, (String, String)>,
    /// The kernel that containers run on, where it is this machine's.
    pub kernel: Kernel,
}

/// This machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Cores that may be used.
    pub cores: Option<u64>,
    /// Memory available, MiB.
    pub memory: Option<u64>,
    /// Open files per process (the soft limit; `u64::MAX`: unlimited).
    pub open_files: Option<u64>,
    /// Whether 127.0.0.1 can be listened on, else why not.
    pub loopback: Option<Result<(), String>>,
    /// The directory for temporary files.
    pub temporary: String,
    /// Whether it can be written, else why not.
    pub writable: Option<Result<(), String>>,
    /// Room on its disk, MiB.
    pub room: Option<u64>,
}

/// A port that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// Who listens there: a program's name and process, as far as it can be seen; none: it is free.
    pub holder: Option<String>,
}

/// Programs: what they say of their version; none: they are not there.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// kubectl.
    pub kubectl: Option<String>,
    /// kind.
    pub kind: Option<String>,
}

/// The container daemon.
#[derive(Debug, Clone, Default)]
pub struct Daemon {
    /// Where it is, and who says so.
    pub address: String,
    /// Who says that it is there.
    pub from: String,
    /// `Docker 28.2.2`, `Podman 5.4.0`.
    pub name: String,
    /// Whether it is Podman.
    pub podman: bool,
    /// Its operating system, as it names it.
    pub system: String,
    /// Whether it runs without root (`name=rootless`).
    pub rootless: bool,
    /// Whether it maps users (`name=userns`).
    pub userns: bool,
    /// 1 or 2.
    pub cgroup: Option<u8>,
    /// `overlay2`.
    pub storage: String,
    /// Its memory, MiB.
    pub memory: Option<u64>,
    /// Its cores.
    pub cores: Option<u64>,
    /// Where it keeps images and volumes.
    pub root: String,
    /// Room there, MiB.
    pub room: Option<u64>,
    /// What `--privileged` does here.
    pub privileged: Privileged,
    /// Testbeds on it.
    pub testbeds: Vec<Testbed>,
    /// The images that were looked for, and whether they are there.
    pub images: BTreeMap<String, bool>,
    /// Subnets of its networks, as it writes them.
    pub subnets: BTreeSet<String>,
}

/// What `--privileged` does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Privileged {
    /// Not known.
    #[default]
    Unknown,
    /// Containers start with it.
    Works,
    /// They do not, because the daemon itself lacks these capabilities.
    Lacks(Vec<String>),
    /// They do not: what the daemon said.
    Refused(String),
}

/// A testbed on a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Testbed {
    /// Its name.
    pub name: String,
    /// How many containers it has.
    pub containers: usize,
    /// Whether the process that owned it is gone.
    pub stale: bool,
}

/// The kernel that containers run on.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Its release.
    pub release: Option<String>,
    /// `fs.inotify.max_user_instances`.
    pub inotify_instances: Option<u64>,
    /// `fs.inotify.max_user_watches`.
    pub inotify_watches: Option<u64>,
    /// Whether it has netem; none: it does not say.
    pub netem: Option<bool>,
    /// Whether it has nfnetlink_queue and xt_NFQUEUE; none: it does not say.
    pub nfqueue: Option<bool>,
    /// `kernel.pid_max`.
    pub pid_max: Option<u64>,
    /// `net.ipv4.ip_forward`.
    pub forwards: Option<bool>,
    /// Whether iptables' FORWARD chain sees bridged packets (`net.bridge.bridge-nf-call-iptables`); none: no bridge
    /// filter.
    pub bridge_filter: Option<bool>,
}
