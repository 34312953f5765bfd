//! The binding controller: one Work for each chosen cluster, none for the others (Karmada's
//! `pkg/controllers/binding`). A cluster that is being evicted keeps its Work while the eviction task holds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use cfn_api::karmada::work::{Work, WorkSpec, WorkloadTemplate};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;

use super::diff::merge_diff;
use super::hub::{Binding, Hub, Key, conflict, gone, work};
use super::manifest::{self, Manifest};
use super::name;

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "binding",
        |h| &h.bind,
        |hub, key| async move { reconcile(&hub, &key).await },
    )
    .await;
}

/// The clusters that a binding has its template in: its own, and those of the bindings that need it.
pub(super) fn targets(b: &Binding) -> BTreeSet<String> {
    let needed = b.spec.required_by.iter().flat_map(|r| &r.clusters);
    b.spec.clusters.iter().chain(needed).map(|t| t.name.clone()).collect()
}

async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let (b, template, works) = {
        let state = hub.state();
        let Some(b) = state.bindings.get(key).cloned() else {
            return Ok(());
        };
        let keys = state.works_of.get(b.permanent_id()).into_iter().flatten();
        let works: Vec<Arc<Work>> = keys.filter_map(|k| state.works.get(k).cloned()).collect();
        (Arc::clone(&b), state.template(&b).cloned(), works)
    };
    if b.deleting() {
        for w in &works {
            delete(hub, w).await?;
        }
        if b.meta.finalizers.iter().flatten().next().is_some() {
            gone(
                hub.patch(
                    &Hub::binding_resource(key),
                    key,
                    &json!({"metadata": {"finalizers": null}}),
                )
                .await,
            )?;
        }
        return Ok(());
    }
    let wanted: BTreeSet<String> = {
        let state = hub.state();
        let here = |n: &String| {
            state
                .clusters
                .get(n)
                .is_some_and(|c| c.metadata.deletion_timestamp.is_none())
        };
        targets(&b).into_iter().filter(here).collect()
    };
    for w in &works {
        let cluster = cluster_of(w);
        if !wanted.contains(cluster) && !held(&b, cluster) {
            delete(hub, w).await?;
        }
    }
    let mut failed = None;
    if let Some(template) = template.filter(|t| t.metadata.deletion_timestamp.is_none()) {
        let base = manifest::base(&b, &template);
        let all = wanted.iter().map(|c| ensure(hub, &b, &base, c));
        // One cluster that is not set up yet does not hold the others up.
        for result in futures::future::join_all(all).await {
            if let Err(e) = result {
                failed = Some(e);
            }
        }
    }
    hub.touch(key.clone());
    failed.map_or(Ok(()), Err)
}

/// Whether an eviction task keeps the Work of `cluster`.
fn held(b: &Binding, cluster: &str) -> bool {
    let direct = |m: Option<&str>| matches!(m, Some("Directly" | "Immediately"));
    b.spec
        .graceful_eviction_tasks
        .iter()
        .any(|t| t.from_cluster == cluster && !direct(t.purge_mode.as_deref()))
}

pub(super) fn cluster_of(w: &Work) -> &str {
    w.metadata
        .namespace
        .as_deref()
        .and_then(|n| n.strip_prefix(names::EXECUTION_SPACE_PREFIX))
        .unwrap_or_default()
}

pub(super) async fn delete(hub: &Hub, w: &Work) -> Result<(), kube::Error> {
    if w.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let key = Key::of(&w.metadata);
    let api: Api<DynamicObject> = hub.api(&ApiResource::erase::<Work>(&()), &key.ns);
    gone(api.delete(&key.name, &DeleteParams::background()).await)
}

async fn ensure(hub: &Hub, b: &Binding, base: &manifest::Base, cluster: &str) -> Result<(), kube::Error> {
    let r = &b.spec.resource;
    let key = Key {
        ns: names::execution_namespace(cluster),
        name: name::work_name(&r.kind, &r.name, r.namespace.as_deref().unwrap_or_default()),
    };
    let id = name::permanent_id(&["work", b.permanent_id(), cluster]);
    let m = match manifest::build(hub, b, base, cluster, &key, &id) {
        Ok(m) => m,
        Err(e) => {
            // A policy that makes no sense is mended by whoever wrote it; that brings us back.
            tracing::warn!(binding = %b.key(), cluster, error = %e, "no Work");
            return Ok(());
        }
    };
    let suspension = b.spec.suspension.as_ref();
    let suspended = suspension.is_some_and(|s| {
        s.dispatching == Some(true)
            || s.dispatching_on_clusters
                .as_ref()
                .is_some_and(|c| c.cluster_names.iter().any(|n| n == cluster))
    });
    let preserve = b.spec.preserve_resources_on_deletion.unwrap_or(false);
    put(hub, &key, m, Some((suspended, preserve)), None).await
}

/// Creates a Work or brings it up to date. `switches`: suspendDispatching and preserveResourcesOnDeletion.
pub(super) async fn put(
    hub: &Hub,
    key: &Key,
    m: Manifest,
    switches: Option<(bool, bool)>,
    owner: Option<OwnerReference>,
) -> Result<(), kube::Error> {
    let spec = WorkSpec {
        workload: WorkloadTemplate {
            manifests: vec![m.object],
        },
        suspend_dispatching: switches.map(|s| s.0),
        preserve_resources_on_deletion: switches.map(|s| s.1),
    };
    let api: Api<Work> = Api::namespaced(hub.options.client.clone(), &key.ns);
    let existing = hub.state().works.get(key).cloned();
    let Some(old) = existing else {
        let mut new = Work::new(&key.name, spec);
        new.metadata = ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.ns.clone()),
            labels: Some(m.labels),
            annotations: Some(m.annotations).filter(|a| !a.is_empty()),
            finalizers: Some(vec![names::WORK_FINALIZER.to_owned()]),
            owner_references: owner.map(|o| vec![o]),
            ..Default::default()
        };
        return match api.create(&PostParams::default(), &new).await {
            Ok(w) => {
                hub.saw_work(w);
                Ok(())
            }
            Err(e) if conflict(&e) && hub.state().works.contains_key(key) => Ok(()),
            Err(e) => Err(e),
        };
    };
    if old.metadata.deletion_timestamp.is_some() {
        // The agent is still cleaning up after it; its end brings us back.
        return Ok(());
    }
    let (mut labels, mut annotations) = (
        old.metadata.labels.clone().unwrap_or_default(),
        old.metadata.annotations.clone().unwrap_or_default(),
    );
    labels.extend(m.labels);
    annotations.retain(|k, _| !manifest::APPLIED_OVERRIDES.contains(&k.as_str()));
    annotations.extend(m.annotations);
    let meta_same = old.metadata.labels.as_ref() == Some(&labels)
        && old
            .metadata
            .annotations
            .as_ref()
            .map_or(annotations.is_empty(), |a| *a == annotations);
    if meta_same && old.spec == spec {
        return Ok(());
    }
    let view = |labels: serde_json::Value, annotations: serde_json::Value, spec: &WorkSpec| json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": spec});
    let before = view(
        json!(old.metadata.labels.clone().unwrap_or_default()),
        json!(old.metadata.annotations.clone().unwrap_or_default()),
        &old.spec,
    );
    if let Some(patch) = merge_diff(&before, &view(json!(labels), json!(annotations), &spec)) {
        let w = api
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        hub.saw_work(w);
    }
    Ok(())
}
