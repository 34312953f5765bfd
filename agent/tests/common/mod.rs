//! Two embedded clusters in memory, under virtual time.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "each test uses its part")]

use std::sync::Arc;
use std::time::Duration;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_net::{Net, Seed, SharedClock, Transport, VirtualClock};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;

pub const SEED: Seed = Seed(7);

pub struct Bed {
    pub net: Net,
    pub clock: SharedClock,
}

impl Bed {
    pub fn new() -> Self {
        let epoch = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            net: Net::new(Transport::Memory, SEED),
            clock: Arc::new(VirtualClock::starting_at(epoch)),
        }
    }

    pub async fn cluster(&self, name: &str, site: &str) -> Cluster {
        self.net.add_host(name, site);
        Cluster::start(ClusterOptions {
            bootstrap_token: "abcdef.0123456789abcdef".to_owned(),
            ..ClusterOptions::new(name, self.net.clone(), self.clock.clone(), SEED.child(name))
        })
        .await
        .unwrap()
    }
}

pub async fn hub_crds(client: &kube::Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in cfn_api::crds() {
        api.create(&PostParams::default(), &crd).await.unwrap();
    }
}

/// Waits until `f` says yes, for at most `bound` of virtual time.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, bound: Duration, mut f: F) {
    let end = tokio::time::Instant::now() + bound;
    while !f().await {
        assert!(tokio::time::Instant::now() < end, "{what}: not within {bound:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
