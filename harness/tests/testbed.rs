//! The testbed as a library, as another project's tests use it.
#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::time::Duration;

use cfn::Testbed;
use cfn::testbed::StartError;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::time::Instant;

fn main() {
    let mut args = Arguments::from_args();
    // Two at a time would share what is looked at.
    args.test_threads = Some(1);
    let on = |name: &'static str| move || block_on(up_broken_mended_and_gone(name));
    let mut trials = vec![
        Trial::test("local::up, broken, mended and gone", on("local")),
        Trial::test("wrong names are told", || block_on(wrong_names_are_told())),
        Trial::test("given up while it comes up", || block_on(given_up())),
    ];
    let name = "docker::up, broken, mended and gone";
    trials.push(common::trial(name, common::no_docker().as_deref(), on("docker")));
    libtest_mimic::run(&args, trials).exit();
}

/// As `#[tokio::test]` does: one thread.
fn block_on(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(test)
}

async fn nodes(bed: &Testbed, cluster: &str) -> Result<Vec<Node>, Failed> {
    let api: Api<Node> = Api::all(bed.client(cluster)?);
    Ok(api.list(&ListParams::default()).await?.items)
}

async fn until(what: &str, mut f: impl AsyncFnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let end = Instant::now() + Duration::from_secs(60);
    while !f().await? {
        if Instant::now() >= end {
            return Err(format!("not within a minute: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn up_broken_mended_and_gone(lane: &str) -> Result<(), Failed> {
    let bed = Testbed::builder("topologies/two-edges.yaml")
        .lane(lane)
        .seed(7)
        .start()
        .await?;
    assert_eq!(bed.topology().name(), "two-edges");
    assert!(bed.kubeconfig("edge-a")?.contains("server:"));
    let is_ready = async || {
        let all = nodes(&bed, "edge-a").await?;
        Ok::<_, Failed>(all.iter().all(cfn_agent::cluster::inventory::is_ready))
    };
    assert!(is_ready().await?, "started means Ready");
    let stopped = bed.stop_kubelet("edge-a-node").await?;
    until("the node is not Ready", async || Ok(!is_ready().await?)).await?;
    stopped.heal().await?;
    until("it is Ready again", is_ready).await?;
    let outside = kube::config::Kubeconfig::from_yaml(bed.kubeconfig("edge-a")?)?;
    let outside = kube::Config::from_custom_kubeconfig(outside, &kube::config::KubeConfigOptions::default()).await?;
    let api: Api<Node> = Api::all(kube::Client::try_from(outside)?);
    api.list(&ListParams::default()).await?;
    // A drop in the middle of asynchronous code, on the only thread there is.
    drop(bed);
    let asked = tokio::time::timeout(Duration::from_secs(10), api.list(&ListParams::default())).await;
    assert!(!matches!(asked, Ok(Ok(_))), "it still answers");
    let again = Testbed::builder("two-edges").lane(lane).start().await?;
    again.stop().await;
    Ok(())
}

async fn wrong_names_are_told() -> Result<(), Failed> {
    for (topology, lane, timers, says) in [
        ("two-edgse", "local", "fast", "two-edges"),
        ("two-edges", "lokal", "fast", "local"),
        ("two-edges", "sim", "fast", "clock of its own"),
        ("two-edges", "local", "fsat", "fast"),
    ] {
        match Testbed::builder(topology).lane(lane).timers(timers).start().await {
            Err(StartError::Input(p)) => {
                let said = format!("{:?}", p.0);
                assert!(said.contains(says), "{said}");
            }
            Err(e) => return Err(format!("{topology} {lane} {timers}: {e}").into()),
            Ok(_) => return Err("it started".into()),
        }
    }
    let bed = Testbed::builder("two-edges").without_waiting().start().await?;
    let e = bed.isolate("egde-a").await.err().ok_or("isolated")?;
    assert!(
        e.to_string().contains("unknown site `egde-a`") && e.to_string().contains("edge-a"),
        "{e}"
    );
    assert!(bed.kill("schedular").await.is_err() && bed.crash_node("x").await.is_err() && bed.client("x").is_err());
    Ok(())
}

/// A test that times out while its testbed comes up leaves nothing.
async fn given_up() -> Result<(), Failed> {
    let start = Testbed::builder("two-edges").start();
    assert!(tokio::time::timeout(Duration::from_millis(1), start).await.is_err());
    let prefix = format!("cfn-testbed-{}-", std::process::id());
    until("its files are gone", async || {
        let all = std::fs::read_dir(std::env::temp_dir())?;
        Ok(!all
            .flatten()
            .any(|e| e.file_name().to_string_lossy().starts_with(&prefix)))
    })
    .await
}
