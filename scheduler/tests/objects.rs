//! What the controllers write against what a live Karmada wrote in the same steps (`oracle/objects`, not part of the
//! repository): policies, bindings, and the Works' names, metadata and manifests. Statuses that come from real members
//! are played by a task here, so of statuses only the conditions are compared.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::{ClusterPropagationPolicy, PropagationPolicy};
use cfn_api::karmada::work::{ClusterResourceBinding, ResourceBinding, Work};
use cfn_apiserver::cluster::{Cluster as Hub, ClusterOptions};
use cfn_net::{Net, Seed, SharedClock, Transport, VirtualClock};
use cfn_scheduler::controllers::{self, Options, Timers};
use cfn_scheduler::offline;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Cases that are about what this slice does not have, with the reason.
const LEFT_OUT: [(&str, &str); 6] = [
    ("override-", "OverridePolicy"),
    ("rebalance", "WorkloadRebalancer"),
    ("namespace-propagated", "namespace synchronisation"),
    ("conflict-abort", "needs a real member"),
    (
        "scaled-up",
        "the tie goes by the template's uid, which the recording masks",
    ),
    (
        "spread-cluster",
        "the choice goes by the room of members that the recording does not show",
    ),
];

fn shared() -> PathBuf {
    std::env::var_os("CFN_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    )
}

/// Whether a word is a UUID.
fn uuid(s: &str) -> bool {
    s.len() == 36
        && s.bytes().enumerate().all(|(i, b)| {
            if matches!(i, 8 | 13 | 18 | 23) {
                b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        })
}

/// Hides what differs from run to run, as the recorder does; leaves out what only a real member says.
fn mask(v: &Value) -> Value {
    const HIDDEN: [&str; 16] = [
        "managedFields",
        "resourceVersion",
        "uid",
        "generation",
        "creationTimestamp",
        "observedGeneration",
        "selfLink",
        "clusterIP",
        "clusterIPs",
        "schedulerObservedGeneration",
        "resourcetemplate.karmada.io/generation",
        "terminatingReplicas",
        "lastTransitionTime",
        "explanation",
        "aggregatedStatus",
        "manifestStatuses",
    ];
    match v {
        Value::Object(o) => o
            .iter()
            .filter(|(k, _)| !HIDDEN.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), mask(v)))
            .collect(),
        Value::Array(a) => {
            let mut a: Vec<Value> = a.iter().map(mask).collect();
            if a.iter().all(|c| c.get("type").is_some() && c.get("reason").is_some()) {
                a.sort_by_key(|c| c["type"].to_string());
            }
            a.into()
        }
        Value::String(s) if uuid(s) => "UUID".into(),
        Value::String(s) if s.len() >= 20 && s.ends_with('Z') && s.as_bytes()[10] == b'T' => "TIME".into(),
        other => other.clone(),
    }
}

fn differences(path: &str, real: &Value, ours: &Value, out: &mut Vec<String>) {
    match (real, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for k in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let null = Value::Null;
                differences(
                    &format!("{path}/{k}"),
                    a.get(k).unwrap_or(&null),
                    b.get(k).unwrap_or(&null),
                    out,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}/{i}"), a, b, out);
            }
        }
        _ if real == ours => {}
        _ => out.push(format!("{path}: Karmada {real}, ours {ours}")),
    }
}

/// The objects that are compared, by `Kind namespace/name`.
async fn snapshot(client: &Client) -> BTreeMap<String, Value> {
    let kinds = [
        ApiResource::erase::<PropagationPolicy>(&()),
        ApiResource::erase::<ClusterPropagationPolicy>(&()),
        ApiResource::erase::<ResourceBinding>(&()),
        ApiResource::erase::<ClusterResourceBinding>(&()),
        ApiResource::erase::<Work>(&()),
    ];
    let mut all = BTreeMap::new();
    for r in &kinds {
        let list = Api::<DynamicObject>::all_with(client.clone(), r)
            .list(&Default::default())
            .await
            .unwrap();
        for o in list.items {
            let (ns, name) = (
                o.metadata.namespace.clone().unwrap_or_default(),
                o.metadata.name.clone().unwrap_or_default(),
            );
            let mut v = serde_json::to_value(&o).unwrap();
            v["apiVersion"] = r.api_version.clone().into();
            v["kind"] = r.kind.clone().into();
            all.insert(format!("{} {ns}/{name}", r.kind), mask(&v));
        }
    }
    all
}

/// Every member's agent: applied and healthy, and gone when asked to.
async fn agents(client: Client) {
    let resource = ApiResource::erase::<Work>(&());
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for w in Api::<Work>::all(client.clone())
            .list(&Default::default())
            .await
            .unwrap()
            .items
        {
            let api: Api<DynamicObject> =
                Api::namespaced_with(client.clone(), w.metadata.namespace.as_deref().unwrap(), &resource);
            let name = w.metadata.name.as_deref().unwrap();
            if w.metadata.deletion_timestamp.is_some() {
                let _ = api
                    .patch(
                        name,
                        &PatchParams::default(),
                        &Patch::Merge(json!({"metadata": {"finalizers": null}})),
                    )
                    .await;
                continue;
            }
            let suspended = w.spec.suspend_dispatching == Some(true);
            let at = "2026-01-01T00:00:00Z";
            let conditions = if suspended {
                json!([{"type": "Dispatching", "status": "False", "reason": "SuspendDispatching", "message": "Work dispatching is in a suspended state.", "lastTransitionTime": at}])
            } else {
                json!([{"type": "Dispatching", "status": "True", "reason": "Dispatching", "message": "Work is being dispatched to member clusters.", "lastTransitionTime": at},
                    {"type": "Applied", "status": "True", "reason": "AppliedSuccessful", "message": "Manifest has been successfully applied", "lastTransitionTime": at}])
            };
            if w.status.as_ref().is_none_or(|s| json!(s.conditions) != conditions) {
                let n = w.spec.workload.manifests[0]["spec"]["replicas"].as_i64().unwrap_or(0);
                let status = if suspended {
                    json!({"conditions": conditions})
                } else {
                    json!({"conditions": conditions, "manifestStatuses": [{"health": "Healthy", "status": {"replicas": n, "readyReplicas": n}}]})
                };
                let _ = api
                    .patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status})))
                    .await;
            }
        }
    }
}

fn member(name: &str, region: &str, provider: &str, zone: &str, tier: &str) -> Cluster {
    let api = |gv: &str, kinds: &[(&str, &str)]| json!({"groupVersion": gv, "resources": kinds.iter().map(|(n, k)| json!({"name": n, "kind": k})).collect::<Vec<_>>()});
    serde_json::from_value(json!({
        "apiVersion": "cluster.karmada.io/v1alpha1", "kind": "Cluster",
        "metadata": {"name": name, "labels": {"tier": tier}},
        "spec": {"syncMode": "Push", "region": region, "provider": provider, "zones": [zone]},
        "status": {
            "apiEnablements": [api("apps/v1", &[("deployments", "Deployment")]), api("v1", &[("configmaps", "ConfigMap"), ("services", "Service")]),
                api("batch/v1", &[("jobs", "Job")]), api("rbac.authorization.k8s.io/v1", &[("clusterroles", "ClusterRole")])],
            "conditions": [{"type": "Ready", "status": "True", "reason": "ClusterReady", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "resourceSummary": {"allocatable": {"cpu": "128", "memory": "1Ti", "pods": "440"}},
        }
    }))
    .unwrap()
}

fn resource_of(manifest: &Value) -> ApiResource {
    let (api_version, kind) = (
        manifest["apiVersion"].as_str().unwrap(),
        manifest["kind"].as_str().unwrap(),
    );
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind))
}

fn api_of(client: &Client, resource: &ApiResource, ns: &str) -> Api<DynamicObject> {
    if ns.is_empty() {
        Api::all_with(client.clone(), resource)
    } else {
        Api::namespaced_with(client.clone(), ns, resource)
    }
}

async fn step(client: &Client, step: &[Value]) {
    match step[0].as_str().unwrap() {
        "apply" => {
            for m in &step[1..] {
                let params = PatchParams::apply("kubectl").force();
                let ns = m["metadata"]["namespace"].as_str().unwrap_or_default();
                api_of(client, &resource_of(m), ns)
                    .patch(m["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(m))
                    .await
                    .unwrap();
            }
        }
        "delete" | "patch" => {
            assert_eq!(step[1], "deployment");
            let resource = ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
            let (api, name) = (
                api_of(client, &resource, step[2].as_str().unwrap()),
                step[3].as_str().unwrap(),
            );
            if step[0] == "delete" {
                api.delete(name, &Default::default()).await.unwrap();
            } else {
                api.patch(name, &PatchParams::default(), &Patch::Strategic(&step[4]))
                    .await
                    .unwrap();
            }
        }
        "taint" => {
            let api: Api<Cluster> = Api::all(client.clone());
            let patch = json!({"spec": {"taints": [step[2]]}});
            api.patch(step[1].as_str().unwrap(), &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap();
        }
        other => panic!("step {other}"),
    }
}

async fn play(case: &Value) -> Result<(), Failed> {
    let net = Net::new(Transport::Memory, Seed(1));
    net.add_host("hub", "cloud");
    let clock: SharedClock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let hub = Hub::start(ClusterOptions {
        name: "hub".into(),
        net,
        clock: clock.clone(),
        seed: Seed(1),
        host: "hub".into(),
        port: 6443,
        socket: None,
        extra_sans: vec![],
        timers: Default::default(),
        workloads: Default::default(),
        controllers: false,
        allow_anonymous_health: true,
        bootstrap_token: String::new(),
    })
    .await
    .unwrap();
    let client = hub.client();
    for crd in cfn_api::crds() {
        Api::all(client.clone())
            .create(&PostParams::default(), &crd)
            .await
            .unwrap();
    }
    let cancel = CancellationToken::new();
    // The recording had Karmada's default gates: no failover.
    let timers = Timers {
        failover: false,
        ..Timers::default()
    };
    let options = Options {
        client: client.clone(),
        clock,
        seed: Seed(1),
        timers,
        scheduler_name: "default-scheduler".into(),
        defect: None,
        auto_approve: false,
        ready: None,
    };
    tokio::spawn(controllers::run(options, cancel.clone()));
    let players = tokio::spawn(agents(client.clone()));
    for c in [
        member("member1", "north", "p1", "z1", "cloud"),
        member("member2", "north", "p2", "z2", "cloud"),
        member("member3", "south", "p3", "z3", "edge"),
    ] {
        let (api, name) = (Api::<Cluster>::all(client.clone()), c.metadata.name.clone().unwrap());
        api.create(&PostParams::default(), &c).await.unwrap();
        api.patch_status(
            &name,
            &PatchParams::default(),
            &Patch::Merge(json!({"status": c.status})),
        )
        .await
        .unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut shots = case["after"].as_array().into_iter().flatten();
    let mut out = Vec::new();
    for (i, s) in case["steps"].as_array().into_iter().flatten().enumerate() {
        let s = s.as_array().unwrap();
        if s[0] != "settle" {
            step(&client, s).await;
            continue;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let ours = snapshot(&client).await;
        let theirs = shots.next().unwrap()["hub"].as_object().unwrap();
        let compared = |k: &str| {
            [
                "PropagationPolicy",
                "ClusterPropagationPolicy",
                "ResourceBinding",
                "ClusterResourceBinding",
                "Work",
            ]
            .iter()
            .any(|w| k.starts_with(&format!("{w} ")))
        };
        let theirs: BTreeMap<String, Value> = theirs
            .iter()
            .filter(|(k, _)| compared(k))
            .map(|(k, v)| (k.clone(), mask(v)))
            .collect();
        for k in theirs.keys().chain(ours.keys().filter(|k| !theirs.contains_key(*k))) {
            match (theirs.get(k), ours.get(k)) {
                (Some(a), Some(b)) => differences(&format!("[{i}] {k}"), a, b, &mut out),
                (a, _) => out.push(format!(
                    "[{i}] {k}: {}",
                    if a.is_some() { "missing" } else { "unexpected" }
                )),
            }
        }
    }
    players.abort();
    cancel.cancel();
    hub.stop().await;
    if out.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} differences:\n{}",
            out.len(),
            out.iter().take(12).cloned().collect::<Vec<_>>().join("\n")
        )
        .into())
    }
}

fn main() {
    let args = Arguments::from_args();
    let file = std::fs::read(shared().join("oracle/objects/karmada-objects.jsonl.gz"));
    let cases = file.ok().and_then(|f| offline_lines(&f));
    let trials = match cases {
        None => vec![
            Trial::test(
                "same objects as Karmada (no oracle/objects/karmada-objects.jsonl.gz; set CFN_SHARED)",
                || Ok(()),
            )
            .with_ignored_flag(true),
        ],
        Some(cases) => cases
            .into_iter()
            .map(|case| {
                let name = case["case"].as_str().unwrap_or_default().to_owned();
                match LEFT_OUT.iter().find(|(n, _)| name.starts_with(n)) {
                    Some((_, why)) => Trial::test(format!("{name} ({why})"), || Ok(())).with_ignored_flag(true),
                    None => Trial::test(name, move || {
                        let rt = tokio::runtime::Builder::new_current_thread()
                            .enable_all()
                            .start_paused(true)
                            .build()?;
                        rt.block_on(play(&case))
                    }),
                }
            })
            .collect(),
    };
    libtest_mimic::run(&args, trials).exit();
}

/// The cases, untouched (null values included, unlike [`offline::documents`]).
fn offline_lines(file: &[u8]) -> Option<Vec<Value>> {
    offline::documents(file).ok()
}
