//! How fast one API server is, without a network: what a request costs, what a list costs, how soon a watcher hears, what
//! a start costs, and what keeping state on disk adds. `cfn bench apiserver` measures the same through TLS, beside others.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark stops where something is wrong")]

use std::cell::Cell;
use std::sync::Arc;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_apiserver::local::Gvr;
use cfn_apiserver::store::log::LogOptions;
use cfn_apiserver::store::{Expect, Key, ResourceKey, Store};
use cfn_net::{Net, Seed, SystemClock, Transport};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Objects of the list, as the figures of the real server have them.
const LISTED: usize = 10_700;
/// Creates in flight.
const PARALLEL: usize = 64;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn cluster(controllers: bool) -> Cluster {
    let net = Net::new(Transport::Tcp, Seed(1));
    net.add_host("c", "here");
    Cluster::start(ClusterOptions {
        controllers,
        ..ClusterOptions::new("c", net, Arc::new(SystemClock), Seed(1))
    })
    .await
    .unwrap()
}

fn map(n: usize) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": format!("m{n}")}, "data": {"key": "value"}})).unwrap()
}

fn next(n: &Cell<usize>) -> usize {
    n.set(n.get() + 1);
    n.get()
}

fn requests(c: &mut Criterion) {
    let rt = runtime();
    let cluster = rt.block_on(cluster(false));
    // A client has a task of its own.
    let _inside = rt.enter();
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let n = Cell::new(0);
    let mut group = c.benchmark_group("requests");
    group.throughput(Throughput::Elements(1));
    group.bench_function("create", |b| {
        b.iter(|| rt.block_on(api.create(&PostParams::default(), &map(next(&n)))).unwrap());
    });
    group.bench_function("get", |b| b.iter(|| rt.block_on(api.get("m1")).unwrap()));
    group.throughput(Throughput::Elements(PARALLEL as u64));
    group.bench_function("create, 64 in flight", |b| {
        b.iter(|| {
            let all: FuturesUnordered<_> = (0..PARALLEL)
                .map(|_| {
                    let (api, o) = (api.clone(), map(next(&n)));
                    async move { api.create(&PostParams::default(), &o).await.unwrap() }
                })
                .collect();
            rt.block_on(all.count())
        });
    });
    let mut events = rt
        .block_on(async { api.watch(&WatchParams::default(), "0").await })
        .unwrap()
        .boxed();
    group.throughput(Throughput::Elements(1));
    group.bench_function("create -> watch event", |b| {
        b.iter(|| {
            let o = map(next(&n));
            rt.block_on(async {
                api.create(&PostParams::default(), &o).await.unwrap();
                while let Some(Ok(e)) = events.next().await {
                    if matches!(e, WatchEvent::Added(seen) if seen.metadata.name == o.metadata.name) {
                        return;
                    }
                }
            });
        });
    });
    group.finish();
}

fn lists(c: &mut Criterion) {
    let rt = runtime();
    let cluster = rt.block_on(cluster(false));
    let _inside = rt.enter();
    let client = cluster.client();
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    rt.block_on(async {
        for n in 0..LISTED {
            api.create(&PostParams::default(), &map(n)).await.unwrap();
        }
    });
    c.bench_function("list of 10,700 ConfigMaps", |b| {
        b.iter(|| {
            rt.block_on(async {
                let request = http::Request::get("/api/v1/namespaces/default/configmaps");
                let answer = client.send(request.body(Vec::new().into()).unwrap()).await.unwrap();
                answer.into_body().collect().await.unwrap().to_bytes().len()
            })
        });
    });
}

fn starts(c: &mut Criterion) {
    let rt = runtime();
    for (name, controllers) in [("start", false), ("start with controllers", true)] {
        c.bench_function(name, |b| {
            b.iter_batched(|| (), |()| rt.block_on(cluster(controllers)), BatchSize::PerIteration);
        });
    }
}

/// Writes that wait for the disk together.
fn durability(c: &mut Criterion) {
    let rt = runtime();
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), &LogOptions::default()).unwrap();
    let resource: ResourceKey = Arc::new(Gvr::new("", "v1", "configmaps"));
    let object: Value = serde_json::to_value(map(0)).unwrap();
    let n = Cell::new(0);
    let mut group = c.benchmark_group("fsynced writes");
    for together in [1, 64] {
        group.throughput(Throughput::Elements(together));
        group.bench_function(format!("{together} at once"), |b| {
            b.iter(|| {
                for _ in 0..together {
                    let key = Key::new("default", format!("m{}", next(&n)));
                    store.put(&resource, key, Expect::Absent, object.clone()).unwrap();
                }
                rt.block_on(store.durable()).unwrap();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, lists, starts, durability);
criterion_main!(benches);
