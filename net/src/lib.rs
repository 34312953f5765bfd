//! The four seams that carry all non-determinism of the testbed: the network ([`Net`]), wall time
//! ([`Clock`]), randomness ([`Seed`]) and, built on them, the Kubernetes client ([`ClientConfig::client`]).
//! Nothing else in the workspace opens a socket, reads the clock or draws a random number.

pub mod client;
pub mod clock;
mod conn;
mod datagram;
mod fault;
mod host;
pub mod link;
mod listener;
pub mod network;
pub mod pki;
pub mod raw;
mod route;
pub mod seed;
pub mod server;
mod shape;
pub mod stream;
mod subject;
pub mod timer;
mod token;
pub mod watch;
pub mod way;

pub use client::{ClientConfig, Identity};
pub use clock::{Clock, SharedClock, SystemClock, VirtualClock};
pub use datagram::{Datagram, DatagramSocket};
pub use link::LinkSpec;
pub use network::{Listener, Net, Transport};
pub use seed::Seed;
pub use stream::Stream;
pub use way::Way;
