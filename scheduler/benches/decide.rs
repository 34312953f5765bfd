//! Decisions: how long one takes, by the size of the fleet; the hard choices; a change of one cluster.
//!
//! The fleets are the recorded ones (`oracle/fleet*.json.gz` in `CFN_SHARED` or `shared` beside the repository) where
//! they are there, else generated ones of the same make; the name of each benchmark says which.

#![allow(missing_docs, reason = "criterion's macros make public items")]

mod generated;

use std::hint::black_box;
use std::path::PathBuf;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::ResourceBindingSpec;
use cfn_scheduler::engine::{Config, Fleet, Member, Request, schedule};
use cfn_scheduler::offline::documents;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};

fn shared() -> PathBuf {
    std::env::var_os("CFN_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    )
}

fn parsed<T: serde::de::DeserializeOwned>(doc: &Value, field: &str) -> Vec<T> {
    let list = doc[field].as_array().into_iter().flatten();
    list.filter_map(|v| serde_json::from_value(v.clone()).ok()).collect()
}

/// Clusters, bindings and where they come from.
fn input(size: u64) -> (Vec<Cluster>, Vec<ResourceBindingSpec>, &'static str) {
    let file = shared().join(format!("oracle/fleet{size}.json.gz"));
    let docs = std::fs::read(file).ok().and_then(|bytes| documents(&bytes).ok());
    match docs.and_then(|d| d.into_iter().next()) {
        Some(doc) => (parsed(&doc, "clusters"), parsed(&doc, "specs"), "recorded"),
        None => (
            generated::clusters(size, 10, size),
            generated::specs(200, size, size),
            "generated",
        ),
    }
}

fn decide(fleet: &Fleet, specs: &[ResourceBindingSpec]) {
    for spec in specs {
        black_box(
            schedule(fleet, &Request::of("default/w", spec), &Config::default())
                .result
                .ok(),
        );
    }
}

fn fleets(c: &mut Criterion) {
    for size in [100, 1000, 5000, 10_000] {
        let (clusters, specs, make) = input(size);
        let fleet = Fleet::new(clusters);
        let mut group = c.benchmark_group("decision");
        group
            .throughput(Throughput::Elements(specs.len() as u64))
            .sample_size(20);
        group.bench_function(format!("{size} clusters, {make}"), |b| {
            b.iter(|| decide(&fleet, &specs))
        });
        group.finish();
    }
}

/// `choose` of `regions` regions whose sizes and room all differ, with at least `clusters` clusters.
fn regions(c: &mut Criterion) {
    for (choose, regions, clusters) in [(11, 22, 11), (11, 22, 52), (50, 100, 50), (50, 100, 240)] {
        let fleet = Fleet::new(generated::clusters(regions * 5 - regions / 3, regions, 7));
        let spec: ResourceBindingSpec = serde_json::from_value(json!({
            "resource": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}, "replicas": 3000,
            "replicaRequirements": {"resourceRequest": {"cpu": "500m"}},
            "placement": {"clusterTolerations": [{"operator": "Exists"}], "spreadConstraints": [
                {"spreadByField": "region", "minGroups": choose, "maxGroups": choose},
                {"spreadByField": "cluster", "minGroups": clusters, "maxGroups": 500}],
                "replicaScheduling": {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}}
        }))
        .unwrap_or_default();
        let decided = schedule(&fleet, &Request::of("default/w", &spec), &Config::default());
        assert!(decided.result.is_ok(), "{:?}", decided.result);
        c.bench_function(
            &format!("{choose} of {regions} regions with {clusters} clusters"),
            |b| {
                b.iter(|| decide(&fleet, std::slice::from_ref(&spec)));
            },
        );
    }
}

fn change(c: &mut Criterion) {
    for size in [100, 1000, 10_000] {
        let clusters = generated::clusters(size, 10, size);
        let mut fleet = Fleet::new(clusters.clone());
        let mut next = clusters.iter().cycle();
        c.bench_function(&format!("a change of one of {size} clusters"), |b| {
            b.iter_batched(
                || next.next().map(|c| Member::new(c.clone(), None)),
                |m| m.map(|m| fleet.insert(m)),
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, fleets, regions, change);
criterion_main!(benches);
