//! What the Works report, gathered in the binding's status and summed up in the template's (Karmada's
//! `pkg/controllers/status`).

use std::sync::Arc;

use cfn_api::conditions;
use cfn_api::karmada::work::{APPLIED, AggregatedStatusItem, FULLY_APPLIED, Work};

use super::binding::cluster_of;
use super::diff::merge_diff;
use super::hub::{Gvk, Hub, Key, gone};
use super::interpret;

/// What one Work says of its cluster.
fn item(w: &Work) -> AggregatedStatusItem {
    let status = w.status.as_ref();
    let applied = status.and_then(|s| conditions::get(&s.conditions, APPLIED));
    let manifest = status.and_then(|s| s.manifest_statuses.first());
    let is_applied = applied.is_some_and(|c| c.status == "True");
    AggregatedStatusItem {
        cluster_name: cluster_of(w).to_owned(),
        status: manifest.and_then(|m| m.status.clone()).filter(|_| is_applied),
        applied: is_applied.then_some(true),
        applied_message: applied.filter(|_| !is_applied).map(|c| c.message.clone()),
        health: Some(
            manifest
                .and_then(|m| m.health.clone())
                .filter(|_| is_applied)
                .unwrap_or_else(|| "Unknown".into()),
        ),
    }
}

/// Brings the statuses of a binding and its template up to date.
pub(super) async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let (b, template, resource, items) = {
        let state = hub.state();
        let Some(b) = state.bindings.get(key).cloned() else {
            return Ok(());
        };
        let target = |c: &str| b.spec.clusters.iter().any(|t| t.name == c);
        let keys = state.works_of.get(b.permanent_id()).into_iter().flatten();
        let works = keys.filter_map(|k| state.works.get(k));
        let mut items: Vec<AggregatedStatusItem> = works
            .filter(|w| w.metadata.deletion_timestamp.is_none() && target(cluster_of(w)))
            .map(|w| item(w))
            .collect();
        items.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
        let gvk = Gvk {
            api_version: b.spec.resource.api_version.clone(),
            kind: b.spec.resource.kind.clone(),
        };
        let resource = state.templates.get(&gvk).and_then(|t| t.resource.clone());
        (Arc::clone(&b), state.template(&b).cloned(), resource, items)
    };
    let mut status = b.status.clone();
    if b.spec.clusters.is_empty() && items.is_empty() && status.aggregated_status.is_empty() {
        return Ok(());
    }
    status.aggregated_status.clone_from(&items);
    if !b.spec.clusters.is_empty() {
        let all = items.len() == b.spec.clusters.len() && items.iter().all(|i| i.applied == Some(true));
        let (value, reason, message) = if all {
            (
                "True",
                "FullyAppliedSuccess",
                "All works have been successfully applied",
            )
        } else {
            (
                "False",
                "FullyAppliedFailed",
                "Failed to apply all works, see status.aggregatedStatus for details",
            )
        };
        conditions::set(&mut status.conditions, FULLY_APPLIED, value, reason, message, hub.now());
    }
    gone(hub.write_binding_status(&b, &status).await)?;
    let (Some(template), Some(resource)) = (template, resource) else {
        return Ok(());
    };
    let body = serde_json::to_value(&*template).unwrap_or_default();
    let Some(sum) = interpret::aggregate(&b.spec.resource.kind, &body, &items) else {
        return Ok(());
    };
    let before = body.get("status").cloned().unwrap_or_else(|| serde_json::json!({}));
    if let Some(patch) = merge_diff(&before, &sum) {
        let at = Key::new(
            b.spec.resource.namespace.as_deref().unwrap_or_default(),
            &b.spec.resource.name,
        );
        match hub
            .patch_status(&resource, &at, &serde_json::json!({"status": patch}))
            .await
        {
            Ok(o) => {
                let gvk = Gvk {
                    api_version: b.spec.resource.api_version.clone(),
                    kind: b.spec.resource.kind.clone(),
                };
                hub.saw_template(&gvk, o);
            }
            Err(e) => gone::<()>(Err(e))?,
        }
    }
    Ok(())
}
