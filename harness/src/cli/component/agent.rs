//! `cfn agent`: one per member, in it or beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cfn_agent::cluster::identity::State;
use cfn_agent::cluster::{AgentTimers, ClusterAgentOptions, probe};
use cfn_net::{Seed, SystemClock};

use super::{Common, HERE, OUTSIDE, Process, duration, failed, map, pair, run};
use crate::access::{Target, config};
use crate::cli::CliError;
use crate::lane::timing;

#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    /// The hub with a bootstrap identity, FILE or FILE:CONTEXT
    #[arg(long, alias = "karmada-kubeconfig", env = "CFN_HUB_KUBECONFIG")]
    hub_kubeconfig: Target,
    /// The member, FILE or FILE:CONTEXT (the pod's own cluster and service account without)
    #[arg(long, env = "CFN_MEMBER_KUBECONFIG")]
    member_kubeconfig: Option<Target>,
    /// Name of the member on the hub
    #[arg(long, alias = "cluster-name", env = "CFN_CLUSTER")]
    cluster: String,
    /// Its site
    #[arg(long, env = "CFN_SITE", default_value = OUTSIDE)]
    site: String,
    /// Infrastructure provider, for the Cluster object
    #[arg(long)]
    cluster_provider: Option<String>,
    /// Region, for the Cluster object
    #[arg(long)]
    cluster_region: Option<String>,
    /// Zones, for the Cluster object
    #[arg(long, value_delimiter = ',')]
    cluster_zones: Vec<String>,
    /// Labels of the Cluster object, KEY=VALUE
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    cluster_labels: Vec<(String, String)>,
    /// Annotations of the Cluster object, KEY=VALUE (once each)
    #[arg(long, value_parser = pair)]
    cluster_annotations: Vec<(String, String)>,
    /// Directory where the identity is kept
    #[arg(long, env = "CFN_STATE", conflicts_with = "state_secret")]
    state: Option<PathBuf>,
    /// Secret of the member where the identity is kept, NAMESPACE/NAME
    #[arg(long, env = "CFN_STATE_SECRET")]
    state_secret: Option<String>,
    /// Also answer other agents' latency probes, at this address (port 7946)
    #[arg(long, env = "CFN_RESPOND", value_name = "ADDRESS")]
    respond_probes: Option<std::net::IpAddr>,
    /// All timers of a profile (a bundled one's name, or a file); single flags go before it
    #[arg(long, env = "CFN_TIMERS")]
    timers: Option<String>,
    #[command(flatten)]
    timing: TimerArgs,
    /// How long a request to the hub or the member may take
    #[arg(long, default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
    #[command(flatten)]
    common: Common,
}

/// Flags and defaults of karmada-agent, and our own.
#[derive(Debug, Default, clap::Args)]
struct TimerArgs {
    /// Status is written at least so often [default: 10s]
    #[arg(long, value_parser = duration)]
    cluster_status_update_frequency: Option<Duration>,
    /// How long the lease lasts [default: 40s]
    #[arg(long, value_parser = duration)]
    cluster_lease_duration: Option<Duration>,
    /// Which part of that between two renewals [default: 0.25]
    #[arg(long)]
    cluster_lease_renew_interval_fraction: Option<f64>,
    /// Between two latency probes of a site [default: 1s]
    #[arg(long, value_parser = duration)]
    probe_interval: Option<Duration>,
    /// A probe unanswered for so long counts as lost [default: 3s]
    #[arg(long, value_parser = duration)]
    probe_timeout: Option<Duration>,
    /// The ComputingMetric is written so often [default: 10s]
    #[arg(long, value_parser = duration)]
    metric_window: Option<Duration>,
    /// Whether what is free on each node is reported, for accurate estimates [default: false]
    #[arg(long)]
    scheduler_estimator: Option<bool>,
}

impl TimerArgs {
    fn over(&self, base: AgentTimers) -> AgentTimers {
        AgentTimers {
            cluster_status_update_frequency: self
                .cluster_status_update_frequency
                .unwrap_or(base.cluster_status_update_frequency),
            cluster_lease_duration: self.cluster_lease_duration.unwrap_or(base.cluster_lease_duration),
            cluster_lease_renew_interval_fraction: self
                .cluster_lease_renew_interval_fraction
                .unwrap_or(base.cluster_lease_renew_interval_fraction),
            probe_interval: self.probe_interval.unwrap_or(base.probe_interval),
            probe_timeout: self.probe_timeout.unwrap_or(base.probe_timeout),
            metric_window: self.metric_window.unwrap_or(base.metric_window),
            scheduler_estimator: self.scheduler_estimator.unwrap_or(base.scheduler_estimator),
        }
    }
}

pub fn agent(args: AgentArgs) -> Result<(), CliError> {
    let base = match &args.timers {
        Some(name) => timing::agent(&crate::timers::Timers::find(name)?),
        None => AgentTimers::default(),
    };
    let timers = args.timing.over(base);
    let wrong = |flag: &str, what: String, expected: &str| {
        CliError::from(crate::input::Problem::of_file(flag, what).expected(expected))
    };
    let fraction = timers.cluster_lease_renew_interval_fraction;
    if !(fraction > 0.0 && fraction < 1.0) {
        let flag = "--cluster-lease-renew-interval-fraction";
        return Err(wrong(flag, fraction.to_string(), "a number above 0 and below 1"));
    }
    let state = match (&args.state, &args.state_secret) {
        (Some(dir), _) => State::Directory(dir.clone()),
        (None, Some(s)) => match s.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => State::Secret {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            _ => return Err(wrong("--state-secret", s.clone(), "NAMESPACE/NAME")),
        },
        (None, None) => State::Forgotten,
    };
    let hub = config(Some(&args.hub_kubeconfig), args.request_timeout)?;
    let member = config(args.member_kubeconfig.as_ref(), args.request_timeout)?;
    run("agent", &args.common, |p: Process| async move {
        let options = ClusterAgentOptions {
            cluster: args.cluster,
            site: args.site,
            labels: map(args.cluster_labels),
            annotations: map(args.cluster_annotations),
            provider: args.cluster_provider,
            region: args.cluster_region,
            zones: args.cluster_zones,
            net: p.net.clone(),
            host: HERE.to_owned(),
            hub,
            member: member.client(&p.net, HERE).map_err(failed)?,
            clock: Arc::new(SystemClock),
            seed: Seed::unpredictable(),
            timers,
            state,
            autonomy: true,
            ready: Some(p.ready),
        };
        let (net, cancel) = (p.net.clone(), p.cancel.clone());
        let responder = async move {
            match args.respond_probes {
                Some(at) => probe::respond_at(net, at.to_string(), cancel)
                    .await
                    .map_err(|e| CliError::io(&format!("answering probes at {at}:{}", probe::PORT), &e)),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            r = cfn_agent::cluster::run(options, p.cancel.clone()) => r.map_err(failed),
            r = responder => match r {
                // Told to end: the agent ends too, in its own time.
                Ok(()) => std::future::pending().await,
                e => e,
            },
        }
    })
}
