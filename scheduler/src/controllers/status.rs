//! What the scheduler decided and the Works report, gathered in the binding's status and summed up in the template's
//! (Karmada's `pkg/controllers/status`). The one writer of bindings' statuses: what comes within a moment is one write,
//! and while there is something to dispatch, statuses wait a little.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::work::{APPLIED, AggregatedStatusItem, FULLY_APPLIED, Work};
use cfn_api::names;
use tokio::time::Instant;

use super::binding::{cluster_of, targets};
use super::diff::merge_diff;
use super::hub::{Gvk, Hub, Key, State, gone, work};
use super::interpret;

/// Reports within this time are one write.
pub(super) const COALESCE: Duration = Duration::from_millis(3);
/// So long a status waits for what is on its way to arrive: the states in between are of no use to anybody.
const ON_ITS_WAY: Duration = Duration::from_millis(25);
/// So much longer for each other status that waits.
const CROWD: Duration = Duration::from_millis(10);
/// How long a status waits at most, while there is something to dispatch or many others wait.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "status",
        |h| &h.status,
        |hub, key| async move { reconcile(&hub, &key).await },
    )
    .await;
}

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

/// Whether the Works of a binding have said what lasts: that they cannot be applied, or that what was applied is there.
fn settled(state: &State, key: &Key) -> bool {
    let Some(b) = state.bindings.get(key).filter(|b| !b.deleting()) else {
        return true;
    };
    let works = state.works_of.get(b.permanent_id()).into_iter().flatten();
    let works: Vec<&Arc<Work>> = works.filter_map(|k| state.works.get(k)).collect();
    targets(b).iter().all(|cluster| {
        let status = works
            .iter()
            .find(|w| cluster_of(w) == cluster)
            .and_then(|w| w.status.as_ref());
        let applied = status.and_then(|s| conditions::get(&s.conditions, APPLIED));
        applied.is_some_and(|a| {
            let manifests = status.map(|s| s.manifest_statuses.as_slice()).unwrap_or_default();
            a.status != "True" || manifests.iter().all(|m| m.health.as_deref() != Some("Unhealthy"))
        })
    })
}

/// How long the status of a binding must still wait, if it must.
fn patience(hub: &Hub, key: &Key) -> Option<Duration> {
    let at_ease = hub.at_ease();
    let mut state = hub.state();
    let now = Instant::now();
    // Beside a Karmada the decision is all there is to tell; why there is no place is to be known at once.
    let outcome = state.outcomes.get(key).and_then(|o| o.condition.as_ref());
    let urgent = hub.options.only_scheduling || outcome.is_some_and(|(value, ..)| *value == "False");
    let since = *state.status_since.entry(key.clone()).or_insert(now);
    // The more others wait, the less often each looks and the longer what is on its way may take.
    let others = u32::try_from(state.status_since.len() - 1).unwrap_or(u32::MAX);
    let crowd = CROWD.saturating_mul(others).min(PATIENCE);
    let (until, next) = if !at_ease {
        (since + PATIENCE, COALESCE * 3 + crowd / 100)
    } else if !urgent && !settled(&state, key) {
        (since + (ON_ITS_WAY + crowd).min(PATIENCE), PATIENCE)
    } else {
        return None;
    };
    let left = until.saturating_duration_since(now);
    (!left.is_zero()).then(|| left.min(next))
}

/// Brings the statuses of a binding and its template up to date.
async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    if let Some(wait) = patience(hub, key) {
        hub.status.add_after(key.clone(), wait);
        return Ok(());
    }
    let (b, template, resource, items, wanted, outcome, rule) = {
        let mut state = hub.state();
        state.status_since.remove(key);
        let Some(b) = state.bindings.get(key).cloned() else {
            state.outcomes.remove(key);
            return Ok(());
        };
        if b.deleting() {
            return Ok(());
        }
        let wanted: BTreeSet<String> = targets(&b);
        let keys = state.works_of.get(b.permanent_id()).into_iter().flatten();
        let works = keys.filter_map(|k| state.works.get(k));
        let mut items: Vec<AggregatedStatusItem> = works
            .filter(|w| w.metadata.deletion_timestamp.is_none() && wanted.contains(cluster_of(w)))
            .map(|w| item(w))
            .collect();
        items.sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
        let gvk = Gvk {
            api_version: b.spec.resource.api_version.clone(),
            kind: b.spec.resource.kind.clone(),
        };
        let resource = state.templates.get(&gvk).and_then(|t| t.resource.clone());
        let rule = state.rules.get(&gvk).and_then(|r| r.aggregation.clone());
        let outcome = state.outcomes.get(key).cloned();
        let template = state.template(&b).cloned();
        (b, template, resource, items, wanted, outcome, rule)
    };
    let mut status = b.status.clone();
    if let Some(o) = &outcome {
        o.tell(&mut status);
    }
    // Beside a Karmada its controllers say how the Works fare.
    let others = hub.options.only_scheduling;
    let nothing = others || (wanted.is_empty() && items.is_empty() && status.aggregated_status.is_empty());
    if !nothing {
        status.aggregated_status.clone_from(&items);
    }
    if !wanted.is_empty() && !others {
        let all = items.len() == wanted.len() && items.iter().all(|i| i.applied == Some(true));
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
    if let Some(o) = outcome {
        let mut state = hub.state();
        if state.outcomes.get(key) == Some(&o) {
            state.outcomes.remove(key);
        }
    }
    if nothing {
        return Ok(());
    }
    let (Some(template), Some(resource)) = (template, resource) else {
        return Ok(());
    };
    if template.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let body = serde_json::to_value(&*template).unwrap_or_default();
    let sum = match &rule {
        Some(rule) => super::customize::aggregate(rule, &body, &items),
        None => interpret::aggregate(&b.spec.resource.kind, &body, &items),
    };
    let Some(sum) = sum else { return Ok(()) };
    let before = body.get("status").cloned().unwrap_or_else(|| serde_json::json!({}));
    if let Some(patch) = merge_diff(&before, &sum) {
        let r = &b.spec.resource;
        let at = Key::new(r.namespace.as_deref().unwrap_or_default(), &r.name);
        match hub
            .patch_status(&resource, &at, &serde_json::json!({"status": patch}))
            .await
        {
            Ok(o) => {
                let gvk = Gvk {
                    api_version: r.api_version.clone(),
                    kind: r.kind.clone(),
                };
                hub.saw_template(&gvk, o);
            }
            Err(e) => gone::<()>(Err(e))?,
        }
    }
    Ok(())
}

/// The Work of `cluster`, by its namespace.
pub(super) fn execution_cluster(namespace: &str) -> Option<&str> {
    namespace.strip_prefix(names::EXECUTION_SPACE_PREFIX)
}
