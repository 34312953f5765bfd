//! What a [`super::Core`] is made of.

use std::sync::Arc;

use super::Timers;
use crate::predict::Predictor;
use crate::road::RoadMap;

/// Which policy relocates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// Ahead of the crossing.
    Predictive,
    /// When the vehicle shows up.
    Reactive,
}

/// A fault built in on purpose, with which a harness tests itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Defect {
    /// The context is dropped at every switch: the target starts empty.
    DropContext,
}

/// What a [`super::Core`] is made of.
pub struct CoreOptions {
    /// Its site.
    pub site: String,
    /// The map.
    pub map: Arc<RoadMap>,
    /// Policy.
    pub policy: Policy,
    /// Who foresees.
    pub predictor: Arc<dyn Predictor>,
    /// Size of a context that travels, bytes.
    pub context_bytes: usize,
    /// Contexts (served and held) that fit here; more are refused.
    pub capacity: usize,
    /// Waits.
    pub timers: Timers,
    /// Defect.
    pub defect: Option<Defect>,
}
