//! The container runtime of a simulated node: what really runs on the host. It outlives the kubelet, and its records
//! outlive the host (they are the host's disk).

mod hook;
mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};

use cfn_net::{ClientConfig, Net, SharedClock};
use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use host::RunningPod;

use super::files::{Inode, Volume};
use super::log::{LastWords, Log};
use super::mounts::PodVolumes;
use super::shell::{self, Process, Stdin};
use super::workload::{Workload, WorkloadContext};
use crate::local::{Ending, Input};

/// Exit code of a container that was killed (128 + SIGKILL).
const KILLED: i32 = 137;
/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub code: i32,
    pub reason: &'static str,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub id: String,
    /// Its last words.
    pub message: String,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doing {
    Running { started: Timestamp, ready: bool },
    Exited(Ended),
}

/// A container as the kubelet sees it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub id: String,
    pub image: String,
    pub restarts: u32,
    pub doing: Doing,
    pub last: Option<Ended>,
    pub builtin: bool,
    /// Whether it has started: those with a startup probe have when that says so.
    pub up: bool,
    /// Asked to end.
    pub stopping: bool,
    /// When its present state (with readiness) began.
    pub since: Instant,
}

struct Container {
    view: View,
    /// SIGTERM and SIGKILL of a built-in container.
    signals: Option<(CancellationToken, CancellationToken)>,
    log: Log,
    /// The log of the run before.
    previous: Option<Log>,
    /// What commands beside its own are run in.
    process: Option<Process>,
    /// The way to its standard input, while that is open.
    input: Option<Input>,
}

/// How a run of a container ends.
struct Exit {
    code: i32,
    reason: &'static str,
    /// Its last words.
    message: String,
}

impl Exit {
    /// Of a container that ended with a code.
    fn of(code: i32, message: String) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        Self { code, reason, message }
    }
}

impl Container {
    /// Ends its run, if it runs: nobody is told to end or types to it any more, and its log says why it goes no further.
    fn end(&mut self, exit: Exit, at: Timestamp, why: Ending) -> bool {
        let Doing::Running { started, .. } = self.view.doing else {
            return false;
        };
        self.view.doing = Doing::Exited(Ended {
            code: exit.code,
            reason: exit.reason,
            started,
            finished: at,
            id: self.view.id.clone(),
            message: exit.message,
        });
        self.view.since = Instant::now();
        (self.signals, self.input) = (None, None);
        self.log.end(why);
        true
    }

    /// Stops the code of a built-in container at once; false: it has none.
    fn stop(&self) -> bool {
        let Some((term, kill)) = &self.signals else {
            return false;
        };
        term.cancel();
        kill.cancel();
        true
    }
}

struct Sandbox {
    namespace: String,
    name: String,
    ip: Option<Ipv4Addr>,
    containers: BTreeMap<String, Container>,
    /// The service account token it was given last.
    token: Option<String>,
    /// Those of interpreted containers, once made.
    volumes: Volumes,
}

/// The volumes of a pod; locked while they are made.
pub(crate) type Volumes = Arc<tokio::sync::Mutex<Option<PodVolumes>>>;

#[derive(Default)]
struct Inner {
    pods: BTreeMap<String, Sandbox>,
    next_address: u32,
    next_id: u64,
    dirty: BTreeSet<String>,
}

/// The runtime of one node.
pub(crate) struct Runtime {
    node: String,
    net: Net,
    clock: SharedClock,
    base: Ipv4Addr,
    size: u32,
    addresses: Addresses,
    inner: Mutex<Inner>,
    changed: Notify,
    /// Files of the host that containers may mount.
    files: Volume,
}

/// What pods get where every address of the range has been given to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// None: they wait.
    Own,
    /// One that another pod has.
    Shared,
}

/// Addresses for pods in a range of `size`: not the network's, the node's and the last.
pub(crate) fn room(size: u32) -> u32 {
    size.saturating_sub(3).max(1)
}

/// What a container is started from.
pub(crate) struct Start {
    pub container: String,
    pub image: String,
    /// Whether something says when it has started.
    pub has_startup_probe: bool,
    /// Restarts to begin with when this disk knows nothing of the container.
    pub restarts: u32,
    /// Code to run and what it needs but for what the runtime adds.
    pub builtin: Option<(Arc<dyn Workload>, Prepared)>,
}

/// The context of a built-in container, as far as the kubelet makes it.
pub(crate) struct Prepared {
    pub pod: Arc<serde_json::Value>,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub host: String,
    pub seed: cfn_net::Seed,
    pub api: Option<ClientConfig>,
    /// Of an interpreted container: its process, and the file of its last words.
    pub process: Option<Process>,
    pub last_words: Option<Volume>,
}

/// The files of a new host.
fn host_files() -> Volume {
    let mut root = Inode::directory(0o755);
    root.put("etc/hosts", Inode::file(0o644, super::volumes::HOST_HOSTS.into()));
    root.put("tmp", Inode::directory(0o1777));
    Volume::new(root, "61267")
}

impl Runtime {
    /// The runtime of a node whose pods have addresses of the range (first address, how many).
    pub(crate) fn new(
        node: &str,
        net: Net,
        clock: SharedClock,
        (base, size): (Ipv4Addr, u32),
        addresses: Addresses,
    ) -> Self {
        let inner = Mutex::new(Inner {
            next_address: 2,
            ..Inner::default()
        });
        Self {
            node: node.to_owned(),
            net,
            clock,
            base,
            size,
            addresses,
            inner,
            changed: Notify::new(),
            files: host_files(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn site(&self) -> String {
        self.net.site_of(&self.node).unwrap_or_default()
    }

    /// An address that no pod has: round robin, as the CNI plugin host-local hands them out. Where there is none, the
    /// next one if they are shared.
    fn free_address(&self, inner: &mut Inner) -> Option<Ipv4Addr> {
        let taken: BTreeSet<_> = inner.pods.values().filter_map(|s| s.ip).collect();
        let mut next = || {
            let n = inner.next_address;
            inner.next_address = if n + 2 >= self.size { 2 } else { n + 1 };
            Ipv4Addr::from(u32::from(self.base) + n)
        };
        let free = (0..room(self.size)).map(|_| next()).find(|ip| !taken.contains(ip));
        match self.addresses {
            Addresses::Own => free,
            Addresses::Shared => Some(free.unwrap_or_else(next)),
        }
    }

    /// Makes a pod's sandbox, once, with an address of its own unless it is on the host's network; false: none is free.
    pub(crate) fn sandbox(&self, uid: &str, namespace: &str, name: &str, host_network: bool) -> bool {
        let mut inner = self.inner();
        if inner.pods.contains_key(uid) {
            return true;
        }
        let ip = match host_network {
            true => None,
            false => match self.free_address(&mut inner) {
                None => return false,
                ip => ip,
            },
        };
        let sandbox = Sandbox {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ip,
            containers: BTreeMap::new(),
            token: None,
            volumes: Volumes::default(),
        };
        inner.pods.insert(uid.to_owned(), sandbox);
        // Under the lock: another pod with this address may be on its way out.
        if let Some(ip) = ip {
            self.net.add_host(&ip.to_string(), &self.site());
        }
        true
    }

    /// The address of a pod's sandbox.
    pub(crate) fn address(&self, uid: &str) -> Option<String> {
        self.inner().pods.get(uid)?.ip.map(|ip| ip.to_string())
    }

    /// Whether this host has anything of a pod.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.inner().pods.contains_key(uid)
    }

    /// The containers of a pod.
    pub(crate) fn views(&self, uid: &str) -> BTreeMap<String, View> {
        let inner = self.inner();
        let of = |s: &Sandbox| s.containers.iter().map(|(n, c)| (n.clone(), c.view.clone())).collect();
        inner.pods.get(uid).map(of).unwrap_or_default()
    }

    /// UIDs of the pods this host has anything of.
    pub(crate) fn pods(&self) -> Vec<String> {
        self.inner().pods.keys().cloned().collect()
    }

    /// The volumes of a pod, while it is here.
    pub(crate) fn volumes(&self, uid: &str) -> Option<Volumes> {
        Some(self.inner().pods.get(uid)?.volumes.clone())
    }

    pub(crate) fn host_files(&self) -> &Volume {
        &self.files
    }

    pub(crate) fn token(&self, uid: &str) -> Option<String> {
        self.inner().pods.get(uid)?.token.clone()
    }

    pub(crate) fn keep_token(&self, uid: &str, token: &str) {
        if let Some(s) = self.inner().pods.get_mut(uid) {
            s.token = Some(token.to_owned());
        }
    }

    /// Gives a running container other limits.
    pub(crate) fn set_limits(&self, uid: &str, container: &str, resources: &serde_json::Value) {
        let inner = self.inner();
        let container = inner.pods.get(uid).and_then(|s| s.containers.get(container));
        if let Some(process) = container.and_then(|c| c.process.as_ref()) {
            super::kernel::write(&process.files, resources);
        }
    }

    /// Starts a container (again).
    pub(crate) fn start(self: &Arc<Self>, uid: &str, start: Start) {
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.next_id += 1;
        let id = format!("cfn://{:016x}{:016x}", fnv(&self.node), inner.next_id);
        let Some(sandbox) = inner.pods.get_mut(uid) else { return };
        let before = sandbox.containers.remove(&start.container);
        let (restarts, last, previous) = match before {
            Some(c) => {
                let last = match c.view.doing {
                    Doing::Exited(e) => Some(e),
                    Doing::Running { .. } => c.view.last,
                };
                (c.view.restarts + 1, last, Some(c.log))
            }
            None => (start.restarts, None, None),
        };
        let log = Log::default();
        let view = View {
            id: id.clone(),
            image: start.image.clone(),
            restarts,
            doing: Doing::Running {
                started: now,
                ready: false,
            },
            last,
            builtin: start.builtin.is_some(),
            up: !start.has_startup_probe,
            stopping: false,
            since: Instant::now(),
        };
        let signals = start
            .builtin
            .as_ref()
            .map(|_| (CancellationToken::new(), CancellationToken::new()));
        let process = start.builtin.as_ref().and_then(|(_, p)| p.process.clone());
        let (input, typed) = process
            .as_ref()
            .and_then(|p| p.stdin)
            .map(|stdin| Input::new(stdin == Stdin::Once))
            .unzip();
        let container = Container {
            view,
            signals: signals.clone(),
            log: log.clone(),
            previous,
            process,
            input,
        };
        sandbox.containers.insert(start.container.clone(), container);
        drop(inner);
        if let (Some((workload, p)), Some((term, kill))) = (start.builtin, signals) {
            let (ready, said) = watch::channel(false);
            let (l, clock) = (log.clone(), self.clock.clone());
            let line = move |line: &str| l.line(clock.now(), line);
            let (l, clock) = (log.clone(), self.clock.clone());
            let write = move |bytes: &[u8]| l.write(clock.now(), bytes);
            let last_words = LastWords::of(&p.pod, &start.container, p.last_words, log);
            let (this, of) = (self.clone(), (uid.to_owned(), start.container.clone(), id.clone()));
            let started = move || {
                this.change(&of.0, &of.1, Some(&of.2), |c| !std::mem::replace(&mut c.view.up, true));
            };
            let ctx = WorkloadContext {
                started: Arc::new(started),
                pod: p.pod,
                container: start.container.clone(),
                image: start.image,
                args: p.args,
                env: p.env,
                host: p.host,
                node: self.node.clone(),
                site: self.site(),
                net: self.net.clone(),
                clock: self.clock.clone(),
                seed: p.seed.child(&restarts.to_string()),
                api: p.api,
                ready,
                log: Arc::new(line),
                write: Arc::new(write),
                process: p.process.map(|process| Process {
                    term: term.clone(),
                    ..process
                }),
                input: typed.map(shell::Input::typed).unwrap_or_default(),
                cancel: term,
            };
            let this = self.clone();
            tokio::spawn(this.supervise(
                workload,
                ctx,
                said,
                kill,
                uid.to_owned(),
                start.container,
                id,
                last_words,
            ));
        }
        self.touch(uid);
    }

    /// Runs a built-in container to its end.
    #[allow(clippy::too_many_arguments, reason = "one container")]
    async fn supervise(
        self: Arc<Self>,
        workload: Arc<dyn Workload>,
        ctx: WorkloadContext,
        mut ready: watch::Receiver<bool>,
        kill: CancellationToken,
        uid: String,
        container: String,
        id: String,
        last_words: LastWords,
    ) {
        let mut run = Box::pin(AssertUnwindSafe(async move { workload.run(ctx).await }).catch_unwind());
        let mut listening = true;
        let code = loop {
            tokio::select! {
                biased;
                () = kill.cancelled() => break KILLED,
                // A panic is the process's abort (128 + SIGABRT).
                code = &mut run => break code.unwrap_or(134),
                changed = ready.changed(), if listening => match changed {
                    Ok(()) => { let r = *ready.borrow_and_update(); self.ready(&uid, &container, &id, r); }
                    Err(_) => listening = false,
                },
            }
        };
        drop(run);
        self.ended(&uid, &container, &id, Exit::of(code, last_words.read(code)));
    }

    fn change(&self, uid: &str, container: &str, id: Option<&str>, f: impl FnOnce(&mut Container) -> bool) {
        let mut inner = self.inner();
        let found = inner.pods.get_mut(uid).and_then(|s| s.containers.get_mut(container));
        let changed = found.filter(|c| id.is_none_or(|id| c.view.id == id)).is_some_and(f);
        drop(inner);
        if changed {
            self.touch(uid);
        }
    }

    fn touch(&self, uid: &str) {
        self.inner().dirty.insert(uid.to_owned());
        self.changed.notify_one();
    }

    fn ready(&self, uid: &str, container: &str, id: &str, is: bool) {
        self.change(uid, container, Some(id), |c| match &mut c.view.doing {
            Doing::Running { ready, .. } if *ready != is => {
                *ready = is;
                c.view.up |= is;
                c.view.since = Instant::now();
                true
            }
            _ => false,
        });
    }

    /// Says that a simulated container is ready, or no longer.
    pub(crate) fn set_ready(&self, uid: &str, container: &str, is: bool) {
        let id = self.views(uid).get(container).map(|v| v.id.clone());
        if let Some(id) = id {
            self.ready(uid, container, &id, is);
        }
    }

    fn ended(&self, uid: &str, container: &str, id: &str, exit: Exit) {
        let at = self.clock.now();
        self.change(uid, container, Some(id), |c| c.end(exit, at, Ending::Exited));
    }

    /// Ends a simulated container.
    pub(crate) fn exit(&self, uid: &str, container: &str, code: i32) {
        let id = self.views(uid).get(container).map(|v| v.id.clone());
        if let Some(id) = id {
            self.ended(uid, container, &id, Exit::of(code, String::new()));
        }
    }

    /// Asks a container to end (SIGTERM).
    pub(crate) fn terminate(&self, uid: &str, container: &str) {
        self.change(uid, container, None, |c| {
            if !matches!(c.view.doing, Doing::Running { .. }) || c.view.stopping {
                return false;
            }
            c.view.stopping = true;
            c.view.since = Instant::now();
            if let Some((term, _)) = &c.signals {
                term.cancel();
            }
            true
        });
    }

    /// Ends a container at once (SIGKILL).
    pub(crate) fn kill(&self, uid: &str, container: &str) {
        let mut simulated = false;
        self.change(uid, container, None, |c| {
            simulated = !c.stop();
            false
        });
        if simulated {
            self.exit(uid, container, KILLED);
        }
    }

    /// Ends and forgets a pod.
    pub(crate) fn remove(&self, uid: &str) {
        let mut inner = self.inner();
        if let Some(s) = inner.pods.remove(uid) {
            for mut c in s.containers.into_values() {
                c.stop();
                c.end(Exit::of(KILLED, String::new()), self.clock.now(), Ending::Exited);
            }
            // The host is there as long as one of those who share the address.
            if let Some(ip) = s.ip.filter(|ip| inner.pods.values().all(|other| other.ip != Some(*ip))) {
                self.net.remove_host(&ip.to_string());
            }
        }
    }

    /// Waits until something changes by itself.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The pods that changed since the last call.
    pub(crate) fn take_dirty(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.inner().dirty)
    }
}

fn fnv(s: &str) -> u64 {
    s.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
