//! Keeping a running testbed and bringing it back: its hosts as images, their volumes as copies, and a record of what
//! it was. Hosts are paused while they are copied, so that all are of one moment. A testbed comes back at the addresses
//! that it had, because its certificates and its etcd know them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::bed::{Bed, LOOK, Listener};
use super::engine::Engine;
use super::flavour::Named;
use super::plan::{BedPlan, Container, OWNER, Role, TESTBED};
use super::{Say, reap};
use crate::input::{Problem, Source};
use crate::lane::{Defects, Isolation, LaneError, Plan};
use crate::scenario::Fault;
use crate::timers::Timers;
use crate::topology::Topology;

/// The label of what a snapshot consists of: its name.
pub const SNAPSHOT: &str = "cfn.akraino.org/snapshot";
/// Namespace of the leases of nodes.
const NODE_LEASES: &str = "kube-node-lease";

/// What a snapshot says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its name.
    pub name: String,
    /// The version of this program that made it.
    pub version: String,
    /// When: RFC 3339.
    pub saved: String,
    /// The flavour's name or file.
    pub flavour: String,
    /// Hosts and addresses.
    pub plan: BedPlan,
    /// The topology.
    pub topology: Topology,
    /// The timer profile's name.
    pub timers: String,
    /// Its values, with units.
    pub timer_values: BTreeMap<String, String>,
    /// The seed.
    pub seed: u64,
    /// By which agents ask to join.
    pub bootstrap: String,
    /// Members whose registration is accepted.
    pub accepted: Vec<String>,
    /// Faults of links that were in force.
    pub faults: Vec<Fault>,
    /// Where each host keeps what must survive it: path in the host, and the volume with its copy.
    pub volumes: BTreeMap<String, BTreeMap<String, String>>,
}

impl Record {
    /// What is to be brought up.
    ///
    /// # Errors
    /// When the record's timers are not those of this version.
    pub fn to_plan(&self, dir: PathBuf) -> Result<Plan, LaneError> {
        let mut text = format!(
            "apiVersion: cfn.akraino.org/v1alpha1\nkind: Timers\nmetadata: {{name: {}}}\nspec:\n",
            self.timers
        );
        for (k, v) in &self.timer_values {
            text.push_str(&format!("  {k}: {v}\n"));
        }
        let source = Source::new(format!("snapshot {}", self.name), text);
        let timers = Timers::read(&source).map_err(|e| LaneError::Environment {
            what: format!("snapshot {} was made by version {}: {e}", self.name, self.version),
            cure: "make it anew with this version".to_owned(),
        })?;
        Ok(Plan {
            topology: self.topology.clone(),
            timers,
            seed: self.seed,
            dir,
            defects: Defects::default(),
            isolation: Isolation::Testbed,
            explain: false,
        })
    }
}

/// Whether a text is a snapshot's name: it is part of names of images and volumes.
///
/// # Errors
/// What it must be instead.
pub fn check_name(name: &str) -> Result<(), Box<Problem>> {
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 40 && name.chars().all(right) && !name.starts_with('-') {
        return Ok(());
    }
    let p = Problem::of_file("NAME", format!("`{name}` is no name of a snapshot"));
    Err(Box::new(p.expected(
        "at most 40 lower-case letters, digits and `-`, the first no `-`",
    )))
}

fn image(snapshot: &str, host: &str) -> (String, String) {
    (format!("cfn.akraino.org/snapshot/{snapshot}"), host.to_owned())
}

fn is_kept(c: &Container) -> bool {
    matches!(c.role, Role::ControlPlane | Role::Node)
}

impl Bed {
    /// Keeps the testbed as it is under a name.
    ///
    /// # Errors
    /// When a fault is in force that is not of links (heal it first), the name is taken, or the engine refuses; nothing
    /// of the snapshot is left then.
    pub(super) async fn save(&self, name: &str) -> Result<Record, LaneError> {
        let label = format!("{SNAPSHOT}={name}");
        if !self.engine.volumes(&label).await?.is_empty() {
            return Err(LaneError::Environment {
                what: format!("there is a snapshot {name} already"),
                cure: format!("choose another name, or `cfn snapshot delete {name}`"),
            });
        }
        let state = self.state.lock().await;
        if !state.dark.is_empty() || !state.dead.is_empty() {
            let broken: Vec<&str> = state.dark.iter().chain(&state.dead).map(String::as_str).collect();
            return Err(LaneError::Failed(format!(
                "{} is broken: heal it first",
                broken.join(", ")
            )));
        }
        let hosts: Vec<&Container> = self.plan.containers.iter().filter(|c| is_kept(c)).collect();
        let pausing = futures::future::try_join_all(hosts.iter().map(|c| self.engine.pause(&c.name)));
        let copied = match pausing.await {
            // Each to its end, also when another fails: a copy that is left where it is holds its volumes.
            Ok(_) => {
                let all = futures::future::join_all(hosts.iter().map(|c| self.copy_host(name, c))).await;
                all.into_iter().collect::<Result<BTreeMap<_, _>, _>>()
            }
            Err(e) => Err(e.into()),
        };
        // Whatever happened: they go on. One that was not paused says so.
        for c in &hosts {
            if let Err(e) = self.engine.unpause(&c.name).await {
                tracing::debug!("{e}");
            }
        }
        let volumes = match copied {
            Ok(v) => v,
            Err(e) => {
                if let Err(left) = delete(&self.engine, name).await {
                    tracing::warn!("of snapshot {name} something is left: {left}");
                }
                return Err(e);
            }
        };
        Ok(Record {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            saved: self.clock.now().to_string(),
            flavour: self.flavour.name.clone(),
            plan: self.plan.clone(),
            topology: self.topology.clone(),
            timers: self.timers.profile.clone(),
            timer_values: self.timers.shown(),
            seed: self.seed.0,
            bootstrap: self.bootstrap.clone(),
            accepted: self.accepted().iter().cloned().collect(),
            faults: state.faults.clone(),
            volumes,
        })
    }

    /// A host as an image, its volumes as copies.
    async fn copy_host(&self, snapshot: &str, c: &Container) -> Result<(String, BTreeMap<String, String>), LaneError> {
        let labels = BTreeMap::from([(SNAPSHOT.to_owned(), snapshot.to_owned())]);
        let (repository, tag) = image(snapshot, &c.host);
        self.engine.commit(&c.name, &repository, &tag, &labels).await?;
        let mut kept = BTreeMap::new();
        let mut copies = Vec::new();
        for (i, (path, volume)) in self.engine.volumes_of(&c.name).await?.into_iter().enumerate() {
            let copy = format!("cfn-snapshot-{snapshot}-{}-{i}", c.host);
            self.engine.create_volume(&copy, &labels).await?;
            copies.push((volume, copy.clone()));
            kept.insert(path, copy);
        }
        self.copy(&format!("{}-{}.copy", self.plan.name, c.host), &copies)
            .await?;
        Ok((c.host.clone(), kept))
    }

    /// Copies volumes, each into another.
    async fn copy(&self, helper: &str, pairs: &[(String, String)]) -> Result<(), LaneError> {
        let labels = BTreeMap::from([
            (TESTBED.to_owned(), self.plan.name.clone()),
            (OWNER.to_owned(), reap::owner()),
        ]);
        let image = &self.flavour.flavour.shaper;
        Ok(self.engine.copy_volumes(helper, image, pairs, &labels).await?)
    }

    /// A testbed as a record has it, not started yet.
    ///
    /// # Errors
    /// When its network is taken, or an image or a volume of the snapshot is gone.
    pub(super) async fn of_record(
        engine: Engine,
        flavour: Named,
        record: &Record,
        p: &Plan,
        say: Say,
    ) -> Result<std::sync::Arc<Self>, LaneError> {
        let mut plan = record.plan.clone();
        let owner = reap::owner();
        for c in &mut plan.containers {
            c.labels.insert(OWNER.to_owned(), owner.clone());
            if is_kept(c) {
                let (repository, tag) = image(&record.name, &c.host);
                c.image = format!("{repository}:{tag}");
                if !engine.has_image(&c.image).await? {
                    return Err(LaneError::Environment {
                        what: format!("image {} of snapshot {} is not there", c.image, record.name),
                        cure: format!("`cfn snapshot delete {}`, and make it anew", record.name),
                    });
                }
                let paths = record.volumes.get(&c.host).into_iter().flatten().enumerate();
                c.mounts = paths
                    .map(|(i, (path, _))| (path.clone(), format!("{}-{}-{i}", plan.name, c.host)))
                    .collect();
            }
        }
        let labels = BTreeMap::from([
            (TESTBED.to_owned(), plan.name.clone()),
            (OWNER.to_owned(), owner.clone()),
            ("cfn.akraino.org/topology".to_owned(), plan.topology.clone()),
        ]);
        if let Err(e) = engine.create_network(&plan.name, &plan.layout, &labels).await {
            return Err(match e.code() {
                Some(403 | 409 | 500) => LaneError::Environment {
                    what: format!("{} of snapshot {}: {}", plan.layout.subnet, record.name, e.message()),
                    cure:
                        "a snapshot needs the addresses it had: end the testbed or network that has them (`cfn down`)"
                            .to_owned(),
                },
                _ => e.into(),
            });
        }
        let bed = Self::build(engine, flavour, plan, p, &record.bootstrap, Listener::new(say), None);
        bed.accepted().extend(record.accepted.iter().cloned());
        let copies = bed.plan.containers.iter().filter(|c| is_kept(c)).map(|c| {
            let (bed, labels) = (&bed, &labels);
            async move {
                let saved = record.volumes.get(&c.host).cloned().unwrap_or_default();
                let mut pairs = Vec::new();
                for (path, volume) in &c.mounts {
                    bed.engine.create_volume(volume, labels).await?;
                    pairs.push((saved[path].clone(), volume.clone()));
                }
                bed.copy(&format!("{}-{}.copy", bed.plan.name, c.host), &pairs).await
            }
        });
        let copied = futures::future::try_join_all(copies).await;
        if let Err(e) = copied {
            bed.remove().await;
            return Err(e);
        }
        bed.tell("volumes are there");
        Ok(bed)
    }

    /// Brings a testbed of a record to life: everything as at a first start, which finds most of it done; then every
    /// node has to be heard of, and the links' faults are in force again.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) async fn revive(self: &std::sync::Arc<Self>, record: &Record) -> Result<(), LaneError> {
        let began = self.clock.now();
        self.up().await?;
        let until = Instant::now() + self.patience();
        for (node, dress) in &self.plan.nodes {
            let api: Api<Lease> = Api::namespaced(self.client(&dress.cluster)?.clone(), NODE_LEASES);
            loop {
                // What its status says may be of before the snapshot; its lease tells.
                let lease = api.get_opt(node).await.ok().flatten();
                let renewed = lease.and_then(|l| l.spec?.renew_time);
                if renewed.is_some_and(|t| t.0 > began) {
                    break;
                }
                self.alive(&self.container_name(node), until).await?;
                tokio::time::sleep(LOOK).await;
            }
        }
        for f in &record.faults {
            crate::lane::Controls::fault(&**self, f).await?;
        }
        self.tell("all nodes are heard of");
        Ok(())
    }
}

/// Takes a snapshot's images and volumes away; says how many there were.
///
/// # Errors
/// When the engine refuses, or a testbed uses one.
pub async fn delete(engine: &Engine, name: &str) -> Result<usize, LaneError> {
    let label = format!("{SNAPSHOT}={name}");
    let volumes = engine.volumes(&label).await?;
    let images = engine.images(&label).await?;
    for v in &volumes {
        engine.remove_volume(v).await?;
    }
    for i in &images {
        engine.remove_image(i).await?;
    }
    Ok(volumes.len() + images.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for (name, right) in [
            ("a", true),
            ("two-edges-1", true),
            ("", false),
            ("-a", false),
            ("A", false),
            ("a/b", false),
            (&"a".repeat(41), false),
        ] {
            assert_eq!(check_name(name).is_ok(), right, "{name}");
        }
    }
}
