//! Workloads' images into hosts whose own image lacks them: an archive from the engine's store, put into the container and
//! imported there by its runtime. No registry is asked.

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::time::Instant;

use super::bed::{Bed, LOOK};
use super::engine::{Engine, Result, doing};
use super::flavour::{Driver, fill};
use super::plan::{Container, Role};
use crate::lane::LaneError;

/// What testbeds run: our own components and workloads, and what ours uses as every pod's first container.
pub const WORKLOADS: [&str; 5] = [
    "cfn.akraino.org/cfn:1",
    "cfn.akraino.org/echo:1",
    "cfn.akraino.org/roadside:1",
    "192.168.30.20:5000/migu/sentiment:latest",
    "cfn.akraino.org/pause:1",
];
/// The archive's name in a host.
const ARCHIVE: &str = "cfn-workloads.tar";

impl Engine {
    /// The workloads' images that are there.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn workloads(&self) -> Result<Vec<&'static str>> {
        let mut there = Vec::new();
        for image in WORKLOADS {
            if self.has_image(image).await? {
                there.push(image);
            }
        }
        Ok(there)
    }

    /// Images as `docker save` writes them.
    ///
    /// # Errors
    /// When one is not there.
    pub async fn save(&self, images: &[&str]) -> Result<Bytes> {
        let what = || format!("saving {}", images.join(", "));
        let parts: Vec<Bytes> = self
            .docker()
            .export_images(images)
            .try_collect()
            .await
            .map_err(doing(what()))?;
        Ok(parts.concat().into())
    }
}

impl Bed {
    /// Whether hosts need to be given the workloads' images.
    pub(super) fn lacks_images(&self) -> bool {
        let f = &self.flavour.flavour;
        f.driver == Driver::Containers && !f.images.included && !f.images.import.is_empty()
    }

    /// Gives a host the workloads' images as soon as its runtime takes them.
    pub(super) async fn import(&self, host: &Container) -> std::result::Result<(), LaneError> {
        let runs_pods = match host.role {
            Role::Node => true,
            Role::ControlPlane => !self
                .plan
                .nodes
                .values()
                .any(|n| Some(&n.cluster) == host.cluster.as_ref()),
            Role::Clients | Role::Shaper => false,
        };
        if !runs_pods || !self.lacks_images() {
            return Ok(());
        }
        let archive = self
            .archive
            .get_or_try_init(|| async { self.engine.save(&self.engine.workloads().await?).await })
            .await?
            .clone();
        let images = &self.flavour.flavour.images;
        let path = format!("{}/{ARCHIVE}", images.directory);
        self.engine.put_files(&host.name, &[(&path, &archive)]).await?;
        let command: Vec<String> = images.import.iter().map(|w| fill(w, &[("archive", &path)])).collect();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let until = Instant::now() + self.patience();
        // Its runtime may not listen yet.
        while let Err(e) = self.engine.run(&host.name, &command).await {
            self.alive(&host.name, until).await.map_err(|_| LaneError::from(e))?;
            tokio::time::sleep(LOOK).await;
        }
        self.engine.run(&host.name, &["rm", "-f", &path]).await?;
        Ok(())
    }
}
