//! Ranges of services that somebody adds: addresses come from them, and they go when no service needs them any more.

use std::time::Duration;

use cfn_net::Transport;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::common::cluster;
use crate::{code, from};

fn service(name: &str, address: Option<&str>) -> Service {
    from(json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}))
}

/// Waits until a range says this of itself; an empty message: until it is gone.
async fn until(client: &Client, name: &str, message: &str) {
    let ranges: Api<ServiceCIDR> = Api::all(client.clone());
    let of = WatchParams::default().fields(&format!("metadata.name={name}"));
    let said = |r: &ServiceCIDR| {
        let all = r.status.iter().flat_map(|s| s.conditions.iter().flatten());
        all.into_iter()
            .any(|c| c.type_ == "Ready" && c.message.contains(message))
    };
    let there = ranges.get_opt(name).await.unwrap();
    let version = there.as_ref().and_then(ResourceExt::resource_version);
    match &there {
        None if message.is_empty() => return,
        Some(r) if !message.is_empty() && said(r) => return,
        _ => {}
    }
    let mut events = ranges.watch(&of, &version.unwrap_or_default()).await.unwrap().boxed();
    let wait = async {
        while let Some(e) = events.try_next().await.unwrap() {
            match e {
                WatchEvent::Deleted(_) if message.is_empty() => return,
                WatchEvent::Added(r) | WatchEvent::Modified(r) if !message.is_empty() && said(&r) => return,
                _ => {}
            }
        }
    };
    let bound = Duration::from_secs(60);
    assert!(tokio::time::timeout(bound, wait).await.is_ok(), "{name}: {message:?}");
}

#[tokio::test(start_paused = true)]
async fn a_range_that_is_added_gives_addresses_and_goes_with_the_last() {
    let (c, _) = cluster(Transport::Memory, true).await;
    let client = c.client();
    let ranges: Api<ServiceCIDR> = Api::all(client.clone());
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let new = PostParams::default();
    let asked = |r| {
        let (number, _, message) = code(r);
        assert_eq!(number, 422);
        message
    };
    let refused = asked(services.create(&new, &service("a", Some("10.50.0.3"))).await);
    assert!(
        refused.ends_with("the provided network does not match the current range"),
        "{refused}"
    );
    let range = from(json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.50.0.0/29"]}}));
    ranges.create(&new, &range).await.unwrap();
    until(&client, "more", "Kubernetes Service CIDR is ready").await;
    services.create(&new, &service("a", Some("10.50.0.3"))).await.unwrap();
    let refused = asked(services.create(&new, &service("b", Some("10.50.0.3"))).await);
    assert!(refused.ends_with("provided IP is already allocated"), "{refused}");
    // The one for all is nobody's.
    let refused = asked(services.create(&new, &service("b", Some("10.50.0.7"))).await);
    assert!(
        refused.ends_with("the provided network does not match the current range"),
        "{refused}"
    );

    ranges.delete("more", &DeleteParams::default()).await.unwrap();
    until(
        &client,
        "more",
        "There are still IPAddresses referencing the ServiceCIDR",
    )
    .await;
    let refused = asked(services.create(&new, &service("b", Some("10.50.0.4"))).await);
    assert!(
        refused.ends_with("the provided network does not match the current range"),
        "{refused}"
    );
    services.delete("a", &DeleteParams::default()).await.unwrap();
    until(&client, "more", "").await;

    // The API server's own address is of the range that the server was started with, which comes back when it goes.
    ranges.delete("kubernetes", &DeleteParams::default()).await.unwrap();
    until(&client, "kubernetes", "There are still IPAddresses").await;
    let wide = from(json!({"metadata": {"name": "wide"}, "spec": {"cidrs": ["10.96.0.0/12"]}}));
    let uid = ranges.get("kubernetes").await.unwrap().uid();
    ranges.create(&new, &wide).await.unwrap();
    until(&client, "kubernetes", "ready").await;
    assert_ne!(ranges.get("kubernetes").await.unwrap().uid(), uid);
}
