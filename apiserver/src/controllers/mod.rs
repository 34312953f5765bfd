//! Controllers of the embedded cluster: what kube-controller-manager and kube-scheduler do, as far as a testbed
//! needs it. Each is a function from objects to actions; [`spawn`] runs them all in one task.

use std::sync::Arc;
use std::time::Duration;

use cfn_net::pki::Ca;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::local::Local;

mod account;
mod account_tokens;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
pub(crate) mod event;
mod garbage;
pub(crate) mod host_port;
pub(crate) mod in_use;
mod job;
mod manager;
mod namespace;
pub(crate) mod node_health;
pub(crate) mod object;
mod pod_gc;
pub(crate) mod pods;
mod progress;
mod quota;
mod replicaset;
mod scheduler;
mod service_ranges;
pub(crate) mod signer;
mod statefulset;
mod taint_eviction;
mod world;

pub(crate) use node_health::duration;

/// Periods of controllers and nodes. [`Default`] is Kubernetes 1.36's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timers {
    /// How often the health of nodes is looked at (kube-controller-manager `--node-monitor-period`).
    pub node_monitor_period: Duration,
    /// Silence of a node after which it is Unknown (`--node-monitor-grace-period`: 50 s since Kubernetes 1.32, 40 s
    /// before).
    pub node_monitor_grace_period: Duration,
    /// Wait between two nodes that get NoExecute taints in one zone (`--node-eviction-rate` 0.1/s).
    pub node_eviction_interval: Duration,
    /// `spec.leaseDurationSeconds` of a node's Lease (kubelet `nodeLeaseDurationSeconds`).
    pub node_lease_duration: Duration,
    /// How often a node renews its Lease (a quarter of the duration in kubelet).
    pub node_lease_renew: Duration,
    /// How often a node computes its status (kubelet `nodeStatusUpdateFrequency`).
    pub node_status_update: Duration,
    /// How often a node reports its status when nothing changed (kubelet `nodeStatusReportFrequency`).
    pub node_status_report: Duration,
    /// Toleration of not-ready and unreachable that every pod gets, seconds
    /// (kube-apiserver `--default-not-ready-toleration-seconds`).
    pub default_toleration_seconds: i64,
    /// How often pods without a node are collected (pod garbage collector: 20 s).
    pub pod_gc_period: Duration,
    /// How long a node must be gone before its pods are (pod garbage collector's quarantine: 40 s).
    pub pod_gc_quarantine: Duration,
    /// First wait of a container that fails again and again (kubelet: 10 s).
    pub crash_loop_first: Duration,
    /// Longest wait of such a container (kubelet: 300 s).
    pub crash_loop_limit: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            node_monitor_period: s(5),
            node_monitor_grace_period: s(50),
            node_eviction_interval: s(10),
            node_lease_duration: s(40),
            node_lease_renew: s(10),
            node_status_update: s(10),
            node_status_report: s(300),
            default_toleration_seconds: 300,
            pod_gc_period: s(20),
            pod_gc_quarantine: s(40),
            crash_loop_first: s(10),
            crash_loop_limit: s(300),
        }
    }
}

/// Starts every controller of a cluster in one task of `tasks`, until `cancel`.
pub fn spawn(local: Local, timers: Timers, ca: Arc<Ca>, cancel: CancellationToken, tasks: &mut JoinSet<()>) {
    let mut controllers = control_plane(&local, &timers, ca);
    let workloads: [Box<dyn manager::Controller>; 11] = [
        Box::new(deployment::Deployments),
        Box::new(replicaset::ReplicaSets::sets()),
        Box::new(statefulset::StatefulSets),
        Box::new(daemonset::DaemonSets),
        Box::new(job::Jobs::default()),
        Box::new(endpoints::EndpointsOf),
        Box::new(replicaset::ReplicaSets::controllers()),
        Box::new(cronjob::CronJobs),
        Box::new(disruption::Budgets),
        Box::new(quota::Quotas),
        Box::new(service_ranges::ServiceRanges),
    ];
    // Before the node life cycle, as they always were: the order is part of a run.
    controllers.splice(4..4, workloads);
    tasks.spawn(manager::Manager::new(local, controllers).run(cancel));
}

/// As [`spawn`] without the controllers of workloads: for a hub, whose workloads are templates that run elsewhere
/// (Karmada's control plane runs kube-controller-manager without them for the same reason).
pub fn spawn_without_workloads(
    local: Local,
    timers: Timers,
    ca: Arc<Ca>,
    cancel: CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    let controllers = control_plane(&local, &timers, ca);
    tasks.spawn(manager::Manager::new(local, controllers).run(cancel));
}

/// Namespaces, accounts, certificates, garbage, nodes and their pods.
fn control_plane(local: &Local, timers: &Timers, ca: Arc<Ca>) -> Vec<Box<dyn manager::Controller>> {
    let tokens = account_tokens::AccountTokens::new(ca.cert_pem(), local.server().auth.key.clone());
    vec![
        Box::new(namespace::Namespaces::default()),
        Box::new(in_use::InUse),
        Box::new(account::Accounts::new(ca.cert_pem())),
        Box::new(signer::Signer::new(ca)),
        Box::new(garbage::Garbage),
        Box::new(node_health::NodeHealth::new(timers.clone())),
        Box::new(taint_eviction::TaintEviction::default()),
        Box::new(pod_gc::PodGc::new(timers)),
        Box::new(scheduler::Scheduler::default()),
        Box::new(tokens),
    ]
}
