//! `cfn bench apiserver`: the same requests to one API server after the other.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::hub::milliseconds;
use super::measure::{BenchError, percentile};
use super::side::{PARALLEL, RUNNING, Side, broken, create, create_many, post};
use crate::cli::{CliError, out, run};

/// How often the list is read.
const LISTS: usize = 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The API servers, asked in turn
    #[arg(required = true, value_name = "KUBECONFIG")]
    kubeconfigs: Vec<PathBuf>,
    /// Objects created one after the other, and watched
    #[arg(long, default_value_t = 500)]
    sequential: usize,
    /// Objects created at once, 64 in flight, and listed
    #[arg(long, default_value_t = 10_700)]
    objects: usize,
    /// Watchers of one resource that all get the same events
    #[arg(long, default_value_t = 100)]
    watchers: usize,
    /// Leave out the pod that is to run (a server without nodes)
    #[arg(long)]
    no_pod: bool,
}

pub fn main(args: Args) -> Result<(), CliError> {
    let lane = run::find_lane("local", None)?;
    let rt = lane.runtime().map_err(|e| CliError::io("starting a runtime", &e))?;
    let result = rt.block_on(all(&args));
    rt.shutdown_timeout(Duration::from_secs(2));
    result
}

async fn all(args: &Args) -> Result<(), CliError> {
    let mut rows = vec![first_column(args)];
    for path in &args.kubeconfigs {
        let side = Side::of(path)?;
        let figures = of_one(args, &side)
            .await
            .map_err(|e| CliError::Failed(format!("{}: {e}", path.display())))?;
        let mut row = vec![path.display().to_string()];
        row.extend(figures);
        rows.push(row);
    }
    // One column per server.
    let lines: Vec<Vec<String>> = (0..rows[0].len())
        .map(|i| rows.iter().map(|r| r.get(i).cloned().unwrap_or_default()).collect())
        .collect();
    out::line(out::table(&lines).trim_end());
    Ok(())
}

fn first_column(args: &Args) -> Vec<String> {
    let mut list = vec![
        String::new(),
        "version".into(),
        format!("creates/s, {} one after the other", args.sequential),
        format!("creates/s, {} with {PARALLEL} in flight", args.objects),
        "create -> watch event, p50".into(),
        "create -> watch event, p99".into(),
        format!("list of {} ConfigMaps, p50", args.objects),
        format!("events/s to {} watchers", args.watchers),
    ];
    if !args.no_pod {
        list.push("pod created -> Running".into());
    }
    list
}

fn late(what: &str, bound: Duration) -> BenchError {
    BenchError::Late {
        what: what.to_owned(),
        bound,
        seen: String::new(),
    }
}

/// What one server does, in a namespace that goes afterwards.
async fn of_one(args: &Args, side: &Side) -> Result<Vec<String>, BenchError> {
    let namespaces: Api<Namespace> = Api::all(side.client.clone());
    let made: Namespace =
        serde_json::from_value(json!({"metadata": {"generateName": "cfn-bench-"}})).unwrap_or_default();
    let ns = namespaces.create(&PostParams::default(), &made).await?;
    let ns = ns.metadata.name.unwrap_or_default();
    let result = in_namespace(args, side, &ns).await;
    namespaces.delete(&ns, &DeleteParams::background()).await?;
    result
}

async fn in_namespace(args: &Args, side: &Side, ns: &str) -> Result<Vec<String>, BenchError> {
    let mut figures = vec![side.client.apiserver_version().await?.git_version];
    figures.push(format!("{:.0}", one_by_one(args, side, ns).await?));
    figures.push(format!("{:.0}", at_once(args, side, ns).await?));
    let mut seen = watch_latency(args, side, ns).await?;
    seen.sort();
    figures.push(milliseconds(percentile(&seen, 50)));
    figures.push(milliseconds(percentile(&seen, 99)));
    figures.push(milliseconds(percentile(&lists(side, ns).await?, 50)));
    figures.push(format!("{:.0}", watched(args, side, ns).await?));
    if !args.no_pod {
        figures.push(milliseconds(running(side, ns).await?));
    }
    Ok(figures)
}

/// Creates one after the other: how many a second.
async fn one_by_one(args: &Args, side: &Side, ns: &str) -> Result<f64, BenchError> {
    let mut connection = side.connect().await?;
    let start = Instant::now();
    for i in 0..args.sequential {
        create(&mut connection, ns, &format!("one-{i}")).await?;
    }
    Ok(args.sequential as f64 / start.elapsed().as_secs_f64())
}

/// The newest revision.
async fn newest(side: &Side, ns: &str) -> Result<String, BenchError> {
    let api: Api<ConfigMap> = Api::namespaced(side.client.clone(), ns);
    let list = api.list(&ListParams::default().limit(1)).await?;
    Ok(list.metadata.resource_version.unwrap_or_default())
}

/// When a watcher sees each of objects that are created one after the other, counted from when it was sent.
async fn watch_latency(args: &Args, side: &Side, ns: &str) -> Result<Vec<Duration>, BenchError> {
    let since = newest(side, ns).await?;
    let (told, mut times) = tokio::sync::mpsc::unbounded_channel();
    let path = format!("/api/v1/namespaces/{ns}/configmaps?watch=true&resourceVersion={since}");
    let mut events = side.watch(&path).await?;
    let watcher = tokio::spawn(async move {
        while let Ok(Some(e)) = events.next().await {
            if told.send((e.object.metadata.name, Instant::now())).is_err() {
                return;
            }
        }
    });
    let mut connection = side.connect().await?;
    let mut seen = Vec::new();
    for i in 0..args.sequential {
        let (name, sent) = (format!("latency-{i}"), Instant::now());
        create(&mut connection, ns, &name).await?;
        loop {
            match tokio::time::timeout(RUNNING, times.recv()).await {
                Ok(Some((n, at))) if n == name => {
                    seen.push(at - sent);
                    break;
                }
                Ok(Some(_)) => {}
                _ => return Err(late("an event of a watch", RUNNING)),
            }
        }
    }
    watcher.abort();
    Ok(seen)
}

async fn at_once(args: &Args, side: &Side, ns: &str) -> Result<f64, BenchError> {
    let start = create_many(side, ns, "many", args.objects).await?;
    Ok(args.objects as f64 / start.elapsed().as_secs_f64())
}

/// How long it takes until the last byte of a list is here.
async fn lists(side: &Side, ns: &str) -> Result<Vec<Duration>, BenchError> {
    let mut times = Vec::new();
    let mut connection = side.connect().await?;
    let what = "listing ConfigMaps";
    for _ in 0..LISTS {
        let start = Instant::now();
        let path = format!("/api/v1/namespaces/{ns}/configmaps");
        let asked = connection.ask(Method::GET, &path, bytes::Bytes::new()).await;
        let mut answer = asked.map_err(broken(what))?;
        let mut size = 0;
        while let Some(part) = answer.next().await.map_err(broken(what))? {
            size += part.len();
        }
        times.push(start.elapsed());
        std::hint::black_box(size);
    }
    times.sort();
    Ok(times)
}

/// Events that reach all watchers of one resource, a second.
async fn watched(args: &Args, side: &Side, ns: &str) -> Result<f64, BenchError> {
    let api: Api<ConfigMap> = Api::namespaced(side.client.clone(), ns);
    let since = newest(side, ns).await?;
    let n = args.sequential;
    let mut watchers = JoinSet::new();
    for _ in 0..args.watchers {
        let own = api.clone();
        let events = own.watch(&WatchParams::default(), &since).await?.boxed();
        watchers.spawn(async move {
            let added = events.filter(|e| std::future::ready(matches!(e, Ok(WatchEvent::Added(_)))));
            added.take(n).count().await
        });
    }
    let start = create_many(side, ns, "seen", n).await?;
    let mut events = 0;
    while let Some(count) = tokio::time::timeout(RUNNING, watchers.join_next())
        .await
        .map_err(|_| late("all events at all watchers", RUNNING))?
    {
        events += count.unwrap_or(0);
    }
    Ok(events as f64 / start.elapsed().as_secs_f64())
}

/// How long it takes until a pod runs.
async fn running(side: &Side, ns: &str) -> Result<Duration, BenchError> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "first", "annotations": {"cfn.akraino.org/start-after": "0s"}},
        "spec": {"containers": [{"name": "c", "image": "registry.example/bench:1"}], "terminationGracePeriodSeconds": 0}});
    let path = format!("/api/v1/namespaces/{ns}/pods");
    let mut events = side.watch(&format!("{path}?watch=true")).await?;
    let mut connection = side.connect().await?;
    let start = Instant::now();
    post(&mut connection, &path, &pod).await?;
    let runs = async {
        while let Some(e) = events.next().await? {
            if e.object.status.phase == "Running" {
                return Ok(start.elapsed());
            }
        }
        Err(late("a pod to run", RUNNING))
    };
    tokio::time::timeout(RUNNING, runs)
        .await
        .unwrap_or_else(|_| Err(late("a pod to run", RUNNING)))
}
