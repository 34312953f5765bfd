//! Images and volumes: what a snapshot consists of.

use std::collections::BTreeMap;

use bollard::models::{ContainerConfig, ContainerCreateBody, HostConfig, VolumeCreateRequest};
use bollard::query_parameters as q;
use futures::StreamExt;

use super::engine::{Engine, EngineError, Result, doing};

impl Engine {
    /// Makes an image of a container as it is.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn commit(
        &self,
        name: &str,
        repository: &str,
        tag: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        let options = q::CommitContainerOptionsBuilder::default()
            .container(name)
            .repo(repository)
            .tag(tag)
            .pause(false)
            .build();
        let config = ContainerConfig {
            labels: Some(labels.clone().into_iter().collect()),
            ..ContainerConfig::default()
        };
        let done = self.docker().commit_container(options, config).await;
        done.map(drop).map_err(doing(format!("making an image of {name}")))
    }

    /// A container's volumes: path and name.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn volumes_of(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let c = self
            .docker()
            .inspect_container(name, None::<q::InspectContainerOptions>)
            .await;
        let mounts = c.map_err(doing(format!("looking at container {name}")))?.mounts;
        let volumes = mounts.unwrap_or_default().into_iter();
        Ok(volumes.filter_map(|m| Some((m.destination?, m.name?))).collect())
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let done = self.docker().create_volume(request).await;
        done.map(drop).map_err(doing(format!("making volume {name}")))
    }

    /// Volumes that bear a label.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn volumes(&self, label: &str) -> Result<Vec<String>> {
        let filters = [("label".to_owned(), vec![label.to_owned()])].into_iter().collect();
        let options = q::ListVolumesOptionsBuilder::default().filters(&filters).build();
        let all = self.docker().list_volumes(Some(options)).await;
        let all = all.map_err(doing("listing volumes"))?.volumes;
        Ok(all.unwrap_or_default().into_iter().map(|v| v.name).collect())
    }

    /// Takes a volume away; one that is gone is no error.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        match self.docker().remove_volume(name, None::<q::RemoveVolumeOptions>).await {
            Ok(()) => Ok(()),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(e) => Err(doing(format!("removing volume {name}"))(e)),
        }
    }

    /// Images that bear a label.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn images(&self, label: &str) -> Result<Vec<String>> {
        let filters = [("label".to_owned(), vec![label.to_owned()])].into_iter().collect();
        let options = q::ListImagesOptionsBuilder::default().filters(&filters).build();
        let all = self.docker().list_images(Some(options)).await;
        let all = all.map_err(doing("listing images"))?;
        Ok(all.into_iter().flat_map(|i| i.repo_tags).collect())
    }

    /// Takes an image's name away, and the image with its last name; one that is gone is no error.
    ///
    /// # Errors
    /// When a container uses it.
    pub async fn remove_image(&self, name: &str) -> Result<()> {
        match self
            .docker()
            .remove_image(name, None::<q::RemoveImageOptions>, None)
            .await
        {
            Ok(_) => Ok(()),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(e) => Err(doing(format!("removing image {name}"))(e)),
        }
    }

    /// Copies volumes, each into another, in a container of its own from an image that has a shell.
    ///
    /// # Errors
    /// When the engine refuses, or a copy fails.
    pub async fn copy_volumes(
        &self,
        helper: &str,
        image: &str,
        pairs: &[(String, String)],
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        let script: String = (0..pairs.len())
            .map(|i| format!("cp -a /from/{i}/. /to/{i}/\n"))
            .collect();
        let binds = pairs
            .iter()
            .enumerate()
            .flat_map(|(i, (from, to))| [format!("{from}:/from/{i}:ro"), format!("{to}:/to/{i}")])
            .collect();
        let what = || format!("copying volumes in {helper}");
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(["/bin/sh", "-ec"].map(str::to_owned).to_vec()),
            cmd: Some(vec![script]),
            labels: Some(labels.clone().into_iter().collect()),
            host_config: Some(HostConfig {
                binds: Some(binds),
                network_mode: Some("none".to_owned()),
                // Images unpacked in a node have devices, and Podman does not give this unasked.
                cap_add: Some(vec!["MKNOD".to_owned()]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        self.make(helper, body).await?;
        let run = async {
            self.start(helper).await?;
            let mut ended = std::pin::pin!(self.docker().wait_container(helper, None::<q::WaitContainerOptions>));
            match ended.next().await {
                Some(Ok(_)) => Ok(()),
                // A status above 0 is an error of this stream.
                Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Err(EngineError::Command {
                    container: helper.to_owned(),
                    command: "cp -a".to_owned(),
                    code,
                    said: self.last_words(helper).await,
                }),
                Some(Err(e)) => Err(doing(what())(e)),
                None => Ok(()),
            }
        };
        let done = run.await;
        self.remove(helper).await?;
        done
    }
}
