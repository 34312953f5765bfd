//! The agent in its member.

use serde_json::{Value, json};

use super::{AGENT, Component, HubAccess, NAMESPACE, Placement, kubeconfig, timer_args};
use crate::timers::Timers;
use crate::topology::Cluster;

/// Secret with the hub's kubeconfig (key `kubeconfig`), whose identity may ask for an agent's and nothing else.
pub const HUB_SECRET: &str = "cfn-hub";
/// Secret in which the agent keeps its identity.
pub const IDENTITY_SECRET: &str = "cfn-agent-identity";
/// Port of its health endpoints: karmada-agent's.
const HEALTH_PORT: u16 = 10357;
/// Where the hub's kubeconfig is in the pod.
const HUB_DIR: &str = "/etc/cfn/hub";

/// An agent to be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Where and how it runs.
    pub placement: Placement,
    /// Its flags: [`agent_args`], or one's own.
    pub args: Vec<String>,
    /// The hub; without it, the Secret is made by somebody else.
    pub hub: Option<HubAccess>,
}

/// An agent's flags for a cluster and these timers.
#[must_use]
pub fn agent_args(c: &Cluster, timers: &Timers) -> Vec<String> {
    let mut args = vec![format!("--cluster={}", c.name), format!("--site={}", c.site)];
    let more = [
        ("cluster-provider", &c.provider),
        ("cluster-region", &c.region),
        ("cluster-zones", &c.zone),
    ];
    args.extend(more.iter().filter_map(|(f, v)| Some(format!("--{f}={}", v.as_ref()?))));
    args.extend(c.labels.iter().map(|(k, v)| format!("--cluster-labels={k}={v}")));
    args.extend(timer_args(
        timers,
        &[
            ("cluster-status-update-frequency", "clusterStatusUpdateFrequency"),
            ("cluster-lease-duration", "clusterLeaseDuration"),
            ("probe-interval", "probePeriod"),
            ("metric-window", "metricsWindow"),
        ],
    ));
    let t = crate::lane::timing::agent(timers);
    if t.scheduler_estimator {
        args.push("--scheduler-estimator=true".to_owned());
    }
    let fraction = t.cluster_lease_renew_interval_fraction;
    args.push(format!("--cluster-lease-renew-interval-fraction={fraction}"));
    let shown = crate::input::show_duration(t.probe_timeout);
    args.push(format!("--probe-timeout={shown}"));
    // A request that a cut link has swallowed is given up, and asked again, before its lease is missed.
    let patience = t.cluster_lease_duration.clamp(REQUEST.0, REQUEST.1);
    args.push(format!("--request-timeout={}", crate::input::show_duration(patience)));
    args
}

/// Least and most patience with a request.
const REQUEST: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_secs(2), std::time::Duration::from_secs(30));

/// An agent carries out whatever the hub's policies say, of any kind, Roles and CRDs included: it may do in its member
/// what they may, as Karmada's agent may.
fn rules() -> Value {
    json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ])
}

impl Agent {
    /// Everything it consists of, in the order in which it is applied.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let p = &self.placement;
        let mut args = vec![
            "agent".to_owned(),
            format!("--hub-kubeconfig={HUB_DIR}/kubeconfig"),
            format!("--state-secret={NAMESPACE}/{IDENTITY_SECRET}"),
        ];
        args.extend(self.args.iter().cloned());
        let [role, binding] = p.cluster_role(AGENT, &rules());
        let deployment = p.deployment(Component {
            name: AGENT,
            args,
            health_port: HEALTH_PORT,
            volumes: vec![json!({"name": "hub", "secret": {"secretName": HUB_SECRET}})],
            mounts: vec![json!({"name": "hub", "mountPath": HUB_DIR, "readOnly": true})],
            memory: "64Mi",
        });
        let mut all = vec![p.namespace(), p.account(AGENT), role, binding];
        all.extend(self.hub.as_ref().map(|h| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": p.meta(HUB_SECRET),
                "stringData": {"kubeconfig": kubeconfig(h)}})
        }));
        all.push(deployment);
        all
    }
}
