//! The lanes whose clusters live in this process: `local` (loopback, TLS, the real clock) and `sim` (memory, virtual
//! time). They differ in three values; everything else is one code path.

mod controls;
mod push;
mod room;
mod traffic;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cfn_agent::cluster::ClusterAgentOptions;
use cfn_agent::edge::{EdgeAgent, EdgeOptions, EdgeTimers};
use cfn_apiserver::cluster::{Cluster as ApiCluster, ClusterOptions};
use cfn_apiserver::node::{NodeHandle, NodeOptions};
use cfn_net::{ClientConfig, Net, Seed, SharedClock, SystemClock, Transport, VirtualClock};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Controls, Lane, LaneError, Plan, Testbed, timing, workloads};
use crate::timers::Timers;
use crate::topology::{Cluster, ClusterRole, Node, SyncMode, TaintSpec, Topology};

/// Port of every API server in the testbed's network.
const API_PORT: u16 = 6443;
/// The date at which every simulated run begins: 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600;

/// One thread, virtual time, memory network, everything from one seed.
pub struct Sim;

/// Real sockets and TLS on loopback; kubectl works.
pub struct Local;

#[async_trait]
impl Lane for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn jobs(&self) -> usize {
        std::thread::available_parallelism().map_or(2, usize::from)
    }

    fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
    }

    async fn up(&self, plan: &Plan) -> Result<Testbed, LaneError> {
        let epoch = jiff::Timestamp::from_second(EPOCH).map_err(|e| LaneError::Failed(e.to_string()))?;
        bring_up(
            self,
            plan,
            Transport::Memory,
            Arc::new(VirtualClock::starting_at(epoch)),
        )
        .await
    }
}

#[async_trait]
impl Lane for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn jobs(&self) -> usize {
        room::at_once()
    }

    fn tolerance(&self) -> Duration {
        Duration::from_millis(3)
    }

    async fn up(&self, plan: &Plan) -> Result<Testbed, LaneError> {
        bring_up(self, plan, Transport::Tcp, Arc::new(SystemClock)).await
    }
}

/// A process of ours in the testbed.
struct Process {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    fn start<F, E>(name: String, parent: &CancellationToken, make: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let cancel = parent.child_token();
        let run = make(cancel.clone());
        let task = tokio::spawn(async move {
            if let Err(e) = run.await {
                tracing::warn!("{name} ended: {e}");
            }
        });
        Self { cancel, task }
    }

    /// Ends it at once, as a kill would: nothing of it runs on when this returns but connections' last moments.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.cancel.cancel();
        tokio::task::yield_now().await;
    }
}

struct Embedded {
    lane: &'static str,
    net: Net,
    clock: SharedClock,
    seed: Seed,
    timers: Timers,
    topology: Topology,
    dir: PathBuf,
    defects: super::Defects,
    explain: bool,
    cancel: CancellationToken,
    hub: String,
    state: Mutex<State>,
    /// Asked without waiting (by assertions).
    nodes: std::sync::Mutex<BTreeMap<String, Arc<NodeHandle>>>,
}

#[derive(Default)]
struct State {
    clusters: BTreeMap<String, Arc<ApiCluster>>,
    processes: BTreeMap<String, Process>,
    tasks: Vec<JoinHandle<()>>,
    hub_controllers: tokio::task::JoinSet<()>,
    /// Registrations that are accepted as soon as they are there.
    accepted: Arc<std::sync::Mutex<std::collections::BTreeSet<String>>>,
    changed: Option<tokio::sync::watch::Sender<u64>>,
}

fn failed(doing: &str) -> impl Fn(String) -> LaneError + '_ {
    move |e| LaneError::Failed(format!("{doing}: {e}"))
}

async fn bring_up(
    lane: &dyn Lane,
    plan: &Plan,
    transport: Transport,
    clock: SharedClock,
) -> Result<Testbed, LaneError> {
    let seed = Seed(plan.seed);
    let net = Net::new(transport, seed.child("net"));
    let t = &plan.topology;
    for l in &t.spec.links {
        net.set_link(&l.between[0], &l.between[1], l.spec());
    }
    std::fs::create_dir_all(&plan.dir).map_err(|e| LaneError::io(&format!("making {}", plan.dir.display()), &e))?;
    let e = Arc::new(Embedded {
        lane: lane.name(),
        net: net.clone(),
        clock: clock.clone(),
        seed,
        timers: plan.timers.clone(),
        topology: t.clone(),
        dir: plan.dir.clone(),
        defects: plan.defects,
        explain: plan.explain,
        cancel: CancellationToken::new(),
        hub: t.hub().name.value.clone(),
        state: Mutex::default(),
        nodes: std::sync::Mutex::default(),
    });
    let up = e.clone().up().await;
    let (clients, kubeconfigs) = match up {
        Ok(x) => x,
        Err(error) => {
            e.down().await;
            return Err(error);
        }
    };
    Ok(Testbed {
        lane: lane.name(),
        tolerance: lane.tolerance(),
        topology: t.clone(),
        timers: plan.timers.clone(),
        seed,
        town: super::town::map(t, seed, str::to_owned).map(Arc::new),
        traffic: e.clone(),
        clock,
        clients,
        kubeconfigs,
        controls: e,
        defects: plan.defects,
    })
}

type Clients = BTreeMap<String, kube::Client>;
type Kubeconfigs = BTreeMap<String, String>;

impl Embedded {
    async fn up(self: Arc<Self>) -> Result<(Clients, Kubeconfigs), LaneError> {
        let t = &self.topology;
        let (mut clients, mut kubeconfigs) = (BTreeMap::new(), BTreeMap::new());
        for (i, c) in t.spec.clusters.iter().enumerate() {
            let cluster = Arc::new(self.start_cluster(c).await?);
            clients.insert(c.name.value.clone(), cluster.client());
            kubeconfigs.insert(c.name.value.clone(), cluster.kubeconfig());
            let town = super::town::map(t, self.seed, str::to_owned);
            super::prepare::cluster(&cluster.client(), c.role, &self.probe_targets(), town.as_ref()).await?;
            let mut state = self.state.lock().await;
            if c.role == ClusterRole::Hub {
                let stop = self.cancel.child_token();
                let (local, ca) = (cluster.local(), cluster.ca().clone());
                let tasks = &mut state.hub_controllers;
                cfn_apiserver::controllers::spawn_without_workloads(local, self.node_timers(), ca, stop, tasks);
            }
            state.clusters.insert(c.name.value.clone(), cluster.clone());
            let mut number = 0;
            for n in &c.nodes {
                for name in n.names().collect::<Vec<_>>() {
                    let cidr = format!("10.{}.{number}.0/24", i + 1);
                    number += 1;
                    self.net.add_host(&name, n.site.as_ref().unwrap_or(&c.site));
                    let mut api = Self::node_identity(&cluster, &name);
                    if n.edge_agent {
                        let (p, behind) = self.start_edge(&cluster, &name).await?;
                        state.processes.insert(format!("edge/{name}"), p);
                        api = behind;
                    }
                    let handle = self.start_node(&cluster, c, n, &name, cidr, &api).await?;
                    self.nodes
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .insert(name, Arc::new(handle));
                }
            }
        }
        self.probes().await?;
        let mut state = self.state.lock().await;
        let scheduler = self.start_scheduler(&state)?;
        state.processes.insert("scheduler".into(), scheduler);
        // A Push member is the administrator's to register.
        let waits = |m: &&Cluster| m.sync_mode == SyncMode::Push && !t.spec.auto_accept;
        for m in t.members().filter(|m| !waits(m)) {
            let agent = self.start_agent(&state, m)?;
            state.processes.insert(format!("agent/{}", m.name), agent);
        }
        let accepted = state.accepted.clone();
        if t.spec.auto_accept {
            let mut a = accepted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            a.extend(t.members().map(|m| m.name.value.clone()));
        }
        let (tx, rx) = tokio::sync::watch::channel(0);
        state.changed = Some(tx);
        let hub = clients[&self.hub].clone();
        let cancel = self.cancel.clone();
        state.tasks.push(tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = super::administrator::accept(hub, accepted, rx) => {}
            }
        }));
        Ok((clients, kubeconfigs))
    }

    async fn start_cluster(&self, c: &Cluster) -> Result<ApiCluster, LaneError> {
        self.net.add_host(&c.name, &c.site);
        let service_time = c.service_time.map_or(Duration::ZERO, |d| d.0);
        ApiCluster::start(ClusterOptions {
            timers: self.node_timers(),
            workloads: workloads::of_cluster(&c.name, service_time, self.defects.drop_context),
            // A hub's workloads are templates: none of them runs there.
            controllers: c.role == ClusterRole::Member,
            bootstrap_token: format!("cfnage.{:016x}", self.seed.child(&format!("token/{}", c.name)).0),
            ..ClusterOptions::new(
                &c.name.value,
                self.net.clone(),
                self.clock.clone(),
                self.seed.child(&format!("cluster/{}", c.name)),
            )
        })
        .await
        .map_err(|e| failed(&format!("starting cluster {}", c.name))(e.to_string()))
    }

    /// Where each site answers probes.
    fn probe_targets(&self) -> BTreeMap<String, String> {
        let sites = self.topology.spec.sites.iter();
        sites
            .map(|s| {
                let target = format!("{}:{}", probe_host(&s.name), cfn_agent::cluster::probe::PORT);
                (s.name.value.clone(), target)
            })
            .collect()
    }

    fn node_timers(&self) -> cfn_apiserver::controllers::Timers {
        let t = &self.timers;
        cfn_apiserver::controllers::Timers {
            node_monitor_period: t.of("nodeMonitorPeriod"),
            node_monitor_grace_period: t.of("nodeMonitorGracePeriod"),
            node_eviction_interval: t.of("nodeEvictionInterval"),
            node_lease_duration: t.of("nodeLeaseDuration"),
            node_lease_renew: t.of("nodeLeaseRenewInterval"),
            node_status_update: t.of("nodeStatusUpdateFrequency"),
            node_status_report: t.of("nodeStatusReportFrequency"),
            default_toleration_seconds: t.seconds("defaultNotReadyToleration"),
            pod_gc_period: t.of("podGcPeriod"),
            pod_gc_quarantine: t.of("podGcQuarantine"),
            crash_loop_first: t.of("crashLoopFirst"),
            crash_loop_limit: t.of("crashLoopLimit"),
        }
    }

    fn node_identity(cluster: &ApiCluster, name: &str) -> ClientConfig {
        cluster.config_for(&format!("system:node:{name}"), &["system:nodes".to_owned()])
    }

    async fn start_node(
        &self,
        cluster: &ApiCluster,
        c: &Cluster,
        n: &Node,
        name: &str,
        cidr: String,
        api: &ClientConfig,
    ) -> Result<NodeHandle, LaneError> {
        let client = api
            .client(&self.net, name)
            .map_err(|e| failed("a node's client")(e.to_string()))?;
        let (labels, annotations) = super::prepare::node_marks(c, n);
        let service_time = c.service_time.map_or(Duration::ZERO, |d| d.0);
        cfn_apiserver::node::start(NodeOptions {
            name: name.to_owned(),
            labels,
            annotations,
            taints: n.taints.iter().map(taint).collect(),
            capacity: n.capacity(),
            client,
            net: self.net.clone(),
            clock: self.clock.clone(),
            seed: self.seed.child(&format!("node/{name}")),
            timers: self.node_timers(),
            workloads: workloads::of_cluster(&c.name, service_time, self.defects.drop_context),
            stages: cfn_apiserver::node::Stages::default(),
            pod_cidr: cidr,
            token_config: Some(ClientConfig {
                identity: cfn_net::Identity::Anonymous,
                ..cluster.admin_config()
            }),
        })
        .await
        .map_err(|e| failed(&format!("starting node {name}"))(e.to_string()))
    }

    /// The edge agent of a node, and how the node's kubelet reaches it.
    async fn start_edge(&self, cluster: &ApiCluster, name: &str) -> Result<(Process, ClientConfig), LaneError> {
        let t = &self.timers;
        let timers = EdgeTimers {
            heartbeat_interval: t.of("edgeHeartbeatInterval"),
            heartbeat_timeout: t.of("edgeHeartbeatTimeout"),
            ..EdgeTimers::default()
        };
        let options = EdgeOptions {
            node: name.to_owned(),
            net: self.net.clone(),
            host: name.to_owned(),
            port: cfn_agent::edge::PORT,
            upstream: Self::node_identity(cluster, name),
            store: self.dir.join("edge").join(name),
            clock: self.clock.clone(),
            seed: self.seed.child(&format!("edge/{name}")),
            timers,
        };
        // A killed agent's last connections may still hold its disk for a moment.
        let mut tries = 0;
        let agent = loop {
            match EdgeAgent::open(options.clone()) {
                Ok(a) => break a,
                Err(_) if tries < 100 => tries += 1,
                Err(e) => return Err(failed(&format!("edge agent of {name}"))(e.to_string())),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let behind = agent.client_config();
        Ok((
            Process::start(format!("edge agent of {name}"), &self.cancel, |cancel| {
                agent.run(cancel)
            }),
            behind,
        ))
    }

    /// Every site answers latency probes.
    async fn probes(&self) -> Result<(), LaneError> {
        let mut state = self.state.lock().await;
        for s in &self.topology.spec.sites {
            let host = probe_host(&s.name);
            self.net.add_host(&host, &s.name);
            let (net, cancel) = (self.net.clone(), self.cancel.clone());
            state.tasks.push(tokio::spawn(async move {
                if let Err(e) = cfn_agent::cluster::probe::respond(net, &host, cancel).await {
                    tracing::warn!("probe responder {host} ended: {e}");
                }
            }));
        }
        Ok(())
    }

    fn start_scheduler(&self, state: &State) -> Result<Process, LaneError> {
        self.net.add_host("scheduler", &self.topology.hub().site);
        let hub = &state.clusters[&self.hub];
        let client = hub
            .admin_config()
            .client(&self.net, "scheduler")
            .map_err(|e| failed("the scheduler's client")(e.to_string()))?;
        let options = cfn_scheduler::controllers::Options {
            client,
            clock: self.clock.clone(),
            seed: self.seed.child("scheduler"),
            timers: timing::scheduler(&self.timers),
            scheduler_name: "default-scheduler".into(),
            defect: self.defects.scheduler.map(|d| match d {
                super::SchedulerDefect::IgnoreWeights => cfn_scheduler::engine::Defect::IgnoreWeights,
                super::SchedulerDefect::IgnoreNetwork => cfn_scheduler::engine::Defect::IgnoreNetwork,
            }),
            only_scheduling: false,
            auto_approve: false,
            explain: self.explain,
            ready: None,
        };
        let push = self.push_options(options.client.clone());
        Ok(Process::start("scheduler".into(), &self.cancel, |cancel| async move {
            let pushing = cancel.child_token();
            tokio::select! {
                biased;
                r = cfn_scheduler::controllers::run(options, cancel) => r.map_err(|e| e.to_string()),
                r = cfn_agent::cluster::push::run(push, pushing) => r.map_err(|e| e.to_string()),
            }
        }))
    }

    fn start_agent(&self, state: &State, c: &Cluster) -> Result<Process, LaneError> {
        if c.sync_mode == SyncMode::Push {
            return self.start_push(state, c);
        }
        let host = agent_host(&c.name);
        self.net.add_host(&host, &c.site);
        let fail = |e: cfn_net::client::ClientError| failed("an agent's client")(e.to_string());
        let member = state.clusters[c.name.as_str()]
            .admin_config()
            .client(&self.net, &host)
            .map_err(fail)?;
        let options = ClusterAgentOptions {
            cluster: c.name.value.clone(),
            site: c.site.value.clone(),
            labels: c.labels.clone(),
            annotations: BTreeMap::new(),
            provider: c.provider.clone(),
            region: c.region.clone(),
            zones: c.zone.iter().cloned().collect(),
            net: self.net.clone(),
            host,
            hub: state.clusters[&self.hub].bootstrap_config(),
            member,
            clock: self.clock.clone(),
            seed: self.seed.child(&format!("agent/{}", c.name)),
            timers: timing::agent(&self.timers),
            state: cfn_agent::cluster::identity::State::Directory(self.dir.join("agent").join(c.name.as_str())),
            autonomy: false,
            ready: None,
        };
        let name = format!("agent of {}", c.name);
        Ok(Process::start(name, &self.cancel, |cancel| {
            cfn_agent::cluster::run(options, cancel)
        }))
    }
}

fn probe_host(site: &str) -> String {
    format!("probe.{site}")
}

fn agent_host(cluster: &str) -> String {
    format!("agent.{cluster}")
}

fn taint(t: &TaintSpec) -> k8s_openapi::api::core::v1::Taint {
    k8s_openapi::api::core::v1::Taint {
        key: t.key.clone(),
        value: t.value.clone(),
        effect: t.effect.value.clone(),
        time_added: None,
    }
}
