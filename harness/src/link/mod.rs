//! Links between containers: real packets, delayed, lost, rated and cut as the topology and the faults say.
//!
//! Each node has a sidecar that shares its network namespace and shapes what arrives (ingress), by the source's
//! address: see [`config`] for what it is told, [`links`] for how that follows from topology and faults, [`control`]
//! for talking to it. docs/links.md says how it is done and how exact it is; [`measure`] measures it.

pub mod cidr;
pub mod config;
#[cfg(target_os = "linux")]
pub mod control;
#[cfg(target_os = "linux")]
mod engine;
pub mod links;
#[cfg(target_os = "linux")]
pub mod measure;
#[cfg(target_os = "linux")]
mod nfqueue;
#[cfg(target_os = "linux")]
mod packets;
#[cfg(target_os = "linux")]
pub mod pair;
#[cfg(target_os = "linux")]
pub mod probe;
#[cfg(target_os = "linux")]
pub mod shape;
#[cfg(target_os = "linux")]
mod tables;

pub use cidr::Cidr;
pub use config::{Rule, ShapeConfig};
pub use links::Links;

/// What a shaper's container may do beyond the ordinary: change tables and serve queues (`NET_RAW` is ordinary with Docker,
/// not with Podman), and run when a packet is due.
pub const CAPABILITIES: [&str; 3] = ["NET_ADMIN", "NET_RAW", "SYS_NICE"];
/// The share of a shaper's container, as Docker's `CpuShares`: the most. It counts where CAP_SYS_NICE is not to be had:
/// control groups share cores among themselves first.
pub const CPU_SHARES: i64 = 262_144;
