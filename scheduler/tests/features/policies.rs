//! What a policy says of a workload beyond its placement.

use std::collections::BTreeMap;

use cfn_api::karmada::policy::PropagationPolicy;
use cfn_api::karmada::work::{ResourceBinding, Work};
use cfn_scheduler::controllers::Timers;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{eventually, seconds};
use crate::{apply, manifest, members, on, policy, selects, two_members};

#[tokio::test(start_paused = true)]
async fn overrides_change_a_members_manifest_and_no_other() {
    let w = two_members().await;
    apply(&w.client, json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "ClusterOverridePolicy", "metadata": {"name": "all"},
        "spec": {"overrideRules": [{"overriders": {"labelsOverrider": [{"operator": "add", "value": {"from": "cop"}}]}}]}})).await;
    apply(&w.client, json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "OverridePolicy",
        "metadata": {"name": "mirror", "namespace": "default"}, "spec": {"resourceSelectors": selects("web"), "overrideRules": [{
            "targetCluster": {"clusterNames": ["member1"]},
            "overriders": {"imageOverrider": [{"component": "Registry", "operator": "replace", "value": "mirror.example"}]}}]}})).await;
    w.deploy("web", 1, "100m").await;
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": on(&["member1", "member2"]), "resourceSelectors": selects("web")}),
        ),
    )
    .await;
    let image = |c: &'static str| {
        let w = &w;
        async move {
            let m = manifest(w, c, "Deployment", "web").await?;
            let image = m["spec"]["template"]["spec"]["containers"][0]["image"]
                .as_str()?
                .to_owned();
            (m["metadata"]["labels"]["from"] == "cop").then_some(image)
        }
    };
    let (here, _) = eventually("member1's manifest", seconds(3), || image("member1")).await;
    let (there, _) = eventually("member2's manifest", seconds(3), || image("member2")).await;
    assert_eq!((here.as_str(), there.as_str()), ("mirror.example/x:1", "x:1"));
    // Without the policy the manifest is as the template.
    let api: Api<cfn_api::karmada::overrides::OverridePolicy> = w.ns("default");
    api.delete("mirror", &DeleteParams::default()).await.unwrap();
    eventually("the override goes", seconds(3), || async {
        image("member1").await.filter(|i| i == "x:1")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_deployment_names_follows_it_and_goes_with_it() {
    let w = two_members().await;
    let conf: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"a": "1"}}))
            .unwrap();
    w.ns("default").create(&Default::default(), &conf).await.unwrap();
    w.deploy("web", 1, "100m").await;
    let with = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x:1", "envFrom": [{"configMapRef": {"name": "conf"}}]}]}}}});
    let deployments = w.ns::<Deployment>("default");
    deployments
        .patch("web", &PatchParams::default(), &Patch::Strategic(with))
        .await
        .unwrap();
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": on(&["member2"]), "propagateDeps": true, "resourceSelectors": selects("web")}),
        ),
    )
    .await;
    eventually("the ConfigMap in member2", seconds(3), || {
        manifest(&w, "member2", "ConfigMap", "conf")
    })
    .await;
    assert_eq!(manifest(&w, "member1", "ConfigMap", "conf").await, None);
    let attached: ResourceBinding = w.ns("default").get("conf-configmap").await.unwrap();
    assert_eq!(attached.spec.required_by[0].name, "web-deployment");
    assert!(
        attached
            .labels()
            .keys()
            .any(|l| l.starts_with("resourcebinding.karmada.io/depended-by-"))
    );
    // It moves with the Deployment ...
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": on(&["member1"]), "propagateDeps": true, "resourceSelectors": selects("web")}),
        ),
    )
    .await;
    eventually("the ConfigMap in member1", seconds(3), || {
        manifest(&w, "member1", "ConfigMap", "conf")
    })
    .await;
    eventually("and no longer in member2", seconds(3), || async {
        manifest(&w, "member2", "ConfigMap", "conf")
            .await
            .is_none()
            .then_some(())
    })
    .await;
    // ... and goes when nobody needs it.
    let without = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "envFrom": null}]}}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Strategic(without))
        .await
        .unwrap();
    eventually("nobody needs it", seconds(5), || async {
        let b: Option<ResourceBinding> = w.ns("default").get_opt("conf-configmap").await.unwrap();
        b.is_none().then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn preemption_is_by_gate_priority_and_wish() {
    for (gate, preemption, priority, want) in [
        (true, "Always", 5, "member2"),
        (true, "Always", 1, "member1"),
        (true, "Never", 5, "member1"),
        (false, "Always", 5, "member1"),
    ] {
        let timers = Timers {
            policy_preemption: gate,
            ..Timers::default()
        };
        let w = members(timers, &["member1", "member2"]).await;
        w.deploy("web", 1, "100m").await;
        apply(
            &w.client,
            policy(
                "low",
                json!({"placement": on(&["member1"]), "priority": 1, "resourceSelectors": selects("web")}),
            ),
        )
        .await;
        w.expect("web", &[("member1", 1)], seconds(2)).await;
        let high = json!({"placement": on(&["member2"]), "priority": priority, "preemption": preemption, "resourceSelectors": selects("web")});
        apply(&w.client, policy("high", high)).await;
        tokio::time::sleep(seconds(2)).await;
        assert_eq!(
            w.placed("web").await,
            BTreeMap::from([(want.to_owned(), 1)]),
            "{gate} {preemption} {priority}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_go_to_every_member_and_away_again() {
    let w = two_members().await;
    let ns: Namespace = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    w.all().create(&Default::default(), &ns).await.unwrap();
    for m in ["member1", "member2"] {
        eventually("the namespace", seconds(3), || manifest(&w, m, "Namespace", "team")).await;
    }
    // A member that comes later gets it too.
    w.join("member3", "1").await;
    eventually("the namespace", seconds(3), || {
        manifest(&w, "member3", "Namespace", "team")
    })
    .await;
    w.all::<Namespace>()
        .delete("team", &DeleteParams::default())
        .await
        .unwrap();
    eventually("gone", seconds(5), || async {
        manifest(&w, "member1", "Namespace", "team")
            .await
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn only_bindings_with_our_schedulers_name_are_ours() {
    let w = two_members().await;
    w.deploy("web", 1, "1").await;
    apply(
        &w.client,
        policy(
            "p",
            json!({"placement": on(&["member1"]), "schedulerName": "another", "resourceSelectors": selects("web")}),
        ),
    )
    .await;
    eventually("a binding", seconds(2), || w.binding("web")).await;
    tokio::time::sleep(seconds(3)).await;
    let b = w.binding("web").await.unwrap();
    assert_eq!((b.spec.clusters.len(), b.status), (0, None));
    apply(&w.client, policy("p", json!({"placement": on(&["member1"]), "schedulerName": "default-scheduler", "resourceSelectors": selects("web")}))).await;
    w.expect("web", &[("member1", 1)], seconds(3)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_suspended_waits() {
    let w = two_members().await;
    w.deploy("web", 1, "1").await;
    let spec = |suspension: Value| json!({"placement": on(&["member1", "member2"]), "suspension": suspension, "resourceSelectors": selects("web")});
    apply(&w.client, policy("p", spec(json!({"scheduling": true})))).await;
    eventually("a binding", seconds(2), || w.binding("web")).await;
    tokio::time::sleep(seconds(2)).await;
    assert_eq!(w.placed("web").await, BTreeMap::new());
    apply(
        &w.client,
        policy(
            "p",
            spec(json!({"dispatchingOnClusters": {"clusterNames": ["member2"]}})),
        ),
    )
    .await;
    let suspended = || async {
        let of = async |c: &str| {
            let w: Option<Work> = w
                .ns(&format!("karmada-es-{c}"))
                .get_opt("web-7b7cc5b9ff")
                .await
                .unwrap();
            w?.spec.suspend_dispatching
        };
        Some((of("member1").await?, of("member2").await?))
    };
    let (s, _) = eventually("Works", seconds(3), suspended).await;
    assert_eq!(s, (false, true));
    let p = w.ns::<PropagationPolicy>("default").get("p").await.unwrap();
    assert_eq!(p.spec.preemption.as_deref(), Some("Never"));
}
