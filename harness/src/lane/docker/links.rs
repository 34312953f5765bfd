//! What each host's shaper is told, from the links and their faults; routes of clients to pods; and what answers probes
//! at each site.

use std::collections::BTreeMap;

use super::bed::Bed;
use super::plan::{Container, Role};
use crate::lane::LaneError;
use crate::link::{Cidr, ShapeConfig};

impl Bed {
    /// Every site's addresses: its block, its hosts that are elsewhere, and those of the pods of its nodes.
    async fn addresses(&self) -> BTreeMap<String, Vec<Cidr>> {
        let state = self.state.lock().await;
        let block = |c: super::address::Cidr| Cidr::new(c.address, c.prefix);
        let mut all: BTreeMap<String, Vec<Cidr>> = self
            .plan
            .layout
            .sites
            .iter()
            .map(|(s, c)| (s.clone(), vec![block(*c)]))
            .collect();
        for c in self.plan.containers.iter().filter(|c| c.role != Role::Shaper) {
            let own = self.plan.layout.sites.get(&c.site).zip(c.address);
            if let Some((here, address)) = own
                && !here.overlaps(super::address::Cidr::new(address, 32))
                && let Some(site) = all.get_mut(&c.site)
            {
                site.push(Cidr::new(address, 32));
            }
        }
        for (node, pods) in &state.pods {
            if let Some(c) = self.container_of(node)
                && let Some(site) = all.get_mut(&c.site)
            {
                site.push(block(*pods));
            }
        }
        all
    }

    /// Brings every shaper in step with the links as they are. Hosts without power are told when they have it again.
    pub(super) async fn shape(&self) -> Result<(), LaneError> {
        let addresses = self.addresses().await;
        let dark = self.state.lock().await.dark.clone();
        let hosts = self
            .plan
            .containers
            .iter()
            .filter(|c| c.role != Role::Shaper && !dark.contains(&c.host));
        let told = hosts.map(|c| {
            let config = self.config(c, &addresses);
            async move {
                let text = serde_json::to_string(&config).map_err(|e| LaneError::Failed(e.to_string()))?;
                self.shapers.tell(&self.engine, &c.host, &text).await
            }
        });
        futures::future::try_join_all(told).await?;
        Ok(())
    }

    /// What a host's shaper is told. Who has addresses at several sites is told of each way to each.
    fn config(&self, c: &Container, addresses: &BTreeMap<String, Vec<Cidr>>) -> ShapeConfig {
        if c.addresses.is_empty() {
            return self.links.config(&c.site, addresses);
        }
        let own = c.addresses.keys().chain([&c.site]);
        let mut all = ShapeConfig::default();
        for site in own {
            let mut one = self.links.config(site, addresses);
            all.seed = one.seed;
            one.rules
                .retain(|r| r.site != c.site && !c.addresses.contains_key(&r.site));
            for r in &mut one.rules {
                r.to = addresses.get(site).cloned().unwrap_or_default();
            }
            all.rules.append(&mut one.rules);
        }
        all
    }

    /// Clients have an address at each of their sites, and reach pods through their nodes.
    pub(super) async fn route(&self) -> Result<(), LaneError> {
        let pods = self.state.lock().await.pods.clone();
        let mut script = String::new();
        for (node, block) in &pods {
            if let Some(via) = self.plan.layout.hosts.get(node) {
                script.push_str(&format!("ip route replace {block} via {via}\n"));
            }
        }
        let clients = self.plan.containers.iter().filter(|c| c.role == Role::Clients);
        let told = clients.map(|c| {
            let mut script = script.clone();
            for a in c.addresses.values() {
                script.push_str(&format!(
                    "ip address replace {a}/{} dev eth0\n",
                    self.plan.layout.subnet.prefix
                ));
            }
            async move { self.engine.run(&c.name, &["sh", "-ec", &script]).await }
        });
        futures::future::try_join_all(told).await?;
        Ok(())
    }

    /// Starts what answers probes at each site, where it does not run.
    pub(super) async fn respond(&self) -> Result<(), LaneError> {
        let dark = self.state.lock().await.dark.clone();
        let hosts: std::collections::BTreeSet<String> = self
            .topology
            .spec
            .sites
            .iter()
            .filter_map(|s| self.host_at(&s.name))
            .filter(|h| !dark.contains(h))
            .collect();
        let started = hosts.iter().map(|h| async move {
            let Some(container) = self.shapers.container(h) else {
                return Ok(());
            };
            // The second of two ends at once, its port being taken.
            self.engine.spawn(container, &["cfn", "probe", "respond"]).await
        });
        futures::future::try_join_all(started).await?;
        Ok(())
    }
}
