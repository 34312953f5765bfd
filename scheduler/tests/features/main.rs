//! What Karmada has beyond placing a Deployment, each end to end against a hub with the controllers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod failing;
mod kinds;
mod placing;
mod policies;
#[path = "../world/mod.rs"]
mod world;

use cfn_api::conditions;
use cfn_api::karmada::work::{SCHEDULED, Work};
use cfn_scheduler::controllers::Timers;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use world::World;

/// `kubectl apply` of any object.
async fn apply(client: &Client, object: Value) {
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let mut r = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind.ends_with("Policy") {
        r.plural = format!("{}ies", kind.to_lowercase().trim_end_matches('y'));
    }
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(ns) => Api::namespaced_with(client.clone(), ns, &r),
        None => Api::all_with(client.clone(), &r),
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object))
        .await
        .unwrap();
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "PropagationPolicy",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn selects(deployment: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}])
}

fn on(clusters: &[&str]) -> Value {
    json!({"clusterAffinity": {"clusterNames": clusters}})
}

fn aggregated(clusters: &[&str]) -> Value {
    json!({"clusterAffinity": {"clusterNames": clusters},
        "replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}})
}

async fn two_members() -> World {
    members(Timers::default(), &["member1", "member2"]).await
}

async fn members(timers: Timers, names: &[&str]) -> World {
    let w = World::new(timers).await;
    for m in names {
        w.join(m, "100").await;
    }
    w
}

/// The manifest in the Work of `name` for a member.
async fn manifest(w: &World, cluster: &str, kind: &str, name: &str) -> Option<Value> {
    let works = w
        .ns::<Work>(&format!("karmada-es-{cluster}"))
        .list(&Default::default())
        .await
        .unwrap();
    let manifests = works
        .items
        .into_iter()
        .filter(|w| w.metadata.deletion_timestamp.is_none());
    let mut all = manifests.flat_map(|w| w.spec.workload.manifests);
    all.find(|m| m["kind"] == kind && m["metadata"]["name"] == name)
}

async fn condition(w: &World, name: &str) -> Option<(String, String, String)> {
    let status = w.binding(name).await?.status?;
    let c = conditions::get(&status.conditions, SCHEDULED)?;
    Some((c.status.clone(), c.reason.clone(), c.message.clone()))
}
