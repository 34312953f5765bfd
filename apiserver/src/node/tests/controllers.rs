//! What controllers make of what nodes run: it ends with its namespace, its owner, or its work.

use std::time::Duration;

use serde_json::json;

use super::{DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS, bed, complete, deployment, list, ready_pods};
use crate::controllers::object::Object;
use crate::local::Gvr;
use crate::node::Workloads;

#[tokio::test(start_paused = true)]
async fn namespace_takes_its_content_along() {
    let b = bed(7, Workloads::default()).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    l.create(
        &NAMESPACES,
        "",
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}),
    )
    .unwrap();
    let mut d = deployment(2, "a:1");
    d["metadata"]["namespace"] = json!("x");
    l.create(&DEPLOYMENTS, "x", d).unwrap();
    b.until("ready", 10, |l| ready_pods(l).len() == 2).await;
    l.delete(&NAMESPACES, "", "x", None).unwrap();
    b.until("gone", 60, |l| l.get(&NAMESPACES, "", "x").is_err()).await;
    assert!(list(&l, &PODS).is_empty() && list(&l, &REPLICA_SETS).is_empty() && n.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn garbage_goes_with_its_owner() {
    let b = bed(8, Workloads::default()).await;
    let _n = b.node("n1", 1).await;
    let l = b.local();
    l.create(&DEPLOYMENTS, "default", deployment(2, "a:1")).unwrap();
    b.until("ready", 10, |l| complete(l, 2)).await;
    l.delete(&DEPLOYMENTS, "default", "web", None).unwrap();
    b.until("gone", 40, |l| {
        list(l, &PODS).is_empty() && list(l, &REPLICA_SETS).is_empty()
    })
    .await;
    // Foreground: the owner goes last.
    l.create(&DEPLOYMENTS, "default", deployment(1, "a:1")).unwrap();
    b.until("ready", 10, |l| complete(l, 1)).await;
    let deployments: kube::Api<k8s_openapi::api::apps::v1::Deployment> =
        kube::Api::default_namespaced(b.cluster.client());
    deployments
        .delete("web", &kube::api::DeleteParams::foreground())
        .await
        .unwrap();
    b.until("gone in order", 60, |l| {
        let owner = l.get(&DEPLOYMENTS, "default", "web").is_ok();
        assert!(owner || list(l, &PODS).is_empty());
        !owner && list(l, &REPLICA_SETS).is_empty()
    })
    .await;
    // Orphans stay.
    l.create(&DEPLOYMENTS, "default", deployment(1, "a:1")).unwrap();
    b.until("ready", 10, |l| complete(l, 1)).await;
    deployments
        .delete("web", &kube::api::DeleteParams::orphan())
        .await
        .unwrap();
    b.until("owner gone", 10, |l| l.get(&DEPLOYMENTS, "default", "web").is_err())
        .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((list(&l, &REPLICA_SETS).len(), list(&l, &PODS).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn job_runs_to_completion() {
    let b = bed(9, Workloads::default()).await;
    let _n = b.node("n1", 1).await;
    let l = b.local();
    let jobs = Gvr::new("batch", "v1", "jobs");
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "default"},
        "spec": {"parallelism": 2, "completions": 3, "template": {
            "metadata": {"annotations": {"cfn.akraino.org/exit-after": "5s"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}}}});
    l.create(&jobs, "default", job).unwrap();
    let t = b
        .until("complete", 30, |l| {
            l.get(&jobs, "default", "j").unwrap().condition("Complete").is_some()
        })
        .await;
    assert!(t > Duration::from_secs(10), "two rounds of 5 s: {t:?}");
    assert_eq!(l.get(&jobs, "default", "j").unwrap().int("/status/succeeded"), Some(3));
}
