//! FederatedResourceQuota: one quota over all members. What is placed counts; a decision that would exceed a quota is
//! none (Karmada's `FederatedQuotaEnforcement`); static assignments become a ResourceQuota in each member.

use std::collections::BTreeMap;
use std::sync::Arc;

use cfn_api::karmada::quota::{ClusterQuotaStatus, FederatedResourceQuota, FederatedResourceQuotaStatus};
use cfn_api::karmada::work::{ResourceBindingSpec, TargetCluster, Work};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ApiResource, DynamicObject};
use serde_json::json;

use super::binding::{cluster_of, delete, put};
use super::diff::merge_diff;
use super::hub::{Binding, Hub, Key, State, gone, work};
use super::{manifest, name};
use crate::engine::quantity::{Amount, format};

/// How a refusal by quota begins.
pub(super) const EXCEEDED: &str = "exceeded quota";

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "quota",
        |h| &h.quota,
        |hub, key| async move { reconcile(&hub, &key).await },
    )
    .await;
}

/// What a placement uses, per resource: requests of one replica times replicas, of every template.
fn usage(spec: &ResourceBindingSpec, clusters: &[TargetCluster]) -> BTreeMap<String, Amount> {
    let mut sum: BTreeMap<String, Amount> = BTreeMap::new();
    let mut add = |requests: &BTreeMap<String, Quantity>, n: i64| {
        for (k, q) in requests {
            let one = Amount::parse(q).unwrap_or_default();
            let have = sum.entry(k.clone()).or_default();
            *have = *have + one.times(n);
        }
    };
    if spec.components.is_empty() {
        let n: i64 = clusters.iter().map(|t| i64::from(t.replicas)).sum();
        if let Some(r) = &spec.replica_requirements {
            add(&r.resource_request, n);
        }
    } else {
        for c in &spec.components {
            if let Some(r) = &c.replica_requirements {
                let sets = i64::try_from(clusters.len()).unwrap_or(i64::MAX);
                add(&r.resource_request, i64::from(c.replicas).saturating_mul(sets));
            }
        }
    }
    sum
}

/// What of a namespace is placed, without the binding `except`.
fn used(state: &State, ns: &str, except: Option<&Key>) -> BTreeMap<String, Amount> {
    let mut sum: BTreeMap<String, Amount> = BTreeMap::new();
    for (k, b) in state
        .bindings
        .iter()
        .filter(|(k, b)| k.ns == ns && !b.deleting() && Some(*k) != except)
    {
        let placed = state.placed(k, b);
        for (r, a) in usage(&b.spec, placed) {
            let have = sum.entry(r).or_default();
            *have = *have + a;
        }
    }
    sum
}

/// Why a placement would exceed a quota of its namespace, if it would.
pub(super) fn exceeded(state: &State, b: &Binding, targets: &[TargetCluster]) -> Option<String> {
    let key = b.key();
    let mut quotas = state
        .quotas
        .iter()
        .filter(|(k, _)| k.ns == key.ns && !key.ns.is_empty())
        .peekable();
    quotas.peek()?;
    let others = used(state, &key.ns, Some(&key));
    let own = usage(&b.spec, targets);
    for (k, q) in quotas {
        for (resource, limit) in &q.spec.overall {
            let want = own.get(resource).copied().unwrap_or_default();
            let have = others.get(resource).copied().unwrap_or_default();
            let limit_amount = Amount::parse(limit).unwrap_or_default();
            if want > Amount::default() && have + want > limit_amount {
                let binary = limit.0.ends_with('i');
                return Some(format!(
                    "{EXCEEDED}: {}, requested: {resource}={}, used: {resource}={}, limited: {resource}={}",
                    k.name,
                    format(want, binary).0,
                    format(have, binary).0,
                    limit.0
                ));
            }
        }
    }
    None
}

async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let (quota, works) = {
        let state = hub.state();
        let owned = |w: &Work| {
            let a = w.metadata.annotations.as_ref();
            let has = |n: &str, v: &str| a.and_then(|a| a.get(n)).is_some_and(|x| x == v);
            has(NAMESPACE, &key.ns) && has(NAME, &key.name)
        };
        let works: Vec<Arc<Work>> = state.works.values().filter(|w| owned(w)).cloned().collect();
        (state.quotas.get(key).cloned(), works)
    };
    let quota = quota.filter(|q| q.metadata.deletion_timestamp.is_none());
    let assigned = |c: &str| {
        let q = quota.as_ref();
        q.is_some_and(|q| q.spec.static_assignments.iter().any(|a| a.cluster_name == c))
    };
    for w in works.iter().filter(|w| !assigned(cluster_of(w))) {
        delete(hub, w).await?;
    }
    let Some(quota) = quota else { return Ok(()) };
    for a in &quota.spec.static_assignments {
        if !hub.state().clusters.contains_key(&a.cluster_name) {
            continue;
        }
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": key.name, "namespace": key.ns, "uid": quota.metadata.uid},
            "spec": {"hard": a.hard},
        }))
        .map_err(kube::Error::SerdeError)?;
        let at = Key {
            ns: names::execution_namespace(&a.cluster_name),
            name: name::work_name("ResourceQuota", &key.name, &key.ns),
        };
        let base = manifest::of("ResourceQuota", &object);
        let uid = quota.metadata.uid.as_deref().unwrap_or_default();
        let labels = BTreeMap::from([(
            names::WORK_ID.to_owned(),
            name::permanent_id(&["quota", uid, &a.cluster_name]),
        )]);
        let annotations = BTreeMap::from([
            (NAMESPACE.to_owned(), key.ns.clone()),
            (NAME.to_owned(), key.name.clone()),
        ]);
        let mut m = manifest::Manifest {
            object: base.object().clone(),
            labels,
            annotations: annotations.clone(),
        };
        manifest::mark(&mut m.object, &base, &at, annotations, &m.labels);
        put(hub, &at, m, None, None).await?;
    }
    write_status(hub, key, &quota, &works).await
}

const NAMESPACE: &str = "federatedresourcequota.karmada.io/namespace";
const NAME: &str = "federatedresourcequota.karmada.io/name";

/// The quota that a Work is for.
pub(super) fn of_work(w: &Work) -> Option<Key> {
    let a = w.metadata.annotations.as_ref()?;
    Some(Key::new(a.get(NAMESPACE)?, a.get(NAME)?))
}

async fn write_status(
    hub: &Hub,
    key: &Key,
    quota: &FederatedResourceQuota,
    works: &[Arc<Work>],
) -> Result<(), kube::Error> {
    let all = used(&hub.state(), &key.ns, None);
    let overall_used = quota.spec.overall.iter().map(|(r, limit)| {
        let a = all.get(r).copied().unwrap_or_default();
        (r.clone(), format(a, limit.0.ends_with('i')))
    });
    let mut status = FederatedResourceQuotaStatus {
        overall: quota.spec.overall.clone(),
        overall_used: overall_used.collect(),
        aggregated_status: Vec::new(),
    };
    for w in works {
        let reported = w
            .status
            .as_ref()
            .and_then(|s| s.manifest_statuses.first()?.status.clone());
        let part = |f: &str| {
            let map = reported.as_ref().and_then(|s| s.get(f).cloned());
            map.and_then(|m| serde_json::from_value(m).ok()).unwrap_or_default()
        };
        status.aggregated_status.push(ClusterQuotaStatus {
            cluster_name: cluster_of(w).to_owned(),
            hard: part("hard"),
            used: part("used"),
        });
    }
    status
        .aggregated_status
        .sort_by(|a, b| a.cluster_name.cmp(&b.cluster_name));
    let before = serde_json::to_value(quota.status.clone().unwrap_or_default()).unwrap_or_default();
    let after = serde_json::to_value(&status).unwrap_or_default();
    if let Some(p) = merge_diff(&before, &after) {
        let resource = ApiResource::erase::<FederatedResourceQuota>(&());
        gone(hub.patch_status(&resource, key, &json!({"status": p})).await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_requests_times_replicas() {
        let spec: ResourceBindingSpec = serde_json::from_value(json!({
            "replicaRequirements": {"resourceRequest": {"cpu": "250m", "memory": "64Mi"}}}))
        .unwrap();
        let t = |name: &str, replicas| TargetCluster {
            name: name.into(),
            replicas,
            ..Default::default()
        };
        let u = usage(&spec, &[t("a", 3), t("b", 1)]);
        assert_eq!(format(u["cpu"], false).0, "1");
        assert_eq!(format(u["memory"], true).0, "256Mi");
    }
}
