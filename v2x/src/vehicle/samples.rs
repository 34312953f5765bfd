//! What a vehicle saw: acknowledged messages, warnings, turns.

use std::collections::BTreeMap;

use crate::topics::Warning;
use crate::units::Micros;

/// One message that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Edge that acknowledged.
    pub edge: String,
    /// When it was made.
    pub sent_at: Micros,
    /// When it was applied.
    pub applied_at: Micros,
    /// When the vehicle knew.
    pub acked_at: Micros,
}

/// One warning received.
#[derive(Debug, Clone, PartialEq)]
pub struct Warned {
    /// The warning.
    pub warning: Warning,
    /// When it arrived.
    pub received_at: Micros,
}

/// One turn to another edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Edge it left.
    pub from: String,
    /// Edge it turned to.
    pub to: String,
    /// The vehicle's epoch there.
    pub epoch: u64,
    /// When the radio handed over.
    pub at: Micros,
    /// When the first acknowledgement of the new edge arrived.
    pub served_at: Option<Micros>,
    /// It had to go back.
    pub failed: bool,
    /// A connection had been made ahead.
    pub prepared: bool,
}

/// What a vehicle saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VehicleLog {
    /// The vehicle.
    pub name: String,
    /// When each message was made; number 1 first.
    pub sent: Vec<Micros>,
    /// Acknowledged messages by number.
    pub samples: BTreeMap<u64, Sample>,
    /// Warnings.
    pub warnings: Vec<Warned>,
    /// Turns.
    pub switches: Vec<Switch>,
    /// Connections that broke or could not be made.
    pub broken: u64,
    /// Messages sent again.
    pub resent: u64,
}
