//! A testbed in containers: what it consists of, and its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use cfn_net::{Seed, SharedClock, SystemClock};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Say;
use super::address::{Cidr, SLOTS, site_host};
use super::engine::{Engine, EngineError};
use super::flavour::{Driver, Named};
use super::kind;
use super::plan::{BedPlan, Container, Identity, OWNER, Role, TESTBED, plan};
use super::reap::{self, Ward};
use super::running::Sessions;
use super::shaper::Shapers;
use crate::lane::{Defects, LaneError, Plan, Testbed};
use crate::link::Links;
use crate::scenario::Fault;
use crate::timers::Timers;
use crate::topology::Topology;

/// Between two looks at what no watch tells about.
pub(super) const LOOK: Duration = Duration::from_millis(150);

pub(super) type Clients = BTreeMap<String, kube::Client>;

/// A testbed.
pub struct Bed {
    pub(super) engine: Engine,
    pub(super) plan: BedPlan,
    pub(super) flavour: Named,
    pub(super) topology: Topology,
    pub(super) timers: Timers,
    pub(super) seed: Seed,
    pub(super) defects: Defects,
    pub(super) clock: SharedClock,
    listener: Listener,
    pub(super) links: Links,
    pub(super) shapers: Shapers,
    pub(super) sessions: Sessions,
    /// The workloads' images, once they were asked for.
    pub(super) archive: tokio::sync::OnceCell<bytes::Bytes>,
    pub(super) cancel: CancellationToken,
    pub(super) made: std::sync::OnceLock<Made>,
    /// Where it goes when the scenario is done, if it may serve another.
    pub(super) kept: Option<Kept>,
    /// Its scenario leaves more than can be deleted.
    pub(super) spent: AtomicBool,
    /// The kinds that each cluster defined when it had come up, by the names of their definitions.
    pub(super) kinds: std::sync::OnceLock<BTreeMap<String, BTreeSet<String>>>,
    pub(super) me: Weak<Bed>,
    /// By which agents ask to join.
    pub(super) bootstrap: String,
    pub(super) accepted: Arc<std::sync::Mutex<BTreeSet<String>>>,
    pub(super) changed: tokio::sync::watch::Sender<u64>,
    pub(super) state: Mutex<State>,
    pub(super) ward: std::sync::Mutex<Ward>,
}

/// Who is told what happens, and since when time counts.
pub(super) struct Listener {
    say: Say,
    began: Instant,
}

impl Listener {
    /// From now on.
    pub(super) fn new(say: Say) -> Self {
        Self {
            say,
            began: Instant::now(),
        }
    }
}

/// What changes while it lives.
#[derive(Default)]
pub(super) struct State {
    /// Ports on the machine's loopback, by cluster.
    pub(super) ports: BTreeMap<String, u16>,
    /// Hosts without power.
    pub(super) dark: BTreeSet<String>,
    /// Components that were killed and are not to come back yet.
    pub(super) dead: BTreeSet<String>,
    /// Pods' blocks, by node.
    pub(super) pods: BTreeMap<String, Cidr>,
    /// What is broken.
    pub(super) faults: Vec<Fault>,
}

/// Testbeds that wait for the next scenario.
pub(super) type Kept = Arc<Mutex<Vec<Arc<Bed>>>>;

/// What a testbed is for those who use it.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) clients: Clients,
    pub(super) kubeconfigs: BTreeMap<String, String>,
}

impl From<EngineError> for LaneError {
    fn from(e: EngineError) -> Self {
        let said = e.to_string();
        let cure = if e.code() == Some(404) && said.contains("No such image") {
            Some("build the images with ci/images")
        } else {
            cure(&said)
        };
        match cure {
            Some(cure) => Self::Environment {
                what: said,
                cure: cure.to_owned(),
            },
            None => Self::Failed(said),
        }
    }
}

/// What helps against what a daemon, or a program that asked it, said.
pub(super) fn cure(said: &str) -> Option<&'static str> {
    if said.contains("unable to apply caps") || said.contains("operation not permitted") {
        Some("this daemon does not allow what the flavour asks for: choose --flavour node, or see `cfn doctor`")
    } else if said.contains("no space left") {
        Some("make room on Docker's disk (docker system df)")
    } else if said.contains("too many open files") || said.contains("inotify") {
        Some("sysctl fs.inotify.max_user_instances=8192")
    } else {
        None
    }
}

impl Bed {
    /// Takes a free network for a testbed, and plans it there.
    pub(super) async fn claim(
        engine: Engine,
        flavour: Named,
        p: &Plan,
        say: Say,
        kept: Option<Kept>,
    ) -> Result<Arc<Self>, LaneError> {
        let listener = Listener::new(say);
        let token = random()?;
        let owner = reap::owner();
        let mut taken = engine.blocks().await?;
        taken.extend(routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default()));
        let mut claimed = None;
        for slot in SLOTS {
            let id = Identity {
                slot,
                token: &token,
                owner: &owner,
            };
            let made = plan(&p.topology, &flavour, &p.timers, &id).map_err(|e| LaneError::Failed(e.to_string()))?;
            if taken.iter().any(|b| b.overlaps(made.layout.subnet)) {
                continue;
            }
            let labels = BTreeMap::from([
                (TESTBED.to_owned(), made.name.clone()),
                (OWNER.to_owned(), owner.clone()),
                ("cfn.akraino.org/topology".to_owned(), made.topology.clone()),
            ]);
            match engine.create_network(&made.name, &made.layout, &labels).await {
                Ok(()) => {
                    claimed = Some(made);
                    break;
                }
                // Another testbed was faster.
                Err(e) if e.message().contains("overlap") || e.code() == Some(409) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let plan = claimed.ok_or_else(|| LaneError::Environment {
            what: "no free network from 10.100.0.0/16 to 10.227.0.0/16".to_owned(),
            cure: "end other testbeds (`cfn down --all`), or remove unused Docker networks (docker network prune)"
                .to_owned(),
        })?;
        // Until there is a testbed with one of its own.
        let mut ward = Ward::new(&plan.name);
        let plan = if flavour.flavour.driver == Driver::Kind {
            // Agents have another one: this one makes nodes.
            let secret = random()?;
            kind::create(&engine, &flavour.flavour, plan, p, &join_token(&secret), &listener.say).await?
        } else {
            plan
        };
        ward.disarm();
        Ok(Self::build(
            engine,
            flavour,
            plan,
            p,
            &join_token(&token),
            listener,
            kept,
        ))
    }

    /// A testbed whose network is there.
    pub(super) fn build(
        engine: Engine,
        flavour: Named,
        plan: BedPlan,
        p: &Plan,
        bootstrap: &str,
        listener: Listener,
        kept: Option<Kept>,
    ) -> Arc<Self> {
        let seed = Seed(p.seed);
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            bootstrap: bootstrap.to_owned(),
            kept,
            spent: AtomicBool::new(false),
            kinds: std::sync::OnceLock::new(),
            ward: std::sync::Mutex::new(Ward::new(&plan.name)),
            shapers: Shapers::new(&plan),
            engine,
            plan,
            flavour,
            topology: p.topology.clone(),
            timers: p.timers.clone(),
            seed,
            defects: p.defects,
            clock: Arc::new(SystemClock),
            listener,
            links: Links::new(&p.topology, seed.child("net")),
            sessions: Sessions::default(),
            archive: tokio::sync::OnceCell::new(),
            cancel: CancellationToken::new(),
            made: std::sync::OnceLock::new(),
            accepted: Arc::default(),
            changed: tokio::sync::watch::channel(0).0,
            state: Mutex::default(),
        })
    }

    /// Members whose registration is accepted.
    pub(super) fn accepted(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a control plane may take to answer, and nodes to register: a slow machine's time, not a timer's.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.flavour.flavour.startup_seconds.into())
    }

    /// Whether it is just what is asked for.
    pub(super) fn fits(&self, p: &Plan) -> bool {
        let text = |t: &Topology| serde_json::to_string(t).unwrap_or_default();
        !self.spent.load(Ordering::Relaxed)
            && self.seed == Seed(p.seed)
            && self.defects == p.defects
            && self.timers == p.timers
            && text(&self.topology) == text(&p.topology)
    }

    /// Tells whoever waits.
    pub(super) fn tell(&self, what: &str) {
        (self.listener.say)(&format!(
            "{} ({}): {what} after {:.1} s",
            self.plan.name,
            self.plan.topology,
            self.listener.began.elapsed().as_secs_f64()
        ));
    }

    /// Where each site answers probes.
    pub(super) fn probe_targets(&self) -> BTreeMap<String, String> {
        let sites = self.topology.spec.sites.iter();
        sites
            .filter_map(|s| {
                let hosts = &self.plan.layout.hosts;
                let address = hosts
                    .get(&site_host(&s.name))
                    .or_else(|| hosts.get(&self.host_at(&s.name)?))?;
                let target = format!("{address}:{}", cfn_agent::cluster::probe::PORT);
                Some((s.name.value.clone(), target))
            })
            .collect()
    }

    /// The host at which a site's clients are, and what answers probes: one of a cluster, or where all other clients are.
    pub(super) fn host_at(&self, site: &str) -> Option<String> {
        let all = self.plan.containers.iter();
        let here = |c: &&Container| c.role != Role::Shaper && (c.site == site || c.addresses.contains_key(site));
        all.filter(here)
            .min_by_key(|c| (c.role, c.host.clone()))
            .map(|c| c.host.clone())
    }

    /// The clients' address at a site, where they have one of their own.
    pub(super) fn client_address(&self, site: &str) -> Option<std::net::Ipv4Addr> {
        self.plan.layout.hosts.get(&site_host(site)).copied()
    }

    /// The town with the addresses of this testbed.
    pub(super) fn town(&self) -> Option<cfn_v2x::road::RoadMap> {
        crate::lane::town::map(&self.topology, self.seed, |host| {
            self.plan
                .layout
                .hosts
                .get(host)
                .map_or_else(|| host.to_owned(), ToString::to_string)
        })
    }

    /// The containers of a cluster's hosts.
    pub(super) fn container_of(&self, host: &str) -> Option<&Container> {
        let mut all = self.plan.containers.iter();
        all.find(|c| c.host == host && c.role != Role::Shaper)
    }

    /// The name of a host's container.
    pub(super) fn container_name(&self, host: &str) -> String {
        let there = self.container_of(host);
        there.map_or_else(|| format!("{}-{host}", self.plan.name), |c| c.name.clone())
    }

    pub(super) fn client(&self, cluster: &str) -> Result<&kube::Client, LaneError> {
        let made = self.made.get();
        made.and_then(|m| m.clients.get(cluster))
            .ok_or_else(|| LaneError::Failed(format!("there is no client of {cluster} yet")))
    }

    /// As scenarios see it.
    pub(super) fn testbed(self: Arc<Self>, tolerance: Duration) -> Result<Testbed, LaneError> {
        let made = self.made.get().cloned();
        let made = made.ok_or_else(|| LaneError::Failed("it did not come up".to_owned()))?;
        Ok(Testbed {
            lane: "docker",
            tolerance,
            topology: self.topology.clone(),
            timers: self.timers.clone(),
            seed: self.seed,
            traffic: self.clone(),
            town: self.town().map(Arc::new),
            clock: self.clock.clone(),
            clients: made.clients,
            kubeconfigs: made.kubeconfigs,
            controls: self.clone(),
            defects: self.defects,
        })
    }

    /// Keeps it for another scenario, if it may serve one: who takes it cleans it, and where nobody can take it, it is
    /// removed, while the next one comes up.
    pub(super) async fn leave_to_others(&self) {
        match (&self.kept, self.me.upgrade()) {
            (Some(kept), Some(me)) => kept.lock().await.push(me),
            _ => self.remove().await,
        }
    }

    /// Removes everything.
    pub(super) async fn remove(&self) {
        self.cancel.cancel();
        let label = format!("{TESTBED}={}", self.plan.name);
        let ((), removed) = tokio::join!(self.shapers.stop(), reap::remove(&self.engine, &label));
        match removed {
            Ok(_) => self.ward.lock().unwrap_or_else(PoisonError::into_inner).disarm(),
            Err(e) => tracing::warn!("removing {}: {e}", self.plan.name),
        }
    }
}

/// A secret of the testbed's own.
fn random() -> Result<String, LaneError> {
    use std::io::Read;
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| LaneError::io("reading random numbers", &e))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// A bootstrap token, as Kubernetes has them, of a secret.
fn join_token(secret: &str) -> String {
    format!("{}.{}", &secret[..6], &secret[6..22])
}

/// The blocks that a Linux machine has routes to (`/proc/net/route`), the default route left out.
fn routes(text: &str) -> Vec<Cidr> {
    let hex = |s: &str| u32::from_str_radix(s, 16).ok().map(u32::swap_bytes);
    text.lines()
        .skip(1)
        .filter_map(|l| {
            let mut fields = l.split_whitespace();
            let destination = hex(fields.nth(1)?)?;
            let mask = hex(fields.nth(5)?)?;
            (mask != 0).then(|| Cidr::new(destination.into(), mask.count_ones() as u8))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                    eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                    tun0\t0000650A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let seen: Vec<String> = routes(text).iter().map(ToString::to_string).collect();
        assert_eq!(seen, ["172.17.0.0/16", "10.101.0.0/16"]);
    }
}
