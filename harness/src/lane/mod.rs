//! Lanes: ways to bring a topology to life. A scenario runs the same in each.

mod administrator;
pub mod docker;
pub mod embedded;
pub mod external;
pub(crate) mod prepare;
pub mod timing;
pub mod town;
pub mod traffic;
pub mod workloads;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cfn_net::{Seed, SharedClock};
use cfn_v2x::road::RoadMap;

use crate::scenario::{Fault, Running};
use crate::timers::Timers;
use crate::topology::Topology;
use traffic::Traffic;

/// What is brought up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The topology.
    pub topology: Topology,
    /// The timers.
    pub timers: Timers,
    /// Where all randomness comes from.
    pub seed: u64,
    /// A directory of its own, for what nodes and agents keep on disk.
    pub dir: PathBuf,
    /// Broken on purpose: for tests of the harness itself.
    pub defects: Defects,
    /// Whether every decision's reasons are kept in the binding's status, as evidence wants them. Without it a binding
    /// looks as Karmada's does, unless a ComputingPolicy is attached to it.
    pub explain: bool,
    /// What it must not share with another scenario.
    pub isolation: Isolation,
}

/// What a scenario shares with others, where a lane keeps testbeds.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A testbed that served nobody before, and may serve the next: for what is about coming up.
    Fresh,
    /// The testbed may have served another scenario, and may serve the next: in between, faults are healed and what
    /// was applied is deleted.
    Namespace,
    /// The testbed may have served others, and serves nobody after: for what leaves more than can be deleted.
    Last,
    /// A testbed of its own, brought up for it.
    #[default]
    Testbed,
}

impl Isolation {
    /// Whether a testbed will do that served others.
    #[must_use]
    pub fn takes_used(self) -> bool {
        matches!(self, Self::Namespace | Self::Last)
    }

    /// Whether others may have the testbed afterwards.
    #[must_use]
    pub fn leaves(self) -> bool {
        matches!(self, Self::Fresh | Self::Namespace)
    }
}

/// Parts that are broken on purpose, so that a test can see that the harness notices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defects {
    /// In the scheduler.
    pub scheduler: Option<SchedulerDefect>,
    /// The roadside service loses contexts on the way.
    pub drop_context: bool,
}

/// How the scheduler is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchedulerDefect {
    /// Fixed weights are not read.
    IgnoreWeights,
    /// The network counts as free of delay.
    IgnoreNetwork,
}

/// Why a lane could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LaneError {
    /// The machine does not allow it: a port is taken, a permission is missing, the disk is full.
    #[error("{what}")]
    Environment {
        /// What happened.
        what: String,
        /// What helps.
        cure: String,
    },
    /// Something of ours failed.
    #[error("{0}")]
    Failed(String),
    /// This lane cannot do that.
    #[error("the {lane} lane cannot {what}")]
    Unsupported {
        /// The lane.
        lane: &'static str,
        /// What was asked.
        what: String,
    },
}

impl From<crate::access::AccessError> for LaneError {
    fn from(e: crate::access::AccessError) -> Self {
        match e {
            crate::access::AccessError::Input(p) => Self::Environment {
                what: p.to_string(),
                cure: p.expected.clone().unwrap_or_else(|| "name another kubeconfig".into()),
            },
            crate::access::AccessError::Nowhere { what, cure } => Self::Environment { what, cure },
        }
    }
}

impl LaneError {
    /// From an error of input or output, with the usual cures.
    #[must_use]
    pub fn io(doing: &str, e: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let cure = match e.kind() {
            K::AddrInUse => "end the program that holds the port, or choose another with --listen",
            K::AddrNotAvailable => "choose an address that this machine has",
            K::PermissionDenied => "choose a place that you may write to (--out), or a port above 1023",
            K::StorageFull | K::QuotaExceeded => "make room on the disk, or choose another place with --out",
            K::ReadOnlyFilesystem => "choose a place that can be written to with --out",
            _ if e.raw_os_error() == Some(24) => "allow more open files: ulimit -n 4096",
            _ => return Self::Failed(format!("{doing}: {e}")),
        };
        Self::Environment {
            what: format!("{doing}: {e}"),
            cure: cure.to_owned(),
        }
    }
}

/// A way to bring a topology to life.
#[async_trait]
pub trait Lane: Send + Sync {
    /// Its name: `sim`, `local`.
    fn name(&self) -> &'static str;

    /// How much longer than emulated a measured time may be here, because a real machine has to do it: the name
    /// `laneTolerance` in expressions. Zero where time is virtual.
    fn tolerance(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// What a scenario needs that this lane has no means for, in words: its cases are then skipped with that reason.
    async fn lacks(&self, _: &crate::scenario::Scenario) -> Option<String> {
        None
    }

    /// Why this lane cannot give a scenario on this topology what it, or a step of it, needs.
    async fn without(&self, _: crate::scenario::Need, _: &crate::topology::Topology) -> Option<String> {
        None
    }

    /// The runtime that one testbed lives in: of the real clock, unless the lane has another.
    ///
    /// # Errors
    /// When the operating system has no threads or descriptors left.
    fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
    }

    /// Brings a topology up, in the lane's runtime.
    ///
    /// # Errors
    /// When the machine does not allow it, or a part fails.
    async fn up(&self, plan: &Plan) -> Result<Testbed, LaneError>;

    /// Whether testbeds are kept for later scenarios: these then run in one runtime.
    fn keeps(&self) -> bool {
        false
    }

    /// How many testbeds live at once, unless the command line says otherwise.
    fn jobs(&self) -> usize {
        1
    }

    /// Ends the testbeds that are kept.
    async fn finish(&self) {}
}

/// A topology that lives.
#[derive(Clone)]
pub struct Testbed {
    /// The lane's name.
    pub lane: &'static str,
    /// See [`Lane::tolerance`].
    pub tolerance: std::time::Duration,
    /// What it was made from.
    pub topology: Topology,
    /// Its timers.
    pub timers: Timers,
    /// Its seed.
    pub seed: Seed,
    /// What its users do.
    pub traffic: Arc<dyn Traffic>,
    /// The town that vehicles drive in, with the addresses at which this lane's edges are reached; none without a road.
    pub town: Option<Arc<RoadMap>>,
    /// Its wall time.
    pub clock: SharedClock,
    /// A client per cluster, as its administrator.
    pub clients: BTreeMap<String, kube::Client>,
    /// A kubeconfig per cluster, for programs outside.
    pub kubeconfigs: BTreeMap<String, String>,
    /// What a person with access to the machines could do.
    pub controls: Arc<dyn Controls>,
    /// Parts that are broken on purpose.
    pub defects: Defects,
}

/// A pod that really runs on a node, as the node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// How often its containers were started again.
    pub restarts: u64,
}

/// What a person with access to the machines could do: pull plugs, look at processes.
#[async_trait]
pub trait Controls: Send + Sync {
    /// Labels that everything bears which a scenario applies: where clusters are somebody else's, what does not bear them
    /// is not touched.
    fn marks(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Breaks something.
    async fn fault(&self, fault: &Fault) -> Result<(), LaneError>;

    /// Mends it.
    async fn heal(&self, fault: &Fault) -> Result<(), LaneError>;

    /// Keeps the testbed as it is under a name, where the lane can: its record, as JSON.
    async fn snapshot(&self, name: &str) -> Result<docker::snapshot::Record, LaneError> {
        Err(LaneError::Failed(format!(
            "{name}: only testbeds of lane docker can be kept"
        )))
    }

    /// The hub's administrator accepts a member's registration, as soon as it is there.
    async fn accept(&self, cluster: &str) -> Result<(), LaneError>;

    /// A member leaves.
    async fn leave(&self, cluster: &str) -> Result<(), LaneError>;

    /// A member joins again.
    async fn join(&self, cluster: &str) -> Result<(), LaneError>;

    /// What runs on the nodes that `what` names: asked of the nodes themselves, not of an API server.
    async fn running(&self, what: &Running) -> Result<Vec<RunningPod>, LaneError>;

    /// Ends everything.
    async fn down(&self);
}

/// The lane of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<Arc<dyn Lane>> {
    match name {
        "sim" => Some(Arc::new(embedded::Sim)),
        "local" => Some(Arc::new(embedded::Local)),
        "docker" => Some(Arc::new(docker::Docker::default())),
        _ => None,
    }
}
