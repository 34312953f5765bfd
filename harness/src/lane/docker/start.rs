//! Bringing a testbed up: hosts side by side, control planes looked at until they answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::bed::{Bed, LOOK, Made};
use super::flavour::Driver;
use super::plan::{Container, Role};
use crate::lane::LaneError;

impl Bed {
    /// Starts everything.
    pub(super) async fn up(self: &Arc<Self>) -> Result<(), LaneError> {
        let hosts: Vec<&Container> = self.plan.containers.iter().filter(|c| c.role != Role::Shaper).collect();
        let starting = async {
            let mut started: FuturesUnordered<_> = FuturesUnordered::new();
            for c in &hosts {
                started.push(self.start_host(c));
            }
            let mut count = 0;
            while let Some(done) = started.next().await {
                done?;
                count += 1;
            }
            self.tell(&format!("{count} hosts started"));
            Ok::<_, LaneError>(())
        };
        let clusters = async {
            let mut preparing: FuturesUnordered<_> = FuturesUnordered::new();
            for c in &self.topology.spec.clusters {
                preparing.push(self.prepare_cluster(c));
            }
            let mut made = BTreeMap::new();
            while let Some(done) = preparing.next().await {
                let (name, client, kubeconfig) = done?;
                made.insert(name, (client, kubeconfig));
            }
            self.tell(&format!("{} control planes answer", made.len()));
            Ok::<_, LaneError>(made)
        };
        let ((), made) = futures::try_join!(starting, clusters)?;
        let _ = self.made.set(Made {
            clients: made.iter().map(|(n, (c, _))| (n.clone(), c.clone())).collect(),
            kubeconfigs: made.into_iter().map(|(n, (_, k))| (n, k)).collect(),
        });
        let dressing = self.topology.spec.clusters.iter().map(|c| self.dress(c.name.as_str()));
        futures::future::try_join_all(dressing).await?;
        self.tell("all nodes are registered");
        futures::try_join!(self.shape(), self.route())?;
        self.components().await?;
        self.tell("scheduler and agents are deployed");
        Ok(())
    }

    /// What every container knows by name.
    fn known_hosts(&self) -> Vec<String> {
        self.plan.layout.hosts.iter().map(|(h, a)| format!("{h}:{a}")).collect()
    }

    /// Whether its hosts were made by another program.
    pub(super) fn is_adopted(&self) -> bool {
        self.flavour.flavour.driver == Driver::Kind
    }

    /// Makes and starts a host, and its shaper.
    async fn start_host(&self, c: &Container) -> Result<(), LaneError> {
        if self.is_adopted() && c.role != Role::Clients {
            if let (Some(inside), Some(cluster)) = (c.publish, &c.cluster) {
                let port = self.engine.published(&c.name, inside).await?;
                let port =
                    port.ok_or_else(|| LaneError::Failed(format!("{} does not publish port {inside}", c.name)))?;
                self.state.lock().await.ports.insert(cluster.clone(), port);
            }
            return self.shapers.start(&self.engine, &c.host).await;
        }
        let known = self.known_hosts();
        let mut tries = 0;
        loop {
            let port = match c.publish {
                Some(_) => Some(free_port().map_err(|e| LaneError::io("looking for a free port", &e))?),
                None => None,
            };
            self.engine.create(c, &self.plan.name, port, &known).await?;
            match self.engine.start(&c.name).await {
                Ok(()) => {
                    if let (Some(p), Some(cluster)) = (port, &c.cluster) {
                        self.state.lock().await.ports.insert(cluster.clone(), p);
                    }
                    break;
                }
                // Somebody took the port in between.
                Err(e) if tries < 5 && e.message().contains("already") => {
                    tries += 1;
                    self.engine.remove(&c.name).await?;
                }
                Err(e) => return Err(e.into()),
            }
        }
        if c.role != Role::Clients {
            self.shapers.start(&self.engine, &c.host).await?;
        }
        self.import(c).await
    }

    /// Waits until a cluster's control plane answers, and gives it what every cluster of a testbed has.
    async fn prepare_cluster(&self, c: &crate::topology::Cluster) -> Result<(String, kube::Client, String), LaneError> {
        let name = c.name.value.clone();
        let container = self.container_name(&name);
        let until = Instant::now() + self.patience();
        let text = loop {
            match self.engine.get(&container, &self.flavour.flavour.kubeconfig).await {
                Ok(Some(t)) if !t.is_empty() => break t,
                Ok(_) => {}
                // Not made yet.
                Err(e) if e.code() == Some(404) => {}
                Err(e) => return Err(e.into()),
            }
            self.alive(&container, until).await?;
            tokio::time::sleep(LOOK).await;
        };
        let port = loop {
            if let Some(p) = self.state.lock().await.ports.get(&name) {
                break *p;
            }
            tokio::time::sleep(LOOK).await;
        };
        let kubeconfig = outside(&String::from_utf8_lossy(&text), &name, port)?;
        let client = client(&kubeconfig).await?;
        let ready = || http::Request::get("/readyz").body(Vec::new());
        while let Some(said) = match ready() {
            Ok(r) => client.request_text(r).await.err().map(|e| e.to_string()),
            Err(e) => Some(e.to_string()),
        } {
            tracing::debug!("{name}: {said}");
            self.alive(&container, until).await?;
            tokio::time::sleep(LOOK).await;
        }
        crate::lane::prepare::cluster(&client, c.role, &self.probe_targets(), self.town().as_ref()).await?;
        Ok((name, client, kubeconfig))
    }

    /// Fails when a container has ended, or the time has passed.
    pub(super) async fn alive(&self, container: &str, until: Instant) -> Result<(), LaneError> {
        if let Ok(Some(code)) = self.engine.exited(container).await
            && code != 0
        {
            let words = self.engine.last_words(container).await;
            return Err(LaneError::Failed(format!("{container} ended with {code}: {words}")));
        }
        if Instant::now() >= until {
            let words = self.engine.last_words(container).await;
            return Err(LaneError::Failed(format!(
                "{container} did not answer within {} s; it said last: {words}",
                self.patience().as_secs()
            )));
        }
        Ok(())
    }
}

/// A port of the machine's loopback that nobody has now.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// A cluster's kubeconfig as programs outside of its container need it.
fn outside(text: &str, cluster: &str, port: u16) -> Result<String, LaneError> {
    let wrong = |e: String| LaneError::Failed(format!("the kubeconfig of {cluster}: {e}"));
    let mut k = kube::config::Kubeconfig::from_yaml(text).map_err(|e| wrong(e.to_string()))?;
    for c in &mut k.clusters {
        if let Some(c) = &mut c.cluster {
            c.server = Some(format!("https://127.0.0.1:{port}"));
        }
    }
    serde_yaml::to_string(&k).map_err(|e| wrong(e.to_string()))
}

/// A client from a kubeconfig's text.
pub(super) async fn client(kubeconfig: &str) -> Result<kube::Client, LaneError> {
    let wrong = |e: String| LaneError::Failed(format!("a cluster's client: {e}"));
    let k = kube::config::Kubeconfig::from_yaml(kubeconfig).map_err(|e| wrong(e.to_string()))?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(k, &options)
        .await
        .map_err(|e| wrong(e.to_string()))?;
    kube::Client::try_from(config).map_err(|e| wrong(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfigs_lead_to_the_published_port() {
        let text = "apiVersion: v1\nkind: Config\nclusters:\n- name: default\n  cluster: {server: 'https://10.101.1.10:6443'}\n";
        let out = outside(text, "hub", 4711).unwrap();
        assert!(
            out.contains("https://127.0.0.1:4711") && !out.contains("10.101"),
            "{out}"
        );
    }
}
