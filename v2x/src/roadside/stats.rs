//! What a roadside service tells about itself to whoever asks (topic `stats/get`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::relocation::Relocation;
use crate::units::Micros;

/// The state of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Its site.
    pub site: String,
    /// Contexts of the vehicles it serves, and of those it has handed over without a confirmation yet.
    pub contexts: Vec<ContextStats>,
    /// What was applied here, per vehicle, in order.
    pub journal: BTreeMap<String, Vec<Run>>,
    /// Relocations away from here (and failed ones to here).
    pub relocations: Vec<Relocation>,
    /// Vehicles that came here from another edge.
    pub arrivals: Vec<Arrival>,
    /// Totals.
    pub totals: Totals,
}

/// One context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContextStats {
    /// The vehicle.
    pub vehicle: String,
    /// Number before its first update.
    pub base: u64,
    /// Last update.
    pub last: u64,
    /// Updates applied.
    pub applied: u64,
    /// Chained digest, hexadecimal (64 bits do not fit a JSON number everywhere).
    pub digest: String,
    /// Served here (else handed over, unconfirmed).
    pub serving: bool,
    /// The vehicle's epoch.
    pub epoch: u64,
}

/// Updates applied one after the other by one instance in one tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// First number.
    pub from: u64,
    /// Last number.
    pub to: u64,
    /// When the first was applied.
    pub at: Micros,
    /// When the last was applied.
    pub until: Micros,
}

/// A vehicle that came from another edge and is served here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// The vehicle.
    pub vehicle: String,
    /// Edge it came from.
    pub from: String,
    /// Relocation there.
    pub id: u64,
    /// The vehicle's epoch.
    pub epoch: u64,
    /// Since when it is served here.
    pub at: Micros,
    /// Since when its context was here, if it was here before the vehicle.
    pub held_since: Option<Micros>,
}

/// Counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// CAMs received.
    pub cams: u64,
    /// Updates applied.
    pub applied: u64,
    /// Updates that came again and were dropped.
    pub repeated: u64,
    /// CAMs of an epoch that is over, or of a vehicle handed over.
    pub stale: u64,
    /// Payloads that could not be read.
    pub malformed: u64,
    /// Warnings sent.
    pub warnings: u64,
    /// Snapshots sent.
    pub snapshots: u64,
}
