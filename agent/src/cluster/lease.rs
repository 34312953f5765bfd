//! The heartbeat: a Lease on the hub, renewed at a fraction of its duration.

use cfn_api::names::LEASE_NAMESPACE;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::member::{Context, is_not_found};

/// Renews the lease for ever. A renewal that fails is tried again at the next beat.
pub async fn renew(ctx: &Context) {
    let o = &ctx.options;
    let api: Api<Lease> = Api::namespaced(ctx.hub.clone(), LEASE_NAMESPACE);
    let mut beat = interval_at(Instant::now(), o.timers.lease_renew_interval());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let now = MicroTime(o.clock.now());
        let patch = json!({"spec": {"renewTime": now}});
        match api
            .patch(&o.cluster, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
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
