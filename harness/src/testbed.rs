//! Testbeds for other projects' tests: a computing force network in `#[tokio::test]`, gone when the test is.
//!
//! ```no_run
//! use cfn::Testbed;
//! use k8s_openapi::api::core::v1::Node;
//! use kube::Api;
//! use kube::api::ListParams;
//!
//! #[tokio::test]
//! async fn an_edge_is_cut_off() -> Result<(), Box<dyn std::error::Error>> {
//!     let bed = Testbed::start("two-edges").await?;
//!     let nodes: Api<Node> = Api::all(bed.client("edge-a")?);
//!     assert_eq!(nodes.list(&ListParams::default()).await?.items.len(), 1);
//!     let cut = bed.isolate("edge-a").await?;
//!     // What is under test copes with it here.
//!     cut.heal().await?;
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! Tests that need real clusters take the `docker` lane; where there is no Docker, starting says so, with the cure:
//!
//! ```no_run
//! # async fn f() -> Result<(), cfn::testbed::StartError> {
//! let bed = cfn::Testbed::builder("topologies/two-edges.yaml").lane("docker").timers("fast").seed(7).start().await?;
//! # bed.stop().await; Ok(()) }
//! ```

mod faults;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use cfn_api::karmada::cluster::Cluster;
use cfn_v2x::drive::{DriveEvidence, DriveOptions};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::input::{At, Problem, Problems, show_duration};
use crate::lane::traffic::{Exchange, Requests};
use crate::lane::{self, Defects, Isolation, Lane, LaneError, Plan, RunningPod};
use crate::scenario::{Running, RunningValue, find_topology};
use crate::timers::Timers;
use crate::topology::Topology;

pub use faults::Broken;

/// How long nodes and members may take to be Ready, beyond the timers: a slow machine's time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a testbed may take to go, before the test goes on without it.
const FAREWELL: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Why there is no testbed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The topology, the timers or the lane's name are wrong.
    #[error("{0}")]
    Input(Problems),
    /// The lane could not bring it up: this machine does not allow it (with the cure), or a part failed.
    #[error("{error}{}", cure(error))]
    Lane {
        /// What happened.
        error: LaneError,
    },
    /// Something was not Ready in time.
    #[error("not Ready after {}: {what}", show_duration(*after))]
    NotReady {
        /// What.
        what: String,
        /// How long it was waited for.
        after: Duration,
    },
}

fn cure(e: &LaneError) -> String {
    match e {
        LaneError::Environment { cure, .. } => format!("; cure: {cure}"),
        _ => String::new(),
    }
}

impl From<Problems> for StartError {
    fn from(p: Problems) -> Self {
        Self::Input(p)
    }
}

impl From<LaneError> for StartError {
    fn from(error: LaneError) -> Self {
        Self::Lane { error }
    }
}

/// What a testbed is made from; see [`Testbed::builder`].
#[derive(Clone)]
pub struct Builder {
    topology: String,
    lane: String,
    timers: String,
    seed: u64,
    wait: bool,
    made: Option<Arc<dyn Lane>>,
}

impl Builder {
    /// The lane: `local` (embedded clusters over real sockets, the default) or `docker` (real ones in containers). The
    /// simulated lane has a clock of its own and is for scenarios only.
    #[must_use]
    pub fn lane(mut self, name: &str) -> Self {
        name.clone_into(&mut self.lane);
        self
    }

    /// A lane of one's own making.
    #[must_use]
    pub fn on(mut self, lane: Arc<dyn Lane>) -> Self {
        self.made = Some(lane);
        self
    }

    /// The timers: a bundled profile (`fast`, the default, `karmada-1.4`) or a file.
    #[must_use]
    pub fn timers(mut self, profile: &str) -> Self {
        profile.clone_into(&mut self.timers);
        self
    }

    /// The seed, from which links draw their variation and loss, and the town its roads; 1 without.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Does not wait for nodes and members to be Ready.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.wait = false;
        self
    }

    /// Brings it up.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left behind.
    pub async fn start(self) -> Result<Testbed, StartError> {
        // The client's TLS wants a provider for the process; another one that is there already serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (_, topology) = topology(&self.topology)?;
        let timers = Timers::find(&self.timers)?;
        let lane = match self.made {
            Some(l) => l,
            None => by_name(&self.lane)?,
        };
        let (keeper, (inner, runtime)) = Keeper::start(lane, topology, timers, self.seed).await?;
        let bed = Testbed { inner, runtime, keeper };
        if self.wait {
            bed.ready().await?;
        }
        Ok(bed)
    }
}

/// A bundled topology by its name or its path in this project, or a file.
fn topology(name: &str) -> Result<(crate::input::Source, Topology), Problems> {
    let bundled = name.strip_prefix("topologies/").and_then(|n| n.strip_suffix(".yaml"));
    match bundled.filter(|n| crate::bundled::TOPOLOGIES.iter().any(|(t, _)| t == n)) {
        Some(n) if !std::path::Path::new(name).exists() => find_topology(n, None),
        _ => find_topology(name, None),
    }
}

fn by_name(name: &str) -> Result<Arc<dyn Lane>, Problems> {
    let known = ["local", "docker"];
    match lane::by_name(name) {
        Some(l) if name != "sim" => Ok(l),
        Some(_) => {
            let p = Problem::of_file(
                name,
                "the sim lane has a clock of its own, in which a test's own code does not live",
            );
            Err(p.expected("local or docker").into())
        }
        None => Err(Problem::of_file(name, format!("unknown lane `{name}`"))
            .one_of(name, known)
            .into()),
    }
}

/// A computing force network that lives. Dropping it takes everything down; a testbed whose process was killed is
/// removed by the next one that starts on the machine.
pub struct Testbed {
    inner: lane::Testbed,
    /// The lane's own runtime: what is started on the way of a fault lives there, not in the test's.
    runtime: Handle,
    keeper: Keeper,
}

impl Testbed {
    /// A testbed in the local lane with fast timers; everything in it is Ready. `topology` is a bundled one's name
    /// (`default`, `two-edges`, `r7-lab`, `joint-oracle`) or a file.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(topology: &str) -> Result<Self, StartError> {
        Self::builder(topology).start().await
    }

    /// To choose lane, timers and seed.
    #[must_use]
    pub fn builder(topology: &str) -> Builder {
        Builder {
            topology: topology.to_owned(),
            lane: "local".into(),
            timers: "fast".into(),
            seed: 1,
            wait: true,
            made: None,
        }
    }

    /// What it was made from.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.inner.topology
    }

    /// Its timers.
    #[must_use]
    pub fn timers(&self) -> &Timers {
        &self.inner.timers
    }

    /// The hub's client, as its administrator.
    ///
    /// # Errors
    /// Never for a testbed that is up.
    pub fn hub(&self) -> Result<kube::Client, LaneError> {
        self.client(&self.inner.topology.hub().name)
    }

    /// A cluster's client, as its administrator.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn client(&self, cluster: &str) -> Result<kube::Client, LaneError> {
        let found = self.inner.clients.get(cluster).cloned();
        found.ok_or_else(|| unknown("cluster", cluster, self.inner.clients.keys().map(String::as_str)))
    }

    /// A cluster's kubeconfig, for other programs: it holds credentials.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn kubeconfig(&self, cluster: &str) -> Result<&str, LaneError> {
        let found = self.inner.kubeconfigs.get(cluster).map(String::as_str);
        found.ok_or_else(|| unknown("cluster", cluster, self.inner.kubeconfigs.keys().map(String::as_str)))
    }

    /// Waits until every node is Ready, and every member on the hub, with its nodes counted.
    ///
    /// # Errors
    /// [`StartError::NotReady`] after the timers' and a slow machine's time.
    pub async fn ready(&self) -> Result<(), StartError> {
        let t = &self.inner.timers;
        let after = t.of("clusterStartupGracePeriod")
            + t.of("clusterStatusUpdateFrequency")
            + t.of("clusterSuccessThreshold")
            + PATIENCE;
        let until = Instant::now() + after;
        loop {
            match self.unready().await {
                None => return Ok(()),
                Some(what) if Instant::now() >= until => return Err(StartError::NotReady { what, after }),
                Some(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn unready(&self) -> Option<String> {
        for (name, client) in &self.inner.clients {
            let wanted = self.inner.topology.cluster(name).map_or(0, |c| c.node_count());
            let nodes: Api<Node> = Api::all(client.clone());
            match nodes.list(&ListParams::default()).await {
                Ok(l) => {
                    let ready = l
                        .items
                        .iter()
                        .filter(|n| cfn_agent::cluster::inventory::is_ready(n))
                        .count();
                    if ready < wanted {
                        return Some(format!("{ready} of {wanted} nodes of {name}"));
                    }
                }
                Err(e) => return Some(format!("{name}: {e}")),
            }
        }
        if !self.inner.topology.spec.auto_accept {
            return None;
        }
        let hub: Api<Cluster> = Api::all(self.hub().ok()?);
        let there = match hub.list(&ListParams::default()).await {
            Ok(l) => l.items,
            Err(e) => return Some(format!("the hub: {e}")),
        };
        // Before its nodes are counted the hub would take a member for full.
        let ready = |m: &crate::topology::Cluster| {
            let member = there.iter().find(|c| c.metadata.name.as_deref() == Some(&m.name.value));
            let Some(status) = member.and_then(|c| c.status.as_ref()) else {
                return false;
            };
            let counted = status.node_summary.as_ref().map_or(0, |n| n.ready_num);
            usize::try_from(counted).is_ok_and(|n| n >= m.node_count())
                && status
                    .conditions
                    .iter()
                    .any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let mut members = self.inner.topology.members();
        members.find(|m| !ready(m)).map(|m| format!("member {}", m.name))
    }

    /// The hub's administrator accepts a member's registration, as soon as it is there (where the topology does not
    /// have them accepted at once).
    ///
    /// # Errors
    /// When the lane cannot.
    pub async fn accept(&self, cluster: &str) -> Result<(), LaneError> {
        let (controls, cluster) = (self.inner.controls.clone(), cluster.to_owned());
        self.there(async move { controls.accept(&cluster).await }).await
    }

    /// Sends requests from clients at a site.
    ///
    /// # Errors
    /// When no client can be there. Requests that fail are data.
    pub async fn load(&self, requests: &Requests) -> Result<Vec<Exchange>, LaneError> {
        self.site(&requests.from)?;
        let (traffic, requests) = (self.inner.traffic.clone(), requests.clone());
        self.there(async move { traffic.load(&requests).await }).await
    }

    /// Drives vehicles through the topology's town; `options.map` is filled in.
    ///
    /// # Errors
    /// When the topology has no road, or an edge has no roadside service.
    pub async fn drive(&self, options: DriveOptions) -> Result<DriveEvidence, LaneError> {
        let town = self.inner.town.clone();
        let map = town.ok_or_else(|| LaneError::Failed("the topology has no road".into()))?;
        let seed = self.inner.seed.child("drive");
        let traffic = self.inner.traffic.clone();
        let options = DriveOptions { map, ..options };
        self.there(async move { traffic.drive(options, seed).await }).await
    }

    /// What really runs on these nodes (on all without any), as they say themselves.
    ///
    /// # Errors
    /// When a node cannot be asked.
    pub async fn running(&self, nodes: &[&str]) -> Result<Vec<RunningPod>, LaneError> {
        for n in nodes {
            self.node(n)?;
        }
        let what = Running {
            nodes: nodes.iter().map(|n| At::nowhere((*n).to_owned())).collect(),
            namespace: None,
            prefix: String::new(),
            of: RunningValue::Pods,
        };
        let controls = self.inner.controls.clone();
        self.there(async move { controls.running(&what).await }).await
    }

    /// Does something in the lane's runtime.
    async fn there<T: Send + 'static>(
        &self,
        what: impl Future<Output = Result<T, LaneError>> + Send + 'static,
    ) -> Result<T, LaneError> {
        let done = self.runtime.spawn(what).await;
        done.unwrap_or_else(|e| Err(LaneError::Failed(format!("the lane ended in the middle: {e}"))))
    }

    fn site(&self, site: &str) -> Result<(), LaneError> {
        let sites = || self.inner.topology.spec.sites.iter().map(|s| s.name.as_str());
        if sites().any(|s| s == site) {
            Ok(())
        } else {
            Err(unknown("site", site, sites()))
        }
    }

    fn node(&self, node: &str) -> Result<(), LaneError> {
        let nodes: Vec<String> = self.inner.topology.nodes().map(|(_, _, n)| n).collect();
        if nodes.iter().any(|n| n == node) {
            return Ok(());
        }
        Err(unknown("node", node, nodes.iter().map(String::as_str)))
    }

    /// Takes it down, and waits without blocking the test's thread. Dropping it does the same, blocking.
    pub async fn stop(mut self) {
        let gone = self.keeper.end();
        // The thread tells by ending; asking a channel now and then needs no thread of its own.
        let until = Instant::now() + FAREWELL;
        while let Some(gone) = &gone
            && gone.try_recv() == Err(mpsc::TryRecvError::Empty)
            && Instant::now() < until
        {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn unknown<'a>(what: &str, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> LaneError {
    let known: Vec<&str> = known.into_iter().collect();
    LaneError::Failed(format!("unknown {what} `{wrong}`; there are {}", known.join(", ")))
}

/// The thread in whose runtime a testbed lives: it goes on while the test's own runtime does not, and takes the testbed
/// down when it is told to, or when whoever would tell it is gone.
struct Keeper {
    end: Option<oneshot::Sender<()>>,
    gone: Option<mpsc::Receiver<()>>,
}

/// Numbers the testbeds of a process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Keeper {
    async fn start(
        lane: Arc<dyn Lane>,
        topology: Topology,
        timers: Timers,
        seed: u64,
    ) -> Result<(Self, (lane::Testbed, Handle)), StartError> {
        let dir = scratch();
        let plan = Plan {
            topology,
            timers,
            seed,
            dir: dir.clone(),
            defects: Defects::default(),
            explain: true,
            // It is gone when the test is.
            isolation: Isolation::Testbed,
        };
        let (end, ended) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let (going, gone) = mpsc::channel();
        let life = move || {
            // Dropped last, when all is done.
            let _going = going;
            let rt = match lane.runtime() {
                Ok(rt) => rt,
                Err(e) => {
                    let _ = tell.send(Err(LaneError::io("starting a runtime", &e)));
                    return;
                }
            };
            rt.block_on(async {
                match lane.up(&plan).await {
                    Ok(bed) => {
                        let controls = bed.controls.clone();
                        // Whoever started it may have gone meanwhile: then it is taken down at once.
                        if tell.send(Ok((bed, Handle::current()))).is_ok() {
                            let _ = ended.await;
                        }
                        controls.down().await;
                        lane.finish().await;
                    }
                    Err(e) => {
                        let _ = tell.send(Err(e));
                    }
                }
            });
            rt.shutdown_timeout(Duration::from_secs(2));
            let _ = std::fs::remove_dir_all(&dir);
        };
        std::thread::Builder::new()
            .name("cfn-testbed".into())
            .spawn(life)
            .map_err(|e| LaneError::io("starting a thread", &e))?;
        // Made before waiting: a test that is given up while the testbed comes up takes it along.
        let keeper = Self {
            end: Some(end),
            gone: Some(gone),
        };
        let bed = told
            .await
            .map_err(|_| LaneError::Failed("bringing the testbed up ended by a panic".into()))?;
        Ok((keeper, bed?))
    }

    /// Tells the thread; what tells when it is done.
    fn end(&mut self) -> Option<mpsc::Receiver<()>> {
        drop(self.end.take());
        self.gone.take()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(gone) = self.end() {
            // Whatever it says, or its end.
            let _ = gone.recv_timeout(FAREWELL);
        }
    }
}

/// A directory of the testbed's own.
fn scratch() -> PathBuf {
    let n = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("cfn-testbed-{}-{n}", std::process::id()))
}
