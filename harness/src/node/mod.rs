//! A container as a Kubernetes node: what the first process of our node image does. [`plan`] says, from the flags and
//! what the machine is, which files are written and which processes run; the rest carries it out. Its command line,
//! environment and paths are those of K3s ([server], [agent]), so that what starts `rancher/k3s` starts this too.
//!
//! [server]: https://docs.k3s.io/cli/server
//! [agent]: https://docs.k3s.io/cli/agent

pub mod capacity;
pub mod certificates;
pub mod containerd;
pub mod control;
pub mod flags;
pub mod kind;
pub mod kubelet;
pub mod mirror;
pub mod network;
pub mod plan;
pub mod running;

#[cfg(target_os = "linux")]
mod boot;
#[cfg(target_os = "linux")]
mod cluster;
#[cfg(target_os = "linux")]
mod init;
#[cfg(target_os = "linux")]
mod registry;
#[cfg(target_os = "linux")]
mod routes;
#[cfg(target_os = "linux")]
mod supervise;

#[cfg(target_os = "linux")]
pub use boot::{hostname, run};
#[cfg(target_os = "linux")]
pub use init::{first_process, prepared, pretend};

use std::path::PathBuf;

/// What lives as long as the node: on a volume.
pub const STATE: &str = "/var/lib/rancher/k3s";
/// What is written anew at each start.
pub const CONFIG: &str = "/etc/cfn/node";
/// Logs of the processes, one file each.
pub const LOGS: &str = "/var/log/cfn";
/// Process ids, one file each, and `hold/NAME`: while it exists, NAME is not started again.
pub const RUN: &str = "/run/cfn";
/// Image archives that come with the node image.
pub const IMAGES: &str = "/usr/share/cfn/images";

/// Why a node could not be set up, or ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The kernel refused a mount or a namespace: a capability is missing.
    #[error("{what}: {cause}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What the kernel said.
        cause: String,
    },
    /// It was started as something other than the first process of a container.
    #[error("cfn node is the first process of a node container; here it would change the machine itself")]
    NotFirst,
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] cfn_net::pki::PkiError),
    /// What is in a file of the user's is not what it must be.
    #[error(transparent)]
    Flags(#[from] flags::FlagsError),
    /// A process could not be started.
    #[error("starting {name}: {source}")]
    Start {
        /// Which.
        name: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The API server's client could not be made, or it refused what a node cannot do without.
    #[error("API server: {0}")]
    Api(String),
}

impl NodeError {
    /// An error at a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
