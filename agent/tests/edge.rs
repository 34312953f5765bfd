//! A node behind the edge agent: with the hub cut off it goes on, also after agent and kubelet were restarted, and is
//! reconciled when the link heals.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::time::Duration;

use cfn_agent::edge::{EdgeAgent, EdgeError, EdgeOptions, EdgeTimers};
use cfn_apiserver::cluster::Cluster;
use cfn_apiserver::node::{self, NodeOptions};
use cfn_net::LinkSpec;
use common::{Bed, SEED, eventually};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"nodeName": "edge-1",
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "example.org/app:1"}]}}))
    .unwrap()
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|s| s.conditions.clone())
        .unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn agent(bed: &Bed, hub: &Cluster, dir: &Path, timers: EdgeTimers) -> EdgeAgent {
    EdgeAgent::open(EdgeOptions {
        node: "edge-1".into(),
        net: bed.net.clone(),
        host: "edge-1".into(),
        port: 10261,
        upstream: hub.config_for("system:node:edge-1", &["system:nodes".to_owned()]),
        store: dir.join("edge"),
        clock: bed.clock.clone(),
        seed: SEED,
        timers,
    })
    .unwrap()
}

fn start(agent: EdgeAgent) -> (tokio::task::JoinHandle<Result<(), EdgeError>>, CancellationToken) {
    let cancel = CancellationToken::new();
    (tokio::spawn(agent.run(cancel.clone())), cancel)
}

/// A node that is there before its hub: what it lists is not on its disk yet. Refused, a kubelet would come again later and
/// later.
#[tokio::test(start_paused = true)]
async fn lists_wait_for_a_hub_that_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::new();
    let hub = bed.cluster("hub", "center").await;
    bed.net.set_link("center", "edge", LinkSpec::default());
    bed.net.add_host("edge-1", "edge");
    bed.net.cut("center", "edge");
    let timers = EdgeTimers {
        heartbeat_interval: Duration::from_secs(1),
        ..EdgeTimers::default()
    };
    let agent = agent(&bed, &hub, dir.path(), timers);
    let mut config = agent.client_config();
    config.timeout = MINUTE;
    let (task, cancel) = start(agent);
    let pods: Api<Pod> = Api::namespaced(config.client(&bed.net, "edge-1").unwrap(), "default");

    let asked = Instant::now();
    let refused = pods.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(e) if e.code == 503), "{refused}");
    let waited = asked.elapsed();
    assert!(waited >= MINUTE / 2 && waited < MINUTE, "{waited:?}");

    let other = pods.clone();
    let listed = tokio::spawn(async move { other.list(&ListParams::default()).await.map(|_| Instant::now()) });
    let other = pods.clone();
    let streamed = tokio::spawn(async move {
        let initial = WatchParams::default().initial_events();
        let watch = other.watch(&initial, "0").await?;
        let first = std::pin::pin!(watch).next().await;
        assert!(matches!(first, Some(Ok(WatchEvent::Bookmark(_)))), "{first:?}");
        Ok::<_, kube::Error>(Instant::now())
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!listed.is_finished() && !streamed.is_finished());
    let healed = Instant::now();
    bed.net.heal("center", "edge");
    for done in [listed.await.unwrap().unwrap(), streamed.await.unwrap().unwrap()] {
        let after = done - healed;
        // Two good checks in a row, each at most an interval and a timeout away.
        assert!(after < Duration::from_secs(8), "{after:?}");
    }
    cancel.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn lives_on_without_its_hub() {
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::new();
    let hub = bed.cluster("hub", "center").await;
    bed.net.set_link(
        "center",
        "edge",
        LinkSpec {
            latency: 10.0,
            ..LinkSpec::default()
        },
    );
    bed.net.add_host("edge-1", "edge");
    let edge = || agent(&bed, &hub, dir.path(), EdgeTimers::default());
    let agent = edge();
    let config = agent.client_config();
    let (task, cancel) = start(agent);
    let node = node::start(NodeOptions {
        name: "edge-1".into(),
        labels: Default::default(),
        annotations: [("cfn.akraino.org/autonomy".to_owned(), "true".to_owned())].into(),
        taints: Vec::new(),
        capacity: [("cpu", "4"), ("memory", "8Gi"), ("pods", "110")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        client: config.client(&bed.net, "edge-1").unwrap(),
        net: bed.net.clone(),
        clock: bed.clock.clone(),
        seed: SEED.child("edge-1"),
        timers: cfn_apiserver::controllers::Timers::default(),
        workloads: node::Workloads::default(),
        stages: node::Stages::default(),
        pod_cidr: "10.244.1.0/24".into(),
        token_config: None,
    })
    .await
    .unwrap();

    let pods: Api<Pod> = Api::namespaced(hub.client(), "default");
    for name in ["stays", "goes"] {
        pods.create(&PostParams::default(), &pod(name)).await.unwrap();
    }
    eventually("both Running", MINUTE, async || {
        ready(&pods.get("stays").await.unwrap()) && ready(&pods.get("goes").await.unwrap())
    })
    .await;
    assert_eq!(node.running().len(), 2);
    // Somebody else on the host, who lists now, and again while the hub is gone.
    let here: Api<Pod> = Api::namespaced(config.client(&bed.net, "edge-1").unwrap(), "default");
    let others = ListParams::default().labels("app!=none");
    here.list(&others).await.unwrap();

    // The hub is gone, then host, kubelet and agent restart.
    bed.net.cut("center", "edge");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(node.running().len(), 2, "nothing ends because the hub is gone");
    pods.delete("goes", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(MINUTE * 5).await;
    assert!(
        pods.get_opt("stays")
            .await
            .unwrap()
            .is_some_and(|p| p.metadata.deletion_timestamp.is_none()),
        "not evicted"
    );
    node.crash().await;
    cancel.cancel();
    task.await.unwrap().unwrap();
    assert!(node.running().is_empty());
    let (task, cancel) = start(edge());
    node.restart().await;
    eventually("both back from the disk", MINUTE, async || node.running().len() == 2).await;

    let told = here.list(&others).await.unwrap().metadata.resource_version.unwrap();

    // The link heals: the deletion made meanwhile is carried out, the other pod tells of its one restart.
    bed.net.heal("center", "edge");
    eventually("the deleted pod gone", MINUTE * 2, async || {
        node.running().len() == 1 && pods.get_opt("goes").await.unwrap().is_none()
    })
    .await;
    eventually("the restart reported", MINUTE, async || {
        let p = pods.get("stays").await.unwrap();
        let count = p
            .status
            .as_ref()
            .and_then(|s| s.container_statuses.as_ref())
            .map(|c| c[0].restart_count);
        ready(&p) && count == Some(1)
    })
    .await;
    // Who goes on watching from there hears what is so now, and need not list anew.
    let watch = WatchParams::default().labels("app!=none");
    let events = here.watch(&watch, &told).await.unwrap().take(3).map(|e| match e {
        Ok(WatchEvent::Deleted(p)) => format!("deleted {}", p.name_any()),
        Ok(WatchEvent::Modified(p)) => format!("modified {} {}", p.name_any(), ready(&p)),
        Ok(WatchEvent::Bookmark(_)) => "bookmark".to_owned(),
        other => format!("{other:?}"),
    });
    let events: Vec<String> = events.collect().await;
    assert_eq!(events, ["deleted goes", "modified stays true", "bookmark"]);
    cancel.cancel();
    task.await.unwrap().unwrap();
}
