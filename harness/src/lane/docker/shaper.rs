//! Shapers: a container beside each host that shares its network and shapes what reaches it. testcontainers starts
//! them, waits until they shape, and removes them; where the daemon is one that testcontainers does not find, the lane does
//! so itself.

use std::collections::BTreeMap;
use std::time::Duration;

use testcontainers::core::WaitFor;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::sync::Mutex;

use super::engine::Engine;
use super::plan::{BedPlan, Container, Role};
use crate::lane::LaneError;
use crate::link::CPU_SHARES;

/// How long a shaper may take to start.
const STARTUP: Duration = Duration::from_secs(60);
/// What a shaper says when it shapes.
pub(super) const SHAPES: &str = "ready:";

/// The shapers of a testbed.
pub struct Shapers {
    containers: BTreeMap<String, Container>,
    running: Mutex<Vec<ContainerAsync<GenericImage>>>,
    told: Mutex<BTreeMap<String, String>>,
}

impl Shapers {
    /// Those that a plan has.
    #[must_use]
    pub fn new(plan: &BedPlan) -> Self {
        let shapers = plan
            .containers
            .iter()
            .filter(|c| matches!(c.role, Role::Shaper | Role::Clients));
        Self {
            containers: shapers.map(|c| (c.host.clone(), c.clone())).collect(),
            running: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// The container in which a host's shaper is, and its clients are.
    #[must_use]
    pub fn container(&self, host: &str) -> Option<&str> {
        self.containers.get(host).map(|c| c.name.as_str())
    }

    /// Starts a host's shaper, the host having started.
    ///
    /// # Errors
    /// When the engine refuses, or it does not start shaping.
    pub async fn start(&self, engine: &Engine, host: &str) -> Result<(), LaneError> {
        let Some(c) = self.containers.get(host).filter(|c| c.role == Role::Shaper) else {
            return Ok(());
        };
        if !engine.endpoint().is_testcontainers() {
            engine.create(c, "", None, &[]).await?;
            return self.again(engine, host).await;
        }
        let (image, tag) = c.image.rsplit_once(':').unwrap_or((&c.image, "latest"));
        let ulimits = engine.ulimits();
        let network = c.shares.as_ref().map(|s| format!("container:{s}"));
        let request = GenericImage::new(image, tag)
            .with_wait_for(WaitFor::message_on_either_std(SHAPES))
            .with_cmd(c.command.clone())
            .with_container_name(&c.name)
            .with_labels(c.labels.clone())
            .with_startup_timeout(STARTUP)
            .with_host_config_modifier(move |h| {
                // Another container's network has no ports of its own to publish.
                h.network_mode.clone_from(&network);
                h.publish_all_ports = Some(false);
                h.cpu_shares = Some(CPU_SHARES);
                h.port_bindings = None;
                h.ulimits.clone_from(&ulimits);
            });
        let request = c.rights.cap_add.iter().fold(request, |r, cap| r.with_cap_add(cap));
        let started = request
            .start()
            .await
            .map_err(|e| LaneError::Failed(format!("starting the shaper of {host}: {e}")))?;
        self.running.lock().await.push(started);
        Ok(())
    }

    /// Tells a host's shaper what to do, if it does not do so already.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn tell(&self, engine: &Engine, host: &str, config: &str) -> Result<(), LaneError> {
        let Some(c) = self.containers.get(host) else {
            return Ok(());
        };
        if self.told.lock().await.get(host).is_some_and(|t| t == config) {
            return Ok(());
        }
        engine.run(&c.name, &["cfn", "link", "set", config]).await?;
        self.told.lock().await.insert(host.to_owned(), config.to_owned());
        Ok(())
    }

    /// A host has lost power, and the network that its shaper shared is gone.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn lost(&self, engine: &Engine, host: &str) -> Result<(), LaneError> {
        self.told.lock().await.remove(host);
        if let Some(c) = self.containers.get(host).filter(|c| c.role == Role::Shaper) {
            engine.kill(&c.name).await?;
        }
        Ok(())
    }

    /// A host has power again: its shaper joins its new network.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn again(&self, engine: &Engine, host: &str) -> Result<(), LaneError> {
        if let Some(c) = self.containers.get(host).filter(|c| c.role == Role::Shaper) {
            engine.start(&c.name).await?;
            // Until it listens it cannot be told anything.
            let until = tokio::time::Instant::now() + STARTUP;
            while engine.exec(&c.name, &["cfn", "link", "show"]).await?.code != 0 {
                if tokio::time::Instant::now() >= until {
                    return Err(LaneError::Failed(format!("the shaper of {host} does not start again")));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Removes them all.
    pub async fn stop(&self) {
        let all = std::mem::take(&mut *self.running.lock().await);
        futures::future::join_all(all.into_iter().map(|c| async move {
            if let Err(e) = c.rm().await {
                tracing::debug!("removing a shaper: {e}");
            }
        }))
        .await;
    }
}
