//! The road network, the radio cells over it and the edge sites that serve them.

mod generate;
mod map;
mod route;

pub use generate::{EdgeOptions, MapOptions, generate};
pub use map::{Cell, EdgeSite, HYSTERESIS_DB, MapError, Node, PATH_LOSS_EXPONENT, Road, RoadMap, attach};
pub use route::{Roads, route};
