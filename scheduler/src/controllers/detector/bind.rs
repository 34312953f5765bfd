//! A claimed template's binding.

use std::collections::BTreeMap;

use cfn_api::karmada::policy::WorkloadAffinityTerm;
use cfn_api::karmada::work::{BindingPriority, ObjectReference, ResourceBindingSpec, WorkloadAffinityGroups};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::core::TypeMeta;
use serde_json::{Map, Value, json};

use crate::controllers::detector::claim::claim_patch;
use crate::controllers::diff::merge_diff;
use crate::controllers::hub::{Binding, CLUSTER_BINDING_ID, Detect, Gvk, Hub, Key, Policy, conflict, gone};
use crate::controllers::{customize, interpret, name, schedule};

/// Finalizer of cluster-wide bindings.
pub(in crate::controllers) const CLUSTER_BINDING_FINALIZER: &str = "karmada.io/cluster-resource-binding-controller";

/// Makes the template's binding say what the policy and the template say.
pub(super) async fn bind(
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

pub(super) async fn delete_binding(hub: &Hub, b: &Binding) -> Result<(), kube::Error> {
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
pub(super) async fn orphaned(hub: &Hub, gvk: &Gvk, key: &Key) -> Result<(), kube::Error> {
    let Some(b) = hub.state().bindings.get(key).cloned() else {
        return Ok(());
    };
    if b.deleting() || b.spec.resource.kind != gvk.kind || b.spec.resource.api_version != gvk.api_version {
        return Ok(());
    }
    delete_binding(hub, &b).await
}
