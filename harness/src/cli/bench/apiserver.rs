//! `cfn bench apiserver`: the same requests to one API server after the other.

use std::path::PathBuf;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;

use super::hub::{milliseconds, outside};
use super::measure::{BenchError, percentile};
use crate::cli::{CliError, out, run};

/// Requests in flight.
const PARALLEL: usize = 64;
/// How often the list is read.
const LISTS: usize = 10;
/// How long a pod may take to run.
const RUNNING: Duration = Duration::from_secs(120);

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
        let client = outside(path).await?;
        let figures = of_one(args, &client)
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

/// Creates a ConfigMap, reading the answer without making objects of it: it is the server that is measured.
async fn create(client: &Client, ns: &str, name: &str) -> Result<(), BenchError> {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "value"}});
    let request = http::Request::post(format!("/api/v1/namespaces/{ns}/configmaps"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(kube::client::Body::from(body.to_string().into_bytes()))
        .map_err(kube::Error::HttpError)?;
    let answer = client.send(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if status != http::StatusCode::CREATED {
        return Err(BenchError::Answered {
            what: format!("creating ConfigMap {name}"),
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        });
    }
    Ok(())
}

fn late(what: &str, bound: Duration) -> BenchError {
    BenchError::Late {
        what: what.to_owned(),
        bound,
        seen: String::new(),
    }
}

/// What one server does, in a namespace that goes afterwards.
async fn of_one(args: &Args, client: &Client) -> Result<Vec<String>, BenchError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made: Namespace =
        serde_json::from_value(json!({"metadata": {"generateName": "cfn-bench-"}})).unwrap_or_default();
    let ns = namespaces.create(&PostParams::default(), &made).await?;
    let ns = ns.metadata.name.unwrap_or_default();
    let result = in_namespace(args, client, &ns).await;
    namespaces.delete(&ns, &DeleteParams::background()).await?;
    result
}

async fn in_namespace(args: &Args, client: &Client, ns: &str) -> Result<Vec<String>, BenchError> {
    let mut figures = vec![client.apiserver_version().await?.git_version];
    figures.push(format!("{:.0}", one_by_one(args, client, ns).await?));
    figures.push(format!("{:.0}", at_once(args, client, ns).await?));
    let mut seen = watch_latency(args, client, ns).await?;
    seen.sort();
    figures.push(milliseconds(percentile(&seen, 50)));
    figures.push(milliseconds(percentile(&seen, 99)));
    figures.push(milliseconds(percentile(&lists(client, ns).await?, 50)));
    figures.push(format!("{:.0}", watched(args, client, ns).await?));
    if !args.no_pod {
        figures.push(milliseconds(running(client, ns).await?));
    }
    Ok(figures)
}

/// Creates one after the other: how many a second.
async fn one_by_one(args: &Args, client: &Client, ns: &str) -> Result<f64, BenchError> {
    let start = Instant::now();
    for i in 0..args.sequential {
        create(client, ns, &format!("one-{i}")).await?;
    }
    Ok(args.sequential as f64 / start.elapsed().as_secs_f64())
}

/// When a watcher sees each of objects that are created one after the other, counted from when it was sent.
async fn watch_latency(args: &Args, client: &Client, ns: &str) -> Result<Vec<Duration>, BenchError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), ns);
    let since = api
        .list(&ListParams::default().limit(1))
        .await?
        .metadata
        .resource_version;
    let mut events = Box::pin(api.watch(&WatchParams::default(), &since.unwrap_or_default()).await?);
    let (told, mut times) = tokio::sync::mpsc::unbounded_channel();
    let watcher = tokio::spawn(async move {
        while let Some(Ok(e)) = events.next().await {
            if let WatchEvent::Added(o) = e
                && told
                    .send((o.metadata.name.unwrap_or_default(), Instant::now()))
                    .is_err()
            {
                return;
            }
        }
    });
    let mut seen = Vec::new();
    for i in 0..args.sequential {
        let (name, sent) = (format!("latency-{i}"), Instant::now());
        create(client, ns, &name).await?;
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

async fn at_once(args: &Args, client: &Client, ns: &str) -> Result<f64, BenchError> {
    let start = Instant::now();
    futures::stream::iter((0..args.objects).map(|i| async move { create(client, ns, &format!("many-{i}")).await }))
        .buffer_unordered(PARALLEL)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(args.objects as f64 / start.elapsed().as_secs_f64())
}

/// How long it takes until the last byte of a list is here.
async fn lists(client: &Client, ns: &str) -> Result<Vec<Duration>, BenchError> {
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let request = http::Request::get(format!("/api/v1/namespaces/{ns}/configmaps"))
            .body(kube::client::Body::from(Vec::new()))
            .map_err(kube::Error::HttpError)?;
        let start = Instant::now();
        let body = client.send(request).await?.into_body().collect().await?;
        std::hint::black_box(body.to_bytes());
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Events that reach all watchers of one resource, a second.
async fn watched(args: &Args, client: &Client, ns: &str) -> Result<f64, BenchError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), ns);
    let since = api
        .list(&ListParams::default().limit(1))
        .await?
        .metadata
        .resource_version;
    let since = since.unwrap_or_default();
    let n = args.sequential;
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..args.watchers {
        let own = api.clone();
        let events = own.watch(&WatchParams::default(), &since).await?.boxed();
        watchers.spawn(async move {
            let added = events.filter(|e| std::future::ready(matches!(e, Ok(WatchEvent::Added(_)))));
            added.take(n).count().await
        });
    }
    let start = Instant::now();
    futures::stream::iter((0..n).map(|i| async move { create(client, ns, &format!("seen-{i}")).await }))
        .buffer_unordered(PARALLEL)
        .try_for_each(|_| async { Ok(()) })
        .await?;
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
async fn running(client: &Client, ns: &str) -> Result<Duration, BenchError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), ns);
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "first", "annotations": {"cfn.akraino.org/start-after": "0s"}},
        "spec": {"containers": [{"name": "c", "image": "registry.example/bench:1"}], "terminationGracePeriodSeconds": 0}}))
    .unwrap_or_default();
    let start = Instant::now();
    api.create(&PostParams::default(), &pod).await?;
    let mut events = Box::pin(api.watch(&WatchParams::default(), "0").await?);
    let runs = async {
        while let Some(e) = events.try_next().await? {
            if let WatchEvent::Added(p) | WatchEvent::Modified(p) = e
                && p.status.and_then(|s| s.phase).as_deref() == Some("Running")
            {
                return Ok(start.elapsed());
            }
        }
        Err(late("a pod to run", RUNNING))
    };
    tokio::time::timeout(RUNNING, runs)
        .await
        .unwrap_or_else(|_| Err(late("a pod to run", RUNNING)))
}
