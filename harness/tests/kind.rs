//! Clusters that the program kind makes of our image, adopted by the docker lane; and what is removed of what a killed
//! process left. Needs kind, and a Docker engine that allows `--privileged`, with the images of `ci/images`; ignored, with
//! the reason, where something of that is not there.
#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use cfn::Testbed;
use cfn::lane::docker::plan::{OWNER, SHAPER_IMAGE, TESTBED};
use cfn::lane::docker::{self, Docker, kind, reap};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use libtest_mimic::{Arguments, Failed, Trial};

const IMAGE: &str = "cfn.akraino.org/kind-node:1.36.3";
/// A hub without nodes, and a member whose two nodes are at two sites.
const TOPOLOGY: &str = r#"
apiVersion: cfn.akraino.org/v1alpha1
kind: Topology
metadata: {name: kind-test, description: a hub and a member with two nodes}
spec:
  sites:
    - {name: center, role: center}
    - {name: near, role: edge}
    - {name: far, role: terminal}
  links:
    - {between: [center, near], latency: 5ms}
    - {between: [near, far], latency: 5ms}
  clusters:
    - {name: hub, site: center, role: hub, nodes: []}
    - name: edge
      site: near
      role: member
      nodes:
        - {name: near-node, cpu: "16", memory: 32Gi, pods: 17}
        - {name: far-node, site: far, cpu: "4", memory: 8Gi, edgeAgent: true, labels: {level: terminal},
          taints: [{key: edge, value: "far", effect: NoSchedule}]}
"#;

fn command(program: &str, arguments: &[&str]) -> Result<String, Failed> {
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|e| format!("{program}: {e}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(format!("{program} {}: {said}", arguments.join(" ")).into())
}

/// Why nothing of this can run here.
fn no_docker() -> Option<String> {
    match command("docker", &["image", "inspect", "--format", "{{.Id}}", IMAGE]) {
        Ok(_) => None,
        Err(_) if command("docker", &["version"]).is_err() => Some("no Docker engine answers".into()),
        Err(_) => Some(format!("there is no image {IMAGE}: run ci/images")),
    }
}

/// Why kind cannot be used here.
fn no_kind() -> Option<String> {
    if let Err(e) = kind::available() {
        return Some(e.to_string());
    }
    let tried = command(
        "docker",
        &["run", "--rm", "--privileged", "--entrypoint", "true", IMAGE],
    );
    tried
        .is_err()
        .then(|| "this Docker engine does not allow --privileged".into())
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let docker = no_docker();
    let kind = docker.clone().or_else(no_kind);
    let trial = |name: &str, why: Option<String>, test: fn() -> Result<(), Failed>| match why {
        None => Trial::test(name, test),
        Some(why) => Trial::test(format!("{name} ({why})"), test).with_ignored_flag(true),
    };
    let trials = vec![
        trial(
            "what a killed process left is removed, and nothing else",
            docker,
            || block_on(leftovers()),
        ),
        trial("made, adopted, broken, mended and gone", kind, || {
            block_on(made_adopted_broken_mended_and_gone())
        }),
    ];
    libtest_mimic::run(&args, trials).exit_code()
}

fn block_on(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(test)
}

/// Removed by the test when it ends early.
struct Left(String);

impl Drop for Left {
    fn drop(&mut self) {
        for name in ["kind", "own", "stranger"] {
            let _ = command("docker", &["rm", "-f", "-v", &format!("{}-{name}", self.0)]);
        }
        let _ = command("docker", &["network", "rm", &self.0]);
    }
}

async fn leftovers() -> Result<(), Failed> {
    let net = format!("cfn-kind-test-{}", std::process::id());
    let left = Left(net.clone());
    let mine = reap::owner();
    let place = mine.split_once('@').unwrap().1;
    // No process has such a number.
    let owner = format!("{OWNER}=4194304999.1@{place}");
    let testbed = format!("{TESTBED}={net}");
    let labels = ["--label", &owner, "--label", &testbed];
    command("docker", &[["network", "create"].as_slice(), &labels, &[&net]].concat())?;
    let run = |name: &str, labels: &[&str]| {
        let name = format!("{net}-{name}");
        let first = ["run", "-d", "--name", &name, "--net", &net, "--entrypoint", "sleep"];
        command("docker", &[first.as_slice(), labels, &[SHAPER_IMAGE, "600"]].concat())
    };
    let kind = format!("{}={net}-hub", kind::CLUSTER);
    run("kind", &["--label", &kind, "--volume", "/var"])?;
    run("own", &labels)?;
    let there = |name: &str| command("docker", &["inspect", &format!("{net}-{name}")]).is_ok();
    assert!(docker::remove_leftovers().await?.contains(&net));
    assert!(!there("kind") && !there("own"), "containers are left");
    let filter = format!("name=^{net}$");
    assert_eq!(command("docker", &["network", "ls", "-q", "--filter", &filter])?, "");
    // What somebody put into a testbed's network keeps the network, and stays.
    command("docker", &[["network", "create"].as_slice(), &labels, &[&net]].concat())?;
    run("kind", &["--label", &kind])?;
    run("stranger", &[])?;
    assert!(docker::remove_leftovers().await.is_err(), "its network was removed");
    assert!(!there("kind") && there("stranger"));
    drop(left);
    Ok(())
}

async fn nodes(bed: &Testbed, cluster: &str) -> Result<BTreeMap<String, Node>, Failed> {
    let api: Api<Node> = Api::all(bed.client(cluster)?);
    let all = api.list(&ListParams::default()).await?.items;
    Ok(all.into_iter().map(|n| (n.name_any(), n)).collect())
}

/// What the docker program says of each container that kind made for our testbeds: name and address.
fn containers() -> Result<BTreeMap<String, String>, Failed> {
    let ids = command(
        "docker",
        &["ps", "-aq", "--filter", &format!("label={}", kind::CLUSTER)],
    )?;
    let mut all = BTreeMap::new();
    for id in ids.lines() {
        let format = "{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let said = command("docker", &["inspect", "--format", format, id])?;
        if let Some((name, address)) = said.trim_start_matches('/').split_once(' ')
            && name.starts_with("cfn-")
        {
            all.insert(name.to_owned(), address.to_owned());
        }
    }
    Ok(all)
}

async fn made_adopted_broken_mended_and_gone() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("kind-test.yaml");
    std::fs::write(&file, TOPOLOGY)?;
    let before = containers()?;
    let lane = Docker::new(Some("kind-node".to_owned()), Arc::new(|line| eprintln!("  {line}")));
    let bed = Testbed::builder(&file.display().to_string())
        .on(Arc::new(lane))
        .start()
        .await?;
    let mut made = containers()?;
    made.retain(|name, _| !before.contains_key(name));
    let ends = |suffix: &str| made.iter().find(|(n, _)| n.ends_with(suffix)).map(|(_, a)| a.clone());
    assert_eq!(made.len(), 4, "{made:?}");

    // Kubernetes' nodes are the topology's, where kind put them.
    let hub = nodes(&bed, "hub").await?;
    assert_eq!(hub.keys().collect::<Vec<_>>(), ["hub"]);
    let edge = nodes(&bed, "edge").await?;
    assert_eq!(edge.keys().collect::<Vec<_>>(), ["far-node", "near-node"]);
    let address = |n: &Node| {
        let all = n.status.clone()?.addresses?;
        all.into_iter().find(|a| a.type_ == "InternalIP").map(|a| a.address)
    };
    assert_eq!(address(&edge["near-node"]), ends("-edge-worker"));
    assert_eq!(address(&edge["far-node"]), ends("-edge-worker2"));
    let capacity = |n: &Node, what: &str| Some(n.status.clone()?.capacity?.get(what)?.0.clone());
    assert_eq!(capacity(&edge["near-node"], "cpu").as_deref(), Some("16"));
    assert_eq!(capacity(&edge["near-node"], "pods").as_deref(), Some("17"));
    let far = &edge["far-node"];
    assert_eq!(far.labels().get("level").map(String::as_str), Some("terminal"));
    let taints = far.spec.clone().unwrap().taints.unwrap_or_default();
    assert!(
        taints
            .iter()
            .any(|t| t.key == "edge" && t.value.as_deref() == Some("far")),
        "{taints:?}"
    );

    // The API server's timers.
    let pods: Api<Pod> = Api::namespaced(bed.client("edge")?, "default");
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "idle"},
        "spec": {"containers": [{"name": "idle", "image": "cfn.akraino.org/echo:1"}], "schedulerName": "none"},
    }))?;
    let pod = pods.create(&PostParams::default(), &pod).await?;
    let seconds = bed.timers().seconds("defaultNotReadyToleration");
    let tolerated = pod.spec.unwrap().tolerations.unwrap_or_default();
    let tolerated: Vec<Option<i64>> = tolerated.into_iter().map(|t| t.toleration_seconds).collect();
    assert_eq!(tolerated, [Some(seconds); 2]);

    // A power cut: the same address, and the node that kind's control plane would be does not come back.
    let cut = bed.crash_cluster("edge").await?;
    cut.heal().await?;
    bed.ready().await?;
    let after = containers()?;
    for (name, address) in &made {
        assert_eq!(after.get(name), Some(address), "{name}");
    }
    assert_eq!(nodes(&bed, "edge").await?.len(), 2);
    bed.stop().await;
    assert_eq!(containers()?, before, "containers are left");
    Ok(())
}
