//! The lane whose clusters are real: every host is a container, with real kubelets, real pods, real packets and real
//! faults.

pub mod address;
mod bed;
mod clean;
mod components;
pub mod daemon;
pub mod engine;
pub mod exec;
mod faults;
pub mod flavour;
mod images;
pub mod kind;
mod links;
pub mod manifests;
mod nodes;
pub mod plan;
pub mod process;
pub mod reap;
mod running;
mod shaper;
pub mod snapshot;
mod start;
mod store;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use bed::{Bed, Kept};
use engine::Engine;
use flavour::{Driver, Named};

use super::{Lane, LaneError, Plan, Testbed};
use crate::doctor::Size;
use crate::scenario::Need;
use crate::topology::Topology;

/// How long pulling an image may take before another flavour is tried.
const PULL: Duration = Duration::from_secs(120);

/// Told what happens while one waits.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// Clusters in containers.
#[derive(Clone)]
pub struct Docker {
    /// The flavour's name or file; without it, k3s where its image is there or can be pulled, else our own.
    pub flavour: Option<String>,
    /// Told what happens.
    pub say: Say,
    /// The snapshot that it comes from.
    from: Option<snapshot::Record>,
    kept: Kept,
}

/// What any testbed has at least.
const LEAST: Size = Size { clusters: 1, hosts: 1 };

impl Docker {
    /// With a flavour, and somebody who is told.
    #[must_use]
    pub fn new(flavour: Option<String>, say: Say) -> Self {
        Self {
            flavour,
            say,
            from: None,
            kept: Kept::default(),
        }
    }

    /// From a snapshot, with its flavour.
    #[must_use]
    pub fn from_snapshot(record: snapshot::Record, say: Say) -> Self {
        Self {
            flavour: Some(record.flavour.clone()),
            say,
            from: Some(record),
            kept: Kept::default(),
        }
    }

    /// Whether this machine has what the lane needs.
    ///
    /// # Errors
    /// What is missing, with the cure.
    pub async fn available(&self) -> Result<(), LaneError> {
        self.look(LEAST).await.map(drop)
    }

    /// The engine, which has room for that much, and the flavour with its images there.
    async fn look(&self, size: Size) -> Result<(Engine, Named), LaneError> {
        let engine = Engine::connect().await?;
        let (itself, _) = crate::doctor::gather::itself(engine.docker(), engine.endpoint()).await?;
        if let Some(f) = crate::doctor::daemon::refuses(&itself, size) {
            return Err(LaneError::Environment {
                what: format!("{}: {}", f.check, f.seen),
                cure: f.cure.unwrap_or_default(),
            });
        }
        let flavour = choose(&engine, self.flavour.as_deref(), &self.say).await?;
        let shaper = &flavour.flavour.shaper;
        if !engine.has_image(shaper).await? {
            return Err(absent(shaper, "build it with ci/images"));
        }
        Ok((engine, flavour))
    }
}

impl Default for Docker {
    fn default() -> Self {
        Self::new(None, Arc::new(|_| {}))
    }
}

/// Removes everything that any testbed has on this machine's engine; says how many containers that were.
///
/// # Errors
/// When there is no engine, or it refuses.
pub async fn remove_all() -> Result<usize, LaneError> {
    let engine = Engine::connect().await?;
    Ok(reap::remove(&engine, plan::TESTBED).await?)
}

/// Removes what testbeds left whose process is gone; says which these were.
///
/// # Errors
/// When there is no engine, or it refuses.
pub async fn remove_leftovers() -> Result<Vec<String>, LaneError> {
    let engine = Engine::connect().await?;
    Ok(reap::leftovers(&engine).await?)
}

/// Takes a snapshot's images and volumes away; says how many there were.
///
/// # Errors
/// When there is no engine, or it refuses.
pub async fn delete_snapshot(name: &str) -> Result<usize, LaneError> {
    snapshot::delete(&Engine::connect().await?, name).await
}

#[async_trait]
impl Lane for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    /// Queues of real kernels and a shaper in user space; measured, see `docs/links.md`.
    fn tolerance(&self) -> Duration {
        Duration::from_millis(3)
    }

    fn keeps(&self) -> bool {
        true
    }

    async fn without(&self, need: Need, _: &Topology) -> Option<String> {
        let (_, Named { name, flavour }) = self.look(LEAST).await.ok()?;
        match need {
            Need::NodeCapacity if flavour.flags.capacity.is_none() => Some(format!(
                "nodes of flavour {name} have the machine's processors and memory, not the topology's"
            )),
            Need::EdgeAgent if flavour.flags.edge.is_none() => {
                Some(format!("flavour {name} has no edge agent in front of its kubelets"))
            }
            _ => None,
        }
    }

    async fn up(&self, plan: &Plan) -> Result<Testbed, LaneError> {
        let (mut fitting, others): (Vec<_>, Vec<_>) = std::mem::take(&mut *self.kept.lock().await)
            .into_iter()
            .partition(|b| plan.isolation.takes_used() && b.fits(plan));
        if let Some(bed) = fitting.pop() {
            self.kept.lock().await.extend(fitting.into_iter().chain(others));
            match bed.clean().await {
                Ok(()) => {
                    bed.tell("used again");
                    bed.spent.store(!plan.isolation.leaves(), Ordering::Relaxed);
                    return bed.testbed(self.tolerance());
                }
                Err(e) => {
                    bed.tell(&format!("not used again: {e}"));
                    bed.remove().await;
                    return self.another(plan).await;
                }
            }
        }
        // Memory is for those that are needed. Containers end at once; what is slow is to take their files away, and
        // that goes on while the next ones start.
        let room = futures::future::join_all(others.iter().map(|b| b.remove()));
        tokio::join!(room, self.another(plan)).1
    }

    async fn finish(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().await);
        futures::future::join_all(kept.iter().map(|b| b.remove())).await;
    }
}

impl Docker {
    /// A testbed that nobody used before.
    async fn another(&self, plan: &Plan) -> Result<Testbed, LaneError> {
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let clusters = &plan.topology.spec.clusters;
        let nodes: usize = clusters.iter().flat_map(|c| &c.nodes).map(|n| n.names().count()).sum();
        let size = Size {
            clusters: size(clusters.len()),
            hosts: size(clusters.len() + nodes),
        };
        let (engine, flavour) = self.look(size).await?;
        for gone in reap::leftovers(&engine).await? {
            (self.say)(&format!("{gone}: left by a process that is gone; removed"));
        }
        if let Some(record) = &self.from {
            let bed = Bed::of_record(engine, flavour, record, plan, self.say.clone()).await?;
            return match bed.revive(record).await {
                Ok(()) => bed.testbed(self.tolerance()),
                Err(e) => {
                    bed.remove().await;
                    Err(e)
                }
            };
        }
        let kept = plan.isolation.leaves().then(|| self.kept.clone());
        let bed = Bed::claim(engine, flavour, plan, self.say.clone(), kept).await?;
        let come_up = async {
            bed.up().await?;
            if plan.isolation.leaves() {
                bed.remember_kinds().await?;
            }
            Ok(())
        };
        match come_up.await {
            Ok(()) => bed.testbed(self.tolerance()),
            Err(e) => {
                bed.remove().await;
                Err(e)
            }
        }
    }
}

fn absent(image: &str, obtain: &str) -> LaneError {
    LaneError::Environment {
        what: format!("image {image} is not there"),
        cure: format!("{obtain}; without images, cfn run --lane local works"),
    }
}

/// The flavour that is asked for, its image being there; without one, k3s where its image is there, else our own where
/// that is, else k3s where its image can be pulled.
async fn choose(engine: &Engine, asked: Option<&str>, say: &Say) -> Result<Named, LaneError> {
    let find = |name: &str| {
        Named::find(name).map_err(|p| LaneError::Environment {
            what: p.to_string(),
            cure: "name a bundled flavour (k3s, node, kind, kind-node) or a right file with --flavour".to_owned(),
        })
    };
    if let Some(name) = asked {
        let f = find(name)?;
        match f.flavour.driver {
            Driver::Containers => {}
            Driver::Kind => kind::available()?,
            // `cfn run --lane external` is for these.
            Driver::Kubeconfig => {
                return Err(LaneError::Unsupported {
                    lane: "docker",
                    what: format!("bring up flavour {}", f.name),
                });
            }
        }
        if !f.image().is_empty() && !engine.has_image(f.image()).await? {
            say(&format!("pulling {}", f.image()));
            if let Err(e) = engine.pull(f.image(), PULL).await {
                return Err(absent(&format!("{} ({e})", f.image()), &f.flavour.obtain));
            }
        }
        return Ok(f);
    }
    let (k3s, node) = (find("k3s")?, find("node")?);
    if engine.has_image(k3s.image()).await? {
        return Ok(k3s);
    }
    if engine.has_image(node.image()).await? {
        return Ok(node);
    }
    say(&format!("pulling {}", k3s.image()));
    match engine.pull(k3s.image(), PULL).await {
        Ok(()) => Ok(k3s),
        Err(e) => Err(absent(
            node.image(),
            &format!("{} (and {} cannot be pulled: {e})", node.flavour.obtain, k3s.image()),
        )),
    }
}
