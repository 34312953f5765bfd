//! The controllers of a hub, over a [`kube::Client`]: from policies to bindings to Works, the members' life cycle and
//! health, eviction and rescheduling.
//!
//! Watches fill ordered caches and put keys into work queues; each controller takes one key at a time from its own
//! queue and makes the hub's objects what they should be. Nothing polls.

mod binding;
mod bootstrap;
mod cluster;
mod customize;
mod dependencies;
mod deschedule;
mod detector;
mod diff;
mod eviction;
mod health;
mod hub;
mod interpret;
mod manifest;
mod name;
mod namespaces;
mod ocm;
mod overrides;
mod pending;
mod queue;
mod quota;
mod rebalance;
mod schedule;
mod signing;
mod status;
mod taints;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use cfn_net::{Seed, SharedClock};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::Defect;
use hub::Hub;

pub use eviction::AUTONOMY;

/// Karmada's waiting times, by the names of its flags. `Default` is what Karmada 1.4 has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timers {
    /// How often Karmada looks at a cluster's health (`--cluster-monitor-period`). Here health is judged at the very
    /// moment something is due, so this only adds to bounds computed for other control planes.
    pub cluster_monitor_period: Duration,
    /// How old a cluster's lease may be before its Ready condition becomes Unknown (`--cluster-monitor-grace-period`).
    pub cluster_monitor_grace_period: Duration,
    /// How long a cluster must have been unhealthy before it gets a taint (`--cluster-failure-threshold`). For a
    /// cluster that does not answer this counts from its last sign of life, so it lies within the grace period.
    pub cluster_failure_threshold: Duration,
    /// How long it must have been healthy before the taints go (`--cluster-success-threshold`).
    pub cluster_success_threshold: Duration,
    /// From the NoSchedule taint to the NoExecute one (`--failover-eviction-timeout`).
    pub failover_eviction_timeout: Duration,
    /// How long a binding stays on a cluster with the not-ready taint when its placement does not say
    /// (`--default-not-ready-toleration-seconds`).
    pub default_not_ready_toleration_seconds: i64,
    /// The same for the unreachable taint (`--default-unreachable-toleration-seconds`).
    pub default_unreachable_toleration_seconds: i64,
    /// How long an evicted cluster keeps its Work while the replacement is not healthy
    /// (`--graceful-eviction-timeout`).
    pub graceful_eviction_timeout: Duration,
    /// How long a deleted cluster's agent has to clean up before its Works are dropped without it.
    pub cluster_leave_timeout: Duration,
    /// In this time ...
    pub failback_interval: Duration,
    /// ... at most so many workloads return to a group of clusters that is healthy again.
    pub failback_budget: usize,
    /// The `PolicyPreemption` feature gate: a policy with `preemption: Always` takes templates from one of lower
    /// priority (off by default in Karmada).
    pub policy_preemption: bool,
    /// The `Failover` feature gate: NoExecute taints are set and obeyed (on by default in Karmada 1.4, off later).
    pub failover: bool,
    /// Replicas that no node of a member takes go elsewhere when they have waited so long (Karmada's descheduler and its
    /// `--unschedulable-threshold`, there 5 m); `None`: they stay.
    pub descheduler: Option<Duration>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            cluster_monitor_period: Duration::from_secs(5),
            cluster_monitor_grace_period: Duration::from_secs(40),
            cluster_failure_threshold: Duration::from_secs(30),
            cluster_success_threshold: Duration::from_secs(30),
            failover_eviction_timeout: Duration::from_secs(300),
            default_not_ready_toleration_seconds: 300,
            default_unreachable_toleration_seconds: 300,
            graceful_eviction_timeout: Duration::from_secs(600),
            cluster_leave_timeout: Duration::from_secs(60),
            failback_interval: Duration::from_secs(60),
            failback_budget: 10,
            policy_preemption: false,
            failover: true,
            descheduler: None,
        }
    }
}

/// What the controllers need.
#[derive(Clone)]
pub struct Options {
    /// The hub, as an administrator.
    pub client: kube::Client,
    /// Wall time.
    pub clock: SharedClock,
    /// Reserved: nothing here draws random numbers.
    pub seed: Seed,
    /// Waiting times.
    pub timers: Timers,
    /// Bindings with this scheduler name are ours (`default-scheduler`).
    pub scheduler_name: String,
    /// A fault built in on purpose.
    pub defect: Option<Defect>,
    /// Approve an agent's signing request without an administrator, if it says exactly what an agent's must.
    pub auto_approve: bool,
    /// Keep the reasons of every decision in the binding's status (CFN's addition); those of bindings with a
    /// ComputingPolicy are kept anyway.
    pub explain: bool,
    /// Only decide about bindings, beside a Karmada whose own controllers do all the rest.
    pub only_scheduling: bool,
    /// Becomes true when the caches are filled.
    pub ready: Option<watch::Sender<bool>>,
}

/// Why the controllers could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub could not be prepared (namespaces, roles).
    #[error("preparing the hub: {0}")]
    Bootstrap(#[source] kube::Error),
    /// A controller ended by a panic.
    #[error("a controller ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// Runs all controllers until `cancel`.
///
/// # Errors
/// When the hub cannot be prepared, or a controller ends.
pub async fn run(options: Options, cancel: CancellationToken) -> Result<(), Error> {
    let (hub, spawned) = Hub::new(options);
    if hub.options.only_scheduling {
        watches::start(&hub);
        hub.spawn(Arc::clone(&hub).when_synced());
        hub.spawn(schedule::run(Arc::clone(&hub)));
        hub.spawn(status::run(Arc::clone(&hub)));
        hub.spawn(pending::run(Arc::clone(&hub)));
        return drive(spawned, cancel).await;
    }
    let prepared = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ok(()),
        r = bootstrap::prepare(&hub) => r,
    };
    prepared.map_err(Error::Bootstrap)?;
    watches::start(&hub);
    hub.spawn(Arc::clone(&hub).when_synced());
    hub.spawn(detector::run(Arc::clone(&hub)));
    hub.spawn(schedule::run(Arc::clone(&hub)));
    hub.spawn(binding::run(Arc::clone(&hub)));
    hub.spawn(cluster::run(Arc::clone(&hub)));
    hub.spawn(health::run(Arc::clone(&hub)));
    hub.spawn(eviction::run(Arc::clone(&hub)));
    hub.spawn(status::run(Arc::clone(&hub)));
    hub.spawn(dependencies::run(Arc::clone(&hub)));
    hub.spawn(rebalance::run(Arc::clone(&hub)));
    hub.spawn(namespaces::run(Arc::clone(&hub)));
    hub.spawn(quota::run(Arc::clone(&hub)));
    hub.spawn(pending::run(Arc::clone(&hub)));
    hub.spawn(signing::run(Arc::clone(&hub)));
    hub.spawn(deschedule::run(Arc::clone(&hub)));
    hub.spawn(ocm::run(Arc::clone(&hub)));
    drive(spawned, cancel).await
}

/// Runs what is spawned until `cancel`.
async fn drive(mut spawned: mpsc::UnboundedReceiver<hub::Task>, cancel: CancellationToken) -> Result<(), Error> {
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            Some(task) = spawned.recv() => { tasks.spawn(task); }
            Some(ended) = tasks.join_next() => ended?,
        }
    }
}
