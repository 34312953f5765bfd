//! The same objects as a live Karmada wrote in the same steps (`oracle/objects`, not part of the repository): bindings,
//! Works, policies, templates with their statuses on the hub, and what reached the members. Embedded clusters under
//! virtual time; `record.py` and `compare.py` beside the data do the same with kubectl (docs/karmada.md).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use cfn::lane::{Defects, Plan, Testbed, by_name};
use cfn::scenario::find_topology;
use cfn::timers::Timers;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

/// Where ours differ, and why (the same list as in docs/karmada.md).
const DIFFERENT: [(&str, &str); 1] = [(
    "spread-cluster",
    "the recorded choice goes by a report of room that was up to 10 s old; ours are not",
)];

/// In this case one member gets the odd replica by a hash of the template's uid: it is played with the first seed whose
/// uid has the recorded template's tie.
const BY_UID: &str = "scaled-up";
/// Seeds that are tried: a seed in two is right.
const SEEDS: u64 = 20;

/// Kinds on the hub that are compared.
const HUB: [(&str, &str, &str); 12] = [
    ("policy.karmada.io", "v1alpha1", "PropagationPolicy"),
    ("policy.karmada.io", "v1alpha1", "ClusterPropagationPolicy"),
    ("policy.karmada.io", "v1alpha1", "OverridePolicy"),
    ("policy.karmada.io", "v1alpha1", "ClusterOverridePolicy"),
    ("work.karmada.io", "v1alpha2", "ResourceBinding"),
    ("work.karmada.io", "v1alpha2", "ClusterResourceBinding"),
    ("work.karmada.io", "v1alpha1", "Work"),
    ("apps.karmada.io", "v1alpha1", "WorkloadRebalancer"),
    ("apps", "v1", "Deployment"),
    ("batch", "v1", "Job"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Service"),
];

/// Fields that differ from run to run, as `record.py` hides them.
const HIDDEN: [&str; 14] = [
    "managedFields",
    "resourceVersion",
    "uid",
    "generation",
    "creationTimestamp",
    "observedGeneration",
    "selfLink",
    "clusterIP",
    "clusterIPs",
    "resourceTemplateGeneration",
    "resourceTemplateGenerationAnnotationKey",
    "schedulerObservedGeneration",
    "resourcetemplate.karmada.io/generation",
    "terminatingReplicas",
];

/// The data beside the repository: `../shared` of it, or of a directory above.
fn shared() -> PathBuf {
    if let Some(p) = std::env::var_os("CFN_SHARED") {
        return p.into();
    }
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = here
        .ancestors()
        .map(|a| a.join("shared"))
        .find(|p| p.join("oracle").is_dir());
    found.unwrap_or_else(|| here.join("../../shared"))
}

fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

/// Hides UUIDs and times within a text.
fn hide(s: &str) -> String {
    let b = s.as_bytes();
    let mut out = String::new();
    let mut i = 0;
    while i < b.len() {
        let uuid = b.get(i..i + 36).is_some_and(|w| {
            w.iter().enumerate().all(|(n, c)| {
                if [8, 13, 18, 23].contains(&n) {
                    *c == b'-'
                } else {
                    is_hex(*c)
                }
            })
        });
        if uuid {
            out.push_str("UUID");
            i += 36;
            continue;
        }
        let pattern = b"dddd-dd-ddTdd:dd:dd";
        let time = b.get(i..i + pattern.len()).is_some_and(|w| {
            w.iter()
                .zip(pattern)
                .all(|(c, p)| if *p == b'd' { c.is_ascii_digit() } else { c == p })
        });
        if time {
            let mut end = i + pattern.len();
            if b.get(end) == Some(&b'.') {
                end += 1;
                while b.get(end).is_some_and(u8::is_ascii_digit) {
                    end += 1;
                }
            }
            if b.get(end) == Some(&b'Z') {
                out.push_str("TIME");
                i = end + 1;
                continue;
            }
        }
        let len = s[i..].chars().next().map_or(1, char::len_utf8);
        out.push_str(&s[i..i + len]);
        i += len;
    }
    out
}

/// Masks as `record.py` does, and sorts the lists whose order means nothing as `compare.py` does.
fn mask(v: &Value) -> Value {
    match v {
        Value::Object(o) => o
            .iter()
            .filter(|(k, _)| !HIDDEN.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), mask(v)))
            .collect(),
        Value::Array(a) => {
            let mut a: Vec<Value> = a.iter().map(mask).collect();
            for key in ["clusterName", "name", "type"] {
                let has = |v: &Value| v.get(key).is_some_and(Value::is_string);
                let plain = |v: &Value| {
                    v.as_object()
                        .is_some_and(|o| o.keys().all(|k| k == "name" || k == "replicas"))
                };
                if !a.is_empty() && a.iter().all(has) && (key != "name" || a.iter().all(plain)) {
                    a.sort_by_key(|v| v[key].as_str().unwrap_or_default().to_owned());
                    break;
                }
            }
            a.into()
        }
        Value::String(s) => hide(s).into(),
        other => other.clone(),
    }
}

/// Whether `record.py` keeps an object.
fn kept(kind: &str, ns: &str, name: &str) -> bool {
    let own = matches!(kind, "ConfigMap" | "Service")
        && (matches!(name, "kube-root-ca.crt" | "kubernetes") || ns.starts_with("kube-") || ns.starts_with("karmada-"));
    !own && !name.starts_with("karmada-") && !ns.starts_with("kube-")
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    let mut r = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind.ends_with("Policy") {
        r.plural = format!("{}ies", kind.to_lowercase().trim_end_matches('y'));
    }
    r
}

fn resource_of(manifest: &Value) -> ApiResource {
    let (api_version, kind) = (
        manifest["apiVersion"].as_str().unwrap(),
        manifest["kind"].as_str().unwrap(),
    );
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    resource(group, version, kind)
}

fn api(client: &kube::Client, r: &ApiResource, ns: &str) -> Api<DynamicObject> {
    if ns.is_empty() {
        Api::all_with(client.clone(), r)
    } else {
        Api::namespaced_with(client.clone(), ns, r)
    }
}

async fn objects(client: &kube::Client, kinds: &[(&str, &str, &str)], status: bool) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (group, version, kind) in kinds {
        let r = resource(group, version, kind);
        for o in api(client, &r, "").list(&Default::default()).await.unwrap().items {
            let ns = o.metadata.namespace.clone().unwrap_or_default();
            let name = o.metadata.name.clone().unwrap_or_default();
            if !kept(kind, &ns, &name) {
                continue;
            }
            let mut v = serde_json::to_value(&o).unwrap();
            v["apiVersion"] = r.api_version.clone().into();
            v["kind"] = (*kind).into();
            if !status && let Some(o) = v.as_object_mut() {
                o.remove("status");
            }
            all.insert(format!("{kind} {ns}/{name}"), mask(&v));
        }
    }
    all
}

const MEMBERS: [&str; 3] = ["member1", "member2", "member3"];

/// Everything, by `hub Kind namespace/name` and `member1 Kind namespace/name`.
async fn snapshot(t: &Testbed) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = objects(&t.clients["host"], &HUB, true)
        .await
        .into_iter()
        .map(|(k, v)| (format!("hub {k}"), v))
        .collect();
    for m in MEMBERS {
        let found = objects(&t.clients[m], &HUB[8..], false).await;
        all.extend(found.into_iter().map(|(k, v)| (format!("{m} {k}"), v)));
    }
    all
}

fn differences(path: &str, real: &Value, ours: &Value, out: &mut Vec<String>) {
    match (real, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for k in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                match (a.get(k), b.get(k)) {
                    (Some(x), Some(y)) => differences(&format!("{path}/{k}"), x, y, out),
                    (Some(_), None) => out.push(format!("{path}/{k}: missing")),
                    _ => out.push(format!("{path}/{k}: unexpected")),
                }
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

async fn step(t: &Testbed, step: &[Value]) {
    let hub = &t.clients["host"];
    let text = |i: usize| step[i].as_str().unwrap();
    match text(0) {
        "apply" => {
            for m in &step[1..] {
                let params = PatchParams::apply("kubectl").force();
                let ns = m["metadata"]["namespace"].as_str().unwrap_or_default();
                api(hub, &resource_of(m), ns)
                    .patch(m["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(m))
                    .await
                    .unwrap();
            }
        }
        "delete" | "patch" => {
            let named = |k: &str| {
                HUB.iter()
                    .find(|(.., kind)| kind.to_lowercase() == k)
                    .unwrap_or_else(|| panic!("kind {k}"))
            };
            let (group, version, kind) = named(text(1));
            let api = api(hub, &resource(group, version, kind), text(2));
            if text(0) == "delete" {
                api.delete(text(3), &Default::default()).await.unwrap();
            } else {
                let patch = Patch::Strategic(&step[4]);
                api.patch(text(3), &PatchParams::default(), &patch).await.unwrap();
            }
        }
        "member" => {
            // As `kubectl apply` does it.
            let mut m = step[2].clone();
            let mut bare = m.clone();
            bare["metadata"]["annotations"] = json!({});
            let last = json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{bare}\n")});
            m["metadata"]["annotations"] = last;
            let ns = m["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let object: DynamicObject = serde_json::from_value(m.clone()).unwrap();
            api(&t.clients[text(1)], &resource_of(&m), &ns)
                .create(&Default::default(), &object)
                .await
                .unwrap();
        }
        "taint" => {
            let r = resource("cluster.karmada.io", "v1alpha1", "Cluster");
            let api = api(hub, &r, "");
            let mut taints = api.get(text(1)).await.unwrap().data["spec"]["taints"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            taints.push(step[2].clone());
            let patch = json!({"spec": {"taints": taints}});
            api.patch(text(1), &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap();
        }
        other => panic!("step {other}"),
    }
}

/// Waits until nothing has changed for three seconds.
async fn settle(t: &Testbed) -> BTreeMap<String, Value> {
    let mut last = snapshot(t).await;
    let mut same = 0;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = snapshot(t).await;
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same >= 3 {
            break;
        }
    }
    last
}

/// What differs; `None` when the tie went the other way with this seed.
async fn play(case: &Value, dir: PathBuf, seed: u64) -> Option<Vec<String>> {
    let lane = by_name("sim").unwrap();
    let (_, topology) = find_topology("push-pull", None).unwrap();
    let plan = Plan {
        topology,
        timers: Timers::find("karmada").unwrap(),
        seed,
        dir,
        defects: Defects::default(),
        explain: false,
        isolation: Default::default(),
    };
    let t = lane.up(&plan).await.unwrap();
    let clusters = api(
        &t.clients["host"],
        &resource("cluster.karmada.io", "v1alpha1", "Cluster"),
        "",
    );
    for _ in 0..200 {
        let list = clusters.list(&Default::default()).await.unwrap().items;
        let ready = |o: &DynamicObject| {
            o.data["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        if list.len() == MEMBERS.len() && list.iter().all(ready) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut shots = case["after"].as_array().into_iter().flatten();
    let mut out = Vec::new();
    for (i, s) in case["steps"].as_array().into_iter().flatten().enumerate() {
        let s = s.as_array().unwrap();
        if s[0] != "settle" {
            step(&t, s).await;
            continue;
        }
        let ours = settle(&t).await;
        let shot = shots.next().unwrap();
        let mut theirs: BTreeMap<String, Value> = BTreeMap::new();
        for (k, v) in shot["hub"].as_object().unwrap() {
            theirs.insert(format!("hub {k}"), mask(v));
        }
        for (m, objects) in shot["members"].as_object().unwrap() {
            for (k, v) in objects.as_object().unwrap() {
                theirs.insert(format!("{m} {k}"), mask(v));
            }
        }
        for k in theirs.keys().chain(ours.keys().filter(|k| !theirs.contains_key(*k))) {
            match (theirs.get(k), ours.get(k)) {
                (Some(a), Some(b)) => differences(&format!("[{i}] {k}"), a, b, &mut out),
                (a, _) => out.push(format!(
                    "[{i}] {k}: {}",
                    if a.is_some() { "missing" } else { "unexpected" }
                )),
            }
        }
        if case["case"] == BY_UID {
            let d = api(&t.clients["host"], &resource("apps", "v1", "Deployment"), "default");
            let uid = d.get("web").await.unwrap().metadata.uid;
            if cfn_scheduler::engine::descending(uid.as_deref()) {
                t.controls.down().await;
                return None;
            }
        }
    }
    t.controls.down().await;
    Some(out)
}

fn same(case: &Value) -> Result<(), Failed> {
    for seed in 1..=SEEDS {
        let dir = tempfile::tempdir()?;
        let rt = by_name("sim").unwrap().runtime()?;
        let Some(out) = rt.block_on(play(case, dir.path().to_owned(), seed)) else {
            continue;
        };
        if out.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = out.iter().take(12).cloned().collect();
        return Err(format!("{} differences:\n{}", out.len(), shown.join("\n")).into());
    }
    Err(format!("no seed of {SEEDS} gives a uid whose tie goes as the recorded one").into())
}

fn cases() -> Option<Vec<Value>> {
    let file = std::fs::File::open(shared().join("oracle/objects/karmada-objects.jsonl.gz")).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
    text.lines().map(|l| serde_json::from_str(l).ok()).collect()
}

fn main() {
    let args = Arguments::from_args();
    let trials = match cases() {
        None => vec![common::ignored(
            "same objects as Karmada",
            "no oracle/objects/karmada-objects.jsonl.gz; set CFN_SHARED",
        )],
        Some(cases) => cases
            .into_iter()
            .map(|case| {
                let name = case["case"].as_str().unwrap_or_default().to_owned();
                match DIFFERENT.iter().find(|(n, _)| *n == name) {
                    Some((_, why)) => common::ignored(&name, why),
                    None => Trial::test(name, move || same(&case)),
                }
            })
            .collect(),
    };
    libtest_mimic::run(&args, trials).exit();
}
