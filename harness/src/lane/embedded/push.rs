//! Push members: the hub's administrator registers them, the hub's controllers reach into them.

use cfn_agent::cluster::push::{self, PushOptions, Registration};
use cfn_api::karmada::cluster::ClusterSpec;

use super::{API_PORT, Embedded, Process, State, failed, taint};
use crate::lane::{LaneError, timing};
use crate::topology::Cluster;

impl Embedded {
    /// What the hub's controllers need to reach into its Push members.
    pub(super) fn push_options(&self, hub: kube::Client) -> PushOptions {
        PushOptions {
            hub,
            net: self.net.clone(),
            host: "scheduler".to_owned(),
            clock: self.clock.clone(),
            seed: self.seed.child("push"),
            timers: timing::agent(&self.timers),
        }
    }

    /// Registers a Push member.
    pub(super) fn start_push(&self, state: &State, c: &Cluster) -> Result<Process, LaneError> {
        self.net.add_host("administrator", &self.topology.hub().site);
        let client = |name: &str| {
            state.clusters[name]
                .admin_config()
                .client(&self.net, "administrator")
                .map_err(|e| failed("the administrator's client")(e.to_string()))
        };
        let (hub, member) = (client(&self.hub)?, client(&c.name)?);
        let registration = Registration {
            name: c.name.value.clone(),
            labels: c.labels.clone(),
            annotations: std::collections::BTreeMap::new(),
            spec: ClusterSpec {
                provider: c.provider.clone(),
                region: c.region.clone(),
                zones: c.zone.iter().cloned().collect(),
                taints: c.taints.iter().map(taint).collect(),
                ..ClusterSpec::default()
            },
            endpoint: format!("https://{}:{API_PORT}", c.name),
            ca_pem: state.clusters[c.name.as_str()].admin_config().ca_pem,
        };
        let name = format!("registration of {}", c.name);
        Ok(Process::start(name, &self.cancel, |cancel| async move {
            let joined = async {
                cfn_agent::cluster::member::until_ok("registering a Push member", || {
                    push::join(&hub, &member, &registration)
                })
                .await;
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = joined => {}
            }
            Ok::<(), String>(())
        }))
    }
}
