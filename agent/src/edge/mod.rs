//! The edge agent: a caching API proxy between a node's kubelet and its API server, as OpenYurt's YurtHub is. The
//! kubelet talks to it on its own host. With the hub there, requests pass through with the node's identity, and what
//! the node reads is kept on the node's disk; with the hub gone, reads and watches are answered from there, also after
//! a restart of agent and kubelet, and what the node writes is held back and sent, in order, when the link heals.

mod answer;
mod hold;
mod link;
mod merge;
mod proxy;
mod request;
mod store;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cfn_net::pki::{Ca, KeyCert};
use cfn_net::server::{serve, tls_server_config};
use cfn_net::{ClientConfig, Identity, Net, Seed, SharedClock, Transport};
use tokio_util::sync::CancellationToken;

pub use link::LinkState;
pub use store::StoreError;

/// Port that the kubelet connects to (YurtHub's).
pub const PORT: u16 = 10261;

/// How an edge agent is set up.
#[derive(Clone)]
pub struct EdgeOptions {
    /// The node it serves.
    pub node: String,
    /// The network.
    pub net: Net,
    /// The node's host.
    pub host: String,
    /// Port; [`PORT`].
    pub port: u16,
    /// The API server, with the node's identity.
    pub upstream: ClientConfig,
    /// Directory on the node's disk: cache, held writes, the agent's own CA.
    pub store: PathBuf,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness (keys).
    pub seed: Seed,
    /// How a lost hub is noticed.
    pub timers: EdgeTimers,
}

/// How a lost hub is noticed. Names and defaults as YurtHub's heartbeat flags.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeTimers {
    /// Time between two health checks of the hub.
    pub heartbeat_interval: Duration,
    /// A check, or a request, unanswered for so long has failed.
    pub heartbeat_timeout: Duration,
    /// So many failed checks in a row: the hub is gone.
    pub heartbeat_failed_retry: u32,
    /// So many good checks in a row: it is back.
    pub heartbeat_healthy_threshold: u32,
}

impl Default for EdgeTimers {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(2),
            heartbeat_failed_retry: 3,
            heartbeat_healthy_threshold: 2,
        }
    }
}

/// Why an edge agent could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The store cannot be opened, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A certificate could not be made or kept.
    #[error(transparent)]
    Pki(#[from] cfn_net::pki::PkiError),
    /// The upstream's address or identity does not parse.
    #[error(transparent)]
    Client(#[from] cfn_net::client::ClientError),
    /// The port is taken, or the listener broke.
    #[error("listening on {host}:{port}: {source}")]
    Listen {
        /// Host.
        host: String,
        /// Port.
        port: u16,
        /// What the network said.
        source: std::io::Error,
    },
}

/// Closes the disk when the agent ends, however it ends: connections may still be winding up, the next agent need not
/// wait for them.
struct Closes(Arc<store::Store>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// An edge agent whose disk is open. [`EdgeAgent::run`] serves.
pub struct EdgeAgent {
    options: EdgeOptions,
    ca: Ca,
    serving: KeyCert,
    store: Arc<store::Store>,
}

impl EdgeAgent {
    /// Opens the disk; the first time, makes the CA of the agent's serving certificate.
    ///
    /// # Errors
    /// When the disk cannot be used.
    pub fn open(options: EdgeOptions) -> Result<Self, EdgeError> {
        let store = Arc::new(store::Store::open(&options.store)?);
        let now = options.clock.now();
        let ca = match store.keys()? {
            Some(kept) => Ca::from_pem(&kept.cert_pem, &kept.key_pem)?,
            None => {
                let name = format!("cfn-edge {}", options.node);
                let ca = match options.net.transport() {
                    // A run that is repeated has the same keys; nobody else ever hears of them.
                    Transport::Memory => Ca::seeded(&name, now, options.seed.child("edge ca"))?,
                    Transport::Tcp | Transport::Host => Ca::new(&name, now)?,
                };
                store.keep_keys(&KeyCert {
                    cert_pem: ca.cert_pem().to_owned(),
                    key_pem: ca.key_pem().to_owned(),
                })?;
                ca
            }
        };
        let sans = [options.host.clone(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let serving = ca.server("cfn-edge", &sans, now)?;
        Ok(Self {
            options,
            ca,
            serving,
            store,
        })
    }

    /// What the node's kubelet is configured with: this agent, trusted by its own CA. The kubelet needs no identity:
    /// the agent is on its host, and asks upstream as the node.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig {
            server: format!("https://{}:{}", self.options.host, self.options.port),
            ca_pem: self.ca.cert_pem().to_owned(),
            identity: Identity::Anonymous,
            timeout: self.options.upstream.timeout + self.options.timers.heartbeat_timeout,
        }
    }

    /// Serves until cancelled.
    ///
    /// # Errors
    /// When the port is taken or the disk fails.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), EdgeError> {
        let _closes = Closes(self.store.clone());
        let o = &self.options;
        let broken = |source| EdgeError::Listen {
            host: o.host.clone(),
            port: o.port,
            source,
        };
        let listener = o.net.listen(&o.host, o.port).await.map_err(broken)?;
        let tls = match o.net.transport() {
            Transport::Tcp | Transport::Host => Some(tls_server_config(&self.serving, None)?),
            Transport::Memory => None,
        };
        let upstream = o.upstream.http(&o.net, &o.host)?;
        let link = link::Link::new(upstream.clone(), o.timers.clone(), !self.store.held()?.is_empty());
        let proxy = Arc::new(proxy::Proxy {
            upstream,
            store: self.store.clone(),
            link: link.clone(),
            node: o.node.clone(),
            told: std::sync::Mutex::default(),
        });
        let handler = {
            let proxy = proxy.clone();
            move |request| {
                let proxy = proxy.clone();
                async move { Ok::<_, std::convert::Infallible>(proxy.handle(request).await) }
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(()),
            r = serve(listener, tls, handler, cancel.child_token()) => r.map_err(broken),
            () = link.check() => Ok(()),
            () = hold::flush(&proxy) => Ok(()),
        }
    }
}

/// Opens and serves until cancelled.
///
/// # Errors
/// As [`EdgeAgent::open`] and [`EdgeAgent::run`].
pub async fn run(options: EdgeOptions, cancel: CancellationToken) -> Result<(), EdgeError> {
    EdgeAgent::open(options)?.run(cancel).await
}
