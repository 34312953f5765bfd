//! `cfn scheduler`: on the hub, or anywhere that reaches it.

use std::sync::Arc;
use std::time::Duration;

use cfn_net::{Seed, SystemClock};
use cfn_scheduler::controllers::{Options, Timers};

use super::leader::{Election, LeaderArgs};
use super::{Common, HERE, Process, duration, failed, run};
use crate::access::{Target, config};
use crate::cli::CliError;
use crate::lane::timing;

/// The Lease's name.
const LEASE: &str = "cfn-scheduler";

#[derive(Debug, clap::Args)]
pub struct SchedulerArgs {
    /// The hub, FILE or FILE:CONTEXT (the pod's own cluster and service account without)
    #[arg(long, env = "CFN_KUBECONFIG")]
    kubeconfig: Option<Target>,
    /// Which policies are ours, by their schedulerName
    #[arg(long, default_value = "default-scheduler")]
    scheduler_name: String,
    /// Only decide about bindings, beside a Karmada whose own controllers do the rest; nothing is defined on the hub
    #[arg(long, conflicts_with_all = ["auto_approve", "push"])]
    only_scheduling: bool,
    /// Accept agents that ask for exactly an agent's identity
    #[arg(long, env = "CFN_AUTO_APPROVE")]
    auto_approve: bool,
    /// Keep the reasons of every decision in the binding's status (of those with a ComputingPolicy they are kept anyway)
    #[arg(long)]
    explain: bool,
    /// Reach into the members of mode Push (a real Karmada's controller manager does that itself)
    #[arg(long)]
    push: bool,
    /// All timers of a profile (a bundled one's name, or a file); single flags go before it
    #[arg(long, env = "CFN_TIMERS")]
    timers: Option<String>,
    #[command(flatten)]
    timing: TimerArgs,
    /// How long a request to the hub may take
    #[arg(long, default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
    #[command(flatten)]
    leader: LeaderArgs,
    /// Where the lease is
    #[arg(long, default_value = cfn_api::names::CFN_NAMESPACE)]
    leader_elect_resource_namespace: String,
    /// A part that is broken on purpose, for tests of those who watch it: IgnoreWeights, IgnoreNetwork
    #[arg(long, hide = true)]
    defect: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Flags and defaults of karmada-controller-manager and karmada-webhook.
#[derive(Debug, Default, clap::Args)]
struct TimerArgs {
    /// How often leases are looked at [default: 5s]
    #[arg(long, value_parser = duration)]
    cluster_monitor_period: Option<Duration>,
    /// Age of a lease at which its cluster's status is Unknown [default: 40s]
    #[arg(long, value_parser = duration)]
    cluster_monitor_grace_period: Option<Duration>,
    /// How long a cluster must be bad before its condition says so [default: 30s]
    #[arg(long, value_parser = duration)]
    cluster_failure_threshold: Option<Duration>,
    /// How long it must be good again before its condition says so [default: 30s]
    #[arg(long, value_parser = duration)]
    cluster_success_threshold: Option<Duration>,
    /// From the condition to the NoExecute taint [default: 5m]
    #[arg(long, value_parser = duration)]
    failover_eviction_timeout: Option<Duration>,
    /// How long an evicted placement waits for its substitute [default: 10m]
    #[arg(long, value_parser = duration)]
    graceful_eviction_timeout: Option<Duration>,
    /// Toleration of not-ready that policies get which have none [default: 300]
    #[arg(long)]
    default_not_ready_toleration_seconds: Option<i64>,
    /// Toleration of unreachable that policies get which have none [default: 300]
    #[arg(long)]
    default_unreachable_toleration_seconds: Option<i64>,
    /// How long a leaving member's agent has to clean up [default: 60s]
    #[arg(long, value_parser = duration)]
    cluster_leave_timeout: Option<Duration>,
    /// Whether NoExecute taints are set and obeyed (Karmada's Failover feature) [default: true]
    #[arg(long)]
    failover: Option<bool>,
    /// Whether policies take templates from others of lower priority (Karmada's PolicyPreemption feature) [default: false]
    #[arg(long)]
    policy_preemption: Option<bool>,
    /// In this time at most --failback-budget workloads return to clusters that are healthy again [default: 60s]
    #[arg(long, value_parser = duration)]
    failback_interval: Option<Duration>,
    /// See --failback-interval [default: 10]
    #[arg(long)]
    failback_budget: Option<usize>,
    /// Replicas that no node of a member takes go elsewhere when they have waited so long (Karmada's descheduler)
    /// [default: never]
    #[arg(long, value_parser = duration)]
    unschedulable_threshold: Option<Duration>,
}

impl TimerArgs {
    fn over(&self, base: Timers) -> Timers {
        Timers {
            cluster_monitor_period: self.cluster_monitor_period.unwrap_or(base.cluster_monitor_period),
            cluster_monitor_grace_period: self
                .cluster_monitor_grace_period
                .unwrap_or(base.cluster_monitor_grace_period),
            cluster_failure_threshold: self.cluster_failure_threshold.unwrap_or(base.cluster_failure_threshold),
            cluster_success_threshold: self.cluster_success_threshold.unwrap_or(base.cluster_success_threshold),
            failover_eviction_timeout: self.failover_eviction_timeout.unwrap_or(base.failover_eviction_timeout),
            default_not_ready_toleration_seconds: self
                .default_not_ready_toleration_seconds
                .unwrap_or(base.default_not_ready_toleration_seconds),
            default_unreachable_toleration_seconds: self
                .default_unreachable_toleration_seconds
                .unwrap_or(base.default_unreachable_toleration_seconds),
            graceful_eviction_timeout: self.graceful_eviction_timeout.unwrap_or(base.graceful_eviction_timeout),
            cluster_leave_timeout: self.cluster_leave_timeout.unwrap_or(base.cluster_leave_timeout),
            failover: self.failover.unwrap_or(base.failover),
            failback_interval: self.failback_interval.unwrap_or(base.failback_interval),
            failback_budget: self.failback_budget.unwrap_or(base.failback_budget),
            policy_preemption: self.policy_preemption.unwrap_or(base.policy_preemption),
            descheduler: self.unschedulable_threshold.or(base.descheduler),
        }
    }
}

pub fn scheduler(args: SchedulerArgs) -> Result<(), CliError> {
    use cfn_scheduler::engine::Defect;
    let base = match &args.timers {
        Some(name) => timing::scheduler(&crate::timers::Timers::find(name)?),
        None => Timers::default(),
    };
    let timers = args.timing.over(base);
    let defect = match args.defect.as_deref() {
        None => None,
        Some("IgnoreWeights") => Some(Defect::IgnoreWeights),
        Some("IgnoreNetwork") => Some(Defect::IgnoreNetwork),
        Some(other) => {
            let p = crate::input::Problem::of_file("--defect", format!("unknown defect `{other}`"));
            return Err(p.one_of(other, ["IgnoreWeights", "IgnoreNetwork"]).into());
        }
    };
    let hub = config(args.kubeconfig.as_ref(), args.request_timeout)?;
    run("scheduler", &args.common, |p: Process| async move {
        let client = hub.client(&p.net, HERE).map_err(failed)?;
        let election = Election::new(&args.leader, &client, &args.leader_elect_resource_namespace, LEASE);
        let (ready, cancel, net) = (p.ready.clone(), p.cancel.clone(), p.net.clone());
        if election.is_some() {
            // A replica that waits for its turn does all it has to.
            p.ready.send_replace(true);
        }
        let work = || async move {
            if !args.only_scheduling {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ok(()),
                    r = define(&client) => r?,
                }
            }
            let options = Options {
                client,
                clock: Arc::new(SystemClock),
                seed: Seed::unpredictable(),
                timers,
                scheduler_name: args.scheduler_name,
                defect,
                auto_approve: args.auto_approve,
                explain: args.explain,
                only_scheduling: args.only_scheduling,
                ready: Some(ready),
            };
            if !args.push {
                return cfn_scheduler::controllers::run(options, cancel).await.map_err(failed);
            }
            let push = cfn_agent::cluster::push::PushOptions {
                hub: options.client.clone(),
                net,
                host: HERE.to_owned(),
                clock: options.clock.clone(),
                seed: options.seed.child("push"),
                timers: cfn_agent::cluster::AgentTimers::default(),
            };
            let pushing = cancel.child_token();
            tokio::select! {
                biased;
                r = cfn_scheduler::controllers::run(options, cancel) => r.map_err(failed),
                r = cfn_agent::cluster::push::run(push, pushing) => r.map_err(failed),
            }
        };
        match &election {
            Some(e) => e.lead(work, &p.cancel).await,
            None => work().await,
        }
    })
}

/// Between two tries to define the hub's kinds, when it does not answer yet.
const PAUSE: Duration = Duration::from_millis(500);

/// Defines what the hub does not know yet of the kinds that the scheduler and the agents speak; what it has (a real
/// Karmada control plane has most) is left as it is. A hub that does not answer yet is waited for.
async fn define(client: &kube::Client) -> Result<(), CliError> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let api: kube::Api<CustomResourceDefinition> = kube::Api::all(client.clone());
    for crd in cfn_api::crds() {
        loop {
            match api.create(&kube::api::PostParams::default(), &crd).await {
                Ok(_) => break,
                Err(kube::Error::Api(s)) if s.code == 409 => break,
                Err(e @ kube::Error::Api(_)) => return Err(failed(e)),
                Err(e) => tracing::warn!("the hub does not answer: {e}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}
