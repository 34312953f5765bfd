//! A cluster agent joins a hub, is accepted, reports, probes, carries out Works and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use cfn_agent::cluster::{AgentTimers, ClusterAgentOptions, probe, run};
use cfn_api::cfn::ComputingMetric;
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::{Work, WorkSpec, WorkloadTemplate};
use cfn_api::{conditions, names};
use cfn_net::LinkSpec;
use common::{Bed, SEED, eventually, hub_crds};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn joins_works_and_leaves() {
    let bed = Bed::new();
    let (hub, member) = (bed.cluster("hub", "center").await, bed.cluster("member1", "edge").await);
    let link = LinkSpec {
        latency: 4.5,
        ..LinkSpec::default()
    };
    bed.net.set_link("center", "edge", link);
    let admin = hub.client();
    hub_crds(&admin).await;
    for ns in [
        names::LEASE_NAMESPACE,
        names::CFN_NAMESPACE,
        &names::execution_namespace("member1"),
    ] {
        let ns = Namespace {
            metadata: ObjectMeta {
                name: Some(ns.into()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::<Namespace>::all(admin.clone())
            .create(&PostParams::default(), &ns)
            .await
            .unwrap();
    }
    // The scheduler's controllers give an agent its own objects only; here it may do everything.
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "agents"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": names::AGENT_GROUP}],
    }))
    .unwrap();
    Api::<ClusterRoleBinding>::all(admin.clone())
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    let targets: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": names::PROBE_TARGETS}, "data": {"center": "hub:7946"},
    }))
    .unwrap();
    Api::<ConfigMap>::namespaced(admin.clone(), names::CFN_NAMESPACE)
        .create(&PostParams::default(), &targets)
        .await
        .unwrap();

    let cancel = CancellationToken::new();
    tokio::spawn(probe::respond_at(bed.net.clone(), "hub".to_owned(), cancel.clone()));
    let agent = tokio::spawn(run(
        ClusterAgentOptions {
            cluster: "member1".into(),
            site: "edge".into(),
            labels: BTreeMap::from([("tier".into(), "edge".into())]),
            annotations: BTreeMap::new(),
            provider: Some("p1".into()),
            region: Some("north".into()),
            zones: vec!["z1".into()],
            net: bed.net.clone(),
            host: "member1".into(),
            hub: hub.bootstrap_config(),
            member: member.client(),
            clock: bed.clock.clone(),
            seed: SEED.child("agent"),
            timers: AgentTimers::default(),
            state: cfn_agent::cluster::identity::State::Forgotten,
            autonomy: false,
            ready: None,
        },
        cancel.clone(),
    ));

    // Nothing works before the hub's administrator has accepted.
    let csrs: Api<CertificateSigningRequest> = Api::all(admin.clone());
    eventually("a signing request", MINUTE, async || {
        !csrs.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
    tokio::time::sleep(MINUTE).await;
    let clusters: Api<Cluster> = Api::all(admin.clone());
    assert!(clusters.list(&ListParams::default()).await.unwrap().items.is_empty());
    let name = csrs.list(&ListParams::default()).await.unwrap().items[0].name_any();
    let approved = json!({"status": {"conditions": [
        {"type": "Approved", "status": "True", "reason": "Accepted", "message": "by the administrator"}]}});
    csrs.patch_approval(&name, &PatchParams::default(), &Patch::Merge(approved))
        .await
        .unwrap();

    eventually("Ready", MINUTE, async || {
        clusters
            .get_opt("member1")
            .await
            .unwrap()
            .and_then(|c| c.status)
            .is_some_and(|s| {
                conditions::is_true(&s.conditions, "Ready")
                    && s.api_enablements.iter().any(|a| a.group_version == "apps/v1")
            })
    })
    .await;
    let leases: Api<Lease> = Api::namespaced(admin.clone(), names::LEASE_NAMESPACE);
    eventually("a lease", MINUTE, async || {
        leases.get_opt("member1").await.unwrap().is_some()
    })
    .await;
    let metrics: Api<ComputingMetric> = Api::all(admin.clone());
    eventually("the measured round trip", MINUTE, async || {
        let status = metrics.get_opt("member1").await.unwrap().and_then(|m| m.status);
        status.is_some_and(|s| {
            s.l0.rtt
                .iter()
                .any(|r| r.site == "center" && (r.milliseconds - 9.0).abs() < 0.001)
        })
    })
    .await;

    // A Work is applied, reported, kept, and taken away.
    let works: Api<Work> = Api::namespaced(admin.clone(), &names::execution_namespace("member1"));
    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}, "metadata": {
        "name": "c", "namespace": "default", "labels": {names::MANAGED_LABEL: "true"},
        "annotations": {names::WORK_NAME: "w", names::WORK_NAMESPACE: names::execution_namespace("member1")}}});
    let work = Work::new(
        "w",
        WorkSpec {
            workload: WorkloadTemplate {
                manifests: vec![manifest],
            },
            ..WorkSpec::default()
        },
    );
    works.create(&PostParams::default(), &work).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(member.client(), "default");
    eventually("the ConfigMap", MINUTE, async || {
        maps.get_opt("c").await.unwrap().is_some()
    })
    .await;
    eventually("Applied", MINUTE, async || {
        let status = works.get("w").await.unwrap().status;
        status.is_some_and(|s| {
            conditions::is_true(&s.conditions, "Applied")
                && s.manifest_statuses
                    .first()
                    .is_some_and(|m| m.health.as_deref() == Some("Healthy"))
        })
    })
    .await;
    maps.delete("c", &DeleteParams::default()).await.unwrap();
    eventually("the ConfigMap again", MINUTE, async || {
        maps.get_opt("c").await.unwrap().is_some()
    })
    .await;

    // Not ours: left alone and told.
    let own: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "own"}, "data": {"x": "y"}})).unwrap();
    maps.create(&PostParams::default(), &own).await.unwrap();
    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own", "namespace": "default",
        "labels": {names::MANAGED_LABEL: "true"}, "annotations": {names::WORK_NAME: "w2"}}});
    let work = Work::new(
        "w2",
        WorkSpec {
            workload: WorkloadTemplate {
                manifests: vec![manifest],
            },
            ..WorkSpec::default()
        },
    );
    works.create(&PostParams::default(), &work).await.unwrap();
    eventually("the conflict", MINUTE, async || {
        let status = works.get("w2").await.unwrap().status;
        status.is_some_and(|s| {
            conditions::get(&s.conditions, "Applied").is_some_and(|c| c.message.contains("already exists"))
        })
    })
    .await;

    // What was deleted while the link was cut goes after the heal.
    bed.net.cut("center", "edge");
    works.delete("w", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(MINUTE * 2).await;
    assert!(maps.get_opt("c").await.unwrap().is_some());
    bed.net.heal("center", "edge");
    eventually("gone from the member", MINUTE, async || {
        maps.get_opt("c").await.unwrap().is_none()
    })
    .await;
    eventually("gone from the hub", MINUTE, async || {
        works.get_opt("w").await.unwrap().is_none()
    })
    .await;

    // Leaving: the agent ends when its Cluster is gone.
    let labels = clusters.get("member1").await.unwrap().labels().clone();
    assert_eq!(labels.get("tier").map(String::as_str), Some("edge"));
    let none = json!({"metadata": {"finalizers": null}});
    clusters
        .patch("member1", &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    clusters.delete("member1", &DeleteParams::default()).await.unwrap();
    tokio::time::timeout(MINUTE, agent).await.unwrap().unwrap().unwrap();
    cancel.cancel();
}
