//! The loop that drives every controller: one task, one watch of everything, one ordered queue. Reconcilers are
//! functions from what is known ([`World`]) to what is to be done ([`Plan`]); only this file writes.
//!
//! One task instead of a thread each makes the order of all writes a function of the order of all events, and lets
//! every reconciler see its own writes before it runs again (no "expectations", as kube-controller-manager needs).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::object::{Object, stamp};
use super::world::{Key, World, gvr};
use crate::local::{Changes, Gvr, Local, WatchEvent};
use crate::registry::{Call, DeleteOptions, Propagation, Target};
use crate::status::Status;

/// One thing to do.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Create {
        gvr: Gvr,
        ns: String,
        object: Value,
    },
    Update {
        gvr: Gvr,
        object: Value,
    },
    UpdateStatus {
        gvr: Gvr,
        object: Value,
    },
    Delete {
        gvr: Gvr,
        key: Key,
        uid: String,
    },
    /// Its dependents go first.
    DeleteForeground {
        gvr: Gvr,
        key: Key,
        uid: String,
    },
    /// Without grace and without asking the node.
    DeleteNow {
        gvr: Gvr,
        key: Key,
    },
    /// Binds a pod to a node.
    Bind {
        pod: Key,
        uid: String,
        node: String,
    },
    /// Writes `certificatesigningrequests/approval`.
    Approve {
        object: Value,
    },
    /// Empties `spec.finalizers` of a namespace.
    Finalize {
        namespace: String,
    },
    Event {
        about: Arc<Value>,
        kind: &'static str,
        component: &'static str,
        warning: bool,
        reason: &'static str,
        message: String,
    },
}

/// What a reconciler wants: actions in order, and when to ask again if nothing changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub actions: Vec<Action>,
    pub again: Option<Duration>,
}

impl Plan {
    pub(crate) fn push(&mut self, a: Action) {
        self.actions.push(a);
    }
    pub(crate) fn create(&mut self, gvr: &Gvr, ns: &str, object: Value) {
        self.push(Action::Create {
            gvr: gvr.clone(),
            ns: ns.to_owned(),
            object,
        });
    }
    pub(crate) fn update(&mut self, gvr: &Gvr, object: Value) {
        self.push(Action::Update {
            gvr: gvr.clone(),
            object,
        });
    }
    pub(crate) fn update_status(&mut self, gvr: &Gvr, object: Value) {
        self.push(Action::UpdateStatus {
            gvr: gvr.clone(),
            object,
        });
    }
    pub(crate) fn delete(&mut self, gvr: &Gvr, object: &Value) {
        self.push(Action::Delete {
            gvr: gvr.clone(),
            key: Key::of(object),
            uid: object.uid().to_owned(),
        });
    }
    /// Asks again after `d` at the latest.
    pub(crate) fn after(&mut self, d: Duration) {
        self.again = Some(self.again.map_or(d, |a| a.min(d)));
    }
}

/// A moment: the wall time for dates, tokio's for waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub wall: Timestamp,
    pub tick: Instant,
}

/// A controller.
pub(crate) trait Controller: Send {
    /// Which keys a change concerns. Called for every change, before anything is reconciled.
    fn observe(&mut self, e: &WatchEvent, world: &World, now: Now, queue: &mut BTreeSet<Key>);
    /// What is to be done about a key.
    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan;
    /// What is to be done when an action of the plan was refused; by default the key is tried again with backoff.
    fn refused(&mut self, _key: &Key, _action: &Action, _why: &Status, _world: &World, _now: Now) -> Option<Plan> {
        None
    }
    /// Keys to begin with, once everything that exists has been observed.
    fn begin(&mut self, _queue: &mut BTreeSet<Key>) {}
}

type Item = (usize, Key);

/// What was told of an object (its uid): reason and message.
type Told = (String, &'static str, String);

/// How many events are remembered, to count them when they come again (`maxLruCacheEntries` of client-go's recorder).
const TOLD: usize = 4096;

/// Runs the controllers until cancelled.
pub(crate) struct Manager {
    local: Local,
    controllers: Vec<Box<dyn Controller>>,
    world: World,
    ready: BTreeSet<Item>,
    /// What is being worked off: everything that was ready when the last round ended. What becomes ready meanwhile
    /// waits for the next one, so that a burst of changes costs each controller one look.
    round: BTreeSet<Item>,
    timers: BTreeSet<(Instant, Item)>,
    due: BTreeMap<Item, Instant>,
    failures: BTreeMap<Item, u32>,
    events: BTreeMap<Told, Key>,
    /// The same, oldest first.
    told: VecDeque<Told>,
    event_count: u64,
}

impl Manager {
    pub(crate) fn new(local: Local, controllers: Vec<Box<dyn Controller>>) -> Self {
        Self {
            local,
            controllers,
            world: World::default(),
            ready: BTreeSet::new(),
            round: BTreeSet::new(),
            timers: BTreeSet::new(),
            due: BTreeMap::new(),
            failures: BTreeMap::new(),
            events: BTreeMap::new(),
            told: VecDeque::new(),
            event_count: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            wall: self.local.clock().now(),
            tick: Instant::now(),
        }
    }

    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let mut changes = self.local.watch_all();
        self.drain(&mut changes);
        for (i, c) in self.controllers.iter_mut().enumerate() {
            let mut keys = BTreeSet::new();
            c.begin(&mut keys);
            self.ready.extend(keys.into_iter().map(|k| (i, k)));
        }
        loop {
            self.drain(&mut changes);
            self.fire();
            if self.round.is_empty() {
                std::mem::swap(&mut self.round, &mut self.ready);
            }
            if let Some(item) = self.round.pop_first() {
                self.work(item, &mut changes).await;
                // Servers and nodes share these threads, and whoever waits for an answer goes first.
                tokio::task::yield_now().await;
                if cancel.is_cancelled() {
                    return;
                }
                continue;
            }
            let next = self.timers.first().map(|(t, _)| *t);
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                e = changes.recv() => match e {
                    Some(e) => self.observe(&e),
                    None => return,
                },
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn drain(&mut self, changes: &mut Changes) {
        while let Some(e) = changes.try_recv() {
            self.observe(&e);
        }
    }

    fn observe(&mut self, e: &WatchEvent) {
        self.world.apply(e);
        let now = self.now();
        let mut keys = BTreeSet::new();
        for (i, c) in self.controllers.iter_mut().enumerate() {
            c.observe(e, &self.world, now, &mut keys);
            self.ready.extend(std::mem::take(&mut keys).into_iter().map(|k| (i, k)));
        }
    }

    /// Moves timers that are due to the queue.
    fn fire(&mut self) {
        let now = Instant::now();
        while let Some((t, _)) = self.timers.first() {
            if *t > now {
                break;
            }
            if let Some((_, item)) = self.timers.pop_first() {
                self.due.remove(&item);
                self.ready.insert(item);
            }
        }
    }

    fn wait(&mut self, item: Item, d: Duration) {
        let at = Instant::now() + d;
        if let Some(old) = self.due.get(&item) {
            if *old <= at {
                return;
            }
            self.timers.remove(&(*old, item.clone()));
        }
        self.due.insert(item.clone(), at);
        self.timers.insert((at, item));
    }

    async fn work(&mut self, item: Item, changes: &mut Changes) {
        let now = self.now();
        let mut plan = self.controllers[item.0].reconcile(&item.1, &self.world, now);
        let first = plan.again;
        // A refusal may be answered by another plan, once.
        for attempt in 0..2 {
            let again = plan.again;
            match self.execute(plan).await {
                Ok(()) => {
                    // What was refused is tried again soon, then less and less often, but as often as the plan says.
                    let again = match attempt {
                        0 => {
                            self.failures.remove(&item);
                            again
                        }
                        _ => again.map(|d| d.min(self.backoff(&item))).into_iter().chain(first).min(),
                    };
                    if let Some(d) = again {
                        self.wait(item, d);
                    }
                    return;
                }
                Err(refusal) => {
                    let (action, why) = *refusal;
                    self.drain(changes);
                    let other = match attempt {
                        0 => self.controllers[item.0].refused(&item.1, &action, &why, &self.world, now),
                        _ => None,
                    };
                    match other {
                        Some(p) => plan = p,
                        None => {
                            let d = self.backoff(&item);
                            tracing::debug!(?action, %why, "refused, again after {d:?}");
                            self.wait(item, d);
                            return;
                        }
                    }
                }
            }
        }
    }

    /// How long to wait after one more failure in a row: client-go's ItemExponentialFailureRateLimiter, 5 ms doubling (to
    /// 1000 s; here to 60 s).
    fn backoff(&mut self, item: &Item) -> Duration {
        let n = self.failures.entry(item.clone()).or_insert(0);
        *n += 1;
        Duration::from_millis(5 * (1 << (*n).min(14))).min(Duration::from_secs(60))
    }

    async fn execute(&mut self, plan: Plan) -> Result<(), Box<(Action, Status)>> {
        for a in plan.actions {
            self.act(&a).await.map_err(|e| Box::new((a, e)))?;
        }
        Ok(())
    }

    async fn act(&mut self, a: &Action) -> Result<(), Status> {
        if let Action::Event {
            about,
            kind,
            component,
            warning,
            reason,
            message,
        } = a
        {
            self.event(about, kind, component, *warning, reason, message);
            return Ok(());
        }
        // Webhooks are waited for, as long as they may take: a worker of kube-controller-manager waits, too.
        self.local.act(|l| write(l, a)).await
    }

    /// Records an Event; a repeated one is counted (as client-go's recorder does). Never fails a plan.
    fn event(
        &mut self,
        about: &Value,
        kind: &str,
        component: &str,
        warning: bool,
        reason: &'static str,
        message: &str,
    ) {
        let now = self.local.clock().now();
        let same = (about.uid().to_owned(), reason, message.to_owned());
        if let Some(key) = self.events.get(&same)
            && let Some(old) = self.world.get(&gvr::EVENTS, &key.ns, &key.name)
        {
            let mut e = (*old).clone();
            e["count"] = json!(e.int("/count").unwrap_or(1) + 1);
            e["lastTimestamp"] = json!(stamp(now));
            let _ = self.local.update(&gvr::EVENTS, &key.ns.clone(), e);
            return;
        }
        let event = Event {
            about,
            kind,
            field_path: None,
            component,
            host: "",
            warning,
            reason,
            message,
        };
        let ns = event.namespace();
        self.event_count += 1;
        // client-go names events after the object and the time in nanoseconds; the count keeps them apart here.
        let name = format!(
            "{}.{:x}{:04x}",
            about.name(),
            now.as_second(),
            self.event_count & 0xffff
        );
        if self.local.create(&gvr::EVENTS, ns, event.object(&name, now)).is_ok() {
            if self.told.len() >= TOLD
                && let Some(oldest) = self.told.pop_front()
            {
                self.events.remove(&oldest);
            }
            // Once: one whose event is gone is told again under its old place.
            if self.events.insert(same.clone(), Key::new(ns, &name)).is_none() {
                self.told.push_back(same);
            }
        }
    }
}

/// The write that an action is.
fn write(l: &Local, a: &Action) -> Result<(), Status> {
    match a {
        Action::Create { gvr, ns, object } => l.create(gvr, ns, object.clone()).map(drop),
        Action::Update { gvr, object } => l.update(gvr, object.namespace(), object.clone()).map(drop),
        Action::UpdateStatus { gvr, object } => l.update_status(gvr, object.namespace(), object.clone()).map(drop),
        Action::Delete { gvr, key, uid } => gone_is_fine(l.delete(gvr, &key.ns, &key.name, Some(uid))),
        Action::DeleteForeground { gvr, key, uid } => gone_is_fine(delete_foreground(l, gvr, key, uid)),
        Action::DeleteNow { gvr, key } => gone_is_fine(l.delete_now(gvr, &key.ns, &key.name)),
        Action::Bind { pod, uid, node } => l.bind(&pod.ns, &pod.name, uid, node),
        Action::Approve { object } => approve(l, object.clone()),
        Action::Finalize { namespace } => gone_is_fine(l.finalize_namespace(namespace)),
        // Recorded by the manager, which counts them.
        Action::Event { .. } => Ok(()),
    }
}

fn delete_foreground(l: &Local, g: &Gvr, key: &Key, uid: &str) -> Result<(), Status> {
    let server = l.server();
    let r = server
        .catalog
        .find(&g.group, &g.version, &g.resource)
        .ok_or_else(Status::no_such_path)?;
    let o = DeleteOptions {
        propagation: Some(Propagation::Foreground),
        uid: Some(uid.to_owned()),
        ..DeleteOptions::default()
    };
    let mut call = Call::internal("system:controller:generic-garbage-collector");
    server.delete(&mut call, &r, &key.ns, &key.name, &o).map(drop)
}

fn approve(l: &Local, csr: Value) -> Result<(), Status> {
    let g = &gvr::SIGNING_REQUESTS;
    let server = l.server();
    let r = server
        .catalog
        .find(&g.group, &g.version, &g.resource)
        .ok_or_else(Status::no_such_path)?;
    let name = csr.name().to_owned();
    let target = Target {
        resource: &r,
        namespace: "",
        name: &name,
        subresource: Some("approval"),
    };
    server
        .update(
            &mut Call::internal("system:controller:certificate-controller"),
            &target,
            csr,
        )
        .map(drop)
}

fn gone_is_fine(r: Result<(), Status>) -> Result<(), Status> {
    match r {
        Err(s) if s.code == 404 => Ok(()),
        // The precondition named another UID: what was to go is gone.
        Err(s) if s.code == 409 && s.message.contains("UID") => Ok(()),
        r => r,
    }
}
