//! Topics and what they carry. All payloads are JSON.
//!
//! | topic | from | to | payload |
//! |---|---|---|---|
//! | `cam/<vehicle>` | vehicle | its edge | [`Cam`], QoS 1, padded to the configured size (1600 B at 10 Hz, TS 22.186 R.5.4-001) |
//! | `ack/<vehicle>` | edge | vehicle | [`Ack`], QoS 0: what has been applied to the context, cumulative |
//! | `warn/<vehicle>` | edge | vehicle | [`Warning`], QoS 1 |
//! | `denm/<edge site>/<event>` | edge | anyone | [`Hazard`], QoS 0, as an ETSI DENM: a new event on the road |
//! | `sensor/<id>/hazard` | road sensor | its edge | [`Hazard`], QoS 1 |
//! | `ctl/<vehicle>` | edge | vehicle | [`Control`], QoS 1 |
//! | `ctl/<vehicle>/leave` | vehicle | its edge | [`Leave`], QoS 1: the radio is about to hand over |
//! | `stats/get` | anyone | the edge | [`StatsRequest`] |
//! | the reply topic named there | edge | who asked | [`crate::roadside::stats::Stats`] |
//!
//! Between edges nothing is MQTT: see [`crate::roadside::frame`].

use serde::{Deserialize, Serialize};

use crate::units::Micros;

/// One numbered message of a vehicle: position and kinematics (after ETSI EN 302 637-2) and what the hand-over needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cam {
    /// The vehicle.
    pub vehicle: String,
    /// Number of the message, from 1, without gaps.
    pub seq: u64,
    /// Highest number up to which the vehicle has seen every message acknowledged by the application.
    pub acked: u64,
    /// How many times the vehicle has turned to another edge: the fencing token of the hand-over.
    pub epoch: u64,
    /// Edge site that acknowledged last: where the context is (the source EAS of TS 23.558). None: a new vehicle.
    pub served_by: Option<String>,
    /// When the message was made.
    pub sent_at: Micros,
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
    /// Metres per second.
    pub speed: f64,
    /// Radians.
    pub heading: f64,
    /// Index of the cell the vehicle is attached to.
    pub cell: usize,
    /// Fills the payload to its nominal size.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pad: String,
}

impl Cam {
    /// JSON of at least `size` bytes (exactly, when the content is smaller).
    #[must_use]
    pub fn to_bytes(&self, size: usize) -> Vec<u8> {
        let mut json = to_json(self);
        // `,"pad":""` costs nine bytes
        if json.len() + 9 <= size && self.pad.is_empty() {
            let fill = size - json.len() - 9;
            json.pop();
            json.extend_from_slice(b",\"pad\":\"");
            json.resize(json.len() + fill, b'.');
            json.extend_from_slice(b"\"}");
        }
        json
    }
}

/// The application has applied every message up to `seq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// Edge site that applied.
    pub edge: String,
    /// Highest number up to which all are applied.
    pub seq: u64,
    /// When the last of them was applied.
    pub applied_at: Micros,
}

/// Something on the road that vehicles should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hazard {
    /// Name of the event, stable while it lasts.
    pub id: String,
    /// What it is ("ice", "obstacle", ...).
    pub kind: String,
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
    /// When the sensor saw it.
    pub seen_at: Micros,
}

/// A warning to one vehicle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// Name of the event.
    pub id: String,
    /// What it is ("hazard:ice", "collision").
    pub kind: String,
    /// How far ahead, metres.
    pub distance: f64,
    /// When that which caused the warning was measured (by a sensor, or by the other vehicle).
    pub origin_at: Micros,
    /// When the edge sent the warning.
    pub issued_at: Micros,
    /// Edge site that warns.
    pub edge: String,
}

/// What an edge tells a vehicle about its hand-over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub enum Control {
    /// The context is at that edge: a connection to it may be made ahead.
    #[serde(rename_all = "camelCase")]
    Prepare {
        /// The edge site.
        edge: String,
    },
    /// The context could not be brought to that edge: stay with this one, wherever the radio is.
    #[serde(rename_all = "camelCase")]
    Stay {
        /// The edge site that does not have the context.
        edge: String,
    },
    /// This edge cannot serve the vehicle (the context could not be fetched): go back there.
    #[serde(rename_all = "camelCase")]
    GoBack {
        /// The edge site that has the context.
        edge: String,
        /// Why.
        reason: String,
        /// The vehicle's epoch that this answers.
        epoch: u64,
    },
}

/// The vehicle's radio is about to hand over to a cell of another edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leave {
    /// The vehicle.
    pub vehicle: String,
    /// The edge it goes to.
    pub to: String,
    /// Last message sent on this connection.
    pub seq: u64,
    /// The epoch it will have there.
    pub epoch: u64,
}

/// Asks an edge for its statistics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatsRequest {
    /// Where the answer is published.
    pub reply_to: String,
}

/// `cam/<vehicle>`.
#[must_use]
pub fn cam(vehicle: &str) -> String {
    format!("cam/{vehicle}")
}
/// `ack/<vehicle>`.
#[must_use]
pub fn ack(vehicle: &str) -> String {
    format!("ack/{vehicle}")
}
/// `warn/<vehicle>`.
#[must_use]
pub fn warn(vehicle: &str) -> String {
    format!("warn/{vehicle}")
}
/// `ctl/<vehicle>`.
#[must_use]
pub fn ctl(vehicle: &str) -> String {
    format!("ctl/{vehicle}")
}
/// `ctl/<vehicle>/leave`.
#[must_use]
pub fn leave(vehicle: &str) -> String {
    format!("ctl/{vehicle}/leave")
}
/// `sensor/<id>/hazard`.
#[must_use]
pub fn sensor_hazard(sensor: &str) -> String {
    format!("sensor/{sensor}/hazard")
}
/// `denm/<edge site>/<event>`.
#[must_use]
pub fn denm(site: &str, event: &str) -> String {
    format!("denm/{site}/{event}")
}
/// `stats/get`.
pub const STATS: &str = "stats/get";
/// What the service itself subscribes to.
pub const SERVICE_FILTERS: [&str; 4] = ["cam/+", "ctl/+/leave", "sensor/#", STATS];

/// JSON of a payload. The types here have no map with other than string keys and nothing else that could fail.
#[must_use]
pub fn to_json<T: Serialize>(v: &T) -> Vec<u8> {
    serde_json::to_vec(v).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cam_has_its_nominal_size_and_survives_padding() {
        let mut cam = Cam {
            vehicle: "veh-1".into(),
            seq: 7,
            acked: 5,
            epoch: 1,
            served_by: Some("edge-a".into()),
            sent_at: 1,
            x: 1.5,
            y: 2.5,
            speed: 3.0,
            heading: 0.5,
            cell: 2,
            pad: String::new(),
        };
        let bytes = cam.to_bytes(1600);
        assert_eq!(bytes.len(), 1600);
        let back: Cam = serde_json::from_slice(&bytes).unwrap();
        cam.pad = back.pad.clone();
        assert_eq!(back, cam);
        cam.pad.clear();
        assert!(cam.to_bytes(10).len() > 10);
    }
}
