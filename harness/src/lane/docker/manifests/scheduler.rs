//! The scheduler on its hub.

use serde_json::{Value, json};

use super::{Component, Placement, SCHEDULER, timer_args};
use crate::lane::SchedulerDefect;
use crate::timers::{Gates, Timers};

/// Port of its health endpoints: karmada-scheduler's.
const HEALTH_PORT: u16 = 10351;

/// A scheduler to be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduler {
    /// Where and how it runs.
    pub placement: Placement,
    /// Its flags.
    pub args: Vec<String>,
    /// Whether replicas elect a leader. A restarted leader waits for its old lease: no for a single one.
    pub leader_elect: bool,
}

/// A scheduler's flags for these timers.
#[must_use]
pub fn scheduler_args(timers: &Timers, defect: Option<SchedulerDefect>) -> Vec<String> {
    let mut args = timer_args(
        timers,
        &[
            ("cluster-monitor-period", "clusterMonitorPeriod"),
            ("cluster-monitor-grace-period", "clusterMonitorGracePeriod"),
            ("cluster-failure-threshold", "clusterFailureThreshold"),
            ("cluster-success-threshold", "clusterSuccessThreshold"),
            ("failover-eviction-timeout", "failoverEvictionTimeout"),
            ("graceful-eviction-timeout", "gracefulEvictionTimeout"),
            ("cluster-leave-timeout", "clusterLeaveTimeout"),
        ],
    );
    let seconds = timers.seconds("defaultNotReadyToleration");
    args.push(format!("--default-not-ready-toleration-seconds={seconds}"));
    args.push(format!("--default-unreachable-toleration-seconds={seconds}"));
    // What a profile does not set stays as the scheduler has it.
    let (gates, usual) = (timers.gates, Gates::default());
    if gates.failover != usual.failover {
        args.push(format!("--failover={}", gates.failover));
    }
    if gates.policy_preemption != usual.policy_preemption {
        args.push(format!("--policy-preemption={}", gates.policy_preemption));
    }
    if let Some(waited) = gates.descheduler {
        args.push(format!(
            "--unschedulable-threshold={}",
            crate::input::show_duration(waited.0)
        ));
    }
    match defect {
        None => {}
        Some(SchedulerDefect::IgnoreWeights) => args.push("--defect=IgnoreWeights".into()),
        Some(SchedulerDefect::IgnoreNetwork) => args.push("--defect=IgnoreNetwork".into()),
    }
    args
}

/// The least that works: it reads and marks templates of any kind, writes bindings and Works, and gives agents what
/// is theirs; it holds no more than it grants, so that it needs no right to escalate.
fn rules() -> Value {
    json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch", "update", "patch"]},
        {"apiGroups": ["cluster.karmada.io", "policy.karmada.io", "work.karmada.io", "cluster.open-cluster-management.io",
                "cfn.akraino.org"],
            "resources": ["*"], "verbs": ["create", "delete", "deletecollection"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create", "delete"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "delete"]},
        {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["create"]},
        {"apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles", "clusterrolebindings", "roles", "rolebindings"], "verbs": ["create", "delete"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": ["create"]},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
            "resourceNames": ["kubernetes.io/kube-apiserver-client"], "verbs": ["approve"]},
        {"nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/version"], "verbs": ["get"]},
    ])
}

impl Scheduler {
    /// Everything it consists of, in the order in which it is applied.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let p = &self.placement;
        let mut args = vec!["scheduler".to_owned(), format!("--leader-elect={}", self.leader_elect)];
        args.extend(self.args.iter().cloned());
        let [role, binding] = p.cluster_role(SCHEDULER, &rules());
        let deployment = p.deployment(Component {
            name: SCHEDULER,
            args,
            health_port: HEALTH_PORT,
            volumes: Vec::new(),
            mounts: Vec::new(),
            memory: "64Mi",
        });
        vec![p.namespace(), p.account(SCHEDULER), role, binding, deployment]
    }
}
