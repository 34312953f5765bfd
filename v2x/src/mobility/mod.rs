//! Who drives where: car following on the road network, attachments to cells, crossings between edges.

mod trace;
mod traffic;

pub use trace::{Crossing, Trace, TracePoint, record};
pub use traffic::{Car, STEP_SECONDS, Traffic};
