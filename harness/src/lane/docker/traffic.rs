//! Clients and vehicles: commands of ours in a container at their site.

use std::collections::BTreeMap;

use async_trait::async_trait;
use cfn_net::Seed;
use cfn_v2x::drive::{DriveEvidence, DriveOptions};

use super::bed::Bed;
use super::plan::Role;
use crate::lane::LaneError;
use crate::lane::traffic::{DriveOrder, Exchange, Requests, Said, Traffic};

/// Where an order is put that is too long for a command line.
const ORDER: &str = "/tmp/cfn-order.json";

#[async_trait]
impl Traffic for Bed {
    async fn load(&self, requests: &Requests) -> Result<Vec<Exchange>, LaneError> {
        let host = self.host_at(&requests.from);
        let container = host.as_deref().and_then(|h| self.shapers.container(h));
        let Some(container) = container else {
            return Err(LaneError::Failed(format!("no container is at site {}", requests.from)));
        };
        let order = serde_json::to_string(requests).map_err(|e| LaneError::Failed(e.to_string()))?;
        let source = self.client_address(&requests.from).map(|a| format!("--source={a}"));
        let mut command = vec!["cfn", "client", "load", &order];
        command.extend(source.as_deref());
        let out = self.engine.run(container, &command).await?;
        let said = Said::read(&String::from_utf8_lossy(&out.stdout))?;
        let exchanges = said.into_iter().filter_map(|s| match s {
            Said::Exchange(e) => Some(e),
            _ => None,
        });
        Ok(exchanges.collect())
    }

    async fn drive(&self, options: DriveOptions, seed: Seed) -> Result<DriveEvidence, LaneError> {
        let Some(c) = self.plan.containers.iter().find(|c| c.role == Role::Clients) else {
            return Err(LaneError::Failed(
                "no site is without a host: there is nowhere to drive".to_owned(),
            ));
        };
        let sites = self.topology.spec.sites.iter();
        let sources = sites.filter_map(|s| Some((s.name.value.clone(), self.client_address(&s.name)?.into())));
        let order = DriveOrder {
            options,
            seed: seed.0,
            sources: sources.collect(),
        };
        let text = serde_json::to_string(&order).map_err(|e| LaneError::Failed(e.to_string()))?;
        let files = BTreeMap::from([(ORDER.to_owned(), text)]);
        self.engine.put(&c.name, &files).await?;
        let drive = format!("exec cfn client drive - < {ORDER}");
        let out = self.engine.run(&c.name, &["sh", "-c", &drive]).await?;
        let said = Said::read(&String::from_utf8_lossy(&out.stdout))?;
        said.into_iter()
            .find_map(|s| match s {
                Said::Evidence(e) => Some(*e),
                _ => None,
            })
            .ok_or_else(|| LaneError::Failed("the drive told nothing of what it showed".to_owned()))
    }
}
