//! The kubelet of a simulated node: makes the host run the pods that its API endpoint binds to it, and reports.

mod admission;
mod deadline;
mod launch;
mod preparation;
pub(crate) mod resize;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::NodeOptions;
use super::events::{self, Told};
use super::pull::Pulls;
use super::rest::Rest;
use super::runtime::{Doing, Prepared, Runtime, Start, View};
use super::services::Services;
use super::stages::{ContainerKind, State};
use super::status::{self, Named, Waiting, is_sidecar};
use super::writer::{Report, Writer};
use crate::controllers::object::Object;
use crate::controllers::pods::is_ended;
use launch::served_restarts;

/// How soon a container whose configuration is not there is tried again.
const CONFIG_RETRY: Duration = Duration::from_secs(2);
/// Grace of a pod that says none.
const GRACE: i64 = 30;
/// How long a pod's sandbox takes to go after its last process: less than any container runtime needs, and long enough
/// to be seen. Simulated containers take their time in their stages.
const TEARDOWN: Duration = Duration::from_millis(50);

/// What the kubelet's helpers tell it.
pub(crate) enum Message {
    /// A built-in container may start, or why not.
    Prepared {
        uid: String,
        container: String,
        result: Result<Box<Prepared>, String>,
    },
    /// A status is on the server.
    Reported { uid: String, revision: u64 },
}

/// What the kubelet knows of a pod. In memory: gone when it stops.
struct Pod {
    object: Arc<Value>,
    started: Timestamp,
    /// Since when each container waits to be created.
    since: BTreeMap<String, Instant>,
    preparing: BTreeSet<String>,
    waiting: BTreeMap<String, Waiting>,
    retry_at: BTreeMap<String, Instant>,
    /// By image: the pulls that failed.
    pulls: BTreeMap<String, Pulls>,
    /// The status reported last, as an object.
    sent: Option<Value>,
    /// Revision of the pod after that report.
    revision: u64,
    /// When containers that were asked to end are killed.
    deadline: Option<Instant>,
    finished: bool,
    /// Not taken though it is bound to this node.
    refused: bool,
    resources: resize::Resources,
}

impl Pod {
    /// A phase that is an end is one whoever wrote it: nothing is started again (upstream's `SyncTerminatingPod`).
    fn is_ended_by_others(&self) -> bool {
        self.refused || is_ended(&self.object) && !self.sent.as_ref().is_some_and(is_ended)
    }
}

pub(crate) struct Kubelet {
    o: Arc<NodeOptions>,
    rest: Rest,
    runtime: Arc<Runtime>,
    host_ip: String,
    pods: BTreeMap<String, Pod>,
    due: BTreeMap<String, Instant>,
    /// Back-off of containers that fail: how long, and when it was last used.
    backoff: BTreeMap<(String, String), (Duration, Instant)>,
    writer: Arc<Writer>,
    messages: mpsc::UnboundedSender<Message>,
    listing: Option<BTreeSet<String>>,
    /// Where services lead, for containers that are interpreted.
    services: Arc<Services>,
    /// Counts events.
    told: u64,
    cancel: CancellationToken,
}

impl Kubelet {
    pub(crate) fn new(
        o: Arc<NodeOptions>,
        rest: Rest,
        runtime: Arc<Runtime>,
        host_ip: String,
        writer: Arc<Writer>,
        tell: mpsc::UnboundedSender<Message>,
        cancel: CancellationToken,
    ) -> Self {
        let api = o.token_config.as_ref().map(|c| c.server.as_str());
        let services = Arc::new(Services::new(rest.clone(), &o.name, api));
        Self {
            services,
            o,
            rest,
            runtime,
            host_ip,
            pods: BTreeMap::new(),
            due: BTreeMap::new(),
            backoff: BTreeMap::new(),
            writer,
            messages: tell,
            listing: None,
            told: 0,
            cancel,
        }
    }

    /// Runs until cancelled.
    pub(crate) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let resource = ApiResource::erase::<ApiPod>(&());
        let api = kube::Api::<DynamicObject>::all_with(self.rest.client().clone(), &resource);
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.o.name));
        let mut events = std::pin::pin!(cfn_net::watch::watch(api, config));
        let runtime = self.runtime.clone();
        let cancel = self.cancel.clone();
        loop {
            let next = self.due.values().min().copied();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = runtime.changed() => {
                    for uid in runtime.take_dirty() {
                        self.sync(&uid);
                    }
                }
                Some(m) = messages.recv() => self.message(m),
                e = events.next() => match e {
                    Some(Ok(e)) => self.event(e),
                    Some(Err(e)) => tracing::debug!(node = self.o.name, %e, "pods are out of sight"),
                    None => return,
                },
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let now = Instant::now();
                    let ready: Vec<String> = self.due.iter().filter(|(_, t)| **t <= now).map(|(u, _)| u.clone()).collect();
                    for uid in ready {
                        self.due.remove(&uid);
                        self.sync(&uid);
                    }
                }
            }
        }
    }

    fn event(&mut self, e: Event<DynamicObject>) {
        match e {
            Event::Init => self.listing = Some(BTreeSet::new()),
            Event::InitApply(p) | Event::Apply(p) => self.known(p),
            Event::InitDone => {
                let seen = self.listing.take().unwrap_or_default();
                let mine = self
                    .pods
                    .keys()
                    .cloned()
                    .chain(self.runtime.pods())
                    .collect::<BTreeSet<_>>();
                for uid in mine.difference(&seen) {
                    self.gone(uid);
                }
            }
            Event::Delete(p) => self.gone(p.metadata.uid.as_deref().unwrap_or_default()),
        }
    }

    fn known(&mut self, p: DynamicObject) {
        let Ok(mut object) = serde_json::to_value(&p) else {
            return;
        };
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Pod");
        let uid = object.uid().to_owned();
        if let Some(l) = &mut self.listing {
            l.insert(uid.clone());
        }
        let now = self.o.clock.now();
        let object = Arc::new(object);
        // One that was taken already stays, whatever came since.
        let new = !self.pods.contains_key(&uid) && !self.runtime.has(&uid);
        let refusal = if new { self.refusal(&object) } else { None };
        let pod = self.pods.entry(uid.clone()).or_insert_with(|| Pod {
            object: object.clone(),
            started: object.time("/status/startTime").unwrap_or(now),
            since: BTreeMap::new(),
            preparing: BTreeSet::new(),
            waiting: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            pulls: BTreeMap::new(),
            sent: None,
            revision: 0,
            deadline: None,
            finished: false,
            refused: false,
            resources: resize::Resources::of(&object),
        });
        pod.object = object;
        if let Some(refusal) = refusal {
            pod.refused = true;
            return self.refuse(&uid, refusal);
        }
        self.sync(&uid);
        // Somebody else may have written the status (node life cycle marks pods not ready): ours is put back.
        let Some(pod) = self.pods.get(&uid) else { return };
        let revision = pod.object.text("/metadata/resourceVersion").parse().unwrap_or(u64::MAX);
        let Some(sent) = &pod.sent else { return };
        let status = &sent["status"];
        if !pod.finished
            && !pod.is_ended_by_others()
            && revision > pod.revision
            && !self.writer.is_busy(&uid)
            && status::differs(&pod.object, status)
        {
            let report = report(&pod.object, status.clone(), false);
            self.writer.put(&uid, report);
        }
    }

    fn gone(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.due.remove(uid);
        self.backoff.retain(|(u, _), _| u != uid);
        self.writer.forget(uid);
        self.runtime.remove(uid);
    }

    fn message(&mut self, m: Message) {
        match m {
            Message::Reported { uid, revision } => {
                if let Some(p) = self.pods.get_mut(&uid) {
                    p.revision = revision;
                }
            }
            Message::Prepared { uid, container, result } => {
                let Some(p) = self.pods.get_mut(&uid) else { return };
                p.preparing.remove(&container);
                if p.object.deleting() || p.finished {
                    return self.sync(&uid);
                }
                match result {
                    Ok(prepared) => {
                        p.waiting.remove(&container);
                        let spec = containers(&p.object)
                            .find(|c| c.0.name_of() == container)
                            .map(|c| c.0.clone());
                        let Some(spec) = spec else { return };
                        let Some(w) = self.o.workloads.find(spec.text("/image")) else {
                            return;
                        };
                        let restarts = served_restarts(&p.object, &container);
                        let told = ["Created", "Started"].map(|reason| Told {
                            warning: false,
                            reason,
                            message: format!("Container {}", reason.to_lowercase()),
                            container: Some(container.clone()),
                        });
                        let object = p.object.clone();
                        let start = Start {
                            container,
                            image: spec.text("/image").to_owned(),
                            has_startup_probe: spec.get("startupProbe").is_some(),
                            restarts,
                            builtin: Some((w, *prepared)),
                        };
                        self.runtime.start(&uid, start);
                        told.iter().for_each(|t| self.record(&object, t));
                    }
                    Err(why) => {
                        p.waiting
                            .insert(container.clone(), ("CreateContainerConfigError".to_owned(), why));
                        p.retry_at.insert(container, Instant::now() + CONFIG_RETRY);
                        self.sync(&uid);
                    }
                }
            }
        }
    }

    /// Tells an event of a pod.
    fn record(&mut self, pod: &Value, told: &Told) {
        self.told += 1;
        events::tell(&self.rest, pod, &self.o.name, told, self.o.clock.now(), self.told);
    }

    /// Brings one pod on the host nearer to what it should be, and reports.
    fn sync(&mut self, uid: &str) {
        let Some(mut pod) = self.pods.remove(uid) else { return };
        let mut next: Option<Instant> = None;
        if !pod.finished {
            if pod.object.deleting() || pod.is_ended_by_others() || self.is_past_deadline(&pod, &mut next) {
                self.end(uid, &mut pod, &mut next);
            } else {
                self.drive(uid, &mut pod, &mut next);
            }
        }
        match next {
            Some(t) => self.due.insert(uid.to_owned(), t),
            None => self.due.remove(uid),
        };
        self.pods.insert(uid.to_owned(), pod);
    }

    /// Ends a pod that is being deleted (or ended by somebody else).
    fn end(&mut self, uid: &str, pod: &mut Pod, next: &mut Option<Instant>) {
        let now = Instant::now();
        let grace = pod
            .object
            .int("/metadata/deletionGracePeriodSeconds")
            .or(pod.object.int("/spec/terminationGracePeriodSeconds"));
        let limit = now + Duration::from_secs(grace.unwrap_or(GRACE).unsigned_abs());
        let deadline = *pod.deadline.get_or_insert(limit);
        let deadline = deadline.min(limit);
        pod.deadline = Some(deadline);
        let alive = |v: &View| matches!(v.doing, Doing::Running { .. });
        let views = self.runtime.views(uid);
        for (name, v) in views.iter().filter(|(_, v)| alive(v)) {
            if now >= deadline {
                self.runtime.kill(uid, name);
                continue;
            }
            // Sidecars end after all that they are there for, the last one first.
            if status::outlives(&pod.object, name, |n| views.get(n).is_some_and(alive)) {
                soonest(next, deadline);
                continue;
            }
            if !v.stopping {
                if v.builtin {
                    let told = Told {
                        warning: false,
                        reason: "Killing",
                        message: format!("Stopping container {name}"),
                        container: Some(name.clone()),
                    };
                    self.record(&pod.object, &told);
                }
                self.runtime.terminate(uid, name);
                continue; // Comes back as a change.
            }
            soonest(next, deadline);
            if !v.builtin {
                let step = self.o.stages.next(
                    &pod.object,
                    ContainerKind::Main,
                    &v.image,
                    State::Terminating,
                    self.seed(pod, name, v),
                );
                match step {
                    Some(s) if v.since + s.after <= now => self.runtime.exit(uid, name, s.exit_code),
                    Some(s) => soonest(next, v.since + s.after),
                    None => {}
                }
            }
        }
        let views = self.runtime.views(uid);
        if views.values().any(alive) || !pod.preparing.is_empty() {
            return;
        }
        let mut status = self.status(uid, pod, &views);
        if !pod.object.deleting() && !pod.is_ended_by_others() {
            deadline::mark(&mut status);
            return self.tell(uid, pod, status);
        }
        // A process that is really run ends at once; who asked for the end still sees the pod while it is taken down.
        let stopped = views.values().filter(|v| v.builtin && v.stopping).map(|v| v.since);
        if let Some(gone) = stopped.max().map(|t| t + TEARDOWN).filter(|t| *t > now) {
            return soonest(next, gone);
        }
        if pod.object.deleting() {
            let failed = views.is_empty()
                || views
                    .values()
                    .any(|v| matches!(&v.doing, Doing::Exited(e) if e.code != 0));
            let was = pod.object.text("/status/phase");
            let phase = if matches!(was, "Succeeded" | "Failed") {
                was
            } else if failed {
                "Failed"
            } else {
                "Succeeded"
            };
            status["phase"] = json!(phase);
            pod.finished = true;
            // What it wrote can be read for as long as the pod can: `gone` forgets it, when the API server has.
            self.writer.put(uid, report(&pod.object, status, true));
            *next = None;
        }
    }

    /// Starts what is to be started and lets simulated containers take their steps.
    fn drive(&mut self, uid: &str, pod: &mut Pod, next: &mut Option<Instant>) {
        let host_network = pod.object.flag("/spec/hostNetwork");
        if !self
            .runtime
            .sandbox(uid, pod.object.namespace(), pod.object.name(), host_network)
        {
            return self.wait_for_sandbox(uid, pod, next);
        }
        let views = self.runtime.views(uid);
        self.resize(uid, pod, &views, next);
        let views = self.runtime.views(uid);
        let over = matches!(status::phase(&pod.object, &views), "Succeeded" | "Failed");
        let object = pod.object.clone();
        let mut blocked = over;
        for c in object.items("/spec/initContainers") {
            if blocked {
                break;
            }
            let sidecar = is_sidecar(c);
            let kind = if sidecar {
                ContainerKind::Main
            } else {
                ContainerKind::Init
            };
            match views.get(c.name_of()) {
                Some(v) if !sidecar && matches!(&v.doing, Doing::Exited(e) if e.code == 0) => {}
                v => {
                    self.step(uid, pod, c, kind, v, next);
                    blocked = !sidecar || v.is_none_or(|v| !v.up || !matches!(v.doing, Doing::Running { .. }));
                }
            }
        }
        if !blocked {
            for c in object.items("/spec/containers") {
                self.step(uid, pod, c, ContainerKind::Main, views.get(c.name_of()), next);
            }
            // These are started once.
            let new = |c: &&Value| !views.contains_key(c.name_of());
            for c in object.items("/spec/ephemeralContainers").iter().filter(new) {
                self.step(uid, pod, c, ContainerKind::Main, None, next);
            }
        }
        let views = self.runtime.views(uid);
        let status = self.status(uid, pod, &views);
        self.tell(uid, pod, status);
    }

    /// Reports a status that is new.
    fn tell(&self, uid: &str, pod: &mut Pod, status: Value) {
        if pod.sent.as_ref().is_none_or(|s| s["status"] != status) {
            let first = pod.sent.replace(json!({"status": status})).is_none();
            // After a kubelet's restart the server may know all of it already. Later the pod as it was seen last may be older
            // than what was reported since.
            if !first || status::differs(&pod.object, &status) || self.writer.is_busy(uid) {
                self.writer.put(uid, report(&pod.object, status, false));
            }
        }
    }

    /// One container: create it, let it take its next step, or start it again.
    fn step(
        &mut self,
        uid: &str,
        pod: &mut Pod,
        c: &Value,
        kind: ContainerKind,
        view: Option<&View>,
        next: &mut Option<Instant>,
    ) {
        let (name, now) = (c.name_of(), Instant::now());
        if pod.preparing.contains(name) {
            return;
        }
        if let Some(t) = pod.retry_at.get(name) {
            if *t > now {
                return soonest(next, *t);
            }
            pod.retry_at.remove(name);
        }
        let Some(v) = view else {
            let since = *pod.since.entry(name.to_owned()).or_insert(now);
            let seed = self
                .o
                .seed
                .child(&format!("{}/{}/{name}", pod.object.namespace(), pod.object.name()));
            let step = self
                .o
                .stages
                .next(&pod.object, kind, c.text("/image"), State::Waiting, seed);
            return match step {
                None => {}
                Some(s) if since + s.after <= now => self.create(uid, pod, c, next),
                Some(s) => soonest(next, since + s.after),
            };
        };
        match &v.doing {
            Doing::Running { .. } if v.builtin => {}
            Doing::Running { ready, .. } => {
                let state = if *ready { State::Ready } else { State::Running };
                let Some(s) = self
                    .o
                    .stages
                    .next(&pod.object, kind, &v.image, state, self.seed(pod, name, v))
                else {
                    return;
                };
                if v.since + s.after > now {
                    return soonest(next, v.since + s.after);
                }
                match s.to {
                    State::Ready => self.runtime.set_ready(uid, name, true),
                    State::Running => self.runtime.set_ready(uid, name, false),
                    State::Exited => self.runtime.exit(uid, name, s.exit_code),
                    State::Terminating => self.runtime.terminate(uid, name),
                    State::Waiting => {}
                }
            }
            Doing::Exited(_) if pod.resources.take_restart(name) => self.create(uid, pod, c, next),
            Doing::Exited(e) => {
                let again = is_sidecar(c)
                    || match pod.object.text("/spec/restartPolicy") {
                        "Never" => false,
                        "OnFailure" => e.code != 0,
                        // An init container that succeeded is done.
                        _ => kind == ContainerKind::Main || e.code != 0,
                    };
                if !again {
                    return;
                }
                if let Some((until, d)) = self.backed_off(uid, name, v.since) {
                    let message = format!(
                        "back-off {}s restarting failed container={name} pod={}_{}({uid})",
                        d.as_secs(),
                        pod.object.name(),
                        pod.object.namespace()
                    );
                    pod.waiting
                        .insert(name.to_owned(), ("CrashLoopBackOff".to_owned(), message));
                    return soonest(next, until);
                }
                pod.waiting.remove(name);
                self.create(uid, pod, c, next);
            }
        }
    }

    /// client-go's flowcontrol.Backoff as the kubelet uses it: nothing the first time, then 10 s doubling, counted
    /// from the container's end; forgotten after twice the limit.
    fn backed_off(&mut self, uid: &str, name: &str, ended: Instant) -> Option<(Instant, Duration)> {
        let (first, limit) = (self.o.timers.crash_loop_first, self.o.timers.crash_loop_limit);
        let now = Instant::now();
        let key = (uid.to_owned(), name.to_owned());
        let d = match self.backoff.get(&key) {
            Some((_, used)) if ended.duration_since(*used) > limit * 2 => first,
            Some((d, _)) if ended + *d > now => return Some((ended + *d, *d)),
            Some((d, _)) => (*d * 2).min(limit),
            None => first,
        };
        self.backoff.insert(key, (d, now));
        None
    }
}

fn soonest(next: &mut Option<Instant>, t: Instant) {
    *next = Some(next.map_or(t, |n| n.min(t)));
}

fn report(pod: &Value, status: Value, delete: bool) -> Report {
    Report {
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        status,
        delete,
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let init = pod.items("/spec/initContainers").iter().map(|c| (c, true));
    let others = ["/spec/containers", "/spec/ephemeralContainers"]
        .iter()
        .flat_map(|l| pod.items(l));
    init.chain(others.map(|c| (c, false)))
}
