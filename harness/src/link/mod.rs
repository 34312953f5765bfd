//! Links between containers: real packets, delayed, lost, rated and cut as the topology and the faults say.
//!
//! Each node has a sidecar that shares its network namespace and shapes what arrives (ingress), by the source's
//! address: see [`config`] for what it is told, [`links`] for how that follows from topology and faults.

pub mod cidr;
pub mod config;
pub mod links;

pub use cidr::Cidr;
pub use config::{Rule, ShapeConfig};
pub use links::Links;
