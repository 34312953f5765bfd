//! Pulling plugs for real: signals to processes, power cuts of containers, changed links.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use tokio::time::Instant;

use super::bed::Bed;
use super::components::deployment_of;
use super::flavour::fill;
use super::plan::Role;
use crate::lane::{Controls, LaneError, RunningPod};
use crate::scenario::{Fault, FaultKind, Running};
use crate::topology::ClusterRole;

/// How long an API server may take to answer again after its host has power again.
const BACK: Duration = Duration::from_secs(60);

impl Bed {
    fn unsupported(&self, what: impl Into<String>) -> LaneError {
        LaneError::Unsupported {
            lane: "docker",
            what: format!("{} (flavour {})", what.into(), self.flavour.name),
        }
    }

    /// The hosts of a cluster: its control plane, then its nodes.
    fn hosts_of(&self, cluster: &str) -> Vec<String> {
        let all = self.plan.containers.iter();
        all.filter(|c| c.cluster.as_deref() == Some(cluster) && c.role != Role::Shaper)
            .map(|c| c.host.clone())
            .collect()
    }

    /// Kills a process of a host for good, or lets it come back.
    async fn hold(&self, host: &str, process: &str, hold: bool) -> Result<(), LaneError> {
        let processes = &self.flavour.flavour.processes;
        if !processes.names.iter().any(|n| n == process) {
            return Err(self.unsupported(format!("kill {process} alone")));
        }
        if self.state.lock().await.dark.contains(host) {
            // Without power nothing runs; what is dead is killed again when it is back.
            return Ok(());
        }
        let command = if hold { &processes.hold } else { &processes.release };
        let command: Vec<String> = command.iter().map(|c| fill(c, &[("process", process)])).collect();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        self.engine.run(&self.container_name(host), &command).await?;
        Ok(())
    }

    /// Takes the power from hosts, all at once.
    async fn crash(&self, hosts: &[String]) -> Result<(), LaneError> {
        self.state.lock().await.dark.extend(hosts.iter().cloned());
        let cuts = hosts.iter().map(|h| async move {
            let name = self.container_name(h);
            self.sessions.forget(&name).await;
            self.engine.kill(&name).await?;
            self.shapers.lost(&self.engine, h).await
        });
        futures::future::try_join_all(cuts).await?;
        Ok(())
    }

    /// Gives hosts power again: the same address and disk, and their links before they can say much.
    async fn power(&self, hosts: &[String]) -> Result<(), LaneError> {
        let starts = hosts.iter().map(|h| async move {
            let name = self.container_name(h);
            if let Some(address) = self
                .container_of(h)
                .filter(|_| self.is_adopted())
                .and_then(|c| c.address)
            {
                // Docker chose it, and might now give it to another.
                self.engine.pin(&name, &self.plan.name, address).await?;
            }
            self.engine.start(&name).await?;
            self.shapers.again(&self.engine, h).await
        });
        futures::future::try_join_all(starts).await?;
        {
            let mut state = self.state.lock().await;
            for h in hosts {
                state.dark.remove(h);
            }
        }
        self.shape().await?;
        self.respond().await?;
        let control_planes = hosts.iter().map(|h| self.forget_control_plane(h));
        futures::future::try_join_all(control_planes).await?;
        for h in hosts {
            let dead = self.state.lock().await.dead.clone();
            for (process, _) in dead.iter().filter_map(|d| d.split_once('/')).filter(|(_, on)| on == h) {
                if process != "agent" {
                    self.hold(h, process, true).await?;
                }
            }
            let cluster = self.plan.nodes.get(h).filter(|d| !d.accelerators.is_empty());
            if let Some(d) = cluster {
                let api: Api<Node> = Api::all(self.client(&d.cluster)?.clone());
                let until = Instant::now() + BACK;
                while let Err(e) = self.accelerate(&api, h).await {
                    if Instant::now() >= until {
                        return Err(LaneError::Failed(format!("accelerators of {h}: {e}")));
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        Ok(())
    }

    /// Stops all processes of hosts where they are, or lets them go on.
    async fn freeze(&self, hosts: &[String], freeze: bool) -> Result<(), LaneError> {
        let all = hosts.iter().map(|h| async move {
            let name = self.container_name(h);
            if freeze {
                self.engine.pause(&name).await
            } else {
                self.engine.unpause(&name).await
            }
        });
        futures::future::try_join_all(all).await?;
        Ok(())
    }

    async fn kill(&self, component: &str, dead: bool) -> Result<(), LaneError> {
        {
            let mut state = self.state.lock().await;
            if dead {
                state.dead.insert(component.to_owned());
            } else {
                state.dead.remove(component);
            }
        }
        match component.split_once('/') {
            Some(("agent", cluster)) => self.hold_component(cluster, deployment_of(component), dead).await,
            Some((process, host)) => self.hold(host, process, dead).await,
            None => {
                let hub = self.topology.hub().name.value.clone();
                self.hold_component(&hub, deployment_of(component), dead).await
            }
        }
    }

    /// Undoes a fault.
    pub(super) async fn mend(&self, f: &Fault) -> Result<(), LaneError> {
        if self.links.heal(f) {
            return self.shape().await;
        }
        match (f.kind.value, &f.node, &f.cluster, &f.component) {
            (FaultKind::Kill, None, None, Some(c)) => self.kill(c, false).await,
            (FaultKind::Stop, Some(n), ..) => self.hold(n, "kubelet", false).await,
            (FaultKind::Stop, None, Some(c), ..) => {
                self.engine.unpause(&self.container_name(c)).await?;
                Ok(())
            }
            (FaultKind::Crash, Some(n), ..) => self.power(std::slice::from_ref(&n.value)).await,
            (FaultKind::Crash, None, Some(c), ..) => self.power(&self.hosts_of(c)).await,
            (FaultKind::Pause, Some(n), ..) => self.freeze(std::slice::from_ref(&n.value), false).await,
            (FaultKind::Pause, None, Some(c), ..) => self.freeze(&self.hosts_of(c), false).await,
            (_, Some(n), ..) => match crate::fault::command(f) {
                Some(command) => {
                    let pattern = format!("^{}", command.join(" "));
                    self.engine
                        .exec(&self.container_name(n), &["pkill", "-TERM", "-f", &pattern])
                        .await?;
                    Ok(())
                }
                None => Err(self.unsupported(format!("{:?} a node", f.kind.value).to_lowercase())),
            },
            _ => Err(self.unsupported(format!("{:?} that", f.kind.value).to_lowercase())),
        }
    }
}

#[async_trait]
impl Controls for Bed {
    async fn fault(&self, f: &Fault) -> Result<(), LaneError> {
        self.state.lock().await.faults.push(f.clone());
        if self.links.fault(f) {
            return self.shape().await;
        }
        match (f.kind.value, &f.node, &f.cluster, &f.component) {
            (FaultKind::Kill, None, None, Some(c)) => self.kill(c, true).await,
            (FaultKind::Stop, Some(n), ..) => self.hold(n, "kubelet", true).await,
            (FaultKind::Stop, None, Some(c), ..) => {
                self.engine.pause(&self.container_name(c)).await?;
                Ok(())
            }
            (FaultKind::Crash, Some(n), ..) => self.crash(std::slice::from_ref(&n.value)).await,
            (FaultKind::Crash, None, Some(c), ..) => self.crash(&self.hosts_of(c)).await,
            (FaultKind::Pause, Some(n), ..) => self.freeze(std::slice::from_ref(&n.value), true).await,
            (FaultKind::Pause, None, Some(c), ..) => self.freeze(&self.hosts_of(c), true).await,
            (_, Some(n), ..) => match crate::fault::command(f) {
                Some(command) => {
                    let command: Vec<&str> = command.iter().map(String::as_str).collect();
                    self.engine
                        .begin(&self.container_name(n), &command, crate::fault::IN_PLACE)
                        .await?;
                    Ok(())
                }
                None => Err(self.unsupported(format!("{:?} a node", f.kind.value).to_lowercase())),
            },
            _ => Err(self.unsupported(format!("{:?} that", f.kind.value).to_lowercase())),
        }
    }

    async fn heal(&self, f: &Fault) -> Result<(), LaneError> {
        let same = |x: &Fault| serde_json::to_string(x).ok() == serde_json::to_string(f).ok();
        self.state.lock().await.faults.retain(|x| !same(x));
        self.mend(f).await
    }

    async fn snapshot(&self, name: &str) -> Result<super::snapshot::Record, LaneError> {
        if self.is_adopted() {
            return Err(self.unsupported("keep snapshots"));
        }
        self.save(name).await
    }

    async fn accept(&self, cluster: &str) -> Result<(), LaneError> {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.insert(cluster.to_owned());
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn leave(&self, cluster: &str) -> Result<(), LaneError> {
        self.part(cluster).await
    }

    async fn join(&self, cluster: &str) -> Result<(), LaneError> {
        let member = self.topology.members().find(|c| c.name.value == cluster);
        let Some(c) = member.filter(|c| c.role == ClusterRole::Member) else {
            return Err(LaneError::Failed(format!("{cluster} is no member")));
        };
        // What left is a stranger: a new pod has no identity yet.
        self.rejoin_agent(c).await
    }

    async fn running(&self, what: &Running) -> Result<Vec<RunningPod>, LaneError> {
        let list = &self.flavour.flavour.list_containers;
        if list.is_empty() {
            return Err(self.unsupported("ask nodes what they run"));
        }
        let dark: BTreeSet<String> = self.state.lock().await.dark.clone();
        let wanted = |n: &str| what.nodes.is_empty() || what.nodes.iter().any(|w| w.as_str() == n);
        let asked = self.plan.nodes.keys().filter(|n| wanted(n) && !dark.contains(*n));
        let answers = asked.map(|n| async move {
            let name = self.container_name(n);
            self.sessions
                .ask(&self.engine, &name, list)
                .await
                .map_err(LaneError::Failed)
        });
        let mut out: Vec<RunningPod> = futures::future::try_join_all(answers)
            .await?
            .into_iter()
            .flatten()
            .filter(|p| what.namespace.as_ref().is_none_or(|n| *n == p.namespace) && p.name.starts_with(&what.prefix))
            .collect();
        out.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        Ok(out)
    }

    async fn down(&self) {
        self.leave_to_others().await;
    }
}
