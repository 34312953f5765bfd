//! The cluster agent: one per member, beside its API server, reaching out to the hub (Karmada's Pull mode).

pub mod autonomy;
pub mod customize;
pub mod execute;
pub mod feedback;
pub mod identity;
pub mod inventory;
pub mod lease;
pub mod member;
pub mod metric;
mod object;
pub mod probe;
pub mod push;
pub mod queue;
pub mod register;
pub mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cfn_net::{ClientConfig, Net, Seed, SharedClock};
use identity::AgentIdentity;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How an agent is set up.
#[derive(Clone)]
pub struct ClusterAgentOptions {
    /// Name of the cluster on the hub.
    pub cluster: String,
    /// Site where it stands.
    pub site: String,
    /// Labels of the Cluster object.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Cluster object.
    pub annotations: BTreeMap<String, String>,
    /// Infrastructure provider.
    pub provider: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Zones.
    pub zones: Vec<String>,
    /// The network, and the host on it that the agent connects from.
    pub net: Net,
    /// The agent's host.
    pub host: String,
    /// The hub, with the bootstrap identity.
    pub hub: ClientConfig,
    /// The member.
    pub member: kube::Client,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness.
    pub seed: Seed,
    /// How often what happens.
    pub timers: AgentTimers,
    /// Where the identity is kept.
    pub state: identity::State,
    /// Whether pods on autonomous nodes are told to tolerate that their node is out of sight: for clusters whose own node
    /// life cycle does not know of autonomy ([`autonomy`]).
    pub autonomy: bool,
    /// Becomes true when the cluster is registered.
    pub ready: Option<watch::Sender<bool>>,
}

/// How often what happens. Names and defaults as Karmada's flags have them.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentTimers {
    /// `--cluster-status-update-frequency`: status is written at least so often.
    pub cluster_status_update_frequency: Duration,
    /// `--cluster-lease-duration`.
    pub cluster_lease_duration: Duration,
    /// `--cluster-lease-renew-interval-fraction` of the lease's duration.
    pub cluster_lease_renew_interval_fraction: f64,
    /// Time between two latency probes of a site.
    pub probe_interval: Duration,
    /// A probe unanswered for so long counts as lost.
    pub probe_timeout: Duration,
    /// The metric is written so often (CATS: window of 10 s).
    pub metric_window: Duration,
    /// Whether what is free on each node is reported, for accurate estimates (`--enable-scheduler-estimator` of
    /// Karmada's scheduler, whose estimators are the agents here; off by default, as there).
    pub scheduler_estimator: bool,
}

impl Default for AgentTimers {
    fn default() -> Self {
        Self {
            cluster_status_update_frequency: Duration::from_secs(10),
            cluster_lease_duration: Duration::from_secs(40),
            cluster_lease_renew_interval_fraction: 0.25,
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(3),
            metric_window: Duration::from_secs(10),
            scheduler_estimator: false,
        }
    }
}

impl AgentTimers {
    /// Time between two renewals of the lease.
    #[must_use]
    pub fn lease_renew_interval(&self) -> Duration {
        self.cluster_lease_duration
            .mul_f64(self.cluster_lease_renew_interval_fraction)
    }
}

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The hub's address or an identity does not parse.
    #[error(transparent)]
    Client(#[from] cfn_net::client::ClientError),
    /// The hub's administrator denied the registration.
    #[error("registration of cluster '{cluster}' was denied: {message}")]
    Denied {
        /// The cluster.
        cluster: String,
        /// The administrator's words.
        message: String,
    },
    /// A key or request could not be made.
    #[error(transparent)]
    Pki(#[from] cfn_net::pki::PkiError),
    /// The identity could not be kept.
    #[error("keeping the identity in {path}: {source}")]
    State {
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Runs the agent until it is cancelled or the hub removes its Cluster. What fails on the way (hub or member gone,
/// refused, slow) is tried again for as long as it takes.
///
/// # Errors
/// Only what no retry mends: see [`AgentError`].
pub async fn run(options: ClusterAgentOptions, cancel: CancellationToken) -> Result<(), AgentError> {
    let cancel = cancel.child_token();
    let _ends_with_us = cancel.clone().drop_guard();
    let identity = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ok(()),
        identity = register::identity(&options) => identity?,
    };
    let hub = identity.client(&options)?;
    let ctx = member::Context::new(hub, options);
    tokio::select! {
        biased;
        () = cancel.cancelled() => return Ok(()),
        () = register::cluster(&ctx) => {}
    }
    tracing::info!(cluster = ctx.options.cluster, "registered");
    if let Some(ready) = &ctx.options.ready {
        ready.send_replace(true);
    }
    let autonomy = async {
        if ctx.options.autonomy {
            autonomy::run(&ctx).await;
        }
        std::future::pending::<()>().await;
    };
    // Everything below runs as one task: an agent is one unit of concurrency, and its order is its own.
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = register::until_removed(&ctx) => {
            tracing::info!("the hub removed the cluster: it has left");
            // A stranger from now on: to come back it asks, and the hub's administrator decides, as for the first time.
            AgentIdentity::forget(&ctx.options).await;
        }
        () = identity.until_renewal(&ctx.options) => tracing::info!("the certificate is to be renewed: ending, to start again with a new one"),
        () = lease::renew(&ctx) => {}
        () = report::run(&ctx) => {}
        () = metric::run(&ctx) => {}
        () = execute::run(&ctx) => {}
        () = customize::run(&ctx) => {}
        () = autonomy => {}
    }
    Ok(())
}
