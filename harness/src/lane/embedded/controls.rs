//! Pulling plugs, looking at processes: what a person with access to the machines could do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cfn_apiserver::node::NodeHandle;
use kube::Api;
use kube::api::DeleteParams;

use super::{Embedded, State, failed};
use crate::input::At;
use crate::lane::{Controls, LaneError, RunningPod};
use crate::scenario::{Fault, FaultKind, Running};
use crate::topology::{Cluster, ClusterRole, Node, SyncMode};

impl Embedded {
    fn node_handles(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<NodeHandle>> {
        let nodes = self.nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        nodes
            .iter()
            .filter(|(n, _)| wanted(n))
            .map(|(_, h)| h.clone())
            .collect()
    }

    fn node_of(&self, name: &str) -> Option<(&Cluster, &Node)> {
        self.topology
            .nodes()
            .find(|(_, _, n)| n == name)
            .map(|(c, n, _)| (c, n))
    }

    async fn crash_node(&self, state: &mut State, name: &str) {
        for h in self.node_handles(|n| n == name) {
            h.crash().await;
        }
        if let Some(p) = state.processes.remove(&format!("edge/{name}")) {
            p.kill().await;
        }
        self.net.stop_host(name);
    }

    async fn restart_node(&self, state: &mut State, name: &str) -> Result<(), LaneError> {
        self.net.start_host(name);
        if let Some((c, n)) = self.node_of(name)
            && n.edge_agent
            && !state.processes.contains_key(&format!("edge/{name}"))
        {
            let cluster = state.clusters[c.name.as_str()].clone();
            let (p, _) = self.start_edge(&cluster, name).await?;
            state.processes.insert(format!("edge/{name}"), p);
        }
        for h in self.node_handles(|n| n == name) {
            h.restart().await;
        }
        Ok(())
    }

    async fn kill(&self, state: &mut State, component: &str) {
        if let Some(p) = state.processes.remove(component) {
            p.kill().await;
        }
    }

    async fn start(&self, state: &mut State, component: &str) -> Result<(), LaneError> {
        let p = match component.split_once('/') {
            None => self.start_scheduler(state)?,
            Some(("agent", c)) => match self.topology.cluster(c) {
                Some(c) => self.start_agent(state, c)?,
                None => return Ok(()),
            },
            Some((_, node)) => match self.node_of(node) {
                Some((c, _)) => {
                    let cluster = state.clusters[c.name.as_str()].clone();
                    self.start_edge(&cluster, node).await?.0
                }
                None => return Ok(()),
            },
        };
        state.processes.insert(component.to_owned(), p);
        Ok(())
    }

    fn unsupported(&self, f: &Fault) -> LaneError {
        LaneError::Unsupported {
            lane: self.lane,
            what: format!("{:?} that", f.kind.value).to_lowercase(),
        }
    }
}

/// Whether a component is a process of this lane's.
fn ours(component: &str) -> bool {
    component == "scheduler" || component.starts_with("agent/") || component.starts_with("edge/")
}

/// Here a kubelet, and an API server, are what their node, and their cluster, consist of: dead means stopped.
fn as_stop(f: &Fault) -> Fault {
    let Some((process, host)) = f.component.as_ref().and_then(|c| c.split_once('/')) else {
        return f.clone();
    };
    let mut stop = Fault {
        kind: At::nowhere(FaultKind::Stop),
        component: None,
        ..f.clone()
    };
    let host = Some(At::nowhere(host.to_owned()));
    match process {
        "kubelet" => stop.node = host,
        "kube-apiserver" => stop.cluster = host,
        _ => return f.clone(),
    }
    stop
}

#[async_trait]
impl Controls for Embedded {
    async fn fault(&self, f: &Fault) -> Result<(), LaneError> {
        let f = &as_stop(f);
        let mut state = self.state.lock().await;
        let state = &mut *state;
        match (f.kind.value, &f.node, &f.cluster, &f.site, &f.between, &f.component) {
            (FaultKind::Kill, None, None, None, None, Some(c)) if ours(c) => self.kill(state, c).await,
            (FaultKind::Stop, Some(n), ..) => {
                for h in self.node_handles(|x| x == n.as_str()) {
                    h.stop().await;
                }
            }
            (FaultKind::Stop, None, Some(c), ..) => {
                if let Some(c) = state.clusters.get(c.as_str()) {
                    c.stop_serving().await;
                }
            }
            (FaultKind::Crash, Some(n), ..) => self.crash_node(state, n).await,
            (FaultKind::Crash, None, Some(c), ..) => {
                self.kill(state, &format!("agent/{c}")).await;
                let nodes: Vec<String> = self
                    .topology
                    .nodes()
                    .filter(|(x, _, _)| x.name.value == c.value)
                    .map(|(_, _, n)| n)
                    .collect();
                for n in nodes {
                    self.crash_node(state, &n).await;
                }
                if let Some(c) = state.clusters.get(c.as_str()) {
                    c.stop_serving().await;
                }
                self.net.stop_host(c);
            }
            (FaultKind::Partition, None, None, None, Some([a, b]), None) => {
                if f.one_way {
                    self.net.cut_one_way(a, b);
                } else {
                    self.net.cut(a, b);
                }
            }
            (FaultKind::Reset, None, None, None, Some([a, b]), None) => self.net.reset(a, b),
            (FaultKind::Isolate, None, None, Some(s), ..) => self.net.isolate(s),
            (FaultKind::Shape, None, None, None, Some(between), None) => {
                let spec = f.link.clone().unwrap_or_default().link(between.clone()).spec();
                self.net.set_link(&between[0], &between[1], spec);
            }
            _ => return Err(self.unsupported(f)),
        }
        Ok(())
    }

    async fn heal(&self, f: &Fault) -> Result<(), LaneError> {
        let f = &as_stop(f);
        let mut state = self.state.lock().await;
        let state = &mut *state;
        match (f.kind.value, &f.node, &f.cluster, &f.site, &f.between, &f.component) {
            (FaultKind::Kill, None, None, None, None, Some(c)) if ours(c) => self.start(state, c).await?,
            (FaultKind::Stop | FaultKind::Crash, Some(n), ..) => self.restart_node(state, n).await?,
            (FaultKind::Stop, None, Some(c), ..) => {
                if let Some(c) = state.clusters.get(c.as_str()) {
                    c.start_serving()
                        .await
                        .map_err(|e| failed("starting the control plane again")(e.to_string()))?;
                }
            }
            (FaultKind::Crash, None, Some(c), ..) => {
                self.net.start_host(c);
                if let Some(c) = state.clusters.get(c.as_str()) {
                    c.start_serving()
                        .await
                        .map_err(|e| failed("starting the control plane again")(e.to_string()))?;
                }
                let nodes: Vec<String> = self
                    .topology
                    .nodes()
                    .filter(|(x, _, _)| x.name.value == c.value)
                    .map(|(_, _, n)| n)
                    .collect();
                for n in nodes {
                    self.restart_node(state, &n).await?;
                }
                if self.topology.cluster(c).is_some_and(|c| c.role == ClusterRole::Member) {
                    self.start(state, &format!("agent/{c}")).await?;
                }
            }
            (FaultKind::Partition, None, None, None, Some([a, b]), None) => self.net.heal(a, b),
            (FaultKind::Reset, ..) => {}
            (FaultKind::Isolate, None, None, Some(s), ..) => self.net.heal_site(s),
            (FaultKind::Shape, None, None, None, Some([a, b]), None) => {
                let was = self
                    .topology
                    .spec
                    .links
                    .iter()
                    .find(|l| l.between.contains(a) && l.between.contains(b));
                match was {
                    Some(l) => self.net.set_link(&l.between[0], &l.between[1], l.spec()),
                    None => {
                        self.net.remove_link(a, b);
                    }
                }
            }
            _ => return Err(self.unsupported(f)),
        }
        Ok(())
    }

    async fn accept(&self, cluster: &str) -> Result<(), LaneError> {
        let mut state = self.state.lock().await;
        let push = self.topology.cluster(cluster).filter(|c| c.sync_mode == SyncMode::Push);
        if push.is_some() {
            return self.start(&mut state, &format!("agent/{cluster}")).await;
        }
        state
            .accepted
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(cluster.to_owned());
        if let Some(tx) = &state.changed {
            tx.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    async fn leave(&self, cluster: &str) -> Result<(), LaneError> {
        let hub = self.state.lock().await.clusters[&self.hub].client();
        let api: Api<cfn_api::karmada::cluster::Cluster> = Api::all(hub);
        match api.delete(cluster, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(s)) if s.code == 404 => Ok(()),
            Err(e) => Err(failed("deleting the Cluster")(e.to_string())),
        }
    }

    async fn join(&self, cluster: &str) -> Result<(), LaneError> {
        let mut state = self.state.lock().await;
        let component = format!("agent/{cluster}");
        self.kill(&mut state, &component).await;
        // What left is a stranger: it asks for a new identity.
        let _ = std::fs::remove_dir_all(self.dir.join("agent").join(cluster));
        self.start(&mut state, &component).await
    }

    async fn running(&self, what: &Running) -> Result<Vec<RunningPod>, LaneError> {
        let wanted = |n: &str| what.nodes.is_empty() || what.nodes.iter().any(|w| w.as_str() == n);
        let mut out: Vec<RunningPod> = self
            .node_handles(wanted)
            .iter()
            .flat_map(|h| h.running())
            .filter(|p| what.namespace.as_ref().is_none_or(|n| *n == p.namespace) && p.name.starts_with(&what.prefix))
            .map(|p| RunningPod {
                namespace: p.namespace,
                name: p.name,
                uid: p.uid,
                restarts: p.containers.iter().map(|(_, n, _)| u64::from(*n)).sum(),
            })
            .collect();
        out.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        Ok(out)
    }

    async fn down(&self) {
        self.cancel.cancel();
        let mut state = std::mem::take(&mut *self.state.lock().await);
        for (_, p) in std::mem::take(&mut state.processes) {
            let _ = tokio::time::timeout(Duration::from_secs(5), p.task).await;
        }
        state.hub_controllers.shutdown().await;
        for t in std::mem::take(&mut state.tasks) {
            t.abort();
            let _ = t.await;
        }
        let nodes = std::mem::take(&mut *self.nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for (_, n) in nodes {
            n.crash().await;
        }
        for (name, c) in std::mem::take(&mut state.clusters) {
            match Arc::try_unwrap(c) {
                Ok(c) => c.stop().await,
                Err(_) => tracing::warn!("cluster {name} is still in use"),
            }
        }
    }
}
