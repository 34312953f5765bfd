//! Autonomous nodes of clusters whose own node life cycle knows nothing of them: their pods tolerate that the node is out
//! of sight for as long as the node's policy says. What evicts is Kubernetes' taint manager; a toleration is how one
//! tells it (OpenYurt's webhook does the same for its annotation `node.beta.openyurt.io/autonomy`).

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod, Toleration};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::member::Context;

/// The node keeps its pods while out of sight.
const AUTONOMY: &str = "cfn.akraino.org/autonomy";
/// ... for this many seconds only.
const AUTONOMY_SECONDS: &str = "cfn.akraino.org/autonomy-seconds";
/// The taints of a node that is out of sight.
const OUT_OF_SIGHT: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// How long a node keeps its pods: `None` is no autonomy, `Some(None)` without end.
fn policy(node: &Node) -> Option<Option<i64>> {
    let notes = node.annotations();
    (notes.get(AUTONOMY).map(String::as_str) == Some("true"))
        .then(|| notes.get(AUTONOMY_SECONDS).and_then(|s| s.parse().ok()))
}

/// A pod's tolerations as a node's policy wants them; none where they are so already. Only how long is tolerated
/// changes: that is what Kubernetes lets one change of a pod that runs.
fn tolerations(pod: &Pod, seconds: Option<i64>) -> Option<Vec<Toleration>> {
    let was = pod.spec.as_ref()?.tolerations.clone().unwrap_or_default();
    let mut wanted = was.clone();
    for key in OUT_OF_SIGHT {
        let about = |t: &&mut Toleration| t.key.as_deref() == Some(key) && t.effect.as_deref() != Some("NoSchedule");
        match wanted.iter_mut().find(about) {
            Some(t) => t.toleration_seconds = seconds,
            None => wanted.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: seconds,
                ..Toleration::default()
            }),
        }
    }
    (wanted != was).then_some(wanted)
}

/// Keeps pods on autonomous nodes, until cancelled.
pub async fn run(ctx: &Context) {
    let nodes: Api<Node> = Api::all(ctx.member.clone());
    let pods: Api<Pod> = Api::all(ctx.member.clone());
    let mut node_events = std::pin::pin!(cfn_net::watch::watch(nodes, watcher::Config::default()));
    let mut pod_events = std::pin::pin!(cfn_net::watch::watch(pods, watcher::Config::default()));
    let mut policies: BTreeMap<String, Option<i64>> = BTreeMap::new();
    // Pods by namespace and name; those whose node's policy is not known yet are looked at when it is.
    let mut bound: BTreeMap<(String, String), Pod> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            Some(event) = node_events.next() => match event {
                Ok(Event::Apply(n) | Event::InitApply(n)) => {
                    let name = n.name_any();
                    match policy(&n) {
                        Some(p) if policies.get(&name) != Some(&p) => {
                            policies.insert(name.clone(), p);
                            for pod in bound.values().filter(|p| node_of(p) == Some(&name)) {
                                keep(ctx, pod, p).await;
                            }
                        }
                        Some(_) => {}
                        None => { policies.remove(&name); }
                    }
                }
                Ok(Event::Delete(n)) => { policies.remove(&n.name_any()); }
                _ => {}
            },
            Some(event) = pod_events.next() => match event {
                Ok(Event::Apply(p) | Event::InitApply(p)) => {
                    if let Some(policy) = node_of(&p).and_then(|n| policies.get(n)) {
                        keep(ctx, &p, *policy).await;
                    }
                    bound.insert((p.namespace().unwrap_or_default(), p.name_any()), p);
                }
                Ok(Event::Delete(p)) => { bound.remove(&(p.namespace().unwrap_or_default(), p.name_any())); }
                _ => {}
            },
        }
    }
}

fn node_of(pod: &Pod) -> Option<&String> {
    pod.spec.as_ref()?.node_name.as_ref()
}

async fn keep(ctx: &Context, pod: &Pod, seconds: Option<i64>) {
    let Some(wanted) = tolerations(pod, seconds) else {
        return;
    };
    let api: Api<Pod> = Api::namespaced(ctx.member.clone(), &pod.namespace().unwrap_or_default());
    let patch = Patch::Merge(json!({"spec": {"tolerations": wanted}}));
    if let Err(e) = api.patch(&pod.name_any(), &PatchParams::default(), &patch).await {
        tracing::warn!(pod = pod.name_any(), "keeping a pod on an autonomous node: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, seconds: Option<i64>) -> serde_json::Value {
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
    }

    #[test]
    fn pods_tolerate_for_as_long_as_the_policy_says() {
        let [not_ready, unreachable] = OUT_OF_SIGHT;
        let given = json!([
            toleration("own", Some(1)),
            toleration(not_ready, Some(3)),
            toleration(unreachable, Some(3))
        ]);
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "tolerations": given}})).unwrap();
        for (seconds, bare) in [(None, false), (Some(60), false), (None, true)] {
            let pod = if bare {
                Pod {
                    spec: Some(k8s_openapi::api::core::v1::PodSpec::default()),
                    ..Pod::default()
                }
            } else {
                pod.clone()
            };
            let wanted = tolerations(&pod, seconds).unwrap();
            let of = |key: &str| {
                wanted
                    .iter()
                    .find(|t| t.key.as_deref() == Some(key))
                    .unwrap()
                    .toleration_seconds
            };
            assert_eq!((of(not_ready), of(unreachable)), (seconds, seconds));
            assert_eq!(wanted.len(), if bare { 2 } else { 3 });
            let again = Pod {
                spec: Some(k8s_openapi::api::core::v1::PodSpec {
                    tolerations: Some(wanted),
                    ..Default::default()
                }),
                ..Pod::default()
            };
            assert_eq!(tolerations(&again, seconds), None, "once is enough");
        }
    }

    #[test]
    fn policies_are_annotations() {
        let node = |notes: serde_json::Value| -> Node {
            serde_json::from_value(json!({"metadata": {"annotations": notes}})).unwrap()
        };
        assert_eq!(policy(&node(json!({}))), None);
        assert_eq!(policy(&node(json!({AUTONOMY: "false"}))), None);
        assert_eq!(policy(&node(json!({AUTONOMY: "true"}))), Some(None));
        assert_eq!(
            policy(&node(json!({AUTONOMY: "true", AUTONOMY_SECONDS: "600"}))),
            Some(Some(600))
        );
    }
}
