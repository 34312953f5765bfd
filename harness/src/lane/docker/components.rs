//! What runs in the clusters: the scheduler on the hub and an agent in each member, as Deployments.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bed::Bed;
use super::images::WORKLOADS;
use super::manifests::{
    AGENT, Agent, HubAccess, IDENTITY_SECRET, NAMESPACE, Placement, SCHEDULER, Scheduler, agent_args, bootstrap_token,
    scheduler_args,
};
use super::plan::Role;
use crate::lane::LaneError;
use crate::lane::prepare::MANAGER;
use crate::topology::{Cluster, ClusterRole, Node};

/// How long a hub may take to let go of a member that leaves, beyond its timer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// Where a cluster's one agent is to be. What it measures is its node's: at the cluster's own site, and no edge node; and
/// the last of them, as scenarios that break a host by name take an earlier one.
fn agents_node(c: &Cluster) -> Option<String> {
    let here = |n: &&Node| !n.edge_agent && n.site.as_ref().is_none_or(|s| s.value == c.site.value);
    c.nodes.iter().filter(here).flat_map(Node::names).last()
}

fn failed(what: &str) -> impl Fn(kube::Error) -> LaneError + '_ {
    move |e| LaneError::Failed(format!("{what}: {e}"))
}

impl Bed {
    /// Starts what runs in clusters, and what answers probes.
    pub(super) async fn components(self: &Arc<Self>) -> Result<(), LaneError> {
        let hub = self.topology.hub().name.value.clone();
        if self.topology.spec.auto_accept {
            let mut a = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            a.extend(self.topology.members().map(|m| m.name.value.clone()));
        }
        let administrator = crate::lane::administrator::accept(
            self.client(&hub)?.clone(),
            self.accepted.clone(),
            self.changed.subscribe(),
        );
        let cancel = self.cancel.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = administrator => {}
            }
        });
        let responders = self.respond();
        let members: Vec<_> = self
            .topology
            .spec
            .clusters
            .iter()
            .filter(|c| c.role == ClusterRole::Member)
            .map(|c| self.deploy_agent(c))
            .collect();
        let ((), (), _) = futures::try_join!(
            responders,
            self.deploy_scheduler(),
            futures::future::try_join_all(members)
        )?;
        Ok(())
    }

    /// The hub as members reach it, with the token by which an agent asks to join.
    fn hub_access(&self) -> Result<HubAccess, LaneError> {
        let hub = &self.topology.hub().name;
        let made = self.made.get();
        let kubeconfig = made
            .and_then(|m| m.kubeconfigs.get(hub.as_str()))
            .map_or("", String::as_str);
        let ca = authority(kubeconfig).ok_or_else(|| LaneError::Failed(format!("{hub}'s kubeconfig has no CA")))?;
        let address = self.plan.layout.hosts[hub.as_str()];
        Ok(HubAccess {
            server: format!("https://{address}:{}", self.flavour.flavour.api_port),
            ca_pem: ca,
            token: self.bootstrap.clone(),
        })
    }

    pub(super) async fn deploy_scheduler(&self) -> Result<(), LaneError> {
        let hub = self.topology.hub().name.as_str();
        let scheduler = Scheduler {
            placement: Placement::testbed(),
            args: scheduler_args(&self.timers, self.defects.scheduler),
            leader_elect: false,
        };
        let mut objects: Vec<Value> = bootstrap_token(&self.bootstrap).into_iter().collect();
        objects.extend(scheduler.objects().into_iter().map(without_deployment));
        self.apply(hub, &objects).await
    }

    pub(super) async fn deploy_agent(&self, c: &Cluster) -> Result<(), LaneError> {
        let agent = Agent {
            placement: Placement {
                node: agents_node(c),
                ..Placement::testbed()
            },
            args: agent_args(c, &self.timers),
            hub: Some(self.hub_access()?),
        };
        let mut objects = agent.objects();
        if let Some(t) = c.service_time {
            objects.extend(service_time(t.0));
        }
        if self.flavour.flavour.flags.mirror.is_none() {
            objects.extend(imported());
        }
        self.apply(&c.name, &objects).await
    }

    async fn apply(&self, cluster: &str, objects: &[Value]) -> Result<(), LaneError> {
        let client = self.client(cluster)?;
        for o in objects {
            let text = |p: &str| o.pointer(p).and_then(Value::as_str).unwrap_or_default();
            let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
            let api: Api<DynamicObject> = match text("/metadata/namespace") {
                "" => Api::all_with(client.clone(), &resource),
                ns => Api::namespaced_with(client.clone(), ns, &resource),
            };
            let params = PatchParams::apply(MANAGER).force();
            api.patch(text("/metadata/name"), &params, &Patch::Apply(o))
                .await
                .map_err(failed(&format!(
                    "{cluster}: applying {} {}",
                    text("/kind"),
                    text("/metadata/name")
                )))?;
        }
        Ok(())
    }

    async fn scale(&self, cluster: &str, name: &str, replicas: u32) -> Result<(), LaneError> {
        let kind = if name == SCHEDULER { "ReplicaSet" } else { "Deployment" };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(cluster)?.clone(), NAMESPACE, &resource);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        api.patch_scale(name, &PatchParams::default(), &patch)
            .await
            .map(drop)
            .map_err(failed(&format!("{cluster}: scaling {name}")))
    }

    /// Kills a component at once and keeps it from coming back, or lets it come back.
    pub(super) async fn hold_component(&self, cluster: &str, name: &str, hold: bool) -> Result<(), LaneError> {
        if !hold {
            return self.scale(cluster, name, 1).await;
        }
        self.scale(cluster, name, 0).await?;
        let pattern = &format!("^/cfn {}", name.trim_start_matches("cfn-"));
        let dark = self.state.lock().await.dark.clone();
        let hosts = self
            .plan
            .containers
            .iter()
            .filter(|c| c.cluster.as_deref() == Some(cluster) && c.role != Role::Shaper && !dark.contains(&c.host));
        // Processes of pods are processes of their host, too. None there is no error.
        let kills = hosts.map(|c| async move { self.engine.exec(&c.name, &["pkill", "-KILL", "-f", pattern]).await });
        futures::future::try_join_all(kills).await?;
        Ok(())
    }

    /// Deletes a member's Cluster on the hub; its agent cleans up, and ends when it is gone.
    pub(super) async fn part(&self, cluster: &str) -> Result<(), LaneError> {
        let hub = self.client(&self.topology.hub().name)?.clone();
        // Whoever left has to ask again, and to be accepted again.
        self.accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(cluster);
        let api: Api<cfn_api::karmada::cluster::Cluster> = Api::all(hub);
        match api.delete(cluster, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(s)) if s.code == 404 => {}
            Err(e) => return Err(failed(&format!("deleting the Cluster {cluster}"))(e)),
        }
        let Some(bed) = self.me.upgrade() else { return Ok(()) };
        let cluster = cluster.to_owned();
        tokio::spawn(async move {
            let until = Instant::now() + bed.timers.of("clusterLeaveTimeout") + PATIENCE;
            while !matches!(api.get_opt(&cluster).await, Ok(None)) && Instant::now() < until {
                tokio::time::sleep(LOOK).await;
            }
            if !bed
                .accepted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&cluster)
                && let Err(e) = bed.scale(&cluster, AGENT, 0).await
            {
                tracing::warn!("ending the agent of {cluster}: {e}");
            }
        });
        Ok(())
    }

    /// Starts a member's agent as a stranger: without the identity that it had.
    pub(super) async fn rejoin_agent(&self, c: &Cluster) -> Result<(), LaneError> {
        let cluster = c.name.as_str();
        if self.topology.spec.auto_accept {
            let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            accepted.insert(cluster.to_owned());
        }
        self.scale(cluster, AGENT, 0).await?;
        let client = self.client(cluster)?.clone();
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let ours = ListParams::default().labels(&format!("app.kubernetes.io/name={AGENT}"));
        let at_once = DeleteParams::default().grace_period(0);
        pods.delete_collection(&at_once, &ours)
            .await
            .map_err(failed(&format!("{cluster}: ending the agent")))?;
        let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
        match secrets.delete(IDENTITY_SECRET, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(s)) if s.code == 404 => {}
            Err(e) => return Err(failed(&format!("{cluster}: forgetting the agent"))(e)),
        }
        self.scale(cluster, AGENT, 1).await?;
        self.changed.send_modify(|n| *n += 1);
        Ok(())
    }
}

/// A cluster's compute takes so long for a request of the reference service: its pods are told when they are made.
fn service_time(t: Duration) -> [Value; 2] {
    let image = crate::lane::workloads::ECHO_IMAGE;
    let value = crate::input::show_duration(t);
    let expression = format!(
        "Object{{spec: Object.spec{{containers: object.spec.containers.filter(c, c.image.startsWith('{image}')).map(c, \
         Object.spec.containers{{name: c.name, env: [Object.spec.containers.env{{name: 'CFN_SERVICE_TIME', \
         value: '{value}'}}]}})}}}}"
    );
    policy("cfn-service-time", &expression)
}

/// Images that were imported are used as they are, also those called `latest`: there is no registry to ask.
fn imported() -> [Value; 2] {
    let names = WORKLOADS.map(|w| format!("'{w}'")).join(", ");
    let expression = format!(
        "Object{{spec: Object.spec{{containers: object.spec.containers.filter(c, c.image in [{names}]).map(c, \
         Object.spec.containers{{name: c.name, imagePullPolicy: 'IfNotPresent'}})}}}}"
    );
    policy("cfn-imported-images", &expression)
}

/// What an expression says of every new pod is done to it.
fn policy(name: &str, expression: &str) -> [Value; 2] {
    let group = "admissionregistration.k8s.io/v1";
    [
        json!({"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
            ]},
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        }}),
        json!({"apiVersion": group, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name}}),
    ]
}

/// A Deployment as the ReplicaSet that it would make: on a hub, where Deployments are templates.
fn without_deployment(mut object: Value) -> Value {
    if object["kind"] == "Deployment" {
        object["kind"] = "ReplicaSet".into();
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("strategy");
        }
    }
    object
}

/// The CA in a kubeconfig, PEM.
fn authority(kubeconfig: &str) -> Option<String> {
    use base64::Engine as _;
    let k = kube::config::Kubeconfig::from_yaml(kubeconfig).ok()?;
    let data = k
        .clusters
        .first()?
        .cluster
        .as_ref()?
        .certificate_authority_data
        .clone()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).ok()?;
    String::from_utf8(bytes).ok()
}

/// The components' Deployments, for faults: the scheduler's on the hub, an agent's in its member.
pub(super) fn deployment_of(component: &str) -> &'static str {
    if component.starts_with("agent/") {
        AGENT
    } else {
        SCHEDULER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_at_its_clusters_site_and_no_edge_node() {
        for (topology, cluster, node) in [
            ("default", "cloud", "cloud-node-2"),
            ("default", "edge-a", "edge-a-node"),
            ("r7-lab", "member1", "worker-20"),
        ] {
            let (_, t) = crate::scenario::find_topology(topology, None).unwrap();
            let c = t.spec.clusters.iter().find(|c| c.name.value == cluster).unwrap();
            assert_eq!(agents_node(c).as_deref(), Some(node), "{topology}: {cluster}");
        }
    }
}
