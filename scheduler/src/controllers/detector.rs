//! The detector: policies claim templates, claimed templates get bindings (Karmada's `pkg/detector`). A claim stays
//! while its policy exists and selects the template; with the gate `PolicyPreemption` (off by default, as in Karmada) a
//! policy with `preemption: Always` takes it from one of lower priority, or from a cluster-wide one.

use std::collections::BTreeMap;
use std::sync::Arc;

use cfn_api::karmada::policy::WorkloadAffinityTerm;
use cfn_api::karmada::policy::{Placement, ReplicaDivisionPreference, ReplicaSchedulingType, ResourceSelector};
use cfn_api::karmada::work::{BindingPriority, ObjectReference, ResourceBindingSpec, WorkloadAffinityGroups};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::core::TypeMeta;
use serde_json::{Map, Value, json};

use super::diff::merge_diff;
use super::hub::{Binding, CLUSTER_BINDING_ID, Detect, Gvk, Hub, Key, Policy, conflict, gone, not_found, work};
use super::{customize, interpret, name, schedule, watches};
use crate::engine::affinity::labels_match;

/// Finalizer of cluster-wide policies.
const CLUSTER_POLICY_FINALIZER: &str = "karmada.io/cluster-propagation-policy-controller";
/// Finalizer of cluster-wide bindings.
pub(super) const CLUSTER_BINDING_FINALIZER: &str = "karmada.io/cluster-resource-binding-controller";

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "detector",
        |h| &h.detect,
        |hub, key| async move {
            match key {
                Detect::Policy(key) => policy(&hub, &key).await,
                Detect::Override(key) => complete_override(&hub, &key).await,
                Detect::Template(gvk, key) => template(&hub, &gvk, &key).await,
            }
        },
    )
    .await;
}

fn policy_resource(key: &Key) -> ApiResource {
    use cfn_api::karmada::policy::{ClusterPropagationPolicy, PropagationPolicy};
    if key.ns.is_empty() {
        ApiResource::erase::<ClusterPropagationPolicy>(&())
    } else {
        ApiResource::erase::<PropagationPolicy>(&())
    }
}

/// The label of a policy's claim, and of the policy itself.
fn id_label(policy: &Key) -> &'static str {
    if policy.ns.is_empty() {
        names::CLUSTER_PROPAGATION_POLICY_ID
    } else {
        names::PROPAGATION_POLICY_ID
    }
}

/// The labels and annotations of a claim by `policy`.
fn claim(key: &Key, policy: &Policy) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
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

const CLAIM_LABELS: [&str; 2] = [names::PROPAGATION_POLICY_ID, names::CLUSTER_PROPAGATION_POLICY_ID];
const CLAIM_ANNOTATIONS: [&str; 3] = [
    names::PROPAGATION_POLICY_NAMESPACE,
    names::PROPAGATION_POLICY_NAME,
    names::CLUSTER_PROPAGATION_POLICY_NAME,
];

/// Which policy an object says it was claimed by.
pub(super) fn claimant(meta: &ObjectMeta) -> Option<Key> {
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

/// A policy appeared, changed or went.
async fn policy(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let Some(policy) = hub.state().policies.get(key).cloned() else {
        release(hub, key).await?;
        return Ok(());
    };
    if policy.meta.deletion_timestamp.is_some() {
        release(hub, key).await?;
        if policy.meta.finalizers.iter().flatten().next().is_some() {
            gone(
                hub.patch(&policy_resource(key), key, &json!({"metadata": {"finalizers": null}}))
                    .await,
            )?;
        }
        return Ok(());
    }
    let kept = complete(hub, key, &policy).await?;
    let mut failed = None;
    for s in &kept.spec.resource_selectors {
        let gvk = Gvk {
            api_version: s.api_version.clone(),
            kind: s.kind.clone(),
        };
        if let Err(e) = watches::templates(hub, &gvk).await {
            // The kind may not be served yet; the other selectors do not wait for it.
            failed = Some(e);
            continue;
        }
        let keys: Vec<Key> = hub
            .state()
            .templates
            .get(&gvk)
            .map(|t| t.objects.keys().cloned().collect())
            .unwrap_or_default();
        for k in keys {
            hub.detect.add(Detect::Template(gvk.clone(), k));
        }
    }
    // Templates that it no longer selects.
    for (gvk, k) in claimed_by(hub, key) {
        hub.detect.add(Detect::Template(gvk, k));
    }
    failed.map_or(Ok(()), Err)
}

fn claimed_by(hub: &Hub, policy: &Key) -> Vec<(Gvk, Key)> {
    let state = hub.state();
    let all = state
        .templates
        .iter()
        .flat_map(|(g, t)| t.objects.iter().map(move |(k, o)| (g, k, o)));
    all.filter(|(_, _, o)| claimant(&o.metadata).as_ref() == Some(policy))
        .map(|(g, k, _)| (g.clone(), k.clone()))
        .collect()
}

/// What Karmada's webhook would have set: defaults, permanent id, finalizer.
async fn complete(hub: &Hub, key: &Key, policy: &Arc<Policy>) -> Result<Arc<Policy>, kube::Error> {
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
    hub.patch(&policy_resource(key), key, &patch).await?;
    Ok(Arc::new(new))
}

/// What Karmada's webhook would have set in an override policy.
async fn complete_override(hub: &Hub, key: &Key) -> Result<(), kube::Error> {
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
fn default_placement(p: &mut Placement) {
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

/// Takes a policy's claims back. Bindings stay as they are, as in Karmada.
async fn release(hub: &Hub, policy: &Key) -> Result<(), kube::Error> {
    for (gvk, key) in claimed_by(hub, policy) {
        let resource = hub.state().templates.get(&gvk).and_then(|t| t.resource.clone());
        let Some(resource) = resource else { continue };
        unclaim(hub, &resource, &key).await?;
        hub.detect.add(Detect::Template(gvk, key));
    }
    let bindings: Vec<Key> = hub
        .state()
        .bindings
        .iter()
        .filter(|(_, b)| claimant(&b.meta).as_ref() == Some(policy))
        .map(|(k, _)| k.clone())
        .collect();
    for key in bindings {
        unclaim(hub, &Hub::binding_resource(&key), &key).await?;
    }
    Ok(())
}

async fn unclaim(hub: &Hub, resource: &ApiResource, key: &Key) -> Result<(), kube::Error> {
    let nulls = |names: &[&str]| {
        names
            .iter()
            .map(|n| ((*n).to_owned(), Value::Null))
            .collect::<Map<_, _>>()
    };
    let patch = json!({"metadata": {"labels": nulls(&CLAIM_LABELS), "annotations": nulls(&CLAIM_ANNOTATIONS)}});
    gone(hub.patch(resource, key, &patch).await)
}

/// How well a selector means an object: by name 3, by labels 2, any 1, not at all 0.
pub(super) fn fit(s: &ResourceSelector, gvk: &Gvk, key: &Key, meta: &ObjectMeta) -> u8 {
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

fn selects(policy: &Policy, gvk: &Gvk, key: &Key, meta: &ObjectMeta) -> u8 {
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
fn find(hub: &Hub, gvk: &Gvk, key: &Key, meta: &ObjectMeta) -> Option<(Key, Arc<Policy>)> {
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

/// A template appeared, changed or went; or a policy that may mean it did.
async fn template(hub: &Arc<Hub>, gvk: &Gvk, key: &Key) -> Result<(), kube::Error> {
    let (object, resource) = {
        let state = hub.state();
        let Some(t) = state.templates.get(gvk) else {
            return Ok(());
        };
        (t.objects.get(key).cloned(), t.resource.clone())
    };
    let binding_key = Key {
        ns: key.ns.clone(),
        name: names::binding_name(&gvk.kind, &key.name),
    };
    hub.needed_by(key);
    let Some(object) = object else {
        return orphaned(hub, gvk, &binding_key).await;
    };
    let Some(resource) = resource else { return Ok(()) };
    if object.metadata.deletion_timestamp.is_some() || name::reserved(&key.ns) {
        return Ok(());
    }
    let Some((policy_key, policy)) = find(hub, gvk, key, &object.metadata) else {
        if claimant(&object.metadata).is_some() {
            unclaim(hub, &resource, key).await?;
            if hub.state().bindings.contains_key(&binding_key) {
                unclaim(hub, &Hub::binding_resource(&binding_key), &binding_key).await?;
            }
        }
        return Ok(());
    };
    if !policy
        .meta
        .labels
        .as_ref()
        .is_some_and(|l| l.contains_key(id_label(&policy_key)))
    {
        // Its id is being written; the policy's next event brings us back.
        hub.detect.add(Detect::Policy(policy_key));
        return Ok(());
    }
    let (labels, annotations) = claim(&policy_key, &policy);
    if let Some(patch) = claim_patch(&object.metadata, &labels, &annotations) {
        let written = hub.patch(&resource, key, &patch).await;
        match written {
            Ok(o) => hub.saw_template(gvk, o),
            Err(e) if not_found(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    bind(hub, gvk, &object, &binding_key, &policy, labels, annotations).await
}

/// The change that makes `meta` carry this claim and no other.
fn claim_patch(
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

/// Makes the template's binding say what the policy and the template say.
async fn bind(
    hub: &Hub,
    gvk: &Gvk,
    object: &DynamicObject,
    key: &Key,
    policy: &Policy,
    mut labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> Result<(), kube::Error> {
    let body = serde_json::to_value(object).unwrap_or_default();
    let meta = &object.metadata;
    let p = &policy.spec;
    let (replicas, requirements, components, priority) = {
        let state = hub.state();
        let rule = state.rules.get(gvk).and_then(|r| r.replicas.clone());
        let (replicas, requirements) = match &rule {
            Some(rule) => customize::replicas(rule, &body),
            None => interpret::replicas(&gvk.kind, &gvk.api_version, &body).unwrap_or((0, None)),
        };
        let components = rule.map(|r| customize::components(&r, &body)).unwrap_or_default();
        let class = p
            .schedule_priority
            .as_ref()
            .and_then(|s| match s.priority_class_source.as_str() {
                "KubePriorityClass" => Some(s.priority_class_name.clone()),
                "PodPriorityClass" => interpret::pod(&gvk.kind, &body)?["priorityClassName"]
                    .as_str()
                    .map(str::to_owned),
                _ => None,
            });
        let priority = class.and_then(|c| state.priorities.get(&c).copied());
        (replicas, requirements, components, priority)
    };
    let group = |term: Option<&WorkloadAffinityTerm>| {
        let label = &term?.group_by_label_key;
        let value = meta.labels.as_ref()?.get(label)?;
        Some(format!("{label}={value}"))
    };
    let groups = p.placement.workload_affinity.as_ref().map(|w| WorkloadAffinityGroups {
        affinity_group: group(w.affinity.as_ref()),
        anti_affinity_group: group(w.anti_affinity.as_ref()),
    });
    let mut spec = ResourceBindingSpec {
        resource: ObjectReference {
            api_version: gvk.api_version.clone(),
            kind: gvk.kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        },
        propagate_deps: p.propagate_deps,
        replica_requirements: requirements,
        replicas,
        scheduler_name: p.scheduler_name.clone().or_else(|| Some("default-scheduler".into())),
        placement: Some(p.placement.clone()),
        failover: p.failover.clone(),
        conflict_resolution: p.conflict_resolution.clone(),
        suspension: p.suspension.clone(),
        preserve_resources_on_deletion: p.preserve_resources_on_deletion,
        schedule_priority: priority.map(|priority| BindingPriority { priority }),
        components,
        workload_affinity_groups: groups.filter(|g| *g != WorkloadAffinityGroups::default()),
        ..Default::default()
    };
    let id_label = if key.ns.is_empty() {
        CLUSTER_BINDING_ID
    } else {
        names::RESOURCE_BINDING_ID
    };
    let finalizer = if key.ns.is_empty() {
        CLUSTER_BINDING_FINALIZER
    } else {
        names::BINDING_FINALIZER
    };
    let existing = hub.state().bindings.get(key).cloned();
    let resource = Hub::binding_resource(key);
    let Some(old) = existing else {
        labels.insert(
            id_label.to_owned(),
            name::permanent_id(&["binding", meta.uid.as_deref().unwrap_or_default()]),
        );
        let owner = OwnerReference {
            api_version: gvk.api_version.clone(),
            kind: gvk.kind.clone(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        // Scheduled before it is there: one write less than creating it and then placing it.
        let mut annotations = annotations;
        let wish = Binding {
            meta: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: meta.namespace.clone(),
                labels: Some(labels.clone()),
                annotations: Some(annotations.clone()),
                ..Default::default()
            },
            spec: spec.clone(),
            status: Default::default(),
        };
        let decided = {
            let mut state = hub.state();
            let v = schedule::verdict(hub, &state, &wish);
            if let Some(targets) = v.as_ref().and_then(schedule::Verdict::targets) {
                state.assume(&wish, &targets);
                spec.clusters = targets;
            }
            v
        };
        if let Some(v) = decided.as_ref().filter(|v| v.targets().is_some()) {
            annotations.insert(names::APPLIED_PLACEMENT.to_owned(), v.applied.clone());
        }
        let new = DynamicObject {
            types: Some(TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            }),
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: meta.namespace.clone(),
                labels: Some(labels),
                annotations: Some(annotations),
                finalizers: Some(vec![finalizer.to_owned()]),
                owner_references: Some(vec![owner]),
                ..Default::default()
            },
            data: json!({"spec": spec}),
        };
        return match hub.api(&resource, &key.ns).create(&PostParams::default(), &new).await {
            Ok(o) => {
                if let Some(v) = &decided {
                    let said = schedule::outcome(hub, &hub.state(), &wish, v, o.metadata.generation, true);
                    schedule::say(hub, key, said);
                }
                hub.saw_binding(o);
                Ok(())
            }
            Err(e) => {
                let mut state = hub.state();
                state.assume(&wish, &[]);
                // The cache will show it.
                if conflict(&e) && state.bindings.contains_key(key) {
                    Ok(())
                } else {
                    Err(e)
                }
            }
        };
    };
    if old.deleting() || old.spec.resource.uid != spec.resource.uid {
        // The binding of a template that was here before: it goes first.
        if !old.deleting() {
            delete_binding(hub, &old).await?;
        }
        hub.detect.add_after(
            Detect::Template(gvk.clone(), Key::of(meta)),
            std::time::Duration::from_millis(100),
        );
        return Ok(());
    }
    let view = |s: &ResourceBindingSpec| {
        let mut s = s.clone();
        // Written by others, or no reason to write.
        s.clusters.clear();
        s.graceful_eviction_tasks.clear();
        s.required_by.clear();
        s.reschedule_triggered_at = None;
        s.resource.resource_version = None;
        serde_json::to_value(s).unwrap_or_default()
    };
    let mut patch = Map::new();
    if let Some(p) = merge_diff(&view(&old.spec), &view(&spec)) {
        patch.insert("spec".into(), p);
    }
    if let Some(Value::Object(p)) = claim_patch(&old.meta, &labels, &annotations) {
        patch.extend(p);
    }
    if patch.is_empty() {
        return Ok(());
    }
    match hub.patch(&resource, key, &Value::Object(patch)).await {
        Ok(o) => {
            hub.saw_binding(o);
            Ok(())
        }
        Err(e) => gone::<()>(Err(e)),
    }
}

async fn delete_binding(hub: &Hub, b: &Binding) -> Result<(), kube::Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: b.meta.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    let key = b.key();
    gone(
        hub.api(&Hub::binding_resource(&key), &key.ns)
            .delete(&key.name, &params)
            .await,
    )
}

/// The template is gone: so is its binding. (A garbage collector would do the same, where one runs.)
async fn orphaned(hub: &Hub, gvk: &Gvk, key: &Key) -> Result<(), kube::Error> {
    let Some(b) = hub.state().bindings.get(key).cloned() else {
        return Ok(());
    };
    if b.deleting() || b.spec.resource.kind != gvk.kind || b.spec.resource.api_version != gvk.api_version {
        return Ok(());
    }
    delete_binding(hub, &b).await
}
