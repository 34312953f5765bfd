//! `cfn bench clusters`: what embedded clusters cost: many idle ones in this process, and many pods in one.

use std::sync::Arc;
use std::time::Duration;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_apiserver::local::Gvr;
use cfn_net::{Net, Seed, SystemClock, Transport};
use serde_json::json;
use tokio::time::Instant;

use super::memory::resident;
use crate::cli::{CliError, out};

/// How long the controllers may take after the last pod.
const SETTLED: Duration = Duration::from_secs(60);

static PODS: Gvr = Gvr::new("", "v1", "pods");

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many clusters are started side by side (aims: 100 in 1 s and 600 MB, 5 MB each)
    #[arg(long, default_value_t = 100)]
    clusters: usize,
    /// How many pods are created in one more (aim: 100,000 in 150 MB)
    #[arg(long, default_value_t = 100_000)]
    pods: usize,
    /// Seed of the clusters
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn failed(what: &str, e: impl std::fmt::Display) -> CliError {
    CliError::Environment {
        what: format!("{what}: {e}"),
        cure: "try again with fewer".to_owned(),
    }
}

fn megabytes(from: Option<u64>) -> Option<f64> {
    Some(resident()?.saturating_sub(from?) as f64 / 1e6)
}

fn shown(mb: Option<f64>) -> String {
    mb.map_or_else(
        || "memory: this system does not tell".to_owned(),
        |mb| format!("{mb:.0} MB"),
    )
}

async fn start(net: &Net, name: &str, seed: u64) -> Result<Cluster, CliError> {
    net.add_host(name, "here");
    let options = ClusterOptions::new(name, net.clone(), Arc::new(SystemClock), Seed(seed));
    Cluster::start(options)
        .await
        .map_err(|e| failed("starting a cluster", e))
}

async fn measure(args: &Args) -> Result<(), CliError> {
    let net = Net::new(Transport::Tcp, Seed(args.seed));
    // What every cluster shares, schemas for one, is there with the first.
    let first = Instant::now();
    let one = start(&net, "first", args.seed).await?;
    out::line(&format!(
        "first cluster ready: {:.1} ms",
        first.elapsed().as_secs_f64() * 1e3
    ));
    if args.clusters > 0 {
        let (before, began) = (resident(), Instant::now());
        let names: Vec<String> = (0..args.clusters).map(|i| format!("c{i:04}")).collect();
        let all = futures::future::try_join_all(names.iter().map(|n| start(&net, n, args.seed))).await?;
        let (took, grown) = (began.elapsed(), megabytes(before));
        let n = all.len() as f64;
        out::line(&format!(
            "{} more clusters with controllers, idle: {:.0} ms ({:.1} ms each), {} ({:.1} MB each)",
            all.len(),
            took.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e3 / n,
            shown(grown),
            grown.unwrap_or_default() / n
        ));
        for c in all {
            c.stop().await;
        }
    }
    if args.pods > 0 {
        let (before, began) = (resident(), Instant::now());
        let local = one.local();
        let mut most = before;
        for i in 0..args.pods {
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("pod-{i:06}"), "namespace": "default", "labels": {"app": "bench"}},
                "spec": {"containers": [{"name": "c", "image": "registry.example/bench:1"}]}});
            local
                .create(&PODS, "default", pod)
                .map_err(|e| failed("creating a pod", e.message))?;
            if i % 1000 == 999 {
                // Controllers see them as they come.
                tokio::task::yield_now().await;
                most = most.max(resident());
            }
        }
        let took = began.elapsed();
        let last = format!("pod-{:06}", args.pods - 1);
        // The scheduler has had its say about the last one: every controller is through.
        while local
            .get(&PODS, "default", &last)
            .is_ok_and(|p| p["status"]["conditions"].is_null())
            && began.elapsed() < took + SETTLED
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
            most = most.max(resident());
        }
        let grown = megabytes(before);
        let peak = most.and_then(|m| Some(m.saturating_sub(before?) as f64 / 1e6));
        out::line(&format!(
            "{} pods created in process: {:.0}/s, {} ({:.1} KB each) once the controllers have seen them all, {} at most",
            args.pods,
            args.pods as f64 / took.as_secs_f64(),
            shown(grown),
            grown.unwrap_or_default() * 1e3 / args.pods as f64,
            shown(peak)
        ));
    }
    one.stop().await;
    Ok(())
}

pub fn main(args: &Args) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| CliError::io("starting a runtime", &e))?;
    runtime.block_on(measure(args))
}
