//! The heartbeat: a Lease on the hub, renewed at a fraction of its duration.

use cfn_api::names::LEASE_NAMESPACE;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at, timeout};

use super::member::{Context, is_not_found};

/// A renewal may take at least so long, however short the beat: a first connection has several round trips.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// Renews the lease for ever. A renewal that fails is tried again at the next beat; one that a cut link has swallowed is
/// given up by then and sent anew, on a connection of its own: the old one's retransmissions have backed off
/// (RFC 6298, 5.5), and would keep a member that is back silent for longer than the cut lasted.
pub async fn renew(ctx: &Context) {
    let o = &ctx.options;
    let api: Api<Lease> = Api::namespaced(ctx.hub.clone(), LEASE_NAMESPACE);
    let mut beat = interval_at(Instant::now(), o.timers.lease_renew_interval());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let patience = o.timers.lease_renew_interval().max(LEAST_PATIENCE);
    loop {
        beat.tick().await;
        let now = MicroTime(o.clock.now());
        let patch = json!({"spec": {"renewTime": now}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let Ok(renewed) = timeout(patience, api.patch(&o.cluster, &params, &patch)).await else {
            tracing::debug!("renewing the lease of {}: no answer in {patience:?}", o.cluster);
            continue;
        };
        match renewed {
            Ok(_) => {}
            Err(e) if is_not_found(&e) => {
                let seconds = i32::try_from(o.timers.cluster_lease_duration.as_secs().max(1)).unwrap_or(i32::MAX);
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(o.cluster.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(LeaseSpec {
                        holder_identity: Some(o.cluster.clone()),
                        lease_duration_seconds: Some(seconds),
                        renew_time: Some(now),
                        ..LeaseSpec::default()
                    }),
                };
                if let Err(e) = api.create(&PostParams::default(), &lease).await {
                    tracing::debug!("creating the lease of {}: {e}", o.cluster);
                    // The namespace may not be there yet: try well before the next beat.
                    beat.reset_after(o.timers.lease_renew_interval() / 10);
                }
            }
            Err(e) => tracing::debug!("renewing the lease of {}: {e}", o.cluster),
        }
    }
}
