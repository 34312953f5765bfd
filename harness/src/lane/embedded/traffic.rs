//! Clients and vehicles in this process, over the testbed's network.

use async_trait::async_trait;
use cfn_net::Seed;
use cfn_v2x::drive::{DriveEvidence, DriveOptions};
use tokio_util::sync::CancellationToken;

use super::Embedded;
use crate::lane::LaneError;
use crate::lane::traffic::{self, Exchange, Requests, Traffic};

#[async_trait]
impl Traffic for Embedded {
    async fn load(&self, requests: &Requests) -> Result<Vec<Exchange>, LaneError> {
        let host = format!("client.{}", requests.from);
        self.net.add_host(&host, &requests.from);
        let mut exchanges = Vec::with_capacity(requests.count);
        traffic::send(&self.net, &host, requests, |e| exchanges.push(e)).await;
        Ok(exchanges)
    }

    async fn drive(&self, options: DriveOptions, seed: Seed) -> Result<DriveEvidence, LaneError> {
        let cancel = CancellationToken::new();
        // Whoever stops waiting stops the vehicles.
        let _ends = cancel.clone().drop_guard();
        cfn_v2x::drive::run(options, &self.net, &self.clock, seed, |_| {}, cancel)
            .await
            .map_err(|e| LaneError::Failed(e.to_string()))
    }
}
