//! What this lane has means for: its own components, and asking clusters.

use std::collections::BTreeMap;

use async_trait::async_trait;
use cfn_api::karmada::cluster::Cluster;
use cfn_net::Seed;
use cfn_v2x::drive::{DriveEvidence, DriveOptions};
use kube::Api;
use kube::api::DeleteParams;

use super::{Bed, LABEL, NAME, failed, kubelets};
use crate::lane::traffic::{Exchange, Requests, Traffic};
use crate::lane::{Controls, LaneError, RunningPod};
use crate::scenario::{Fault, FaultKind, Running};

fn unsupported(what: impl Into<String>) -> LaneError {
    LaneError::Unsupported {
        lane: NAME,
        what: what.into(),
    }
}

impl Bed {
    async fn restart(&self, component: &str) -> Result<(), LaneError> {
        let mut processes = self.processes.lock().await;
        if let Some(p) = processes.remove(component) {
            p.kill().await;
        }
        let started = match component.strip_prefix("agent/") {
            None => self.start_scheduler()?,
            Some(c) => {
                let member = self.topology.members().find(|m| m.name.value == c);
                let member = member.ok_or_else(|| LaneError::Failed(format!("{c} is no member")))?;
                let token = self.bootstrap().await?;
                self.start_agent(member, &token)?
            }
        };
        processes.insert(component.to_owned(), started);
        Ok(())
    }

    /// Starts what does not run: for what is to be cleaned up.
    pub(super) async fn all_running(&self) -> Result<(), LaneError> {
        let members = self.topology.members().map(|m| format!("agent/{}", m.name));
        let wanted: Vec<String> = std::iter::once("scheduler".to_owned()).chain(members).collect();
        for w in wanted {
            let lives = self
                .processes
                .lock()
                .await
                .get(&w)
                .is_some_and(|p| !p.task.is_finished());
            if !lives {
                self.restart(&w).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Controls for Bed {
    fn marks(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL.to_owned(), self.name.clone())])
    }

    async fn fault(&self, f: &Fault) -> Result<(), LaneError> {
        match (f.kind.value, &f.component) {
            (FaultKind::Kill, Some(c)) if super::is_ours(Some(&c.value)) => {
                if let Some(p) = self.processes.lock().await.remove(c.as_str()) {
                    p.kill().await;
                }
                Ok(())
            }
            _ => Err(unsupported(
                format!("{:?} that: the machines are somebody else's", f.kind.value).to_lowercase(),
            )),
        }
    }

    async fn heal(&self, f: &Fault) -> Result<(), LaneError> {
        match &f.component {
            Some(c) => self.restart(c).await,
            None => Ok(()),
        }
    }

    async fn accept(&self, cluster: &str) -> Result<(), LaneError> {
        // The scheduler accepts what asks for exactly an agent's identity.
        self.cluster(cluster).map(drop)
    }

    async fn leave(&self, cluster: &str) -> Result<(), LaneError> {
        let api: Api<Cluster> = Api::all(self.hub()?.client.clone());
        match api.delete(cluster, &DeleteParams::default()).await {
            Err(e) if !matches!(&e, kube::Error::Api(s) if s.code == 404) => Err(failed("deleting the Cluster")(e)),
            _ => Ok(()),
        }
    }

    async fn join(&self, cluster: &str) -> Result<(), LaneError> {
        // What left is a stranger: it asks for a new identity.
        let _ = std::fs::remove_dir_all(self.dir.join("agent").join(cluster));
        self.restart(&format!("agent/{cluster}")).await
    }

    async fn running(&self, what: &Running) -> Result<Vec<RunningPod>, LaneError> {
        let clusters = self.clusters.values();
        let answers = clusters.map(|c| async move { kubelets::all(&c.client, what).await });
        let answers = futures::future::try_join_all(answers).await;
        let mut out = answers.map_err(failed("asking nodes what they run"))?.concat();
        out.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        Ok(out)
    }

    async fn down(&self) {
        self.clean().await;
    }
}

#[async_trait]
impl Traffic for Bed {
    async fn load(&self, r: &Requests) -> Result<Vec<Exchange>, LaneError> {
        Err(unsupported(format!("send requests from site {}", r.from)))
    }

    async fn drive(&self, _: DriveOptions, _: Seed) -> Result<DriveEvidence, LaneError> {
        Err(unsupported("drive vehicles"))
    }
}
