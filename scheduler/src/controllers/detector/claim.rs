//! Who claims a template, and how that is written on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cfn_api::karmada::policy::ResourceSelector;
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;
use serde_json::{Map, Value, json};

use crate::controllers::diff::merge_diff;
use crate::controllers::hub::{Gvk, Hub, Key, Policy, gone};
use crate::engine::affinity::labels_match;

/// The label of a policy's claim, and of the policy itself.
pub(super) fn id_label(policy: &Key) -> &'static str {
    if policy.ns.is_empty() {
        names::CLUSTER_PROPAGATION_POLICY_ID
    } else {
        names::PROPAGATION_POLICY_ID
    }
}

/// The labels and annotations of a claim by `policy`.
pub(super) fn claim(key: &Key, policy: &Policy) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let id = policy
        .meta
        .labels
        .as_ref()
        .and_then(|l| l.get(id_label(key)))
        .cloned()
        .unwrap_or_default();
    let labels = BTreeMap::from([(id_label(key).to_owned(), id)]);
    let annotations = if key.ns.is_empty() {
        BTreeMap::from([(names::CLUSTER_PROPAGATION_POLICY_NAME.to_owned(), key.name.clone())])
    } else {
        BTreeMap::from([
            (names::PROPAGATION_POLICY_NAMESPACE.to_owned(), key.ns.clone()),
            (names::PROPAGATION_POLICY_NAME.to_owned(), key.name.clone()),
        ])
    };
    (labels, annotations)
}

pub(in crate::controllers) const CLAIM_LABELS: [&str; 2] =
    [names::PROPAGATION_POLICY_ID, names::CLUSTER_PROPAGATION_POLICY_ID];

pub(in crate::controllers) const CLAIM_ANNOTATIONS: [&str; 3] = [
    names::PROPAGATION_POLICY_NAMESPACE,
    names::PROPAGATION_POLICY_NAME,
    names::CLUSTER_PROPAGATION_POLICY_NAME,
];

/// Which policy an object says it was claimed by.
pub(in crate::controllers) fn claimant(meta: &ObjectMeta) -> Option<Key> {
    let (labels, annotations) = (meta.labels.as_ref()?, meta.annotations.as_ref()?);
    if labels.contains_key(names::PROPAGATION_POLICY_ID) {
        return Some(Key::new(
            annotations.get(names::PROPAGATION_POLICY_NAMESPACE)?,
            annotations.get(names::PROPAGATION_POLICY_NAME)?,
        ));
    }
    labels
        .contains_key(names::CLUSTER_PROPAGATION_POLICY_ID)
        .then_some(())?;
    Some(Key::new("", annotations.get(names::CLUSTER_PROPAGATION_POLICY_NAME)?))
}

pub(super) async fn unclaim(hub: &Hub, resource: &ApiResource, key: &Key) -> Result<(), kube::Error> {
    let nulls = |names: &[&str]| {
        names
            .iter()
            .map(|n| ((*n).to_owned(), Value::Null))
            .collect::<Map<_, _>>()
    };
    let patch = json!({"metadata": {"labels": nulls(&CLAIM_LABELS), "annotations": nulls(&CLAIM_ANNOTATIONS)}});
    gone(hub.patch(resource, key, &patch).await)
}

/// The change that makes `meta` carry this claim and no other.
pub(super) fn claim_patch(
    meta: &ObjectMeta,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Option<Value> {
    let view = |m: &BTreeMap<String, String>, names: &[&str]| -> Value {
        m.iter()
            .filter(|(k, _)| names.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), Value::from(v.clone())))
            .collect::<Map<_, _>>()
            .into()
    };
    let empty = BTreeMap::new();
    let old = json!({
        "labels": view(meta.labels.as_ref().unwrap_or(&empty), &CLAIM_LABELS),
        "annotations": view(meta.annotations.as_ref().unwrap_or(&empty), &CLAIM_ANNOTATIONS),
    });
    let new = json!({"labels": labels, "annotations": annotations});
    merge_diff(&old, &new).map(|p| json!({"metadata": p}))
}

/// How well a selector means an object: by name 3, by labels 2, any 1, not at all 0.
pub(in crate::controllers) fn fit(s: &ResourceSelector, gvk: &Gvk, key: &Key, meta: &ObjectMeta) -> u8 {
    if s.api_version != gvk.api_version
        || s.kind != gvk.kind
        || s.namespace.as_ref().is_some_and(|n| !n.is_empty() && *n != key.ns)
    {
        return 0;
    }
    match (s.name.as_deref().filter(|n| !n.is_empty()), &s.label_selector) {
        (Some(n), _) => u8::from(n == key.name) * 3,
        (None, Some(l)) => u8::from(labels_match(l, &meta.labels.clone().unwrap_or_default())) * 2,
        (None, None) => 1,
    }
}

pub(super) fn selects(policy: &Policy, gvk: &Gvk, key: &Key, meta: &ObjectMeta) -> u8 {
    if policy.meta.deletion_timestamp.is_some() {
        return 0;
    }
    policy
        .spec
        .resource_selectors
        .iter()
        .map(|s| fit(s, gvk, key, meta))
        .max()
        .unwrap_or(0)
}

/// The policy for a template: the one that claimed it, else the best of its namespace, else the best cluster-wide.
pub(super) fn find(hub: &Hub, gvk: &Gvk, key: &Key, meta: &ObjectMeta) -> Option<(Key, Arc<Policy>)> {
    let state = hub.state();
    let claimed = claimant(meta).and_then(|k| {
        let p = state.policies.get(&k).filter(|p| selects(p, gvk, key, meta) > 0)?;
        Some((k, Arc::clone(p)))
    });
    let preempts = |k: &Key, p: &Policy| {
        let always = p.spec.preemption.as_deref() == Some("Always");
        let Some((held, by)) = &claimed else { return true };
        if !hub.options.timers.policy_preemption || !always || k == held {
            return k == held;
        }
        let rank = |p: &Policy| p.spec.priority.unwrap_or(0);
        // A namespace's policy takes from a cluster-wide one whatever the priorities, never the other way round.
        match (held.ns.is_empty(), k.ns.is_empty()) {
            (true, false) => true,
            (false, true) => false,
            _ => rank(p) > rank(by),
        }
    };
    let best = |ns: &str| {
        let of_ns = state.policies.iter().filter(|(k, _)| k.ns == ns);
        let ranked = of_ns
            .map(|(k, p)| (k, p, selects(p, gvk, key, meta)))
            .filter(|(k, p, fit)| *fit > 0 && preempts(k, p));
        // The first by name among equals: iteration is by name, and only a strictly better one replaces.
        ranked.fold(None, |best: Option<(&Key, &Arc<Policy>, u8)>, next| match best {
            Some(b) if (b.1.spec.priority.unwrap_or(0), b.2) >= (next.1.spec.priority.unwrap_or(0), next.2) => Some(b),
            _ => Some(next),
        })
    };
    let own = if key.ns.is_empty() { None } else { best(&key.ns) };
    let found = own.or_else(|| best("")).map(|(k, p, _)| (k.clone(), Arc::clone(p)));
    found.or_else(|| claimed.clone())
}
