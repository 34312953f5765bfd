//! The external lane against clusters that are other processes: what was there before is there after, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cfn::access::Target;
use cfn::evidence::{ScenarioResult, Status};
use cfn::lane::external::External;
use cfn::lane::{Defects, Lane, LaneError};
use cfn::scenario::run::{Options, run};
use cfn::scenario::{Base, Overrides, Scenario};
use cfn::{access, input};
use cfn_net::{Net, Seed, Transport};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{Discovery, verbs};
use tokio_util::sync::CancellationToken;

const TOPOLOGY: &str = "
apiVersion: cfn.akraino.org/v1alpha1
kind: Topology
metadata: {name: theirs}
spec:
  sites: [{name: here, role: center}, {name: there, role: edge}]
  links: [{between: [here, there]}]
  clusters:
    - {name: hub, site: here, role: hub, nodes: []}
    - {name: one, site: there, role: member, nodes: [{name: node-1, cpu: '4', memory: 8Gi}]}
";

/// A Deployment called `name` goes to member one; then `more`.
fn scenario(name: &str, more: &str) -> String {
    format!(
        "
apiVersion: cfn.akraino.org/v1alpha1
kind: Scenario
metadata: {{name: theirs}}
spec:
  id: THEIRS
  title: a workload goes to a cluster that exists
  profile: phase1
  level: core
  source: Own
  reference: none
  topology: ./topology.yaml
  timers: fast
  steps:
    - name: the workload and its policy
      apply:
        cluster: hub
        inline:
          - apiVersion: apps/v1
            kind: Deployment
            metadata: {{name: {name}, namespace: default}}
            spec:
              replicas: 2
              selector: {{matchLabels: {{app: {name}}}}}
              template:
                metadata: {{labels: {{app: {name}}}}}
                spec: {{containers: [{{name: web, image: 'cfn.akraino.org/echo:1'}}]}}
          - apiVersion: policy.karmada.io/v1alpha1
            kind: PropagationPolicy
            metadata: {{name: {name}, namespace: default}}
            spec:
              resourceSelectors: [{{apiVersion: apps/v1, kind: Deployment, name: {name}}}]
              placement: {{clusterAffinity: {{clusterNames: [one]}}}}
    - name: it runs there
      assert:
        expected: two ready replicas on the member
        cluster: one
        object: {{apiVersion: apps/v1, kind: Deployment, namespace: default, name: {name}}}
        match: {{status: {{readyReplicas: 2}}}}
        within: 30s
{more}"
    )
}

struct Cluster {
    child: Child,
    target: Target,
    client: Client,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn cluster(dir: &Path, name: &str, hub: bool) -> Cluster {
    let path = dir.join(format!("{name}.kubeconfig"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_cfn"));
    command.args(["apiserver", "--name", name, "--kubeconfig"]).arg(&path);
    if hub {
        command.args(["--hub", "--nodes", "0"]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let target = Target { path, context: None };
    let net = Net::new(Transport::Host, Seed(1));
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    let client = loop {
        if let Ok(c) = access::config(Some(&target), Duration::from_secs(5)) {
            break c.client(&net, "test").unwrap();
        }
        assert!(tokio::time::Instant::now() < end, "no cluster within a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    Cluster { child, target, client }
}

/// Everything in a cluster, by kind, namespace and name, with its uid; what comes and goes by itself left out.
async fn everything(client: &Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let found = Discovery::new(client.clone()).run().await.unwrap();
    for group in found.groups() {
        for (resource, can) in group.recommended_resources() {
            if !can.supports_operation(verbs::LIST) || ["Event", "Lease"].contains(&resource.kind.as_str()) {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let Ok(list) = api.list(&ListParams::default()).await else {
                continue;
            };
            for o in list.items {
                let m = o.metadata;
                let key = format!(
                    "{} {}/{}",
                    resource.kind,
                    m.namespace.unwrap_or_default(),
                    m.name.unwrap_or_default()
                );
                all.insert(key, m.uid.unwrap_or_default());
            }
        }
    }
    all
}

async fn execute(lane: &External, dir: &Path, text: &str) -> Result<ScenarioResult, LaneError> {
    let path = dir.join("scenario.yaml");
    std::fs::write(&path, text).unwrap();
    let source = input::Source::read(&path).unwrap();
    let scenario = Scenario::read(source, Base::Dir(dir.to_owned()), &Overrides::default()).unwrap();
    let options = Options {
        dir: dir.join("testbed"),
        defects: Defects::default(),
        progress: Arc::new(|_| {}),
        cancel: CancellationToken::new(),
    };
    run(lane, Arc::new(scenario), options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn touches_only_what_it_made_and_leaves_nothing() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("topology.yaml"), TOPOLOGY).unwrap();
    let (hub, one) = tokio::join!(cluster(d, "hub", true), cluster(d, "one", false));
    let theirs: k8s_openapi::api::apps::v1::Deployment = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "theirs", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "theirs"}}, "template": {"metadata": {"labels": {"app": "theirs"}},
            "spec": {"containers": [{"name": "x", "image": "x"}]}}}}))
    .unwrap();
    let api: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(hub.client.clone(), "default");
    api.create(&kube::api::PostParams::default(), &theirs).await.unwrap();
    let before = (everything(&hub.client).await, everything(&one.client).await);
    let lane = External {
        kubeconfigs: BTreeMap::from([("hub".into(), hub.target.clone()), ("one".into(), one.target.clone())]),
    };

    let r = execute(&lane, d, &scenario("web", "")).await.unwrap();
    assert_eq!(r.status(), Status::Passed, "{:#?} {:?}", r.verdicts, r.error);
    let after = (everything(&hub.client).await, everything(&one.client).await);
    assert_eq!(after, before, "left or taken");

    // A scheduler that is killed half-way cleans up all the same; a fault that this lane can do is done.
    let killed = "    - {name: no scheduler, fault: {kind: kill, component: scheduler}}\n";
    let r = execute(&lane, d, &scenario("web", killed)).await.unwrap();
    assert_eq!(r.status(), Status::Passed, "{:?}", r.error);
    assert_eq!((everything(&hub.client).await, everything(&one.client).await), before);

    // What is somebody else's is left alone, and told by name.
    let r = execute(&lane, d, &scenario("theirs", "")).await.unwrap();
    let e = r.error.clone().unwrap();
    assert!(e.contains("theirs is there already and not of this run"), "{e}");
    assert_eq!((everything(&hub.client).await, everything(&one.client).await), before);

    // A fault that it has no means for: nothing is touched, the case is skipped with the reason.
    let cut = "    - {name: cut off, fault: {kind: isolate, site: there}}\n";
    let r = execute(&lane, d, &scenario("web", cut)).await.unwrap();
    let skipped = r
        .verdicts
        .iter()
        .all(|v| matches!(&v.status, Status::Skipped { reason } if reason.contains("no means for the fault isolate")));
    assert!(skipped && !r.verdicts.is_empty(), "{:#?}", r.verdicts);
    assert_eq!((everything(&hub.client).await, everything(&one.client).await), before);

    // A cluster without a kubeconfig, a kubeconfig without a cluster, a cluster that does not answer.
    for (kubeconfigs, says) in [
        (
            BTreeMap::from([("hub".to_owned(), hub.target.clone())]),
            "no kubeconfig for cluster one",
        ),
        (
            BTreeMap::from([
                ("hub".to_owned(), hub.target.clone()),
                ("two".to_owned(), one.target.clone()),
            ]),
            "has no such cluster",
        ),
    ] {
        let e = execute(&External { kubeconfigs }, d, &scenario("web", ""))
            .await
            .err()
            .unwrap();
        assert!(
            matches!(&e, LaneError::Environment { .. }) && e.to_string().contains(says),
            "{e}"
        );
    }
    let gone = lane.kubeconfigs["one"].clone();
    drop(one);
    let e = execute(&lane, d, &scenario("web", "")).await.err().unwrap();
    assert!(matches!(&e, LaneError::Environment { .. }), "{e} {gone:?}");
    assert_eq!(lane.name(), "external");
}
