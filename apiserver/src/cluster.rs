//! One embedded cluster: certificate authority, API server, controllers, nodes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cfn_net::pki::{Ca, KeyCert, PkiError};
use cfn_net::server::{serve, tls_server_config};
use cfn_net::{ClientConfig, Identity, Net, Seed, SharedClock, Transport};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aggregator::{self, FRONT_PROXY_CA, FrontProxy};
use crate::audit::Audit;
use crate::auth::signing::SigningKey;
use crate::certificate::Certificate;
use crate::controllers::{self, Timers};
use crate::data_dir::{DataDir, DataDirError};
use crate::defaults::AdmissionOptions;
use crate::http::{InProcess, handle};
use crate::local::Local;
use crate::node;
use crate::registry::{ADVERTISED, Server, Settings, User};
use crate::store::Store;
use crate::store::log::{LogError, Recovery};
use crate::webhook::Caller;

/// The version this server says it has: what it follows, and that it is not Kubernetes itself.
pub const VERSION: &str = "v1.36.3+cfn";
/// The version that the kubelets of simulated nodes report.
pub(crate) const KUBELET_VERSION: &str = "v1.36.0";

/// How long a request other than a watch may take with the configurations a cluster hands out.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What a cluster is started with.
#[derive(Clone)]
pub struct ClusterOptions {
    /// Its name, as contexts of kubeconfigs have it.
    pub name: String,
    /// The network it is in.
    pub net: Net,
    /// Its wall time.
    pub clock: SharedClock,
    /// Where its uids and generated names come from.
    pub seed: Seed,
    /// The control plane's host in `net`, added already.
    pub host: String,
    /// The API server's port there (6443 in real clusters).
    pub port: u16,
    /// The real socket, where one is wished for (TCP only); any free one on loopback otherwise.
    pub socket: Option<SocketAddr>,
    /// Further names and addresses in the serving certificate.
    pub extra_sans: Vec<String>,
    /// Periods of controllers and nodes.
    pub timers: Timers,
    /// Containers that run in this process.
    pub workloads: node::Workloads,
    /// Whether the controllers run.
    pub controllers: bool,
    /// Whether anybody may ask for health and version.
    pub allow_anonymous_health: bool,
    /// The bearer token of those that join (`id.secret`, group system:bootstrappers); empty: none.
    pub bootstrap_token: String,
    /// Where its state and keys outlive it (not on the memory transport); `None`: in memory alone.
    pub data_dir: Option<PathBuf>,
    /// Where requests are written down ([`crate::audit`]); `None`: nowhere.
    pub audit_log: Option<PathBuf>,
}

impl ClusterOptions {
    /// A cluster in memory as most are: its host has its name, its port is 6443, its controllers run, anybody may ask for
    /// health, and nobody can join by a bootstrap token. What is to be otherwise is set over it.
    #[must_use]
    pub fn new(name: &str, net: Net, clock: SharedClock, seed: Seed) -> Self {
        Self {
            name: name.to_owned(),
            net,
            clock,
            seed,
            host: name.to_owned(),
            port: 6443,
            socket: None,
            extra_sans: Vec::new(),
            timers: Timers::default(),
            workloads: node::Workloads::default(),
            controllers: true,
            allow_anonymous_health: true,
            bootstrap_token: String::new(),
            data_dir: None,
            audit_log: None,
        }
    }
}

/// Why a cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server's port could not be opened.
    #[error("listening at {host}:{port}: {source}")]
    Listen {
        /// Host in the testbed's network.
        host: String,
        /// Port there.
        port: u16,
        /// What the network or the operating system says.
        source: std::io::Error,
    },
    /// The data directory could not be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The audit log could not be opened.
    #[error("audit log {path}: {source}")]
    Audit {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The serving certificate could not be used.
    #[error(transparent)]
    Tls(#[from] cfn_net::client::ClientError),
}

/// A running cluster. Dropping it ends everything it started.
pub struct Cluster {
    options: ClusterOptions,
    ca: Arc<Ca>,
    /// When it started: its certificates count from then.
    since: Timestamp,
    /// What it shows its clients, where the network has TLS.
    serving: Certificate,
    /// Who may sign certificates of clients, PEM.
    client_cas: String,
    admin: Certificate,
    server: Arc<Server>,
    running: Mutex<Option<Running>>,
    recovery: Option<Recovery>,
    /// The real socket, kept when serving stops and starts again.
    socket: Mutex<Option<SocketAddr>>,
}

/// The names and addresses that the API server of a cluster is reached at.
fn sans(o: &ClusterOptions) -> Vec<String> {
    let mut all: Vec<String> = vec![
        o.host.clone(),
        "localhost".into(),
        "kubernetes".into(),
        "kubernetes.default".into(),
        "kubernetes.default.svc".into(),
        "kubernetes.default.svc.cluster.local".into(),
        "127.0.0.1".into(),
        "10.96.0.1".into(),
        ADVERTISED.into(),
    ];
    all.extend(o.socket.map(|s| s.ip().to_string()));
    all.extend(o.extra_sans.iter().cloned());
    all.sort();
    all.dedup();
    all
}

/// Serving and controllers, until cancelled.
struct Running {
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Cluster {
    /// Starts a cluster: it serves when this returns.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn start(o: ClusterOptions) -> Result<Self, ClusterError> {
        let now = o.clock.now();
        let ca_name = format!("{} CA", o.name);
        let seed = o.seed.child(&o.name);
        let mut recovery = None;
        let mut remembered = None;
        let (ca, front_proxy_ca, account_key, store) = match (o.net.transport(), &o.data_dir) {
            (Transport::Tcp | Transport::Host, Some(path)) => {
                let kept = DataDir::open(path, &ca_name, now)?;
                recovery = Some(kept.recovery);
                // Any free port is wished for: then the one that clients know, if it is free.
                let any = o.socket.is_none_or(|s| s.port() == 0);
                let same = |known: &SocketAddr| o.socket.is_none_or(|s| s.ip() == known.ip());
                remembered = kept.address.filter(|known| any && same(known));
                (kept.ca, kept.front_proxy_ca, kept.service_account_key, kept.store)
            }
            (Transport::Tcp | Transport::Host, None) => (
                Ca::new(&ca_name, now)?,
                Ca::new(FRONT_PROXY_CA, now)?,
                SigningKey::passing(),
                Store::default(),
            ),
            // A simulated run draws its keys from its seed too: what goes over a link is then the same, byte for byte.
            (Transport::Memory, _) => (
                Ca::seeded(&ca_name, now, o.seed.child("pki"))?,
                Ca::seeded(FRONT_PROXY_CA, now, o.seed.child("pki").child("front proxy"))?,
                SigningKey::seeded(seed),
                Store::default(),
            ),
        };
        let ca = Arc::new(ca);
        let front_proxy = FrontProxy::new(front_proxy_ca, now);
        let client_cas = [ca.cert_pem(), front_proxy.ca_pem()].concat();
        let settings = Settings {
            name: o.name.clone(),
            admission: AdmissionOptions {
                not_ready_toleration_seconds: o.timers.default_toleration_seconds,
                unreachable_toleration_seconds: o.timers.default_toleration_seconds,
            },
            ca_pem: ca.cert_pem().to_owned(),
            bootstrap_token: o.bootstrap_token.clone(),
            allow_anonymous_health: o.allow_anonymous_health,
        };
        let server = Server::with_store(settings, o.clock.clone(), seed, store, account_key);
        server.set_caller(Caller::new(o.net.clone(), &o.host));
        server.set_front_proxy(front_proxy);
        if let Some(path) = &o.audit_log {
            server.set_audit(Audit::open(path).map_err(|source| ClusterError::Audit {
                path: path.clone(),
                source,
            })?);
        }
        let socket = Mutex::new(remembered.or(o.socket));
        let cluster = Self {
            options: o,
            since: now,
            serving: Certificate::of(&ca),
            client_cas,
            admin: Certificate::of(&ca),
            ca,
            server,
            running: Mutex::new(None),
            recovery,
            socket,
        };
        match cluster.start_serving().await {
            Err(ClusterError::Listen { .. }) if remembered.is_some() => {
                *cluster.socket.lock().unwrap_or_else(PoisonError::into_inner) = cluster.options.socket;
                cluster.start_serving().await?;
            }
            served => served?,
        }
        if let (Some(dir), Some(at)) = (&cluster.options.data_dir, cluster.socket()) {
            DataDir::keep_address(dir, at)?;
        }
        Ok(cluster)
    }

    /// Serves (again) after [`Cluster::stop_serving`], on the same socket, with the state there was.
    ///
    /// # Errors
    /// When the port is taken by now.
    pub async fn start_serving(&self) -> Result<(), ClusterError> {
        if self.running().is_some() {
            return Ok(());
        }
        let o = &self.options;
        let at = *self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = match at {
            Some(s) => o.net.listen_on(&o.host, o.port, s).await,
            None => o.net.listen(&o.host, o.port).await,
        };
        let listener = listener.map_err(|source| ClusterError::Listen {
            host: o.host.clone(),
            port: o.port,
            source,
        })?;
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = o.net.socket_addr(&o.host, o.port);
        let tls = match o.net.transport() {
            Transport::Tcp | Transport::Host => Some(tls_server_config(self.serving()?, Some(&self.client_cas))?),
            Transport::Memory => None,
        };
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (server, stop) = (self.server.clone(), cancel.clone());
        let name = o.name.clone();
        tasks.spawn(async move {
            let handler = move |r| {
                let server = server.clone();
                async move { Ok::<_, std::convert::Infallible>(handle(server, r).await) }
            };
            if let Err(e) = serve(listener, tls, handler, stop).await {
                tracing::error!(error = %e, cluster = name, "serving ended");
            }
        });
        tasks.spawn(aggregator::keep_watch(self.server.clone(), cancel.clone()));
        if o.controllers {
            controllers::spawn(
                self.local(),
                o.timers.clone(),
                self.ca.clone(),
                cancel.clone(),
                &mut tasks,
            );
        }
        *self.running() = Some(Running { cancel, tasks });
        Ok(())
    }

    /// The control plane goes down: its port is closed, connections break, controllers rest. State, nodes and
    /// [`Cluster::client`] stay.
    pub async fn stop_serving(&self) {
        let running = self.running().take();
        if let Some(mut r) = running {
            r.cancel.cancel();
            while r.tasks.join_next().await.is_some() {}
        }
    }

    /// Down and up again.
    ///
    /// # Errors
    /// As [`Cluster::start_serving`].
    pub async fn restart(&self) -> Result<(), ClusterError> {
        self.stop_serving().await;
        self.start_serving().await
    }

    /// Ends everything.
    pub async fn stop(self) {
        self.stop_serving().await;
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// What was found in the data directory.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// Waits until state cannot be kept any more (a full disk): for ever while it can.
    pub async fn failed(&self) -> LogError {
        self.server.store.failed().await
    }

    /// Makes what controllers need that are not this process's own: kube-controller-manager, kube-scheduler.
    pub fn admit_external_controllers(&self) {
        crate::registry::for_external_controllers(&self.server);
    }

    /// Its certificate authority.
    #[must_use]
    pub fn ca(&self) -> &Arc<Ca> {
        &self.ca
    }

    /// An administrator's client in this process: straight into the handler, whatever the network does.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client_as("kubernetes-admin", &["system:masters".to_owned()])
    }

    /// The same as another user.
    #[must_use]
    pub fn client_as(&self, user: &str, groups: &[String]) -> kube::Client {
        let mut groups = groups.to_vec();
        groups.push("system:authenticated".to_owned());
        kube::Client::new(InProcess::new(self.server.clone(), User::new(user, groups)), "default")
    }

    fn serving(&self) -> Result<&KeyCert, PkiError> {
        let make = |key| {
            self.ca
                .server_at(key, "kube-apiserver", &sans(&self.options), self.since)
        };
        self.serving.get(make)
    }

    /// The administrator's certificate; `None` when the library refuses to make one (never on a working machine).
    fn admin(&self) -> Option<&KeyCert> {
        let masters = ["system:masters".to_owned()];
        let make = |key| self.ca.client_at(key, "kubernetes-admin", &masters, self.since);
        self.admin.get(make).ok()
    }

    fn config(&self, identity: Identity) -> ClientConfig {
        ClientConfig {
            server: format!("https://{}:{}", self.options.host, self.options.port),
            ca_pem: self.ca.cert_pem().to_owned(),
            identity,
            timeout: REQUEST_TIMEOUT,
        }
    }

    /// An administrator's configuration, through the network.
    #[must_use]
    pub fn admin_config(&self) -> ClientConfig {
        self.config(match self.admin().cloned() {
            Some(KeyCert { cert_pem, key_pem }) => Identity::Certificate { cert_pem, key_pem },
            None => Identity::Anonymous,
        })
    }

    /// The configuration of `user` in `groups`: a certificate signed by this cluster's CA. Anonymous when the library refuses
    /// to make one (never on a working machine).
    #[must_use]
    pub fn config_for(&self, user: &str, groups: &[String]) -> ClientConfig {
        self.config(match self.ca.client(user, groups, self.options.clock.now()) {
            Ok(KeyCert { cert_pem, key_pem }) => Identity::Certificate { cert_pem, key_pem },
            Err(_) => Identity::Anonymous,
        })
    }

    /// The configuration of somebody who may only ask to join.
    #[must_use]
    pub fn bootstrap_config(&self) -> ClientConfig {
        self.config(Identity::Token(self.options.bootstrap_token.clone()))
    }

    /// The real socket of the API server (TCP only).
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An administrator's kubeconfig for programs outside: the real socket, credentials embedded.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        let name = &self.options.name;
        let server = match self.socket() {
            Some(s) if s.ip().is_unspecified() => format!("https://127.0.0.1:{}", s.port()),
            Some(s) => format!("https://{s}"),
            None => format!("https://{}:{}", self.options.host, self.options.port),
        };
        let ca = STANDARD.encode(self.ca.cert_pem());
        let own = self.admin();
        let [cert, key] = [own.map(|k| &k.cert_pem), own.map(|k| &k.key_pem)]
            .map(|pem| STANDARD.encode(pem.map_or("", String::as_str)));
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}\nusers:\n- name: {name}-admin\n  user:\n    client-certificate-data: {cert}\n    client-key-data: {key}\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}-admin\ncurrent-context: {name}\n"
        )
    }

    /// Access from inside the process, for controllers.
    #[must_use]
    pub fn local(&self) -> Local {
        Local::new(self.server.clone())
    }

    /// Starts a node of this cluster.
    ///
    /// # Errors
    /// As [`node::start`].
    pub async fn add_node(&self, o: node::NodeOptions) -> Result<node::NodeHandle, node::NodeError> {
        let node = node::start(o).await?;
        self.server.set_node_hook(node.name(), Some(node.hook()));
        Ok(node)
    }
}
