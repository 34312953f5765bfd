//! What this lane asks of Docker's engine beyond starting ordinary containers: networks with fixed addresses, files in
//! and out, commands inside, power cuts.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::Docker;
use bollard::body_full;
use bollard::models::{
    ContainerCreateBody, ContainerSummary, DeviceMapping, EndpointIpamConfig, EndpointSettings, HostConfig,
    HostConfigCgroupnsModeEnum, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest, NetworkingConfig, PortBinding, ResourcesUlimits,
};
use bollard::query_parameters as q;
use futures::StreamExt;

use super::address::{Cidr, Layout};
use super::daemon::{self, Endpoint};
use super::plan::{Container, Role};
use super::process;
use crate::lane::LaneError;
use crate::link::CPU_SHARES;

/// Why the engine did not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It said no, or could not be asked.
    #[error("{doing}: {source}")]
    Refused {
        /// What was tried.
        doing: String,
        /// What it said.
        source: bollard::errors::Error,
    },
    /// A command inside a container failed.
    #[error("`{command}` in {container} ended with {code}: {said}")]
    Command {
        /// The container.
        container: String,
        /// The command.
        command: String,
        /// Its exit code.
        code: i64,
        /// What it said last.
        said: String,
    },
    /// An archive from a container could not be read.
    #[error("reading {path} of {container}: {said}")]
    Archive {
        /// The container.
        container: String,
        /// The file.
        path: String,
        /// What was wrong.
        said: String,
    },
    /// Something took longer than it may.
    #[error("{doing} took longer than {}", crate::input::show_duration(*after))]
    Slow {
        /// What.
        doing: String,
        /// The bound.
        after: Duration,
    },
}

impl EngineError {
    /// The status with which the engine refused, as HTTP has it.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused {
                source: bollard::errors::Error::DockerResponseServerError { status_code, .. },
                ..
            } => Some(*status_code),
            _ => None,
        }
    }

    /// What the engine said.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Refused {
                source: bollard::errors::Error::DockerResponseServerError { message, .. },
                ..
            } => message.clone(),
            e => e.to_string(),
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, EngineError>;

pub(super) fn doing(what: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> EngineError {
    let doing = what.into();
    move |source| EngineError::Refused { doing, source }
}

/// A client of Docker's engine.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    endpoint: Endpoint,
    ulimits: Vec<ResourcesUlimits>,
}

impl Engine {
    /// The daemon that the environment names.
    ///
    /// # Errors
    /// [`LaneError::Environment`] with the cure: no daemon is there, may not be talked to, or does not answer.
    pub async fn connect() -> std::result::Result<Self, LaneError> {
        let (docker, endpoint) = daemon::connect().await?;
        let ulimits = process::limits(&endpoint).await;
        Ok(Self {
            docker,
            endpoint,
            ulimits,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What to set as limits of a container's processes.
    #[must_use]
    pub fn ulimits(&self) -> Option<Vec<ResourcesUlimits>> {
        (!self.ulimits.is_empty()).then(|| self.ulimits.clone())
    }

    /// The connection.
    #[must_use]
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Whether an image is there.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn has_image(&self, image: &str) -> Result<bool> {
        match self.docker.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(e) => Err(doing(format!("looking for image {image}"))(e)),
        }
    }

    /// Tries to pull an image.
    ///
    /// # Errors
    /// What the engine said, or that it took longer than `limit`.
    pub async fn pull(&self, image: &str, limit: Duration) -> Result<()> {
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let options = q::CreateImageOptionsBuilder::default()
            .from_image(name)
            .tag(tag)
            .build();
        let mut stream = std::pin::pin!(self.docker.create_image(Some(options), None, None));
        let all = async {
            while let Some(step) = stream.next().await {
                step.map_err(doing(format!("pulling {image}")))?;
            }
            Ok(())
        };
        tokio::time::timeout(limit, all).await.unwrap_or_else(|_| {
            Err(EngineError::Slow {
                doing: format!("pulling {image}"),
                after: limit,
            })
        })
    }

    /// The blocks of all networks.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn blocks(&self) -> Result<Vec<Cidr>> {
        let all = self.docker.list_networks(None::<q::ListNetworksOptions>).await;
        let all = all.map_err(doing("listing networks"))?;
        Ok(all
            .into_iter()
            .filter_map(|n| n.ipam?.config)
            .flatten()
            .filter_map(|c| c.subnet?.parse().ok())
            .collect())
    }

    /// Makes a testbed's network.
    ///
    /// # Errors
    /// When the block is taken (code 403 or 500, "overlaps") or the engine refuses.
    pub async fn create_network(&self, name: &str, layout: &Layout, labels: &BTreeMap<String, String>) -> Result<()> {
        let config = IpamConfig {
            subnet: Some(layout.subnet.to_string()),
            ip_range: Some(layout.range.to_string()),
            gateway: Some(layout.gateway.to_string()),
            ..IpamConfig::default()
        };
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                config: Some(vec![config]),
                ..Ipam::default()
            }),
            labels: Some(labels.clone().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        self.docker
            .create_network(request)
            .await
            .map(drop)
            .map_err(doing(format!("making network {name}")))
    }

    /// Takes a network away; one that is gone is no error.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        match self.docker.remove_network(name).await {
            Ok(()) => Ok(()),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(e) => Err(doing(format!("removing network {name}"))(e)),
        }
    }

    /// Networks that bear a label.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn networks(&self, label: &str) -> Result<Vec<(String, BTreeMap<String, String>)>> {
        let filters = [("label".to_owned(), vec![label.to_owned()])].into_iter().collect();
        let options = q::ListNetworksOptionsBuilder::default().filters(&filters).build();
        let all = self.docker.list_networks(Some(options)).await;
        let all = all.map_err(doing("listing networks"))?;
        Ok(all
            .into_iter()
            .filter_map(|n| Some((n.name?, n.labels.unwrap_or_default().into_iter().collect())))
            .collect())
    }

    /// Makes a container with its files in it; `publish` is the port on the machine's loopback, `hosts` what it knows
    /// by name.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn create(&self, c: &Container, network: &str, publish: Option<u16>, hosts: &[String]) -> Result<()> {
        self.make(&c.name, body(c, network, publish, hosts)).await?;
        if !c.files.is_empty() {
            self.put(&c.name, &c.files).await?;
        }
        Ok(())
    }

    /// Makes a container as it is described, and says what its id is.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn make(&self, name: &str, mut body: ContainerCreateBody) -> Result<String> {
        body.host_config.get_or_insert_default().ulimits = self.ulimits();
        let options = q::CreateContainerOptionsBuilder::default().name(name).build();
        let made = self.docker.create_container(Some(options), body).await;
        Ok(made.map_err(doing(format!("making container {name}")))?.id)
    }

    /// Starts a container.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn start(&self, name: &str) -> Result<()> {
        let none = None::<q::StartContainerOptions>;
        let done = self.docker.start_container(name, none).await;
        done.map_err(doing(format!("starting container {name}")))
    }

    /// Ends a container at once, as a power cut would; one that does not run is no error.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn kill(&self, name: &str) -> Result<()> {
        match self.docker.kill_container(name, None::<q::KillContainerOptions>).await {
            Ok(()) => Ok(()),
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404 | 409, ..
            }) => Ok(()),
            Err(e) => Err(doing(format!("killing container {name}"))(e)),
        }
    }

    /// Stops all of a container's processes where they are.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn pause(&self, name: &str) -> Result<()> {
        let done = self.docker.pause_container(name).await;
        done.map_err(doing(format!("pausing container {name}")))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn unpause(&self, name: &str) -> Result<()> {
        let done = self.docker.unpause_container(name).await;
        done.map_err(doing(format!("unpausing container {name}")))
    }

    /// Removes a container with its volumes, running or not; one that is gone is no error.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let options = q::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(()),
            // Gone, or going: somebody else removes it.
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404 | 409, ..
            }) => Ok(()),
            Err(e) => Err(doing(format!("removing container {name}"))(e)),
        }
    }

    /// Containers that bear a label, running or not.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn containers(&self, label: &str) -> Result<Vec<ContainerSummary>> {
        let filters = [("label".to_owned(), vec![label.to_owned()])].into_iter().collect();
        let options = q::ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let all = self.docker.list_containers(Some(options)).await;
        all.map_err(doing("listing containers"))
    }

    /// The running containers of a network: names and addresses.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn attached(&self, network: &str) -> Result<BTreeMap<String, Ipv4Addr>> {
        let seen = self
            .docker
            .inspect_network(network, None::<q::InspectNetworkOptions>)
            .await;
        let seen = seen.map_err(doing(format!("looking at network {network}")))?;
        let all = seen.containers.unwrap_or_default().into_values();
        Ok(all
            .filter_map(|c| Some((c.name?, c.ipv4_address?.split('/').next()?.parse().ok()?)))
            .collect())
    }

    /// The containers in a network that bear a label, running or not: their ids and what the label says.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn attached_with(&self, network: &str, label: &str) -> Result<Vec<(String, String)>> {
        let filters = [
            ("network".to_owned(), vec![network.to_owned()]),
            ("label".to_owned(), vec![label.to_owned()]),
        ];
        let options = q::ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters.into_iter().collect())
            .build();
        let all = self.docker.list_containers(Some(options)).await;
        let all = all.map_err(doing(format!("listing containers of network {network}")))?;
        let said = |c: ContainerSummary| Some((c.id?, c.labels?.remove(label)?));
        Ok(all.into_iter().filter_map(said).collect())
    }

    /// Where a container's port is published on this machine.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn published(&self, name: &str, port: u16) -> Result<Option<u16>> {
        let c = self
            .docker
            .inspect_container(name, None::<q::InspectContainerOptions>)
            .await;
        let ports = c
            .map_err(doing(format!("looking at container {name}")))?
            .network_settings
            .and_then(|n| n.ports)
            .unwrap_or_default();
        let bindings = ports.get(&format!("{port}/tcp")).cloned().flatten();
        Ok(bindings.into_iter().flatten().find_map(|b| b.host_port?.parse().ok()))
    }

    /// Has a container that does not run come back at an address.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn pin(&self, name: &str, network: &str, address: Ipv4Addr) -> Result<()> {
        let what = || format!("keeping {address} for container {name}");
        let gone = NetworkDisconnectRequest {
            container: name.to_owned(),
            force: Some(true),
        };
        self.docker
            .disconnect_network(network, gone)
            .await
            .map_err(doing(what()))?;
        let again = NetworkConnectRequest {
            container: name.to_owned(),
            endpoint_config: Some(at(address)),
        };
        self.docker.connect_network(network, again).await.map_err(doing(what()))
    }

    /// Puts files into a container, running or not: path and content.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn put(&self, name: &str, files: &BTreeMap<String, String>) -> Result<()> {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(p, c)| (p.as_str(), c.as_bytes())).collect();
        self.put_files(name, &files).await
    }

    /// As [`Engine::put`], of any content.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn put_files(&self, name: &str, files: &[(&str, &[u8])]) -> Result<()> {
        let broken = |e: std::io::Error| EngineError::Archive {
            container: name.to_owned(),
            path: files.iter().map(|(p, _)| *p).collect::<Vec<_>>().join(", "),
            said: e.to_string(),
        };
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            let path = path.trim_start_matches('/');
            tar.append_data(&mut header, path, *content).map_err(broken)?;
        }
        let bytes = tar.into_inner().map_err(broken)?;
        let options = q::UploadToContainerOptionsBuilder::default().path("/").build();
        self.docker
            .upload_to_container(name, Some(options), body_full(bytes.into()))
            .await
            .map_err(doing(format!("copying files into {name}")))
    }

    /// A file's content; none while it is not there.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn get(&self, name: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let options = q::DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream = std::pin::pin!(self.docker.download_from_container(name, Some(options)));
        let mut bytes = Vec::new();
        while let Some(part) = stream.next().await {
            match part {
                Ok(p) => bytes.extend_from_slice(&p),
                Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
                Err(e) => return Err(doing(format!("copying {path} of {name}"))(e)),
            }
        }
        let broken = |said: String| EngineError::Archive {
            container: name.to_owned(),
            path: path.to_owned(),
            said,
        };
        let mut archive = tar::Archive::new(Cursor::new(bytes));
        for entry in archive.entries().map_err(|e| broken(e.to_string()))? {
            let mut entry = entry.map_err(|e| broken(e.to_string()))?;
            if entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).map_err(|e| broken(e.to_string()))?;
                return Ok(Some(content));
            }
        }
        Err(broken("no file is in the archive".to_owned()))
    }

    /// The last lines that a container said, for a complaint.
    pub async fn last_words(&self, name: &str) -> String {
        let options = q::LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail("12")
            .build();
        let mut stream = std::pin::pin!(self.docker.logs(name, Some(options)));
        let mut text = String::new();
        while let Some(Ok(part)) = stream.next().await {
            text.push_str(&part.to_string());
        }
        text.trim().to_owned()
    }

    /// Whether a container runs; its exit code where it does not.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn exited(&self, name: &str) -> Result<Option<i64>> {
        let c = self
            .docker
            .inspect_container(name, None::<q::InspectContainerOptions>)
            .await;
        let state = c.map_err(doing(format!("looking at container {name}")))?.state;
        Ok(state
            .filter(|s| s.running != Some(true))
            .map(|s| s.exit_code.unwrap_or_default()))
    }
}

/// A place in a network at a fixed address.
fn at(address: Ipv4Addr) -> EndpointSettings {
    EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    }
}

/// A container as the engine wants it.
/// A directory in memory and its mount options, as `docker run --tmpfs` has them: `PATH[:OPTIONS]`.
fn tmpfs(text: &str) -> (String, String) {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    (path.to_owned(), options.to_owned())
}

fn body(c: &Container, network: &str, publish: Option<u16>, hosts: &[String]) -> ContainerCreateBody {
    let r = &c.rights;
    let some = |v: &[String]| (!v.is_empty()).then(|| v.to_vec());
    let endpoint = c.address.map(at);
    let inside = c.publish.map(|p| format!("{p}/tcp"));
    let bindings = inside.as_ref().zip(publish).map(|(inside, port)| {
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some(port.to_string()),
        };
        [(inside.clone(), Some(vec![binding]))].into_iter().collect()
    });
    let own_network = c.shares.is_none();
    ContainerCreateBody {
        hostname: own_network.then(|| c.host.clone()),
        image: Some(c.image.clone()),
        cmd: some(&c.command),
        env: Some(c.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        labels: Some(c.labels.clone().into_iter().collect()),
        exposed_ports: inside.map(|p| vec![p]),
        volumes: some(&r.volumes),
        host_config: Some(HostConfig {
            network_mode: Some(
                c.shares
                    .as_ref()
                    .map_or_else(|| network.to_owned(), |s| format!("container:{s}")),
            ),
            port_bindings: bindings,
            extra_hosts: own_network.then(|| hosts.to_vec()),
            privileged: Some(r.privileged),
            cgroupns_mode: r.privileged.then_some(HostConfigCgroupnsModeEnum::PRIVATE),
            cpu_shares: (c.role == Role::Shaper).then_some(CPU_SHARES),
            cap_add: some(&r.cap_add),
            cap_drop: some(&r.cap_drop),
            security_opt: some(&r.security_opt),
            devices: (!r.devices.is_empty()).then(|| {
                r.devices
                    .iter()
                    .map(|d| DeviceMapping {
                        path_on_host: Some(d.clone()),
                        path_in_container: Some(d.clone()),
                        cgroup_permissions: Some("rwm".to_owned()),
                    })
                    .collect()
            }),
            device_cgroup_rules: some(&r.device_cgroup_rules),
            binds: (!c.mounts.is_empty()).then(|| c.mounts.iter().map(|(path, v)| format!("{v}:{path}")).collect()),
            tmpfs: (!r.tmpfs.is_empty()).then(|| r.tmpfs.iter().map(|t| tmpfs(t)).collect()),
            runtime: r.runtime.clone(),
            ..HostConfig::default()
        }),
        networking_config: endpoint.map(|e| NetworkingConfig {
            endpoints_config: Some([(network.to_owned(), e)].into_iter().collect()),
        }),
        ..ContainerCreateBody::default()
    }
}
