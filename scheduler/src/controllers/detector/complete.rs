//! What Karmada's webhook would have written into a policy.

use std::sync::Arc;

use cfn_api::karmada::policy::{Placement, ReplicaDivisionPreference, ReplicaSchedulingType};
use cfn_api::names;
use kube::api::ApiResource;
use serde_json::{Map, json};

use crate::controllers::detector::claim::id_label;
use crate::controllers::diff::merge_diff;
use crate::controllers::hub::{Hub, Key, Policy, gone};
use crate::controllers::name;

/// Finalizer of cluster-wide policies.
pub(super) const CLUSTER_POLICY_FINALIZER: &str = "karmada.io/cluster-propagation-policy-controller";

pub(super) fn policy_resource(key: &Key) -> ApiResource {
    use cfn_api::karmada::policy::{ClusterPropagationPolicy, PropagationPolicy};
    if key.ns.is_empty() {
        ApiResource::erase::<ClusterPropagationPolicy>(&())
    } else {
        ApiResource::erase::<PropagationPolicy>(&())
    }
}

/// What Karmada's webhook would have set: defaults, permanent id, finalizer.
pub(super) async fn complete(hub: &Hub, key: &Key, policy: &Arc<Policy>) -> Result<Arc<Policy>, kube::Error> {
    let mut new = Policy::clone(policy);
    let finalizer = if key.ns.is_empty() {
        CLUSTER_POLICY_FINALIZER
    } else {
        names::POLICY_FINALIZER
    };
    let finalizers = new.meta.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
    let id = name::permanent_id(&["policy", policy.meta.uid.as_deref().unwrap_or_default()]);
    new.meta
        .labels
        .get_or_insert_default()
        .entry(id_label(key).to_owned())
        .or_insert(id);
    let spec = &mut new.spec;
    spec.conflict_resolution.get_or_insert_with(|| "Abort".into());
    spec.preemption.get_or_insert_with(|| "Never".into());
    spec.priority.get_or_insert(0);
    spec.scheduler_name.get_or_insert_with(|| "default-scheduler".into());
    default_placement(&mut spec.placement);
    if let Some(a) = spec.failover.as_mut().and_then(|f| f.application.as_mut())
        && matches!(a.purge_mode.as_deref(), None | Some("Gracefully" | "Graciously"))
    {
        a.grace_period_seconds.get_or_insert(600);
    }
    if !key.ns.is_empty() {
        for s in &mut spec.resource_selectors {
            s.namespace = Some(key.ns.clone());
        }
    }
    let view =
        |p: &Policy| json!({"metadata": {"labels": p.meta.labels, "finalizers": p.meta.finalizers}, "spec": p.spec});
    let Some(patch) = merge_diff(&view(policy), &view(&new)) else {
        return Ok(Arc::clone(policy));
    };
    let written = hub.patch(&policy_resource(key), key, &patch).await?;
    new.meta = written.metadata;
    // Its templates need not wait for the watch to tell. What somebody else wrote meanwhile does come by the watch.
    hub.keep_policy(new.clone());
    Ok(Arc::new(new))
}

/// What Karmada's webhook would have set in an override policy.
pub(super) async fn complete_override(hub: &Hub, key: &Key) -> Result<(), kube::Error> {
    use cfn_api::karmada::overrides::{ClusterOverridePolicy, OverridePolicy};
    let Some(policy) = hub.state().overrides.get(key).cloned() else {
        return Ok(());
    };
    let resource = if key.ns.is_empty() {
        ApiResource::erase::<ClusterOverridePolicy>(&())
    } else {
        ApiResource::erase::<OverridePolicy>(&())
    };
    if policy.meta.deletion_timestamp.is_some() {
        return Ok(());
    }
    let mut spec = policy.spec.clone();
    if !key.ns.is_empty() {
        for s in &mut spec.resource_selectors {
            s.namespace = Some(key.ns.clone());
        }
    }
    // The webhook writes the object back whole: `overriders` is there even when it is empty.
    let current = hub.api(&resource, &key.ns).get_opt(&key.name).await?;
    let Some(raw) = current.map(|c| c.data["spec"].clone()) else {
        return Ok(());
    };
    let wanted = serde_json::to_value(&spec).unwrap_or_default();
    let missing = raw.get("overriders").is_none();
    let selectors = raw.get("resourceSelectors") != wanted.get("resourceSelectors");
    if missing || selectors {
        let mut patch = Map::new();
        if missing {
            patch.insert("overriders".into(), json!({}));
        }
        if selectors {
            patch.insert("resourceSelectors".into(), wanted["resourceSelectors"].clone());
        }
        gone(hub.patch(&resource, key, &json!({"spec": patch})).await)?;
    }
    Ok(())
}

/// Defaults of a placement, as Karmada's webhook sets them.
pub(super) fn default_placement(p: &mut Placement) {
    for c in &mut p.spread_constraints {
        let none = |s: &Option<String>| s.as_ref().is_none_or(String::is_empty);
        if none(&c.spread_by_field) && none(&c.spread_by_label) {
            c.spread_by_field = Some("cluster".into());
        }
        if c.min_groups == 0 {
            c.min_groups = 1;
        }
    }
    if let Some(s) = p.replica_scheduling.as_mut() {
        let kind = *s.replica_scheduling_type.get_or_insert(ReplicaSchedulingType::Divided);
        if kind == ReplicaSchedulingType::Divided {
            s.replica_division_preference
                .get_or_insert(ReplicaDivisionPreference::Weighted);
        }
    }
}
