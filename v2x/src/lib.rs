//! The phase 3 application: a roadside service at every edge site that vehicles and road sensors feed over MQTT, which
//! keeps one context per vehicle, warns, predicts the next edge and relocates the context there.
//!
//! The core is pure: [`road`] (the map), [`mobility`] (who drives where), [`predict`] (which edge is next), [`context`]
//! (what is kept per vehicle), [`relocation`] (one hand-over, as a state machine) and [`roadside::core`] (the service:
//! events in, actions out). The shell around it is thin: [`mqtt`] (broker and client over [`cfn_net::Net`]),
//! [`roadside::run`] (one service), [`vehicle`], [`sensor`] and [`drive::run`] (a whole run and its evidence).
//!
//! Units: metres, seconds, metres per second, radians (counter-clockwise from the x axis) in the pure core; wall time as
//! microseconds since the epoch ([`units::Micros`]) in everything that crosses the network.

pub mod context;
pub mod drive;
pub mod mobility;
pub mod mqtt;
pub mod predict;
pub mod records;
pub mod relocation;
pub mod road;
pub mod roadside;
pub mod sensor;
pub mod topics;
pub mod units;
pub mod vehicle;
