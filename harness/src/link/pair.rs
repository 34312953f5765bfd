//! Two hosts with shapers, as containers of their own network, for a measurement; gone when it ends.

use std::collections::BTreeMap;
#[allow(clippy::disallowed_types, reason = "bollard wants them")]
use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{ContainerCreateBody, HostConfig, NetworkCreateRequest};
use bollard::query_parameters::RemoveContainerOptionsBuilder;

use super::shape::Seen;
use super::{ShapeConfig, probe};
use crate::lane::LaneError;
use crate::lane::docker::engine::Engine;
use crate::lane::docker::exec::Output;

/// What the containers are made of.
#[derive(Debug, Clone)]
pub struct Means {
    /// The image: Debian with iproute2 and iptables, and `cfn` on its path.
    pub image: String,
    /// This program's file, to be used instead of the image's (the daemon is on this machine).
    pub program: Option<String>,
}

/// Two hosts, and a shaper beside each.
pub struct Pair {
    engine: Engine,
    name: String,
    means: Means,
    /// Containers, to be removed in reverse.
    containers: Vec<String>,
    addresses: [Ipv4Addr; 2],
    gateway: Ipv4Addr,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The one that measures.
    Near = 0,
    /// The one that answers.
    Far = 1,
}

impl Pair {
    /// Brings both up; what was made is gone again when that fails.
    ///
    /// # Errors
    /// The daemon refuses, the image is not there, or the shapers do not come up.
    pub async fn up(engine: Engine, means: Means) -> Result<Self, LaneError> {
        let name = format!("cfn-measure-{}", std::process::id());
        let mut pair = Self {
            engine,
            name,
            means,
            containers: Vec::new(),
            addresses: [Ipv4Addr::UNSPECIFIED; 2],
            gateway: Ipv4Addr::UNSPECIFIED,
        };
        match pair.start().await {
            Ok(()) => Ok(pair),
            Err(e) => {
                pair.down().await;
                Err(e)
            }
        }
    }

    // bollard's types are standard hash maps.
    #[allow(clippy::disallowed_types, reason = "bollard wants them")]
    fn labels(&self, role: &str) -> HashMap<String, String> {
        [("testbed", self.name.as_str()), ("role", role)]
            .into_iter()
            .map(|(k, v)| (format!("cfn.akraino.org/{k}"), v.to_owned()))
            .collect()
    }

    async fn start(&mut self) -> Result<(), LaneError> {
        let network = NetworkCreateRequest {
            name: self.name.clone(),
            labels: Some(self.labels("network")),
            ..NetworkCreateRequest::default()
        };
        self.engine
            .docker()
            .create_network(network)
            .await
            .map_err(|e| self.trouble("making a network", &e))?;
        for (i, host) in ["near", "far"].into_iter().enumerate() {
            let id = self.run(host, &["link", "answer"], &self.name.clone(), &[]).await?;
            (self.addresses[i], self.gateway) = self.address(&id).await?;
            let network = format!("container:{id}");
            let sidecar = format!("{host}-links");
            self.run(&sidecar, &["link", "shape"], &network, &super::CAPABILITIES)
                .await?;
        }
        for host in [Host::Near, Host::Far] {
            self.ready(host).await?;
        }
        Ok(())
    }

    async fn run(&mut self, host: &str, args: &[&str], network: &str, caps: &[&str]) -> Result<String, LaneError> {
        let binds = self
            .means
            .program
            .as_ref()
            .map(|p| vec![format!("{p}:/usr/local/bin/cfn:ro")]);
        let body = ContainerCreateBody {
            image: Some(self.means.image.clone()),
            entrypoint: Some(vec!["cfn".into()]),
            cmd: Some(args.iter().map(|s| (*s).to_owned()).collect()),
            labels: Some(self.labels(host)),
            host_config: Some(HostConfig {
                network_mode: Some(network.to_owned()),
                cap_add: Some(caps.iter().map(|s| (*s).to_owned()).collect()),
                cpu_shares: (!caps.is_empty()).then_some(super::CPU_SHARES),
                binds,
                init: Some(true),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let id = self.engine.make(&format!("{}-{host}", self.name), body).await?;
        self.containers.push(id.clone());
        self.engine
            .docker()
            .start_container(&id, None)
            .await
            .map_err(|e| self.trouble("starting a container", &e))?;
        Ok(id)
    }

    /// Its address, and this machine's on its network.
    async fn address(&self, id: &str) -> Result<(Ipv4Addr, Ipv4Addr), LaneError> {
        let seen = self
            .engine
            .docker()
            .inspect_container(id, None)
            .await
            .map_err(|e| self.trouble("looking at a container", &e))?;
        seen.network_settings
            .and_then(|n| n.networks)
            .and_then(|n| n.into_values().next())
            .and_then(|n| Some((n.ip_address?.parse().ok()?, n.gateway?.parse().ok()?)))
            .ok_or_else(|| LaneError::Failed("a container got no address".into()))
    }

    /// Waits until the shaper answers, or has ended.
    async fn ready(&self, host: Host) -> Result<(), LaneError> {
        let id = self.sidecar(host);
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let seen = self.engine.exec(id, &["cfn", "link", "show"]).await;
            match seen {
                Ok(o) if o.code == 0 => return Ok(()),
                _ if tokio::time::Instant::now() > deadline => {
                    let why = seen.map_or_else(|e| e.to_string(), |o| o.stderr);
                    return Err(LaneError::Failed(format!(
                        "the shaper does not come up: {} {}",
                        why.trim(),
                        self.log(id).await
                    )));
                }
                Err(e) if self.ended(id).await => {
                    return Err(LaneError::Failed(format!(
                        "the shaper ended: {} ({e})",
                        self.log(id).await
                    )));
                }
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }

    async fn ended(&self, id: &str) -> bool {
        let seen = self.engine.docker().inspect_container(id, None).await.ok();
        seen.and_then(|s| s.state).and_then(|s| s.running) == Some(false)
    }

    async fn log(&self, id: &str) -> String {
        use futures::StreamExt;
        let options = bollard::query_parameters::LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .build();
        let chunks: Vec<_> = self.engine.docker().logs(id, Some(options)).collect().await;
        let text: Vec<String> = chunks.into_iter().flatten().map(|c| c.to_string()).collect();
        text.concat().trim().to_owned()
    }

    fn sidecar(&self, host: Host) -> &str {
        &self.containers[host as usize * 2 + 1]
    }

    fn host(&self, host: Host) -> &str {
        &self.containers[host as usize * 2]
    }

    /// Its address.
    #[must_use]
    pub fn address_of(&self, host: Host) -> Ipv4Addr {
        self.addresses[host as usize]
    }

    /// This machine's address as both see it.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Tells a host's shaper what to do.
    ///
    /// # Errors
    /// It could not do so.
    pub async fn set(&self, host: Host, config: &ShapeConfig) -> Result<Seen, LaneError> {
        let text = serde_json::to_string(config).map_err(|e| LaneError::Failed(e.to_string()))?;
        parse(
            self.engine
                .exec(self.sidecar(host), &["cfn", "link", "set", &text])
                .await?,
        )
    }

    /// What a host's shaper did.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn show(&self, host: Host) -> Result<Seen, LaneError> {
        parse(self.engine.exec(self.sidecar(host), &["cfn", "link", "show"]).await?)
    }

    /// What the near host measures.
    ///
    /// # Errors
    /// The far host does not answer.
    pub async fn measure(&self, amount: probe::Amount) -> Result<probe::Seen, LaneError> {
        let text = serde_json::to_string(&amount).map_err(|e| LaneError::Failed(e.to_string()))?;
        let to = self.address_of(Host::Far).to_string();
        let command = ["cfn", "link", "probe", &to, &text];
        parse(self.engine.exec(self.host(Host::Near), &command).await?)
    }

    /// Removes everything that was made.
    pub async fn down(&self) {
        for id in self.containers.iter().rev() {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let _ = self.engine.docker().remove_container(id, Some(options)).await;
        }
        let _ = self.engine.docker().remove_network(&self.name).await;
    }

    fn trouble(&self, doing: &str, e: &bollard::errors::Error) -> LaneError {
        if let bollard::errors::Error::DockerResponseServerError {
            status_code: 404,
            message,
        } = e
            && message.contains("o such image")
        {
            return LaneError::Environment {
                what: format!("{doing}: there is no image {}", self.means.image),
                cure: "build it: ci/images; or name another with iproute2 and iptables, and use this program in it: \
                       --image IMAGE --mount"
                    .into(),
            };
        }
        LaneError::Failed(format!("{doing}: {e}"))
    }
}

fn parse<T: serde::de::DeserializeOwned>(o: Output) -> Result<T, LaneError> {
    if o.code != 0 {
        return Err(LaneError::Failed(o.stderr.trim().to_owned()));
    }
    let said = || String::from_utf8_lossy(&o.stdout).into_owned();
    serde_json::from_slice(&o.stdout).map_err(|e| LaneError::Failed(format!("{e} in {:?}", said())))
}

/// The addresses of both, by site name, as a [`super::Links`] wants them.
#[must_use]
pub fn sites(pair: &Pair) -> BTreeMap<String, Vec<super::Cidr>> {
    [("near", Host::Near), ("far", Host::Far)]
        .into_iter()
        .map(|(n, h)| (n.to_owned(), vec![super::Cidr::new(pair.address_of(h), 32)]))
        .collect()
}
