//! The lane of clusters that exist, by kubeconfig. It touches only what it made and labelled, and leaves nothing after:
//! the scheduler and the agents are tasks of this process, over the network that it is in; what a scenario applies bears
//! the run's label, and an object that is there without it is left alone and the step fails. Faults that need access to
//! machines, and traffic from sites of its own, it has no means for: cases with such steps are skipped, by name.

mod controls;
mod inventory;
mod kubelets;
mod sizes;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cfn_api::names::{BOOTSTRAP_ACCOUNT, CFN_NAMESPACE, PROBE_TARGETS};
use cfn_net::{ClientConfig, Identity, Net, Seed, SharedClock, SystemClock, Transport};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Defects, Lane, LaneError, Plan, Testbed, timing};
use crate::access::{self, Target};
use crate::scenario::{FaultKind, Need, Scenario, Verb};
use crate::timers::Timers;
use crate::topology::{Cluster, ClusterRole, Topology};

/// The label of everything that this lane makes, with the run's name.
pub const LABEL: &str = "cfn.akraino.org/testbed";
/// The lane's name.
const NAME: &str = "external";
/// How long a cluster may take to answer at all.
const ANSWER: Duration = Duration::from_secs(10);
/// Where components connect from.
const HERE: &str = "localhost";
/// How long a CRD may take to be served.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// Clusters that exist.
pub struct External {
    /// Which kubeconfig is which cluster of the topology.
    pub kubeconfigs: BTreeMap<String, Target>,
}

impl External {
    /// Why nodes do not say what they run, where a scenario asks them.
    async fn silent(&self, scenario: &Scenario) -> Option<String> {
        let asked = asked(scenario);
        if asked.is_empty() {
            return None;
        }
        // What is wrong with the clusters is told when the testbed comes up.
        let clusters = connect(&self.kubeconfigs, &scenario.topology).await.ok()?;
        let mut there = BTreeSet::from([String::new()]);
        for (name, c) in &clusters {
            let nodes = kubelets::nodes(&c.client).await.ok()?;
            if let Some(first) = nodes.first()
                && let Err(e) = kubelets::pods(&c.client, first).await
            {
                return Some(format!(
                    "clusters that exist: {name}'s nodes do not say what they run: {e}"
                ));
            }
            there.extend(nodes);
        }
        let missing = asked.iter().find(|n| !there.contains(*n))?;
        Some(format!(
            "clusters that exist: there is no node {missing}, which a step asks what it runs"
        ))
    }
}

#[async_trait]
impl Lane for External {
    fn name(&self) -> &'static str {
        NAME
    }

    /// What two API servers of somebody's own network may add.
    fn tolerance(&self) -> Duration {
        Duration::from_millis(10)
    }

    async fn lacks(&self, scenario: &Scenario) -> Option<String> {
        if let Some(what) = lacks(scenario) {
            return Some(what);
        }
        self.silent(scenario).await
    }

    async fn without(&self, need: Need, topology: &Topology) -> Option<String> {
        match need {
            Need::NodeCapacity => {
                // What is wrong with the clusters is told when the testbed comes up.
                let clusters = connect(&self.kubeconfigs, topology).await.ok()?;
                for c in &topology.spec.clusters {
                    let have = sizes::of(&clusters.get(c.name.as_str())?.client).await.ok()?;
                    if let Some(what) = sizes::differs(&sizes::wanted(c), &have) {
                        return Some(format!("clusters that exist: {} has {what}", c.name));
                    }
                }
                None
            }
            Need::EdgeAgent => {
                Some("clusters that exist: no means for edge agents in front of their kubelets".to_owned())
            }
        }
    }

    async fn up(&self, plan: &Plan) -> Result<Testbed, LaneError> {
        let clusters = connect(&self.kubeconfigs, &plan.topology).await?;
        let bed = Arc::new(Bed {
            name: format!("external-{:08x}", Seed::unpredictable().0 as u32),
            clusters,
            topology: plan.topology.clone(),
            timers: plan.timers.clone(),
            dir: plan.dir.clone(),
            defects: plan.defects,
            clock: Arc::new(SystemClock),
            seed: Seed(plan.seed),
            cancel: CancellationToken::new(),
            before: Mutex::default(),
            joined: Mutex::default(),
            processes: Mutex::default(),
        });
        if let Err(e) = bed.up().await {
            bed.clean().await;
            return Err(e);
        }
        Ok(Testbed {
            lane: NAME,
            tolerance: self.tolerance(),
            topology: plan.topology.clone(),
            timers: plan.timers.clone(),
            seed: bed.seed,
            town: None,
            traffic: bed.clone(),
            clock: bed.clock.clone(),
            clients: bed
                .clusters
                .iter()
                .map(|(n, c)| (n.clone(), c.client.clone()))
                .collect(),
            kubeconfigs: BTreeMap::new(),
            controls: bed,
            defects: plan.defects,
        })
    }
}

/// The first step of a scenario that needs what this lane has no means for.
fn lacks(scenario: &Scenario) -> Option<String> {
    let cannot = |what: String| Some(format!("clusters that exist: no means for {what}"));
    for step in &scenario.file.spec.steps {
        for verb in step.verbs() {
            let found = match verb {
                Verb::Fault(f) if f.kind.value == FaultKind::Kill && is_ours(f.component.as_deref()) => None,
                Verb::Fault(f) => cannot(format!("the fault {:?}", f.kind.value).to_lowercase()),
                Verb::Load(l) => cannot(format!("clients at site {}", l.from)),
                Verb::Drive(_) => cannot("vehicles".to_owned()),
                Verb::Accept(_) => cannot("registrations that wait for a person".to_owned()),
                Verb::Drain(_) => cannot("draining nodes of others".to_owned()),
                _ => None,
            };
            if found.is_some() {
                return found.map(|f| format!("{f} (step `{}`)", step.name));
            }
        }
    }
    None
}

/// The nodes that a scenario asks what they run: none when it asks none, an empty name among them when it asks all.
fn asked(scenario: &Scenario) -> BTreeSet<String> {
    let spec = &scenario.file.spec;
    let verbs = spec.steps.iter().flat_map(|s| s.verbs());
    let queries = verbs
        .filter_map(|v| match v {
            Verb::Wait(c) | Verb::Assert(c) => Some(c.values.values()),
            _ => None,
        })
        .flatten()
        .chain(spec.collect.iter().map(|c| &c.query));
    let running = queries.filter_map(|q| q.running.as_ref());
    running
        .flat_map(|r| match r.nodes.as_slice() {
            [] => vec![String::new()],
            some => some.iter().map(|n| n.value.clone()).collect(),
        })
        .collect()
}

/// Whether a component is a task of this process.
fn is_ours(component: Option<&String>) -> bool {
    component.is_some_and(|c| c == "scheduler" || c.starts_with("agent/"))
}

/// A cluster that exists.
struct Existing {
    client: Client,
    config: ClientConfig,
}

/// What a run has of clusters that exist.
struct Bed {
    /// The run's name.
    name: String,
    clusters: BTreeMap<String, Existing>,
    topology: Topology,
    timers: Timers,
    dir: PathBuf,
    defects: Defects,
    clock: SharedClock,
    seed: Seed,
    cancel: CancellationToken,
    /// What was there before, by cluster: of the things that components make under fixed names.
    before: Mutex<BTreeMap<String, inventory::Before>>,
    /// Members that this run registers: nobody had before.
    joined: Mutex<BTreeSet<String>>,
    /// The components.
    processes: Mutex<BTreeMap<String, Process>>,
}

/// A component that is a task.
struct Process {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.cancel.cancel();
    }
}

fn failed(what: &str) -> impl Fn(kube::Error) -> LaneError + '_ {
    move |e| LaneError::Failed(format!("{what}: {e}"))
}

fn net() -> Net {
    let net = Net::new(Transport::Host, Seed::unpredictable());
    net.add_host(HERE, "outside");
    net
}

/// Connects to every cluster of the topology, all at once; the first that cannot be used ends it.
async fn connect(
    kubeconfigs: &BTreeMap<String, Target>,
    topology: &Topology,
) -> Result<BTreeMap<String, Existing>, LaneError> {
    let names: Vec<&str> = topology.spec.clusters.iter().map(|c| c.name.as_str()).collect();
    if let Some(other) = kubeconfigs.keys().find(|k| !names.contains(&k.as_str())) {
        return Err(LaneError::Environment {
            what: format!(
                "--kubeconfig {other}=...: the topology {} has no such cluster",
                topology.name()
            ),
            cure: format!("its clusters are {}", names.join(", ")),
        });
    }
    let all = names.iter().map(|name| async move {
        let target = kubeconfigs.get(*name).ok_or_else(|| LaneError::Environment {
            what: format!("no kubeconfig for cluster {name} of the topology {}", topology.name()),
            cure: format!("name it with --kubeconfig {name}=FILE[:CONTEXT], or choose another --topology"),
        })?;
        let config = access::config(Some(target), ANSWER)?;
        let unusable = |e: String| LaneError::Environment {
            what: format!("cluster {name} ({}): {e}", config.server),
            cure: format!(
                "see that `kubectl --kubeconfig {} get nodes` works",
                target.path.display()
            ),
        };
        let client = config.client(&net(), HERE).map_err(|e| unusable(e.to_string()))?;
        client.apiserver_version().await.map_err(|e| unusable(e.to_string()))?;
        Ok::<_, LaneError>(((*name).to_owned(), Existing { client, config }))
    });
    Ok(futures::future::try_join_all(all).await?.into_iter().collect())
}

impl Bed {
    fn hub(&self) -> Result<&Existing, LaneError> {
        self.cluster(&self.topology.hub().name)
    }

    fn cluster(&self, name: &str) -> Result<&Existing, LaneError> {
        let known = self.clusters.get(name);
        known.ok_or_else(|| LaneError::Failed(format!("there is no cluster {name}")))
    }

    async fn up(&self) -> Result<(), LaneError> {
        for (name, c) in &self.clusters {
            let before = inventory::Before::of(&c.client)
                .await
                .map_err(failed(&format!("looking at {name}")))?;
            self.before.lock().await.insert(name.clone(), before);
        }
        for c in &self.topology.spec.clusters {
            self.prepare(c).await?;
        }
        let api: Api<cfn_api::karmada::cluster::Cluster> = Api::all(self.hub()?.client.clone());
        for m in self.topology.members() {
            if api
                .get_opt(&m.name)
                .await
                .map_err(failed("looking for members"))?
                .is_some()
            {
                return Err(LaneError::Environment {
                    what: format!("a member called {} is registered on the hub already", m.name),
                    cure: "call it otherwise in the topology, or choose another hub".into(),
                });
            }
            self.joined.lock().await.insert(m.name.value.clone());
        }
        let token = self.bootstrap().await?;
        let scheduler = self.start_scheduler()?;
        self.processes.lock().await.insert("scheduler".into(), scheduler);
        for m in self.topology.members() {
            let agent = self.start_agent(m, &token)?;
            self.processes.lock().await.insert(format!("agent/{}", m.name), agent);
        }
        Ok(())
    }

    /// The kinds that a cluster lacks; on the hub also what the agents look at.
    async fn prepare(&self, c: &Cluster) -> Result<(), LaneError> {
        let hub = c.role == ClusterRole::Hub;
        let client = &self.cluster(&c.name)?.client;
        let doing = format!("preparing {}", c.name);
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        let mut made = Vec::new();
        for mut crd in cfn_api::crds() {
            if hub || crd.spec.group == "cfn.akraino.org" {
                crd.labels_mut().insert(LABEL.into(), self.name.clone());
                match api.create(&PostParams::default(), &crd).await {
                    Ok(_) => made.push(crd.name_any()),
                    Err(kube::Error::Api(s)) if s.code == 409 => {}
                    Err(e) => return Err(failed(&doing)(e)),
                }
            }
        }
        for name in made {
            let served = kube::runtime::wait::conditions::is_crd_established();
            let served = kube::runtime::wait::await_condition(api.clone(), &name, served);
            let in_time = tokio::time::timeout(ESTABLISHED, served).await;
            if !matches!(in_time, Ok(Ok(_))) {
                return Err(LaneError::Failed(format!(
                    "{doing}: {name} is not served after {ESTABLISHED:?}"
                )));
            }
        }
        if hub {
            self.create(
                client,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CFN_NAMESPACE}}),
            )
            .await?;
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": BOOTSTRAP_ACCOUNT, "namespace": CFN_NAMESPACE}});
            self.create(client, account).await?;
            // All agents are here: there is nothing to measure between sites.
            let targets = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {},
                "metadata": {"name": PROBE_TARGETS, "namespace": CFN_NAMESPACE}});
            self.create(client, targets).await?;
        }
        Ok(())
    }

    /// Creates an object with our label; one that is there stays as it is.
    async fn create(&self, client: &Client, mut object: Value) -> Result<(), LaneError> {
        object["metadata"]["labels"] = json!({LABEL: self.name});
        let text = |p: &str| object.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
        let what = format!("making {} {}", text("/kind"), text("/metadata/name"));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", &text("/kind")));
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            ns if ns.is_empty() => Api::all_with(client.clone(), &resource),
            ns => Api::namespaced_with(client.clone(), &ns, &resource),
        };
        let object: DynamicObject =
            serde_json::from_value(object).map_err(|e| LaneError::Failed(format!("{what}: {e}")))?;
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(s)) if s.code == 409 => Ok(()),
            Err(e) => Err(failed(&what)(e)),
        }
    }

    /// A token with which agents ask to join.
    async fn bootstrap(&self) -> Result<String, LaneError> {
        let path = format!("/api/v1/namespaces/{CFN_NAMESPACE}/serviceaccounts/{BOOTSTRAP_ACCOUNT}/token");
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|e| LaneError::Failed(e.to_string()))?;
        let answer: Value = self
            .hub()?
            .client
            .request(request)
            .await
            .map_err(failed("asking for a token"))?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        token
            .map(str::to_owned)
            .ok_or_else(|| LaneError::Failed("the hub gave no token for joining".into()))
    }

    fn start<F, E>(&self, name: String, make: impl FnOnce(CancellationToken) -> F) -> Process
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let cancel = self.cancel.child_token();
        let run = make(cancel.clone());
        let task = tokio::spawn(async move {
            if let Err(e) = run.await {
                tracing::warn!("{name} ended: {e}");
            }
        });
        Process { cancel, task }
    }

    fn start_scheduler(&self) -> Result<Process, LaneError> {
        use cfn_scheduler::engine::Defect;
        let client = self.hub()?.config.client(&net(), HERE);
        let options = cfn_scheduler::controllers::Options {
            client: client.map_err(|e| LaneError::Failed(e.to_string()))?,
            clock: self.clock.clone(),
            seed: self.seed.child("scheduler"),
            timers: timing::scheduler(&self.timers),
            scheduler_name: "default-scheduler".into(),
            defect: self.defects.scheduler.map(|d| match d {
                super::SchedulerDefect::IgnoreWeights => Defect::IgnoreWeights,
                super::SchedulerDefect::IgnoreNetwork => Defect::IgnoreNetwork,
            }),
            only_scheduling: false,
            auto_approve: true,
            explain: true,
            ready: None,
        };
        Ok(self.start("scheduler".into(), |c| cfn_scheduler::controllers::run(options, c)))
    }

    fn start_agent(&self, c: &Cluster, token: &str) -> Result<Process, LaneError> {
        let net = net();
        let member = self.cluster(&c.name)?.config.client(&net, HERE);
        let hub = ClientConfig {
            identity: Identity::Token(token.to_owned()),
            ..self.hub()?.config.clone()
        };
        let options = cfn_agent::cluster::ClusterAgentOptions {
            cluster: c.name.value.clone(),
            site: c.site.value.clone(),
            labels: c.labels.clone(),
            annotations: BTreeMap::new(),
            provider: c.provider.clone(),
            region: c.region.clone(),
            zones: c.zone.iter().cloned().collect(),
            net,
            host: HERE.into(),
            hub,
            member: member.map_err(|e| LaneError::Failed(e.to_string()))?,
            clock: self.clock.clone(),
            seed: self.seed.child(&format!("agent/{}", c.name)),
            timers: timing::agent(&self.timers),
            state: cfn_agent::cluster::identity::State::Directory(self.dir.join("agent").join(c.name.as_str())),
            // Pods of others are not touched.
            autonomy: false,
            ready: None,
        };
        let name = format!("agent of {}", c.name);
        Ok(self.start(name, |c| cfn_agent::cluster::run(options, c)))
    }
}
