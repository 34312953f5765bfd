//! WorkloadRebalancer: asks once for new decisions about workloads (Karmada's
//! `pkg/controllers/workloadrebalancer`).

use std::sync::Arc;
use std::time::Duration;

use cfn_api::karmada::apps::{ObservedWorkload, WorkloadRebalancer, WorkloadRebalancerStatus};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ApiResource, DeleteParams};
use serde_json::json;

use super::diff::merge_diff;
use super::hub::{Hub, Key, gone, not_found, until, work};

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "rebalance",
        |h| &h.rebalance,
        |hub, name| async move { reconcile(&hub, &name).await },
    )
    .await;
}

async fn reconcile(hub: &Arc<Hub>, name: &str) -> Result<(), kube::Error> {
    let Some(r) = hub.state().rebalancers.get(name).cloned() else {
        return Ok(());
    };
    if r.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let now = hub.now();
    let asked = r.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
    let old = r.status.clone().unwrap_or_default();
    let mut observed = Vec::new();
    for w in &r.spec.workloads {
        let done = old
            .observed_workloads
            .iter()
            .find(|o| o.workload == *w && o.result.is_some());
        if let Some(o) = done {
            observed.push(o.clone());
            continue;
        }
        let key = Key {
            ns: w.namespace.clone().unwrap_or_default(),
            name: names::binding_name(&w.kind, &w.name),
        };
        let mut o = ObservedWorkload {
            workload: w.clone(),
            ..Default::default()
        };
        match trigger(hub, &key, asked).await {
            Ok(true) => o.result = Some("Successful".into()),
            Ok(false) => {
                o.result = Some("Failed".into());
                o.reason = Some("ReferencedBindingNotFound".into());
            }
            Err(e) => return Err(e),
        }
        observed.push(o);
    }
    observed.sort_by(|a, b| a.workload.cmp(&b.workload));
    let finished = old.finish_time.clone().unwrap_or(Time(now));
    let status = WorkloadRebalancerStatus {
        observed_workloads: observed,
        observed_generation: r.metadata.generation,
        finish_time: Some(finished.clone()),
    };
    let resource = ApiResource::erase::<WorkloadRebalancer>(&());
    let key = Key::new("", name);
    let before = serde_json::to_value(&old).unwrap_or_default();
    if let Some(p) = merge_diff(&before, &serde_json::to_value(&status).unwrap_or_default()) {
        gone(hub.patch_status(&resource, &key, &json!({"status": p})).await)?;
    }
    if let Some(ttl) = r.spec.ttl_seconds_after_finished {
        let end = finished.0 + Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
        if now >= end {
            return gone(hub.api(&resource, "").delete(name, &DeleteParams::background()).await);
        }
        hub.rebalance.add_after(name.to_owned(), until(now, end));
    }
    Ok(())
}

/// Asks for a new decision about one binding; false when there is none.
async fn trigger(hub: &Arc<Hub>, key: &Key, asked: jiff::Timestamp) -> Result<bool, kube::Error> {
    let Some(b) = hub.state().bindings.get(key).cloned() else {
        return Ok(false);
    };
    if b.spec.reschedule_triggered_at.as_ref().is_some_and(|t| t.0 >= asked) {
        return Ok(true);
    }
    let patch = json!({"spec": {"rescheduleTriggeredAt": Time(asked)}});
    match hub.patch(&Hub::binding_resource(key), key, &patch).await {
        Ok(o) => {
            hub.saw_binding(o);
            Ok(true)
        }
        Err(e) if not_found(&e) => Ok(false),
        Err(e) => Err(e),
    }
}
